/* The NIF: what cost_ledger_nif.erl declares. Each function turns terms into core structures,
 * makes one call into the core inside the right bracket, and turns the result back.
 *
 * Thread classes (the table at the end):
 *   normal      gate, now, allowed_from, writer, submit, encode: touch memory only, never wait
 *               for the disk or for a commit
 *   dirty CPU   everything that reads: LMDB's pages may have to come from the disk
 *   dirty IO    open, close, and everything that takes the write lease; so a crowd of readers
 *               cannot keep a commit waiting for a thread
 */
#include <erl_nif.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "handle.h"
#include "registry.h"
#include "terms.h"

#define NIF(name) static ERL_NIF_TERM name(ErlNifEnv *env, int argc, const ERL_NIF_TERM argv[])
#define BADARG enif_make_badarg(env)

/* argv[0] as a handle, or badarg. */
#define WITH_HANDLE(handle)                                                                        \
    struct handle *handle;                                                                         \
    (void)argc;                                                                                    \
    if (!handle_get(env, argv[0], &handle))                                                        \
    return BADARG

/* ---- opening and closing: dirty IO ------------------------------------------------------ */

struct open_arguments {
    char directory[PATH_MAX];
    char holder[256];
    char currency[8];
    struct ledger_policy policy;
    struct ledger_options options;
};

/* {Path, Holder, Currency, MapSize, MaxEntrySize, Readers, MetaSync, Clock, Policy} */
static bool get_open_arguments(ErlNifEnv *env, ERL_NIF_TERM term, struct open_arguments *open) {
    const ERL_NIF_TERM *fields;
    ErlNifUInt64 map_size, max_entry_size;
    unsigned readers;
    int arity;
    memset(open, 0, sizeof *open);
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 9 ||
        !get_path(env, fields[0], open->directory, sizeof open->directory) ||
        !get_path(env, fields[1], open->holder, sizeof open->holder) ||
        !get_path(env, fields[2], open->currency, sizeof open->currency) ||
        !enif_get_uint64(env, fields[3], &map_size) ||
        !enif_get_uint64(env, fields[4], &max_entry_size) ||
        !enif_get_uint(env, fields[5], &readers) || readers == 0 ||
        !get_policy(env, fields[8], &open->policy))
        return false;
    open->options = (struct ledger_options){
        .directory = open->directory,
        .holder = open->holder,
        .currency = open->currency,
        .map_size = map_size,
        .max_entry_size = max_entry_size,
        .readers = readers,
        .meta_sync = fields[6] == atom_true,
        .clock = fields[7] == atom_manual ? CLOCK_MODE_MANUAL : CLOCK_MODE_SYSTEM,
        .policy = &open->policy,
    };
    return true;
}

/* A directory that this VM has open: an error, or, when its owner was killed without closing,
 * something to be closed first. */
static int close_orphan(struct registry *registry, const char *directory,
                        struct ledger_failure *failure) {
    struct stat at;
    if (stat(directory, &at) != 0)
        return 0;
    struct handle *other = registry_find(registry, at.st_dev, at.st_ino);
    if (other == NULL)
        return 0;
    enif_mutex_lock(other->mutex);
    bool orphan = other->owner_dead;
    enif_mutex_unlock(other->mutex);
    if (orphan) {
        handle_close(other);
        registry_remove(registry, other);
    }
    enif_release_resource(other);
    return orphan ? 0 : ledger_fail(failure, LEDGER_E_ALREADY_OPEN, "%s", directory);
}

/* Puts an opened ledger under the care of the calling process. */
static int adopt(ErlNifEnv *env, struct registry *registry, const char *directory,
                 struct handle *handle, struct ledger_failure *failure) {
    struct stat at;
    if (stat(directory, &at) != 0)
        return ledger_fail(failure, LEDGER_E_CLOSED, "%s vanished", directory);
    handle->device = at.st_dev;
    handle->inode = at.st_ino;
    enif_self(env, &handle->owner);
    registry_add(registry, handle);
    /* Above 0: the owner is dead already, and with it whoever would close. */
    handle->owner_dead =
        enif_monitor_process(env, handle, &handle->owner, &handle->owner_monitor) != 0;
    return 0;
}

