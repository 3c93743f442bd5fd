/* Reserving, and every way in which a hold ends. */
#include "support.h"

#include <stdio.h>

#include "../../c_src/core/batch.h"
#include "../../c_src/core/hold.h"

#define EXECUTING "executing"

/* Everything costs at most 100; a user 60 of it. */
static struct ledger *open_limited(const char *directory) {
    struct ledger_rule rules[] = {
        rule_of("all", MEASURE_COST, 100),
        of(rule_of("each user", MEASURE_COST, 60), DIMENSION_USER, NULL),
    };
    struct ledger *ledger = open_ruled(directory, rules, LENGTH(rules));
    at_time(ledger, START_US);
    return ledger;
}

/* The hold must be made. */
static uint64_t hold_of(struct ledger *ledger, const char *user, int64_t cost, uint64_t parent) {
    struct ledger_entry estimate = priced(user, cost);
    uint64_t hold = reserve(ledger, &estimate, parent);
    if (hold == 0)
        fail_msg("reserving %lld: %s", (long long)cost, ledger_error_name(last.rc));
    return hold;
}

static uint64_t run_hold(struct ledger *ledger, int64_t cost, uint64_t parent) {
    struct ledger_entry estimate = run_of(NULL, cost);
    uint64_t hold = reserve(ledger, &estimate, parent);
    assert_true(hold != 0);
    return hold;
}

static void assert_denied(struct ledger *ledger, const char *user, int64_t cost, uint64_t parent) {
    struct ledger_entry estimate = priced(user, cost);
    assert_int_equal(reserve(ledger, &estimate, parent), 0);
    assert_int_equal(last.rc, LEDGER_E_BUDGET_EXHAUSTED);
    assert_non_null(last.denial);
}

static bool keep_entry(void *context, const struct ledger_entry *entry) {
    *(struct ledger_entry *)context = *entry; /* but for its texts, which do not last */
    return true;
}

static struct ledger_entry entry_at(struct ledger *ledger, uint64_t id) {
    struct ledger_entry entry;
    assert_int_equal(ledger_fetch(ledger, id, keep_entry, &entry), 0);
    return entry;
}

static void keep_hold(void *context, const struct ledger_live_hold *hold,
                      const struct ledger_text *names) {
    (void)names;
    *(struct ledger_live_hold *)context = *hold;
}

static bool is_live(struct ledger *ledger, uint64_t hold) {
    struct ledger_live_hold live = {0};
    assert_int_equal(ledger_read_hold(ledger, hold, keep_hold, &live), 0);
    return live.id == hold;
}

/* Over everything: what is used and held. */
static void assert_in_use(struct ledger *ledger, int64_t used, int64_t held) {
    struct ledger_rule_status status = status_of(ledger, "all");
    assert_sum_equal(status.used, used);
    assert_sum_equal(status.held, held);
    assert_books_agree(ledger);
}

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
    uint64_t entry = book(ledger, EXECUTING);
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
    static const enum ledger_kind right[][2] = {
        [OPERATION_RECORD] = {KIND_INVOCATION, KIND_GRANT},
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
        for (int kind = KIND_INVOCATION; kind <= KIND_PRICE; kind++) {
            struct ledger_entry entry = invocation(EXECUTING);
            entry.kind = (enum ledger_kind)kind;
            if (kind != KIND_INVOCATION && kind != KIND_RUN)
                entry.status = STATUS_NONE;
            if (entry.kind == right[operation][0] || entry.kind == right[operation][1])
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

/* ---- admission ---------------------------------------------------------------------------- */

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
    struct ledger_entry estimate = invocation(EXECUTING);
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
    struct ledger_live_hold live = {0};
    assert_int_equal(ledger_read_hold(ledger, hold, keep_hold, &live), 0);
    assert_int_equal(live.estimate.tokens[TOKENS_INPUT], 33);
    assert_int_equal(live.estimate.cost, 5);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_run_asks_for_no_invocation(void **state) {
    struct ledger_rule rules[] = {rule_of("all", MEASURE_INVOCATIONS, 1)};
    struct ledger *ledger = open_ruled(*state, rules, 1);
    struct ledger_entry run = run_of(NULL, 5), estimate = invocation(EXECUTING);
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
    struct ledger_live_hold live = {0};
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
    assert_int_equal(ledger_read_hold(ledger, hold, keep_hold, &live), 0);
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
    struct ledger_entry estimate = invocation(EXECUTING), run = {.kind = KIND_RUN};
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

/* A hold for 60 that the ledger ended. */
static uint64_t unattended(struct ledger *ledger) {
    uint64_t hold = hold_of(ledger, NULL, 60, 0);
    at_time(ledger, ledger_now(ledger) + (int64_t)HOUR_MS * 1000);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 1);
    return hold;
}

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

static struct ledger *reopen_as(struct ledger *ledger, const char *directory, uint8_t boot) {
    struct ledger_options options = options_for(directory);
    uint8_t boot_id[GATE_BOOT_ID_BYTES];
    memset(boot_id, boot, sizeof boot_id);
    options.boot_id = boot_id;
    close_ledger(ledger);
    return open_with(&options);
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

/* ---- parents ------------------------------------------------------------------------------ */

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
    const uint64_t wrong[] = {book(ledger, EXECUTING), run + 1000, UINT64_MAX};
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
        in_directory(a_reserve_that_timed_out_is_withdrawn),
        in_directory(what_was_never_reserved_is_withdrawn_in_vain),
        in_directory(a_withdrawn_id_is_free_again),
        in_directory(what_was_answered_twice_is_not_withdrawn),
        in_directory(a_hold_with_children_is_not_withdrawn_but_the_rest_of_the_batch_is_done),
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
        in_directory(a_reserve_under_an_id_is_made_once),
        in_directory(a_hold_that_is_over_is_not_made_again_under_its_id),
        in_directory(an_id_is_of_one_operation),
        in_directory(a_metering_that_comes_again_does_not_extend_again),
        in_directory(a_late_settling_that_comes_again_is_answered_alike),
        in_directory(a_denied_reserve_is_decided_again),
        in_directory(two_of_a_kind_in_one_batch_are_one),
        in_directory(names_are_defined_by_the_first_entry_that_uses_them),
        in_directory(live_holds_can_be_listed_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
