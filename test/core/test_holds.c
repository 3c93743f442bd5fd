/* A hold, and every way in which it ends. */
#include "limited.h"

#include "../../c_src/core/batch.h"
#include "../../c_src/core/hold.h"

/* ---- one hold ----------------------------------------------------------------------------- */

static void a_hold_counts_as_used_until_it_is_settled(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = hold_of(ledger, "ada", 60, 0);
    assert_in_use(ledger, 0, 60);
    assert_int_equal(facts_of(ledger).holds, 1);
    assert_int_equal(facts_of(ledger).last_id, hold);
    assert_denied(ledger, "bob", 41, 0);
    uint64_t other = hold_of(ledger, "bob", 40, 0);
    assert_in_use(ledger, 0, 100);
    assert_int_equal(settle(ledger, hold, 25), 0);
    assert_int_equal(last.flags, 0);
    struct ledger_entry entry = entry_at(ledger, last.id);
    assert_int_equal(entry.kind, KIND_INVOCATION);
    assert_int_equal(entry.status, STATUS_COMPLETED);
    assert_int_equal(entry.hold, hold);
    assert_int_equal(entry.cost, 25);
    assert_in_use(ledger, 25, 40);
    assert_int_equal(settle(ledger, other, 40), 0);
    assert_in_use(ledger, 65, 0);
    assert_int_equal(facts_of(ledger).holds, 0);
    close_ledger(ledger);
}

static void what_was_spent_beyond_the_limit_is_booked_and_marked(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = hold_of(ledger, NULL, 60, 0);
    assert_int_equal(settle(ledger, hold, 100), 0);
    assert_int_equal(last.flags, 0); /* at the limit is not beyond it */
    hold = hold_of(ledger, NULL, 0, 0);
    assert_int_equal(settle(ledger, hold, 1), 0);
    assert_int_equal(last.flags, ENTRY_OVERRUN);
    assert_int_equal(entry_at(ledger, last.id).flags, ENTRY_OVERRUN);
    assert_in_use(ledger, 101, 0);
    /* what adds nothing to the rule does not overrun it */
    hold = hold_of(ledger, NULL, 0, 0);
    assert_int_equal(settle(ledger, hold, 0), 0);
    assert_int_equal(last.flags, 0);
    close_ledger(ledger);
}

static void a_released_hold_leaves_no_use_behind(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = hold_of(ledger, "ada", 60, 0);
    assert_int_equal(release(ledger, hold), 0);
    struct ledger_entry entry = entry_at(ledger, last.id);
    assert_int_equal(entry.kind, KIND_RELEASE);
    assert_int_equal(entry.hold, hold);
    assert_in_use(ledger, 0, 0);
    assert_int_equal(count_of(ledger, NULL), 0);
    assert_int_equal(release(ledger, hold), LEDGER_E_RESOLVED);
    assert_int_equal(settle(ledger, hold, 1), LEDGER_E_RESOLVED);
    assert_int_equal(meter(ledger, hold, 1), LEDGER_E_RESOLVED);
    close_ledger(ledger);
}

static void usage_says_more_than_the_estimate_did(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = hold_of(ledger, "ada", 60, 0);
    struct ledger_entry usage = usage_of(10);
    usage.status = STATUS_FAILED;
    usage.given |= ENTRY_TOKENS;
    usage.tokens[TOKENS_OUTPUT] = 7;
    usage.duration_ms = 99;
    usage.names[DIMENSION_MODEL] = text("a model");
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    struct ledger_entry entry = entry_at(ledger, last.id);
    assert_int_equal(entry.status, STATUS_FAILED);
    assert_int_equal(entry.tokens[TOKENS_OUTPUT], 7);
    assert_int_equal(entry.duration_ms, 99);
    assert_true(entry.name_numbers[DIMENSION_MODEL] != 0);
    assert_true(entry.name_numbers[DIMENSION_USER] != 0);
    assert_false(entry.given & ENTRY_CREDITS);
    assert_in_use(ledger, 10, 0);
    close_ledger(ledger);
}

