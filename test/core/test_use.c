/* Use of a rule, what it says of an attempt, and when it would say otherwise, against looking at
 * every entry. */
#include "support.h"

#include "../../c_src/core/marks.h"
#include "../../c_src/core/period.h"
#include "../../c_src/core/series.h"
#include "../../c_src/core/use.h"

#define SERIES 7
#define ITEMS_MAX 3000

static MDB_dbi warned;
static struct series_block block;
static struct moment moment;
static size_t count;
static struct item {
    uint64_t id;
    struct amounts amounts;
} items[ITEMS_MAX];

static int set_up(void **state) {
    if (make_scratch(state) != 0)
        return -1;
    count = 0;
    assert_int_equal(mdb_dbi_open(scratch.txn, "warned", MDB_CREATE, &warned), 0);
    moment = (struct moment){.txn = scratch.txn, .series = scratch.cursor, .warned = warned};
    return series_load(scratch.txn, scratch.dbi, SERIES, &block);
}

static void add(uint64_t id, enum totals_column column, int64_t amount) {
    struct item *item = &items[count++];
    assert_true(count <= ITEMS_MAX);
    *item = (struct item){.id = id};
    amounts_set(&item->amounts, column, amount);
    assert_int_equal(series_append(scratch.txn, scratch.dbi, &block, id, &item->amounts), 0);
}

static void add_done(void) {
    assert_int_equal(series_store(scratch.txn, scratch.dbi, &block), 0);
}

/* As a reader sees it at a time. */
static struct use use_at(const struct ledger_rule *rule, int64_t now_us, const struct held *held) {
    static const struct held none;
    struct totals totals;
    struct use use;
    moment.now_us = now_us;
    assert_int_equal(marks_any_reset(scratch.txn, warned, &moment.any_reset), 0);
    assert_int_equal(use_begin(&moment, rule, SERIES, true, &use), 0);
    assert_int_equal(series_totals_now(scratch.cursor, SERIES, &totals), 0);
    use_refresh(&use, &totals, held == NULL ? &none : held);
    assert_int_equal(use_load_grants(&moment, &use), 0);
    return use;
}

static uint64_t admits_from(const struct use *use, ledger_sum amount, bool critical) {
    uint64_t from;
    assert_int_equal(use_admits_from(&moment, use, amount, critical, &from), 0);
    return from;
}

static uint64_t forecast(const struct use *use) {
    uint64_t at;
    assert_int_equal(use_forecast(&moment, use, &at), 0);
    return at;
}

/* ---- by looking at every entry ------------------------------------------------------------ */

static int64_t measured(const struct ledger_rule *rule, const struct item *item) {
    struct totals totals = {0};
    totals_add(&totals, &item->amounts);
    switch (rule->measure) {
    case MEASURE_INVOCATIONS:
        return (int64_t)totals.column[COLUMN_INVOCATIONS];
    case MEASURE_COMPLETED_INVOCATIONS:
        return (int64_t)totals.column[COLUMN_COMPLETED];
    case MEASURE_COST:
        return (int64_t)totals.column[COLUMN_COST];
    case MEASURE_COMPLETED_COST:
        return (int64_t)totals.column[COLUMN_COMPLETED_COST];
    case MEASURE_CREDITS:
        return (int64_t)totals.column[COLUMN_CREDITS];
    case MEASURE_COMPLETED_CREDITS:
        return (int64_t)totals.column[COLUMN_COMPLETED_CREDITS];
    default:
        return (int64_t)(totals.column[COLUMN_INPUT_TOKENS] + totals.column[COLUMN_OUTPUT_TOKENS] +
                         totals.column[COLUMN_CACHE_READ_TOKENS] +
                         totals.column[COLUMN_CACHE_CREATION_TOKENS] +
                         totals.column[COLUMN_REASONING_TOKENS]);
    }
}

