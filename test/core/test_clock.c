/* Ledger time. Boot time and wall time are arguments, so nothing here waits. */
#include "support.h"

#include <pthread.h>

#define SECOND INT64_C(1000000)

static struct clock started(enum clock_mode mode, int64_t ledger_us, int64_t boot_us) {
    struct clock clock = {0};
    clock_start(&clock, mode, ledger_us, boot_us);
    return clock;
}

static void it_starts_where_it_was_told_and_follows_the_boot_clock(void **state) {
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, 5000);
    (void)state;
    assert_int_equal(clock_now(&clock, 5000), START_US);
    assert_int_equal(clock_now(&clock, 5001), START_US + 1);
    assert_int_equal(clock_now(&clock, 5000 + 3600 * SECOND), START_US + 3600 * SECOND);
}

static void a_boot_clock_read_before_the_anchor_does_not_go_back(void **state) {
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, 5000);
    (void)state;
    assert_int_equal(clock_now(&clock, 4990), START_US);
}

/* Random ticks, a wall clock that runs wild: time must not go back, and not run more than 500
 * ppm off the boot clock. */
static void it_never_goes_back_and_never_hurries(void **state) {
    int64_t boot = 1000, wall = START_US;
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, boot);
    int64_t last = clock_now(&clock, boot);
    (void)state;
    for (size_t i = rounds(200000); i > 0; i--) {
        int64_t step = (int64_t)random_below(random_below(2) ? 3 * SECOND : 50);
        boot += step;
        wall += step + (int64_t)random_below(2001) - 1000;
        if (random_below(50) == 0)
            wall += (int64_t)random_below(400 * SECOND) - 200 * SECOND;
        int64_t now = clock_now(&clock, boot);
        int64_t slack = step * CLOCK_SLEW_PPM / SECOND + 2;
        assert_true(now >= last);
        assert_true(now - last >= step - slack);
        assert_true(now - last <= step + slack);
        last = now;
        if (random_below(3) == 0)
            clock_tick(&clock, boot, wall);
        assert_int_equal(clock_now(&clock, boot), now);
    }
}

static int64_t drift_after(int64_t ahead, int seconds) {
    int64_t boot = 0;
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, boot);
    for (int i = 0; i < seconds; i++, boot += SECOND)
        assert_false(clock_tick(&clock, boot, START_US + ahead + boot));
    return clock_now(&clock, boot) - START_US - boot;
}

static void it_drifts_towards_the_wall_clock_and_stays_there(void **state) {
    (void)state;
    assert_int_equal(drift_after(SECOND, 1), CLOCK_SLEW_PPM);
    assert_int_equal(drift_after(-SECOND, 1), -CLOCK_SLEW_PPM);
    assert_in_range(drift_after(SECOND, 2100), SECOND - 2, SECOND + 2);
    assert_in_range(drift_after(-SECOND, 2100) + 2 * SECOND, SECOND - 2, SECOND + 2);
    assert_int_equal(drift_after(0, 100), 0);
    assert_int_equal(drift_after(300, 10), 300);
}

static void a_jump_of_a_minute_is_followed_and_a_longer_one_reported(void **state) {
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, 0);
    (void)state;
    assert_false(clock_tick(&clock, 0, START_US + CLOCK_JUMP_US));
    assert_int_equal(clock_now(&clock, SECOND), START_US + SECOND + CLOCK_SLEW_PPM);
    clock = started(CLOCK_MODE_SYSTEM, START_US, 0);
    assert_true(clock_tick(&clock, 0, START_US + CLOCK_JUMP_US + 1));
    assert_int_equal(clock_now(&clock, SECOND), START_US + SECOND);
    assert_true(clock_tick(&clock, SECOND, START_US + 2 * CLOCK_JUMP_US));
}

static void a_wall_clock_far_behind_only_slows_it(void **state) {
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, 0);
    (void)state;
    assert_false(clock_tick(&clock, 0, START_US - 1000 * CLOCK_JUMP_US));
    assert_int_equal(clock_now(&clock, SECOND), START_US + SECOND - CLOCK_SLEW_PPM);
}

static void accepting_adopts_a_wall_clock_that_is_ahead(void **state) {
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, 0);
    (void)state;
    clock_accept(&clock, SECOND, START_US + 1000 * CLOCK_JUMP_US);
    assert_int_equal(clock_now(&clock, SECOND), START_US + 1000 * CLOCK_JUMP_US);
    assert_int_equal(clock_now(&clock, 2 * SECOND), START_US + 1000 * CLOCK_JUMP_US + SECOND);
}

