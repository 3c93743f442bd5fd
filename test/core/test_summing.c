/* Sums of a time, at the edges of hours and days. */
#include "records.h"

#define HOUR_US ((uint64_t)HOUR_MS * 1000)
#define DAY_US ((uint64_t)DAY_MS * 1000)

/* Midnight. */
static const uint64_t day = (uint64_t)START_US / DAY_US * DAY_US + DAY_US;

static struct ledger *open_with_users(const char *directory) {
    struct declared_series families[] = {FAMILY(DIMENSION_USER),
                                         FAMILY(DIMENSION_ORG, DIMENSION_USER)};
    struct ledger_options options = options_for(directory);
    struct ledger_policy policy = policy_of(NULL, 0);
    options.policy = &policy;
    options.series = families;
    options.series_count = LENGTH(families);
    return open_with(&options);
}

static uint64_t book_at(struct ledger *ledger, uint64_t at_us, const char *user, int64_t cost) {
    struct ledger_entry entry = priced(user, cost);
    entry.duration_ms = 1000 - cost;
    at_time(ledger, (int64_t)at_us);
    uint64_t id = book_entry(ledger, &entry);
    assert_int_equal(id, at_us);
    return id;
}

static struct ledger_sums between(struct ledger *ledger, const char *user, uint64_t since,
                                  uint64_t until) {
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter = {.names = names, .since = since, .until = until};
    struct ledger_sums sums;
    if (user != NULL)
        names[DIMENSION_USER] = text(user);
    assert_int_equal(ledger_sum_up(ledger, &filter, &sums), 0);
    return sums;
}

static void assert_between(struct ledger *ledger, uint64_t since, uint64_t until, int64_t cost,
                           int64_t min, int64_t max) {
    struct ledger_sums sums = between(ledger, "ada", since, until);
    assert_sum_equal(sums.totals.column[COLUMN_COST], cost);
    assert_int_equal(sums.extremes[0].any, cost > 0);
    assert_int_equal(sums.extremes[0].min, min);
    assert_int_equal(sums.extremes[0].max, max);
    assert_int_equal(sums.extremes[1].any, cost > 0);
    assert_int_equal(sums.extremes[1].min, cost > 0 ? 1000 - max : 0);
    assert_int_equal(sums.extremes[1].max, cost > 0 ? 1000 - min : 0);
    assert_false(sums.extremes[2].any || sums.extremes[3].any);
}

