/* An entry as bytes: drafts and stored entries. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "digest.h"
#include "entry_form.h"
#include "error.h"
#include "pack.h"

void entry_buffer_free(struct entry_buffer *buffer) {
    free(buffer->data);
    *buffer = (struct entry_buffer){0};
}

int entry_buffer_append(void *context, const char *bytes, size_t size) {
    struct entry_buffer *buffer = context;
    if (size == 0) /* perhaps nothing to nowhere, which memcpy() does not allow */
        return 0;
    if (buffer->capacity - buffer->size < size) {
        size_t capacity = buffer->capacity * 2 + size + 256;
        char *grown = realloc(buffer->data, capacity);
        if (grown == NULL) {
            buffer->failed = true;
            return -1;
        }
        buffer->data = grown;
        buffer->capacity = capacity;
    }
    memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
    return 0;
}

static bool has_name(const struct ledger_entry *entry, enum form form, int dimension) {
    return form == FORM_DRAFT ? entry->names[dimension].data != NULL
                              : entry->name_numbers[dimension] != 0;
}

static void pack_names(msgpack_packer *packer, const struct ledger_entry *entry, enum form form) {
    size_t count = 0;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        count += has_name(entry, form, dimension);
    msgpack_pack_array(packer, 2 * count);
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        if (!has_name(entry, form, dimension))
            continue;
        msgpack_pack_int(packer, dimension);
        if (form == FORM_DRAFT)
            pack_text(packer, entry->names[dimension]);
        else
            msgpack_pack_uint32(packer, entry->name_numbers[dimension]);
    }
}

static void pack_definitions(msgpack_packer *packer, const struct entry_definition *definitions,
                             size_t count) {
    if (count == 0) {
        msgpack_pack_nil(packer);
        return;
    }
    msgpack_pack_array(packer, 3 * count);
    for (size_t i = 0; i < count; i++) {
        msgpack_pack_uint32(packer, definitions[i].number);
        msgpack_pack_uint8(packer, definitions[i].dimension);
        pack_text(packer, definitions[i].value);
    }
}

static void pack_int_if(msgpack_packer *packer, bool given, int64_t value) {
    if (given)
        msgpack_pack_int64(packer, value);
    else
        msgpack_pack_nil(packer);
}

/* For fields in which 0 stands for "none". */
static void pack_uint_if(msgpack_packer *packer, uint64_t value) {
    if (value != 0)
        msgpack_pack_uint64(packer, value);
    else
        msgpack_pack_nil(packer);
}

static void pack_text_if(msgpack_packer *packer, struct ledger_text text) {
    if (text.data != NULL)
        pack_text(packer, text);
    else
        msgpack_pack_nil(packer);
}

static void pack_bytes_if(msgpack_packer *packer, bool given, const void *bytes, size_t size) {
    if (!given) {
        msgpack_pack_nil(packer);
        return;
    }
    msgpack_pack_bin(packer, size);
    msgpack_pack_bin_body(packer, bytes, size);
}

static void pack_digest_if(msgpack_packer *packer, bool given, const uint8_t *digest) {
    pack_bytes_if(packer, given, digest, ENTRY_DIGEST_BYTES);
}

static void pack_ints_if(msgpack_packer *packer, bool given, const int64_t *values, size_t count) {
    if (!given) {
        msgpack_pack_nil(packer);
        return;
    }
    msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count; i++)
        msgpack_pack_int64(packer, values[i]);
}

static void pack_unit_prices(msgpack_packer *packer, const struct ledger_entry *entry) {
    if (!(entry->given & ENTRY_UNIT_PRICES)) {
        msgpack_pack_nil(packer);
        return;
    }
    msgpack_pack_array(packer, TOKENS_CLASSES);
    for (size_t i = 0; i < TOKENS_CLASSES; i++)
        msgpack_pack_uint64(packer, entry->unit_prices[i]);
}

