#include "entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "msgpack_bound.h"
#include "pack.h"

enum position {
    AT_VERSION,
    AT_KIND,
    AT_STATUS,
    AT_NAMES,
    AT_DEFINITIONS,
    AT_DURATION,
    AT_COST,
    AT_CREDITS,
    AT_TOKENS,
    AT_BREAKDOWN,
    AT_UNIT_PRICES,
    AT_FLAGS,
    AT_DIGEST,
    AT_CLIENT_ID,
    AT_LINK,
    AT_OCCURRED_AT,
    AT_CHANGE,
    AT_RUN_ID,
    AT_HOLD,
    AT_PARENT,
    AT_POLICY_VERSION,
    AT_REQUEST_DIGEST,
    POSITIONS
};

enum form { FORM_DRAFT, FORM_STORED };

/* ---- writing ---------------------------------------------------------------------------- */

void entry_buffer_free(struct entry_buffer *buffer) {
    free(buffer->data);
    *buffer = (struct entry_buffer){0};
}

int entry_buffer_append(void *context, const char *bytes, size_t size) {
    struct entry_buffer *buffer = context;
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

static void pack_digest_if(msgpack_packer *packer, bool given, const uint8_t *digest) {
    if (!given) {
        msgpack_pack_nil(packer);
        return;
    }
    msgpack_pack_bin(packer, ENTRY_DIGEST_BYTES);
    msgpack_pack_bin_body(packer, digest, ENTRY_DIGEST_BYTES);
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
static size_t last_position(const struct ledger_entry *entry) {
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
    size_t last = last_position(entry);
    msgpack_pack_array(&packer, last + 1);
    for (size_t position = 0; position <= last; position++)
        pack_position(&packer, buffer, position, entry, form, definitions, definition_count);
    return buffer->failed ? ENOMEM : 0;
}

int entry_write_draft(struct entry_buffer *buffer, const struct ledger_entry *entry) {
    return write_form(buffer, entry, FORM_DRAFT, NULL, 0);
}

int entry_write_stored(struct entry_buffer *buffer, const struct ledger_entry *entry,
                       const struct entry_definition *definitions, size_t definition_count) {
    return write_form(buffer, entry, FORM_STORED, definitions, definition_count);
}

/* ---- reading ---------------------------------------------------------------------------- */

struct entry_decoder {
    msgpack_zone zone;
};

struct entry_decoder *entry_decoder_new(void) {
    struct entry_decoder *decoder = malloc(sizeof *decoder);
    if (decoder != NULL && !msgpack_zone_init(&decoder->zone, 8192)) {
        free(decoder);
        return NULL;
    }
    return decoder;
}

void entry_decoder_free(struct entry_decoder *decoder) {
    if (decoder == NULL)
        return;
    msgpack_zone_destroy(&decoder->zone);
    free(decoder);
}

static bool read_int(const msgpack_object *object, int64_t *out) {
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= INT64_MAX)
        *out = (int64_t)object->via.u64;
    else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *out = object->via.i64;
    else
        return false;
    return true;
}

static bool read_ints(const msgpack_object *object, int64_t *out, size_t count) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!read_int(&object->via.array.ptr[i], &out[i]))
            return false;
    return true;
}

static bool read_names(const msgpack_object *object, enum form form, struct ledger_entry *entry) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size % 2 != 0)
        return false;
    uint64_t previous = 0;
    for (uint32_t i = 0; i < object->via.array.size; i += 2) {
        const msgpack_object *pair = &object->via.array.ptr[i];
        uint64_t dimension, number;
        if (!unpack_uint(&pair[0], DIMENSION_LIMIT - 1, &dimension) || dimension <= previous)
            return false;
        previous = dimension;
        if (form == FORM_DRAFT) {
            if (!unpack_text(&pair[1], &entry->names[dimension]))
                return false;
        } else {
            if (!unpack_uint(&pair[1], UINT32_MAX, &number) || number == 0)
                return false;
            entry->name_numbers[dimension] = (uint32_t)number;
        }
    }
    return true;
}

static bool read_unit_prices(const msgpack_object *object, struct ledger_entry *entry) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != TOKENS_CLASSES)
        return false;
    for (size_t i = 0; i < TOKENS_CLASSES; i++)
        if (!unpack_uint(&object->via.array.ptr[i], UINT64_MAX, &entry->unit_prices[i]))
            return false;
    return true;
}

static bool read_digest(const msgpack_object *object, const uint8_t **digest) {
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != ENTRY_DIGEST_BYTES)
        return false;
    *digest = (const uint8_t *)object->via.bin.ptr;
    return true;
}

