/* What ends with a hold; see ending.h. */
#include "ending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keys.h"

void ending_free(struct ending *ending) {
    hold_free(&ending->hold);
    for (int i = 0; i < ending->above_count; i++) {
        hold_free(ending->above[i]);
        free(ending->above[i]);
    }
    free(ending);
}

static int load_above(struct batch *batch, struct ending *ending) {
    uint64_t next = ending->hold.parent;
    int rc = 0;
    while (rc == 0 && next != 0 && ending->above_count < HOLD_DEPTH_MAX) {
        struct hold *above = calloc(1, sizeof *above);
        if (above == NULL)
            return ENOMEM;
        rc = hold_load(batch->txn, batch_dbi(batch, DB_HOLDS), next, above);
        if (rc != 0) {
            /* A parent that ended unattended: its children go on without it. */
            hold_free(above);
            free(above);
            break;
        }
        ending->above[ending->above_count++] = above;
        next = above->parent;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int ending_begin(struct batch *batch, uint64_t id, struct ending **out) {
    struct ending *ending = calloc(1, sizeof *ending);
    if (ending == NULL)
        return ENOMEM;
    int rc = hold_load(batch->txn, batch_dbi(batch, DB_HOLDS), id, &ending->hold);
    if (rc == 0)
        rc = batch_load_names(batch, ending->hold.name_numbers, ending->names);
    if (rc == 0)
        rc = load_above(batch, ending);
    if (rc != 0)
        ending_free(ending);
    else
        *out = ending;
    return rc;
}

/* ---- what was held ---------------------------------------------------------------------- */

/* Of what a hold spent, the part that its parents had lent one another, from the one at `first` up:
 * what was drawn is spent first, and is not given back by any of them. */
static void spend_drawn(struct ending *ending, int first, uint32_t series, int column,
                        int64_t spent) {
    for (int i = first; i < ending->above_count && spent > 0; i++) {
        struct hold_share *share = hold_share_of(ending->above[i], series);
        if (share == NULL)
            return;
        if (share->drawn[column] < spent)
            spent = share->drawn[column];
        share->drawn[column] -= spent;
    }
}

/* Takes what a descendant spent out of what those above it hold, the nearest first. */
static int64_t spend_above(struct ending *ending, uint32_t series, int column, int64_t spent) {
    int64_t taken = 0;
    for (int i = 0; i < ending->above_count && taken < spent; i++) {
        struct hold_share *share = hold_share_of(ending->above[i], series);
        if (share == NULL)
            continue;
        int64_t rest = spent - taken;
        int64_t part = share->held[column] < rest ? share->held[column] : rest;
        share->held[column] -= part;
        spend_drawn(ending, i, series, column, part);
        taken += part;
    }
    return taken;
}

static bool any_above_holds(struct ending *ending, uint32_t series) {
    for (int i = 0; i < ending->above_count; i++)
        if (hold_share_of(ending->above[i], series) != NULL)
            return true;
    return false;
}

/* What was booked under these names is taken from what those above hold in the series that it was
 * booked in: they need not be those that the hold was in. */
static int take_spent(struct batch *batch, struct ending *ending, const struct ledger_text *names,
                      const int64_t spent[HELD_COLUMNS]) {
    int rc = 0;
    for (int family = 0;
         rc == 0 && ending->above_count > 0 && family <= (int)batch->ledger->declared_count;
         family++) {
        uint32_t series;
        struct sums *sums;
        int64_t delta[HELD_COLUMNS];
        if (!batch_has_family(batch, family, names))
            continue;
        rc = batch_find_series(batch, family, names, false, &series);
        if (rc == MDB_NOTFOUND || (rc == 0 && !any_above_holds(ending, series))) {
            rc = 0;
            continue;
        }
        if (rc == 0)
            rc = sums_get(batch, family, series, names, &sums);
        for (int column = 0; rc == 0 && column < HELD_COLUMNS; column++)
            delta[column] = -spend_above(ending, series, column, spent[column]);
        if (rc == 0)
            sums_hold(sums, 0, delta, 0);
    }
    return rc;
}

/* What the hold kept is free again; what it drew goes back to its parent. */
static int give_back(struct batch *batch, struct ending *ending) {
    struct hold *hold = &ending->hold;
    int rc = 0;
    for (int family = 0; rc == 0 && family <= (int)batch->ledger->declared_count; family++) {
        uint32_t series;
        struct sums *sums;
        int64_t delta[HELD_COLUMNS];
        if (!batch_has_family(batch, family, ending->names))
            continue;
        rc = batch_find_series(batch, family, ending->names, true, &series);
        struct hold_share *share = rc == 0 ? hold_share_of(hold, series) : NULL;
        if (share == NULL)
            continue;
        rc = sums_get(batch, family, series, ending->names, &sums);
        struct hold_share *lender =
            ending->above_count > 0 ? hold_share_of(ending->above[0], series) : NULL;
        for (int column = 0; column < HELD_COLUMNS; column++) {
            delta[column] = -share->held[column];
            if (lender != NULL) {
                /* What was drawn may be gone: spent far below, or held by children that go on. */
                int64_t back = share->drawn[column] < share->held[column] ? share->drawn[column]
                                                                          : share->held[column];
                lender->held[column] += back;
                delta[column] += back;
            }
        }
        if (rc == 0)
            sums_hold(sums, -1, delta, 0);
    }
    return rc;
}

static void add_to_children(struct amounts *children, enum totals_column column, int64_t amount) {
    bool has = children->mask & UINT64_C(1) << column;
    int64_t sum = has ? children->column[column] : 0;
    if (__builtin_add_overflow(sum, amount, &sum))
        sum = INT64_MAX; /* more than any run can settle */
    children->mask &= ~(UINT64_C(1) << column);
    amounts_set(children, column, sum);
}

static void add_entry_to(struct amounts *children, const struct ledger_entry *entry) {
    add_to_children(children, COLUMN_COST, entry->cost);
    add_to_children(children, COLUMN_CREDITS, entry->credits);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        add_to_children(children, COLUMN_INPUT_TOKENS + class, entry->tokens[class]);
}

/* One run above, live or ended: what it may still settle leaves out what was booked below. *next
 * is the one above it. MDB_NOTFOUND: nothing is known of it any more. */
static int tell_one_above(struct batch *batch, uint64_t id, const struct ledger_entry *entry,
                          uint64_t *next) {
    MDB_dbi holds = batch_dbi(batch, DB_HOLDS), keys = batch_dbi(batch, DB_KEYS);
    struct hold hold = {0};
    struct key_resolved ended;
    int rc = hold_load(batch->txn, holds, id, &hold);
    if (rc == 0) {
        add_entry_to(&hold.children, entry);
        *next = hold.parent;
        rc = hold_store(batch->txn, holds, &hold);
        hold_free(&hold);
        return rc;
    }
    hold_free(&hold);
    if (rc == MDB_NOTFOUND)
        rc = keys_find_resolved(batch->txn, keys, id, &ended);
    if (rc == 0) {
        add_entry_to(&ended.children, entry);
        *next = ended.parent;
        rc = keys_put_resolved(batch->txn, keys, id, &ended);
    }
    return rc;
}

/* Tells those above what was booked below them: the live ones that are at hand, and beyond them
 * those that have ended, whose callers may yet settle, or whose parents may. */
static int tell_above(struct batch *batch, struct ending *ending,
                      const struct ledger_entry *entry) {
    uint64_t next = ending->hold.parent;
    int rc = 0, told = 0;
    for (; rc == 0 && told < ending->above_count; told++) {
        add_entry_to(&ending->above[told]->children, entry);
        next = ending->above[told]->parent;
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), ending->above[told]);
    }
    for (; rc == 0 && next != 0 && told < HOLD_DEPTH_MAX; told++)
        rc = tell_one_above(batch, next, entry, &next);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Does that, and drops the hold. */
static int drop(struct batch *batch, struct ending *ending, const struct ledger_entry *entry) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    put_be64(bytes, ending->hold.id);
    int rc = mdb_del(batch->txn, batch_dbi(batch, DB_HOLDS), &key, NULL);
    if (ending->above_count > 0)
        ending->above[0]->open_children--;
    return rc == 0 ? tell_above(batch, ending, entry) : rc;
}

