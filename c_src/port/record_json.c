#include "record_json.h"

#include <msgpack.h>
#include <string.h>

#include "../core/msgpack_bound.h"
#include "text.h"

#define PAYLOAD_DEPTH_MAX 24
enum extension { EXTENSION_ATOM = 1, EXTENSION_INTEGER = 2 };

static const char *const kinds[] = {
    [KIND_INVOCATION] = "invocation", [KIND_RUN] = "run",
    [KIND_GRANT] = "grant",           [KIND_RELEASE] = "release",
    [KIND_CORRECTION] = "correction", [KIND_POLICY] = "policy",
    [KIND_RESET] = "reset",           [KIND_PRICE] = "price",
    [KIND_REDACTION] = "redaction",
};
static const char *const statuses[] = {[STATUS_NONE] = "none",
                                       [STATUS_COMPLETED] = "completed",
                                       [STATUS_FAILED] = "failed",
                                       [STATUS_ABORTED] = "aborted"};
static const char *const dimensions[] = {[DIMENSION_STATE] = "state",
                                         [DIMENSION_ORG] = "org",
                                         [DIMENSION_PROJECT] = "project",
                                         [DIMENSION_USER] = "user",
                                         [DIMENSION_AGENT] = "agent",
                                         [DIMENSION_MODEL] = "model",
                                         [DIMENSION_PROVIDER] = "provider",
                                         [DIMENSION_STATUS] = "status",
                                         [DIMENSION_PROMPT_TYPE] = "prompt_type"};
const char *const record_token_classes[TOKENS_CLASSES] = {"input", "output", "cache_read",
                                                          "cache_creation", "reasoning"};
const char *const record_cost_parts[COST_PARTS] = {"tokens", "tool_calls", "external_requests",
                                                   "penalties"};
const char *const record_flags[RECORD_FLAGS] = {"overrun",    "late",   "completes",
                                                "unattended", "prices", "of_completed"};

const char *record_kind_name(enum ledger_kind kind) {
    return kinds[kind];
}

const char *record_status_name(enum ledger_status status) {
    return statuses[status];
}

const char *record_dimension_name(int dimension) {
    return dimension < 1 || dimension > DIMENSION_PROMPT_TYPE ? NULL : dimensions[dimension];
}

const char *record_name_key(int dimension, char out[RECORD_NAME_BYTES]) {
    const char *name = record_dimension_name(dimension);
    if (name != NULL)
        snprintf(out, RECORD_NAME_BYTES, "%s", name);
    else
        snprintf(out, RECORD_NAME_BYTES, "dimension_%d", dimension);
    return out;
}

/* ---- values of a payload ------------------------------------------------------------------ */

static void put_object(struct json *json, const msgpack_object *object);

static void put_base64(struct json *json, const char *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct entry_buffer text = {0};
    for (size_t i = 0; i < size; i += 3) {
        unsigned word = 0, left = size - i < 3 ? (unsigned)(size - i) : 3;
        char four[4] = "===";
        for (unsigned k = 0; k < 3; k++)
            word = word << 8 | (k < left ? (unsigned char)bytes[i + k] : 0);
        for (unsigned k = 0; k < 4; k++)
            four[k] = k <= left ? digits[word >> (18 - 6 * k) & 63] : '=';
        entry_buffer_append(&text, four, 4);
    }
    json_text(json, (struct ledger_text){text.data == NULL ? "" : text.data, text.size});
    json->out->failed = json->out->failed || text.failed;
    entry_buffer_free(&text);
}

static void open_tagged(struct json *json, const char *tag) {
    json_open(json, '{');
    json_key(json, tag);
}

