/* assert_books_agree(): everything that is derived, against the entries and the live holds.
 *
 *   names      each is defined by the first entry that uses it; those that only a hold uses are
 *              marked; families are counted
 *   series     totals of every series of every family, up to where it is built; rollups
 *   holds      their shares, their children, what they hold together, their deadlines
 *   keys       of entries, of runs, of what was corrected, and of holds that the ledger resolved
 *   payloads   each is the one that its entry was booked with, or was taken away by another
 *   resets     from when the use of each rule counts
 *   gate       every word, by stepping through ledger time
 *   reading    counts, lists, sums, facts
 *
 * Nothing is taken from what computed it: what an entry adds, which rules an attempt meets, where
 * periods begin and what grants are left are written here a second time, by counting.
 */
#include "books_internal.h"

#include "../../c_src/core/keys.h"
#include "../../c_src/core/marks.h"

/* ---- names and holds ---------------------------------------------------------------------- */

static void check_names(const struct books *books) {
    for (uint32_t number = 1; number < books->name_count; number++) {
        const struct named *named = &books->names[number];
        assert_true(named->is_there || !named->is_marked);
        /* A hold's name may stay marked for ever: what settled it may have named another. */
        if (named->is_there && named->is_marked == named->is_defined)
            fail_msg("name %u is %s", number, named->is_marked ? "marked" : "not defined");
    }
}

static bool is_awaited(const struct deadlines *deadlines, const struct hold *hold) {
    for (size_t i = 0; i < deadlines->count; i++)
        if (deadlines->heap[i].hold == hold->id &&
            (deadlines->heap[i].us == 0 || deadlines->heap[i].us == hold->deadline_us))
            return true;
    return false;
}

static void check_holds(const struct books *books) {
    for (size_t i = 0; i < books->hold_count; i++) {
        const struct hold *hold = &books->holds[i];
        struct key_row row;
        assert_int_equal(hold->open_children, books_children(books, hold->id));
        assert_true(hold->parent < hold->id);
        if (books->ledger->deadlines.fresh)
            assert_true(is_awaited(&books->ledger->deadlines, hold));
        if (hold->client_id.size == 0)
            continue;
        assert_int_equal(keys_find(books->txn, books_dbi(books, DB_KEYS), hold->client_id, &row),
                         0);
        assert_int_equal(row.id, hold->id);
        assert_int_equal(row.operation, OPERATION_RESERVE);
    }
}

/* ---- what lies in the databases ----------------------------------------------------------- */

/* The sum that the series, or an hour or day of it, must be. */
static struct sum *expected_of(const struct books *books, uint32_t series, uint32_t granularity,
                               uint32_t period) {
    struct sum_key key = {.granularity = granularity, .period = period};
    size_t count = 0;
    if (series != SERIES_EVERYTHING) {
        assert_int_equal(
            names_of_series(books->txn, books_dbi(books, DB_NAMES), series, key.numbers, &count),
            0);
        for (uint32_t i = 1; i <= books->ledger->declared_count && key.family == 0; i++) {
            const struct declared_series *declared = &books->ledger->declared[i - 1];
            bool same = declared->count == count;
            for (size_t k = 0; same && k < count; k++)
                same = books_dimension(books, key.numbers[k]) == declared->dimensions[k];
            if (same)
                key.family = i;
        }
        assert_true(key.family != 0);
    }
    return books_sum(books, &key);
}

static void assert_totals_equal(const struct totals *a, const struct totals *b) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (a->column[column] != b->column[column])
            fail_msg("column %d: %lld, not %lld", column, (long long)a->column[column],
                     (long long)b->column[column]);
}

