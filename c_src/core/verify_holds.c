/* Verifying live holds, what they hold together, and what was booked below runs.
 *
 * Of every run the ledger knows what its children booked, theirs included. Here an amount goes up
 * only as far as the first hold that lives, and from there when that one ends, because only then
 * its parent is known: sums do not depend on the order. (A live hold's parents all live, or have a
 * row in `keys`; so none of them is missed.) */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "verify_internal.h"

/* ---- what was booked below ---------------------------------------------------------------- */

static void add_amount(struct amounts *sum, int column, int64_t amount) {
    uint64_t bit = UINT64_C(1) << column;
    int64_t total = sum->mask & bit ? sum->column[column] : 0;
    if (__builtin_add_overflow(total, amount, &total))
        total = INT64_MAX;
    sum->mask &= ~bit;
    amounts_set(sum, (enum totals_column)column, total);
}

static void add_amounts(struct amounts *sum, const struct amounts *more) {
    for (uint64_t mask = more->mask; mask != 0; mask &= mask - 1) {
        int column = __builtin_ctzll(mask);
        add_amount(sum, column, more->column[column]);
    }
}

static struct amounts amounts_of(const struct ledger_entry *entry) {
    struct amounts amounts = {0};
    amounts_set(&amounts, COLUMN_COST, entry->cost);
    amounts_set(&amounts, COLUMN_CREDITS, entry->credits);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        amounts_set(&amounts, COLUMN_INPUT_TOKENS + class, entry->tokens[class]);
    return amounts;
}

/* In the scratch file a hold has a row of the form that `keys` has; without an entry as long as it
 * has not ended. */
static int find_row(struct verifier *verifier, uint64_t hold, struct key_resolved *row,
                    bool *is_there) {
    *row = (struct key_resolved){0};
    int rc = keys_find_resolved(verifier->scratch.txn, verifier->scratch.databases[SCRATCH_KEYS],
                                hold, row);
    *is_there = rc == 0;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int put_row(struct verifier *verifier, uint64_t hold, const struct key_resolved *row) {
    return keys_put_resolved(verifier->scratch.txn, verifier->scratch.databases[SCRATCH_KEYS], hold,
                             row);
}

static int tell_above(struct verifier *verifier, uint64_t hold, const struct amounts *amounts) {
    int rc = 0;
    bool goes_on = amounts->mask != 0;
    while (rc == 0 && hold != 0 && goes_on) {
        struct key_resolved row;
        rc = find_row(verifier, hold, &row, &goes_on);
        goes_on = goes_on && row.entry != 0 && row.parent < hold;
        add_amounts(&row.children, amounts);
        if (rc == 0)
            rc = put_row(verifier, hold, &row);
        hold = row.parent;
    }
    return rc;
}

/* A correction, of late or of any time: its record's hold is not to be settled any more, and those
 * above are told. */
static int settle_late(struct verifier *verifier, const struct ledger_entry *entry,
                       const struct ledger_entry *booked) {
    bool is_late = entry->flags & ENTRY_LATE, is_there;
    struct key_resolved row;
    int rc = find_row(verifier, booked->hold, &row, &is_there);
    bool fits = is_there && row.entry == entry->link && !row.settled &&
                booked->hold == entry->hold && booked->flags & ENTRY_UNATTENDED;
    if (rc == 0 && is_late && !fits)
        return verify_found(verifier, "entries", entry->id,
                            "%" PRIu64 "\nsettles hold %" PRIu64
                            ", which the ledger had not ended, or was settled before",
                            entry->id, entry->hold);
    if (rc == 0 && is_there && row.entry != 0) {
        row.settled = true;
        rc = put_row(verifier, booked->hold, &row);
    }
    struct amounts amounts = amounts_of(entry);
    return rc == 0 ? tell_above(verifier, booked->parent, &amounts) : rc;
}

/* Whether `keys` must have a row of how the hold ended; see ending.c. Of a release nothing says
 * whether it was of a run, unless something was booked below it: then what is stored decides. */
static int is_remembered(struct verifier *verifier, const struct ledger_entry *entry,
                         bool has_children, bool *remembered) {
    struct key_resolved stored;
    bool is_run = entry->kind == KIND_RUN || has_children;
    *remembered = entry->flags & ENTRY_UNATTENDED || (is_run && entry->parent != 0);
    if (*remembered || entry->kind != KIND_RELEASE || entry->parent == 0)
        return 0;
    int rc = keys_find_resolved(verifier->txn, verify_dbi(verifier, DB_KEYS), entry->hold, &stored);
    *remembered = rc == 0;
    return rc == MDB_NOTFOUND || verify_is_damage(rc) ? 0 : rc;
}

static int end_hold(struct verifier *verifier, const struct ledger_entry *entry) {
    struct key_resolved row;
    struct amounts below = amounts_of(entry);
    bool is_there, remembered;
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, entry->hold);
    int rc = mdb_get(verifier->txn, verify_dbi(verifier, DB_HOLDS), &key, &value);
    if (rc == 0)
        return verify_found(verifier, "holds", entry->hold,
                            "%" PRIu64 "\nis live, but entry %" PRIu64 " ended it", entry->hold,
                            entry->id);
    if (rc != MDB_NOTFOUND)
        return rc;
    if (entry->hold >= entry->id || (entry->parent != 0 && entry->parent >= entry->hold))
        return verify_found(verifier, "entries", entry->id,
                            "%" PRIu64 "\nended a hold that is newer, or whose parent is",
                            entry->id);
    if (entry->parent == 0 && !(entry->flags & ENTRY_UNATTENDED) && verifier->scratch.txn == NULL)
        return 0;
    rc = scratch_file_open(&verifier->scratch, verifier->failure);
    if (rc == 0)
        rc = find_row(verifier, entry->hold, &row, &is_there);
    if (rc == 0 && is_there && row.entry != 0)
        return verify_found(verifier, "entries", entry->id,
                            "%" PRIu64 "\nended hold %" PRIu64 ", which entry %" PRIu64
                            " had ended",
                            entry->id, entry->hold, row.entry);
    if (rc == 0)
        rc = is_remembered(verifier, entry, is_there, &remembered);
    if (rc != 0)
        return rc;
    add_amounts(&below, &row.children);
    row.entry = entry->id;
    row.parent = entry->parent;
    row.settled = !(entry->flags & ENTRY_UNATTENDED);
    if (remembered)
        rc = put_row(verifier, entry->hold, &row);
    else if (is_there) /* nobody asks for it any more */
        rc = put_row(verifier, entry->hold, &(struct key_resolved){0});
    return rc == 0 ? tell_above(verifier, entry->parent, &below) : rc;
}

