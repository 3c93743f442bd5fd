#include "columns.h"

#include <errno.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../core/msgpack_bound.h"
#include "../core/pack.h"
#include "record_json.h"
#include "text.h"

enum column_type {
    TYPE_ID,       /* `which`: offset of a u64 in the entry */
    TYPE_TEXT,     /* offset of a text in the entry */
    TYPE_NAME,     /* dimension */
    TYPE_INT,      /* offset of an i64; given with `field`, or always */
    TYPE_MONEY,    /* the cost */
    TYPE_CREATED,  /* when it was booked */
    TYPE_OCCURRED, /* when it happened, where that is said */
    TYPE_KIND,
    TYPE_STATUS,
    TYPE_FLAG,         /* bit */
    TYPE_PAYLOAD_TEXT, /* the column's name is the key */
    TYPE_PAYLOAD_JSON
};

struct column {
    const char *name;
    enum column_type type;
    size_t which;
    uint32_t field;
};

#define AT(member) offsetof(struct ledger_entry, member)
#define AT_TOKENS(class) (AT(tokens) + (class) * sizeof(int64_t))
#define AT_PART(part) (AT(breakdown) + (part) * sizeof(int64_t))

static const struct column all[] = {
    {"id", TYPE_ID, AT(id), 0},
    {"kind", TYPE_KIND, 0, 0},
    {"status", TYPE_STATUS, 0, 0},
    {"created_at", TYPE_CREATED, 0, 0},
    {"occurred_at", TYPE_OCCURRED, 0, 0},
    {"run_id", TYPE_TEXT, AT(run_id), 0},
    {"parent_run", TYPE_TEXT, AT(parent_run), 0},
    {"client_id", TYPE_TEXT, AT(client_id), 0},
    {"agent_id", TYPE_NAME, DIMENSION_AGENT, 0},
    {"state", TYPE_NAME, DIMENSION_STATE, 0},
    {"org", TYPE_NAME, DIMENSION_ORG, 0},
    {"project", TYPE_NAME, DIMENSION_PROJECT, 0},
    {"user", TYPE_NAME, DIMENSION_USER, 0},
    {"agent", TYPE_NAME, DIMENSION_AGENT, 0},
    {"model", TYPE_NAME, DIMENSION_MODEL, 0},
    {"provider", TYPE_NAME, DIMENSION_PROVIDER, 0},
    {"prompt_type", TYPE_NAME, DIMENSION_PROMPT_TYPE, 0},
    {"duration_ms", TYPE_INT, AT(duration_ms), 0},
    {"total_cost", TYPE_MONEY, 0, 0},
    {"cost", TYPE_INT, AT(cost), ENTRY_COST},
    {"credits", TYPE_INT, AT(credits), ENTRY_CREDITS},
    {"input_tokens", TYPE_INT, AT_TOKENS(TOKENS_INPUT), ENTRY_TOKENS},
    {"output_tokens", TYPE_INT, AT_TOKENS(TOKENS_OUTPUT), ENTRY_TOKENS},
    {"cache_read", TYPE_INT, AT_TOKENS(TOKENS_CACHE_READ), ENTRY_TOKENS},
    {"cache_creation", TYPE_INT, AT_TOKENS(TOKENS_CACHE_CREATION), ENTRY_TOKENS},
    {"reasoning", TYPE_INT, AT_TOKENS(TOKENS_REASONING), ENTRY_TOKENS},
    {"cost_tokens", TYPE_INT, AT_PART(COST_TOKENS), ENTRY_BREAKDOWN},
    {"cost_tool_calls", TYPE_INT, AT_PART(COST_TOOL_CALLS), ENTRY_BREAKDOWN},
    {"cost_external_requests", TYPE_INT, AT_PART(COST_EXTERNAL_REQUESTS), ENTRY_BREAKDOWN},
    {"cost_penalties", TYPE_INT, AT_PART(COST_PENALTIES), ENTRY_BREAKDOWN},
    {"corrects", TYPE_ID, AT(link), 0},
    {"hold", TYPE_ID, AT(hold), 0},
    {"parent", TYPE_ID, AT(parent), 0},
    {"overrun", TYPE_FLAG, 0, 0},
    {"late", TYPE_FLAG, 1, 0},
    {"unattended", TYPE_FLAG, 3, 0},
    {"intent", TYPE_PAYLOAD_TEXT, 0, 0},
    {"error_message", TYPE_PAYLOAD_TEXT, 0, 0},
    {"input", TYPE_PAYLOAD_JSON, 0, 0},
    {"output", TYPE_PAYLOAD_JSON, 0, 0},
    {"trace", TYPE_PAYLOAD_JSON, 0, 0},
    {"attributes", TYPE_PAYLOAD_JSON, 0, 0},
};
#define ALL (sizeof all / sizeof all[0])
static const char history[] =
    "run_id,agent_id,status,total_cost,duration_ms,intent,created_at,error_message";

