/* A payload as a term and back: what a caller gives comes back as it was.
 *
 *   map                 map; keys are atoms, binaries or integers
 *   proper list         array
 *   binary              str if it is UTF-8, else bin
 *   integer             int; beyond 64 bits ext 2: sign u8, magnitude, least significant byte first
 *   float               float64
 *   true, false, nil    true, false, nil
 *   other atoms         ext 1: the name in UTF-8. Where the reading VM does not have the atom, the
 *                       name: stored data makes no atoms
 *
 * Anything else (tuples, pids, functions, bit strings, improper lists) is refused. A map is always
 * written in the order of its keys, so that the same term gives the same bytes.
 *
 * Thread class: any. */
#ifndef COST_LEDGER_PAYLOAD_TERM_H
#define COST_LEDGER_PAYLOAD_TERM_H

#include <erl_nif.h>

#include "../core/ledger.h"

/* Nested so deep, the payload's own map counted. */
#define PAYLOAD_DEPTH_MAX 24

enum payload_result {
    PAYLOAD_PACKED,
    PAYLOAD_REFUSED, /* something in it cannot be kept */
    PAYLOAD_TOO_DEEP,
    PAYLOAD_TOO_MUCH, /* more than was allowed to be done on this thread */
    PAYLOAD_NO_MEMORY
};

/* At most about `bytes` are written. */
enum payload_result get_payload(ErlNifEnv *env, ERL_NIF_TERM term, size_t bytes,
                                struct entry_buffer *buffer);

/* {Key, Value} terms of the map, into arrays of `capacity`; how many. A key that the API has as an
 * atom is one. 0 for a payload that cannot be read. */
size_t make_payload(ErlNifEnv *env, struct ledger_text map, ERL_NIF_TERM *keys,
                    ERL_NIF_TERM *values, size_t capacity);

/* An atom where the VM has it, else a binary. */
ERL_NIF_TERM make_known_atom(ErlNifEnv *env, struct ledger_text text);

#endif
