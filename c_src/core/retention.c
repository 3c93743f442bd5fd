#include "retention.h"

#include "meta.h"
#include "use.h"

#define DAY_US INT64_C(86400000000)

static uint64_t whole_days(uint64_t us) {
    return us / RETENTION_UNIT_US * RETENTION_UNIT_US;
}

/* First id that the rule counts; 0: all of them, which needs no entry. */
static uint64_t window_start(const struct ledger_rule *rule, int64_t now_us) {
    return rule->window == WINDOW_LIFETIME ? UINT64_MAX : use_window_start(rule, 0, now_us);
}

static int check_windows(struct ledger *ledger, int64_t now_us, uint64_t horizon,
                         struct ledger_failure *failure) {
    int rc = 0;
    pthread_rwlock_rdlock(&ledger->policy_lock);
    for (size_t i = 0; rc == 0 && i < ledger->declared_count; i++)
        if (!ledger->declared[i].ready)
            rc = ledger_fail(failure, LEDGER_E_BUILDING, "archiving goes on when it is built");
    for (uint32_t i = 0; rc == 0 && i < ledger->policy.rule_count; i++) {
        const struct ledger_rule *rule = &ledger->policy.rules[i];
        uint64_t start = window_start(rule, now_us);
        if (start < horizon)
            rc = ledger_fail(failure, LEDGER_E_RETENTION,
                             "rule %.*s counts from %llu ms on, not only from %llu ms",
                             (int)rule->name.size, rule->name.data,
                             (unsigned long long)(start / 1000),
                             (unsigned long long)(horizon / 1000));
    }
    pthread_rwlock_unlock(&ledger->policy_lock);
    return rc;
}

/* Whether there is an entry in that time. */
static int has_entries(MDB_txn *txn, MDB_dbi dbi, uint64_t since, uint64_t until, bool *any) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    MDB_cursor *cursor;
    *any = false;
    put_be64(bytes, since);
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    *any = rc == 0 && key.mv_size == 8 && get_be64(key.mv_data) < until;
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int retention_allowed(struct ledger *ledger, MDB_txn *txn, int64_t now_us, uint64_t wanted,
                      uint64_t *allowed, struct ledger_failure *failure) {
    const MDB_dbi *databases = ledger->storage.databases;
    struct retention retention;
    uint64_t newest, held;
    int rc = meta_read_retention(ledger, txn, &retention);
    *allowed = retention.horizon;
    if (rc == 0)
        rc = storage_id_at(txn, databases[DB_ENTRIES], MDB_LAST, &newest);
    if (rc == 0)
        rc = storage_id_at(txn, databases[DB_HOLDS], MDB_FIRST, &held);
    if (rc != 0)
        return ledger_fail(failure, rc, "reading %s", ledger->storage.options.directory);
    wanted = whole_days(wanted);
    if (wanted <= retention.horizon)
        return 0;
    rc = check_windows(ledger, now_us, wanted, failure);
    if (rc != 0)
        return rc;
    /* The counts that are told without rules are of the last hour and the last day. */
    uint64_t yesterday = now_us > DAY_US ? (uint64_t)(now_us - DAY_US) : 0;
    /* The newest entry stays: the next id comes after it. Above live holds is all that was booked
     * below them. */
    const uint64_t bounds[] = {yesterday, newest, held == 0 ? UINT64_MAX : held};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++)
        wanted = bounds[i] < wanted ? whole_days(bounds[i]) : wanted;
    bool any = false;
    if (wanted > retention.horizon)
        rc = has_entries(txn, databases[DB_ENTRIES], retention.horizon, wanted, &any);
    if (rc == 0 && any)
        *allowed = wanted;
    return rc == 0 ? 0 : ledger_fail(failure, rc, "reading the entries");
}

/* Without a window, over series that began when something was gone. */
static bool counts_late(const struct ledger *ledger, const struct ledger_rule *rule) {
    int family = plan_family(rule, ledger->declared, ledger->declared_count);
    return rule->window == WINDOW_LIFETIME && family > 0 && ledger->declared[family - 1].from != 0;
}

int retention_check_policy(const struct ledger *ledger, const struct ledger_policy *policy,
                           int64_t now_us, struct ledger_failure *failure) {
    struct storage *storage = (struct storage *)&ledger->storage;
    struct retention retention;
    MDB_txn *txn;
    int rc = storage_read_begin(storage, &txn);
    if (rc == 0) {
        rc = meta_read_retention(ledger, txn, &retention);
        storage_read_end(storage, txn);
    }
    if (rc != 0)
        return ledger_fail(failure, rc, "reading %s", storage->options.directory);
    for (uint32_t i = 0; i < policy->rule_count; i++)
        if (window_start(&policy->rules[i], now_us) < retention.horizon ||
            counts_late(ledger, &policy->rules[i]))
            return ledger_fail(failure, LEDGER_E_PRUNED, "rule %.*s",
                               (int)policy->rules[i].name.size, policy->rules[i].name.data);
    return 0;
}

int ledger_horizon(struct ledger *ledger, uint64_t wanted_us, uint64_t *horizon_us,
                   struct ledger_failure *failure) {
    MDB_txn *txn;
    *horizon_us = 0;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return ledger_fail(failure, rc, "reading %s", ledger->storage.options.directory);
    rc = retention_allowed(ledger, txn, ledger_now(ledger), wanted_us, horizon_us, failure);
    storage_read_end(&ledger->storage, txn);
    return rc;
}

int ledger_kept_from(struct ledger *ledger, uint64_t *us) {
    struct retention retention;
    MDB_txn *txn;
    *us = 0;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return rc;
    rc = meta_read_retention(ledger, txn, &retention);
    *us = retention.horizon;
    storage_read_end(&ledger->storage, txn);
    return rc;
}