static void what_there_never_was_cannot_be_resolved(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t entry = book(ledger, "executing");
    const uint64_t never[] = {0, entry + 1, UINT64_MAX};
    for (size_t i = 0; i < LENGTH(never); i++) {
        assert_int_equal(settle(ledger, never[i], 1), LEDGER_E_NO_HOLD);
        assert_int_equal(release(ledger, never[i]), LEDGER_E_NO_HOLD);
        assert_int_equal(meter(ledger, never[i], 1), LEDGER_E_NO_HOLD);
    }
    assert_int_equal(settle(ledger, entry, 1), LEDGER_E_RESOLVED);
    assert_int_equal(facts_of(ledger).entries, 1);
    close_ledger(ledger);
}

static void a_draft_must_fit_its_operation(void **state) {
    static const enum ledger_kind right[][3] = {
        [OPERATION_RECORD] = {KIND_INVOCATION, KIND_GRANT, KIND_RUN},
        [OPERATION_RESERVE] = {KIND_INVOCATION, KIND_RUN},
        [OPERATION_SETTLE] = {KIND_RUN, KIND_RUN},
        [OPERATION_RELEASE] = {KIND_RELEASE, KIND_RELEASE},
        [OPERATION_METER] = {KIND_RUN, KIND_RUN},
        [OPERATION_TRANSFER] = {KIND_RELEASE, KIND_RELEASE},
        [OPERATION_RESET] = {KIND_RESET, KIND_RESET},
        [OPERATION_POLICY] = {0, 0},
    };
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = hold_of(ledger, NULL, 1, 0);
    size_t entries = facts_of(ledger).entries;
    for (int operation = OPERATION_RECORD; operation <= OPERATION_POLICY; operation++)
        for (int kind = KIND_INVOCATION; kind <= KIND_REDACTION; kind++) {
            struct ledger_entry entry = invocation("executing");
            entry.kind = (enum ledger_kind)kind;
            if (kind != KIND_INVOCATION && kind != KIND_RUN)
                entry.status = STATUS_NONE;
            if (entry.kind == right[operation][0] || entry.kind == right[operation][1] ||
                entry.kind == right[operation][2])
                continue;
            assert_int_equal(request(ledger, (enum ledger_operation)operation, hold, &entry),
                             LEDGER_E_BAD_ENTRY);
        }
    assert_true(is_live(ledger, hold));
    assert_int_equal(facts_of(ledger).entries, entries);
    close_ledger(ledger);
}

static void what_is_too_long_is_refused(void **state) {
    static char longest[HOLD_OWNER_BYTES_MAX + 1];
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced("ada", 1), nothing = no_usage();
    memset(longest, 'x', sizeof longest);
    for (int longer = 0; longer < 2; longer++) {
        struct drafts drafts = {0};
        struct ledger_text owner = {longest, HOLD_OWNER_BYTES_MAX + (size_t)longer};
        uint64_t hold = hold_of(ledger, NULL, 1, 0);
        add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->text = owner;
        add_request(&drafts, OPERATION_TRANSFER, hold, &nothing)->text = owner;
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        for (size_t i = 0; i < drafts.count; i++)
            assert_int_equal(drafts.requests[i].rc, longer ? LEDGER_E_BAD_ENTRY : 0);
        free_drafts(&drafts);
        estimate.client_id = (struct ledger_text){longest, 1000 + (size_t)longer};
        reserve(ledger, &estimate, 0);
        assert_int_equal(last.rc, longer ? LEDGER_E_BAD_ENTRY : 0);
        estimate.client_id = (struct ledger_text){0};
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* ---- deadlines ---------------------------------------------------------------------------- */

static void a_hold_that_nobody_resolves_ends_at_its_estimate(void **state) {
    struct ledger *ledger = open_limited(*state);
    int64_t deadline = START_US + (int64_t)HOUR_MS * 1000;
    uint64_t hold = hold_of(ledger, "ada", 60, 0);
    assert_int_equal(effects.next_deadline_us, deadline);
    at_time(ledger, deadline - 1);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 0);
    assert_in_use(ledger, 0, 60);
    at_time(ledger, deadline);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 1);
    assert_int_equal(effects.next_deadline_us, 0);
    const struct ledger_expiry *expiry = &effects.expiries[0];
    assert_int_equal(expiry->hold, hold);
    assert_false(expiry->is_unpriced);
    struct ledger_entry entry = entry_at(ledger, expiry->entry);
    assert_int_equal(entry.status, STATUS_ABORTED);
    assert_int_equal(entry.cost, 60);
    assert_int_equal(entry.flags, ENTRY_UNATTENDED);
    assert_int_equal(entry.hold, hold);
    assert_in_use(ledger, 60, 0);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 0);
    close_ledger(ledger);
}

