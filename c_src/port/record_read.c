#include "record_read.h"

#include <errno.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "../core/pack.h"
#include "record_json.h"

#define HEADER_VERSION 1
#define ID_MAX ((uint64_t)LEDGER_TIME_MAX)

/* ---- values --------------------------------------------------------------------------------- */

static bool get_int(const msgpack_object *value, int64_t *number) {
    if (value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *number = value->via.i64;
    else if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER && value->via.u64 <= INT64_MAX)
        *number = (int64_t)value->via.u64;
    else
        return false;
    return true;
}

/* An id is a string of digits; a number is taken too. */
static bool get_id(const msgpack_object *value, uint64_t *id) {
    char digits[24];
    struct ledger_text text;
    char *end;
    if (unpack_uint(value, ID_MAX, id))
        return *id > 0;
    if (!unpack_text(value, &text) || text.size == 0 || text.size >= 20 || text.data[0] < '1' ||
        text.data[0] > '9')
        return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    *id = strtoull(digits, &end, 10);
    return *end == '\0' && *id <= ID_MAX;
}

static bool get_text(const msgpack_object *value, struct ledger_text *text) {
    if (value->type == MSGPACK_OBJECT_BIN) {
        *text = (struct ledger_text){value->via.bin.ptr, value->via.bin.size};
        return true;
    }
    if (!unpack_text(value, text))
        return false;
    if (text->data == NULL)
        text->data = "";
    return true;
}

static bool get_true(const msgpack_object *value) {
    return value->type == MSGPACK_OBJECT_BOOLEAN && value->via.boolean;
}

/* Index of a name in a table, or -1. */
static int index_of(const msgpack_object *key, const char *const *names, int count) {
    int found = -1;
    for (int i = 0; i < count; i++)
        if (unpacks_as(key, names[i]))
            found = i;
    return found;
}

/* {"input": 1, ..}: those that are absent are 0. */
static bool get_ints(const msgpack_object *value, const char *const *names, int count,
                     int64_t *numbers) {
    bool sound = value->type == MSGPACK_OBJECT_MAP;
    for (uint32_t i = 0; sound && i < value->via.map.size; i++) {
        int which = index_of(&value->via.map.ptr[i].key, names, count);
        sound = which >= 0 && get_int(&value->via.map.ptr[i].val, &numbers[which]);
    }
    return sound;
}

static bool get_unit_prices(const msgpack_object *value, uint64_t *prices) {
    bool sound = value->type == MSGPACK_OBJECT_MAP;
    for (uint32_t i = 0; sound && i < value->via.map.size; i++) {
        int which = index_of(&value->via.map.ptr[i].key, record_token_classes, TOKENS_CLASSES);
        sound = which >= 0 && unpack_uint(&value->via.map.ptr[i].val, UINT64_MAX, &prices[which]);
    }
    return sound;
}

static bool get_status(const msgpack_object *value, enum ledger_status *status) {
    for (int i = STATUS_COMPLETED; i <= STATUS_ABORTED; i++)
        if (unpacks_as(value, record_status_name((enum ledger_status)i)))
            *status = (enum ledger_status)i;
    return *status != STATUS_NONE;
}

static bool get_kind(const msgpack_object *value, enum ledger_kind *kind) {
    for (int i = KIND_INVOCATION; i <= KIND_REDACTION; i++)
        if (unpacks_as(value, record_kind_name((enum ledger_kind)i)))
            *kind = (enum ledger_kind)i;
    return *kind != 0;
}

/* At a fixed place of record->bytes, which has room for all of them. */
enum { BYTES_OF_DIGEST = 0, BYTES_OF_REQUEST = 32, BYTES_OF_SALT = 64, BYTES_IN_ALL = 80 };

