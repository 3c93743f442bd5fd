/* Warnings: which booked use gives, when they are given again, and what of it is stored. */
#include "support.h"

#define HOUR_US ((int64_t)HOUR_MS * 1000)

/* A rule that warns at 50 and at 80 percent of 100. */
static struct ledger_rule warning_rule(void) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 100);
    rule.warn_count = 2;
    rule.warn[0] = 50;
    rule.warn[1] = 80;
    return rule;
}

static struct ledger *open_warning(const char *directory, struct ledger_rule rule) {
    struct ledger *ledger = open_ruled(directory, &rule, 1);
    at_time(ledger, START_US);
    return ledger;
}

static uint64_t spend(struct ledger *ledger, const char *user, int64_t cost) {
    struct ledger_entry entry = priced(user, cost);
    return book_entry(ledger, &entry);
}

/* The thresholds that the last commit warned of, as a number: 5080 for 50 and 80. */
static int warned(void) {
    int thresholds = 0;
    for (size_t i = 0; i < effects.warning_count; i++)
        thresholds = 100 * thresholds + effects.warnings[i].threshold;
    return thresholds;
}

static void a_threshold_is_told_of_when_booked_use_reaches_it(void **state) {
    struct ledger *ledger = open_warning(*state, warning_rule());
    spend(ledger, NULL, 49);
    assert_int_equal(warned(), 0);
    uint64_t id = spend(ledger, NULL, 1);
    assert_int_equal(warned(), 50);
    const struct ledger_warning *warning = &effects.warnings[0];
    assert_int_equal(warning->id, id);
    assert_true(text_equal(warning->status.rule->name, text("r")));
    assert_sum_equal(warning->status.used, 50);
    assert_sum_equal(warning->status.limit, 100);
    assert_int_equal(warning->status.percent, 50);
    spend(ledger, NULL, 29);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 1000);
    assert_int_equal(warned(), 80);
    assert_int_equal(effects.warnings[0].status.percent, 1079);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void one_batch_tells_of_each_threshold_once(void **state) {
    struct ledger *ledger = open_warning(*state, warning_rule());
    struct drafts drafts = {0};
    struct ledger_entry entry = priced(NULL, 30);
    for (int i = 0; i < 4; i++)
        add_draft(&drafts, &entry);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(warned(), 5080);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(effects.warnings[i].id, drafts.requests[3].id);
        assert_sum_equal(effects.warnings[i].status.used, 120);
    }
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void a_warning_that_was_given_is_not_given_after_reopening(void **state) {
    struct ledger *ledger = open_warning(*state, warning_rule());
    spend(ledger, NULL, 60);
    ledger = reopen(ledger, *state);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 20);
    assert_int_equal(warned(), 80);
    close_ledger(ledger);
}

static void what_is_held_does_not_warn(void **state) {
    struct ledger *ledger = open_warning(*state, warning_rule());
    struct ledger_entry estimate = priced(NULL, 90);
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_int_equal(warned(), 0);
    assert_int_equal(settle(ledger, hold, 55), 0);
    assert_int_equal(warned(), 50);
    hold = reserve(ledger, &estimate, 0);
    assert_int_equal(hold, 0);
    estimate.cost = 40;
    hold = reserve(ledger, &estimate, 0);
    at_time(ledger, START_US + HOUR_US);
    expire(ledger); /* at its estimate */
    assert_int_equal(warned(), 80);
    assert_int_equal(effects.expiry_count, 1);
    assert_int_equal(effects.warnings[0].id, effects.expiries[0].entry);
    close_ledger(ledger);
}

static void each_value_is_told_of_with_its_name(void **state) {
    struct ledger *ledger = open_warning(*state, of(warning_rule(), DIMENSION_USER, NULL));
    spend(ledger, "ada", 60);
    assert_int_equal(warned(), 50);
    assert_true(text_equal(effects.warnings[0].status.values[0], text("ada")));
    spend(ledger, "bob", 60);
    assert_int_equal(warned(), 50);
    assert_true(text_equal(effects.warnings[0].status.values[0], text("bob")));
    spend(ledger, "ada", 1);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 100);
    assert_int_equal(warned(), 0);
    close_ledger(ledger);
}

