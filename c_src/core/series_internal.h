/* What the files of series share: finding blocks, and reading one item by item. */
#ifndef LEDGER_SERIES_INTERNAL_H
#define LEDGER_SERIES_INTERNAL_H

#include "error.h"
#include "series.h"

/* Of the count of a block. */
#define SERIES_HAS_SKIP 0x80

/* Moves to the block that would hold the last id below `before`. MDB_NOTFOUND: none does. */
int series_seek_below(MDB_cursor *cursor, uint32_t series, uint64_t before, uint64_t *first_id,
                      MDB_val *value);
/* Where a block of that series begins. MDB_NOTFOUND: it is one of another; *first_id stays. */
int series_of_key(MDB_val key, uint32_t series, uint64_t *first_id);
void series_write_key(uint8_t key[SERIES_KEY_BYTES], uint32_t series, uint64_t first_id);

/* A block being read item by item. */
struct block_reader {
    struct byte_reader bytes;
    unsigned left;
    uint64_t id;
    struct amounts amounts;
};

/* What is NULL is passed over. */
void series_begin_block(struct block_reader *reader, uint64_t first_id, MDB_val value,
                        struct totals *base, struct series_skip *skip);

/* Its id and mask, and its values in these columns; all of them: UINT64_MAX. */
static inline bool series_next_item(struct block_reader *reader, uint64_t columns) {
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

/* Finds skips of a series in the file: its context. */
struct series_stored {
    MDB_txn *txn;
    MDB_dbi dbi;
    uint32_t series;
};
int series_find_stored(void *context, uint64_t first_id, unsigned level, struct series_skip *skip);

/* What follows the base in a block that has a skip. */
size_t series_skip_write(uint8_t *at, const struct series_skip *skip, uint64_t first_id);
void series_pass_over_skip(struct byte_reader *reader);

#endif
