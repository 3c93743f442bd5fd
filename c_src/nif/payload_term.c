#include "payload_term.h"

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "../core/msgpack_bound.h"
#include "terms.h"

enum extension { EXTENSION_ATOM = 1, EXTENSION_INTEGER = 2 };

/* Erlang's external term format. */
#define ETF_VERSION 131
#define ETF_SMALL_BIG 110
#define ETF_ATOM_UTF8 118
#define ETF_SMALL_ATOM_UTF8 119
#define ATOM_BYTES_MAX 1020

/* ---- from terms -------------------------------------------------------------------------- */

struct packing {
    ErlNifEnv *env;
    msgpack_packer packer;
    struct entry_buffer *buffer;
    size_t bytes_max;
    size_t due; /* what lists and maps that are begun take at least, and is not written yet */
    enum payload_result result;
};

static bool refuse(struct packing *packing, enum payload_result why) {
    packing->result = why;
    return false;
}

/* What may still be written. Whatever has no room is refused before it is looked at further: the
 * work of a call is bounded by what it may write, also where it writes nothing. */
static size_t room(const struct packing *packing) {
    size_t taken = packing->buffer->size + packing->due;
    return taken < packing->bytes_max ? packing->bytes_max - taken : 0;
}

static bool is_ascii(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)data[i] >= 0x80)
            return false;
    return true;
}

/* RFC 3629: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
static bool is_utf8(const unsigned char *at, size_t size) {
    const unsigned char *end = at + size;
    while (at < end) {
        unsigned char first = *at++;
        size_t more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
        if (more == 0)
            continue;
        if (first < 0xc2 || first > 0xf4 || (size_t)(end - at) < more)
            return false;
        if ((first == 0xe0 && at[0] < 0xa0) || (first == 0xed && at[0] > 0x9f) ||
            (first == 0xf0 && at[0] < 0x90) || (first == 0xf4 && at[0] > 0x8f))
            return false;
        for (; more > 0; more--)
            if ((*at++ & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static bool put_extension(struct packing *packing, enum extension type, const void *bytes,
                          size_t size) {
    msgpack_pack_ext(&packing->packer, size, (int8_t)type);
    msgpack_pack_ext_body(&packing->packer, bytes, size);
    return true;
}

/* Latin-1 as UTF-8, which takes at most twice as much. */
static size_t to_utf8(const char *text, size_t size, char *utf8) {
    size_t written = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= 0x80)
            utf8[written++] = (char)(0xc0 | byte >> 6);
        utf8[written++] = (char)(byte >= 0x80 ? 0x80 | (byte & 0x3f) : byte);
    }
    return written;
}

/* The name of an atom that is not Latin-1, which is all that the NIF interface knows. */
static bool put_wide_atom(struct packing *packing, ERL_NIF_TERM term) {
    ErlNifBinary binary;
    if (!enif_term_to_binary(packing->env, term, &binary))
        return refuse(packing, PAYLOAD_NO_MEMORY);
    size_t head = binary.size > 1 && binary.data[1] == ETF_SMALL_ATOM_UTF8 ? 3 : 4;
    bool fine = binary.size > head &&
                (binary.data[1] == ETF_SMALL_ATOM_UTF8 || binary.data[1] == ETF_ATOM_UTF8) &&
                put_extension(packing, EXTENSION_ATOM, binary.data + head, binary.size - head);
    enif_release_binary(&binary);
    return fine || refuse(packing, PAYLOAD_REFUSED);
}

static bool put_atom(struct packing *packing, ERL_NIF_TERM term) {
    char text[256], utf8[2 * sizeof text];
    if (term == atom_true)
        return msgpack_pack_true(&packing->packer) == 0;
    if (term == atom_false)
        return msgpack_pack_false(&packing->packer) == 0;
    if (term == atom_nil)
        return msgpack_pack_nil(&packing->packer) == 0;
    int size = enif_get_atom(packing->env, term, text, sizeof text, ERL_NIF_LATIN1);
    if (size == 0)
        return put_wide_atom(packing, term);
    return put_extension(packing, EXTENSION_ATOM, utf8, to_utf8(text, (size_t)size - 1, utf8));
}

static bool put_big_integer(struct packing *packing, ERL_NIF_TERM term) {
    ErlNifBinary binary;
    if (!enif_term_to_binary(packing->env, term, &binary))
        return refuse(packing, PAYLOAD_NO_MEMORY);
    bool fine = binary.size > 4 && binary.data[1] == ETF_SMALL_BIG &&
                put_extension(packing, EXTENSION_INTEGER, binary.data + 3, binary.size - 3);
    enif_release_binary(&binary);
    return fine || refuse(packing, PAYLOAD_REFUSED);
}

