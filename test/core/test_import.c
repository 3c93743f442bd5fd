/* Entries booked as they were booked elsewhere. */
#include "support.h"

#include "../../c_src/core/digest.h"

#define ID ((uint64_t)START_US)

/* Written as it was, without what only a request has. */
static int import(struct ledger *ledger, uint64_t id, const struct ledger_entry *entry) {
    struct ledger_request *request = request_of(OPERATION_IMPORT, id, NULL);
    struct entry_buffer draft = {0};
    assert_int_equal(entry_write_draft(&draft, entry), 0);
    request->draft = draft.data;
    request->size = draft.size;
    int rc = send_request(ledger);
    entry_buffer_free(&draft);
    return rc;
}

static void ids_and_flags_stay(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = invocation("executing");
    at_time(ledger, START_US + 1000);
    entry.flags = ENTRY_OVERRUN;
    assert_int_equal(import(ledger, ID, &entry), 0);
    assert_int_equal(import(ledger, ID + 10, &entry), 0);
    assert_int_equal(last.id, ID + 10);
    assert_int_equal(last.flags, ENTRY_OVERRUN);
    assert_int_equal(id_of(ledger, 1), ID);
    assert_int_equal(count_of(ledger, "executing"), 2);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void ids_ascend_up_to_now(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = invocation("executing");
    at_time(ledger, START_US + 1000);
    assert_int_equal(import(ledger, ID + 1001, &entry), LEDGER_E_OCCURS_AHEAD);
    assert_int_equal(import(ledger, ID + 5, &entry), 0);
    assert_int_equal(import(ledger, ID + 5, &entry), LEDGER_E_OVERTAKEN);
    assert_int_equal(import(ledger, ID, &entry), LEDGER_E_OVERTAKEN);
    assert_int_equal(count_of(ledger, NULL), 1);
    close_ledger(ledger);
}

static void what_is_checked_is_checked(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = invocation("nobody"), sound = priced(NULL, 5);
    struct ledger_entry correction = {
        .kind = KIND_CORRECTION, .given = ENTRY_COST, .cost = -6, .link = ID};
    static const uint8_t request_digest[ENTRY_DIGEST_BYTES] = {7};
    at_time(ledger, START_US + 1000);
    assert_int_equal(import(ledger, ID, &entry), LEDGER_E_UNDECLARED_STATE);
    sound.link = ID;
    assert_int_equal(import(ledger, ID, &sound), LEDGER_E_BAD_ENTRY);
    sound.link = 0;
    sound.client_id = text("c");
    assert_int_equal(import(ledger, ID, &sound), LEDGER_E_BAD_ENTRY); /* no digest goes with it */
    sound.request_digest = request_digest;
    sound.given |= ENTRY_REQUEST_DIGEST;
    assert_int_equal(import(ledger, ID, &sound), 0);
    assert_int_equal(import(ledger, ID + 1, &sound), LEDGER_E_CONFLICT);
    assert_int_equal(last.id, ID);
    assert_int_equal(import(ledger, ID, &sound), LEDGER_E_CONFLICT); /* and not overtaken */
    assert_int_equal(import(ledger, ID + 1, &correction), LEDGER_E_BAD_ENTRY); /* its names */
    correction.names[DIMENSION_STATE] = sound.names[DIMENSION_STATE];
    assert_int_equal(import(ledger, ID + 1, &correction), LEDGER_E_OVERCORRECTED);
    correction.cost = -5;
    assert_int_equal(import(ledger, ID + 1, &correction), 0);
    correction.link = ID + 1;
    assert_int_equal(import(ledger, ID + 2, &correction), LEDGER_E_NO_ENTRY);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_payload_is_the_one_that_was_bound(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = invocation("executing");
    uint8_t salted[ENTRY_SALT_BYTES + 1] = {[ENTRY_SALT_BYTES] = 0x80}, digest[32];
    at_time(ledger, START_US + 1000);
    assert_int_equal(digest_sha256(salted, sizeof salted, digest), 0);
    entry.payload = (struct ledger_text){"\x80", 1};
    entry.salt = salted;
    entry.digest = digest;
    entry.given |= ENTRY_DIGEST;
    digest[0] ^= 1;
    assert_int_equal(import(ledger, ID, &entry), LEDGER_E_BAD_ENTRY);
    digest[0] ^= 1;
    assert_int_equal(import(ledger, ID, &entry), 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(ids_and_flags_stay),
        in_directory(ids_ascend_up_to_now),
        in_directory(what_is_checked_is_checked),
        in_directory(a_payload_is_the_one_that_was_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