static bool get_bytes(struct record *record, const msgpack_object *value, size_t place, size_t size,
                      const uint8_t **bytes) {
    struct entry_buffer read = {0};
    struct ledger_text text;
    bool sound = unpack_text(value, &text) && json_read_base64(text, &read) && !read.failed &&
                 read.size == size;
    if (sound)
        memcpy(record->bytes.data + place, read.data, size);
    *bytes = (const uint8_t *)record->bytes.data + place;
    entry_buffer_free(&read);
    return sound;
}

static bool get_packed(const msgpack_object *value, struct entry_buffer *buffer,
                       struct ledger_text *text) {
    msgpack_packer packer;
    if (value->type != MSGPACK_OBJECT_MAP)
        return false;
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    msgpack_pack_object(&packer, *value);
    *text = (struct ledger_text){buffer->data, buffer->size};
    return !buffer->failed;
}

/* ---- an entry ------------------------------------------------------------------------------- */

static int dimension_of(const msgpack_object *key) {
    char name[RECORD_NAME_BYTES];
    int found = 0;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        if (entry_dimension_is_assigned(dimension) &&
            unpacks_as(key, record_name_key(dimension, name)))
            found = dimension;
    return found;
}

static bool get_amount(struct ledger_entry *entry, enum entry_field field,
                       const msgpack_object *value, int64_t *amount) {
    entry->given |= field;
    return get_int(value, amount);
}

static bool get_amounts(struct ledger_entry *entry, const msgpack_object *key,
                        const msgpack_object *value, bool *known) {
    *known = true;
    if (unpacks_as(key, "cost"))
        return get_amount(entry, ENTRY_COST, value, &entry->cost);
    if (unpacks_as(key, "credits"))
        return get_amount(entry, ENTRY_CREDITS, value, &entry->credits);
    if (unpacks_as(key, "occurred_at"))
        return get_amount(entry, ENTRY_OCCURRED_AT, value, &entry->occurred_at_ms);
    if (unpacks_as(key, "duration_ms"))
        return get_int(value, &entry->duration_ms);
    if (unpacks_as(key, "tokens")) {
        entry->given |= ENTRY_TOKENS;
        return get_ints(value, record_token_classes, TOKENS_CLASSES, entry->tokens);
    }
    if (unpacks_as(key, "breakdown")) {
        entry->given |= ENTRY_BREAKDOWN;
        return get_ints(value, record_cost_parts, COST_PARTS, entry->breakdown);
    }
    if (unpacks_as(key, "unit_prices")) {
        entry->given |= ENTRY_UNIT_PRICES;
        return get_unit_prices(value, entry->unit_prices);
    }
    return *known = false;
}

static bool get_links(struct record *record, const msgpack_object *key, const msgpack_object *value,
                      bool *known) {
    struct ledger_entry *entry = &record->entry;
    *known = true;
    if (unpacks_as(key, "id"))
        return get_id(value, &entry->id);
    if (unpacks_as(key, "corrects") || unpacks_as(key, "redacts"))
        return get_id(value, &entry->link);
    if (unpacks_as(key, "hold"))
        return get_id(value, &entry->hold);
    if (unpacks_as(key, "parent"))
        return get_id(value, &entry->parent);
    if (unpacks_as(key, "redacted_by"))
        return get_id(value, &record->redacted_by);
    if (unpacks_as(key, "policy_version"))
        return unpack_uint(value, INT64_MAX, &entry->policy_version);
    if (unpacks_as(key, "timestamp"))
        return get_int(value, &record->timestamp_ms);
    return *known = false;
}

