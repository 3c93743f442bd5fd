/* The functions that cost_ledger_nif.erl declares, by the kind of thread they may run on. Each
 * turns terms into core structures, makes one call into the core inside the right bracket
 * (handle.h), and turns the result back.
 *
 *   gate_calls.c    normal: touch memory only, never wait for the disk or for a commit
 *   read_calls.c    dirty CPU: LMDB's pages may have to come from the disk
 *   policy_calls.c  the same, of what the policy rules
 *   open_calls.c    dirty IO: opening and closing
 *   write_calls.c   dirty IO: everything that takes the write lease; on other threads than the
 *                   readers, so that a crowd of them cannot keep a commit waiting
 */
#ifndef COST_LEDGER_CALLS_H
#define COST_LEDGER_CALLS_H

#include <erl_nif.h>

#include "handle.h"

#define NIF(name) ERL_NIF_TERM name(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
#define BADARG enif_make_badarg(env)

/* What a core function tells row by row. */
struct rows {
    ErlNifEnv *env;
    ERL_NIF_TERM list; /* newest row first */
};
/* {ok, [Row]}, or what it failed with. */
ERL_NIF_TERM make_rows(const struct rows *rows, int rc);

/* What was not found because it was removed is told with the time from which everything is kept: to
 * be called before the handle is left. */
struct outcome {
    int rc;
    uint64_t kept_from;
};
struct outcome outcome_of(struct handle *handle, int rc);
ERL_NIF_TERM make_outcome_error(ErlNifEnv *env, struct outcome outcome);

/* argv[0] as a handle, or badarg. */
#define WITH_HANDLE(handle)                                                                        \
    struct handle *handle;                                                                         \
    (void)argc;                                                                                    \
    if (!handle_get(env, argv[0], &handle))                                                        \
    return BADARG

/* open_calls.c */
NIF(nif_open);
NIF(nif_close);

/* gate_calls.c */
NIF(nif_gate);
NIF(nif_allowed_from);
NIF(nif_now);
NIF(nif_is_closed);
NIF(nif_declare);
NIF(nif_attach);
NIF(nif_writer);
NIF(nif_submit);
NIF(nif_pack);
NIF(nif_to_msgpack);
NIF(nif_from_msgpack);
NIF(nif_encode);

/* write_calls.c */
NIF(nif_commit);
NIF(nif_build);
NIF(nif_prune);
NIF(nif_outcome);
NIF(nif_set_policy);
NIF(nif_tick);
NIF(nif_accept_clock);
NIF(nif_set_clock);
NIF(nif_advance_clock);

/* read_calls.c */
NIF(nif_count);
NIF(nif_list);
NIF(nif_record);
NIF(nif_run);
NIF(nif_known);
NIF(nif_sum_up);
NIF(nif_sum_up_by);
NIF(nif_fetch);
NIF(nif_facts);

/* policy_calls.c */
NIF(nif_check);
NIF(nif_statuses);
NIF(nif_balance);
NIF(nif_hold);
NIF(nif_holds);
NIF(nif_series);
NIF(nif_digest);
NIF(nif_policy);
NIF(nif_price);
NIF(nif_prices);
NIF(nif_price_map);
NIF(nif_horizon);

#endif
