/* A disk that fails at every single operation of a commit, in every way that faults.h knows,
 * once or lastingly, with and without synced headers. Whatever happens: an error is reported,
 * nothing that was acknowledged is lost, nothing is there twice, and once the disk is well the
 * ledger goes on and its counters are the sum of its entries. */
#include "support.h"

#include <errno.h>
#include <stdio.h>

#include "faults.h"

#define BATCH 3

struct trial {
    const char *directory;
    struct ledger *ledger;
    struct ledger_options options;
    size_t acknowledged; /* entries */
    uint64_t newest;     /* acknowledged */
    int64_t now;
};

static struct trial begin(const char *directory, bool meta_sync) {
    struct trial trial = {.directory = directory, .now = START_US};
    trial.options = options_for(directory);
    trial.options.meta_sync = meta_sync;
    trial.ledger = open_with(&trial.options);
    return trial;
}

static bool is_same(void *context, const struct ledger_entry *entry) {
    *(uint64_t *)context = entry->id;
    return true;
}

/* Reads may be impossible after a failure (the ledger says `closed` then), but never wrong. */
static void check_what_can_be_read(struct trial *trial, bool certain) {
    struct ledger_facts facts;
    uint64_t found = 0;
    if (ledger_facts(trial->ledger, &facts) != 0)
        return;
    if (certain)
        assert_int_equal(facts.entries, trial->acknowledged);
    trial->acknowledged = facts.entries;
    if (trial->newest != 0) {
        assert_int_equal(ledger_fetch(trial->ledger, trial->newest, is_same, &found), 0);
        assert_int_equal(found, trial->newest);
    }
    assert_books_agree(trial->ledger);
}

static int commit_batch(struct trial *trial, const char *state) {
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation(state);
    char name[32];
    snprintf(name, sizeof name, "user %llu", (unsigned long long)random_word());
    entry.names[DIMENSION_USER] = text(name);
    for (int i = 0; i < BATCH; i++)
        add_draft(&drafts, &entry);
    at_time(trial->ledger, trial->now += (int64_t)random_below(20 * MINUTE_MS * 1000));
    int rc = commit(trial->ledger, &drafts, trial->now);
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(drafts.requests[i].rc, rc);
    if (rc == 0) {
        trial->acknowledged += BATCH;
        trial->newest = drafts.requests[BATCH - 1].id;
    }
    free_drafts(&drafts);
    return rc;
}

/* The n-th operation of a commit fails. False: there is no n-th. An error means that nothing
 * was booked, unless it says that this cannot be known. */
static bool fail_at(struct trial *trial, enum fault fault, size_t nth, bool lasting) {
    fault_arm(trial->directory, fault, nth, lasting);
    int rc = commit_batch(trial, "executing");
    bool hit = fault_disarm() >= nth;
    bool certain = rc != LEDGER_E_OUTCOME_UNKNOWN;
    if (!hit)
        assert_int_equal(rc, 0);
    if (rc != 0 && certain)
        assert_int_equal(rc, fault == FAULT_NO_SPACE ? ENOSPC : EIO);
    check_what_can_be_read(trial, certain);
    assert_int_equal(commit_batch(trial, "planning"), 0);
    check_what_can_be_read(trial, certain);
    return hit;
}

static void fail_everywhere(struct trial *trial, enum fault fault, bool lasting) {
    size_t nth = 1;
    for (int i = 0; i < 3; i++)
        assert_int_equal(commit_batch(trial, "executing"), 0);
    while (fail_at(trial, fault, nth, lasting))
        nth++;
    assert_true(nth > 3); /* pages, a sync, and a header at the least */
    close_ledger(trial->ledger);
    trial->ledger = open_with(&trial->options);
    check_what_can_be_read(trial, true);
}

static void fail_in_every_way(const char *directory, bool meta_sync) {
    struct trial trial = begin(directory, meta_sync);
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++) {
        if (rounds(20) == 20)
            fail_everywhere(&trial, fault, false);
        fail_everywhere(&trial, fault, true);
    }
    close_ledger(trial.ledger);
}

static void a_failing_disk_loses_nothing_acknowledged(void **state) {
    fail_in_every_way(*state, true);
}

static void a_failing_disk_loses_nothing_without_synced_headers(void **state) {
    fail_in_every_way(*state, false);
}

/* The header was written, the disk reports an error for it and then for taking it back. The
 * file has the entries; if they are acknowledged, the gate must know of them too. */
