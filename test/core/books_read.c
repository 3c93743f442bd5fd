/* Reading a ledger's names, entries and holds, and adding them up anew: what an entry adds is
 * written here a second time. */
#include "books_internal.h"

#include <msgpack.h>

#include "../../c_src/core/keys.h"

MDB_cursor *books_cursor(const struct books *books, enum storage_database database) {
    MDB_cursor *cursor;
    assert_int_equal(mdb_cursor_open(books->txn, books_dbi(books, database), &cursor), 0);
    return cursor;
}

static void *array_of(size_t count, size_t size) {
    void *array = calloc(count + 1, size);
    assert_non_null(array);
    return array;
}

static size_t rows_of(const struct books *books, enum storage_database database) {
    MDB_stat stat;
    assert_int_equal(mdb_stat(books->txn, books_dbi(books, database), &stat), 0);
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
    MDB_cursor *cursor = books_cursor(books, DB_NAMES);
    MDB_val key, value;
    /* Each name has two rows, and those of families and series are more. */
    books->name_count = rows_of(books, DB_NAMES) + 1;
    books->names = array_of(books->name_count, sizeof *books->names);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        read_name(books, key.mv_data, key.mv_size, value);
    mdb_cursor_close(cursor);
}

uint8_t books_dimension(const struct books *books, uint32_t number) {
    if (number > STATUS_NUMBER(0))
        return DIMENSION_STATUS;
    assert_in_range(number, 1, books->name_count - 1);
    return books->names[number].dimension;
}

