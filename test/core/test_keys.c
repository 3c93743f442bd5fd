/* What clients call their requests, and what the ledger resolved itself. */
#include "support.h"

#include "../../c_src/core/keys.h"

static char longest[KEYS_CLIENT_ID_BYTES_MAX];

/* Ids that are alike but for their length, around where they are too long for a key. */
static struct ledger_text client_id(size_t n) {
    static const size_t sizes[] = {1, 2, 499, 500, 501, 502, KEYS_CLIENT_ID_BYTES_MAX};
    memset(longest, 'i', sizeof longest);
    return (struct ledger_text){longest, sizes[n]};
}
#define IDS 7

static struct key_row row_of(uint64_t n) {
    struct key_row row = {
        .operation = (uint8_t)(1 + n % 10), .flags = n * n, .id = UINT64_MAX - n, .version = n};
    memset(row.digest, (int)n, sizeof row.digest);
    return row;
}

static void assert_found(struct ledger_text id, struct key_row row) {
    struct key_row found;
    assert_int_equal(keys_find(scratch.txn, scratch.dbi, id, &found), 0);
    assert_int_equal(found.operation, row.operation);
    assert_int_equal(found.flags, row.flags);
    assert_int_equal(found.id, row.id);
    assert_int_equal(found.version, row.version);
    assert_memory_equal(found.digest, row.digest, sizeof row.digest);
}

static void a_request_is_found_by_its_id(void **state) {
    struct key_row found;
    (void)state;
    for (size_t n = 0; n < IDS; n++) {
        struct key_row row = row_of(n);
        assert_int_equal(keys_find(scratch.txn, scratch.dbi, client_id(n), &found), MDB_NOTFOUND);
        assert_int_equal(keys_put(scratch.txn, scratch.dbi, client_id(n), &row), 0);
    }
    for (size_t n = 0; n < IDS; n++)
        assert_found(client_id(n), row_of(n));
    longest[sizeof longest - 1] = 'x';
    assert_int_equal(
        keys_find(scratch.txn, scratch.dbi, (struct ledger_text){longest, sizeof longest}, &found),
        MDB_NOTFOUND);
}

static void an_id_that_is_taken_stays_what_it_was(void **state) {
    struct key_row first = row_of(1), second = row_of(2);
    (void)state;
    for (size_t n = 0; n < IDS; n++) {
        assert_int_equal(keys_put(scratch.txn, scratch.dbi, client_id(n), &first), 0);
        assert_int_equal(keys_put(scratch.txn, scratch.dbi, client_id(n), &second), MDB_KEYEXIST);
        assert_found(client_id(n), first);
    }
}

/* The only row there is. */
static size_t only_row(uint8_t *bytes) {
    MDB_val key, value;
    assert_int_equal(mdb_cursor_get(scratch.cursor, &key, &value, MDB_FIRST), 0);
    memcpy(bytes, value.mv_data, value.mv_size);
    return value.mv_size;
}

static void replace_row(const void *data, size_t size) {
    uint8_t bytes[511];
    MDB_val key, value;
    assert_int_equal(mdb_cursor_get(scratch.cursor, &key, &value, MDB_FIRST), 0);
    memcpy(bytes, key.mv_data, key.mv_size); /* it lies in the page that is changed */
    key.mv_data = bytes;
    value = (MDB_val){size, (void *)data};
    assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
}

static void an_id_that_was_given_up_is_free(void **state) {
    struct key_row first = row_of(1), second = row_of(2), found;
    (void)state;
    for (size_t n = 0; n < IDS; n++)
        assert_int_equal(keys_put(scratch.txn, scratch.dbi, client_id(n), &first), 0);
    for (size_t n = 0; n < IDS; n++) {
        assert_int_equal(keys_delete(scratch.txn, scratch.dbi, client_id(n)), 0);
        assert_int_equal(keys_delete(scratch.txn, scratch.dbi, client_id(n)), 0);
        assert_int_equal(keys_find(scratch.txn, scratch.dbi, client_id(n), &found), MDB_NOTFOUND);
        assert_int_equal(keys_put(scratch.txn, scratch.dbi, client_id(n), &second), 0);
        if (n + 1 < IDS)
            assert_found(client_id(n + 1), first);
        assert_found(client_id(n), second);
    }
}

