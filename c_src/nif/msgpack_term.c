#include "msgpack_term.h"

#include <msgpack.h>

#include "../core/msgpack_bound.h"
#include "terms.h"

static ERL_NIF_TERM make_object(ErlNifEnv *env, const msgpack_object *object);

static ERL_NIF_TERM make_list(ErlNifEnv *env, const msgpack_object_array *array) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (uint32_t i = array->size; i > 0; i--)
        list = enif_make_list_cell(env, make_object(env, &array->ptr[i - 1]), list);
    return list;
}

static ERL_NIF_TERM make_map(ErlNifEnv *env, const msgpack_object_map *map) {
    ERL_NIF_TERM term = enif_make_new_map(env);
    for (uint32_t i = 0; i < map->size; i++)
        enif_make_map_put(env, term, make_object(env, &map->ptr[i].key),
                          make_object(env, &map->ptr[i].val), &term);
    return term;
}

/* Recursion is bounded: msgpack_is_bounded() allows MSGPACK_DEPTH_MAX levels. */
static ERL_NIF_TERM make_object(ErlNifEnv *env, const msgpack_object *object) {
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        return atom_nil;
    case MSGPACK_OBJECT_BOOLEAN:
        return object->via.boolean ? atom_true : atom_false;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return enif_make_uint64(env, object->via.u64);
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return enif_make_int64(env, object->via.i64);
    case MSGPACK_OBJECT_STR:
        return make_text(env, (struct ledger_text){object->via.str.ptr, object->via.str.size});
    case MSGPACK_OBJECT_BIN:
        return make_text(env, (struct ledger_text){object->via.bin.ptr, object->via.bin.size});
    case MSGPACK_OBJECT_ARRAY:
        return make_list(env, &object->via.array);
    case MSGPACK_OBJECT_MAP:
        return make_map(env, &object->via.map);
    default:
        return atom_undefined;
    }
}

ERL_NIF_TERM make_msgpack(ErlNifEnv *env, struct ledger_text written) {
    msgpack_unpacked unpacked;
    ERL_NIF_TERM term = atom_undefined;
    if (!msgpack_is_bounded(written.data, written.size))
        return term;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, written.data, written.size, NULL) == MSGPACK_UNPACK_SUCCESS)
        term = make_object(env, &unpacked.data);
    msgpack_unpacked_destroy(&unpacked);
    return term;
}
