/* Verifying: the slices, the series and rollups, and how findings are told. */
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "meta.h"
#include "series_internal.h"
#include "verify_internal.h"

/* After so many blocks of a series in a row that are not as they should be, what is wrong is in
 * front of them. */
#define WRONG_BLOCKS_MAX 3
/* Slices that are removed follow one another closely. */
#define STALE_WAIT_US 20000

/* ---- findings ---------------------------------------------------------------------------- */

int verify_found(struct verifier *verifier, const char *database, uint64_t id, const char *format,
                 ...) {
    struct ledger_finding finding = {.database = database, .id = id};
    uint64_t max = verifier->options->findings_max;
    char both[sizeof finding.key + sizeof finding.what];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(both, sizeof both, format, arguments);
    va_end(arguments);
    char *what = strchr(both, '\n');
    if (what != NULL)
        *what++ = '\0';
    snprintf(finding.key, sizeof finding.key, "%.*s", (int)sizeof finding.key - 1, both);
    snprintf(finding.what, sizeof finding.what, "%.*s", (int)sizeof finding.what - 1,
             what == NULL ? "" : what);
    if (verifier->options->found != NULL)
        verifier->options->found(verifier->options->context, &finding);
    bool is_last = ++verifier->result->findings >= (max != 0 ? max : VERIFY_FINDINGS_MAX);
    verifier->result->is_short = is_last;
    return is_last ? ECANCELED : 0;
}

bool verify_is_damage(int rc) {
    return rc == LEDGER_E_DAMAGED || rc == LEDGER_E_NEWER || rc == MDB_CORRUPTED ||
           rc == MDB_PAGE_NOTFOUND || rc == MDB_BAD_VALSIZE || rc == MDB_BAD_TXN;
}

const char *verify_dimension(int dimension) {
    static const char *const names[] = {"",      "state", "org",      "project", "user",
                                        "agent", "model", "provider", "status",  "prompt_type"};
    static char other[DIMENSION_LIMIT][16];
    if (dimension < 1 || dimension >= DIMENSION_LIMIT)
        return "of no dimension";
    if (dimension <= DIMENSION_PROMPT_TYPE)
        return names[dimension];
    snprintf(other[dimension], sizeof other[dimension], "dimension %d", dimension);
    return other[dimension];
}

const char *verify_text(struct ledger_text text, char out[VERIFY_TEXT_BYTES]) {
    size_t size = text.size < VERIFY_TEXT_BYTES - 4 ? text.size : VERIFY_TEXT_BYTES - 4;
    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)text.data[i] < ' ' ? '?' : text.data[i];
    memcpy(out + size, size < text.size ? "..." : "", size < text.size ? 4 : 1);
    return out;
}

const char *verify_series(struct verifier *verifier, uint32_t series,
                          char out[VERIFY_SERIES_BYTES]) {
    uint32_t numbers[SERIES_NAMES_MAX];
    size_t count = 0;
    if (series == SERIES_EVERYTHING) {
        snprintf(out, VERIFY_SERIES_BYTES, "series 0 (everything)");
        return out;
    }
    int rc =
        names_of_series(verifier->txn, verify_dbi(verifier, DB_NAMES), series, numbers, &count);
    int size = snprintf(out, VERIFY_SERIES_BYTES, "series %" PRIu32, series);
    for (size_t i = 0; rc == 0 && i < count && size < VERIFY_SERIES_BYTES; i++) {
        char cut[VERIFY_TEXT_BYTES];
        struct ledger_text text;
        uint8_t dimension;
        rc = names_text(verifier->txn, verify_dbi(verifier, DB_NAMES), numbers[i], &dimension,
                        &text);
        if (rc == 0)
            size += snprintf(out + size, VERIFY_SERIES_BYTES - (size_t)size, "%s%s %s%s",
                             i == 0 ? " (" : ", ", verify_dimension(dimension),
                             verify_text(text, cut), i + 1 == count ? ")" : "");
    }
    return out;
}

