#include "totals.h"

#include <string.h>

void amounts_set(struct amounts *amounts, enum totals_column column, int64_t value) {
    if (value == 0)
        return;
    amounts->mask |= UINT64_C(1) << column;
    amounts->column[column] = value;
}

void totals_add(struct totals *totals, const struct amounts *amounts) {
    for (uint64_t mask = amounts->mask; mask != 0; mask &= mask - 1) {
        int column = __builtin_ctzll(mask);
        totals->column[column] += amounts->column[column];
    }
}

size_t totals_write(uint8_t *at, const struct totals *totals) {
    uint64_t mask = 0;
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (totals->column[column] != 0)
            mask |= UINT64_C(1) << column;
    size_t size = put_varint(at, mask);
    for (; mask != 0; mask &= mask - 1)
        size += put_varint(at + size, zigzag(totals->column[__builtin_ctzll(mask)]));
    return size;
}

size_t amounts_write(uint8_t *at, const struct amounts *amounts) {
    size_t size = put_varint(at, amounts->mask);
    for (uint64_t mask = amounts->mask; mask != 0; mask &= mask - 1)
        size += put_varint(at + size, zigzag(amounts->column[__builtin_ctzll(mask)]));
    return size;
}

static uint64_t read_mask(struct byte_reader *reader) {
    ledger_usum mask = read_varint(reader);
    if (mask >> COLUMN_COUNT != 0) {
        reader->damaged = true;
        return 0;
    }
    return (uint64_t)mask;
}

void totals_read(struct byte_reader *reader, struct totals *totals) {
    memset(totals, 0, sizeof *totals);
    for (uint64_t mask = read_mask(reader); mask != 0; mask &= mask - 1)
        totals->column[__builtin_ctzll(mask)] = unzigzag(read_varint(reader));
}

static int64_t read_amount(struct byte_reader *reader) {
    uint64_t small;
    if (read_short_varint(reader, &small))
        return (int64_t)(small >> 1) ^ -(int64_t)(small & 1);
    ledger_sum value = unzigzag(read_varint(reader));
    if (value > INT64_MAX || value < INT64_MIN)
        reader->damaged = true;
    return (int64_t)value;
}

void amounts_read(struct byte_reader *reader, struct amounts *amounts) {
    amounts->mask = read_mask(reader);
    for (uint64_t mask = amounts->mask; mask != 0; mask &= mask - 1)
        amounts->column[__builtin_ctzll(mask)] = read_amount(reader);
}

void amounts_read_of(struct byte_reader *reader, uint64_t wanted, struct amounts *amounts) {
    uint64_t left = amounts->mask = read_mask(reader);
    while (left != 0) {
        uint64_t next = left & wanted & -(left & wanted); /* the lowest bit; 0: none */
        uint64_t passed = left & (next - 1);
        skip_varints(reader, count_bits(passed));
        if (next != 0)
            amounts->column[__builtin_ctzll(next)] = read_amount(reader);
        left &= ~(passed | next);
    }
}
