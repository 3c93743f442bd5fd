/* The two written forms of an entry. */
#include "support.h"

#include <msgpack.h>

static const uint8_t digest[ENTRY_DIGEST_BYTES] = {1, 2, 3};
static const uint8_t request_digest[ENTRY_DIGEST_BYTES] = {9, 8, 7};
static const uint8_t salt[ENTRY_SALT_BYTES] = {4, 5, 6};
static const char payload[] = "\x81\xa6intent\xa6to see";
static const char change[] = "\x81\xa3who\xa2me";

/* One with every field at an unlike value. */
static struct ledger_entry full_entry(void) {
    struct ledger_entry entry = {
        .kind = KIND_INVOCATION,
        .status = STATUS_FAILED,
        .given = ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS | ENTRY_BREAKDOWN | ENTRY_UNIT_PRICES |
                 ENTRY_DIGEST | ENTRY_OCCURRED_AT | ENTRY_REQUEST_DIGEST,
        .duration_ms = 1234,
        .cost = ENTRY_AMOUNT_MAX,
        .credits = 70000,
        .tokens = {1, 200, 30000, 4000000, ENTRY_AMOUNT_MAX},
        .breakdown = {ENTRY_AMOUNT_MAX - 24, 9, 8, 7},
        .unit_prices = {0, 1, UINT32_MAX, INT64_MAX, UINT64_MAX},
        .flags = UINT64_MAX,
        .digest = digest,
        .request_digest = request_digest,
        .link = UINT64_MAX,
        .hold = UINT64_MAX - 1,
        .parent = 1,
        .policy_version = 300,
        .occurred_at_ms = INT64_MAX / 1000,
        .client_id = {"client", 6},
        .run_id = {"a run", 5},
        .parent_run = {"another", 7},
        .payload = {payload, sizeof payload - 1},
        .salt = salt,
        .change = {change, sizeof change - 1},
    };
    entry.names[DIMENSION_STATE] = text("executing");
    entry.names[DIMENSION_USER] = text("u");
    entry.names[DIMENSION_PROMPT_TYPE] = (struct ledger_text){"with\0zero", 9};
    entry.names[DIMENSION_LIMIT - 1] = text("custom");
    return entry;
}

static struct ledger_entry stored_of(struct ledger_entry entry) {
    for (int i = 0; i < DIMENSION_LIMIT; i++) {
        if (entry.names[i].data != NULL)
            entry.name_numbers[i] = 1000000u * (unsigned)i + 1;
        entry.names[i] = (struct ledger_text){0};
    }
    entry.payload = (struct ledger_text){0};
    entry.salt = NULL;
    return entry;
}

static void assert_same_text(struct ledger_text a, struct ledger_text b) {
    assert_int_equal(a.data == NULL, b.data == NULL);
    assert_int_equal(a.size, b.size);
    if (a.size > 0)
        assert_memory_equal(a.data, b.data, a.size);
}

static void assert_same_digest(const uint8_t *a, const uint8_t *b) {
    assert_int_equal(a == NULL, b == NULL);
    if (a != NULL)
        assert_memory_equal(a, b, ENTRY_DIGEST_BYTES);
}

static void assert_same(const struct ledger_entry *a, const struct ledger_entry *b) {
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->given, b->given);
    assert_int_equal(a->duration_ms, b->duration_ms);
    assert_int_equal(a->cost, b->cost);
    assert_int_equal(a->credits, b->credits);
    assert_memory_equal(a->tokens, b->tokens, sizeof a->tokens);
    assert_memory_equal(a->breakdown, b->breakdown, sizeof a->breakdown);
    assert_memory_equal(a->unit_prices, b->unit_prices, sizeof a->unit_prices);
    assert_true(a->flags == b->flags);
    assert_true(a->link == b->link);
    assert_true(a->hold == b->hold);
    assert_true(a->parent == b->parent);
    assert_true(a->policy_version == b->policy_version);
    assert_int_equal(a->occurred_at_ms, b->occurred_at_ms);
    assert_same_digest(a->digest, b->digest);
    assert_same_digest(a->request_digest, b->request_digest);
    assert_same_text(a->run_id, b->run_id);
    assert_same_text(a->parent_run, b->parent_run);
    assert_same_text(a->payload, b->payload);
    assert_int_equal(a->salt == NULL, b->salt == NULL);
    if (a->salt != NULL)
        assert_memory_equal(a->salt, b->salt, ENTRY_SALT_BYTES);
    assert_same_text(a->client_id, b->client_id);
    assert_same_text(a->change, b->change);
    for (int i = 0; i < DIMENSION_LIMIT; i++)
        assert_same_text(a->names[i], b->names[i]);
    assert_memory_equal(a->name_numbers, b->name_numbers, sizeof a->name_numbers);
}

