/* Holds within holds. */
#include "limited.h"

static void a_child_draws_on_what_its_parent_holds(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 80, 0);
    uint64_t child = hold_of(ledger, NULL, 50, run);
    assert_in_use(ledger, 0, 80);
    uint64_t other = hold_of(ledger, NULL, 50, run); /* 30 from the parent, 20 anew */
    assert_in_use(ledger, 0, 100);
    assert_denied(ledger, NULL, 1, run);
    assert_sum_equal(last.denial->rules[0].amount, 1);
    assert_int_equal(settle(ledger, child, 10), 0); /* 40 go back to the parent */
    assert_in_use(ledger, 10, 90);
    assert_int_equal(release(ledger, other), 0);
    assert_in_use(ledger, 10, 70);
    assert_int_equal(settle(ledger, run, 0), 0);
    assert_in_use(ledger, 10, 0);
    close_ledger(ledger);
}

static void what_a_child_spends_beyond_its_hold_is_taken_from_its_parent(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 80, 0);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 10, run), 35), 0);
    assert_in_use(ledger, 35, 45);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 10, run), 60), 0);
    assert_int_equal(last.flags, 0);
    assert_in_use(ledger, 95, 0); /* as far as that goes */
    assert_int_equal(settle(ledger, run, 95), 0);
    assert_int_equal(entry_at(ledger, last.id).cost, 0);
    assert_in_use(ledger, 95, 0);
    close_ledger(ledger);
}

static void a_run_books_what_its_children_have_not(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 80, 0);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 10, run), 12), 0);
    uint64_t inner = run_hold(ledger, 30, run);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 5, inner), 5), 0);
    assert_int_equal(settle(ledger, inner, 9), 0); /* 4 of its own */
    assert_int_equal(entry_at(ledger, last.id).cost, 4);
    assert_int_equal(settle(ledger, run, 50), 0);
    struct ledger_entry entry = entry_at(ledger, last.id);
    assert_int_equal(entry.kind, KIND_RUN);
    assert_int_equal(entry.cost, 50 - 12 - 5 - 4);
    assert_in_use(ledger, 50, 0);
    close_ledger(ledger);
}

static void where_a_parent_does_not_belong_its_child_holds_in_full(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = run_of("ada", 50);
    uint64_t run = reserve(ledger, &estimate, 0);
    uint64_t child = hold_of(ledger, "bob", 40, run);
    assert_sum_equal(status_for(ledger, "each user", "ada").held, 50);
    assert_sum_equal(status_for(ledger, "each user", "bob").held, 40);
    assert_in_use(ledger, 0, 50);
    assert_denied(ledger, "bob", 21, run);
    assert_int_equal(settle(ledger, child, 30), 0);
    assert_sum_equal(status_for(ledger, "each user", "ada").held, 50);
    assert_in_use(ledger, 30, 20);
    assert_int_equal(release(ledger, run), 0);
    assert_in_use(ledger, 30, 0);
    close_ledger(ledger);
}

/* A call may turn out to have been another model's: it is the budget of that one which is spent. */
static void what_was_spent_elsewhere_is_taken_from_there(void **state) {
    struct declared_series models = FAMILY(DIMENSION_MODEL);
    struct ledger_rule rules[] = {of(rule_of("large", MEASURE_COST, 100), DIMENSION_MODEL, "large"),
                                  of(rule_of("small", MEASURE_COST, 100), DIMENSION_MODEL, "small"),
                                  rule_of("all", MEASURE_COST, 1000)};
    struct ledger_policy policy = policy_of(rules, LENGTH(rules));
    struct ledger_options options = options_for(*state);
    options.policy = &policy;
    options.series = &models;
    options.series_count = 1;
    struct ledger *ledger = open_with(&options);
    struct ledger_entry run = run_of(NULL, 50), call = priced(NULL, 20), usage = usage_of(15);
    at_time(ledger, START_US);
    run.names[DIMENSION_MODEL] = call.names[DIMENSION_MODEL] = text("large");
    usage.names[DIMENSION_MODEL] = text("small");
    uint64_t parent = reserve(ledger, &run, 0), child = reserve(ledger, &call, parent);
    assert_int_equal(request(ledger, OPERATION_SETTLE, child, &usage), 0);
    assert_sum_equal(held_of(ledger, "large"), 50); /* nothing was spent there */
    assert_sum_equal(used_of(ledger, "large"), 0);
    assert_sum_equal(used_of(ledger, "small"), 15);
    assert_in_use(ledger, 15, 35);
    /* and a call of the other that turns out to be this one's */
    call.names[DIMENSION_MODEL] = text("small");
    usage.names[DIMENSION_MODEL] = text("large");
    child = reserve(ledger, &call, parent);
    assert_int_equal(request(ledger, OPERATION_SETTLE, child, &usage), 0);
    assert_sum_equal(held_of(ledger, "large"), 35);
    assert_sum_equal(used_of(ledger, "large"), 15);
    assert_sum_equal(held_of(ledger, "small"), 0);
    assert_in_use(ledger, 30, 20);
    usage.names[DIMENSION_MODEL] = text("a new one");
    usage.cost = 4;
    child = reserve(ledger, &call, parent);
    assert_int_equal(request(ledger, OPERATION_SETTLE, child, &usage), 0);
    assert_in_use(ledger, 34, 16);
    assert_int_equal(settle(ledger, parent, 34), 0);
    assert_in_use(ledger, 34, 0);
    close_ledger(ledger);
}

