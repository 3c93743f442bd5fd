/* The row of a live hold, and that of what a series holds. */
#include "support.h"

#include "../../c_src/core/hold.h"

static int64_t amount(void) {
    return (int64_t)random_below(UINT64_C(1) << random_below(63));
}

static const char bytes[3000] = "what an owner is, only its writer knows";

static struct ledger_text any_text(size_t most) {
    size_t size = random_below(most);
    return (struct ledger_text){size == 0 ? NULL : bytes, size};
}

/* With any of what a hold may have. */
static struct hold any_hold(void) {
    struct hold hold = {.id = 1 + random_below(1000),
                        .kind = random_below(2) ? KIND_INVOCATION : KIND_RUN,
                        .repeats = random_below(3),
                        .deadline_us = random_word() >> random_below(64),
                        .extend_ms = random_word() >> random_below(64),
                        .policy_version = random_below(1000),
                        .parent = random_below(2) * random_below(1000),
                        .open_children = random_below(3),
                        .given = (uint32_t)random_below(8),
                        .share_count = (uint8_t)random_below(HOLD_SHARES_MAX + 1),
                        .owner = any_text(random_below(2) ? 40 : 3000),
                        .client_id = any_text(40),
                        .metered = any_text(random_below(2) ? 40 : 3000),
                        .run_id = any_text(40)};
    for (size_t i = 0; i < GATE_BOOT_ID_BYTES; i++)
        hold.boot_id[i] = (uint8_t)random_word();
    if (hold.given & ENTRY_COST)
        hold.cost = amount();
    if (hold.given & ENTRY_CREDITS)
        hold.credits = amount();
    for (int i = 0; hold.given & ENTRY_TOKENS && i < TOKENS_CLASSES; i++)
        hold.tokens[i] = amount();
    for (int i = 0; i < 4; i++)
        amounts_set(&hold.children, random_below(COLUMN_COUNT), amount());
    for (int i = 1; i < DIMENSION_LIMIT; i++)
        if (entry_dimension_is_assigned(i) && random_below(4) == 0)
            hold.name_numbers[i] = 1 + (uint32_t)random_below(UINT32_MAX);
    for (uint8_t i = 0; i < hold.share_count; i++) {
        hold.shares[i].series = (uint32_t)random_word();
        for (int column = 0; column < HELD_COLUMNS; column++) {
            hold.shares[i].held[column] = random_below(2) * amount();
            hold.shares[i].drawn[column] = random_below(2) * amount();
        }
    }
    return hold;
}

static void assert_same_text(struct ledger_text a, struct ledger_text b) {
    assert_int_equal(a.size, b.size);
    if (a.size > 0)
        assert_memory_equal(a.data, b.data, a.size);
}

static void assert_same(const struct hold *a, const struct hold *b) {
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->repeats, b->repeats);
    assert_memory_equal(a->boot_id, b->boot_id, GATE_BOOT_ID_BYTES);
    assert_int_equal(a->deadline_us, b->deadline_us);
    assert_int_equal(a->extend_ms, b->extend_ms);
    assert_int_equal(a->policy_version, b->policy_version);
    assert_int_equal(a->parent, b->parent);
    assert_int_equal(a->open_children, b->open_children);
    assert_int_equal(a->given, b->given);
    assert_int_equal(a->cost, b->cost);
    assert_int_equal(a->credits, b->credits);
    assert_memory_equal(a->tokens, b->tokens, sizeof a->tokens);
    assert_int_equal(a->children.mask, b->children.mask);
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (a->children.mask >> column & 1)
            assert_int_equal(a->children.column[column], b->children.column[column]);
    assert_memory_equal(a->name_numbers, b->name_numbers, sizeof a->name_numbers);
    assert_int_equal(a->share_count, b->share_count);
    for (uint8_t i = 0; i < a->share_count; i++) {
        assert_int_equal(a->shares[i].series, b->shares[i].series);
        assert_memory_equal(a->shares[i].held, b->shares[i].held, sizeof a->shares[i].held);
        assert_memory_equal(a->shares[i].drawn, b->shares[i].drawn, sizeof a->shares[i].drawn);
    }
    assert_same_text(a->owner, b->owner);
    assert_same_text(a->client_id, b->client_id);
    assert_same_text(a->metered, b->metered);
    assert_same_text(a->run_id, b->run_id);
}

