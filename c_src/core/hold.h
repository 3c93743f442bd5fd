/* A live hold, and its row in the `holds` database.
 *
 *   key     hold id u64
 *   value   version u8             1
 *           kind u8                enum ledger_kind: invocation or run
 *           boot_id 16 bytes       of the VM whose process owns it
 *           deadline varint        us of ledger time
 *           extend varint          ms: how far a metering moves the deadline
 *           policy_version varint  that its run is pinned to; 0: none
 *           parent varint          hold id; 0: none
 *           open_children varint   live holds that have this one as parent
 *           given u8               enum entry_field: cost, credits, tokens that follow
 *           estimate               cost, credits, five classes of tokens: varints, as given
 *           children               what its children booked: amounts (totals.h)
 *           names                  count u8, count times: dimension u8, number varint
 *           shares                 count u8, count times: series varint, then for each held
 *                                  column (held.h): held varint, drawn varint
 *           owner                  size varint, bytes: whoever gave it knows what they mean
 *           client_id              size varint, bytes; size 0: none
 *           metered                size varint, a draft (entry.h) of what was used so far; 0: none
 *           repeats varint         how many more requests, of those that were answered with it,
 *                                  have not been withdrawn: with the last of them it is
 *           run_id                 size varint, bytes: of the run that it becomes; size 0: none
 *
 * `held` of a share is what the hold itself keeps in that series, what its children took from it
 * not counted; `drawn` is what it took in turn from its parent, and would give back.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_HOLD_H
#define LEDGER_HOLD_H

#include "held.h"
#include "internal.h"

#define HOLD_VERSION 1
#define HOLD_OWNER_BYTES_MAX 4096
#define HOLD_SHARES_MAX (1 + DECLARED_MAX)
#define HOLD_DEPTH_MAX 8

struct hold_share {
    uint32_t series;
    int64_t held[HELD_COLUMNS];
    int64_t drawn[HELD_COLUMNS];
};

struct hold {
    uint64_t id;
    enum ledger_kind kind;
    uint8_t boot_id[GATE_BOOT_ID_BYTES];
    uint64_t deadline_us;
    uint64_t extend_ms;
    uint64_t policy_version;
    uint64_t parent;
    uint64_t open_children;
    uint64_t repeats; /* requests answered with it, beyond the first, less those withdrawn */
    uint32_t given;   /* enum entry_field, of the estimate */
    int64_t cost;
    int64_t credits;
    int64_t tokens[TOKENS_CLASSES];
    struct amounts children;
    uint32_t name_numbers[DIMENSION_LIMIT];
    uint8_t share_count;
    struct hold_share shares[HOLD_SHARES_MAX];
    struct ledger_text owner;
    struct ledger_text client_id;
    struct ledger_text metered;
    struct ledger_text run_id;
    struct entry_buffer row; /* what the texts of a hold that was read point into */
};

/* Zeroed before; hold_free() after. 0, MDB_NOTFOUND, ENOMEM, LEDGER_E_DAMAGED, LEDGER_E_NEWER. */
int hold_load(MDB_txn *txn, MDB_dbi dbi, uint64_t id, struct hold *hold);
int hold_read(uint64_t id, const void *data, size_t size, struct hold *hold);
/* The one that the cursor, on the `holds` database, comes to next. MDB_NOTFOUND: there is none. */
int hold_next(MDB_cursor *cursor, struct hold *hold);
int hold_store(MDB_txn *txn, MDB_dbi dbi, const struct hold *hold);
void hold_free(struct hold *hold);

/* The share in a series, or NULL. */
struct hold_share *hold_share_of(struct hold *hold, uint32_t series);

#endif