static ERL_NIF_TERM make_opened(ErlNifEnv *env, const struct ledger_opened *opened) {
    ERL_NIF_TERM map = enif_make_new_map(env), filesystem = atom_none;
    if (opened->filesystem != NULL)
        filesystem =
            make_text(env, (struct ledger_text){opened->filesystem, strlen(opened->filesystem)});
    enif_make_map_put(env, map, atom_created, opened->created ? atom_true : atom_false, &map);
    enif_make_map_put(env, map, atom_policy_differs,
                      opened->policy_differs ? atom_true : atom_false, &map);
    enif_make_map_put(env, map, atom_reader_slots_short,
                      opened->reader_slots_short ? atom_true : atom_false, &map);
    enif_make_map_put(env, map, atom_filesystem, filesystem, &map);
    enif_make_map_put(env, map, atom_map_size, enif_make_uint64(env, opened->map_size), &map);
    enif_make_map_put(env, map, atom_last_id, enif_make_uint64(env, opened->last_id), &map);
    return map;
}

NIF(nif_open) {
    struct registry *registry = enif_priv_data(env);
    struct ledger_failure failure;
    struct ledger_opened opened;
    struct handle *handle = NULL;
    ERL_NIF_TERM result;
    struct open_arguments *open = enif_alloc(sizeof *open);
    (void)argc;
    if (open == NULL || !get_open_arguments(env, argv[0], open)) {
        result = BADARG;
        goto done;
    }
    handle = handle_new();
    int rc = handle == NULL ? ledger_fail(&failure, ENOMEM, "opening %s", open->directory) : 0;
    if (rc == 0)
        rc = close_orphan(registry, open->directory, &failure);
    if (rc == 0)
        rc = ledger_open(&open->options, &handle->ledger, &opened, &failure);
    if (rc == 0 && (rc = adopt(env, registry, open->directory, handle, &failure)) != 0)
        ledger_close(handle->ledger);
    if (rc == 0)
        result = enif_make_tuple3(env, atom_ok, enif_make_resource(env, handle),
                                  make_opened(env, &opened));
    else
        result = make_failure(env, &failure);
done:
    if (handle != NULL)
        enif_release_resource(handle);
    if (open != NULL)
        release_policy(&open->policy);
    enif_free(open);
    return result;
}

NIF(nif_close) {
    WITH_HANDLE(handle);
    handle_close(handle);
    registry_remove(enif_priv_data(env), handle);
    return atom_ok;
}

/* ---- the gate: normal ------------------------------------------------------------------- */

NIF(nif_gate) {
    WITH_HANDLE(handle);
    if (atomic_load_explicit(&handle->closed, memory_order_relaxed))
        return atom_closed;
    int state = handle_find_state(handle, argv[1]);
    if (state < 0)
        return atom_undeclared;
    return ledger_allowed(handle->ledger, (uint32_t)state) ? atom_ok : atom_budget_exhausted;
}

NIF(nif_allowed_from) {
    WITH_HANDLE(handle);
    int state = handle_find_state(handle, argv[1]);
    if (state < 0)
        return atom_undeclared;
    uint64_t from = ledger_allowed_from(handle->ledger, (uint32_t)state);
    return from == UINT64_MAX ? atom_never : enif_make_uint64(env, from);
}

NIF(nif_now) {
    WITH_HANDLE(handle);
    return enif_make_int64(env, ledger_now(handle->ledger));
}

/* Dirty CPU: waits for a policy change that is being put in force. */
NIF(nif_declare) {
    struct ledger_text name;
    WITH_HANDLE(handle);
    if (!enif_is_atom(env, argv[1]) || !get_text(env, argv[2], &name))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int state = ledger_state(handle->ledger, name);
    handle_leave(handle);
    if (state < 0)
        return atom_undeclared;
    return handle_add_state(handle, argv[1], (uint32_t)state) ? atom_ok : make_error(env, ENOMEM);
}

/* ---- the queue before the writer: normal ------------------------------------------------ */

NIF(nif_attach) {
    ErlNifUInt64 calls, bytes;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &calls) || !enif_get_uint64(env, argv[2], &bytes))
        return BADARG;
    enif_mutex_lock(handle->mutex);
    enif_self(env, &handle->writer);
    handle->has_writer = true;
    /* What waited in the mailbox of a dead writer went with it. */
    handle->queued_calls = handle->queued_bytes = 0;
    handle->queued_calls_max = calls;
    handle->queued_bytes_max = bytes;
    enif_mutex_unlock(handle->mutex);
    return atom_ok;
}