/* ---- what is booked --------------------------------------------------------------------- */

static int64_t beyond(const struct amounts *children, enum totals_column column, int64_t amount) {
    int64_t booked = children->mask & UINT64_C(1) << column ? children->column[column] : 0;
    return amount > booked ? amount - booked : 0;
}

void ending_leave_children_out(struct ledger_entry *entry, const struct amounts *children) {
    if (children->mask != 0)
        entry->given &= ~(uint32_t)(ENTRY_BREAKDOWN | ENTRY_UNIT_PRICES);
    entry->cost = beyond(children, COLUMN_COST, entry->cost);
    entry->credits = beyond(children, COLUMN_CREDITS, entry->credits);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        entry->tokens[class] = beyond(children, COLUMN_INPUT_TOKENS + class, entry->tokens[class]);
}

void ending_copy_usage(struct ledger_entry *entry, const struct ledger_entry *usage) {
    const uint32_t of_usage = ENDING_AMOUNTS | ENTRY_BREAKDOWN | ENTRY_UNIT_PRICES | ENTRY_PRICING;
    uint32_t given = usage->given & of_usage;
    entry->given |= given;
    if (given & ENTRY_COST)
        entry->cost = usage->cost;
    if (given & ENTRY_CREDITS)
        entry->credits = usage->credits;
    if (given & ENTRY_TOKENS)
        memcpy(entry->tokens, usage->tokens, sizeof entry->tokens);
    memcpy(entry->breakdown, usage->breakdown, sizeof entry->breakdown);
    memcpy(entry->unit_prices, usage->unit_prices, sizeof entry->unit_prices);
}

