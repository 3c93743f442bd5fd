/* A look over msgpack bytes before msgpack-c is let near them: a nested header that announces
 * 16 million elements makes it reserve gigabytes, and depth is its stack.
 *
 * Thread class: any; allocates nothing. */
#ifndef LEDGER_MSGPACK_BOUND_H
#define LEDGER_MSGPACK_BOUND_H

#include <stdbool.h>
#include <stddef.h>

#define MSGPACK_DEPTH_MAX 8

/* True iff `data` is exactly one well-formed object, nested at most MSGPACK_DEPTH_MAX deep,
 * whose every announced element and byte is there. */
bool msgpack_is_bounded(const void *data, size_t size);

#endif
