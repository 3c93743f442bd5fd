/* A disk that fails at every single operation while holds are made and end, while series are
 * built, and while there is something to tell. A hold that was acknowledged is there, one that
 * failed is not, and where that cannot be known it is said. What turns out to have been written is
 * told like anything else that was. */
#include "support.h"

#include <errno.h>
#include <stdio.h>

#include "faults.h"

static const uint8_t boot_id[GATE_BOOT_ID_BYTES] = {1};

struct trial {
    const char *directory;
    struct ledger *ledger;
    struct ledger_options options;
    struct ledger_policy policy;
    struct declared_series users;
    uint64_t next_id;
    int64_t now;
};

static struct ledger_rule warning_rule;

static void begin(struct trial *trial, const char *directory, bool meta_sync) {
    warning_rule = rule_of("all", MEASURE_COST, 1000000);
    *trial = (struct trial){.directory = directory, .now = START_US};
    trial->policy = policy_of(&warning_rule, 1);
    trial->users = FAMILY(DIMENSION_USER);
    trial->options = options_for(directory);
    trial->options.policy = &trial->policy;
    trial->options.series = &trial->users;
    trial->options.series_count = 1;
    trial->options.boot_id = boot_id; /* so that holds outlive reopening */
    trial->options.meta_sync = meta_sync;
    trial->ledger = open_with(&trial->options);
}

static void reopen_trial(struct trial *trial) {
    close_ledger(trial->ledger);
    trial->ledger = open_with(&trial->options);
}

/* Does one request, perhaps on a disk that fails. */
static int attempt(struct trial *trial, enum ledger_operation operation, uint64_t hold,
                   const struct ledger_entry *entry, uint64_t *id) {
    struct drafts drafts = {0};
    at_time(trial->ledger, trial->now += 1000);
    add_request(&drafts, operation, hold, entry);
    int rc = commit(trial->ledger, &drafts, trial->now);
    assert_int_equal(drafts.requests[0].rc, rc);
    *id = drafts.requests[0].id;
    free_drafts(&drafts);
    return rc;
}

static void check_error(int rc, bool hit, enum fault fault) {
    if (!hit)
        assert_int_equal(rc, 0);
    if (rc != 0 && rc != LEDGER_E_OUTCOME_UNKNOWN)
        assert_int_equal(rc, fault == FAULT_NO_SPACE ? ENOSPC : EIO);
}

/* Opens again what a failure has closed. */
static void go_on(struct trial *trial) {
    struct ledger_entry entry = invocation("planning");
    uint64_t id;
    assert_int_equal(attempt(trial, OPERATION_RECORD, 0, &entry, &id), 0);
    assert_books_agree(trial->ledger);
}

struct search {
    struct ledger_text client_id;
    uint64_t hold;
};

static void compare_id(void *context, const struct ledger_live_hold *hold,
                       const struct ledger_text *names) {
    struct search *search = context;
    (void)names;
    if (text_equal(hold->estimate.client_id, search->client_id))
        search->hold = hold->id;
}

/* The live hold of that client id; 0: there is none. */
static uint64_t find_hold(struct trial *trial, struct ledger_text client_id) {
    struct search search = {.client_id = client_id};
    assert_int_equal(ledger_read_holds(trial->ledger, 0, SIZE_MAX, compare_id, &search), 0);
    return search.hold;
}

/* Reserves while the n-th operation fails; the hold is there afterwards in any case. */
static uint64_t reserve_at(struct trial *trial, enum fault fault, size_t nth, bool lasting,
                           bool *hit) {
    char name[32];
    struct ledger_entry estimate = priced("ada", 5);
    uint64_t id, found, again;
    snprintf(name, sizeof name, "request %llu", (unsigned long long)++trial->next_id);
    estimate.client_id = text(name);
    estimate.names[DIMENSION_AGENT] = text(name); /* a new name each time */
    fault_arm(trial->directory, fault, nth, lasting);
    int rc = attempt(trial, OPERATION_RESERVE, 0, &estimate, &id);
    *hit = fault_disarm() >= nth;
    check_error(rc, *hit, fault);
    go_on(trial);
    found = find_hold(trial, estimate.client_id);
    if (rc == 0)
        assert_int_equal(found, id);
    else if (rc != LEDGER_E_OUTCOME_UNKNOWN)
        assert_int_equal(found, 0);
    /* whoever does not know asks again under the same id */
    assert_int_equal(attempt(trial, OPERATION_RESERVE, 0, &estimate, &again), 0);
    if (found != 0)
        assert_int_equal(again, found);
    return again;
}