static void assert_draft_survives(const struct ledger_entry *entry) {
    struct entry_buffer buffer = {0};
    struct ledger_entry read = {.id = 77};
    assert_int_equal(entry_write_draft(&buffer, entry), 0);
    assert_int_equal(entry_read_draft(buffer.data, buffer.size, &read), 0);
    assert_int_equal(read.id, 77);
    assert_same(&read, entry);
    entry_buffer_free(&buffer);
}

static void assert_stored_survives(const struct ledger_entry *entry) {
    static const struct entry_definition definitions[] = {{1, DIMENSION_USER, {"u", 1}},
                                                          {9, DIMENSION_STATE, {"state", 5}}};
    struct ledger_entry read = {0};
    for (size_t count = 0; count <= LENGTH(definitions); count++) {
        struct entry_buffer buffer = {0};
        assert_int_equal(entry_write_stored(&buffer, entry, definitions, count), 0);
        assert_int_equal(entry_read_stored(buffer.data, buffer.size, &read), 0);
        assert_same(&read, entry);
        entry_buffer_free(&buffer);
    }
}

static void both_forms_survive(const struct ledger_entry *entry) {
    struct ledger_entry stored = stored_of(*entry);
    assert_draft_survives(entry);
    assert_stored_survives(&stored);
}

static void every_field_survives(void **state) {
    struct ledger_entry entry = full_entry();
    (void)state;
    both_forms_survive(&entry);
}

/* Leaves out every set of the optional fields. */
static void any_field_may_be_absent(void **state) {
    (void)state;
    for (uint32_t word = 0; word < UINT32_C(1) << 18; word += rounds(20) == 20 ? 7 : 997) {
        struct ledger_entry full = full_entry(), entry = full;
        uint32_t set = word;
        /* How a cost came about is said with it. */
        if (!(set & ENTRY_COST))
            set &= ~(uint32_t)(ENTRY_BREAKDOWN | ENTRY_UNIT_PRICES);
        if (!(set & ENTRY_TOKENS))
            set &= ~(uint32_t)ENTRY_UNIT_PRICES;
        entry.given &= set & 0xff;
        entry.cost = set & ENTRY_COST ? full.cost : 0;
        entry.credits = set & ENTRY_CREDITS ? full.credits : 0;
        if (!(set & ENTRY_TOKENS))
            memset(entry.tokens, 0, sizeof entry.tokens);
        if (!(set & ENTRY_BREAKDOWN))
            memset(entry.breakdown, 0, sizeof entry.breakdown);
        if (!(set & ENTRY_UNIT_PRICES))
            memset(entry.unit_prices, 0, sizeof entry.unit_prices);
        entry.digest = set & ENTRY_DIGEST ? full.digest : NULL;
        if (!(set & ENTRY_DIGEST)) {
            entry.payload = (struct ledger_text){0};
            entry.salt = NULL;
        }
        entry.parent_run = set & 1 << 17 ? full.parent_run : (struct ledger_text){0};
        entry.occurred_at_ms = set & ENTRY_OCCURRED_AT ? full.occurred_at_ms : 0;
        entry.request_digest = set & ENTRY_REQUEST_DIGEST ? full.request_digest : NULL;
        entry.flags = set & 1 << 8 ? full.flags : 0;
        entry.client_id = set & 1 << 9 ? full.client_id : (struct ledger_text){0};
        entry.link = set & 1 << 10 ? full.link : 0;
        entry.change = set & 1 << 11 ? full.change : (struct ledger_text){0};
        entry.run_id = set & 1 << 12 ? full.run_id : (struct ledger_text){0};
        entry.hold = set & 1 << 13 ? full.hold : 0;
        entry.parent = set & 1 << 14 ? full.parent : 0;
        entry.policy_version = set & 1 << 15 ? full.policy_version : 0;
        if (!(set & 1 << 16))
            entry.names[DIMENSION_USER] = (struct ledger_text){0};
        both_forms_survive(&entry);
    }
}