static void metering_moves_the_deadline_and_says_what_was_spent(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced("ada", 60), usage = usage_of(25);
    estimate.given |= ENTRY_CREDITS;
    estimate.credits = 7;
    uint64_t hold = reserve(ledger, &estimate, 0);
    at_time(ledger, START_US + 1000000);
    assert_int_equal(meter(ledger, hold, 90), 0);
    assert_int_equal(last.id, hold);
    at_time(ledger, START_US + 2000000);
    usage.duration_ms = 44;
    usage.names[DIMENSION_MODEL] = text("a model");
    assert_int_equal(request(ledger, OPERATION_METER, hold, &usage), 0);
    int64_t deadline = START_US + 2000000 + (int64_t)HOUR_MS * 1000;
    struct ledger_live_hold live = live_hold(ledger, hold);
    assert_int_equal(live.deadline_us, deadline);
    assert_true(live.is_metered);
    assert_int_equal(live.metered.cost, 25); /* so far, not since the last time */
    assert_int_equal(facts_of(ledger).entries, 0);
    assert_in_use(ledger, 0, 60); /* it holds what it was given */
    at_time(ledger, START_US + (int64_t)HOUR_MS * 1000 + 1500000);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 0);
    assert_int_equal(effects.next_deadline_us, deadline);
    at_time(ledger, deadline);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 1);
    struct ledger_entry entry = entry_at(ledger, effects.expiries[0].entry);
    assert_int_equal(entry.cost, 25);
    assert_int_equal(entry.credits, 7); /* of which nobody said more */
    assert_int_equal(entry.duration_ms, 44);
    assert_true(entry.name_numbers[DIMENSION_MODEL] != 0);
    assert_in_use(ledger, 25, 0);
    close_ledger(ledger);
}

/* Names that a metering gave lie in the row of its hold: whoever remembers them must not look
 * there when the hold is gone. */
static void many_holds_with_metered_names_end_together(void **state) {
    struct ledger *ledger = open_limited(*state);
    char model[32];
    for (int i = 0; i < 40; i++) {
        uint64_t hold = hold_of(ledger, NULL, 0, 0);
        struct ledger_entry usage = usage_of(1);
        snprintf(model, sizeof model, "model %d", i % 7);
        usage.names[DIMENSION_MODEL] = text(model);
        usage.names[DIMENSION_AGENT] = text("one agent");
        assert_int_equal(request(ledger, OPERATION_METER, hold, &usage), 0);
    }
    at_time(ledger, START_US + 2 * (int64_t)HOUR_MS * 1000);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 40);
    assert_in_use(ledger, 40, 0);
    close_ledger(ledger);
}