/* ---- series and rollups ------------------------------------------------------------------ */

static int number_series(void *context, struct replay_series *series) {
    struct verifier *verifier = context;
    if (series->family == FAMILY_EVERYTHING) {
        series->series = SERIES_EVERYTHING;
        return 0;
    }
    int rc = names_find_series(verifier->txn, verify_dbi(verifier, DB_NAMES), series->numbers,
                               series->count, &series->series);
    if (rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    char text[VERIFY_SERIES_BYTES] = "";
    int size = 0;
    for (uint8_t i = 0; i < series->count && size < VERIFY_SERIES_BYTES; i++)
        size += snprintf(text + size, VERIFY_SERIES_BYTES - (size_t)size, " %" PRIu32,
                         series->numbers[i]);
    series->series = REPLAY_UNKNOWN;
    return verify_found(verifier, "names", 0, "numbers%s\nhave no series", text);
}

/* Where in a block the first byte is that should not be. */
static void tell_difference(const struct series_block *block, MDB_val stored, char *out,
                            size_t size) {
    struct byte_reader reader = byte_reader(block->value, block->size);
    const uint8_t *bytes = stored.mv_data;
    struct totals base;
    struct amounts amounts;
    size_t at = 0;
    uint64_t id = block->first_id;
    while (at < block->size && at < stored.mv_size && bytes[at] == block->value[at])
        at++;
    unsigned items = at == 0 ? bytes[0] & ~(unsigned)SERIES_HAS_SKIP : block->count;
    if (items != block->count) {
        snprintf(out, size, "has %u items instead of %u", items, block->count);
        return;
    }
    bool has_skip = read_byte(&reader) & SERIES_HAS_SKIP;
    totals_read(&reader, &base);
    if (at > 0 && at < (size_t)(reader.at - block->value)) {
        snprintf(out, size, "begins with sums that the entries before do not make");
        return;
    }
    if (has_skip)
        series_pass_over_skip(&reader);
    if (at < (size_t)(reader.at - block->value)) {
        snprintf(out, size, "does not skip back as the blocks before it say");
        return;
    }
    for (unsigned item = 1; item <= block->count; item++) {
        id += (uint64_t)read_varint(&reader);
        amounts_read(&reader, &amounts);
        if (at < (size_t)(reader.at - block->value)) {
            snprintf(out, size, "item %u is not what entry %" PRIu64 " adds", item, id);
            return;
        }
    }
    snprintf(out, size, "does not end with its last item");
}

/* Families that are being built change without entries: what is open of them can be compared only
 * where nobody built on. */
static bool is_comparable(const struct verifier *verifier, const struct replay_series *series,
                          bool is_open) {
    bool is_ready =
        series->family == FAMILY_EVERYTHING || verifier->declared[series->family - 1].ready;
    return !is_open || is_ready || verifier->is_settled;
}

static int compare_block(void *context, struct replay_series *series, bool is_open) {
    struct verifier *verifier = context;
    const struct series_block *block = &series->block;
    uint8_t bytes[SERIES_KEY_BYTES];
    MDB_val key = {sizeof bytes, bytes}, stored;
    char where[VERIFY_SERIES_BYTES], what[128] = "is missing";
    if (!is_comparable(verifier, series, is_open) || series->wrong >= WRONG_BLOCKS_MAX)
        return 0;
    put_be32(bytes, series->series);
    put_be64(bytes + 4, block->first_id);
    int rc = mdb_get(verifier->txn, verify_dbi(verifier, DB_SERIES), &key, &stored);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    if (rc == 0 && stored.mv_size == block->size &&
        memcmp(stored.mv_data, block->value, block->size) == 0) {
        series->wrong = 0;
        return 0;
    }
    if (rc == 0 && stored.mv_size > 0)
        tell_difference(block, stored, what, sizeof what);
    const char *more = ++series->wrong < WRONG_BLOCKS_MAX ? "" : "; what follows is not compared";
    return verify_found(verifier, "series", block->first_id, "%s, block from %" PRIu64 "\n%s%s",
                        verify_series(verifier, series->series, where), block->first_id, what,
                        more);
}

static void tell_rollup(const struct rollup *rollup, MDB_val stored, char *out, size_t size) {
    struct byte_reader reader = byte_reader(stored.mv_data, stored.mv_size);
    struct totals totals;
    totals_read(&reader, &totals);
    snprintf(out, size, "has wrong extremes");
    if (reader.damaged)
        snprintf(out, size, "cannot be read");
    for (int column = 0; !reader.damaged && column < COLUMN_COUNT; column++)
        if (totals.column[column] != rollup->totals.column[column]) {
            snprintf(out, size, "has %" PRId64 " in column %d, the entries make %" PRId64,
                     (int64_t)totals.column[column], column,
                     (int64_t)rollup->totals.column[column]);
            return;
        }
}

static int compare_rollup(void *context, struct replay_series *series, const struct rollup *rollup,
                          bool is_open) {
    struct verifier *verifier = context;
    uint8_t bytes[ROLLUP_KEY_BYTES], value[ROLLUP_BYTES_MAX];
    size_t size = rollup_write(rollup, bytes, value);
    MDB_val key = {sizeof bytes, bytes}, stored;
    char where[VERIFY_SERIES_BYTES], what[128] = "is missing";
    if (!is_comparable(verifier, series, is_open))
        return 0;
    int rc = mdb_get(verifier->txn, verify_dbi(verifier, DB_ROLLUPS), &key, &stored);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    if (rc == 0 && stored.mv_size == size && memcmp(stored.mv_data, value, size) == 0)
        return 0;
    if (rc == 0)
        tell_rollup(rollup, stored, what, sizeof what);
    return verify_found(verifier, "rollups", 0, "%s, %s %" PRIu32 "\n%s",
                        verify_series(verifier, series->series, where),
                        rollup->granularity == ROLLUP_HOUR ? "hour" : "day", rollup->period, what);
}

/* ---- rows of series and rollups that nothing makes ---------------------------------------- */

static int compare_numbers(const void *a, const void *b) {
    const struct replay_series *const *left = a, *const *right = b;
    return (*left)->series < (*right)->series ? -1 : (*left)->series > (*right)->series;
}

/* By number, for free(). */
static struct replay_series **sort_series(const struct replay *replay, size_t *count) {
    struct replay_series **sorted = malloc((replay->count + 1) * sizeof *sorted);
    *count = 0;
    for (size_t i = 0; sorted != NULL && i < replay->capacity; i++)
        if (replay->slots[i] != NULL && replay->slots[i]->series != REPLAY_UNKNOWN)
            sorted[(*count)++] = replay->slots[i];
    if (sorted != NULL)
        qsort(sorted, *count, sizeof *sorted, compare_numbers);
    return sorted;
}

/* What was counted of one series, against what was handed over. */
struct tally {
    struct replay_series *series; /* NULL: no entry is in it */
    uint32_t number;
    uint64_t rows;
    uint64_t keys; /* sum of what tells one from another */
};

/* One row too many is told exactly. (Those that are missing were told before.) */
static int tell_tally(struct verifier *verifier, bool is_series, const struct tally *tally) {
    uint64_t rows = 0, keys = 0;
    char where[VERIFY_SERIES_BYTES];
    if (tally->series != NULL) {
        rows = is_series ? tally->series->blocks : tally->series->rollups;
        keys = is_series ? tally->series->first_ids : tally->series->periods;
    }
    if (tally->rows <= rows)
        return 0;
    uint64_t extra = tally->keys - keys;
    verify_series(verifier, tally->number, where);
    if (tally->rows - rows > 1)
        return verify_found(verifier, is_series ? "series" : "rollups", 0,
                            "%s\nhas %" PRIu64 " rows that no entry is in", where,
                            tally->rows - rows);
    if (is_series)
        return verify_found(verifier, "series", extra,
                            "%s, block from %" PRIu64 "\nno entry is in it", where, extra);
    return verify_found(verifier, "rollups", 0, "%s, %s %" PRIu64 "\nno entry is in it", where,
                        (extra & 3) == ROLLUP_HOUR ? "hour" : "day", extra >> 2);
}

/* Of the time before the horizon: what is left of it is looked at elsewhere. */
static bool is_past_row(const struct verifier *verifier, bool is_series, const uint8_t *key) {
    if (is_series)
        return verify_is_past(verifier, get_be64(key + 4));
    uint64_t unit = rollup_unit(key[4]);
    return verify_is_past(verifier, get_be32(key + 5) * unit);
}

static int walk_rows(struct verifier *verifier, bool is_series, struct replay_series **sorted,
                     size_t count) {
    MDB_dbi dbi = verify_dbi(verifier, is_series ? DB_SERIES : DB_ROLLUPS);
    size_t size = is_series ? SERIES_KEY_BYTES : ROLLUP_KEY_BYTES, at = 0;
    struct tally tally = {0};
    MDB_cursor *cursor;
    MDB_val key, value;
    bool any = false;
    int rc = mdb_cursor_open(verifier->txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        const uint8_t *bytes = key.mv_data;
        if (key.mv_size != size) {
            rc = verify_found(verifier, is_series ? "series" : "rollups", 0,
                              "a key of %zu bytes\nshould have %zu", key.mv_size, size);
            continue;
        }
        if (!any || get_be32(bytes) != tally.number) {
            rc = any ? tell_tally(verifier, is_series, &tally) : 0;
            any = true;
            tally = (struct tally){.number = get_be32(bytes)};
            while (at < count && sorted[at]->series < tally.number)
                at++;
            if (at < count && sorted[at]->series == tally.number)
                tally.series = sorted[at];
        }
        if (is_past_row(verifier, is_series, bytes))
            continue;
        tally.rows++;
        tally.keys +=
            is_series ? get_be64(bytes + 4) : (uint64_t)get_be32(bytes + 5) << 2 | bytes[4];
    }
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        rc = any ? tell_tally(verifier, is_series, &tally) : 0;
    return rc;
}

/* As many rows as were made, which were all found: then there are no others. */
static int count_rows(struct verifier *verifier, bool is_series) {
    MDB_stat stat;
    uint64_t made = 0;
    size_t count;
    int rc =
        mdb_stat(verifier->txn, verify_dbi(verifier, is_series ? DB_SERIES : DB_ROLLUPS), &stat);
    struct replay_series **sorted = sort_series(&verifier->replay, &count);
    if (sorted == NULL)
        return ENOMEM;
    for (size_t i = 0; i < count; i++)
        made += is_series ? sorted[i]->blocks : sorted[i]->rollups;
    if (rc == 0 && (stat.ms_entries != made || verifier->retention.horizon != 0))
        rc = walk_rows(verifier, is_series, sorted, count);
    free(sorted);
    return rc;
}

/* ---- the whole --------------------------------------------------------------------------- */

int verify_fetch(struct verifier *verifier, uint64_t id, struct ledger_entry *entry) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, id);
    int rc = mdb_get(verifier->txn, verify_dbi(verifier, DB_ENTRIES), &key, &value);
    entry->id = id;
    return rc != 0 ? rc : entry_read_stored(value.mv_data, value.mv_size, entry);
}

