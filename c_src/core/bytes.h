/* Bytes on disk: big-endian keys and variable-length integers.
 *
 * LMDB hands out values at any address, so nothing here casts a pointer to a wider type: what
 * has a fixed size is copied, which compilers turn into one load (a loop over bytes they do not).
 *
 * A varint is LEB128: seven bits a byte, least significant group first, the high bit set on
 * every byte but the last. Signed numbers are zigzag-mapped first (0, -1, 1, -2 -> 0, 1, 2, 3).
 *
 * Thread class: any; no function here blocks, allocates or keeps state.
 */
#ifndef LEDGER_BYTES_H
#define LEDGER_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Sums are 128 bits wide: 2^64 entries at the cap of 10^15 each still fit. */
typedef __int128 ledger_sum;
typedef unsigned __int128 ledger_usum;

#define VARINT_BYTES_MAX 19 /* ceil(128 / 7) */

static inline void put_be32(uint8_t *at, uint32_t n) {
    n = htobe32(n);
    memcpy(at, &n, sizeof n);
}

static inline void put_be64(uint8_t *at, uint64_t n) {
    n = htobe64(n);
    memcpy(at, &n, sizeof n);
}

static inline uint16_t get_be16(const uint8_t *at) {
    uint16_t n;
    memcpy(&n, at, sizeof n);
    return be16toh(n);
}

static inline uint32_t get_be32(const uint8_t *at) {
    uint32_t n;
    memcpy(&n, at, sizeof n);
    return be32toh(n);
}

static inline uint64_t get_be64(const uint8_t *at) {
    uint64_t n;
    memcpy(&n, at, sizeof n);
    return be64toh(n);
}

/* Writes at most VARINT_BYTES_MAX bytes; returns how many. */
static inline size_t put_varint(uint8_t *at, ledger_usum n) {
    size_t size = 0;
    while (n > UINT64_MAX) {
        at[size++] = (uint8_t)n | 0x80;
        n >>= 7;
    }
    /* Nearly all numbers begin here: 128 bits take several instructions a step. */
    uint64_t rest = (uint64_t)n;
    while (rest >= 0x80) {
        at[size++] = (uint8_t)rest | 0x80;
        rest >>= 7;
    }
    at[size++] = (uint8_t)rest;
    return size;
}

static inline ledger_usum zigzag(ledger_sum n) {
    return ((ledger_usum)n << 1) ^ (ledger_usum)(n >> 127);
}

static inline ledger_sum unzigzag(ledger_usum n) {
    return (ledger_sum)(n >> 1) ^ -(ledger_sum)(n & 1);
}

/* A bounded view of stored bytes. A read past the end sets `damaged` and yields 0, so that a
 * decoder can read a whole structure and ask once. */
struct byte_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool damaged;
};

static inline struct byte_reader byte_reader(const void *data, size_t size) {
    return (struct byte_reader){data, (const uint8_t *)data + size, false};
}

static inline uint8_t read_byte(struct byte_reader *r) {
    if (r->at >= r->end) {
        r->damaged = true;
        return 0;
    }
    return *r->at++;
}

/* One of up to 9 bytes, which nearly all have: below 2^63. Else false, and nothing was read. */
static inline bool read_short_varint(struct byte_reader *r, uint64_t *n) {
    const uint8_t *at = r->at;
    *n = 0;
    for (unsigned shift = 0; shift < 63 && at < r->end; shift += 7) {
        uint8_t byte = *at++;
        *n |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            r->at = at;
            return true;
        }
    }
    return false;
}

/* gcc calls a function for its builtin, because not every processor has the instruction. */
static inline unsigned count_bits(uint64_t word) {
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(word * UINT64_C(0x0101010101010101) >> 56);
}

/* Passes over so many, whatever they are: eight bytes at once, of which those below 0x80 end one.
 */
static inline void skip_varints(struct byte_reader *r, unsigned count) {
    const uint64_t high_bits = UINT64_C(0x8080808080808080), low_bits = high_bits >> 7;
    uint64_t word;
    while (count > 0 && (size_t)(r->end - r->at) >= sizeof word) {
        memcpy(&word, r->at, sizeof word);
        uint64_t ends = ~le64toh(word) & high_bits; /* a bit for each byte that ends one */
        unsigned end_count = (unsigned)((ends >> 7) * low_bits >> 56);
        if (end_count >= count) {
            while (--count > 0)
                ends &= ends - 1;
            r->at += __builtin_ctzll(ends) / 8 + 1;
            return;
        }
        count -= end_count;
        r->at += sizeof word;
    }
    while (count > 0)
        count -= read_byte(r) < 0x80;
}

static inline ledger_usum read_varint(struct byte_reader *r) {
    ledger_usum n = 0;
    uint64_t small;
    if (read_short_varint(r, &small))
        return small;
    for (unsigned shift = 0; shift < 7 * VARINT_BYTES_MAX; shift += 7) {
        uint8_t byte = read_byte(r);
        if (shift == 7 * (VARINT_BYTES_MAX - 1) && byte > 3) /* beyond 128 bits */
            break;
        n |= (ledger_usum)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return n;
    }
    r->damaged = true;
    return 0;
}

#endif
