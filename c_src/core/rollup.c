#include "rollup.h"

#include <string.h>

#include "error.h"

static void write_key(uint8_t key[ROLLUP_KEY_BYTES], const struct rollup *rollup) {
    put_be32(key, rollup->series);
    key[4] = (uint8_t)rollup->granularity;
    put_be32(key + 5, rollup->period);
}

/* `totals` NULL: they are passed over. The extremes are widened. */
static int read_row(MDB_val value, struct totals *totals, struct extremes *extremes) {
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    struct amounts passed;
    if (totals != NULL)
        totals_read(&reader, totals);
    else
        amounts_read_of(&reader, 0, &passed);
    extremes_read(&reader, extremes);
    return reader.damaged || reader.at != reader.end ? LEDGER_E_DAMAGED : 0;
}

int rollup_load(MDB_txn *txn, MDB_dbi dbi, uint32_t series, enum rollup_granularity granularity,
                uint32_t period, struct rollup *rollup) {
    uint8_t bytes[ROLLUP_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes}, value;
    *rollup = (struct rollup){.series = series, .granularity = granularity, .period = period};
    write_key(bytes, rollup);
    int rc = mdb_get(txn, dbi, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    return read_row(value, &rollup->totals, rollup->extremes);
}

int rollup_extremes(MDB_cursor *cursor, uint32_t series, enum rollup_granularity granularity,
                    uint32_t from, uint32_t to, struct extremes extremes[EXTREMES_MEASURES]) {
    struct rollup rollup = {.series = series, .granularity = granularity, .period = from};
    uint8_t bytes[ROLLUP_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes}, value;
    if (from >= to)
        return 0;
    write_key(bytes, &rollup);
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0) {
        const uint8_t *at = key.mv_data;
        if (key.mv_size != ROLLUP_KEY_BYTES)
            return LEDGER_E_DAMAGED;
        if (memcmp(at, bytes, 5) != 0 || get_be32(at + 5) >= to)
            return 0;
        rc = read_row(value, NULL, extremes);
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

size_t rollup_write(const struct rollup *rollup, uint8_t key[ROLLUP_KEY_BYTES],
                    uint8_t value[ROLLUP_BYTES_MAX]) {
    write_key(key, rollup);
    size_t size = totals_write(value, &rollup->totals);
    return size + extremes_write(value + size, rollup->extremes);
}

int rollup_store(MDB_txn *txn, MDB_dbi dbi, struct rollup *rollup) {
    uint8_t bytes[ROLLUP_KEY_BYTES], data[ROLLUP_BYTES_MAX];
    if (!rollup->changed)
        return 0;
    rollup->changed = false;
    MDB_val key = {sizeof bytes, bytes}, value = {rollup_write(rollup, bytes, data), data};
    return mdb_put(txn, dbi, &key, &value, 0);
}

int rollup_add(MDB_txn *txn, MDB_dbi dbi, struct rollup *rollup, uint64_t id,
               const struct amounts *amounts) {
    uint32_t period = rollup_period(rollup->granularity, id);
    if (period != rollup->period) {
        int rc = rollup_store(txn, dbi, rollup);
        if (rc == 0)
            rc = rollup_load(txn, dbi, rollup->series, rollup->granularity, period, rollup);
        if (rc != 0)
            return rc;
    }
    rollup_count(rollup, amounts);
    return 0;
}

void rollup_count(struct rollup *rollup, const struct amounts *amounts) {
    totals_add(&rollup->totals, amounts);
    extremes_add(rollup->extremes, amounts);
    rollup->changed = true;
}
