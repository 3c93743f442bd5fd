/* Drafts as a caller sends them: what makes a request the same, and what binds a payload. */
#include "support.h"

#include "../../c_src/core/digest.h"

static const uint8_t *digest_of(struct ledger_entry entry, const char *extra) {
    static uint8_t digests[2][ENTRY_DIGEST_BYTES];
    static unsigned next;
    struct entry_buffer buffer = {0};
    struct ledger_entry read;
    assert_int_equal(entry_write_request(&buffer, &entry, text(extra)), 0);
    assert_int_equal(entry_read_draft(buffer.data, buffer.size, &read), 0);
    assert_true(read.given & ENTRY_REQUEST_DIGEST);
    assert_true(text_equal(read.client_id, entry.client_id));
    uint8_t *digest = digests[next++ % 2];
    memcpy(digest, read.request_digest, ENTRY_DIGEST_BYTES);
    entry_buffer_free(&buffer);
    return digest;
}

static void the_digest_is_of_all_that_is_asked_but_its_id(void **state) {
    struct ledger_entry entry = invocation("executing"), other = entry;
    (void)state;
    entry.client_id = text("one");
    other.client_id = text("two");
    assert_memory_equal(digest_of(entry, "x"), digest_of(other, "x"), ENTRY_DIGEST_BYTES);
    assert_memory_not_equal(digest_of(entry, "x"), digest_of(entry, "y"), ENTRY_DIGEST_BYTES);
    other.duration_ms++;
    assert_memory_not_equal(digest_of(entry, "x"), digest_of(other, "x"), ENTRY_DIGEST_BYTES);
}

static void a_request_can_be_written_again(void **state) {
    struct ledger_entry entry = invocation("executing");
    struct entry_buffer buffers[3] = {0};
    (void)state;
    entry.client_id = text("one");
    for (int i = 0; i < 2; i++)
        assert_int_equal(entry_write_request(&buffers[i], &entry, (struct ledger_text){0}), 0);
    assert_int_equal(buffers[0].size, buffers[1].size);
    assert_memory_equal(buffers[0].data, buffers[1].data, buffers[0].size);
    assert_int_equal(entry_write_draft(&buffers[2], &entry), 0);
    for (int i = 0; i < 3; i++)
        entry_buffer_free(&buffers[i]);
}

/* The same work under one run_id is one request; a mark that the price is to be worked out makes it
 * another. Of its payload nothing is in the digest: nobody can try out what that was. */
static void the_digest_of_a_run_tells_nothing_of_its_payload(void **state) {
    struct ledger_entry entry = invocation("executing"), other;
    (void)state;
    entry.run_id = text("the run");
    entry.payload = text("a map");
    other = entry;
    assert_memory_equal(digest_of(entry, ""), digest_of(other, ""), ENTRY_DIGEST_BYTES);
    other.payload = text("a nap");
    assert_memory_equal(digest_of(entry, ""), digest_of(other, ""), ENTRY_DIGEST_BYTES);
    other.payload = (struct ledger_text){0};
    assert_memory_equal(digest_of(entry, ""), digest_of(other, ""), ENTRY_DIGEST_BYTES);
    other = entry;
    other.run_id = text("another");
    assert_memory_not_equal(digest_of(entry, ""), digest_of(other, ""), ENTRY_DIGEST_BYTES);
    entry.given = other.given = ENTRY_TOKENS;
    other.run_id = entry.run_id;
    other.given |= ENTRY_PRICING;
    assert_memory_not_equal(digest_of(entry, ""), digest_of(other, ""), ENTRY_DIGEST_BYTES);
}

static void a_payload_is_bound_by_salt_and_digest(void **state) {
    struct ledger_entry entry = invocation("executing"), read[2];
    struct entry_buffer buffers[2] = {0};
    uint8_t salted[ENTRY_SALT_BYTES + 5], digest[ENTRY_DIGEST_BYTES];
    (void)state;
    entry.payload = text("a map");
    for (int i = 0; i < 2; i++) {
        /* behind what is in the buffer already */
        entry_buffer_append(&buffers[i], "head", 4);
        assert_int_equal(entry_write_request(&buffers[i], &entry, text("x")), 0);
        assert_memory_equal(buffers[i].data, "head", 4);
        assert_int_equal(entry_read_draft(buffers[i].data + 4, buffers[i].size - 4, &read[i]), 0);
        assert_true(text_equal(read[i].payload, entry.payload));
        assert_false(read[i].given & ENTRY_REQUEST_DIGEST); /* it has no name to come again by */
        memcpy(salted, read[i].salt, ENTRY_SALT_BYTES);
        memcpy(salted + ENTRY_SALT_BYTES, entry.payload.data, entry.payload.size);
        assert_int_equal(digest_sha256(salted, sizeof salted, digest), 0);
        assert_memory_equal(digest, read[i].digest, sizeof digest);
    }
    assert_memory_not_equal(read[0].salt, read[1].salt, ENTRY_SALT_BYTES);
    for (int i = 0; i < 2; i++)
        entry_buffer_free(&buffers[i]);
}

