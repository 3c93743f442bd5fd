/* What clients call their requests, in the `keys` database: so that a request that is sent again
 * is done once.
 *
 *   0x01 client id <= 500 bytes        --> operation u8, flags varint, id varint, version varint,
 *                                          32 bytes: SHA-256 of the request
 *   0x02 SHA-256 of a longer client id --> the same
 *   0x03 hold id u64                   --> entry id u64, amounts (totals.h): the ledger resolved
 *                                          the hold by that entry, and its caller has not settled
 *                                          yet; what its children had booked until then
 *
 * Rows of the first two kinds stay for ever.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_KEYS_H
#define LEDGER_KEYS_H

#include <lmdb.h>

#include "entry.h"

#define KEYS_CLIENT_ID_BYTES_MAX 1000

struct key_row {
    uint8_t operation;  /* enum ledger_operation (ledger.h) */
    uint64_t flags;     /* of the entry: enum entry_flag */
    uint64_t id;        /* the entry or hold that the request made; 0: none */
    uint64_t version;   /* of the policy that it made; 0: none */
    uint8_t digest[ENTRY_DIGEST_BYTES];
};

/* 0, MDB_NOTFOUND, LEDGER_E_DAMAGED, LEDGER_E_CRYPTO or LMDB's. */
int keys_find(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, struct key_row *row);
int keys_put(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, const struct key_row *row);

/* The entry by which the ledger itself resolved a hold: 0, MDB_NOTFOUND, ... */
int keys_find_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold, uint64_t *entry,
                       struct amounts *children);
int keys_put_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold, uint64_t entry,
                      const struct amounts *children);
int keys_delete_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold);

#endif
