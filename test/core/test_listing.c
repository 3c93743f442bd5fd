/* Lists of entries: pages, totals, and what is in no series. */
#include "records.h"

#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../c_src/core/pack.h"
#include "../../c_src/core/reading.h"

struct rows {
    size_t count;
    uint64_t ids[300];
};

static void keep_row(void *context, const struct ledger_entry *entry,
                     const struct ledger_payload *payload) {
    struct rows *rows = context;
    (void)payload;
    assert_true(rows->count < LENGTH(rows->ids));
    rows->ids[rows->count++] = entry->id;
}

static struct rows rows;

static struct ledger_page list(struct ledger *ledger, const struct ledger_list_query *query) {
    struct ledger_page page;
    assert_int_equal(ledger_list(ledger, query, keep_row, &rows, &page), 0);
    return page;
}

static struct ledger *open_with_series(const char *directory) {
    struct declared_series families[] = {FAMILY(DIMENSION_USER), FAMILY(DIMENSION_STATUS),
                                         FAMILY(DIMENSION_MODEL)};
    struct ledger_options options = options_for(directory);
    struct ledger_policy policy = policy_of(NULL, 0);
    options.policy = &policy;
    options.series = families;
    options.series_count = LENGTH(families);
    struct ledger *ledger = open_with(&options);
    at_time(ledger, START_US);
    return ledger;
}

/* A page each after ten more were booked: what came in between is told neither twice nor left out
 * of what goes on towards it. */
static void a_cursor_stays_right_while_entries_arrive(void **state) {
    for (int forward = 0; forward < 2; forward++) {
        struct ledger *ledger = open_with_series(path_in(*state, forward ? "f" : "b"));
        struct ledger_list_query query = list_of(KINDS_OF_WORK);
        struct ledger_page page;
        size_t pages = 0;
        query.oldest_first = forward;
        query.limit = 7;
        book_many(ledger, "executing", 100);
        rows.count = 0;
        do {
            page = list(ledger, &query);
            query.cursor = page.next;
            if (pages++ < 10)
                book_many(ledger, "planning", 3);
        } while (!page.done);
        assert_int_equal(rows.count, forward ? 130 : 100);
        for (size_t i = 0; i < rows.count; i++)
            assert_int_equal(rows.ids[i], START_US + (int64_t)(forward ? i : 99 - i));
        close_ledger(ledger);
    }
}

/* What is looked at is bounded as well: pages without a row go on. */
static void a_page_may_be_empty_without_being_the_last(void **state) {
    struct ledger *ledger = open_with_series(*state);
    struct ledger_list_query query = list_of(1u << KIND_RUN);
    struct ledger_entry run = run_of("ada", 1);
    struct ledger_page page;
    size_t pages = 0;
    uint64_t id = book_entry(ledger, &run);
    book_many(ledger, "executing", 99);
    query.scan = 10;
    rows.count = 0;
    do {
        page = list(ledger, &query);
        assert_int_equal(page.matched, pages == 9);
        assert_true(page.total_known);
        assert_int_equal(page.total, 1);
        query.cursor = page.next;
        pages++;
    } while (!page.done);
    assert_int_equal(pages, 11); /* the tenth does not know that it was the last */
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.ids[0], id);
    close_ledger(ledger);
}

static uint64_t book_large_change(struct ledger *ledger, size_t size) {
    const uint64_t unit[TOKENS_CLASSES] = {1};
    struct entry_buffer prices = price_change("m", unit, 0, NULL, -1), change = {0};
    char *reason = calloc(1, size + 1);
    msgpack_packer packer;
    assert_non_null(reason);
    memset(reason, 'x', size);
    msgpack_packer_init(&packer, &change, entry_buffer_append);
    msgpack_pack_map(&packer, 2);
    entry_buffer_append(&change, prices.data + 1, prices.size - 1); /* without its header */
    pack_word(&packer, "reason");
    pack_word(&packer, reason);
    struct ledger_entry entry = prices_of(&change);
    uint64_t id = book_entry(ledger, &entry);
    entry_buffer_free(&prices);
    entry_buffer_free(&change);
    free(reason);
    return id;
}

/* Large entries end a slice before their number does, told or only looked at; the next goes on. */
static void a_slice_of_large_entries_is_a_short_one(void **state) {
    enum { LARGE = 12, BYTES = 1000000 };
    struct ledger_policy policy = policy_of(NULL, 0);
    struct ledger_options options = options_for(*state);
    options.policy = &policy;
    options.map_size = (size_t)64 << 20;
    struct ledger *ledger = open_with(&options);
    at_time(ledger, START_US);
    for (int i = 0; i < LARGE; i++)
        book_large_change(ledger, BYTES);
    for (int told = 0; told < 2; told++)
        for (int forward = 0; forward < 2; forward++) {
            struct ledger_list_query query = list_of(1u << (told ? KIND_PRICE : KIND_REDACTION));
            struct ledger_page page;
            size_t pages = 0;
            query.oldest_first = forward;
            rows.count = 0;
            do {
                page = list(ledger, &query);
                assert_in_range(page.matched, 0, told ? 5 : 0);
                query.cursor = page.next;
                pages++;
            } while (!page.done);
            assert_int_equal(rows.count, told ? LARGE : 0);
            assert_in_range(pages, LARGE / 5, LARGE / 3);
            for (size_t i = 0; i < rows.count; i++)
                assert_int_equal(rows.ids[i], START_US + (int64_t)(forward ? i : LARGE - 1 - i));
        }
    close_ledger(ledger);
}