static void see_hold(void *context, const struct ledger_live_hold *hold,
                     const struct ledger_text *names) {
    (void)hold;
    (void)names;
    *(bool *)context = true;
}

static bool is_live(struct trial *trial, uint64_t hold) {
    bool live = false;
    assert_int_equal(ledger_read_hold(trial->ledger, hold, see_hold, &live), 0);
    return live;
}

static bool keep_id(void *context, const struct ledger_entry *entry) {
    *(uint64_t *)context = entry->hold;
    return true;
}

static void settle_at(struct trial *trial, uint64_t hold, enum fault fault, size_t nth,
                      bool lasting, bool *hit) {
    char name[32];
    struct ledger_entry usage = usage_of(3);
    uint64_t id, again, of = 0;
    snprintf(name, sizeof name, "settling %llu", (unsigned long long)hold);
    usage.client_id = text(name);
    fault_arm(trial->directory, fault, nth, lasting);
    int rc = attempt(trial, OPERATION_SETTLE, hold, &usage, &id);
    bool hit_here = fault_disarm() >= nth;
    check_error(rc, hit_here, fault);
    *hit = *hit || hit_here;
    go_on(trial);
    bool live = is_live(trial, hold);
    if (rc == 0)
        assert_false(live);
    else if (rc != LEDGER_E_OUTCOME_UNKNOWN)
        assert_true(live);
    assert_int_equal(attempt(trial, OPERATION_SETTLE, hold, &usage, &again), 0);
    if (rc == 0)
        assert_int_equal(again, id);
    assert_int_equal(ledger_fetch(trial->ledger, again, keep_id, &of), 0);
    assert_int_equal(of, hold);
}

static void fail_everywhere(struct trial *trial, enum fault fault, bool lasting) {
    bool hit = true;
    size_t nth;
    for (nth = 1; hit; nth++) {
        size_t entries = facts_of(trial->ledger).entries;
        uint64_t hold = reserve_at(trial, fault, nth, lasting, &hit);
        settle_at(trial, hold, fault, nth, lasting, &hit);
        /* two that opened the ledger again, and one that ended the hold: nothing came twice */
        assert_int_equal(facts_of(trial->ledger).entries, entries + 3);
        assert_int_equal(facts_of(trial->ledger).holds, 0);
    }
    assert_true(nth > 4);
    reopen_trial(trial);
    assert_books_agree(trial->ledger);
}

static void fail_in_every_way(const char *directory, bool meta_sync) {
    struct trial trial;
    begin(&trial, directory, meta_sync);
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++) {
        if (rounds(20) == 20)
            fail_everywhere(&trial, fault, false);
        fail_everywhere(&trial, fault, true);
    }
    close_ledger(trial.ledger);
}

static void a_failing_disk_makes_no_hold_in_silence(void **state) {
    fail_in_every_way(*state, true);
}

static void a_failing_disk_makes_no_hold_in_silence_without_synced_headers(void **state) {
    fail_in_every_way(*state, false);
}

/* A batch that gives out no id leaves nothing to look for: it was done, or nobody knows. */
static void what_leaves_no_trace_is_done_or_unknown(void **state) {
    struct trial trial;
    begin(&trial, *state, true);
    struct ledger_entry estimate = priced("ada", 5), usage = usage_of(2);
    size_t unknown = 0;
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++) {
        bool hit = true;
        for (size_t nth = 1; hit; nth++) {
            uint64_t hold, id;
            assert_int_equal(attempt(&trial, OPERATION_RESERVE, 0, &estimate, &hold), 0);
            fault_arm(trial.directory, fault, nth, false);
            int rc = attempt(&trial, OPERATION_METER, hold, &usage, &id);
            hit = fault_disarm() >= nth;
            assert_true(rc == 0 || rc == LEDGER_E_OUTCOME_UNKNOWN);
            if (!hit)
                assert_int_equal(rc, 0);
            unknown += rc != 0;
            go_on(&trial);
            assert_int_equal(attempt(&trial, OPERATION_SETTLE, hold, &usage, &id), 0);
        }
    }
    assert_true(unknown > 0);
    close_ledger(trial.ledger);
}

/* ---- what has to be told ------------------------------------------------------------------ */

/* A batch in which a hold ends, a threshold is reached and a reserve is denied. */
static int eventful_batch(struct trial *trial, struct drafts *drafts) {
    struct ledger_entry spent = priced(NULL, 60), much = priced(NULL, 1000000);
    at_time(trial->ledger, trial->now);
    add_draft(drafts, &spent);
    add_request(drafts, OPERATION_RESERVE, 0, &much);
    much.given = 0;
    add_request(drafts, OPERATION_RESERVE, 0, &much);
    return commit(trial->ledger, drafts, trial->now);
}

