/* How holds end by the ledger: when their deadline has passed, or their owner is gone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ending.h"

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

int expiring_end(struct batch *batch, uint64_t id) {
    struct ending *ending;
    struct ledger_entry metered = {0};
    int rc = ending_begin(batch, id, &ending);
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
        ending_copy_usage(&entry, &estimate);
    ending->is_own = ending_is_own(&metered, id);
    ending_copy_usage(&entry, &metered);
    entry.duration_ms = metered.duration_ms;
    ending_set_names(&entry, ending->names, metered.names);
    if (rc == 0)
        rc = ending_book(batch, ending, &entry, false);
    if (rc == 0)
        rc = note_expiry(batch, &entry);
    ending_free(ending);
    return rc;
}

/* All live holds: those of another boot are due at once, because their owners are gone. */
static int load_deadlines(struct batch *batch) {
    struct deadlines *deadlines = &batch->ledger->deadlines;
    const uint8_t *boot_id = batch->ledger->gate->header.boot_id;
    struct hold hold = {0};
    MDB_cursor *cursor;
    deadlines_clear(deadlines);
    int rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_HOLDS), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = hold_next(cursor, &hold)) == 0) {
        bool is_ours = memcmp(hold.boot_id, boot_id, GATE_BOOT_ID_BYTES) == 0;
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

int expiring_end_due(struct batch *batch) {
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
            rc = expiring_end(batch, deadline.hold);
    }
    return rc;
}
