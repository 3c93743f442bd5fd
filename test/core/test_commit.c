/* Batches: what is wrong fails alone, what is unwanted is not written.
 *
 * LMDB's put is stood in for, so that one that carries a poisoned name fails as a full map or
 * a bad key does; all others go through.
 */
#include "support.h"

#include <dlfcn.h>
#include <errno.h>

#define EXPORTED __attribute__((visibility("default")))

static const char poison[] = "poisoned name";
static int poison_rc;
static size_t puts_seen;

EXPORTED int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned int flags) {
    static int (*real)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *, unsigned int);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "mdb_put");
    puts_seen++;
    if (poison_rc != 0 && memmem(key->mv_data, key->mv_size, poison, strlen(poison)) != NULL)
        return poison_rc;
    return real(txn, dbi, key, data, flags);
}

static struct ledger_entry poisoned(void) {
    struct ledger_entry entry = invocation("executing");
    entry.names[DIMENSION_USER] = text(poison);
    return entry;
}

static void add_good(struct drafts *drafts, size_t count) {
    struct ledger_entry entry = invocation("executing");
    while (count-- > 0)
        add_draft(drafts, &entry);
}

/* Good drafts but for one, which the caller adds; returns the place of that one. */
static void assert_only_this_failed(struct ledger *ledger, struct drafts *drafts, size_t place,
                                    int rc) {
    size_t before = facts_of(ledger).entries;
    assert_int_equal(commit(ledger, drafts, ledger_now(ledger)), 0);
    for (size_t i = 0; i < drafts->count; i++)
        assert_int_equal(drafts->requests[i].rc, i == place ? rc : 0);
    assert_int_equal(facts_of(ledger).entries, before + drafts->count - 1);
    assert_books_agree(ledger);
    free_drafts(drafts);
}

