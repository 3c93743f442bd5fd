/* JSON, written as it goes: RFC 8259, UTF-8. What is not UTF-8 is written as U+FFFD.
 *
 * Integers of more than 53 bits would be rounded by most readers: json_big() writes those as
 * strings where they do not fit, json_id() always.
 *
 * Thread class: any; nothing here blocks. */
#ifndef PORT_JSON_H
#define PORT_JSON_H

#include "../core/ledger.h"

/* A payload of 24 levels whose maps all are written as {"$map": [[k, v]]}, in a record. */
#define JSON_DEPTH_MAX 96

struct json {
    struct entry_buffer *out;
    unsigned depth;
    bool any[JSON_DEPTH_MAX]; /* something stands at that depth already */
    bool after_key;
};

void json_begin(struct json *json, struct entry_buffer *out);
void json_open(struct json *json, char bracket);  /* '{' or '[' */
void json_close(struct json *json, char bracket); /* '}' or ']' */
void json_key(struct json *json, const char *key);
void json_key_text(struct json *json, struct ledger_text key);
void json_text(struct json *json, struct ledger_text text);
void json_word(struct json *json, const char *word);    /* a string */
void json_literal(struct json *json, const char *word); /* true, false, null, a number */
void json_int(struct json *json, int64_t number);
void json_big(struct json *json, ledger_sum number);
void json_id(struct json *json, uint64_t id); /* a string; null where it is 0 */
void json_double(struct json *json, double number);

/* Length of the UTF-8 sequence at `at`, or 0: there is none, or it is not whole. */
size_t json_sequence(const unsigned char *at, size_t left);
bool json_is_utf8(struct ledger_text text);

#endif