static bool put_binary(struct packing *packing, const ErlNifBinary *binary) {
    if (binary->size > room(packing))
        return refuse(packing, PAYLOAD_TOO_MUCH);
    if (is_utf8(binary->data, binary->size)) {
        msgpack_pack_str(&packing->packer, binary->size);
        msgpack_pack_str_body(&packing->packer, binary->data, binary->size);
    } else {
        msgpack_pack_bin(&packing->packer, binary->size);
        msgpack_pack_bin_body(&packing->packer, binary->data, binary->size);
    }
    return true;
}

static bool put_term(struct packing *packing, ERL_NIF_TERM term, int depth);

/* How many the list has, each of which takes a byte at least. */
static bool count_list(struct packing *packing, ERL_NIF_TERM list, size_t *length) {
    ERL_NIF_TERM head;
    size_t most = room(packing);
    for (*length = 0; enif_get_list_cell(packing->env, list, &head, &list); ++*length)
        if (*length == most)
            return refuse(packing, PAYLOAD_TOO_MUCH);
    return enif_is_empty_list(packing->env, list) || refuse(packing, PAYLOAD_REFUSED);
}

static bool put_list(struct packing *packing, ERL_NIF_TERM list, size_t length, int depth) {
    ERL_NIF_TERM head;
    msgpack_pack_array(&packing->packer, length);
    packing->due += length;
    while (enif_get_list_cell(packing->env, list, &head, &list)) {
        packing->due--;
        if (!put_term(packing, head, depth))
            return false;
    }
    return true;
}

static int by_term(const void *a, const void *b) {
    return enif_compare(*(const ERL_NIF_TERM *)a, *(const ERL_NIF_TERM *)b);
}

/* What a key takes at least; 0: it is none. */
static size_t least_of_key(ErlNifEnv *env, ERL_NIF_TERM key) {
    ErlNifSInt64 number;
    ErlNifBinary binary;
    unsigned length;
    if (enif_is_atom(env, key))
        return enif_get_atom_length(env, key, &length, ERL_NIF_LATIN1) ? 1 + length : 1;
    if (enif_inspect_binary(env, key, &binary))
        return 1 + binary.size;
    if (!enif_get_int64(env, key, &number))
        return 0;
    return number >= -32 && number < 128 ? 1 : number >= -128 && number < 256 ? 2 : 3;
}

/* The keys, and what they and their values take at least, which is then due. */
static bool get_keys(struct packing *packing, ERL_NIF_TERM map, ERL_NIF_TERM *keys, size_t size) {
    ErlNifEnv *env = packing->env;
    ErlNifMapIterator iterator;
    ERL_NIF_TERM value;
    size_t count = 0, least = 1, most = room(packing), total = 0;
    if (!enif_map_iterator_create(env, map, &iterator, ERL_NIF_MAP_ITERATOR_FIRST))
        return refuse(packing, PAYLOAD_NO_MEMORY);
    for (; count < size && enif_map_iterator_get_pair(env, &iterator, &keys[count], &value);
         count++) {
        least = least_of_key(env, keys[count]);
        total += least + 1;
        if (least == 0 || total > most)
            break;
        enif_map_iterator_next(env, &iterator);
    }
    enif_map_iterator_destroy(env, &iterator);
    if (count < size)
        return refuse(packing, least == 0 ? PAYLOAD_REFUSED : PAYLOAD_TOO_MUCH);
    packing->due += total;
    return true;
}

static bool put_pairs(struct packing *packing, ERL_NIF_TERM map, ERL_NIF_TERM *keys, size_t size,
                      int depth) {
    ErlNifEnv *env = packing->env;
    ERL_NIF_TERM value;
    bool fine = true;
    qsort(keys, size, sizeof *keys, by_term);
    msgpack_pack_map(&packing->packer, size);
    for (size_t i = 0; fine && i < size; i++) {
        packing->due -= least_of_key(env, keys[i]) + 1;
        fine = enif_get_map_value(env, map, keys[i], &value) && put_term(packing, keys[i], depth) &&
               put_term(packing, value, depth);
    }
    return fine;
}

static bool put_map(struct packing *packing, ERL_NIF_TERM map, size_t size, int depth) {
    if (size > room(packing) / 2)
        return refuse(packing, PAYLOAD_TOO_MUCH);
    ERL_NIF_TERM *keys = enif_alloc((size + 1) * sizeof *keys);
    if (keys == NULL)
        return refuse(packing, PAYLOAD_NO_MEMORY);
    bool fine = get_keys(packing, map, keys, size) && put_pairs(packing, map, keys, size, depth);
    enif_free(keys);
    return fine;
}

