/* What takes the write lease; see calls.h. */
#include <errno.h>
#include <stdlib.h>

#include "calls.h"
#include "status_terms.h"
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

static bool get_id(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t *id) {
    ErlNifUInt64 value;
    bool fine = enif_get_uint64(env, term, &value);
    *id = value;
    return fine;
}

/* record | {reserve, Parent, ExtendMs, IsCritical, Owner} | {settle | release | meter | abort |
 * withdraw, Hold} | {import, Id} | {transfer, Hold, Owner} | {reset, Rule} */
static bool get_operation(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_request *request) {
    const ERL_NIF_TERM *fields;
    int arity;
    request->operation = OPERATION_RECORD;
    if (term == atom_record)
        return true;
    if (!enif_get_tuple(env, term, &arity, &fields) || arity < 2)
        return false;
    if (fields[0] == atom_reserve && arity == 5) {
        request->operation = OPERATION_RESERVE;
        request->critical = fields[3] == atom_true;
        return get_id(env, fields[1], &request->hold) &&
               get_id(env, fields[2], &request->extend_ms) &&
               get_text(env, fields[4], &request->text);
    }
    if (fields[0] == atom_reset && arity == 2) {
        request->operation = OPERATION_RESET;
        return get_text(env, fields[1], &request->text);
    }
    if (!get_id(env, fields[1], &request->hold))
        return false;
    if (fields[0] == atom_transfer && arity == 3) {
        request->operation = OPERATION_TRANSFER;
        return get_text(env, fields[2], &request->text);
    }
    const struct {
        ERL_NIF_TERM name;
        enum ledger_operation operation;
    } plain[] = {{atom_settle, OPERATION_SETTLE},     {atom_release, OPERATION_RELEASE},
                 {atom_meter, OPERATION_METER},       {atom_abort, OPERATION_ABORT},
                 {atom_withdraw, OPERATION_WITHDRAW}, {atom_import, OPERATION_IMPORT}};
    for (size_t i = 0; arity == 2 && i < sizeof plain / sizeof plain[0]; i++) {
        request->operation = plain[i].operation;
        if (fields[0] == plain[i].name)
            return true;
    }
    return false;
}

/* [{Token, Operation, Draft}]. What is not one fails alone: a message must not be able to end the
 * writer. Those without a token did not come through the queue. */
static void get_requests(ErlNifEnv *env, ERL_NIF_TERM list, struct ledger_batch *batch,
                         uint64_t *calls, uint64_t *bytes) {
    ERL_NIF_TERM head;
    const ERL_NIF_TERM *fields;
    int arity;
    *calls = *bytes = 0;
    for (size_t i = 0; enif_get_list_cell(env, list, &head, &list); i++) {
        struct ledger_request *request = &batch->requests[i];
        struct ledger_text draft = {0};
        *request = (struct ledger_request){0};
        bool whole = enif_get_tuple(env, head, &arity, &fields) && arity == 3 &&
                     get_id(env, fields[0], &request->token) && get_text(env, fields[2], &draft);
        if (!whole || !get_operation(env, fields[1], request))
            request->operation = OPERATION_NONE;
        request->draft = draft.data;
        request->size = draft.size;
        *bytes += draft.size;
        *calls += request->token != 0;
    }
}

/* {error, {conflict, Id}}: of what has the id already. */
static ERL_NIF_TERM make_conflict(ErlNifEnv *env, uint64_t id) {
    return enif_make_tuple2(env, atom_error,
                            enif_make_tuple2(env, atom_conflict, enif_make_uint64(env, id)));
}

/* Of what is answered under the lease. */
static ERL_NIF_TERM make_pruned_in(ErlNifEnv *env, struct ledger *ledger) {
    uint64_t kept_from;
    int rc = ledger_kept_from(ledger, &kept_from);
    return rc == 0 ? make_pruned(env, kept_from) : make_error(env, rc);
}

static ERL_NIF_TERM make_request_error(ErlNifEnv *env, struct ledger *ledger,
                                       const struct ledger_request *request,
                                       const struct ledger_failure *failure) {
    struct ledger_failure own = {.code = request->rc};
    if (request->rc == LEDGER_E_PRUNED)
        return make_pruned_in(env, ledger);
    if (request->rc == LEDGER_E_CONFLICT)
        return make_conflict(env, request->id);
    if (request->rc == LEDGER_E_ESTIMATE_REQUIRED && request->rule != NULL)
        ledger_fail(&own, request->rc, "rule %.*s limits %s", (int)request->rule->name.size,
                    request->rule->name.data, rule_measure_name(request->rule->measure));
    return make_failure(env, request->rc == failure->code ? failure : &own);
}

/* Id | {Id, Flags} | {denied, Denial} | {error, Reason} */
static ERL_NIF_TERM make_result(ErlNifEnv *env, struct ledger *ledger,
                                const struct ledger_request *request,
                                const struct ledger_failure *failure) {
    ERL_NIF_TERM id = enif_make_uint64(env, request->id);
    uint64_t flags = request->flags | (request->repeated ? LEDGER_REPEATED : 0);
    if (request->rc == 0)
        return flags == 0 ? id : enif_make_tuple2(env, id, enif_make_uint64(env, flags));
    if (request->rc == LEDGER_E_BUDGET_EXHAUSTED && request->denial != NULL)
        return enif_make_tuple2(env, atom_denied, make_denial(env, request->denial));
    return make_request_error(env, ledger, request, failure);
}

static ERL_NIF_TERM make_results(ErlNifEnv *env, struct ledger *ledger,
                                 const struct ledger_batch *batch,
                                 const struct ledger_failure *failure) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (size_t i = batch->count; i > 0; i--)
        list = enif_make_list_cell(env, make_result(env, ledger, &batch->requests[i - 1], failure),
                                   list);
    return list;
}