/* What lies in the database under that id, copied out. */
static uint8_t *row_of(uint64_t id, size_t *size) {
    uint8_t key_bytes[8];
    MDB_val key = {sizeof key_bytes, key_bytes}, value;
    put_be64(key_bytes, id);
    assert_int_equal(mdb_get(scratch.txn, scratch.dbi, &key, &value), 0);
    uint8_t *copy = malloc(value.mv_size + 1);
    assert_non_null(copy);
    memcpy(copy, value.mv_data, value.mv_size);
    *size = value.mv_size;
    return copy;
}

static void a_hold_comes_back_as_it_was(void **state) {
    struct hold read = {0};
    (void)state;
    for (size_t i = rounds(3000); i > 0; i--) {
        struct hold hold = any_hold();
        assert_int_equal(hold_store(scratch.txn, scratch.dbi, &hold), 0);
        assert_int_equal(hold_load(scratch.txn, scratch.dbi, hold.id, &read), 0);
        assert_same(&read, &hold);
    }
    assert_int_equal(hold_load(scratch.txn, scratch.dbi, 2000, &read), MDB_NOTFOUND);
    hold_free(&read);
}

/* Whoever has read one and puts another must not find it changed. */
static void what_was_read_does_not_change_with_the_next_put(void **state) {
    struct hold hold = any_hold(), read = {0};
    (void)state;
    hold.owner = text("an owner");
    hold.metered = text("a draft");
    assert_int_equal(hold_store(scratch.txn, scratch.dbi, &hold), 0);
    assert_int_equal(hold_load(scratch.txn, scratch.dbi, hold.id, &read), 0);
    for (int i = 0; i < 50; i++) {
        struct hold other = any_hold();
        assert_int_equal(hold_store(scratch.txn, scratch.dbi, &other), 0);
    }
    assert_same(&read, &hold);
    hold_free(&read);
}

/* An error, or the same row: bytes that say nothing must not be there. */
static void check_bytes(uint64_t id, const uint8_t *row, size_t size) {
    struct hold read = {0};
    size_t size_after;
    int rc = hold_read(id, row, size, &read);
    assert_true(rc == 0 || rc == LEDGER_E_DAMAGED || rc == LEDGER_E_NEWER);
    if (rc == 0) {
        struct hold again = {0};
        assert_int_equal(hold_store(scratch.txn, scratch.dbi, &read), 0);
        uint8_t *after = row_of(id, &size_after);
        assert_int_equal(hold_read(id, after, size_after, &again), 0);
        assert_same(&again, &read);
        free(after);
        hold_free(&again);
    }
    hold_free(&read);
}

static void a_row_cut_anywhere_is_damaged(void **state) {
    (void)state;
    for (size_t i = rounds(40); i > 0; i--) {
        struct hold hold = any_hold(), read = {0};
        size_t size;
        assert_int_equal(hold_store(scratch.txn, scratch.dbi, &hold), 0);
        uint8_t *row = row_of(hold.id, &size);
        for (size_t cut = 0; cut < size; cut++)
            assert_int_equal(hold_read(hold.id, row, cut, &read), LEDGER_E_DAMAGED);
        row[size] = 0;
        assert_int_equal(hold_read(hold.id, row, size + 1, &read), LEDGER_E_DAMAGED);
        free(row);
        hold_free(&read);
    }
}

