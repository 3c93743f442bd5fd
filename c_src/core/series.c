#include "series.h"

#include <string.h>

#include "error.h"

static void write_key(uint8_t key[SERIES_KEY_BYTES], uint32_t series, uint64_t first_id) {
    put_be32(key, series);
    put_be64(key + 4, first_id);
}

int series_read_key(MDB_val key, struct series_key *out) {
    if (key.mv_size != SERIES_KEY_BYTES)
        return LEDGER_E_DAMAGED;
    out->series = get_be32(key.mv_data);
    out->first_id = get_be64((uint8_t *)key.mv_data + 4);
    return 0;
}

/* Where a block of that series begins. MDB_NOTFOUND: it is one of another; *first_id stays. */
static int of_series(MDB_val key, uint32_t series, uint64_t *first_id) {
    struct series_key found;
    int rc = series_read_key(key, &found);
    if (rc == 0 && found.series != series)
        rc = MDB_NOTFOUND;
    if (rc == 0)
        *first_id = found.first_id;
    return rc;
}

/* Moves to the block that would hold the last id below `before`. MDB_NOTFOUND: none does. */
static int seek_below(MDB_cursor *cursor, uint32_t series, uint64_t before, uint64_t *first_id,
                      MDB_val *value) {
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes};
    write_key(bytes, series, before);
    int rc = mdb_cursor_get(cursor, &key, value, MDB_SET_RANGE);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, value, MDB_PREV);
    else if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &key, value, MDB_LAST);
    return rc == 0 ? of_series(key, series, first_id) : rc;
}

/* A block being read item by item. */
struct block_reader {
    struct byte_reader bytes;
    unsigned left;
    uint64_t id;
    struct amounts amounts;
};

/* `base` NULL: it is passed over. */
static void begin_block(struct block_reader *reader, uint64_t first_id, MDB_val value,
                        struct totals *base) {
    reader->bytes = byte_reader(value.mv_data, value.mv_size);
    reader->left = read_byte(&reader->bytes);
    reader->id = first_id;
    if (reader->left == 0 || reader->left > SERIES_BLOCK_ITEMS)
        reader->bytes.damaged = true;
    if (base != NULL)
        totals_read(&reader->bytes, base);
    else
        amounts_read_of(&reader->bytes, 0, &reader->amounts);
}

/* Its id and mask, and its values in these columns. */
static inline bool next_item_of(struct block_reader *reader, uint64_t columns) {
    if (reader->left == 0 || reader->bytes.damaged)
        return false;
    reader->left--;
    reader->id += (uint64_t)read_varint(&reader->bytes);
    if (columns == UINT64_MAX)
        amounts_read(&reader->bytes, &reader->amounts);
    else
        amounts_read_of(&reader->bytes, columns, &reader->amounts);
    /* Bytes after the last item would become an item when the next one is counted. */
    if (reader->left == 0 && reader->bytes.at != reader->bytes.end)
        reader->bytes.damaged = true;
    return !reader->bytes.damaged;
}

static bool next_item(struct block_reader *reader) {
    return next_item_of(reader, UINT64_MAX);
}