int verify_ending(struct verifier *verifier, const struct ledger_entry *entry,
                  const struct ledger_entry *booked) {
    if (entry->kind != KIND_CORRECTION)
        return end_hold(verifier, entry);
    if (booked->hold == 0 && booked->parent == 0 && !(entry->flags & ENTRY_LATE))
        return 0;
    int rc = scratch_file_open(&verifier->scratch, verifier->failure);
    return rc == 0 ? settle_late(verifier, entry, booked) : rc;
}

/* ---- live holds --------------------------------------------------------------------------- */

struct live {
    uint64_t id;
    uint64_t children;
};
struct living {
    size_t count;
    size_t capacity;
    struct live *items; /* ascending */
};

static struct live *find_live(const struct living *living, uint64_t id) {
    size_t low = 0, high = living->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (living->items[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < living->count && living->items[low].id == id ? &living->items[low] : NULL;
}

static int add_live(struct living *living, uint64_t id, uint64_t parent) {
    if (living->count == living->capacity) {
        size_t capacity = living->capacity == 0 ? 64 : 2 * living->capacity;
        struct live *grown = realloc(living->items, capacity * sizeof *grown);
        if (grown == NULL)
            return ENOMEM;
        living->items = grown;
        living->capacity = capacity;
    }
    living->items[living->count++] = (struct live){.id = id};
    struct live *above = parent < id ? find_live(living, parent) : NULL;
    if (above != NULL)
        above->children++;
    return 0;
}

static const char *wrong_rows(struct verifier *verifier, const struct hold *hold, int *rc) {
    MDB_dbi keys = verify_dbi(verifier, DB_KEYS);
    struct key_row row;
    int found =
        hold->client_id.data == NULL ? 0 : keys_find(verifier->txn, keys, hold->client_id, &row);
    if (found != 0 || (hold->client_id.data != NULL &&
                       (row.operation != OPERATION_RESERVE || row.id != hold->id))) {
        *rc = found == MDB_NOTFOUND || verify_is_damage(found) ? 0 : found;
        return "has a client id that has no such row in keys";
    }
    found = hold->run_id.data == NULL ? 0 : keys_find_run(verifier->txn, keys, hold->run_id, &row);
    if (found != 0 || (hold->run_id.data != NULL && (row.operation != OPERATION_RESERVE ||
                                                     row.id != hold->id || row.version != 0))) {
        *rc = found == MDB_NOTFOUND || verify_is_damage(found) ? 0 : found;
        return "has a run id that has no such row in keys";
    }
    return NULL;
}

static const char *wrong_names(struct verifier *verifier, const struct hold *hold) {
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        struct ledger_text text;
        uint8_t of;
        uint32_t number = hold->name_numbers[dimension];
        if (number != 0 &&
            (names_text(verifier->txn, verify_dbi(verifier, DB_NAMES), number, &of, &text) != 0 ||
             of != dimension))
            return "uses a name that is not there, or is of another dimension";
    }
    return NULL;
}

/* It has a share in every series that an entry with its names would be in. */
static const char *wrong_shares(struct verifier *verifier, struct hold *hold) {
    unsigned due = 1;
    if (hold_share_of(hold, SERIES_EVERYTHING) == NULL)
        return "has no share in series 0";
    for (size_t family = 0; family < verifier->declared_count; family++) {
        const struct declared_series *declared = &verifier->declared[family];
        uint32_t numbers[SERIES_NAMES_MAX], series;
        bool has = declared->ready;
        for (uint8_t i = 0; has && i < declared->count; i++) {
            numbers[i] = hold->name_numbers[declared->dimensions[i]];
            has = numbers[i] != 0;
        }
        if (!has)
            continue;
        due++;
        if (names_find_series(verifier->txn, verify_dbi(verifier, DB_NAMES), numbers,
                              declared->count, &series) != 0 ||
            hold_share_of(hold, series) == NULL)
            return "has no share in one of its series";
    }
    return hold->share_count == due ? NULL : "has a share in a series that is not its own";
}

static const char *wrong_metered(const struct hold *hold) {
    struct ledger_entry draft = {0};
    if (hold->metered.size == 0 ||
        entry_read_draft(hold->metered.data, hold->metered.size, &draft) == 0)
        return NULL;
    return "has a metering that cannot be read";
}

static int sum_shares(struct verifier *verifier, const struct hold *hold) {
    MDB_txn *txn = verifier->scratch.txn;
    MDB_dbi dbi = verifier->scratch.databases[SCRATCH_HELD];
    int rc = 0;
    for (uint8_t i = 0; rc == 0 && i < hold->share_count; i++) {
        struct held held;
        rc = held_load(txn, dbi, hold->shares[i].series, &held);
        held.holds++;
        if (hold->deadline_us > held.until_us)
            held.until_us = hold->deadline_us;
        for (int column = 0; column < HELD_COLUMNS; column++)
            held.column[column] += hold->shares[i].held[column];
        if (rc == 0)
            rc = held_store(txn, dbi, hold->shares[i].series, &held);
    }
    return rc;
}

static int verify_hold(struct verifier *verifier, struct hold *hold, struct living *living) {
    const char *wrong = NULL;
    int rc = 0;
    if (hold->id == 0 || hold->id > (uint64_t)LEDGER_TIME_MAX)
        wrong = "is no id";
    else if (verify_is_entry(verifier, hold->id))
        wrong = "is the id of an entry, too";
    else if (hold->parent >= hold->id)
        wrong = "has a parent that is newer";
    else if (hold->deadline_us < hold->id)
        wrong = "was over before it began";
    if (wrong == NULL)
        wrong = wrong_names(verifier, hold);
    if (wrong == NULL && verifier->is_settled)
        wrong = wrong_shares(verifier, hold);
    if (wrong == NULL)
        wrong = wrong_rows(verifier, hold, &rc);
    if (wrong == NULL)
        wrong = wrong_metered(hold);
    if (rc == 0)
        rc = add_live(living, hold->id, hold->parent);
    if (rc == 0)
        rc = sum_shares(verifier, hold);
    if (rc == 0 && wrong != NULL)
        rc = verify_found(verifier, "holds", hold->id, "%" PRIu64 "\n%s", hold->id, wrong);
    return rc;
}

static bool same_amounts(const struct amounts *a, const struct amounts *b) {
    bool same = a->mask == b->mask;
    for (uint64_t mask = a->mask; same && mask != 0; mask &= mask - 1) {
        int column = __builtin_ctzll(mask);
        same = a->column[column] == b->column[column];
    }
    return same;
}

/* From the newest to the oldest: children before their parents. */
static int verify_children(struct verifier *verifier, const struct hold *hold,
                           const struct living *living) {
    const struct live *live = find_live(living, hold->id);
    struct key_resolved row;
    bool is_there;
    int rc = find_row(verifier, hold->id, &row, &is_there);
    if (rc == 0)
        rc = tell_above(verifier, hold->parent, &row.children);
    if (rc == 0 && !same_amounts(&row.children, &hold->children))
        rc = verify_found(verifier, "holds", hold->id,
                          "%" PRIu64 "\nhas other sums of what its children booked", hold->id);
    if (rc == 0 && live != NULL && live->children != hold->open_children)
        rc = verify_found(verifier, "holds", hold->id,
                          "%" PRIu64 "\nhas %" PRIu64 " live children, and says %" PRIu64, hold->id,
                          live->children, hold->open_children);
    return rc;
}

static int walk_holds(struct verifier *verifier, bool newest_first, struct living *living) {
    struct hold hold = {0};
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_cursor_op next = newest_first ? MDB_PREV : MDB_NEXT;
    int rc = mdb_cursor_open(verifier->txn, verify_dbi(verifier, DB_HOLDS), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, next)) == 0) {
        uint64_t id = key.mv_size == 8 ? get_be64(key.mv_data) : 0;
        int read = id == 0 ? LEDGER_E_DAMAGED : hold_read(id, value.mv_data, value.mv_size, &hold);
        if (verify_is_damage(read))
            rc = newest_first
                     ? 0
                     : verify_found(verifier, "holds", id, "%" PRIu64 "\ncannot be read", id);
        else if (read != 0)
            rc = read;
        else
            rc = newest_first ? verify_children(verifier, &hold, living)
                              : verify_hold(verifier, &hold, living);
        verifier->result->holds += !newest_first;
    }
    mdb_cursor_close(cursor);
    hold_free(&hold);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- what is held ------------------------------------------------------------------------- */