static void a_row_that_is_cut_or_goes_on_is_damaged(void **state) {
    struct key_row row = row_of(300), found;
    uint8_t bytes[128] = {0};
    (void)state;
    assert_int_equal(keys_put(scratch.txn, scratch.dbi, text("id"), &row), 0);
    size_t size = only_row(bytes);
    for (size_t cut = 0; cut < size + 2; cut++) {
        replace_row(bytes, cut);
        assert_int_equal(keys_find(scratch.txn, scratch.dbi, text("id"), &found),
                         cut == size ? 0 : LEDGER_E_DAMAGED);
    }
}

/* ---- how holds ended ---------------------------------------------------------------------- */

static int find_resolved(uint64_t hold, struct key_resolved *resolved) {
    return keys_find_resolved(scratch.txn, scratch.dbi, hold, resolved);
}

static void put_resolved(uint64_t hold, const struct key_resolved *resolved) {
    assert_int_equal(keys_put_resolved(scratch.txn, scratch.dbi, hold, resolved), 0);
}

static struct key_resolved resolved_of(uint64_t hold) {
    struct key_resolved resolved = {
        .entry = hold + 1000, .parent = hold % 3 * hold, .settled = hold % 2};
    if (hold % 5 > 0)
        amounts_set(&resolved.children, COLUMN_COST, (int64_t)hold);
    if (hold % 5 > 1)
        amounts_set(&resolved.children, COLUMN_INPUT_TOKENS, INT64_MAX);
    return resolved;
}

static void how_a_hold_ended_is_remembered(void **state) {
    struct key_resolved found;
    (void)state;
    for (int pass = 0; pass < 2; pass++)
        for (uint64_t hold = 1; hold < 50; hold++) {
            struct key_resolved resolved = resolved_of(hold + (uint64_t)pass);
            assert_int_equal(find_resolved(hold, &found), pass == 0 ? MDB_NOTFOUND : 0);
            put_resolved(hold, &resolved); /* the second time over the first */
        }
    for (uint64_t hold = 1; hold < 50; hold++) {
        struct key_resolved resolved = resolved_of(hold + 1);
        assert_int_equal(find_resolved(hold, &found), 0);
        assert_int_equal(found.entry, resolved.entry);
        assert_int_equal(found.parent, resolved.parent);
        assert_int_equal(found.settled, resolved.settled);
        assert_int_equal(found.children.mask, resolved.children.mask);
        if (found.children.mask & UINT64_C(1) << COLUMN_COST)
            assert_int_equal(found.children.column[COLUMN_COST], hold + 1);
    }
}

/* An id of eight bytes is not a hold. */
static void holds_and_ids_are_told_apart(void **state) {
    struct key_row row = row_of(1);
    struct key_resolved resolved = resolved_of(7), found;
    uint8_t bytes[8];
    (void)state;
    put_be64(bytes, 7);
    struct ledger_text id = {(char *)bytes, sizeof bytes};
    assert_int_equal(keys_put(scratch.txn, scratch.dbi, id, &row), 0);
    assert_int_equal(find_resolved(7, &found), MDB_NOTFOUND);
    put_resolved(7, &resolved);
    assert_found(id, row);
    assert_int_equal(keys_delete(scratch.txn, scratch.dbi, id), 0);
    assert_int_equal(find_resolved(7, &found), 0);
}

static void a_row_of_a_hold_that_is_cut_or_goes_on_is_damaged(void **state) {
    struct key_resolved resolved = resolved_of(7), found;
    uint8_t bytes[128] = {0};
    (void)state;
    put_resolved(7, &resolved);
    size_t size = only_row(bytes);
    for (size_t cut = 0; cut < size + 2; cut++) {
        replace_row(bytes, cut);
        assert_int_equal(find_resolved(7, &found), cut == size ? 0 : LEDGER_E_DAMAGED);
    }
}

/* ---- runs --------------------------------------------------------------------------------- */

static int find_run(struct ledger_text id, struct key_row *found) {
    return keys_find_run(scratch.txn, scratch.dbi, id, found);
}

