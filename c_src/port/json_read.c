#include "json_read.h"

#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#define EXTENSION_ATOM 1
#define EXTENSION_INTEGER 2
#define INTEGER_BYTES_MAX 255
#define INTEGER_DIGITS_MAX 640

struct source {
    const char *at;
    const char *end;
    struct entry_buffer *out;
    msgpack_packer packer;
    struct entry_buffer text; /* of the string read last */
    unsigned depth;
    const char *wrong;
};

static void read_value(struct source *source);

static void refuse(struct source *source, const char *why) {
    if (source->wrong == NULL)
        source->wrong = why;
}

static void skip_blanks(struct source *source) {
    while (source->at < source->end && strchr(" \t\r\n", *source->at) != NULL && *source->at != 0)
        source->at++;
}

/* Whether the next character is this one; it is passed over then. */
static bool take(struct source *source, char character) {
    skip_blanks(source);
    bool is_next = source->wrong == NULL && source->at < source->end && *source->at == character;
    source->at += is_next;
    return is_next;
}

static void expect(struct source *source, char character, const char *why) {
    if (!take(source, character))
        refuse(source, why);
}

/* ---- strings ------------------------------------------------------------------------------ */

static unsigned read_hex(struct source *source) {
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        char digit = source->at < source->end ? *source->at++ : ' ';
        code = code << 4;
        if (digit >= '0' && digit <= '9')
            code |= (unsigned)(digit - '0');
        else if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
            code |= (unsigned)((digit | 32) - 'a' + 10);
        else
            refuse(source, "\\u needs four hexadecimal digits");
    }
    return code;
}

static void put_utf8(struct entry_buffer *out, unsigned code) {
    char bytes[4];
    size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = size; i-- > 1; code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3f));
    bytes[0] = (char)(heads[size] | code);
    entry_buffer_append(out, bytes, size);
}

static void read_unicode(struct source *source) {
    unsigned code = read_hex(source);
    if (code >= 0xd800 && code < 0xdc00) {
        bool paired =
            source->end - source->at >= 6 && source->at[0] == '\\' && source->at[1] == 'u';
        source->at += paired ? 2 : 0;
        unsigned low = paired ? read_hex(source) : 0;
        if (low < 0xdc00 || low > 0xdfff)
            refuse(source, "a surrogate without its other half");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code <= 0xdfff) {
        refuse(source, "a surrogate without its other half");
    }
    if (source->wrong == NULL)
        put_utf8(&source->text, code);
}

static void read_escape(struct source *source) {
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    char name = source->at < source->end ? *source->at++ : 0;
    const char *found = name == 0 ? NULL : strchr(names, name);
    if (name == 'u')
        read_unicode(source);
    else if (found != NULL)
        entry_buffer_append(&source->text, &bytes[found - names], 1);
    else
        refuse(source, "an unknown escape in a string");
}

/* Into source->text. */
static void read_string(struct source *source) {
    source->text.size = 0;
    expect(source, '"', "a string was expected");
    while (source->wrong == NULL) {
        size_t left = (size_t)(source->end - source->at);
        unsigned char byte = left > 0 ? (unsigned char)*source->at : 0;
        size_t size = left > 0 ? json_sequence((const unsigned char *)source->at, left) : 0;
        if (left == 0)
            refuse(source, "a string does not end");
        else if (size == 0)
            refuse(source, "a string is not UTF-8");
        else if (byte < 0x20)
            refuse(source, "a control character in a string");
        if (source->wrong != NULL)
            break;
        source->at += size;
        if (byte == '"')
            break;
        if (byte == '\\')
            read_escape(source);
        else
            entry_buffer_append(&source->text, source->at - size, size);
    }
}

static void pack_string(struct source *source) {
    msgpack_pack_str(&source->packer, source->text.size);
    msgpack_pack_str_body(&source->packer, source->text.data, source->text.size);
}

/* ---- numbers and words -------------------------------------------------------------------- */

static size_t digits_at(const char *at, const char *end) {
    size_t count = 0;
    while (at + count < end && at[count] >= '0' && at[count] <= '9')
        count++;
    return count;
}

static void pack_integer(struct source *source, const char *digits) {
    errno = 0;
    if (digits[0] == '-') {
        long long value = strtoll(digits, NULL, 10);
        msgpack_pack_int64(&source->packer, value);
    } else {
        unsigned long long value = strtoull(digits, NULL, 10);
        msgpack_pack_uint64(&source->packer, value);
    }
    if (errno != 0)
        refuse(source, "an integer of more than 64 bits; write it as {\"$int\": \"...\"}");
}

static void pack_double(struct source *source, const char *digits) {
    double value = strtod(digits, NULL);
    if (value - value != 0)
        refuse(source, "a number too large for a float");
    msgpack_pack_double(&source->packer, value);
}