uint32_t books_number(const struct books *books, int dimension, struct ledger_text text) {
    for (uint32_t number = 1; number < books->name_count; number++)
        if (books->names[number].is_there && books->names[number].dimension == dimension &&
            text_equal(books->names[number].text, text))
            return number;
    return NONE;
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

struct sum *books_sum(const struct books *books, const struct sum_key *key) {
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
bool books_key(const struct books *books, uint32_t family, const uint32_t *names,
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

static void widen(struct extremes *extremes, int64_t value) {
    if (!extremes->any || value < extremes->min)
        extremes->min = value;
    if (!extremes->any || value > extremes->max)
        extremes->max = value;
    extremes->any = true;
}

void books_widen(struct extremes *extremes, const struct booked *entry) {
    bool is_run = entry->kind == KIND_RUN;
    if (!is_run && entry->kind != KIND_INVOCATION)
        return;
    if (entry->has_cost)
        widen(&extremes[is_run ? EXTREMES_RUN_COST : EXTREMES_COST], entry->cost);
    widen(&extremes[is_run ? EXTREMES_RUN_DURATION : EXTREMES_DURATION], entry->duration_ms);
}

static void add_to(struct sum *sum, const struct booked *entry) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        sum->totals.column[column] += entry->adds[column];
    if (sum->key.granularity != 0)
        books_widen(sum->extremes, entry);
}

static void add_up(struct books *books, const struct booked *entry) {
    static const uint64_t lengths_us[] = {0, UINT64_C(3600000000), UINT64_C(86400000000)};
    for (uint32_t family = 0; family <= books->ledger->declared_count; family++) {
        struct sum_key key;
        if (family > 0 && !books->ledger->declared[family - 1].ready &&
            entry->id >= books->ledger->declared[family - 1].built_to)
            continue;
        if (!books_key(books, family, entry->names, &key))
            continue;
        for (key.granularity = 0; key.granularity <= 2; key.granularity++) {
            key.period =
                key.granularity == 0 ? 0 : (uint32_t)(entry->id / lengths_us[key.granularity]);
            add_to(sum_of(books, &key), entry);
        }
    }
}

/* ---- what an entry adds ------------------------------------------------------------------- */

const struct booked *books_entry(const struct books *books, uint64_t id) {
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

/* To the nearest, and up from the middle. */
static int64_t nanos_of(__int128 units) {
    __int128 doubled = 2 * units + 1000000, nanos = doubled / 2000000;
    return (int64_t)(doubled % 2000000 < 0 ? nanos - 1 : nanos);
}

static int64_t cache_savings(const struct ledger_entry *entry) {
    __int128 saved = 0, input = entry->unit_prices[TOKENS_INPUT];
    if (!(entry->given & ENTRY_UNIT_PRICES))
        return 0;
    for (int i = TOKENS_CACHE_READ; i <= TOKENS_CACHE_CREATION; i++)
        saved += entry->tokens[i] * (input - entry->unit_prices[i]);
    return nanos_of(saved);
}

/* What was priced costs what its unit prices say, and its other parts. */
static void check_price(const struct ledger_entry *entry) {
    __int128 units = 0;
    int64_t parts = 0;
    for (int i = 0; entry->given & ENTRY_BREAKDOWN && i < COST_PARTS; i++)
        parts += entry->breakdown[i];
    if (entry->given & ENTRY_BREAKDOWN)
        assert_int_equal(parts, entry->cost);
    if (!(entry->given & ENTRY_UNIT_PRICES))
        return;
    for (int i = 0; i < TOKENS_CLASSES; i++)
        units += (__int128)entry->tokens[i] * entry->unit_prices[i];
    int64_t of_tokens = nanos_of(units);
    if (entry->given & ENTRY_BREAKDOWN)
        assert_int_equal(entry->breakdown[COST_TOKENS], of_tokens);
    else
        assert_int_equal(entry->cost, of_tokens);
}

size_t books_count(const struct books *books) {
    return books->count;
}

uint64_t books_id(const struct books *books, size_t nth) {
    return books->entries[nth].id;
}

enum ledger_kind books_kind(const struct books *books, uint64_t id) {
    const struct booked *entry = books_entry(books, id);
    return entry == NULL ? 0 : entry->kind;
}

bool books_has_payload(const struct books *books, uint64_t id) {
    const struct booked *entry = books_entry(books, id);
    struct ledger_payload payload;
    assert_int_equal(payloads_find(books->txn, books_dbi(books, DB_PAYLOADS), id, &payload), 0);
    return entry != NULL && entry->digest != NULL && payload.redacted_by == 0;
}

void books_net(const struct books *books, uint64_t id, int64_t net[BOOKS_AMOUNTS]) {
    const struct booked *entry = books_entry(books, id);
    net[0] = entry->cost + entry->corrected[0];
    net[1] = entry->credits + entry->corrected[1];
    for (int i = 0; i < TOKENS_CLASSES; i++)
        net[2 + i] = entry->tokens[i] + entry->corrected[2 + i];
}

static void add_call(struct booked *booked, const struct ledger_entry *entry) {
    static const int invocations[] = {0, COLUMN_COMPLETED, COLUMN_FAILED, COLUMN_ABORTED};
    static const int runs[] = {0, COLUMN_RUNS_COMPLETED, COLUMN_RUNS_FAILED, COLUMN_RUNS_ABORTED};
    bool is_run = entry->kind == KIND_RUN, completed = entry->status == STATUS_COMPLETED;
    int64_t *adds = booked->adds;
    adds[is_run ? COLUMN_RUNS : COLUMN_INVOCATIONS]++;
    adds[is_run ? runs[entry->status] : invocations[entry->status]]++;
    adds[is_run ? COLUMN_RUNS_DURATION_MS : COLUMN_DURATION_MS] += entry->duration_ms;
    adds[is_run ? COLUMN_RUNS_UNPRICED : COLUMN_UNPRICED] += !(entry->given & ENTRY_COST);
    if (is_run)
        adds[COLUMN_RUNS_COST] += entry->cost;
    adds[COLUMN_COST] += entry->cost;
    adds[COLUMN_CREDITS] += entry->credits;
    if (completed) {
        adds[COLUMN_COMPLETED_COST] += entry->cost;
        adds[COLUMN_COMPLETED_CREDITS] += entry->credits;
    }
    for (int i = 0; i < TOKENS_CLASSES; i++)
        adds[COLUMN_INPUT_TOKENS + i] += entry->tokens[i];
    adds[COLUMN_CACHE_SAVINGS] += cache_savings(entry);
    check_price(entry);
}

static int64_t at_least_0(int64_t amount) {
    return amount < 0 ? 0 : amount;
}

/* Corrections never come to less than nothing, and the first that tells a cost gives it to what
 * had none. */
static void correct(struct booked *corrected, const struct ledger_entry *entry) {
    int64_t said[BOOKS_AMOUNTS] = {entry->cost, entry->credits};
    int64_t was[BOOKS_AMOUNTS] = {corrected->cost, corrected->credits};
    for (int i = 0; i < TOKENS_CLASSES; i++) {
        said[2 + i] = entry->tokens[i];
        was[2 + i] = corrected->tokens[i];
    }
    for (int i = 0; i < BOOKS_AMOUNTS; i++) {
        corrected->corrected[i] += said[i];
        assert_true(was[i] + corrected->corrected[i] >= 0);
    }
    bool prices = entry->given & ENTRY_COST && !corrected->has_cost && !corrected->is_priced_later;
    assert_int_equal((entry->flags & ENTRY_PRICES) != 0, prices);
    corrected->is_corrected = true;
    corrected->is_priced_later = corrected->is_priced_later || prices;
}

static void add_correction(const struct books *books, struct booked *booked,
                           const struct ledger_entry *entry) {
    struct booked *corrected = (struct booked *)books_entry(books, entry->link);
    int64_t *adds = booked->adds;
    assert_non_null(corrected);
    bool is_run = corrected->kind == KIND_RUN;
    assert_true(is_run || corrected->kind == KIND_INVOCATION);
    assert_true(corrected->flags & ENTRY_UNATTENDED || !(entry->flags & ENTRY_LATE));
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        if (dimension != DIMENSION_STATUS)
            assert_int_equal(booked->names[dimension], corrected->names[dimension]);
    booked->names[DIMENSION_STATUS] = corrected->names[DIMENSION_STATUS];
    correct(corrected, entry);
    adds[COLUMN_CORRECTIONS]++;
    adds[COLUMN_CORRECTIONS_COST] += at_least_0(entry->cost);
    if (entry->flags & ENTRY_PRICES)
        adds[is_run ? COLUMN_CORRECTED_RUNS_UNPRICED : COLUMN_CORRECTED_UNPRICED]--;
    adds[entry->cost > 0 ? COLUMN_COST : COLUMN_CORRECTED_COST] += entry->cost;
    adds[entry->credits > 0 ? COLUMN_CREDITS : COLUMN_CORRECTED_CREDITS] += entry->credits;
    for (int i = 0; i < TOKENS_CLASSES; i++)
        adds[(entry->tokens[i] > 0 ? COLUMN_INPUT_TOKENS : COLUMN_CORRECTED_INPUT_TOKENS) + i] +=
            entry->tokens[i];
    bool completed = corrected->status == STATUS_COMPLETED || corrected->is_completed_later;
    assert_int_equal((entry->flags & ENTRY_OF_COMPLETED) != 0, completed);
    if (completed) {
        assert_false(entry->flags & ENTRY_COMPLETES);
        adds[COLUMN_COMPLETED_COST] += at_least_0(entry->cost);
        adds[COLUMN_COMPLETED_CREDITS] += at_least_0(entry->credits);
    }
    if (!(entry->flags & ENTRY_COMPLETES))
        return;
    corrected->is_completed_later = true;
    adds[is_run ? COLUMN_RUNS_COMPLETED : COLUMN_COMPLETED]++;
    adds[is_run ? COLUMN_LATE_RUNS_COMPLETED : COLUMN_LATE_COMPLETED]++;
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
        if (number == 0 || dimension == DIMENSION_STATUS)
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
    assert_int_equal(keys_find(books->txn, books_dbi(books, DB_KEYS), entry->client_id, &row), 0);
    assert_int_equal(row.id, entry->id);
    if (entry->given & ENTRY_REQUEST_DIGEST)
        assert_memory_equal(row.digest, entry->request_digest, ENTRY_DIGEST_BYTES);
}

static void read_entry(struct books *books, MDB_val key, MDB_val value) {
    struct booked *booked = &books->entries[books->count];
    struct ledger_entry entry;
    assert_int_equal(key.mv_size, 8);
    entry.id = get_be64(key.mv_data);
    assert_true(books->count == 0 || entry.id > booked[-1].id);
    assert_int_equal(entry_read_stored(value.mv_data, value.mv_size, &entry), 0);
    *booked = (struct booked){.id = entry.id,
                              .kind = entry.kind,
                              .status = entry.status,
                              .flags = entry.flags,
                              .link = entry.link,
                              .hold = entry.hold,
                              .has_cost = entry.given & ENTRY_COST,
                              .cost = entry.cost,
                              .credits = entry.credits,
                              .duration_ms = entry.duration_ms,
                              .digest = entry.digest,
                              .client_id = entry.client_id,
                              .run_id = entry.run_id};
    memcpy(booked->names, entry.name_numbers, sizeof booked->names);
    memcpy(booked->tokens, entry.tokens, sizeof booked->tokens);
    if (entry.status != STATUS_NONE)
        booked->names[DIMENSION_STATUS] = STATUS_NUMBER(entry.status);
    check_definitions(books, value, booked);
    weigh(books, booked, &entry);
    check_key(books, &entry);
    follow_change(books, &entry, booked);
    if (booked->adds_any)
        add_up(books, booked);
    books->count++;
}

static void read_entries(struct books *books) {
    size_t rows = rows_of(books, DB_ENTRIES);
    MDB_cursor *cursor = books_cursor(books, DB_ENTRIES);
    MDB_val key, value;
    books->entries = array_of(rows, sizeof *books->entries);
    books->resets = array_of(rows, sizeof *books->resets);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0)
        read_entry(books, key, value);
    assert_int_equal(books->count, rows);
    mdb_cursor_close(cursor);
}

/* ---- holds -------------------------------------------------------------------------------- */

struct hold *books_live_hold(const struct books *books, uint64_t id) {
    for (size_t i = 0; i < books->hold_count; i++)
        if (books->holds[i].id == id)
            return &books->holds[i];
    return NULL;
}

uint32_t books_series(const struct books *books, const struct sum_key *key) {
    uint32_t series = SERIES_EVERYTHING;
    if (key->family == FAMILY_EVERYTHING)
        return series;
    size_t count = books->ledger->declared[key->family - 1].count;
    if (names_find_series(books->txn, books_dbi(books, DB_NAMES), key->numbers, count, &series) !=
        0)
        return NONE;
    return series;
}

/* One share in each series that it belongs to, and in no other. */
static void add_shares(struct books *books, struct hold *hold) {
    uint8_t expected = 0;
    for (uint32_t family = 0; family <= books->ledger->declared_count; family++) {
        struct sum_key key;
        if ((family > 0 && !books->ledger->declared[family - 1].ready) ||
            !books_key(books, family, hold->name_numbers, &key))
            continue;
        struct hold_share *share = hold_share_of(hold, books_series(books, &key));
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
    MDB_cursor *cursor = books_cursor(books, DB_HOLDS);
    MDB_val key, value;
    books->holds = array_of(rows, sizeof *books->holds);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct hold *hold = &books->holds[books->hold_count++];
        assert_int_equal(key.mv_size, 8);
        assert_int_equal(hold_read(get_be64(key.mv_data), value.mv_data, value.mv_size, hold), 0);
        assert_null(books_entry(books, hold->id));
        add_shares(books, hold);
    }
    mdb_cursor_close(cursor);
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
