/* How far back a ledger's entries are kept: what may be removed, and what was.
 *
 * What is older than the horizon, a midnight of UTC, was archived, and is removed in slices: work
 * (invocations, runs, releases, corrections, redactions) with its payloads, and the blocks of
 * series that nothing asks for any more. Grants, policies, resets and prices stay, because they
 * rule what is answered today; so do names, keys, rollups, holds and warnings. Every answer of a
 * rule, every sum from the beginning on and every sum from the horizon on is what it was. What
 * reaches into the time before it otherwise is LEDGER_E_PRUNED.
 *
 * The row `retention` of `meta` has two ids: the horizon, and up to where what had to go is gone.
 * They differ while slices are left. Both only grow. And it has the families of series that were
 * declared since, with the horizon that was then: they count from there on, and what asks for more
 * is LEDGER_E_PRUNED.
 *
 * Thread class: those that may read or write LMDB. */
#ifndef LEDGER_RETENTION_H
#define LEDGER_RETENTION_H

#include "internal.h"

/* Whole days: so a rollup, of an hour or a day, is of entries that are all there, or all gone. */
#define RETENTION_UNIT_US UINT64_C(86400000000)

struct retention {
    uint64_t horizon; /* 0: everything is kept */
    uint64_t removed_to;
};

/* Kinds whose entries stay, as bits. */
#define RETENTION_KINDS                                                                            \
    (UINT32_C(1) << KIND_GRANT | UINT32_C(1) << KIND_POLICY | UINT32_C(1) << KIND_RESET |          \
     UINT32_C(1) << KIND_PRICE)

static inline bool retention_keeps(enum ledger_kind kind) {
    return RETENTION_KINDS & UINT32_C(1) << kind;
}

/* The latest horizon up to `wanted` with which no answer in force changes, and never before the one
 * that is, which stays where nothing would go: what is held, and the newest entry, lower it.
 * LEDGER_E_RETENTION where a window of a rule in force, or LEDGER_E_BUILDING where a series that is
 * built, needs what is older than `wanted`. */
int retention_allowed(struct ledger *ledger, MDB_txn *txn, int64_t now_us, uint64_t wanted,
                      uint64_t *allowed, struct ledger_failure *failure);

/* LEDGER_E_PRUNED where a rule's window begins before the horizon; without a window, where its
 * series were declared when entries were gone. */
int retention_check_policy(const struct ledger *ledger, const struct ledger_policy *policy,
                           int64_t now_us, struct ledger_failure *failure);

#endif
