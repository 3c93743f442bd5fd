/* Sums per hour and per day of a series, in the `rollups` database, for charts and extremes.
 *
 *   key     series u32, granularity u8 (1 hour, 2 day), period u32 (hours or days since the
 *           Unix epoch, UTC)
 *   value   totals of the period (totals.h)
 *           extremes        (extremes.h)
 *
 * Derived from the entries, and written in the transaction that writes them.
 *
 * Thread class: the writer's. Nothing is remembered between batches.
 */
#ifndef LEDGER_ROLLUP_H
#define LEDGER_ROLLUP_H

#include <lmdb.h>
#include <stdbool.h>

#include "extremes.h"

#define ROLLUP_KEY_BYTES 9

enum rollup_granularity { ROLLUP_HOUR = 1, ROLLUP_DAY = 2 };
struct rollup {
    uint32_t series;
    enum rollup_granularity granularity;
    uint32_t period;
    bool changed;
    struct totals totals;
    struct extremes extremes[EXTREMES_MEASURES];
};

/* The row of a period; zeros when there is none yet. */
int rollup_load(MDB_txn *txn, MDB_dbi dbi, uint32_t series, enum rollup_granularity granularity,
                uint32_t period, struct rollup *rollup);
int rollup_store(MDB_txn *txn, MDB_dbi dbi, struct rollup *rollup);

/* Adds an entry, after writing out the row and loading its period's when that is another. */
int rollup_add(MDB_txn *txn, MDB_dbi dbi, struct rollup *rollup, uint64_t id,
               const struct amounts *amounts);

/* The same of a row whose period is the entry's, without a file. */
void rollup_count(struct rollup *rollup, const struct amounts *amounts);
/* Key and value as they are stored; returns the size of the value. */
#define ROLLUP_BYTES_MAX (TOTALS_BYTES_MAX + EXTREMES_BYTES_MAX)
size_t rollup_write(const struct rollup *rollup, uint8_t key[ROLLUP_KEY_BYTES],
                    uint8_t value[ROLLUP_BYTES_MAX]);

/* Widens `extremes` by those of the periods from..to-1. The cursor is one on the database. */
int rollup_extremes(MDB_cursor *cursor, uint32_t series, enum rollup_granularity granularity,
                    uint32_t from, uint32_t to, struct extremes extremes[EXTREMES_MEASURES]);

/* How long a period is, in microseconds. */
static inline uint64_t rollup_unit(enum rollup_granularity granularity) {
    return granularity == ROLLUP_HOUR ? UINT64_C(3600000000) : UINT64_C(86400000000);
}

static inline uint32_t rollup_period(enum rollup_granularity granularity, uint64_t id) {
    return (uint32_t)(id / rollup_unit(granularity));
}

#endif
