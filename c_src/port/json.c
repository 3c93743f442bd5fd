#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

#define EXACT_MAX (INT64_C(1) << 53)

static void put(struct json *json, const char *bytes, size_t size) {
    entry_buffer_append(json->out, bytes, size);
}

void json_begin(struct json *json, struct entry_buffer *out) {
    *json = (struct json){.out = out};
}

/* What comes before a value, or a key. */
static void separate(struct json *json) {
    if (json->after_key) {
        json->after_key = false;
        return;
    }
    if (json->any[json->depth])
        put(json, ",", 1);
    json->any[json->depth] = true;
}

void json_open(struct json *json, char bracket) {
    separate(json);
    put(json, &bracket, 1);
    if (json->depth + 1 < JSON_DEPTH_MAX)
        json->depth++;
    json->any[json->depth] = false;
}

void json_close(struct json *json, char bracket) {
    if (json->depth > 0)
        json->depth--;
    put(json, &bracket, 1);
}

size_t json_sequence(const unsigned char *at, size_t left) {
    size_t size = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (size == 0 || size > left || at[0] > 0xf4)
        return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

bool json_is_utf8(struct ledger_text text) {
    const unsigned char *at = (const unsigned char *)text.data;
    size_t size = 0, left = text.size;
    while (left > 0 && (size = json_sequence(at, left)) > 0) {
        at += size;
        left -= size;
    }
    return left == 0;
}

static void put_escaped(struct json *json, unsigned char byte) {
    char escape[8];
    switch (byte) {
    case '"':
    case '\\':
        snprintf(escape, sizeof escape, "\\%c", byte);
        break;
    case '\n':
        snprintf(escape, sizeof escape, "\\n");
        break;
    case '\r':
        snprintf(escape, sizeof escape, "\\r");
        break;
    case '\t':
        snprintf(escape, sizeof escape, "\\t");
        break;
    default:
        snprintf(escape, sizeof escape, "\\u%04x", byte);
    }
    put(json, escape, strlen(escape));
}

static void put_string(struct json *json, struct ledger_text text) {
    const unsigned char *at = (const unsigned char *)text.data, *plain = at;
    const unsigned char *end = at + text.size;
    put(json, "\"", 1);
    while (at < end) {
        size_t size = json_sequence(at, (size_t)(end - at));
        bool is_plain = size > 1 || (size == 1 && *at >= 0x20 && *at != '"' && *at != '\\');
        if (is_plain) {
            at += size;
            continue;
        }
        put(json, (const char *)plain, (size_t)(at - plain));
        if (size == 0)
            put(json, "\xef\xbf\xbd", 3);
        else
            put_escaped(json, *at);
        plain = ++at;
    }
    put(json, (const char *)plain, (size_t)(at - plain));
    put(json, "\"", 1);
}

void json_key_text(struct json *json, struct ledger_text key) {
    separate(json);
    put_string(json, key);
    put(json, ":", 1);
    json->after_key = true;
}

void json_key(struct json *json, const char *key) {
    json_key_text(json, (struct ledger_text){key, strlen(key)});
}

void json_text(struct json *json, struct ledger_text text) {
    separate(json);
    put_string(json, text);
}

void json_word(struct json *json, const char *word) {
    json_text(json, (struct ledger_text){word, strlen(word)});
}

void json_literal(struct json *json, const char *word) {
    separate(json);
    put(json, word, strlen(word));
}

void json_int(struct json *json, int64_t number) {
    char digits[32];
    snprintf(digits, sizeof digits, "%" PRId64, number);
    json_literal(json, digits);
}

void json_big(struct json *json, ledger_sum number) {
    char digits[TEXT_MAX];
    text_sum(number, digits);
    if (number > EXACT_MAX || number < -EXACT_MAX)
        json_word(json, digits);
    else
        json_literal(json, digits);
}

void json_id(struct json *json, uint64_t id) {
    char digits[32];
    if (id == 0) {
        json_literal(json, "null");
        return;
    }
    snprintf(digits, sizeof digits, "%" PRIu64, id);
    json_word(json, digits);
}

/* The shortest that reads back as the same double; JSON has no NaN and no infinity. */
void json_double(struct json *json, double number) {
    char digits[40];
    double back = 0;
    if (!isfinite(number)) {
        json_literal(json, "null");
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, number);
        if (sscanf(digits, "%lf", &back) == 1 && back == number)
            break;
    }
    if (strpbrk(digits, ".en") == NULL)
        strcat(digits, ".0");
    json_literal(json, digits);
}