static void a_calendar_period_warns_once(void **state) {
    struct ledger *ledger = open_warning(*state, calendar(warning_rule(), WINDOW_DAY, 0));
    spend(ledger, NULL, 60);
    assert_int_equal(warned(), 50);
    assert_true(effects.warnings[0].status.has_period);
    int64_t next_ms = effects.warnings[0].status.period_end_ms;
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    at_time(ledger, next_ms * 1000);
    spend(ledger, NULL, 49);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 50); /* another day */
    assert_int_equal(effects.warnings[0].status.period_start_ms, next_ms);
    close_ledger(ledger);
}

static void a_rolling_window_warns_again_after_use_has_fallen(void **state) {
    struct ledger *ledger = open_warning(*state, within(warning_rule(), HOUR_MS));
    spend(ledger, NULL, 45);
    at_time(ledger, START_US + HOUR_US / 2);
    spend(ledger, NULL, 10);
    assert_int_equal(warned(), 50);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    at_time(ledger, START_US + HOUR_US + 1000); /* 11 are left */
    spend(ledger, NULL, 38);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 50);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    close_ledger(ledger);
}

static void a_changed_limit_makes_a_new_threshold(void **state) {
    struct ledger_rule rule = warning_rule();
    struct ledger *ledger = open_warning(*state, rule);
    spend(ledger, NULL, 60);
    assert_int_equal(warned(), 50);
    rule.limit = 110;
    assert_int_equal(set_rules(ledger, &rule, 1), 0);
    assert_int_equal(warned(), 0); /* nothing was booked */
    spend(ledger, NULL, 0);
    assert_int_equal(warned(), 50);
    spend(ledger, NULL, 0);
    assert_int_equal(warned(), 0);
    rule.soft = 10; /* another change is none of the threshold */
    assert_int_equal(set_rules(ledger, &rule, 1), 0);
    spend(ledger, NULL, 0);
    assert_int_equal(warned(), 0);
    rule.warn[0] = 51; /* but another threshold is one */
    assert_int_equal(set_rules(ledger, &rule, 1), 0);
    spend(ledger, NULL, 0);
    assert_int_equal(warned(), 51);
    close_ledger(ledger);
}

static void a_rule_that_was_away_has_forgotten(void **state) {
    struct ledger_rule rule = warning_rule(), other = rule_of("other", MEASURE_COST, 1);
    struct ledger *ledger = open_warning(*state, rule);
    spend(ledger, NULL, 60);
    assert_int_equal(set_rules(ledger, &other, 1), 0);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    assert_int_equal(set_rules(ledger, &rule, 1), 0);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 50);
    close_ledger(ledger);
}

static void a_reset_makes_a_new_threshold(void **state) {
    struct ledger *ledger = open_warning(*state, calendar(warning_rule(), WINDOW_MONTH, 0));
    struct drafts drafts = {0};
    struct ledger_entry entry = priced(NULL, 60);
    spend(ledger, NULL, 60);
    assert_int_equal(warned(), 50);
    assert_int_equal(reset_rule(ledger, "r", NULL), 0);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 49);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 50);
    /* in one batch with what is booked before and after it */
    struct ledger_entry reset = {.kind = KIND_RESET, .change = {"\x81\xa4rule\xa1r", 8}};
    add_draft(&drafts, &entry);
    add_request(&drafts, OPERATION_RESET, 0, &reset)->text = text("r");
    add_draft(&drafts, &entry);
    assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
    assert_int_equal(warned(), 50);
    assert_sum_equal(effects.warnings[0].status.used, 60);
    free_drafts(&drafts);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_grant_makes_a_new_threshold(void **state) {
    struct ledger_rule rule = warning_rule();
    rule.granted = true;
    rule.limit = 0;
    struct ledger *ledger = open_warning(*state, rule);
    spend(ledger, NULL, 0);
    assert_int_equal(warned(), 0); /* where nothing is used nothing is reached */
    assert_int_equal(grant_cost(ledger, NULL, 100), 0);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 60);
    assert_int_equal(warned(), 50);
    assert_int_equal(grant_cost(ledger, NULL, 10), 0); /* 60 of 110 */
    assert_int_equal(warned(), 50);
    assert_int_equal(grant_cost(ledger, NULL, 100), 0); /* 60 of 210 */
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 100); /* the first two are used up, and 50 of the third */
    assert_int_equal(warned(), 50);
    assert_int_equal(effects.warnings[0].status.percent, 50);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    assert_int_equal(grant_cost(ledger, NULL, -300), 0); /* more than there was */
    assert_int_equal(warned(), 0);
    close_ledger(ledger);
}