static bool get_written(struct record *record, const msgpack_object *key,
                        const msgpack_object *value, bool *known) {
    struct ledger_entry *entry = &record->entry;
    *known = true;
    if (unpacks_as(key, "request_digest")) {
        entry->given |= ENTRY_REQUEST_DIGEST;
        return get_bytes(record, value, BYTES_OF_REQUEST, ENTRY_DIGEST_BYTES,
                         &entry->request_digest);
    }
    if (unpacks_as(key, "digest")) {
        entry->given |= ENTRY_DIGEST;
        return get_bytes(record, value, BYTES_OF_DIGEST, ENTRY_DIGEST_BYTES, &entry->digest);
    }
    if (unpacks_as(key, "salt"))
        return get_bytes(record, value, BYTES_OF_SALT, ENTRY_SALT_BYTES, &entry->salt);
    if (unpacks_as(key, "payload"))
        return get_packed(value, &record->payload, &entry->payload);
    if (unpacks_as(key, "change"))
        return get_packed(value, &record->change, &entry->change);
    return *known = false;
}

static bool get_field(struct record *record, const msgpack_object *key, const msgpack_object *value,
                      bool *known) {
    struct ledger_entry *entry = &record->entry;
    bool sound = get_amounts(entry, key, value, known);
    int dimension = dimension_of(key), flag = index_of(key, record_flags, RECORD_FLAGS);
    if (!*known)
        sound = get_links(record, key, value, known);
    if (!*known)
        sound = get_written(record, key, value, known);
    if (*known)
        return sound;
    *known = true;
    if (dimension != 0)
        return get_text(value, &entry->names[dimension]);
    if (flag >= 0) {
        entry->flags |= UINT64_C(1) << flag;
        return get_true(value);
    }
    if (unpacks_as(key, "kind"))
        return get_kind(value, &entry->kind);
    if (unpacks_as(key, "status"))
        return get_status(value, &entry->status);
    if (unpacks_as(key, "client_id"))
        return get_text(value, &entry->client_id);
    if (unpacks_as(key, "run_id"))
        return get_text(value, &entry->run_id);
    if (unpacks_as(key, "parent_run"))
        return get_text(value, &entry->parent_run);
    return *known = false;
}

static int read_fields(struct record *record, const msgpack_object *map,
                       struct ledger_failure *failure) {
    if (map->type != MSGPACK_OBJECT_MAP)
        return ledger_fail(failure, LEDGER_E_BAD_ENTRY, "not a JSON object");
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;
        struct ledger_text name = {"?", 1};
        bool known;
        unpack_text(key, &name);
        if (!get_field(record, key, &map->via.map.ptr[i].val, &known))
            return ledger_fail(failure, LEDGER_E_BAD_ENTRY, known ? "%.*s" : "unknown name %.*s",
                               (int)(name.size < 64 ? name.size : 64), name.data);
    }
    return 0;
}

/* What a line has to say that entry_check() does not ask for. */
static int check_whole(struct record *record, struct ledger_failure *failure) {
    const struct ledger_entry *entry = &record->entry;
    bool has_payload = entry->payload.data != NULL;
    const char *wrong = entry_check(entry);
    if (wrong == NULL && entry->id != 0 && record->timestamp_ms != (int64_t)(entry->id / 1000))
        wrong = "timestamp";
    if (wrong == NULL && has_payload && record->redacted_by != 0)
        wrong = "redacted_by";
    /* A record that was not written by an export has a payload, and neither digest nor salt. */
    if (wrong == NULL && has_payload != (entry->salt != NULL) && entry->id != 0)
        wrong = "salt";
    if (wrong == NULL && entry->id != 0 &&
        (has_payload || record->redacted_by != 0) != ((entry->given & ENTRY_DIGEST) != 0))
        wrong = "digest";
    return wrong == NULL ? 0 : ledger_fail(failure, LEDGER_E_BAD_ENTRY, "%s", wrong);
}

static void record_clear(struct record *record) {
    if (record->unpacked != NULL)
        msgpack_unpacked_destroy(record->unpacked);
    record->packed.size = record->payload.size = record->change.size = 0;
    record->packed.failed = record->payload.failed = record->change.failed = false;
    record->entry = (struct ledger_entry){0};
    record->redacted_by = 0;
    record->timestamp_ms = 0;
}

