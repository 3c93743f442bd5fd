/* What a rule remembers of its values, in the `warned` database: from when its use counts, and
 * which warnings were given.
 *
 *   0x01 rule, series u32, threshold u8  --> period varint (us, start of the calendar period; 0),
 *                                            limit varint, id varint (the newest entry then)
 *   0x02 rule, series u32                --> id varint of the newest `reset` entry;
 *                                            series 0xffffffff: of the whole rule
 *
 *   rule:  size u8, that many bytes of its name; 0xff, SHA-256 of a name over 200 bytes
 *
 * Rows of 0x02 are derived from `reset` entries; those of 0x01 are not derived.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_MARKS_H
#define LEDGER_MARKS_H

#include <lmdb.h>

#include "bytes.h"
#include "entry.h"

#define MARKS_WHOLE_RULE UINT32_MAX

struct mark {
    uint64_t period_us;
    ledger_sum limit;
    uint64_t id;
};

/* 0, MDB_NOTFOUND, LEDGER_E_DAMAGED, LEDGER_E_CRYPTO or LMDB's. */
int marks_find_warned(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                      uint8_t threshold, struct mark *mark);
int marks_put_warned(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                     uint8_t threshold, const struct mark *mark);

/* The newest reset that counts for that series; 0: none. */
int marks_find_reset(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                     uint64_t *id);
int marks_put_reset(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule, uint32_t series,
                    uint64_t id);
/* Whether there is any reset at all. */
int marks_any_reset(MDB_txn *txn, MDB_dbi dbi, bool *any);

/* Forgets everything of a rule. */
int marks_delete(MDB_txn *txn, MDB_dbi dbi, struct ledger_text rule);

#endif
