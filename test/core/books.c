/* assert_books_agree(): everything that is derived, against the entries and the live holds.
 *
 *   names      each is defined by the first entry that uses it; those that only a hold uses are
 *              marked; families are counted
 *   series     totals of every series of every family, up to where it is built; rollups
 *   holds      their shares, their children, what they hold together, their deadlines
 *   keys       of entries, and of holds that the ledger resolved
 *   resets     from when the use of each rule counts
 *   gate       every word, by stepping through ledger time
 *   reading    counts, history, facts
 *
 * Nothing is taken from what computed it: what an entry adds, which rules an attempt meets, where
 * periods begin and what grants are left are written here a second time, by counting.
 */
#include "books.h"

#include <msgpack.h>
#include <time.h>

#include "../../c_src/core/hold.h"
#include "../../c_src/core/keys.h"
#include "../../c_src/core/marks.h"
#include "../../c_src/core/rollup.h"
#include "../../c_src/core/series.h"

#define NONE UINT32_MAX

/* A name, at its number. */
struct named {
    bool is_there;
    bool is_defined; /* by an entry */
    bool is_marked;  /* as undefined */
    uint8_t dimension;
    struct ledger_text text;
};

/* One entry: what it says, and what it adds to each of its series. */
struct booked {
    uint64_t id;
    enum ledger_kind kind;
    uint64_t flags;
    uint64_t link;
    uint64_t hold;
    bool has_cost;
    int64_t cost;
    int64_t credits;
    int64_t duration_ms;
    bool adds_any;
    int64_t adds[COLUMN_COUNT];
    uint32_t names[DIMENSION_LIMIT]; /* numbers; 0: absent */
};

/* The sum over a series, or over one hour or day of it. */
struct sum_key {
    uint32_t family;
    uint32_t numbers[SERIES_NAMES_MAX];
    uint32_t granularity; /* 0: all of it */
    uint32_t period;
};
struct sum {
    struct sum_key key;
    bool is_used;
    bool is_seen; /* in the database */
    struct totals totals;
    struct rollup_extremes extremes[ROLLUP_MEASURES];
    struct held held; /* until_us: the latest deadline */
};

struct reset_of {
    char rule[RULE_NAME_BYTES_MAX];
    size_t size;
    uint64_t id;
    uint32_t names[DIMENSION_LIMIT];
};

struct books {
    struct ledger *ledger;
    MDB_txn *txn;
    size_t name_count; /* one more than the largest number */
    struct named *names;
    size_t count;
    struct booked *entries;
    size_t hold_count;
    struct hold *holds;
    size_t sum_count;
    size_t sum_capacity;
    struct sum *sums;
    size_t reset_count;
    struct reset_of *resets;
};

static MDB_dbi dbi_of(const struct books *books, enum storage_database database) {
    return books->ledger->storage.databases[database];
}

static MDB_cursor *cursor_of(const struct books *books, enum storage_database database) {
    MDB_cursor *cursor;
    assert_int_equal(mdb_cursor_open(books->txn, dbi_of(books, database), &cursor), 0);
    return cursor;
}

static void *array_of(size_t count, size_t size) {
    void *array = calloc(count + 1, size);
    assert_non_null(array);
    return array;
}

static size_t rows_of(const struct books *books, enum storage_database database) {
    MDB_stat stat;
    assert_int_equal(mdb_stat(books->txn, dbi_of(books, database), &stat), 0);
    return stat.ms_entries;
}

/* ---- names -------------------------------------------------------------------------------- */

static void read_name(struct books *books, const uint8_t *key, size_t size, MDB_val value) {
    struct named *named;
    if (key[0] != 3 && key[0] != 6)
        return;
    assert_int_equal(size, 5);
    uint32_t number = get_be32(key + 1);
    assert_in_range(number, 1, books->name_count - 1);
    named = &books->names[number];
    if (key[0] == 6) {
        assert_int_equal(value.mv_size, 0);
        named->is_marked = true;
        return;
    }
    named->is_there = true;
    named->dimension = *(uint8_t *)value.mv_data;
    named->text = (struct ledger_text){(char *)value.mv_data + 1, value.mv_size - 1};
}

static void read_names(struct books *books) {
    MDB_cursor *cursor = cursor_of(books, DB_NAMES);
    MDB_val key, value;
    /* Each name has two rows, and those of families and series are more. */
    books->name_count = rows_of(books, DB_NAMES) + 1;
    books->names = array_of(books->name_count, sizeof *books->names);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        read_name(books, key.mv_data, key.mv_size, value);
    mdb_cursor_close(cursor);
}

static uint32_t number_of(const struct books *books, int dimension, struct ledger_text text) {
    for (uint32_t number = 1; number < books->name_count; number++)
        if (books->names[number].is_there && books->names[number].dimension == dimension &&
            text_equal(books->names[number].text, text))
            return number;
    return NONE;
}

static void check_names(const struct books *books) {
    for (uint32_t number = 1; number < books->name_count; number++) {
        const struct named *named = &books->names[number];
        assert_true(named->is_there || !named->is_marked);
        /* A hold's name may stay marked for ever: what settled it may have named another. */
        if (named->is_there && named->is_marked == named->is_defined)
            fail_msg("name %u is %s", number, named->is_marked ? "marked" : "not defined");
    }
}

