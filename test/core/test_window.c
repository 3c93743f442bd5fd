/* Use of a rolling window, for statistics, against brute force. */
#include "support.h"

#include "../../c_src/core/series.h"
#include "../../c_src/core/window.h"

static struct series_block block;
static size_t count;
static uint64_t ids[5000];

static int set_up(void **state) {
    if (make_scratch(state) != 0)
        return -1;
    count = 0;
    return series_load(scratch.txn, scratch.dbi, 1, &block);
}

static void add(uint64_t id) {
    struct amounts amounts = {0};
    amounts_set(&amounts, COLUMN_INVOCATIONS, 1);
    assert_int_equal(series_append(scratch.txn, scratch.dbi, &block, id, &amounts), 0);
    ids[count++] = id;
}

static void add_done(void) {
    assert_int_equal(series_store(scratch.txn, scratch.dbi, &block), 0);
}

static uint64_t use_of(int64_t now_us, uint64_t window_ms) {
    struct totals now;
    ledger_sum use;
    assert_int_equal(series_totals_now(scratch.cursor, 1, &now), 0);
    assert_int_equal(
        window_use(scratch.cursor, 1, COLUMN_INVOCATIONS, &now, now_us, window_ms, &use), 0);
    return (uint64_t)use;
}

/* id >= (now_ms - window_ms) * 1000, counted one by one. */
static uint64_t use_by_counting(int64_t now_us, uint64_t window_ms) {
    uint64_t use = 0;
    for (size_t i = 0; i < count; i++)
        use += (__int128)ids[i] >= ((__int128)(now_us / 1000) - window_ms) * 1000;
    return use;
}

static void a_window_holds_an_entry_to_the_millisecond(void **state) {
    int64_t booked = START_US + 123;
    (void)state;
    add((uint64_t)booked);
    add_done();
    assert_int_equal(use_of(booked, HOUR_MS), 1);
    int64_t last_ms = START_US / 1000 + (int64_t)HOUR_MS;
    assert_int_equal(use_of(last_ms * 1000 + 999, HOUR_MS), 1);
    assert_int_equal(use_of((last_ms + 1) * 1000, HOUR_MS), 0);
}

static void an_empty_series_has_no_use(void **state) {
    (void)state;
    assert_int_equal(use_of(START_US, HOUR_MS), 0);
}

static void a_window_has_no_upper_bound(void **state) {
    (void)state;
    add((uint64_t)START_US + 5000000);
    add_done();
    assert_int_equal(use_of(START_US, HOUR_MS), 1);
}

static void a_window_longer_than_time_begins_at_zero(void **state) {
    (void)state;
    add(1);
    add_done();
    assert_int_equal(window_start(5000, HOUR_MS), 0);
    assert_int_equal(use_of(5000, HOUR_MS), 1);
}

static void the_longest_window_does_not_overflow(void **state) {
    uint64_t longest = (uint64_t)ENTRY_AMOUNT_MAX;
    (void)state;
    add((uint64_t)START_US);
    add_done();
    assert_int_equal(use_of(START_US, longest), 1);
}

static void use_equals_brute_force(void **state) {
    static const uint64_t windows[] = {1, 7, 1000, MINUTE_MS, HOUR_MS, DAY_MS};
    uint64_t id = (uint64_t)START_US;
    (void)state;
    for (size_t i = rounds(3000); i > 0; i--) {
        id += 1 + random_below(UINT64_C(1) << random_below(28));
        add(id);
    }
    add_done();
    for (size_t i = rounds(5000); i > 0; i--) {
        uint64_t window = windows[random_below(LENGTH(windows))];
        uint64_t near = ids[random_below(count)] + (random_below(2) ? window * 1000 : 0);
        int64_t now = (int64_t)(near + random_below(4000) - 2000);
        assert_int_equal(use_of(now, window), use_by_counting(now, window));
    }
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, set_up, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(a_window_holds_an_entry_to_the_millisecond),
        on_scratch(an_empty_series_has_no_use),
        on_scratch(a_window_has_no_upper_bound),
        on_scratch(a_window_longer_than_time_begins_at_zero),
        on_scratch(the_longest_window_does_not_overflow),
        on_scratch(use_equals_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