static void a_parent_must_be_a_run(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 1);
    uint64_t call = hold_of(ledger, NULL, 50, 0);
    assert_int_equal(reserve(ledger, &estimate, call), 0);
    assert_int_equal(last.rc, LEDGER_E_NO_PARENT);
    assert_in_use(ledger, 0, 50);
    close_ledger(ledger);
}

static void a_hold_with_children_is_not_resolved_by_its_caller(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 80, 0), child = hold_of(ledger, NULL, 50, run);
    assert_int_equal(settle(ledger, run, 1), LEDGER_E_OPEN_CHILDREN);
    assert_int_equal(release(ledger, run), LEDGER_E_OPEN_CHILDREN);
    assert_int_equal(meter(ledger, run, 1), 0);
    assert_int_equal(release(ledger, child), 0);
    assert_int_equal(release(ledger, run), 0);
    assert_in_use(ledger, 0, 0);
    close_ledger(ledger);
}

static void a_parent_must_be_a_live_hold(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 80, 0);
    const uint64_t wrong[] = {book(ledger, "executing"), run + 1000, UINT64_MAX};
    struct ledger_entry estimate = priced(NULL, 1);
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        assert_int_equal(reserve(ledger, &estimate, wrong[i]), 0);
        assert_int_equal(last.rc, LEDGER_E_NO_PARENT);
    }
    assert_int_equal(release(ledger, run), 0);
    assert_int_equal(reserve(ledger, &estimate, run), 0);
    assert_int_equal(last.rc, LEDGER_E_NO_PARENT);
    close_ledger(ledger);
}

/* Runs within runs, all of the same ceiling. */
static void make_chain(struct ledger *ledger, uint64_t *chain, size_t count, uint64_t parent) {
    for (size_t i = 0; i < count; i++)
        parent = chain[i] = run_hold(ledger, 100, parent);
}

static void chains_of_parents_are_at_most_eight_long(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 1);
    uint64_t chain[8];
    make_chain(ledger, chain, 8, 0);
    assert_int_equal(reserve(ledger, &estimate, chain[7]), 0);
    assert_int_equal(last.rc, LEDGER_E_TOO_DEEP);
    assert_in_use(ledger, 0, 100);
    /* what the deepest spends is taken from the one above it, and is known to all */
    assert_int_equal(settle(ledger, chain[7], 30), 0);
    assert_in_use(ledger, 30, 70);
    for (size_t i = 7; i-- > 0;) {
        assert_int_equal(settle(ledger, chain[i], 30 + (int64_t)(7 - i)), 0);
        assert_int_equal(entry_at(ledger, last.id).cost, 1);
        assert_in_use(ledger, 30 + (int64_t)(7 - i), i == 0 ? 0 : 70 - (int64_t)(7 - i));
    }
    close_ledger(ledger);
}

static void a_parent_that_is_gone_does_not_make_its_chain_longer(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 1);
    uint64_t chain[9];
    make_chain(ledger, chain, 8, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, chain[0], NULL), 0);
    make_chain(ledger, chain + 8, 1, chain[7]); /* the eighth that lives */
    assert_int_equal(reserve(ledger, &estimate, chain[8]), 0);
    assert_int_equal(last.rc, LEDGER_E_TOO_DEEP);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* What was spent four levels down is not given back by those between. */
static void what_was_spent_far_below_is_not_given_back_above(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t chain[4];
    make_chain(ledger, chain, 4, 0);
    assert_int_equal(settle(ledger, chain[3], 60), 0);
    assert_in_use(ledger, 60, 40);
    assert_int_equal(settle(ledger, chain[2], 60), 0);
    assert_in_use(ledger, 60, 40);
    assert_int_equal(settle(ledger, chain[1], 60), 0);
    assert_in_use(ledger, 60, 40);
    assert_denied(ledger, NULL, 41, chain[0]);
    assert_int_equal(settle(ledger, chain[0], 60), 0);
    assert_in_use(ledger, 60, 0);
    close_ledger(ledger);
}

/* Where each of a chain asked for more than its parent could lend: a parent holds what it asked
 * for, less what was spent below it and what is drawn now. */
static void a_ceiling_falls_by_all_that_is_spent_below_it(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_COST, 1000)};
    struct ledger *ledger = open_ruled(*state, rules, 1);
    at_time(ledger, START_US);
    uint64_t top = run_hold(ledger, 60, 0);
    uint64_t middle = run_hold(ledger, 100, top); /* 60 from the top */
    uint64_t inner = run_hold(ledger, 100, middle);
    assert_in_use(ledger, 0, 100);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 80, inner), 50), 0);
    assert_in_use(ledger, 50, 50);
    assert_int_equal(settle(ledger, inner, 50), 0);
    assert_in_use(ledger, 50, 50);
    assert_int_equal(settle(ledger, middle, 50), 0);
    assert_in_use(ledger, 50, 10); /* the ceiling of 60, less 50 */
    assert_int_equal(settle(ledger, top, 50), 0);
    assert_in_use(ledger, 50, 0);
    close_ledger(ledger);
}

