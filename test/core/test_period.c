/* Days, weeks and months, against the calendar of the C library. */
#include "support.h"

#include <time.h>

#include "../../c_src/core/period.h"
#include "../../c_src/core/use.h"

static const int64_t day_ms = (int64_t)DAY_MS;

static int64_t ms_of(int year, int month, int day) {
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    return (int64_t)timegm(&tm) * 1000;
}

struct bounds {
    int64_t start;
    int64_t end;
};

static struct bounds bounds_of(enum rule_window window, int32_t offset, int64_t ms) {
    struct bounds bounds;
    period_bounds(window, offset, ms, &bounds.start, &bounds.end);
    return bounds;
}

static int64_t floor_seconds(int64_t ms) {
    return ms >= 0 ? ms / 1000 : -((999 - ms) / 1000);
}

/* Start of the period, or of the one `ahead` of it. */
static int64_t expected_start(enum rule_window window, int32_t offset, int64_t ms, int ahead) {
    time_t local = (time_t)(floor_seconds(ms) + INT64_C(60) * offset);
    struct tm tm;
    assert_non_null(gmtime_r(&local, &tm));
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    if (window == WINDOW_DAY)
        tm.tm_mday += ahead;
    else if (window == WINDOW_WEEK)
        tm.tm_mday += 7 * ahead - (tm.tm_wday + 6) % 7;
    else {
        tm.tm_mday = 1;
        tm.tm_mon += ahead;
    }
    return ((int64_t)timegm(&tm) - INT64_C(60) * offset) * 1000;
}

static void assert_as_expected(enum rule_window window, int32_t offset, int64_t ms) {
    struct bounds bounds = bounds_of(window, offset, ms);
    assert_int_equal(bounds.start, expected_start(window, offset, ms, 0));
    assert_int_equal(bounds.end, expected_start(window, offset, ms, 1));
    assert_true(bounds.start <= ms && ms < bounds.end);
}

static int32_t any_offset(void) {
    return 15 * ((int32_t)random_below(2 * RULE_OFFSET_MAX / 15 + 1) - RULE_OFFSET_MAX / 15);
}

static void periods_equal_those_of_the_c_library(void **state) {
    (void)state;
    for (size_t i = rounds(30000); i > 0; i--) {
        enum rule_window window = WINDOW_DAY + random_below(3);
        int32_t offset = any_offset();
        int64_t ms = (int64_t)random_below(LEDGER_TIME_MAX / 1000);
        assert_as_expected(window, offset, ms);
        assert_as_expected(window, offset, -(int64_t)random_below(100 * 365 * DAY_MS));
        /* at its very edges */
        struct bounds bounds = bounds_of(window, offset, ms);
        assert_as_expected(window, offset, bounds.start);
        assert_as_expected(window, offset, bounds.start - 1);
        assert_as_expected(window, offset, bounds.end - 1);
        assert_as_expected(window, offset, bounds.end);
    }
}

static void every_day_of_four_centuries_is_in_its_period(void **state) {
    int64_t step = rounds(20) == 20 ? day_ms : 29 * day_ms;
    (void)state;
    for (int64_t ms = ms_of(1970, 1, 1); ms < ms_of(2370, 1, 1); ms += step)
        for (enum rule_window window = WINDOW_DAY; window <= WINDOW_MONTH; window++)
            assert_as_expected(window, 0, ms + 1);
}

static void february_is_as_long_as_its_year_wants(void **state) {
    static const int years[][2] = {{1972, 29}, {2000, 29}, {2023, 28}, {2024, 29},
                                   {2100, 28}, {2400, 29}, {9996, 29}, {9999, 28}};
    (void)state;
    for (size_t i = 0; i < LENGTH(years); i++) {
        struct bounds february = bounds_of(WINDOW_MONTH, 0, ms_of(years[i][0], 2, 20));
        assert_int_equal(february.start, ms_of(years[i][0], 2, 1));
        assert_int_equal(february.end - february.start, years[i][1] * day_ms);
    }
}

static void december_is_followed_by_january(void **state) {
    struct bounds december = bounds_of(WINDOW_MONTH, 0, ms_of(2023, 12, 31) + day_ms - 1);
    (void)state;
    assert_int_equal(december.start, ms_of(2023, 12, 1));
    assert_int_equal(december.end, ms_of(2024, 1, 1));
}

static void a_week_begins_on_monday(void **state) {
    (void)state;
    /* START_US is a Tuesday in UTC */
    struct bounds week = bounds_of(WINDOW_WEEK, 0, START_US / 1000);
    assert_int_equal(week.start, ms_of(2023, 11, 13));
    assert_int_equal(week.end, ms_of(2023, 11, 20));
    assert_int_equal(bounds_of(WINDOW_WEEK, 0, week.end - 1).start, week.start);
    assert_int_equal(bounds_of(WINDOW_WEEK, 0, week.end).start, week.end);
}

static void midnight_is_earlier_in_the_east(void **state) {
    int64_t midnight = ms_of(2024, 5, 6);
    (void)state;
    assert_int_equal(bounds_of(WINDOW_DAY, 120, midnight).start, midnight - 2 * (int64_t)HOUR_MS);
    assert_int_equal(bounds_of(WINDOW_DAY, -120, midnight).start,
                     midnight + 2 * (int64_t)HOUR_MS - day_ms);
}

/* Ledger time begins in 1970; a period of that time may have begun before it. */
static void a_window_does_not_begin_before_time_does(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 1);
    (void)state;
    assert_true(bounds_of(WINDOW_WEEK, 0, 0).start < 0);
    for (enum rule_window window = WINDOW_DAY; window <= WINDOW_MONTH; window++) {
        rule = calendar(rule, window, 600);
        assert_int_equal(use_window_start(&rule, 0, 0), 1); /* the first id that there can be */
        assert_int_equal(use_window_start(&rule, 0, 5000000), 1);
    }
    rule = within(rule, HOUR_MS);
    assert_int_equal(use_window_start(&rule, 0, 5000000), 1);
    assert_int_equal(use_window_start(&rule, 0, ((int64_t)HOUR_MS + 1) * 1000), 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(periods_equal_those_of_the_c_library),
        cmocka_unit_test(every_day_of_four_centuries_is_in_its_period),
        cmocka_unit_test(february_is_as_long_as_its_year_wants),
        cmocka_unit_test(december_is_followed_by_january),
        cmocka_unit_test(a_week_begins_on_monday),
        cmocka_unit_test(midnight_is_earlier_in_the_east),
        cmocka_unit_test(a_window_does_not_begin_before_time_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
