/* Admission: which reserves are denied, by which rules, and what for. */
#include "limited.h"

static void all_rules_must_admit_and_those_that_do_not_are_named(void **state) {
    struct ledger *ledger = open_limited(*state);
    hold_of(ledger, "ada", 50, 0);
    assert_denied(ledger, "ada", 11, 0);
    const struct ledger_denial *denial = last.denial;
    assert_int_equal(denial->count, 1);
    assert_int_equal(denial->decision.denials, 1);
    assert_true(denial->decision.resets_at_us == UINT64_MAX);
    const struct ledger_rule_status *status = &denial->rules[0];
    assert_true(text_equal(status->rule->name, text("each user")));
    assert_true(text_equal(status->values[0], text("ada")));
    assert_int_equal(status->reason, RULE_LIMIT);
    assert_sum_equal(status->amount, 11);
    assert_sum_equal(status->used, 0);
    assert_sum_equal(status->held, 50);
    assert_sum_equal(status->limit, 60);
    assert_sum_equal(status->remaining, 10);
    assert_int_equal(status->percent, 83);
    assert_int_equal(status->level, LEVEL_APPROACHING);
    assert_int_equal(status->held_until_us, START_US + (int64_t)HOUR_MS * 1000);
    assert_int_equal(denial->decision.held_until_us, status->held_until_us);
    assert_denied(ledger, "ada", 51, 0);
    assert_int_equal(last.denial->count, 2);
    assert_in_use(ledger, 0, 50);
    close_ledger(ledger);
}

static void at_the_time_it_names_the_same_request_is_admitted(void **state) {
    struct ledger_rule rules[] = {within(rule_of("all", MEASURE_COST, 100), HOUR_MS)};
    struct ledger *ledger = open_ruled(*state, rules, 1);
    at_time(ledger, START_US);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 70, 0), 70), 0);
    at_time(ledger, START_US + 5000000);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 30, 0), 30), 0);
    assert_denied(ledger, NULL, 71, 0);
    int64_t from = (int64_t)last.denial->rules[0].resets_at_us;
    assert_int_equal(from, START_US + 5000000 + ((int64_t)HOUR_MS + 1) * 1000);
    assert_denied(ledger, NULL, 70, 0);
    from = (int64_t)last.denial->rules[0].resets_at_us;
    at_time(ledger, from - 1);
    assert_denied(ledger, NULL, 70, 0);
    at_time(ledger, from);
    hold_of(ledger, NULL, 70, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void one_batch_cannot_overshoot(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct drafts drafts = {0};
    struct ledger_entry estimate = priced(NULL, 30), spent = priced(NULL, 30);
    for (int i = 0; i < 5; i++)
        add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
    add_draft(&drafts, &spent); /* what is booked is booked */
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    for (size_t i = 0; i < drafts.count; i++)
        assert_int_equal(drafts.requests[i].rc, i < 3 || i == 5 ? 0 : LEDGER_E_BUDGET_EXHAUSTED);
    assert_int_equal(drafts.requests[5].flags, ENTRY_OVERRUN);
    free_drafts(&drafts);
    assert_in_use(ledger, 30, 90);
    close_ledger(ledger);
}

static void unpaid_work_goes_on_where_paid_work_degrades(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_COST, 100)};
    rules[0].effect = EFFECT_DEGRADE;
    struct ledger *ledger = open_ruled(*state, rules, 1);
    at_time(ledger, START_US);
    hold_of(ledger, NULL, 100, 0);
    assert_denied(ledger, NULL, 1, 0);
    assert_true(last.denial->decision.is_low_tier);
    assert_int_equal(last.denial->rules[0].level, LEVEL_EXHAUSTED);
    hold_of(ledger, NULL, 0, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void critical_attempts_pass_the_soft_threshold(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_COST, 100)};
    rules[0].soft = 50;
    struct ledger *ledger = open_ruled(*state, rules, 1);
    struct ledger_entry estimate = priced(NULL, 51);
    struct drafts drafts = {0};
    at_time(ledger, START_US);
    assert_denied(ledger, NULL, 51, 0);
    assert_int_equal(last.denial->rules[0].reason, RULE_SOFT);
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->critical = true;
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, 0);
    free_drafts(&drafts);
    assert_in_use(ledger, 0, 51);
    close_ledger(ledger);
}