static void the_total_is_known_where_a_series_counts_it(void **state) {
    struct ledger *ledger = open_with_series(*state);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_list_query query = list_of(KINDS_OF_WORK);
    struct ledger_entry ada = priced("ada", 1), bob = priced("bob", 1);
    bob.status = STATUS_FAILED;
    bob.names[DIMENSION_MODEL] = text("m");
    for (int i = 0; i < 50; i++)
        book_entry(ledger, i % 5 ? &ada : &bob);
    query.filter.names = names;
    query.limit = 2;
    names[DIMENSION_USER] = text("ada");
    struct ledger_page page = list(ledger, &query);
    assert_true(page.total_known);
    assert_int_equal(page.total, 40);
    query.filter.statuses = 1u << STATUS_FAILED; /* by the columns of the same series */
    page = list(ledger, &query);
    assert_true(page.total_known);
    assert_int_equal(page.total, 0);
    assert_true(page.done);
    names[DIMENSION_STATUS] = text("failed"); /* no series has both: its columns tell */
    page = list(ledger, &query);
    assert_true(page.total_known);
    assert_int_equal(page.total, 0);
    assert_true(page.done);
    names[DIMENSION_USER] = text("nobody"); /* which was never used */
    page = list(ledger, &query);
    assert_true(page.total_known && page.done);
    assert_int_equal(page.total, 0);
    names[DIMENSION_USER] = (struct ledger_text){0};
    page = list(ledger, &query);
    assert_true(page.total_known);
    assert_int_equal(page.total, 10);
    query.filter.kinds = ALL_KINDS; /* some of which are in no series */
    page = list(ledger, &query);
    assert_false(page.total_known);
    assert_int_equal(page.matched, 2);
    close_ledger(ledger);
}

static void what_is_in_no_series_is_listed_too(void **state) {
    struct ledger *ledger = open_with_series(*state);
    struct ledger_list_query query = list_of(1u << KIND_PRICE | 1u << KIND_REDACTION);
    struct ledger_entry call = with_payload(priced("ada", 1), "a map");
    uint64_t price = set_price(ledger, "m", 1, 1), id = book_entry(ledger, &call);
    struct ledger_entry redaction = redaction_of(id);
    uint64_t redacted = book_entry(ledger, &redaction);
    for (int forward = 0; forward < 2; forward++) {
        query.oldest_first = forward;
        rows.count = 0;
        struct ledger_page page = list(ledger, &query);
        assert_true(page.done);
        assert_int_equal(rows.count, 2);
        assert_int_equal(rows.ids[forward ? 0 : 1], price);
        assert_int_equal(rows.ids[forward ? 1 : 0], redacted);
        query.filter.since = price + 1;
        query.filter.until = redacted;
        page = list(ledger, &query);
        assert_int_equal(page.matched, 0);
        query.filter.until = redacted + 1;
        page = list(ledger, &query);
        assert_int_equal(page.matched, 1);
        query.filter.since = price;
        query.filter.until = redacted;
        page = list(ledger, &query);
        assert_int_equal(page.matched, 1);
        query.filter.since = 0;
        query.filter.until = UINT64_MAX;
    }
    close_ledger(ledger);
}

