/* The library: its functions, and how it is loaded and replaced. */
#include <erl_nif.h>

#include "calls.h"
#include "registry.h"
#include "terms.h"

static int load(ErlNifEnv *env, void **priv_data, ERL_NIF_TERM info) {
    (void)info;
    terms_load(env);
    if (handle_type_open(env) != 0)
        return 1;
    *priv_data = registry_new();
    return *priv_data == NULL ? 2 : 0;
}

/* The handles live on, so their registry must: it is handed to the new code. The old code keeps
 * it too, because a call that began there may still be running; the last one frees it. */
static int upgrade(ErlNifEnv *env, void **priv_data, void **old_priv_data, ERL_NIF_TERM info) {
    struct registry *registry = *old_priv_data;
    (void)info;
    if (registry == NULL || registry->layout != REGISTRY_LAYOUT)
        return 3;
    terms_load(env);
    if (handle_type_open(env) != 0)
        return 1;
    atomic_fetch_add(&registry->users, 1);
    *priv_data = registry;
    return 0;
}

static void unload(ErlNifEnv *env, void *priv_data) {
    (void)env;
    if (priv_data != NULL)
        registry_free(priv_data);
}

static ErlNifFunc functions[] = {
    {"open", 1, nif_open, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"close", 1, nif_close, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"gate", 2, nif_gate, 0},
    {"allowed_from", 2, nif_allowed_from, 0},
    {"now", 1, nif_now, 0},
    {"is_closed", 1, nif_is_closed, 0},
    {"declare", 3, nif_declare, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"attach", 3, nif_attach, 0},
    {"writer", 1, nif_writer, 0},
    {"submit", 4, nif_submit, 0},
    {"pack", 2, nif_pack, 0},
    {"to_msgpack", 1, nif_to_msgpack, 0},
    {"from_msgpack", 1, nif_from_msgpack, 0},
    {"encode", 1, nif_encode, 0},
    {"commit", 2, nif_commit, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"build", 2, nif_build, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"prune", 3, nif_prune, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"outcome", 3, nif_outcome, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"set_policy", 6, nif_set_policy, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"tick", 1, nif_tick, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"accept_clock", 1, nif_accept_clock, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"set_clock", 2, nif_set_clock, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"advance_clock", 2, nif_advance_clock, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"count", 4, nif_count, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"list", 2, nif_list, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"record", 2, nif_record, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"run", 2, nif_run, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"known", 2, nif_known, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"sum_up", 4, nif_sum_up, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"sum_up_by", 7, nif_sum_up_by, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"price", 3, nif_price, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"prices", 4, nif_prices, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"price_map", 1, nif_price_map, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"fetch", 2, nif_fetch, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"check", 3, nif_check, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"statuses", 2, nif_statuses, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"balance", 4, nif_balance, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"hold", 2, nif_hold, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"holds", 3, nif_holds, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"series", 1, nif_series, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"digest", 1, nif_digest, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"policy", 1, nif_policy, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"facts", 1, nif_facts, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"horizon", 2, nif_horizon, ERL_NIF_DIRTY_JOB_CPU_BOUND},
};

ERL_NIF_INIT(cost_ledger_nif, functions, load, NULL, upgrade, unload)
