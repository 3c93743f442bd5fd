#include "series.h"

#include <string.h>

#include "series_internal.h"

void series_write_key(uint8_t key[SERIES_KEY_BYTES], uint32_t series, uint64_t first_id) {
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

int series_of_key(MDB_val key, uint32_t series, uint64_t *first_id) {
    struct series_key found;
    int rc = series_read_key(key, &found);
    if (rc == 0 && found.series != series)
        rc = MDB_NOTFOUND;
    if (rc == 0)
        *first_id = found.first_id;
    return rc;
}

int series_seek_below(MDB_cursor *cursor, uint32_t series, uint64_t before, uint64_t *first_id,
                      MDB_val *value) {
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes};
    series_write_key(bytes, series, before);
    int rc = mdb_cursor_get(cursor, &key, value, MDB_SET_RANGE);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, value, MDB_PREV);
    else if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &key, value, MDB_LAST);
    return rc == 0 ? series_of_key(key, series, first_id) : rc;
}

static void read_skip(struct byte_reader *reader, uint64_t first_id, struct series_skip *skip) {
    memset(skip, 0, sizeof *skip);
    ledger_usum number = read_varint(reader), distance = read_varint(reader);
    extremes_read(reader, skip->extremes);
    /* A day has no more ids, one a microsecond. */
    if (number == 0 || number >= SERIES_DAY_US || distance == 0 || distance > first_id)
        reader->damaged = true;
    skip->number = (uint64_t)number;
    skip->to = first_id - (uint64_t)distance;
}

void series_pass_over_skip(struct byte_reader *reader) {
    skip_varints(reader, 2);
    extremes_skip(reader);
}

void series_begin_block(struct block_reader *reader, uint64_t first_id, MDB_val value,
                        struct totals *base, struct series_skip *skip) {
    reader->bytes = byte_reader(value.mv_data, value.mv_size);
    uint8_t head = read_byte(&reader->bytes);
    reader->left = head & ~(unsigned)SERIES_HAS_SKIP;
    reader->id = first_id;
    if (reader->left == 0 || reader->left > SERIES_BLOCK_ITEMS)
        reader->bytes.damaged = true;
    if (base != NULL)
        totals_read(&reader->bytes, base);
    else
        amounts_read_of(&reader->bytes, 0, &reader->amounts);
    if (skip != NULL)
        *skip = (struct series_skip){.number = 0};
    if (!(head & SERIES_HAS_SKIP))
        return;
    if (skip != NULL)
        read_skip(&reader->bytes, first_id, skip);
    else
        series_pass_over_skip(&reader->bytes);
}

static bool next_item(struct block_reader *reader) {
    return series_next_item(reader, UINT64_MAX);
}

