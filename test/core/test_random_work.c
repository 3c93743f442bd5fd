/* Everything that a ledger can be asked to do, at random, under random policies, with a clock
 * that stands still and leaps. Every decision is compared with one that counts all entries, and
 * whatever is derived with what it is derived from. */
#include "support.h"

#include <stdio.h>

#include "../../c_src/core/held.h"
#include "books.h"

static const char *const states[] = {"planning", "executing", "reviewing"};
static const char *const users[] = {"ada", "bob", "eve", NULL};
static const char *const orgs[] = {"acme", "umbrella", NULL};

#define RULES_MAX 10
#define ENDED_MAX 64

/* One ledger under test, and what the test remembers of it. */
struct world {
    const char *directory;
    struct ledger *ledger;
    uint8_t boot_id[GATE_BOOT_ID_BYTES];
    size_t families;
    size_t ended_count;
    uint64_t ended[ENDED_MAX]; /* holds that the ledger ended: their callers may come late */
    uint64_t next_id;          /* for client ids */
};

/* ---- policies ----------------------------------------------------------------------------- */

static struct ledger_rule random_scope(struct ledger_rule rule) {
    switch (random_below(8)) {
    case 0:
        return of(rule, DIMENSION_STATE, states[random_below(3)]);
    case 1:
        return of(rule, DIMENSION_STATE, NULL);
    case 2:
        return of(rule, DIMENSION_USER, users[random_below(4)]);
    case 3:
        return of(rule, DIMENSION_ORG, orgs[random_below(3)]);
    case 4:
        return of(of(rule, DIMENSION_ORG, orgs[random_below(3)]), DIMENSION_USER,
                  users[random_below(4)]);
    case 5: /* which usage may say otherwise than the estimate did */
        return of(rule, DIMENSION_MODEL, random_below(2) ? NULL : "another");
    default:
        return rule;
    }
}

static struct ledger_rule random_window(struct ledger_rule rule) {
    static const uint64_t windows[] = {1, 5000, MINUTE_MS, HOUR_MS, DAY_MS};
    switch (random_below(4)) {
    case 0:
        return rule;
    case 1:
        return calendar(rule, WINDOW_DAY + random_below(3), 15 * (int32_t)random_below(50) - 300);
    default:
        return within(rule, windows[random_below(LENGTH(windows))]);
    }
}

static uint64_t random_limit(enum rule_measure measure) {
    uint64_t most = measure <= MEASURE_COMPLETED_INVOCATIONS ? 12 : 600;
    uint64_t odd = random_below(12);
    return odd == 0 ? RULE_UNLIMITED : odd == 1 ? 0 : random_below(most);
}

static struct ledger_rule random_rule(const char *name) {
    enum rule_measure measure = random_below(MEASURES);
    struct ledger_rule rule = rule_of(name, measure, random_limit(measure));
    bool is_money = measure >= MEASURE_COST && measure <= MEASURE_COMPLETED_CREDITS;
    rule = random_scope(rule);
    if (is_money && random_below(4) == 0) {
        rule.granted = true;
        rule.limit = 0;
        rule.grace = random_below(2) * random_below(50);
    } else {
        rule = random_window(rule);
    }
    if (random_below(4) == 0)
        rule.soft = (uint8_t)(1 + random_below(99));
    if (random_below(4) == 0)
        rule.effect = 1 + random_below(2);
    if (random_below(3) == 0) {
        rule.warn[rule.warn_count++] = (uint8_t)(1 + random_below(60));
        rule.warn[rule.warn_count++] = (uint8_t)(70 + random_below(31));
    }
    rule.require = random_below(15) == 0;
    if (random_below(2) == 0)
        rule.default_estimate = 1 + random_below(40);
    if (random_below(8) == 0)
        rule.max_values = 1 + random_below(3);
    return rule;
}

