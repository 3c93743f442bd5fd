/* A look over msgpack bytes before msgpack-c is let near them: a nested header that announces
 * 16 million elements makes it reserve gigabytes, and depth is its stack.
 *
 * Thread class: any; allocates nothing. */
#ifndef LEDGER_MSGPACK_BOUND_H
#define LEDGER_MSGPACK_BOUND_H

#include <stdbool.h>
#include <stddef.h>

#define MSGPACK_DEPTH_MAX 8
#define MSGPACK_DEPTH_LIMIT 32

/* True iff `data` is exactly one well-formed object, nested at most MSGPACK_DEPTH_MAX deep,
 * whose every announced element and byte is there. */
static inline bool msgpack_is_bounded(const void *data, size_t size);
/* The same for another depth, up to MSGPACK_DEPTH_LIMIT, beyond which msgpack-c fails. */
bool msgpack_is_bounded_to(const void *data, size_t size, size_t depth_max);
/* Moves *offset behind the object that begins there, of which the same must be true; else false,
 * and *offset stays. */
bool msgpack_skip(const void *data, size_t size, size_t depth_max, size_t *offset);

static inline bool msgpack_is_bounded(const void *data, size_t size) {
    return msgpack_is_bounded_to(data, size, MSGPACK_DEPTH_MAX);
}

#endif
