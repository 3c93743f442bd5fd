/* Removing what was archived: in slices, each a transaction of its own, so that commits go on
 * between them. The first slice moves the horizon, and whoever asks is told so from then on; the
 * others make room. Each leaves a ledger that is whole; who is interrupted goes on later. */
#include <errno.h>
#include <stdlib.h>

#include "marks.h"
#include "meta.h"
#include "retention.h"
#include "series.h"

struct slice {
    struct ledger *ledger;
    MDB_txn *txn;
    struct ledger_pruning *pruning;
    struct retention retention;
    size_t left; /* rows that may be looked at */
};

static MDB_dbi dbi_of(const struct slice *slice, enum storage_database database) {
    return slice->ledger->storage.databases[database];
}

static int put_retention(struct slice *slice) {
    struct ledger *ledger = slice->ledger;
    return meta_put_retention(ledger, slice->txn, &slice->retention, ledger->declared);
}

/* ---- entries ------------------------------------------------------------------------------ */

static int remove_payload(struct slice *slice, uint64_t id) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    put_be64(bytes, id);
    int rc = mdb_del(slice->txn, dbi_of(slice, DB_PAYLOADS), &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int remove_entry(struct slice *slice, MDB_cursor *cursor, uint64_t id, MDB_val value) {
    struct ledger_entry entry = {.id = id};
    int rc = entry_read_stored(value.mv_data, value.mv_size, &entry);
    if (rc != 0 || retention_keeps(entry.kind))
        return rc;
    if (entry.given & ENTRY_DIGEST)
        rc = remove_payload(slice, id);
    if (rc == 0)
        rc = mdb_cursor_del(cursor, 0);
    slice->pruning->removed += rc == 0;
    return rc;
}

static int remove_entries(struct slice *slice) {
    struct retention *retention = &slice->retention;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(slice->txn, dbi_of(slice, DB_ENTRIES), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && slice->left > 0 && retention->removed_to < retention->horizon) {
        uint8_t bytes[8];
        MDB_val key = {sizeof bytes, bytes}, value;
        put_be64(bytes, retention->removed_to);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc == 0 && key.mv_size != 8)
            rc = LEDGER_E_DAMAGED;
        uint64_t id = rc == 0 ? get_be64(key.mv_data) : UINT64_MAX;
        if (rc == MDB_NOTFOUND || id >= retention->horizon) {
            retention->removed_to = retention->horizon;
            rc = rc == MDB_NOTFOUND ? 0 : rc;
            break;
        }
        if (rc == 0)
            rc = remove_entry(slice, cursor, id, value);
        retention->removed_to = id + 1;
        slice->left--;
    }
    mdb_cursor_close(cursor);
    return rc == 0 ? put_retention(slice) : rc;
}

/* ---- blocks of series --------------------------------------------------------------------- */

/* Ids of the resets from which rules without a window count in a series, 0 for those without. Sums
 * before them are asked for whatever the horizon is. */
static int find_resets(struct slice *slice, uint32_t series, uint64_t *resets, size_t *count) {
    const struct ledger_policy *policy = &slice->ledger->policy;
    int rc = 0;
    *count = 0;
    for (uint32_t i = 0; rc == 0 && i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        if (rule->window == WINDOW_LIFETIME && !rule->granted)
            rc = marks_find_reset(slice->txn, dbi_of(slice, DB_WARNED), rule->name, series,
                                  &resets[(*count)++]);
    }
    return rc;
}

/* A block that is asked for although it is old: the sums before a reset are in it, or a grant, of
 * which the account asks when it was used up. */
static int is_asked_for(uint64_t first_id, uint64_t next_id, MDB_val value, const uint64_t *resets,
                        size_t count, bool *asked) {
    struct series_contents contents;
    int rc = series_read_block(first_id, value, &contents);
    *asked = contents.mask & UINT64_C(1) << COLUMN_GRANTS;
    for (size_t i = 0; i < count; i++)
        *asked = *asked || (first_id <= resets[i] && resets[i] < next_id);
    return rc;
}

static int seek(MDB_cursor *cursor, uint32_t series, uint64_t first_id, struct series_key *found,
                MDB_val *value) {
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes};
    put_be32(bytes, series);
    put_be64(bytes + 4, first_id);
    int rc = mdb_cursor_get(cursor, &key, value, MDB_SET_RANGE);
    return rc == 0 ? series_read_key(key, found) : rc;
}

/* The block at pruning->block and the one after it: the first goes where the second begins before
 * the horizon, too, unless it is asked for. So the last block that begins before the horizon stays,
 * with the sums before it, and the first of all: from then on a budget without a window has been
 * used. MDB_NOTFOUND: the series has no more that may go. */
