/* The price book: what tokens of a model cost from a time on, as rows of the `keys` database.
 *
 *   key     0x07 u8, size u16, model (UTF-8, at most 400 bytes), effective_from u64 (us)
 *   value   unit prices      5 varints, by token class, 10^-15 of a currency unit a token
 *           above            varint: with more tokens of prompt than this, each costs what the
 *                            second tier says; 0: there is none
 *           second tier      5 varints; absent where `above` is 0
 *           entry            varint: id of the entry of kind price that says so
 *
 * The rows are derived from those entries, whose `change` is
 *
 *   {"by": str, "reason": str, "source": str, "effective_from": ms, "prices":
 *      [[model, [5 uint]], [model, [5 uint], above, [5 uint]], ...]}
 *
 * `source` may be absent; without `effective_from` the prices are in force from the entry's id on.
 * What was priced keeps its unit prices: a later price changes nothing that was booked.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_PRICE_H
#define LEDGER_PRICE_H

#include <lmdb.h>

#include "entry.h"

#define PRICE_MODEL_BYTES_MAX 400
#define PRICES_MAX 10000 /* in one entry */

struct ledger_price {
    struct ledger_text model;
    uint64_t effective_us;
    uint64_t unit[TOKENS_CLASSES];
    uint64_t above_tokens; /* 0: there is no second tier */
    uint64_t unit_above[TOKENS_CLASSES];
    uint64_t entry;
};

/* The price of a model in force at that time; its `model` is not set. MDB_NOTFOUND,
 * LEDGER_E_DAMAGED or LMDB's. */
int price_find(MDB_txn *txn, MDB_dbi keys, struct ledger_text model, uint64_t at_us,
               struct ledger_price *price);

/* What an entry that was given without a cost does cost: its tokens, each class at its price, and
 * the other parts of its breakdown; rounded half up, once. `names` say which model: that of the
 * provider ("provider/model") before that of any. An entry that occurred earlier is priced as of
 * then. Sets cost, unit prices, and the tokens' part of the breakdown; does nothing for other
 * entries. LEDGER_E_NO_PRICE, LEDGER_E_AMOUNT. */
int price_entry(MDB_txn *txn, MDB_dbi keys, struct ledger_entry *entry,
                const struct ledger_text *names, uint64_t now_us);

/* Puts the rows of an entry of kind price. LEDGER_E_BAD_ENTRY when its `change` is not as above. */
int price_check(struct ledger_text change);
int price_put(MDB_txn *txn, MDB_dbi keys, struct ledger_text change, uint64_t entry);

/* Calls `row` for prices by model, then by time: at most `limit` of them, from that of `model` that
 * is in force from `from_us` on, or from the next one. The model may be "", not longer than
 * PRICE_MODEL_BYTES_MAX. */
typedef void ledger_price_row(void *context, const struct ledger_price *price);
int price_walk(MDB_txn *txn, MDB_dbi keys, struct ledger_text model, uint64_t from_us, size_t limit,
               ledger_price_row *row, void *context);

#endif