NIF(nif_writer) {
    WITH_HANDLE(handle);
    enif_mutex_lock(handle->mutex);
    ERL_NIF_TERM pid = handle->has_writer ? enif_make_pid(env, &handle->writer) : atom_no_writer;
    bool open = handle->phase == HANDLE_OPEN;
    enif_mutex_unlock(handle->mutex);
    return open ? pid : atom_closed;
}

/* Counts and sends in one step: a caller killed in between would leave its count behind. */
NIF(nif_submit) {
    ErlNifPid writer;
    ErlNifUInt64 bytes;
    ERL_NIF_TERM result = atom_ok;
    WITH_HANDLE(handle);
    if (!enif_get_local_pid(env, argv[1], &writer) || !enif_get_uint64(env, argv[2], &bytes))
        return BADARG;
    enif_mutex_lock(handle->mutex);
    if (handle->phase != HANDLE_OPEN)
        result = atom_closed;
    else if (!handle->has_writer || enif_compare_pids(&handle->writer, &writer) != 0)
        result = atom_no_writer;
    else if (handle->queued_calls >= handle->queued_calls_max ||
             bytes > handle->queued_bytes_max - handle->queued_bytes)
        result = atom_overloaded;
    else if (!enif_send(env, &writer, NULL, argv[3]))
        result = atom_no_writer;
    else {
        handle->queued_calls++;
        handle->queued_bytes += bytes;
    }
    enif_mutex_unlock(handle->mutex);
    return result;
}

/* Only by the writer in place: what waited for one that is dead is no longer counted. */
static void dequeue(ErlNifEnv *env, struct handle *handle, uint64_t calls, uint64_t bytes) {
    ErlNifPid self;
    enif_self(env, &self);
    enif_mutex_lock(handle->mutex);
    if (!handle->has_writer || enif_compare_pids(&handle->writer, &self) != 0)
        calls = bytes = 0;
    handle->queued_calls -= calls < handle->queued_calls ? calls : handle->queued_calls;
    handle->queued_bytes -= bytes < handle->queued_bytes ? bytes : handle->queued_bytes;
    enif_mutex_unlock(handle->mutex);
}

NIF(nif_encode) {
    struct ledger_entry entry;
    struct entry_buffer buffer = {0};
    ERL_NIF_TERM result;
    (void)argc;
    if (!get_entry(env, argv[0], &entry))
        return BADARG;
    const char *wrong = entry_check(&entry);
    if (wrong != NULL)
        return enif_make_tuple2(env, atom_error, enif_make_atom(env, wrong));
    int rc = entry_write_draft(&buffer, &entry);
    if (rc == 0)
        result = make_text(env, (struct ledger_text){buffer.data, buffer.size});
    else
        result = make_error(env, rc);
    /* A slice is about 4,000 small entries of work; a huge one is a slice of its own. */
    if (buffer.size > 4096)
        enif_consume_timeslice(env, buffer.size > 400000 ? 100 : (int)(buffer.size / 4096));
    entry_buffer_free(&buffer);
    return result;
}

/* ---- writers: dirty IO ------------------------------------------------------------------ */

static bool caller_lives(void *env) {
    return enif_is_current_process_alive(env);
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
    ErlNifUInt64 token;
    uint64_t id = 0;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &token))
        return BADARG;
    if (!handle_lease(handle))
        return atom_closed;
    bool booked = ledger_outcome(handle->ledger, token, &id) == 0;
    handle_release(handle);
    return booked ? enif_make_uint64(env, id) : atom_unknown;
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

/* ---- readers: dirty CPU ----------------------------------------------------------------- */

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

/* ---- the library ------------------------------------------------------------------------ */

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
    {"declare", 3, nif_declare, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"attach", 3, nif_attach, 0},
    {"writer", 1, nif_writer, 0},
    {"submit", 4, nif_submit, 0},
    {"encode", 1, nif_encode, 0},
    {"commit", 2, nif_commit, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"outcome", 2, nif_outcome, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"set_policy", 4, nif_set_policy, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"tick", 1, nif_tick, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"accept_clock", 1, nif_accept_clock, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"set_clock", 2, nif_set_clock, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"advance_clock", 2, nif_advance_clock, ERL_NIF_DIRTY_JOB_IO_BOUND},
    {"count", 4, nif_count, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"history", 5, nif_history, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"fetch", 2, nif_fetch, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"policy", 1, nif_policy, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"facts", 1, nif_facts, ERL_NIF_DIRTY_JOB_CPU_BOUND},
};

ERL_NIF_INIT(cost_ledger_nif, functions, load, NULL, upgrade, unload)
