#include "payloads.h"

#include <string.h>

#include "bytes.h"
#include "error.h"

enum row_kind { ROW_MAP = 1, ROW_REDACTED = 2 };

#define HEAD_BYTES (1 + ENTRY_SALT_BYTES)
#define REDACTED_BYTES 9

int payloads_find(MDB_txn *txn, MDB_dbi dbi, uint64_t id, struct ledger_payload *payload) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    *payload = (struct ledger_payload){0};
    put_be64(bytes, id);
    int rc = mdb_get(txn, dbi, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
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
