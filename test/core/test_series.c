/* Running totals in blocks, against a plain list. */
#include "support.h"

#include "../../c_src/core/series_internal.h"

#define ITEMS_MAX 4000

struct list {
    size_t count;
    uint64_t ids[ITEMS_MAX];
    struct amounts amounts[ITEMS_MAX];
};

static struct amounts one_invocation(int64_t cost) {
    struct amounts amounts = {0};
    amounts_set(&amounts, COLUMN_INVOCATIONS, 1);
    amounts_set(&amounts, COLUMN_COST, cost);
    return amounts;
}

static struct amounts random_amounts(void) {
    struct amounts amounts = {0};
    int columns = (int)random_below(4) == 0 ? COLUMN_COUNT : 4;
    amounts_set(&amounts, COLUMN_INVOCATIONS, 1);
    for (int column = 1; column < columns; column++)
        if (random_below(2))
            amounts_set(&amounts, column,
                        (int64_t)random_below(ENTRY_AMOUNT_MAX) >> random_below(50));
    return amounts;
}

static void append(struct series_block *block, struct list *list, uint64_t id,
                   const struct amounts *amounts) {
    assert_int_equal(series_append(scratch.txn, scratch.dbi, block, id, amounts), 0);
    list->ids[list->count] = id;
    list->amounts[list->count++] = *amounts;
}

static void load(struct series_block *block, uint32_t series) {
    assert_int_equal(series_load(scratch.txn, scratch.dbi, series, block), 0);
}

static void store(struct series_block *block) {
    assert_int_equal(series_store(scratch.txn, scratch.dbi, block), 0);
}

static void assert_totals_before(const struct list *list, uint32_t series, uint64_t before) {
    struct totals expected = {0}, totals;
    memset(&totals, 0x5a, sizeof totals);
    for (size_t i = 0; i < list->count && list->ids[i] < before; i++)
        totals_add(&expected, &list->amounts[i]);
    assert_int_equal(series_totals_before(scratch.cursor, series, before, &totals), 0);
    assert_memory_equal(&totals, &expected, sizeof totals);
}

/* Of some columns: the others may say anything. */
static void assert_columns_before(const struct list *list, uint32_t series, uint64_t before) {
    struct totals expected = {0}, totals;
    uint64_t columns = random_word() & random_word();
    for (size_t i = 0; i < list->count && list->ids[i] < before; i++)
        totals_add(&expected, &list->amounts[i]);
    assert_int_equal(series_columns_before(scratch.cursor, series, before, columns, &totals), 0);
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (columns & UINT64_C(1) << column)
            assert_true(totals.column[column] == expected.column[column]);
}