/* ---- sums --------------------------------------------------------------------------------- */

static size_t hash_of(const struct sum_key *key) {
    uint64_t hash = 1;
    for (size_t i = 0; i < sizeof *key; i++)
        hash = (hash ^ ((const uint8_t *)key)[i]) * UINT64_C(0x100000001b3);
    return (size_t)(hash ^ hash >> 31);
}

static struct sum *slot_of(const struct books *books, const struct sum_key *key) {
    size_t at = hash_of(key) % books->sum_capacity;
    while (books->sums[at].is_used && memcmp(&books->sums[at].key, key, sizeof *key) != 0)
        at = (at + 1) % books->sum_capacity;
    return &books->sums[at];
}

static struct sum *find_sum(const struct books *books, const struct sum_key *key) {
    struct sum *sum = slot_of(books, key);
    return sum->is_used ? sum : NULL;
}

static struct sum *sum_of(struct books *books, const struct sum_key *key) {
    if (2 * (books->sum_count + 1) > books->sum_capacity) {
        struct books old = *books;
        books->sum_capacity = 2 * old.sum_capacity + 64;
        books->sums = array_of(books->sum_capacity, sizeof *books->sums);
        for (size_t i = 0; i < old.sum_capacity; i++)
            if (old.sums[i].is_used)
                *slot_of(books, &old.sums[i].key) = old.sums[i];
        free(old.sums);
    }
    struct sum *sum = slot_of(books, key);
    if (!sum->is_used) {
        sum->is_used = true;
        sum->key = *key;
        books->sum_count++;
    }
    return sum;
}

/* False where a dimension of the family is not named. */
static bool key_in_family(const struct books *books, uint32_t family, const uint32_t *names,
                          struct sum_key *key) {
    *key = (struct sum_key){.family = family};
    if (family == FAMILY_EVERYTHING)
        return true;
    const struct declared_series *declared = &books->ledger->declared[family - 1];
    for (uint8_t i = 0; i < declared->count; i++) {
        key->numbers[i] = names[declared->dimensions[i]];
        if (key->numbers[i] == 0)
            return false;
    }
    return true;
}

static void widen(struct rollup_extremes *extremes, int64_t value) {
    if (!extremes->any || value < extremes->min)
        extremes->min = value;
    if (!extremes->any || value > extremes->max)
        extremes->max = value;
    extremes->any = true;
}

static void add_to(struct sum *sum, const struct booked *entry) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        sum->totals.column[column] += entry->adds[column];
    if (sum->key.granularity == 0 || entry->kind != KIND_INVOCATION)
        return;
    if (entry->has_cost)
        widen(&sum->extremes[ROLLUP_COST], entry->cost);
    widen(&sum->extremes[ROLLUP_DURATION], entry->duration_ms);
}

static void add_up(struct books *books, const struct booked *entry) {
    static const uint64_t lengths_us[] = {0, UINT64_C(3600000000), UINT64_C(86400000000)};
    for (uint32_t family = 0; family <= books->ledger->declared_count; family++) {
        struct sum_key key;
        if (family > 0 && !books->ledger->declared[family - 1].ready &&
            entry->id >= books->ledger->declared[family - 1].built_to)
            continue;
        if (!key_in_family(books, family, entry->names, &key))
            continue;
        for (key.granularity = 0; key.granularity <= 2; key.granularity++) {
            key.period =
                key.granularity == 0 ? 0 : (uint32_t)(entry->id / lengths_us[key.granularity]);
            add_to(sum_of(books, &key), entry);
        }
    }
}

/* ---- what an entry adds ------------------------------------------------------------------- */