static void who_does_not_say_who_it_is_is_denied_where_that_is_required(void **state) {
    struct ledger_rule rules[] = {of(rule_of("users", MEASURE_COST, 60), DIMENSION_USER, NULL)};
    rules[0].require = true;
    struct ledger *ledger = open_ruled(*state, rules, 1);
    at_time(ledger, START_US);
    assert_denied(ledger, NULL, 0, 0);
    const struct ledger_rule_status *status = &last.denial->rules[0];
    assert_int_equal(status->reason, RULE_REQUIRED);
    assert_null(status->values[0].data);
    assert_sum_equal(status->limit, 60);
    assert_true(status->resets_at_us == UINT64_MAX);
    hold_of(ledger, "ada", 60, 0);
    rules[0].effect = EFFECT_WARN;
    assert_int_equal(set_rules(ledger, rules, 1), 0);
    hold_of(ledger, NULL, 1, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_rule_for_each_has_only_so_many_values(void **state) {
    struct ledger_rule rules[] = {of(rule_of("users", MEASURE_COST, 60), DIMENSION_USER, NULL)};
    struct ledger_entry eve = priced("eve", 5);
    rules[0].max_values = 2;
    struct ledger *ledger = open_ruled(*state, rules, 1);
    at_time(ledger, START_US);
    hold_of(ledger, "ada", 1, 0);
    hold_of(ledger, "bob", 1, 0);
    assert_denied(ledger, "eve", 1, 0);
    assert_int_equal(last.denial->rules[0].reason, RULE_TOO_MANY_VALUES);
    hold_of(ledger, "ada", 1, 0);
    book_entry(ledger, &eve); /* what was spent is booked all the same */
    hold_of(ledger, "eve", 1, 0);
    assert_denied(ledger, "mallory", 1, 0);
    rules[0].limit = RULE_UNLIMITED; /* never denies */
    assert_int_equal(set_rules(ledger, rules, 1), 0);
    hold_of(ledger, "mallory", 1, 0);
    rules[0].limit = 60;
    rules[0].effect = EFFECT_WARN;
    assert_int_equal(set_rules(ledger, rules, 1), 0);
    hold_of(ledger, "trent", 1, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void an_amount_that_was_not_said_is_estimated_or_asked_for(void **state) {
    struct ledger_rule rules[] = {
        rule_of("all", MEASURE_COST, 100),
        within(rule_of("counts", MEASURE_COST, RULE_UNLIMITED), HOUR_MS),
        of(rule_of("ada", MEASURE_COMPLETED_COST, 100), DIMENSION_USER, "ada"),
        of(rule_of("bob", MEASURE_TOKENS, 100), DIMENSION_USER, "bob"),
    };
    struct ledger *ledger = open_ruled(*state, rules, LENGTH(rules));
    struct ledger_entry estimate = invocation("executing");
    at_time(ledger, START_US);
    assert_int_equal(reserve(ledger, &estimate, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_ESTIMATE_REQUIRED);
    assert_true(text_equal(last.rule->name, text("all")));
    rules[1].default_estimate = 5;
    rules[2].default_estimate = 9;
    assert_int_equal(set_rules(ledger, rules, LENGTH(rules)), 0);
    assert_true(reserve(ledger, &estimate, 0) != 0);
    assert_sum_equal(held_of(ledger, "all"), 5);
    estimate.names[DIMENSION_USER] = text("ada"); /* the largest of those that match */
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_true(hold != 0);
    assert_sum_equal(held_of(ledger, "all"), 14);
    estimate.names[DIMENSION_USER] = text("bob");
    assert_int_equal(reserve(ledger, &estimate, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_ESTIMATE_REQUIRED);
    assert_true(text_equal(last.rule->name, text("bob")));
    rules[3].default_estimate = 33;
    rules[0].limit = 0; /* denies without being told how much */
    assert_int_equal(set_rules(ledger, rules, LENGTH(rules)), 0);
    assert_int_equal(reserve(ledger, &estimate, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_BUDGET_EXHAUSTED);
    rules[0].limit = 100;
    assert_int_equal(set_rules(ledger, rules, LENGTH(rules)), 0);
    hold = reserve(ledger, &estimate, 0);
    struct ledger_live_hold live = live_hold(ledger, hold);
    assert_int_equal(live.estimate.tokens[TOKENS_INPUT], 33);
    assert_int_equal(live.estimate.cost, 5);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_run_asks_for_no_invocation(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_INVOCATIONS, 1)};
    struct ledger *ledger = open_ruled(*state, rules, 1);
    struct ledger_entry run = run_of(NULL, 5), estimate = invocation("executing");
    at_time(ledger, START_US);
    uint64_t parent = reserve(ledger, &run, 0);
    assert_true(parent != 0);
    assert_sum_equal(held_of(ledger, "all"), 0);
    uint64_t hold = reserve(ledger, &estimate, parent);
    assert_true(hold != 0);
    assert_sum_equal(held_of(ledger, "all"), 1);
    assert_int_equal(reserve(ledger, &estimate, parent), 0);
    assert_false(ledger_allowed(ledger, 1));
    assert_int_equal(release(ledger, hold), 0);
    assert_true(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_version_that_was_never_in_force_is_refused(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 1);
    estimate.policy_version = 2;
    assert_int_equal(reserve(ledger, &estimate, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_NO_VERSION);
    estimate.policy_version = 1;
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_int_equal(settle(ledger, hold, 1), 0);
    assert_int_equal(entry_at(ledger, last.id).policy_version, 1);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(all_rules_must_admit_and_those_that_do_not_are_named),
        in_directory(at_the_time_it_names_the_same_request_is_admitted),
        in_directory(one_batch_cannot_overshoot),
        in_directory(unpaid_work_goes_on_where_paid_work_degrades),
        in_directory(critical_attempts_pass_the_soft_threshold),
        in_directory(who_does_not_say_who_it_is_is_denied_where_that_is_required),
        in_directory(a_rule_for_each_has_only_so_many_values),
        in_directory(an_amount_that_was_not_said_is_estimated_or_asked_for),
        in_directory(a_run_asks_for_no_invocation),
        in_directory(a_version_that_was_never_in_force_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
