/* An entry as JSON, losing nothing: what the export writes and the import reads.
 *
 *   {"id": "1700000000000000", "kind": "invocation", "timestamp": 1700000000000, "status":
 *    "completed", "duration_ms": 1200, "state": "executing", ..., "cost": 4000000, "tokens":
 *    {"input": ..}, "payload": {"intent": "...", ...}}
 *
 * Ids are strings: many readers round what has more than 53 bits. Absent fields are absent keys.
 * `digest`, `request_digest` and `salt` are base64. A text that is not UTF-8 is {"$bin": "base64"}.
 * In `payload` and `change` JSON has no word for some values; they are objects with one key that
 * begins with "$":
 *
 *   {"$atom": "name"}      an atom
 *   {"$int": "1267..."}    an integer of more than 64 bits
 *   {"$bin": "base64"}     bytes that are not UTF-8
 *   {"$map": [[k, v], ..]} a map with keys that are not strings, or begin with "$"
 *
 * Thread class: any; allocates. */
#ifndef PORT_RECORD_JSON_H
#define PORT_RECORD_JSON_H

#include "json.h"

void record_json(struct json *json, const struct ledger_entry *entry,
                 const struct ledger_payload *payload);
const char *record_kind_name(enum ledger_kind kind);
const char *record_status_name(enum ledger_status status);
/* By dimension; NULL where there is none. */
const char *record_dimension_name(int dimension);
/* Every one has a name here; those that the API has none for are "dimension_32" and so on. */
#define RECORD_NAME_BYTES 24
const char *record_name_key(int dimension, char out[RECORD_NAME_BYTES]);
/* By class, and by part. */
extern const char *const record_token_classes[TOKENS_CLASSES];
extern const char *const record_cost_parts[COST_PARTS];
/* By bit of enum entry_flag. */
#define RECORD_FLAGS 6
extern const char *const record_flags[RECORD_FLAGS];
/* A written msgpack object as JSON; null where it is none. */
void record_json_value(struct json *json, struct ledger_text written);

#endif