static bool put_term(struct packing *packing, ERL_NIF_TERM term, int depth) {
    ErlNifEnv *env = packing->env;
    ErlNifUInt64 word;
    ErlNifSInt64 number;
    ErlNifBinary binary;
    double real;
    size_t size;
    if (packing->buffer->failed)
        return refuse(packing, PAYLOAD_NO_MEMORY);
    if (packing->buffer->size + packing->due > packing->bytes_max)
        return refuse(packing, PAYLOAD_TOO_MUCH);
    switch (enif_term_type(env, term)) {
    case ERL_NIF_TERM_TYPE_ATOM:
        return put_atom(packing, term);
    case ERL_NIF_TERM_TYPE_INTEGER:
        if (enif_get_uint64(env, term, &word))
            return msgpack_pack_uint64(&packing->packer, word) == 0;
        if (enif_get_int64(env, term, &number))
            return msgpack_pack_int64(&packing->packer, number) == 0;
        return put_big_integer(packing, term);
    case ERL_NIF_TERM_TYPE_FLOAT:
        return enif_get_double(env, term, &real) &&
               msgpack_pack_double(&packing->packer, real) == 0;
    case ERL_NIF_TERM_TYPE_BITSTRING:
        return enif_inspect_binary(env, term, &binary) ? put_binary(packing, &binary)
                                                       : refuse(packing, PAYLOAD_REFUSED);
    case ERL_NIF_TERM_TYPE_LIST:
        if (depth == 0)
            return refuse(packing, PAYLOAD_TOO_DEEP);
        return count_list(packing, term, &size) && put_list(packing, term, size, depth - 1);
    case ERL_NIF_TERM_TYPE_MAP:
        if (depth == 0)
            return refuse(packing, PAYLOAD_TOO_DEEP);
        return enif_get_map_size(env, term, &size) && put_map(packing, term, size, depth - 1);
    default:
        return refuse(packing, PAYLOAD_REFUSED);
    }
}

enum payload_result get_payload(ErlNifEnv *env, ERL_NIF_TERM term, size_t bytes,
                                struct entry_buffer *buffer) {
    struct packing packing = {.env = env, .buffer = buffer, .bytes_max = bytes};
    msgpack_packer_init(&packing.packer, buffer, entry_buffer_append);
    if (!enif_is_map(env, term))
        return PAYLOAD_REFUSED;
    if (put_term(&packing, term, PAYLOAD_DEPTH_MAX))
        return buffer->failed ? PAYLOAD_NO_MEMORY : PAYLOAD_PACKED;
    return packing.result == PAYLOAD_PACKED ? PAYLOAD_REFUSED : packing.result;
}

/* ---- to terms ---------------------------------------------------------------------------- */

static ERL_NIF_TERM make_object(ErlNifEnv *env, const msgpack_object *object);

/* Atoms that were found before: looking one up takes the lock of the VM's table, and a trace has
 * the same few over and over. Atoms are never taken away, so what was found stays true; each thread
 * has its own. */
#define ATOM_MEMO_SLOTS 128
#define ATOM_MEMO_TEXT 23
struct atom_memo {
    uint8_t size; /* 0: empty */
    char text[ATOM_MEMO_TEXT];
    ERL_NIF_TERM atom;
};
static _Thread_local struct atom_memo atom_memo[ATOM_MEMO_SLOTS];

static struct atom_memo *memo_of(struct ledger_text text) {
    uint32_t hash = (uint32_t)text.size;
    if (text.size == 0 || text.size > ATOM_MEMO_TEXT)
        return NULL;
    for (size_t i = 0; i < text.size; i++)
        hash = 31 * hash + (unsigned char)text.data[i];
    return &atom_memo[hash % ATOM_MEMO_SLOTS];
}

static ERL_NIF_TERM make_ascii_atom(ErlNifEnv *env, struct ledger_text text) {
    ERL_NIF_TERM atom;
    struct atom_memo *memo = memo_of(text);
    if (memo != NULL && memo->size == text.size && memcmp(memo->text, text.data, text.size) == 0)
        return memo->atom;
    if (text.size > 255 || !is_ascii(text.data, text.size) ||
        !enif_make_existing_atom_len(env, text.data, text.size, &atom, ERL_NIF_LATIN1))
        return make_text(env, text);
    if (memo != NULL) {
        memo->size = (uint8_t)text.size;
        memcpy(memo->text, text.data, text.size);
        memo->atom = atom;
    }
    return atom;
}

/* Only where the VM has it. */
static ERL_NIF_TERM make_wide_atom(ErlNifEnv *env, struct ledger_text text) {
    unsigned char bytes[4 + ATOM_BYTES_MAX] = {
        ETF_VERSION, ETF_ATOM_UTF8, (unsigned char)(text.size >> 8), (unsigned char)text.size};
    ERL_NIF_TERM term;
    if (text.size > ATOM_BYTES_MAX)
        return make_text(env, text);
    memcpy(bytes + 4, text.data, text.size);
    if (enif_binary_to_term(env, bytes, 4 + text.size, &term, ERL_NIF_BIN2TERM_SAFE) == 0)
        return make_text(env, text);
    return term;
}

