#include "records.h"

#include <msgpack.h>

#include "../../c_src/core/pack.h"

static void pack_units(msgpack_packer *packer, const uint64_t unit[TOKENS_CLASSES]) {
    msgpack_pack_array(packer, TOKENS_CLASSES);
    for (int i = 0; i < TOKENS_CLASSES; i++)
        msgpack_pack_uint64(packer, unit[i]);
}

struct entry_buffer price_change(const char *model, const uint64_t unit[TOKENS_CLASSES],
                                 uint64_t above, const uint64_t unit_above[TOKENS_CLASSES],
                                 int64_t effective_ms) {
    struct entry_buffer buffer = {0};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buffer, entry_buffer_append);
    msgpack_pack_map(&packer, effective_ms < 0 ? 1 : 2);
    if (effective_ms >= 0) {
        pack_word(&packer, "effective_from");
        msgpack_pack_int64(&packer, effective_ms);
    }
    pack_word(&packer, "prices");
    msgpack_pack_array(&packer, 1);
    msgpack_pack_array(&packer, above == 0 ? 2 : 4);
    pack_word(&packer, model);
    pack_units(&packer, unit);
    if (above != 0) {
        msgpack_pack_uint64(&packer, above);
        pack_units(&packer, unit_above);
    }
    assert_false(buffer.failed);
    return buffer;
}

struct ledger_entry prices_of(const struct entry_buffer *change) {
    return (struct ledger_entry){.kind = KIND_PRICE, .change = {change->data, change->size}};
}

uint64_t set_price(struct ledger *ledger, const char *model, uint64_t input, uint64_t output) {
    const uint64_t unit[TOKENS_CLASSES] = {input, output};
    struct entry_buffer change = price_change(model, unit, 0, NULL, -1);
    struct ledger_entry entry = prices_of(&change);
    uint64_t id = book_entry(ledger, &entry);
    entry_buffer_free(&change);
    return id;
}

struct ledger_entry correction_of(uint64_t link, int64_t cost) {
    return (struct ledger_entry){
        .kind = KIND_CORRECTION, .given = ENTRY_COST, .cost = cost, .link = link};
}

struct ledger_entry redaction_of(uint64_t link) {
    return (struct ledger_entry){.kind = KIND_REDACTION, .link = link};
}

struct ledger_entry call_of(const char *model, int64_t input, int64_t output) {
    struct ledger_entry entry = invocation("executing");
    entry.names[DIMENSION_MODEL] = text(model);
    entry.given = ENTRY_TOKENS | ENTRY_PRICING;
    entry.tokens[TOKENS_INPUT] = input;
    entry.tokens[TOKENS_OUTPUT] = output;
    return entry;
}

struct ledger_entry with_payload(struct ledger_entry entry, const char *word) {
    entry.payload = text(word);
    return entry;
}

int record(struct ledger *ledger, const struct ledger_entry *entry) {
    return request(ledger, OPERATION_RECORD, 0, entry);
}

static bool keep_entry(void *context, const struct ledger_entry *entry) {
    *(struct ledger_entry *)context = *entry;
    return true;
}

struct ledger_entry fetched(struct ledger *ledger, uint64_t id) {
    struct ledger_entry entry = {0};
    assert_int_equal(ledger_fetch(ledger, id, keep_entry, &entry), 0);
    return entry;
}

struct ledger_sums sums_of(struct ledger *ledger, const char *user) {
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter = {.names = names, .until = UINT64_MAX};
    struct ledger_sums sums;
    if (user != NULL)
        names[DIMENSION_USER] = text(user);
    assert_int_equal(ledger_sum_up(ledger, &filter, &sums), 0);
    return sums;
}