static void an_explicit_zero_is_not_an_absent_field(void **state) {
    struct ledger_entry free_of_charge = invocation("executing");
    (void)state;
    free_of_charge.given = ENTRY_COST | ENTRY_TOKENS | ENTRY_OCCURRED_AT;
    assert_draft_survives(&free_of_charge);
}

static void a_plain_entry_is_small(void **state) {
    struct ledger_entry plain = stored_of(invocation("executing"));
    struct entry_buffer buffer = {0};
    (void)state;
    plain.name_numbers[DIMENSION_STATE] = 1;
    assert_int_equal(entry_write_stored(&buffer, &plain, NULL, 0), 0);
    assert_int_equal(buffer.size, 9);
    entry_buffer_free(&buffer);
}

static void every_assigned_dimension_may_be_named_and_no_other(void **state) {
    struct ledger_entry entry = invocation("executing");
    (void)state;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        bool free = dimension == DIMENSION_STATUS ||
                    (dimension > DIMENSION_PROMPT_TYPE && dimension < DIMENSION_CUSTOM);
        struct ledger_text before = entry.names[dimension];
        entry.names[dimension] = text("name");
        if (!free)
            continue;
        assert_string_equal(entry_check(&entry), "names");
        entry.names[dimension] = before;
        entry.name_numbers[dimension] = 5;
        assert_string_equal(entry_check(&entry), "names");
        entry.name_numbers[dimension] = 0;
    }
    both_forms_survive(&entry);
}

static void the_definitions_are_written(void **state) {
    static const struct entry_definition definition = {7, DIMENSION_STATE, {"unmistakable", 12}};
    struct ledger_entry entry = stored_of(invocation("executing"));
    struct entry_buffer buffer = {0};
    (void)state;
    assert_int_equal(entry_write_stored(&buffer, &entry, &definition, 1), 0);
    assert_non_null(memmem(buffer.data, buffer.size, "unmistakable", 12));
    entry_buffer_free(&buffer);
}

/* ---- what is refused ---------------------------------------------------------------------- */

static void assert_breaks(const char *field, const struct ledger_entry *entry) {
    struct entry_buffer buffer = {0};
    const char *broken = entry_check(entry);
    if (broken == NULL)
        fail_msg("%s: nothing is wrong", field);
    assert_string_equal(broken, field);
    assert_int_equal(entry_write_draft(&buffer, entry), LEDGER_E_BAD_ENTRY);
    assert_int_equal(entry_write_stored(&buffer, entry, NULL, 0), LEDGER_E_BAD_ENTRY);
    assert_int_equal(buffer.size, 0);
    entry_buffer_free(&buffer);
}

static void pricing(struct ledger_entry *entry, uint32_t given) {
    entry->given = ENTRY_PRICING | given;
}

static void be_a_correction(struct ledger_entry *entry) {
    entry->kind = KIND_CORRECTION;
    entry->status = STATUS_NONE;
}

#define BREAK(field, change_to_it)                                                                 \
    do {                                                                                           \
        struct ledger_entry entry = full_entry();                                                  \
        assert_null(entry_check(&entry));                                                          \
        change_to_it;                                                                              \
        assert_breaks(field, &entry);                                                              \
    } while (0)

