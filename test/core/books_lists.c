/* What ledger_list() and the sums say of random filters, against a fold over all entries. */
#include "books_internal.h"

#define HOUR_US (HOUR_MS * 1000)
#define IN_SERIES                                                                                  \
    (1u << KIND_INVOCATION | 1u << KIND_RUN | 1u << KIND_CORRECTION | 1u << KIND_GRANT)

/* A filter, and what it says in numbers. */
struct asked {
    struct ledger_filter filter;
    struct ledger_text names[DIMENSION_LIMIT];
    uint32_t numbers[DIMENSION_LIMIT]; /* NONE: a name that was never used */
};

/* ---- filters ------------------------------------------------------------------------------ */

/* At an entry or beside it, or at an hour or a day. */
static uint64_t random_time(const struct books *books) {
    uint64_t id = books->count == 0 ? 0 : books->entries[random_below(books->count)].id;
    uint64_t step = random_below(2) ? HOUR_US : 24 * HOUR_US;
    switch (random_below(4)) {
    case 0:
        return (id / step + random_below(2)) * step + random_below(3) - (id >= step);
    case 1:
        return id / step * step;
    default:
        return id + random_below(3) - (id > 0);
    }
}

static void choose_time(const struct books *books, struct asked *asked) {
    asked->filter.since = random_below(3) ? random_time(books) : 0;
    asked->filter.until = random_below(3) ? random_time(books) : UINT64_MAX;
}

static const char *const status_words[] = {"none", "completed", "failed", "aborted"};

static uint32_t status_number(struct ledger_text word) {
    for (int status = STATUS_COMPLETED; status <= STATUS_ABORTED; status++)
        if (text_equal(word, text(status_words[status])))
            return STATUS_NUMBER(status);
    return NONE;
}

/* One that some entry has, or one that is not there. */
static void choose_name(const struct books *books, struct asked *asked, int dimension) {
    if (dimension == DIMENSION_STATUS) {
        asked->names[dimension] = text(status_words[1 + random_below(3)]);
        asked->numbers[dimension] = status_number(asked->names[dimension]);
        return;
    }
    asked->names[dimension] = text("nobody");
    asked->numbers[dimension] = NONE;
    for (int i = 0; i < 8 && books->count > 0; i++) {
        uint32_t number = books->entries[random_below(books->count)].names[dimension];
        if (number == 0)
            continue;
        asked->names[dimension] = books->names[number].text;
        asked->numbers[dimension] = number;
        return;
    }
}

static void choose_names(const struct books *books, struct asked *asked) {
    uint32_t family = (uint32_t)random_below(books->ledger->declared_count + 1);
    for (uint8_t i = 0; family > 0 && i < books->ledger->declared[family - 1].count; i++)
        choose_name(books, asked, books->ledger->declared[family - 1].dimensions[i]);
    if (random_below(4) == 0)
        choose_name(books, asked, 1 + (int)random_below(DIMENSION_PROVIDER));
}

static bool is_in_time(const struct asked *asked, const struct booked *entry) {
    return entry->id >= asked->filter.since && entry->id < asked->filter.until;
}

static bool has_names(const struct asked *asked, const struct booked *entry) {
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        if (asked->numbers[dimension] != 0 && asked->numbers[dimension] != entry->names[dimension])
            return false;
    return true;
}

/* ---- lists -------------------------------------------------------------------------------- */

struct told {
    const struct books *books;
    const struct ledger_list_query *query;
    size_t count;
    uint64_t *ids;
};

static bool same_bytes(struct ledger_text a, struct ledger_text b) {
    return (a.data == NULL) == (b.data == NULL) && (a.data == NULL || text_equal(a, b));
}

static void keep_row(void *context, const struct ledger_entry *entry,
                     const struct ledger_payload *payload) {
    struct told *told = context;
    const struct booked *booked = books_entry(told->books, entry->id);
    assert_non_null(booked);
    assert_true(told->count < told->books->count);
    told->ids[told->count++] = entry->id;
    assert_int_equal(entry->kind, booked->kind);
    assert_int_equal(entry->status, booked->status);
    assert_int_equal(entry->cost, booked->cost);
    assert_true(same_bytes(entry->run_id, booked->run_id));
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        uint32_t number = dimension == DIMENSION_STATUS ? 0 : booked->names[dimension];
        assert_int_equal(entry->names[dimension].data != NULL, number != 0);
        if (number != 0)
            assert_true(text_equal(entry->names[dimension], told->books->names[number].text));
    }
    bool has_payload = payload->map.data != NULL || payload->redacted_by != 0;
    assert_int_equal(has_payload, told->query->payloads && booked->digest != NULL);
}