bool verify_is_entry(struct verifier *verifier, uint64_t id) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, id);
    return mdb_get(verifier->txn, verify_dbi(verifier, DB_ENTRIES), &key, &value) == 0;
}

/* Every policy but the first was made by an entry. */
static int verify_policy(struct verifier *verifier) {
    struct ledger_policy policy = {0};
    int rc = meta_read_policy(verifier->ledger, verifier->txn, &policy);
    uint64_t version = policy.version, changed_by = policy.changed_by_entry;
    policy_free(&policy);
    if (verify_is_damage(rc))
        return verify_found(verifier, "meta", 0, "policy\ncannot be read");
    if (rc == 0 && version != verifier->policies + 1)
        rc = verify_found(verifier, "meta", 0,
                          "policy\nhas version %" PRIu64 ", but %" PRIu64 " entries changed it",
                          version, verifier->policies);
    if (rc == 0 && changed_by != verifier->last_policy)
        rc = verify_found(verifier, "meta", changed_by,
                          "policy\nnames entry %" PRIu64 ", but %" PRIu64 " changed it last",
                          changed_by, verifier->last_policy);
    return rc;
}

static int settle_families(struct verifier *verifier) {
    struct declared_series declared[DECLARED_MAX];
    size_t count = 0;
    int rc = meta_read_series(verifier->ledger, verifier->txn, declared, &count);
    verifier->is_settled = rc == 0 && count == verifier->declared_count;
    for (size_t i = 0; verifier->is_settled && i < count; i++)
        verifier->is_settled = family_equal(&declared[i], &verifier->declared[i]) &&
                               declared[i].ready == verifier->declared[i].ready &&
                               declared[i].built_to == verifier->declared[i].built_to;
    return rc;
}