/* The items between the bounds, in either direction, and nothing after the last. */
static void assert_walk_between(const struct list *list, uint32_t series, bool forward,
                                uint64_t since, uint64_t until) {
    const struct series_item *item;
    struct series_walk walk;
    series_walk_start(&walk, scratch.cursor, series, forward, since, until);
    for (size_t i = 0; i < list->count; i++) {
        size_t at = forward ? i : list->count - 1 - i;
        const struct amounts *amounts = &list->amounts[at];
        if (list->ids[at] < since || list->ids[at] >= until)
            continue;
        assert_int_equal(series_walk_next(&walk, &item), 0);
        assert_int_equal(item->id, list->ids[at]);
        assert_true(item->mask == amounts->mask);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(series_walk_next(&walk, &item), MDB_NOTFOUND);
}

static void assert_walk(const struct list *list, uint32_t series, uint64_t before) {
    assert_walk_between(list, series, false, 0, before);
    assert_walk_between(list, series, true, 0, before);
}

static size_t block_count(void) {
    MDB_stat stat;
    assert_int_equal(mdb_stat(scratch.txn, scratch.dbi, &stat), 0);
    return stat.ms_entries;
}

/* At every id of the list, and one off it to both sides. */
static void assert_all_points(const struct list *list, uint32_t series) {
    assert_totals_before(list, series, 0);
    assert_totals_before(list, series, UINT64_MAX);
    for (size_t i = 0; i < list->count; i++) {
        assert_totals_before(list, series, list->ids[i] - 1);
        assert_totals_before(list, series, list->ids[i]);
        assert_columns_before(list, series, list->ids[i]);
        assert_totals_before(list, series, list->ids[i] + 1);
    }
}

static void a_series_without_entries_is_zero(void **state) {
    static const struct list empty;
    struct series_block block;
    (void)state;
    load(&block, 3);
    assert_int_equal(block.count, 0);
    store(&block);
    assert_int_equal(block_count(), 0);
    assert_totals_before(&empty, 3, UINT64_MAX);
    assert_walk(&empty, 3, UINT64_MAX);
}

static void totals_are_exact_at_the_edge_of_32_items(void **state) {
    static struct list list;
    struct series_block block;
    struct amounts amounts = one_invocation(10);
    (void)state;
    load(&block, 1);
    for (uint64_t i = 0; i < 3 * SERIES_BLOCK_ITEMS + 1; i++) {
        append(&block, &list, 1000 + 10 * i, &amounts);
        store(&block);
        assert_int_equal(block_count(), i / SERIES_BLOCK_ITEMS + 1);
        assert_all_points(&list, 1);
    }
    assert_walk(&list, 1, UINT64_MAX);
}

static void totals_are_exact_where_a_block_is_full_of_bytes(void **state) {
    static struct list list;
    struct series_block block;
    (void)state;
    load(&block, 1);
    for (uint64_t i = 0; i < 100; i++) {
        struct amounts amounts = {0};
        for (int column = 0; column < COLUMN_COUNT; column++)
            amounts_set(&amounts, column, ENTRY_AMOUNT_MAX - (int64_t)i);
        append(&block, &list, START_US + (i << 40), &amounts);
        assert_true(block.size <= SERIES_BLOCK_BYTES);
    }
    store(&block);
    assert_true(block_count() > 100 / SERIES_BLOCK_ITEMS + 1);
    assert_all_points(&list, 1);
    assert_walk(&list, 1, UINT64_MAX);
}

/* Large items until little room is left, then items of each length until the next block: in one
 * of the rows the last item ends exactly at the limit. */
static size_t fill_blocks(uint32_t series, int64_t first_cost, int64_t cost) {
    static struct list list;
    struct series_block block;
    struct amounts small = one_invocation(cost), first = one_invocation(first_cost);
    uint64_t id = (uint64_t)START_US;
    size_t largest = 0;
    list.count = 0;
    load(&block, series);
    append(&block, &list, id++, &first);
    for (int columns = COLUMN_COUNT; columns > 10; columns /= 2)
        while (block.size < SERIES_BLOCK_BYTES - 10 * (size_t)columns) {
            struct amounts amounts = {0};
            for (int column = 0; column < columns; column++)
                amounts_set(&amounts, column, ENTRY_AMOUNT_MAX);
            append(&block, &list, id++, &amounts);
        }
    while (block.first_id == list.ids[0]) {
        largest = block.size;
        append(&block, &list, id++, &small);
    }
    store(&block);
    assert_all_points(&list, series);
    return largest;
}

static void a_block_may_have_exactly_2000_bytes(void **state) {
    size_t largest = 0;
    uint32_t series = 0;
    (void)state;
    for (int64_t first = 1; first <= ENTRY_AMOUNT_MAX; first *= 128)
        for (int64_t cost = 1; cost <= ENTRY_AMOUNT_MAX; cost *= 128) {
            size_t size = fill_blocks(++series, first, cost);
            largest = size > largest ? size : largest;
        }
    assert_int_equal(largest, SERIES_BLOCK_BYTES);
}

/* Neighbours before and behind it must not be walked into, nor a block be left out that begins
 * before the first bound. */
static void a_walk_keeps_to_its_bounds_in_both_directions(void **state) {
    static struct list list;
    static const struct list empty;
    struct series_block block, neighbours[2];
    uint64_t id = 100;
    (void)state;
    list.count = 0;
    load(&block, 5);
    load(&neighbours[0], 4);
    load(&neighbours[1], 6);
    for (size_t i = 0; i < 5 * SERIES_BLOCK_ITEMS + 7; i++) {
        struct amounts amounts = random_amounts();
        append(&block, &list, id, &amounts);
        for (int k = 0; k < 2; k++)
            assert_int_equal(series_append(scratch.txn, scratch.dbi, &neighbours[k], id, &amounts),
                             0);
        id += 1 + random_below(3);
    }
    store(&block);
    store(&neighbours[0]);
    store(&neighbours[1]);
    for (size_t i = rounds(4000); i > 0; i--) {
        uint64_t since = random_below(8) ? 95 + random_below(id - 90) : 0;
        uint64_t until = random_below(8) ? 95 + random_below(id - 90) : UINT64_MAX;
        assert_walk_between(&list, 5, random_below(2), since, until);
    }
    for (size_t i = 0; i < list.count; i++)
        for (int forward = 0; forward < 2; forward++) {
            assert_walk_between(&list, 5, forward, list.ids[i], list.ids[i] + 1);
            assert_walk_between(&list, 5, forward, list.ids[i], list.ids[i]);
            assert_walk_between(&list, 5, forward, list.ids[i], UINT64_MAX);
            assert_walk_between(&list, 5, forward, 0, list.ids[i]);
            assert_walk_between(&empty, 3, forward, list.ids[i], UINT64_MAX);
            assert_walk_between(&empty, 7, forward, 0, list.ids[i]);
        }
    assert_walk_between(&list, 5, true, UINT64_MAX, UINT64_MAX);
    assert_walk_between(&list, 5, false, UINT64_MAX, UINT64_MAX);
}

/* Three series in one database, appended to in turn, stored and loaded again at random. */
static void interleaved_series_do_not_mix(void **state) {
    static struct list lists[3];
    static const uint32_t numbers[3] = {0, 1, 0xffffffff};
    struct series_block blocks[3];
    uint64_t id = 1;
    (void)state;
    for (int i = 0; i < 3; i++)
        load(&blocks[i], numbers[i]);
    for (size_t i = rounds(3000); i > 0; i--) {
        size_t which = random_below(3);
        struct amounts amounts = random_amounts();
        id += 1 + (random_word() >> (14 + random_below(50))) % (UINT64_C(1) << 48);
        append(&blocks[which], &lists[which], id, &amounts);
        if (random_below(10) == 0) {
            store(&blocks[which]);
            load(&blocks[which], numbers[which]);
        }
    }
    for (int i = 0; i < 3; i++) {
        store(&blocks[i]);
        assert_walk(&lists[i], numbers[i], UINT64_MAX);
        for (size_t n = rounds(1000); n > 0; n--) {
            uint64_t near = lists[i].count == 0 ? 0 : lists[i].ids[random_below(lists[i].count)];
            uint64_t before = random_below(2) ? random_below(id + 2) : near + random_below(3) - 1;
            assert_totals_before(&lists[i], numbers[i], before);
            if (n % 10 == 0)
                assert_walk(&lists[i], numbers[i], before);
        }
    }
    static const struct list empty;
    assert_totals_before(&empty, 2, UINT64_MAX);
    assert_walk(&empty, 2, UINT64_MAX);
}

static void a_reloaded_block_goes_on_as_if_it_had_stayed(void **state) {
    static struct list kept, reloaded;
    struct series_block a, b;
    uint64_t id = 5;
    (void)state;
    load(&a, 1);
    load(&b, 2);
    for (size_t i = 0; i < 300; i++) {
        struct amounts amounts = random_amounts();
        id += 1 + random_below(1000);
        append(&a, &kept, id, &amounts);
        append(&b, &reloaded, id, &amounts);
        store(&b);
        load(&b, 2);
        assert_int_equal(a.count, b.count);
        assert_int_equal(a.size, b.size);
        assert_int_equal(a.last_id, b.last_id);
        assert_memory_equal(a.value + 1, b.value + 1, a.size - 1);
        assert_memory_equal(&a.totals, &b.totals, sizeof a.totals);
    }
}

static void an_unchanged_block_is_not_written(void **state) {
    static struct list list;
    struct series_block block;
    struct amounts amounts = one_invocation(1);
    (void)state;
    load(&block, 1);
    append(&block, &list, 9, &amounts);
    store(&block);
    assert_int_equal(mdb_drop(scratch.txn, scratch.dbi, 0), 0);
    store(&block);
    assert_int_equal(block_count(), 0);
}

static void a_walk_tells_what_is_no_invocation_by_its_columns(void **state) {
    static struct list list;
    const struct series_item *item;
    struct series_block block;
    struct series_walk walk;
    struct amounts run = {0}, invocation_amounts = one_invocation(1);
    (void)state;
    amounts_set(&run, COLUMN_RUNS, 1);
    load(&block, 1);
    append(&block, &list, 10, &invocation_amounts);
    for (uint64_t i = 0; i < 100; i++)
        append(&block, &list, 11 + i, &run);
    store(&block);
    series_walk_start(&walk, scratch.cursor, 1, true, 0, UINT64_MAX);
    assert_int_equal(series_walk_next(&walk, &item), 0);
    assert_int_equal(item->id, 10);
    assert_true(item->mask == (UINT64_C(1) << COLUMN_INVOCATIONS | UINT64_C(1) << COLUMN_COST));
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(series_walk_next(&walk, &item), 0);
        assert_int_equal(item->id, 11 + i);
        assert_true(item->mask == UINT64_C(1) << COLUMN_RUNS);
    }
    assert_int_equal(series_walk_next(&walk, &item), MDB_NOTFOUND);
    assert_walk(&list, 1, UINT64_MAX);
}

