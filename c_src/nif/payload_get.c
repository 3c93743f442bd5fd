/* A payload's bytes from a term. */
#include <msgpack.h>
#include <stdlib.h>

#include "payload_form.h"
#include "payload_term.h"
#include "terms.h"

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
