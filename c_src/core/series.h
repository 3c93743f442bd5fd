/* Series: the running totals, in the `series` database. They are the counters.
 *
 *   key     series u32, first id u64 (big-endian)
 *   value   count u8                       1 .. 32; and 0x80 where a skip follows the base
 *           base totals                    of the series before this block (totals.h)
 *           skip: all but the first block of a day (UTC, by first ids) have one
 *             number    varint             of the block in its day, from 0
 *             distance  varint             from the first id of a block of that day to this one's
 *             extremes                     of that block and those behind it, before this one
 *           count times:
 *             id delta  varint             from the item before; from the key for the first: 0
 *             amounts                      what that entry adds (totals.h)
 *
 * The open block of a series, its last, is rewritten in place until it has 32 items or the next
 * would make the value longer than 2,000 bytes: larger values go to overflow pages. Use of a
 * window is totals now minus totals before its start: two seeks and at most 64 items.
 *
 * Block n of a day skips back to block n - 2^k, where 2^k is the largest power of two that divides
 * n. So the extremes of any part of a day come from a few blocks, however many it has: what lies
 * between the ends of a skip is not read. A skip is made when its block begins, and stays as it is.
 * None leads out of its day, and entries are removed by whole days.
 *
 * Where old entries were removed blocks are missing that lie before the horizon (retention.h).
 *
 * Thread class: those that may read or write LMDB. Nothing is remembered between calls.
 */
#ifndef LEDGER_SERIES_H
#define LEDGER_SERIES_H

#include <lmdb.h>
#include <stdbool.h>

#include "extremes.h"

#define SERIES_BLOCK_ITEMS 32
#define SERIES_BLOCK_BYTES 2000
#define SERIES_KEY_BYTES 12
#define SERIES_DAY_US UINT64_C(86400000000)

struct series_skip {
    uint64_t number; /* 0: there is none */
    uint64_t to;     /* first id of the block that it leads to */
    struct extremes extremes[EXTREMES_MEASURES];
};

/* The last block of a series while a batch adds to it. */
struct series_block {
    uint32_t series;
    bool changed;
    uint8_t count; /* 0: no block yet */
    uint64_t first_id;
    uint64_t last_id;
    struct totals totals; /* base and all items */
    struct series_skip skip;
    struct extremes extremes[EXTREMES_MEASURES]; /* of its items */
    size_t size;
    uint8_t value[SERIES_BLOCK_BYTES];
};

/* The steps of an append, without a file: a block without items begins, takes an item, or is full
 * (false) and has to be written out before the next begins. skip NULL: it has none. */
void series_block_begin(struct series_block *block, uint64_t first_id,
                        const struct series_skip *skip);
bool series_block_add(struct series_block *block, uint64_t id, const struct amounts *amounts);
/* The skip of the block that begins after `before`, with first_id. `find` tells that of an earlier
 * block, which begins with that id: the last one of that level. */
typedef int series_find_skip(void *context, uint64_t first_id, unsigned level,
                             struct series_skip *skip);
int series_skip_next(const struct series_block *before, uint64_t first_id, series_find_skip *find,
                     void *context, struct series_skip *skip);
/* Of a block that has a skip: k, where 2^k is the largest power of two that divides its number. */
static inline unsigned series_skip_level(const struct series_skip *skip) {
    return (unsigned)__builtin_ctzll(skip->number);
}

/* 0 (also for a series without a block), LEDGER_E_DAMAGED or LMDB's. */
int series_load(MDB_txn *txn, MDB_dbi dbi, uint32_t series, struct series_block *block);
/* Adds an item with an id above all before; writes the block out and begins the next when it
 * is full. */
int series_append(MDB_txn *txn, MDB_dbi dbi, struct series_block *block, uint64_t id,
                  const struct amounts *amounts);
int series_store(MDB_txn *txn, MDB_dbi dbi, struct series_block *block);

/* Totals of the entries with id < `before`, in these columns (bit N: column N; the others are
 * passed over, not checked, and what they have is of no use); zeros where there are none. The
 * cursor is one on the `series` database; its position is not kept. */
int series_columns_before(MDB_cursor *cursor, uint32_t series, uint64_t before, uint64_t columns,
                          struct totals *totals);
static inline int series_totals_before(MDB_cursor *cursor, uint32_t series, uint64_t before,
                                       struct totals *totals) {
    return series_columns_before(cursor, series, before, UINT64_MAX, totals);
}
static inline int series_totals_now(MDB_cursor *cursor, uint32_t series, struct totals *totals) {
    return series_totals_before(cursor, series, UINT64_MAX, totals);
}

/* The first id in [low, high) with which a sum that never falls reaches `goal`; `high` when none
 * does. Costs about as many seeks as the number of blocks between has binary digits, and reads the
 * items of one block. */
typedef ledger_sum series_sum(const void *context, const struct totals *totals);
int series_reach(MDB_cursor *cursor, uint32_t series, series_sum *sum, const void *context,
                 ledger_sum goal, uint64_t low, uint64_t high, uint64_t *id);

/* Widens by the entries with since <= id < until. Reads about as many blocks as the square of the
 * number of binary digits that the blocks of a day have, and more for each midnight between: meant
 * for parts of a day. */
int series_extremes(MDB_cursor *cursor, uint32_t series, uint64_t since, uint64_t until,
                    struct extremes extremes[EXTREMES_MEASURES]);

/* For who looks at blocks themselves. LEDGER_E_DAMAGED. */
struct series_key {
    uint32_t series;
    uint64_t first_id;
};
int series_read_key(MDB_val key, struct series_key *out);
struct series_contents {
    unsigned count;
    uint64_t last_id;
    uint64_t mask;        /* columns that its items add to */
    struct totals base;   /* of the series before the block */
    struct totals totals; /* with all its items */
};
int series_read_block(uint64_t first_id, MDB_val value, struct series_contents *contents);
/* What the block that has the last entry with id < `before` was before there were others: without
 * its later items. 0 also where there is none. */
int series_load_before(MDB_cursor *cursor, uint32_t series, uint64_t before,
                       struct series_block *block);
/* The same of a block that is at hand. A skip that cannot be read is left out: where the series
 * goes on in another day nobody needs it. */
int series_block_before(uint64_t first_id, MDB_val value, uint64_t before,
                        struct series_block *block);
/* What one entry adds to a series; MDB_NOTFOUND: it is not in it. */
int series_find_item(MDB_cursor *cursor, uint32_t series, uint64_t id, struct amounts *amounts);

/* An entry as its series lists it. */
struct series_item {
    uint64_t id;
    uint64_t mask; /* columns that it adds to: what kind it is of, and its status */
};

/* A walk over the entries of a series with since <= id < until, in either direction. */
struct series_walk {
    MDB_cursor *cursor;
    uint32_t series;
    bool forward;
    uint64_t since;
    uint64_t until;
    bool began;
    uint64_t block_first_id;
    unsigned at; /* items told */
    unsigned count;
    struct series_item items[SERIES_BLOCK_ITEMS];
};

void series_walk_start(struct series_walk *walk, MDB_cursor *cursor, uint32_t series, bool forward,
                       uint64_t since, uint64_t until);
/* 0 with *item, which holds until the next call; MDB_NOTFOUND at the end, LEDGER_E_DAMAGED or
 * LMDB's. */
int series_walk_next(struct series_walk *walk, const struct series_item **item);

#endif