/* ---- extremes ------------------------------------------------------------------------------ */

#define DAY_US UINT64_C(86400000000)

static void assert_same_extremes(const struct extremes *found, const struct extremes *expected) {
    for (int measure = 0; measure < EXTREMES_MEASURES; measure++) {
        assert_int_equal(found[measure].any, expected[measure].any);
        assert_int_equal(found[measure].min, expected[measure].min);
        assert_int_equal(found[measure].max, expected[measure].max);
    }
}

static void add_extremes(const struct list *list, uint64_t since, uint64_t until,
                         struct extremes *expected) {
    for (size_t i = 0; i < list->count; i++)
        if (list->ids[i] >= since && list->ids[i] < until)
            extremes_add(expected, &list->amounts[i]);
}

static void assert_extremes(const struct list *list, uint32_t series, uint64_t since,
                            uint64_t until) {
    struct extremes found[EXTREMES_MEASURES] = {{0}}, expected[EXTREMES_MEASURES] = {{0}};
    add_extremes(list, since, until, expected);
    assert_int_equal(series_extremes(scratch.cursor, series, since, until, found), 0);
    assert_same_extremes(found, expected);
}

static uint64_t some_id(const struct list *list) {
    return list->ids[random_below(list->count)] + random_below(3) - 1;
}