static void free_requests(struct ledger_batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        free(batch->requests[i].denial);
    enif_free(batch->requests);
}

/* {[Result], NextDeadlineUs | none, [Effect]} */
NIF(nif_commit) {
    struct ledger_failure failure = {0};
    struct ledger_effects effects = {0};
    struct ledger_batch batch = {.wanted = caller_lives, .context = env};
    unsigned count;
    uint64_t calls, bytes;
    ERL_NIF_TERM result;
    WITH_HANDLE(handle);
    if (!enif_get_list_length(env, argv[1], &count))
        return BADARG;
    batch.count = count;
    batch.requests = enif_alloc((count + 1) * sizeof *batch.requests);
    if (batch.requests == NULL)
        return make_error(env, ENOMEM);
    get_requests(env, argv[1], &batch, &calls, &bytes);
    if (handle_lease(handle)) {
        dequeue(env, handle, calls, bytes);
        batch.now_us = ledger_now(handle->ledger);
        ledger_commit(handle->ledger, &batch, &effects, &failure);
        /* Under the lease: denials and warnings point at rules of the policy in force. */
        ERL_NIF_TERM results = make_results(env, handle->ledger, &batch, &failure);
        result = enif_make_tuple2(env, results, make_effects(env, &effects));
        handle_release(handle);
    } else {
        result = atom_closed;
    }
    ledger_effects_free(&effects);
    free_requests(&batch);
    return result;
}

/* done | more | {error, Reason} | closed */
NIF(nif_build) {
    struct ledger_failure failure;
    unsigned limit;
    bool done;
    WITH_HANDLE(handle);
    if (!enif_get_uint(env, argv[1], &limit))
        return BADARG;
    if (!handle_lease(handle))
        return atom_closed;
    int rc = ledger_build(handle->ledger, limit, &done, &failure);
    handle_release(handle);
    if (rc != 0)
        return make_failure(env, &failure);
    return done ? atom_done : atom_more;
}

/* {HorizonUs, Series, Block}, how many rows -> {Removed, done | {HorizonUs, Series, Block}} |
 * {error, Reason} | closed */
NIF(nif_prune) {
    struct ledger_failure failure;
    struct ledger_pruning pruning = {0};
    const ERL_NIF_TERM *fields;
    unsigned limit, series;
    int arity;
    WITH_HANDLE(handle);
    if (!enif_get_tuple(env, argv[1], &arity, &fields) || arity != 3 ||
        !get_id(env, fields[0], &pruning.horizon_us) || !enif_get_uint(env, fields[1], &series) ||
        !get_id(env, fields[2], &pruning.block) || !enif_get_uint(env, argv[2], &limit))
        return BADARG;
    pruning.series = series;
    if (!handle_lease(handle))
        return atom_closed;
    int rc = ledger_prune(handle->ledger, limit, &pruning, &failure);
    handle_release(handle);
    if (rc != 0)
        return make_failure(env, &failure);
    ERL_NIF_TERM next = enif_make_tuple3(env, fields[0], enif_make_uint(env, pruning.series),
                                         enif_make_uint64(env, pruning.block));
    return enif_make_tuple2(env, enif_make_uint64(env, pruning.removed),
                            pruning.done ? atom_done : next);
}

NIF(nif_outcome) {
    ErlNifUInt64 token, booked_before;
    uint64_t id = 0, flags = 0;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &token) || !enif_get_uint64(env, argv[2], &booked_before))
        return BADARG;
    if (!handle_lease(handle))
        return atom_closed;
    int rc = ledger_outcome(handle->ledger, token, booked_before, &id, &flags);
    handle_release(handle);
    if (rc == 0 && flags != 0)
        return enif_make_tuple2(env, enif_make_uint64(env, id), enif_make_uint64(env, flags));
    if (rc == 0)
        return enif_make_uint64(env, id);
    return rc == LEDGER_E_OUTCOME_UNKNOWN ? make_error(env, rc) : atom_unknown;
}

/* {ok, Version, Effects} */
NIF(nif_set_policy) {
    struct ledger_policy policy;
    struct ledger_failure failure;
    struct ledger_change change = {0};
    struct ledger_effects effects = {0};
    struct ledger_text digest;
    ERL_NIF_TERM result;
    uint64_t version;
    WITH_HANDLE(handle);
    bool has_id = argv[4] != atom_undefined;
    if (!get_policy(env, argv[1], &policy) || !get_text(env, argv[2], &change.by) ||
        !get_text(env, argv[3], &change.reason) ||
        (has_id && (!get_text(env, argv[4], &change.client_id) ||
                    !get_text(env, argv[5], &digest) || digest.size != ENTRY_DIGEST_BYTES))) {
        policy_free(&policy);
        return BADARG;
    }
    if (has_id)
        change.request_digest = (const uint8_t *)digest.data;
    if (!handle_lease(handle)) {
        result = atom_closed;
    } else {
        int rc = ledger_set_policy(handle->ledger, &policy, &change, ledger_now(handle->ledger),
                                   &version, &effects, &failure);
        if (rc == 0)
            result = enif_make_tuple3(env, atom_ok, enif_make_uint64(env, version),
                                      make_effects(env, &effects));
        else
            result = rc == LEDGER_E_CONFLICT ? make_conflict(env, version)
                     : rc == LEDGER_E_PRUNED ? make_pruned_in(env, handle->ledger)
                                             : make_failure(env, &failure);
        handle_release(handle);
    }
    ledger_effects_free(&effects);
    policy_free(&policy);
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
    int64_t to = us;
    if (relative && __builtin_add_overflow(ledger_now(handle->ledger), us, &to))
        to = INT64_MAX; /* refused */
    int rc = ledger_set_clock(handle->ledger, to);
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
