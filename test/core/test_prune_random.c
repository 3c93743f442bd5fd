/* Removing what was archived after weeks of random work: no answer changes that is still given, and
 * what is left verifies, is rebuilt, and goes on; whatever happens in the middle of it. */
#include "pruned.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../c_src/core/retention.h"
#include "whole.h"

static struct ledger *declare_more(struct ledger *ledger, const char *directory) {
    struct ledger_failure failure;
    bool done = false;
    close_ledger(ledger);
    family_count = FAMILIES + 2;
    ledger = open_pruned(directory);
    while (!done) {
        assert_clean(ledger);
        assert_int_equal(ledger_build(ledger, 1 + random_below(300), &done, &failure), 0);
    }
    assert_clean(ledger);
    return ledger;
}

/* Random work for three weeks; then, again and again, a few days more, and everything older than a
 * random day goes. */
static void no_answer_changes(void **state) {
    for (size_t round = 0; round < rounds(4); round++) {
        char directory[4096];
        snprintf(directory, sizeof directory, "%.3000s/%zu", (const char *)*state, round);
        family_count = FAMILIES;
        struct ledger *ledger = open_pruned(directory);
        forget_recent();
        at_time(ledger, START_US);
        old_work(ledger, 1500, START_US + DAYS(21));
        for (size_t pruned = 0; pruned < 3; pruned++) {
            uint64_t now = (uint64_t)now_of(ledger);
            uint64_t horizon = horizon_for(ledger, now - DAYS(7 + random_below(6)));
            uint64_t kept_from = facts_of(ledger).kept_from;
            uint64_t old = horizon > kept_from ? removable(ledger, kept_from, horizon) : 0;
            uint64_t blocks = blocks_of(ledger);
            char *before = all_answers(ledger, horizon);
            struct ledger_pruning pruning = {.horizon_us = horizon};
            bool done = false;
            while (!done) {
                done = prune_slice(ledger, &pruning, 1 + random_below(200));
                if (random_below(4) == 0) {
                    char *between = all_answers(ledger, horizon);
                    assert_same(before, between);
                    free(between);
                    assert_clean(ledger);
                }
            }
            assert_int_equal(pruning.removed, old);
            assert_true(blocks_of(ledger) < blocks || old < 300);
            char *after = all_answers(ledger, horizon);
            assert_same(before, after);
            assert_clean(ledger);
            close_ledger(ledger);
            ledger = open_pruned(directory);
            char *opened = all_answers(ledger, horizon);
            assert_same(before, opened);
            assert_int_equal(facts_of(ledger).kept_from, horizon);
            assert_rebuild_answers(ledger, horizon);
            if (pruned == 0 && round % 2 == 0)
                ledger = declare_more(ledger, directory);
            old_work(ledger, 200, now_of(ledger) + DAYS(3));
            assert_clean(ledger);
            free(before);
            free(after);
            free(opened);
        }
        close_ledger(ledger);
    }
    family_count = FAMILIES;
}

/* A process that removes slices is killed in the middle, again and again. */
static void who_is_killed_in_it_goes_on_later(void **state) {
    struct ledger *ledger = open_pruned(*state);
    forget_recent();
    at_time(ledger, START_US);
    old_work(ledger, 3000, START_US + DAYS(30));
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    char *before = all_answers(ledger, horizon);
    close_ledger(ledger);
    unsigned in_it = 0;
    for (size_t kill_nr = 0; kill_nr < rounds(30); kill_nr++) {
        pid_t child = fork();
        if (child == 0) {
            struct ledger_pruning pruning = {.horizon_us = horizon};
            ledger = open_pruned(*state);
            while (!prune_slice(ledger, &pruning, 5))
                ;
            _exit(0);
        }
        int status;
        usleep((useconds_t)(3000 + random_below(9000)));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        in_it += WIFSIGNALED(status);
        ledger = open_pruned(*state);
        assert_clean(ledger);
        close_ledger(ledger);
    }
    assert_true(in_it > 0);
    ledger = open_pruned(*state);
    prune_to(ledger, horizon);
    char *after = all_answers(ledger, horizon);
    assert_same(before, after);
    assert_clean(ledger);
    struct ledger_page page;
    assert_int_equal(list_in(ledger, RETENTION_KINDS, 0, horizon, &page), 0);
    uint64_t kept = page.matched;
    assert_int_equal(list_in(ledger, ALL_KINDS, horizon, UINT64_MAX, &page), 0);
    assert_int_equal(facts_of(ledger).entries, kept + page.matched);
    close_ledger(ledger);
    free(before);
    free(after);
}
/* What verifying does between two of its slices, should it be in that mood. */
struct meanwhile {
    struct ledger *ledger;
    struct ledger_pruning pruning;
    unsigned slices;
    unsigned begun; /* how often it began */
};

