/* Asking the rules without changing anything. */
#include "support.h"

struct told {
    struct ledger_decision decision;
    size_t count;
    struct ledger_rule_status rules[10];
};

static void keep(void *context, const struct ledger_rule_status *status) {
    struct told *told = context;
    assert_true(told->count < LENGTH(told->rules));
    told->rules[told->count++] = *status;
}

static struct told check(struct ledger *ledger, const struct ledger_entry *estimate,
                         bool critical) {
    struct told told = {0};
    uint64_t entries = facts_of(ledger).entries;
    assert_int_equal(ledger_check(ledger, estimate, critical, keep, &told, &told.decision), 0);
    assert_int_equal(facts_of(ledger).entries, entries);
    return told;
}

static struct told ask(struct ledger *ledger, const char *user, int64_t cost) {
    struct ledger_entry estimate = priced(user, cost);
    return check(ledger, &estimate, false);
}

/* Without an amount. */
static struct told ask_for_room(struct ledger *ledger, const char *user) {
    struct ledger_entry estimate = priced(user, 0);
    estimate.given = 0;
    return check(ledger, &estimate, false);
}

static void spend(struct ledger *ledger, const char *user, int64_t cost) {
    struct ledger_entry entry = priced(user, cost);
    book_entry(ledger, &entry);
}

static struct ledger *open_rules(const char *directory, struct ledger_rule *rules, uint32_t count) {
    struct ledger *ledger = open_ruled(directory, rules, count);
    at_time(ledger, START_US);
    return ledger;
}

static void only_rules_that_deny_are_told(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_COST, 100),
                                  of(rule_of("each", MEASURE_COST, 60), DIMENSION_USER, NULL),
                                  of(rule_of("bob", MEASURE_COST, 200), DIMENSION_USER, "bob")};
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    assert_int_equal(ask(ledger, "ada", 60).decision.denials, 0);
    struct told told = ask(ledger, "ada", 61);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.decision.denials, 1);
    assert_true(text_equal(told.rules[0].rule->name, text("each")));
    assert_int_equal(ask(ledger, "ada", 101).count, 2);
    told = ask(ledger, "bob", 101); /* each does not speak of bob */
    assert_int_equal(told.count, 1);
    assert_true(text_equal(told.rules[0].rule->name, text("all")));
    assert_int_equal(ask(ledger, NULL, 100).count, 0);
    close_ledger(ledger);
}

static void without_an_amount_it_is_asked_for_room_for_anything(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_COST, 100)};
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    spend(ledger, NULL, 99);
    assert_int_equal(ask_for_room(ledger, NULL).decision.denials, 0);
    spend(ledger, NULL, 1);
    struct told told = ask_for_room(ledger, NULL);
    assert_int_equal(told.decision.denials, 1);
    assert_sum_equal(told.rules[0].amount, 1);
    assert_int_equal(ask(ledger, NULL, 0).decision.denials, 0);
    close_ledger(ledger);
}

static void a_rule_that_degrades_lowers_the_tier(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_COST, 100)};
    rules[0].effect = EFFECT_DEGRADE;
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    struct told told = ask(ledger, NULL, 100);
    assert_false(told.decision.is_low_tier);
    told = ask(ledger, NULL, 101);
    assert_true(told.decision.is_low_tier);
    assert_int_equal(told.decision.denials, 0);
    assert_int_equal(told.count, 0);
    close_ledger(ledger);
}

static void the_latest_time_and_the_earliest_hold_are_those_of_all(void **state) {
    struct ledger_rule rules[] = {
        within(rule_of("hour", MEASURE_COST, 10), HOUR_MS),
        within(rule_of("day", MEASURE_COST, 10), DAY_MS),
        within(of(rule_of("ada", MEASURE_COST, 10), DIMENSION_USER, "ada"), HOUR_MS),
    };
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    struct ledger_entry little = priced(NULL, 1);
    spend(ledger, "ada", 9);
    assert_true(reserve_for(ledger, &little, 0, 5000) != 0);
    struct told told = ask(ledger, "ada", 2);
    assert_int_equal(told.decision.denials, 3);
    assert_int_equal(told.decision.resets_at_us, START_US + ((int64_t)DAY_MS + 1) * 1000);
    assert_int_equal(told.decision.held_until_us, START_US + 5000000);
    told = ask(ledger, "ada", 11);
    assert_true(told.decision.resets_at_us == UINT64_MAX);
    close_ledger(ledger);
}