static void an_invocation_that_nobody_priced_is_unpriced(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_INVOCATIONS, 10)};
    struct ledger *ledger = open_ruled(*state, rules, 1);
    struct ledger_entry estimate = invocation("executing"), run = {.kind = KIND_RUN};
    run.status = STATUS_COMPLETED;
    at_time(ledger, START_US);
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_true(reserve(ledger, &run, 0) != 0);
    at_time(ledger, START_US + (int64_t)HOUR_MS * 1000);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 2);
    for (size_t i = 0; i < 2; i++) {
        const struct ledger_expiry *expiry = &effects.expiries[i];
        assert_int_equal(expiry->is_unpriced, expiry->hold == hold);
        assert_false(entry_at(ledger, expiry->entry).given & ENTRY_COST);
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void holds_end_in_the_order_of_their_deadlines(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 1);
    uint64_t holds[20], last_deadline = 0;
    size_t ended = 0;
    for (size_t i = 0; i < LENGTH(holds); i++)
        holds[i] = reserve_for(ledger, &estimate, 0, 1 + i * 7 % LENGTH(holds));
    assert_int_equal(release(ledger, holds[5]), 0);
    while (ended < LENGTH(holds) - 1) {
        uint64_t next = effects.next_deadline_us;
        assert_true(next >= last_deadline);
        at_time(ledger, (int64_t)next);
        expire(ledger);
        ended += effects.expiry_count;
        for (size_t i = 0; i < effects.expiry_count; i++)
            assert_true(effects.expiries[i].hold != holds[5]);
        last_deadline = next;
        assert_books_agree(ledger);
    }
    assert_int_equal(effects.next_deadline_us, 0);
    close_ledger(ledger);
}

static void what_is_due_ends_before_anything_else_is_done(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = hold_of(ledger, NULL, 100, 0);
    at_time(ledger, START_US + (int64_t)HOUR_MS * 1000);
    assert_int_equal(settle(ledger, hold, 10), 0);
    assert_int_equal(last.flags, ENTRY_LATE | ENTRY_COMPLETES);
    assert_int_equal(effects.expiry_count, 1);
    hold = hold_of(ledger, NULL, 0, 0);
    assert_int_equal(meter(ledger, hold, 1), 0);
    at_time(ledger, START_US + 3 * (int64_t)HOUR_MS * 1000);
    assert_int_equal(meter(ledger, hold, 2), LEDGER_E_RESOLVED);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* ---- late --------------------------------------------------------------------------------- */

static void whoever_settles_late_books_the_difference(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = unattended(ledger), entry = effects.expiries[0].entry;
    assert_int_equal(settle(ledger, hold, 75), 0);
    assert_int_equal(last.flags, ENTRY_LATE | ENTRY_COMPLETES);
    struct ledger_entry correction = entry_at(ledger, last.id);
    assert_int_equal(correction.kind, KIND_CORRECTION);
    assert_int_equal(correction.link, entry);
    assert_int_equal(correction.hold, hold);
    assert_int_equal(correction.cost, 15);
    assert_in_use(ledger, 75, 0);
    assert_int_equal(count_of(ledger, NULL), 1); /* no second invocation */
    assert_int_equal(settle(ledger, hold, 80), LEDGER_E_RESOLVED);
    close_ledger(ledger);
}

static void what_is_given_back_late_does_not_lower_use(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = unattended(ledger);
    struct ledger_entry failed = usage_of(20);
    failed.status = STATUS_FAILED;
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &failed), 0);
    assert_int_equal(last.flags, ENTRY_LATE);
    assert_int_equal(entry_at(ledger, last.id).cost, -40);
    assert_in_use(ledger, 60, 0);
    close_ledger(ledger);
}

static void what_the_late_caller_does_not_say_has_no_difference(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = unattended(ledger);
    struct ledger_entry usage = usage_of(0);
    usage.given = 0;
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    assert_int_equal(entry_at(ledger, last.id).cost, 0);
    assert_false(entry_at(ledger, last.id).given & ENTRY_COST);
    assert_in_use(ledger, 60, 0);
    close_ledger(ledger);
}

