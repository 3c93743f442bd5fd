/* What rules say, by counting: which of them an attempt meets, where periods begin, what is used
 * and what grants are left. */
#include "books_internal.h"

#include <time.h>

static void numbers_of(const struct books *books, const struct ledger_text *names,
                       uint32_t *numbers) {
    numbers[0] = 0;
    for (int i = 1; i < DIMENSION_LIMIT; i++)
        numbers[i] = names[i].data == NULL ? 0 : books_number(books, i, names[i]);
}

/* The day is the calendar's of the C library. */
static int64_t period_start_ms(const struct ledger_rule *rule, int64_t at_ms) {
    int64_t offset_s = INT64_C(60) * rule->offset_minutes;
    int64_t local_s = at_ms / 1000 + offset_s; /* at_ms is not negative */
    time_t seconds = (time_t)local_s;
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    if (rule->window == WINDOW_WEEK)
        tm.tm_mday -= (tm.tm_wday + 6) % 7;
    else if (rule->window == WINDOW_MONTH)
        tm.tm_mday = 1;
    return ((int64_t)timegm(&tm) - offset_s) * 1000;
}

static int64_t start_ms(const struct ledger_rule *rule, int64_t at_ms) {
    switch (rule->window) {
    case WINDOW_ROLLING:
        return at_ms - (int64_t)rule->window_ms;
    case WINDOW_LIFETIME:
        return INT64_MIN / 1000;
    default:
        return period_start_ms(rule, at_ms);
    }
}

static bool is_in_scope(const struct ledger_rule *rule, const uint32_t *names, const uint32_t *of) {
    for (uint8_t i = 0; i < rule->scope_count; i++) {
        uint32_t number = names[rule->scope[i].dimension];
        if (number == 0 || of[rule->scope[i].dimension] != number)
            return false;
    }
    return true;
}

/* The newest reset of the rule for these names. */
uint64_t books_reset_id(const struct books *books, const struct ledger_rule *rule,
                        const uint32_t *names) {
    uint64_t newest = 0;
    for (size_t i = 0; i < books->reset_count; i++) {
        const struct reset_of *reset = &books->resets[i];
        struct ledger_text name = {reset->rule, reset->size};
        bool whole = true;
        for (int k = 1; k < DIMENSION_LIMIT; k++)
            whole = whole && reset->names[k] == 0;
        if (text_equal(name, rule->name) && reset->id > newest &&
            (whole || is_in_scope(rule, names, reset->names)))
            newest = reset->id;
    }
    return newest;
}

static int64_t measured(const struct ledger_rule *rule, const struct booked *entry) {
    int64_t tokens = 0;
    switch (rule->measure) {
    case MEASURE_INVOCATIONS:
        return entry->adds[COLUMN_INVOCATIONS];
    case MEASURE_COMPLETED_INVOCATIONS:
        return entry->adds[COLUMN_COMPLETED];
    case MEASURE_COST:
        return entry->adds[COLUMN_COST];
    case MEASURE_COMPLETED_COST:
        return entry->adds[COLUMN_COMPLETED_COST];
    case MEASURE_CREDITS:
        return entry->adds[COLUMN_CREDITS];
    case MEASURE_COMPLETED_CREDITS:
        return entry->adds[COLUMN_COMPLETED_CREDITS];
    default:
        for (int i = 0; i < TOKENS_CLASSES; i++)
            tokens += entry->adds[COLUMN_INPUT_TOKENS + i];
        return tokens;
    }
}

static ledger_sum used_at(const struct books *books, const struct ledger_rule *rule,
                          const uint32_t *names, int64_t at_ms) {
    int64_t start = start_ms(rule, at_ms);
    uint64_t reset = books_reset_id(books, rule, names);
    ledger_sum used = 0;
    for (size_t i = books->count; i-- > 0;) {
        const struct booked *entry = &books->entries[i];
        if ((int64_t)entry->id < start * 1000 || entry->id <= reset)
            break;
        if (entry->adds_any && is_in_scope(rule, names, entry->names))
            used += measured(rule, entry);
    }
    return used;
}

static int held_as(const struct ledger_rule *rule) {
    switch (rule->measure) {
    case MEASURE_INVOCATIONS:
    case MEASURE_COMPLETED_INVOCATIONS:
        return HELD_INVOCATIONS;
    case MEASURE_COST:
    case MEASURE_COMPLETED_COST:
        return HELD_COST;
    case MEASURE_CREDITS:
    case MEASURE_COMPLETED_CREDITS:
        return HELD_CREDITS;
    default:
        return HELD_TOKENS;
    }
}

/* The family whose series the rule is over; its key for these names. */
struct sum_key books_key_of_rule(const struct books *books, const struct ledger_rule *rule,
                                 const uint32_t *names) {
    struct sum_key key = {0};
    for (size_t i = 0; rule->scope_count > 0 && i < books->ledger->declared_count; i++) {
        const struct declared_series *declared = &books->ledger->declared[i];
        bool same = declared->count == rule->scope_count;
        for (uint8_t k = 0; same && k < declared->count; k++)
            same = declared->dimensions[k] == rule->scope[k].dimension;
        if (same)
            key.family = (uint32_t)i + 1;
    }
    assert_true(key.family > 0 || rule->scope_count == 0);
    for (uint8_t k = 0; k < rule->scope_count; k++)
        key.numbers[k] = names[rule->scope[k].dimension];
    return key;
}