static const struct booked *entry_at(const struct books *books, uint64_t id) {
    size_t low = 0, high = books->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (books->entries[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < books->count && books->entries[low].id == id ? &books->entries[low] : NULL;
}

static void add_call(struct booked *booked, const struct ledger_entry *entry) {
    static const int invocations[] = {0, COLUMN_COMPLETED, COLUMN_FAILED, COLUMN_ABORTED};
    static const int runs[] = {0, COLUMN_RUNS_COMPLETED, COLUMN_RUNS_FAILED, COLUMN_RUNS_ABORTED};
    bool is_run = entry->kind == KIND_RUN, completed = entry->status == STATUS_COMPLETED;
    int64_t *adds = booked->adds;
    adds[is_run ? COLUMN_RUNS : COLUMN_INVOCATIONS]++;
    adds[is_run ? runs[entry->status] : invocations[entry->status]]++;
    if (!is_run) {
        adds[COLUMN_DURATION_MS] += entry->duration_ms;
        adds[COLUMN_UNPRICED] += !(entry->given & ENTRY_COST);
    }
    adds[COLUMN_COST] += entry->cost;
    adds[COLUMN_CREDITS] += entry->credits;
    if (completed) {
        adds[COLUMN_COMPLETED_COST] += entry->cost;
        adds[COLUMN_COMPLETED_CREDITS] += entry->credits;
    }
    for (int i = 0; i < TOKENS_CLASSES; i++)
        adds[COLUMN_INPUT_TOKENS + i] += entry->tokens[i];
}

static int64_t at_least_0(int64_t amount) {
    return amount < 0 ? 0 : amount;
}

static void add_correction(const struct books *books, struct booked *booked,
                           const struct ledger_entry *entry) {
    const struct booked *corrected = entry_at(books, entry->link);
    int64_t *adds = booked->adds;
    assert_non_null(corrected);
    assert_true(corrected->flags & ENTRY_UNATTENDED);
    adds[COLUMN_CORRECTIONS]++;
    adds[entry->cost > 0 ? COLUMN_COST : COLUMN_CORRECTED_COST] += entry->cost;
    adds[entry->credits > 0 ? COLUMN_CREDITS : COLUMN_CORRECTED_CREDITS] += entry->credits;
    for (int i = 0; i < TOKENS_CLASSES; i++)
        adds[(entry->tokens[i] > 0 ? COLUMN_INPUT_TOKENS : COLUMN_CORRECTED_INPUT_TOKENS) + i] +=
            entry->tokens[i];
    if (!(entry->flags & ENTRY_COMPLETES))
        return;
    adds[corrected->kind == KIND_RUN ? COLUMN_RUNS_COMPLETED : COLUMN_COMPLETED]++;
    adds[COLUMN_COMPLETED_COST] += at_least_0(corrected->cost + entry->cost);
    adds[COLUMN_COMPLETED_CREDITS] += at_least_0(corrected->credits + entry->credits);
}

static void add_grant(struct booked *booked, const struct ledger_entry *entry) {
    int64_t *adds = booked->adds;
    adds[COLUMN_GRANTS]++;
    adds[COLUMN_GRANTED_COST] += at_least_0(entry->cost);
    adds[COLUMN_WITHDRAWN_COST] += at_least_0(-entry->cost);
    adds[COLUMN_GRANTED_CREDITS] += at_least_0(entry->credits);
    adds[COLUMN_WITHDRAWN_CREDITS] += at_least_0(-entry->credits);
}

static void weigh(const struct books *books, struct booked *booked,
                  const struct ledger_entry *entry) {
    /* Absent amounts are zeros in what was read. */
    if (entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN)
        add_call(booked, entry);
    else if (entry->kind == KIND_CORRECTION)
        add_correction(books, booked, entry);
    else if (entry->kind == KIND_GRANT)
        add_grant(booked, entry);
    for (int column = 0; column < COLUMN_COUNT; column++)
        booked->adds_any = booked->adds_any || booked->adds[column] != 0;
}

/* ---- resets ------------------------------------------------------------------------------- */

static bool is_word(const msgpack_object *object, const char *word) {
    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == strlen(word) &&
           memcmp(object->via.str.ptr, word, strlen(word)) == 0;
}

static const msgpack_object *value_of(const msgpack_object *map, const char *word) {
    for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++)
        if (is_word(&map->via.map.ptr[i].key, word))
            return &map->via.map.ptr[i].val;
    return NULL;
}

static void keep_reset(struct books *books, const msgpack_object *change,
                       const struct booked *booked) {
    const msgpack_object *rule = value_of(change, "rule");
    struct reset_of *reset = &books->resets[books->reset_count++];
    assert_non_null(rule);
    reset->size = rule->via.str.size;
    memcpy(reset->rule, rule->via.str.ptr, reset->size);
    reset->id = booked->id;
    memcpy(reset->names, booked->names, sizeof reset->names);
}

/* A rule that went, or that measures something else from now on, is not the one that was reset. */
static void forget_resets(struct books *books, const msgpack_object *change) {
    const msgpack_object *changes = value_of(change, "changes");
    assert_non_null(changes);
    for (uint32_t i = 0; i < changes->via.array.size; i++) {
        const msgpack_object *pair = changes->via.array.ptr[i].via.array.ptr;
        struct ledger_rule from, to;
        if (pair[0].type == MSGPACK_OBJECT_NIL)
            continue;
        assert_int_equal(rule_unpack(&pair[0], &from), 0);
        if (pair[1].type != MSGPACK_OBJECT_NIL) {
            assert_int_equal(rule_unpack(&pair[1], &to), 0);
            if (rule_same_budget(&from, &to))
                continue;
        }
        for (size_t k = 0; k < books->reset_count; k++) {
            struct ledger_text rule = {books->resets[k].rule, books->resets[k].size};
            if (text_equal(rule, from.name))
                books->resets[k] = books->resets[--books->reset_count], k--;
        }
    }
}

static void follow_change(struct books *books, const struct ledger_entry *entry,
                          const struct booked *booked) {
    msgpack_unpacked unpacked;
    if (entry->kind != KIND_RESET && entry->kind != KIND_POLICY)
        return;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, entry->change.data, entry->change.size, NULL),
                     MSGPACK_UNPACK_SUCCESS);
    if (entry->kind == KIND_RESET)
        keep_reset(books, &unpacked.data, booked);
    else
        forget_resets(books, &unpacked.data);
    msgpack_unpacked_destroy(&unpacked);
}

/* ---- entries ------------------------------------------------------------------------------ */

/* [number, dimension, "value", ...] at position 4: each name is defined once, where it is used
 * first. */
