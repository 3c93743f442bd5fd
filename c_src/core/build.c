/* Building series that were declared when there were entries already: in slices, each a
 * transaction of its own, so that commits go on between them. Entries that are booked meanwhile
 * are not added to such series; the slice that reaches the newest entry makes them ready. */
#include <string.h>

#include "batch_internal.h"
#include "meta.h"

/* Adds an entry that was booked before to one family. */
static int add_to_family(struct batch *batch, int family, struct ledger_entry *entry,
                         const struct ledger_entry *corrected) {
    struct amounts amounts;
    struct sums *sums;
    uint32_t series;
    int rc = batch_load_names(batch, entry->name_numbers, entry->names);
    entry_amounts(entry, corrected, &amounts);
    if (rc != 0 || amounts.mask == 0 || !batch_has_family(batch, family, entry->names))
        return rc;
    rc = batch_find_series(batch, family, entry->names, true, &series);
    if (rc == 0)
        rc = sums_get(batch, family, series, entry->names, &sums);
    return rc == 0 ? sums_add(batch, sums, entry, &amounts) : rc;
}

static int add_entry(struct batch *batch, int family, uint64_t id) {
    struct ledger_entry entry, corrected;
    int rc = batch_fetch(batch, id, &entry);
    if (rc == 0 && entry.flags & ENTRY_COMPLETES)
        rc = batch_fetch(batch, entry.link, &corrected);
    return rc == 0 ? add_to_family(batch, family, &entry, &corrected) : rc;
}

/* What live holds keep in series that they were too early for. */
static int share_holds(struct batch *batch, int family) {
    struct hold hold = {0};
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_HOLDS), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct ledger_text names[DIMENSION_LIMIT];
        struct hold_share *share;
        struct sums *sums;
        rc = hold_read(get_be64(key.mv_data), value.mv_data, value.mv_size, &hold);
        if (rc == 0)
            rc = batch_load_names(batch, hold.name_numbers, names);
        if (rc != 0 || hold.share_count == HOLD_SHARES_MAX ||
            !batch_has_family(batch, family, names))
            continue;
        share = &hold.shares[hold.share_count];
        *share = hold.shares[0];
        rc = batch_find_series(batch, family, names, true, &share->series);
        if (rc == 0)
            rc = sums_get(batch, family, share->series, names, &sums);
        if (rc != 0)
            break;
        hold.share_count++;
        /* In the series of everything, a parent's share is less what its children took from it,
         * and so it is here if they are in this series too. */
        sums_hold(sums, 1, share->held, hold.deadline_us);
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), &hold);
    }
    mdb_cursor_close(cursor);
    hold_free(&hold);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int build_family(struct batch *batch, int family, size_t *left) {
    struct declared_series *declared = &batch->ledger->declared[family - 1];
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    MDB_cursor *cursor;
    uint64_t next = declared->built_to;
    int rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_ENTRIES), &cursor);
    if (rc != 0)
        return rc;
    declared->ready = true; /* for batch_has_family(); until the slice is committed it is undone */
    put_be64(bytes, next);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && *left > 0) {
        if (key.mv_size != 8) {
            rc = LEDGER_E_DAMAGED;
            break;
        }
        next = get_be64(key.mv_data);
        rc = add_entry(batch, family, next++);
        --*left;
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    declared->built_to = next;
    if (rc == 0) { /* there are more */
        declared->ready = false;
        return 0;
    }
    return rc == MDB_NOTFOUND ? share_holds(batch, family) : rc;
}

int ledger_build(struct ledger *ledger, size_t limit, bool *done, struct ledger_failure *failure) {
    struct declared_series before[DECLARED_MAX];
    struct batch *batch = NULL;
    size_t left = limit;
    uint64_t last_id;
    *done = true;
    for (size_t i = 0; i < ledger->declared_count; i++)
        *done = *done && ledger->declared[i].ready;
    if (*done)
        return 0;
    int rc = ledger_ensure_open(ledger, failure);
    if (rc != 0)
        return rc;
    memcpy(before, ledger->declared, sizeof before);
    storage_extend(&ledger->storage, UINT64_C(4096) * limit);
    rc = batch_begin(ledger, &ledger->policy, &ledger->plan, ledger_now(ledger), &batch);
    pthread_rwlock_wrlock(&ledger->policy_lock);
    for (size_t i = 0; rc == 0 && left > 0 && i < ledger->declared_count; i++)
        if (!ledger->declared[i].ready)
            rc = build_family(batch, (int)i + 1, &left);
    if (rc == 0)
        rc = meta_put_series(ledger, batch_transaction(batch));
    if (rc == 0)
        rc = batch_store(batch);
    if (rc == 0)
        rc = batch_commit(batch);
    if (rc != 0)
        memcpy(ledger->declared, before, sizeof before);
    pthread_rwlock_unlock(&ledger->policy_lock);
    batch_end(batch);
    if (rc != 0) {
        ledger_fail(failure, rc, "building series");
        if (ledger_error_is_fatal(rc))
            (void)ledger_resync(ledger, &last_id, failure);
        return rc;
    }
    *done = true;
    for (size_t i = 0; i < ledger->declared_count; i++)
        *done = *done && ledger->declared[i].ready;
    return 0;
}