/* ---- which --------------------------------------------------------------------------------- */

static int refuse(struct ledger_failure *failure, const char *why, struct ledger_text name) {
    size_t at;
    ledger_fail(failure, LEDGER_E_BAD_ENTRY, "%s column %.*s; there are", why,
                (int)(name.size < 32 ? name.size : 32), name.data);
    for (size_t i = 0; i < ALL; i++) {
        at = strlen(failure->detail);
        snprintf(failure->detail + at, sizeof failure->detail - at, "%s %s", i == 0 ? "" : ",",
                 all[i].name);
    }
    return failure->code;
}

static int add_column(struct columns *columns, struct ledger_text name,
                      struct ledger_failure *failure) {
    const struct column *found = NULL;
    for (size_t i = 0; i < ALL; i++)
        if (strlen(all[i].name) == name.size && memcmp(all[i].name, name.data, name.size) == 0)
            found = &all[i];
    if (found == NULL)
        return refuse(failure, "unknown", name);
    for (size_t i = 0; i < columns->count; i++)
        if (columns->items[i] == found)
            return refuse(failure, "twice the", name);
    columns->items[columns->count++] = found;
    return 0;
}

int columns_choose(const char *list, struct columns *columns, struct ledger_failure *failure) {
    int rc = 0;
    *columns = (struct columns){0};
    for (const char *at = list == NULL ? history : list; rc == 0 && at != NULL;) {
        size_t size = strcspn(at, ",");
        rc = add_column(columns, (struct ledger_text){at, size}, failure);
        at = at[size] == ',' ? at + size + 1 : NULL;
    }
    return rc;
}

int columns_read_head(const struct csv_row *row, struct columns *columns,
                      struct ledger_failure *failure) {
    int rc = 0;
    *columns = (struct columns){0};
    for (size_t i = 0; rc == 0 && i < row->count; i++) {
        struct ledger_text name = csv_cell_text(row, i);
        bool has_mark = i == 0 && name.size >= 3 && memcmp(name.data, "\xef\xbb\xbf", 3) == 0;
        if (name.data == NULL)
            name.data = "";
        if (has_mark)
            name = (struct ledger_text){name.data + 3, name.size - 3};
        rc = add_column(columns, name, failure);
    }
    return rc;
}

/* ---- writing -------------------------------------------------------------------------------- */

#define PAYLOAD_DEPTH 24

/* What a text says, or an atom, which is an extension of type 1; data NULL: it is neither. `bytes`
 * are one whole object. */
static struct ledger_text text_of(struct ledger_text bytes) {
    const unsigned char *at = (const unsigned char *)bytes.data;
    size_t head = 0;
    switch (bytes.size == 0 ? 0xc1 : at[0]) {
    case 0xd9: /* str of up to 255 bytes, up to 65,535, and beyond */
        head = 2;
        break;
    case 0xda:
        head = 3;
        break;
    case 0xdb:
        head = 5;
        break;
    case 0xd4: /* extension of 1, 2, 4, 8, 16 bytes */
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        head = at[1] == 1 ? 2 : 0;
        break;
    case 0xc7: /* of up to 255 */
        head = at[2] == 1 ? 3 : 0;
        break;
    default:
        head = bytes.size > 0 && (at[0] & 0xe0) == 0xa0 ? 1 : 0;
    }
    struct ledger_text text = {0};
    if (head != 0)
        text = (struct ledger_text){bytes.data + head, bytes.size - head};
    return text;
}

/* The object at *at, which is moved behind it; data NULL: there is none, whole. */
static struct ledger_text next_object(struct ledger_text map, size_t *at) {
    size_t start = *at;
    if (start >= map.size || !msgpack_skip(map.data, map.size, PAYLOAD_DEPTH, at))
        return (struct ledger_text){0};
    return (struct ledger_text){map.data + start, *at - start};
}

/* Members of a payload, as they are written. */
#define MEMBERS_MAX 16
struct members {
    bool were_read;
    size_t count;
    struct ledger_text names[MEMBERS_MAX];
    struct ledger_text values[MEMBERS_MAX];
};