static int unpack(struct entry_buffer *packed, struct ledger_text line, msgpack_unpacked *unpacked,
                  struct ledger_failure *failure) {
    size_t at;
    const char *wrong = json_to_msgpack(line, packed, &at);
    if (wrong != NULL)
        return ledger_fail(failure, packed->failed ? ENOMEM : LEDGER_E_BAD_ENTRY, "byte %zu: %s",
                           at + 1, wrong);
    msgpack_unpack_return rc = msgpack_unpack_next(unpacked, packed->data, packed->size, NULL);
    if (rc == MSGPACK_UNPACK_NOMEM_ERROR)
        return ledger_fail(failure, ENOMEM, "a line");
    return rc == MSGPACK_UNPACK_SUCCESS
               ? 0
               : ledger_fail(failure, LEDGER_E_BAD_ENTRY, "nested too deep");
}

int record_read_json(struct record *record, struct ledger_text line,
                     struct ledger_failure *failure) {
    char room[BYTES_IN_ALL] = {0};
    record_clear(record);
    if (record->unpacked == NULL)
        record->unpacked = calloc(1, sizeof(msgpack_unpacked));
    if (record->bytes.size == 0)
        entry_buffer_append(&record->bytes, room, sizeof room);
    if (record->unpacked == NULL || record->bytes.failed)
        return ledger_fail(failure, ENOMEM, "a record");
    msgpack_unpacked *unpacked = record->unpacked;
    msgpack_unpacked_init(unpacked);
    int rc = unpack(&record->packed, line, unpacked, failure);
    if (rc == 0)
        rc = read_fields(record, &unpacked->data, failure);
    return rc == 0 ? check_whole(record, failure) : rc;
}

void record_free(struct record *record) {
    if (record->unpacked != NULL)
        msgpack_unpacked_destroy(record->unpacked);
    free(record->unpacked);
    entry_buffer_free(&record->packed);
    entry_buffer_free(&record->payload);
    entry_buffer_free(&record->change);
    entry_buffer_free(&record->bytes);
    *record = (struct record){0};
}

int record_write_import(const struct record *record, struct entry_buffer *buffer) {
    struct ledger_entry entry = record->entry;
    if (entry.payload.data == NULL) { /* its digest goes beside the draft */
        entry.digest = NULL;
        entry.given &= ~(uint32_t)ENTRY_DIGEST;
    }
    return entry_write_draft(buffer, &entry);
}

/* ---- the header ----------------------------------------------------------------------------- */

int record_header_json(struct json *json, struct ledger *ledger) {
    struct declared_series declared[DECLARED_MAX];
    struct entry_buffer written = {0};
    struct ledger_policy policy;
    struct ledger_facts facts;
    char name[RECORD_NAME_BYTES];
    int rc = ledger_facts(ledger, &facts);
    if (rc == 0)
        rc = ledger_policy(ledger, &policy);
    if (rc != 0)
        return rc;
    rc = policy_write(&written, &policy);
    policy_free(&policy);
    size_t count = ledger_series(ledger, declared);
    json_open(json, '{');
    json_key(json, "cost_ledger");
    json_int(json, HEADER_VERSION);
    json_key(json, "currency");
    json_word(json, facts.currency);
    json_key(json, "policy");
    record_json_value(json, (struct ledger_text){written.data, written.size});
    json_key(json, "series");
    json_open(json, '[');
    for (size_t i = 0; i < count; i++) {
        json_open(json, '[');
        for (uint8_t k = 0; k < declared[i].count; k++)
            json_word(json, record_name_key(declared[i].dimensions[k], name));
        json_close(json, ']');
    }
    json_close(json, ']');
    json_key(json, "created_at");
    json_int(json, (int64_t)facts.created_at_us);
    json_close(json, '}');
    entry_buffer_free(&written);
    return rc;
}

static int series_dimension_of(const msgpack_object *key) {
    return unpacks_as(key, record_dimension_name(DIMENSION_STATUS)) ? DIMENSION_STATUS
                                                                    : dimension_of(key);
}

