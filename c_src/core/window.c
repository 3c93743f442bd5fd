#include "window.h"

#include "series.h"

uint64_t window_start(int64_t now_us, uint64_t window_ms) {
    uint64_t now_ms = (uint64_t)now_us / 1000;
    return now_ms > window_ms ? (now_ms - window_ms) * 1000 : 0;
}

int window_use(MDB_cursor *cursor, uint32_t series, enum totals_column column,
               const struct totals *now, int64_t now_us, uint64_t window_ms, ledger_sum *use) {
    struct totals before;
    int rc = series_columns_before(cursor, series, window_start(now_us, window_ms),
                                   UINT64_C(1) << column, &before);
    *use = now->column[column] - before.column[column];
    return rc;
}
