/* The open-ended part of an entry (intent, input, output, trace, ...), in the `payloads` database.
 *
 *   key     entry id u64
 *   value   1 u8, salt 16 bytes, a msgpack map      as it was recorded
 *           2 u8, entry id u64                      taken away by that entry, of kind redaction
 *
 * The entry has the SHA-256 of salt and map: who has an entry and a map can tell whether they
 * belong together; who has only the entry cannot guess the map. Taking it away changes neither the
 * entry nor any sum.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_PAYLOADS_H
#define LEDGER_PAYLOADS_H

#include <lmdb.h>

#include "entry.h"

struct ledger_payload {
    struct ledger_text map; /* data NULL: there is none */
    const uint8_t *salt;
    uint64_t redacted_by; /* the entry that took it away; 0: none */
};

/* In LMDB's map: valid until the transaction ends or writes. Zeros where there is no row. 0,
 * LEDGER_E_DAMAGED or LMDB's. */
int payloads_find(MDB_txn *txn, MDB_dbi dbi, uint64_t id, struct ledger_payload *payload);
/* The same for one id after the other, mostly ascending: the next row is looked at first. The
 * cursor is on the `payloads` database; *at is 0 at first, and tells where it stands. */
int payloads_find_next(MDB_cursor *cursor, uint64_t *at, uint64_t id,
                       struct ledger_payload *payload);

/* Of a new entry, above all that have one. */
int payloads_put(MDB_txn *txn, MDB_dbi dbi, uint64_t id, const uint8_t *salt,
                 struct ledger_text map);

/* Of an entry that has one. */
int payloads_redact(MDB_txn *txn, MDB_dbi dbi, uint64_t id, uint64_t redacted_by);

#endif
