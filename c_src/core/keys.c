#include "keys.h"

#include <string.h>

#include "digest.h"
#include "error.h"

#define SHORT_BYTES_MAX 500

struct key {
    uint8_t bytes[1 + SHORT_BYTES_MAX];
    MDB_val val;
};

/* A client's name of something; `kind` is that of the short ones, and the next that of the long. */
static int name_key(struct key *key, enum key_kind kind, struct ledger_text name) {
    key->val = (MDB_val){1, key->bytes};
    if (name.size <= SHORT_BYTES_MAX) {
        key->bytes[0] = (uint8_t)kind;
        memcpy(key->bytes + 1, name.data, name.size);
        key->val.mv_size += name.size;
        return 0;
    }
    key->bytes[0] = (uint8_t)(kind + 1);
    key->val.mv_size += ENTRY_DIGEST_BYTES;
    return digest_sha256(name.data, name.size, key->bytes + 1);
}

int keys_read(MDB_val value, struct key_row *row) {
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

bool keys_is_named(MDB_val key, struct ledger_text name) {
    const uint8_t *bytes = key.mv_data;
    struct key own;
    bool is_long = bytes[0] == KEY_LONG_CLIENT || bytes[0] == KEY_LONG_RUN;
    return name.data != NULL &&
           name_key(&own, (enum key_kind)(bytes[0] - (is_long ? 1 : 0)), name) == 0 &&
           own.val.mv_size == key.mv_size && memcmp(own.bytes, bytes, key.mv_size) == 0;
}

static int find_row(MDB_txn *txn, MDB_dbi dbi, enum key_kind kind, struct ledger_text name,
                    struct key_row *row) {
    struct key key;
    MDB_val value;
    int rc = name_key(&key, kind, name);
    if (rc == 0)
        rc = mdb_get(txn, dbi, &key.val, &value);
    if (rc != 0)
        return rc;
    return keys_read(value, row);
}

static int put_row(MDB_txn *txn, MDB_dbi dbi, enum key_kind kind, struct ledger_text name,
                   const struct key_row *row, unsigned flags) {
    struct key key;
    uint8_t data[1 + 3 * VARINT_BYTES_MAX + ENTRY_DIGEST_BYTES];
    int rc = name_key(&key, kind, name);
    if (rc != 0)
        return rc;
    size_t size = 1;
    data[0] = row->operation;
    size += put_varint(data + size, row->flags);
    size += put_varint(data + size, row->id);
    size += put_varint(data + size, row->version);
    memcpy(data + size, row->digest, ENTRY_DIGEST_BYTES);
    MDB_val value = {size + ENTRY_DIGEST_BYTES, data};
    return mdb_put(txn, dbi, &key.val, &value, flags);
}

static int delete_row(MDB_txn *txn, MDB_dbi dbi, enum key_kind kind, struct ledger_text name) {
    struct key key;
    int rc = name_key(&key, kind, name);
    if (rc == 0)
        rc = mdb_del(txn, dbi, &key.val, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int keys_find(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, struct key_row *row) {
    return find_row(txn, dbi, KEY_CLIENT, client_id, row);
}

int keys_put(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, const struct key_row *row) {
    return put_row(txn, dbi, KEY_CLIENT, client_id, row, MDB_NOOVERWRITE);
}

int keys_delete(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id) {
    return delete_row(txn, dbi, KEY_CLIENT, client_id);
}

int keys_find_run(MDB_txn *txn, MDB_dbi dbi, struct ledger_text run_id, struct key_row *row) {
    return find_row(txn, dbi, KEY_RUN, run_id, row);
}

int keys_put_run(MDB_txn *txn, MDB_dbi dbi, struct ledger_text run_id, const struct key_row *row) {
    return put_row(txn, dbi, KEY_RUN, run_id, row, 0);
}

int keys_delete_run(MDB_txn *txn, MDB_dbi dbi, struct ledger_text run_id) {
    return delete_row(txn, dbi, KEY_RUN, run_id);
}

static void id_key(struct key *key, enum key_kind kind, uint64_t id) {
    key->bytes[0] = (uint8_t)kind;
    put_be64(key->bytes + 1, id);
    key->val = (MDB_val){9, key->bytes};
}

enum corrected_bit { CORRECTED_PRICED = 1, CORRECTED_COMPLETED = 2 };

int keys_find_corrected(MDB_txn *txn, MDB_dbi dbi, uint64_t entry,
                        struct key_corrected *corrected) {
    struct key key;
    MDB_val value;
    *corrected = (struct key_corrected){0};
    id_key(&key, KEY_CORRECTED, entry);
    int rc = mdb_get(txn, dbi, &key.val, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    uint8_t bits = read_byte(&reader);
    corrected->priced = bits & CORRECTED_PRICED;
    corrected->completed = bits & CORRECTED_COMPLETED;
    amounts_read(&reader, &corrected->amounts);
    return reader.damaged || reader.at != reader.end ? LEDGER_E_DAMAGED : 0;
}

int keys_put_corrected(MDB_txn *txn, MDB_dbi dbi, uint64_t entry,
                       const struct key_corrected *corrected) {
    struct key key;
    uint8_t data[1 + AMOUNTS_BYTES_MAX];
    id_key(&key, KEY_CORRECTED, entry);
    data[0] = (uint8_t)((corrected->priced ? CORRECTED_PRICED : 0) |
                        (corrected->completed ? CORRECTED_COMPLETED : 0));
    MDB_val value = {1 + amounts_write(data + 1, &corrected->amounts), data};
    return mdb_put(txn, dbi, &key.val, &value, 0);
}

int keys_find_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold, struct key_resolved *resolved) {
    struct key key;
    MDB_val value;
    id_key(&key, KEY_RESOLVED, hold);
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
    id_key(&key, KEY_RESOLVED, hold);
    size_t size = put_varint(data, resolved->entry);
    size += put_varint(data + size, resolved->parent);
    data[size++] = resolved->settled;
    size += amounts_write(data + size, &resolved->children);
    MDB_val value = {size, data};
    return mdb_put(txn, dbi, &key.val, &value, 0);
}