/* Sign, then magnitude from its least byte: decimal digits by repeated division. */
static void put_big_integer(struct json *json, const msgpack_object_ext *ext) {
    uint8_t magnitude[256];
    char reversed[640] = "", decimal[642];
    size_t size = ext->size > 1 ? ext->size - 1 : 0, count = 0, at = 0;
    if (size > sizeof magnitude)
        size = sizeof magnitude;
    memcpy(magnitude, ext->ptr + 1, size);
    while (size > 0 && count < sizeof reversed) {
        unsigned rest = 0;
        for (size_t i = size; i > 0; i--) {
            unsigned word = rest << 8 | magnitude[i - 1];
            magnitude[i - 1] = (uint8_t)(word / 10);
            rest = word % 10;
        }
        reversed[count++] = (char)('0' + rest);
        while (size > 0 && magnitude[size - 1] == 0)
            size--;
    }
    if (ext->size > 0 && ext->ptr[0] != 0)
        decimal[at++] = '-';
    while (count > 0)
        decimal[at++] = reversed[--count];
    open_tagged(json, "$int");
    json_text(json, (struct ledger_text){decimal, at});
    json_close(json, '}');
}

static void put_extension(struct json *json, const msgpack_object_ext *ext) {
    if (ext->type == EXTENSION_INTEGER) {
        put_big_integer(json, ext);
        return;
    }
    open_tagged(json, ext->type == EXTENSION_ATOM ? "$atom" : "$bin");
    if (ext->type == EXTENSION_ATOM)
        json_text(json, (struct ledger_text){ext->ptr, ext->size});
    else
        put_base64(json, ext->ptr, ext->size);
    json_close(json, '}');
}

static bool has_plain_keys(const msgpack_object_map *map) {
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *key = &map->ptr[i].key;
        if (key->type != MSGPACK_OBJECT_STR ||
            (key->via.str.size > 0 && key->via.str.ptr[0] == '$'))
            return false;
    }
    return true;
}

static void put_map(struct json *json, const msgpack_object_map *map) {
    bool plain = has_plain_keys(map);
    json_open(json, '{');
    if (!plain) {
        json_key(json, "$map");
        json_open(json, '[');
    }
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object_kv *pair = &map->ptr[i];
        if (plain) {
            json_key_text(json,
                          (struct ledger_text){pair->key.via.str.ptr, pair->key.via.str.size});
            put_object(json, &pair->val);
            continue;
        }
        json_open(json, '[');
        put_object(json, &pair->key);
        put_object(json, &pair->val);
        json_close(json, ']');
    }
    if (!plain)
        json_close(json, ']');
    json_close(json, '}');
}