static void check_definitions(struct books *books, MDB_val value, const struct booked *booked) {
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(msgpack_unpack_next(&unpacked, value.mv_data, value.mv_size, NULL),
                     MSGPACK_UNPACK_SUCCESS);
    const msgpack_object *list = &unpacked.data.via.array.ptr[4];
    for (uint32_t i = 0; list->type == MSGPACK_OBJECT_ARRAY && i < list->via.array.size; i += 3) {
        const msgpack_object *part = &list->via.array.ptr[i];
        uint64_t number = part[0].via.u64, dimension = part[1].via.u64;
        struct ledger_text text = {part[2].via.str.ptr, part[2].via.str.size};
        assert_in_range(number, 1, books->name_count - 1);
        struct named *named = &books->names[number];
        assert_true(named->is_there);
        assert_false(named->is_defined);
        assert_int_equal(named->dimension, dimension);
        assert_true(text_equal(named->text, text));
        assert_int_equal(booked->names[dimension], number);
        named->is_defined = true;
    }
    msgpack_unpacked_destroy(&unpacked);
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        uint32_t number = booked->names[dimension];
        if (number == 0)
            continue;
        assert_in_range(number, 1, books->name_count - 1);
        assert_int_equal(books->names[number].dimension, dimension);
        if (!books->names[number].is_defined)
            fail_msg("entry %llu uses name %u, which nothing defines",
                     (unsigned long long)booked->id, number);
    }
}

/* A request that was sent under an id is known by it. */
static void check_key(const struct books *books, const struct ledger_entry *entry) {
    struct key_row row;
    if (entry->client_id.data == NULL)
        return;
    assert_int_equal(keys_find(books->txn, dbi_of(books, DB_KEYS), entry->client_id, &row), 0);
    assert_int_equal(row.id, entry->id);
    if (entry->given & ENTRY_REQUEST_DIGEST)
        assert_memory_equal(row.digest, entry->request_digest, ENTRY_DIGEST_BYTES);
}

static void read_entry(struct books *books, struct entry_decoder *decoder, MDB_val key,
                       MDB_val value) {
    struct booked *booked = &books->entries[books->count];
    struct ledger_entry entry;
    assert_int_equal(key.mv_size, 8);
    entry.id = get_be64(key.mv_data);
    assert_true(books->count == 0 || entry.id > booked[-1].id);
    assert_int_equal(entry_read_stored(decoder, value.mv_data, value.mv_size, &entry), 0);
    *booked = (struct booked){.id = entry.id,
                              .kind = entry.kind,
                              .flags = entry.flags,
                              .link = entry.link,
                              .hold = entry.hold,
                              .has_cost = entry.given & ENTRY_COST,
                              .cost = entry.cost,
                              .credits = entry.credits,
                              .duration_ms = entry.duration_ms};
    memcpy(booked->names, entry.name_numbers, sizeof booked->names);
    check_definitions(books, value, booked);
    weigh(books, booked, &entry);
    check_key(books, &entry);
    follow_change(books, &entry, booked);
    if (booked->adds_any)
        add_up(books, booked);
    books->count++;
}

static void read_entries(struct books *books) {
    struct entry_decoder *decoder = entry_decoder_new();
    size_t rows = rows_of(books, DB_ENTRIES);
    MDB_cursor *cursor = cursor_of(books, DB_ENTRIES);
    MDB_val key, value;
    assert_non_null(decoder);
    books->entries = array_of(rows, sizeof *books->entries);
    books->resets = array_of(rows, sizeof *books->resets);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        read_entry(books, decoder, key, value);
    assert_int_equal(books->count, rows);
    mdb_cursor_close(cursor);
    entry_decoder_free(decoder);
}

/* ---- holds -------------------------------------------------------------------------------- */

static struct hold *live_hold(const struct books *books, uint64_t id) {
    for (size_t i = 0; i < books->hold_count; i++)
        if (books->holds[i].id == id)
            return &books->holds[i];
    return NULL;
}

static uint32_t series_of(const struct books *books, const struct sum_key *key) {
    uint32_t series = SERIES_EVERYTHING;
    if (key->family == FAMILY_EVERYTHING)
        return series;
    size_t count = books->ledger->declared[key->family - 1].count;
    if (names_find_series(books->txn, dbi_of(books, DB_NAMES), key->numbers, count, &series) != 0)
        return NONE;
    return series;
}

/* One share in each series that it belongs to, and in no other. */
static void add_shares(struct books *books, struct hold *hold) {
    uint8_t expected = 0;
    for (uint32_t family = 0; family <= books->ledger->declared_count; family++) {
        struct sum_key key;
        if ((family > 0 && !books->ledger->declared[family - 1].ready) ||
            !key_in_family(books, family, hold->name_numbers, &key))
            continue;
        struct hold_share *share = hold_share_of(hold, series_of(books, &key));
        struct held *held = &sum_of(books, &key)->held;
        if (share == NULL)
            fail_msg("hold %llu has no share in family %u", (unsigned long long)hold->id, family);
        expected++;
        held->holds++;
        if (hold->deadline_us > held->until_us)
            held->until_us = hold->deadline_us;
        for (int column = 0; column < HELD_COLUMNS; column++) {
            assert_true(share->held[column] >= 0 && share->drawn[column] >= 0);
            held->column[column] += share->held[column];
        }
    }
    assert_int_equal(hold->share_count, expected);
}

