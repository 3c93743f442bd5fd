/* Interned names. */
#include "support.h"

#include <stdio.h>

static uint32_t intern(uint8_t dimension, struct ledger_text value, bool expect_made) {
    uint32_t number = 0, found = 0;
    bool made;
    struct ledger_text back;
    uint8_t back_dimension;
    assert_int_equal(names_intern(scratch.txn, scratch.dbi, dimension, value, &number, &made), 0);
    assert_int_equal(made, expect_made);
    assert_int_equal(names_find(scratch.txn, scratch.dbi, dimension, value, &found), 0);
    assert_int_equal(found, number);
    assert_int_equal(names_text(scratch.txn, scratch.dbi, number, &back_dimension, &back), 0);
    assert_int_equal(back_dimension, dimension);
    assert_true(text_equal(back, value));
    return number;
}

static uint32_t intern_series(const uint32_t *numbers, size_t count) {
    uint32_t series, found;
    assert_int_equal(names_intern_series(scratch.txn, scratch.dbi, numbers, count, &series), 0);
    assert_int_equal(names_find_series(scratch.txn, scratch.dbi, numbers, count, &found), 0);
    assert_int_equal(found, series);
    return series;
}

static void numbers_count_from_one(void **state) {
    (void)state;
    assert_int_equal(intern(DIMENSION_STATE, text("a"), true), 1);
    assert_int_equal(intern(DIMENSION_STATE, text("b"), true), 2);
    assert_int_equal(intern(DIMENSION_STATE, text("a"), false), 1);
}

static void dimensions_do_not_share_names(void **state) {
    (void)state;
    uint32_t state_number = intern(DIMENSION_STATE, text("x"), true);
    assert_int_not_equal(intern(DIMENSION_USER, text("x"), true), state_number);
    assert_int_equal(intern(DIMENSION_LIMIT - 1, text("x"), true), 3);
}

static void an_unknown_name_is_not_found(void **state) {
    uint32_t number;
    uint8_t dimension;
    struct ledger_text value;
    (void)state;
    assert_int_equal(names_find(scratch.txn, scratch.dbi, 1, text("x"), &number), MDB_NOTFOUND);
    assert_int_equal(names_find_series(scratch.txn, scratch.dbi, &(uint32_t){1}, 1, &number),
                     MDB_NOTFOUND);
    assert_int_equal(names_text(scratch.txn, scratch.dbi, 1, &dimension, &value), LEDGER_E_DAMAGED);
}

/* Alike but for one byte at the end, so that a hash over a part would confuse them. */
static void long_names_are_told_apart(void **state) {
    static char bytes[100000];
    static const size_t sizes[] = {499, 500, 501, 511, 512, 1020, 65536, 100000};
    uint32_t number = 0;
    (void)state;
    memset(bytes, 'n', sizeof bytes);
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        struct ledger_text value = {bytes, sizes[i]};
        for (char last = 'a'; last < 'd'; last++) {
            bytes[sizes[i] - 1] = last;
            assert_int_equal(intern(DIMENSION_USER, value, true), ++number);
            assert_int_equal(intern(DIMENSION_USER, value, false), number);
        }
        bytes[sizes[i] - 1] = 'n';
    }
}

static void names_may_hold_any_bytes(void **state) {
    char bytes[2] = {0};
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        bytes[0] = (char)byte;
        assert_int_equal(intern(DIMENSION_USER, (struct ledger_text){bytes, 1}, true),
                         2 * byte + 1);
        assert_int_equal(intern(DIMENSION_USER, (struct ledger_text){bytes, 2}, true),
                         2 * byte + 2);
    }
}

static void many_names_and_series_keep_their_numbers(void **state) {
    char name[32];
    size_t many = rounds(20000);
    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 1; i <= many; i++) {
            snprintf(name, sizeof name, "user %zu", i * 7919);
            uint32_t number = intern(DIMENSION_USER, text(name), pass == 0);
            assert_int_equal(number, i);
            assert_int_equal(intern_series(&number, 1), i);
        }
    }
}