/* In the transaction that read the newest entry. */
static int finish(struct verifier *verifier) {
    int rc = settle_families(verifier);
    if (rc == 0)
        rc = replay_finish(&verifier->replay);
    if (rc == 0)
        rc = verify_kept_blocks(verifier);
    if (rc == 0 && verifier->is_settled)
        rc = count_rows(verifier, true);
    if (rc == 0 && verifier->is_settled)
        rc = count_rows(verifier, false);
    if (rc == 0)
        rc = verify_names(verifier);
    if (rc == 0)
        rc = verify_payload_rows(verifier);
    if (rc == 0)
        rc = verify_holds(verifier);
    if (rc == 0)
        rc = verify_derived_keys(verifier);
    return rc == 0 ? verify_policy(verifier) : rc;
}

static bool goes_on(struct verifier *verifier) {
    const struct ledger_verify_options *options = verifier->options;
    return options->goes_on == NULL ||
           options->goes_on(options->context, verifier->result->entries, verifier->total);
}

static int begin(struct verifier *verifier) {
    MDB_stat stat;
    int rc = storage_read_begin(&verifier->ledger->storage, &verifier->txn);
    if (rc != 0)
        return rc;
    rc = mdb_stat(verifier->txn, verify_dbi(verifier, DB_ENTRIES), &stat);
    verifier->total = stat.ms_entries;
    if (rc == 0)
        rc = meta_read_retention(verifier->ledger, verifier->txn, &verifier->retention);
    verifier->replay.from = verifier->retention.horizon;
    if (rc == 0)
        rc = meta_read_series(verifier->ledger, verifier->txn, verifier->declared,
                              &verifier->declared_count);
    storage_read_end(&verifier->ledger->storage, verifier->txn);
    return rc;
}