static bool same_held(const struct held *stored, const struct held *made) {
    bool same = stored->holds == made->holds && stored->until_us >= made->until_us;
    for (int column = 0; same && column < HELD_COLUMNS; column++)
        same = stored->column[column] == made->column[column];
    return same;
}

static int verify_held_row(struct verifier *verifier, MDB_val key) {
    char where[VERIFY_SERIES_BYTES];
    struct held stored, made;
    if (key.mv_size != 4)
        return verify_found(verifier, "held", 0, "a key of %zu bytes\nshould have 4", key.mv_size);
    uint32_t series = get_be32(key.mv_data);
    int rc = held_load(verifier->txn, verify_dbi(verifier, DB_HELD), series, &stored);
    if (verify_is_damage(rc))
        return verify_found(verifier, "held", 0, "%s\ncannot be read",
                            verify_series(verifier, series, where));
    if (rc == 0)
        rc = held_load(verifier->scratch.txn, verifier->scratch.databases[SCRATCH_HELD], series,
                       &made);
    if (rc == 0 && made.holds == 0)
        return verify_found(verifier, "held", 0, "%s\nis there, but no live hold is in it",
                            verify_series(verifier, series, where));
    if (rc == 0 && !same_held(&stored, &made))
        rc = verify_found(verifier, "held", 0,
                          "%s\nis not the sum of the %" PRIu64 " live holds in it",
                          verify_series(verifier, series, where), made.holds);
    return rc;
}