/* Keys and values are stepped over, not unpacked: most of a payload is in none of the columns. */
static void read_members(const struct ledger_payload *payload, struct members *members) {
    struct ledger_text map = payload->map;
    unsigned char head = map.size == 0 ? 0xc1 : (unsigned char)map.data[0];
    size_t at = (head & 0xf0) == 0x80 ? 1 : head == 0xde ? 3 : head == 0xdf ? 5 : map.size;
    members->were_read = true;
    for (members->count = 0; members->count < MEMBERS_MAX; members->count++) {
        members->names[members->count] = text_of(next_object(map, &at));
        members->values[members->count] = next_object(map, &at);
        if (members->values[members->count].data == NULL)
            break;
    }
}

/* data NULL: it has none of that name. */
static struct ledger_text member_named(const struct ledger_payload *payload,
                                       struct members *members, const char *name) {
    size_t size = strlen(name);
    if (!members->were_read)
        read_members(payload, members);
    for (size_t i = 0; i < members->count; i++)
        if (members->names[i].size == size && memcmp(members->names[i].data, name, size) == 0)
            return members->values[i];
    return (struct ledger_text){0};
}

/* The same, of one that is a text. */
static struct ledger_text text_named(const struct ledger_payload *payload, struct members *members,
                                     const char *name) {
    struct ledger_text value = member_named(payload, members, name), text = {0};
    bool is_extension = value.data != NULL && (unsigned char)value.data[0] >= 0xc7 &&
                        (unsigned char)value.data[0] <= 0xd8;
    if (!is_extension)
        text = text_of(value);
    return text;
}

static void put_json(struct csv *csv, struct ledger_text value) {
    struct entry_buffer text = {0};
    struct json json;
    json_begin(&json, &text);
    if (value.data != NULL)
        record_json_value(&json, value);
    csv_text(csv, (struct ledger_text){text.data, text.size});
    csv->out->failed = csv->out->failed || text.failed;
    entry_buffer_free(&text);
}

static void put_number(struct csv *csv, bool given, int64_t number) {
    char digits[TEXT_MAX];
    csv_number(csv, given ? text_sum(number, digits) : NULL);
}

static void put_word(struct csv *csv, const char *word) {
    csv_text(csv, (struct ledger_text){word, strlen(word)});
}

static void put_cell(const struct column *column, struct csv *csv, const struct ledger_entry *entry,
                     const struct ledger_payload *payload, struct members *members) {
    const char *member = (const char *)entry + column->which;
    char out[TEXT_MAX];
    switch (column->type) {
    case TYPE_ID:
        put_number(csv, *(const uint64_t *)member != 0, (int64_t) * (const uint64_t *)member);
        break;
    case TYPE_TEXT:
        csv_text(csv, *(const struct ledger_text *)member);
        break;
    case TYPE_NAME:
        csv_text(csv, entry->names[column->which]);
        break;
    case TYPE_INT:
        put_number(csv, column->field == 0 || entry->given & column->field,
                   *(const int64_t *)member);
        break;
    case TYPE_MONEY:
        csv_number(csv, entry->given & ENTRY_COST ? text_money(entry->cost, out) : NULL);
        break;
    case TYPE_CREATED:
        csv_number(csv, text_time((int64_t)entry->id, out));
        break;
    case TYPE_OCCURRED:
        csv_number(csv, entry->given & ENTRY_OCCURRED_AT
                            ? text_time(entry->occurred_at_ms * 1000, out)
                            : NULL);
        break;
    case TYPE_KIND:
        put_word(csv, record_kind_name(entry->kind));
        break;
    case TYPE_STATUS:
        csv_number(csv, entry->status == STATUS_NONE ? NULL : record_status_name(entry->status));
        break;
    case TYPE_FLAG:
        csv_number(csv, entry->flags & UINT64_C(1) << column->which ? "true" : NULL);
        break;
    case TYPE_PAYLOAD_TEXT:
        csv_text(csv, text_named(payload, members, column->name));
        break;
    case TYPE_PAYLOAD_JSON:
        put_json(csv, member_named(payload, members, column->name));
        break;
    }
}

void columns_head(const struct columns *columns, struct csv *csv) {
    for (size_t i = 0; i < columns->count; i++)
        put_word(csv, columns->items[i]->name);
    csv_end(csv);
}

