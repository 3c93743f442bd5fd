/* What rules remember of their values. */
#include "support.h"

#include <stdio.h>

#include "../../c_src/core/marks.h"

static char longest[RULE_NAME_BYTES_MAX];

/* Names that begin alike, and ones that are too long to be a key. */
static struct ledger_text name_of(size_t n) {
    static const size_t sizes[] = {1, 2, 3, 199, 200, 201, 202, RULE_NAME_BYTES_MAX};
    memset(longest, 'n', sizeof longest);
    return (struct ledger_text){longest, sizes[n % LENGTH(sizes)]};
}
#define NAMES 8

static struct mark mark_of(struct ledger_text rule, uint32_t series, uint8_t threshold) {
    struct mark mark = {0};
    int rc = marks_find_warned(scratch.txn, scratch.dbi, rule, series, threshold, &mark);
    assert_true(rc == 0 || rc == MDB_NOTFOUND);
    return mark;
}

static void put_mark(struct ledger_text rule, uint32_t series, uint8_t threshold,
                     struct mark mark) {
    assert_int_equal(marks_put_warned(scratch.txn, scratch.dbi, rule, series, threshold, &mark), 0);
}

static uint64_t reset_of(struct ledger_text rule, uint32_t series) {
    uint64_t id = 77;
    assert_int_equal(marks_find_reset(scratch.txn, scratch.dbi, rule, series, &id), 0);
    return id;
}

static void put_reset(struct ledger_text rule, uint32_t series, uint64_t id) {
    assert_int_equal(marks_put_reset(scratch.txn, scratch.dbi, rule, series, id), 0);
}

static bool any_reset(void) {
    bool any;
    assert_int_equal(marks_any_reset(scratch.txn, scratch.dbi, &any), 0);
    return any;
}

static void forget(struct ledger_text rule) {
    assert_int_equal(marks_delete(scratch.txn, scratch.dbi, rule), 0);
}

static void each_rule_value_and_threshold_has_its_own_mark(void **state) {
    (void)state;
    for (int pass = 0; pass < 3; pass++)
        for (size_t n = 0; n < NAMES; n++)
            for (uint32_t series = 0; series < 3; series++)
                for (uint8_t threshold = 80; threshold < 83; threshold++) {
                    uint64_t id = 1000 * n + 100 * series + threshold;
                    struct mark mark = {id + 1, (ledger_sum)id << 60, id};
                    if (pass < 2) { /* put, and put over */
                        put_mark(name_of(n), series, threshold, mark);
                        continue;
                    }
                    struct mark found = mark_of(name_of(n), series, threshold);
                    assert_int_equal(found.period_us, mark.period_us);
                    assert_true(found.limit == mark.limit);
                    assert_int_equal(found.id, mark.id);
                }
    assert_int_equal(mark_of(name_of(0), 0, 79).id, 0);
    assert_int_equal(mark_of(name_of(0), 3, 80).id, 0);
    assert_int_equal(mark_of(text("m"), 0, 80).id, 0);
}

static void the_newest_reset_counts_be_it_of_the_value_or_the_rule(void **state) {
    (void)state;
    assert_int_equal(reset_of(name_of(2), 5), 0);
    assert_false(any_reset());
    put_reset(name_of(2), 5, 50);
    assert_true(any_reset());
    assert_int_equal(reset_of(name_of(2), 5), 50);
    assert_int_equal(reset_of(name_of(2), 6), 0);
    put_reset(name_of(2), MARKS_WHOLE_RULE, 40);
    assert_int_equal(reset_of(name_of(2), 5), 50);
    assert_int_equal(reset_of(name_of(2), 6), 40);
    put_reset(name_of(2), MARKS_WHOLE_RULE, 60);
    assert_int_equal(reset_of(name_of(2), 5), 60);
    assert_int_equal(reset_of(name_of(1), 5), 0);
    put_reset(name_of(2), 5, UINT64_MAX);
    assert_int_equal(reset_of(name_of(2), 5), UINT64_MAX);
}

static void a_warning_is_no_reset(void **state) {
    (void)state;
    put_mark(name_of(7), UINT32_MAX, 255, (struct mark){1, 2, 3});
    assert_false(any_reset());
    put_reset(name_of(0), 0, 1);
    forget(name_of(7));
    assert_true(any_reset());
    forget(name_of(0));
    assert_false(any_reset());
}

static void forgetting_a_rule_leaves_those_with_like_names(void **state) {
    (void)state;
    for (size_t gone = 0; gone < NAMES; gone++) {
        for (size_t n = 0; n < NAMES; n++)
            for (uint32_t series = 0; series < 40; series++) {
                put_mark(name_of(n), series, 80, (struct mark){0, 1, 1});
                put_reset(name_of(n), series, 9);
            }
        forget(name_of(gone));
        forget(name_of(gone));
        for (size_t n = 0; n < NAMES; n++)
            for (uint32_t series = 0; series < 40; series++) {
                assert_int_equal(mark_of(name_of(n), series, 80).id, n != gone);
                assert_int_equal(reset_of(name_of(n), series), n != gone ? 9 : 0);
            }
    }
}

/* Two that differ only beyond what fits into a key. */
static void long_names_are_told_apart(void **state) {
    char other[RULE_NAME_BYTES_MAX];
    struct ledger_text name = name_of(7);
    (void)state;
    memcpy(other, longest, sizeof other);
    other[sizeof other - 1] = 'x';
    put_reset(name, 1, 5);
    assert_int_equal(reset_of((struct ledger_text){other, sizeof other}, 1), 0);
    forget((struct ledger_text){other, sizeof other});
    assert_int_equal(reset_of(name, 1), 5);
}

/* The row is the only one there is. */
static void replace_row(const void *data, size_t size) {
    uint8_t bytes[511];
    MDB_val key, value;
    assert_int_equal(mdb_cursor_get(scratch.cursor, &key, &value, MDB_FIRST), 0);
    memcpy(bytes, key.mv_data, key.mv_size); /* it lies in the page that is changed */
    key.mv_data = bytes;
    value = (MDB_val){size, (void *)data};
    assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
}

static void rows_that_are_cut_or_go_on_are_damaged(void **state) {
    static const uint8_t row[] = {1, 2, 3, 0};
    struct mark mark;
    uint64_t id;
    (void)state;
    put_mark(text("r"), 1, 80, (struct mark){1, 2, 3});
    for (size_t size = 0; size <= sizeof row; size++) {
        replace_row(row, size);
        assert_int_equal(marks_find_warned(scratch.txn, scratch.dbi, text("r"), 1, 80, &mark),
                         size == 3 ? 0 : LEDGER_E_DAMAGED);
    }
    forget(text("r"));
    put_reset(text("r"), 1, 5);
    for (size_t size = 0; size < 3; size++) {
        replace_row(row, size);
        assert_int_equal(marks_find_reset(scratch.txn, scratch.dbi, text("r"), 1, &id),
                         size == 1 ? 0 : LEDGER_E_DAMAGED);
    }
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(each_rule_value_and_threshold_has_its_own_mark),
        on_scratch(the_newest_reset_counts_be_it_of_the_value_or_the_rule),
        on_scratch(a_warning_is_no_reset),
        on_scratch(forgetting_a_rule_leaves_those_with_like_names),
        on_scratch(long_names_are_told_apart),
        on_scratch(rows_that_are_cut_or_go_on_are_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