/* A hold that was given up, and completed after all, is an aborted call and a correction. */
static void a_late_completion_is_no_completed_call(void **state) {
    struct ledger *ledger = open_with_series(*state);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_list_query query = list_of(KINDS_OF_WORK | 1u << KIND_CORRECTION);
    struct ledger_entry call = priced("ada", 5);
    uint64_t hold = reserve(ledger, &call, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0);
    assert_int_equal(settle(ledger, hold, 9), 0);
    query.filter.names = names;
    for (int by_name = 0; by_name < 2; by_name++) {
        names[DIMENSION_STATUS] = by_name ? text("completed") : (struct ledger_text){0};
        query.filter.statuses = 1u << STATUS_COMPLETED;
        struct ledger_page page = list(ledger, &query);
        assert_int_equal(page.matched, 0);
        assert_int_equal(page.total, 0);
        names[DIMENSION_STATUS] = by_name ? text("aborted") : (struct ledger_text){0};
        query.filter.statuses = 1u << STATUS_ABORTED;
        page = list(ledger, &query);
        assert_int_equal(page.matched, 1);
        assert_int_equal(page.total, 1);
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* The text of names that come in between others, over the pages that a long list touches. */
static void check_user(void *context, const struct ledger_entry *entry,
                       const struct ledger_payload *payload) {
    size_t *left = context;
    char name[600];
    (void)payload;
    --*left;
    snprintf(name, sizeof name, "user %zu%0*d", *left % 300, *left % 300 % 7 ? 1 : 550, 0);
    assert_true(text_equal(entry->names[DIMENSION_USER], text(name)));
}

static void every_row_has_its_own_names(void **state) {
    struct ledger *ledger = open_with_series(*state);
    struct ledger_list_query query = list_of(KINDS_OF_WORK);
    struct ledger_page page;
    size_t many = 900, left = many;
    for (size_t i = 0; i < many;) {
        struct drafts drafts = {0};
        for (; i < many && drafts.count < LENGTH(drafts.requests); i++) {
            char name[600];
            snprintf(name, sizeof name, "user %zu%0*d", i % 300, i % 300 % 7 ? 1 : 550, 0);
            struct ledger_entry call = priced(name, 1);
            add_draft(&drafts, &call);
        }
        assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
        free_drafts(&drafts);
    }
    assert_int_equal(ledger_list(ledger, &query, check_user, &left, &page), 0);
    assert_int_equal(left, 0);
    assert_int_equal(page.total, many);
    close_ledger(ledger);
}

static void check_two_names(void *context, const struct ledger_entry *entry,
                            const struct ledger_payload *payload) {
    (void)payload;
    const struct ledger_entry *expected = context;
    const uint32_t *numbers = entry->name_numbers;
    assert_int_equal(numbers[DIMENSION_USER] % READING_NAMES,
                     numbers[DIMENSION_PROJECT] % READING_NAMES);
    assert_true(text_equal(entry->names[DIMENSION_USER], expected->names[DIMENSION_USER]));
    assert_true(text_equal(entry->names[DIMENSION_PROJECT], expected->names[DIMENSION_PROJECT]));
}

/* What one reading looked up the next ones know: in one place for all numbers that are so many
 * apart, and two names of one row may be. */
static void names_that_are_remembered_in_one_place_are_told_apart(void **state) {
    struct ledger *ledger = open_with_series(*state);
    struct ledger_list_query query = list_of(KINDS_OF_WORK);
    struct ledger_page page;
    char users[READING_NAMES][16], project[16];
    for (size_t i = 0; i < LENGTH(users); i++) {
        snprintf(users[i], sizeof users[i], "user %zu", i);
        struct ledger_entry call = priced(users[i], 1);
        assert_int_equal(record(ledger, &call), 0);
    }
    query.limit = 1;
    for (size_t i = 0; i < 60; i++) {
        struct ledger_entry call = priced(users[i % 20], 1);
        snprintf(project, sizeof project, "project %zu", i % 20);
        call.names[DIMENSION_PROJECT] = text(project);
        assert_int_equal(record(ledger, &call), 0);
        assert_int_equal(ledger_list(ledger, &query, check_two_names, &call, &page), 0);
        assert_int_equal(page.matched, 1);
    }
    close_ledger(ledger);
}

static void count_user(void *context, const struct ledger_entry *entry,
                       const struct ledger_payload *payload) {
    (void)payload;
    assert_true(text_equal(entry->names[DIMENSION_USER], *(const struct ledger_text *)context));
}

/* Names of the longest that is remembered, and of one byte more. */
static void what_a_reading_knows_goes_with_the_environment(void **state) {
    struct ledger *ledger = open_with_series(*state);
    struct ledger_list_query query = list_of(KINDS_OF_WORK);
    struct ledger_failure failure;
    struct ledger_page page;
    char name[READING_NAME_BYTES + 2];
    query.limit = 1;
    for (size_t size = READING_NAME_BYTES - 1; size < sizeof name; size++) {
        memset(name, 'a' + (int)(size % 26), size);
        name[size] = 0;
        struct ledger_text user = text(name);
        struct ledger_entry call = priced(name, 1);
        assert_int_equal(record(ledger, &call), 0);
        for (int round = 0; round < 3; round++) {
            assert_int_equal(ledger_list(ledger, &query, count_user, &user, &page), 0);
            assert_int_equal(page.matched, 1);
            struct reading *left = (struct reading *)ledger->storage.left;
            assert_non_null(left);
            assert_null(left->block.next); /* one after the other needs one */
            if (round == 0)
                left->serial = UINT32_MAX; /* the next one begins again */
            else if (round == 1)
                assert_int_equal(left->serial, 1);
        }
        assert_int_equal(storage_reopen(&ledger->storage, &failure), 0);
        assert_null(ledger->storage.left);
    }
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_cursor_stays_right_while_entries_arrive),
        in_directory(a_page_may_be_empty_without_being_the_last),
        in_directory(a_slice_of_large_entries_is_a_short_one),
        in_directory(the_total_is_known_where_a_series_counts_it),
        in_directory(what_is_in_no_series_is_listed_too),
        in_directory(a_late_completion_is_no_completed_call),
        in_directory(every_row_has_its_own_names),
        in_directory(names_that_are_remembered_in_one_place_are_told_apart),
        in_directory(what_a_reading_knows_goes_with_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