static void a_late_difference_beyond_the_limit_is_marked(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = unattended(ledger);
    assert_int_equal(settle(ledger, hold, 101), 0);
    assert_int_equal(last.flags, ENTRY_LATE | ENTRY_COMPLETES | ENTRY_OVERRUN);
    assert_in_use(ledger, 101, 0);
    close_ledger(ledger);
}

static void releasing_late_takes_nothing_back(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = unattended(ledger);
    assert_int_equal(release(ledger, hold), LEDGER_E_RESOLVED);
    assert_int_equal(meter(ledger, hold, 5), LEDGER_E_RESOLVED);
    assert_in_use(ledger, 60, 0);
    assert_int_equal(settle(ledger, hold, 60), 0); /* which still is to come */
    assert_int_equal(last.flags, ENTRY_LATE | ENTRY_COMPLETES);
    close_ledger(ledger);
}

static void a_late_settling_outlives_reopening(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = unattended(ledger);
    ledger = reopen(ledger, *state);
    assert_books_agree(ledger);
    assert_int_equal(settle(ledger, hold, 61), 0);
    assert_in_use(ledger, 61, 0);
    ledger = reopen(ledger, *state);
    assert_int_equal(settle(ledger, hold, 61), LEDGER_E_RESOLVED);
    close_ledger(ledger);
}

/* ---- owners ------------------------------------------------------------------------------- */

static void a_hold_whose_owner_is_gone_is_settled(void **state) {
    struct ledger *ledger = open_limited(*state);
    uint64_t hold = hold_of(ledger, NULL, 60, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0);
    assert_int_equal(effects.expiry_count, 1);
    assert_int_equal(effects.expiries[0].hold, hold);
    assert_in_use(ledger, 60, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0); /* it is over */
    assert_int_equal(request(ledger, OPERATION_ABORT, 0, NULL), 0);
    assert_int_equal(effects.expiry_count, 0);
    assert_in_use(ledger, 60, 0);
    close_ledger(ledger);
}

static bool owner_is(struct ledger *ledger, uint64_t hold, const char *owner) {
    struct hold row = {0};
    MDB_txn *txn;
    assert_int_equal(storage_read_begin(&ledger->storage, &txn), 0);
    assert_int_equal(hold_load(txn, ledger->storage.databases[DB_HOLDS], hold, &row), 0);
    bool same = text_equal(row.owner, text(owner));
    hold_free(&row);
    storage_read_end(&ledger->storage, txn);
    return same;
}

static void a_hold_can_change_hands(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 10), nothing = no_usage();
    struct drafts drafts = {0};
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->text = text("ada");
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    uint64_t hold = drafts.requests[0].id;
    free_drafts(&drafts);
    assert_true(owner_is(ledger, hold, "ada"));
    add_request(&drafts, OPERATION_TRANSFER, hold, &nothing)->text = text("bob");
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, 0);
    assert_int_equal(drafts.requests[0].id, hold);
    free_drafts(&drafts);
    assert_true(owner_is(ledger, hold, "bob"));
    assert_in_use(ledger, 0, 10);
    close_ledger(ledger);
}

static void holds_of_another_boot_end_with_the_first_batch(void **state) {
    struct ledger *ledger = reopen_as(open_limited(*state), *state, 1);
    uint64_t first = hold_of(ledger, "ada", 20, 0), second = hold_of(ledger, "bob", 30, 0);
    ledger = reopen_as(ledger, *state, 1);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 0); /* the same process lives on */
    assert_int_equal(effects.next_deadline_us, START_US + (int64_t)HOUR_MS * 1000);
    assert_in_use(ledger, 0, 50);
    ledger = reopen_as(ledger, *state, 2);
    assert_in_use(ledger, 0, 50);
    uint64_t own = hold_of(ledger, NULL, 5, 0);
    assert_int_equal(effects.expiry_count, 2);
    assert_int_equal(effects.expiries[0].hold, first);
    assert_int_equal(effects.expiries[1].hold, second);
    assert_true(is_live(ledger, own));
    assert_in_use(ledger, 50, 5);
    close_ledger(ledger);
}

