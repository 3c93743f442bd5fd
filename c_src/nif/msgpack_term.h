/* A written msgpack object as a term: maps and lists, strings and bytes as binaries, `nil`,
 * `true`, `false`. Floats do not occur in a ledger and become `undefined`. Thread class: any. */
#ifndef COST_LEDGER_MSGPACK_TERM_H
#define COST_LEDGER_MSGPACK_TERM_H

#include <erl_nif.h>

#include "../core/ledger.h"

ERL_NIF_TERM make_msgpack(ErlNifEnv *env, struct ledger_text written);

#endif
