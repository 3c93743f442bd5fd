/* Asking the rules without changing anything, each in one read transaction from the pool. */
#include <errno.h>
#include <string.h>

#include "attempt.h"
#include "marks.h"
#include "series.h"
#include "status.h"

struct view {
    struct ledger *ledger;
    struct moment moment;
};

/* view_end() after, unless there is no transaction. */
static int view_begin(struct ledger *ledger, struct view *view) {
    *view = (struct view){.ledger = ledger};
    int rc = storage_read_begin(&ledger->storage, &view->moment.txn);
    if (rc != 0) {
        view->moment.txn = NULL;
        return rc;
    }
    view->moment.warned = ledger->storage.databases[DB_WARNED];
    view->moment.now_us = ledger_now(ledger);
    rc = mdb_cursor_open(view->moment.txn, ledger->storage.databases[DB_SERIES],
                         &view->moment.series);
    if (rc == 0)
        rc = marks_any_reset(view->moment.txn, view->moment.warned, &view->moment.any_reset);
    pthread_rwlock_rdlock(&ledger->policy_lock);
    return rc;
}

static void view_end(struct view *view) {
    pthread_rwlock_unlock(&view->ledger->policy_lock);
    if (view->moment.series != NULL)
        mdb_cursor_close(view->moment.series);
    storage_read_end(&view->ledger->storage, view->moment.txn);
}

static MDB_dbi dbi_of(const struct view *view, enum storage_database database) {
    return view->ledger->storage.databases[database];
}

/* MDB_NOTFOUND: nothing was booked or held there yet. */
static int find_series(const struct view *view, int family, const struct ledger_text *names,
                       uint32_t *series) {
    uint32_t numbers[SERIES_NAMES_MAX];
    *series = SERIES_EVERYTHING;
    if (family == FAMILY_EVERYTHING)
        return 0;
    const struct declared_series *declared = &view->ledger->declared[family - 1];
    for (uint8_t i = 0; i < declared->count; i++) {
        uint8_t dimension = declared->dimensions[i];
        int rc = names_find(view->moment.txn, dbi_of(view, DB_NAMES), dimension, names[dimension],
                            &numbers[i]);
        if (rc != 0)
            return rc;
    }
    return names_find_series(view->moment.txn, dbi_of(view, DB_NAMES), numbers, declared->count,
                             series);
}

struct finding {
    const struct view *view;
    struct uses *uses;
    uint32_t series;
    bool exists;
    uint32_t family_size;
    struct totals totals;
    struct held held;
};

static int begin_finding(const struct view *view, int family, const struct ledger_text *names,
                         struct uses *uses, struct finding *finding) {
    *finding = (struct finding){.view = view, .uses = uses};
    int rc = find_series(view, family, names, &finding->series);
    finding->exists = rc == 0;
    if (rc == 0)
        rc = series_totals_now(view->moment.series, finding->series, &finding->totals);
    else if (rc == MDB_NOTFOUND) {
        const struct declared_series *declared = &view->ledger->declared[family - 1];
        return names_count_family(view->moment.txn, dbi_of(view, DB_NAMES), declared->dimensions,
                                  declared->count, &finding->family_size);
    }
    return rc == 0
               ? held_load(view->moment.txn, dbi_of(view, DB_HELD), finding->series, &finding->held)
               : rc;
}

static int add_use(void *context, const struct ledger_rule *rule) {
    struct finding *finding = context;
    struct use use;
    uint64_t max = rule->max_values != 0 ? rule->max_values : RULE_MAX_VALUES;
    int rc = use_begin(&finding->view->moment, rule, finding->series, finding->exists, &use);
    use.full = !finding->exists && rule_has_each(rule) && finding->family_size >= max;
    use_refresh(&use, &finding->totals, &finding->held);
    return rc != 0 ? rc : uses_add(finding->uses, &use);
}

static bool family_has_rules(const struct plan *plan, int family) {
    return plan->value_first[family] < plan->value_first[family + 1] ||
           plan->each_first[family] < plan->each_first[family + 1];
}