static void every_rule_of_the_format_is_checked(void **state) {
    (void)state;
    BREAK("kind", entry.kind = 0);
    BREAK("kind", entry.kind = KIND_REDACTION + 1);
    BREAK("status", entry.status = STATUS_NONE);
    BREAK("status", entry.status = STATUS_ABORTED + 1);
    BREAK("status", entry.kind = KIND_POLICY);
    BREAK("duration_ms", entry.duration_ms = -1);
    BREAK("duration_ms", entry.duration_ms = ENTRY_AMOUNT_MAX + 1);
    BREAK("cost", entry.cost = -1);
    BREAK("cost", entry.cost = ENTRY_AMOUNT_MAX + 1);
    BREAK("credits", entry.credits = -1);
    BREAK("credits", entry.credits = ENTRY_AMOUNT_MAX + 1);
    BREAK("tokens", entry.tokens[TOKENS_REASONING] = -1);
    BREAK("tokens", entry.tokens[TOKENS_INPUT] = ENTRY_AMOUNT_MAX + 1);
    BREAK("breakdown", entry.breakdown[COST_PENALTIES] = -1);
    BREAK("breakdown", entry.breakdown[COST_PENALTIES]++);
    BREAK("breakdown", entry.cost--);
    BREAK("breakdown", entry.given &= ~(uint32_t)(ENTRY_COST | ENTRY_UNIT_PRICES));
    BREAK("unit_prices", entry.given &= ~(uint32_t)ENTRY_TOKENS);
    BREAK("unit_prices", entry.given &= ~(uint32_t)(ENTRY_COST | ENTRY_BREAKDOWN));
    BREAK("cost", pricing(&entry, ENTRY_COST | ENTRY_TOKENS));
    BREAK("cost", pricing(&entry, ENTRY_CREDITS));
    BREAK("breakdown", pricing(&entry, ENTRY_TOKENS | ENTRY_BREAKDOWN));
    BREAK("occurred_at", entry.occurred_at_ms = -1);
    BREAK("occurred_at", entry.occurred_at_ms = INT64_MAX / 1000 + 1);
    BREAK("run_id", entry.run_id.size = 0);
    BREAK("run_id", entry.run_id.size = ENTRY_RUN_ID_BYTES_MAX + 1);
    BREAK("parent_run", entry.parent_run.size = 0);
    BREAK("parent_run", entry.parent_run.size = ENTRY_RUN_ID_BYTES_MAX + 1);
    BREAK("unit_prices", be_a_correction(&entry));
    BREAK("run_id", be_a_correction(&entry); entry.given &= ~(uint32_t)ENTRY_UNIT_PRICES);
    BREAK("names", entry.names[DIMENSION_USER].size = 0);
    BREAK("state", entry.names[DIMENSION_STATE] = (struct ledger_text){0});
}

static void what_can_be_written_can_be_read(void **state) {
    struct ledger_entry entry = full_entry(), read;
    struct entry_buffer buffer = {0};
    (void)state;
    entry.occurred_at_ms = -1; /* 1969: either end may refuse it, but both must agree */
    int wrote = entry_write_draft(&buffer, &entry);
    int rc = wrote == 0 ? entry_read_draft(buffer.data, buffer.size, &read) : 0;
    entry_buffer_free(&buffer);
    assert_int_equal(rc, 0);
}

static void only_a_correction_may_give_back(void **state) {
    struct ledger_entry entry = {.kind = KIND_CORRECTION,
                                 .given = ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS,
                                 .cost = -ENTRY_AMOUNT_MAX,
                                 .credits = -1,
                                 .tokens = {-5}};
    (void)state;
    assert_draft_survives(&entry);
    entry.cost--;
    assert_breaks("cost", &entry);
}

static void a_draft_with_an_empty_name_is_refused(void **state) {
    static const char bytes[] = "\x96\x01\x01\x01\x92\x01\xa0\xc0\x00";
    struct ledger_entry entry;
    (void)state;
    assert_int_equal(entry_read_draft(bytes, sizeof bytes - 1, &entry), LEDGER_E_BAD_ENTRY);
}

static void a_later_version_is_told_apart_from_damage(void **state) {
    static const char later[] = "\x96\x02\x63\x63\x90\xc0\x00", zero[] = "\x96\x00\x01\x01\x90\xc0";
    char longer[32] = {(char)0xdc, 0, 24, 2};
    struct ledger_entry entry;
    (void)state;
    assert_int_equal(entry_read_stored(later, sizeof later - 1, &entry), LEDGER_E_NEWER);
    assert_int_equal(entry_read_draft(later, sizeof later - 1, &entry), LEDGER_E_BAD_ENTRY);
    assert_int_equal(entry_read_stored(longer, 3 + 24, &entry), LEDGER_E_NEWER);
    longer[3] = 1; /* this version has no twenty-fourth element */
    assert_int_equal(entry_read_stored(longer, 3 + 24, &entry), LEDGER_E_DAMAGED);
    assert_int_equal(entry_read_stored(zero, sizeof zero - 1, &entry), LEDGER_E_DAMAGED);
}