static void the_level_rises_with_what_is_in_use(void **state) {
    static const struct {
        int64_t cost;
        enum ledger_level plain;
        enum ledger_level warned; /* at 50 and 60 */
    } levels[] = {{49, LEVEL_NORMAL, LEVEL_NORMAL},        {1, LEVEL_NORMAL, LEVEL_APPROACHING},
                  {9, LEVEL_NORMAL, LEVEL_APPROACHING},    {1, LEVEL_NORMAL, LEVEL_CRITICAL},
                  {19, LEVEL_NORMAL, LEVEL_CRITICAL},      {1, LEVEL_APPROACHING, LEVEL_CRITICAL},
                  {14, LEVEL_APPROACHING, LEVEL_CRITICAL}, {1, LEVEL_CRITICAL, LEVEL_CRITICAL},
                  {4, LEVEL_CRITICAL, LEVEL_CRITICAL},     {1, LEVEL_EXHAUSTED, LEVEL_EXHAUSTED}};
    struct ledger_rule rules[] = {rule_of("plain", MEASURE_COST, 100),
                                  of(rule_of("warned", MEASURE_COST, 100), DIMENSION_USER, "ada"),
                                  rule_of("unlimited", MEASURE_COST, RULE_UNLIMITED)};
    rules[1].warn_count = 2;
    rules[1].warn[0] = 50;
    rules[1].warn[1] = 60;
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    for (size_t i = 0; i < LENGTH(levels); i++) {
        spend(ledger, "ada", levels[i].cost);
        assert_int_equal(status_of(ledger, "plain").level, levels[i].plain);
        assert_int_equal(status_of(ledger, "warned").level, levels[i].warned);
        assert_int_equal(status_of(ledger, "unlimited").level, LEVEL_NORMAL);
        assert_int_equal(ask(ledger, "ada", 0).decision.level, levels[i].warned);
        assert_int_equal(ask(ledger, "bob", 0).decision.level, levels[i].plain);
    }
    struct ledger_rule_status status = status_of(ledger, "unlimited");
    assert_true(status.is_unlimited);
    assert_int_equal(status.percent, 0);
    status = status_of(ledger, "plain");
    assert_int_equal(status.percent, 100);
    assert_sum_equal(status.remaining, 0);
    spend(ledger, "ada", 50);
    assert_sum_equal(status_of(ledger, "plain").remaining, 0);
    assert_int_equal(status_of(ledger, "plain").percent, 150);
    close_ledger(ledger);
}

static void every_rule_without_each_has_a_status(void **state) {
    struct ledger_rule rules[] = {
        rule_of("all", MEASURE_COST, 100),
        of(rule_of("each", MEASURE_COST, 60), DIMENSION_USER, NULL),
        of(rule_of("bob", MEASURE_COST, 1), DIMENSION_USER, "bob"),
        calendar(of(rule_of("nobody", MEASURE_TOKENS, 5), DIMENSION_USER, "nobody"), WINDOW_DAY,
                 0)};
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    struct told told = {0};
    spend(ledger, "bob", 1);
    assert_int_equal(ledger_statuses(ledger, NULL, keep, &told, &told.decision), 0);
    assert_int_equal(told.count, 3);
    assert_int_equal(told.decision.denials, 1);
    assert_int_equal(told.decision.level, LEVEL_EXHAUSTED);
    assert_int_equal(told.rules[1].reason, RULE_LIMIT);
    assert_true(text_equal(told.rules[1].values[0], text("bob")));
    assert_true(told.rules[2].has_period);
    assert_int_equal(told.rules[2].period_end_ms - told.rules[2].period_start_ms, DAY_MS);
    assert_sum_equal(told.rules[2].remaining, 5);
    close_ledger(ledger);
}

static void a_scope_has_the_statuses_of_the_rules_that_it_meets(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_COST, 100),
                                  of(rule_of("each", MEASURE_COST, 60), DIMENSION_USER, NULL),
                                  of(rule_of("bob", MEASURE_COST, 200), DIMENSION_USER, "bob")};
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct told told = {0};
    assert_int_equal(ledger_statuses(ledger, names, keep, &told, &told.decision), 0);
    assert_int_equal(told.count, 1);
    names[DIMENSION_USER] = text("bob");
    told.count = 0;
    assert_int_equal(ledger_statuses(ledger, names, keep, &told, &told.decision), 0);
    assert_int_equal(told.count, 2);
    assert_true(text_equal(told.rules[1].rule->name, text("bob")));
    names[DIMENSION_USER] = text("eve");
    told.count = 0;
    assert_int_equal(ledger_statuses(ledger, names, keep, &told, &told.decision), 0);
    assert_int_equal(told.count, 2);
    assert_true(text_equal(told.rules[1].rule->name, text("each")));
    assert_true(text_equal(told.rules[1].values[0], text("eve")));
    assert_sum_equal(told.rules[1].used, 0);
    assert_int_equal(told.rules[0].reason, RULE_ADMITS);
    assert_int_equal(told.rules[0].resets_at_us, 0);
    close_ledger(ledger);
}

static void what_a_rule_requires_and_who_is_one_too_many_is_told_with_its_limit(void **state) {
    struct ledger_rule rules[] = {of(rule_of("each", MEASURE_COST, 60), DIMENSION_USER, NULL)};
    rules[0].require = true;
    rules[0].max_values = 1;
    struct ledger *ledger = open_rules(*state, rules, LENGTH(rules));
    struct told told = ask(ledger, NULL, 0);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.rules[0].reason, RULE_REQUIRED);
    assert_sum_equal(told.rules[0].limit, 60);
    assert_int_equal(ask(ledger, "ada", 1).count, 0);
    spend(ledger, "ada", 1);
    assert_int_equal(ask(ledger, "ada", 1).count, 0);
    told = ask(ledger, "bob", 1);
    assert_int_equal(told.rules[0].reason, RULE_TOO_MANY_VALUES);
    assert_sum_equal(told.rules[0].limit, 60);
    assert_true(told.decision.resets_at_us == UINT64_MAX);
    assert_int_equal(ask(ledger, "bob", 0).count, 0);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(only_rules_that_deny_are_told),
        in_directory(without_an_amount_it_is_asked_for_room_for_anything),
        in_directory(a_rule_that_degrades_lowers_the_tier),
        in_directory(the_latest_time_and_the_earliest_hold_are_those_of_all),
        in_directory(the_level_rises_with_what_is_in_use),
        in_directory(every_rule_without_each_has_a_status),
        in_directory(a_scope_has_the_statuses_of_the_rules_that_it_meets),
        in_directory(what_a_rule_requires_and_who_is_one_too_many_is_told_with_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
