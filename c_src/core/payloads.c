#include "payloads.h"

#include <string.h>

#include "bytes.h"
#include "error.h"

enum row_kind { ROW_MAP = 1, ROW_REDACTED = 2 };

#define HEAD_BYTES (1 + ENTRY_SALT_BYTES)
#define REDACTED_BYTES 9

static int read_row(MDB_val value, struct ledger_payload *payload) {
    const uint8_t *row = value.mv_data;
    if (value.mv_size > HEAD_BYTES && row[0] == ROW_MAP) {
        payload->salt = row + 1;
        payload->map =
            (struct ledger_text){(const char *)row + HEAD_BYTES, value.mv_size - HEAD_BYTES};
        return 0;
    }
    if (value.mv_size != REDACTED_BYTES || row[0] != ROW_REDACTED)
        return LEDGER_E_DAMAGED;
    payload->redacted_by = get_be64(row + 1);
    return 0;
}

int payloads_find(MDB_txn *txn, MDB_dbi dbi, uint64_t id, struct ledger_payload *payload) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    *payload = (struct ledger_payload){0};
    put_be64(bytes, id);
    int rc = mdb_get(txn, dbi, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    return read_row(value, payload);
}

/* Where the cursor is, or comes to. */
static int stand(MDB_cursor *cursor, MDB_cursor_op operation, MDB_val *key, MDB_val *value,
                 uint64_t *at) {
    int rc = mdb_cursor_get(cursor, key, value, operation);
    *at = 0;
    if (rc == 0 && key->mv_size != 8)
        rc = LEDGER_E_DAMAGED;
    if (rc == 0)
        *at = get_be64(key->mv_data);
    return rc;
}

int payloads_find_next(MDB_cursor *cursor, uint64_t *at, uint64_t id,
                       struct ledger_payload *payload) {
    uint8_t bytes[8];
    MDB_val key, value;
    uint64_t before = *at;
    int rc = 0;
    *payload = (struct ledger_payload){0};
    if (before != 0 && before < id)
        rc = stand(cursor, MDB_NEXT, &key, &value, at);
    if (before == 0 || before >= id || (rc == 0 && *at < id)) {
        put_be64(bytes, id);
        key = (MDB_val){sizeof bytes, bytes};
        rc = stand(cursor, MDB_SET_RANGE, &key, &value, at);
    }
    if (rc != 0 || *at != id)
        return rc == MDB_NOTFOUND ? 0 : rc;
    return read_row(value, payload);
}

int payloads_put(MDB_txn *txn, MDB_dbi dbi, uint64_t id, const uint8_t *salt,
                 struct ledger_text map) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value = {HEAD_BYTES + map.size, NULL};
    put_be64(bytes, id);
    int rc = mdb_put(txn, dbi, &key, &value, MDB_APPEND | MDB_NOOVERWRITE | MDB_RESERVE);
    if (rc != 0)
        return rc;
    uint8_t *row = value.mv_data;
    row[0] = ROW_MAP;
    memcpy(row + 1, salt, ENTRY_SALT_BYTES);
    memcpy(row + HEAD_BYTES, map.data, map.size);
    return 0;
}

int payloads_redact(MDB_txn *txn, MDB_dbi dbi, uint64_t id, uint64_t redacted_by) {
    uint8_t bytes[8], row[REDACTED_BYTES] = {ROW_REDACTED};
    MDB_val key = {sizeof bytes, bytes}, value = {sizeof row, row};
    put_be64(bytes, id);
    put_be64(row + 1, redacted_by);
    return mdb_put(txn, dbi, &key, &value, 0);
}
