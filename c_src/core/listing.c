/* Lists of entries, and entries by their names: each call in one read transaction from the pool,
 * and bounded, so that no long list pins old pages.
 *
 * A list walks the shortest series that all it asks for is in, and leaves out what is not asked
 * for: by the columns that an item adds to, where these tell, else by the entry. What is in no
 * series (changes, prices, ...) is found in the entries themselves; and so is what is left of the
 * time before the horizon (retention.h). */
#include <errno.h>
#include <string.h>

#include "keys.h"
#include "reading.h"
#include "retention.h"

#define BIT(n) (UINT64_C(1) << (n))
/* Those that add to some column. */
#define KINDS_IN_SERIES                                                                            \
    (BIT(KIND_INVOCATION) | BIT(KIND_RUN) | BIT(KIND_CORRECTION) | BIT(KIND_GRANT))

/* ---- what an item is --------------------------------------------------------------------- */

static enum ledger_kind kind_of(uint64_t mask) {
    if (mask & BIT(COLUMN_INVOCATIONS))
        return KIND_INVOCATION;
    if (mask & BIT(COLUMN_RUNS))
        return KIND_RUN;
    return mask & BIT(COLUMN_GRANTS) ? KIND_GRANT : KIND_CORRECTION;
}

static enum ledger_status status_of(enum ledger_kind kind, uint64_t mask) {
    if (kind != KIND_INVOCATION && kind != KIND_RUN)
        return STATUS_NONE;
    if (mask & (BIT(COLUMN_COMPLETED) | BIT(COLUMN_RUNS_COMPLETED)))
        return STATUS_COMPLETED;
    return mask & (BIT(COLUMN_FAILED) | BIT(COLUMN_RUNS_FAILED)) ? STATUS_FAILED : STATUS_ABORTED;
}

static bool is_wanted(const struct ledger_filter *filter, uint32_t kinds, enum ledger_kind kind,
                      enum ledger_status status) {
    return kinds & 1u << kind && (filter->statuses == 0 || filter->statuses & 1u << status);
}

/* ---- how many ---------------------------------------------------------------------------- */

static ledger_sum records(const struct totals *totals) {
    return totals->column[COLUMN_INVOCATIONS] + totals->column[COLUMN_RUNS] +
           totals->column[COLUMN_CORRECTIONS] + totals->column[COLUMN_GRANTS];
}

static ledger_sum wanted_of(const struct totals *totals, uint32_t statuses, enum totals_column all,
                            enum totals_column completed, enum totals_column late,
                            enum totals_column failed, enum totals_column aborted) {
    ledger_sum sum = 0;
    if (statuses == 0)
        return totals->column[all];
    if (statuses & 1u << STATUS_COMPLETED)
        sum += totals->column[completed] - totals->column[late];
    if (statuses & 1u << STATUS_FAILED)
        sum += totals->column[failed];
    if (statuses & 1u << STATUS_ABORTED)
        sum += totals->column[aborted];
    return sum;
}

/* What the sums above and below are made of. */
#define COUNTS                                                                                     \
    (BIT(COLUMN_INVOCATIONS) | BIT(COLUMN_COMPLETED) | BIT(COLUMN_LATE_COMPLETED) |                \
     BIT(COLUMN_FAILED) | BIT(COLUMN_ABORTED) | BIT(COLUMN_RUNS) | BIT(COLUMN_RUNS_COMPLETED) |    \
     BIT(COLUMN_LATE_RUNS_COMPLETED) | BIT(COLUMN_RUNS_FAILED) | BIT(COLUMN_RUNS_ABORTED) |        \
     BIT(COLUMN_CORRECTIONS) | BIT(COLUMN_GRANTS))

static ledger_sum wanted(const struct ledger_filter *filter, const struct totals *totals) {
    ledger_sum sum = 0;
    if (filter->kinds & 1u << KIND_INVOCATION)
        sum += wanted_of(totals, filter->statuses, COLUMN_INVOCATIONS, COLUMN_COMPLETED,
                         COLUMN_LATE_COMPLETED, COLUMN_FAILED, COLUMN_ABORTED);
    if (filter->kinds & 1u << KIND_RUN)
        sum += wanted_of(totals, filter->statuses, COLUMN_RUNS, COLUMN_RUNS_COMPLETED,
                         COLUMN_LATE_RUNS_COMPLETED, COLUMN_RUNS_FAILED, COLUMN_RUNS_ABORTED);
    /* What has no outcome is of no status. */
    bool of_none = filter->statuses == 0 || filter->statuses & 1u << STATUS_NONE;
    if (of_none && filter->kinds & 1u << KIND_CORRECTION)
        sum += totals->column[COLUMN_CORRECTIONS];
    if (of_none && filter->kinds & 1u << KIND_GRANT)
        sum += totals->column[COLUMN_GRANTS];
    return sum;
}