static void a_run_moves_from_its_hold_to_its_entry(void **state) {
    struct key_row live = row_of(1), ended = row_of(2), found;
    (void)state;
    for (size_t n = 0; n < IDS; n++) {
        assert_int_equal(find_run(client_id(n), &found), MDB_NOTFOUND);
        assert_int_equal(keys_put_run(scratch.txn, scratch.dbi, client_id(n), &live), 0);
        assert_int_equal(find_run(client_id(n), &found), 0);
        assert_int_equal(found.id, live.id);
        assert_int_equal(keys_put_run(scratch.txn, scratch.dbi, client_id(n), &ended), 0);
    }
    for (size_t n = 0; n < IDS; n++) {
        assert_int_equal(find_run(client_id(n), &found), 0);
        assert_int_equal(found.id, ended.id);
        assert_int_equal(found.version, ended.version);
        assert_int_equal(found.operation, ended.operation);
        assert_memory_equal(found.digest, ended.digest, sizeof found.digest);
        assert_int_equal(keys_delete_run(scratch.txn, scratch.dbi, client_id(n)), 0);
        assert_int_equal(keys_delete_run(scratch.txn, scratch.dbi, client_id(n)), 0);
        assert_int_equal(find_run(client_id(n), &found), MDB_NOTFOUND);
    }
}

/* The same bytes as the id of a request, of a run, of a hold and of an entry. */
static void runs_and_requests_are_told_apart(void **state) {
    struct key_row request = row_of(1), run = row_of(2), found;
    struct key_resolved resolved = resolved_of(7), ended;
    struct key_corrected corrected = {.priced = true}, sum;
    uint8_t bytes[8];
    (void)state;
    put_be64(bytes, 7);
    struct ledger_text id = {(char *)bytes, sizeof bytes};
    assert_int_equal(keys_put_run(scratch.txn, scratch.dbi, id, &run), 0);
    assert_int_equal(keys_find(scratch.txn, scratch.dbi, id, &found), MDB_NOTFOUND);
    assert_int_equal(keys_put(scratch.txn, scratch.dbi, id, &request), 0);
    put_resolved(7, &resolved);
    assert_int_equal(keys_find_corrected(scratch.txn, scratch.dbi, 7, &sum), 0);
    assert_false(sum.priced);
    assert_int_equal(keys_put_corrected(scratch.txn, scratch.dbi, 7, &corrected), 0);
    assert_found(id, request);
    assert_int_equal(find_run(id, &found), 0);
    assert_int_equal(found.id, run.id);
    assert_int_equal(keys_delete(scratch.txn, scratch.dbi, id), 0);
    assert_int_equal(find_run(id, &found), 0);
    assert_int_equal(keys_delete_run(scratch.txn, scratch.dbi, id), 0);
    assert_int_equal(find_resolved(7, &ended), 0);
    assert_int_equal(keys_find_corrected(scratch.txn, scratch.dbi, 7, &sum), 0);
    assert_true(sum.priced);
}

static void what_was_corrected_is_remembered(void **state) {
    static const int64_t amounts[] = {-ENTRY_AMOUNT_MAX, -1, 0, 1, ENTRY_AMOUNT_MAX};
    struct key_corrected found;
    uint8_t bytes[128] = {0};
    (void)state;
    for (size_t i = 0; i < LENGTH(amounts); i++) {
        struct key_corrected corrected = {.priced = i % 2};
        amounts_set(&corrected.amounts, COLUMN_COST, amounts[i]);
        amounts_set(&corrected.amounts, COLUMN_REASONING_TOKENS, amounts[i]);
        assert_int_equal(keys_put_corrected(scratch.txn, scratch.dbi, 9, &corrected), 0);
        memset(&found, 0x5a, sizeof found);
        assert_int_equal(keys_find_corrected(scratch.txn, scratch.dbi, 9, &found), 0);
        assert_int_equal(found.priced, corrected.priced);
        assert_true(found.amounts.mask == corrected.amounts.mask);
        if (amounts[i] != 0)
            assert_int_equal(found.amounts.column[COLUMN_REASONING_TOKENS], amounts[i]);
    }
    size_t size = only_row(bytes);
    for (size_t cut = 0; cut < size + 2; cut++) {
        replace_row(bytes, cut);
        assert_int_equal(keys_find_corrected(scratch.txn, scratch.dbi, 9, &found),
                         cut == size ? 0 : LEDGER_E_DAMAGED);
    }
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(a_request_is_found_by_its_id),
        on_scratch(an_id_that_is_taken_stays_what_it_was),
        on_scratch(an_id_that_was_given_up_is_free),
        on_scratch(a_row_that_is_cut_or_goes_on_is_damaged),
        on_scratch(how_a_hold_ended_is_remembered),
        on_scratch(holds_and_ids_are_told_apart),
        on_scratch(a_row_of_a_hold_that_is_cut_or_goes_on_is_damaged),
        on_scratch(a_run_moves_from_its_hold_to_its_entry),
        on_scratch(runs_and_requests_are_told_apart),
        on_scratch(what_was_corrected_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