static uint32_t random_rules(struct ledger_rule *rules) {
    static char names[RULES_MAX][16];
    uint32_t count = (uint32_t)random_below(RULES_MAX + 1);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "r%u", i);
        rules[i] = random_rule(names[i]);
    }
    return count;
}

/* ---- opening ------------------------------------------------------------------------------ */

static void open_world(struct world *world) {
    static struct declared_series families[5];
    struct ledger_rule rules[RULES_MAX];
    struct ledger_policy policy = policy_of(rules, 0);
    struct ledger_options options = options_for(world->directory);
    families[0] = FAMILY(DIMENSION_USER);
    families[1] = FAMILY(DIMENSION_ORG);
    families[2] = FAMILY(DIMENSION_ORG, DIMENSION_USER);
    families[3] = FAMILY(DIMENSION_MODEL);
    families[4] = FAMILY(DIMENSION_USER, DIMENSION_STATUS);
    options.policy = &policy;
    options.series = families;
    options.series_count = world->families;
    options.boot_id = world->boot_id;
    options.meta_sync = false; /* no power will be cut here */
    world->ledger = open_with(&options);
}

static void reopen_world(struct world *world) {
    close_ledger(world->ledger);
    if (random_below(3) == 0)
        world->boot_id[0]++;
    if (world->families < 5)
        world->families += random_below(2);
    open_world(world);
}

static void build(struct world *world) {
    struct ledger_failure failure;
    bool done;
    assert_int_equal(ledger_build(world->ledger, 1 + random_below(40), &done, &failure), 0);
}

/* ---- attempts ----------------------------------------------------------------------------- */

static void random_names(struct ledger_entry *entry) {
    const char *user = users[random_below(4)], *org = orgs[random_below(3)];
    entry->names[DIMENSION_STATE] = text(states[random_below(3)]);
    if (user != NULL)
        entry->names[DIMENSION_USER] = text(user);
    if (org != NULL)
        entry->names[DIMENSION_ORG] = text(org);
    if (random_below(4) == 0)
        entry->names[DIMENSION_MODEL] = text("a model");
}

static void random_amounts(struct ledger_entry *entry) {
    entry->given = (uint32_t)random_below(8);
    if (random_below(3) > 0)
        entry->given |= ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS;
    if (entry->given & ENTRY_COST)
        entry->cost = (int64_t)(random_below(4) * random_below(80));
    if (entry->given & ENTRY_CREDITS)
        entry->credits = (int64_t)(random_below(4) * random_below(80));
    for (int i = 0; entry->given & ENTRY_TOKENS && i < TOKENS_CLASSES; i++)
        entry->tokens[i] = (int64_t)(random_below(2) * random_below(40));
}

static struct ledger_entry random_call(void) {
    struct ledger_entry entry = {.kind = KIND_INVOCATION, .status = 1 + random_below(3)};
    random_names(&entry);
    random_amounts(&entry);
    entry.duration_ms = (int64_t)random_below(10000);
    return entry;
}

/* What an attempt asks for, by column; -1: not said. */
struct asked {
    ledger_sum amount[HELD_COLUMNS];
    bool lacks_estimate;
};

static enum held_column column_of(const struct ledger_rule *rule) {
    static const enum held_column columns[] = {HELD_INVOCATIONS, HELD_INVOCATIONS, HELD_COST,
                                               HELD_COST,        HELD_CREDITS,     HELD_CREDITS,
                                               HELD_TOKENS};
    return columns[rule->measure];
}

static struct asked asked_by(const struct ledger_entry *entry) {
    struct asked asked = {.amount = {entry->kind == KIND_INVOCATION, -1, -1, -1}};
    if (entry->given & ENTRY_COST)
        asked.amount[HELD_COST] = entry->cost;
    if (entry->given & ENTRY_CREDITS)
        asked.amount[HELD_CREDITS] = entry->credits;
    if (entry->given & ENTRY_TOKENS) {
        asked.amount[HELD_TOKENS] = 0;
        for (int i = 0; i < TOKENS_CLASSES; i++)
            asked.amount[HELD_TOKENS] += entry->tokens[i];
    }
    return asked;
}

