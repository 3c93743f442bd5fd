/* The resource that Erlang holds: an open ledger, with the leases and queues around it.
 *
 * States, and who may change them, always with `mutex` held:
 *
 *   OPEN    --> CLOSING   handle_close(); new calls are refused from here on
 *   CLOSING --> CLOSED    handle_close(), once no reader and no writer is inside
 *
 * A reader brackets its work with handle_enter() / handle_leave(), a writer with
 * handle_lease() / handle_release(): one writer at a time, also when the process that began a
 * commit is dead and its NIF call is still running. No call reaches the core otherwise, but
 * for the gate: it reads two atomics and the gate page, which stays mapped until the resource
 * is destroyed, so it needs neither bracket nor mutex.
 *
 * Destruction (any thread) neither waits nor touches the disk: the registry holds a reference
 * until the handle is CLOSED, so there is nothing left but memory.
 */
#ifndef COST_LEDGER_HANDLE_H
#define COST_LEDGER_HANDLE_H

#include <erl_nif.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "../core/ledger.h"

enum handle_phase { HANDLE_OPEN, HANDLE_CLOSING, HANDLE_CLOSED };

/* Atoms of declared states by their term, for the gate: open addressing, at most half full. A
 * row is written once, its atom last; when the table is full a larger copy takes its place, and
 * the old one lives until the handle is destroyed, because a gate may be reading it. */
struct state_row {
    _Atomic ERL_NIF_TERM atom; /* 0: empty; no term is 0 */
    uint32_t state;
};
struct state_table {
    struct state_table *older;
    size_t count;    /* guarded by the handle's mutex */
    size_t capacity; /* a power of two */
    struct state_row rows[];
};

struct handle {
    struct ledger *ledger;
    _Atomic bool closed;                  /* what the gate sees of `phase` */
    _Atomic(struct state_table *) states; /* replaced with `mutex` held */

    ErlNifMutex *mutex;
    ErlNifCond *changed;     /* phase, readers or leased */
    enum handle_phase phase; /* guarded by mutex */
    unsigned readers;        /* guarded by mutex */
    bool leased;             /* guarded by mutex */

    dev_t device; /* of the directory; fixed at open */
    ino_t inode;
    ErlNifPid owner; /* fixed at open */
    ErlNifMonitor owner_monitor;
    bool owner_dead; /* guarded by mutex */

    bool has_writer; /* this and the rest: guarded by mutex */
    ErlNifPid writer;
    uint64_t queued_calls, queued_calls_max;
    uint64_t queued_bytes, queued_bytes_max;

    struct handle *next; /* in the registry, guarded by its mutex */
};

/* Opens or takes over the resource type. Any load or upgrade callback. */
int handle_type_open(ErlNifEnv *env);

/* A handle over nothing yet; NULL without memory. One reference, the caller's. */
struct handle *handle_new(void);
bool handle_get(ErlNifEnv *env, ERL_NIF_TERM term, struct handle **handle);

/* False: the ledger is closing or closed. */
bool handle_enter(struct handle *handle);
void handle_leave(struct handle *handle);

/* Dirty: waits for a commit in flight. False: the ledger is closing or closed. */
bool handle_lease(struct handle *handle);
void handle_release(struct handle *handle);

/* Dirty: waits for everyone inside, then closes the ledger. Safe to call twice. */
void handle_close(struct handle *handle);

/* Lets the gate know the atom of a declared state. False without memory. */
bool handle_add_state(struct handle *handle, ERL_NIF_TERM atom, uint32_t state);
/* Index of a state's cell, or -1. Any thread, wait-free. */
int handle_find_state(struct handle *handle, ERL_NIF_TERM atom);

#endif