static void fill_days(struct list *list, uint64_t apart_us) {
    struct series_block block;
    uint64_t id = START_US;
    list->count = 0;
    load(&block, 1);
    while (list->count < ITEMS_MAX) {
        struct amounts amounts = random_amounts();
        if (random_below(3) == 0) { /* a run */
            amounts.mask &= ~(UINT64_C(1) << COLUMN_INVOCATIONS | UINT64_C(1) << COLUMN_UNPRICED);
            amounts_set(&amounts, COLUMN_RUNS, 1);
            amounts_set(&amounts, COLUMN_RUNS_DURATION_MS, (int64_t)random_below(1000000));
        }
        append(&block, list, id, &amounts);
        if (random_below(5) == 0) { /* as the next batch would find it */
            store(&block);
            load(&block, 1);
        }
        id += 1 + random_below(2 * apart_us);
    }
    store(&block);
}

/* Many blocks of one day, some of many days, and days of a block each. */
static void extremes_are_those_of_every_item_between(void **state) {
    static const uint64_t apart_us[] = {5, DAY_US / 700, DAY_US / 20};
    static struct list list;
    static const struct list empty;
    for (size_t i = 0; i < LENGTH(apart_us); i++) {
        fill_days(&list, apart_us[i]);
        for (size_t round = rounds(3000); round > 0; round--) {
            uint64_t a = some_id(&list), b = some_id(&list);
            assert_extremes(&list, 1, a < b ? a : b, a < b ? b : a);
        }
        assert_extremes(&list, 1, 0, UINT64_MAX);
        assert_extremes(&list, 1, list.ids[5], list.ids[5]);
        assert_extremes(&empty, 2, 0, UINT64_MAX);
        assert_int_equal(remove_scratch(state), 0);
        assert_int_equal(make_scratch(state), 0);
    }
}