/* In a copy of its own length, so that a sanitizer sees a step over its end. */
static int read_exactly(bool draft, const char *data, size_t size) {
    struct ledger_entry entry = {0};
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    int rc = draft ? entry_read_draft(copy, size, &entry) : entry_read_stored(copy, size, &entry);
    if (rc == 0) { /* every text lies inside the bytes */
        assert_null(entry_check(&entry));
        for (int i = 0; i < DIMENSION_LIMIT; i++)
            if (entry.names[i].data != NULL)
                assert_true(entry.names[i].data >= copy &&
                            entry.names[i].data + entry.names[i].size <= copy + size);
        const struct ledger_text texts[] = {
            entry.client_id,
            entry.run_id,
            entry.parent_run,
            entry.payload,
            entry.change,
            {(const char *)entry.salt, ENTRY_SALT_BYTES},
            {(const char *)entry.digest, ENTRY_DIGEST_BYTES},
            {(const char *)entry.request_digest, ENTRY_DIGEST_BYTES}};
        for (size_t i = 0; i < LENGTH(texts); i++)
            if (texts[i].data != NULL)
                assert_true(texts[i].data >= copy && texts[i].data + texts[i].size <= copy + size);
    }
    free(copy);
    return rc;
}

static struct entry_buffer written(bool draft) {
    struct entry_buffer buffer = {0};
    struct ledger_entry entry = full_entry();
    if (draft) {
        assert_int_equal(entry_write_draft(&buffer, &entry), 0);
    } else {
        entry = stored_of(entry);
        assert_int_equal(entry_write_stored(&buffer, &entry, NULL, 0), 0);
    }
    return buffer;
}

static void bytes_cut_anywhere_are_refused(void **state) {
    (void)state;
    for (int draft = 0; draft < 2; draft++) {
        struct entry_buffer buffer = written(draft);
        for (size_t cut = 0; cut < buffer.size; cut++)
            assert_int_equal(read_exactly(draft, buffer.data, cut),
                             draft ? LEDGER_E_BAD_ENTRY : LEDGER_E_DAMAGED);
        assert_int_equal(read_exactly(draft, buffer.data, buffer.size), 0);
        entry_buffer_free(&buffer);
    }
}

static void bytes_that_go_on_are_refused(void **state) {
    (void)state;
    struct entry_buffer buffer = written(false);
    char *longer = calloc(1, buffer.size + 1);
    memcpy(longer, buffer.data, buffer.size);
    assert_int_equal(read_exactly(false, longer, buffer.size + 1), LEDGER_E_DAMAGED);
    free(longer);
    entry_buffer_free(&buffer);
}

static void assert_refused_or_read(bool draft, int rc) {
    assert_true(rc == 0 || rc == LEDGER_E_NEWER ||
                rc == (draft ? LEDGER_E_BAD_ENTRY : LEDGER_E_DAMAGED));
}

static void flipped_bits_do_no_harm(void **state) {
    (void)state;
    for (int draft = 0; draft < 2; draft++) {
        struct entry_buffer buffer = written(draft);
        for (size_t bit = 0; bit < 8 * buffer.size; bit++) {
            buffer.data[bit / 8] ^= (char)(1 << bit % 8);
            assert_refused_or_read(draft, read_exactly(draft, buffer.data, buffer.size));
            buffer.data[bit / 8] ^= (char)(1 << bit % 8);
        }
        for (size_t i = rounds(50000); i > 0; i--) {
            size_t at[3] = {0};
            char old[3];
            for (int n = 0; n < 3; n++) {
                at[n] = random_below(buffer.size);
                old[n] = buffer.data[at[n]];
                buffer.data[at[n]] = (char)random_word();
            }
            assert_refused_or_read(draft, read_exactly(draft, buffer.data, buffer.size));
            for (int n = 3; n-- > 0;)
                buffer.data[at[n]] = old[n];
        }
        entry_buffer_free(&buffer);
    }
}