static ledger_sum held_by(const struct books *books, const struct ledger_rule *rule,
                          const uint32_t *names) {
    struct sum_key key = books_key_of_rule(books, rule, names);
    struct sum *sum = books_sum(books, &key);
    return sum == NULL ? 0 : sum->held.column[held_as(rule)];
}

/* Grants of an account, as a rule over it reads them. */
struct account {
    ledger_sum granted; /* all that were given */
    ledger_sum withdrawn;
    ledger_sum gone; /* of those that are used up */
    ledger_sum open; /* all of those that are not */
};

static struct account account_of(const struct books *books, const struct ledger_rule *rule,
                                 const uint32_t *names, ledger_sum used) {
    bool is_credits = held_as(rule) == HELD_CREDITS;
    struct account account = {0};
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        int64_t amount = is_credits ? entry->credits : entry->cost;
        if (entry->kind != KIND_GRANT || !is_in_scope(rule, names, entry->names))
            continue;
        if (amount < 0)
            account.withdrawn -= amount;
        else
            account.granted += amount;
    }
    /* The oldest are used first. */
    ledger_sum passed = 0, consumed = used + account.withdrawn;
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        int64_t amount = is_credits ? entry->credits : entry->cost;
        if (entry->kind != KIND_GRANT || amount <= 0 || !is_in_scope(rule, names, entry->names))
            continue;
        passed += amount;
        if (passed <= consumed)
            account.gone += amount;
        else
            account.open += amount;
    }
    return account;
}

/* The most that may be in use. */
static ledger_sum cap_of(const struct books *books, const struct ledger_rule *rule,
                         const uint32_t *names, ledger_sum used, bool soft) {
    if (!rule->granted)
        return soft ? (ledger_sum)rule->limit * rule->soft / 100 : (ledger_sum)rule->limit;
    struct account account = account_of(books, rule, names, used);
    if (!soft)
        return account.granted - account.withdrawn + rule->grace;
    /* What of the open grants is consumed already takes its part of the percent. */
    ledger_sum taken = used + account.withdrawn - account.gone;
    return used + account.open * rule->soft / 100 - taken;
}

/* Whether the rule would have one value more than it may. */
static bool is_full(const struct books *books, const struct ledger_rule *rule,
                    const uint32_t *names) {
    bool has_each = false;
    struct sum_key key = books_key_of_rule(books, rule, names);
    uint64_t max = rule->max_values == 0 ? RULE_MAX_VALUES : rule->max_values;
    uint32_t count;
    for (uint8_t i = 0; i < rule->scope_count; i++)
        has_each = has_each || rule->scope[i].value.data == NULL;
    if (!has_each || books_series(books, &key) != NONE)
        return false;
    const struct declared_series *declared = &books->ledger->declared[key.family - 1];
    /* Checked against the rows themselves elsewhere. */
    assert_int_equal(names_count_family(books->txn, books_dbi(books, DB_NAMES),
                                        declared->dimensions, declared->count, &count),
                     0);
    return count >= max;
}

static bool is_unlimited(const struct ledger_rule *rule) {
    return !rule->granted && rule->limit == RULE_UNLIMITED;
}

static enum rule_reason reason_at(const struct books *books, const struct ledger_rule *rule,
                                  const uint32_t *names, ledger_sum amount, bool critical,
                                  int64_t at_ms) {
    if (amount == 0 || is_unlimited(rule) || rule->effect == EFFECT_WARN)
        return RULE_ADMITS;
    if (is_full(books, rule, names))
        return RULE_TOO_MANY_VALUES;
    ledger_sum used = used_at(books, rule, names, at_ms);
    ledger_sum after = used + held_by(books, rule, names) + amount;
    if (after > cap_of(books, rule, names, used, false))
        return RULE_LIMIT;
    bool is_soft = rule->soft > 0 && !critical;
    return is_soft && after > cap_of(books, rule, names, used, true) ? RULE_SOFT : RULE_ADMITS;
}

enum rule_reason books_reason(const struct books *books, const struct ledger_rule *rule,
                              const struct ledger_text *names, ledger_sum amount, bool critical,
                              int64_t at_ms) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return reason_at(books, rule, numbers, amount, critical, at_ms);
}

ledger_sum books_used(const struct books *books, const struct ledger_rule *rule,
                      const struct ledger_text *names, int64_t at_ms) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return used_at(books, rule, numbers, at_ms);
}

ledger_sum books_held(const struct books *books, const struct ledger_rule *rule,
                      const struct ledger_text *names) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return held_by(books, rule, numbers);
}

ledger_sum books_cap(const struct books *books, const struct ledger_rule *rule,
                     const struct ledger_text *names, int64_t at_ms) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return cap_of(books, rule, numbers, used_at(books, rule, numbers, at_ms), false);
}

