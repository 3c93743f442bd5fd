#include "keys.h"

#include <string.h>

#include "digest.h"
#include "error.h"

#define SHORT_BYTES_MAX 500
enum row_kind { ROW_CLIENT = 1, ROW_LONG_CLIENT = 2, ROW_RESOLVED = 3 };

struct key {
    uint8_t bytes[1 + SHORT_BYTES_MAX];
    MDB_val val;
};

static int client_key(struct key *key, struct ledger_text client_id) {
    key->val = (MDB_val){1, key->bytes};
    if (client_id.size <= SHORT_BYTES_MAX) {
        key->bytes[0] = ROW_CLIENT;
        memcpy(key->bytes + 1, client_id.data, client_id.size);
        key->val.mv_size += client_id.size;
        return 0;
    }
    key->bytes[0] = ROW_LONG_CLIENT;
    key->val.mv_size += ENTRY_DIGEST_BYTES;
    return digest_sha256(client_id.data, client_id.size, key->bytes + 1);
}

int keys_find(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, struct key_row *row) {
    struct key key;
    MDB_val value;
    int rc = client_key(&key, client_id);
    if (rc == 0)
        rc = mdb_get(txn, dbi, &key.val, &value);
    if (rc != 0)
        return rc;
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    row->operation = read_byte(&reader);
    row->flags = (uint64_t)read_varint(&reader);
    row->id = (uint64_t)read_varint(&reader);
    row->version = (uint64_t)read_varint(&reader);
    if (reader.damaged || reader.end - reader.at != ENTRY_DIGEST_BYTES)
        return LEDGER_E_DAMAGED;
    memcpy(row->digest, reader.at, ENTRY_DIGEST_BYTES);
    return 0;
}

int keys_put(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, const struct key_row *row) {
    struct key key;
    uint8_t data[1 + 3 * VARINT_BYTES_MAX + ENTRY_DIGEST_BYTES];
    int rc = client_key(&key, client_id);
    if (rc != 0)
        return rc;
    size_t size = 1;
    data[0] = row->operation;
    size += put_varint(data + size, row->flags);
    size += put_varint(data + size, row->id);
    size += put_varint(data + size, row->version);
    memcpy(data + size, row->digest, ENTRY_DIGEST_BYTES);
    MDB_val value = {size + ENTRY_DIGEST_BYTES, data};
    return mdb_put(txn, dbi, &key.val, &value, MDB_NOOVERWRITE);
}

int keys_delete(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id) {
    struct key key;
    int rc = client_key(&key, client_id);
    if (rc == 0)
        rc = mdb_del(txn, dbi, &key.val, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static void resolved_key(struct key *key, uint64_t hold) {
    key->bytes[0] = ROW_RESOLVED;
    put_be64(key->bytes + 1, hold);
    key->val = (MDB_val){9, key->bytes};
}

int keys_find_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold, struct key_resolved *resolved) {
    struct key key;
    MDB_val value;
    resolved_key(&key, hold);
    int rc = mdb_get(txn, dbi, &key.val, &value);
    if (rc != 0)
        return rc;
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    resolved->entry = (uint64_t)read_varint(&reader);
    resolved->parent = (uint64_t)read_varint(&reader);
    resolved->settled = read_byte(&reader) != 0;
    amounts_read(&reader, &resolved->children);
    return reader.damaged || reader.at != reader.end ? LEDGER_E_DAMAGED : 0;
}

int keys_put_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold,
                      const struct key_resolved *resolved) {
    struct key key;
    uint8_t data[2 * VARINT_BYTES_MAX + 1 + AMOUNTS_BYTES_MAX];
    resolved_key(&key, hold);
    size_t size = put_varint(data, resolved->entry);
    size += put_varint(data + size, resolved->parent);
    data[size++] = resolved->settled;
    size += amounts_write(data + size, &resolved->children);
    MDB_val value = {size, data};
    return mdb_put(txn, dbi, &key.val, &value, 0);
}