void columns_row(const struct columns *columns, struct csv *csv, const struct ledger_entry *entry,
                 const struct ledger_payload *payload) {
    struct members members;
    members.were_read = false;
    for (size_t i = 0; i < columns->count; i++)
        put_cell(columns->items[i], csv, entry, payload, &members);
    csv_end(csv);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool read_int(struct ledger_text text, int64_t *number) {
    char digits[24], *end;
    if (text.size == 0 || text.size >= sizeof digits || strchr("-0123456789", text.data[0]) == NULL)
        return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    errno = 0;
    *number = strtoll(digits, &end, 10);
    return errno == 0 && *end == '\0' && end != digits;
}

/* Currency units with at most nine decimals, as nano-units. */
static bool read_money(struct ledger_text text, int64_t *nanos) {
    bool negative = text.size > 0 && text.data[0] == '-';
    size_t at = negative, decimals = 0, digits = 0;
    ledger_sum sum = 0;
    bool point = false, sound = true;
    for (; sound && at < text.size; at++) {
        bool is_point = text.data[at] == '.' && !point && digits > 0;
        bool is_digit = text.data[at] >= '0' && text.data[at] <= '9';
        sound = is_point || (is_digit && decimals < 9 && digits < 25);
        point = point || is_point;
        decimals += point && is_digit;
        digits += is_digit;
        if (is_digit)
            sum = 10 * sum + (text.data[at] - '0');
    }
    for (; decimals < 9; decimals++)
        sum *= 10;
    sound = sound && digits > 0 && sum <= ENTRY_AMOUNT_MAX;
    *nanos = sound ? (int64_t)(negative ? -sum : sum) : 0;
    return sound;
}

/* RFC 3339 in UTC, to the ms. */
static bool read_time(struct ledger_text text, int64_t *ms) {
    char copy[40];
    struct tm tm = {0};
    int64_t thousandths = 0, unit = 100;
    if (text.size >= sizeof copy || text.size == 0)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    const char *at = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm);
    if (at != NULL && *at == '.')
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
            thousandths += (*at - '0') * unit;
    time_t seconds = timegm(&tm);
    *ms = (int64_t)seconds * 1000 + thousandths;
    return at != NULL && strcmp(at, "Z") == 0 && seconds >= 0;
}

static bool read_word(struct ledger_text text, const char *word) {
    return text.size == strlen(word) && memcmp(text.data, word, text.size) == 0;
}

static bool read_kind(struct ledger_text text, struct ledger_entry *entry) {
    entry->kind = read_word(text, "invocation") ? KIND_INVOCATION
                  : read_word(text, "run")      ? KIND_RUN
                                                : entry->kind;
    return read_word(text, record_kind_name(entry->kind));
}

static bool read_status(struct ledger_text text, struct ledger_entry *entry) {
    bool found = false;
    for (int i = STATUS_COMPLETED; i <= STATUS_ABORTED; i++)
        if (read_word(text, record_status_name((enum ledger_status)i))) {
            entry->status = (enum ledger_status)i;
            found = true;
        }
    return found;
}

/* Amounts of a cost may be in two columns, which must agree. */
static bool read_amount(const struct column *column, struct ledger_text text,
                        struct ledger_entry *entry) {
    int64_t *member = (int64_t *)((char *)entry + column->which), number;
    if (column->type == TYPE_MONEY)
        member = &entry->cost;
    bool is_cost = member == &entry->cost, had = is_cost && entry->given & ENTRY_COST;
    bool sound = column->type == TYPE_MONEY ? read_money(text, &number) : read_int(text, &number);
    sound = sound && (!had || *member == number);
    if (sound)
        *member = number;
    entry->given |= is_cost ? ENTRY_COST : column->field;
    return sound;
}

static bool read_name(const struct column *column, struct ledger_text text,
                      struct ledger_entry *entry) {
    struct ledger_text *name = &entry->names[column->which];
    bool agrees = name->data == NULL || text_equal(*name, text);
    *name = text;
    return agrees;
}

/* Members of a payload go into it in the order of their names. */
static bool read_payload(const struct column *column, struct ledger_text text,
                         struct entry_buffer *buffer) {
    msgpack_packer packer;
    size_t at = 0, start;
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    pack_word(&packer, column->name);
    start = buffer->size;
    if (column->type == TYPE_PAYLOAD_TEXT) {
        pack_text(&packer, text);
        return json_is_utf8(text);
    }
    bool sound = json_to_msgpack(text, buffer, &at) == NULL;
    bool needs_map = column->name[0] == 't' || column->name[0] == 'a';
    unsigned char head = sound ? (unsigned char)buffer->data[start] : 0;
    return sound && (!needs_map || (head & 0xf0) == 0x80 || head == 0xde || head == 0xdf) &&
           msgpack_is_bounded_to(buffer->data + start, buffer->size - start, 23);
}

