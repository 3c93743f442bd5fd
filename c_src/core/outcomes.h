/* What became of recent requests, by token: for callers whose writer died between the commit
 * and the reply. A ring of the last OUTCOMES_KEPT bookings with a hash over it.
 *
 * Thread class: the holder of the write lease. Does not block. */
#ifndef LEDGER_OUTCOMES_H
#define LEDGER_OUTCOMES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OUTCOMES_KEPT 65536

struct outcomes {
    struct outcome *ring; /* OUTCOMES_KEPT */
    uint32_t *heads;      /* OUTCOMES_KEPT chains, 1 + index into the ring; 0: empty */
    uint32_t next;
    _Atomic uint64_t added; /* ever; may be read on any thread */
};

int outcomes_open(struct outcomes *outcomes);
void outcomes_close(struct outcomes *outcomes);
void outcomes_add(struct outcomes *outcomes, uint64_t token, uint64_t id, uint64_t flags);
bool outcomes_find(const struct outcomes *outcomes, uint64_t token, uint64_t *id, uint64_t *flags);

#endif
