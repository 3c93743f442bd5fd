#include "marks.h"

#include <string.h>

#include "digest.h"
#include "error.h"
#include "storage.h"

#define SHORT_BYTES_MAX 200
enum row_kind { ROW_WARNED = 1, ROW_RESET = 2 };

struct key {
    uint8_t bytes[2 + SHORT_BYTES_MAX + 4 + 1];
    MDB_val val;
};

static int rule_key(struct key *key, enum row_kind kind, struct ledger_text rule) {
    bool is_short = rule.size <= SHORT_BYTES_MAX;
    key->bytes[0] = (uint8_t)kind;
    key->bytes[1] = is_short ? (uint8_t)rule.size : 0xff;
    key->val = (MDB_val){2, key->bytes};
    if (is_short) {
        memcpy(key->bytes + 2, rule.data, rule.size);
        key->val.mv_size += rule.size;
        return 0;
    }
    key->val.mv_size += DIGEST_BYTES;
    return digest_sha256(rule.data, rule.size, key->bytes + 2);
}

static void add_series(struct key *key, uint32_t series) {
    put_be32(key->bytes + key->val.mv_size, series);
    key->val.mv_size += 4;
}

static int warned_key(struct key *key, struct ledger_text rule, uint32_t series,
                      uint8_t threshold) {
    int rc = rule_key(key, ROW_WARNED, rule);
    add_series(key, series);
    key->bytes[key->val.mv_size++] = threshold;
    return rc;
}

int marks_find_warned(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                      uint8_t threshold, struct mark *mark) {
    struct key key;
    MDB_val value;
    int rc = warned_key(&key, rule, series, threshold);
    if (rc == 0)
        rc = mdb_get(txn, dbi, &key.val, &value);
    if (rc != 0)
        return rc;
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    mark->period_us = (uint64_t)read_varint(&reader);
    mark->limit = (ledger_sum)read_varint(&reader);
    mark->id = (uint64_t)read_varint(&reader);
    return reader.damaged || reader.at != reader.end ? LEDGER_E_DAMAGED : 0;
}

int marks_put_warned(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                     uint8_t threshold, const struct mark *mark) {
    struct key key;
    uint8_t data[3 * VARINT_BYTES_MAX];
    int rc = warned_key(&key, rule, series, threshold);
    if (rc != 0)
        return rc;
    size_t size = put_varint(data, mark->period_us);
    size += put_varint(data + size, (ledger_usum)mark->limit);
    size += put_varint(data + size, mark->id);
    MDB_val value = {size, data};
    return mdb_put(txn, dbi, &key.val, &value, 0);
}

static int get_reset(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                     uint64_t *id) {
    struct key key;
    MDB_val value;
    *id = 0;
    int rc = rule_key(&key, ROW_RESET, rule);
    add_series(&key, series);
    if (rc == 0)
        rc = mdb_get(txn, dbi, &key.val, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    *id = (uint64_t)read_varint(&reader);
    return reader.damaged || reader.at != reader.end ? LEDGER_E_DAMAGED : 0;
}

int marks_find_reset(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                     uint64_t *id) {
    uint64_t whole;
    int rc = get_reset(txn, dbi, rule, series, id);
    if (rc == 0)
        rc = get_reset(txn, dbi, rule, MARKS_WHOLE_RULE, &whole);
    if (rc == 0 && whole > *id)
        *id = whole;
    return rc;
}

int marks_put_reset(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                    uint64_t id) {
    struct key key;
    uint8_t data[VARINT_BYTES_MAX];
    int rc = rule_key(&key, ROW_RESET, rule);
    add_series(&key, series);
    MDB_val value = {put_varint(data, id), data};
    return rc != 0 ? rc : mdb_put(txn, dbi, &key.val, &value, 0);
}

int marks_any_reset(MDB_txn *txn, MDB_dbi dbi, bool *any) {
    return storage_has_kind(txn, dbi, ROW_RESET, any);
}

static int delete_kind(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, enum row_kind kind) {
    struct key prefix;
    MDB_cursor *cursor;
    int rc = rule_key(&prefix, kind, rule);
    if (rc == 0)
        rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0) {
        MDB_val key = prefix.val, value;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc == 0 && (key.mv_size <= prefix.val.mv_size ||
                        memcmp(key.mv_data, prefix.bytes, prefix.val.mv_size) != 0))
            break;
        if (rc == 0)
            rc = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int marks_delete(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule) {
    int rc = delete_kind(txn, dbi, rule, ROW_WARNED);
    return rc != 0 ? rc : delete_kind(txn, dbi, rule, ROW_RESET);
}