static bool read_optional(const msgpack_object *object, size_t position,
                          struct ledger_entry *entry) {
    uint64_t number;
    switch ((enum position)position) {
    case AT_COST:
        entry->given |= ENTRY_COST;
        return read_int(object, &entry->cost);
    case AT_CREDITS:
        entry->given |= ENTRY_CREDITS;
        return read_int(object, &entry->credits);
    case AT_TOKENS:
        entry->given |= ENTRY_TOKENS;
        return read_ints(object, entry->tokens, TOKENS_CLASSES);
    case AT_BREAKDOWN:
        entry->given |= ENTRY_BREAKDOWN;
        return read_ints(object, entry->breakdown, COST_PARTS);
    case AT_UNIT_PRICES:
        entry->given |= ENTRY_UNIT_PRICES;
        return read_unit_prices(object, entry);
    case AT_FLAGS:
        return unpack_uint(object, UINT64_MAX, &entry->flags);
    case AT_DIGEST:
        entry->given |= ENTRY_DIGEST;
        return read_digest(object, &entry->digest);
    case AT_CLIENT_ID:
        return unpack_text(object, &entry->client_id);
    case AT_LINK:
        return unpack_uint(object, UINT64_MAX, &entry->link);
    case AT_OCCURRED_AT:
        if (!unpack_uint(object, INT64_MAX / 1000, &number))
            return false;
        entry->given |= ENTRY_OCCURRED_AT;
        entry->occurred_at_ms = (int64_t)number;
        return true;
    case AT_RUN_ID:
        return unpack_text(object, &entry->run_id);
    case AT_HOLD:
        return unpack_uint(object, UINT64_MAX, &entry->hold);
    case AT_PARENT:
        return unpack_uint(object, UINT64_MAX, &entry->parent);
    case AT_POLICY_VERSION:
        return unpack_uint(object, UINT64_MAX, &entry->policy_version);
    case AT_REQUEST_DIGEST:
        entry->given |= ENTRY_REQUEST_DIGEST;
        return read_digest(object, &entry->request_digest);
    default:
        return false;
    }
}

static bool read_position(const msgpack_object *object, size_t position, enum form form,
                          struct ledger_entry *entry, const char *bytes, size_t size) {
    uint64_t number;
    switch ((enum position)position) {
    case AT_VERSION: /* read before all others */
        return true;
    case AT_KIND:
        if (!unpack_uint(object, KIND_PRICE, &number))
            return false;
        entry->kind = (enum ledger_kind)number;
        return true;
    case AT_STATUS:
        if (!unpack_uint(object, STATUS_ABORTED, &number))
            return false;
        entry->status = (enum ledger_status)number;
        return true;
    case AT_NAMES:
        return read_names(object, form, entry);
    case AT_DEFINITIONS: /* the `names` database has them; here they serve its rebuilding */
        return object->type == MSGPACK_OBJECT_NIL ||
               (form == FORM_STORED && object->type == MSGPACK_OBJECT_ARRAY);
    case AT_DURATION:
        return read_int(object, &entry->duration_ms);
    case AT_CHANGE:
        if (object->type == MSGPACK_OBJECT_MAP)
            entry->change = (struct ledger_text){bytes, size};
        return object->type == MSGPACK_OBJECT_MAP || object->type == MSGPACK_OBJECT_NIL;
    default:
        return object->type == MSGPACK_OBJECT_NIL || read_optional(object, position, entry);
    }
}

/* The head of the outer array is read here and its elements one by one, because msgpack-c does
 * not say where an element's own bytes lie, and `change` is kept as bytes. */
static bool read_array_head(const uint8_t *data, size_t size, size_t *count, size_t *offset) {
    if (size >= 1 && (data[0] & 0xf0) == 0x90) {
        *count = data[0] & 0x0f;
        *offset = 1;
        return true;
    }
    if (size >= 3 && data[0] == 0xdc) {
        *count = (size_t)data[1] << 8 | data[2];
        *offset = 3;
        return true;
    }
    return false;
}