static void a_commit_in_doubt_is_in_the_gate_when_it_is_in_the_file(void **state) {
    struct trial trial = begin(*state, true);
    size_t in_doubt = 0;
    at_time(trial.ledger, START_US);
    for (size_t n = 2; n < 24; n++) {
        uint64_t before = facts_of(trial.ledger).entries;
        struct drafts none = {0};
        struct ledger_entry unknown = invocation("dreaming");
        fault_arm(trial.directory, FAULT_DOUBT, n / 2, n % 2 == 0);
        int rc = commit_batch(&trial, "executing");
        fault_disarm();
        add_draft(&none, &unknown); /* books nothing, but opens again what was closed */
        assert_int_equal(commit(trial.ledger, &none, trial.now), 0);
        free_drafts(&none);
        uint64_t booked = facts_of(trial.ledger).entries - before;
        assert_true(booked == 0 || booked == BATCH);
        if (rc != LEDGER_E_OUTCOME_UNKNOWN)
            assert_int_equal(booked, rc == 0 ? BATCH : 0);
        in_doubt += rc != 0 && booked > 0;
        assert_books_agree(trial.ledger);
    }
    assert_true(in_doubt > 0); /* or this has tested nothing */
    close_ledger(trial.ledger);
}

static int commit_one(struct trial *trial, struct ledger_failure *failure) {
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("executing");
    add_draft(&drafts, &entry);
    struct ledger_batch batch = {.requests = drafts.requests, .count = 1, .now_us = START_US};
    ledger_effects_free(&effects);
    int rc = ledger_commit(trial->ledger, &batch, &effects, failure);
    assert_int_equal(drafts.requests[0].rc, rc);
    free_drafts(&drafts);
    return rc;
}

static void a_full_disk_is_named_every_time_with_its_directory(void **state) {
    struct trial trial = begin(*state, true);
    fault_arm(trial.directory, FAULT_NO_SPACE, 1, true);
    for (int i = 0; i < 3; i++) {
        struct ledger_failure failure = {0};
        assert_int_equal(commit_one(&trial, &failure), ENOSPC);
        assert_string_equal(ledger_error_name(failure.code), "disk_full");
        assert_non_null(strstr(failure.detail, *state));
        assert_int_equal(facts_of(trial.ledger).entries, 0); /* reading goes on */
    }
    fault_disarm();
    book(trial.ledger, "executing");
    assert_books_agree(trial.ledger);
    close_ledger(trial.ledger);
}

static void where_the_disk_cannot_be_asked_the_outcome_is_unknown(void **state) {
    struct trial trial = begin(*state, true);
    struct ledger_failure failure = {0};
    fault_arm(trial.directory, FAULT_IO, 2, true);
    assert_int_equal(commit_one(&trial, &failure), LEDGER_E_OUTCOME_UNKNOWN);
    fault_disarm();
    assert_non_null(strstr(failure.detail, *state));
    assert_non_null(strstr(failure.detail, "io_error"));
    book(trial.ledger, "executing");
    assert_books_agree(trial.ledger);
    close_ledger(trial.ledger);
}

static void the_gate_answers_while_the_disk_is_broken(void **state) {
    struct trial trial = begin(*state, true);
    at_time(trial.ledger, trial.now);
    book_many(trial.ledger, "executing", 5);
    fault_arm(trial.directory, FAULT_IO, 1, true);
    for (int i = 0; i < 3; i++) {
        struct drafts drafts = {0};
        struct ledger_entry entry = invocation("planning");
        add_draft(&drafts, &entry);
        assert_int_not_equal(commit(trial.ledger, &drafts, trial.now), 0);
        free_drafts(&drafts);
        assert_false(ledger_allowed(trial.ledger, 1));
        assert_true(ledger_allowed(trial.ledger, 0));
    }
    fault_disarm();
    book(trial.ledger, "planning");
    assert_int_equal(count_of(trial.ledger, NULL), 6);
    assert_books_agree(trial.ledger);
    close_ledger(trial.ledger);
}

static int change_limit(struct trial *trial, uint64_t limit) {
    struct ledger_policy policy;
    struct ledger_failure failure = {0};
    struct ledger_change change = {.by = text("ada"), .reason = text("why")};
    uint64_t version = 0;
    assert_int_equal(ledger_policy(trial->ledger, &policy), 0);
    uint64_t before = policy.version;
    policy.rules[0].limit = limit;
    at_time(trial->ledger, trial->now += 1000);
    ledger_effects_free(&effects);
    int rc = ledger_set_policy(trial->ledger, &policy, &change, trial->now, &version, &effects,
                               &failure);
    assert_int_equal(version, rc == 0 ? before + 1 : before);
    policy_free(&policy);
    return rc;
}

