/* A look over JSON bytes before json-c is let near them: what it would swallow in silence, or
 * take memory for out of proportion. It is no parser: what it lets pass need not be JSON.
 *
 * Refused are invalid UTF-8 (overlong forms and surrogates too, which json-c takes), a NUL or
 * \u0000 (json-c cuts a name there), strings in single quotes, bare control characters in a
 * string, and more than JSON_VALUES_MAX values (`{}` takes json-c nearly 1 KiB).
 *
 * Of two members of one object with one name json-c keeps the last. Hence `members`: when the
 * tree that json-c made has fewer, a name was there twice.
 *
 * Thread class: any; allocates nothing. */
#ifndef LEDGER_JSON_BOUND_H
#define LEDGER_JSON_BOUND_H

#include <stddef.h>

#define JSON_VALUES_MAX 500000

struct json_bound {
    size_t at;      /* the byte at fault, from 0 on; the size, when none is */
    size_t members; /* of all objects together */
    size_t values;
};

/* NULL, or what is wrong: static text. */
const char *json_bound(const char *json, size_t size, struct json_bound *bound);

#endif