static void read_number(struct source *source) {
    char digits[400];
    const char *start = source->at, *at = start, *end = source->end;
    bool is_float = false;
    at += at < end && *at == '-';
    size_t whole = digits_at(at, end);
    bool sound = whole > 0 && (whole == 1 || *at != '0');
    at += whole;
    if (sound && at < end && *at == '.') {
        size_t fraction = digits_at(at + 1, end);
        sound = fraction > 0;
        at += 1 + fraction;
        is_float = true;
    }
    if (sound && at < end && (*at | 32) == 'e') {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        size_t exponent = digits_at(at, end);
        sound = exponent > 0;
        at += exponent;
        is_float = true;
    }
    if (!sound || (size_t)(at - start) >= sizeof digits) {
        refuse(source, "not a value of JSON");
        return;
    }
    memcpy(digits, start, (size_t)(at - start));
    digits[at - start] = '\0';
    source->at = at;
    if (is_float)
        pack_double(source, digits);
    else
        pack_integer(source, digits);
}

static bool take_word(struct source *source, const char *word) {
    size_t size = strlen(word);
    bool is_next =
        (size_t)(source->end - source->at) >= size && memcmp(source->at, word, size) == 0;
    source->at += is_next ? size : 0;
    return is_next;
}

/* ---- tagged values ------------------------------------------------------------------------ */

bool json_read_base64(struct ledger_text text, struct entry_buffer *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bool sound = text.size % 4 == 0;
    for (size_t i = 0; sound && i < text.size; i += 4) {
        unsigned word = 0, count = 4;
        bool is_last = i + 4 == text.size;
        if (is_last && text.data[i + 3] == '=')
            count = text.data[i + 2] == '=' ? 2 : 3;
        for (unsigned k = 0; k < 4; k++) {
            char digit = k < count ? text.data[i + k] : 'A';
            const char *found = digit == 0 ? NULL : strchr(digits, digit);
            sound = sound && found != NULL;
            word = word << 6 | (found == NULL ? 0 : (unsigned)(found - digits));
        }
        const char bytes[3] = {(char)(word >> 16), (char)(word >> 8), (char)word};
        sound = sound && (count == 4 || (word & (count == 3 ? 0xffu : 0xffffu)) == 0);
        if (sound)
            entry_buffer_append(out, bytes, count - 1);
    }
    return sound;
}

static void pack_extension(struct source *source, int8_t type, const void *bytes, size_t size) {
    msgpack_pack_ext(&source->packer, size, type);
    msgpack_pack_ext_body(&source->packer, bytes, size);
}

/* Sign, then the magnitude from its least byte on, by repeated multiplication. */
static void pack_big_integer(struct source *source) {
    uint8_t bytes[1 + INTEGER_BYTES_MAX] = {0};
    const char *at = source->text.data, *end = at + source->text.size;
    size_t size = 0;
    bytes[0] = at < end && *at == '-';
    at += bytes[0];
    bool sound = at < end && end - at <= INTEGER_DIGITS_MAX && *at != '0';
    for (; sound && at < end; at++) {
        unsigned carry = (unsigned)(*at - '0');
        sound = *at >= '0' && *at <= '9';
        for (size_t i = 0; sound && i < size; i++) {
            carry += 10u * bytes[1 + i];
            bytes[1 + i] = (uint8_t)carry;
            carry >>= 8;
        }
        sound = sound && (carry == 0 || size < INTEGER_BYTES_MAX);
        if (sound && carry != 0)
            bytes[1 + size++] = (uint8_t)carry;
    }
    if (sound)
        pack_extension(source, EXTENSION_INTEGER, bytes, 1 + size);
    else
        refuse(source, "$int needs an integer in decimal, of at most 255 bytes");
}

static void pack_tagged_text(struct source *source, const char *tag) {
    struct entry_buffer bytes = {0};
    read_string(source);
    if (source->wrong != NULL)
        return;
    if (strcmp(tag, "$atom") == 0) {
        pack_extension(source, EXTENSION_ATOM, source->text.data, source->text.size);
    } else if (strcmp(tag, "$int") == 0) {
        pack_big_integer(source);
    } else if (json_read_base64((struct ledger_text){source->text.data, source->text.size},
                                &bytes)) {
        msgpack_pack_bin(&source->packer, bytes.size);
        msgpack_pack_bin_body(&source->packer, bytes.data, bytes.size);
    } else {
        refuse(source, "$bin needs base64");
    }
    source->out->failed = source->out->failed || bytes.failed;
    entry_buffer_free(&bytes);
}

/* ---- arrays and maps ---------------------------------------------------------------------- */

/* How many values stand between here and the bracket that closes, at this depth; a look ahead,
 * which need not be right about what is no JSON: that is found out when it is read. */
static size_t count_ahead(struct source *source) {
    size_t commas = 0, depth = 0;
    bool in_string = false, any = false;
    for (const char *at = source->at; at < source->end; at++) {
        if (in_string) {
            if (*at == '\\')
                at++;
            else if (*at == '"')
                in_string = false;
            continue;
        }
        if (depth == 0 && (*at == ']' || *at == '}'))
            break;
        any = any || (*at != ' ' && *at != '\t' && *at != '\r' && *at != '\n');
        in_string = *at == '"';
        commas += depth == 0 && *at == ',';
        depth += *at == '[' || *at == '{';
        depth -= *at == ']' || *at == '}';
    }
    return commas + any;
}

