/* Building series that were declared when there were entries already: in slices, each a
 * transaction of its own, so that commits go on between them. Entries that are booked meanwhile
 * are not added to such series; the slice that reaches the newest entry makes them ready. */
#include <string.h>

#include "batch_internal.h"
#include "meta.h"

/* Adds an entry that was booked before to one family; its names are texts. */
static int add_to_family(struct batch *batch, int family, struct ledger_entry *entry,
                         const struct amounts *amounts) {
    struct sums *sums;
    uint32_t series;
    if (amounts->mask == 0 || !batch_has_family(batch, family, entry->names))
        return 0;
    int rc = batch_find_series(batch, family, entry->names, true, &series);
    if (rc == 0)
        rc = sums_get(batch, family, series, entry->names, &sums);
    return rc == 0 ? sums_add(batch, sums, entry->id, amounts) : rc;
}

static bool is_by_status(const struct declared_series *declared) {
    bool is = false;
    for (uint8_t i = 0; i < declared->count; i++)
        is = is || declared->dimensions[i] == DIMENSION_STATUS;
    return is;
}

/* Whether a series that has what it corrects under this status lists a correction. */
static int is_listed(struct batch *batch, const struct ledger_entry *entry, bool *listed) {
    const struct ledger *ledger = batch->ledger;
    struct amounts amounts;
    *listed = false;
    for (size_t i = 0; !*listed && i < ledger->declared_count; i++) {
        const struct declared_series *declared = &ledger->declared[i];
        uint32_t series;
        if (!declared->ready || !is_by_status(declared) ||
            !batch_has_family(batch, (int)i + 1, entry->names))
            continue;
        int rc = batch_find_series(batch, (int)i + 1, entry->names, false, &series);
        if (rc == 0)
            rc = series_find_item(batch->moment.series, series, entry->id, &amounts);
        *listed = rc == 0;
        if (rc != 0 && rc != MDB_NOTFOUND)
            return rc;
    }
    return 0;
}

/* A correction of what was removed: the series of everything tells what it adds, and one by status,
 * where there is any, under which. */
static int add_past_correction(struct batch *batch, int family, struct ledger_entry *entry) {
    struct amounts amounts;
    bool listed = false;
    int rc = series_find_item(batch->moment.series, SERIES_EVERYTHING, entry->id, &amounts);
    for (int status = STATUS_COMPLETED; rc == 0 && !listed && status <= STATUS_ABORTED; status++) {
        const struct ledger_entry of = {.kind = KIND_INVOCATION,
                                        .status = (enum ledger_status)status};
        entry->names[DIMENSION_STATUS] = entry_status_name(&of, NULL);
        rc = is_listed(batch, entry, &listed);
    }
    if (!listed)
        entry->names[DIMENSION_STATUS] = (struct ledger_text){0};
    if (rc == MDB_NOTFOUND)
        return LEDGER_E_DAMAGED;
    return rc == 0 ? add_to_family(batch, family, entry, &amounts) : rc;
}

static int add_entry(struct batch *batch, int family, uint64_t id, uint64_t horizon) {
    struct ledger_entry entry, corrected;
    struct amounts amounts;
    int rc = batch_fetch(batch, id, &entry);
    if (rc == 0)
        rc = batch_load_names(batch, entry.name_numbers, entry.names);
    if (rc == 0 && entry.kind == KIND_CORRECTION && entry.link < horizon)
        return add_past_correction(batch, family, &entry);
    if (rc == 0 && entry.kind == KIND_CORRECTION)
        rc = batch_fetch(batch, entry.link, &corrected);
    if (rc != 0)
        return rc;
    entry_amounts(&entry, &corrected, &amounts);
    entry.names[DIMENSION_STATUS] = entry_status_name(&entry, &corrected);
    return add_to_family(batch, family, &entry, &amounts);
}

/* The sums of a hold's series in the family; NULL where it has none. */
static int sums_of_hold(struct batch *batch, int family, const struct hold *hold,
                        struct sums **sums) {
    struct ledger_text names[DIMENSION_LIMIT];
    uint32_t series;
    *sums = NULL;
    int rc = batch_load_names(batch, hold->name_numbers, names);
    if (rc != 0 || !batch_has_family(batch, family, names))
        return rc;
    rc = batch_find_series(batch, family, names, true, &series);
    return rc == 0 ? sums_get(batch, family, series, names, sums) : rc;
}

/* In the series of everything a parent's share is less what its live children took from it. Here
 * it is so only for those that are in its series; what the others took it keeps. (What others
 * spent that have ended cannot be told any more, and is missing.) */