static ledger_sum used_by_counting(const struct ledger_rule *rule, uint64_t since, int64_t at_ms) {
    int64_t start = INT64_MIN / 1000, end;
    ledger_sum used = 0;
    if (rule->window == WINDOW_ROLLING)
        start = at_ms - (int64_t)rule->window_ms;
    else if (rule->window != WINDOW_LIFETIME)
        period_bounds(rule->window, rule->offset_minutes, at_ms, &start, &end);
    for (size_t i = 0; i < count; i++)
        if ((int64_t)items[i].id >= start * 1000 && items[i].id > since)
            used += measured(rule, &items[i]);
    return used;
}

static bool has_room_by_counting(const struct use *use, ledger_sum amount, bool critical,
                                 int64_t at_ms) {
    ledger_sum used = used_by_counting(use->rule, use->since, at_ms);
    return used + use->held + amount <= use_cap(use, critical);
}

/* ---- windows ------------------------------------------------------------------------------ */

static const enum totals_column measured_columns[] = {
    COLUMN_INVOCATIONS, COLUMN_COMPLETED,         COLUMN_COST,         COLUMN_COMPLETED_COST,
    COLUMN_CREDITS,     COLUMN_COMPLETED_CREDITS, COLUMN_INPUT_TOKENS, COLUMN_REASONING_TOKENS};

/* Entries over some weeks, in clusters; now and then several within a ms. */
static void fill(size_t entries) {
    uint64_t id = (uint64_t)START_US + random_below(DAY_MS * 1000);
    while (entries-- > 0) {
        id += 1 + random_below(UINT64_C(1) << random_below(34));
        add(id, measured_columns[random_below(LENGTH(measured_columns))],
            1 + (int64_t)random_below(50));
    }
    add_done();
}

static struct ledger_rule random_window(void) {
    static const uint64_t lengths[] = {1, 1000, MINUTE_MS, HOUR_MS, DAY_MS, 20 * DAY_MS};
    struct ledger_rule rule = rule_of("r", random_below(MEASURES), random_below(2000));
    if (random_below(2))
        return within(rule, lengths[random_below(LENGTH(lengths))]);
    rule.window = WINDOW_DAY + random_below(4);
    if (rule.window != WINDOW_LIFETIME)
        rule.offset_minutes = 15 * ((int32_t)random_below(145) - 72);
    return rule;
}

/* Somewhere near an entry, or where one leaves its window. */
static int64_t interesting_time(const struct ledger_rule *rule) {
    uint64_t near = items[random_below(count)].id;
    if (rule->window == WINDOW_ROLLING && random_below(2))
        near += rule->window_ms * 1000;
    return (int64_t)(near + random_below(4000)) - 2000;
}

static void maybe_reset(const char *rule) {
    if (random_below(4) == 0)
        assert_int_equal(marks_put_reset(scratch.txn, warned, text(rule),
                                         random_below(2) ? SERIES : MARKS_WHOLE_RULE,
                                         items[random_below(count)].id),
                         0);
    else if (random_below(2))
        assert_int_equal(marks_delete(scratch.txn, warned, text(rule)), 0);
}

static void use_of_every_window_equals_counting(void **state) {
    (void)state;
    fill(rounds(800) + 40);
    for (size_t i = rounds(4000); i > 0; i--) {
        struct ledger_rule rule = random_window();
        maybe_reset("r");
        struct use use = use_at(&rule, interesting_time(&rule), NULL);
        assert_sum_equal(use.used, used_by_counting(&rule, use.since, moment.now_us / 1000));
    }
}

/* At the answer it is admitted, and 1 ms before it is not. */
static void check_admits_from(const struct use *use, ledger_sum amount, bool critical) {
    int64_t now_ms = moment.now_us / 1000;
    uint64_t from = admits_from(use, amount, critical);
    if (has_room_by_counting(use, amount, critical, now_ms)) {
        assert_int_equal(from, 0);
        return;
    }
    if (from == USE_NEVER) {
        int64_t end_of_time = LEDGER_TIME_MAX / 1000;
        assert_false(has_room_by_counting(use, amount, critical, end_of_time));
        return;
    }
    int64_t from_ms = (int64_t)(from / 1000);
    assert_int_equal(from % 1000, 0);
    assert_true(from_ms > now_ms);
    assert_true(has_room_by_counting(use, amount, critical, from_ms));
    assert_false(has_room_by_counting(use, amount, critical, from_ms - 1));
}