/* How many positions are written: up to the last that is not nil. */
static size_t last_position(const struct ledger_entry *entry, enum form form) {
    const bool given[POSITIONS] = {
        [AT_DURATION] = true,
        [AT_COST] = entry->given & ENTRY_COST,
        [AT_CREDITS] = entry->given & ENTRY_CREDITS,
        [AT_TOKENS] = entry->given & ENTRY_TOKENS,
        [AT_BREAKDOWN] = entry->given & ENTRY_BREAKDOWN,
        [AT_UNIT_PRICES] = entry->given & ENTRY_UNIT_PRICES,
        [AT_FLAGS] = entry->flags != 0,
        [AT_DIGEST] = entry->given & ENTRY_DIGEST,
        [AT_CLIENT_ID] = entry->client_id.data != NULL,
        [AT_LINK] = entry->link != 0,
        [AT_OCCURRED_AT] = entry->given & ENTRY_OCCURRED_AT,
        [AT_CHANGE] = entry->change.data != NULL,
        [AT_RUN_ID] = entry->run_id.data != NULL,
        [AT_HOLD] = entry->hold != 0,
        [AT_PARENT] = entry->parent != 0,
        [AT_POLICY_VERSION] = entry->policy_version != 0,
        [AT_REQUEST_DIGEST] = entry->given & ENTRY_REQUEST_DIGEST,
        [AT_PARENT_RUN] = entry->parent_run.data != NULL,
        [AT_PRICING] = form == FORM_DRAFT && entry->given & ENTRY_PRICING,
        [AT_PAYLOAD] = form == FORM_DRAFT && entry->payload.data != NULL,
        [AT_SALT] = form == FORM_DRAFT && entry->salt != NULL,
    };
    size_t last = POSITIONS - 1;
    while (!given[last])
        last--;
    return last;
}

static void pack_position(msgpack_packer *packer, struct entry_buffer *buffer, size_t position,
                          const struct ledger_entry *entry, enum form form,
                          const struct entry_definition *definitions, size_t definition_count) {
    switch ((enum position)position) {
    case AT_VERSION:
        msgpack_pack_int(packer, ENTRY_VERSION);
        break;
    case AT_KIND:
        msgpack_pack_int(packer, (int)entry->kind);
        break;
    case AT_STATUS:
        msgpack_pack_int(packer, (int)entry->status);
        break;
    case AT_NAMES:
        pack_names(packer, entry, form);
        break;
    case AT_DEFINITIONS:
        pack_definitions(packer, definitions, definition_count);
        break;
    case AT_DURATION:
        msgpack_pack_int64(packer, entry->duration_ms);
        break;
    case AT_COST:
        pack_int_if(packer, entry->given & ENTRY_COST, entry->cost);
        break;
    case AT_CREDITS:
        pack_int_if(packer, entry->given & ENTRY_CREDITS, entry->credits);
        break;
    case AT_TOKENS:
        pack_ints_if(packer, entry->given & ENTRY_TOKENS, entry->tokens, TOKENS_CLASSES);
        break;
    case AT_BREAKDOWN:
        pack_ints_if(packer, entry->given & ENTRY_BREAKDOWN, entry->breakdown, COST_PARTS);
        break;
    case AT_UNIT_PRICES:
        pack_unit_prices(packer, entry);
        break;
    case AT_FLAGS:
        pack_uint_if(packer, entry->flags);
        break;
    case AT_DIGEST:
        pack_digest_if(packer, entry->given & ENTRY_DIGEST, entry->digest);
        break;
    case AT_CLIENT_ID:
        pack_text_if(packer, entry->client_id);
        break;
    case AT_LINK:
        pack_uint_if(packer, entry->link);
        break;
    case AT_OCCURRED_AT:
        pack_int_if(packer, entry->given & ENTRY_OCCURRED_AT, entry->occurred_at_ms);
        break;
    case AT_CHANGE: /* written by its maker already */
        if (entry->change.data != NULL)
            entry_buffer_append(buffer, entry->change.data, entry->change.size);
        else
            msgpack_pack_nil(packer);
        break;
    case AT_RUN_ID:
        pack_text_if(packer, entry->run_id);
        break;
    case AT_HOLD:
        pack_uint_if(packer, entry->hold);
        break;
    case AT_PARENT:
        pack_uint_if(packer, entry->parent);
        break;
    case AT_POLICY_VERSION:
        pack_uint_if(packer, entry->policy_version);
        break;
    case AT_REQUEST_DIGEST:
        pack_digest_if(packer, entry->given & ENTRY_REQUEST_DIGEST, entry->request_digest);
        break;
    case AT_PARENT_RUN:
        pack_text_if(packer, entry->parent_run);
        break;
    case AT_PRICING:
        pack_int_if(packer, entry->given & ENTRY_PRICING, 1);
        break;
    case AT_PAYLOAD:
        pack_bytes_if(packer, entry->payload.data != NULL, entry->payload.data,
                      entry->payload.size);
        break;
    case AT_SALT:
        pack_bytes_if(packer, entry->salt != NULL, entry->salt, ENTRY_SALT_BYTES);
        break;
    case POSITIONS:
        break;
    }
}

