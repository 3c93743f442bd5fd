#include "held.h"

#include <string.h>

#include "error.h"

int held_load(MDB_txn *txn, MDB_dbi dbi, uint32_t series, struct held *held) {
    uint8_t bytes[4];
    MDB_val key = {sizeof bytes, bytes}, value;
    memset(held, 0, sizeof *held);
    put_be32(bytes, series);
    int rc = mdb_get(txn, dbi, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    held->holds = (uint64_t)read_varint(&reader);
    held->until_us = (uint64_t)read_varint(&reader);
    uint8_t mask = read_byte(&reader);
    if (mask >> HELD_COLUMNS != 0)
        reader.damaged = true;
    for (int column = 0; column < HELD_COLUMNS; column++)
        if (mask & 1 << column)
            held->column[column] = (ledger_sum)read_varint(&reader);
    return reader.damaged || reader.at != reader.end ? LEDGER_E_DAMAGED : 0;
}

int held_store(MDB_txn *txn, MDB_dbi dbi, uint32_t series, const struct held *held) {
    uint8_t bytes[4], data[(2 + HELD_COLUMNS) * VARINT_BYTES_MAX + 1];
    MDB_val key = {sizeof bytes, bytes};
    put_be32(bytes, series);
    if (held->holds == 0) {
        int rc = mdb_del(txn, dbi, &key, NULL);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    size_t size = put_varint(data, held->holds);
    size += put_varint(data + size, held->until_us);
    uint8_t *mask = &data[size++];
    *mask = 0;
    for (int column = 0; column < HELD_COLUMNS; column++) {
        if (held->column[column] == 0)
            continue;
        *mask |= (uint8_t)(1 << column);
        size += put_varint(data + size, (ledger_usum)held->column[column]);
    }
    MDB_val value = {size, data};
    return mdb_put(txn, dbi, &key, &value, 0);
}

enum held_column held_column_of(enum rule_measure measure) {
    switch (measure) {
    case MEASURE_INVOCATIONS:
    case MEASURE_COMPLETED_INVOCATIONS:
        return HELD_INVOCATIONS;
    case MEASURE_COST:
    case MEASURE_COMPLETED_COST:
        return HELD_COST;
    case MEASURE_CREDITS:
    case MEASURE_COMPLETED_CREDITS:
        return HELD_CREDITS;
    case MEASURE_TOKENS:
    case MEASURES:
        break;
    }
    return HELD_TOKENS;
}