static void the_time_of_admission_is_exact_to_the_ms(void **state) {
    size_t later = 0;
    (void)state;
    fill(rounds(800) + 40);
    for (size_t i = rounds(6000); i > 0; i--) {
        struct ledger_rule rule = random_window();
        struct held held = {.holds = 1};
        maybe_reset("r");
        rule.soft = (uint8_t)(random_below(2) * random_below(100));
        for (int column = 0; column < HELD_COLUMNS; column++)
            held.column[column] = (ledger_sum)(random_below(2) * random_below(500));
        int64_t now = interesting_time(&rule);
        ledger_sum used = use_at(&rule, now, &held).used;
        rule.limit = (uint64_t)used + random_below(1200);
        struct use use = use_at(&rule, now, &held);
        ledger_sum amount = 1 + (ledger_sum)random_below(600);
        bool critical = random_below(2);
        check_admits_from(&use, amount, critical);
        uint64_t from = admits_from(&use, amount, critical);
        later += from != 0 && from != USE_NEVER;
    }
    assert_true(later > rounds(100)); /* or this has tested nothing */
}

/* Entries get ids in order even when more than a thousand fall into a ms: some lie ahead of the
 * clock, even in the next period. */
static void entries_ahead_of_the_clock_count_now_and_in_their_own_period(void **state) {
    struct ledger_rule rule = calendar(rule_of("r", MEASURE_COST, 10), WINDOW_DAY, 0);
    int64_t start, end;
    (void)state;
    period_bounds(WINDOW_DAY, 0, START_US / 1000, &start, &end);
    add((uint64_t)end * 1000 - 1, COLUMN_COST, 6);
    add((uint64_t)end * 1000, COLUMN_COST, 9);
    add_done();
    struct use use = use_at(&rule, end * 1000 - 2, NULL);
    assert_sum_equal(use.used, 15);
    assert_int_equal(admits_from(&use, 1, true), end * 1000); /* 9 and 1 */
    period_bounds(WINDOW_DAY, 0, end, &start, &end);
    assert_int_equal(admits_from(&use, 2, true), end * 1000);
}

/* ---- resets ------------------------------------------------------------------------------- */

static void use_counts_from_the_newer_of_two_resets_on(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 100);
    (void)state;
    for (uint64_t i = 1; i <= 10; i++)
        add((uint64_t)START_US + i, COLUMN_COST, 1);
    add_done();
    assert_sum_equal(use_at(&rule, START_US, NULL).used, 10);
    assert_int_equal(
        marks_put_reset(scratch.txn, warned, text("r"), MARKS_WHOLE_RULE, (uint64_t)START_US + 3),
        0);
    assert_sum_equal(use_at(&rule, START_US, NULL).used, 7);
    assert_int_equal(
        marks_put_reset(scratch.txn, warned, text("r"), SERIES, (uint64_t)START_US + 8), 0);
    assert_sum_equal(use_at(&rule, START_US, NULL).used, 2);
    assert_int_equal(
        marks_put_reset(scratch.txn, warned, text("r"), MARKS_WHOLE_RULE, (uint64_t)START_US + 9),
        0);
    assert_sum_equal(use_at(&rule, START_US, NULL).used, 1);
    assert_int_equal(
        marks_put_reset(scratch.txn, warned, text("r"), SERIES + 1, (uint64_t)START_US + 10), 0);
    assert_sum_equal(use_at(&rule, START_US, NULL).used, 1);
}