static int trim_block(struct slice *slice, MDB_cursor *cursor, const uint64_t *resets,
                      size_t count) {
    struct ledger_pruning *pruning = slice->pruning;
    struct series_key this, next;
    MDB_val value, after;
    bool asked;
    int rc = seek(cursor, pruning->series, pruning->block, &this, &value);
    if (rc == 0 && this.series != pruning->series)
        rc = MDB_NOTFOUND;
    if (rc == 0)
        rc = seek(cursor, pruning->series, this.first_id + 1, &next, &after);
    if (rc == 0 && (next.series != pruning->series || next.first_id >= slice->retention.horizon))
        rc = MDB_NOTFOUND;
    if (rc != 0)
        return rc;
    rc = is_asked_for(this.first_id, next.first_id, value, resets, count, &asked);
    bool is_first = pruning->block == 0;
    pruning->block = next.first_id;
    if (rc != 0 || asked || is_first)
        return rc;
    rc = seek(cursor, this.series, this.first_id, &this, &value);
    return rc == 0 ? mdb_cursor_del(cursor, 0) : rc;
}

static int trim_series(struct slice *slice, MDB_cursor *cursor, uint64_t *resets) {
    size_t count;
    int rc = find_resets(slice, slice->pruning->series, resets, &count);
    while (rc == 0 && slice->left > 0) {
        slice->left--;
        rc = trim_block(slice, cursor, resets, count);
    }
    return rc;
}

static int trim(struct slice *slice) {
    struct ledger_pruning *pruning = slice->pruning;
    struct series_key key;
    MDB_cursor *cursor;
    MDB_val value;
    uint64_t *resets = malloc((slice->ledger->policy.rule_count + 1) * sizeof *resets);
    if (resets == NULL)
        return ENOMEM;
    int rc = mdb_cursor_open(slice->txn, dbi_of(slice, DB_SERIES), &cursor);
    if (rc != 0) {
        free(resets);
        return rc;
    }
    while (rc == 0 && slice->left > 0) {
        rc = trim_series(slice, cursor, resets);
        if (rc != MDB_NOTFOUND)
            continue;
        rc = pruning->series == UINT32_MAX ? MDB_NOTFOUND
                                           : seek(cursor, pruning->series + 1, 0, &key, &value);
        if (rc == 0) {
            pruning->series = key.series;
            pruning->block = 0;
        }
        if (rc == MDB_NOTFOUND)
            pruning->done = true;
    }
    mdb_cursor_close(cursor);
    free(resets);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- a slice ------------------------------------------------------------------------------ */

/* What was allowed when it was sealed may not be now: a longer window, a hold. */
static int move_horizon(struct slice *slice, struct ledger_failure *failure) {
    uint64_t wanted = slice->pruning->horizon_us, allowed;
    if (wanted % RETENTION_UNIT_US != 0)
        return ledger_fail(failure, EINVAL, "a horizon is a whole day");
    int rc = retention_allowed(slice->ledger, slice->txn, ledger_now(slice->ledger), wanted,
                               &allowed, failure);
    if (rc == 0 && allowed < wanted)
        rc = ledger_fail(failure, LEDGER_E_RETENTION, "something is held, or the clock is behind");
    if (rc != 0)
        return rc;
    slice->retention.horizon = wanted;
    rc = put_retention(slice);
    return rc == 0 ? meta_put_needs(slice->ledger, slice->txn) : rc;
}

static int prune(struct slice *slice, struct ledger_failure *failure) {
    int rc = meta_read_retention(slice->ledger, slice->txn, &slice->retention);
    if (rc == 0 && slice->pruning->horizon_us > slice->retention.horizon)
        rc = move_horizon(slice, failure);
    if (rc != 0)
        return rc;
    return slice->retention.removed_to < slice->retention.horizon ? remove_entries(slice)
                                                                  : trim(slice);
}

int ledger_prune(struct ledger *ledger, size_t limit, struct ledger_pruning *pruning,
                 struct ledger_failure *failure) {
    struct ledger_pruning before = *pruning;
    struct slice slice = {.ledger = ledger, .pruning = pruning, .left = limit};
    uint64_t last_id;
    failure->code = 0;
    pruning->done = false;
    int rc = ledger_ensure_open(ledger, failure);
    if (rc != 0)
        return rc;
    storage_extend(&ledger->storage, UINT64_C(4096) * limit);
    rc = mdb_txn_begin(ledger->storage.env, NULL, 0, &slice.txn);
    if (rc == 0)
        rc = prune(&slice, failure);
    if (rc == 0) {
        rc = mdb_txn_commit(slice.txn);
        slice.txn = NULL;
    }
    if (slice.txn != NULL)
        mdb_txn_abort(slice.txn);
    if (rc == 0)
        return 0;
    *pruning = before;
    if (failure->code == 0)
        ledger_fail(failure, rc, "removing what was archived");
    if (ledger_error_is_fatal(rc)) {
        struct ledger_failure again;
        (void)ledger_resync(ledger, &last_id, &again);
    }
    return rc;
}