static int write_form(struct entry_buffer *buffer, const struct ledger_entry *entry, enum form form,
                      const struct entry_definition *definitions, size_t definition_count) {
    if (entry_check(entry) != NULL)
        return LEDGER_E_BAD_ENTRY;
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    size_t last = last_position(entry, form);
    msgpack_pack_array(&packer, last + 1);
    for (size_t position = 0; position <= last; position++)
        pack_position(&packer, buffer, position, entry, form, definitions, definition_count);
    return buffer->failed ? ENOMEM : 0;
}

int entry_write_draft(struct entry_buffer *buffer, const struct ledger_entry *entry) {
    return write_form(buffer, entry, FORM_DRAFT, NULL, 0);
}

/* The SHA-256 of what a request says: of the same request it is the same, whatever its client_id.
 * Without the payload: it stays when that is taken away, has no salt, and would let it be guessed.
 * `buffer` is used beyond its end. */
static int digest_request(struct entry_buffer *buffer, const struct ledger_entry *entry,
                          struct ledger_text extra, uint8_t digest[ENTRY_DIGEST_BYTES]) {
    struct ledger_entry said = *entry;
    size_t start = buffer->size;
    said.client_id = (struct ledger_text){0};
    said.salt = NULL;
    said.payload = (struct ledger_text){0};
    said.given &= ~(uint32_t)(ENTRY_REQUEST_DIGEST | ENTRY_DIGEST);
    int rc = write_form(buffer, &said, FORM_DRAFT, NULL, 0);
    if (extra.size > 0)
        entry_buffer_append(buffer, extra.data, extra.size);
    if (rc == 0)
        rc = buffer->failed ? ENOMEM
                            : digest_sha256(buffer->data + start, buffer->size - start, digest);
    buffer->size = start;
    return rc;
}

/* Of the salt and the payload behind it; likewise. */
static int digest_payload(struct entry_buffer *buffer, struct ledger_text payload,
                          uint8_t salt[ENTRY_SALT_BYTES], uint8_t digest[ENTRY_DIGEST_BYTES]) {
    size_t start = buffer->size;
    if (getrandom(salt, ENTRY_SALT_BYTES, 0) != ENTRY_SALT_BYTES)
        return LEDGER_E_CRYPTO;
    entry_buffer_append(buffer, (const char *)salt, ENTRY_SALT_BYTES);
    entry_buffer_append(buffer, payload.data, payload.size);
    int rc =
        buffer->failed ? ENOMEM : digest_sha256(buffer->data + start, buffer->size - start, digest);
    buffer->size = start;
    return rc;
}

int entry_write_request(struct entry_buffer *buffer, const struct ledger_entry *entry,
                        struct ledger_text extra) {
    struct ledger_entry request = *entry;
    uint8_t request_digest[ENTRY_DIGEST_BYTES], digest[ENTRY_DIGEST_BYTES], salt[ENTRY_SALT_BYTES];
    int rc = 0;
    if (entry->client_id.data != NULL || entry->run_id.data != NULL) {
        rc = digest_request(buffer, entry, extra, request_digest);
        request.request_digest = request_digest;
        request.given |= ENTRY_REQUEST_DIGEST;
    }
    if (rc == 0 && entry->payload.data != NULL) {
        rc = digest_payload(buffer, entry->payload, salt, digest);
        request.salt = salt;
        request.digest = digest;
        request.given |= ENTRY_DIGEST;
    }
    return rc == 0 ? write_form(buffer, &request, FORM_DRAFT, NULL, 0) : rc;
}

int entry_write_stored(struct entry_buffer *buffer, const struct ledger_entry *entry,
                       const struct entry_definition *definitions, size_t definition_count) {
    return write_form(buffer, entry, FORM_STORED, definitions, definition_count);
}
