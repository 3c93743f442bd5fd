/* History, single entries and counts. */
#include "support.h"

struct rows {
    size_t count;
    uint64_t ids[2000];
};

static void keep_row(void *context, const struct ledger_entry *entry,
                     const struct ledger_payload *payload) {
    struct rows *rows = context;
    assert_null(payload->map.data);
    rows->ids[rows->count++] = entry->id;
}

static struct rows rows;

static void query(struct ledger *ledger, const char *state, uint64_t since, uint64_t before,
                  uint64_t limit) {
    struct ledger_list_query query = list_of(1u << KIND_INVOCATION);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_page page;
    if (state != NULL)
        names[DIMENSION_STATE] = text(state);
    query.filter.names = names;
    query.filter.since = since;
    query.filter.until = before;
    query.limit = limit;
    rows.count = 0;
    assert_int_equal(ledger_list(ledger, &query, keep_row, &rows, &page), 0);
    assert_int_equal(page.matched, rows.count);
}

static size_t booked_count;
static uint64_t booked[2000];
static const char *booked_state[2000];

static struct ledger *open_with_history(const char *directory, size_t count) {
    static const char *const names[] = {"executing", "executing", "planning"};
    struct ledger *ledger = open_ledger(directory);
    int64_t now = START_US;
    booked_count = 0;
    while (booked_count < count) {
        struct drafts drafts = {0};
        now += (int64_t)random_below(5000);
        at_time(ledger, now);
        for (size_t n = random_below(30) + 1; n > 0 && booked_count + drafts.count < count; n--) {
            const char *name = names[random_below(3)];
            struct ledger_entry entry = invocation(name);
            booked_state[booked_count + drafts.count] = name;
            add_draft(&drafts, &entry);
        }
        assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
        for (size_t i = 0; i < drafts.count; i++)
            booked[booked_count++] = drafts.requests[i].id;
        free_drafts(&drafts);
    }
    return ledger;
}

/* The same, by looking at every one. */
static void assert_rows(const char *state, uint64_t since, uint64_t before, uint64_t limit) {
    size_t expected = 0;
    for (size_t i = booked_count; i-- > 0 && expected < limit;) {
        if (booked[i] >= before || booked[i] < since ||
            (state != NULL && strcmp(state, booked_state[i]) != 0))
            continue;
        assert_true(expected < rows.count);
        assert_int_equal(rows.ids[expected++], booked[i]);
    }
    assert_int_equal(rows.count, expected);
}

static void history_is_newest_first_between_its_bounds(void **state) {
    struct ledger *ledger = open_with_history(*state, rounds(1500));
    for (size_t i = rounds(500); i > 0; i--) {
        static const char *const states[] = {NULL, "executing", "planning", "reviewing"};
        const char *name = states[random_below(4)];
        uint64_t since = booked[random_below(booked_count)] + random_below(3) - 1;
        uint64_t before = booked[random_below(booked_count)] + random_below(3) - 1;
        uint64_t limit = random_below(2) ? UINT64_MAX : random_below(70);
        if (random_below(4) == 0)
            since = 0;
        if (random_below(4) == 0)
            before = UINT64_MAX;
        query(ledger, name, since, before, limit);
        assert_rows(name, since, before, limit);
    }
    close_ledger(ledger);
}

static void the_bounds_are_since_this_and_before_that(void **state) {
    struct ledger *ledger = open_with_history(*state, 10);
    query(ledger, NULL, booked[3], booked[7], UINT64_MAX);
    assert_int_equal(rows.count, 4);
    assert_int_equal(rows.ids[0], booked[6]);
    assert_int_equal(rows.ids[3], booked[3]);
    query(ledger, NULL, 0, UINT64_MAX, 0);
    assert_int_equal(rows.count, 0);
    query(ledger, NULL, 0, 0, UINT64_MAX);
    assert_int_equal(rows.count, 0);
    close_ledger(ledger);
}

static void pages_follow_each_other_without_gap(void **state) {
    struct ledger *ledger = open_with_history(*state, 200);
    uint64_t before = UINT64_MAX;
    size_t left = booked_count;
    do {
        query(ledger, NULL, 0, before, 7);
        for (size_t i = 0; i < rows.count; i++)
            assert_int_equal(rows.ids[i], booked[--left]);
        if (rows.count > 0)
            before = rows.ids[rows.count - 1];
    } while (rows.count > 0);
    assert_int_equal(left, 0);
    close_ledger(ledger);
}