static bool is_wanted(const struct asked *asked, const struct booked *entry) {
    uint32_t statuses = asked->filter.statuses;
    return is_in_time(asked, entry) && asked->filter.kinds & 1u << entry->kind &&
           (statuses == 0 || statuses & 1u << entry->status) && has_names(asked, entry);
}

static size_t fold(const struct books *books, const struct asked *asked, bool forward,
                   uint64_t *ids) {
    size_t count = 0;
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[forward ? i : books->count - 1 - i];
        if (is_wanted(asked, entry))
            ids[count++] = entry->id;
    }
    return count;
}

/* Where the total must be known: what is counted by the very series of all the names. */
static bool is_known(const struct books *books, const struct asked *asked) {
    unsigned given = 0;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        given += asked->numbers[dimension] != 0;
        if (asked->numbers[dimension] == NONE)
            return true;
    }
    if (asked->filter.kinds & ~IN_SERIES)
        return false;
    for (size_t i = 0; given > 0 && i < books->ledger->declared_count; i++) {
        const struct declared_series *declared = &books->ledger->declared[i];
        bool same = declared->ready && declared->count == given;
        for (uint8_t k = 0; same && k < declared->count; k++)
            same = asked->numbers[declared->dimensions[k]] != 0;
        if (same)
            return true;
    }
    return given == 0;
}

static void check_list(const struct books *books, const struct asked *asked,
                       struct ledger_list_query query) {
    size_t expected_count, matched = 0;
    uint64_t *expected = calloc(books->count + 1, sizeof *expected);
    struct told told = {books, &query, 0, calloc(books->count + 1, sizeof *told.ids)};
    struct ledger_page page;
    bool counts_only = random_below(3) == 0;
    assert_non_null(expected);
    assert_non_null(told.ids);
    expected_count = fold(books, asked, query.oldest_first, expected);
    size_t pages = 0;
    do {
        assert_true(pages++ <= 2 * books->count + 2);
        assert_int_equal(
            ledger_list(books->ledger, &query, counts_only ? NULL : keep_row, &told, &page), 0);
        assert_true(page.matched <= query.limit);
        matched += page.matched;
        if (!counts_only)
            assert_int_equal(matched, told.count);
        if (page.total_known)
            assert_int_equal(page.total, expected_count);
        else
            assert_false(is_known(books, asked));
        query.cursor = page.next;
    } while (!page.done);
    assert_int_equal(matched, expected_count);
    if (!counts_only && expected_count > 0)
        assert_memory_equal(told.ids, expected, expected_count * sizeof *expected);
    free(expected);
    free(told.ids);
}

/* A status by name and as one of the statuses, as whoever asks for it says both. */
void books_check_lists(const struct books *books) {
    for (int i = 0; i < 3; i++) {
        struct asked asked = {.filter = {.kinds = (uint32_t)random_word() & ALL_KINDS}};
        asked.filter.names = asked.names;
        if (random_below(2))
            asked.filter.kinds &= IN_SERIES;
        if (random_below(2))
            choose_names(books, &asked);
        choose_time(books, &asked);
        if (asked.numbers[DIMENSION_STATUS] != 0)
            asked.filter.statuses = 1u << (asked.numbers[DIMENSION_STATUS] - STATUS_NUMBER(0));
        else if (random_below(2))
            asked.filter.statuses = (uint32_t)random_below(16);
        struct ledger_list_query query = {
            .oldest_first = random_below(2),
            .payloads = random_below(2),
            .limit = random_below(2) ? 1 + random_below(9) : UINT64_MAX,
            .scan = random_below(2) ? 1 + random_below(50) : UINT64_MAX};
        query.filter = asked.filter;
        check_list(books, &asked, query);
    }
}

/* ---- sums --------------------------------------------------------------------------------- */

static struct ledger_sums sum_by_hand(const struct books *books, const struct asked *asked) {
    struct extremes extremes[EXTREMES_MEASURES] = {{0}};
    struct ledger_sums sums = {0};
    for (size_t i = 0; i < books->count; i++) {
        const struct booked *entry = &books->entries[i];
        if (!entry->adds_any || !is_in_time(asked, entry) || !has_names(asked, entry))
            continue;
        for (int column = 0; column < COLUMN_COUNT; column++)
            sums.totals.column[column] += entry->adds[column];
        books_widen(extremes, entry);
    }
    for (int i = 0; i < EXTREMES_MEASURES; i++)
        sums.extremes[i] =
            (struct ledger_extremes){extremes[i].any, extremes[i].min, extremes[i].max};
    return sums;
}