static void a_reset_is_outlived_by_a_window(void **state) {
    struct ledger_rule rule = within(rule_of("r", MEASURE_COST, 100), HOUR_MS);
    (void)state;
    add((uint64_t)START_US, COLUMN_COST, 1);
    add((uint64_t)START_US + 1, COLUMN_COST, 2);
    add_done();
    assert_int_equal(marks_put_reset(scratch.txn, warned, text("r"), SERIES, (uint64_t)START_US),
                     0);
    assert_sum_equal(use_at(&rule, START_US + 1, NULL).used, 2);
    int64_t past = START_US + (int64_t)HOUR_MS * 1000 + 1000;
    assert_sum_equal(use_at(&rule, past, NULL).used, 0);
    add((uint64_t)past, COLUMN_COST, 4);
    add_done();
    assert_sum_equal(use_at(&rule, past, NULL).used, 4);
}

/* ---- grants ------------------------------------------------------------------------------- */

static struct ledger_rule prepaid(void) {
    struct ledger_rule rule = granted("prepaid", MEASURE_CREDITS);
    rule.soft = 80;
    rule.grace = 10;
    return rule;
}

static enum rule_reason asking(const struct use *use, ledger_sum amount, bool critical) {
    return use_decide(use, amount, critical);
}

static void an_account_without_a_grant_has_nothing(void **state) {
    struct ledger_rule rule = granted("prepaid", MEASURE_CREDITS);
    (void)state;
    struct use use = use_at(&rule, START_US, NULL);
    assert_sum_equal(use.limit, 0);
    assert_int_equal(asking(&use, 1, true), RULE_LIMIT);
    assert_int_equal(asking(&use, 0, true), RULE_ADMITS);
    assert_int_equal(admits_from(&use, 1, true), USE_NEVER);
    assert_int_equal(use_percent(&use, 0), 100);
}

/* The story of docs/budgets.md. */
static void prepaid_credits_are_used_oldest_first(void **state) {
    struct ledger_rule rule = prepaid();
    uint64_t id = (uint64_t)START_US;
    (void)state;
    add(id++, COLUMN_GRANTED_CREDITS, 1000);
    add_done();
    struct use use = use_at(&rule, START_US, NULL);
    assert_int_equal(use_percent(&use, 0), 0);
    add(id++, COLUMN_CREDITS, 700);
    add_done();
    use = use_at(&rule, START_US, NULL);
    assert_int_equal(asking(&use, 100, false), RULE_ADMITS);
    assert_int_equal(asking(&use, 101, false), RULE_SOFT);
    assert_int_equal(asking(&use, 310, true), RULE_ADMITS);
    assert_int_equal(asking(&use, 311, true), RULE_LIMIT);
    assert_int_equal(asking(&use, 311, false), RULE_LIMIT);
    add(id++, COLUMN_CREDITS, 315); /* 15 beyond */
    add(id++, COLUMN_GRANTED_CREDITS, 500);
    add_done();
    use = use_at(&rule, START_US, NULL);
    assert_sum_equal(use.limit, 1500);
    assert_sum_equal(use.spent, 1000);
    assert_int_equal(use_percent(&use, use.used), 3);
    assert_int_equal(asking(&use, 385, false), RULE_ADMITS);
    assert_int_equal(asking(&use, 386, false), RULE_SOFT);
    assert_int_equal(admits_from(&use, 386, false), USE_NEVER);
}

static void what_is_taken_back_counts_as_gone(void **state) {
    struct ledger_rule rule = granted("g", MEASURE_COST);
    uint64_t id = (uint64_t)START_US;
    (void)state;
    add(id++, COLUMN_GRANTED_COST, 100);
    add(id++, COLUMN_WITHDRAWN_COST, 30);
    add(id++, COLUMN_COST, 20);
    add_done();
    struct use use = use_at(&rule, START_US, NULL);
    assert_sum_equal(use.limit, 70);
    assert_int_equal(use_percent(&use, use.used), 50);
    assert_int_equal(asking(&use, 50, true), RULE_ADMITS);
    assert_int_equal(asking(&use, 51, true), RULE_LIMIT);
    add(id++, COLUMN_WITHDRAWN_COST, 200); /* more than there ever was */
    add_done();
    use = use_at(&rule, START_US, NULL);
    assert_sum_equal(use.limit, -130);
    assert_int_equal(asking(&use, 1, true), RULE_LIMIT);
    assert_int_equal(use_percent(&use, use.used), 100);
}

