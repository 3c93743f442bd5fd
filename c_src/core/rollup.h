/* Sums per hour and per day of a series, in the `rollups` database, for charts and extremes.
 *
 *   key     series u32, granularity u8 (1 hour, 2 day), period u32 (hours or days since the
 *           Unix epoch, UTC)
 *   value   totals of the period (totals.h)
 *           extremes u8     bit 0: cost, bit 1: duration_ms, of invocations; bits 2 and 3:
 *                           the same of runs
 *           for each set bit, lowest first: min zigzag varint, max zigzag varint
 *
 * Derived from the entries, and written in the transaction that writes them.
 *
 * Thread class: the writer's. Nothing is remembered between batches.
 */
#ifndef LEDGER_ROLLUP_H
#define LEDGER_ROLLUP_H

#include <lmdb.h>
#include <stdbool.h>

#include "entry.h"
#include "totals.h"

#define ROLLUP_KEY_BYTES 9

enum rollup_granularity { ROLLUP_HOUR = 1, ROLLUP_DAY = 2 };
enum rollup_measure {
    ROLLUP_COST,
    ROLLUP_DURATION,
    ROLLUP_RUN_COST,
    ROLLUP_RUN_DURATION,
    ROLLUP_MEASURES
};

struct rollup_extremes {
    bool any;
    int64_t min;
    int64_t max;
};

struct rollup {
    uint32_t series;
    enum rollup_granularity granularity;
    uint32_t period;
    bool changed;
    struct totals totals;
    struct rollup_extremes extremes[ROLLUP_MEASURES];
};

/* The row of a period; zeros when there is none yet. */
int rollup_load(MDB_txn *txn, MDB_dbi dbi, uint32_t series, enum rollup_granularity granularity,
                uint32_t period, struct rollup *rollup);
int rollup_store(MDB_txn *txn, MDB_dbi dbi, struct rollup *rollup);

/* Adds an entry, after writing out the row and loading its period's when that is another. */
int rollup_add(MDB_txn *txn, MDB_dbi dbi, struct rollup *rollup, const struct ledger_entry *entry,
               const struct amounts *amounts);

/* The same of a row whose period is the entry's, without a file. */
void rollup_count(struct rollup *rollup, const struct ledger_entry *entry,
                  const struct amounts *amounts);
/* Key and value as they are stored; returns the size of the value. */
#define ROLLUP_BYTES_MAX (TOTALS_BYTES_MAX + 1 + 2 * ROLLUP_MEASURES * VARINT_BYTES_MAX)
size_t rollup_write(const struct rollup *rollup, uint8_t key[ROLLUP_KEY_BYTES],
                    uint8_t value[ROLLUP_BYTES_MAX]);

/* The smaller and the larger of all. */
void rollup_widen(struct rollup_extremes *extremes, int64_t value);

/* Widens `extremes` by those of the periods from..to-1. The cursor is one on the database. */
int rollup_extremes(MDB_cursor *cursor, uint32_t series, enum rollup_granularity granularity,
                    uint32_t from, uint32_t to, struct rollup_extremes extremes[ROLLUP_MEASURES]);

uint32_t rollup_period(enum rollup_granularity granularity, uint64_t id);

#endif
