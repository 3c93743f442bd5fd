#include "deadlines.h"

#include <errno.h>
#include <stdlib.h>

static bool is_before(const struct deadline *a, const struct deadline *b) {
    return a->us != b->us ? a->us < b->us : a->hold < b->hold;
}

void deadlines_free(struct deadlines *deadlines) {
    free(deadlines->heap);
    *deadlines = (struct deadlines){0};
}

void deadlines_clear(struct deadlines *deadlines) {
    deadlines->count = 0;
}

int deadlines_push(struct deadlines *deadlines, uint64_t us, uint64_t hold) {
    if (deadlines->count == deadlines->capacity) {
        size_t capacity = deadlines->capacity == 0 ? 64 : 2 * deadlines->capacity;
        struct deadline *grown = realloc(deadlines->heap, capacity * sizeof *grown);
        if (grown == NULL)
            return ENOMEM;
        deadlines->heap = grown;
        deadlines->capacity = capacity;
    }
    struct deadline new = {us, hold};
    size_t at = deadlines->count++;
    while (at > 0 && is_before(&new, &deadlines->heap[(at - 1) / 2])) {
        deadlines->heap[at] = deadlines->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    deadlines->heap[at] = new;
    return 0;
}

const struct deadline *deadlines_first(const struct deadlines *deadlines) {
    return deadlines->count == 0 ? NULL : &deadlines->heap[0];
}

void deadlines_pop(struct deadlines *deadlines) {
    struct deadline last = deadlines->heap[--deadlines->count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < deadlines->count) {
        if (child + 1 < deadlines->count &&
            is_before(&deadlines->heap[child + 1], &deadlines->heap[child]))
            child++;
        if (!is_before(&deadlines->heap[child], &last))
            break;
        deadlines->heap[at] = deadlines->heap[child];
        at = child;
    }
    deadlines->heap[at] = last;
}