/* Fills in default estimates, as reserving does. */
static void estimate(const struct books *books, const struct ledger_policy *policy,
                     const struct ledger_entry *entry, struct asked *asked) {
    for (int column = HELD_COST; column < HELD_COLUMNS; column++) {
        bool is_needed = false;
        if (asked->amount[column] >= 0)
            continue;
        for (uint32_t i = 0; i < policy->rule_count; i++) {
            const struct ledger_rule *rule = &policy->rules[i];
            if ((int)column_of(rule) != column || !books_meets(books, rule, entry->names))
                continue;
            is_needed = is_needed ||
                        (rule->effect != EFFECT_WARN &&
                         (rule->granted || (rule->limit > 0 && rule->limit != RULE_UNLIMITED)));
            ledger_sum guess = (ledger_sum)rule->default_estimate;
            if (guess > 0 && guess > asked->amount[column])
                asked->amount[column] = guess;
        }
        asked->lacks_estimate = asked->lacks_estimate || (is_needed && asked->amount[column] < 0);
    }
}

/* What the rules say of an attempt, by counting. */
struct verdict {
    size_t count;
    const struct ledger_rule *rules[RULES_MAX];
    enum rule_reason reasons[RULES_MAX];
    ledger_sum amounts[RULES_MAX];
};

static struct verdict judge(const struct world *world, const struct books *books,
                            const struct ledger_entry *entry, const struct asked *asked,
                            uint64_t parent, bool critical) {
    const struct ledger_policy *policy = &world->ledger->policy;
    struct verdict verdict = {0};
    int64_t now_ms = ledger_now(world->ledger) / 1000;
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        enum rule_reason reason = RULE_ADMITS;
        ledger_sum amount = asked->amount[column_of(rule)];
        if (amount < 0) {
            amount = 1;
        } else {
            amount -= books_lent(books, parent, rule, entry->names);
            amount = amount < 0 ? 0 : amount;
        }
        if (books_misses(rule, entry->names))
            reason = RULE_REQUIRED;
        else if (books_meets(books, rule, entry->names))
            reason = books_reason(books, rule, entry->names, amount, critical, now_ms);
        if (reason == RULE_ADMITS)
            continue;
        verdict.rules[verdict.count] = rule;
        verdict.reasons[verdict.count] = reason;
        verdict.amounts[verdict.count++] = amount;
    }
    return verdict;
}

static const struct ledger_rule_status *status_in(const struct ledger_denial *denial,
                                                  const struct ledger_rule *rule) {
    for (size_t i = 0; i < denial->count; i++)
        if (denial->rules[i].rule == rule)
            return &denial->rules[i];
    fail_msg("rule %.*s is not in the denial", (int)rule->name.size, rule->name.data);
    return NULL;
}

static void check_denial(const struct world *world, const struct books *books,
                         const struct ledger_entry *entry, const struct verdict *verdict,
                         bool critical) {
    const struct ledger_denial *denial = last.denial;
    int64_t now_us = ledger_now(world->ledger);
    assert_non_null(denial);
    assert_int_equal(denial->count, verdict->count);
    assert_int_equal(denial->decision.denials, verdict->count);
    for (size_t i = 0; i < verdict->count; i++) {
        const struct ledger_rule *rule = verdict->rules[i];
        const struct ledger_rule_status *status = status_in(denial, rule);
        assert_int_equal(status->reason, verdict->reasons[i]);
        if (verdict->reasons[i] == RULE_REQUIRED)
            continue;
        assert_sum_equal(status->amount, verdict->amounts[i]);
        assert_sum_equal(status->used, books_used(books, rule, entry->names, now_us / 1000));
        assert_sum_equal(status->held, books_held(books, rule, entry->names));
        assert_true(status->resets_at_us == books_admits_from(books, rule, entry->names,
                                                              verdict->amounts[i], critical,
                                                              now_us));
    }
}