/* Block n of a day leads to block n - 2^k, and tells what lies between. */
static void every_block_skips_as_far_as_its_number_says(void **state) {
    static struct list list;
    static uint64_t first_ids[ITEMS_MAX];
    size_t number = 0, far = 0;
    struct block_reader reader;
    MDB_val key, value;
    (void)state;
    fill_days(&list, DAY_US / 1500);
    assert_int_equal(mdb_cursor_get(scratch.cursor, &key, &value, MDB_FIRST), 0);
    do {
        struct series_skip skip;
        struct series_key at;
        struct extremes expected[EXTREMES_MEASURES] = {{0}};
        assert_int_equal(series_read_key(key, &at), 0);
        bool is_new_day = number == 0 || at.first_id / DAY_US != first_ids[0] / DAY_US;
        number = is_new_day ? 0 : number;
        first_ids[number] = at.first_id;
        series_begin_block(&reader, at.first_id, value, NULL, &skip);
        assert_false(reader.bytes.damaged);
        assert_int_equal(skip.number, number);
        if (number > 0) {
            size_t back = number & -number;
            assert_int_equal(skip.to, first_ids[number - back]);
            add_extremes(&list, skip.to, at.first_id, expected);
            assert_same_extremes(skip.extremes, expected);
            far += back >= 8;
        }
        number++;
    } while (mdb_cursor_get(scratch.cursor, &key, &value, MDB_NEXT) == 0);
    assert_true(far > 0);
}

static ledger_sum cost_of(const void *context, const struct totals *totals) {
    assert_ptr_equal(context, &scratch);
    return totals->column[COLUMN_COST];
}

/* The first id from `low` on with which the cost reaches the goal. */
static uint64_t reach_by_counting(const struct list *list, ledger_sum goal, uint64_t low,
                                  uint64_t high) {
    ledger_sum cost = 0;
    for (size_t i = 0; i < list->count && list->ids[i] < high; i++) {
        if (list->amounts[i].mask & UINT64_C(1) << COLUMN_COST)
            cost += list->amounts[i].column[COLUMN_COST];
        if (cost >= goal && list->ids[i] >= low)
            return list->ids[i];
    }
    return high;
}