/* Names of users, with the numbers from 1 on. */
static void intern_users(size_t count) {
    char name[32];
    for (size_t i = 1; i <= count; i++) {
        snprintf(name, sizeof name, "user %zu", i);
        assert_int_equal(intern(DIMENSION_USER, text(name), true), i);
    }
}

static void a_series_is_its_names_in_order(void **state) {
    (void)state;
    intern_users(9);
    assert_int_equal(intern_series((uint32_t[]){1, 2}, 2), 1);
    assert_int_equal(intern_series((uint32_t[]){2, 1}, 2), 2);
    assert_int_equal(intern_series((uint32_t[]){1}, 1), 3);
    assert_int_equal(intern_series((uint32_t[]){1, 2, 3}, 3), 4);
    assert_int_equal(intern_series((uint32_t[]){1, 2}, 2), 1);
    assert_int_equal(intern_series((uint32_t[]){9, 8, 7, 6, 5, 4, 3, 2}, SERIES_NAMES_MAX), 5);
}

static uint32_t family_size(const uint8_t *dimensions, size_t count) {
    uint32_t size;
    assert_int_equal(names_count_family(scratch.txn, scratch.dbi, dimensions, count, &size), 0);
    return size;
}

static void the_series_of_each_family_are_counted(void **state) {
    static const uint8_t users[] = {DIMENSION_USER}, orgs[] = {DIMENSION_ORG};
    static const uint8_t both[] = {DIMENSION_ORG, DIMENSION_USER};
    uint32_t numbers[2], back[SERIES_NAMES_MAX];
    size_t count;
    (void)state;
    assert_int_equal(family_size(users, 1), 0);
    numbers[0] = intern(DIMENSION_ORG, text("acme"), true);
    for (uint32_t i = 1; i <= 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "user %u", i);
        numbers[1] = intern(DIMENSION_USER, text(name), true);
        for (int again = 0; again < 2; again++) {
            intern_series(&numbers[1], 1);
            uint32_t series = intern_series(numbers, 2);
            assert_int_equal(names_of_series(scratch.txn, scratch.dbi, series, back, &count), 0);
            assert_int_equal(count, 2);
            assert_memory_equal(back, numbers, sizeof numbers);
            assert_int_equal(family_size(users, 1), i);
            assert_int_equal(family_size(both, 2), i);
        }
    }
    assert_int_equal(family_size(orgs, 1), 0);
    assert_int_equal(names_of_series(scratch.txn, scratch.dbi, 21, back, &count), LEDGER_E_DAMAGED);
}

static bool any_undefined(void) {
    bool any;
    assert_int_equal(names_any_undefined(scratch.txn, scratch.dbi, &any), 0);
    return any;
}

static bool take_undefined(uint32_t number) {
    bool undefined;
    assert_int_equal(names_take_undefined(scratch.txn, scratch.dbi, number, &undefined), 0);
    return undefined;
}

static void a_name_without_a_definition_gets_one_once(void **state) {
    (void)state;
    intern_users(3);
    intern_series((uint32_t[]){1}, 1); /* rows of a family come after those of the undefined */
    assert_false(any_undefined());
    assert_int_equal(names_put_undefined(scratch.txn, scratch.dbi, 2), 0);
    assert_true(any_undefined());
    assert_false(take_undefined(1));
    assert_false(take_undefined(3));
    assert_true(take_undefined(2));
    assert_false(take_undefined(2));
    assert_false(any_undefined());
    assert_int_equal(intern(DIMENSION_USER, text("next"), true), 4);
}