static void a_lie_about_sizes_is_refused(void **state) {
    static const char *const lies[] = {
        "\x96\x01\x01\x01\xdd\xff\xff\xff\xff\x00",
        "\x96\x01\x01\x01\xdf\xff\xff\xff\xff\x00",
        "\x96\x01\x01\x01\x92\x01\xdb\xff\xff\xff\xff",
        "\x96\x01\x01\x01\xdd\x01\xdd\x01\xdd\x01\xdd\x01\xdd\x01\xdd\x01",
        "\xdd\xff\xff\xff\xff\x01\x01\x01",
        "\xdc\xff\xff\x01\x01\x01",
    };
    static const char deep[] = "\x96\x01\x01\x01\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01\xc0\x00";
    (void)state;
    for (size_t i = 0; i < LENGTH(lies); i++)
        assert_int_equal(read_exactly(true, lies[i], strlen(lies[i])), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_exactly(false, deep, sizeof deep - 1), LEDGER_E_DAMAGED);
}

static void a_name_twice_or_out_of_order_is_refused(void **state) {
    static const char twice[] = "\x96\x01\x01\x01\x94\x01\xa1z\x01\xa1z\xc0\x00";
    static const char unordered[] = "\x96\x01\x01\x01\x94\x04\xa1z\x01\xa1z\xc0\x00";
    static const char odd[] = "\x96\x01\x01\x01\x91\x01\xc0\x00";
    static const char beyond[] = "\x96\x01\x01\x01\x94\x01\xa1z\x30\xa1z\xc0\x00";
    static const char fine[] = "\x96\x01\x01\x01\x94\x01\xa1z\x2f\xa1z\xc0\x00";
    static const char number_0[] = "\x96\x01\x01\x01\x92\x01\x00\xc0\x00";
    (void)state;
    assert_int_equal(read_exactly(true, fine, sizeof fine - 1), 0);
    assert_int_equal(read_exactly(true, twice, sizeof twice - 1), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_exactly(true, unordered, sizeof unordered - 1), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_exactly(true, odd, sizeof odd - 1), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_exactly(true, beyond, sizeof beyond - 1), LEDGER_E_BAD_ENTRY);
    assert_int_equal(read_exactly(false, number_0, sizeof number_0 - 1), LEDGER_E_DAMAGED);
}

/* ---- what an entry adds ------------------------------------------------------------------- */

static void an_invocation_adds_what_it_carries(void **state) {
    struct ledger_entry entry = full_entry();
    struct amounts amounts;
    struct totals totals = {0};
    (void)state;
    entry_amounts(&entry, NULL, &amounts);
    totals_add(&totals, &amounts);
    assert_true(totals.column[COLUMN_INVOCATIONS] == 1);
    assert_true(totals.column[COLUMN_FAILED] == 1);
    assert_true(totals.column[COLUMN_COMPLETED] == 0);
    assert_true(totals.column[COLUMN_UNPRICED] == 0);
    assert_true(totals.column[COLUMN_DURATION_MS] == 1234);
    assert_true(totals.column[COLUMN_COST] == ENTRY_AMOUNT_MAX);
    assert_true(totals.column[COLUMN_COMPLETED_COST] == 0);
    assert_true(totals.column[COLUMN_CREDITS] == 70000);
    assert_true(totals.column[COLUMN_REASONING_TOKENS] == ENTRY_AMOUNT_MAX);
    entry.status = STATUS_COMPLETED;
    entry_amounts(&entry, NULL, &amounts);
    totals_add(&totals, &amounts);
    assert_true(totals.column[COLUMN_COMPLETED] == 1);
    assert_true(totals.column[COLUMN_COMPLETED_COST] == ENTRY_AMOUNT_MAX);
    assert_true(totals.column[COLUMN_COMPLETED_CREDITS] == 70000);
}

static void without_a_cost_it_is_unpriced_and_with_zero_it_is_free(void **state) {
    struct ledger_entry entry = invocation("executing");
    struct amounts amounts;
    (void)state;
    entry_amounts(&entry, NULL, &amounts);
    assert_true(amounts.mask & UINT64_C(1) << COLUMN_UNPRICED);
    entry.given = ENTRY_COST;
    entry_amounts(&entry, NULL, &amounts);
    assert_false(amounts.mask & UINT64_C(1) << COLUMN_UNPRICED);
    assert_false(amounts.mask & UINT64_C(1) << COLUMN_COST);
}