static int count_between(struct reading *reading, uint32_t series, uint64_t since, uint64_t until,
                         struct totals *totals) {
    struct totals before;
    MDB_cursor *cursor;
    int rc = reading_cursor(reading, DB_SERIES, &cursor);
    if (rc != 0)
        return rc;
    rc = series_columns_before(cursor, series, since, COUNTS, &before);
    if (rc == 0)
        rc = series_columns_before(cursor, series, until, COUNTS, totals);
    for (int column = 0; rc == 0 && column < COLUMN_COUNT; column++)
        totals->column[column] -= before.column[column];
    return rc;
}

/* ---- which series ------------------------------------------------------------------------ */

struct choice {
    uint32_t series;
    bool is_empty; /* there can be nothing */
    bool is_exact; /* the series has nothing that is not asked for by name */
};

static bool has_all(const struct declared_series *declared, const uint32_t *numbers) {
    bool has = declared->ready;
    for (uint8_t i = 0; has && i < declared->count; i++)
        has = numbers[declared->dimensions[i]] != 0;
    return has;
}

/* The family of exactly these names; failing that, of all but the status, which items tell. */
static int exact_family(struct reading *reading, uint32_t *numbers, int *family) {
    int rc = reading_family(reading, numbers, family);
    if (rc != 0 && numbers[DIMENSION_STATUS] != 0) {
        uint32_t status = numbers[DIMENSION_STATUS];
        numbers[DIMENSION_STATUS] = 0;
        rc = reading_family(reading, numbers, family);
        if (rc != 0)
            numbers[DIMENSION_STATUS] = status;
    }
    return rc;
}

/* The shortest series of those that everything with these names is in. */
static int choose(struct reading *reading, const struct ledger_filter *filter, uint32_t *numbers,
                  struct choice *choice) {
    struct totals totals;
    ledger_sum shortest = 0;
    int family, exact = exact_family(reading, numbers, &family);
    *choice = (struct choice){.series = SERIES_EVERYTHING, .is_exact = exact == 0};
    if (exact == 0) {
        int rc = reading_series(reading, family, numbers, &choice->series);
        choice->is_empty = rc == MDB_NOTFOUND;
        return choice->is_empty ? 0 : rc;
    }
    int rc = count_between(reading, SERIES_EVERYTHING, filter->since, filter->until, &totals);
    shortest = records(&totals);
    for (size_t i = 0; rc == 0 && i < reading->declared_count; i++) {
        uint32_t series;
        if (!has_all(&reading->declared[i], numbers))
            continue;
        rc = reading_series(reading, (int)i + 1, numbers, &series);
        if (rc == MDB_NOTFOUND) {
            choice->is_empty = true;
            return 0;
        }
        if (rc == 0)
            rc = count_between(reading, series, filter->since, filter->until, &totals);
        if (rc == 0 && records(&totals) < shortest) {
            shortest = records(&totals);
            choice->series = series;
        }
    }
    return rc;
}

/* ---- walking ----------------------------------------------------------------------------- */

/* Of entries, and of their payloads, in one call: a slice of large ones is no larger than one of
 * many. The caller goes on from where it ended. */
#define SLICE_BYTES (UINT64_C(4) << 20)

struct listing {
    struct reading *reading;
    const struct ledger_list_query *query;
    const struct ledger_filter *filter;
    uint32_t numbers[DIMENSION_LIMIT]; /* of the names asked for, status left out */
    uint64_t asked;                    /* bit N for a name in dimension N */
    bool by_name;                      /* the series tells not all of them */
    uint32_t kinds;                    /* that are told, in the time that is walked */
    uint64_t since;                    /* of what is left after the pages before */
    uint64_t until;
    ledger_list_row *row;
    void *context;
    struct ledger_page *page;
    uint64_t scanned;
    uint64_t bytes; /* of entries that were read, told or not, and of payloads that were told */
    bool stopped;
};

