/* Rebuilding: what was derived and is damaged or gone comes back with the same bytes; what is
 * ledger and gone is told. */
#include "whole.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../../c_src/core/keys.h"
#include "../../c_src/core/rebuild.h"

static struct ledger_finding left[8];
static uint64_t left_count;

static void keep_left(void *context, const struct ledger_finding *finding) {
    (void)context;
    if (left_count < LENGTH(left))
        left[left_count] = *finding;
    left_count++;
    print_message("left out: %s: %s: %s\n", finding->database, finding->key, finding->what);
}

/* Rebuilds into a directory of its own, and opens that. */
static struct ledger *rebuild(struct ledger *ledger, const char *directory) {
    static unsigned made;
    static char path[4096];
    const struct ledger_rebuild_options options = {.left_out = keep_left};
    struct ledger_reader reader;
    struct ledger_failure failure;
    struct ledger *rebuilt;
    uint64_t count;
    snprintf(path, sizeof path, "%s/rebuilt-%u", directory, ++made);
    assert_int_equal(mkdir(path, 0700), 0);
    left_count = 0;
    assert_int_equal(ledger_rebuild(ledger, path, &options, &count, &failure), 0);
    assert_int_equal(count, left_count);
    assert_int_equal(ledger_open_to_read(path, 4, &rebuilt, &reader, &failure), 0);
    return rebuilt;
}

static void assert_same_rows(struct ledger *a, struct ledger *b, enum storage_database database) {
    MDB_txn *txns[2];
    MDB_cursor *cursors[2];
    MDB_val keys[2], values[2];
    struct ledger *ledgers[2] = {a, b};
    int rc[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(storage_read_begin(&ledgers[i]->storage, &txns[i]), 0);
        assert_int_equal(
            mdb_cursor_open(txns[i], ledgers[i]->storage.databases[database], &cursors[i]), 0);
    }
    while (rc[0] == 0) {
        for (int i = 0; i < 2; i++)
            rc[i] = mdb_cursor_get(cursors[i], &keys[i], &values[i], MDB_NEXT);
        assert_int_equal(rc[0], rc[1]);
        if (rc[0] != 0)
            break;
        assert_int_equal(keys[0].mv_size, keys[1].mv_size);
        assert_memory_equal(keys[0].mv_data, keys[1].mv_data, keys[0].mv_size);
        assert_int_equal(values[0].mv_size, values[1].mv_size);
        assert_memory_equal(values[0].mv_data, values[1].mv_data, values[0].mv_size);
    }
    for (int i = 0; i < 2; i++) {
        mdb_cursor_close(cursors[i]);
        storage_read_end(&ledgers[i]->storage, txns[i]);
    }
}

static void assert_same(struct ledger *a, struct ledger *b) {
    for (int database = 0; database < DB_COUNT; database++)
        assert_same_rows(a, b, (enum storage_database)database);
}

/* Takes every row of a kind away (0: of any). */
static size_t empty(struct ledger *ledger, enum storage_database database, uint8_t kind) {
    static struct row row;
    size_t count = 0;
    for (; nth_row(ledger, database, kind, 0, &row); count++)
        delete_raw(ledger, database, row.key);
    return count;
}

static void a_sound_ledger_is_rebuilt_to_the_byte(void **state) {
    struct world world = make_world(*state);
    struct ledger *rebuilt = rebuild(world.ledger, *state);
    assert_int_equal(left_count, 0);
    assert_clean(rebuilt);
    assert_same(world.ledger, rebuilt);
    close_ledger(rebuilt);
    close_ledger(world.ledger);
}

