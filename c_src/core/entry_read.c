/* Bytes as an entry: drafts and stored entries. */
#include <errno.h>
#include <stdlib.h>

#include "entry_form.h"
#include "error.h"
#include "msgpack_bound.h"
#include "pack.h"

#define PLAIN_ARRAY_MAX 15

struct entry_decoder {
    msgpack_zone zone;
    msgpack_object elements[PLAIN_ARRAY_MAX]; /* of the array that was read last */
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
        entry->named |= UINT64_C(1) << dimension;
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

static bool read_bytes(const msgpack_object *object, size_t size, const uint8_t **bytes) {
    if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != size)
        return false;
    *bytes = (const uint8_t *)object->via.bin.ptr;
    return true;
}

static bool read_digest(const msgpack_object *object, const uint8_t **digest) {
    return read_bytes(object, ENTRY_DIGEST_BYTES, digest);
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
    case AT_PARENT_RUN:
        return unpack_text(object, &entry->parent_run);
    case AT_PRICING:
        entry->given |= ENTRY_PRICING;
        return unpack_uint(object, 1, &number) && number == 1;
    case AT_PAYLOAD:
        if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size == 0)
            return false;
        entry->payload = (struct ledger_text){object->via.bin.ptr, object->via.bin.size};
        return true;
    case AT_SALT:
        return read_bytes(object, ENTRY_SALT_BYTES, &entry->salt);
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
        if (!unpack_uint(object, KIND_REDACTION, &number))
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
        if (object->type == MSGPACK_OBJECT_ARRAY)
            entry->definitions = (struct ledger_text){bytes, size};
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

static void make_text_object(msgpack_object *object, msgpack_object_type type, const uint8_t *at,
                             size_t size) {
    object->type = type;
    if (type == MSGPACK_OBJECT_STR)
        object->via.str = (msgpack_object_str){(uint32_t)size, (const char *)at};
    else
        object->via.bin = (msgpack_object_bin){(uint32_t)size, (const char *)at};
}

/* What nearly every field is: nil, a number that is not negative, a short text. msgpack-c sets up
 * a whole parser for each call. False: not one of these, or not all of it is there. */
static bool read_plain(const uint8_t *data, size_t end, size_t *offset, msgpack_object *object) {
    size_t left = end - *offset, size = 0;
    if (left == 0)
        return false;
    const uint8_t *at = data + *offset;
    uint8_t type = *at++;
    left--;
    if (type <= 0x7f || type == 0xc0) { /* fixint, nil */
        object->type = type == 0xc0 ? MSGPACK_OBJECT_NIL : MSGPACK_OBJECT_POSITIVE_INTEGER;
        object->via.u64 = type;
    } else if (type >= 0xcc && type <= 0xcf) { /* uint of 1, 2, 4, 8 bytes */
        size = (size_t)1 << (type - 0xcc);
        if (size > left)
            return false;
        object->type = MSGPACK_OBJECT_POSITIVE_INTEGER;
        object->via.u64 = 0;
        for (size_t i = 0; i < size; i++)
            object->via.u64 = object->via.u64 << 8 | at[i];
    } else if (type >= 0xa0 && type <= 0xbf) { /* fixstr */
        size = type & 0x1f;
        make_text_object(object, MSGPACK_OBJECT_STR, at, size);
    } else if ((type == 0xd9 || type == 0xc4) && left > 0) { /* str, bin of up to 255 bytes */
        size = 1 + (size_t)*at;
        make_text_object(object, type == 0xd9 ? MSGPACK_OBJECT_STR : MSGPACK_OBJECT_BIN, at + 1,
                         size - 1);
    } else {
        return false;
    }
    if (size > left)
        return false;
    *offset += 1 + size;
    return true;
}

/* The same for a short array of them: names, tokens, a breakdown. */
static bool read_plain_array(struct entry_decoder *decoder, const uint8_t *data, size_t end,
                             size_t *offset, msgpack_object *object) {
    size_t at = *offset;
    if (at == end || (data[at] & 0xf0) != 0x90)
        return false;
    uint32_t count = data[at++] & 0x0f;
    for (uint32_t i = 0; i < count; i++)
        if (!read_plain(data, end, &at, &decoder->elements[i]))
            return false;
    object->type = MSGPACK_OBJECT_ARRAY;
    object->via.array = (msgpack_object_array){count, decoder->elements};
    *offset = at;
    return true;
}

/* Anything else is msgpack-c's, once all of it was looked over. */
struct form_reader {
    struct entry_decoder *decoder;
    const uint8_t *data;
    size_t size;
    size_t offset;
    bool is_bounded;
};

