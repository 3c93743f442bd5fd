#include "msgpack_term.h"

#include <msgpack.h>

#include "../core/msgpack_bound.h"
#include "../core/pack.h"
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
    return make_msgpack_without(env, written, NULL);
}

/* Keys are texts. */
static void leave_out(msgpack_object_map *map, const char *key) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < map->size; i++)
        if (!unpacks_as(&map->ptr[i].key, key))
            map->ptr[kept++] = map->ptr[i];
    map->size = kept;
}

ERL_NIF_TERM make_msgpack_without(ErlNifEnv *env, struct ledger_text written, const char *key) {
    msgpack_unpacked unpacked;
    ERL_NIF_TERM term = atom_undefined;
    if (!msgpack_is_bounded(written.data, written.size))
        return term;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, written.data, written.size, NULL) ==
        MSGPACK_UNPACK_SUCCESS) {
        if (key != NULL && unpacked.data.type == MSGPACK_OBJECT_MAP)
            leave_out(&unpacked.data.via.map, key);
        term = make_object(env, &unpacked.data);
    }
    msgpack_unpacked_destroy(&unpacked);
    return term;
}

static bool put_object(ErlNifEnv *env, ERL_NIF_TERM term, msgpack_packer *packer, int depth);

static bool put_atom(ErlNifEnv *env, ERL_NIF_TERM term, msgpack_packer *packer) {
    char text[256];
    if (term == atom_true)
        return msgpack_pack_true(packer) == 0;
    if (term == atom_false)
        return msgpack_pack_false(packer) == 0;
    if (term == atom_nil)
        return msgpack_pack_nil(packer) == 0;
    int size = enif_get_atom(env, term, text, sizeof text, ERL_NIF_LATIN1);
    /* What is not ASCII would be another text as UTF-8. */
    for (int i = 0; i < size - 1; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return size > 0 && msgpack_pack_str(packer, (size_t)size - 1) == 0 &&
           msgpack_pack_str_body(packer, text, (size_t)size - 1) == 0;
}

static bool put_list(ErlNifEnv *env, ERL_NIF_TERM list, unsigned length, msgpack_packer *packer,
                     int depth) {
    ERL_NIF_TERM head;
    if (msgpack_pack_array(packer, length) != 0)
        return false;
    while (enif_get_list_cell(env, list, &head, &list))
        if (!put_object(env, head, packer, depth))
            return false;
    return true;
}

/* In the order of the keys' terms, so that one map is always written the same way. */
static bool put_map(ErlNifEnv *env, ERL_NIF_TERM map, size_t size, msgpack_packer *packer,
                    int depth) {
    ERL_NIF_TERM key, value, *keys = enif_alloc((size + 1) * sizeof *keys);
    ErlNifMapIterator iterator;
    bool fine = keys != NULL && msgpack_pack_map(packer, size) == 0;
    size_t count = 0;
    if (fine && enif_map_iterator_create(env, map, &iterator, ERL_NIF_MAP_ITERATOR_FIRST)) {
        while (enif_map_iterator_get_pair(env, &iterator, &key, &value)) {
            size_t at = count++;
            for (; at > 0 && enif_compare(keys[at - 1], key) > 0; at--)
                keys[at] = keys[at - 1];
            keys[at] = key;
            enif_map_iterator_next(env, &iterator);
        }
        enif_map_iterator_destroy(env, &iterator);
    }
    for (size_t i = 0; fine && i < count; i++)
        fine = enif_get_map_value(env, map, keys[i], &value) &&
               put_object(env, keys[i], packer, depth) && put_object(env, value, packer, depth);
    enif_free(keys);
    return fine && count == size;
}

static bool put_object(ErlNifEnv *env, ERL_NIF_TERM term, msgpack_packer *packer, int depth) {
    ErlNifUInt64 word;
    ErlNifSInt64 number;
    ErlNifBinary binary;
    unsigned length;
    size_t size;
    if (depth == 0)
        return false;
    if (enif_get_uint64(env, term, &word))
        return msgpack_pack_uint64(packer, word) == 0;
    if (enif_get_int64(env, term, &number))
        return msgpack_pack_int64(packer, number) == 0;
    if (enif_inspect_binary(env, term, &binary))
        return msgpack_pack_str(packer, binary.size) == 0 &&
               msgpack_pack_str_body(packer, binary.data, binary.size) == 0;
    if (enif_get_list_length(env, term, &length))
        return put_list(env, term, length, packer, depth - 1);
    if (enif_get_map_size(env, term, &size))
        return put_map(env, term, size, packer, depth - 1);
    return enif_is_atom(env, term) && put_atom(env, term, packer);
}

bool get_msgpack(ErlNifEnv *env, ERL_NIF_TERM term, struct entry_buffer *buffer) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    return put_object(env, term, &packer, MSGPACK_DEPTH_MAX) && !buffer->failed;
}