/* The run that a hold was for is from now on what was booked for it. */
static int move_run(struct batch *batch, struct ledger_text run_id, uint64_t entry) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct key_row row;
    if (run_id.data == NULL)
        return 0;
    int rc = keys_find_run(batch->txn, keys, run_id, &row);
    row.version = row.id;
    row.id = entry;
    if (rc == 0)
        rc = keys_put_run(batch->txn, keys, run_id, &row);
    return rc == MDB_NOTFOUND ? LEDGER_E_DAMAGED : rc;
}

/* For what may come after: its caller's settlement, when the ledger ended it; and late children of
 * a run, which those above the run have to be told of. */
static int remember(struct batch *batch, const struct ending *ending, uint64_t entry,
                    bool settled) {
    const struct hold *hold = &ending->hold;
    struct key_resolved ended = {entry, hold->parent, settled, hold->children};
    bool may_matter = !settled || (hold->kind == KIND_RUN && hold->parent != 0);
    return may_matter ? keys_put_resolved(batch->txn, batch_dbi(batch, DB_KEYS), hold->id, &ended)
                      : 0;
}

int ending_book(struct batch *batch, struct ending *ending, struct ledger_entry *entry,
                bool settled) {
    struct hold *hold = &ending->hold;
    int64_t spent[HELD_COLUMNS];
    entry->kind = hold->kind;
    entry->hold = hold->id;
    entry->parent = hold->parent;
    entry->policy_version = hold->policy_version;
    entry->run_id = hold->run_id;
    if (hold->kind == KIND_RUN && !ending->is_own)
        ending_leave_children_out(entry, &hold->children);
    spent[HELD_INVOCATIONS] = hold->kind == KIND_INVOCATION;
    spent[HELD_COST] = entry->cost;
    spent[HELD_CREDITS] = entry->credits;
    spent[HELD_TOKENS] = 0;
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        spent[HELD_TOKENS] += entry->tokens[class];
    int rc = give_back(batch, ending);
    if (rc == 0)
        rc = take_spent(batch, ending, entry->names, spent);
    if (rc == 0)
        rc = drop(batch, ending, entry);
    if (rc == 0)
        rc = batch_book(batch, entry, NULL);
    if (rc == 0)
        rc = move_run(batch, hold->run_id, entry->id);
    return rc == 0 ? remember(batch, ending, entry->id, settled) : rc;
}

int ending_book_release(struct batch *batch, struct ending *ending, struct ledger_entry *release) {
    struct ledger_text run_id = ending->hold.run_id;
    int rc = give_back(batch, ending);
    if (rc == 0)
        rc = drop(batch, ending, release);
    if (rc == 0)
        rc = batch_book(batch, release, NULL);
    if (rc == 0)
        rc = remember(batch, ending, release->id, true);
    return rc == 0 && run_id.data != NULL
               ? keys_delete_run(batch->txn, batch_dbi(batch, DB_KEYS), run_id)
               : rc;
}

void ending_set_names(struct ledger_entry *entry, const struct ledger_text *names,
                      const struct ledger_text *usage) {
    for (int dimension = 0; dimension < DIMENSION_LIMIT; dimension++)
        entry->names[dimension] =
            usage != NULL && usage[dimension].data != NULL ? usage[dimension] : names[dimension];
}

int ending_tell_parents(struct batch *batch, const struct ledger_entry *correction) {
    struct ending *ending = calloc(1, sizeof *ending);
    if (ending == NULL)
        return ENOMEM;
    ending->hold.parent = correction->parent;
    int64_t spent[HELD_COLUMNS] = {0};
    spent[HELD_COST] = correction->cost;
    spent[HELD_CREDITS] = correction->credits;
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        spent[HELD_TOKENS] += correction->tokens[class] > 0 ? correction->tokens[class] : 0;
    int rc = load_above(batch, ending);
    if (rc == 0)
        rc = take_spent(batch, ending, correction->names, spent);
    if (rc == 0)
        rc = tell_above(batch, ending, correction);
    ending_free(ending);
    return rc;
}
