/* Interned names and the series they make, in the `names` database.
 *
 *   0x01 dimension u8  value <= 500 bytes     --> number u32       name to number
 *   0x02 dimension u8  SHA-256 of the value   --> number u32       the same, for longer values
 *   0x03 number u32                           --> dimension u8, value
 *   0x04 number u32 ...                       --> series u32       the names of a series, in
 *                                                                  ascending dimension
 *   0x05 series u32                           --> number u32 ...
 *   0x06 number u32                           --> nothing          only a live hold uses it: the
 *                                                                  next entry that does defines it
 *   0x07 dimension u8 ...                     --> u32              how many series the family has
 *
 * Numbers and series count from 1 and are never used twice. Series 0 holds every entry. What is
 * called by its status (DIMENSION_STATUS) has no rows of the first three kinds: the numbers of
 * those names are fixed, 0xfffffff0 and the status. Derived: every name is also defined in the
 * entry that used it first; those of 0x06 will be.
 *
 * Thread class: those that may read or write LMDB. Nothing is remembered between calls, so
 * an aborted transaction takes its names with it.
 */
#ifndef LEDGER_NAMES_H
#define LEDGER_NAMES_H

#include <lmdb.h>
#include <stdbool.h>

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

/* For who builds the rows anew: rows 01 to 03 of a name, and 04 and 05 of a series, with a number
 * that was given out before. MDB_KEYEXIST: one of them is there; nothing was put. */
int names_put(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
              uint32_t number);
int names_put_series(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count,
                     uint32_t series);
/* All rows 07, from rows 04. */
int names_count_families(MDB_txn *txn, MDB_dbi dbi);
/* Kinds of row that one has to tell apart for that. */
#define NAMES_TEXT 3
#define NAMES_SERIES 4
#define NAMES_OF_SERIES 5
#define NAMES_UNDEFINED 6

/* How many series a family has; 0 where that was never counted. */
int names_count_family(MDB_txn *txn, MDB_dbi dbi, const uint8_t *dimensions, size_t count,
                       uint32_t *series);
/* The numbers that make a series, in the order of their dimensions. */
int names_of_series(MDB_txn *txn, MDB_dbi dbi, uint32_t series, uint32_t numbers[SERIES_NAMES_MAX],
                    size_t *count);

/* Calls `found` for the names of a dimension, after the one with number *after (0: from the first),
 * until it returns false; *after is that of the last one told. */
typedef bool names_found(void *context, struct ledger_text value, uint32_t number);
int names_walk(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, uint32_t *after, names_found *found,
               void *context);

/* A name that a hold was the first to use has no definition in any entry yet. */
int names_put_undefined(MDB_txn *txn, MDB_dbi dbi, uint32_t number);
/* Whether that is so; it is not any more. */
int names_take_undefined(MDB_txn *txn, MDB_dbi dbi, uint32_t number, bool *undefined);
int names_any_undefined(MDB_txn *txn, MDB_dbi dbi, bool *any);

/* The text lies in LMDB's map: it holds until the transaction ends or writes. A number that is
 * not there is LEDGER_E_DAMAGED: entries only use defined ones. */
int names_text(MDB_txn *txn, MDB_dbi dbi, uint32_t number, uint8_t *dimension,
               struct ledger_text *value);
/* The same by a cursor on the `names` database, which is quicker for many: their rows are close to
 * each other. */
int names_text_at(MDB_cursor *cursor, uint32_t number, uint8_t *dimension,
                  struct ledger_text *value);

#endif
