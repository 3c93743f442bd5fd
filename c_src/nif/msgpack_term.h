/* A written msgpack object as a term: maps and lists, strings and bytes as binaries, `nil`,
 * `true`, `false`. Floats do not occur in a ledger and become `undefined`. Thread class: any. */
#ifndef COST_LEDGER_MSGPACK_TERM_H
#define COST_LEDGER_MSGPACK_TERM_H

#include <erl_nif.h>

#include "../core/ledger.h"

/* The other way: maps, proper lists, integers of 64 bits, binaries (text: UTF-8), true, false and
 * nil; other atoms as text. False for anything else, too deep, or without memory. */
bool get_msgpack(ErlNifEnv *env, ERL_NIF_TERM term, struct entry_buffer *buffer);

ERL_NIF_TERM make_msgpack(ErlNifEnv *env, struct ledger_text written);
/* The same of a map without one of its keys, the terms of which are not made. NULL: with all. */
ERL_NIF_TERM make_msgpack_without(ErlNifEnv *env, struct ledger_text written, const char *key);

#endif