/* Only so many end in one transaction; but nothing is decided before all have ended. */
static void however_many_are_due_they_end_before_anything_is_decided(void **state) {
    struct ledger_entry estimate = priced(NULL, 0), nothing = no_usage();
    size_t count = 0;
    uint64_t newest = 0;
    if (rounds(20) != 20)
        skip();
    struct ledger *ledger = reopen_as(open_limited(*state), *state, 1);
    hold_of(ledger, NULL, 100, 0);
    while (count < BATCH_EXPIRE_MAX + 500) {
        struct drafts drafts = {0};
        while (drafts.count < 60)
            add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        newest = drafts.requests[drafts.count - 1].id;
        count += drafts.count;
        free_drafts(&drafts);
    }
    ledger = reopen_as(ledger, *state, 2);
    assert_int_equal(request(ledger, OPERATION_TRANSFER, newest, &nothing), LEDGER_E_RESOLVED);
    assert_int_equal(effects.expiry_count, count + 1);
    assert_int_equal(effects.next_deadline_us, 0);
    assert_int_equal(facts_of(ledger).holds, 0);
    assert_sum_equal(used_of(ledger, "all"), 100);
    close_ledger(ledger);
}

/* ---- what an abort leaves ----------------------------------------------------------------- */

static bool unwanted(void *context) {
    (void)context;
    return false;
}

static void an_aborted_batch_leaves_every_deadline_in_place(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 10);
    struct drafts drafts = {0};
    struct ledger_failure failure;
    uint64_t early = reserve_for(ledger, &estimate, 0, 1000);
    uint64_t later = reserve_for(ledger, &estimate, 0, 5000);
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->extend_ms = 1;
    struct ledger_batch batch = {.requests = drafts.requests,
                                 .count = drafts.count,
                                 .now_us = START_US + 1000000,
                                 .wanted = unwanted};
    at_time(ledger, START_US + 1000000);
    for (int i = 0; i < 3; i++) {
        ledger_effects_free(&effects);
        assert_int_equal(ledger_commit(ledger, &batch, &effects, &failure), LEDGER_E_WRITER_DEAD);
        assert_int_equal(effects.expiry_count, 0);
        assert_int_equal(effects.next_deadline_us, 1); /* come again */
        assert_in_use(ledger, 0, 20);
    }
    free_drafts(&drafts);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 1);
    assert_int_equal(effects.expiries[0].hold, early);
    assert_int_equal(effects.next_deadline_us, START_US + 5000000);
    assert_true(is_live(ledger, later));
    assert_in_use(ledger, 10, 10);
    close_ledger(ledger);
}

static void holds_that_come_and_go_leave_no_deadlines_behind(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced(NULL, 0), nothing = no_usage();
    size_t rest = rounds(400);
    uint64_t kept = hold_of(ledger, NULL, 1, 0);
    for (size_t i = 0; i < rest; i++) {
        struct drafts drafts = {0};
        uint64_t holds[30];
        for (size_t k = 0; k < LENGTH(holds); k++)
            add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        for (size_t k = 0; k < LENGTH(holds); k++)
            holds[k] = drafts.requests[k].id;
        free_drafts(&drafts);
        for (size_t k = 0; k < LENGTH(holds); k++)
            add_request(&drafts, OPERATION_RELEASE, holds[k], &nothing);
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        free_drafts(&drafts);
        assert_true(ledger->deadlines.count < 4096 + 200);
        assert_int_equal(effects.next_deadline_us, START_US + (int64_t)HOUR_MS * 1000);
    }
    assert_true(is_live(ledger, kept));
    close_ledger(ledger);
}

/* ---- names and reading -------------------------------------------------------------------- */

