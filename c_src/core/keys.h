/* What clients call their requests, in the `keys` database: so that a request that is sent again
 * is done once.
 *
 *   0x01 client id <= 500 bytes        --> operation u8, flags varint, id varint, version varint,
 *                                          32 bytes: SHA-256 of the request
 *   0x02 SHA-256 of a longer client id --> the same
 *   0x03 hold id u64                   --> entry id varint, parent varint (hold id; 0: none),
 *                                          settled u8, amounts (totals.h): how a hold ended, where
 *                                          that still matters: which entry ended it, and what its
 *                                          children booked, before and since
 *
 * Rows of the first two kinds stay for ever, but for that of a hold that was withdrawn.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_KEYS_H
#define LEDGER_KEYS_H

#include <lmdb.h>

#include "entry.h"

#define KEYS_CLIENT_ID_BYTES_MAX 1000

struct key_row {
    uint8_t operation; /* enum ledger_operation (ledger.h) */
    uint64_t flags;    /* of the entry: enum entry_flag */
    uint64_t id;       /* the entry or hold that the request made; 0: none */
    uint64_t version;  /* of the policy that it made; 0: none */
    uint8_t digest[ENTRY_DIGEST_BYTES];
};

/* 0, MDB_NOTFOUND, LEDGER_E_DAMAGED, LEDGER_E_CRYPTO or LMDB's. */
int keys_find(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, struct key_row *row);
int keys_put(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, const struct key_row *row);

/* 0 also when there is none. */
int keys_delete(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id);

/* A hold that the ledger ended, so that its caller may settle late; or a run with a parent, for
 * its late children. `settled`: its caller has resolved it. */
struct key_resolved {
    uint64_t entry;
    uint64_t parent;
    bool settled;
    struct amounts children;
};
/* 0, MDB_NOTFOUND, ... */
int keys_find_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold, struct key_resolved *resolved);
int keys_put_resolved(MDB_txn *txn, MDB_dbi dbi, uint64_t hold,
                      const struct key_resolved *resolved);

#endif
