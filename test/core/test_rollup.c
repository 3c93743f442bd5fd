/* Sums and extremes per hour and day. */
#include "support.h"

#include "../../c_src/core/rollup.h"

#define HOUR_US (HOUR_MS * 1000)

static struct rollup load(uint32_t series, enum rollup_granularity granularity, uint64_t id) {
    struct rollup rollup;
    assert_int_equal(rollup_load(scratch.txn, scratch.dbi, series, granularity,
                                 rollup_period(granularity, id), &rollup),
                     0);
    return rollup;
}

static void add(struct rollup *rollup, uint64_t id, int64_t cost, int64_t duration_ms) {
    struct ledger_entry entry = invocation("executing");
    struct amounts amounts;
    entry.id = id;
    entry.duration_ms = duration_ms;
    entry.cost = cost;
    entry.given = cost < 0 ? 0 : ENTRY_COST;
    entry_amounts(&entry, NULL, &amounts);
    assert_int_equal(rollup_add(scratch.txn, scratch.dbi, rollup, id, &amounts), 0);
}

static void store(struct rollup *rollup) {
    assert_int_equal(rollup_store(scratch.txn, scratch.dbi, rollup), 0);
}

static void an_empty_period_is_zero(void **state) {
    struct rollup rollup = load(1, ROLLUP_HOUR, START_US);
    (void)state;
    assert_true(rollup.totals.column[COLUMN_INVOCATIONS] == 0);
    assert_false(rollup.extremes[EXTREMES_COST].any);
}

static void a_period_keeps_sum_and_extremes(void **state) {
    struct rollup rollup = load(1, ROLLUP_HOUR, START_US);
    (void)state;
    add(&rollup, START_US, 50, 7);
    add(&rollup, START_US + 1, 20, ENTRY_AMOUNT_MAX);
    add(&rollup, START_US + 2, -1, 3);
    add(&rollup, START_US + 3, 30, 9);
    store(&rollup);
    rollup = load(1, ROLLUP_HOUR, START_US);
    assert_true(rollup.totals.column[COLUMN_INVOCATIONS] == 4);
    assert_true(rollup.totals.column[COLUMN_COST] == 100);
    assert_int_equal(rollup.extremes[EXTREMES_COST].min, 20);
    assert_int_equal(rollup.extremes[EXTREMES_COST].max, 50);
    assert_int_equal(rollup.extremes[EXTREMES_DURATION].min, 3);
    assert_int_equal(rollup.extremes[EXTREMES_DURATION].max, ENTRY_AMOUNT_MAX);
}

static void without_a_price_there_is_no_cheapest(void **state) {
    struct rollup rollup = load(1, ROLLUP_DAY, START_US);
    (void)state;
    add(&rollup, START_US, -1, 7);
    store(&rollup);
    rollup = load(1, ROLLUP_DAY, START_US);
    assert_false(rollup.extremes[EXTREMES_COST].any);
    assert_true(rollup.extremes[EXTREMES_DURATION].any);
}

static void a_period_ends_at_its_last_microsecond(void **state) {
    uint64_t hour = (uint64_t)START_US / HOUR_US * HOUR_US;
    uint64_t day = (uint64_t)START_US / (24 * HOUR_US) * (24 * HOUR_US);
    struct rollup hours = load(1, ROLLUP_HOUR, hour), days = load(1, ROLLUP_DAY, day);
    (void)state;
    add(&hours, hour + HOUR_US - 1, 1, 1);
    add(&hours, hour + HOUR_US, 2, 2);
    add(&days, day + 24 * HOUR_US - 1, 1, 1);
    add(&days, day + 24 * HOUR_US, 2, 2);
    store(&hours);
    store(&days);
    assert_true(load(1, ROLLUP_HOUR, hour).totals.column[COLUMN_COST] == 1);
    assert_true(load(1, ROLLUP_HOUR, hour + HOUR_US).totals.column[COLUMN_COST] == 2);
    assert_true(load(1, ROLLUP_DAY, day).totals.column[COLUMN_COST] == 1);
    assert_true(load(1, ROLLUP_DAY, day + 24 * HOUR_US).totals.column[COLUMN_COST] == 2);
}

static void a_period_left_and_met_again_goes_on(void **state) {
    struct rollup rollup = load(1, ROLLUP_HOUR, START_US);
    (void)state;
    add(&rollup, START_US, 1, 1);
    add(&rollup, START_US + HOUR_US, 10, 1);
    store(&rollup);
    rollup = load(1, ROLLUP_HOUR, START_US);
    add(&rollup, START_US + 1, 2, 1);
    store(&rollup);
    assert_true(load(1, ROLLUP_HOUR, START_US).totals.column[COLUMN_COST] == 3);
}

static void series_and_granularities_do_not_mix(void **state) {
    struct rollup rollup = load(1, ROLLUP_HOUR, START_US);
    (void)state;
    add(&rollup, START_US, 1, 1);
    store(&rollup);
    assert_true(load(2, ROLLUP_HOUR, START_US).totals.column[COLUMN_COST] == 0);
    assert_true(load(1, ROLLUP_DAY, START_US).totals.column[COLUMN_COST] == 0);
}

static void a_row_cut_short_or_too_long_is_damage(void **state) {
    struct rollup rollup = load(1, ROLLUP_HOUR, START_US);
    uint8_t longer[512];
    MDB_val key, value, cut;
    (void)state;
    add(&rollup, START_US, 5, 5);
    store(&rollup);
    assert_int_equal(mdb_cursor_get(scratch.cursor, &key, &value, MDB_FIRST), 0);
    size_t size = value.mv_size;
    uint8_t key_bytes[ROLLUP_KEY_BYTES];
    memcpy(longer, value.mv_data, size);
    memcpy(key_bytes, key.mv_data, sizeof key_bytes);
    longer[size] = 0;
    for (size_t length = 0; length <= size + 1; length++) {
        key = (MDB_val){sizeof key_bytes, key_bytes};
        cut = (MDB_val){length, longer};
        assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &cut, 0), 0);
        assert_int_equal(rollup_load(scratch.txn, scratch.dbi, 1, ROLLUP_HOUR,
                                     rollup_period(ROLLUP_HOUR, START_US), &rollup),
                         length == size ? 0 : LEDGER_E_DAMAGED);
    }
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(an_empty_period_is_zero),
        on_scratch(a_period_keeps_sum_and_extremes),
        on_scratch(without_a_price_there_is_no_cheapest),
        on_scratch(a_period_ends_at_its_last_microsecond),
        on_scratch(a_period_left_and_met_again_goes_on),
        on_scratch(series_and_granularities_do_not_mix),
        on_scratch(a_row_cut_short_or_too_long_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