static int collect_family(void *context, int family, const struct ledger_text *names,
                          struct uses *uses) {
    const struct view *view = context;
    struct finding finding;
    if (!family_has_rules(&view->ledger->plan, family))
        return 0;
    int rc = begin_finding(view, family, names, uses, &finding);
    if (rc != 0)
        return rc;
    return plan_match(&view->ledger->plan, &view->ledger->policy, family, names, add_use, &finding);
}

static int collect(struct view *view, const struct ledger_text *names, struct uses *uses) {
    const struct ledger *ledger = view->ledger;
    const struct uses_source source = {.policy = &ledger->policy,
                                       .plan = &ledger->plan,
                                       .declared = ledger->declared,
                                       .declared_count = ledger->declared_count,
                                       .family = collect_family,
                                       .context = view};
    return uses_collect(&source, names, uses);
}

/* Tells of each use; of those that deny only, unless all are wanted. */
static int tell(const struct view *view, const struct attempt *attempt, struct uses *uses, bool all,
                ledger_rule_status_row *row, void *context, struct ledger_decision *decision) {
    for (size_t i = 0; i < uses->count; i++) {
        struct use *use = &uses->items[i];
        struct ledger_rule_status status;
        int rc = use_load_grants(&view->moment, use);
        if (rc != 0)
            return rc;
        enum rule_reason reason = use_decide(use, attempt_amount(attempt, use), attempt->critical);
        bool degrades = use->rule->effect == EFFECT_DEGRADE && !use->lacks && !use->full;
        rc = status_fill(&view->moment, attempt, use, reason, &status);
        if (rc != 0)
            return rc;
        decision_add(decision, &status, reason != RULE_ADMITS && !degrades);
        if (all || (reason != RULE_ADMITS && !degrades))
            row(context, &status);
    }
    return 0;
}

/* As it would be priced if it were booked now. */
static int price_attempt(const struct view *view, struct ledger_entry *estimate) {
    uint64_t last_id, now = (uint64_t)view->moment.now_us;
    int rc = storage_last_id(&view->ledger->storage, view->moment.txn, &last_id);
    return rc != 0 ? rc
                   : price_entry(view->moment.txn, dbi_of(view, DB_KEYS), estimate, estimate->names,
                                 now > last_id ? now : last_id);
}

int ledger_check(struct ledger *ledger, const struct ledger_entry *estimate, bool critical,
                 ledger_rule_status_row *row, void *context, struct ledger_decision *decision) {
    struct attempt attempt = {.names = estimate->names, .critical = critical};
    struct ledger_entry priced = *estimate;
    struct uses uses = {0};
    struct view view;
    decision_begin(decision);
    int rc = view_begin(ledger, &view);
    if (view.moment.txn == NULL)
        return rc;
    if (rc == 0 && priced.given & ENTRY_PRICING)
        rc = price_attempt(&view, &priced);
    attempt_amounts(&priced, &attempt);
    if (rc == 0)
        rc = collect(&view, estimate->names, &uses);
    if (rc == 0)
        rc = tell(&view, &attempt, &uses, false, row, context, decision);
    view_end(&view);
    uses_free(&uses);
    return rc;
}

/* The use of one rule that names all its values. */
static int collect_rule(const struct view *view, const struct ledger_rule *rule,
                        struct ledger_text *names, struct uses *uses) {
    struct finding finding;
    const struct ledger *ledger = view->ledger;
    int family = plan_family(rule, ledger->declared, ledger->declared_count);
    for (uint8_t i = 0; i < rule->scope_count; i++)
        names[rule->scope[i].dimension] = rule->scope[i].value;
    int rc = begin_finding(view, family, names, uses, &finding);
    return rc == 0 ? add_use(&finding, rule) : rc;
}

int ledger_statuses(struct ledger *ledger, const struct ledger_text *names,
                    ledger_rule_status_row *row, void *context, struct ledger_decision *decision) {
    struct attempt attempt = {.names = names, .critical = false};
    struct uses uses = {0};
    struct view view;
    decision_begin(decision);
    int rc = view_begin(ledger, &view);
    if (view.moment.txn == NULL)
        return rc;
    if (rc == 0 && names != NULL) {
        rc = collect(&view, names, &uses);
        if (rc == 0)
            rc = tell(&view, &attempt, &uses, true, row, context, decision);
    }
    for (uint32_t i = 0; rc == 0 && names == NULL && i < ledger->policy.rule_count; i++) {
        const struct ledger_rule *rule = &ledger->policy.rules[i];
        struct ledger_text own[DIMENSION_LIMIT] = {0};
        if (rule_has_each(rule))
            continue;
        uses.count = 0;
        attempt.names = own;
        rc = collect_rule(&view, rule, own, &uses);
        if (rc == 0)
            rc = tell(&view, &attempt, &uses, true, row, context, decision);
    }
    view_end(&view);
    uses_free(&uses);
    return rc;
}