/* Totals now, and of all entries below some id. */
static void check_series(const struct books *books, MDB_cursor *cursor, uint32_t series) {
    struct totals totals, expected = {0};
    struct sum *sum = expected_of(books, series, 0, 0);
    assert_int_equal(series_totals_now(cursor, series, &totals), 0);
    assert_non_null(sum);
    sum->is_seen = true;
    assert_totals_equal(&totals, &sum->totals);
    if (random_below(8) != 0)
        return;
    uint64_t before = books->entries[random_below(books->count)].id + random_below(2);
    for (size_t i = 0; i < books->count && books->entries[i].id < before; i++) {
        struct sum_key key;
        bool is_in = books_key(books, sum->key.family, books->entries[i].names, &key) &&
                     memcmp(key.numbers, sum->key.numbers, sizeof key.numbers) == 0;
        if (sum->key.family > 0 && !books->ledger->declared[sum->key.family - 1].ready)
            is_in = is_in &&
                    books->entries[i].id < books->ledger->declared[sum->key.family - 1].built_to;
        for (int column = 0; is_in && column < COLUMN_COUNT; column++)
            expected.column[column] += books->entries[i].adds[column];
    }
    assert_int_equal(series_totals_before(cursor, series, before, &totals), 0);
    assert_totals_equal(&totals, &expected);
}

static void check_all_series(const struct books *books) {
    MDB_cursor *cursor = books_cursor(books, DB_SERIES), *other = books_cursor(books, DB_SERIES);
    uint8_t bytes[SERIES_KEY_BYTES] = {0};
    MDB_val key = {sizeof bytes, bytes}, value;
    while (mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) == 0) {
        uint32_t series = get_be32(key.mv_data);
        check_series(books, other, series);
        put_be32(bytes, series + 1); /* its first block */
        memset(bytes + 4, 0, sizeof bytes - 4);
        key = (MDB_val){sizeof bytes, bytes};
    }
    mdb_cursor_close(cursor);
    mdb_cursor_close(other);
}

static void check_rollups(const struct books *books) {
    MDB_cursor *cursor = books_cursor(books, DB_ROLLUPS);
    MDB_val key, value;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct rollup rollup;
        const uint8_t *bytes = key.mv_data;
        uint32_t series = get_be32(bytes), period = get_be32(bytes + 5);
        assert_int_equal(key.mv_size, ROLLUP_KEY_BYTES);
        struct sum *sum = expected_of(books, series, bytes[4], period);
        assert_non_null(sum);
        sum->is_seen = true;
        assert_int_equal(rollup_load(books->txn, books_dbi(books, DB_ROLLUPS), series, bytes[4],
                                     period, &rollup),
                         0);
        assert_totals_equal(&rollup.totals, &sum->totals);
        for (int i = 0; i < EXTREMES_MEASURES; i++) {
            assert_int_equal(rollup.extremes[i].any, sum->extremes[i].any);
            assert_int_equal(rollup.extremes[i].min, sum->extremes[i].min);
            assert_int_equal(rollup.extremes[i].max, sum->extremes[i].max);
        }
    }
    mdb_cursor_close(cursor);
}

static void check_held_row(struct held *expected, const struct held *held) {
    assert_int_equal(held->holds, expected->holds);
    for (int column = 0; column < HELD_COLUMNS; column++)
        if (held->column[column] != expected->column[column])
            fail_msg("held in column %d: %lld, not %lld", column, (long long)held->column[column],
                     (long long)expected->column[column]);
    assert_true(held->until_us >= expected->until_us);
}

static void check_held(const struct books *books) {
    MDB_cursor *cursor = books_cursor(books, DB_HELD);
    MDB_val key, value;
    size_t rows = 0, expected = 0;
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; rows++) {
        struct held held;
        uint32_t series = get_be32(key.mv_data);
        struct sum *sum = expected_of(books, series, 0, 0);
        assert_int_equal(held_load(books->txn, books_dbi(books, DB_HELD), series, &held), 0);
        assert_non_null(sum);
        check_held_row(&sum->held, &held);
    }
    for (size_t i = 0; i < books->sum_capacity; i++)
        expected += books->sums[i].held.holds > 0;
    assert_int_equal(rows, expected);
    mdb_cursor_close(cursor);
}

static bool is_zero(const struct totals *totals) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (totals->column[column] != 0)
            return false;
    return true;
}