/* A live run of no more than seven above it; 0: none was found. */
static uint64_t random_parent(const struct books *books) {
    for (size_t i = 0; i < 4 && books_live(books) > 0; i++) {
        uint64_t hold = books_hold(books, random_below(books_live(books)));
        if (books_depth(books, hold) < 8 && books_is_run(books, hold))
            return hold;
    }
    return 0;
}

static struct ledger_text next_client_id(struct world *world) {
    static char ids[4][32];
    static unsigned next;
    char *id = ids[next++ % 4];
    snprintf(id, 32, "request %llu", (unsigned long long)++world->next_id);
    return text(id);
}

/* Nothing is due any more, so that what is decided next is decided on what is there now. */
static void settle_down(struct world *world) {
    expire(world->ledger);
    for (size_t i = 0; i < effects.expiry_count && world->ended_count < ENDED_MAX; i++)
        world->ended[world->ended_count++] = effects.expiries[i].hold;
}

static int send_reserve(struct world *world, const struct ledger_entry *entry, uint64_t parent,
                        uint64_t extend_ms, bool critical) {
    struct ledger_request *sent = request_of(OPERATION_RESERVE, parent, entry);
    sent->extend_ms = extend_ms;
    sent->critical = critical;
    return send_request(world->ledger);
}

static void reserve_something(struct world *world) {
    struct ledger_entry entry = random_call();
    bool critical = random_below(4) == 0;
    uint64_t extend_ms = 1 + random_below(UINT64_C(1) << random_below(30));
    settle_down(world);
    if (random_below(3) == 0)
        entry.kind = KIND_RUN;
    if (random_below(4) == 0)
        entry.client_id = next_client_id(world);
    struct books *books = read_books(world->ledger);
    uint64_t parent = random_below(2) ? random_parent(books) : 0;
    struct asked asked = asked_by(&entry);
    estimate(books, &world->ledger->policy, &entry, &asked);
    struct verdict verdict = judge(world, books, &entry, &asked, parent, critical);
    int rc = send_reserve(world, &entry, parent, extend_ms, critical);
    if (asked.lacks_estimate)
        assert_int_equal(rc, LEDGER_E_ESTIMATE_REQUIRED);
    else if (verdict.count == 0)
        assert_int_equal(rc, 0);
    else
        assert_int_equal(rc, LEDGER_E_BUDGET_EXHAUSTED);
    if (rc == LEDGER_E_BUDGET_EXHAUSTED)
        check_denial(world, books, &entry, &verdict, critical);
    free_books(books);
    if (rc != 0 || entry.client_id.data == NULL)
        return;
    uint64_t hold = last.id;
    assert_int_equal(send_reserve(world, &entry, parent, extend_ms, critical), 0);
    assert_int_equal(last.id, hold);
    assert_true(last.repeated);
}

/* ---- what was booked ---------------------------------------------------------------------- */

static bool keep_names(void *context, const struct ledger_entry *entry) {
    static char memory[DIMENSION_LIMIT][32];
    struct ledger_text *names = context;
    for (int i = 1; i < DIMENSION_LIMIT; i++) {
        names[i] = (struct ledger_text){0};
        if (entry->names[i].data == NULL)
            continue;
        memcpy(memory[i], entry->names[i].data, entry->names[i].size);
        names[i] = (struct ledger_text){memory[i], entry->names[i].size};
    }
    return true;
}