static int read_key(struct verifier *verifier, MDB_val key, uint64_t *id) {
    if (key.mv_size != 8)
        return verify_found(verifier, "entries", 0, "a key of %zu bytes\nshould have 8",
                            key.mv_size);
    *id = get_be64(key.mv_data);
    if (*id == 0 || *id > (uint64_t)LEDGER_TIME_MAX)
        return verify_found(verifier, "entries", *id, "%" PRIu64 "\nis no id", *id);
    return 0;
}

/* What was removed since the first slice can be neither read nor compared. */
static int look_for_removal(struct verifier *verifier, bool *removed) {
    struct retention now;
    int rc = meta_read_retention(verifier->ledger, verifier->txn, &now);
    *removed = now.horizon != verifier->retention.horizon ||
               now.removed_to != verifier->retention.removed_to;
    return rc;
}

/* Entries from one id on; the last slice is the one that comes to the end. ESTALE: entries were
 * removed meanwhile. */
static int verify_slice(struct verifier *verifier, uint64_t *next, bool *done) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    MDB_cursor *cursor = NULL;
    size_t left = verifier->options->slice != 0 ? verifier->options->slice : VERIFY_SLICE;
    bool removed;
    int rc = storage_read_begin(&verifier->ledger->storage, &verifier->txn);
    if (rc != 0)
        return rc;
    rc = look_for_removal(verifier, &removed);
    if (rc == 0 && removed)
        rc = ESTALE;
    if (rc == 0)
        rc = mdb_cursor_open(verifier->txn, verify_dbi(verifier, DB_ENTRIES), &cursor);
    put_be64(bytes, *next);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && left-- > 0) {
        uint64_t id = 0;
        rc = read_key(verifier, key, &id);
        if (rc == 0 && id != 0) {
            verifier->result->entries++;
            verifier->result->last_id = id;
            *next = id + 1;
            rc = verify_entry(verifier, id, value);
        }
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    *done = rc == MDB_NOTFOUND;
    if (*done)
        rc = finish(verifier);
    storage_read_end(&verifier->ledger->storage, verifier->txn);
    return rc;
}

