/* Bytes as an entry: drafts and stored entries. */
#include "entry_form.h"
#include "error.h"
#include "unpack.h"

/* Here and below, what reads many numbers has a reader of its own, which stays in registers. */
static bool take_ints(struct byte_reader *reader, int64_t *out, size_t count) {
    struct byte_reader r = *reader;
    uint64_t size;
    if (!take_array(&r, &size) || size != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!take_int(&r, &out[i]))
            return false;
    reader->at = r.at;
    return true;
}

static bool take_names(struct byte_reader *reader, enum form form, struct ledger_entry *entry) {
    struct byte_reader r = *reader;
    uint64_t count, dimension, number, previous = 0, named = 0;
    if (!take_array(&r, &count) || count % 2 != 0)
        return false;
    for (; count > 0; count -= 2) {
        if (!take_uint(&r, DIMENSION_LIMIT - 1, &dimension) || dimension <= previous)
            return false;
        previous = dimension;
        named |= UINT64_C(1) << dimension;
        if (form == FORM_DRAFT) {
            if (!take_text(&r, &entry->names[dimension]) || entry->names[dimension].size == 0)
                return false;
        } else {
            if (!take_uint(&r, UINT32_MAX, &number) || number == 0)
                return false;
            entry->name_numbers[dimension] = (uint32_t)number;
        }
    }
    entry->named = named;
    reader->at = r.at;
    return true;
}

static bool take_unit_prices(struct byte_reader *r, struct ledger_entry *entry) {
    uint64_t count;
    if (!take_array(r, &count) || count != TOKENS_CLASSES)
        return false;
    for (size_t i = 0; i < TOKENS_CLASSES; i++)
        if (!take_uint(r, UINT64_MAX, &entry->unit_prices[i]))
            return false;
    return true;
}

static bool take_bytes(struct byte_reader *r, size_t size, const uint8_t **bytes) {
    struct ledger_text binary;
    if (!take_binary(r, &binary) || binary.size != size)
        return false;
    *bytes = (const uint8_t *)binary.data;
    return true;
}

static bool take_optional(struct byte_reader *r, size_t position, struct ledger_entry *entry) {
    uint64_t number;
    switch ((enum position)position) {
    case AT_COST:
        entry->given |= ENTRY_COST;
        return take_int(r, &entry->cost);
    case AT_CREDITS:
        entry->given |= ENTRY_CREDITS;
        return take_int(r, &entry->credits);
    case AT_TOKENS:
        entry->given |= ENTRY_TOKENS;
        return take_ints(r, entry->tokens, TOKENS_CLASSES);
    case AT_BREAKDOWN:
        entry->given |= ENTRY_BREAKDOWN;
        return take_ints(r, entry->breakdown, COST_PARTS);
    case AT_UNIT_PRICES:
        entry->given |= ENTRY_UNIT_PRICES;
        return take_unit_prices(r, entry);
    case AT_FLAGS:
        return take_uint(r, UINT64_MAX, &entry->flags);
    case AT_DIGEST:
        entry->given |= ENTRY_DIGEST;
        return take_bytes(r, ENTRY_DIGEST_BYTES, &entry->digest);
    case AT_CLIENT_ID:
        return take_text(r, &entry->client_id);
    case AT_LINK:
        return take_uint(r, UINT64_MAX, &entry->link);
    case AT_OCCURRED_AT:
        if (!take_uint(r, INT64_MAX / 1000, &number))
            return false;
        entry->given |= ENTRY_OCCURRED_AT;
        entry->occurred_at_ms = (int64_t)number;
        return true;
    case AT_CHANGE: /* nested no deeper than the whole may be */
        return is_at_map(r) && take_any(r, MSGPACK_DEPTH_MAX - 1, &entry->change);
    case AT_RUN_ID:
        return take_text(r, &entry->run_id);
    case AT_HOLD:
        return take_uint(r, UINT64_MAX, &entry->hold);
    case AT_PARENT:
        return take_uint(r, UINT64_MAX, &entry->parent);
    case AT_POLICY_VERSION:
        return take_uint(r, UINT64_MAX, &entry->policy_version);
    case AT_REQUEST_DIGEST:
        entry->given |= ENTRY_REQUEST_DIGEST;
        return take_bytes(r, ENTRY_DIGEST_BYTES, &entry->request_digest);
    case AT_PARENT_RUN:
        return take_text(r, &entry->parent_run);
    case AT_PRICING:
        entry->given |= ENTRY_PRICING;
        return take_uint(r, 1, &number) && number == 1;
    case AT_PAYLOAD:
        return take_binary(r, &entry->payload) && entry->payload.size > 0;
    case AT_SALT:
        return take_bytes(r, ENTRY_SALT_BYTES, &entry->salt);
    default:
        return false;
    }
}

