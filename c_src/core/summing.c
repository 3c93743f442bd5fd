/* Sums over any time of one series, or of each value of a dimension: by subtraction of running
 * totals; extremes from the rollups of whole days and hours, and from blocks at the edges. */
#include <errno.h>
#include <string.h>

#include "reading.h"
#include "rollup.h"

#define HOUR_US UINT64_C(3600000000)
#define DAY_US (24 * HOUR_US)

struct summing {
    struct reading *reading;
    MDB_cursor *series; /* both of the reading */
    MDB_cursor *rollups;
    uint64_t since;
    uint64_t until;  /* at most one past the newest entry */
    bool to_the_end; /* there is nothing behind `until` */
};

static uint64_t round_up(uint64_t us, uint64_t unit) {
    return (us + unit - 1) / unit * unit;
}

static int widen_by_rollups(struct summing *summing, uint32_t series,
                            enum rollup_granularity granularity, uint64_t from, uint64_t to,
                            struct extremes *extremes) {
    return rollup_extremes(summing->rollups, series, granularity, rollup_period(granularity, from),
                           rollup_period(granularity, to), extremes);
}

/* Whole hours, the whole days among them by their own rollups. */
static int widen_by_hours(struct summing *summing, uint32_t series, uint64_t from, uint64_t to,
                          struct extremes *extremes) {
    uint64_t first_day = round_up(from, DAY_US), last_day = to / DAY_US * DAY_US;
    if (first_day >= last_day)
        return widen_by_rollups(summing, series, ROLLUP_HOUR, from, to, extremes);
    int rc = widen_by_rollups(summing, series, ROLLUP_HOUR, from, first_day, extremes);
    if (rc == 0)
        rc = widen_by_rollups(summing, series, ROLLUP_DAY, first_day, last_day, extremes);
    return rc == 0 ? widen_by_rollups(summing, series, ROLLUP_HOUR, last_day, to, extremes) : rc;
}

static int find_extremes(struct summing *summing, uint32_t series, struct extremes *extremes) {
    uint64_t since = summing->since, until = summing->until;
    uint64_t first_hour = round_up(since, HOUR_US), last_hour = until / HOUR_US * HOUR_US;
    /* The hour that is running has all that there is of it in its rollup. */
    if (summing->to_the_end)
        until = last_hour = round_up(until, HOUR_US);
    if (first_hour >= last_hour)
        return series_extremes(summing->series, series, since, until, extremes);
    int rc = series_extremes(summing->series, series, since, first_hour, extremes);
    if (rc == 0)
        rc = widen_by_hours(summing, series, first_hour, last_hour, extremes);
    return rc == 0 ? series_extremes(summing->series, series, last_hour, until, extremes) : rc;
}

static int sum_series(struct summing *summing, uint32_t series, struct ledger_sums *sums) {
    struct totals before;
    struct extremes extremes[EXTREMES_MEASURES] = {{0}};
    if (summing->since >= summing->until)
        return 0;
    int rc = series_totals_before(summing->series, series, summing->since, &before);
    if (rc == 0)
        rc = series_totals_before(summing->series, series, summing->until, &sums->totals);
    for (int column = 0; rc == 0 && column < COLUMN_COUNT; column++)
        sums->totals.column[column] -= before.column[column];
    if (rc == 0)
        rc = find_extremes(summing, series, extremes);
    for (int i = 0; rc == 0 && i < EXTREMES_MEASURES; i++)
        sums->extremes[i] =
            (struct ledger_extremes){extremes[i].any, extremes[i].min, extremes[i].max};
    return rc;
}

/* summing_end() after, also when it fails. */
static int summing_begin(struct ledger *ledger, const struct ledger_filter *filter,
                         struct summing *summing) {
    uint64_t last_id;
    int rc;
    *summing = (struct summing){.since = filter->since, .until = filter->until};
    summing->reading = reading_begin(ledger, &rc);
    if (summing->reading == NULL)
        return rc;
    rc = reading_cursor(summing->reading, DB_SERIES, &summing->series);
    if (rc == 0)
        rc = reading_cursor(summing->reading, DB_ROLLUPS, &summing->rollups);
    if (rc == 0)
        rc = storage_last_id(&ledger->storage, summing->reading->txn, &last_id);
    summing->to_the_end = rc == 0 && summing->until > last_id;
    if (summing->to_the_end)
        summing->until = last_id + 1;
    /* Sums before the horizon stand at it; rollups of the time before are all there. */
    uint64_t horizon = summing->reading->horizon;
    bool is_removed = (filter->since > 0 && filter->since < horizon) || filter->until < horizon;
    if (rc == 0 && is_removed && filter->since < filter->until)
        rc = LEDGER_E_PRUNED;
    return rc;
}