ERL_NIF_TERM make_known_atom(ErlNifEnv *env, struct ledger_text text) {
    return is_ascii(text.data, text.size) ? make_ascii_atom(env, text) : make_wide_atom(env, text);
}

static ERL_NIF_TERM make_big_integer(ErlNifEnv *env, struct ledger_text text) {
    unsigned char bytes[3 + 256] = {ETF_VERSION, ETF_SMALL_BIG, (unsigned char)(text.size - 1)};
    ERL_NIF_TERM term;
    if (text.size < 2 || text.size > 256)
        return atom_undefined;
    memcpy(bytes + 3, text.data, text.size);
    if (enif_binary_to_term(env, bytes, 3 + text.size, &term, ERL_NIF_BIN2TERM_SAFE) == 0)
        return atom_undefined;
    return term;
}

static ERL_NIF_TERM make_extension(ErlNifEnv *env, const msgpack_object_ext *ext) {
    struct ledger_text text = {ext->ptr, ext->size};
    if (ext->type == EXTENSION_INTEGER)
        return make_big_integer(env, text);
    if (ext->type != EXTENSION_ATOM)
        return atom_undefined;
    return make_known_atom(env, text);
}

static ERL_NIF_TERM make_list(ErlNifEnv *env, const msgpack_object_array *array) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (uint32_t i = array->size; i > 0; i--)
        list = enif_make_list_cell(env, make_object(env, &array->ptr[i - 1]), list);
    return list;
}

#define SMALL_MAP 16

static ERL_NIF_TERM make_map(ErlNifEnv *env, const msgpack_object_map *map) {
    ERL_NIF_TERM term = atom_undefined, small[2 * SMALL_MAP], *terms = small;
    if (map->size > SMALL_MAP)
        terms = enif_alloc(2 * (size_t)map->size * sizeof *terms);
    if (terms == NULL)
        return term;
    for (uint32_t i = 0; i < map->size; i++) {
        terms[i] = make_object(env, &map->ptr[i].key);
        terms[map->size + i] = make_object(env, &map->ptr[i].val);
    }
    if (!enif_make_map_from_arrays(env, terms, terms + map->size, map->size, &term)) {
        /* An atom that this VM does not have, beside a text of the same letters. */
        term = enif_make_new_map(env);
        for (uint32_t i = 0; i < map->size; i++)
            enif_make_map_put(env, term, terms[i], terms[map->size + i], &term);
    }
    if (terms != small)
        enif_free(terms);
    return term;
}

/* Recursion is bounded: msgpack_is_bounded_to() looked at the depth. */
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
    case MSGPACK_OBJECT_FLOAT64: /* NaN is no term, and making one would raise badarg */
        return isfinite(object->via.f64) ? enif_make_double(env, object->via.f64) : atom_undefined;
    case MSGPACK_OBJECT_STR:
        return make_text(env, (struct ledger_text){object->via.str.ptr, object->via.str.size});
    case MSGPACK_OBJECT_BIN:
        return make_text(env, (struct ledger_text){object->via.bin.ptr, object->via.bin.size});
    case MSGPACK_OBJECT_ARRAY:
        return make_list(env, &object->via.array);
    case MSGPACK_OBJECT_MAP:
        return make_map(env, &object->via.map);
    case MSGPACK_OBJECT_EXT:
        return make_extension(env, &object->via.ext);
    default:
        return atom_undefined;
    }
}

/* Keys of the payload itself are texts in the file. */
static ERL_NIF_TERM make_field(ErlNifEnv *env, const msgpack_object *key) {
    return key->type == MSGPACK_OBJECT_STR
               ? make_ascii_atom(env, (struct ledger_text){key->via.str.ptr, key->via.str.size})
               : make_object(env, key);
}

size_t make_payload(ErlNifEnv *env, struct ledger_text map, ERL_NIF_TERM *keys,
                    ERL_NIF_TERM *values, size_t capacity) {
    msgpack_unpacked unpacked;
    size_t count = 0;
    if (!msgpack_is_bounded_to(map.data, map.size, PAYLOAD_DEPTH_MAX))
        return 0;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, map.data, map.size, NULL) == MSGPACK_UNPACK_SUCCESS &&
        unpacked.data.type == MSGPACK_OBJECT_MAP && unpacked.data.via.map.size <= capacity)
        for (; count < unpacked.data.via.map.size; count++) {
            const msgpack_object_kv *pair = &unpacked.data.via.map.ptr[count];
            keys[count] = make_field(env, &pair->key);
            values[count] = make_object(env, &pair->val);
        }
    msgpack_unpacked_destroy(&unpacked);
    return count;
}