static void check_sums_were_seen(const struct books *books) {
    for (size_t i = 0; i < books->sum_capacity; i++) {
        const struct sum *sum = &books->sums[i];
        if (sum->is_used && !sum->is_seen && !is_zero(&sum->totals))
            fail_msg("a sum of family %u, granularity %u, period %u is missing", sum->key.family,
                     sum->key.granularity, sum->key.period);
    }
}

/* How many series each family has, by counting their rows. */
static void check_family_counts(const struct books *books) {
    MDB_cursor *cursor = books_cursor(books, DB_NAMES);
    MDB_val key, value;
    uint32_t counts[FAMILIES_MAX] = {0}, counted, families = 0, rows = 0;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        const uint8_t *bytes = key.mv_data;
        rows += bytes[0] == 7;
        if (bytes[0] != 5)
            continue;
        bool is_known = false;
        for (size_t i = 0; i < books->ledger->declared_count; i++) {
            const struct declared_series *declared = &books->ledger->declared[i];
            bool same = value.mv_size == 4u * declared->count;
            for (size_t k = 0; same && k < declared->count; k++) {
                uint32_t number = get_be32((uint8_t *)value.mv_data + 4 * k);
                same = books_dimension(books, number) == declared->dimensions[k];
            }
            counts[i] += same;
            is_known = is_known || same;
        }
        assert_true(is_known);
    }
    mdb_cursor_close(cursor);
    for (size_t i = 0; i < books->ledger->declared_count; i++) {
        const struct declared_series *declared = &books->ledger->declared[i];
        assert_int_equal(names_count_family(books->txn, books_dbi(books, DB_NAMES),
                                            declared->dimensions, declared->count, &counted),
                         0);
        assert_int_equal(counted, counts[i]);
        families += counts[i] > 0;
    }
    assert_int_equal(rows, families);
}

static size_t books_key_rows(const struct books *books, enum key_kind kind) {
    MDB_cursor *cursor = books_cursor(books, DB_KEYS);
    MDB_val key, value;
    size_t rows = 0;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        rows += *(uint8_t *)key.mv_data == kind;
    mdb_cursor_close(cursor);
    return rows;
}

/* What the ledger resolved itself waits for its caller, who comes once. */
static void check_resolved(const struct books *books) {
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        struct key_resolved resolved;
        bool is_corrected = false;
        if (!(entry->flags & ENTRY_UNATTENDED))
            continue;
        for (size_t k = i + 1; k < books->count; k++)
            is_corrected = is_corrected || (books->entries[k].kind == KIND_CORRECTION &&
                                            books->entries[k].link == entry->id);
        assert_int_equal(
            keys_find_resolved(books->txn, books_dbi(books, DB_KEYS), entry->hold, &resolved), 0);
        assert_int_equal(resolved.entry, entry->id);
        assert_int_equal(resolved.settled, is_corrected);
    }
}

/* What was corrected is known where something was, and nowhere else. */
static void check_corrected(const struct books *books) {
    size_t rows = 0;
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        struct key_corrected corrected;
        assert_int_equal(
            keys_find_corrected(books->txn, books_dbi(books, DB_KEYS), entry->id, &corrected), 0);
        assert_int_equal(corrected.priced, entry->is_priced_later);
        assert_int_equal(corrected.completed, entry->is_completed_later);
        for (int k = 0; k < BOOKS_AMOUNTS; k++) {
            int column = k == 0   ? COLUMN_COST
                         : k == 1 ? COLUMN_CREDITS
                                  : COLUMN_INPUT_TOKENS + k - 2;
            bool has = corrected.amounts.mask & UINT64_C(1) << column;
            assert_int_equal(has ? corrected.amounts.column[column] : 0, entry->corrected[k]);
        }
        rows += entry->is_corrected;
    }
    assert_int_equal(books_key_rows(books, KEY_CORRECTED), rows);
}

static void check_run(const struct books *books, struct ledger_text run_id, uint64_t id,
                      uint64_t hold, bool is_live) {
    struct key_row row;
    assert_int_equal(keys_find_run(books->txn, books_dbi(books, DB_KEYS), run_id, &row), 0);
    assert_int_equal(row.id, id);
    assert_int_equal(row.version, hold);
    assert_int_equal(row.operation, hold != 0 || is_live ? OPERATION_RESERVE : OPERATION_RECORD);
}