static void flipped_bits_do_no_harm(void **state) {
    (void)state;
    for (size_t i = rounds(20); i > 0; i--) {
        struct hold hold = any_hold();
        size_t size;
        hold.share_count %= 4;
        hold.owner.size = hold.metered.size = 20; /* most bits say something */
        hold.owner.data = hold.metered.data = bytes;
        assert_int_equal(hold_store(scratch.txn, scratch.dbi, &hold), 0);
        uint8_t *row = row_of(hold.id, &size);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            row[bit / 8] ^= (uint8_t)(1 << bit % 8);
            check_bytes(hold.id, row, size);
            row[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        free(row);
    }
}

static void garbage_is_no_hold(void **state) {
    uint8_t garbage[200];
    (void)state;
    for (size_t i = rounds(20000); i > 0; i--) {
        for (size_t k = 0; k < sizeof garbage; k++)
            garbage[k] = (uint8_t)(random_word() >> 8 & random_word());
        garbage[0] = HOLD_VERSION;
        check_bytes(5, garbage, random_below(sizeof garbage));
    }
}

static void a_hold_of_a_later_version_is_told_apart_from_damage(void **state) {
    struct hold hold = any_hold(), read = {0};
    size_t size;
    (void)state;
    assert_int_equal(hold_store(scratch.txn, scratch.dbi, &hold), 0);
    uint8_t *row = row_of(hold.id, &size);
    row[0] = HOLD_VERSION + 1;
    assert_int_equal(hold_read(hold.id, row, size, &read), LEDGER_E_NEWER);
    row[0] = 0;
    assert_int_equal(hold_read(hold.id, row, size, &read), LEDGER_E_DAMAGED);
    row[0] = HOLD_VERSION;
    row[1] = KIND_GRANT;
    assert_int_equal(hold_read(hold.id, row, size, &read), LEDGER_E_DAMAGED);
    free(row);
    hold_free(&read);
}

static void a_share_is_found_by_its_series(void **state) {
    struct hold hold = {.share_count = 2, .shares = {{.series = 0}, {.series = 9}}};
    (void)state;
    assert_ptr_equal(hold_share_of(&hold, 0), &hold.shares[0]);
    assert_ptr_equal(hold_share_of(&hold, 9), &hold.shares[1]);
    assert_null(hold_share_of(&hold, 1));
}

/* ---- what a series holds ------------------------------------------------------------------ */

static struct held held_in(uint32_t series) {
    struct held held;
    assert_int_equal(held_load(scratch.txn, scratch.dbi, series, &held), 0);
    return held;
}

static void assert_same_held(struct held a, struct held b) {
    assert_int_equal(a.holds, b.holds);
    assert_int_equal(a.until_us, b.until_us);
    for (int column = 0; column < HELD_COLUMNS; column++)
        assert_true(a.column[column] == b.column[column]);
}

static void what_a_series_holds_comes_back_as_it_was(void **state) {
    static const struct held nothing;
    (void)state;
    assert_same_held(held_in(5), nothing);
    for (size_t i = rounds(2000); i > 0; i--) {
        uint32_t series = (uint32_t)random_below(20);
        struct held held = {.holds = 1 + random_below(9), .until_us = random_word()};
        for (int column = 0; column < HELD_COLUMNS; column++)
            held.column[column] = (ledger_sum)(random_below(2) * random_word()) << random_below(60);
        assert_int_equal(held_store(scratch.txn, scratch.dbi, series, &held), 0);
        assert_same_held(held_in(series), held);
    }
}

static void without_holds_there_is_no_row(void **state) {
    struct held held = {.holds = 1, .until_us = 9, .column = {1}};
    MDB_stat stat;
    (void)state;
    assert_int_equal(held_store(scratch.txn, scratch.dbi, 5, &held), 0);
    held.holds = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(held_store(scratch.txn, scratch.dbi, 5, &held), 0);
        assert_int_equal(mdb_stat(scratch.txn, scratch.dbi, &stat), 0);
        assert_int_equal(stat.ms_entries, 0);
    }
}

static void a_row_of_what_is_held_that_is_cut_or_changed_does_no_harm(void **state) {
    struct held held = {.holds = 3, .until_us = START_US, .column = {1, 1 << 20, 0, 7}}, read;
    uint8_t key_bytes[4], row[64];
    MDB_val key = {sizeof key_bytes, key_bytes}, value;
    (void)state;
    put_be32(key_bytes, 5);
    assert_int_equal(held_store(scratch.txn, scratch.dbi, 5, &held), 0);
    assert_int_equal(mdb_get(scratch.txn, scratch.dbi, &key, &value), 0);
    size_t size = value.mv_size;
    memcpy(row, value.mv_data, size);
    for (size_t cut = 0; cut < size; cut++) {
        value = (MDB_val){cut, row};
        assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
        assert_int_equal(held_load(scratch.txn, scratch.dbi, 5, &read), LEDGER_E_DAMAGED);
    }
    for (size_t bit = 0; bit < 8 * size; bit++) {
        row[bit / 8] ^= (uint8_t)(1 << bit % 8);
        value = (MDB_val){size, row};
        assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
        int rc = held_load(scratch.txn, scratch.dbi, 5, &read);
        assert_true(rc == 0 || rc == LEDGER_E_DAMAGED);
        row[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(a_hold_comes_back_as_it_was),
        on_scratch(what_was_read_does_not_change_with_the_next_put),
        on_scratch(a_row_cut_anywhere_is_damaged),
        on_scratch(flipped_bits_do_no_harm),
        on_scratch(garbage_is_no_hold),
        on_scratch(a_hold_of_a_later_version_is_told_apart_from_damage),
        on_scratch(a_share_is_found_by_its_series),
        on_scratch(what_a_series_holds_comes_back_as_it_was),
        on_scratch(without_holds_there_is_no_row),
        on_scratch(a_row_of_what_is_held_that_is_cut_or_changed_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