static void summing_end(struct summing *summing) {
    reading_end(summing->reading);
}

/* A family that was declared when entries were gone has no sums from the beginning on. */
static int check_family(const struct summing *summing, int family,
                        const struct ledger_filter *filter) {
    uint64_t from = family == FAMILY_EVERYTHING ? 0 : summing->reading->declared[family - 1].from;
    return filter->since < from && filter->since < filter->until ? LEDGER_E_PRUNED : 0;
}

int ledger_sum_up(struct ledger *ledger, const struct ledger_filter *filter,
                  struct ledger_sums *sums) {
    uint32_t numbers[DIMENSION_LIMIT], series;
    uint32_t shape[DIMENSION_LIMIT] = {0};
    struct summing summing;
    int family;
    memset(sums, 0, sizeof *sums);
    int rc = summing_begin(ledger, filter, &summing);
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        shape[dimension] = filter->names[dimension].data != NULL;
    /* Whether it is declared does not hang on what was booked. */
    if (rc == 0)
        rc = reading_family(summing.reading, shape, &family);
    if (rc == 0)
        rc = check_family(&summing, family, filter);
    if (rc == 0) {
        rc = reading_numbers(summing.reading, filter->names, numbers);
        if (rc == 0)
            rc = reading_series(summing.reading, family, numbers, &series);
        if (rc == 0)
            rc = sum_series(&summing, series, sums);
        if (rc == MDB_NOTFOUND) /* nothing was booked there */
            rc = 0;
    }
    summing_end(&summing);
    return rc;
}

/* ---- by the values of a dimension -------------------------------------------------------- */

struct summing_by {
    struct summing summing;
    int family;
    uint8_t dimension;
    uint32_t numbers[DIMENSION_LIMIT];
    uint64_t left;
    ledger_sums_row *row;
    void *context;
    int rc;
};

/* A value with nothing booked is passed over. */
static bool sum_value(void *context, struct ledger_text value, uint32_t number) {
    struct summing_by *by = context;
    struct ledger_sums sums;
    uint32_t series;
    memset(&sums, 0, sizeof sums);
    by->numbers[by->dimension] = number;
    int rc = reading_series(by->summing.reading, by->family, by->numbers, &series);
    if (rc == 0)
        rc = sum_series(&by->summing, series, &sums);
    bool any = false;
    for (int column = 0; rc == 0 && column < COLUMN_COUNT; column++)
        any = any || sums.totals.column[column] != 0;
    if (any)
        by->row(by->context, value, &sums);
    by->rc = rc == MDB_NOTFOUND ? 0 : rc;
    return by->rc == 0 && --by->left > 0;
}

int ledger_sum_up_by(struct ledger *ledger, const struct ledger_filter *filter, uint8_t dimension,
                     uint32_t *after, uint64_t limit, ledger_sums_row *row, void *context,
                     bool *done) {
    struct summing_by by = {.dimension = dimension, .left = limit, .row = row, .context = context};
    uint32_t shape[DIMENSION_LIMIT] = {0};
    *done = true;
    int rc = summing_begin(ledger, filter, &by.summing);
    for (int i = 1; i < DIMENSION_LIMIT; i++)
        shape[i] = filter->names[i].data != NULL || i == dimension;
    if (rc == 0)
        rc = reading_family(by.summing.reading, shape, &by.family);
    if (rc == 0)
        rc = check_family(&by.summing, by.family, filter);
    if (rc == 0) {
        rc = reading_numbers(by.summing.reading, filter->names, by.numbers);
        if (rc == 0)
            rc = names_walk(by.summing.reading->txn, reading_dbi(by.summing.reading, DB_NAMES),
                            dimension, after, sum_value, &by);
        *done = by.left > 0;
        if (rc == MDB_NOTFOUND) /* a name that was never used */
            rc = 0;
        if (rc == 0)
            rc = by.rc;
    }
    summing_end(&by.summing);
    return rc;
}