static void read_holds(struct books *books) {
    size_t rows = rows_of(books, DB_HOLDS);
    MDB_cursor *cursor = cursor_of(books, DB_HOLDS);
    MDB_val key, value;
    books->holds = array_of(rows, sizeof *books->holds);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct hold *hold = &books->holds[books->hold_count++];
        assert_int_equal(key.mv_size, 8);
        assert_int_equal(hold_read(get_be64(key.mv_data), value.mv_data, value.mv_size, hold), 0);
        assert_null(entry_at(books, hold->id));
        add_shares(books, hold);
    }
    mdb_cursor_close(cursor);
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
        assert_int_equal(keys_find(books->txn, dbi_of(books, DB_KEYS), hold->client_id, &row), 0);
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
            names_of_series(books->txn, dbi_of(books, DB_NAMES), series, key.numbers, &count), 0);
        for (uint32_t i = 1; i <= books->ledger->declared_count && key.family == 0; i++) {
            const struct declared_series *declared = &books->ledger->declared[i - 1];
            bool same = declared->count == count;
            for (size_t k = 0; same && k < count; k++)
                same = books->names[key.numbers[k]].dimension == declared->dimensions[k];
            if (same)
                key.family = i;
        }
        assert_true(key.family != 0);
    }
    return find_sum(books, &key);
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
        bool is_in = key_in_family(books, sum->key.family, books->entries[i].names, &key) &&
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
    MDB_cursor *cursor = cursor_of(books, DB_SERIES), *other = cursor_of(books, DB_SERIES);
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
    MDB_cursor *cursor = cursor_of(books, DB_ROLLUPS);
    MDB_val key, value;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct rollup rollup;
        const uint8_t *bytes = key.mv_data;
        uint32_t series = get_be32(bytes), period = get_be32(bytes + 5);
        assert_int_equal(key.mv_size, ROLLUP_KEY_BYTES);
        struct sum *sum = expected_of(books, series, bytes[4], period);
        assert_non_null(sum);
        sum->is_seen = true;
        assert_int_equal(
            rollup_load(books->txn, dbi_of(books, DB_ROLLUPS), series, bytes[4], period, &rollup),
            0);
        assert_totals_equal(&rollup.totals, &sum->totals);
        for (int i = 0; i < ROLLUP_MEASURES; i++) {
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
    MDB_cursor *cursor = cursor_of(books, DB_HELD);
    MDB_val key, value;
    size_t rows = 0, expected = 0;
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; rows++) {
        struct held held;
        uint32_t series = get_be32(key.mv_data);
        struct sum *sum = expected_of(books, series, 0, 0);
        assert_int_equal(held_load(books->txn, dbi_of(books, DB_HELD), series, &held), 0);
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
    MDB_cursor *cursor = cursor_of(books, DB_NAMES);
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
                same = books->names[number].dimension == declared->dimensions[k];
            }
            counts[i] += same;
            is_known = is_known || same;
        }
        assert_true(is_known);
    }
    mdb_cursor_close(cursor);
    for (size_t i = 0; i < books->ledger->declared_count; i++) {
        const struct declared_series *declared = &books->ledger->declared[i];
        assert_int_equal(names_count_family(books->txn, dbi_of(books, DB_NAMES),
                                            declared->dimensions, declared->count, &counted),
                         0);
        assert_int_equal(counted, counts[i]);
        families += counts[i] > 0;
    }
    assert_int_equal(rows, families);
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
            keys_find_resolved(books->txn, dbi_of(books, DB_KEYS), entry->hold, &resolved), 0);
        assert_int_equal(resolved.entry, entry->id);
        assert_int_equal(resolved.settled, is_corrected);
    }
}

/* ---- rules, by counting ------------------------------------------------------------------- */

static void numbers_of(const struct books *books, const struct ledger_text *names,
                       uint32_t *numbers) {
    numbers[0] = 0;
    for (int i = 1; i < DIMENSION_LIMIT; i++)
        numbers[i] = names[i].data == NULL ? 0 : number_of(books, i, names[i]);
}

/* The day is the calendar's of the C library. */
static int64_t period_start_ms(const struct ledger_rule *rule, int64_t at_ms) {
    int64_t offset_s = INT64_C(60) * rule->offset_minutes;
    int64_t local_s = at_ms / 1000 + offset_s; /* at_ms is not negative */
    time_t seconds = (time_t)local_s;
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    if (rule->window == WINDOW_WEEK)
        tm.tm_mday -= (tm.tm_wday + 6) % 7;
    else if (rule->window == WINDOW_MONTH)
        tm.tm_mday = 1;
    return ((int64_t)timegm(&tm) - offset_s) * 1000;
}

static int64_t start_ms(const struct ledger_rule *rule, int64_t at_ms) {
    switch (rule->window) {
    case WINDOW_ROLLING:
        return at_ms - (int64_t)rule->window_ms;
    case WINDOW_LIFETIME:
        return INT64_MIN / 1000;
    default:
        return period_start_ms(rule, at_ms);
    }
}

static bool is_in_scope(const struct ledger_rule *rule, const uint32_t *names, const uint32_t *of) {
    for (uint8_t i = 0; i < rule->scope_count; i++) {
        uint32_t number = names[rule->scope[i].dimension];
        if (number == 0 || of[rule->scope[i].dimension] != number)
            return false;
    }
    return true;
}

