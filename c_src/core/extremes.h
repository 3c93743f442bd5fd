/* The least and the largest cost and duration of some entries of a series, of invocations and of
 * runs: of what was booked first, corrections change nothing.
 *
 *   given u8          bit 0: cost, bit 1: duration_ms, of invocations; bits 2 and 3: the same of
 *                     runs
 *   for each set bit, lowest first: min zigzag varint, max zigzag varint
 *
 * Thread class: any; nothing here blocks or keeps state.
 */
#ifndef LEDGER_EXTREMES_H
#define LEDGER_EXTREMES_H

#include "totals.h"

enum extremes_measure {
    EXTREMES_COST,
    EXTREMES_DURATION,
    EXTREMES_RUN_COST,
    EXTREMES_RUN_DURATION,
    EXTREMES_MEASURES
};

/* Of one measure. Those of all are an array of these. */
struct extremes {
    bool any;
    int64_t min;
    int64_t max;
};

void extremes_widen(struct extremes *extremes, int64_t value);
/* By those of others. */
void extremes_merge(struct extremes all[EXTREMES_MEASURES],
                    const struct extremes others[EXTREMES_MEASURES]);
/* By what an entry adds to its series, of which only these columns are looked at. */
#define EXTREMES_COLUMNS                                                                           \
    (UINT64_C(1) << COLUMN_COST | UINT64_C(1) << COLUMN_DURATION_MS |                              \
     UINT64_C(1) << COLUMN_RUNS_DURATION_MS)
void extremes_add(struct extremes all[EXTREMES_MEASURES], const struct amounts *amounts);

#define EXTREMES_BYTES_MAX (1 + 2 * EXTREMES_MEASURES * 10)
size_t extremes_write(uint8_t *at, const struct extremes all[EXTREMES_MEASURES]);
/* Widens by those that are read; sets reader->damaged. */
void extremes_read(struct byte_reader *reader, struct extremes all[EXTREMES_MEASURES]);
/* Passes over them. */
void extremes_skip(struct byte_reader *reader);

#endif
