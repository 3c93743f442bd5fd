/* assert_books_agree(): everything that is derived, against the entries themselves. */
#include "support.h"

#include "../../c_src/core/rollup.h"
#include "../../c_src/core/series.h"

struct books {
    struct ledger *ledger;
    MDB_txn *txn;
    uint64_t last_id;
    size_t entries;
    struct totals everything;
    struct totals by_state[POLICY_STATES_MAX];
    size_t count;
    uint64_t *ids; /* of invocations */
    int *states;
};

static MDB_dbi dbi_of(const struct books *books, enum storage_database database) {
    return books->ledger->storage.databases[database];
}

/* Written apart from entry_amounts(), so that the two have to agree. */
static void add_up(struct totals *totals, const struct ledger_entry *entry) {
    static const int by_status[] = {0, COLUMN_COMPLETED, COLUMN_FAILED, COLUMN_ABORTED};
    ledger_sum *column = totals->column;
    bool completed = entry->status == STATUS_COMPLETED;
    column[COLUMN_INVOCATIONS]++;
    column[by_status[entry->status]]++;
    column[COLUMN_DURATION_MS] += entry->duration_ms;
    if (entry->given & ENTRY_COST) {
        column[COLUMN_COST] += entry->cost;
        column[COLUMN_COMPLETED_COST] += completed ? entry->cost : 0;
    } else {
        column[COLUMN_UNPRICED]++;
    }
    if (entry->given & ENTRY_CREDITS) {
        column[COLUMN_CREDITS] += entry->credits;
        column[COLUMN_COMPLETED_CREDITS] += completed ? entry->credits : 0;
    }
    for (int i = 0; entry->given & ENTRY_TOKENS && i < TOKENS_CLASSES; i++)
        column[COLUMN_INPUT_TOKENS + i] += entry->tokens[i];
}

static void read_entry(struct books *books, struct entry_decoder *decoder, MDB_val key,
                       MDB_val value) {
    struct ledger_entry entry;
    struct ledger_text state;
    uint8_t dimension;
    assert_int_equal(key.mv_size, 8);
    entry.id = get_be64(key.mv_data);
    assert_true(entry.id > books->last_id);
    books->last_id = entry.id;
    books->entries++;
    assert_int_equal(entry_read_stored(decoder, value.mv_data, value.mv_size, &entry), 0);
    if (entry.kind != KIND_INVOCATION)
        return;
    assert_int_equal(names_text(books->txn, dbi_of(books, DB_NAMES),
                                entry.name_numbers[DIMENSION_STATE], &dimension, &state),
                     0);
    assert_int_equal(dimension, DIMENSION_STATE);
    int index = policy_state(&books->ledger->policy, state);
    assert_true(index >= 0);
    add_up(&books->everything, &entry);
    add_up(&books->by_state[index], &entry);
    books->ids[books->count] = entry.id;
    books->states[books->count++] = index;
}