static void a_goal_is_reached_where_counting_reaches_it(void **state) {
    static struct list list;
    struct series_block block, neighbours[2];
    uint64_t id = (uint64_t)START_US, found;
    ledger_sum sum = 0;
    (void)state;
    list.count = 0;
    load(&block, 5);
    load(&neighbours[0], 4);
    load(&neighbours[1], 6);
    for (size_t i = rounds(1500) + 100; i > 0; i--) {
        struct amounts amounts = one_invocation(random_below(3) ? 0 : (int64_t)random_below(100));
        append(&block, &list, id += 1 + random_below(3000), &amounts);
        sum += amounts.mask & UINT64_C(1) << COLUMN_COST ? amounts.column[COLUMN_COST] : 0;
        for (int k = 0; k < 2; k++)
            assert_int_equal(series_append(scratch.txn, scratch.dbi, &neighbours[k], id, &amounts),
                             0);
    }
    store(&block);
    store(&neighbours[0]);
    store(&neighbours[1]);
    for (size_t i = rounds(4000); i > 0; i--) {
        size_t from = random_below(list.count);
        uint64_t low = random_below(2) ? 0 : list.ids[from] + random_below(2);
        uint64_t high = random_below(2) ? UINT64_MAX : list.ids[random_below(list.count)] + 1;
        struct totals below;
        assert_int_equal(series_totals_before(scratch.cursor, 5, low, &below), 0);
        /* what is not reached before it begins */
        ledger_sum goal = below.column[COLUMN_COST] + 1 +
                          (ledger_sum)random_below((uint64_t)(sum - below.column[COLUMN_COST]) + 9);
        assert_int_equal(
            series_reach(scratch.cursor, 5, cost_of, &scratch, goal, low, high, &found), 0);
        uint64_t expected = reach_by_counting(&list, goal, low, high);
        assert_int_equal(found, expected < high ? expected : high);
    }
    assert_int_equal(series_reach(scratch.cursor, 9, cost_of, &scratch, 1, 0, 77, &found), 0);
    assert_int_equal(found, 77);
}

static void put_block(uint32_t series, const void *bytes, size_t size) {
    uint8_t key_bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof key_bytes, key_bytes}, value = {size, (void *)bytes};
    put_be32(key_bytes, series);
    put_be64(key_bytes + 4, 100);
    assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
}

static bool damage_is_seen; /* by every reader that looked at it */

/* What is passed over (amounts of other columns, a skip that is not followed) is not checked. */
static void see_result(int rc_of_all, int rc) {
    if (rc == 0 && rc_of_all == LEDGER_E_DAMAGED)
        damage_is_seen = false;
    else
        assert_int_equal(rc, rc_of_all);
}

static int every_reader(uint32_t series) {
    struct series_block block;
    struct series_walk walk;
    struct totals totals;
    const struct series_item *item;
    struct extremes extremes[EXTREMES_MEASURES] = {{0}};
    struct series_contents contents;
    struct series_key at;
    MDB_val key, value;
    int rc = series_load(scratch.txn, scratch.dbi, series, &block);
    see_result(rc, series_totals_before(scratch.cursor, series, UINT64_MAX, &totals));
    for (int forward = 0; forward < 2; forward++) {
        int rc_walk;
        series_walk_start(&walk, scratch.cursor, series, forward, 0, UINT64_MAX);
        while ((rc_walk = series_walk_next(&walk, &item)) == 0)
            ;
        see_result(rc, rc_walk == MDB_NOTFOUND ? 0 : rc_walk);
    }
    see_result(rc, series_load_before(scratch.cursor, series, UINT64_MAX, &block));
    /* It also follows the skip, which may lead nowhere. */
    int rc_extremes = series_extremes(scratch.cursor, series, 0, UINT64_MAX, extremes);
    assert_true(rc_extremes == 0 || rc_extremes == LEDGER_E_DAMAGED);
    key = (MDB_val){0};
    assert_int_equal(mdb_cursor_get(scratch.cursor, &key, &value, MDB_LAST), 0);
    assert_int_equal(series_read_key(key, &at), 0);
    if (at.series == series)
        assert_int_equal(series_read_block(at.first_id, value, &contents), rc);
    return rc;
}

static void assert_damaged(uint32_t series) {
    damage_is_seen = true;
    assert_int_equal(every_reader(series), LEDGER_E_DAMAGED);
    assert_true(damage_is_seen);
}