static void an_unknown_state_has_no_history_and_no_counts(void **state) {
    struct ledger *ledger = open_with_history(*state, 20);
    query(ledger, "dreaming", 0, UINT64_MAX, UINT64_MAX);
    assert_int_equal(rows.count, 0);
    assert_int_equal(count_of(ledger, "dreaming"), 0);
    close_ledger(ledger);
}

static bool check_fields(void *context, const struct ledger_entry *entry) {
    const struct ledger_entry *expected = context;
    assert_int_equal(entry->status, expected->status);
    assert_int_equal(entry->cost, expected->cost);
    assert_int_equal(entry->duration_ms, expected->duration_ms);
    assert_memory_equal(entry->tokens, expected->tokens, sizeof entry->tokens);
    for (int i = 1; i < DIMENSION_LIMIT; i++) {
        assert_int_equal(entry->names[i].data == NULL, expected->names[i].data == NULL);
        if (entry->names[i].data != NULL)
            assert_true(text_equal(entry->names[i], expected->names[i]));
    }
    assert_true(text_equal(entry->client_id, expected->client_id));
    return true;
}

static void an_entry_comes_back_with_all_it_carried(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = invocation("executing");
    entry.status = STATUS_ABORTED;
    entry.given = ENTRY_COST | ENTRY_TOKENS;
    entry.cost = 123456789;
    entry.duration_ms = 17;
    entry.tokens[TOKENS_OUTPUT] = 400;
    entry.client_id = text("mine");
    entry.names[DIMENSION_USER] = text("ada");
    entry.names[DIMENSION_PROMPT_TYPE] = text("chat");
    entry.names[DIMENSION_LIMIT - 1] = text("custom");
    uint64_t id = book_entry(ledger, &entry);
    assert_int_equal(ledger_fetch(ledger, id, check_fields, &entry), 0);
    assert_int_equal(ledger_fetch(ledger, id + 1, check_fields, &entry), MDB_NOTFOUND);
    ledger = reopen(ledger, *state);
    assert_int_equal(ledger_fetch(ledger, id, check_fields, &entry), 0);
    close_ledger(ledger);
}

static void counts_are_exact_at_the_edge_of_a_window(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    book(ledger, "executing");
    at_time(ledger, START_US + (int64_t)HOUR_MS * 1000);
    book(ledger, "planning");
    assert_int_equal(count_in(ledger, NULL, HOUR_MS), 2);
    assert_int_equal(count_in(ledger, "executing", HOUR_MS), 1);
    at_time(ledger, START_US + (int64_t)HOUR_MS * 1000 + 1000);
    assert_int_equal(count_in(ledger, NULL, HOUR_MS), 1);
    assert_int_equal(count_in(ledger, "executing", HOUR_MS), 0);
    assert_int_equal(count_in(ledger, "executing", DAY_MS), 1);
    assert_int_equal(count_of(ledger, "executing"), 1);
    close_ledger(ledger);
}

static void count_row(void *context, const struct ledger_counts *counts) {
    size_t *row = context;
    if (*row == 0)
        assert_null(counts->state.data);
    else
        assert_true(text_equal(counts->state, three_states.states[*row - 1]));
    ++*row;
}

static void counts_come_as_the_total_and_then_every_state(void **state) {
    struct ledger *ledger = open_ledger(*state);
    static const uint64_t windows[2] = {HOUR_MS, DAY_MS};
    size_t row = 0;
    int64_t now_us = -1;
    at_time(ledger, START_US);
    assert_int_equal(ledger_count(ledger, NULL, windows, count_row, &row, &now_us), 0);
    assert_int_equal(row, 4);
    assert_int_equal(now_us, START_US);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(history_is_newest_first_between_its_bounds),
        in_directory(the_bounds_are_since_this_and_before_that),
        in_directory(pages_follow_each_other_without_gap),
        in_directory(an_unknown_state_has_no_history_and_no_counts),
        in_directory(an_entry_comes_back_with_all_it_carried),
        in_directory(counts_are_exact_at_the_edge_of_a_window),
        in_directory(counts_come_as_the_total_and_then_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
