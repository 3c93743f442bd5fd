/* What reads; see calls.h. */
#include <string.h>

#include "calls.h"
#include "terms.h"

struct rows {
    ErlNifEnv *env;
    ERL_NIF_TERM list; /* newest row first */
};

static void add_counts(void *context, const struct ledger_counts *counts) {
    struct rows *rows = context;
    ERL_NIF_TERM state =
        counts->state.data == NULL ? atom_total : make_text(rows->env, counts->state);
    ERL_NIF_TERM row =
        enif_make_tuple4(rows->env, state, enif_make_uint64(rows->env, counts->in_window[0]),
                         enif_make_uint64(rows->env, counts->in_window[1]),
                         enif_make_uint64(rows->env, counts->all));
    rows->list = enif_make_list_cell(rows->env, row, rows->list);
}

/* A state's name, or the atom all: *given is then NULL. */
static bool get_state_or_all(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_text *text,
                             const struct ledger_text **given) {
    *given = term == atom_all ? NULL : text;
    return term == atom_all || get_text(env, term, text);
}

NIF(nif_count) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_text text;
    const struct ledger_text *state;
    ErlNifUInt64 first, second;
    int64_t now_us;
    WITH_HANDLE(handle);
    if (!get_state_or_all(env, argv[1], &text, &state) || !enif_get_uint64(env, argv[2], &first) ||
        !enif_get_uint64(env, argv[3], &second))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    const uint64_t windows[2] = {first, second};
    int rc = ledger_count(handle->ledger, state, windows, add_counts, &rows, &now_us);
    handle_leave(handle);
    return rc == 0 ? enif_make_tuple3(env, atom_ok, enif_make_int64(env, now_us), rows.list)
                   : make_error(env, rc);
}

static bool add_entry(void *context, const struct ledger_entry *entry) {
    struct rows *rows = context;
    rows->list = enif_make_list_cell(rows->env, make_entry(rows->env, entry), rows->list);
    return true;
}

/* {ok, [Entry]}, oldest first: the caller asks in slices and puts them together. */
NIF(nif_history) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_text text;
    struct ledger_history_query query;
    ErlNifUInt64 before, since, limit;
    WITH_HANDLE(handle);
    if (!get_state_or_all(env, argv[1], &text, &query.state) ||
        !enif_get_uint64(env, argv[2], &before) || !enif_get_uint64(env, argv[3], &since) ||
        !enif_get_uint64(env, argv[4], &limit))
        return BADARG;
    query.before = before;
    query.since = since;
    query.limit = limit;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_history(handle->ledger, &query, add_entry, &rows);
    handle_leave(handle);
    return rc == 0 ? enif_make_tuple2(env, atom_ok, rows.list) : make_error(env, rc);
}

NIF(nif_fetch) {
    struct rows rows = {env, enif_make_list(env, 0)};
    ErlNifUInt64 id;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &id))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_fetch(handle->ledger, id, add_entry, &rows);
    handle_leave(handle);
    return rc == 0 ? enif_make_tuple2(env, atom_ok, rows.list) : make_error(env, rc);
}

NIF(nif_policy) {
    struct ledger_policy policy;
    WITH_HANDLE(handle);
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_policy(handle->ledger, &policy);
    handle_leave(handle);
    if (rc != 0)
        return make_error(env, rc);
    ERL_NIF_TERM term = make_policy(env, &policy);
    policy_free(&policy);
    return enif_make_tuple2(env, atom_ok, term);
}

NIF(nif_facts) {
    struct ledger_facts facts;
    WITH_HANDLE(handle);
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_facts(handle->ledger, &facts);
    handle_leave(handle);
    if (rc != 0)
        return make_error(env, rc);
    const ERL_NIF_TERM keys[] = {atom_entries,  atom_last_id,  atom_data_bytes, atom_created_at,
                                 atom_map_size, atom_currency, atom_boot_id};
    const ERL_NIF_TERM values[] = {
        enif_make_uint64(env, facts.entries),
        enif_make_uint64(env, facts.last_id),
        enif_make_uint64(env, facts.data_bytes),
        enif_make_uint64(env, facts.created_at_us),
        enif_make_uint64(env, facts.map_size),
        make_text(env, (struct ledger_text){facts.currency, strlen(facts.currency)}),
        make_text(env, (struct ledger_text){(const char *)facts.boot_id, sizeof facts.boot_id}),
    };
    ERL_NIF_TERM map = enif_make_new_map(env);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        enif_make_map_put(env, map, keys[i], values[i], &map);
    return enif_make_tuple2(env, atom_ok, map);
}