static void read_entries(struct books *books) {
    struct entry_decoder *decoder = entry_decoder_new();
    MDB_cursor *cursor;
    MDB_stat stat;
    MDB_val key, value;
    assert_non_null(decoder);
    assert_int_equal(mdb_stat(books->txn, dbi_of(books, DB_ENTRIES), &stat), 0);
    books->ids = calloc(stat.ms_entries + 1, sizeof *books->ids);
    books->states = calloc(stat.ms_entries + 1, sizeof *books->states);
    assert_int_equal(mdb_cursor_open(books->txn, dbi_of(books, DB_ENTRIES), &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        read_entry(books, decoder, key, value);
    assert_int_equal(books->entries, stat.ms_entries);
    mdb_cursor_close(cursor);
    entry_decoder_free(decoder);
}

static void assert_totals_equal(const struct totals *a, const struct totals *b) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (a->column[column] != b->column[column])
            fail_msg("column %d: %lld, not %lld", column, (long long)a->column[column],
                     (long long)b->column[column]);
}

static void check_rollups(struct books *books, uint32_t series, const struct totals *expected) {
    struct totals sums[2] = {0};
    uint8_t bytes[ROLLUP_KEY_BYTES] = {0};
    MDB_val key = {sizeof bytes, bytes}, value;
    MDB_cursor *cursor;
    put_be32(bytes, series);
    assert_int_equal(mdb_cursor_open(books->txn, dbi_of(books, DB_ROLLUPS), &cursor), 0);
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (; rc == 0 && get_be32(key.mv_data) == series;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        struct rollup rollup;
        uint8_t granularity = ((uint8_t *)key.mv_data)[4];
        uint32_t period = get_be32((uint8_t *)key.mv_data + 5);
        assert_in_range(granularity, ROLLUP_HOUR, ROLLUP_DAY);
        assert_int_equal(rollup_load(books->txn, dbi_of(books, DB_ROLLUPS), series, granularity,
                                     period, &rollup),
                         0);
        for (int column = 0; column < COLUMN_COUNT; column++)
            sums[granularity - 1].column[column] += rollup.totals.column[column];
    }
    mdb_cursor_close(cursor);
    assert_totals_equal(&sums[0], expected);
    assert_totals_equal(&sums[1], expected);
}

static void check_series(struct books *books, uint32_t series, const struct totals *expected) {
    struct totals totals;
    MDB_cursor *cursor;
    assert_int_equal(mdb_cursor_open(books->txn, dbi_of(books, DB_SERIES), &cursor), 0);
    assert_int_equal(series_totals_now(cursor, series, &totals), 0);
    mdb_cursor_close(cursor);
    assert_totals_equal(&totals, expected);
    check_rollups(books, series, expected);
}

static void check_state(struct books *books, uint32_t state) {
    MDB_dbi names = dbi_of(books, DB_NAMES);
    uint32_t number, series;
    int rc = names_find(books->txn, names, DIMENSION_STATE, books->ledger->policy.states[state],
                        &number);
    if (rc == 0)
        rc = names_find_series(books->txn, names, &number, 1, &series);
    if (rc == 0)
        check_series(books, series, &books->by_state[state]);
    else
        assert_true(rc == MDB_NOTFOUND && books->by_state[state].column[COLUMN_INVOCATIONS] == 0);
}

/* Invocations of a state from `from` on. */
static uint64_t uses(const struct books *books, uint32_t state, uint64_t from) {
    uint64_t count = 0;
    for (size_t i = 0; i < books->count; i++)
        count += books->states[i] == (int)state && books->ids[i] >= from;
    return count;
}

/* What the gate must say from now on, found by looking at the ids alone: a full window has room
 * again when the entry that is `limit` from the newest has left it. */
static uint64_t room_from(const struct books *books, const struct ledger_rule *rule, int64_t now) {
    uint64_t now_ms = (uint64_t)now / 1000, left = rule->limit;
    uint64_t start = now_ms > rule->window_ms ? (now_ms - rule->window_ms) * 1000 : 0;
    if (rule->limit == POLICY_UNLIMITED)
        return GATE_ALLOWED;
    if (rule->limit == 0)
        return GATE_NEVER;
    if (uses(books, rule->state, start) < rule->limit)
        return GATE_ALLOWED;
    for (size_t i = books->count; i-- > 0;)
        if (books->states[i] == (int)rule->state && --left == 0)
            return (books->ids[i] / 1000 + rule->window_ms + 1) * 1000;
    return GATE_ALLOWED;
}

/* A word in the past is as good as 0: both let every call pass. */
static void check_gate(struct books *books, uint32_t state) {
    const struct ledger *ledger = books->ledger;
    int64_t now = ledger_now(ledger);
    uint64_t expected = GATE_ALLOWED, word = ledger_allowed_from(ledger, state);
    for (uint32_t i = 0; i < ledger->policy.rule_count; i++) {
        const struct ledger_rule *rule = &ledger->policy.rules[i];
        uint64_t from = rule->state == state ? room_from(books, rule, now) : 0;
        expected = from > expected ? from : expected;
    }
    if (word != GATE_NEVER && word <= (uint64_t)now)
        word = GATE_ALLOWED;
    if (word != expected)
        fail_msg("gate of state %u: %llu, not %llu", state, (unsigned long long)word,
                 (unsigned long long)expected);
    assert_int_equal(ledger_allowed(ledger, state), expected == GATE_ALLOWED);
    assert_int_equal(atomic_load(&ledger->gate->cells[state].invocations),
                     books->by_state[state].column[COLUMN_INVOCATIONS]);
    assert_int_equal(atomic_load(&ledger->gate->cells[state].critical_from_us),
                     ledger_allowed_from(ledger, state));
}

struct past {
    const struct books *books;
    size_t left;
};

static bool check_history_row(void *context, const struct ledger_entry *entry) {
    struct past *past = context;
    assert_true(past->left > 0);
    past->left--;
    assert_int_equal(entry->id, past->books->ids[past->left]);
    assert_int_equal(policy_state(&past->books->ledger->policy, entry->names[DIMENSION_STATE]),
                     past->books->states[past->left]);
    return true;
}

static void check_history(struct books *books) {
    struct past past = {books, books->count};
    struct ledger_history_query all = {.before = UINT64_MAX, .limit = UINT64_MAX};
    assert_int_equal(ledger_history(books->ledger, &all, check_history_row, &past), 0);
    assert_int_equal(past.left, 0);
}

static void check_counts(void *context, const struct ledger_counts *counts) {
    struct books *books = context;
    const struct totals *expected = &books->everything;
    if (counts->state.data != NULL)
        expected = &books->by_state[policy_state(&books->ledger->policy, counts->state)];
    assert_int_equal(counts->all, expected->column[COLUMN_INVOCATIONS]);
}

void assert_books_agree(struct ledger *ledger) {
    static const uint64_t windows[2] = {HOUR_MS, DAY_MS};
    struct books *books = calloc(1, sizeof *books);
    int64_t now_us;
    assert_non_null(books);
    books->ledger = ledger;
    assert_int_equal(storage_read_begin(&ledger->storage, &books->txn), 0);
    read_entries(books);
    check_series(books, SERIES_EVERYTHING, &books->everything);
    for (uint32_t state = 0; state < ledger->policy.state_count; state++) {
        check_state(books, state);
        check_gate(books, state);
    }
    storage_read_end(&ledger->storage, books->txn);
    check_history(books);
    assert_int_equal(ledger_count(ledger, NULL, windows, check_counts, books, &now_us), 0);
    assert_int_equal(facts_of(ledger).entries, books->entries);
    assert_int_equal(atomic_load(&ledger->gate->header.last_id), books->last_id);
    free(books->ids);
    free(books->states);
    free(books);
}
