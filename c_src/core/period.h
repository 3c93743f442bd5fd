/* Calendar periods at a fixed offset from UTC: days, weeks from Monday, months.
 *
 * Thread class: any; nothing here blocks. */
#ifndef LEDGER_PERIOD_H
#define LEDGER_PERIOD_H

#include "rule.h"

/* First ms of the period that holds `ms`, and of the one after it. `window` is WINDOW_DAY,
 * WINDOW_WEEK or WINDOW_MONTH. A start before the Unix epoch is negative. */
void period_bounds(enum rule_window window, int32_t offset_minutes, int64_t ms, int64_t *start,
                   int64_t *end);

#endif
