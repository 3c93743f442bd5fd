/* How holds end: by their caller, or by the ledger when nobody else does. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch_internal.h"
#include "keys.h"

/* A hold that is ending, with those above it. */
struct ending {
    struct hold hold;
    bool is_own; /* what is booked is of the hold alone: nothing of its children is in it */
    struct ledger_text names[DIMENSION_LIMIT]; /* of the hold */
    int above_count;
    struct hold *above[HOLD_DEPTH_MAX]; /* its parent, the parent's parent, ... */
};

static void end_free(struct ending *ending) {
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

/* MDB_NOTFOUND: it is not live. end_free() if it is 0. */
static int begin_ending(struct batch *batch, uint64_t id, struct ending **out) {
    struct ending *ending = calloc(1, sizeof *ending);
    if (ending == NULL)
        return ENOMEM;
    int rc = hold_load(batch->txn, batch_dbi(batch, DB_HOLDS), id, &ending->hold);
    if (rc == 0)
        rc = batch_load_names(batch, ending->hold.name_numbers, ending->names);
    if (rc == 0)
        rc = load_above(batch, ending);
    if (rc != 0)
        end_free(ending);
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

/* A usage that is linked to its hold is of that hold alone. A usage that takes the children in must
 * know of all of them; this one is right whatever they book meanwhile. */
static bool is_own(const struct ledger_entry *usage, uint64_t hold) {
    return usage->link == hold;
}

/* A run books what its children have not. How a cost came about that is not booked whole is not
 * said with it. */
static void leave_children_out(struct ledger_entry *entry, const struct amounts *children) {
    if (children->mask != 0)
        entry->given &= ~(uint32_t)(ENTRY_BREAKDOWN | ENTRY_UNIT_PRICES);
    entry->cost = beyond(children, COLUMN_COST, entry->cost);
    entry->credits = beyond(children, COLUMN_CREDITS, entry->credits);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        entry->tokens[class] = beyond(children, COLUMN_INPUT_TOKENS + class, entry->tokens[class]);
}

static void copy_usage(struct ledger_entry *entry, const struct ledger_entry *usage,
                       uint32_t fields) {
    uint32_t given = usage->given & fields;
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

#define AMOUNT_FIELDS (ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS)
#define USAGE_FIELDS (AMOUNT_FIELDS | ENTRY_BREAKDOWN | ENTRY_UNIT_PRICES | ENTRY_PRICING)

/* What is said of the work besides what it used. */
static void copy_record(struct ledger_entry *entry, const struct ledger_entry *said) {
    entry->given |= said->given & (ENTRY_DIGEST | ENTRY_OCCURRED_AT);
    entry->digest = said->digest;
    entry->salt = said->salt;
    entry->payload = said->payload;
    entry->occurred_at_ms = said->occurred_at_ms;
    entry->parent_run = said->parent_run;
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

static int book_ending(struct batch *batch, struct ending *ending, struct ledger_entry *entry) {
    struct hold *hold = &ending->hold;
    int64_t spent[HELD_COLUMNS];
    entry->kind = hold->kind;
    entry->hold = hold->id;
    entry->parent = hold->parent;
    entry->policy_version = hold->policy_version;
    entry->run_id = hold->run_id;
    if (hold->kind == KIND_RUN && !ending->is_own)
        leave_children_out(entry, &hold->children);
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
    return rc == 0 ? move_run(batch, hold->run_id, entry->id) : rc;
}

static void override_names(struct ledger_entry *entry, const struct ledger_text *names,
                           const struct ledger_text *usage) {
    for (int dimension = 0; dimension < DIMENSION_LIMIT; dimension++)
        entry->names[dimension] =
            usage != NULL && usage[dimension].data != NULL ? usage[dimension] : names[dimension];
}

/* What may come after the end of a hold: its caller's settlement, when the ledger ended it; and
 * late children of a run, which those above the run have to be told of. */
static int remember_ending(struct batch *batch, const struct ending *ending, uint64_t entry,
                           bool settled) {
    const struct hold *hold = &ending->hold;
    struct key_resolved ended = {entry, hold->parent, settled, hold->children};
    bool may_matter = !settled || (hold->kind == KIND_RUN && hold->parent != 0);
    return may_matter ? keys_put_resolved(batch->txn, batch_dbi(batch, DB_KEYS), hold->id, &ended)
                      : 0;
}

/* ---- by the caller ---------------------------------------------------------------------- */

static int64_t difference(const struct ledger_entry *usage, enum entry_field field, int64_t said,
                          int64_t booked) {
    return usage->given & field ? said - booked : 0;
}

/* What a child spent beyond what was booked is taken from what its parents hold, like what it
 * spends in time; and their own settling leaves it out. */
int resolving_tell_parents(struct batch *batch, const struct ledger_entry *correction) {
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
    end_free(ending);
    return rc;
}

/* The ledger settled first: books what the caller says beyond that, or short of it. */
static int settle_late(struct batch *batch, struct ledger_request *request,
                       const struct ledger_entry *usage) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct ledger_text names[DIMENSION_LIMIT];
    struct ledger_entry booked, said = *usage;
    struct key_resolved ended;
    int rc = keys_find_resolved(batch->txn, keys, request->hold, &ended);
    if (rc == MDB_NOTFOUND || (rc == 0 && ended.settled))
        return LEDGER_E_RESOLVED;
    if (rc == 0)
        rc = batch_find_linked(batch, ended.entry, &booked);
    if (rc == LEDGER_E_NO_ENTRY)
        rc = LEDGER_E_DAMAGED;
    if (rc == 0)
        rc = batch_load_names(batch, booked.name_numbers, names);
    override_names(&said, names, usage->names);
    if (rc == 0)
        rc = recording_price(batch, &said, said.names);
    if (rc != 0)
        return rc;
    if (booked.kind == KIND_RUN && !is_own(usage, request->hold))
        leave_children_out(&said, &ended.children);
    struct ledger_entry entry = {.kind = KIND_CORRECTION,
                                 .flags = ENTRY_LATE,
                                 .link = ended.entry,
                                 .hold = request->hold,
                                 .parent = booked.parent,
                                 .policy_version = booked.policy_version,
                                 .client_id = usage->client_id,
                                 .given = (said.given & AMOUNT_FIELDS) |
                                          (usage->given & ENTRY_REQUEST_DIGEST),
                                 .request_digest = usage->request_digest};
    entry.cost = difference(&said, ENTRY_COST, said.cost, booked.cost);
    entry.credits = difference(&said, ENTRY_CREDITS, said.credits, booked.credits);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        entry.tokens[class] =
            difference(&said, ENTRY_TOKENS, said.tokens[class], booked.tokens[class]);
    if (usage->status == STATUS_COMPLETED)
        entry.flags |= ENTRY_COMPLETES;
    memcpy(entry.names, names, sizeof names);
    copy_record(&entry, usage);
    entry.parent_run = (struct ledger_text){0}; /* that stands in what it corrects */
    ended.settled = true;
    rc = keys_put_resolved(batch->txn, keys, request->hold, &ended);
    if (rc == 0)
        rc = resolving_tell_parents(batch, &entry);
    if (rc == 0)
        rc = recording_correct(batch, &entry, &booked);
    request->id = entry.id;
    request->flags = entry.flags;
    return rc;
}

/* A hold that its caller names. MDB_NOTFOUND: resolved before. */
static int begin_resolving(struct batch *batch, uint64_t id, struct ending **ending) {
    if (id == 0 || id > batch->last_id)
        return LEDGER_E_NO_HOLD;
    int rc = begin_ending(batch, id, ending);
    if (rc == 0 && (*ending)->hold.open_children > 0) {
        end_free(*ending);
        rc = LEDGER_E_OPEN_CHILDREN;
    }
    return rc;
}

int resolving_settle(struct batch *batch, struct ledger_request *request,
                     const struct ledger_entry *usage) {
    struct ending *ending;
    int rc = begin_resolving(batch, request->hold, &ending);
    if (rc == MDB_NOTFOUND)
        return settle_late(batch, request, usage);
    if (rc != 0)
        return rc;
    struct ledger_entry entry = {.status = usage->status,
                                 .given = usage->given & ENTRY_REQUEST_DIGEST,
                                 .duration_ms = usage->duration_ms,
                                 .client_id = usage->client_id,
                                 .request_digest = usage->request_digest};
    ending->is_own = is_own(usage, request->hold);
    copy_usage(&entry, usage, USAGE_FIELDS);
    copy_record(&entry, usage);
    override_names(&entry, ending->names, usage->names);
    rc = recording_price(batch, &entry, entry.names);
    if (rc == 0)
        rc = book_ending(batch, ending, &entry);
    if (rc == 0)
        rc = remember_ending(batch, ending, entry.id, true);
    request->id = entry.id;
    request->flags = entry.flags;
    end_free(ending);
    return rc;
}

int resolving_release(struct batch *batch, struct ledger_request *request,
                      const struct ledger_entry *release) {
    struct ending *ending;
    int rc = begin_resolving(batch, request->hold, &ending);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? LEDGER_E_RESOLVED : rc;
    struct ledger_entry entry = {.kind = KIND_RELEASE,
                                 .hold = ending->hold.id,
                                 .parent = ending->hold.parent,
                                 .given = release->given & ENTRY_REQUEST_DIGEST,
                                 .client_id = release->client_id,
                                 .request_digest = release->request_digest};
    override_names(&entry, ending->names, NULL);
    rc = give_back(batch, ending);
    if (rc == 0)
        rc = drop(batch, ending, &entry);
    if (rc == 0)
        rc = batch_book(batch, &entry, NULL);
    if (rc == 0)
        rc = remember_ending(batch, ending, entry.id, true);
    if (rc == 0 && ending->hold.run_id.data != NULL)
        rc = keys_delete_run(batch->txn, batch_dbi(batch, DB_KEYS), ending->hold.run_id);
    request->id = entry.id;
    end_free(ending);
    return rc;
}

/* ---- by the ledger ---------------------------------------------------------------------- */

static int note_expiry(struct batch *batch, const struct ledger_entry *entry) {
    struct ledger_effects *effects = &batch->effects;
    size_t size = (effects->expiry_count + 1) * sizeof *effects->expiries;
    struct ledger_expiry *grown = realloc(effects->expiries, size);
    if (grown == NULL)
        return ENOMEM;
    effects->expiries = grown;
    effects->expiries[effects->expiry_count++] = (struct ledger_expiry){
        .hold = entry->hold,
        .entry = entry->id,
        .is_unpriced = entry->kind == KIND_INVOCATION && !(entry->given & ENTRY_COST)};
    return 0;
}

int resolving_abort(struct batch *batch, uint64_t id) {
    struct ending *ending;
    struct ledger_entry metered = {0};
    int rc = begin_ending(batch, id, &ending);
    if (rc != 0)
        return rc;
    struct hold *hold = &ending->hold;
    struct ledger_entry entry = {.status = STATUS_ABORTED, .flags = ENTRY_UNATTENDED};
    struct ledger_entry estimate = {
        .given = hold->given, .cost = hold->cost, .credits = hold->credits};
    memcpy(estimate.tokens, hold->tokens, sizeof estimate.tokens);
    if (hold->metered.size > 0)
        rc = entry_read_draft(hold->metered.data, hold->metered.size, &metered);
    if (rc == 0)
        rc = batch_keep_names(batch, metered.names); /* they lie in the hold's row */
    /* What a run holds is a ceiling, not an estimate. */
    if (hold->kind == KIND_INVOCATION)
        copy_usage(&entry, &estimate, USAGE_FIELDS);
    ending->is_own = is_own(&metered, id);
    copy_usage(&entry, &metered, USAGE_FIELDS);
    entry.duration_ms = metered.duration_ms;
    override_names(&entry, ending->names, metered.names);
    if (rc == 0)
        rc = book_ending(batch, ending, &entry);
    if (rc == 0)
        rc = remember_ending(batch, ending, entry.id, false);
    if (rc == 0)
        rc = note_expiry(batch, &entry);
    end_free(ending);
    return rc;
}

/* All live holds: those of another boot are due at once, because their owners are gone. */
static int load_deadlines(struct batch *batch) {
    struct deadlines *deadlines = &batch->ledger->deadlines;
    const uint8_t *boot_id = batch->ledger->gate->header.boot_id;
    struct hold hold = {0};
    MDB_cursor *cursor;
    MDB_val key, value;
    deadlines_clear(deadlines);
    int rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_HOLDS), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        if (key.mv_size != 8)
            rc = LEDGER_E_DAMAGED;
        else
            rc = hold_read(get_be64(key.mv_data), value.mv_data, value.mv_size, &hold);
        bool is_ours = memcmp(hold.boot_id, boot_id, GATE_BOOT_ID_BYTES) == 0;
        if (rc == 0)
            rc = deadlines_push(deadlines, is_ours ? hold.deadline_us : 0, hold.id);
    }
    mdb_cursor_close(cursor);
    hold_free(&hold);
    deadlines->fresh = rc == MDB_NOTFOUND;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The heap keeps what was resolved in time: now and then it is made anew. */
static int refresh_deadlines(struct batch *batch) {
    struct deadlines *deadlines = &batch->ledger->deadlines;
    MDB_stat holds;
    if (!deadlines->fresh)
        return load_deadlines(batch);
    int rc = mdb_stat(batch->txn, batch_dbi(batch, DB_HOLDS), &holds);
    if (rc == 0 && deadlines->count > 2 * holds.ms_entries + 4096)
        rc = load_deadlines(batch);
    return rc;
}

/* Whether the deadline still is that of its hold, or its owner is still of another boot: it may
 * have been transferred since. */
static int is_due(struct batch *batch, const struct deadline *deadline, bool *due) {
    const uint8_t *boot_id = batch->ledger->gate->header.boot_id;
    struct hold hold = {0};
    int rc = hold_load(batch->txn, batch_dbi(batch, DB_HOLDS), deadline->hold, &hold);
    bool is_ours = memcmp(hold.boot_id, boot_id, GATE_BOOT_ID_BYTES) == 0;
    *due = rc == 0 && (hold.deadline_us <= deadline->us || !is_ours);
    if (rc == 0 && !*due && deadline->us == 0)
        rc = deadlines_push(&batch->ledger->deadlines, hold.deadline_us, hold.id);
    hold_free(&hold);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int resolving_expire(struct batch *batch) {
    struct deadlines *deadlines = &batch->ledger->deadlines;
    const struct deadline *first;
    int rc = refresh_deadlines(batch);
    while (rc == 0 && batch->effects.expiry_count < BATCH_EXPIRE_MAX &&
           (first = deadlines_first(deadlines)) != NULL &&
           first->us <= (uint64_t)batch->moment.now_us) {
        struct deadline deadline = *first;
        bool due;
        deadlines_pop(deadlines);
        rc = is_due(batch, &deadline, &due);
        if (rc == 0 && due)
            rc = resolving_abort(batch, deadline.hold);
    }
    return rc;
}
