/* What the live holds of a series hold together, in the `held` database.
 *
 *   key     series u32
 *   value   holds varint            how many
 *           until varint            the latest deadline among them, or later (us)
 *           mask u8                 bit N: column N follows
 *           column value varint     one per set bit, lowest first
 *
 * A series without holds has no row. Derived from the rows of `holds`.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_HELD_H
#define LEDGER_HELD_H

#include <lmdb.h>

#include "bytes.h"
#include "rule.h"

/* Numbers are on disk: append only. */
enum held_column { HELD_INVOCATIONS, HELD_COST, HELD_CREDITS, HELD_TOKENS, HELD_COLUMNS };

struct held {
    uint64_t holds;
    uint64_t until_us;
    ledger_sum column[HELD_COLUMNS];
};

/* Zeros when there is no row. 0, LEDGER_E_DAMAGED or LMDB's. */
int held_load(MDB_txn *txn, MDB_dbi dbi, uint32_t series, struct held *held);
/* Removes the row when nothing is held. */
int held_store(MDB_txn *txn, MDB_dbi dbi, uint32_t series, const struct held *held);

/* The column in which what a rule of that measure would count is held: a call that is under way
 * may complete. */
enum held_column held_column_of(enum rule_measure measure);

#endif