/* Any of payload, salt and digest without the others. */
static void a_part_of_a_payload_is_refused(void **state) {
    static const uint8_t salt[ENTRY_SALT_BYTES] = {1}, digest[ENTRY_DIGEST_BYTES] = {2};
    (void)state;
    for (int set = 0; set < 8; set++) {
        struct ledger_entry entry = invocation("executing"), read;
        struct entry_buffer buffer = {0};
        if (set & 1)
            entry.payload = text("a map");
        if (set & 2)
            entry.salt = salt;
        if (set & 4) {
            entry.given |= ENTRY_DIGEST;
            entry.digest = digest;
        }
        assert_int_equal(entry_write_draft(&buffer, &entry), 0);
        assert_int_equal(entry_read_draft(buffer.data, buffer.size, &read),
                         set == 0 || set == 7 ? 0 : LEDGER_E_BAD_ENTRY);
        /* and none of what drafts alone have is taken for stored */
        if (set & 3)
            assert_int_equal(entry_read_stored(buffer.data, buffer.size, &read), LEDGER_E_DAMAGED);
        entry_buffer_free(&buffer);
    }
}

/* In a copy of its own length, so that a sanitizer sees a step over its end. */
static void read_exactly(const char *data, size_t size) {
    struct ledger_entry entry;
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    int rc = entry_read_draft(copy, size, &entry);
    assert_true(rc == 0 || rc == LEDGER_E_BAD_ENTRY);
    if (rc == 0 && entry.payload.data != NULL) {
        /* every byte of it lies in the draft */
        struct entry_buffer all = {0};
        entry_buffer_append(&all, (const char *)entry.salt, ENTRY_SALT_BYTES);
        entry_buffer_append(&all, entry.payload.data, entry.payload.size);
        assert_true(all.size < size);
        entry_buffer_free(&all);
    }
    free(copy);
}

static void hostile_drafts_with_a_payload_do_no_harm(void **state) {
    struct ledger_entry entry = invocation("executing");
    struct entry_buffer buffer = {0};
    char bytes[400];
    (void)state;
    entry.run_id = text("the run");
    entry.payload = text("\x81\xa6intent\xa6to see");
    entry.given = ENTRY_TOKENS | ENTRY_PRICING;
    assert_int_equal(entry_write_request(&buffer, &entry, text("")), 0);
    assert_true(buffer.size <= sizeof bytes);
    for (size_t cut = 0; cut <= buffer.size; cut++)
        read_exactly(buffer.data, cut);
    for (size_t i = rounds(60000); i > 0; i--) {
        size_t size = buffer.size;
        memcpy(bytes, buffer.data, size);
        for (size_t n = 1 + random_below(4); n > 0; n--) {
            size_t at = random_below(size);
            if (random_below(2))
                bytes[at] ^= (char)(1 << random_below(8));
            else
                bytes[at] = (char)random_word();
        }
        read_exactly(bytes, size - random_below(2) * random_below(size));
    }
    for (size_t i = rounds(60000); i > 0; i--) {
        size_t size = 2 + random_below(80);
        for (size_t at = 0; at < size; at++)
            bytes[at] = (char)(random_below(3) ? 0x90 + random_below(0x70) : random_below(32));
        bytes[0] = random_below(2) ? (char)0x9f : (char)0xdc;
        read_exactly(bytes, size);
    }
    entry_buffer_free(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_digest_is_of_all_that_is_asked_but_its_id),
        cmocka_unit_test(a_request_can_be_written_again),
        cmocka_unit_test(the_digest_of_a_run_tells_nothing_of_its_payload),
        cmocka_unit_test(a_payload_is_bound_by_salt_and_digest),
        cmocka_unit_test(a_part_of_a_payload_is_refused),
        cmocka_unit_test(hostile_drafts_with_a_payload_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