static void accepting_never_adopts_one_that_is_behind(void **state) {
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, 0);
    (void)state;
    clock_accept(&clock, SECOND, START_US - SECOND);
    assert_int_equal(clock_now(&clock, SECOND), START_US + SECOND);
}

static void only_a_system_clock_refuses_to_be_set(void **state) {
    struct clock clock = started(CLOCK_MODE_SYSTEM, START_US, 0);
    (void)state;
    assert_int_equal(clock_set(&clock, START_US + SECOND), LEDGER_E_NOT_MANUAL);
    assert_int_equal(clock_now(&clock, 0), START_US);
}

static void manual_time_stands_still_until_it_is_set(void **state) {
    struct clock clock = started(CLOCK_MODE_MANUAL, 7, 0);
    (void)state;
    assert_int_equal(clock_now(&clock, 1000 * SECOND), 7);
    assert_int_equal(clock_set(&clock, START_US), 0);
    assert_int_equal(clock_now(&clock, 0), START_US);
    assert_int_equal(clock_now(&clock, 1000 * SECOND), START_US);
    assert_int_equal(clock_set(&clock, START_US), 0);
    assert_int_equal(clock_set(&clock, START_US - 1), LEDGER_E_BACKWARDS);
    assert_int_equal(clock_now(&clock, 0), START_US);
}

static void manual_time_ignores_the_wall_clock(void **state) {
    struct clock clock = started(CLOCK_MODE_MANUAL, 7, 0);
    (void)state;
    assert_false(clock_tick(&clock, SECOND, START_US));
    clock_accept(&clock, SECOND, START_US);
    assert_int_equal(clock_now(&clock, SECOND), 7);
}

static struct clock shared;
static _Atomic bool stop;

/* Boot time stands still, so every line passes through one point at every reading. */
static void *read_on(void *wrong) {
    while (!atomic_load(&stop))
        if (clock_now(&shared, 50 * SECOND) < START_US + 50 * SECOND - 1 ||
            clock_now(&shared, 50 * SECOND) > START_US + 50 * SECOND + 1)
            *(bool *)wrong = true;
    return NULL;
}

static void readers_never_see_half_a_line(void **state) {
    bool wrong = false;
    pthread_t reader;
    (void)state;
    clock_start(&shared, CLOCK_MODE_SYSTEM, START_US, 0);
    assert_int_equal(pthread_create(&reader, NULL, read_on, &wrong), 0);
    /* Two ways to write the same line: anchored at 0, and anchored 50 s later. */
    for (size_t i = rounds(1000000); i > 0; i--)
        clock_start(&shared, CLOCK_MODE_SYSTEM, START_US + (i % 2) * 50 * SECOND,
                    (int64_t)(i % 2) * 50 * SECOND);
    atomic_store(&stop, true);
    pthread_join(reader, NULL);
    assert_false(wrong);
}

static void the_machines_clocks_can_be_read(void **state) {
    (void)state;
    int64_t before = clock_boottime_us();
    assert_true(before > 0);
    assert_true(clock_boottime_us() >= before);
    assert_true(clock_wall_us() > START_US);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_starts_where_it_was_told_and_follows_the_boot_clock),
        cmocka_unit_test(a_boot_clock_read_before_the_anchor_does_not_go_back),
        cmocka_unit_test(it_never_goes_back_and_never_hurries),
        cmocka_unit_test(it_drifts_towards_the_wall_clock_and_stays_there),
        cmocka_unit_test(a_jump_of_a_minute_is_followed_and_a_longer_one_reported),
        cmocka_unit_test(a_wall_clock_far_behind_only_slows_it),
        cmocka_unit_test(accepting_adopts_a_wall_clock_that_is_ahead),
        cmocka_unit_test(accepting_never_adopts_one_that_is_behind),
        cmocka_unit_test(only_a_system_clock_refuses_to_be_set),
        cmocka_unit_test(manual_time_stands_still_until_it_is_set),
        cmocka_unit_test(manual_time_ignores_the_wall_clock),
        cmocka_unit_test(readers_never_see_half_a_line),
        cmocka_unit_test(the_machines_clocks_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