static bool read_cell(const struct column *column, struct ledger_text text, struct record *record) {
    struct ledger_entry *entry = &record->entry;
    int64_t number;
    bool sound = true;
    switch (column->type) {
    case TYPE_ID: /* what a record of work cannot say of itself is refused by whoever books it */
        sound = read_int(text, &number) && number > 0 && number <= LEDGER_TIME_MAX;
        *(uint64_t *)((char *)entry + column->which) = (uint64_t)number;
        break;
    case TYPE_TEXT:
        *(struct ledger_text *)((char *)entry + column->which) = csv_undo(text);
        break;
    case TYPE_NAME:
        return read_name(column, csv_undo(text), entry);
    case TYPE_INT:
    case TYPE_MONEY:
        return read_amount(column, text, entry);
    case TYPE_CREATED:
        return read_time(text, &record->timestamp_ms);
    case TYPE_OCCURRED:
        entry->given |= ENTRY_OCCURRED_AT;
        return read_time(text, &entry->occurred_at_ms);
    case TYPE_KIND:
        return read_kind(text, entry);
    case TYPE_STATUS:
        return read_status(text, entry);
    case TYPE_FLAG:
        entry->flags |= UINT64_C(1) << column->which;
        return read_word(text, "true");
    case TYPE_PAYLOAD_TEXT:
    case TYPE_PAYLOAD_JSON: /* later, in their order */
        break;
    }
    return sound;
}

/* The payload of a row: true, or false with *at the column at fault. */
static bool gather_payload(const struct columns *columns, const struct csv_row *row,
                           struct record *record, size_t *at) {
    static const char *const keys[] = {"attributes", "error_message", "input",
                                       "intent",     "output",        "trace"};
    msgpack_packer packer;
    size_t members = 0;
    for (size_t i = 0; i < columns->count; i++)
        members +=
            columns->items[i]->type >= TYPE_PAYLOAD_TEXT && csv_cell_text(row, i).data != NULL;
    if (members == 0)
        return true;
    msgpack_packer_init(&packer, &record->payload, entry_buffer_append);
    msgpack_pack_map(&packer, members);
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        for (size_t i = 0; i < columns->count; i++) {
            struct ledger_text text = csv_undo(csv_cell_text(row, i));
            *at = i;
            if (text.data != NULL && strcmp(columns->items[i]->name, keys[k]) == 0 &&
                !read_payload(columns->items[i], text, &record->payload))
                return false;
        }
    record->entry.payload = (struct ledger_text){record->payload.data, record->payload.size};
    return true;
}

int columns_read_row(const struct columns *columns, const struct csv_row *row,
                     struct record *record, struct ledger_failure *failure) {
    size_t at = 0;
    record->payload.size = 0;
    record->payload.failed = false;
    record->redacted_by = 0;
    record->timestamp_ms = 0;
    record->entry = (struct ledger_entry){.kind = KIND_RUN, .status = STATUS_COMPLETED};
    if (row->count != columns->count)
        return ledger_fail(failure, LEDGER_E_BAD_ENTRY, "%zu cells under %zu columns", row->count,
                           columns->count);
    bool sound = true;
    for (size_t i = 0; sound && i < columns->count; i++) {
        struct ledger_text text = csv_cell_text(row, i);
        at = i;
        sound = text.data == NULL || read_cell(columns->items[i], text, record);
    }
    if (sound)
        sound = gather_payload(columns, row, record, &at);
    if (record->payload.failed)
        return ledger_fail(failure, ENOMEM, "a row");
    if (!sound)
        return ledger_fail(failure, LEDGER_E_BAD_ENTRY, "column %s", columns->items[at]->name);
    const char *wrong = entry_check(&record->entry);
    uint64_t id = record->entry.id;
    if (wrong == NULL && id != 0 && record->timestamp_ms != 0 &&
        record->timestamp_ms != (int64_t)(id / 1000))
        wrong = "created_at is not that of the id";
    return wrong == NULL ? 0 : ledger_fail(failure, LEDGER_E_BAD_ENTRY, "%s", wrong);
}