static void assert_sums(const struct ledger_sums *sums, const struct ledger_sums *expected) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (sums->totals.column[column] != expected->totals.column[column])
            fail_msg("column %d sums up to %lld, not %lld", column,
                     (long long)sums->totals.column[column],
                     (long long)expected->totals.column[column]);
    for (int i = 0; i < EXTREMES_MEASURES; i++) {
        assert_int_equal(sums->extremes[i].any, expected->extremes[i].any);
        assert_int_equal(sums->extremes[i].min, expected->extremes[i].min);
        assert_int_equal(sums->extremes[i].max, expected->extremes[i].max);
    }
}

static bool is_zero(const struct ledger_sums *sums) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (sums->totals.column[column] != 0)
            return false;
    return true;
}

struct values {
    const struct books *books;
    struct asked *asked;
    int dimension;
    size_t count;
};

static void check_value(void *context, struct ledger_text value, const struct ledger_sums *sums) {
    struct values *values = context;
    uint32_t number = values->dimension == DIMENSION_STATUS
                          ? status_number(value)
                          : books_number(values->books, values->dimension, value);
    assert_true(number != NONE);
    values->asked->numbers[values->dimension] = number;
    struct ledger_sums expected = sum_by_hand(values->books, values->asked);
    assert_sums(sums, &expected);
    assert_false(is_zero(sums));
    values->count++;
}

/* How many values of the dimension have something, by hand. */
static size_t count_values(const struct books *books, struct asked *asked, int dimension) {
    size_t count = 0;
    for (int status = STATUS_COMPLETED; dimension == DIMENSION_STATUS && status <= STATUS_ABORTED;
         status++) {
        asked->numbers[dimension] = STATUS_NUMBER(status);
        struct ledger_sums sums = sum_by_hand(books, asked);
        count += !is_zero(&sums);
    }
    for (uint32_t number = 1; dimension != DIMENSION_STATUS && number < books->name_count;
         number++) {
        if (!books->names[number].is_there || books->names[number].dimension != dimension)
            continue;
        asked->numbers[dimension] = number;
        struct ledger_sums sums = sum_by_hand(books, asked);
        count += !is_zero(&sums);
    }
    return count;
}

static void check_sums_by(const struct books *books, const struct declared_series *declared,
                          struct asked asked) {
    int dimension = declared->dimensions[random_below(declared->count)];
    struct ledger_text without[DIMENSION_LIMIT];
    struct values values = {books, &asked, dimension, 0};
    uint32_t after = 0;
    bool done = false;
    memcpy(without, asked.names, sizeof without);
    without[dimension] = (struct ledger_text){0};
    struct ledger_filter filter = asked.filter;
    filter.names = without;
    size_t expected = count_values(books, &asked, dimension);
    while (!done) {
        size_t before = values.count;
        uint64_t limit = 1 + random_below(3);
        int rc = ledger_sum_up_by(books->ledger, &filter, (uint8_t)dimension, &after, limit,
                                  check_value, &values, &done);
        if (!declared->ready) {
            assert_int_equal(rc, LEDGER_E_BUILDING);
            return;
        }
        assert_int_equal(rc, 0);
        assert_true(values.count - before <= limit);
    }
    assert_int_equal(values.count, expected);
}

void books_check_sums(const struct books *books) {
    const struct ledger *ledger = books->ledger;
    for (int i = 0; i < 3; i++) {
        struct asked asked = {.filter = {0}};
        struct ledger_sums sums, expected;
        size_t family = random_below(ledger->declared_count + 1);
        const struct declared_series *declared = family > 0 ? &ledger->declared[family - 1] : NULL;
        asked.filter.names = asked.names;
        for (uint8_t k = 0; declared != NULL && k < declared->count; k++)
            choose_name(books, &asked, declared->dimensions[k]);
        choose_time(books, &asked);
        int rc = ledger_sum_up(books->ledger, &asked.filter, &sums);
        assert_int_equal(rc, declared != NULL && !declared->ready ? LEDGER_E_BUILDING : 0);
        expected = sum_by_hand(books, &asked);
        if (rc == 0)
            assert_sums(&sums, &expected);
        if (declared != NULL)
            check_sums_by(books, declared, asked);
    }
}
