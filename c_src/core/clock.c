#include "clock.h"

#include <time.h>

#include "error.h"

static int64_t read_clock(clockid_t id) {
    struct timespec now;
    if (clock_gettime(id, &now) != 0)
        return 0;
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_boottime_us(void) {
    return read_clock(CLOCK_BOOTTIME);
}

int64_t clock_wall_us(void) {
    return read_clock(CLOCK_REALTIME);
}

static int64_t on_line(int64_t boot_us, int64_t anchor_boot, int64_t anchor_ledger, int64_t rate) {
    int64_t elapsed = boot_us - anchor_boot;
    if (elapsed < 0) /* an anchor laid on another core a moment ago */
        elapsed = 0;
    return anchor_ledger + elapsed + elapsed / 1000000 * rate + elapsed % 1000000 * rate / 1000000;
}

static void lay_line(struct clock *clock, int64_t boot_us, int64_t ledger_us, int64_t rate) {
    uint32_t next = atomic_load_explicit(&clock->generation, memory_order_relaxed) + 1;
    struct clock_line *line = &clock->lines[next % CLOCK_LINES];
    atomic_store_explicit(&line->boot_us, boot_us, memory_order_relaxed);
    atomic_store_explicit(&line->ledger_us, ledger_us, memory_order_relaxed);
    atomic_store_explicit(&line->rate_ppm, rate, memory_order_relaxed);
    atomic_store_explicit(&clock->generation, next, memory_order_release);
}

void clock_start(struct clock *clock, enum clock_mode mode, int64_t ledger_us, int64_t boot_us) {
    atomic_store(&clock->mode, mode);
    lay_line(clock, boot_us, ledger_us, 0);
}

int64_t clock_now(const struct clock *clock, int64_t boot_us) {
    for (;;) {
        uint32_t generation = atomic_load_explicit(&clock->generation, memory_order_acquire);
        const struct clock_line *line = &clock->lines[generation % CLOCK_LINES];
        int64_t boot = atomic_load_explicit(&line->boot_us, memory_order_relaxed);
        int64_t ledger = atomic_load_explicit(&line->ledger_us, memory_order_relaxed);
        int64_t rate = atomic_load_explicit(&line->rate_ppm, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        uint32_t after = atomic_load_explicit(&clock->generation, memory_order_relaxed);
        if (after - generation >= CLOCK_LINES - 1)
            continue;
        if (atomic_load_explicit(&clock->mode, memory_order_relaxed) == CLOCK_MODE_MANUAL)
            return ledger;
        return on_line(boot_us, boot, ledger, rate);
    }
}

bool clock_tick(struct clock *clock, int64_t boot_us, int64_t wall_us) {
    if (atomic_load(&clock->mode) == CLOCK_MODE_MANUAL)
        return false;
    int64_t now = clock_now(clock, boot_us);
    int64_t ahead = wall_us - now;
    int64_t rate = 0;
    if (ahead < 0)
        rate = ahead < -CLOCK_SLEW_PPM ? -CLOCK_SLEW_PPM : ahead;
    else if (ahead <= CLOCK_JUMP_US)
        rate = ahead > CLOCK_SLEW_PPM ? CLOCK_SLEW_PPM : ahead;
    lay_line(clock, boot_us, now, rate);
    return ahead > CLOCK_JUMP_US;
}

void clock_accept(struct clock *clock, int64_t boot_us, int64_t wall_us) {
    if (atomic_load(&clock->mode) == CLOCK_MODE_MANUAL)
        return;
    int64_t now = clock_now(clock, boot_us);
    lay_line(clock, boot_us, wall_us > now ? wall_us : now, 0);
}

int clock_set(struct clock *clock, int64_t ledger_us) {
    if (atomic_load(&clock->mode) != CLOCK_MODE_MANUAL)
        return LEDGER_E_NOT_MANUAL;
    if (ledger_us < clock_now(clock, 0))
        return LEDGER_E_BACKWARDS;
    lay_line(clock, 0, ledger_us, 0);
    return 0;
}