static void bytes_that_are_no_block_are_damage(void **state) {
    static const uint8_t none[] = {0, 0}, many[] = {33, 0}, empty[] = {1}, column[] = {1, 0x80};
    uint8_t longer[SERIES_BLOCK_BYTES + 1] = {1};
    struct series_block block;
    (void)state;
    put_block(1, none, sizeof none);
    assert_damaged(1);
    put_block(1, many, sizeof many);
    assert_damaged(1);
    put_block(1, empty, sizeof empty);
    assert_damaged(1);
    put_block(1, column, sizeof column);
    assert_damaged(1);
    put_block(1, longer, sizeof longer);
    assert_int_equal(series_load(scratch.txn, scratch.dbi, 1, &block), LEDGER_E_DAMAGED);
}

static void a_block_cut_short_or_too_long_is_damage(void **state) {
    static struct list list;
    struct series_block block;
    struct amounts amounts = one_invocation(1000);
    (void)state;
    load(&block, 1);
    for (uint64_t i = 0; i < 5; i++)
        append(&block, &list, 100 + i, &amounts);
    block.value[0] = block.count;
    for (size_t cut = 0; cut < block.size; cut++) {
        put_block(2, block.value, cut);
        assert_damaged(2);
    }
    put_block(2, block.value, block.size);
    assert_int_equal(every_reader(2), 0);
    block.value[block.size] = 0; /* one byte more would become an item with the next one */
    put_block(2, block.value, block.size + 1);
    assert_damaged(2);
}

static void random_bytes_are_read_without_harm(void **state) {
    uint8_t bytes[200];
    (void)state;
    for (size_t i = rounds(20000); i > 0; i--) {
        size_t size = 1 + random_below(sizeof bytes);
        for (size_t at = 0; at < size; at++)
            bytes[at] = (uint8_t)(random_word() >> random_below(8));
        bytes[0] = (uint8_t)random_below(SERIES_BLOCK_ITEMS + 2);
        if (random_below(2))
            bytes[0] |= SERIES_HAS_SKIP;
        if (random_below(2)) /* no sums, so that more of what follows is reached */
            bytes[1] = 0;
        put_block(1, bytes, size);
        every_reader(1);
    }
}

/* No number of a day is so large; and the next block would have none. */
static void a_skip_with_a_number_beyond_its_day_is_damage(void **state) {
    uint8_t bytes[64] = {SERIES_HAS_SKIP | 1, 0};
    (void)state;
    for (int beyond = 0; beyond < 2; beyond++) {
        size_t size = 2 + put_varint(bytes + 2, SERIES_DAY_US - (beyond ? 0 : 1));
        bytes[size++] = 1; /* one microsecond back */
        bytes[size++] = 0; /* no extremes */
        bytes[size++] = 0; /* an item */
        bytes[size++] = 0;
        put_block(1, bytes, size);
        assert_int_equal(every_reader(1), beyond ? LEDGER_E_DAMAGED : 0);
    }
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(extremes_are_those_of_every_item_between),
        on_scratch(every_block_skips_as_far_as_its_number_says),
        on_scratch(a_series_without_entries_is_zero),
        on_scratch(totals_are_exact_at_the_edge_of_32_items),
        on_scratch(totals_are_exact_where_a_block_is_full_of_bytes),
        on_scratch(a_block_may_have_exactly_2000_bytes),
        on_scratch(a_walk_keeps_to_its_bounds_in_both_directions),
        on_scratch(interleaved_series_do_not_mix),
        on_scratch(a_reloaded_block_goes_on_as_if_it_had_stayed),
        on_scratch(an_unchanged_block_is_not_written),
        on_scratch(a_walk_tells_what_is_no_invocation_by_its_columns),
        on_scratch(a_goal_is_reached_where_counting_reaches_it),
        on_scratch(bytes_that_are_no_block_are_damage),
        on_scratch(a_block_cut_short_or_too_long_is_damage),
        on_scratch(random_bytes_are_read_without_harm),
        on_scratch(a_skip_with_a_number_beyond_its_day_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