/* The newest reset of the rule for these names. */
static uint64_t reset_id(const struct books *books, const struct ledger_rule *rule,
                         const uint32_t *names) {
    uint64_t newest = 0;
    for (size_t i = 0; i < books->reset_count; i++) {
        const struct reset_of *reset = &books->resets[i];
        struct ledger_text name = {reset->rule, reset->size};
        bool whole = true;
        for (int k = 1; k < DIMENSION_LIMIT; k++)
            whole = whole && reset->names[k] == 0;
        if (text_equal(name, rule->name) && reset->id > newest &&
            (whole || is_in_scope(rule, names, reset->names)))
            newest = reset->id;
    }
    return newest;
}

static int64_t measured(const struct ledger_rule *rule, const struct booked *entry) {
    int64_t tokens = 0;
    switch (rule->measure) {
    case MEASURE_INVOCATIONS:
        return entry->adds[COLUMN_INVOCATIONS];
    case MEASURE_COMPLETED_INVOCATIONS:
        return entry->adds[COLUMN_COMPLETED];
    case MEASURE_COST:
        return entry->adds[COLUMN_COST];
    case MEASURE_COMPLETED_COST:
        return entry->adds[COLUMN_COMPLETED_COST];
    case MEASURE_CREDITS:
        return entry->adds[COLUMN_CREDITS];
    case MEASURE_COMPLETED_CREDITS:
        return entry->adds[COLUMN_COMPLETED_CREDITS];
    default:
        for (int i = 0; i < TOKENS_CLASSES; i++)
            tokens += entry->adds[COLUMN_INPUT_TOKENS + i];
        return tokens;
    }
}

static ledger_sum used_at(const struct books *books, const struct ledger_rule *rule,
                          const uint32_t *names, int64_t at_ms) {
    int64_t start = start_ms(rule, at_ms);
    uint64_t reset = reset_id(books, rule, names);
    ledger_sum used = 0;
    for (size_t i = books->count; i-- > 0;) {
        const struct booked *entry = &books->entries[i];
        if ((int64_t)entry->id < start * 1000 || entry->id <= reset)
            break;
        if (entry->adds_any && is_in_scope(rule, names, entry->names))
            used += measured(rule, entry);
    }
    return used;
}

static int held_as(const struct ledger_rule *rule) {
    switch (rule->measure) {
    case MEASURE_INVOCATIONS:
    case MEASURE_COMPLETED_INVOCATIONS:
        return HELD_INVOCATIONS;
    case MEASURE_COST:
    case MEASURE_COMPLETED_COST:
        return HELD_COST;
    case MEASURE_CREDITS:
    case MEASURE_COMPLETED_CREDITS:
        return HELD_CREDITS;
    default:
        return HELD_TOKENS;
    }
}

/* The family whose series the rule is over; its key for these names. */
static struct sum_key key_of_rule(const struct books *books, const struct ledger_rule *rule,
                                  const uint32_t *names) {
    struct sum_key key = {0};
    for (size_t i = 0; rule->scope_count > 0 && i < books->ledger->declared_count; i++) {
        const struct declared_series *declared = &books->ledger->declared[i];
        bool same = declared->count == rule->scope_count;
        for (uint8_t k = 0; same && k < declared->count; k++)
            same = declared->dimensions[k] == rule->scope[k].dimension;
        if (same)
            key.family = (uint32_t)i + 1;
    }
    assert_true(key.family > 0 || rule->scope_count == 0);
    for (uint8_t k = 0; k < rule->scope_count; k++)
        key.numbers[k] = names[rule->scope[k].dimension];
    return key;
}

static ledger_sum held_by(const struct books *books, const struct ledger_rule *rule,
                          const uint32_t *names) {
    struct sum_key key = key_of_rule(books, rule, names);
    struct sum *sum = find_sum(books, &key);
    return sum == NULL ? 0 : sum->held.column[held_as(rule)];
}

/* Grants of an account, as a rule over it reads them. */
struct account {
    ledger_sum granted; /* all that were given */
    ledger_sum withdrawn;
    ledger_sum gone; /* of those that are used up */
    ledger_sum open; /* all of those that are not */
};

static struct account account_of(const struct books *books, const struct ledger_rule *rule,
                                 const uint32_t *names, ledger_sum used) {
    bool is_credits = held_as(rule) == HELD_CREDITS;
    struct account account = {0};
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        int64_t amount = is_credits ? entry->credits : entry->cost;
        if (entry->kind != KIND_GRANT || !is_in_scope(rule, names, entry->names))
            continue;
        if (amount < 0)
            account.withdrawn -= amount;
        else
            account.granted += amount;
    }
    /* The oldest are used first. */
    ledger_sum passed = 0, consumed = used + account.withdrawn;
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        int64_t amount = is_credits ? entry->credits : entry->cost;
        if (entry->kind != KIND_GRANT || amount <= 0 || !is_in_scope(rule, names, entry->names))
            continue;
        passed += amount;
        if (passed <= consumed)
            account.gone += amount;
        else
            account.open += amount;
    }
    return account;
}