/* A name that only a hold uses is defined by the entry that ends it, or by one before. */
static void names_are_defined_by_the_first_entry_that_uses_them(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry ada = priced("ada", 1);
    uint64_t first = hold_of(ledger, "ada", 1, 0), second = hold_of(ledger, "bob", 1, 0);
    assert_books_agree(ledger);
    book_entry(ledger, &ada);
    assert_books_agree(ledger);
    ledger = reopen_as(ledger, *state, 0);
    assert_books_agree(ledger);
    expire(ledger);
    assert_false(is_live(ledger, first) || is_live(ledger, second));
    assert_books_agree(ledger);
    close_ledger(ledger);
}

struct listed {
    size_t count;
    uint64_t ids[10];
};

static void list_hold(void *context, const struct ledger_live_hold *hold,
                      const struct ledger_text *names) {
    struct listed *listed = context;
    listed->ids[listed->count++] = hold->id;
    assert_true(text_equal(hold->owner, text("an owner")));
    assert_true(text_equal(names[DIMENSION_USER], text("ada")));
    assert_true(text_equal(hold->estimate.client_id, text("ada's")) ||
                hold->estimate.client_id.size == 0);
    assert_int_equal(hold->estimate.kind, KIND_INVOCATION);
    assert_int_equal(hold->extend_ms, HOUR_MS);
}

static void live_holds_can_be_listed_in_pages(void **state) {
    struct ledger *ledger = open_limited(*state);
    struct ledger_entry estimate = priced("ada", 1);
    struct listed all = {0};
    struct drafts drafts = {0};
    estimate.client_id = text("ada's");
    for (int i = 0; i < 5; i++) {
        add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->text = text("an owner");
        estimate.client_id = (struct ledger_text){0};
    }
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    for (uint64_t from = 0; all.count < 5; from = all.ids[all.count - 1] + 1) {
        size_t before = all.count;
        assert_int_equal(ledger_read_holds(ledger, from, 2, list_hold, &all), 0);
        assert_in_range(all.count - before, 1, 2);
    }
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(all.ids[i], drafts.requests[i].id);
    free_drafts(&drafts);
    assert_int_equal(ledger_read_holds(ledger, all.ids[4] + 1, 2, list_hold, &all), 0);
    assert_int_equal(all.count, 5);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_hold_counts_as_used_until_it_is_settled),
        in_directory(what_was_spent_beyond_the_limit_is_booked_and_marked),
        in_directory(a_released_hold_leaves_no_use_behind),
        in_directory(usage_says_more_than_the_estimate_did),
        in_directory(what_there_never_was_cannot_be_resolved),
        in_directory(a_draft_must_fit_its_operation),
        in_directory(what_is_too_long_is_refused),
        in_directory(a_hold_that_nobody_resolves_ends_at_its_estimate),
        in_directory(metering_moves_the_deadline_and_says_what_was_spent),
        in_directory(many_holds_with_metered_names_end_together),
        in_directory(an_invocation_that_nobody_priced_is_unpriced),
        in_directory(holds_end_in_the_order_of_their_deadlines),
        in_directory(what_is_due_ends_before_anything_else_is_done),
        in_directory(whoever_settles_late_books_the_difference),
        in_directory(what_is_given_back_late_does_not_lower_use),
        in_directory(what_the_late_caller_does_not_say_has_no_difference),
        in_directory(a_late_difference_beyond_the_limit_is_marked),
        in_directory(releasing_late_takes_nothing_back),
        in_directory(a_late_settling_outlives_reopening),
        in_directory(a_hold_whose_owner_is_gone_is_settled),
        in_directory(a_hold_can_change_hands),
        in_directory(holds_of_another_boot_end_with_the_first_batch),
        in_directory(however_many_are_due_they_end_before_anything_is_decided),
        in_directory(an_aborted_batch_leaves_every_deadline_in_place),
        in_directory(holds_that_come_and_go_leave_no_deadlines_behind),
        in_directory(names_are_defined_by_the_first_entry_that_uses_them),
        in_directory(live_holds_can_be_listed_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