int series_totals_before(MDB_cursor *cursor, uint32_t series, uint64_t before,
                         struct totals *totals) {
    MDB_val value;
    uint64_t first_id;
    int rc = seek_below(cursor, series, before, &first_id, &value);
    if (rc != 0) {
        memset(totals, 0, sizeof *totals);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    struct block_reader reader;
    begin_block(&reader, first_id, value, totals);
    while (next_item(&reader) && reader.id < before)
        totals_add(totals, &reader.amounts);
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

/* A block of a search, whose items are not looked at before it is the one. */
struct found_block {
    uint64_t first_id;
    MDB_val value;
    bool reached; /* by its base: by an entry of an earlier block */
};

static int judge_block(struct found_block *block, series_sum *sum, const void *context,
                       ledger_sum goal) {
    struct totals base;
    struct block_reader reader;
    begin_block(&reader, block->first_id, block->value, &base);
    block->reached = sum(context, &base) >= goal;
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

/* Moves on to the next block of the series. MDB_NOTFOUND: none. */
static int next_found(MDB_cursor *cursor, uint32_t series, struct found_block *block) {
    MDB_val key;
    int rc = mdb_cursor_get(cursor, &key, &block->value, MDB_NEXT);
    return rc == 0 ? of_series(key, series, &block->first_id) : rc;
}

/* The last block that begins below high and whose base does not reach the goal, by halving the
 * ids and looking at two neighbours: a step costs two bases, however full the blocks are.
 * MDB_NOTFOUND: none, or it ends below low. */
static int find_reaching(MDB_cursor *cursor, uint32_t series, series_sum *sum, const void *context,
                         ledger_sum goal, uint64_t low, uint64_t high, struct found_block *found) {
    struct found_block block;
    int rc = seek_below(cursor, series, high, &found->first_id, &found->value);
    if (rc == 0)
        rc = judge_block(found, sum, context, goal);
    if (rc != 0 || !found->reached)
        return rc;
    high = found->first_id;
    rc = MDB_NOTFOUND;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int at = seek_below(cursor, series, middle + 1, &block.first_id, &block.value);
        if (at == MDB_NOTFOUND) {
            low = middle + 1;
            continue;
        }
        if (at == 0)
            at = judge_block(&block, sum, context, goal);
        if (at != 0)
            return at;
        if (block.reached) {
            high = block.first_id;
            continue;
        }
        *found = block;
        rc = 0;
        at = next_found(cursor, series, &block);
        if (at == 0)
            at = judge_block(&block, sum, context, goal);
        if (at != 0 || block.reached)
            return at == MDB_NOTFOUND ? 0 : at;
        *found = block;
        low = block.first_id + 1;
    }
    return rc;
}

int series_reach(MDB_cursor *cursor, uint32_t series, series_sum *sum, const void *context,
                 ledger_sum goal, uint64_t low, uint64_t high, uint64_t *id) {
    struct found_block found;
    struct block_reader reader;
    struct totals totals;
    *id = high;
    if (low >= high)
        return 0;
    int rc = find_reaching(cursor, series, sum, context, goal, low, high, &found);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    begin_block(&reader, found.first_id, found.value, &totals);
    while (next_item(&reader)) {
        totals_add(&totals, &reader.amounts);
        if (sum(context, &totals) < goal)
            continue;
        if (reader.id < high)
            *id = reader.id;
        return 0;
    }
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

int series_load(MDB_txn *txn, MDB_dbi dbi, uint32_t series, struct series_block *block) {
    MDB_cursor *cursor = NULL;
    MDB_val value;
    block->series = series;
    block->changed = false;
    block->count = 0;
    block->size = 0;
    block->last_id = 0;
    memset(&block->totals, 0, sizeof block->totals);
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc == 0)
        rc = seek_below(cursor, series, UINT64_MAX, &block->first_id, &value);
    if (rc == 0 && value.mv_size > sizeof block->value)
        rc = LEDGER_E_DAMAGED;
    if (rc == 0) {
        struct block_reader reader;
        begin_block(&reader, block->first_id, value, &block->totals);
        while (next_item(&reader)) {
            totals_add(&block->totals, &reader.amounts);
            block->last_id = reader.id;
        }
        if (reader.bytes.damaged)
            rc = LEDGER_E_DAMAGED;
        memcpy(block->value, value.mv_data, value.mv_size);
        block->size = value.mv_size;
        block->count = block->value[0];
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int series_store(MDB_txn *txn, MDB_dbi dbi, struct series_block *block) {
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val value = {block->size, block->value};
    if (!block->changed)
        return 0;
    block->changed = false;
    block->value[0] = block->count;
    write_key(bytes, block->series, block->first_id);
    return mdb_put(txn, dbi, &key, &value, 0);
}

/* The totals so far become its base. */
void series_block_begin(struct series_block *block, uint64_t first_id) {
    block->count = 0;
    block->first_id = first_id;
    block->last_id = first_id;
    block->size = 1 + totals_write(block->value + 1, &block->totals);
}

bool series_block_add(struct series_block *block, uint64_t id, const struct amounts *amounts) {
    uint8_t item[10 + AMOUNTS_BYTES_MAX];
    size_t size = put_varint(item, id - block->last_id);
    size += amounts_write(item + size, amounts);
    if (block->count == SERIES_BLOCK_ITEMS ||
        (block->count > 0 && block->size + size > SERIES_BLOCK_BYTES))
        return false;
    memcpy(block->value + block->size, item, size);
    block->size += size;
    block->value[0] = ++block->count;
    block->last_id = id;
    block->changed = true;
    totals_add(&block->totals, amounts);
    return true;
}

int series_append(MDB_txn *txn, MDB_dbi dbi, struct series_block *block, uint64_t id,
                  const struct amounts *amounts) {
    if (block->count == 0)
        series_block_begin(block, id);
    if (series_block_add(block, id, amounts))
        return 0;
    int rc = series_store(txn, dbi, block);
    if (rc != 0)
        return rc;
    series_block_begin(block, id);
    (void)series_block_add(block, id, amounts); /* base and one item always fit */
    return 0;
}

/* ---- blocks themselves --------------------------------------------------------------------- */

int series_read_block(uint64_t first_id, MDB_val value, struct series_contents *contents) {
    struct block_reader reader;
    contents->mask = 0;
    begin_block(&reader, first_id, value, &contents->base);
    contents->totals = contents->base;
    contents->count = reader.left;
    while (next_item(&reader)) {
        totals_add(&contents->totals, &reader.amounts);
        contents->mask |= reader.amounts.mask;
    }
    contents->last_id = reader.id;
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

int series_load_before(MDB_cursor *cursor, uint32_t series, uint64_t before,
                       struct series_block *block) {
    struct block_reader reader;
    struct totals base;
    MDB_val value;
    uint64_t first_id;
    int rc = seek_below(cursor, series, before, &first_id, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    begin_block(&reader, first_id, value, &base);
    block->totals = base;
    series_block_begin(block, first_id);
    while (next_item(&reader) && reader.id < before)
        if (!series_block_add(block, reader.id, &reader.amounts))
            reader.bytes.damaged = true;
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

int series_find_item(MDB_cursor *cursor, uint32_t series, uint64_t id, struct amounts *amounts) {
    struct block_reader reader;
    MDB_val value;
    uint64_t first_id;
    int rc = seek_below(cursor, series, id + 1, &first_id, &value);
    if (rc != 0)
        return rc;
    begin_block(&reader, first_id, value, NULL);
    while (next_item(&reader) && reader.id < id)
        ;
    if (reader.bytes.damaged)
        return LEDGER_E_DAMAGED;
    *amounts = reader.amounts;
    return reader.id == id ? 0 : MDB_NOTFOUND;
}

/* ---- walks --------------------------------------------------------------------------------- */

void series_walk_start(struct series_walk *walk, MDB_cursor *cursor, uint32_t series,
                       enum series_walk_for purpose, bool forward, uint64_t since, uint64_t until) {
    walk->cursor = cursor;
    walk->series = series;
    walk->purpose = purpose;
    walk->forward = forward;
    walk->since = since;
    walk->until = until;
    walk->began = false;
    walk->block_first_id = until;
    walk->at = walk->count = 0;
}

/* Moves to the first block whose key is not below (series, first_id). */
static int seek_from(MDB_cursor *cursor, uint32_t series, uint64_t *first_id, MDB_val *value) {
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes};
    write_key(bytes, series, *first_id);
    int rc = mdb_cursor_get(cursor, &key, value, MDB_SET_RANGE);
    return rc == 0 ? of_series(key, series, first_id) : rc;
}

/* The block that the walk comes to next. MDB_NOTFOUND: none. */
static int next_block(struct series_walk *walk, MDB_val *value) {
    if (!walk->forward)
        return seek_below(walk->cursor, walk->series, walk->block_first_id, &walk->block_first_id,
                          value);
    if (walk->began) {
        walk->block_first_id++;
        return seek_from(walk->cursor, walk->series, &walk->block_first_id, value);
    }
    /* The first id may be in the middle of a block. */
    uint64_t past = walk->since < UINT64_MAX ? walk->since + 1 : walk->since;
    int rc = seek_below(walk->cursor, walk->series, past, &walk->block_first_id, value);
    if (rc != MDB_NOTFOUND)
        return rc;
    walk->block_first_id = walk->since;
    return seek_from(walk->cursor, walk->series, &walk->block_first_id, value);
}

#define COLUMN_BIT(column) (UINT64_C(1) << (column))

static int64_t amount_in(const struct amounts *amounts, enum totals_column column) {
    return amounts->mask & COLUMN_BIT(column) ? amounts->column[column] : 0;
}

static int load_items(struct series_walk *walk) {
    static const uint64_t columns[] = {[WALK_FOR_IDS] = 0,
                                       [WALK_FOR_AMOUNTS] = COLUMN_BIT(COLUMN_COST) |
                                                            COLUMN_BIT(COLUMN_DURATION_MS) |
                                                            COLUMN_BIT(COLUMN_RUNS_DURATION_MS)};
    uint64_t wanted = columns[walk->purpose];
    MDB_val value;
    struct block_reader reader;
    int rc = next_block(walk, &value);
    if (rc != 0)
        return rc;
    walk->began = true;
    walk->at = walk->count = 0;
    begin_block(&reader, walk->block_first_id, value, NULL);
    while (next_item_of(&reader, wanted)) {
        if (reader.id < walk->since || reader.id >= walk->until)
            continue;
        struct series_item *item = &walk->items[walk->count++];
        item->id = reader.id;
        item->mask = reader.amounts.mask;
        if (walk->purpose == WALK_FOR_IDS)
            continue;
        item->cost = amount_in(&reader.amounts, COLUMN_COST);
        item->duration_ms = amount_in(&reader.amounts, COLUMN_DURATION_MS) +
                            amount_in(&reader.amounts, COLUMN_RUNS_DURATION_MS);
    }
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

int series_walk_next(struct series_walk *walk, const struct series_item **item) {
    while (walk->at == walk->count) {
        bool is_last = walk->began && (walk->forward ? walk->block_first_id >= walk->until
                                                     : walk->block_first_id <= walk->since);
        int rc = is_last ? MDB_NOTFOUND : load_items(walk);
        if (rc != 0)
            return rc;
    }
    unsigned at = walk->at++;
    *item = &walk->items[walk->forward ? at : walk->count - 1 - at];
    return 0;
}
