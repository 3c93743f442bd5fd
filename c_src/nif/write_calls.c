/* What takes the write lease; see calls.h. */
#include "calls.h"
#include "terms.h"

static bool caller_lives(void *env) {
    return enif_is_current_process_alive(env);
}

/* Only for the writer in place: what waited for one that was replaced is not counted any more. */
static void dequeue(ErlNifEnv *env, struct handle *handle, uint64_t calls, uint64_t bytes) {
    ErlNifPid self;
    enif_self(env, &self);
    enif_mutex_lock(handle->mutex);
    if (handle->has_writer && enif_compare_pids(&handle->writer, &self) == 0) {
        handle->queued_calls -= calls < handle->queued_calls ? calls : handle->queued_calls;
        handle->queued_bytes -= bytes < handle->queued_bytes ? bytes : handle->queued_bytes;
    }
    enif_mutex_unlock(handle->mutex);
}

/* [{Token, Draft}] */
static bool get_requests(ErlNifEnv *env, ERL_NIF_TERM list, struct ledger_batch *batch,
                         uint64_t *bytes) {
    ERL_NIF_TERM head;
    const ERL_NIF_TERM *pair;
    int arity;
    *bytes = 0;
    for (size_t i = 0; enif_get_list_cell(env, list, &head, &list); i++) {
        struct ledger_request *request = &batch->requests[i];
        struct ledger_text draft;
        ErlNifUInt64 token;
        if (!enif_get_tuple(env, head, &arity, &pair) || arity != 2 ||
            !enif_get_uint64(env, pair[0], &token) || !get_text(env, pair[1], &draft))
            return false;
        *request = (struct ledger_request){draft.data, draft.size, token, 0, 0};
        *bytes += draft.size;
    }
    return true;
}

static ERL_NIF_TERM make_results(ErlNifEnv *env, const struct ledger_batch *batch,
                                 const struct ledger_failure *failure) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (size_t i = batch->count; i > 0; i--) {
        const struct ledger_request *request = &batch->requests[i - 1];
        const char *detail = request->rc == failure->code ? failure->detail : NULL;
        ERL_NIF_TERM result =
            request->rc == 0
                ? enif_make_uint64(env, request->id)
                : enif_make_tuple2(env, atom_error, make_reason(env, request->rc, detail));
        list = enif_make_list_cell(env, result, list);
    }
    return list;
}

NIF(nif_commit) {
    struct ledger_failure failure = {0};
    struct ledger_batch batch = {.wanted = caller_lives, .context = env};
    unsigned count;
    uint64_t bytes;
    ERL_NIF_TERM result;
    WITH_HANDLE(handle);
    if (!enif_get_list_length(env, argv[1], &count))
        return BADARG;
    batch.count = count;
    batch.requests = enif_alloc((count + 1) * sizeof *batch.requests);
    if (batch.requests == NULL || !get_requests(env, argv[1], &batch, &bytes)) {
        enif_free(batch.requests);
        return BADARG;
    }
    if (handle_lease(handle)) {
        dequeue(env, handle, count, bytes);
        batch.now_us = ledger_now(handle->ledger);
        ledger_commit(handle->ledger, &batch, &failure);
        handle_release(handle);
        result = make_results(env, &batch, &failure);
    } else {
        result = atom_closed;
    }
    enif_free(batch.requests);
    return result;
}

NIF(nif_outcome) {
    ErlNifUInt64 token, booked_before;
    uint64_t id = 0;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &token) || !enif_get_uint64(env, argv[2], &booked_before))
        return BADARG;
    if (!handle_lease(handle))
        return atom_closed;
    int rc = ledger_outcome(handle->ledger, token, booked_before, &id);
    handle_release(handle);
    if (rc == 0)
        return enif_make_uint64(env, id);
    return rc == LEDGER_E_OUTCOME_UNKNOWN ? make_error(env, rc) : atom_unknown;
}

NIF(nif_set_policy) {
    struct ledger_policy policy;
    struct ledger_failure failure;
    struct ledger_text by, reason;
    ERL_NIF_TERM result;
    uint64_t version;
    WITH_HANDLE(handle);
    if (!get_policy(env, argv[1], &policy) || !get_text(env, argv[2], &by) ||
        !get_text(env, argv[3], &reason)) {
        release_policy(&policy);
        return BADARG;
    }
    if (!handle_lease(handle)) {
        result = atom_closed;
    } else {
        int rc = ledger_set_policy(handle->ledger, &policy, by, reason, ledger_now(handle->ledger),
                                   &version, &failure);
        handle_release(handle);
        result = rc == 0 ? enif_make_tuple2(env, atom_ok, enif_make_uint64(env, version))
                         : make_failure(env, &failure);
    }
    release_policy(&policy);
    return result;
}

/* {Jumped :: boolean(), AheadUs :: integer()} */
NIF(nif_tick) {
    int64_t ahead_us;
    WITH_HANDLE(handle);
    if (!handle_lease(handle))
        return atom_closed;
    bool jumped = ledger_tick(handle->ledger, &ahead_us);
    handle_release(handle);
    return enif_make_tuple2(env, jumped ? atom_true : atom_false, enif_make_int64(env, ahead_us));
}

NIF(nif_accept_clock) {
    WITH_HANDLE(handle);
    if (!handle_lease(handle))
        return atom_closed;
    ledger_accept_clock(handle->ledger);
    handle_release(handle);
    return atom_ok;
}

/* Sets ledger time, or moves it by so much: under the lease, so that no step is lost. */
static ERL_NIF_TERM move_clock(ErlNifEnv *env, const ERL_NIF_TERM argv[], bool relative) {
    struct handle *handle;
    ErlNifSInt64 us;
    if (!handle_get(env, argv[0], &handle) || !enif_get_int64(env, argv[1], &us))
        return BADARG;
    if (!handle_lease(handle))
        return atom_closed;
    int rc = ledger_set_clock(handle->ledger, relative ? ledger_now(handle->ledger) + us : us);
    handle_release(handle);
    return rc == 0 ? atom_ok
                   : enif_make_tuple2(env, atom_error, enif_make_atom(env, ledger_error_name(rc)));
}

NIF(nif_set_clock) {
    (void)argc;
    return move_clock(env, argv, false);
}

NIF(nif_advance_clock) {
    (void)argc;
    return move_clock(env, argv, true);
}