int series_columns_before(MDB_cursor *cursor, uint32_t series, uint64_t before, uint64_t columns,
                          struct totals *totals) {
    MDB_val value;
    uint64_t first_id;
    /* Most of what is asked for begins with the ledger: nothing is looked for then. */
    int rc =
        before == 0 ? MDB_NOTFOUND : series_seek_below(cursor, series, before, &first_id, &value);
    if (rc != 0) {
        memset(totals, 0, sizeof *totals);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    struct block_reader reader;
    series_begin_block(&reader, first_id, value, totals, NULL);
    while (series_next_item(&reader, columns) && reader.id < before) {
        reader.amounts.mask &= columns;
        totals_add(totals, &reader.amounts);
    }
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
    series_begin_block(&reader, block->first_id, block->value, &base, NULL);
    block->reached = sum(context, &base) >= goal;
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

/* Moves on to the next block of the series. MDB_NOTFOUND: none. */
static int next_found(MDB_cursor *cursor, uint32_t series, struct found_block *block) {
    MDB_val key;
    int rc = mdb_cursor_get(cursor, &key, &block->value, MDB_NEXT);
    return rc == 0 ? series_of_key(key, series, &block->first_id) : rc;
}

/* The last block that begins below high and whose base does not reach the goal, by halving the
 * ids and looking at two neighbours: a step costs two bases, however full the blocks are.
 * MDB_NOTFOUND: none, or it ends below low. */
static int find_reaching(MDB_cursor *cursor, uint32_t series, series_sum *sum, const void *context,
                         ledger_sum goal, uint64_t low, uint64_t high, struct found_block *found) {
    struct found_block block;
    int rc = series_seek_below(cursor, series, high, &found->first_id, &found->value);
    if (rc == 0)
        rc = judge_block(found, sum, context, goal);
    if (rc != 0 || !found->reached)
        return rc;
    high = found->first_id;
    rc = MDB_NOTFOUND;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        int at = series_seek_below(cursor, series, middle + 1, &block.first_id, &block.value);
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
    series_begin_block(&reader, found.first_id, found.value, &totals, NULL);
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
    memset(&block->skip, 0, sizeof block->skip);
    memset(block->extremes, 0, sizeof block->extremes);
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc == 0)
        rc = series_seek_below(cursor, series, UINT64_MAX, &block->first_id, &value);
    if (rc == 0 && value.mv_size > sizeof block->value)
        rc = LEDGER_E_DAMAGED;
    if (rc == 0) {
        struct block_reader reader;
        series_begin_block(&reader, block->first_id, value, &block->totals, &block->skip);
        block->count = (uint8_t)reader.left;
        while (next_item(&reader)) {
            totals_add(&block->totals, &reader.amounts);
            extremes_add(block->extremes, &reader.amounts);
            block->last_id = reader.id;
        }
        if (reader.bytes.damaged)
            rc = LEDGER_E_DAMAGED;
        memcpy(block->value, value.mv_data, value.mv_size);
        block->size = value.mv_size;
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
    series_write_key(bytes, block->series, block->first_id);
    return mdb_put(txn, dbi, &key, &value, 0);
}

/* The totals so far become its base. */
void series_block_begin(struct series_block *block, uint64_t first_id,
                        const struct series_skip *skip) {
    static const struct series_skip none;
    block->count = 0;
    block->first_id = first_id;
    block->last_id = first_id;
    block->skip = skip == NULL ? none : *skip;
    memset(block->extremes, 0, sizeof block->extremes);
    block->value[0] = block->skip.number != 0 ? SERIES_HAS_SKIP : 0;
    block->size = 1 + totals_write(block->value + 1, &block->totals);
    if (block->skip.number != 0)
        block->size += series_skip_write(block->value + block->size, &block->skip, first_id);
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
    block->value[0]++;
    block->count++;
    block->last_id = id;
    block->changed = true;
    totals_add(&block->totals, amounts);
    extremes_add(block->extremes, amounts);
    return true;
}

int series_append(MDB_txn *txn, MDB_dbi dbi, struct series_block *block, uint64_t id,
                  const struct amounts *amounts) {
    struct series_stored stored = {txn, dbi, block->series};
    struct series_skip skip;
    if (block->count == 0)
        series_block_begin(block, id, NULL);
    if (series_block_add(block, id, amounts))
        return 0;
    int rc = series_store(txn, dbi, block);
    if (rc == 0)
        rc = series_skip_next(block, id, series_find_stored, &stored, &skip);
    if (rc != 0)
        return rc;
    series_block_begin(block, id, &skip);
    (void)series_block_add(block, id, amounts); /* base, skip and one item always fit */
    return 0;
}

/* ---- blocks themselves --------------------------------------------------------------------- */

int series_read_block(uint64_t first_id, MDB_val value, struct series_contents *contents) {
    struct block_reader reader;
    struct series_skip skip;
    contents->mask = 0;
    series_begin_block(&reader, first_id, value, &contents->base, &skip);
    contents->totals = contents->base;
    contents->count = reader.left;
    while (next_item(&reader)) {
        totals_add(&contents->totals, &reader.amounts);
        contents->mask |= reader.amounts.mask;
    }
    contents->last_id = reader.id;
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

int series_block_before(uint64_t first_id, MDB_val value, uint64_t before,
                        struct series_block *block) {
    struct block_reader reader;
    struct series_skip skip;
    series_begin_block(&reader, first_id, value, &block->totals, &skip);
    if (reader.bytes.damaged) {
        series_begin_block(&reader, first_id, value, &block->totals, NULL);
        skip.number = 0;
    }
    series_block_begin(block, first_id, &skip);
    while (next_item(&reader) && reader.id < before)
        if (!series_block_add(block, reader.id, &reader.amounts))
            reader.bytes.damaged = true;
    return reader.bytes.damaged ? LEDGER_E_DAMAGED : 0;
}

int series_load_before(MDB_cursor *cursor, uint32_t series, uint64_t before,
                       struct series_block *block) {
    MDB_val value;
    uint64_t first_id;
    int rc = series_seek_below(cursor, series, before, &first_id, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    return series_block_before(first_id, value, before, block);
}

int series_find_item(MDB_cursor *cursor, uint32_t series, uint64_t id, struct amounts *amounts) {
    struct block_reader reader;
    MDB_val value;
    uint64_t first_id;
    int rc = series_seek_below(cursor, series, id + 1, &first_id, &value);
    if (rc != 0)
        return rc;
    series_begin_block(&reader, first_id, value, NULL, NULL);
    while (next_item(&reader) && reader.id < id)
        ;
    if (reader.bytes.damaged)
        return LEDGER_E_DAMAGED;
    *amounts = reader.amounts;
    return reader.id == id ? 0 : MDB_NOTFOUND;
}

/* ---- walks --------------------------------------------------------------------------------- */

void series_walk_start(struct series_walk *walk, MDB_cursor *cursor, uint32_t series, bool forward,
                       uint64_t since, uint64_t until) {
    walk->cursor = cursor;
    walk->series = series;
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
    series_write_key(bytes, series, *first_id);
    int rc = mdb_cursor_get(cursor, &key, value, MDB_SET_RANGE);
    return rc == 0 ? series_of_key(key, series, first_id) : rc;
}

/* The block that the walk comes to next. MDB_NOTFOUND: none. */
static int next_block(struct series_walk *walk, MDB_val *value) {
    if (!walk->forward)
        return series_seek_below(walk->cursor, walk->series, walk->block_first_id,
                                 &walk->block_first_id, value);
    if (walk->began) {
        walk->block_first_id++;
        return seek_from(walk->cursor, walk->series, &walk->block_first_id, value);
    }
    /* The first id may be in the middle of a block. */
    uint64_t past = walk->since < UINT64_MAX ? walk->since + 1 : walk->since;
    int rc = series_seek_below(walk->cursor, walk->series, past, &walk->block_first_id, value);
    if (rc != MDB_NOTFOUND)
        return rc;
    walk->block_first_id = walk->since;
    return seek_from(walk->cursor, walk->series, &walk->block_first_id, value);
}

static int load_items(struct series_walk *walk) {
    MDB_val value;
    struct block_reader reader;
    int rc = next_block(walk, &value);
    if (rc != 0)
        return rc;
    walk->began = true;
    walk->at = walk->count = 0;
    series_begin_block(&reader, walk->block_first_id, value, NULL, NULL);
    while (series_next_item(&reader, 0))
        if (reader.id >= walk->since && reader.id < walk->until)
            walk->items[walk->count++] =
                (struct series_item){.id = reader.id, .mask = reader.amounts.mask};
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