static void a_limit_of_zero_warns_of_anything(void **state) {
    struct ledger_rule rule = warning_rule();
    rule.limit = 0;
    struct ledger *ledger = open_warning(*state, rule);
    spend(ledger, NULL, 0);
    assert_int_equal(warned(), 0);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 5080);
    spend(ledger, NULL, 1);
    assert_int_equal(warned(), 0);
    close_ledger(ledger);
}

static void without_a_limit_or_a_list_there_is_no_warning(void **state) {
    struct ledger_rule rules[] = {warning_rule(), rule_of("other", MEASURE_COST, 10)};
    rules[0].limit = RULE_UNLIMITED;
    struct ledger *ledger = open_ruled(*state, rules, LENGTH(rules));
    at_time(ledger, START_US);
    spend(ledger, NULL, 5000);
    assert_int_equal(warned(), 0);
    close_ledger(ledger);
}

static void a_rule_that_only_warns_does_so_and_admits(void **state) {
    struct ledger_rule rule = warning_rule();
    struct ledger_entry estimate = priced(NULL, 500);
    rule.effect = EFFECT_WARN;
    struct ledger *ledger = open_warning(*state, rule);
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_true(hold != 0);
    assert_int_equal(settle(ledger, hold, 500), 0);
    assert_int_equal(last.flags, 0); /* nor is it an overrun */
    assert_int_equal(warned(), 5080);
    assert_true(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static bool unwanted(void *context) {
    (void)context;
    return false;
}

/* What an aborted transaction has marked as told was not told. */
static void a_warning_of_a_batch_that_was_dropped_is_still_to_come(void **state) {
    struct ledger *ledger = open_warning(*state, warning_rule());
    struct drafts drafts = {0};
    struct ledger_failure failure;
    struct ledger_entry entry = priced(NULL, 60);
    add_draft(&drafts, &entry);
    struct ledger_batch batch = {
        .requests = drafts.requests, .count = drafts.count, .now_us = START_US, .wanted = unwanted};
    ledger_effects_free(&effects);
    assert_int_equal(ledger_commit(ledger, &batch, &effects, &failure), LEDGER_E_WRITER_DEAD);
    assert_int_equal(warned(), 0);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(warned(), 50);
    free_drafts(&drafts);
    close_ledger(ledger);
}

/* By the warned percent of what was booked, before and after each booking. */
static void warnings_equal_those_of_a_list(void **state) {
    struct ledger_rule rule = within(warning_rule(), MINUTE_MS);
    struct ledger *ledger = open_warning(*state, rule);
    struct {
        uint64_t id;
        int64_t cost;
    } list[2000];
    size_t count = 0;
    bool told[2] = {false, false};
    int64_t now = START_US;
    for (size_t i = rounds(500); i > 0; i--) {
        int64_t before = 0, cost = (int64_t)random_below(40), after;
        at_time(ledger, now += (int64_t)random_below(30000000));
        for (size_t k = 0; k < count; k++)
            if ((int64_t)list[k].id >= (now / 1000 - (int64_t)MINUTE_MS) * 1000)
                before += list[k].cost;
        after = before + cost;
        list[count].id = spend(ledger, NULL, cost);
        list[count++].cost = cost;
        int expected = 0;
        for (int k = 0; k < 2; k++) {
            told[k] = told[k] && before >= rule.warn[k];
            if (after < rule.warn[k] || told[k])
                continue;
            told[k] = true;
            expected = 100 * expected + rule.warn[k];
        }
        assert_int_equal(warned(), expected);
    }
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_threshold_is_told_of_when_booked_use_reaches_it),
        in_directory(one_batch_tells_of_each_threshold_once),
        in_directory(a_warning_that_was_given_is_not_given_after_reopening),
        in_directory(what_is_held_does_not_warn),
        in_directory(each_value_is_told_of_with_its_name),
        in_directory(a_calendar_period_warns_once),
        in_directory(a_rolling_window_warns_again_after_use_has_fallen),
        in_directory(a_changed_limit_makes_a_new_threshold),
        in_directory(a_rule_that_was_away_has_forgotten),
        in_directory(a_reset_makes_a_new_threshold),
        in_directory(a_grant_makes_a_new_threshold),
        in_directory(a_limit_of_zero_warns_of_anything),
        in_directory(without_a_limit_or_a_list_there_is_no_warning),
        in_directory(a_rule_that_only_warns_does_so_and_admits),
        in_directory(a_warning_of_a_batch_that_was_dropped_is_still_to_come),
        in_directory(warnings_equal_those_of_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
