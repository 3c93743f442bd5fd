/* Verifying what is left of entries that were removed (retention.h). The sums of what is gone stand
 * in the blocks that stayed; what is before the horizon is looked at for itself, and what is behind
 * it is made anew from there. */
#include <inttypes.h>
#include <string.h>

#include "verify_internal.h"

/* ---- what the replay begins with ----------------------------------------------------------- */

static int open_series(struct verifier *verifier, MDB_cursor **cursor) {
    return mdb_cursor_open(verifier->txn, verify_dbi(verifier, DB_SERIES), cursor);
}

int verify_begin_series(void *context, struct replay_series *series) {
    struct verifier *verifier = context;
    MDB_cursor *cursor;
    if (verifier->retention.horizon == 0)
        return 0;
    int rc = open_series(verifier, &cursor);
    if (rc != 0)
        return rc;
    rc = series_load_before(cursor, series->series, verifier->retention.horizon, &series->block);
    mdb_cursor_close(cursor);
    return verify_is_damage(rc) ? 0 : rc; /* it is told where blocks are looked at */
}

/* ---- names ---------------------------------------------------------------------------------- */

int verify_past_name(struct verifier *verifier, uint32_t number, uint8_t *dimension,
                     bool *defined) {
    MDB_dbi names = verify_dbi(verifier, DB_NAMES);
    uint8_t bytes[5] = {NAMES_UNDEFINED};
    MDB_val key = {sizeof bytes, bytes}, value;
    struct ledger_text text;
    int rc = names_text(verifier->txn, names, number, dimension, &text);
    *defined = false;
    if (rc != 0)
        return verify_is_damage(rc) ? 0 : rc;
    put_be32(bytes + 1, number);
    rc = mdb_get(verifier->txn, names, &key, &value);
    *defined = rc == MDB_NOTFOUND;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- corrections of what was removed -------------------------------------------------------- */

static int find_item(struct verifier *verifier, uint32_t series, uint64_t id,
                     struct amounts *amounts) {
    const struct ledger *ledger = verifier->past != NULL ? verifier->past : verifier->ledger;
    MDB_txn *txn = verifier->past != NULL ? verifier->past_txn : verifier->txn;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, ledger->storage.databases[DB_SERIES], &cursor);
    if (rc != 0)
        return rc;
    rc = series_find_item(cursor, series, id, amounts);
    mdb_cursor_close(cursor);
    return rc;
}

/* What it adds whatever it corrects. */
static bool says_so(const struct ledger_entry *entry, const struct amounts *listed) {
    struct ledger_entry plain = *entry;
    const struct ledger_entry any = {.kind = KIND_INVOCATION, .status = STATUS_FAILED};
    struct amounts amounts;
    plain.flags &= ~(uint64_t)(ENTRY_PRICES | ENTRY_COMPLETES);
    entry_amounts(&plain, &any, &amounts);
    for (uint64_t mask = amounts.mask; mask != 0; mask &= mask - 1) {
        int column = __builtin_ctzll(mask);
        bool is_of_other = column == COLUMN_COMPLETED_COST || column == COLUMN_COMPLETED_CREDITS;
        if (!is_of_other && (!(listed->mask & UINT64_C(1) << column) ||
                             listed->column[column] != amounts.column[column]))
            return false;
    }
    return true;
}

int verify_past_correction(struct verifier *verifier, const struct ledger_entry *entry,
                           struct amounts *amounts, bool *is_there) {
    int rc = find_item(verifier, SERIES_EVERYTHING, entry->id, amounts);
    *is_there = rc == 0;
    if (rc != 0 && rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    if (rc == 0 && says_so(entry, amounts))
        return 0;
    return verify_found(verifier, "series", entry->id,
                        "series 0 (everything), item %" PRIu64
                        "\nis not what the correction of that id adds",
                        entry->id);
}

/* The status of what it corrected tells the series alone: the one that lists it. */
int verify_past_status(struct verifier *verifier, const struct declared_series *declared,
                       uint32_t named[DIMENSION_LIMIT], uint64_t id) {
    uint32_t numbers[SERIES_NAMES_MAX], series;
    int at = -1;
    named[DIMENSION_STATUS] = 0;
    for (uint8_t i = 0; i < declared->count; i++) {
        numbers[i] = named[declared->dimensions[i]];
        if (declared->dimensions[i] == DIMENSION_STATUS)
            at = i;
        else if (numbers[i] == 0)
            return 0;
    }
    for (int status = STATUS_COMPLETED; at >= 0 && status <= STATUS_ABORTED; status++) {
        const struct ledger_entry corrected = {.kind = KIND_INVOCATION,
                                               .status = (enum ledger_status)status};
        struct amounts amounts;
        int rc = names_find(verifier->txn, verify_dbi(verifier, DB_NAMES), DIMENSION_STATUS,
                            entry_status_name(&corrected, NULL), &numbers[at]);
        if (rc == 0)
            rc = names_find_series(verifier->txn, verify_dbi(verifier, DB_NAMES), numbers,
                                   declared->count, &series);
        if (rc == 0)
            rc = find_item(verifier, series, id, &amounts);
        if (rc == 0) {
            named[DIMENSION_STATUS] = numbers[at];
            return 0;
        }
        if (rc != MDB_NOTFOUND && !verify_is_damage(rc))
            return rc;
    }
    return 0;
}

/* ---- blocks before the horizon -------------------------------------------------------------- */

struct chain {
    struct series_key key;
    struct series_contents contents;
    bool any; /* a block of the same series came before */
};

static bool same_totals(const struct totals *a, const struct totals *b) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (a->column[column] != b->column[column])
            return false;
    return true;
}