/* Whether the entry that was booked last is beyond a rule that could have denied it. */
static void check_overrun(const struct world *world, uint64_t id, uint64_t flags) {
    const struct ledger_policy *policy = &world->ledger->policy;
    struct ledger_text names[DIMENSION_LIMIT];
    int64_t now_ms = ledger_now(world->ledger) / 1000;
    bool overrun = false;
    assert_int_equal(ledger_fetch(world->ledger, id, keep_names, names), 0);
    struct books *books = read_books(world->ledger);
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        bool is_unlimited = !rule->granted && rule->limit == RULE_UNLIMITED;
        if (rule->effect == EFFECT_WARN || is_unlimited || !books_meets(books, rule, names) ||
            books_measured(books, rule, id) <= 0)
            continue;
        overrun =
            overrun || books_used(books, rule, names, now_ms) + books_held(books, rule, names) >
                           books_cap(books, rule, names, now_ms);
    }
    free_books(books);
    assert_int_equal(flags & ENTRY_OVERRUN, overrun ? ENTRY_OVERRUN : 0);
}

static void record_something(struct world *world) {
    struct ledger_entry entry = random_call();
    settle_down(world);
    assert_int_equal(request(world->ledger, OPERATION_RECORD, 0, &entry), 0);
    check_overrun(world, last.id, last.flags);
}

static uint64_t random_hold(const struct world *world) {
    struct books *books = read_books(world->ledger);
    uint64_t hold = books_live(books) == 0 ? 0 : books_hold(books, random_below(books_live(books)));
    free_books(books);
    return hold;
}

static struct ledger_entry random_usage(void) {
    struct ledger_entry usage = {.kind = KIND_RUN, .status = 1 + random_below(3)};
    random_amounts(&usage);
    usage.duration_ms = (int64_t)random_below(10000);
    if (random_below(4) == 0)
        usage.names[DIMENSION_MODEL] = text("another");
    return usage;
}

static bool has_children(const struct world *world, uint64_t hold) {
    struct books *books = read_books(world->ledger);
    bool has = books_children(books, hold) > 0;
    free_books(books);
    return has;
}

static void settle_something(struct world *world) {
    struct ledger_entry usage = random_usage();
    settle_down(world);
    uint64_t hold = random_hold(world);
    if (hold == 0)
        return;
    bool is_parent = has_children(world, hold);
    if (random_below(3) == 0)
        usage.client_id = next_client_id(world);
    int rc = request(world->ledger, OPERATION_SETTLE, hold, &usage);
    assert_int_equal(rc, is_parent ? LEDGER_E_OPEN_CHILDREN : 0);
    if (rc != 0)
        return;
    uint64_t id = last.id, flags = last.flags;
    check_overrun(world, id, flags);
    assert_int_equal(request(world->ledger, OPERATION_SETTLE, hold, &usage),
                     usage.client_id.data != NULL ? 0 : LEDGER_E_RESOLVED);
    if (usage.client_id.data != NULL)
        assert_true(last.id == id && last.flags == flags);
}

static void release_something(struct world *world) {
    struct ledger_entry nothing = no_usage();
    settle_down(world);
    uint64_t hold = random_hold(world);
    if (hold == 0)
        return;
    int rc = has_children(world, hold) ? LEDGER_E_OPEN_CHILDREN : 0;
    assert_int_equal(request(world->ledger, OPERATION_RELEASE, hold, &nothing), rc);
}

static void come_late(struct world *world) {
    struct ledger_entry usage = random_usage();
    if (world->ended_count == 0)
        return;
    size_t at = random_below(world->ended_count);
    uint64_t hold = world->ended[at];
    world->ended[at] = world->ended[--world->ended_count];
    settle_down(world);
    assert_int_equal(request(world->ledger, OPERATION_SETTLE, hold, &usage), 0);
    assert_true(last.flags & ENTRY_LATE);
    check_overrun(world, last.id, last.flags);
    assert_int_equal(request(world->ledger, OPERATION_SETTLE, hold, &usage), LEDGER_E_RESOLVED);
}

static void touch_something(struct world *world) {
    struct ledger_entry usage = random_usage(), nothing = no_usage();
    settle_down(world);
    uint64_t hold = random_hold(world);
    if (hold == 0)
        return;
    switch (random_below(3)) {
    case 0:
        assert_int_equal(request(world->ledger, OPERATION_METER, hold, &usage), 0);
        break;
    case 1:
        assert_int_equal(request(world->ledger, OPERATION_TRANSFER, hold, &nothing), 0);
        break;
    default:
        assert_int_equal(request(world->ledger, OPERATION_ABORT, hold, NULL), 0);
        assert_int_equal(effects.expiry_count, 1);
        if (world->ended_count < ENDED_MAX)
            world->ended[world->ended_count++] = hold;
    }
}

