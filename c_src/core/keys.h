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
 *   0x04 run id <= 500 bytes           --> as of a client id; id is that of the hold, as long as
 *                                          the run lives, then that of its entry, and version the
 *                                          hold's
 *   0x05 SHA-256 of a longer run id    --> the same
 *   0x06 entry id u64                  --> priced u8, amounts: what corrections of that entry
 *                                          came to together, and whether one gave it a cost that
 *                                          it lacked
 *   0x07 model, effective from         --> a price: price.h
 *
 * Rows of clients and runs stay for ever, but for those of a hold that was withdrawn, and of a run
 * that was released. Those of corrections and prices are derived from the entries.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_KEYS_H
#define LEDGER_KEYS_H

#include <lmdb.h>

#include "entry.h"

#define KEYS_CLIENT_ID_BYTES_MAX 1000

enum key_kind {
    KEY_CLIENT = 1,
    KEY_LONG_CLIENT = 2,
    KEY_RESOLVED = 3,
    KEY_RUN = 4,
    KEY_LONG_RUN = 5,
    KEY_CORRECTED = 6,
    KEY_PRICE = 7
};

struct key_row {
    uint8_t operation; /* enum ledger_operation (ledger.h) */
    uint64_t flags;    /* of the entry: enum entry_flag */
    uint64_t id;       /* the entry or hold that the request made; 0: none */
    uint64_t version;  /* of the policy that it made; of a run that has ended, its hold; 0: none */
    uint8_t digest[ENTRY_DIGEST_BYTES];
};

/* 0, MDB_NOTFOUND, LEDGER_E_DAMAGED, LEDGER_E_CRYPTO or LMDB's. */
int keys_find(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, struct key_row *row);
/* A row of a client or a run that a cursor came to. */
int keys_read(MDB_val value, struct key_row *row);
/* Whether it lies under that key, which begins with the kind of a client's rows, or of a run's. */
bool keys_is_named(MDB_val key, struct ledger_text name);
int keys_put(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id, const struct key_row *row);

/* 0 also when there is none. */
int keys_delete(MDB_txn *txn, MDB_dbi dbi, struct ledger_text client_id);

/* The same of run ids; a row that is there is replaced. */
int keys_find_run(MDB_txn *txn, MDB_dbi dbi, struct ledger_text run_id, struct key_row *row);
int keys_put_run(MDB_txn *txn, MDB_dbi dbi, struct ledger_text run_id, const struct key_row *row);
int keys_delete_run(MDB_txn *txn, MDB_dbi dbi, struct ledger_text run_id);

/* What was corrected of an entry so far. */
struct key_corrected {
    bool priced;            /* it had no cost, until a correction gave it one */
    bool completed;         /* by a late settlement: its own status says otherwise */
    struct amounts amounts; /* cost, credits, tokens: sums of what the corrections said */
};
/* Zeros where nothing was. */
int keys_find_corrected(MDB_txn *txn, MDB_dbi dbi, uint64_t entry, struct key_corrected *corrected);
int keys_put_corrected(MDB_txn *txn, MDB_dbi dbi, uint64_t entry,
                       const struct key_corrected *corrected);

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