static bool matches(const struct listing *listing, const struct ledger_entry *entry) {
    for (uint64_t asked = listing->asked; asked != 0; asked &= asked - 1) {
        int dimension = __builtin_ctzll(asked);
        if (listing->numbers[dimension] != entry->name_numbers[dimension])
            return false;
    }
    return true;
}

/* What is asked for is told, and counted. */
static int tell(struct listing *listing, struct ledger_entry *entry) {
    struct ledger_payload payload = {0};
    int rc = 0;
    if (listing->row != NULL) {
        rc = reading_load_names(listing->reading, entry);
        if (rc == 0 && listing->query->payloads && entry->given & ENTRY_DIGEST)
            rc = reading_payload(listing->reading, entry->id, &payload);
        if (rc == 0)
            listing->row(listing->context, entry, &payload);
    }
    listing->bytes += payload.map.size;
    listing->page->matched++;
    return rc;
}

/* Whether the walk goes on beyond that id. */
static bool goes_on(struct listing *listing, uint64_t id) {
    const struct ledger_list_query *query = listing->query;
    listing->page->next = query->oldest_first ? id + 1 : id;
    listing->stopped = listing->page->matched >= query->limit ||
                       ++listing->scanned >= query->scan || listing->bytes >= SLICE_BYTES;
    return !listing->stopped;
}

/* An item of a series, and where its entry lies: nowhere, if it need not be read. */
struct found_item {
    uint64_t id;
    bool is_wanted;
    int rc; /* of looking for the entry */
    MDB_val entry;
};

/* Entries of one series lie on as many pages, which are in no cache of the processor: some are
 * found, and on their way, before the first of them is read. */
#define FOUND_AHEAD 16
#define CACHE_LINE 64
#define FETCHED_BYTES 512 /* most entries are smaller */

static void fetch_ahead(MDB_val bytes) {
    size_t size = bytes.mv_size < FETCHED_BYTES ? bytes.mv_size : FETCHED_BYTES;
    for (size_t at = 0; at < size; at += CACHE_LINE)
        __builtin_prefetch((const char *)bytes.mv_data + at);
}

static void find_item(struct listing *listing, const struct series_item *item,
                      struct found_item *found) {
    enum ledger_kind kind = kind_of(item->mask);
    *found = (struct found_item){.id = item->id};
    found->is_wanted =
        is_wanted(listing->filter, listing->kinds, kind, status_of(kind, item->mask));
    if (!found->is_wanted || (listing->row == NULL && !listing->by_name))
        return;
    found->rc = reading_find_bytes(listing->reading, item->id, &found->entry);
    if (found->rc == 0)
        fetch_ahead(found->entry);
    else if (found->rc == MDB_NOTFOUND)
        found->rc = LEDGER_E_DAMAGED; /* a series lists what is not there */
}

static int look_at_item(struct listing *listing, const struct found_item *found) {
    struct ledger_entry entry;
    if (!found->is_wanted || found->rc != 0)
        return found->rc;
    if (found->entry.mv_data == NULL) {
        listing->page->matched++;
        return 0;
    }
    listing->bytes += found->entry.mv_size;
    entry.id = found->id;
    int rc = entry_read_stored(found->entry.mv_data, found->entry.mv_size, &entry);
    return rc == 0 && matches(listing, &entry) ? tell(listing, &entry) : rc;
}

/* How many more are looked at at most: one at least, or the list would have ended. */
static uint64_t may_look_at(const struct listing *listing) {
    uint64_t wanted = listing->query->limit - listing->page->matched;
    uint64_t seen = listing->scanned, scan = listing->query->scan;
    uint64_t left = scan > seen ? scan - seen : 1;
    return wanted < left ? wanted : left;
}

/* Those that come next. Other than 0: there are no more after the *count of them, MDB_NOTFOUND, or
 * they cannot be read. */
static int find_items(struct listing *listing, struct series_walk *walk,
                      struct found_item found[FOUND_AHEAD], size_t *count) {
    uint64_t most = may_look_at(listing);
    const struct series_item *item;
    int rc = 0;
    for (*count = 0; *count < FOUND_AHEAD && *count < most; ++*count) {
        rc = series_walk_next(walk, &item);
        if (rc != 0)
            break;
        find_item(listing, item, &found[*count]);
    }
    return rc;
}

