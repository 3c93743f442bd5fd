/* Changing the policy of an open ledger. */
#include "support.h"

#include <stdio.h>

/* A copy of the policy in force, to be changed and handed back. */
static struct ledger_policy in_force(struct ledger *ledger) {
    struct ledger_policy policy;
    assert_int_equal(ledger_policy(ledger, &policy), 0);
    return policy;
}

static int set(struct ledger *ledger, const struct ledger_policy *wanted, uint64_t *version) {
    struct ledger_failure failure = {0};
    struct ledger_change change = {.by = text("ada"), .reason = text("more work")};
    ledger_effects_free(&effects);
    int rc =
        ledger_set_policy(ledger, wanted, &change, ledger_now(ledger), version, &effects, &failure);
    assert_int_equal(failure.code, rc);
    return rc;
}

/* The hour's limit of `executing`. */
static void set_limit(struct ledger *ledger, uint64_t limit) {
    struct ledger_policy policy = in_force(ledger);
    uint64_t version, before = policy.version;
    policy.rules[0].limit = limit;
    assert_int_equal(set(ledger, &policy, &version), 0);
    assert_int_equal(version, before + 1);
    policy_free(&policy);
}

static void a_limit_takes_effect_at_once_and_stays(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    book_many(ledger, "executing", 5);
    assert_false(ledger_allowed(ledger, 1));
    set_limit(ledger, 6);
    assert_true(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    set_limit(ledger, 0);
    assert_int_equal(ledger_allowed_from(ledger, 1), UINT64_MAX);
    assert_books_agree(ledger);
    ledger = reopen(ledger, *state);
    assert_false(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    struct ledger_policy policy = in_force(ledger);
    assert_int_equal(policy.version, 3);
    assert_int_equal(policy.rules[0].limit, 0);
    policy_free(&policy);
    close_ledger(ledger);
}

static void limit_zero_denies_a_state_without_entries(void **state) {
    struct ledger *ledger = open_ledger(*state);
    assert_true(ledger_allowed(ledger, 1));
    set_limit(ledger, 0);
    assert_false(ledger_allowed(ledger, 1));
    set_limit(ledger, RULE_UNLIMITED);
    assert_true(ledger_allowed(ledger, 1));
    close_ledger(ledger);
}

static bool contains(struct ledger_text bytes, const char *word) {
    return memmem(bytes.data, bytes.size, word, strlen(word)) != NULL;
}

static bool check_change(void *context, const struct ledger_entry *entry) {
    *(bool *)context = true;
    assert_int_equal(entry->kind, KIND_POLICY);
    assert_int_equal(entry->status, STATUS_NONE);
    assert_true(contains(entry->change, "ada"));
    assert_true(contains(entry->change, "more work"));
    assert_true(contains(entry->change, "executing/hour"));
    assert_true(contains(entry->change, "limit\x05"));
    assert_true(contains(entry->change, "limit\x09"));
    assert_false(contains(entry->change, "executing/day"));
    return true;
}

static void who_and_why_can_be_read_later(void **state) {
    struct ledger *ledger = open_ledger(*state);
    bool seen = false;
    at_time(ledger, START_US);
    set_limit(ledger, 9);
    struct ledger_policy policy = in_force(ledger);
    assert_int_equal(policy.changed_by_entry, START_US);
    ledger = reopen(ledger, *state);
    assert_int_equal(ledger_fetch(ledger, policy.changed_by_entry, check_change, &seen), 0);
    assert_true(seen);
    assert_int_equal(facts_of(ledger).entries, 1);
    assert_int_equal(count_of(ledger, NULL), 0); /* it is no invocation */
    assert_books_agree(ledger);
    policy_free(&policy);
    close_ledger(ledger);
}

static void a_stale_version_is_a_conflict(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_policy stale = in_force(ledger);
    uint64_t version = 0;
    set_limit(ledger, 9);
    stale.rules[0].limit = 1;
    assert_int_equal(set(ledger, &stale, &version), LEDGER_E_VERSION_CONFLICT);
    assert_int_equal(version, 2);
    assert_int_equal(facts_of(ledger).entries, 1);
    stale.version = 3;
    assert_int_equal(set(ledger, &stale, &version), LEDGER_E_VERSION_CONFLICT);
    policy_free(&stale);
    stale = in_force(ledger);
    assert_int_equal(stale.rules[0].limit, 9);
    policy_free(&stale);
    close_ledger(ledger);
}

static void a_change_that_changes_nothing_is_not_booked(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_policy same = in_force(ledger);
    uint64_t version = 0;
    assert_int_equal(set(ledger, &same, &version), 0);
    assert_int_equal(version, 1);
    assert_int_equal(facts_of(ledger).entries, 0);
    policy_free(&same);
    close_ledger(ledger);
}

/* Sets the hour's limit of `executing` under an id. */
static int set_under(struct ledger *ledger, uint64_t limit, const char *id, uint64_t *version) {
    static uint8_t digest[ENTRY_DIGEST_BYTES];
    struct ledger_policy policy = in_force(ledger);
    struct ledger_failure failure = {0};
    struct ledger_change change = {
        .by = text("ada"), .reason = text("once"), .client_id = text(id), .request_digest = digest};
    policy.rules[0].limit = limit;
    memset(digest, (int)limit, sizeof digest);
    ledger_effects_free(&effects);
    int rc = ledger_set_policy(ledger, &policy, &change, ledger_now(ledger), version, &effects,
                               &failure);
    policy_free(&policy);
    return rc;
}

static void a_change_under_an_id_is_made_once(void **state) {
    struct ledger *ledger = open_ledger(*state);
    uint64_t version;
    assert_int_equal(set_under(ledger, 9, "one", &version), 0);
    assert_int_equal(version, 2);
    set_limit(ledger, 7);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(set_under(ledger, 9, "one", &version), 0);
        assert_int_equal(version, 2); /* as it was answered then */
        assert_int_equal(ledger->policy.rules[0].limit, 7);
        assert_int_equal(set_under(ledger, 8, "one", &version), LEDGER_E_CONFLICT);
        assert_int_equal(version, ledger->policy.changed_by_entry - 1); /* whose id it is */
        ledger = reopen(ledger, *state);
    }
    assert_int_equal(facts_of(ledger).entries, 2);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_change_that_changes_nothing_takes_its_id(void **state) {
    struct ledger *ledger = open_ledger(*state);
    uint64_t version;
    assert_int_equal(set_under(ledger, 5, "one", &version), 0);
    assert_int_equal(version, 1);
    assert_int_equal(facts_of(ledger).entries, 0);
    ledger = reopen(ledger, *state);
    set_limit(ledger, 7);
    assert_int_equal(set_under(ledger, 5, "one", &version), 0);
    assert_int_equal(version, 1);
    assert_int_equal(ledger->policy.rules[0].limit, 7);
    assert_int_equal(set_under(ledger, 6, "one", &version), LEDGER_E_CONFLICT);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* A reserve and a change share one space of ids. */
static void an_id_of_another_request_is_a_conflict(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry estimate = invocation("planning");
    uint64_t version;
    estimate.client_id = text("one");
    uint64_t hold = reserve(ledger, &estimate, 0);
    assert_int_equal(set_under(ledger, 9, "one", &version), LEDGER_E_CONFLICT);
    assert_int_equal(version, hold);
    assert_int_equal(ledger->policy.version, 1);
    assert_int_equal(set_under(ledger, 9, "two", &version), 0);
    estimate.client_id = text("two");
    assert_int_equal(reserve(ledger, &estimate, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_CONFLICT);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* One state more in the ledger can be as many as a rule for each of them admits. */
static void a_new_value_closes_the_gate_of_values_to_come(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_rule each = of(rule_of("each", MEASURE_INVOCATIONS, 5), DIMENSION_STATE, NULL);
    each.max_values = 2;
    assert_int_equal(set_rules(ledger, &each, 1), 0);
    book(ledger, "planning");
    assert_true(ledger_allowed(ledger, 2));
    book(ledger, "executing");
    assert_true(ledger_allowed(ledger, 0));
    assert_int_equal(ledger_allowed_from(ledger, 2), UINT64_MAX);
    assert_books_agree(ledger);
    book(ledger, "reviewing"); /* what was spent is booked all the same */
    assert_true(ledger_allowed(ledger, 2));
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_declared_state_stays(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_policy policy = in_force(ledger);
    struct ledger_text kept = policy.states[1];
    uint64_t version;
    policy.state_count--;
    assert_int_equal(set(ledger, &policy, &version), LEDGER_E_BAD_POLICY);
    policy.state_count++;
    policy.states[1] = policy.states[0];
    policy.states[0] = kept; /* nor may two change places */
    assert_int_equal(set(ledger, &policy, &version), LEDGER_E_BAD_POLICY);
    assert_int_equal(facts_of(ledger).entries, 0);
    assert_int_equal(ledger_state(ledger, text("executing")), 1);
    policy_free(&policy);
    close_ledger(ledger);
}

static void a_policy_that_breaks_the_rules_is_refused(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_policy policy = in_force(ledger);
    uint64_t version = 0;
    policy.rules[0].window_ms = 0;
    assert_int_equal(set(ledger, &policy, &version), LEDGER_E_BAD_POLICY);
    assert_int_equal(version, 1);
    policy_free(&policy);
    close_ledger(ledger);
}

static void a_new_state_can_be_used_at_once(void **state) {
    struct ledger_text states[4];
    struct ledger_rule rules[] = {
        within(of(rule_of("late", MEASURE_INVOCATIONS, 2), DIMENSION_STATE, "late"), HOUR_MS)};
    struct ledger_policy policy = {
        .version = 1, .state_count = 4, .rule_count = 1, .states = states, .rules = rules};
    struct ledger *ledger = open_ledger(*state);
    uint64_t version;
    memcpy(states, three_states.states, 3 * sizeof states[0]);
    states[3] = text("late");
    at_time(ledger, START_US);
    book_many(ledger, "executing", 5);
    assert_false(ledger_allowed(ledger, 1));
    assert_int_equal(set(ledger, &policy, &version), 0);
    assert_true(ledger_allowed(ledger, 1)); /* its rules are gone */
    assert_int_equal(ledger_state(ledger, text("late")), 3);
    assert_int_equal(ledger->gate->header.state_count, 4);
    assert_int_equal(ledger->gate->names[3].size, 4);
    assert_memory_equal(ledger->gate->names[3].text, "late", 4);
    assert_true(ledger_allowed(ledger, 3));
    book_many(ledger, "late", 2);
    assert_false(ledger_allowed(ledger, 3));
    assert_books_agree(ledger);
    ledger = reopen(ledger, *state);
    assert_int_equal(ledger_state(ledger, text("late")), 3);
    assert_false(ledger_allowed(ledger, 3));
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void random_changes_and_bookings_agree(void **state) {
    struct ledger *ledger = open_ledger(*state);
    int64_t now = START_US;
    uint64_t limit = 5;
    for (size_t i = rounds(150); i > 0; i--) {
        now += (int64_t)random_below(20 * MINUTE_MS * 1000);
        at_time(ledger, now);
        if (random_below(3) == 0) {
            uint64_t next = random_below(10);
            set_limit(ledger, next == limit ? limit = RULE_UNLIMITED : (limit = next));
        } else {
            book_many(ledger, random_below(2) ? "executing" : "planning", random_below(6));
        }
        if (random_below(20) == 0)
            ledger = reopen(ledger, *state);
        assert_books_agree(ledger);
    }
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_limit_takes_effect_at_once_and_stays),
        in_directory(limit_zero_denies_a_state_without_entries),
        in_directory(who_and_why_can_be_read_later),
        in_directory(a_stale_version_is_a_conflict),
        in_directory(a_change_that_changes_nothing_is_not_booked),
        in_directory(a_change_under_an_id_is_made_once),
        in_directory(a_change_that_changes_nothing_takes_its_id),
        in_directory(an_id_of_another_request_is_a_conflict),
        in_directory(a_new_value_closes_the_gate_of_values_to_come),
        in_directory(a_declared_state_stays),
        in_directory(a_policy_that_breaks_the_rules_is_refused),
        in_directory(a_new_state_can_be_used_at_once),
        in_directory(random_changes_and_bookings_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