static bool prune_meanwhile(void *context, uint64_t done, uint64_t total) {
    struct meanwhile *meanwhile = context;
    (void)total;
    meanwhile->begun += done == 0;
    if (done > 0 && !meanwhile->pruning.done && random_below(3) == 0) {
        prune_slice(meanwhile->ledger, &meanwhile->pruning, 1 + random_below(150));
        meanwhile->slices++;
    }
    return true;
}

static void verifying_begins_again_where_entries_are_removed(void **state) {
    struct ledger *ledger = open_pruned(*state);
    struct ledger_verify_result result;
    struct ledger_failure failure;
    forget_recent();
    at_time(ledger, START_US);
    old_work(ledger, 1000, START_US + DAYS(21));
    struct meanwhile meanwhile = {.ledger = ledger};
    meanwhile.pruning.horizon_us = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    const struct ledger_verify_options options = {
        .slice = 60, .goes_on = prune_meanwhile, .found = keep_finding, .context = &meanwhile};
    found_count = 0;
    while (!meanwhile.pruning.done) {
        assert_int_equal(ledger_verify(ledger, &options, &result, &failure), 0);
        print_findings();
        assert_int_equal(result.findings, 0);
        assert_int_equal(result.entries, facts_of(ledger).entries);
    }
    assert_true(meanwhile.slices > 2 && meanwhile.begun > 2);
    assert_clean(ledger);
    close_ledger(ledger);
}

static uint64_t id_in(enum storage_database database, const struct row *row) {
    return get_be64(row->key_bytes + (database == DB_SERIES ? 4 : 0));
}

static void assert_some(struct ledger *ledger, const char *done, enum storage_database database,
                        const struct row *row) {
    if (verify(ledger, 0).findings == 0)
        fail_msg("%llu %s in database %d is not found, its size %zu",
                 (unsigned long long)id_in(database, row), done, database, row->value.mv_size);
}

/* One that adds nothing leaves no trace when it is gone, and not every byte of one has one. */
static bool adds_something(const struct row *row) {
    uint8_t head = row->value_bytes[0] == 0xdc ? 3 : 1, kind = row->value_bytes[head + 1];
    return kind == KIND_INVOCATION || kind == KIND_RUN || kind == KIND_CORRECTION ||
           kind == KIND_GRANT;
}

/* Every row from the horizon on, changed in a byte and taken away. */
static void damage_behind_the_horizon_is_found(void **state) {
    static const enum storage_database databases[] = {DB_ENTRIES, DB_SERIES, DB_PAYLOADS};
    static struct row row;
    struct ledger *ledger = open_pruned(*state);
    forget_recent();
    at_time(ledger, START_US);
    old_work(ledger, 250, START_US + DAYS(21));
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    prune_to(ledger, horizon);
    assert_clean(ledger);
    for (size_t i = 0; i < LENGTH(databases); i++)
        for (size_t nth = 0; nth_row(ledger, databases[i], 0, nth, &row); nth++) {
            bool is_entry = databases[i] == DB_ENTRIES;
            if (id_in(databases[i], &row) < horizon || (is_entry && !adds_something(&row)))
                continue;
            size_t at = random_below(row.value.mv_size);
            uint8_t flip = (uint8_t)(1 + random_below(255));
            row.value_bytes[at] ^= flip;
            put_raw(ledger, databases[i], row.key, row.value);
            row.value_bytes[at] ^= flip;
            if (!is_entry)
                assert_some(ledger, "changed", databases[i], &row);
            delete_raw(ledger, databases[i], row.key);
            assert_some(ledger, "taken away", databases[i], &row);
            put_raw(ledger, databases[i], row.key, row.value);
        }
    assert_clean(ledger);
    close_ledger(ledger);
}

/* What stands in for what was removed is looked at as far as it can be. */
static void blocks_before_the_horizon_are_looked_at(void **state) {
    static struct row row;
    struct ledger *ledger = open_pruned(*state);
    forget_recent();
    at_time(ledger, START_US);
    old_work(ledger, 1500, START_US + DAYS(21));
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    prune_to(ledger, horizon);
    size_t before = 0;
    for (size_t nth = 0; nth_row(ledger, DB_SERIES, 0, nth, &row); nth++) {
        if (id_in(DB_SERIES, &row) >= horizon)
            continue;
        before++;
        uint8_t count = row.value_bytes[0];
        row.value_bytes[0] = 40;
        put_raw(ledger, DB_SERIES, row.key, row.value);
        row.value_bytes[0] = count;
        assert_found(ledger, "series", "block from", "");
        put_raw(ledger, DB_SERIES, row.key, row.value);
        if (before > 20)
            break;
    }
    assert_true(before > 5);
    assert_clean(ledger);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(no_answer_changes),
        in_directory(who_is_killed_in_it_goes_on_later),
        in_directory(verifying_begins_again_where_entries_are_removed),
        in_directory(damage_behind_the_horizon_is_found),
        in_directory(blocks_before_the_horizon_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