/* The most that may be in use. */
static ledger_sum cap_of(const struct books *books, const struct ledger_rule *rule,
                         const uint32_t *names, ledger_sum used, bool soft) {
    if (!rule->granted)
        return soft ? (ledger_sum)rule->limit * rule->soft / 100 : (ledger_sum)rule->limit;
    struct account account = account_of(books, rule, names, used);
    if (!soft)
        return account.granted - account.withdrawn + rule->grace;
    /* What of the open grants is consumed already takes its part of the percent. */
    ledger_sum taken = used + account.withdrawn - account.gone;
    return used + account.open * rule->soft / 100 - taken;
}

/* Whether the rule would have one value more than it may. */
static bool is_full(const struct books *books, const struct ledger_rule *rule,
                    const uint32_t *names) {
    bool has_each = false;
    struct sum_key key = key_of_rule(books, rule, names);
    uint64_t max = rule->max_values == 0 ? RULE_MAX_VALUES : rule->max_values;
    uint32_t count;
    for (uint8_t i = 0; i < rule->scope_count; i++)
        has_each = has_each || rule->scope[i].value.data == NULL;
    if (!has_each || series_of(books, &key) != NONE)
        return false;
    const struct declared_series *declared = &books->ledger->declared[key.family - 1];
    /* Checked against the rows themselves elsewhere. */
    assert_int_equal(names_count_family(books->txn, dbi_of(books, DB_NAMES), declared->dimensions,
                                        declared->count, &count),
                     0);
    return count >= max;
}

static bool is_unlimited(const struct ledger_rule *rule) {
    return !rule->granted && rule->limit == RULE_UNLIMITED;
}

static enum rule_reason reason_at(const struct books *books, const struct ledger_rule *rule,
                                  const uint32_t *names, ledger_sum amount, bool critical,
                                  int64_t at_ms) {
    if (amount == 0 || is_unlimited(rule) || rule->effect == EFFECT_WARN)
        return RULE_ADMITS;
    if (is_full(books, rule, names))
        return RULE_TOO_MANY_VALUES;
    ledger_sum used = used_at(books, rule, names, at_ms);
    ledger_sum after = used + held_by(books, rule, names) + amount;
    if (after > cap_of(books, rule, names, used, false))
        return RULE_LIMIT;
    bool is_soft = rule->soft > 0 && !critical;
    return is_soft && after > cap_of(books, rule, names, used, true) ? RULE_SOFT : RULE_ADMITS;
}

enum rule_reason books_reason(const struct books *books, const struct ledger_rule *rule,
                              const struct ledger_text *names, ledger_sum amount, bool critical,
                              int64_t at_ms) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return reason_at(books, rule, numbers, amount, critical, at_ms);
}

ledger_sum books_used(const struct books *books, const struct ledger_rule *rule,
                      const struct ledger_text *names, int64_t at_ms) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return used_at(books, rule, numbers, at_ms);
}

ledger_sum books_held(const struct books *books, const struct ledger_rule *rule,
                      const struct ledger_text *names) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return held_by(books, rule, numbers);
}

ledger_sum books_cap(const struct books *books, const struct ledger_rule *rule,
                     const struct ledger_text *names, int64_t at_ms) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    return cap_of(books, rule, numbers, used_at(books, rule, numbers, at_ms), false);
}

ledger_sum books_lent(const struct books *books, uint64_t parent, const struct ledger_rule *rule,
                      const struct ledger_text *names) {
    uint32_t numbers[DIMENSION_LIMIT];
    struct hold *hold = live_hold(books, parent);
    numbers_of(books, names, numbers);
    if (hold == NULL || !is_in_scope(rule, numbers, hold->name_numbers))
        return 0;
    struct sum_key key = key_of_rule(books, rule, numbers);
    return hold_share_of(hold, series_of(books, &key))->held[held_as(rule)];
}

int64_t books_measured(const struct books *books, const struct ledger_rule *rule, uint64_t id) {
    const struct booked *entry = entry_at(books, id);
    assert_non_null(entry);
    return measured(rule, entry);
}

size_t books_live(const struct books *books) {
    return books->hold_count;
}

uint64_t books_hold(const struct books *books, size_t nth) {
    return books->holds[nth].id;
}

bool books_is_run(const struct books *books, uint64_t hold) {
    const struct hold *live = live_hold(books, hold);
    return live != NULL && live->kind == KIND_RUN;
}

size_t books_children(const struct books *books, uint64_t hold) {
    size_t children = 0;
    for (size_t i = 0; i < books->hold_count; i++)
        children += books->holds[i].parent == hold;
    return children;
}

size_t books_depth(const struct books *books, uint64_t hold) {
    size_t depth = 0;
    for (const struct hold *live = live_hold(books, hold); live != NULL;
         live = live_hold(books, live->parent))
        depth++;
    return depth;
}

/* A rule takes the place of another when it is of the same shape and says more. */
static bool takes_place(const struct ledger_rule *a, const struct ledger_rule *b) {
    bool more = false;
    if (a->scope_count != b->scope_count || a->measure != b->measure || a->window != b->window ||
        (a->window == WINDOW_ROLLING && a->window_ms != b->window_ms) ||
        (a->window != WINDOW_ROLLING && a->offset_minutes != b->offset_minutes))
        return false;
    for (uint8_t i = 0; i < a->scope_count; i++) {
        if (a->scope[i].dimension != b->scope[i].dimension)
            return false;
        if (b->scope[i].value.data != NULL &&
            (a->scope[i].value.data == NULL || !text_equal(a->scope[i].value, b->scope[i].value)))
            return false;
        more = more || (b->scope[i].value.data == NULL && a->scope[i].value.data != NULL);
    }
    return more;
}

