/* Ledger time: microseconds since the Unix epoch that never go back.
 *
 * System mode: a straight line through (anchor_boot, anchor_ledger) over CLOCK_BOOTTIME, whose
 * slope is 1 + rate_ppm / 10^6. clock_tick() lays the line anew about once a second, so that
 * ledger time drifts towards the wall clock by at most CLOCK_SLEW_PPM; a wall clock that jumps
 * ahead by more than CLOCK_JUMP_US is reported and followed only by clock_accept().
 * Manual mode: a number that the caller moves forward.
 *
 * The structure lives in the gate page, where other processes of this boot can read it.
 *
 * Thread class: clock_now() any thread, wait-free; everything else one thread at a time (the
 * holder of the write lease). All functions but the two readers of the machine's clocks are
 * pure: the time enters as an argument.
 */
#ifndef LEDGER_CLOCK_H
#define LEDGER_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CLOCK_SLEW_PPM 500
#define CLOCK_JUMP_US INT64_C(60000000)

enum clock_mode { CLOCK_MODE_SYSTEM = 0, CLOCK_MODE_MANUAL = 1 };

/* One laid line. Never changed while it is the current one. */
struct clock_line {
    _Atomic int64_t boot_us;
    _Atomic int64_t ledger_us;
    _Atomic int64_t rate_ppm;
};

/* The line in force is lines[generation % CLOCK_LINES]. A new one goes into the next slot and
 * is then named by `generation`, so a reader never waits for a writer; it reads again only in
 * the absurd case that CLOCK_LINES - 1 new lines were laid while it read one. */
#define CLOCK_LINES 8

struct clock {
    _Atomic uint32_t mode;
    _Atomic uint32_t generation;
    struct clock_line lines[CLOCK_LINES];
};

/* The machine's clocks in microseconds. Both come from the vDSO on Linux: no system call. */
int64_t clock_boottime_us(void);
int64_t clock_wall_us(void);

/* Starts at `ledger_us`, which the caller chose as the latest of all known times. */
void clock_start(struct clock *clock, enum clock_mode mode, int64_t ledger_us, int64_t boot_us);

/* Ledger time at boot time `boot_us` (ignored in manual mode). */
int64_t clock_now(const struct clock *clock, int64_t boot_us);

/* Steers towards `wall_us`; true when the wall clock is so far ahead that it is not followed.
 * Does nothing in manual mode. */
bool clock_tick(struct clock *clock, int64_t boot_us, int64_t wall_us);

/* Adopts a wall clock that is ahead, at once. One that is behind is never adopted. */
void clock_accept(struct clock *clock, int64_t boot_us, int64_t wall_us);

/* Manual mode: 0, LEDGER_E_NOT_MANUAL, or LEDGER_E_BACKWARDS with the clock unchanged. */
int clock_set(struct clock *clock, int64_t ledger_us);

#endif
