/* Use of a rolling window, for statistics: by subtraction of running totals. Rules: use.h.
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

#endif