/* Which grants are used up, and what the soft threshold makes of it. */
static void grants_left_equal_counting(void **state) {
    uint64_t id = (uint64_t)START_US;
    (void)state;
    for (size_t i = rounds(1500) + 10; i > 0; i--) {
        static const enum totals_column columns[] = {
            COLUMN_GRANTED_CREDITS, COLUMN_GRANTED_COST, COLUMN_CREDITS,
            COLUMN_CREDITS,         COLUMN_CREDITS,      COLUMN_WITHDRAWN_CREDITS};
        enum totals_column column = columns[random_below(LENGTH(columns))];
        int64_t most = column == COLUMN_GRANTED_CREDITS ? 400 : 100;
        struct ledger_rule rule = prepaid();
        rule.soft = (uint8_t)(1 + random_below(99));
        add(id += 1 + random_below(3), column, 1 + (int64_t)random_below((uint64_t)most));
        add_done();
        ledger_sum granted = 0, withdrawn = 0, used = 0, open = 0, spent = 0, passed = 0;
        for (size_t k = 0; k < count; k++) {
            granted += items[k].amounts.mask >> COLUMN_GRANTED_CREDITS & 1
                           ? items[k].amounts.column[COLUMN_GRANTED_CREDITS]
                           : 0;
            withdrawn += items[k].amounts.mask >> COLUMN_WITHDRAWN_CREDITS & 1
                             ? items[k].amounts.column[COLUMN_WITHDRAWN_CREDITS]
                             : 0;
            used += measured(&rule, &items[k]);
        }
        for (size_t k = 0; k < count; k++) {
            if (!(items[k].amounts.mask >> COLUMN_GRANTED_CREDITS & 1))
                continue;
            int64_t amount = items[k].amounts.column[COLUMN_GRANTED_CREDITS];
            passed += amount;
            if (passed <= used + withdrawn)
                spent += amount;
            else
                open += amount;
        }
        struct use use = use_at(&rule, START_US, NULL);
        assert_sum_equal(use.limit, granted - withdrawn);
        assert_sum_equal(use.spent, spent);
        ledger_sum taken = used + withdrawn - spent; /* of the open ones */
        assert_sum_equal(use_percent(&use, use.used), open == 0 ? 100 : taken * 100 / open);
        assert_sum_equal(use_cap(&use, false), used + open * rule.soft / 100 - taken);
        assert_sum_equal(use_cap(&use, true), granted - withdrawn + 10);
    }
}

/* ---- deciding ----------------------------------------------------------------------------- */

static struct use with_use(const struct ledger_rule *rule, ledger_sum used, ledger_sum held) {
    struct totals totals = {0};
    struct held holds = {.holds = 1, .until_us = 5};
    struct use use = {.rule = rule, .exists = true};
    totals.column[COLUMN_COST] = used;
    holds.column[HELD_COST] = held;
    use_refresh(&use, &totals, &holds);
    return use;
}

static void a_limit_can_be_reached_but_not_passed(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 100);
    (void)state;
    struct use use = with_use(&rule, 60, 30);
    assert_int_equal(use_decide(&use, 10, false), RULE_ADMITS);
    assert_int_equal(use_decide(&use, 11, false), RULE_LIMIT);
    use = with_use(&rule, 160, 30);
    assert_int_equal(use_decide(&use, 0, false), RULE_ADMITS);
    assert_int_equal(use_decide(&use, 1, false), RULE_LIMIT);
}