ledger_sum books_lent(const struct books *books, uint64_t parent, const struct ledger_rule *rule,
                      const struct ledger_text *names) {
    uint32_t numbers[DIMENSION_LIMIT];
    struct hold *hold = books_live_hold(books, parent);
    numbers_of(books, names, numbers);
    if (hold == NULL || !is_in_scope(rule, numbers, hold->name_numbers))
        return 0;
    struct sum_key key = books_key_of_rule(books, rule, numbers);
    return hold_share_of(hold, books_series(books, &key))->held[held_as(rule)];
}

int64_t books_measured(const struct books *books, const struct ledger_rule *rule, uint64_t id) {
    const struct booked *entry = books_entry(books, id);
    assert_non_null(entry);
    return measured(rule, entry);
}

size_t books_live(const struct books *books) {
    return books->hold_count;
}

uint64_t books_hold(const struct books *books, size_t nth) {
    return books->holds[nth].id;
}

bool books_is_run(const struct books *books, uint64_t hold) {
    const struct hold *live = books_live_hold(books, hold);
    return live != NULL && live->kind == KIND_RUN;
}

size_t books_children(const struct books *books, uint64_t hold) {
    size_t children = 0;
    for (size_t i = 0; i < books->hold_count; i++)
        children += books->holds[i].parent == hold;
    return children;
}

size_t books_depth(const struct books *books, uint64_t hold) {
    size_t depth = 0;
    for (const struct hold *live = books_live_hold(books, hold); live != NULL;
         live = books_live_hold(books, live->parent))
        depth++;
    return depth;
}

/* A rule takes the place of another when it is of the same shape and says more. */
static bool takes_place(const struct ledger_rule *a, const struct ledger_rule *b) {
    bool more = false;
    if (a->scope_count != b->scope_count || a->measure != b->measure || a->window != b->window ||
        (a->window == WINDOW_ROLLING && a->window_ms != b->window_ms) ||
        (a->window != WINDOW_ROLLING && a->offset_minutes != b->offset_minutes))
        return false;
    for (uint8_t i = 0; i < a->scope_count; i++) {
        if (a->scope[i].dimension != b->scope[i].dimension)
            return false;
        if (b->scope[i].value.data != NULL &&
            (a->scope[i].value.data == NULL || !text_equal(a->scope[i].value, b->scope[i].value)))
            return false;
        more = more || (b->scope[i].value.data == NULL && a->scope[i].value.data != NULL);
    }
    return more;
}

/* 1: it speaks of these names, 0: it does not, -1: it would, but misses a dimension. */
static int speaks_of(const struct ledger_rule *rule, const struct ledger_text *names) {
    int speaks = 1;
    for (uint8_t i = 0; i < rule->scope_count; i++) {
        struct ledger_text name = names[rule->scope[i].dimension];
        struct ledger_text value = rule->scope[i].value;
        if (name.data != NULL && value.data != NULL && !text_equal(name, value))
            return 0;
        if (name.data == NULL)
            speaks = -1;
    }
    return speaks;
}

bool books_meets(const struct books *books, const struct ledger_rule *rule,
                 const struct ledger_text *names) {
    const struct ledger_policy *policy = &books->ledger->policy;
    if (speaks_of(rule, names) != 1)
        return false;
    for (uint32_t i = 0; i < policy->rule_count; i++)
        if (takes_place(&policy->rules[i], rule) && speaks_of(&policy->rules[i], names) == 1)
            return false;
    return true;
}

bool books_misses(const struct ledger_rule *rule, const struct ledger_text *names) {
    return rule->require && rule->effect != EFFECT_WARN && speaks_of(rule, names) == -1;
}

/* By then whatever was booked has left every window. */
static int64_t far_ms(const struct books *books, const struct ledger_rule *rule, int64_t now_ms) {
    int64_t last_ms = books->count == 0 ? 0 : (int64_t)(books->entries[books->count - 1].id / 1000);
    int64_t from = last_ms > now_ms ? last_ms : now_ms;
    return from +
           (rule->window == WINDOW_ROLLING ? (int64_t)rule->window_ms + 1 : 32 * (int64_t)DAY_MS);
}

uint64_t books_admits_from(const struct books *books, const struct ledger_rule *rule,
                           const struct ledger_text *names, ledger_sum amount, bool critical,
                           int64_t now_us) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    int64_t denied = now_us / 1000, admitted = far_ms(books, rule, denied);
    if (reason_at(books, rule, numbers, amount, critical, denied) == RULE_ADMITS)
        return 0;
    if (reason_at(books, rule, numbers, amount, critical, admitted) != RULE_ADMITS)
        return UINT64_MAX;
    while (admitted - denied > 1) {
        int64_t middle = denied + (admitted - denied) / 2;
        if (reason_at(books, rule, numbers, amount, critical, middle) == RULE_ADMITS)
            admitted = middle;
        else
            denied = middle;
    }
    return (uint64_t)admitted * 1000;
}
