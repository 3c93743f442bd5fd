#include "window.h"

#include "gate.h"
#include "series.h"

uint64_t window_start(int64_t now_us, uint64_t window_ms) {
    uint64_t now_ms = (uint64_t)now_us / 1000;
    return now_ms > window_ms ? (now_ms - window_ms) * 1000 : 0;
}

int window_use(MDB_cursor *cursor, uint32_t series, enum totals_column column,
               const struct totals *now, int64_t now_us, uint64_t window_ms, ledger_sum *use) {
    struct totals before;
    int rc = series_totals_before(cursor, series, window_start(now_us, window_ms), &before);
    *use = now->column[column] - before.column[column];
    return rc;
}

int window_allowed_from(MDB_cursor *cursor, uint32_t series, enum totals_column column,
                        int64_t now_us, uint64_t window_ms, uint64_t limit, uint64_t *from_us) {
    struct totals now;
    ledger_sum use;
    *from_us = limit == 0 ? GATE_NEVER : GATE_ALLOWED;
    if (limit == 0)
        return 0;
    int rc = series_totals_now(cursor, series, &now);
    if (rc == 0)
        rc = window_use(cursor, series, column, &now, now_us, window_ms, &use);
    if (rc != 0 || use < (ledger_sum)limit)
        return rc;
    /* Denied at `denied` ms. Double the step until it is allowed, then halve it. */
    uint64_t denied, allowed = (uint64_t)now_us / 1000, step = 1;
    do {
        denied = allowed;
        allowed += step;
        step *= 2;
        rc = window_use(cursor, series, column, &now, (int64_t)(allowed * 1000), window_ms, &use);
    } while (rc == 0 && use >= (ledger_sum)limit);
    while (rc == 0 && allowed - denied > 1) {
        uint64_t middle = denied + (allowed - denied) / 2;
        rc = window_use(cursor, series, column, &now, (int64_t)(middle * 1000), window_ms, &use);
        if (use < (ledger_sum)limit)
            allowed = middle;
        else
            denied = middle;
    }
    *from_us = allowed * 1000;
    return rc;
}