static void an_aborted_transaction_takes_its_names_along(void **state) {
    uint32_t number;
    (void)state;
    intern(DIMENSION_USER, text("kept"), true);
    mdb_cursor_close(scratch.cursor);
    assert_int_equal(mdb_txn_commit(scratch.txn), 0);
    assert_int_equal(mdb_txn_begin(scratch.env, NULL, 0, &scratch.txn), 0);
    assert_int_equal(intern(DIMENSION_USER, text("dropped"), true), 2);
    assert_int_equal(intern_series((uint32_t[]){2}, 1), 1);
    assert_int_equal(names_put_undefined(scratch.txn, scratch.dbi, 2), 0);
    mdb_txn_abort(scratch.txn);
    assert_int_equal(mdb_txn_begin(scratch.env, NULL, 0, &scratch.txn), 0);
    assert_int_equal(mdb_cursor_open(scratch.txn, scratch.dbi, &scratch.cursor), 0);
    assert_int_equal(names_find(scratch.txn, scratch.dbi, DIMENSION_USER, text("dropped"), &number),
                     MDB_NOTFOUND);
    assert_false(any_undefined());
    assert_int_equal(family_size((const uint8_t[]){DIMENSION_USER}, 1), 0);
    assert_int_equal(intern(DIMENSION_USER, text("other"), true), 2);
    assert_int_equal(intern_series((uint32_t[]){1}, 1), 1);
}

static void the_last_number_is_not_followed_by_the_first(void **state) {
    uint8_t last[5] = {3, 0xff, 0xff, 0xff, 0xee};
    MDB_val key = {sizeof last, last}, value = {2, "\x01n"};
    uint32_t number;
    bool made;
    (void)state;
    assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
    assert_int_equal(intern(DIMENSION_USER, text("the last"), true), 0xffffffef);
    /* above it are the numbers of statuses; in no ledger is there one above those */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            names_intern(scratch.txn, scratch.dbi, DIMENSION_USER, text("x"), &number, &made),
            LEDGER_E_ID_EXHAUSTED);
        assert_int_equal(names_find(scratch.txn, scratch.dbi, DIMENSION_USER, text("x"), &number),
                         MDB_NOTFOUND);
        last[4] = 0xff;
        assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
    }
}

/* ---- statuses, and all names of a dimension ------------------------------------------------ */

static void a_status_has_a_number_and_no_row(void **state) {
    static const char *const words[] = {"completed", "failed", "aborted"};
    struct ledger_text value;
    uint8_t dimension;
    uint32_t number;
    MDB_stat stat;
    bool made;
    (void)state;
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(intern(DIMENSION_STATUS, text(words[i]), false), 0xfffffff1 + i);
    assert_int_equal(mdb_stat(scratch.txn, scratch.dbi, &stat), 0);
    assert_int_equal(stat.ms_entries, 0);
    static const char *const others[] = {"", "none", "complete", "completed ", "Failed"};
    for (size_t i = 0; i < LENGTH(others); i++) {
        assert_int_equal(
            names_find(scratch.txn, scratch.dbi, DIMENSION_STATUS, text(others[i]), &number),
            MDB_NOTFOUND);
        assert_int_equal(names_intern(scratch.txn, scratch.dbi, DIMENSION_STATUS, text(others[i]),
                                      &number, &made),
                         MDB_NOTFOUND);
    }
    for (uint32_t other = 0xfffffff4; other != 0; other++)
        assert_int_equal(names_text(scratch.txn, scratch.dbi, other, &dimension, &value),
                         LEDGER_E_DAMAGED);
    assert_int_equal(names_text(scratch.txn, scratch.dbi, 0xfffffff0, &dimension, &value),
                     LEDGER_E_DAMAGED);
    /* the same word elsewhere is a name like any other */
    assert_int_equal(intern(DIMENSION_USER, text("failed"), true), 1);
    uint32_t series = intern_series((uint32_t[]){1, 0xfffffff2}, 2);
    assert_int_equal(series, 1);
    assert_int_equal(family_size((const uint8_t[]){DIMENSION_USER, DIMENSION_STATUS}, 2), 1);
}

struct walked {
    size_t count;
    size_t stop_after;
    uint32_t numbers[300];
};