/* Between two blocks some may have been removed, but none with a grant; and counts only grow. */
static bool may_follow(const struct totals *before, const struct totals *base) {
    static const enum totals_column growing[] = {COLUMN_INVOCATIONS, COLUMN_RUNS, COLUMN_COST,
                                                 COLUMN_CREDITS, COLUMN_CORRECTIONS};
    if (base->column[COLUMN_GRANTS] != before->column[COLUMN_GRANTS])
        return false;
    for (size_t i = 0; i < sizeof growing / sizeof growing[0]; i++)
        if (base->column[growing[i]] < before->column[growing[i]])
            return false;
    return true;
}

static const char *wrong_in_chain(const struct verifier *verifier, const struct chain *chain,
                                  const struct series_key *key,
                                  const struct series_contents *contents) {
    static const struct totals nothing;
    if (!chain->any)
        return same_totals(&contents->base, &nothing) ? NULL : "is the first, but begins with sums";
    if (key->first_id <= chain->contents.last_id)
        return "begins before the one in front of it ends";
    if (same_totals(&contents->base, &chain->contents.totals))
        return NULL;
    return verify_is_past(verifier, key->first_id) &&
                   may_follow(&chain->contents.totals, &contents->base)
               ? NULL
               : "begins with sums that the block in front of it does not make";
}

static int look_at_block(struct verifier *verifier, struct chain *chain, MDB_val key,
                         MDB_val value) {
    struct series_contents contents;
    struct series_key at;
    char where[VERIFY_SERIES_BYTES];
    if (series_read_key(key, &at) != 0)
        return 0; /* told elsewhere */
    if (chain->any && chain->key.series != at.series)
        chain->any = false;
    const char *wrong = series_read_block(at.first_id, value, &contents) != 0
                            ? "cannot be read"
                            : wrong_in_chain(verifier, chain, &at, &contents);
    bool is_readable = wrong == NULL || strcmp(wrong, "cannot be read") != 0;
    /* Behind the horizon blocks are compared whole with what the entries make. */
    bool is_due = verify_is_past(verifier, at.first_id);
    chain->any = is_readable;
    if (is_readable) {
        chain->key = at;
        chain->contents = contents;
    }
    return wrong == NULL || !is_due
               ? 0
               : verify_found(verifier, "series", at.first_id, "%s, block from %" PRIu64 "\n%s",
                              verify_series(verifier, at.series, where), at.first_id, wrong);
}

/* From one series to the next: what is behind the horizon is passed over. */
int verify_kept_blocks(struct verifier *verifier) {
    uint8_t bytes[SERIES_KEY_BYTES];
    struct chain chain = {.any = false};
    MDB_cursor *cursor;
    MDB_val key, value;
    if (verifier->retention.horizon == 0)
        return 0;
    int rc = open_series(verifier, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (rc == 0) {
        struct series_key at;
        rc = look_at_block(verifier, &chain, key, value);
        bool is_behind = series_read_key(key, &at) == 0 && at.series != UINT32_MAX &&
                         !verify_is_past(verifier, at.first_id);
        if (rc != 0)
            break;
        if (is_behind) {
            put_be32(bytes, at.series + 1);
            put_be64(bytes + 4, 0);
            key = (MDB_val){sizeof bytes, bytes};
        }
        rc = mdb_cursor_get(cursor, &key, &value, is_behind ? MDB_SET_RANGE : MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}