struct written_key {
    size_t start;
    size_t size;
};

static int by_bytes(const void *a, const void *b, void *context) {
    const struct written_key *left = a, *right = b;
    const struct entry_buffer *out = context;
    size_t size = left->size < right->size ? left->size : right->size;
    int order = memcmp(out->data + left->start, out->data + right->start, size);
    return order != 0 ? order : left->size < right->size ? -1 : left->size > right->size;
}

static void refuse_twins(struct source *source, struct written_key *keys, size_t count) {
    qsort_r(keys, count, sizeof *keys, by_bytes, source->out);
    for (size_t i = 1; i < count; i++)
        if (by_bytes(&keys[i - 1], &keys[i], source->out) == 0)
            refuse(source, "an object has one name twice");
}

/* Keys and values of a map of `count` pairs: {k: v, ..}, or [[k, v], ..]. */
static void read_pairs(struct source *source, size_t count, bool tagged) {
    struct written_key *keys = calloc(count + 1, sizeof *keys);
    if (keys == NULL) {
        source->out->failed = true;
        refuse(source, "out of memory");
        return;
    }
    for (size_t i = 0; source->wrong == NULL && i < count; i++) {
        if (i > 0)
            expect(source, ',', "a comma was expected");
        if (tagged)
            expect(source, '[', "$map needs pairs");
        keys[i].start = source->out->size;
        if (tagged) {
            read_value(source);
        } else {
            read_string(source);
            if (source->text.size > 0 && source->text.data[0] == '$')
                refuse(source, "a name that begins with $ has a meaning of its own; see $map");
            pack_string(source);
        }
        keys[i].size = source->out->size - keys[i].start;
        expect(source, tagged ? ',' : ':', "a value is missing");
        read_value(source);
        if (tagged)
            expect(source, ']', "$map needs pairs");
    }
    if (source->wrong == NULL && !source->out->failed)
        refuse_twins(source, keys, count);
    free(keys);
}

static void read_array(struct source *source) {
    size_t count = count_ahead(source);
    msgpack_pack_array(&source->packer, count);
    for (size_t i = 0; source->wrong == NULL && i < count; i++) {
        if (i > 0)
            expect(source, ',', "a comma was expected");
        read_value(source);
    }
    expect(source, ']', "an array does not end");
}

static const char *tag_ahead(struct source *source) {
    static const char *const tags[] = {"$atom", "$int", "$bin", "$map"};
    struct source look = *source;
    const char *found = NULL;
    look.text = (struct entry_buffer){0};
    skip_blanks(&look);
    if (look.end - look.at > 2 && look.at[0] == '"' && look.at[1] == '$') {
        read_string(&look);
        for (size_t i = 0; look.wrong == NULL && i < sizeof tags / sizeof tags[0]; i++)
            if (look.text.size == strlen(tags[i]) &&
                memcmp(look.text.data, tags[i], look.text.size) == 0)
                found = tags[i];
        if (found != NULL)
            source->at = look.at;
    }
    entry_buffer_free(&look.text);
    return found;
}

static void read_object(struct source *source) {
    const char *tag = tag_ahead(source);
    size_t count;
    if (tag == NULL) {
        count = count_ahead(source);
        msgpack_pack_map(&source->packer, count);
        read_pairs(source, count, false);
    } else {
        expect(source, ':', "a value is missing");
        if (strcmp(tag, "$map") == 0) {
            expect(source, '[', "$map needs an array of pairs");
            count = count_ahead(source);
            msgpack_pack_map(&source->packer, count);
            read_pairs(source, count, true);
            expect(source, ']', "$map does not end");
        } else {
            skip_blanks(source);
            pack_tagged_text(source, tag);
        }
    }
    expect(source, '}', "an object does not end");
}

static void read_value(struct source *source) {
    skip_blanks(source);
    if (source->wrong != NULL)
        return;
    if (++source->depth > JSON_DEPTH_MAX) {
        refuse(source, "nested too deep");
    } else if (take(source, '{')) {
        read_object(source);
    } else if (take(source, '[')) {
        read_array(source);
    } else if (source->at < source->end && *source->at == '"') {
        read_string(source);
        pack_string(source);
    } else if (take_word(source, "null")) {
        msgpack_pack_nil(&source->packer);
    } else if (take_word(source, "true")) {
        msgpack_pack_true(&source->packer);
    } else if (take_word(source, "false")) {
        msgpack_pack_false(&source->packer);
    } else {
        read_number(source);
    }
    source->depth--;
}

const char *json_to_msgpack(struct ledger_text json, struct entry_buffer *out, size_t *at) {
    struct source source = {.at = json.data, .end = json.data + json.size, .out = out};
    msgpack_packer_init(&source.packer, out, entry_buffer_append);
    read_value(&source);
    skip_blanks(&source);
    if (source.at < source.end)
        refuse(&source, "something follows the value");
    if (out->failed || source.text.failed)
        source.wrong = "out of memory";
    *at = (size_t)(source.at - json.data);
    entry_buffer_free(&source.text);
    return source.wrong;
}