static void sums_are_exact_to_the_microsecond(void **state) {
    struct ledger *ledger = open_with_users(*state);
    book_at(ledger, day - 1, "ada", 1);
    book_at(ledger, day, "ada", 2);
    book_at(ledger, day + 1, "bob", 64);
    book_at(ledger, day + HOUR_US - 1, "ada", 4);
    book_at(ledger, day + HOUR_US, "ada", 8);
    book_at(ledger, day + DAY_US - 1, "ada", 16);
    book_at(ledger, day + DAY_US, "ada", 32);
    assert_between(ledger, 0, UINT64_MAX, 63, 1, 32);
    assert_between(ledger, day, day + DAY_US, 30, 2, 16);
    assert_between(ledger, day, day + DAY_US + 1, 62, 2, 32);
    assert_between(ledger, day + 1, day + DAY_US, 28, 4, 16);
    assert_between(ledger, day - 1, day + DAY_US - 1, 15, 1, 8);
    assert_between(ledger, day, day + HOUR_US, 6, 2, 4);
    assert_between(ledger, day, day + HOUR_US - 1, 2, 2, 2);
    assert_between(ledger, day + 1, day + HOUR_US, 4, 4, 4);
    assert_between(ledger, day + HOUR_US, day + HOUR_US + 1, 8, 8, 8);
    assert_between(ledger, day + HOUR_US + 1, day + DAY_US - 1, 0, 0, 0);
    assert_between(ledger, day, day, 0, 0, 0);
    assert_between(ledger, day + 5, day, 0, 0, 0);
    assert_between(ledger, UINT64_MAX, UINT64_MAX, 0, 0, 0);
    assert_between(ledger, day + DAY_US, UINT64_MAX, 32, 32, 32);
    assert_between(ledger, day + DAY_US + 1, UINT64_MAX, 0, 0, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void runs_have_extremes_of_their_own(void **state) {
    struct ledger *ledger = open_with_users(*state);
    struct ledger_entry run = run_of("ada", 700), unpriced = invocation("executing");
    book_at(ledger, day, "ada", 5);
    run.duration_ms = 9000;
    book_entry(ledger, &run);
    unpriced.names[DIMENSION_USER] = text("ada");
    unpriced.duration_ms = 3;
    uint64_t id = book_entry(ledger, &unpriced);
    struct ledger_entry correction = correction_of(id, 400000);
    assert_int_equal(record(ledger, &correction), 0);
    for (int by_items = 0; by_items < 2; by_items++) {
        uint64_t until = by_items ? UINT64_MAX : day + DAY_US;
        if (!by_items)
            book_at(ledger, day + 2 * DAY_US, "bob", 1);
        struct ledger_sums sums = between(ledger, "ada", by_items ? day : 0, until);
        assert_int_equal(sums.extremes[0].min, 5); /* a correction is no call */
        assert_int_equal(sums.extremes[0].max, 5);
        assert_int_equal(sums.extremes[1].min, 3);
        assert_int_equal(sums.extremes[1].max, 995);
        assert_int_equal(sums.extremes[2].min, 700);
        assert_int_equal(sums.extremes[2].max, 700);
        assert_int_equal(sums.extremes[3].max, 9000);
    }
    close_ledger(ledger);
}

static void an_empty_ledger_sums_up_to_nothing(void **state) {
    static const struct totals nothing;
    struct ledger *ledger = open_with_users(*state);
    struct ledger_sums sums = between(ledger, NULL, 0, UINT64_MAX);
    assert_memory_equal(&sums.totals, &nothing, sizeof nothing);
    assert_false(sums.extremes[0].any);
    sums = between(ledger, "nobody", 0, UINT64_MAX);
    assert_memory_equal(&sums.totals, &nothing, sizeof nothing);
    close_ledger(ledger);
}

static void count_value(void *context, struct ledger_text value, const struct ledger_sums *sums) {
    size_t *values = context;
    (void)value;
    assert_sum_equal(sums->totals.column[COLUMN_INVOCATIONS], 1);
    ++*values;
}

static void what_is_not_declared_is_refused_booked_or_not(void **state) {
    struct ledger *ledger = open_with_users(*state);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter = {.names = names, .until = UINT64_MAX};
    struct ledger_sums sums;
    uint32_t after = 0;
    size_t values = 0;
    bool done;
    names[DIMENSION_MODEL] = text("never used");
    assert_int_equal(ledger_sum_up(ledger, &filter, &sums), LEDGER_E_UNDECLARED_SERIES);
    assert_int_equal(
        ledger_sum_up_by(ledger, &filter, DIMENSION_USER, &after, 9, count_value, &values, &done),
        LEDGER_E_UNDECLARED_SERIES);
    names[DIMENSION_MODEL] = (struct ledger_text){0};
    names[DIMENSION_ORG] = text("never used");
    assert_int_equal(ledger_sum_up(ledger, &filter, &sums), LEDGER_E_UNDECLARED_SERIES);
    assert_int_equal(
        ledger_sum_up_by(ledger, &filter, DIMENSION_USER, &after, 9, count_value, &values, &done),
        0);
    assert_true(done);
    assert_int_equal(values, 0);
    close_ledger(ledger);
}

/* A value with nothing booked counts to a page as well, but is not told. */
static void values_come_in_pages_of_any_size(void **state) {
    struct ledger *ledger = open_with_users(*state);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter = {.names = names, .until = UINT64_MAX};
    char user[8] = "user a";
    for (int i = 0; i < 20; i++) {
        struct ledger_entry call = priced(user, 1);
        user[5] = (char)('a' + i);
        if (i % 5 == 0)
            assert_true(reserve(ledger, &call, 0) != 0); /* which names it only */
        else
            book_entry(ledger, &call);
    }
    for (uint64_t limit = 1; limit < 25; limit++) {
        size_t values = 0, calls = 0;
        uint32_t after = 0;
        bool done = false;
        for (; !done; calls++)
            assert_int_equal(ledger_sum_up_by(ledger, &filter, DIMENSION_USER, &after, limit,
                                              count_value, &values, &done),
                             0);
        assert_int_equal(values, 16);
        assert_int_equal(calls, 20 / limit + 1);
    }
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(sums_are_exact_to_the_microsecond),
        in_directory(runs_have_extremes_of_their_own),
        in_directory(an_empty_ledger_sums_up_to_nothing),
        in_directory(what_is_not_declared_is_refused_booked_or_not),
        in_directory(values_come_in_pages_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
