/* A map that is full, one that does not fit the address space, one smaller than the file. */
#include "support.h"

#include <stdio.h>

static int book_blob(struct ledger *ledger, size_t size) {
    static char bytes[1 << 20];
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("executing");
    entry.payload = (struct ledger_text){bytes, size};
    add_draft(&drafts, &entry);
    int rc = commit(ledger, &drafts, ledger_now(ledger));
    assert_int_equal(drafts.requests[0].rc, rc);
    free_drafts(&drafts);
    return rc;
}

static void a_full_map_is_an_error_and_a_larger_one_the_cure(void **state) {
    struct ledger_options options = options_for(*state);
    for (size_t blob = 1000; blob < 700000; blob *= 5) {
        options.map_size = (size_t)2 << 20;
        char directory[4096];
        snprintf(directory, sizeof directory, "%s/%zu", (char *)*state, blob);
        options.directory = directory;
        struct ledger *ledger = open_with(&options);
        size_t count = 0;
        int rc;
        while ((rc = book_blob(ledger, blob)) == 0)
            count++;
        assert_int_equal(rc, MDB_MAP_FULL);
        assert_string_equal(ledger_error_name(rc), "map_full");
        assert_true(count > 0);
        /* reading goes on, and so does saying no */
        for (int i = 0; i < 3; i++) {
            assert_int_equal(count_of(ledger, NULL), count);
            assert_int_equal(book_blob(ledger, blob), MDB_MAP_FULL);
        }
        assert_books_agree(ledger);
        close_ledger(ledger);
        options.map_size = (size_t)8 << 20;
        ledger = open_with(&options);
        assert_int_equal(count_of(ledger, NULL), count);
        assert_int_equal(book_blob(ledger, blob), 0);
        assert_int_equal(count_of(ledger, NULL), count + 1);
        assert_books_agree(ledger);
        close_ledger(ledger);
    }
}

static void an_entry_that_does_not_fit_leaves_its_batch_standing(void **state) {
    static char bytes[1040000];
    struct ledger_options options = options_for(*state);
    struct drafts drafts = {0};
    struct ledger_entry small = invocation("executing"), huge = small;
    options.map_size = (size_t)1 << 20;
    huge.payload = (struct ledger_text){bytes, sizeof bytes};
    struct ledger *ledger = open_with(&options);
    add_draft(&drafts, &small);
    add_draft(&drafts, &huge);
    add_draft(&drafts, &small);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, 0);
    assert_int_equal(drafts.requests[1].rc, MDB_MAP_FULL);
    assert_int_equal(drafts.requests[2].rc, 0);
    assert_int_equal(count_of(ledger, NULL), 2);
    assert_books_agree(ledger);
    free_drafts(&drafts);
    close_ledger(ledger);
}

/* A full map reached in many small steps, closed and opened at each: the file must never look
 * as if it had lost its end. */
static void a_file_near_its_limit_can_always_be_opened(void **state) {
    struct ledger_options options = options_for(*state);
    options.map_size = (size_t)3 << 19;
    struct ledger *ledger = open_with(&options);
    size_t count = 0;
    for (size_t i = 0; i < rounds(400); i++) {
        int rc = book_blob(ledger, random_below(60000));
        assert_true(rc == 0 || rc == MDB_MAP_FULL);
        count += rc == 0;
        close_ledger(ledger);
        ledger = open_with(&options);
        assert_int_equal(count_of(ledger, NULL), count);
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_map_smaller_than_the_file_still_reads(void **state) {
    struct ledger_options options = options_for(*state);
    struct ledger *ledger = open_with(&options);
    for (int i = 0; i < 20; i++)
        assert_int_equal(book_blob(ledger, 200000), 0);
    close_ledger(ledger);
    options.map_size = (size_t)1 << 20;
    ledger = open_with(&options);
    assert_int_equal(count_of(ledger, NULL), 20);
    assert_books_agree(ledger);
    assert_int_equal(book_blob(ledger, 500000), MDB_MAP_FULL);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_map_that_does_not_fit_is_halved(void **state) {
    struct ledger_options options = options_for(*state);
    struct ledger *ledger;
    struct ledger_opened opened;
    struct ledger_failure failure;
    if (getenv("TEST_QUICK") != NULL)
        skip(); /* valgrind refuses such a map with another error than the kernel */
    options.map_size = (size_t)1 << 50; /* more than any process of this machine can have */
    assert_int_equal(ledger_open(&options, &ledger, &opened, &failure), 0);
    assert_true(facts_of(ledger).map_size < options.map_size);
    assert_true(facts_of(ledger).map_size >= (size_t)1 << 20);
    book(ledger, "executing");
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* LMDB does not write pages that a transaction took and gave back; the file covers them. */
static void the_file_is_never_shorter_than_its_header_says(void **state) {
    struct ledger *ledger = open_ledger(*state);
    book(ledger, "executing");
    assert_true(file_size(path_in(*state, "data.mdb")) >=
                facts_of(ledger).data_bytes + (512 << 10));
    for (int i = 0; i < 40; i++) {
        assert_int_equal(book_blob(ledger, random_below(300000)), 0);
        assert_true(file_size(path_in(*state, "data.mdb")) >= facts_of(ledger).data_bytes);
    }
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_full_map_is_an_error_and_a_larger_one_the_cure),
        in_directory(an_entry_that_does_not_fit_leaves_its_batch_standing),
        in_directory(a_file_near_its_limit_can_always_be_opened),
        in_directory(a_map_smaller_than_the_file_still_reads),
        in_directory(a_map_that_does_not_fit_is_halved),
        in_directory(the_file_is_never_shorter_than_its_header_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