/* A run is what was booked for it, or the hold that it lives on; what was released is free again.
 */
static void check_runs(const struct books *books) {
    size_t rows = 0;
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        if (entry->run_id.data == NULL)
            continue;
        check_run(books, entry->run_id, entry->id, entry->hold, false);
        rows++;
    }
    for (size_t i = 0; i < books->hold_count; i++) {
        const struct hold *hold = &books->holds[i];
        if (hold->run_id.data == NULL)
            continue;
        check_run(books, hold->run_id, hold->id, 0, true);
        rows++;
    }
    assert_int_equal(books_key_rows(books, KEY_RUN) + books_key_rows(books, KEY_LONG_RUN), rows);
}

static void check_payload(const struct books *books, const struct booked *entry) {
    struct ledger_payload payload;
    uint8_t digest[ENTRY_DIGEST_BYTES];
    assert_int_equal(payloads_find(books->txn, books_dbi(books, DB_PAYLOADS), entry->id, &payload),
                     0);
    if (payload.redacted_by != 0) {
        const struct booked *redaction = books_entry(books, payload.redacted_by);
        assert_null(payload.map.data);
        assert_non_null(redaction);
        assert_int_equal(redaction->kind, KIND_REDACTION);
        assert_int_equal(redaction->link, entry->id);
        return;
    }
    assert_non_null(payload.map.data);
    struct entry_buffer bound = {0};
    entry_buffer_append(&bound, (const char *)payload.salt, ENTRY_SALT_BYTES);
    entry_buffer_append(&bound, payload.map.data, payload.map.size);
    assert_int_equal(ledger_digest((struct ledger_text){bound.data, bound.size}, digest), 0);
    assert_memory_equal(digest, entry->digest, sizeof digest);
    entry_buffer_free(&bound);
}

static void check_payloads(const struct books *books) {
    MDB_stat stat;
    size_t rows = 0, redactions = 0, redacted = 0;
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        struct ledger_payload payload;
        redactions += entry->kind == KIND_REDACTION;
        if (entry->digest == NULL)
            continue;
        check_payload(books, entry);
        assert_int_equal(
            payloads_find(books->txn, books_dbi(books, DB_PAYLOADS), entry->id, &payload), 0);
        redacted += payload.redacted_by != 0;
        rows++;
    }
    assert_int_equal(redacted, redactions);
    assert_int_equal(mdb_stat(books->txn, books_dbi(books, DB_PAYLOADS), &stat), 0);
    assert_int_equal(stat.ms_entries, rows);
}

/* ---- resets and the gate ------------------------------------------------------------------ */

/* What the ledger remembers of resets is what its entries say. */
static void check_resets(const struct books *books) {
    const struct ledger_policy *policy = &books->ledger->policy;
    for (size_t i = 0; i < books->sum_capacity; i++) {
        const struct sum *sum = &books->sums[i];
        if (!sum->is_used || sum->key.granularity != 0)
            continue;
        for (uint32_t k = 0; k < policy->rule_count; k++) {
            const struct ledger_rule *rule = &policy->rules[k];
            uint32_t names[DIMENSION_LIMIT] = {0};
            uint64_t id;
            for (uint8_t j = 0; j < rule->scope_count; j++)
                names[rule->scope[j].dimension] = sum->key.numbers[j];
            struct sum_key key = books_key_of_rule(books, rule, names);
            uint32_t series = books_series(books, &key);
            if (key.family != sum->key.family || series == NONE)
                continue;
            assert_int_equal(
                marks_find_reset(books->txn, books_dbi(books, DB_WARNED), rule->name, series, &id),
                0);
            assert_int_equal(id, books_reset_id(books, rule, names));
        }
    }
}

static bool is_of_state_alone(const struct ledger_rule *rule) {
    return rule->scope_count == 0 ||
           (rule->scope_count == 1 && rule->scope[0].dimension == DIMENSION_STATE);
}