/* The states' own is there without being asked for. */
static bool get_series(const msgpack_object *value, struct record_header *header) {
    bool sound = value->type == MSGPACK_OBJECT_ARRAY && value->via.array.size <= DECLARED_MAX;
    for (uint32_t i = 0; sound && i < value->via.array.size; i++) {
        const msgpack_object *family = &value->via.array.ptr[i];
        struct declared_series *series = &header->series[header->series_count];
        *series = (struct declared_series){0};
        sound = family->type == MSGPACK_OBJECT_ARRAY && family->via.array.size > 0 &&
                family->via.array.size <= RULE_SCOPE_MAX;
        for (uint32_t k = 0; sound && k < family->via.array.size; k++) {
            int dimension = series_dimension_of(&family->via.array.ptr[k]);
            sound = dimension != 0;
            series->dimensions[series->count++] = (uint8_t)dimension;
        }
        header->series_count += series->count > 1 || series->dimensions[0] != DIMENSION_STATE;
    }
    return sound;
}

static bool get_policy(const msgpack_object *value, struct ledger_policy *policy) {
    struct entry_buffer written = {0};
    struct ledger_text text;
    policy_free(policy);
    bool sound =
        get_packed(value, &written, &text) && policy_read(written.data, written.size, policy) == 0;
    entry_buffer_free(&written);
    return sound;
}

static bool get_header(const msgpack_object *key, const msgpack_object *value,
                       struct record_header *header) {
    struct ledger_text text;
    uint64_t version;
    if (unpacks_as(key, "cost_ledger"))
        return unpack_uint(value, HEADER_VERSION, &version) && version == HEADER_VERSION;
    if (unpacks_as(key, "created_at"))
        return unpack_uint(value, ID_MAX, &header->created_at_us) && header->created_at_us > 0;
    if (unpacks_as(key, "policy"))
        return get_policy(value, &header->policy);
    if (unpacks_as(key, "series"))
        return get_series(value, header);
    if (!unpacks_as(key, "currency") || !unpack_text(value, &text) || text.size != 3)
        return false;
    memcpy(header->currency, text.data, text.size);
    return true;
}

static int read_header(const msgpack_object *map, struct record_header *header, bool *is_header,
                       struct ledger_failure *failure) {
    uint32_t count = map->type == MSGPACK_OBJECT_MAP ? map->via.map.size : 0;
    int rc = 0;
    *is_header = false;
    for (uint32_t i = 0; i < count; i++)
        *is_header = *is_header || unpacks_as(&map->via.map.ptr[i].key, "cost_ledger");
    for (uint32_t i = 0; rc == 0 && *is_header && i < count; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;
        struct ledger_text name = {"?", 1};
        unpack_text(key, &name);
        if (!get_header(key, &map->via.map.ptr[i].val, header))
            rc = ledger_fail(failure, LEDGER_E_BAD_ENTRY, "the header's %.*s",
                             (int)(name.size < 64 ? name.size : 64), name.data);
    }
    if (rc == 0 && *is_header &&
        (header->currency[0] == '\0' || header->created_at_us == 0 || header->policy.version == 0))
        rc = ledger_fail(failure, LEDGER_E_BAD_ENTRY,
                         "the header needs currency, policy, series and created_at");
    return rc;
}

int record_read_header(struct ledger_text line, struct record_header *header, bool *is_header,
                       struct ledger_failure *failure) {
    struct entry_buffer packed = {0};
    msgpack_unpacked unpacked;
    *header = (struct record_header){0};
    msgpack_unpacked_init(&unpacked);
    int rc = unpack(&packed, line, &unpacked, failure);
    if (rc == 0)
        rc = read_header(&unpacked.data, header, is_header, failure);
    if (rc != 0)
        policy_free(&header->policy);
    msgpack_unpacked_destroy(&unpacked);
    entry_buffer_free(&packed);
    return rc;
}
