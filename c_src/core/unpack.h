/* Reading msgpack bytes as what is expected of them, one after the other, without a parser in
 * between: entries are read by the dozen for a page, and by the thousand for a commit.
 *
 * Each moves the reader behind what it read, or is false where that is something else or does not
 * end within the bytes; the reader may then be anywhere. Integers of any width are taken, as
 * msgpack-c does. Texts lie in the bytes.
 *
 * Thread class: any; allocates nothing. */
#ifndef LEDGER_UNPACK_H
#define LEDGER_UNPACK_H

#include "bytes.h"
#include "entry.h"
#include "msgpack_bound.h"

/* Of what is read for every field of an entry: gcc thinks it too large by itself. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE bool take_nil(struct byte_reader *r) {
    if (r->at == r->end || *r->at != 0xc0)
        return false;
    r->at++;
    return true;
}

/* So many bytes as a number: 1, 2, 4 or 8. */
static inline bool take_fixed(struct byte_reader *r, size_t width, uint64_t *n) {
    if ((size_t)(r->end - r->at) < width)
        return false;
    switch (width) {
    case 1:
        *n = *r->at;
        break;
    case 2:
        *n = get_be16(r->at);
        break;
    case 4:
        *n = get_be32(r->at);
        break;
    default:
        *n = get_be64(r->at);
        break;
    }
    r->at += width;
    return true;
}

/* Of a type that says its width in its last two bits: 1, 2, 4 or 8 bytes. */
static inline size_t width_of(uint8_t type) {
    return (size_t)1 << (type & 3);
}

/* The number behind its type, uint or int, at the upper end of a word. How wide numbers are changes
 * from one to the next, so a branch for each width would be guessed wrong often: where a whole word
 * can be read, it is. What is below the number is anything. */
ALWAYS_INLINE bool take_upper(struct byte_reader *r, size_t width, uint64_t *word) {
    if ((size_t)(r->end - r->at) >= sizeof *word) {
        *word = get_be64(r->at);
        r->at += width;
        return true;
    }
    if (!take_fixed(r, width, word))
        return false;
    *word <<= 64 - 8 * width;
    return true;
}

ALWAYS_INLINE bool take_int(struct byte_reader *r, int64_t *out) {
    uint64_t word;
    if (r->at == r->end)
        return false;
    uint8_t type = *r->at++;
    if (type <= 0x7f || type >= 0xe0) { /* fixint */
        *out = (int8_t)type;
        return true;
    }
    if (type < 0xcc || type > 0xd3 || !take_upper(r, width_of(type), &word)) /* uint, int */
        return false;
    unsigned unused = 64 - 8 * (unsigned)width_of(type);
    *out = type >= 0xd0 ? (int64_t)word >> unused : (int64_t)(word >> unused);
    return type != 0xcf || *out >= 0;
}

ALWAYS_INLINE bool take_uint(struct byte_reader *r, uint64_t max, uint64_t *out) {
    int64_t n;
    if (r->at == r->end)
        return false;
    uint8_t type = *r->at;
    if (type <= 0x7f) {
        r->at++;
        *out = type;
        return *out <= max;
    }
    if (type == 0xcf) { /* the only ones that may be beyond an int64_t */
        r->at++;
        return take_fixed(r, 8, out) && *out <= max;
    }
    if (!take_int(r, &n) || n < 0)
        return false;
    *out = (uint64_t)n;
    return *out <= max;
}

static inline bool take_bytes_of(struct byte_reader *r, size_t size, struct ledger_text *text) {
    if ((size_t)(r->end - r->at) < size)
        return false;
    *text = (struct ledger_text){(const char *)r->at, size};
    r->at += size;
    return true;
}

static inline bool take_text(struct byte_reader *r, struct ledger_text *text) {
    uint64_t size;
    if (r->at == r->end)
        return false;
    uint8_t type = *r->at++;
    if (type >= 0xa0 && type <= 0xbf) /* fixstr */
        return take_bytes_of(r, type & 0x1f, text);
    return type >= 0xd9 && type <= 0xdb && take_fixed(r, (size_t)1 << (type - 0xd9), &size) &&
           take_bytes_of(r, size, text);
}

static inline bool take_binary(struct byte_reader *r, struct ledger_text *text) {
    uint64_t size;
    if (r->at == r->end)
        return false;
    uint8_t type = *r->at++;
    return type >= 0xc4 && type <= 0xc6 && take_fixed(r, (size_t)1 << (type - 0xc4), &size) &&
           take_bytes_of(r, size, text);
}

/* The head of something with parts: few, in the type's own bits, or of 2 or 4 bytes. */
ALWAYS_INLINE bool take_head(struct byte_reader *r, uint8_t few, uint8_t wide, uint64_t *count) {
    if (r->at == r->end)
        return false;
    uint8_t type = *r->at++;
    *count = type & 0x0f;
    return (type & 0xf0) == few ||
           ((type == wide || type == wide + 1) && take_fixed(r, (size_t)2 << (type - wide), count));
}

/* The head of an array; its elements follow. */
ALWAYS_INLINE bool take_array(struct byte_reader *r, uint64_t *count) {
    return take_head(r, 0x90, 0xdc, count);
}

/* The head of a map; its keys and values follow, in turns. */
static inline bool take_map(struct byte_reader *r, uint64_t *count) {
    return take_head(r, 0x80, 0xde, count);
}

/* A number of 8 bytes with a fraction. */
static inline bool take_double(struct byte_reader *r, double *out) {
    uint64_t bits;
    if (r->at == r->end || *r->at++ != 0xcb || !take_fixed(r, 8, &bits))
        return false;
    memcpy(out, &bits, sizeof *out);
    return true;
}

/* Bytes of a type that the application knows. */
static inline bool take_extension(struct byte_reader *r, int8_t *of, struct ledger_text *bytes) {
    uint64_t size, code;
    if (r->at == r->end)
        return false;
    uint8_t type = *r->at++;
    if (type >= 0xd4 && type <= 0xd8)
        size = UINT64_C(1) << (type - 0xd4);
    else if (type < 0xc7 || type > 0xc9 || !take_fixed(r, (size_t)1 << (type - 0xc7), &size))
        return false;
    if (!take_fixed(r, 1, &code))
        return false;
    *of = (int8_t)code;
    return take_bytes_of(r, size, bytes);
}

/* Whether an array, or a map, comes next. */
static inline bool is_at_array(const struct byte_reader *r) {
    return r->at < r->end && ((*r->at & 0xf0) == 0x90 || *r->at == 0xdc || *r->at == 0xdd);
}
static inline bool is_at_map(const struct byte_reader *r) {
    return r->at < r->end && ((*r->at & 0xf0) == 0x80 || *r->at == 0xde || *r->at == 0xdf);
}

/* Anything, nested at most that deep, as the bytes that it is. */
static inline bool take_any(struct byte_reader *r, size_t depth_max, struct ledger_text *written) {
    size_t size = 0;
    return msgpack_skip(r->at, (size_t)(r->end - r->at), depth_max, &size) &&
           take_bytes_of(r, size, written);
}

#endif