static void a_batch_is_booked_in_order(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    add_good(&drafts, 40);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    for (size_t i = 0; i < drafts.count; i++) {
        uint64_t id, flags;
        assert_int_equal(drafts.requests[i].rc, 0);
        assert_int_equal(drafts.requests[i].id, START_US + (int64_t)i);
        assert_int_equal(ledger_outcome(ledger, drafts.requests[i].token, 0, &id, &flags), 0);
        assert_int_equal(id, drafts.requests[i].id);
    }
    assert_books_agree(ledger);
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void an_empty_batch_is_no_work(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(facts_of(ledger).entries, 0);
    close_ledger(ledger);
}

/* "Not booked" would make a caller send again what may be booked. */
static void what_is_no_longer_remembered_is_not_called_unbooked(void **state) {
    struct ledger *ledger = open_ledger(*state);
    uint64_t before = ledger_booked(ledger), id, flags;
    for (int i = 0; i < 1100; i++) {
        struct drafts drafts = {0};
        add_good(&drafts, 60);
        for (size_t j = 0; j < drafts.count; j++)
            drafts.requests[j].token = (uint64_t)i * 60 + j + 1;
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        free_drafts(&drafts);
    }
    assert_int_equal(ledger_booked(ledger), before + 66000);
    assert_int_equal(ledger_outcome(ledger, 1, before, &id, &flags), LEDGER_E_OUTCOME_UNKNOWN);
    assert_int_equal(ledger_outcome(ledger, 1, before + 1000, &id, &flags), MDB_NOTFOUND);
    assert_int_equal(ledger_outcome(ledger, 66000, before, &id, &flags), 0);
    close_ledger(ledger);
}

static void an_undeclared_state_fails_alone(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("dreaming");
    uint64_t id, flags;
    add_good(&drafts, 3);
    add_draft(&drafts, &entry);
    add_good(&drafts, 3);
    assert_only_this_failed(ledger, &drafts, 3, LEDGER_E_UNDECLARED_STATE);
    assert_int_equal(ledger_outcome(ledger, 4, 0, &id, &flags), MDB_NOTFOUND);
    assert_int_equal(ledger_outcome(ledger, 5, 0, &id, &flags), 0);
    close_ledger(ledger);
}

static void an_entry_that_is_too_large_fails_alone(void **state) {
    static char longer[5000];
    struct ledger_options options = options_for(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("executing");
    memset(longer, 'x', sizeof longer);
    options.max_entry_size = sizeof longer;
    struct ledger *ledger = open_with(&options);
    entry.names[DIMENSION_USER] = (struct ledger_text){longer, sizeof longer};
    add_draft(&drafts, &entry);
    add_good(&drafts, 2);
    assert_only_this_failed(ledger, &drafts, 0, LEDGER_E_ENTRY_TOO_LARGE);
    /* exactly as large as is allowed */
    size_t over = 0;
    add_draft(&drafts, &entry);
    over = drafts.requests[0].size - options.max_entry_size;
    free_drafts(&drafts);
    entry.names[DIMENSION_USER].size -= over;
    add_draft(&drafts, &entry);
    assert_int_equal(drafts.requests[0].size, options.max_entry_size);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, 0);
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void bytes_that_are_no_draft_fail_alone(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    add_good(&drafts, 1);
    add_bytes(&drafts, "garbage", 7);
    add_good(&drafts, 1);
    assert_only_this_failed(ledger, &drafts, 1, LEDGER_E_BAD_ENTRY);
    add_good(&drafts, 1);
    add_bytes(&drafts, "", 0);
    assert_only_this_failed(ledger, &drafts, 1, LEDGER_E_BAD_ENTRY);
    close_ledger(ledger);
}

static void a_caller_books_records_and_grants_and_nothing_else(void **state) {
    struct ledger *ledger = open_ledger(*state);
    /* Corrections, prices and redactions of a state, or that say nothing, are none. */
    for (int kind = KIND_RELEASE; kind <= KIND_REDACTION; kind++) {
        struct drafts drafts = {0};
        struct ledger_entry entry = invocation("executing");
        entry.kind = (enum ledger_kind)kind;
        entry.status = STATUS_NONE;
        add_draft(&drafts, &entry);
        add_good(&drafts, 1);
        assert_only_this_failed(ledger, &drafts, 0, LEDGER_E_BAD_ENTRY);
    }
    close_ledger(ledger);
}

static void a_batch_of_nothing_but_bad_entries_writes_nothing(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("dreaming");
    add_draft(&drafts, &entry);
    add_draft(&drafts, &entry);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_UNDECLARED_STATE);
    assert_int_equal(drafts.requests[1].rc, LEDGER_E_UNDECLARED_STATE);
    assert_int_equal(facts_of(ledger).entries, 0);
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void an_entry_that_fails_leaves_its_batch_standing(void **state) {
    static const int failures[] = {MDB_MAP_FULL, MDB_BAD_VALSIZE, MDB_TXN_FULL, MDB_KEYEXIST};
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = poisoned();
    for (size_t i = 0; i < LENGTH(failures); i++) {
        for (size_t place = 0; place < 5; place++) {
            struct drafts drafts = {0};
            add_good(&drafts, place);
            add_draft(&drafts, &entry);
            add_good(&drafts, 4 - place);
            poison_rc = failures[i];
            assert_only_this_failed(ledger, &drafts, place, failures[i]);
            poison_rc = 0;
        }
    }
    ledger = reopen(ledger, *state);
    assert_books_agree(ledger);
    assert_int_equal(count_of(ledger, NULL), LENGTH(failures) * 5 * 4);
    close_ledger(ledger);
}

/* A batch of which one put fails is done again, request by request: everything else in it comes out
 * as it would have the first time. */
static void what_is_rerun_comes_out_as_it_would_have_at_first(void **state) {
    struct ledger_rule rule =
        of(rule_of("planning", MEASURE_COST, 100), DIMENSION_STATE, "planning");
    struct ledger_entry estimate = priced(NULL, 60), spent = estimate, bad = poisoned();
    struct drafts drafts = {0};
    rule.warn_count = 1;
    rule.warn[0] = 50;
    struct ledger *ledger = open_ruled(*state, &rule, 1);
    at_time(ledger, START_US);
    estimate.names[DIMENSION_STATE] = spent.names[DIMENSION_STATE] = text("planning");
    uint64_t due = reserve_for(ledger, &estimate, 0, 1000);
    at_time(ledger, START_US + 1000000);
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->token = 11; /* denied: 60 are used */
    estimate.cost = 40;
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->token = 12;
    add_request(&drafts, OPERATION_WITHDRAW, 12, NULL);
    add_draft(&drafts, &bad);
    add_request(&drafts, OPERATION_RESERVE, 0, &estimate)->token = 14;
    poison_rc = MDB_MAP_FULL;
    assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
    poison_rc = 0;
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_BUDGET_EXHAUSTED);
    assert_non_null(drafts.requests[0].denial);
    assert_sum_equal(drafts.requests[0].denial->rules[0].used, 60);
    assert_int_equal(drafts.requests[1].rc, 0);
    assert_int_equal(drafts.requests[2].rc, 0);
    assert_int_equal(drafts.requests[3].rc, MDB_MAP_FULL);
    assert_int_equal(drafts.requests[4].rc, 0);
    assert_int_equal(effects.expiry_count, 1);
    assert_int_equal(effects.expiries[0].hold, due);
    assert_int_equal(effects.warning_count, 1);
    assert_int_equal(effects.warnings[0].threshold, 50);
    assert_int_equal(facts_of(ledger).holds, 1); /* the withdrawn one is gone */
    assert_sum_equal(held_of(ledger, "planning"), 40);
    assert_sum_equal(used_of(ledger, "planning"), 60);
    assert_books_agree(ledger);
    free_drafts(&drafts);
    close_ledger(ledger);
}

/* Names that only a failed reserve would have made are not there, and a deadline neither. */
static void a_reserve_that_fails_leaves_its_batch_standing(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry estimate = invocation("planning"), bad = estimate;
    at_time(ledger, START_US);
    bad.names[DIMENSION_USER] = text(poison);
    for (size_t place = 0; place < 4; place++) {
        struct drafts drafts = {0};
        for (size_t i = 0; i < 4; i++)
            add_request(&drafts, OPERATION_RESERVE, 0, i == place ? &bad : &estimate);
        poison_rc = MDB_TXN_FULL;
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        poison_rc = 0;
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(drafts.requests[i].rc, i == place ? MDB_TXN_FULL : 0);
        assert_int_equal(facts_of(ledger).holds, 3 * (place + 1));
        assert_books_agree(ledger);
        free_drafts(&drafts);
    }
    at_time(ledger, START_US + 2 * (int64_t)HOUR_MS * 1000);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 12);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_single_entry_that_fails_is_the_batchs_failure(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = poisoned();
    add_draft(&drafts, &entry);
    poison_rc = MDB_MAP_FULL;
    assert_int_equal(commit(ledger, &drafts, START_US), MDB_MAP_FULL);
    poison_rc = 0;
    assert_int_equal(drafts.requests[0].rc, MDB_MAP_FULL);
    assert_int_equal(facts_of(ledger).entries, 0);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_books_agree(ledger);
    free_drafts(&drafts);
    close_ledger(ledger);
}

/* The name that the failing entry would have made gets no number, and its number no gap. */
static void a_batch_that_fails_leaves_no_name_behind(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = poisoned(), other = invocation("executing");
    struct drafts drafts = {0};
    MDB_txn *txn;
    uint32_t state_number, number;
    book(ledger, "executing");
    entry.names[DIMENSION_ORG] = text("first seen in a failing entry");
    add_draft(&drafts, &entry);
    poison_rc = MDB_MAP_FULL;
    commit(ledger, &drafts, START_US);
    poison_rc = 0;
    free_drafts(&drafts);
    other.names[DIMENSION_ORG] = text("another");
    book_entry(ledger, &other);
    MDB_dbi names = ledger->storage.databases[DB_NAMES];
    assert_int_equal(storage_read_begin(&ledger->storage, &txn), 0);
    assert_int_equal(names_find(txn, names, DIMENSION_ORG, entry.names[DIMENSION_ORG], &number),
                     MDB_NOTFOUND);
    assert_int_equal(names_find(txn, names, DIMENSION_STATE, text("executing"), &state_number), 0);
    assert_int_equal(names_find(txn, names, DIMENSION_ORG, text("another"), &number), 0);
    assert_int_equal(number, state_number + 1);
    storage_read_end(&ledger->storage, txn);
    close_ledger(ledger);
}

/* ---- wanted ------------------------------------------------------------------------------- */

struct asked {
    size_t times;
    size_t yes; /* how often the answer is yes, from the first */
};

static bool still_wanted(void *context) {
    struct asked *asked = context;
    return asked->times++ < asked->yes;
}

static int commit_if(struct ledger *ledger, struct drafts *drafts, struct asked *asked) {
    struct ledger_failure failure;
    struct ledger_effects effects;
    struct ledger_batch batch = {.requests = drafts->requests,
                                 .count = drafts->count,
                                 .now_us = START_US,
                                 .wanted = still_wanted,
                                 .context = asked};
    int rc = ledger_commit(ledger, &batch, &effects, &failure);
    ledger_effects_free(&effects);
    return rc;
}

static void what_nobody_waits_for_is_not_written(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct asked no = {0, 0}, yes = {0, 1};
    uint64_t id, flags;
    size_t size, size_after;
    add_good(&drafts, 3);
    char *before = read_file(path_in(*state, "data.mdb"), &size);
    assert_int_equal(commit_if(ledger, &drafts, &no), LEDGER_E_WRITER_DEAD);
    assert_int_equal(no.times, 1);
    char *after = read_file(path_in(*state, "data.mdb"), &size_after);
    assert_true(size_after >= size); /* room may have been made */
    assert_memory_equal(before, after, size);
    free(before);
    free(after);
    for (size_t i = 0; i < drafts.count; i++) {
        assert_int_equal(drafts.requests[i].rc, LEDGER_E_WRITER_DEAD);
        assert_int_equal(ledger_outcome(ledger, drafts.requests[i].token, 0, &id, &flags),
                         MDB_NOTFOUND);
    }
    assert_int_equal(facts_of(ledger).entries, 0);
    assert_books_agree(ledger);
    assert_int_equal(commit_if(ledger, &drafts, &yes), 0);
    assert_int_equal(count_of(ledger, NULL), 3);
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void a_writer_that_dies_while_a_batch_is_rerun_stops_it(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = poisoned();
    struct asked once = {0, 1};
    add_good(&drafts, 1);
    add_draft(&drafts, &entry);
    add_good(&drafts, 2);
    poison_rc = MDB_MAP_FULL;
    assert_int_equal(commit_if(ledger, &drafts, &once), 0);
    poison_rc = 0;
    assert_int_equal(drafts.requests[0].rc, 0);
    assert_int_equal(drafts.requests[1].rc, MDB_MAP_FULL);
    assert_int_equal(drafts.requests[2].rc, LEDGER_E_WRITER_DEAD);
    assert_int_equal(drafts.requests[3].rc, LEDGER_E_WRITER_DEAD);
    assert_int_equal(count_of(ledger, NULL), 1);
    assert_books_agree(ledger);
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void the_poison_reaches_the_core(void **state) {
    struct ledger *ledger = open_ledger(*state);
    puts_seen = 0;
    book(ledger, "executing");
    assert_true(puts_seen > 0);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_batch_is_booked_in_order),
        in_directory(an_empty_batch_is_no_work),
        in_directory(what_is_no_longer_remembered_is_not_called_unbooked),
        in_directory(an_undeclared_state_fails_alone),
        in_directory(an_entry_that_is_too_large_fails_alone),
        in_directory(bytes_that_are_no_draft_fail_alone),
        in_directory(a_caller_books_records_and_grants_and_nothing_else),
        in_directory(a_batch_of_nothing_but_bad_entries_writes_nothing),
        in_directory(the_poison_reaches_the_core),
        in_directory(an_entry_that_fails_leaves_its_batch_standing),
        in_directory(what_is_rerun_comes_out_as_it_would_have_at_first),
        in_directory(a_reserve_that_fails_leaves_its_batch_standing),
        in_directory(a_single_entry_that_fails_is_the_batchs_failure),
        in_directory(a_batch_that_fails_leaves_no_name_behind),
        in_directory(what_nobody_waits_for_is_not_written),
        in_directory(a_writer_that_dies_while_a_batch_is_rerun_stops_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
