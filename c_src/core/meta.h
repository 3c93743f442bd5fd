/* The `meta` database: what holds for the whole file. Keys are words, values msgpack.
 *
 *   "format"   {"magic": "cost_ledger", "version": 1, "created_at": us, "currency": "USD",
 *               "needs": [str, ...]}   what a program must know to read and to write this
 *                                      ledger; a word that this code does not know is
 *                                      LEDGER_E_NEWER. "budgets": rules of every form, holds,
 *                                      grants, resets. "records": payloads, run ids, prices,
 *                                      families by status. "retention": the row of that name. A
 *                                      later version names here what it began to use, in the
 *                                      transaction that does.
 *   "series"   [[dimension, ...], ...]   the declared families of series
 *   "building" [[[dimension, ...], id], ...]   families that are being built: entries below id
 *                                              are in; absent where there are none
 *   "policy"   see policy.h
 *   "retention" [id, id, [[[dimension, ...], id], ...]]   see retention.h; absent where no entry
 * was ever removed. Last, families that were declared since, and from when on they count
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_META_H
#define LEDGER_META_H

#include "internal.h"
#include "retention.h"

/* Writes the rows of a new ledger, whose families ledger->declared has. */
int meta_create(struct ledger *ledger, MDB_txn *txn, const struct ledger_options *options);
/* Fills the ledger's format fields, declared series and policy. */
int meta_load(struct ledger *ledger, MDB_txn *txn, struct ledger_failure *failure);
/* The declared families as the file has them, those that are being built last: an array of
 * DECLARED_MAX, and how many. */
int meta_read_series(struct ledger *ledger, MDB_txn *txn, struct declared_series *declared,
                     size_t *count);
/* The policy alone, for policy_free(). */
int meta_read_policy(struct ledger *ledger, MDB_txn *txn, struct ledger_policy *policy);
/* Commits a transaction that changes nothing: when it succeeds, so has every one before it. */
int meta_prove(struct ledger *ledger);
/* The row `format`, with what a program must know by now: of a ledger that an earlier version made,
 * or that begins to remove entries. */
int meta_put_needs(struct ledger *ledger, MDB_txn *txn);
/* The rows `series` and `building`, of as many families as the ledger has; and in `retention` what
 * it says of them. */
int meta_put_series(struct ledger *ledger, MDB_txn *txn, const struct declared_series *declared);
int meta_put_policy(struct ledger *ledger, MDB_txn *txn, const struct ledger_policy *policy);
/* The row `retention`; zeros where there is none. */
int meta_read_retention(const struct ledger *ledger, MDB_txn *txn, struct retention *retention);
int meta_put_retention(struct ledger *ledger, MDB_txn *txn, const struct retention *retention,
                       const struct declared_series *declared);

#endif