/* 1: it speaks of these names, 0: it does not, -1: it would, but misses a dimension. */
static int speaks_of(const struct ledger_rule *rule, const struct ledger_text *names) {
    int speaks = 1;
    for (uint8_t i = 0; i < rule->scope_count; i++) {
        struct ledger_text name = names[rule->scope[i].dimension];
        struct ledger_text value = rule->scope[i].value;
        if (name.data != NULL && value.data != NULL && !text_equal(name, value))
            return 0;
        if (name.data == NULL)
            speaks = -1;
    }
    return speaks;
}

bool books_meets(const struct books *books, const struct ledger_rule *rule,
                 const struct ledger_text *names) {
    const struct ledger_policy *policy = &books->ledger->policy;
    if (speaks_of(rule, names) != 1)
        return false;
    for (uint32_t i = 0; i < policy->rule_count; i++)
        if (takes_place(&policy->rules[i], rule) && speaks_of(&policy->rules[i], names) == 1)
            return false;
    return true;
}

bool books_misses(const struct ledger_rule *rule, const struct ledger_text *names) {
    return rule->require && rule->effect != EFFECT_WARN && speaks_of(rule, names) == -1;
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
            struct sum_key key = key_of_rule(books, rule, names);
            uint32_t series = series_of(books, &key);
            if (key.family != sum->key.family || series == NONE)
                continue;
            assert_int_equal(
                marks_find_reset(books->txn, dbi_of(books, DB_WARNED), rule->name, series, &id), 0);
            assert_int_equal(id, reset_id(books, rule, names));
        }
    }
}

/* By then whatever was booked has left every window. */
static int64_t far_ms(const struct books *books, const struct ledger_rule *rule, int64_t now_ms) {
    int64_t last_ms = books->count == 0 ? 0 : (int64_t)(books->entries[books->count - 1].id / 1000);
    int64_t from = last_ms > now_ms ? last_ms : now_ms;
    return from +
           (rule->window == WINDOW_ROLLING ? (int64_t)rule->window_ms + 1 : 32 * (int64_t)DAY_MS);
}

uint64_t books_admits_from(const struct books *books, const struct ledger_rule *rule,
                           const struct ledger_text *names, ledger_sum amount, bool critical,
                           int64_t now_us) {
    uint32_t numbers[DIMENSION_LIMIT];
    numbers_of(books, names, numbers);
    int64_t denied = now_us / 1000, admitted = far_ms(books, rule, denied);
    if (reason_at(books, rule, numbers, amount, critical, denied) == RULE_ADMITS)
        return 0;
    if (reason_at(books, rule, numbers, amount, critical, admitted) != RULE_ADMITS)
        return UINT64_MAX;
    while (admitted - denied > 1) {
        int64_t middle = denied + (admitted - denied) / 2;
        if (reason_at(books, rule, numbers, amount, critical, middle) == RULE_ADMITS)
            admitted = middle;
        else
            denied = middle;
    }
    return (uint64_t)admitted * 1000;
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
    uint32_t number = number_of(books, DIMENSION_STATE, state);
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

struct past {
    const struct books *books;
    size_t left;
};

static bool check_history_row(void *context, const struct ledger_entry *entry) {
    struct past *past = context;
    do
        assert_true(past->left > 0);
    while (past->books->entries[--past->left].kind != KIND_INVOCATION);
    const struct booked *booked = &past->books->entries[past->left];
    assert_int_equal(entry->id, booked->id);
    assert_int_equal(entry->name_numbers[DIMENSION_STATE], booked->names[DIMENSION_STATE]);
    return true;
}

static void check_history(struct books *books) {
    struct past past = {books, books->count};
    struct ledger_history_query all = {.before = UINT64_MAX, .limit = UINT64_MAX};
    assert_int_equal(ledger_history(books->ledger, &all, check_history_row, &past), 0);
    while (past.left > 0)
        assert_int_not_equal(books->entries[--past.left].kind, KIND_INVOCATION);
}

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

struct books *read_books(struct ledger *ledger) {
    struct books *books = array_of(1, sizeof *books);
    books->ledger = ledger;
    assert_int_equal(storage_read_begin(&ledger->storage, &books->txn), 0);
    /* Never empty, so that it can be looked into. */
    sum_of(books, &(struct sum_key){0});
    read_names(books);
    read_entries(books);
    read_holds(books);
    return books;
}

void free_books(struct books *books) {
    storage_read_end(&books->ledger->storage, books->txn);
    for (size_t i = 0; i < books->hold_count; i++)
        hold_free(&books->holds[i]);
    free(books->names);
    free(books->entries);
    free(books->holds);
    free(books->sums);
    free(books->resets);
    free(books);
}

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
    check_resets(books);
    for (uint32_t state = 0; state < ledger->policy.state_count; state++)
        check_gate(books, state);
    check_history(books);
    assert_int_equal(ledger_count(ledger, NULL, windows, check_counts, books, &now_us), 0);
    check_facts(books);
    free_books(books);
}