static void a_policy_that_could_not_be_written_is_not_in_force(void **state) {
    struct trial trial = begin(*state, true);
    uint64_t limit = 5;
    at_time(trial.ledger, trial.now);
    book_many(trial.ledger, "executing", 12);
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++) {
        bool hit = true;
        for (size_t nth = 1; hit; nth++) {
            struct ledger_policy policy;
            uint64_t old = limit++;
            fault_arm(trial.directory, fault, nth, false);
            int rc = change_limit(&trial, limit);
            hit = fault_disarm() >= nth;
            assert_int_equal(ledger_policy(trial.ledger, &policy), 0);
            assert_int_equal(policy.rules[0].limit, rc == 0 ? limit : old);
            policy_free(&policy);
            if (rc != 0)
                limit = old;
            book(trial.ledger, "planning"); /* opens again what was closed */
            assert_books_agree(trial.ledger);
        }
        close_ledger(trial.ledger);
        trial.ledger = open_with(&trial.options);
        assert_int_equal(trial.ledger->policy.rules[0].limit, limit);
        assert_books_agree(trial.ledger);
    }
    close_ledger(trial.ledger);
}

/* Neither the call nor its caller may know whether the change is in the file; but what is in
 * force and what the file says must not part. */
static void a_policy_in_doubt_is_the_one_that_the_file_has(void **state) {
    struct trial trial = begin(*state, true);
    uint64_t limit = 5;
    at_time(trial.ledger, trial.now);
    book_many(trial.ledger, "executing", 12);
    for (size_t n = 2; n < 24; n++) {
        fault_arm(trial.directory, FAULT_DOUBT, n / 2, n % 2 == 0);
        change_limit(&trial, ++limit);
        fault_disarm();
        book(trial.ledger, "planning"); /* opens again what was closed */
        uint64_t version = trial.ledger->policy.version;
        uint64_t in_force = trial.ledger->policy.rules[0].limit;
        assert_books_agree(trial.ledger);
        close_ledger(trial.ledger);
        trial.ledger = open_with(&trial.options);
        assert_int_equal(trial.ledger->policy.version, version);
        assert_int_equal(trial.ledger->policy.rules[0].limit, in_force);
    }
    close_ledger(trial.ledger);
}

/* Making a ledger fails at every operation; afterwards it can be made all the same. */
/* Bytes that one booking puts on the disk, on average. */
static size_t bytes_a_booking(struct ledger *ledger, const char *directory) {
    const size_t bookings = 50;
    size_t count, bytes = 0;
    disk_record(directory);
    for (size_t i = 0; i < bookings; i++)
        book(ledger, "planning");
    const struct disk_event *events = disk_events(&count);
    for (size_t i = 0; i < count; i++)
        bytes += events[i].kind == DISK_WRITE ? events[i].size : 0;
    disk_forget();
    return bytes / bookings;
}

/* The ledger that this replaces folded the whole table at every booking. Here a booking may only
 * cost what its trees have grown in depth: two or three pages in each of the three that it touches.
 */
static void a_booking_costs_no_more_in_a_large_ledger(void **state) {
    struct ledger *ledger = open_ledger(*state);
    book_many(ledger, "planning", 100);
    size_t small = bytes_a_booking(ledger, *state);
    book_many(ledger, "planning", rounds(50000));
    size_t large = bytes_a_booking(ledger, *state);
    assert_true(small > 0);
    assert_in_range(large, 1, small + 8 * 4096);
    close_ledger(ledger);
}

static void a_ledger_that_could_not_be_made_can_be_made_later(void **state) {
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++) {
        size_t nth = 1;
        for (bool hit = true; hit; nth++) {
            char name[64];
            snprintf(name, sizeof name, "%d-%zu", (int)fault, nth);
            struct ledger_options options = options_for(path_in(*state, name));
            struct ledger *ledger;
            struct ledger_opened opened;
            struct ledger_failure failure = {0};
            fault_arm(options.directory, fault, nth, false);
            int rc = ledger_open(&options, &ledger, &opened, &failure);
            hit = fault_disarm() >= nth;
            if (rc == 0)
                close_ledger(ledger);
            else
                assert_int_equal(failure.code, rc);
            rc = ledger_open(&options, &ledger, &opened, &failure);
            if (rc != 0)
                fail_msg("fault %d at operation %zu of making it; then: %s, %s", (int)fault, nth,
                         ledger_error_name(rc), failure.detail);
            book(ledger, "executing");
            assert_books_agree(ledger);
            close_ledger(ledger);
        }
        assert_true(nth > 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_failing_disk_loses_nothing_acknowledged),
        in_directory(a_failing_disk_loses_nothing_without_synced_headers),
        in_directory(a_commit_in_doubt_is_in_the_gate_when_it_is_in_the_file),
        in_directory(a_full_disk_is_named_every_time_with_its_directory),
        in_directory(where_the_disk_cannot_be_asked_the_outcome_is_unknown),
        in_directory(the_gate_answers_while_the_disk_is_broken),
        in_directory(a_policy_that_could_not_be_written_is_not_in_force),
        in_directory(a_policy_in_doubt_is_the_one_that_the_file_has),
        in_directory(a_ledger_that_could_not_be_made_can_be_made_later),
        in_directory(a_booking_costs_no_more_in_a_large_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