static struct totals added_by(const struct ledger_entry *entry,
                              const struct ledger_entry *corrected) {
    struct amounts amounts;
    struct totals totals = {0};
    entry_amounts(entry, corrected, &amounts);
    totals_add(&totals, &amounts);
    return totals;
}

/* Nothing is in `totals` but what is listed. */
static void assert_only(const struct totals *totals, const int64_t columns[][2], size_t count) {
    struct totals expected = {0};
    for (size_t i = 0; i < count; i++)
        expected.column[columns[i][0]] = columns[i][1];
    for (int column = 0; column < COLUMN_COUNT; column++)
        if (totals->column[column] != expected.column[column])
            fail_msg("column %d: %lld, not %lld", column, (long long)totals->column[column],
                     (long long)expected.column[column]);
}
#define ASSERT_ONLY(adds, ...)                                                                     \
    do {                                                                                           \
        struct totals got = adds;                                                                  \
        const int64_t columns[][2] = {__VA_ARGS__};                                                \
        assert_only(&got, columns, LENGTH(columns));                                               \
    } while (0)

static void a_run_adds_no_invocation_and_a_duration_of_its_own(void **state) {
    struct ledger_entry run = {.kind = KIND_RUN,
                               .status = STATUS_COMPLETED,
                               .given = ENTRY_COST | ENTRY_TOKENS,
                               .cost = 70,
                               .duration_ms = 5,
                               .tokens = {1, 2, 3, 4, 5}};
    (void)state;
    ASSERT_ONLY(added_by(&run, NULL), {COLUMN_RUNS, 1}, {COLUMN_RUNS_COMPLETED, 1},
                {COLUMN_RUNS_DURATION_MS, 5}, {COLUMN_COST, 70}, {COLUMN_RUNS_COST, 70},
                {COLUMN_COMPLETED_COST, 70}, {COLUMN_INPUT_TOKENS, 1}, {COLUMN_OUTPUT_TOKENS, 2},
                {COLUMN_CACHE_READ_TOKENS, 3}, {COLUMN_CACHE_CREATION_TOKENS, 4},
                {COLUMN_REASONING_TOKENS, 5});
    run.status = STATUS_FAILED;
    run.given = ENTRY_CREDITS;
    run.credits = 9;
    ASSERT_ONLY(added_by(&run, NULL), {COLUMN_RUNS, 1}, {COLUMN_RUNS_FAILED, 1},
                {COLUMN_RUNS_DURATION_MS, 5}, {COLUMN_RUNS_UNPRICED, 1}, {COLUMN_CREDITS, 9});
    run.status = STATUS_ABORTED;
    run.given = 0;
    ASSERT_ONLY(added_by(&run, NULL), {COLUMN_RUNS, 1}, {COLUMN_RUNS_ABORTED, 1},
                {COLUMN_RUNS_DURATION_MS, 5}, {COLUMN_RUNS_UNPRICED, 1});
}

/* Budgets are held to the gross columns: what is given back stands beside them. */
static void a_correction_adds_to_the_gross_columns_and_takes_from_others(void **state) {
    struct ledger_entry correction = {.kind = KIND_CORRECTION,
                                      .given = ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS,
                                      .cost = 5,
                                      .credits = -7,
                                      .tokens = {1, -2, 0, -3, 4}};
    (void)state;
    ASSERT_ONLY(added_by(&correction, NULL), {COLUMN_CORRECTIONS, 1}, {COLUMN_COST, 5},
                {COLUMN_CORRECTIONS_COST, 5}, {COLUMN_CORRECTED_CREDITS, -7},
                {COLUMN_INPUT_TOKENS, 1}, {COLUMN_CORRECTED_INPUT_TOKENS + TOKENS_OUTPUT, -2},
                {COLUMN_CORRECTED_INPUT_TOKENS + TOKENS_CACHE_CREATION, -3},
                {COLUMN_REASONING_TOKENS, 4});
    correction.given = 0;
    correction.cost = correction.credits = 0;
    memset(correction.tokens, 0, sizeof correction.tokens);
    ASSERT_ONLY(added_by(&correction, NULL), {COLUMN_CORRECTIONS, 1});
}

