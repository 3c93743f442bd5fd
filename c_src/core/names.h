/* Interned names and the series they make, in the `names` database.
 *
 *   0x01 dimension u8  value <= 500 bytes     --> number u32       name to number
 *   0x02 dimension u8  SHA-256 of the value   --> number u32       the same, for longer values
 *   0x03 number u32                           --> dimension u8, value
 *   0x04 number u32 ...                       --> series u32       the names of a series, in
 *                                                                  ascending dimension
 *   0x05 series u32                           --> number u32 ...
 *
 * Numbers and series count from 1 and are never used twice. Series 0 holds every entry.
 * Derived: every name is also defined in the entry that used it first.
 *
 * Thread class: those that may read or write LMDB. Nothing is remembered between calls, so
 * an aborted transaction takes its names with it.
 */
#ifndef LEDGER_NAMES_H
#define LEDGER_NAMES_H

#include <lmdb.h>

#include "entry.h"

#define SERIES_EVERYTHING 0
#define SERIES_NAMES_MAX 8

/* MDB_NOTFOUND when there is none yet. */
int names_find(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
               uint32_t *number);
int names_find_series(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count,
                      uint32_t *series);
/* The series of one name alone. */
int names_find_series_of(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
                         uint32_t *series);

/* Finds or makes; *made says which. */
int names_intern(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
                 uint32_t *number, bool *made);
int names_intern_series(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count,
                        uint32_t *series);

/* The text lies in LMDB's map: it holds until the transaction ends or writes. A number that is
 * not there is LEDGER_E_DAMAGED: entries only use defined ones. */
int names_text(MDB_txn *txn, MDB_dbi dbi, uint32_t number, uint8_t *dimension,
               struct ledger_text *value);

#endif
