/* Use of a rolling window, and when it will have room: by subtraction of running totals.
 *
 * Thread class: those that may read LMDB. Nothing is remembered between calls. */
#ifndef LEDGER_WINDOW_H
#define LEDGER_WINDOW_H

#include <lmdb.h>

#include "bytes.h"
#include "totals.h"

/* First id that a window of `window_ms` holds at ledger time `now_us`. */
uint64_t window_start(int64_t now_us, uint64_t window_ms);

/* The column's sum over the window, given the series' totals now. */
int window_use(MDB_cursor *cursor, uint32_t series, enum totals_column column,
               const struct totals *now, int64_t now_us, uint64_t window_ms, ledger_sum *use);

/* The first ledger time from `now_us` on at which use is below `limit` if nothing more is
 * booked: GATE_ALLOWED when it is so now, GATE_NEVER for limit 0. Exact, because without a
 * booking use never rises. */
int window_allowed_from(MDB_cursor *cursor, uint32_t series, enum totals_column column,
                        int64_t now_us, uint64_t window_ms, uint64_t limit, uint64_t *from_us);

#endif
