/* The gate page: the answer to "may this state invoke now?", one word a state, in a small
 * memory-mapped file named `gate` beside the data. Derived; made anew at every open.
 *
 * The file, in the byte order of the machine (it is of no use on another one):
 *
 *        0   magic            8 bytes "CLGATE\0\1"
 *        8   boot_id         16 bytes, random, of the process that opened it
 *       24   clock            struct clock (clock.h): ledger time for other processes
 *      ...   last_seen       2 x (i64 ledger time, i64 its complement), stored in turn about
 *                            once a second: the later of those whose complement is right
 *            last_id         u64, newest entry as of the last commit
 *            state_count     u32, cells in use
 *     4096   cells            1024 x 64 bytes:
 *              ok_from_us          u64   0: allowed; T: exhausted until T; max: never
 *              critical_from_us    u64   the same for critical calls
 *              invocations         u64   of the state, as of the last commit
 *              zeros to 64 bytes         one cell is one cache line
 *    69632   names            1024 x 1024 bytes: size u16, UTF-8 text
 *
 * gate_check() reads one word and a clock. It can race neither a commit nor a close nor a page
 * fault of LMDB's map, because it never touches that map.
 *
 * Thread class: gate_check(), gate_now() any thread, wait-free. Publishing: the holder of the
 * write lease. Opening and closing: dirty threads.
 */
#ifndef LEDGER_GATE_H
#define LEDGER_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "clock.h"
#include "entry.h"
#include "error.h"
#include "policy.h"

#define GATE_ALLOWED UINT64_C(0)
#define GATE_NEVER UINT64_MAX
#define GATE_BOOT_ID_BYTES 16

/* A time that a crash in mid-store, or a stray byte, cannot turn into another. */
struct gate_seen {
    _Atomic int64_t us;
    _Atomic int64_t complement;
};

struct gate_header {
    char magic[8];
    uint8_t boot_id[GATE_BOOT_ID_BYTES];
    struct clock clock;
    struct gate_seen last_seen[2];
    _Atomic uint64_t last_id;
    _Atomic uint32_t state_count;
};

struct gate_cell {
    _Alignas(64) _Atomic uint64_t ok_from_us;
    _Atomic uint64_t critical_from_us;
    _Atomic uint64_t invocations;
};

struct gate_name {
    uint16_t size;
    char text[1022];
};

struct gate_page {
    union {
        struct gate_header header;
        char header_page[4096];
    };
    struct gate_cell cells[POLICY_STATES_MAX];
    struct gate_name names[POLICY_STATES_MAX];
};

_Static_assert(sizeof(struct gate_cell) == 64, "a cell is a cache line");
_Static_assert(sizeof(struct gate_name) == 1024, "a name slot is 1 KiB");
_Static_assert(sizeof(struct gate_header) <= 4096, "the header is a page");

/* What the file of an earlier opening still tells. Zeros when there is none or it is not one. */
struct gate_past {
    int64_t last_seen_us;
    uint64_t last_id;
    bool is_manual; /* its clock was set by hand */
};
void gate_read_past(const char *directory, struct gate_past *past);

/* Makes the file under a temporary name, with what the past one knew, maps it, locks it in
 * memory where that is allowed, and puts it in place. `boot_id` NULL: a random one.
 * On a full disk the page is in memory only (*in_memory): a ledger that is there must open, and
 * only other processes miss the file. */
int gate_open(const char *directory, const struct gate_past *past, const uint8_t *boot_id,
              struct gate_page **page, bool *in_memory, struct ledger_failure *failure);
/* The page of the process that has the ledger open, to look at; and, where none has, a page of
 * one's own, whose clock stands still at `now_us`. */
int gate_look(const char *directory, struct gate_page **page);
int gate_imagine(int64_t now_us, struct gate_page **page);

/* Does not block; the file stays. NULL is allowed. */
void gate_close(struct gate_page *page);

static inline int64_t gate_now(const struct gate_page *page) {
    return clock_now(&page->header.clock, clock_boottime_us());
}

/* True: allowed. `state` must be below state_count. */
static inline bool gate_check(const struct gate_page *page, uint32_t state) {
    uint64_t from = atomic_load_explicit(&page->cells[state].ok_from_us, memory_order_acquire);
    return from == GATE_ALLOWED || (from != GATE_NEVER && (uint64_t)gate_now(page) >= from);
}

/* Stores ledger time for the next open, over the older of the two stored. */
void gate_see(struct gate_page *page, int64_t now_us);

/* Names the cells of the states that `policy` has beyond those on the page. They must be the
 * same up to there: states are never removed. The words of a new cell may be published before
 * it is named; unpublished they are 0, GATE_ALLOWED. */
void gate_declare(struct gate_page *page, const struct ledger_policy *policy);

#endif