static bool keep_name(void *context, struct ledger_text value, uint32_t number) {
    struct walked *walked = context;
    uint32_t found;
    uint8_t dimension;
    struct ledger_text again;
    assert_int_equal(names_text(scratch.txn, scratch.dbi, number, &dimension, &again), 0);
    assert_int_equal(names_find(scratch.txn, scratch.dbi, dimension, value, &found), 0);
    assert_int_equal(found, number);
    assert_true(walked->count < LENGTH(walked->numbers));
    walked->numbers[walked->count++] = number;
    return walked->count != walked->stop_after;
}

static struct walked walk(uint8_t dimension, uint32_t *after, size_t stop_after) {
    struct walked walked = {.stop_after = stop_after};
    assert_int_equal(names_walk(scratch.txn, scratch.dbi, dimension, after, keep_name, &walked), 0);
    if (walked.count > 0)
        assert_int_equal(*after, walked.numbers[walked.count - 1]);
    return walked;
}

/* In pages of each size, which together are the walk in one. */
static void assert_walks(uint8_t dimension, size_t expected) {
    uint32_t after = 0;
    struct walked all = walk(dimension, &after, 0);
    assert_int_equal(all.count, expected);
    for (size_t i = 0; i < all.count; i++) {
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(all.numbers[i], all.numbers[k]);
        after = all.numbers[i]; /* resumes after each */
        struct walked rest = walk(dimension, &after, 0);
        assert_int_equal(rest.count, all.count - i - 1);
        assert_memory_equal(rest.numbers, all.numbers + i + 1, rest.count * sizeof rest.numbers[0]);
    }
    for (size_t page = 1; page < 5; page++) {
        size_t told = 0;
        after = 0;
        for (;;) {
            struct walked walked = walk(dimension, &after, page);
            if (walked.count == 0)
                break;
            assert_memory_equal(walked.numbers, all.numbers + told,
                                walked.count * sizeof walked.numbers[0]);
            told += walked.count;
        }
        assert_int_equal(told, all.count);
    }
}

static void a_walk_tells_all_names_of_a_dimension_once(void **state) {
    static char bytes[700];
    (void)state;
    assert_walks(DIMENSION_USER, 0);
    memset(bytes, 'n', sizeof bytes);
    for (size_t i = 0; i < 40; i++) {
        size_t size = i % 4 == 0 ? 499 + i % 3 : i % 4 == 1 ? 600 + i : 1 + i % 17;
        memcpy(bytes, &i, sizeof i < size ? 1 : size);
        bytes[0] = (char)i;
        intern(DIMENSION_USER, (struct ledger_text){bytes, size}, true);
        if (i % 2)
            intern(DIMENSION_USER - 1, (struct ledger_text){bytes, size}, true);
    }
    intern(DIMENSION_USER + 1, (struct ledger_text){bytes, 600}, true); /* none that is short */
    intern(DIMENSION_USER + 2, (struct ledger_text){bytes, 6}, true);   /* none that is long */
    assert_walks(DIMENSION_USER, 40);
    assert_walks(DIMENSION_USER - 1, 20);
    assert_walks(DIMENSION_USER + 1, 1);
    assert_walks(DIMENSION_USER + 2, 1);
    assert_walks(DIMENSION_USER + 3, 0);
    assert_walks(DIMENSION_LIMIT - 1, 0);
    assert_walks(DIMENSION_STATUS, 3);
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(numbers_count_from_one),
        on_scratch(dimensions_do_not_share_names),
        on_scratch(an_unknown_name_is_not_found),
        on_scratch(long_names_are_told_apart),
        on_scratch(names_may_hold_any_bytes),
        on_scratch(many_names_and_series_keep_their_numbers),
        on_scratch(a_series_is_its_names_in_order),
        on_scratch(the_series_of_each_family_are_counted),
        on_scratch(a_name_without_a_definition_gets_one_once),
        on_scratch(the_last_number_is_not_followed_by_the_first),
        on_scratch(an_aborted_transaction_takes_its_names_along),
        on_scratch(a_status_has_a_number_and_no_row),
        on_scratch(a_walk_tells_all_names_of_a_dimension_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
