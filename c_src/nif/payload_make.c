/* A term from a payload's bytes. */
#include <math.h>
#include <string.h>

#include "../core/unpack.h"
#include "payload_form.h"
#include "payload_term.h"
#include "terms.h"

#define ATOM_BYTES_MAX 1020

static bool is_ascii(const char *data, size_t size) {
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)data[i] >= 0x80)
            return false;
    return true;
}

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
