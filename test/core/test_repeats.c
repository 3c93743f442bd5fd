/* Requests that come twice, and reserves that are given up. */
#include "limited.h"

/* ---- withdrawing -------------------------------------------------------------------------- */

static void a_reserve_that_timed_out_is_withdrawn(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 60);
    struct drafts drafts = {0};
    /* in the batch that reserves */
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->token = 11;
    add_request(&drafts, OPERATION_WITHDRAW, 11, NULL);
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->token = 12;
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    for (size_t i = 0; i < drafts.count; i++)
        assert_int_equal(drafts.requests[i].rc, 0);
    uint64_t second = drafts.requests[2].id;
    free_drafts(&drafts);
    assert_in_use(ledger, 0, 60);
    /* in a later one */
    add_request(&drafts, OPERATION_WITHDRAW, 12, NULL);
    add_request(&drafts, OPERATION_WITHDRAW, 12, NULL);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].hold, 12); /* as it was sent */
    free_drafts(&drafts);
    assert_false(is_live(ledger, second));
    assert_in_use(ledger, 0, 0);
    close_ledger(ledger);
}

static void what_was_never_reserved_is_withdrawn_in_vain(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 101);
    struct drafts drafts = {0};
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->token = 11;
    add_request(&drafts, OPERATION_WITHDRAW, 11, NULL);
    add_request(&drafts, OPERATION_WITHDRAW, 77, NULL);
    add_request(&drafts, OPERATION_WITHDRAW, 0, NULL);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_BUDGET_EXHAUSTED);
    for (size_t i = 1; i < drafts.count; i++)
        assert_int_equal(drafts.requests[i].rc, 0);
    free_drafts(&drafts);
    assert_int_equal(facts_of(ledger).entries, 0);
    close_ledger(ledger);
}

/* Whoever asked under an id asks anew, and is decided on anew. */
static void a_withdrawn_id_is_free_again(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 60);
    struct drafts drafts = {0};
    estimate.client_id = text("mine");
    request_of(OPERATION_RESERVE, 0, &estimate)->token = 11;
    assert_int_equal(send_request(ledger), 0);
    uint64_t first = last.id;
    add_request(&drafts, OPERATION_WITHDRAW, 11, NULL);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].id, first);
    free_drafts(&drafts);
    assert_false(is_live(ledger, first));
    assert_books_agree(ledger);
    uint64_t second = reserve(ledger, &estimate, 0);
    assert_true(second > first);
    assert_false(last.repeated);
    assert_in_use(ledger, 0, 60);
    close_ledger(ledger);
}

/* A directory of its own for each of several ledgers. */
static const char *below(const char *directory, uint64_t n) {
    char name[32];
    snprintf(name, sizeof name, "%llu", (unsigned long long)n);
    return path_in(directory, name);
}

/* A hold that two were answered with is not taken away by the one of them that gave up. */
static void what_was_answered_twice_is_not_withdrawn(void **state) {
    struct ledger_entry estimate = priced(NULL, 60);
    estimate.client_id = text("mine");
    for (uint64_t token = 11; token <= 12; token++)
        for (int in_one_batch = 0; in_one_batch < 2; in_one_batch++) {
            struct ledger *ledger = open_limited(below(*state, 2 * token + (uint64_t)in_one_batch));
            struct drafts drafts = {0};
            for (uint64_t k = 11; k <= 12; k++) {
                add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->token = k;
                if (in_one_batch)
                    continue;
                assert_int_equal(commit(ledger, &drafts, START_US), 0);
                free_drafts(&drafts);
            }
            add_request(&drafts, OPERATION_WITHDRAW, token, NULL);
            assert_int_equal(commit(ledger, &drafts, START_US), 0);
            free_drafts(&drafts);
            assert_in_use(ledger, 0, 60);
            uint64_t hold = reserve(ledger, &estimate, 0);
            assert_true(hold != 0 && last.repeated);
            assert_int_equal(release(ledger, hold), 0);
            close_ledger(ledger);
        }
}

/* Whoever sent it under an id may have it from its first call, and have given it children. */
static void a_hold_with_children_is_not_withdrawn_but_the_rest_of_the_batch_is_done(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry run = run_of(NULL, 50), one = priced(NULL, 1);
    struct drafts drafts = {0};
    run.client_id = text("mine");
    add_request(&drafts, OPERATION_RESERVE, 0, &run)->token = 11;
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    uint64_t parent = drafts.requests[0].id;
    free_drafts(&drafts);
    hold_of(ledger, NULL, 10, parent);
    add_request(&drafts, OPERATION_WITHDRAW, 11, NULL);
    add_draft(&drafts, &one);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_OPEN_CHILDREN);
    assert_int_equal(drafts.requests[1].rc, 0);
    free_drafts(&drafts);
    add_request(&drafts, OPERATION_WITHDRAW, 11, NULL); /* alone */
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_OPEN_CHILDREN);
    free_drafts(&drafts);
    assert_in_use(ledger, 1, 50);
    close_ledger(ledger);
}

/* ---- the same again ----------------------------------------------------------------------- */

