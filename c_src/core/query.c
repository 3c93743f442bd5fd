/* Reading: counts, single entries and facts, each in one read transaction from the pool. */
#include <errno.h>
#include <string.h>

#include "internal.h"
#include "meta.h"
#include "series.h"
#include "window.h"

int ledger_state(struct ledger *ledger, struct ledger_text name) {
    pthread_rwlock_rdlock(&ledger->policy_lock);
    int index = policy_state(&ledger->policy, name);
    pthread_rwlock_unlock(&ledger->policy_lock);
    return index;
}

int ledger_policy(struct ledger *ledger, struct ledger_policy *copy) {
    pthread_rwlock_rdlock(&ledger->policy_lock);
    int rc = policy_copy(&ledger->policy, copy);
    pthread_rwlock_unlock(&ledger->policy_lock);
    return rc;
}

/* MDB_NOTFOUND for a state that has no entry. */
static int series_of(struct ledger *ledger, MDB_txn *txn, const struct ledger_text *state,
                     uint32_t *series) {
    *series = SERIES_EVERYTHING;
    if (state == NULL)
        return 0;
    return names_find_series_of(txn, ledger->storage.databases[DB_NAMES], DIMENSION_STATE, *state,
                                series);
}

static int count_series(struct ledger *ledger, MDB_txn *txn, MDB_cursor *cursor,
                        const struct ledger_text *state, int64_t now_us,
                        const uint64_t window_ms[2], struct ledger_counts *counts) {
    uint32_t series;
    struct totals all;
    ledger_sum use;
    *counts = (struct ledger_counts){0};
    if (state != NULL)
        counts->state = *state;
    int rc = series_of(ledger, txn, state, &series);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    rc = series_totals_now(cursor, series, &all);
    for (int i = 0; rc == 0 && i < 2; i++) {
        rc = window_use(cursor, series, COLUMN_INVOCATIONS, &all, now_us, window_ms[i], &use);
        counts->in_window[i] = (uint64_t)use;
    }
    counts->all = (uint64_t)all.column[COLUMN_INVOCATIONS];
    return rc;
}

static int count_all(struct ledger *ledger, MDB_txn *txn, MDB_cursor *cursor,
                     const uint64_t window_ms[2], ledger_counts_row *row, void *context,
                     int64_t now_us) {
    struct ledger_counts counts;
    int rc = count_series(ledger, txn, cursor, NULL, now_us, window_ms, &counts);
    if (rc == 0)
        row(context, &counts);
    pthread_rwlock_rdlock(&ledger->policy_lock);
    for (uint32_t i = 0; rc == 0 && i < ledger->policy.state_count; i++) {
        rc = count_series(ledger, txn, cursor, &ledger->policy.states[i], now_us, window_ms,
                          &counts);
        if (rc == 0)
            row(context, &counts);
    }
    pthread_rwlock_unlock(&ledger->policy_lock);
    return rc;
}

int ledger_count(struct ledger *ledger, const struct ledger_text *state,
                 const uint64_t window_ms[2], ledger_counts_row *row, void *context,
                 int64_t *now_us) {
    MDB_txn *txn;
    MDB_cursor *cursor = NULL;
    struct ledger_counts counts;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return rc;
    *now_us = ledger_now(ledger);
    rc = mdb_cursor_open(txn, ledger->storage.databases[DB_SERIES], &cursor);
    if (rc == 0 && state == NULL)
        rc = count_all(ledger, txn, cursor, window_ms, row, context, *now_us);
    else if (rc == 0 &&
             (rc = count_series(ledger, txn, cursor, state, *now_us, window_ms, &counts)) == 0)
        row(context, &counts);
    mdb_cursor_close(cursor);
    storage_read_end(&ledger->storage, txn);
    return rc;
}

int query_load_entry(struct ledger *ledger, MDB_txn *txn, uint64_t id, struct ledger_entry *entry) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, id);
    int rc = mdb_get(txn, ledger->storage.databases[DB_ENTRIES], &key, &value);
    if (rc != 0)
        return rc;
    entry->id = id;
    rc = entry_read_stored(value.mv_data, value.mv_size, entry);
    for (int i = 1; rc == 0 && i < DIMENSION_LIMIT; i++) {
        uint8_t dimension;
        if (entry->name_numbers[i] == 0)
            continue;
        rc = names_text(txn, ledger->storage.databases[DB_NAMES], entry->name_numbers[i],
                        &dimension, &entry->names[i]);
        if (rc == 0 && dimension != i)
            rc = LEDGER_E_DAMAGED;
    }
    return rc;
}

int ledger_fetch(struct ledger *ledger, uint64_t id, ledger_entry_row *row, void *context) {
    MDB_txn *txn;
    struct ledger_entry entry;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc == 0) {
        rc = query_load_entry(ledger, txn, id, &entry);
        if (rc == 0)
            row(context, &entry);
        storage_read_end(&ledger->storage, txn);
    }
    return rc;
}

/* Ids run ahead of the clock after a burst, and what is booked next comes after all of them. */
static int booking_time(struct ledger *ledger, MDB_txn *txn, uint64_t *us) {
    uint64_t now = (uint64_t)ledger_now(ledger);
    int rc = storage_last_id(&ledger->storage, txn, us);
    if (rc == 0 && *us < now)
        *us = now;
    return rc;
}

int ledger_read_price(struct ledger *ledger, struct ledger_text model, uint64_t at_us,
                      ledger_price_row *row, void *context) {
    struct ledger_price price;
    MDB_txn *txn;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return rc;
    if (at_us == UINT64_MAX)
        rc = booking_time(ledger, txn, &at_us);
    if (rc == 0)
        rc = price_find(txn, ledger->storage.databases[DB_KEYS], model, at_us, &price);
    if (rc == 0) {
        price.model = model;
        row(context, &price);
    }
    storage_read_end(&ledger->storage, txn);
    return rc;
}

int ledger_read_prices(struct ledger *ledger, struct ledger_text model, uint64_t from_us,
                       size_t limit, ledger_price_row *row, void *context) {
    MDB_txn *txn;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return rc;
    rc = price_walk(txn, ledger->storage.databases[DB_KEYS], model, from_us, limit, row, context);
    storage_read_end(&ledger->storage, txn);
    return rc;
}

int ledger_facts(struct ledger *ledger, struct ledger_facts *facts) {
    MDB_txn *txn;
    MDB_stat entries, holds;
    MDB_envinfo info;
    struct retention retention;
    *facts = (struct ledger_facts){0};
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_stat(txn, ledger->storage.databases[DB_ENTRIES], &entries);
    if (rc == 0)
        rc = storage_last_id(&ledger->storage, txn, &facts->last_id);
    if (rc == 0)
        rc = mdb_stat(txn, ledger->storage.databases[DB_HOLDS], &holds);
    if (rc == 0)
        rc = meta_read_retention(ledger, txn, &retention);
    if (rc == 0)
        rc = mdb_env_info(ledger->storage.env, &info);
    if (rc == 0) {
        facts->kept_from = retention.horizon;
        facts->entries = entries.ms_entries;
        facts->holds = holds.ms_entries;
        facts->data_bytes = ((uint64_t)info.me_last_pgno + 1) * entries.ms_psize;
        facts->created_at_us = ledger->created_at_us;
        facts->map_size = ledger->storage.map_size;
        memcpy(facts->currency, ledger->currency, sizeof facts->currency);
        memcpy(facts->boot_id, ledger->gate->header.boot_id, sizeof facts->boot_id);
    }
    storage_read_end(&ledger->storage, txn);
    return rc;
}