/* ---- accounts --------------------------------------------------------------------------- */

/* Whether the account is held to what completed calls used: as its granted rule says. */
static bool of_completed(const struct ledger *ledger, const struct ledger_text *names, int family,
                         bool credits) {
    enum rule_measure measure = credits ? MEASURE_COMPLETED_CREDITS : MEASURE_COMPLETED_COST;
    for (uint32_t i = 0; i < ledger->policy.rule_count; i++) {
        const struct ledger_rule *rule = &ledger->policy.rules[i];
        if (rule->granted && rule->measure == measure &&
            plan_family(rule, ledger->declared, ledger->declared_count) == family &&
            rule_matches(rule, names) == RULE_MATCHES)
            return true;
    }
    return false;
}

static ledger_sum sum_of_grants(const void *column, const struct totals *totals) {
    return totals->column[*(const enum totals_column *)column];
}

/* From the grant that is being used on: the next is always the one with which their sum passes
 * what was told. */
static int tell_grants(const struct view *view, const struct use *use, bool credits, size_t limit,
                       ledger_grant_row *row, void *context) {
    enum totals_column column = credits ? COLUMN_GRANTED_CREDITS : COLUMN_GRANTED_COST;
    ledger_sum gone = use->used + use->grants - use->limit - use->spent, told = use->spent;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < limit && told < use->grants; i++) {
        struct ledger_entry entry;
        uint64_t id;
        rc = series_reach(view->moment.series, use->series, sum_of_grants, &column, told + 1, 0,
                          UINT64_MAX, &id);
        if (rc == 0)
            rc = query_load_entry(view->ledger, view->moment.txn, id, &entry);
        int64_t amount = rc != 0 ? 0 : credits ? entry.credits : entry.cost;
        if (rc == 0 && amount <= 0)
            rc = LEDGER_E_DAMAGED;
        if (rc != 0)
            break;
        row(context, &entry, amount > gone ? amount - gone : 0);
        gone = 0;
        told += amount;
    }
    return rc == MDB_NOTFOUND ? LEDGER_E_DAMAGED : rc;
}