/* Every row of one database is looked at, or looked up in the other. */
static int walk_held(struct verifier *verifier, MDB_txn *txn, MDB_dbi dbi, bool is_stored) {
    MDB_cursor *cursor;
    MDB_val key, value;
    char where[VERIFY_SERIES_BYTES];
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        if (is_stored)
            rc = verify_held_row(verifier, key);
        else if (mdb_get(verifier->txn, verify_dbi(verifier, DB_HELD), &key, &value) != 0)
            rc = verify_found(verifier, "held", 0, "%s\nis missing",
                              verify_series(verifier, get_be32(key.mv_data), where));
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int verify_holds(struct verifier *verifier) {
    struct living living = {0};
    MDB_stat holds, held;
    int rc = mdb_stat(verifier->txn, verify_dbi(verifier, DB_HOLDS), &holds);
    if (rc == 0)
        rc = mdb_stat(verifier->txn, verify_dbi(verifier, DB_HELD), &held);
    if (rc != 0 || holds.ms_entries + held.ms_entries == 0)
        return rc;
    rc = scratch_file_open(&verifier->scratch, verifier->failure);
    if (rc == 0)
        rc = walk_holds(verifier, false, &living);
    if (rc == 0)
        rc = walk_holds(verifier, true, &living);
    if (rc == 0)
        rc = walk_held(verifier, verifier->txn, verify_dbi(verifier, DB_HELD), true);
    if (rc == 0)
        rc = walk_held(verifier, verifier->scratch.txn, verifier->scratch.databases[SCRATCH_HELD],
                       false);
    free(living.items);
    return rc;
}
