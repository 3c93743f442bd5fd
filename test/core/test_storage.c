/* The environment: the file that it makes is LMDB's, in LMDB's own order. */
#include "support.h"

#define KEYS 3000
#define KEY_BYTES_MAX 20

/* Keys that differ late, early, in their length alone, or in a byte above 0x7f. */
static size_t random_key(uint8_t bytes[KEY_BYTES_MAX]) {
    size_t size = 1 + random_below(KEY_BYTES_MAX);
    for (size_t i = 0; i < size; i++)
        bytes[i] = random_below(4) ? 0 : (uint8_t)random_word();
    return size;
}

static void put_random_keys(struct ledger *ledger, enum storage_database database) {
    MDB_txn *txn;
    assert_int_equal(mdb_txn_begin(ledger->storage.env, NULL, 0, &txn), 0);
    for (size_t i = 0; i < KEYS; i++) {
        uint8_t bytes[KEY_BYTES_MAX];
        MDB_val key = {random_key(bytes), bytes}, value = key;
        assert_int_equal(mdb_put(txn, ledger->storage.databases[database], &key, &value, 0), 0);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static bool in_order(MDB_val a, MDB_val b) {
    size_t common = a.mv_size < b.mv_size ? a.mv_size : b.mv_size;
    int order = memcmp(a.mv_data, b.mv_data, common);
    return order < 0 || (order == 0 && a.mv_size < b.mv_size);
}

/* Every key comes after the one before, and is found: by LMDB alone. */
static void check_order(MDB_txn *txn, const char *name) {
    MDB_cursor *cursor;
    MDB_val key, value, before = {0}, found;
    MDB_stat stat;
    MDB_dbi dbi;
    size_t count = 0;
    assert_int_equal(mdb_dbi_open(txn, name, 0, &dbi), 0);
    assert_int_equal(mdb_stat(txn, dbi, &stat), 0);
    assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; count++) {
        assert_true(count == 0 || in_order(before, key));
        assert_int_equal(mdb_get(txn, dbi, &key, &found), 0);
        assert_ptr_equal(found.mv_data, value.mv_data);
        before = key;
    }
    mdb_cursor_close(cursor);
    assert_int_equal(count, stat.ms_entries);
    assert_true(count > KEYS / 2);
}

static void lmdb_alone_finds_every_key(void **state) {
    struct ledger *ledger = open_ledger(*state);
    MDB_env *env;
    MDB_txn *txn;
    put_random_keys(ledger, DB_KEYS);
    close_ledger(ledger);
    ledger = open_ledger(*state); /* also where they were there before */
    put_random_keys(ledger, DB_NAMES);
    put_random_keys(ledger, DB_KEYS);
    close_ledger(ledger);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, DB_COUNT), 0);
    assert_int_equal(mdb_env_open(env, *state, MDB_RDONLY, 0), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    check_order(txn, "keys");
    check_order(txn, "names");
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(lmdb_alone_finds_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