static void grant_something(struct world *world) {
    struct ledger_entry grant = {.kind = KIND_GRANT, .given = ENTRY_COST | ENTRY_CREDITS};
    grant.cost = (int64_t)random_below(200) - 40;
    grant.credits = (int64_t)(random_below(2) * random_below(200)) - 20;
    if (random_below(2))
        grant.names[DIMENSION_STATE] = text(states[random_below(3)]);
    else if (random_below(2))
        grant.names[DIMENSION_USER] = text(users[random_below(3)]);
    int rc = request(world->ledger, OPERATION_RECORD, 0, &grant);
    if (rc != 0)
        assert_true(rc == LEDGER_E_UNDECLARED_SERIES || rc == LEDGER_E_BUILDING);
}

static void reset_something(struct world *world) {
    const struct ledger_policy *policy = &world->ledger->policy;
    char name[16];
    if (policy->rule_count == 0)
        return;
    const struct ledger_rule *rule = &policy->rules[random_below(policy->rule_count)];
    snprintf(name, sizeof name, "%.*s", (int)rule->name.size, rule->name.data);
    bool is_of_each_user = rule->scope_count == 1 && rule->scope[0].value.data == NULL &&
                           rule->scope[0].dimension == DIMENSION_USER;
    const char *user = is_of_each_user && random_below(2) ? users[random_below(3)] : NULL;
    int expected = rule->granted ? LEDGER_E_NO_RULE : 0;
    assert_int_equal(reset_rule(world->ledger, name, user), expected);
}

static void change_the_rules(struct world *world) {
    struct ledger_rule rules[RULES_MAX];
    int rc = set_rules(world->ledger, rules, random_rules(rules));
    if (rc != 0)
        assert_true(rc == LEDGER_E_UNDECLARED_SERIES || rc == LEDGER_E_BUILDING);
}

/* Several at once, of which nobody checks more than that they can be told from each other. */
static void send_a_batch(struct world *world) {
    struct drafts drafts = {0};
    uint64_t hold = random_hold(world);
    for (size_t count = 1 + random_below(12); count > 0; count--) {
        struct ledger_entry entry = random_call(), usage = random_usage();
        uint64_t kind = random_below(8);
        if (kind < 3)
            add_draft(&drafts, &entry);
        else if (kind < 6)
            add_request(&drafts, OPERATION_RESERVE, 0, &entry)->token = ++world->next_id + 1000000;
        else if (kind == 6)
            add_request(&drafts, OPERATION_SETTLE, hold, &usage);
        else
            add_request(&drafts, OPERATION_WITHDRAW, world->next_id + 1000000, NULL);
    }
    assert_int_equal(commit(world->ledger, &drafts, ledger_now(world->ledger)), 0);
    for (size_t i = 0; i < effects.expiry_count && world->ended_count < ENDED_MAX; i++)
        world->ended[world->ended_count++] = effects.expiries[i].hold;
    for (size_t i = 0; i < drafts.count; i++) {
        /* a late settling may be among them: it must not be tried again */
        bool settled =
            drafts.requests[i].operation == OPERATION_SETTLE && drafts.requests[i].rc == 0;
        for (size_t k = 0; settled && k < world->ended_count; k++)
            if (world->ended[k] == hold)
                world->ended[k--] = world->ended[--world->ended_count];
        assert_true(drafts.requests[i].rc == 0 || ledger_error_is_own(drafts.requests[i].rc));
    }
    free_drafts(&drafts);
}

/* ---- asking ------------------------------------------------------------------------------- */

static void count_row(void *context, const struct ledger_rule_status *status) {
    size_t *count = context;
    (void)status;
    ++*count;
}