static void what_is_derived_comes_back(void **state) {
    static const struct {
        enum storage_database database;
        uint8_t kind;
    } gone[] = {{DB_SERIES, 0},        {DB_ROLLUPS, 0},
                {DB_HELD, 0},          {DB_NAMES, 1},
                {DB_NAMES, 4},         {DB_NAMES, 5},
                {DB_NAMES, 6},         {DB_NAMES, 7},
                {DB_KEYS, KEY_CLIENT}, {DB_KEYS, KEY_CORRECTED},
                {DB_KEYS, KEY_PRICE}};
    for (size_t i = 0; i < LENGTH(gone); i++) {
        static struct row kept[8];
        char path[4096];
        size_t count = 0;
        snprintf(path, sizeof path, "%s/world-%zu", (char *)*state, i);
        struct world world = make_world(path);
        struct ledger *sound = rebuild(world.ledger, *state);
        /* what clients reserved, or asked for again, stands there alone */
        while (gone[i].kind == KEY_CLIENT && gone[i].database == DB_KEYS && count < LENGTH(kept) &&
               nth_row(world.ledger, DB_KEYS, KEY_CLIENT, count, &kept[count]))
            count++;
        assert_true(empty(world.ledger, gone[i].database, gone[i].kind) > 0);
        for (size_t k = 0; k < count; k++)
            if (kept[k].value_bytes[0] == OPERATION_RESERVE ||
                kept[k].key.mv_size == sizeof "again")
                put_raw(world.ledger, DB_KEYS, kept[k].key, kept[k].value);
        struct ledger *rebuilt = rebuild(world.ledger, *state);
        assert_int_equal(left_count, 0);
        assert_clean(rebuilt);
        assert_same(sound, rebuilt);
        close_ledger(rebuilt);
        close_ledger(sound);
        close_ledger(world.ledger);
    }
}

static void series_get_numbers_anew_where_nothing_tells_them(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    book_many(ledger, "reviewing", 40);
    book_many(ledger, "executing", 40);
    empty(ledger, DB_NAMES, 4);
    empty(ledger, DB_NAMES, 5);
    struct ledger *rebuilt = rebuild(ledger, *state);
    assert_int_equal(left_count, 0);
    assert_clean(rebuilt);
    assert_int_equal(count_of(rebuilt, "executing"), 40);
    close_ledger(rebuilt);
    close_ledger(ledger);
}

/* But for those of live holds, whose shares tell them. */
static void shares_of_holds_keep_their_series(void **state) {
    struct world world = make_world(*state);
    empty(world.ledger, DB_WARNED, 0);
    empty(world.ledger, DB_NAMES, 4);
    empty(world.ledger, DB_NAMES, 5);
    struct ledger *rebuilt = rebuild(world.ledger, *state);
    assert_int_equal(left_count, 0);
    assert_clean(rebuilt);
    assert_same_rows(world.ledger, rebuilt, DB_HOLDS);
    assert_same_rows(world.ledger, rebuilt, DB_HELD);
    close_ledger(rebuilt);
    close_ledger(world.ledger);
}

static void what_is_lost_is_told(void **state) {
    struct world world = make_world(*state);
    static struct row row;
    assert_true(nth_row(world.ledger, DB_PAYLOADS, 0, 0, &row));
    row.value_bytes[20] ^= 1;
    put_raw(world.ledger, DB_PAYLOADS, row.key, row.value);
    assert_true(nth_row(world.ledger, DB_ENTRIES, 0, 3, &row));
    put_raw(world.ledger, DB_ENTRIES, row.key, (MDB_val){3, "\x93\x01\x01"});
    struct ledger *rebuilt = rebuild(world.ledger, *state);
    assert_int_equal(left_count, 2);
    assert_string_equal(left[0].database, "entries");
    assert_int_equal(left[0].id, get_be64(row.key_bytes));
    assert_string_equal(left[1].database, "payloads");
    assert_int_equal(left[1].id, world.recorded);
    assert_int_equal(facts_of(rebuilt).entries + 1, facts_of(world.ledger).entries);
    verify(rebuilt, 0); /* that payload is missing, and nothing else */
    assert_int_equal(found_count, 1);
    assert_true(is_found("payloads", "", "is missing"));
    close_ledger(rebuilt);
    close_ledger(world.ledger);
}

static void a_rebuilt_ledger_opens_and_goes_on(void **state) {
    struct world world = make_world(*state);
    struct ledger *rebuilt = rebuild(world.ledger, *state);
    char path[4096];
    snprintf(path, sizeof path, "%s", rebuilt->storage.options.directory);
    close_ledger(rebuilt);
    close_ledger(world.ledger);
    struct ledger *ledger = open_ledger(path);
    book_many(ledger, "planning", 40);
    assert_int_equal(settle(ledger, world.child, 20), 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_sound_ledger_is_rebuilt_to_the_byte),
        in_directory(what_is_derived_comes_back),
        in_directory(series_get_numbers_anew_where_nothing_tells_them),
        in_directory(shares_of_holds_keep_their_series),
        in_directory(what_is_lost_is_told),
        in_directory(a_rebuilt_ledger_opens_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
