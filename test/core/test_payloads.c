/* The open-ended part of entries: what was said comes back, or is taken away without a trace in
 * any number. */
#include "records.h"

#include <stdio.h>

#include "../../c_src/core/digest.h"
#include "../../c_src/core/payloads.h"

static const uint8_t salt[ENTRY_SALT_BYTES] = "0123456789abcdef";

/* ---- rows --------------------------------------------------------------------------------- */

static struct ledger_payload find(uint64_t id) {
    struct ledger_payload payload;
    memset(&payload, 0x5a, sizeof payload);
    assert_int_equal(payloads_find(scratch.txn, scratch.dbi, id, &payload), 0);
    return payload;
}

static void a_map_comes_back_with_its_salt(void **state) {
    static char bytes[20000];
    static const size_t sizes[] = {1, 2, 100, 2000, 5000, sizeof bytes};
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)random_word();
    for (size_t i = 0; i < LENGTH(sizes); i++)
        assert_int_equal(payloads_put(scratch.txn, scratch.dbi, 10 * (i + 1), salt,
                                      (struct ledger_text){bytes, sizes[i]}),
                         0);
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        struct ledger_payload payload = find(10 * (i + 1));
        assert_memory_equal(payload.salt, salt, sizeof salt);
        assert_int_equal(payload.map.size, sizes[i]);
        assert_memory_equal(payload.map.data, bytes, sizes[i]);
        assert_int_equal(payload.redacted_by, 0);
        payload = find(10 * (i + 1) + 1);
        assert_null(payload.map.data);
        assert_null(payload.salt);
        assert_int_equal(payload.redacted_by, 0);
    }
}

static void what_is_taken_away_is_named_by_what_took_it(void **state) {
    (void)state;
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(payloads_put(scratch.txn, scratch.dbi, id, salt, text("a map")), 0);
    assert_int_equal(payloads_redact(scratch.txn, scratch.dbi, 2, UINT64_MAX - 7), 0);
    assert_null(find(2).map.data);
    assert_true(find(2).redacted_by == UINT64_MAX - 7);
    assert_true(text_equal(find(1).map, text("a map")));
    assert_true(text_equal(find(3).map, text("a map")));
}

static void bytes_that_are_no_row_are_damage(void **state) {
    static const uint8_t rows[][30] = {{0}, {1}, {2}, {3}};
    uint8_t id[8] = {0, 0, 0, 0, 0, 0, 0, 9};
    struct ledger_payload payload;
    (void)state;
    for (size_t kind = 0; kind < LENGTH(rows); kind++)
        for (size_t size = 0; size <= sizeof rows[0]; size++) {
            MDB_val key = {sizeof id, id}, value = {size, (void *)rows[kind]};
            assert_int_equal(mdb_put(scratch.txn, scratch.dbi, &key, &value, 0), 0);
            bool fine = (kind == 1 && size > 1 + ENTRY_SALT_BYTES) || (kind == 2 && size == 9);
            assert_int_equal(payloads_find(scratch.txn, scratch.dbi, 9, &payload),
                             fine ? 0 : LEDGER_E_DAMAGED);
        }
}

/* ---- in a ledger -------------------------------------------------------------------------- */

struct seen {
    size_t count;
    char map[64];
    size_t size;
    uint64_t redacted_by;
    bool has_digest;
    uint8_t digest[ENTRY_DIGEST_BYTES];
    uint8_t bound[ENTRY_DIGEST_BYTES]; /* what salt and map come to */
};

static void look(void *context, const struct ledger_entry *entry,
                 const struct ledger_payload *payload) {
    struct seen *seen = context;
    seen->count++;
    seen->size = payload->map.size;
    seen->redacted_by = payload->redacted_by;
    seen->has_digest = entry->given & ENTRY_DIGEST;
    if (seen->has_digest)
        memcpy(seen->digest, entry->digest, sizeof seen->digest);
    if (payload->map.data == NULL)
        return;
    uint8_t both[ENTRY_SALT_BYTES + sizeof seen->map];
    assert_true(payload->map.size <= sizeof seen->map);
    memcpy(seen->map, payload->map.data, payload->map.size);
    memcpy(both, payload->salt, ENTRY_SALT_BYTES);
    memcpy(both + ENTRY_SALT_BYTES, payload->map.data, payload->map.size);
    assert_int_equal(digest_sha256(both, ENTRY_SALT_BYTES + payload->map.size, seen->bound), 0);
}