static void a_reserve_under_an_id_is_made_once(void **state) {
    struct ledger *ledger = reopen_as(open_limited(*state), *state, 1);
    struct ledger_entry estimate = priced("ada", 40), other = priced("ada", 41);
    estimate.client_id = other.client_id = text("mine");
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_false(last.repeated);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(reserve(ledger, &estimate, 0), hold);
        assert_true(last.repeated);
        assert_int_equal(reserve(ledger, &other, 0), 0);
        assert_int_equal(last.rc, LEDGER_E_CONFLICT);
        assert_int_equal(last.id, hold);
        assert_in_use(ledger, 0, 40);
        ledger = reopen_as(ledger, *state, 1);
    }
    close_ledger(ledger);
}

static void a_hold_that_is_over_is_not_made_again_under_its_id(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced("ada", 40), usage = usage_of(10);
    estimate.client_id = text("mine");
    usage.client_id = text("settling");
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    uint64_t entry = last.id;
    assert_int_equal(reserve(ledger, &estimate, 0), hold);
    ledger = reopen(ledger, *state);
    assert_int_equal(reserve(ledger, &estimate, 0), hold);
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    assert_int_equal(last.id, entry);
    assert_true(last.repeated);
    usage.cost = 11;
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), LEDGER_E_CONFLICT);
    assert_int_equal(last.id, entry);
    assert_in_use(ledger, 10, 0);
    close_ledger(ledger);
}

static void an_id_is_of_one_operation(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry nothing = no_usage();
    nothing.client_id = text("mine");
    uint64_t hold = hold_of(ledger, NULL, 10, 0);
    assert_int_equal(request(ledger, OPERATION_TRANSFER, hold, &nothing), 0);
    assert_int_equal(request(ledger, OPERATION_RELEASE, hold, &nothing), LEDGER_E_CONFLICT);
    assert_int_equal(last.id, hold);
    assert_int_equal(request(ledger, OPERATION_TRANSFER, hold, &nothing), 0);
    assert_true(last.repeated);
    nothing.client_id = text("other");
    assert_int_equal(request(ledger, OPERATION_RELEASE, hold, &nothing), 0);
    uint64_t entry = last.id;
    assert_int_equal(request(ledger, OPERATION_RELEASE, hold, &nothing), 0);
    assert_int_equal(last.id, entry);
    assert_in_use(ledger, 0, 0);
    close_ledger(ledger);
}

static void a_metering_that_comes_again_does_not_extend_again(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry usage = usage_of(10);
    usage.client_id = text("mine");
    uint64_t hold = hold_of(ledger, NULL, 10, 0);
    assert_int_equal(request(ledger, OPERATION_METER, hold, &usage), 0);
    at_time(ledger, START_US + 1000000);
    assert_int_equal(request(ledger, OPERATION_METER, hold, &usage), 0);
    assert_true(last.repeated);
    assert_int_equal(effects.next_deadline_us, START_US + (int64_t)HOUR_MS * 1000);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_late_settling_that_comes_again_is_answered_alike(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry usage = usage_of(75);
    uint64_t hold = unattended(ledger);
    usage.client_id = text("mine");
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    uint64_t entry = last.id, flags = last.flags;
    ledger = reopen(ledger, *state);
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    assert_int_equal(last.id, entry);
    assert_int_equal(last.flags, flags);
    assert_in_use(ledger, 75, 0);
    close_ledger(ledger);
}

static void a_denied_reserve_is_decided_again(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 60);
    uint64_t hold = hold_of(ledger, NULL, 60, 0);
    estimate.client_id = text("mine");
    assert_int_equal(reserve(ledger, &estimate, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_BUDGET_EXHAUSTED);
    assert_int_equal(release(ledger, hold), 0);
    assert_true(reserve(ledger, &estimate, 0) != 0);
    assert_false(last.repeated);
    assert_in_use(ledger, 0, 60);
    close_ledger(ledger);
}

static void two_of_a_kind_in_one_batch_are_one(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 60);
    struct drafts drafts = {0};
    estimate.client_id = text("mine");
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, 0);
    assert_int_equal(drafts.requests[1].rc, 0);
    assert_int_equal(drafts.requests[0].id, drafts.requests[1].id);
    assert_false(drafts.requests[0].repeated);
    assert_true(drafts.requests[1].repeated);
    free_drafts(&drafts);
    assert_in_use(ledger, 0, 60);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_reserve_that_timed_out_is_withdrawn),
        in_directory(what_was_never_reserved_is_withdrawn_in_vain),
        in_directory(a_withdrawn_id_is_free_again),
        in_directory(what_was_answered_twice_is_not_withdrawn),
        in_directory(a_hold_with_children_is_not_withdrawn_but_the_rest_of_the_batch_is_done),
        in_directory(a_reserve_under_an_id_is_made_once),
        in_directory(a_hold_that_is_over_is_not_made_again_under_its_id),
        in_directory(an_id_is_of_one_operation),
        in_directory(a_metering_that_comes_again_does_not_extend_again),
        in_directory(a_late_settling_that_comes_again_is_answered_alike),
        in_directory(a_denied_reserve_is_decided_again),
        in_directory(two_of_a_kind_in_one_batch_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
