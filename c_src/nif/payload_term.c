#include "payload_term.h"

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "../core/unpack.h"
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

static ERL_NIF_TERM make_extension(ErlNifEnv *env, struct byte_reader *r) {
    struct ledger_text bytes;
    int8_t type;
    if (!take_extension(r, &type, &bytes))
        return atom_undefined;
    if (type == EXTENSION_INTEGER)
        return make_big_integer(env, bytes);
    return type == EXTENSION_ATOM ? make_known_atom(env, bytes) : atom_undefined;
}

/* Room for so many terms: `few` if they fit. NULL: out of memory. */
#define FEW_TERMS 32
static ERL_NIF_TERM *room_for(uint64_t count, ERL_NIF_TERM few[FEW_TERMS]) {
    return count <= FEW_TERMS ? few : enif_alloc((size_t)count * sizeof *few);
}

static ERL_NIF_TERM make_next(ErlNifEnv *env, struct byte_reader *r);

/* What has no room is passed over, so that what follows is read as what it is. */
static ERL_NIF_TERM pass_over(struct byte_reader *r, uint64_t count) {
    struct ledger_text passed;
    while (count-- > 0 && take_any(r, PAYLOAD_DEPTH_MAX, &passed))
        ;
    return atom_undefined;
}

static ERL_NIF_TERM make_list(ErlNifEnv *env, struct byte_reader *r) {
    ERL_NIF_TERM few[FEW_TERMS];
    uint64_t count = 0;
    (void)take_array(r, &count);
    ERL_NIF_TERM *terms = room_for(count, few);
    if (terms == NULL)
        return pass_over(r, count);
    for (uint64_t i = 0; i < count; i++)
        terms[i] = make_next(env, r);
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (uint64_t i = count; i > 0; i--)
        list = enif_make_list_cell(env, terms[i - 1], list);
    if (terms != few)
        enif_free(terms);
    return list;
}

static ERL_NIF_TERM make_map(ErlNifEnv *env, struct byte_reader *r) {
    ERL_NIF_TERM term, few[FEW_TERMS];
    uint64_t count = 0;
    (void)take_map(r, &count);
    ERL_NIF_TERM *keys = room_for(2 * count, few);
    if (keys == NULL)
        return pass_over(r, 2 * count);
    ERL_NIF_TERM *values = keys + count;
    for (uint64_t i = 0; i < count; i++) {
        keys[i] = make_next(env, r);
        values[i] = make_next(env, r);
    }
    if (!enif_make_map_from_arrays(env, keys, values, (size_t)count, &term)) {
        /* An atom that this VM does not have, beside a text of the same letters. */
        term = enif_make_new_map(env);
        for (uint64_t i = 0; i < count; i++)
            enif_make_map_put(env, term, keys[i], values[i], &term);
    }
    if (keys != few)
        enif_free(keys);
    return term;
}

static ERL_NIF_TERM make_integer(ErlNifEnv *env, struct byte_reader *r) {
    struct byte_reader again = *r;
    uint64_t positive;
    int64_t number;
    if (take_int(r, &number))
        return enif_make_int64(env, number);
    *r = again;
    return take_uint(r, UINT64_MAX, &positive) ? enif_make_uint64(env, positive) : atom_undefined;
}

/* NaN is no term, and making one would raise badarg. */
static ERL_NIF_TERM make_float(ErlNifEnv *env, struct byte_reader *r) {
    double number;
    return take_double(r, &number) && isfinite(number) ? enif_make_double(env, number)
                                                       : atom_undefined;
}

static ERL_NIF_TERM make_binary(ErlNifEnv *env, struct byte_reader *r, bool is_text) {
    struct ledger_text bytes;
    return (is_text ? take_text(r, &bytes) : take_binary(r, &bytes)) ? make_text(env, bytes)
                                                                     : atom_undefined;
}

/* Of the bytes that msgpack_is_bounded_to() looked at, so that recursion is bounded and all that is
 * announced is there. */
static ERL_NIF_TERM make_next(ErlNifEnv *env, struct byte_reader *r) {
    uint8_t type = r->at < r->end ? *r->at : 0xc1;
    if (type <= 0x7f || type >= 0xe0 || (type >= 0xcc && type <= 0xd3))
        return make_integer(env, r);
    if (is_at_map(r))
        return make_map(env, r);
    if (is_at_array(r))
        return make_list(env, r);
    if ((type >= 0xa0 && type <= 0xbf) || (type >= 0xd9 && type <= 0xdb))
        return make_binary(env, r, true);
    if (type >= 0xc4 && type <= 0xc6)
        return make_binary(env, r, false);
    if ((type >= 0xc7 && type <= 0xc9) || (type >= 0xd4 && type <= 0xd8))
        return make_extension(env, r);
    switch (type) {
    case 0xc0:
        r->at++;
        return atom_nil;
    case 0xc2:
        r->at++;
        return atom_false;
    case 0xc3:
        r->at++;
        return atom_true;
    case 0xcb:
        return make_float(env, r);
    default: /* a float of 4 bytes: not written by us */
        return pass_over(r, 1);
    }
}

/* Keys of the payload itself are texts in the file. */
static ERL_NIF_TERM make_field(ErlNifEnv *env, struct byte_reader *r) {
    struct byte_reader again = *r;
    struct ledger_text text;
    if (take_text(r, &text))
        return make_ascii_atom(env, text);
    *r = again;
    return make_next(env, r);
}

size_t make_payload(ErlNifEnv *env, struct ledger_text map, ERL_NIF_TERM *keys,
                    ERL_NIF_TERM *values, size_t capacity) {
    uint64_t count;
    if (!msgpack_is_bounded_to(map.data, map.size, PAYLOAD_DEPTH_MAX))
        return 0;
    struct byte_reader reader = byte_reader(map.data, map.size);
    if (!take_map(&reader, &count) || count > capacity)
        return 0;
    for (uint64_t i = 0; i < count; i++) {
        keys[i] = make_field(env, &reader);
        values[i] = make_next(env, &reader);
    }
    return (size_t)count;
}