static struct seen seen_at(struct ledger *ledger, uint64_t id) {
    struct seen seen = {0};
    assert_int_equal(ledger_read_record(ledger, id, look, &seen), 0);
    assert_int_equal(seen.count, 1);
    return seen;
}

/* As long as the payload is there, it is part of the request; once it is gone, nobody learns from
 * the answer what it was. */
static void a_repeat_has_the_payload_that_is_there(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry run = with_payload(priced(NULL, 5), "\x81\xa1k\xa1v"), other, plain;
    run.client_id = text("the request");
    other = with_payload(run, "\x81\xa1k\xa1w");
    plain = run;
    plain.payload = (struct ledger_text){0};
    uint64_t id = book_entry(ledger, &run);
    assert_int_equal(record(ledger, &run), 0);
    assert_true(last.repeated && last.id == id);
    assert_int_equal(record(ledger, &other), LEDGER_E_CONFLICT);
    assert_int_equal(record(ledger, &plain), LEDGER_E_CONFLICT);
    struct ledger_entry redaction = redaction_of(id);
    assert_int_equal(record(ledger, &redaction), 0);
    struct ledger_entry *again[] = {&run, &other, &plain};
    for (size_t i = 0; i < LENGTH(again); i++) {
        assert_int_equal(record(ledger, again[i]), 0);
        assert_true(last.repeated && last.id == id);
    }
    plain.cost++;
    assert_int_equal(record(ledger, &plain), LEDGER_E_CONFLICT);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void an_entry_is_bound_to_what_was_said_with_it(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = with_payload(priced(NULL, 5), "\x81\xa1k\xa1v");
    uint64_t id = book_entry(ledger, &entry), twin = book_entry(ledger, &entry);
    struct seen seen = seen_at(ledger, id), other = seen_at(ledger, twin);
    assert_int_equal(seen.size, entry.payload.size);
    assert_memory_equal(seen.map, entry.payload.data, seen.size);
    assert_true(seen.has_digest);
    assert_memory_equal(seen.digest, seen.bound, sizeof seen.digest);
    /* of another salt: nobody can tell that the two are the same */
    assert_memory_not_equal(seen.digest, other.digest, sizeof seen.digest);
    struct ledger_entry plain = priced(NULL, 5);
    seen = seen_at(ledger, book_entry(ledger, &plain));
    assert_false(seen.has_digest);
    assert_int_equal(seen.size, 0);
    assert_int_equal(ledger_read_record(ledger, id - 1, look, &seen), MDB_NOTFOUND);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_list_tells_payloads_where_they_are_asked_for(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_list_query query = list_of(ALL_KINDS);
    struct ledger_entry entry = with_payload(priced(NULL, 5), "a map");
    struct ledger_page page;
    struct seen seen = {0};
    book_entry(ledger, &entry);
    assert_int_equal(ledger_list(ledger, &query, look, &seen, &page), 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.size, 0);
    query.payloads = true;
    assert_int_equal(ledger_list(ledger, &query, look, &seen, &page), 0);
    assert_int_equal(seen.size, 5);
    close_ledger(ledger);
}

static void redaction_leaves_every_number_as_it_was(void **state) {
    struct ledger *ledger = open_ruled(*state, NULL, 0);
    struct ledger_entry entry = with_payload(priced("ada", 5), "a secret");
    struct ledger_entry last_words = with_payload(redaction_of(0), "why");
    uint64_t id = book_entry(ledger, &entry);
    book_entry(ledger, &entry);
    struct ledger_sums before = sums_of(ledger, "ada"), after;
    struct seen seen = seen_at(ledger, id);
    last_words.link = id;
    assert_int_equal(record(ledger, &last_words), 0);
    uint64_t redaction = last.id;
    struct seen gone = seen_at(ledger, id);
    assert_int_equal(gone.size, 0);
    assert_int_equal(gone.redacted_by, redaction);
    assert_memory_equal(gone.digest, seen.digest, sizeof seen.digest);
    after = sums_of(ledger, "ada");
    assert_memory_equal(&before.totals, &after.totals, sizeof before.totals);
    /* twice, of what has none, of what is not there, or with names */
    size_t entries = facts_of(ledger).entries;
    assert_int_equal(record(ledger, &last_words), LEDGER_E_NO_PAYLOAD);
    struct ledger_entry other = redaction_of(id + 100);
    assert_int_equal(record(ledger, &other), LEDGER_E_NO_ENTRY);
    other.link = 0;
    assert_int_equal(record(ledger, &other), LEDGER_E_NO_ENTRY);
    other = redaction_of(id + 1);
    other.names[DIMENSION_USER] = text("ada");
    assert_int_equal(record(ledger, &other), LEDGER_E_BAD_ENTRY);
    assert_int_equal(facts_of(ledger).entries, entries);
    /* what a redaction itself says can be taken away as well */
    other = redaction_of(redaction);
    assert_int_equal(record(ledger, &other), 0);
    assert_int_equal(record(ledger, &other), LEDGER_E_NO_PAYLOAD);
    ledger = reopen(ledger, *state);
    assert_int_equal(seen_at(ledger, id).redacted_by, redaction);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_is_said_and_taken_away_in_one_batch_is_gone(void **state) {
    static char large[30000];
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = priced(NULL, 5), plain = entry;
    struct drafts drafts = {0};
    at_time(ledger, START_US);
    memset(large, 'x', sizeof large);
    entry.payload = (struct ledger_text){large, sizeof large};
    struct ledger_entry redaction = redaction_of((uint64_t)START_US);
    add_draft(&drafts, &entry);
    add_draft(&drafts, &redaction);
    add_draft(&drafts, &redaction);
    add_draft(&drafts, &plain);
    add_draft(&drafts, &entry);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    for (size_t i = 0; i < drafts.count; i++)
        assert_int_equal(drafts.requests[i].rc, i == 2 ? LEDGER_E_NO_PAYLOAD : 0);
    free_drafts(&drafts);
    assert_int_equal(seen_at(ledger, START_US).redacted_by, START_US + 1);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* A hold says nothing; what settles it does, in time or late. */
static void what_a_settlement_says_is_in_its_entry(void **state) {
    struct ledger *ledger = open_ruled(*state, NULL, 0);
    struct ledger_entry call = priced("ada", 5), usage = with_payload(usage_of(7), "in time");
    uint64_t hold = reserve(ledger, &call, 0);
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    struct seen seen = seen_at(ledger, last.id);
    assert_int_equal(seen.size, 7);
    assert_memory_equal(seen.digest, seen.bound, sizeof seen.bound);
    hold = reserve(ledger, &call, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0);
    usage.payload = text("late");
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    seen = seen_at(ledger, last.id);
    assert_int_equal(seen.size, 4);
    assert_memory_equal(seen.digest, seen.bound, sizeof seen.bound);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

#define on_scratch(test) cmocka_unit_test_setup_teardown(test, make_scratch, remove_scratch)

int main(void) {
    const struct CMUnitTest tests[] = {
        on_scratch(a_map_comes_back_with_its_salt),
        on_scratch(what_is_taken_away_is_named_by_what_took_it),
        on_scratch(bytes_that_are_no_row_are_damage),
        in_directory(a_repeat_has_the_payload_that_is_there),
        in_directory(an_entry_is_bound_to_what_was_said_with_it),
        in_directory(a_list_tells_payloads_where_they_are_asked_for),
        in_directory(redaction_leaves_every_number_as_it_was),
        in_directory(what_is_said_and_taken_away_in_one_batch_is_gone),
        in_directory(what_a_settlement_says_is_in_its_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