int ledger_read_balance(struct ledger *ledger, const struct ledger_text *names, bool credits,
                        size_t limit, ledger_grant_row *row, void *context,
                        struct ledger_balance *balance) {
    /* Read as a rule over the account would be. */
    struct ledger_rule rule = {.name = {"", 0}, .window = WINDOW_LIFETIME, .granted = true};
    struct finding finding;
    struct uses uses = {0};
    struct view view;
    *balance = (struct ledger_balance){0};
    for (uint8_t dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        if (names[dimension].data != NULL && rule.scope_count < RULE_SCOPE_MAX)
            rule.scope[rule.scope_count++] = (struct rule_part){dimension, names[dimension]};
    int rc = view_begin(ledger, &view);
    if (view.moment.txn == NULL)
        return rc;
    view.moment.any_reset = false;
    int family = plan_family(&rule, ledger->declared, ledger->declared_count);
    if (rc == 0 && family < 0)
        rc = LEDGER_E_UNDECLARED_SERIES;
    if (rc == 0 && family > 0 && !ledger->declared[family - 1].ready)
        rc = LEDGER_E_BUILDING;
    if (rc == 0 && family > 0 && ledger->declared[family - 1].from != 0)
        rc = LEDGER_E_PRUNED; /* what was used before is not known */
    if (rc == 0) {
        rule.measure = credits ? MEASURE_CREDITS : MEASURE_COST;
        if (of_completed(ledger, names, family, credits))
            rule.measure = credits ? MEASURE_COMPLETED_CREDITS : MEASURE_COMPLETED_COST;
        rc = begin_finding(&view, family, names, &uses, &finding);
    }
    if (rc == 0)
        rc = add_use(&finding, &rule);
    struct use *use = uses.count > 0 ? &uses.items[0] : NULL;
    if (rc == 0)
        rc = use_load_grants(&view.moment, use);
    if (rc == 0) {
        balance->granted = use->limit;
        balance->used = use->used;
        balance->held = use->held;
        balance->percent = use->grants == 0 ? 0 : use_percent(use, use->used + use->held);
        if (finding.exists)
            rc = tell_grants(&view, use, credits, limit, row, context);
    }
    view_end(&view);
    uses_free(&uses);
    return rc;
}

/* ---- holds ------------------------------------------------------------------------------ */

static int64_t booked_below(const struct hold *hold, int column) {
    bool has = hold->children.mask & UINT64_C(1) << column;
    return has ? hold->children.column[column] : 0;
}

static int tell_hold(const struct view *view, const struct hold *hold, ledger_hold_row *row,
                     void *context) {
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_live_hold live = {.id = hold->id,
                                    .deadline_us = hold->deadline_us,
                                    .extend_ms = hold->extend_ms,
                                    .open_children = hold->open_children,
                                    .boot_id = hold->boot_id,
                                    .owner = hold->owner,
                                    .is_metered = hold->metered.size > 0,
                                    .estimate = {.kind = hold->kind,
                                                 .given = hold->given,
                                                 .cost = hold->cost,
                                                 .credits = hold->credits,
                                                 .parent = hold->parent,
                                                 .policy_version = hold->policy_version,
                                                 .client_id = hold->client_id,
                                                 .run_id = hold->run_id}};
    memcpy(live.estimate.tokens, hold->tokens, sizeof hold->tokens);
    live.children.cost = booked_below(hold, COLUMN_COST);
    live.children.credits = booked_below(hold, COLUMN_CREDITS);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        live.children.tokens[class] = booked_below(hold, COLUMN_INPUT_TOKENS + class);
    int rc = 0;
    if (live.is_metered)
        rc = entry_read_draft(hold->metered.data, hold->metered.size, &live.metered);
    for (int i = 1; rc == 0 && i < DIMENSION_LIMIT; i++) {
        uint8_t dimension;
        if (hold->name_numbers[i] != 0)
            rc = names_text(view->moment.txn, dbi_of(view, DB_NAMES), hold->name_numbers[i],
                            &dimension, &names[i]);
    }
    if (rc == 0)
        row(context, &live, names);
    return rc;
}

/* Live holds from an id on. */
static int tell_holds(struct ledger *ledger, uint64_t from, uint64_t to, size_t limit,
                      ledger_hold_row *row, void *context) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    MDB_cursor *cursor = NULL;
    struct hold hold = {0};
    struct view view;
    int rc = view_begin(ledger, &view);
    if (view.moment.txn == NULL)
        return rc;
    if (rc == 0)
        rc = mdb_cursor_open(view.moment.txn, dbi_of(&view, DB_HOLDS), &cursor);
    put_be64(bytes, from);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0 && key.mv_size != 8)
        rc = LEDGER_E_DAMAGED;
    for (size_t i = 0; rc == 0 && i < limit && get_be64(key.mv_data) <= to; i++) {
        rc = hold_read(get_be64(key.mv_data), value.mv_data, value.mv_size, &hold);
        if (rc == 0)
            rc = tell_hold(&view, &hold, row, context);
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    hold_free(&hold);
    view_end(&view);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int ledger_read_hold(struct ledger *ledger, uint64_t id, ledger_hold_row *row, void *context) {
    return tell_holds(ledger, id, id, 1, row, context);
}

int ledger_read_holds(struct ledger *ledger, uint64_t from, size_t limit, ledger_hold_row *row,
                      void *context) {
    return tell_holds(ledger, from, UINT64_MAX, limit, row, context);
}

size_t ledger_series(struct ledger *ledger, struct declared_series *declared) {
    pthread_rwlock_rdlock(&ledger->policy_lock);
    size_t count = ledger->declared_count;
    memcpy(declared, ledger->declared, count * sizeof *declared);
    pthread_rwlock_unlock(&ledger->policy_lock);
    return count;
}