static int read_form(struct entry_decoder *decoder, const void *data, size_t size, enum form form,
                     struct ledger_entry *entry) {
    int damaged = form == FORM_STORED ? LEDGER_E_DAMAGED : LEDGER_E_BAD_ENTRY;
    uint64_t id = entry->id;
    *entry = (struct ledger_entry){.id = id};
    size_t count, offset;
    if (!msgpack_is_bounded(data, size) || !read_array_head(data, size, &count, &offset) ||
        count <= AT_DURATION)
        return damaged;
    msgpack_zone_clear(&decoder->zone);
    for (size_t position = 0; position < count; position++) {
        msgpack_object object;
        size_t start = offset;
        int rc = msgpack_unpack(data, size, &offset, &decoder->zone, &object);
        if (rc == MSGPACK_UNPACK_NOMEM_ERROR)
            return ENOMEM;
        if (rc != MSGPACK_UNPACK_SUCCESS && rc != MSGPACK_UNPACK_EXTRA_BYTES)
            return damaged;
        uint64_t version;
        if (position == AT_VERSION) {
            if (!unpack_uint(&object, UINT64_MAX, &version) || version == 0)
                return damaged;
            if (version > ENTRY_VERSION)
                return LEDGER_E_NEWER;
            if (count > POSITIONS)
                return damaged;
        }
        if (!read_position(&object, position, form, entry, (const char *)data + start,
                           offset - start))
            return damaged;
    }
    return entry_check(entry) == NULL ? 0 : damaged;
}

int entry_read_draft(struct entry_decoder *decoder, const void *data, size_t size,
                     struct ledger_entry *entry) {
    return read_form(decoder, data, size, FORM_DRAFT, entry);
}

int entry_read_stored(struct entry_decoder *decoder, const void *data, size_t size,
                      struct ledger_entry *entry) {
    return read_form(decoder, data, size, FORM_STORED, entry);
}

/* ---- rules ------------------------------------------------------------------------------ */

static bool in_range(const int64_t *values, size_t count, int64_t min) {
    for (size_t i = 0; i < count; i++)
        if (values[i] < min || values[i] > ENTRY_AMOUNT_MAX)
            return false;
    return true;
}

const char *entry_check(const struct ledger_entry *entry) {
    bool has_outcome = entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN;
    int64_t least = entry->kind == KIND_CORRECTION ? -ENTRY_AMOUNT_MAX : 0;
    if (entry->kind < KIND_INVOCATION || entry->kind > KIND_PRICE)
        return "kind";
    if (has_outcome != (entry->status != STATUS_NONE) || entry->status > STATUS_ABORTED)
        return "status";
    if (!in_range(&entry->duration_ms, 1, 0))
        return "duration_ms";
    if ((entry->given & ENTRY_COST) && !in_range(&entry->cost, 1, least))
        return "cost";
    if ((entry->given & ENTRY_CREDITS) && !in_range(&entry->credits, 1, least))
        return "credits";
    if ((entry->given & ENTRY_TOKENS) && !in_range(entry->tokens, TOKENS_CLASSES, least))
        return "tokens";
    if ((entry->given & ENTRY_BREAKDOWN) && !in_range(entry->breakdown, COST_PARTS, least))
        return "breakdown";
    if ((entry->given & ENTRY_OCCURRED_AT) &&
        (entry->occurred_at_ms < 0 || entry->occurred_at_ms > INT64_MAX / 1000))
        return "occurred_at";
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        bool named = entry->names[dimension].data != NULL || entry->name_numbers[dimension] != 0;
        bool empty = entry->names[dimension].data != NULL && entry->names[dimension].size == 0;
        if (empty || (named && !entry_dimension_is_assigned(dimension)))
            return "names";
    }
    bool has_state =
        entry->names[DIMENSION_STATE].data != NULL || entry->name_numbers[DIMENSION_STATE] != 0;
    if (entry->kind == KIND_INVOCATION && !has_state)
        return "state";
    return NULL;
}

void entry_amounts(const struct ledger_entry *entry, struct amounts *amounts) {
    static const enum totals_column status_columns[] = {
        [STATUS_COMPLETED] = COLUMN_COMPLETED,
        [STATUS_FAILED] = COLUMN_FAILED,
        [STATUS_ABORTED] = COLUMN_ABORTED,
    };
    amounts->mask = 0;
    if (entry->kind != KIND_INVOCATION)
        return;
    bool completed = entry->status == STATUS_COMPLETED;
    amounts_set(amounts, COLUMN_INVOCATIONS, 1);
    amounts_set(amounts, status_columns[entry->status], 1);
    amounts_set(amounts, COLUMN_DURATION_MS, entry->duration_ms);
    if (entry->given & ENTRY_COST) {
        amounts_set(amounts, COLUMN_COST, entry->cost);
        amounts_set(amounts, COLUMN_COMPLETED_COST, completed ? entry->cost : 0);
    } else {
        amounts_set(amounts, COLUMN_UNPRICED, 1);
    }
    if (entry->given & ENTRY_CREDITS) {
        amounts_set(amounts, COLUMN_CREDITS, entry->credits);
        amounts_set(amounts, COLUMN_COMPLETED_CREDITS, completed ? entry->credits : 0);
    }
    if (entry->given & ENTRY_TOKENS)
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            amounts_set(amounts, COLUMN_INPUT_TOKENS + class, entry->tokens[class]);
}