/* Rules that would degrade do not deny whoever only asks. */
static void ask_something(struct world *world) {
    struct ledger_entry entry = random_call();
    struct ledger_decision decision;
    bool critical = random_below(2), has_degrading = false;
    size_t rows = 0;
    struct books *books = read_books(world->ledger);
    struct asked asked = asked_by(&entry);
    struct verdict verdict = judge(world, books, &entry, &asked, 0, critical);
    size_t expected = 0;
    for (size_t i = 0; i < verdict.count; i++) {
        bool degrades = verdict.rules[i]->effect == EFFECT_DEGRADE;
        expected += !degrades;
        has_degrading = has_degrading || degrades;
        if (degrades && verdict.reasons[i] > RULE_SOFT)
            expected = SIZE_MAX / 2; /* what it is then is not settled */
    }
    assert_int_equal(ledger_check(world->ledger, &entry, critical, count_row, &rows, &decision), 0);
    assert_int_equal(decision.denials, rows);
    if (expected < SIZE_MAX / 2) {
        assert_int_equal(rows, expected);
        assert_int_equal(decision.is_low_tier, has_degrading);
    }
    free_books(books);
}

/* ---- time --------------------------------------------------------------------------------- */

static void let_time_pass(struct world *world) {
    int64_t now = ledger_now(world->ledger);
    uint64_t word = ledger_allowed_from(world->ledger, (uint32_t)random_below(3));
    if (random_below(3) == 0 && word != GATE_NEVER && (int64_t)word > now)
        now = (int64_t)(word - random_below(2)); /* where the gate opens, or just before */
    else
        now += (int64_t)random_below(UINT64_C(1) << random_below(38));
    at_time(world->ledger, now);
}

static void do_something(struct world *world) {
    static const struct {
        unsigned weight;
        void (*what)(struct world *);
    } things[] = {
        {12, reserve_something}, {6, record_something}, {6, settle_something},
        {2, release_something},  {4, touch_something},  {2, come_late},
        {2, grant_something},    {1, reset_something},  {3, ask_something},
        {1, change_the_rules},   {2, send_a_batch},     {2, build},
        {1, reopen_world},       {6, let_time_pass},
    };
    unsigned sum = 0, at;
    size_t i = 0;
    for (size_t k = 0; k < LENGTH(things); k++)
        sum += things[k].weight;
    for (at = (unsigned)random_below(sum); at >= things[i].weight; i++)
        at -= things[i].weight;
    things[i].what(world);
}

static void work(const char *directory, size_t steps, size_t families) {
    struct world world = {.directory = directory, .families = families};
    open_world(&world);
    at_time(world.ledger, START_US);
    for (size_t i = 0; i < 5 && world.ledger->policy.rule_count == 0; i++)
        change_the_rules(&world);
    for (size_t i = 1; i <= steps; i++) {
        do_something(&world);
        if (i % 4 == 0)
            assert_books_agree(world.ledger);
    }
    assert_rebuilds(world.ledger); /* with what is still held */
    while (world.ledger != NULL && facts_of(world.ledger).holds > 0) {
        at_time(world.ledger, ledger_now(world.ledger) + 40 * (int64_t)DAY_MS * 1000);
        expire(world.ledger);
    }
    assert_books_agree(world.ledger);
    close_ledger(world.ledger);
}

static void in_many_worlds(const char *directory, size_t families) {
    for (size_t i = rounds(20); i > 0; i--) {
        char below[4096];
        snprintf(below, sizeof below, "%s/%zu", directory, i);
        work(below, 60 + random_below(120), families);
    }
}

static void whatever_is_done_the_books_agree(void **state) {
    in_many_worlds(*state, 5);
}

static void the_same_while_series_are_declared_and_built(void **state) {
    in_many_worlds(*state, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(whatever_is_done_the_books_agree),
        in_directory(the_same_while_series_are_declared_and_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