static void only_critical_attempts_pass_the_soft_threshold(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 101);
    (void)state;
    rule.soft = 50;
    struct use use = with_use(&rule, 40, 0);
    assert_int_equal(use_decide(&use, 10, false), RULE_ADMITS); /* 101 * 50 div 100 is 50 */
    assert_int_equal(use_decide(&use, 11, false), RULE_SOFT);
    assert_int_equal(use_decide(&use, 61, true), RULE_ADMITS);
    assert_int_equal(use_decide(&use, 62, true), RULE_LIMIT);
    assert_int_equal(use_decide(&use, 62, false), RULE_LIMIT);
}

static void limit_zero_is_a_kill_switch(void **state) {
    struct ledger_rule rule = within(rule_of("r", MEASURE_COST, 0), HOUR_MS);
    (void)state;
    struct use use = with_use(&rule, 0, 0);
    assert_int_equal(use_decide(&use, 1, true), RULE_LIMIT);
    assert_int_equal(use_decide(&use, 0, true), RULE_ADMITS);
    assert_int_equal(admits_from(&use, 1, true), USE_NEVER);
    assert_int_equal(use_percent(&use, 0), 100);
}

static void what_only_counts_or_warns_never_denies(void **state) {
    struct ledger_rule unlimited = rule_of("r", MEASURE_COST, RULE_UNLIMITED);
    struct ledger_rule warns = rule_of("r", MEASURE_COST, 10);
    (void)state;
    warns.effect = EFFECT_WARN;
    struct use uses[] = {with_use(&unlimited, 500, 0), with_use(&warns, 500, 0)};
    for (size_t i = 0; i < LENGTH(uses); i++) {
        assert_int_equal(use_decide(&uses[i], ENTRY_AMOUNT_MAX, false), RULE_ADMITS);
        uses[i].exists = false;
        uses[i].full = true;
        assert_int_equal(use_decide(&uses[i], ENTRY_AMOUNT_MAX, false), RULE_ADMITS);
        assert_int_equal(admits_from(&uses[i], 1, false), 0);
    }
    assert_int_equal(use_percent(&uses[0], 500), 0);
    assert_int_equal(use_percent(&uses[1], 500), 5000);
}

static void what_is_missing_denies_whatever_is_asked(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 100);
    struct use use = {.rule = &rule, .lacks = true};
    (void)state;
    assert_int_equal(use_decide(&use, 0, true), RULE_REQUIRED);
    assert_int_equal(admits_from(&use, 0, true), USE_NEVER);
    use = (struct use){.rule = &rule, .full = true, .limit = 100};
    assert_int_equal(use_decide(&use, 0, true), RULE_ADMITS);
    assert_int_equal(use_decide(&use, 1, true), RULE_TOO_MANY_VALUES);
    assert_int_equal(admits_from(&use, 1, true), USE_NEVER);
}

static void what_is_held_does_not_leave_with_time(void **state) {
    struct ledger_rule rule = within(rule_of("r", MEASURE_COST, 10), HOUR_MS);
    struct held held = {.holds = 1, .until_us = 5, .column = {[HELD_COST] = 10}};
    (void)state;
    add((uint64_t)START_US, COLUMN_COST, 3);
    add_done();
    struct use use = use_at(&rule, START_US, &held);
    assert_int_equal(admits_from(&use, 1, true), USE_NEVER);
    assert_int_equal(use.held_until_us, 5);
    held.column[HELD_COST] = 9;
    use = use_at(&rule, START_US, &held);
    assert_int_equal(admits_from(&use, 1, true), START_US + ((int64_t)HOUR_MS + 1) * 1000);
}