static int share_hold(struct batch *batch, int family, struct hold *hold, struct hold *parent) {
    MDB_dbi holds = batch_dbi(batch, DB_HOLDS);
    struct sums *own, *above = NULL;
    int rc = sums_of_hold(batch, family, hold, &own);
    bool has_parent = false;
    if (rc == 0 && hold->parent != 0) {
        rc = hold_load(batch->txn, holds, hold->parent, parent);
        has_parent = rc == 0;
        if (rc == MDB_NOTFOUND)
            rc = 0;
    }
    if (rc == 0 && has_parent)
        rc = sums_of_hold(batch, family, parent, &above);
    bool together = own != NULL && own == above;
    if (rc == 0 && own != NULL && hold->share_count < HOLD_SHARES_MAX) {
        struct hold_share *share = &hold->shares[hold->share_count++];
        *share = hold->shares[0];
        share->series = own->block.series;
        if (!together)
            memset(share->drawn, 0, sizeof share->drawn);
        sums_hold(own, 1, share->held, hold->deadline_us);
        rc = hold_store(batch->txn, holds, hold);
    }
    /* Parents are older than their children, so this one has its share. */
    struct hold_share *lender =
        rc == 0 && above != NULL ? hold_share_of(parent, above->block.series) : NULL;
    if (lender != NULL && !together) {
        for (int column = 0; column < HELD_COLUMNS; column++)
            lender->held[column] += hold->shares[0].drawn[column];
        sums_hold(above, 0, hold->shares[0].drawn, 0);
        rc = hold_store(batch->txn, holds, parent);
    }
    return rc;
}

/* What live holds keep in series that they were too early for. */
static int share_holds(struct batch *batch, int family) {
    struct hold hold = {0}, parent = {0};
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_HOLDS), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = hold_next(cursor, &hold)) == 0)
        rc = share_hold(batch, family, &hold, &parent);
    mdb_cursor_close(cursor);
    hold_free(&hold);
    hold_free(&parent);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Adds up to *left entries; *declared is what will be true of the family once it is committed. */
static int build_family(struct batch *batch, int family, struct declared_series *declared,
                        size_t *left) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    MDB_cursor *cursor;
    uint64_t next = declared->built_to;
    struct retention retention;
    int rc = meta_read_retention(batch->ledger, batch->txn, &retention);
    if (rc == 0)
        rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_ENTRIES), &cursor);
    if (rc != 0)
        return rc;
    batch->building = family;
    put_be64(bytes, next);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && *left > 0) {
        if (key.mv_size != 8) {
            rc = LEDGER_E_DAMAGED;
            break;
        }
        next = get_be64(key.mv_data);
        rc = add_entry(batch, family, next++, retention.horizon);
        --*left;
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    declared->built_to = next;
    if (rc == MDB_NOTFOUND) {
        declared->ready = true;
        rc = share_holds(batch, family);
    }
    batch->building = 0;
    return rc;
}

static bool is_built(const struct ledger *ledger) {
    for (size_t i = 0; i < ledger->declared_count; i++)
        if (!ledger->declared[i].ready)
            return false;
    return true;
}

/* Readers look at what is declared only for a moment: not while a slice is written. */
static void adopt_declared(struct ledger *ledger, const struct declared_series *declared) {
    pthread_rwlock_wrlock(&ledger->policy_lock);
    memcpy(ledger->declared, declared, sizeof ledger->declared);
    pthread_rwlock_unlock(&ledger->policy_lock);
}

int ledger_build(struct ledger *ledger, size_t limit, bool *done, struct ledger_failure *failure) {
    struct declared_series declared[DECLARED_MAX];
    struct batch *batch = NULL;
    size_t left = limit;
    uint64_t last_id;
    *done = is_built(ledger);
    if (*done)
        return 0;
    int rc = ledger_ensure_open(ledger, failure);
    if (rc != 0)
        return rc;
    memcpy(declared, ledger->declared, sizeof declared);
    storage_extend(&ledger->storage, UINT64_C(4096) * limit);
    rc = batch_begin(ledger, &ledger->policy, &ledger->plan, ledger_now(ledger), &batch);
    for (size_t i = 0; rc == 0 && left > 0 && i < ledger->declared_count; i++)
        if (!declared[i].ready)
            rc = build_family(batch, (int)i + 1, &declared[i], &left);
    if (rc == 0)
        rc = meta_put_series(ledger, batch_transaction(batch), declared);
    if (rc == 0)
        rc = batch_store(batch);
    if (rc == 0)
        rc = batch_commit(batch);
    batch_end(batch);
    if (rc == 0) {
        adopt_declared(ledger, declared);
        *done = is_built(ledger);
        return 0;
    }
    ledger_fail(failure, rc, "building series");
    if (ledger_error_is_fatal(rc))
        (void)ledger_resync(ledger, &last_id, failure);
    return rc;
}
