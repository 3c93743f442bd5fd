/* When live holds end by themselves: a heap in memory over the `holds` database. It may name
 * holds that are gone, or that were extended meanwhile; whoever takes one looks at its row. After
 * an aborted transaction, and when it has grown far beyond what is live, it is made anew.
 *
 * Thread class: the holder of the write lease. */
#ifndef LEDGER_DEADLINES_H
#define LEDGER_DEADLINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct deadline {
    uint64_t us; /* 0: due at once */
    uint64_t hold;
};

struct deadlines {
    struct deadline *heap;
    size_t count;
    size_t capacity;
    bool fresh; /* false: to be made anew */
};

void deadlines_free(struct deadlines *deadlines);
void deadlines_clear(struct deadlines *deadlines);
/* 0 or ENOMEM. */
int deadlines_push(struct deadlines *deadlines, uint64_t us, uint64_t hold);
/* The earliest, or NULL. */
const struct deadline *deadlines_first(const struct deadlines *deadlines);
void deadlines_pop(struct deadlines *deadlines);

#endif