/* What was aborted had no completed cost: all that it cost in the end is. */
static void a_late_completion_adds_all_that_was_spent_to_what_was_completed(void **state) {
    struct ledger_entry booked = {
        .kind = KIND_INVOCATION, .status = STATUS_ABORTED, .cost = 60, .credits = 8};
    struct ledger_entry correction = {.kind = KIND_CORRECTION,
                                      .flags = ENTRY_LATE | ENTRY_COMPLETES,
                                      .given = ENTRY_COST | ENTRY_CREDITS,
                                      .cost = -20,
                                      .credits = 2};
    (void)state;
    ASSERT_ONLY(added_by(&correction, &booked), {COLUMN_CORRECTIONS, 1}, {COLUMN_COMPLETED, 1},
                {COLUMN_LATE_COMPLETED, 1}, {COLUMN_CORRECTED_COST, -20},
                {COLUMN_COMPLETED_COST, 40}, {COLUMN_CREDITS, 2}, {COLUMN_COMPLETED_CREDITS, 10});
    booked.kind = KIND_RUN;
    correction.cost = -60;
    ASSERT_ONLY(added_by(&correction, &booked), {COLUMN_CORRECTIONS, 1}, {COLUMN_RUNS_COMPLETED, 1},
                {COLUMN_LATE_RUNS_COMPLETED, 1}, {COLUMN_CORRECTED_COST, -60}, {COLUMN_CREDITS, 2},
                {COLUMN_COMPLETED_CREDITS, 10});
}

static void a_grant_is_given_or_taken_back(void **state) {
    struct ledger_entry grant = {
        .kind = KIND_GRANT, .given = ENTRY_COST | ENTRY_CREDITS, .cost = 5, .credits = -7};
    (void)state;
    ASSERT_ONLY(added_by(&grant, NULL), {COLUMN_GRANTS, 1}, {COLUMN_GRANTED_COST, 5},
                {COLUMN_WITHDRAWN_CREDITS, 7});
}

static void what_only_tells_adds_nothing(void **state) {
    static const enum ledger_kind kinds[] = {KIND_RELEASE, KIND_POLICY, KIND_RESET, KIND_PRICE,
                                             KIND_REDACTION};
    struct amounts amounts;
    (void)state;
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        struct ledger_entry entry = full_entry();
        entry.kind = kinds[i];
        entry_amounts(&entry, NULL, &amounts);
        assert_true(amounts.mask == 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_survives),
        cmocka_unit_test(any_field_may_be_absent),
        cmocka_unit_test(an_explicit_zero_is_not_an_absent_field),
        cmocka_unit_test(a_plain_entry_is_small),
        cmocka_unit_test(every_assigned_dimension_may_be_named_and_no_other),
        cmocka_unit_test(the_definitions_are_written),
        cmocka_unit_test(every_rule_of_the_format_is_checked),
        cmocka_unit_test(what_can_be_written_can_be_read),
        cmocka_unit_test(only_a_correction_may_give_back),
        cmocka_unit_test(a_draft_with_an_empty_name_is_refused),
        cmocka_unit_test(a_later_version_is_told_apart_from_damage),
        cmocka_unit_test(bytes_cut_anywhere_are_refused),
        cmocka_unit_test(bytes_that_go_on_are_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(a_lie_about_sizes_is_refused),
        cmocka_unit_test(a_name_twice_or_out_of_order_is_refused),
        cmocka_unit_test(an_invocation_adds_what_it_carries),
        cmocka_unit_test(without_a_cost_it_is_unpriced_and_with_zero_it_is_free),
        cmocka_unit_test(a_run_adds_no_invocation_and_a_duration_of_its_own),
        cmocka_unit_test(a_correction_adds_to_the_gross_columns_and_takes_from_others),
        cmocka_unit_test(a_late_completion_adds_all_that_was_spent_to_what_was_completed),
        cmocka_unit_test(a_grant_is_given_or_taken_back),
        cmocka_unit_test(what_only_tells_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
