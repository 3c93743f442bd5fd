#include "json_bound.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Of the character that begins there; 0: it is not UTF-8. */
static size_t character_bytes(const uint8_t *at, size_t left) {
    uint8_t first = at[0];
    size_t bytes = first < 0x80                     ? 1
                   : first >= 0xc2 && first <= 0xdf ? 2
                   : first >= 0xe0 && first <= 0xef ? 3
                   : first >= 0xf0 && first <= 0xf4 ? 4
                                                    : 0;
    if (bytes < 2 || bytes > left)
        return bytes <= left ? bytes : 0;
    /* The second byte tells overlong forms, surrogates and what is beyond U+10FFFF. */
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    bool valid = at[1] >= low && at[1] <= high;
    for (size_t i = 2; i < bytes; i++)
        valid = valid && (at[i] & 0xc0) == 0x80;
    return valid ? bytes : 0;
}

static const char *look_in_string(const char *at, size_t left) {
    if ((uint8_t)*at < 0x20)
        return "a control character in a string";
    if (left >= 6 && memcmp(at, "\\u0000", 6) == 0)
        return "a NUL in a string";
    return NULL;
}

static const char *look_between_strings(char c, struct json_bound *bound) {
    bound->members += c == ':';
    bound->values += c == ',' || c == '{' || c == '[';
    if (c == '\0')
        return "a NUL";
    if (c == '\'')
        return "a single quote where none may be";
    if (bound->values > JSON_VALUES_MAX)
        return "too many values: at most 500000";
    return NULL;
}

const char *json_bound(const char *json, size_t size, struct json_bound *bound) {
    const char *wrong = NULL;
    bool in_string = false;
    *bound = (struct json_bound){0};
    while (wrong == NULL && bound->at < size) {
        const char *at = json + bound->at;
        size_t left = size - bound->at;
        size_t bytes = character_bytes((const uint8_t *)at, left);
        if (bytes == 0)
            wrong = "not UTF-8";
        else if (in_string)
            wrong = look_in_string(at, left);
        else
            wrong = look_between_strings(*at, bound);
        if (wrong != NULL)
            break;
        if (in_string && *at == '\\' && left > 1 && (uint8_t)at[1] < 0x80)
            bytes = 2;
        else if (*at == '"')
            in_string = !in_string;
        bound->at += bytes;
    }
    return wrong;
}
