/* JSON text to msgpack, as record_json.h writes it, exactly: one value, RFC 8259, UTF-8.
 *
 *   object            map; a name that is there twice is refused
 *   string            str; \u0000 is a byte like any other, a lone surrogate is refused
 *   number            int where it has neither fraction nor exponent, else float64; one that
 *                     needs more than 64 bits is refused (see $int), nothing is rounded to fit
 *   {"$atom": text}   ext 1
 *   {"$int": digits}  ext 2, in the least bytes that hold it
 *   {"$bin": base64}  bin
 *   {"$map": [..]}    map
 *
 * Other names that begin with "$" are refused. Memory: of the order of the text.
 *
 * Thread class: any; allocates. */
#ifndef PORT_JSON_READ_H
#define PORT_JSON_READ_H

#include "json.h"

/* Appends to `out`. NULL, or what is wrong (static text), with *at the byte where. */
const char *json_to_msgpack(struct ledger_text json, struct entry_buffer *out, size_t *at);

/* Appends the bytes; false: it is not base64, with all its padding. */
bool json_read_base64(struct ledger_text text, struct entry_buffer *out);

#endif