/* Each on a ledger of its own, at each operation: the disk says that it failed though it has not;
 * where that was the header, the file has it all. */
static void what_was_written_after_all_is_told(void **state) {
    size_t doubted = 0, nth = 1;
    for (bool hit = true; hit; nth++) {
        struct trial trial;
        struct drafts drafts = {0};
        struct ledger_entry estimate = priced(NULL, 5);
        char directory[4096];
        snprintf(directory, sizeof directory, "%s/%zu", (char *)*state, nth);
        begin(&trial, directory, true);
        warning_rule.limit = 100;
        warning_rule.warn_count = 1;
        warning_rule.warn[0] = 50;
        close_ledger(trial.ledger);
        at_time(trial.ledger = open_with(&trial.options), trial.now);
        assert_int_equal(set_rules(trial.ledger, &warning_rule, 1), 0);
        uint64_t hold = reserve_for(trial.ledger, &estimate, 0, 1);
        trial.now += 2000;
        fault_arm(trial.directory, FAULT_DOUBT, nth, false);
        int rc = eventful_batch(&trial, &drafts);
        hit = fault_disarm() >= nth;
        doubted += hit && rc == 0;
        if (rc == 0) {
            assert_int_equal(effects.expiry_count, 1);
            assert_int_equal(effects.expiries[0].hold, hold);
            assert_int_equal(effects.warning_count, 1);
            assert_true(text_equal(effects.warnings[0].status.rule->name, text("all")));
            assert_int_equal(drafts.requests[0].rc, 0);
            assert_int_equal(drafts.requests[1].rc, LEDGER_E_BUDGET_EXHAUSTED);
            assert_non_null(drafts.requests[1].denial);
            assert_true(text_equal(drafts.requests[1].denial->rules[0].rule->name, text("all")));
            assert_int_equal(drafts.requests[2].rc, LEDGER_E_ESTIMATE_REQUIRED);
            assert_true(text_equal(drafts.requests[2].rule->name, text("all")));
        } else {
            assert_int_equal(effects.expiry_count + effects.warning_count, 0);
            assert_int_equal(effects.next_deadline_us, 1);
            for (size_t i = 0; i < drafts.count; i++) {
                assert_int_equal(drafts.requests[i].rc, rc);
                assert_null(drafts.requests[i].denial);
            }
        }
        free_drafts(&drafts);
        go_on(&trial);
        if (rc != 0 && rc != LEDGER_E_OUTCOME_UNKNOWN)
            assert_int_equal(effects.expiry_count, 1); /* what was not done before */
        close_ledger(trial.ledger);
    }
    assert_true(doubted > 0); /* or this has tested nothing */
}

/* ---- building ----------------------------------------------------------------------------- */

/* A slice that was written though the disk denies it must not be added a second time. */
static void a_slice_in_doubt_is_not_added_twice(void **state) {
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++) {
        bool hit = true;
        for (size_t nth = 1; hit; nth++) {
            struct trial trial;
            struct ledger_failure failure;
            struct ledger_entry spent = priced("ada", 3), estimate = priced("bob", 2);
            char directory[4096];
            bool done;
            snprintf(directory, sizeof directory, "%s/%d-%zu", (char *)*state, (int)fault, nth);
            begin(&trial, directory, true);
            trial.users.dimensions[0] = DIMENSION_AGENT;
            spent.names[DIMENSION_AGENT] = estimate.names[DIMENSION_AGENT] = text("an agent");
            for (int i = 0; i < 20; i++)
                book_entry(trial.ledger, &spent);
            assert_true(reserve(trial.ledger, &estimate, 0) != 0);
            reopen_trial(&trial);
            assert_int_equal(ledger_build(trial.ledger, 7, &done, &failure), 0);
            fault_arm(trial.directory, fault, nth, false);
            int rc = ledger_build(trial.ledger, 7, &done, &failure);
            hit = fault_disarm() >= nth;
            if (rc != 0)
                assert_int_equal(failure.code, rc);
            if (!hit)
                assert_int_equal(rc, 0);
            do
                assert_int_equal(ledger_build(trial.ledger, 7, &done, &failure), 0);
            while (!done);
            assert_books_agree(trial.ledger);
            reopen_trial(&trial);
            assert_books_agree(trial.ledger);
            close_ledger(trial.ledger);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_failing_disk_makes_no_hold_in_silence),
        in_directory(a_failing_disk_makes_no_hold_in_silence_without_synced_headers),
        in_directory(what_leaves_no_trace_is_done_or_unknown),
        in_directory(what_was_written_after_all_is_told),
        in_directory(a_slice_in_doubt_is_not_added_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