/* The largest amounts, limits and percents there are. */
static void sums_are_wide_enough(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, (uint64_t)ENTRY_AMOUNT_MAX);
    (void)state;
    rule.soft = 99;
    struct use use = with_use(&rule, (ledger_sum)ENTRY_AMOUNT_MAX << 60, 0);
    assert_int_equal(use_decide(&use, ENTRY_AMOUNT_MAX, false), RULE_LIMIT);
    assert_int_equal(use_percent(&use, (ledger_sum)ENTRY_AMOUNT_MAX << 30),
                     (INT64_C(1) << 30) * 100);
    assert_int_equal(use_percent(&use, use.used), ENTRY_AMOUNT_MAX);
    assert_sum_equal(use_cap(&use, false), ENTRY_AMOUNT_MAX / 100 * 99);
}

/* ---- the forecast ------------------------------------------------------------------------- */

static int64_t hours_us(int64_t hours) {
    return hours * (int64_t)HOUR_MS * 1000;
}

static void the_limit_is_reached_at_the_rate_so_far(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 100);
    (void)state;
    add((uint64_t)START_US, COLUMN_COST, 10);
    add((uint64_t)START_US + 1, COLUMN_COST, 10);
    add_done();
    struct use use = use_at(&rule, START_US + hours_us(2), NULL); /* 20 in 2 hours */
    assert_int_equal(forecast(&use), START_US + hours_us(10));
    rule = within(rule, 4 * HOUR_MS); /* the window is older than its first entry */
    use = use_at(&rule, START_US + hours_us(2), NULL);
    assert_int_equal(forecast(&use), START_US + hours_us(10));
    use = use_at(&rule, START_US + hours_us(4), NULL);
    assert_int_equal(forecast(&use), START_US + hours_us(20));
    struct held held = {.holds = 1, .column = {[HELD_COST] = 60}};
    use = use_at(&rule, START_US + hours_us(4), &held);
    assert_int_equal(forecast(&use), START_US + hours_us(8));
}

static void what_will_not_come_in_this_period_is_not_told(void **state) {
    struct ledger_rule rule = calendar(rule_of("r", MEASURE_COST, 100), WINDOW_DAY, 0);
    int64_t start, end;
    (void)state;
    period_bounds(WINDOW_DAY, 0, START_US / 1000, &start, &end);
    add((uint64_t)start * 1000, COLUMN_COST, 50);
    add_done();
    struct use use = use_at(&rule, start * 1000 + hours_us(11), NULL);
    assert_int_equal(forecast(&use), start * 1000 + hours_us(22));
    use = use_at(&rule, start * 1000 + hours_us(12), NULL);
    assert_int_equal(forecast(&use), 0);
    use = use_at(&rule, end * 1000, NULL); /* nothing was used in the next */
    assert_int_equal(forecast(&use), 0);
}

static void there_is_no_forecast_without_a_limit_or_beyond_it(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 10);
    (void)state;
    struct use use = use_at(&rule, START_US, NULL);
    assert_int_equal(forecast(&use), 0);
    add((uint64_t)START_US, COLUMN_COST, 10);
    add_done();
    use = use_at(&rule, START_US + hours_us(1), NULL);
    assert_int_equal(forecast(&use), 0);
    rule.limit = RULE_UNLIMITED;
    use = use_at(&rule, START_US + hours_us(1), NULL);
    assert_int_equal(forecast(&use), 0);
}

/* Grace is not what was granted: the forecast is of the grants. */
static void the_forecast_of_a_balance_ends_where_grace_begins(void **state) {
    struct ledger_rule rule = granted("g", MEASURE_COST);
    (void)state;
    rule.grace = 1000;
    add((uint64_t)START_US, COLUMN_GRANTED_COST, 30);
    add((uint64_t)START_US + 1, COLUMN_COST, 10);
    add_done();
    struct use use = use_at(&rule, START_US + hours_us(1), NULL);
    assert_int_equal(forecast(&use), START_US + hours_us(3));
    add((uint64_t)START_US + 2, COLUMN_COST, 20);
    add_done();
    use = use_at(&rule, START_US + hours_us(1), NULL);
    assert_int_equal(forecast(&use), 0);
}