/* Recursion is bounded: msgpack_is_bounded_to() looked at the depth. */
static void put_object(struct json *json, const msgpack_object *object) {
    char digits[TEXT_MAX];
    switch (object->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        json_literal(json, object->via.boolean ? "true" : "false");
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        json_literal(json, text_sum((ledger_sum)object->via.u64, digits));
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        json_int(json, object->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        json_double(json, object->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        json_text(json, (struct ledger_text){object->via.str.ptr, object->via.str.size});
        break;
    case MSGPACK_OBJECT_BIN:
        open_tagged(json, "$bin");
        put_base64(json, object->via.bin.ptr, object->via.bin.size);
        json_close(json, '}');
        break;
    case MSGPACK_OBJECT_ARRAY:
        json_open(json, '[');
        for (uint32_t i = 0; i < object->via.array.size; i++)
            put_object(json, &object->via.array.ptr[i]);
        json_close(json, ']');
        break;
    case MSGPACK_OBJECT_MAP:
        put_map(json, &object->via.map);
        break;
    case MSGPACK_OBJECT_EXT:
        put_extension(json, &object->via.ext);
        break;
    case MSGPACK_OBJECT_NIL:
        json_literal(json, "null");
        break;
    }
}

void record_json_value(struct json *json, struct ledger_text written) {
    msgpack_unpacked unpacked;
    bool fits = msgpack_is_bounded_to(written.data, written.size, PAYLOAD_DEPTH_MAX);
    msgpack_unpacked_init(&unpacked);
    if (fits &&
        msgpack_unpack_next(&unpacked, written.data, written.size, NULL) == MSGPACK_UNPACK_SUCCESS)
        put_object(json, &unpacked.data);
    else
        json_literal(json, "null");
    msgpack_unpacked_destroy(&unpacked);
}

static void put_msgpack(struct json *json, const char *key, struct ledger_text written) {
    if (written.data == NULL)
        return;
    json_key(json, key);
    record_json_value(json, written);
}

/* ---- the entry ----------------------------------------------------------------------------- */

static void put_amounts(struct json *json, const struct ledger_entry *entry) {
    char digits[TEXT_MAX];
    if (entry->given & ENTRY_COST) {
        json_key(json, "cost");
        json_int(json, entry->cost);
    }
    if (entry->given & ENTRY_CREDITS) {
        json_key(json, "credits");
        json_int(json, entry->credits);
    }
    if (entry->given & ENTRY_TOKENS) {
        json_key(json, "tokens");
        json_open(json, '{');
        for (int class = 0; class < TOKENS_CLASSES; class ++) {
            json_key(json, record_token_classes[class]);
            json_int(json, entry->tokens[class]);
        }
        json_close(json, '}');
    }
    if (entry->given & ENTRY_BREAKDOWN) {
        json_key(json, "breakdown");
        json_open(json, '{');
        for (int part = 0; part < COST_PARTS; part++) {
            json_key(json, record_cost_parts[part]);
            json_int(json, entry->breakdown[part]);
        }
        json_close(json, '}');
    }
    if (entry->given & ENTRY_UNIT_PRICES) {
        json_key(json, "unit_prices");
        json_open(json, '{');
        for (int class = 0; class < TOKENS_CLASSES; class ++) {
            json_key(json, record_token_classes[class]);
            json_literal(json, text_sum((ledger_sum)entry->unit_prices[class], digits));
        }
        json_close(json, '}');
    }
}

static void put_text(struct json *json, const char *key, struct ledger_text text) {
    if (text.data == NULL)
        return;
    json_key(json, key);
    if (json_is_utf8(text)) {
        json_text(json, text);
        return;
    }
    open_tagged(json, "$bin");
    put_base64(json, text.data, text.size);
    json_close(json, '}');
}

static void put_id(struct json *json, const char *key, uint64_t id) {
    if (id == 0)
        return;
    json_key(json, key);
    json_id(json, id);
}

static void put_flags(struct json *json, uint64_t flags) {
    for (int bit = 0; bit < RECORD_FLAGS; bit++)
        if (flags & UINT64_C(1) << bit) {
            json_key(json, record_flags[bit]);
            json_literal(json, "true");
        }
}

static void put_bytes(struct json *json, const char *key, const uint8_t *bytes, size_t size) {
    if (bytes == NULL)
        return;
    json_key(json, key);
    put_base64(json, (const char *)bytes, size);
}

void record_json(struct json *json, const struct ledger_entry *entry,
                 const struct ledger_payload *payload) {
    char key[RECORD_NAME_BYTES];
    json_open(json, '{');
    put_id(json, "id", entry->id);
    json_key(json, "kind");
    json_word(json, kinds[entry->kind]);
    json_key(json, "timestamp");
    json_int(json, (int64_t)(entry->id / 1000));
    if (entry->status != STATUS_NONE) {
        json_key(json, "status");
        json_word(json, statuses[entry->status]);
    }
    if (entry->status != STATUS_NONE || entry->duration_ms != 0) {
        json_key(json, "duration_ms");
        json_int(json, entry->duration_ms);
    }
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        put_text(json, record_name_key(dimension, key), entry->names[dimension]);
    put_amounts(json, entry);
    put_flags(json, entry->flags);
    if (entry->given & ENTRY_OCCURRED_AT) {
        json_key(json, "occurred_at");
        json_int(json, entry->occurred_at_ms);
    }
    put_text(json, "client_id", entry->client_id);
    put_text(json, "run_id", entry->run_id);
    put_text(json, "parent_run", entry->parent_run);
    put_id(json, entry->kind == KIND_REDACTION ? "redacts" : "corrects", entry->link);
    put_id(json, "hold", entry->hold);
    put_id(json, "parent", entry->parent);
    if (entry->policy_version != 0) {
        json_key(json, "policy_version");
        json_int(json, (int64_t)entry->policy_version);
    }
    put_bytes(json, "request_digest", entry->request_digest, ENTRY_DIGEST_BYTES);
    put_msgpack(json, "change", entry->change);
    put_id(json, "redacted_by", payload->redacted_by);
    put_bytes(json, "digest", entry->digest, ENTRY_DIGEST_BYTES);
    put_bytes(json, "salt", payload->salt, ENTRY_SALT_BYTES);
    put_msgpack(json, "payload", payload->map);
    json_close(json, '}');
}