/* What every entry has. */
static bool take_required(struct byte_reader *r, enum form form, struct ledger_entry *entry) {
    uint64_t kind, status;
    if (!take_uint(r, KIND_REDACTION, &kind) || !take_uint(r, STATUS_ABORTED, &status) ||
        !take_names(r, form, entry))
        return false;
    entry->kind = (enum ledger_kind)kind;
    entry->status = (enum ledger_status)status;
    /* The `names` database has the definitions; here they serve its rebuilding. */
    bool defines = form == FORM_STORED && is_at_array(r);
    if (!(defines ? take_any(r, MSGPACK_DEPTH_MAX - 1, &entry->definitions) : take_nil(r)))
        return false;
    return take_int(r, &entry->duration_ms);
}

static bool take_fields(struct byte_reader *r, uint64_t count, enum form form,
                        struct ledger_entry *entry) {
    if (!take_required(r, form, entry))
        return false;
    for (size_t position = AT_COST; position < count; position++)
        if (!take_nil(r) && !take_optional(r, position, entry))
            return false;
    return r->at == r->end;
}

/* For a size that it knows gcc writes an instruction that takes three times as long as memset(). */
static void clear(struct ledger_entry *entry) {
    size_t size = sizeof *entry;
    __asm__("" : "+r"(size));
    memset(entry, 0, size);
}

static int read_form(const void *data, size_t size, enum form form, struct ledger_entry *entry) {
    int damaged = form == FORM_STORED ? LEDGER_E_DAMAGED : LEDGER_E_BAD_ENTRY;
    uint64_t id = entry->id, count, version;
    clear(entry);
    entry->id = id;
    if (size == 0)
        return damaged;
    struct byte_reader reader = byte_reader(data, size);
    if (!take_array(&reader, &count) || count <= AT_DURATION ||
        !take_uint(&reader, UINT64_MAX, &version) || version == 0)
        return damaged;
    /* No draft comes from a later version: it was made by this one, or by hand. */
    if (version > ENTRY_VERSION)
        return form == FORM_DRAFT ? damaged : LEDGER_E_NEWER;
    if (count > (form == FORM_DRAFT ? POSITIONS : STORED_POSITIONS) ||
        !take_fields(&reader, count, form, entry))
        return damaged;
    /* A payload comes with its salt and what binds it. */
    bool has_payload = entry->payload.data != NULL;
    if (form == FORM_DRAFT && (has_payload != (entry->salt != NULL) ||
                               has_payload != ((entry->given & ENTRY_DIGEST) != 0)))
        return damaged;
    return entry_check_read(entry) == NULL ? 0 : damaged;
}

int entry_read_draft(const void *data, size_t size, struct ledger_entry *entry) {
    return read_form(data, size, FORM_DRAFT, entry);
}

int entry_read_stored(const void *data, size_t size, struct ledger_entry *entry) {
    return read_form(data, size, FORM_STORED, entry);
}

/* [number, dimension, "value", ...]: names of the entry, in ascending dimension. */
int entry_read_definitions(const struct ledger_entry *entry, struct entry_definition *definitions,
                           size_t *count) {
    uint64_t size, number, dimension, previous = 0;
    *count = 0;
    if (entry->definitions.data == NULL)
        return 0;
    struct byte_reader reader = byte_reader(entry->definitions.data, entry->definitions.size);
    if (!take_array(&reader, &size) || size == 0 || size % 3 != 0)
        return LEDGER_E_DAMAGED;
    for (; size > 0; size -= 3) {
        struct entry_definition *definition = &definitions[*count];
        if (!take_uint(&reader, UINT32_MAX, &number) ||
            !take_uint(&reader, DIMENSION_LIMIT - 1, &dimension) || dimension <= previous ||
            !take_text(&reader, &definition->value) || definition->value.size == 0 || number == 0 ||
            entry->name_numbers[dimension] != number)
            return LEDGER_E_DAMAGED;
        definition->number = (uint32_t)number;
        definition->dimension = (uint8_t)dimension;
        previous = dimension;
        ++*count;
    }
    return 0;
}