static int read_object(struct form_reader *reader, msgpack_object *object) {
    if (read_plain(reader->data, reader->size, &reader->offset, object) ||
        read_plain_array(reader->decoder, reader->data, reader->size, &reader->offset, object))
        return MSGPACK_UNPACK_SUCCESS;
    if (!reader->is_bounded && !msgpack_is_bounded(reader->data, reader->size))
        return MSGPACK_UNPACK_PARSE_ERROR;
    reader->is_bounded = true;
    return msgpack_unpack((const char *)reader->data, reader->size, &reader->offset,
                          &reader->decoder->zone, object);
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
    struct form_reader reader = {.decoder = decoder, .data = data, .size = size};
    size_t count;
    if (!read_array_head(data, size, &count, &reader.offset) || count <= AT_DURATION)
        return damaged;
    msgpack_zone_clear(&decoder->zone);
    for (size_t position = 0; position < count; position++) {
        msgpack_object object;
        size_t start = reader.offset;
        int rc = read_object(&reader, &object);
        if (rc == MSGPACK_UNPACK_NOMEM_ERROR)
            return ENOMEM;
        if (rc != MSGPACK_UNPACK_SUCCESS && rc != MSGPACK_UNPACK_EXTRA_BYTES)
            return damaged;
        uint64_t version;
        if (position == AT_VERSION) {
            if (!unpack_uint(&object, UINT64_MAX, &version) || version == 0)
                return damaged;
            /* No draft comes from a later version: it was made by this one, or by hand. */
            if (version > ENTRY_VERSION)
                return form == FORM_DRAFT ? damaged : LEDGER_E_NEWER;
            if (count > (form == FORM_DRAFT ? POSITIONS : STORED_POSITIONS))
                return damaged;
        }
        if (!read_position(&object, position, form, entry, (const char *)data + start,
                           reader.offset - start))
            return damaged;
    }
    if (reader.offset != size)
        return damaged;
    /* A payload comes with its salt and what binds it. */
    bool has_payload = entry->payload.data != NULL;
    if (form == FORM_DRAFT && (has_payload != (entry->salt != NULL) ||
                               has_payload != ((entry->given & ENTRY_DIGEST) != 0)))
        return damaged;
    return entry_check_read(entry) == NULL ? 0 : damaged;
}

int entry_read_draft(struct entry_decoder *decoder, const void *data, size_t size,
                     struct ledger_entry *entry) {
    return read_form(decoder, data, size, FORM_DRAFT, entry);
}

int entry_read_stored(struct entry_decoder *decoder, const void *data, size_t size,
                      struct ledger_entry *entry) {
    return read_form(decoder, data, size, FORM_STORED, entry);
}

/* [number, dimension, "value", ...]: names of the entry, in ascending dimension. */
static bool read_definitions(const msgpack_object *object, const struct ledger_entry *entry,
                             struct entry_definition *definitions, size_t *count) {
    uint64_t previous = 0;
    uint32_t size = object->type == MSGPACK_OBJECT_ARRAY ? object->via.array.size : 0;
    if (size == 0 || size % 3 != 0)
        return false;
    for (uint32_t i = 0; i < size; i += 3) {
        const msgpack_object *triple = &object->via.array.ptr[i];
        struct entry_definition *definition = &definitions[*count];
        uint64_t number, dimension;
        if (!unpack_uint(&triple[0], UINT32_MAX, &number) ||
            !unpack_uint(&triple[1], DIMENSION_LIMIT - 1, &dimension) || dimension <= previous ||
            !unpack_text(&triple[2], &definition->value) || definition->value.size == 0 ||
            number == 0 || entry->name_numbers[dimension] != number)
            return false;
        definition->number = (uint32_t)number;
        definition->dimension = (uint8_t)dimension;
        previous = dimension;
        ++*count;
    }
    return true;
}

int entry_read_definitions(struct entry_decoder *decoder, const struct ledger_entry *entry,
                           struct entry_definition *definitions, size_t *count) {
    msgpack_object object;
    size_t offset = 0;
    *count = 0;
    if (entry->definitions.data == NULL)
        return 0;
    msgpack_zone_clear(&decoder->zone);
    int rc = msgpack_unpack(entry->definitions.data, entry->definitions.size, &offset,
                            &decoder->zone, &object);
    if (rc == MSGPACK_UNPACK_NOMEM_ERROR)
        return ENOMEM;
    bool fine = (rc == MSGPACK_UNPACK_SUCCESS || rc == MSGPACK_UNPACK_EXTRA_BYTES) &&
                read_definitions(&object, entry, definitions, count);
    return fine ? 0 : LEDGER_E_DAMAGED;
}
