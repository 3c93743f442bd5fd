/* The gate, and the queue before the writer; see calls.h. */
#include <errno.h>

#include "calls.h"
#include "msgpack_term.h"
#include "payload_term.h"
#include "terms.h"

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

NIF(nif_is_closed) {
    WITH_HANDLE(handle);
    enif_mutex_lock(handle->mutex);
    bool closed = handle->phase == HANDLE_CLOSED;
    enif_mutex_unlock(handle->mutex);
    return closed ? atom_true : atom_false;
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
    bool open = handle->phase == HANDLE_OPEN, has_writer = handle->has_writer;
    ErlNifPid writer = handle->writer;
    enif_mutex_unlock(handle->mutex);
    if (!open)
        return atom_closed;
    if (!has_writer)
        return atom_no_writer;
    return enif_make_tuple2(env, enif_make_pid(env, &writer),
                            enif_make_uint64(env, ledger_booked(handle->ledger)));
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

/* What a payload may take on a normal scheduler: a millisecond, where it is all keys to be sorted,
 * and mostly far less. */
#define PACKED_HERE_MAX 16384

static ERL_NIF_TERM make_packed(ErlNifEnv *env, enum payload_result result,
                                struct entry_buffer *buffer) {
    ERL_NIF_TERM term = atom_refused;
    switch (result) {
    case PAYLOAD_PACKED:
        term = make_text(env, (struct ledger_text){buffer->data, buffer->size});
        break;
    case PAYLOAD_TOO_DEEP:
        term = atom_too_deep;
        break;
    case PAYLOAD_TOO_MUCH:
        term = atom_too_much;
        break;
    case PAYLOAD_NO_MEMORY:
        term = atom_out_of_memory;
        break;
    case PAYLOAD_REFUSED:
        break;
    }
    entry_buffer_free(buffer);
    return result == PAYLOAD_PACKED ? term : enif_make_tuple2(env, atom_error, term);
}

static NIF(pack_much) {
    struct entry_buffer buffer = {0};
    unsigned max;
    (void)argc;
    if (!enif_get_uint(env, argv[1], &max))
        return BADARG;
    return make_packed(env, get_payload(env, argv[0], max, &buffer), &buffer);
}

/* Binary | {error, refused | too_deep | too_much | out_of_memory}. A large one goes on, from the
 * beginning, on a dirty scheduler. */
NIF(nif_pack) {
    struct entry_buffer buffer = {0};
    unsigned max;
    if (!enif_get_uint(env, argv[1], &max))
        return BADARG;
    enum payload_result result =
        get_payload(env, argv[0], max < PACKED_HERE_MAX ? max : PACKED_HERE_MAX, &buffer);
    if (buffer.size > 4096)
        enif_consume_timeslice(env, 5);
    if (result != PAYLOAD_TOO_MUCH || max <= PACKED_HERE_MAX)
        return make_packed(env, result, &buffer);
    entry_buffer_free(&buffer);
    return enif_schedule_nif(env, "pack", ERL_NIF_DIRTY_JOB_CPU_BOUND, pack_much, argc, argv);
}

/* Of frames, which are small. */
NIF(nif_to_msgpack) {
    struct entry_buffer buffer = {0};
    ERL_NIF_TERM term = 0;
    (void)argc;
    bool fine = get_msgpack(env, argv[0], &buffer);
    if (fine)
        term = make_text(env, (struct ledger_text){buffer.data, buffer.size});
    entry_buffer_free(&buffer);
    return fine ? term : BADARG;
}

NIF(nif_from_msgpack) {
    struct ledger_text bytes;
    (void)argc;
    return get_text(env, argv[0], &bytes) ? make_msgpack(env, bytes) : BADARG;
}

/* What an entry may have to be encoded on a normal scheduler: it is copied, and digested twice. */
#define ENCODED_HERE_MAX 16384

/* Texts that come from the caller. */
static size_t texts_of(const struct ledger_entry *entry, struct ledger_text extra) {
    size_t size = entry->payload.size + entry->change.size + extra.size;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        size += entry->names[dimension].size;
    return size;
}

/* The change of a price list has up to 10,000 rows, and how large it is is known when it is
 * written; all others are a few texts. */
static bool is_price_list(ErlNifEnv *env, ERL_NIF_TERM term) {
    const ERL_NIF_TERM *fields;
    int arity;
    return enif_get_tuple(env, term, &arity, &fields) && arity > 0 && fields[0] == atom_price;
}

static ERL_NIF_TERM make_request(ErlNifEnv *env, const struct ledger_entry *entry,
                                 struct ledger_text extra) {
    struct entry_buffer buffer = {0};
    const char *wrong = entry_check(entry);
    ERL_NIF_TERM result;
    int rc = 0;
    if (wrong == NULL)
        rc = entry_write_request(&buffer, entry, extra);
    if (wrong != NULL)
        result = enif_make_tuple2(env, atom_error, enif_make_atom(env, wrong));
    else if (rc == 0)
        result = make_text(env, (struct ledger_text){buffer.data, buffer.size});
    else
        result = make_error(env, rc);
    entry_buffer_free(&buffer);
    return result;
}

static NIF(encode_much) {
    struct ledger_entry entry;
    struct ledger_text extra;
    struct entry_buffer change = {0};
    (void)argc;
    ERL_NIF_TERM result = get_entry(env, argv[0], &entry, &change, &extra)
                              ? make_request(env, &entry, extra)
                              : BADARG;
    entry_buffer_free(&change);
    return result;
}

/* A large one goes on, from the beginning, on a dirty scheduler. */
NIF(nif_encode) {
    struct ledger_entry entry;
    struct ledger_text extra;
    struct entry_buffer change = {0};
    ERL_NIF_TERM result;
    bool much = is_price_list(env, argv[0]);
    bool fine = much || get_entry(env, argv[0], &entry, &change, &extra);
    size_t size = fine && !much ? texts_of(&entry, extra) : 0;
    if (!fine)
        result = BADARG;
    else if (much || size > ENCODED_HERE_MAX)
        result =
            enif_schedule_nif(env, "encode", ERL_NIF_DIRTY_JOB_CPU_BOUND, encode_much, argc, argv);
    else
        result = make_request(env, &entry, extra);
    if (size > 4096)
        enif_consume_timeslice(env, 5);
    entry_buffer_free(&change);
    return result;
}