static uint64_t word_of(const struct books *books, struct ledger_text state, bool critical) {
    const struct ledger_policy *policy = &books->ledger->policy;
    int64_t now_us = ledger_now(books->ledger);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    uint64_t word = 0;
    names[DIMENSION_STATE] = state;
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        if (rule->effect != EFFECT_DENY || !is_of_state_alone(rule) ||
            !books_meets(books, rule, names))
            continue;
        uint64_t from = books_admits_from(books, rule, names, 1, critical, now_us);
        word = from > word ? from : word;
    }
    return word;
}

/* A word in the past is as good as 0: both let every call pass. */
static uint64_t as_of(uint64_t word, int64_t now_us) {
    return word != GATE_NEVER && word <= (uint64_t)now_us ? GATE_ALLOWED : word;
}

static void assert_word(uint32_t state, const char *which, uint64_t word, uint64_t expected) {
    if (word != expected)
        fail_msg("%s of state %u: %llu, not %llu", which, state, (unsigned long long)word,
                 (unsigned long long)expected);
}

static ledger_sum invocations_of(const struct books *books, struct ledger_text state) {
    uint32_t number = books_number(books, DIMENSION_STATE, state);
    ledger_sum count = 0;
    for (size_t i = 0; i < books->count; i++)
        if (books->entries[i].names[DIMENSION_STATE] == number)
            count += books->entries[i].adds[COLUMN_INVOCATIONS];
    return count;
}

static void check_gate(const struct books *books, uint32_t state) {
    const struct ledger *ledger = books->ledger;
    const struct gate_cell *cell = &ledger->gate->cells[state];
    struct ledger_text name = ledger->policy.states[state];
    int64_t now = ledger_now(ledger);
    uint64_t expected = word_of(books, name, false);
    assert_word(state, "gate", as_of(ledger_allowed_from(ledger, state), now), expected);
    assert_int_equal(ledger_allowed(ledger, state), expected == GATE_ALLOWED);
    assert_word(state, "critical gate", as_of(atomic_load(&cell->critical_from_us), now),
                word_of(books, name, true));
    assert_true(atomic_load(&cell->invocations) == invocations_of(books, name));
}

/* ---- reading ------------------------------------------------------------------------------ */

static void check_counts(void *context, const struct ledger_counts *counts) {
    const struct books *books = context;
    ledger_sum expected = 0;
    for (size_t i = 0; counts->state.data == NULL && i < books->count; i++)
        expected += books->entries[i].adds[COLUMN_INVOCATIONS];
    if (counts->state.data != NULL)
        expected = invocations_of(books, counts->state);
    assert_true(counts->all == expected);
}

static void check_facts(const struct books *books) {
    struct ledger_facts facts = facts_of(books->ledger);
    uint64_t last_id = books->count == 0 ? 0 : books->entries[books->count - 1].id;
    if (books->hold_count > 0 && books->holds[books->hold_count - 1].id > last_id)
        last_id = books->holds[books->hold_count - 1].id;
    assert_int_equal(facts.entries, books->count);
    assert_int_equal(facts.holds, books->hold_count);
    assert_int_equal(facts.last_id, last_id);
    assert_int_equal(atomic_load(&books->ledger->gate->header.last_id), last_id);
}

/* ---- all of it ---------------------------------------------------------------------------- */

void assert_books_agree(struct ledger *ledger) {
    static const uint64_t windows[2] = {HOUR_MS, DAY_MS};
    struct books *books = read_books(ledger);
    int64_t now_us;
    check_names(books);
    check_family_counts(books);
    check_all_series(books);
    check_rollups(books);
    check_sums_were_seen(books);
    check_holds(books);
    check_held(books);
    check_resolved(books);
    check_corrected(books);
    check_runs(books);
    check_payloads(books);
    check_resets(books);
    for (uint32_t state = 0; state < ledger->policy.state_count; state++)
        check_gate(books, state);
    books_check_lists(books);
    books_check_sums(books);
    assert_int_equal(ledger_count(ledger, NULL, windows, check_counts, books, &now_us), 0);
    check_facts(books);
    free_books(books);
    assert_verified(ledger);
}
