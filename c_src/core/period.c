#include "period.h"

#define DAY_MS INT64_C(86400000)

static int64_t floor_divide(int64_t a, int64_t b) {
    int64_t quotient = a / b;
    return a % b < 0 ? quotient - 1 : quotient;
}

/* Days from 1970-01-01 to the first of a month of the proleptic Gregorian calendar. The year is
 * taken to begin in March, so that the leap day is its last. */
static int64_t days_to_month(int64_t year, int month) {
    int64_t march_year = month > 2 ? year : year - 1;
    int64_t era = floor_divide(march_year, 400);
    int64_t year_of_era = march_year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* The year and month that a day lies in. */
static void month_of_day(int64_t day, int64_t *year, int *month) {
    int64_t shifted = day + 719468;
    int64_t era = floor_divide(shifted, 146097);
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    *month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
    *year = year_of_era + era * 400 + (*month <= 2 ? 1 : 0);
}

void period_bounds(enum rule_window window, int32_t offset_minutes, int64_t ms, int64_t *start,
                   int64_t *end) {
    int64_t offset_ms = INT64_C(60000) * offset_minutes;
    int64_t first = floor_divide(ms + offset_ms, DAY_MS), next = first + 1;
    if (window == WINDOW_WEEK) {
        /* Day 0 was a Thursday. */
        int64_t day_of_week = first + 3 - 7 * floor_divide(first + 3, 7);
        first -= day_of_week;
        next = first + 7;
    } else if (window == WINDOW_MONTH) {
        int64_t year;
        int month;
        month_of_day(first, &year, &month);
        first = days_to_month(year, month);
        next = month == 12 ? days_to_month(year + 1, 1) : days_to_month(year, month + 1);
    }
    *start = first * DAY_MS - offset_ms;
    *end = next * DAY_MS - offset_ms;
}
