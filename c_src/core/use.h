/* How much of one rule's limit is used, in one series, at one moment; what it says of an
 * attempt; and from when on it would say otherwise.
 *
 * Sums are 128 bits wide, so no product of a limit and a percent overflows.
 *
 * Thread class: those that may read LMDB. Nothing is remembered between calls. */
#ifndef LEDGER_USE_H
#define LEDGER_USE_H

#include <lmdb.h>

#include "held.h"
#include "rule.h"
#include "totals.h"

#define USE_NEVER UINT64_MAX

/* One transaction at one moment. A writer's sums may be ahead of what its transaction holds:
 * `save` makes the series database agree for one series; NULL for readers. */
struct moment {
    MDB_txn *txn;
    MDB_cursor *series; /* on the series database */
    MDB_dbi warned;
    int64_t now_us;
    bool any_reset; /* whether looking for resets is worth it */
    int (*save)(void *context, uint32_t series);
    void *context;
};

struct use {
    const struct ledger_rule *rule;
    uint32_t series;
    bool exists;       /* false: nothing was ever booked or held there; series means nothing */
    bool lacks;        /* the attempt lacks a dimension that the rule requires */
    bool full;         /* the rule has as many values as it may, and this is a new one */
    uint64_t since;    /* id of the reset after which entries count; 0: none */
    ledger_sum before; /* of the measure, below the window */
    ledger_sum used;
    ledger_sum held;
    uint64_t held_until_us; /* 0: nothing is held */
    ledger_sum limit;       /* of a granted rule: the grants, less what was taken back */
    ledger_sum grants;      /* of a granted rule: all that were given */
    bool has_spent;
    ledger_sum spent;       /* of the grants: those that are used up, given has_spent */
    ledger_sum spent_next;  /* the same, with the one that is being used */
    uint64_t first_percent; /* a batch's own: of booked use, before the batch added to it */
};

/* The measure's sum in a set of totals. */
ledger_sum use_measure(enum rule_measure measure, const struct totals *totals);

/* First id that counts at `now_us`. */
uint64_t use_window_start(const struct ledger_rule *rule, uint64_t since, int64_t now_us);

/* What holds for the whole moment: resets, and what lies before the window. */
int use_begin(const struct moment *moment, const struct ledger_rule *rule, uint32_t series,
              bool exists, struct use *use);
/* What changes with every entry and hold. Zeros for a series that is not there. */
void use_refresh(struct use *use, const struct totals *totals, const struct held *held);

/* Of a granted rule: which grants are used up. Must come before use_cap() of a soft rule,
 * use_percent(); does nothing for other rules. */
int use_load_grants(const struct moment *moment, struct use *use);

bool use_is_unlimited(const struct use *use);
/* The most that use may come to. Soft thresholds are for attempts that are not critical. */
ledger_sum use_cap(const struct use *use, bool critical);
/* What is beyond it is an overrun. */
ledger_sum use_hard_cap(const struct use *use);

/* Of a limit that is not there: 0; of limit 0: 100. */
uint64_t use_percent(const struct use *use, ledger_sum of);

/* Asking for nothing is always admitted. */
enum rule_reason use_decide(const struct use *use, ledger_sum amount, bool critical);

/* The first ledger time from now on at which the amount would be admitted if nothing were booked
 * and nothing released: 0 when it is now, USE_NEVER. A multiple of a ms. */
int use_admits_from(const struct moment *moment, const struct use *use, ledger_sum amount,
                    bool critical, uint64_t *from_us);

/* When the limit is reached at the rate of the window so far (us); 0: not to be told. */
int use_forecast(const struct moment *moment, const struct use *use, uint64_t *at_us);

#endif