static int verify_entries(struct verifier *verifier) {
    uint64_t next = 0;
    bool done = false;
    int rc = begin(verifier);
    while (rc == 0 && !done) {
        rc = goes_on(verifier) ? verify_slice(verifier, &next, &done) : ECANCELED;
        if (rc == 0)
            rc = scratch_file_turn(&verifier->scratch, verifier->failure);
    }
    return rc;
}

/* All but what was found. */
static void forget(struct verifier *verifier) {
    replay_free(&verifier->replay);
    scratch_file_close(&verifier->scratch);
    free(verifier->names);
    verifier->names = NULL;
    verifier->name_count = verifier->name_capacity = 0;
    verifier->digests = verifier->policies = verifier->last_policy = 0;
    *verifier->result = (struct ledger_verify_result){.findings = verifier->result->findings,
                                                      .is_short = verifier->result->is_short};
}

/* Where entries are removed in the middle of it, it begins again. */
static int verify(struct verifier *verifier) {
    struct replay_sink sink = verifier->replay.sink;
    int rc;
    while ((rc = verify_entries(verifier)) == ESTALE) {
        forget(verifier);
        verifier->replay.sink = sink;
        usleep(STALE_WAIT_US);
    }
    return rc == 0 ? verify_requests(verifier) : rc;
}

int ledger_verify(struct ledger *ledger, const struct ledger_verify_options *options,
                  struct ledger_verify_result *result, struct ledger_failure *failure) {
    struct verifier verifier = {
        .ledger = ledger, .options = options, .result = result, .failure = failure};
    verifier.replay.sink = (struct replay_sink){.number = number_series,
                                                .begin = verify_begin_series,
                                                .block = compare_block,
                                                .rollup = compare_rollup,
                                                .context = &verifier};
    *result = (struct ledger_verify_result){0};
    failure->code = 0;
    int rc = verify(&verifier);
    result->series = verifier.replay.count;
    if (verify_is_damage(rc)) {
        /* What LMDB itself cannot read. */
        (void)verify_found(&verifier, "data.mdb", result->last_id,
                           "behind entry %" PRIu64 "\ncannot be read: %s", result->last_id,
                           ledger_error_name(rc));
        rc = 0;
    }
    if (rc == ECANCELED && result->is_short)
        rc = 0;
    replay_free(&verifier.replay);
    scratch_file_close(&verifier.scratch);
    free(verifier.names);
    if (rc != 0 && failure->code == 0)
        ledger_fail(failure, rc, "verifying %s", ledger->storage.options.directory);
    return rc;
}