static void a_reset_begins_the_rate_anew(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 100);
    (void)state;
    add((uint64_t)START_US, COLUMN_COST, 90);
    add((uint64_t)(START_US + hours_us(3)), COLUMN_COST, 10);
    add_done();
    assert_int_equal(
        marks_put_reset(scratch.txn, warned, text("r"), SERIES, (uint64_t)(START_US + hours_us(2))),
        0);
    struct use use = use_at(&rule, START_US + hours_us(4), NULL); /* 10 in 2 hours */
    assert_int_equal(forecast(&use), START_US + hours_us(4) + hours_us(18));
}

/* ---- a writer's sums are ahead of the database -------------------------------------------- */

static size_t saves;

static int save(void *context, uint32_t series) {
    (void)context;
    assert_int_equal(series, SERIES);
    saves++;
    return series_store(scratch.txn, scratch.dbi, &block);
}

static void what_a_writer_has_not_stored_yet_is_seen(void **state) {
    struct ledger_rule rule = within(rule_of("r", MEASURE_COST, 10), HOUR_MS);
    struct ledger_rule grants = granted("g", MEASURE_COST);
    static const struct held none;
    (void)state;
    grants.soft = 50;
    moment.save = save;
    moment.now_us = START_US + hours_us(1) / 2;
    struct use use, granting;
    assert_int_equal(use_begin(&moment, &rule, SERIES, true, &use), 0);
    assert_int_equal(use_begin(&moment, &grants, SERIES, true, &granting), 0);
    add((uint64_t)START_US, COLUMN_COST, 4);
    add((uint64_t)START_US + 5000, COLUMN_COST, 5);
    use_refresh(&use, &block.totals, &none);
    assert_int_equal(forecast(&use), START_US + hours_us(1) / 2 + hours_us(1) / 18 / 1000 * 1000);
    assert_int_equal(saves, 1);
    add((uint64_t)START_US + 9000, COLUMN_COST, 1);
    use_refresh(&use, &block.totals, &none);
    assert_int_equal(admits_from(&use, 1, true), START_US + ((int64_t)HOUR_MS + 1) * 1000);
    assert_int_equal(saves, 2);
    add((uint64_t)START_US + 10000, COLUMN_GRANTED_COST, 10);
    add((uint64_t)START_US + 11000, COLUMN_GRANTED_COST, 8);
    use_refresh(&granting, &block.totals, &none);
    assert_int_equal(use_load_grants(&moment, &granting), 0);
    assert_int_equal(saves, 3);
    assert_sum_equal(granting.spent, 10);
    assert_sum_equal(use_cap(&granting, false), 14);
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, set_up, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(use_of_every_window_equals_counting),
        on_scratch(the_time_of_admission_is_exact_to_the_ms),
        on_scratch(entries_ahead_of_the_clock_count_now_and_in_their_own_period),
        on_scratch(use_counts_from_the_newer_of_two_resets_on),
        on_scratch(a_reset_is_outlived_by_a_window),
        on_scratch(an_account_without_a_grant_has_nothing),
        on_scratch(prepaid_credits_are_used_oldest_first),
        on_scratch(what_is_taken_back_counts_as_gone),
        on_scratch(grants_left_equal_counting),
        on_scratch(a_limit_can_be_reached_but_not_passed),
        on_scratch(only_critical_attempts_pass_the_soft_threshold),
        on_scratch(limit_zero_is_a_kill_switch),
        on_scratch(what_only_counts_or_warns_never_denies),
        on_scratch(what_is_missing_denies_whatever_is_asked),
        on_scratch(what_is_held_does_not_leave_with_time),
        on_scratch(sums_are_wide_enough),
        on_scratch(the_limit_is_reached_at_the_rate_so_far),
        on_scratch(what_will_not_come_in_this_period_is_not_told),
        on_scratch(there_is_no_forecast_without_a_limit_or_beyond_it),
        on_scratch(the_forecast_of_a_balance_ends_where_grace_begins),
        on_scratch(a_reset_begins_the_rate_anew),
        on_scratch(what_a_writer_has_not_stored_yet_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