static void children_go_on_without_a_parent_that_ended_unattended(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 80, 0), child = hold_of(ledger, NULL, 50, run);
    assert_int_equal(request(ledger, OPERATION_ABORT, run, NULL), 0);
    assert_int_equal(entry_at(ledger, effects.expiries[0].entry).cost, 0);
    assert_in_use(ledger, 0, 50);
    assert_denied(ledger, NULL, 51, 0);
    assert_int_equal(settle(ledger, child, 20), 0);
    assert_in_use(ledger, 20, 0);
    close_ledger(ledger);
}

/* What a child still holds of it cannot go back to whom its parent had drawn it from: it would be
 * held twice, and so admitted twice. */
static void what_orphans_hold_is_not_given_back_above(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t chain[3];
    make_chain(ledger, chain, 2, 0);
    chain[2] = hold_of(ledger, NULL, 60, chain[1]);
    assert_in_use(ledger, 0, 100);
    assert_int_equal(request(ledger, OPERATION_ABORT, chain[1], NULL), 0);
    assert_in_use(ledger, 0, 100);
    assert_denied(ledger, NULL, 41, chain[0]);
    assert_int_equal(settle(ledger, chain[2], 60), 0);
    assert_in_use(ledger, 60, 40);
    assert_int_equal(settle(ledger, chain[0], 60), 0);
    close_ledger(ledger);
}

static void a_metered_run_that_ends_unattended_books_its_own_part(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 80, 0);
    assert_int_equal(settle(ledger, hold_of(ledger, NULL, 10, run), 12), 0);
    assert_int_equal(meter(ledger, run, 30), 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, run, NULL), 0);
    assert_int_equal(entry_at(ledger, effects.expiries[0].entry).cost, 18);
    assert_in_use(ledger, 30, 0);
    assert_int_equal(settle(ledger, run, 50), 0); /* late: of the 50, 12 are its child's */
    assert_int_equal(entry_at(ledger, last.id).cost, 20);
    assert_in_use(ledger, 50, 0);
    close_ledger(ledger);
}

/* What a late child corrected is booked: its parent must not book it again. */
static void a_run_leaves_out_what_its_children_corrected(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 90, 0), child = hold_of(ledger, NULL, 40, run);
    assert_int_equal(request(ledger, OPERATION_ABORT, child, NULL), 0);
    assert_int_equal(settle(ledger, child, 60), 0);
    assert_int_equal(last.flags & ENTRY_LATE, ENTRY_LATE);
    assert_sum_equal(used_of(ledger, "all"), 60);
    assert_int_equal(settle(ledger, run, 80), 0);
    assert_int_equal(entry_at(ledger, last.id).cost, 20);
    assert_in_use(ledger, 80, 0);
    close_ledger(ledger);
}

static void a_run_books_what_its_children_gave_back(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t run = run_hold(ledger, 90, 0), inner = run_hold(ledger, 80, run);
    uint64_t child = hold_of(ledger, NULL, 40, inner);
    assert_int_equal(request(ledger, OPERATION_ABORT, child, NULL), 0);
    assert_int_equal(settle(ledger, child, 10), 0); /* net 10, gross 40 */
    assert_int_equal(settle(ledger, inner, 15), 0);
    assert_int_equal(entry_at(ledger, last.id).cost, 5);
    assert_int_equal(settle(ledger, run, 16), 0);
    assert_int_equal(entry_at(ledger, last.id).cost, 1);
    assert_in_use(ledger, 46, 0);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_child_draws_on_what_its_parent_holds),
        in_directory(what_a_child_spends_beyond_its_hold_is_taken_from_its_parent),
        in_directory(a_run_books_what_its_children_have_not),
        in_directory(where_a_parent_does_not_belong_its_child_holds_in_full),
        in_directory(what_was_spent_elsewhere_is_taken_from_there),
        in_directory(a_parent_must_be_a_run),
        in_directory(a_hold_with_children_is_not_resolved_by_its_caller),
        in_directory(a_parent_must_be_a_live_hold),
        in_directory(chains_of_parents_are_at_most_eight_long),
        in_directory(a_parent_that_is_gone_does_not_make_its_chain_longer),
        in_directory(what_was_spent_far_below_is_not_given_back_above),
        in_directory(a_ceiling_falls_by_all_that_is_spent_below_it),
        in_directory(children_go_on_without_a_parent_that_ended_unattended),
        in_directory(what_orphans_hold_is_not_given_back_above),
        in_directory(a_metered_run_that_ends_unattended_books_its_own_part),
        in_directory(a_run_leaves_out_what_its_children_corrected),
        in_directory(a_run_books_what_its_children_gave_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
