/* How blocks of a series skip back over others, and what that is for: extremes. */
#include <string.h>

#include "series_internal.h"

size_t series_skip_write(uint8_t *at, const struct series_skip *skip, uint64_t first_id) {
    size_t size = put_varint(at, skip->number);
    size += put_varint(at + size, first_id - skip->to);
    return size + extremes_write(at + size, skip->extremes);
}

int series_find_stored(void *context, uint64_t first_id, unsigned level, struct series_skip *skip) {
    const struct series_stored *stored = context;
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes}, value;
    struct block_reader reader;
    (void)level;
    series_write_key(bytes, stored->series, first_id);
    int rc = mdb_get(stored->txn, stored->dbi, &key, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? LEDGER_E_DAMAGED : rc;
    series_begin_block(&reader, first_id, value, NULL, skip);
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

/* From block to block, each time over twice as many as before: n - 1, n - 2, n - 4, ... */
int series_skip_next(const struct series_block *before, uint64_t first_id, series_find_skip *find,
                     void *context, struct series_skip *skip) {
    struct series_skip at = before->skip;
    memset(skip, 0, sizeof *skip);
    if (first_id / SERIES_DAY_US != before->first_id / SERIES_DAY_US)
        return 0;
    skip->number = before->skip.number + 1;
    skip->to = before->first_id;
    memcpy(skip->extremes, before->extremes, sizeof skip->extremes);
    for (unsigned level = 0; level < series_skip_level(skip); level++) {
        int rc = level == 0 ? 0 : find(context, skip->to, level, &at);
        if (rc != 0)
            return rc;
        if (at.number == 0)
            return LEDGER_E_DAMAGED;
        extremes_merge(skip->extremes, at.extremes);
        skip->to = at.to;
    }
    return 0;
}

/* Moves to where a skip leads. */
static int follow(MDB_cursor *cursor, uint32_t series, uint64_t to, MDB_val *value) {
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes};
    series_write_key(bytes, series, to);
    int rc = mdb_cursor_get(cursor, &key, value, MDB_SET);
    return rc == MDB_NOTFOUND ? LEDGER_E_DAMAGED : rc;
}

static int step_back(MDB_cursor *cursor, uint32_t series, uint64_t *first_id, MDB_val *value) {
    MDB_val key;
    int rc = mdb_cursor_get(cursor, &key, value, MDB_PREV);
    return rc == 0 ? series_of_key(key, series, first_id) : rc;
}

/* From the last block back. The items of a block are looked at unless a skip told of them. */
int series_extremes(MDB_cursor *cursor, uint32_t series, uint64_t since, uint64_t until,
                    struct extremes extremes[EXTREMES_MEASURES]) {
    struct block_reader reader;
    struct series_skip skip;
    MDB_val value;
    uint64_t first_id;
    bool is_known = false;
    if (since >= until)
        return 0;
    int rc = series_seek_below(cursor, series, until, &first_id, &value);
    while (rc == 0) {
        series_begin_block(&reader, first_id, value, NULL, &skip);
        while (!is_known && series_next_item(&reader, EXTREMES_COLUMNS))
            if (reader.id >= since && reader.id < until)
                extremes_add(extremes, &reader.amounts);
        if (reader.bytes.damaged)
            return LEDGER_E_DAMAGED;
        if (first_id <= since)
            return 0;
        is_known = skip.number != 0 && skip.to >= since;
        if (is_known) {
            extremes_merge(extremes, skip.extremes);
            first_id = skip.to;
            rc = follow(cursor, series, first_id, &value);
        } else {
            rc = step_back(cursor, series, &first_id, &value);
        }
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}
