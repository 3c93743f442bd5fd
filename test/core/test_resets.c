/* Resets: use of a rule, or of one of its values, counts from now on. */
#include "support.h"

/* All together at most 100, each user 60, and bob 30. */
static struct ledger *open_limited(const char *directory) {
    struct ledger_rule rules[] = {
        rule_of("all", MEASURE_COST, 100),
        of(rule_of("each", MEASURE_COST, 60), DIMENSION_USER, NULL),
        of(rule_of("bob", MEASURE_COST, 30), DIMENSION_USER, "bob"),
    };
    struct ledger *ledger = open_ruled(directory, rules, LENGTH(rules));
    at_time(ledger, START_US);
    return ledger;
}

static void spend(struct ledger *ledger, const char *user, int64_t cost) {
    struct ledger_entry entry = priced(user, cost);
    book_entry(ledger, &entry);
}

static ledger_sum used_by(struct ledger *ledger, const char *rule, const char *user) {
    return status_for(ledger, rule, user).used;
}

static void use_of_a_rule_counts_from_its_reset_on(void **state) {
    struct ledger *ledger = open_limited(*state);
    spend(ledger, "ada", 100);
    assert_sum_equal(used_of(ledger, "all"), 100);
    assert_int_equal(reset_rule(ledger, "all", NULL), 0);
    assert_sum_equal(used_of(ledger, "all"), 0);
    assert_sum_equal(used_by(ledger, "each", "ada"), 100);
    spend(ledger, "ada", 7);
    assert_sum_equal(used_of(ledger, "all"), 7);
    assert_books_agree(ledger);
    ledger = reopen(ledger, *state);
    assert_sum_equal(used_of(ledger, "all"), 7);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void one_value_is_reset_alone(void **state) {
    struct ledger *ledger = open_limited(*state);
    spend(ledger, "ada", 50);
    spend(ledger, "eve", 40);
    assert_int_equal(reset_rule(ledger, "each", "ada"), 0);
    assert_sum_equal(used_by(ledger, "each", "ada"), 0);
    assert_sum_equal(used_by(ledger, "each", "eve"), 40);
    assert_int_equal(reset_rule(ledger, "each", NULL), 0);
    assert_sum_equal(used_by(ledger, "each", "eve"), 0);
    spend(ledger, "ada", 3);
    assert_sum_equal(used_by(ledger, "each", "ada"), 3);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_value_that_nobody_had_can_be_reset(void **state) {
    struct ledger *ledger = open_limited(*state);
    assert_int_equal(reset_rule(ledger, "each", "trent"), 0);
    assert_books_agree(ledger);
    spend(ledger, "trent", 5);
    assert_sum_equal(used_by(ledger, "each", "trent"), 5);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_cannot_be_reset_is_refused(void **state) {
    struct ledger_rule rules[] = {
        granted("prepaid", MEASURE_CREDITS),
        of(rule_of("each", MEASURE_COST, 60), DIMENSION_USER, NULL),
        of(rule_of("bob", MEASURE_COST, 30), DIMENSION_USER, "bob"),
    };
    struct ledger *ledger = open_ruled(*state, rules, LENGTH(rules));
    struct ledger_entry reset = {.kind = KIND_RESET};
    struct drafts drafts = {0};
    assert_int_equal(reset_rule(ledger, "none", NULL), LEDGER_E_NO_RULE);
    assert_int_equal(reset_rule(ledger, "prepaid", NULL), LEDGER_E_NO_RULE); /* grant instead */
    assert_int_equal(reset_rule(ledger, "bob", "ada"), LEDGER_E_NO_RULE);    /* not its value */
    assert_int_equal(reset_rule(ledger, "bob", "bob"), LEDGER_E_NO_RULE);    /* it has no other */
    reset.names[DIMENSION_USER] = text("ada");
    reset.names[DIMENSION_ORG] = text("acme"); /* more than the rule is over */
    add_request(&drafts, OPERATION_RESET, 0, &reset)->text = text("each");
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_NO_RULE);
    free_drafts(&drafts);
    assert_int_equal(facts_of(ledger).entries, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_reset_opens_the_gate(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    book_many(ledger, "executing", 20);
    assert_false(ledger_allowed(ledger, 1));
    assert_int_equal(reset_rule(ledger, "executing/hour", NULL), 0);
    assert_false(ledger_allowed(ledger, 1)); /* the day is full */
    assert_books_agree(ledger);
    assert_int_equal(reset_rule(ledger, "executing/day", NULL), 0);
    assert_true(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    book_many(ledger, "executing", 5);
    assert_false(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    ledger = reopen(ledger, *state);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* A reset takes effect where it stands, between what the same batch does before it and after. */
static void a_reset_takes_effect_in_its_own_batch(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry reset = {.kind = KIND_RESET,
                                 .change = {"\x81\xa4rule\xa3"
                                            "all",
                                            10}};
    struct ledger_entry spent = priced(NULL, 90), estimate = priced(NULL, 80);
    struct drafts drafts = {0};
    add_draft(&drafts, &spent);
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
    add_request(&drafts, OPERATION_RESET, 0, &reset)->text = text("all");
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
    add_draft(&drafts, &spent);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[1].rc, LEDGER_E_BUDGET_EXHAUSTED);
    assert_int_equal(drafts.requests[2].rc, 0);
    assert_int_equal(drafts.requests[3].rc, 0);
    assert_int_equal(drafts.requests[4].flags, ENTRY_OVERRUN); /* 90 and 80 held */
    free_drafts(&drafts);
    assert_sum_equal(used_of(ledger, "all"), 90);
    assert_sum_equal(held_of(ledger, "all"), 80);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_rule_that_was_away_begins_anew(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_rule all = rule_of("all", MEASURE_COST, 100);
    struct ledger_rule other = rule_of("other", MEASURE_COST, 100);
    spend(ledger, NULL, 40);
    assert_int_equal(reset_rule(ledger, "all", NULL), 0);
    all.limit = 110; /* another limit of the same budget remembers */
    assert_int_equal(set_rules(ledger, &all, 1), 0);
    assert_sum_equal(used_of(ledger, "all"), 0);
    assert_books_agree(ledger);
    assert_int_equal(set_rules(ledger, &other, 1), 0);
    assert_int_equal(set_rules(ledger, &all, 1), 0);
    assert_sum_equal(used_of(ledger, "all"), 40);
    assert_books_agree(ledger);
    assert_int_equal(reset_rule(ledger, "all", NULL), 0);
    all = within(all, DAY_MS); /* another window is another budget */
    assert_int_equal(set_rules(ledger, &all, 1), 0);
    assert_sum_equal(used_of(ledger, "all"), 40);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_reset_under_an_id_is_made_once(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry reset = {.kind = KIND_RESET,
                                 .change = {"\x81\xa4rule\xa3"
                                            "all",
                                            10},
                                 .client_id = text("mine")};
    for (int i = 0; i < 3; i++) {
        struct drafts drafts = {0};
        spend(ledger, NULL, 10);
        add_request(&drafts, OPERATION_RESET, 0, &reset)->text = text("all");
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        assert_int_equal(drafts.requests[0].rc, 0);
        assert_int_equal(drafts.requests[0].repeated, i > 0);
        free_drafts(&drafts);
        assert_sum_equal(used_of(ledger, "all"), 10 * i);
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(use_of_a_rule_counts_from_its_reset_on),
        in_directory(one_value_is_reset_alone),
        in_directory(a_value_that_nobody_had_can_be_reset),
        in_directory(what_cannot_be_reset_is_refused),
        in_directory(a_reset_opens_the_gate),
        in_directory(a_reset_takes_effect_in_its_own_batch),
        in_directory(a_rule_that_was_away_begins_anew),
        in_directory(a_reset_under_an_id_is_made_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