static int walk_series(struct listing *listing, uint32_t series) {
    struct found_item found[FOUND_AHEAD];
    struct series_walk walk;
    MDB_cursor *cursor;
    size_t count;
    int rc = reading_cursor(listing->reading, DB_SERIES, &cursor);
    if (rc != 0)
        return rc;
    series_walk_start(&walk, cursor, series, listing->query->oldest_first, listing->since,
                      listing->until);
    while (rc == 0) {
        rc = find_items(listing, &walk, found, &count);
        for (size_t i = 0; i < count; i++) {
            int looked = look_at_item(listing, &found[i]);
            if (looked != 0 || !goes_on(listing, found[i].id))
                return looked;
        }
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The same over the entries themselves. */
static int first_entry(struct listing *listing, MDB_cursor *cursor, MDB_val *key, MDB_val *value) {
    bool forward = listing->query->oldest_first;
    uint8_t bytes[8];
    put_be64(bytes, forward ? listing->since : listing->until);
    *key = (MDB_val){sizeof bytes, bytes};
    int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (forward)
        return rc;
    return mdb_cursor_get(cursor, key, value, rc == 0 ? MDB_PREV : MDB_LAST);
}

static int walk_entries(struct listing *listing) {
    struct ledger_entry entry;
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = reading_cursor(listing->reading, DB_ENTRIES, &cursor);
    if (rc == 0)
        rc = first_entry(listing, cursor, &key, &value);
    while (rc == 0) {
        if (key.mv_size != 8) {
            rc = LEDGER_E_DAMAGED;
            break;
        }
        entry.id = get_be64(key.mv_data);
        if (entry.id < listing->since || entry.id >= listing->until)
            break;
        listing->bytes += value.mv_size;
        rc = entry_read_stored(value.mv_data, value.mv_size, &entry);
        uint32_t kinds = entry.id < listing->reading->horizon ? listing->kinds & RETENTION_KINDS
                                                              : listing->kinds;
        if (rc == 0 && is_wanted(listing->filter, kinds, entry.kind, entry.status) &&
            matches(listing, &entry))
            rc = tell(listing, &entry);
        if (rc != 0 || !goes_on(listing, entry.id))
            break;
        rc = mdb_cursor_get(cursor, &key, &value,
                            listing->query->oldest_first ? MDB_NEXT : MDB_PREV);
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* What stayed of the time before the horizon is in no series any more; from there on everything is.
 */
static int walk_part(struct listing *listing, uint32_t series, bool is_kept_part) {
    uint64_t since = listing->since, until = listing->until, horizon = listing->reading->horizon;
    int rc = 0;
    if (listing->stopped)
        return 0;
    if (is_kept_part && since < horizon)
        listing->since = horizon;
    if (!is_kept_part && until > horizon)
        listing->until = horizon;
    if (listing->since < listing->until)
        rc = is_kept_part ? walk_series(listing, series) : walk_entries(listing);
    listing->since = since;
    listing->until = until;
    return rc;
}

static int walk_parts(struct listing *listing, uint32_t series) {
    bool newest_first = !listing->query->oldest_first;
    bool any_old = listing->kinds & RETENTION_KINDS;
    int rc = newest_first || any_old ? walk_part(listing, series, newest_first) : 0;
    return rc == 0 && (!newest_first || any_old) ? walk_part(listing, series, !newest_first) : rc;
}

static int list(struct listing *listing) {
    struct reading *reading = listing->reading;
    const struct ledger_filter *filter = listing->filter;
    struct ledger_page *page = listing->page;
    struct choice choice = {0};
    struct totals totals;
    struct ledger_filter kept = *filter;
    bool in_series = (filter->kinds & ~KINDS_IN_SERIES) == 0;
    bool any_old = filter->kinds & RETENTION_KINDS;
    bool reaches_back = filter->since < reading->horizon;
    if (reaches_back)
        kept.since = reading->horizon;
    if (kept.until < kept.since)
        kept.until = kept.since;
    int rc = reading_numbers(reading, filter->names, listing->numbers);
    if (rc == MDB_NOTFOUND) { /* a name that was never used */
        page->total_known = true;
        return 0;
    }
    if (rc == 0 && in_series)
        rc = choose(reading, &kept, listing->numbers, &choice);
    listing->by_name = !choice.is_exact;
    listing->numbers[DIMENSION_STATUS] = 0; /* `statuses` says it, too */
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        listing->asked |= (uint64_t)(listing->numbers[dimension] != 0) << dimension;
    page->total_known =
        in_series && (choice.is_empty || (choice.is_exact && !(any_old && reaches_back)));
    if (rc != 0 || choice.is_empty)
        return rc;
    if (page->total_known) {
        rc = count_between(reading, choice.series, kept.since, kept.until, &totals);
        if (rc == 0)
            page->total = (uint64_t)wanted(filter, &totals);
    }
    /* Where all that a walk would list has to be read anyway, the entries themselves are nearer. */
    bool reads_all =
        choice.series == SERIES_EVERYTHING && listing->row != NULL && filter->statuses == 0;
    if (rc == 0)
        rc = in_series && !reads_all ? walk_parts(listing, choice.series) : walk_entries(listing);
    return rc;
}

/* A list of work from the beginning on is one of what is kept, and says so. */
static int check_time(const struct listing *listing) {
    const struct ledger_filter *filter = listing->filter;
    uint64_t horizon = listing->reading->horizon;
    bool any_removed = filter->kinds & ~RETENTION_KINDS;
    if (!any_removed || filter->since >= horizon || filter->since >= filter->until)
        return 0;
    if (filter->since > 0 || filter->until <= horizon)
        return LEDGER_E_PRUNED;
    listing->page->kept_from = horizon;
    return 0;
}

int ledger_list(struct ledger *ledger, const struct ledger_list_query *query, ledger_list_row *row,
                void *context, struct ledger_page *page) {
    struct listing listing = {.query = query,
                              .filter = &query->filter,
                              .kinds = query->filter.kinds,
                              .row = row,
                              .context = context,
                              .page = page};
    int rc;
    *page = (struct ledger_page){0};
    listing.reading = reading_begin(ledger, &rc);
    if (listing.reading == NULL)
        return rc;
    listing.since = query->filter.since;
    listing.until = query->filter.until;
    if (query->cursor > listing.since && query->oldest_first)
        listing.since = query->cursor;
    if (query->cursor != 0 && query->cursor < listing.until && !query->oldest_first)
        listing.until = query->cursor;
    rc = check_time(&listing);
    if (query->filter.since >= query->filter.until)
        page->total_known = true; /* there is no such time */
    else if (rc == 0 && query->limit > 0)
        rc = list(&listing);
    page->done = !listing.stopped;
    reading_end(listing.reading);
    return rc;
}

/* ---- one --------------------------------------------------------------------------------- */

static int tell_record(struct reading *reading, uint64_t id, ledger_list_row *row, void *context) {
    struct ledger_payload payload;
    struct ledger_entry entry;
    int rc = reading_load(reading, id, &entry);
    if (rc == 0)
        rc = reading_payload(reading, id, &payload);
    if (rc == 0)
        row(context, &entry, &payload);
    return rc;
}

int ledger_read_record(struct ledger *ledger, uint64_t id, ledger_list_row *row, void *context) {
    int rc;
    struct reading *reading = reading_begin(ledger, &rc);
    if (reading == NULL)
        return rc;
    rc = tell_record(reading, id, row, context);
    reading_end(reading);
    return rc;
}

int ledger_read_run(struct ledger *ledger, struct ledger_text run_id, ledger_list_row *row,
                    void *context) {
    struct key_row key;
    int rc;
    struct reading *reading = reading_begin(ledger, &rc);
    if (reading == NULL)
        return rc;
    rc = keys_find_run(reading->txn, reading_dbi(reading, DB_KEYS), run_id, &key);
    if (rc == 0) /* MDB_NOTFOUND: a run that is live has no entry yet */
        rc = tell_record(reading, key.id, row, context);
    reading_end(reading);
    return rc;
}

int ledger_find_known(struct ledger *ledger, struct ledger_text client_id,
                      struct ledger_text run_id, uint64_t *id) {
    struct key_row key = {0};
    int rc;
    struct reading *reading = reading_begin(ledger, &rc);
    if (reading == NULL)
        return rc;
    rc = MDB_NOTFOUND;
    if (client_id.data != NULL)
        rc = keys_find(reading->txn, reading_dbi(reading, DB_KEYS), client_id, &key);
    if (rc == MDB_NOTFOUND && run_id.data != NULL)
        rc = keys_find_run(reading->txn, reading_dbi(reading, DB_KEYS), run_id, &key);
    *id = key.id;
    reading_end(reading);
    return rc;
}
