/* What record_json() wrote, read again: a line of JSON, or the same as msgpack, becomes an entry.
 *
 * Nothing is passed over in silence: a name that is not known, a value of another type, or one out
 * of range is LEDGER_E_BAD_ENTRY, and the failure says which name.
 *
 * Thread class: any; allocates. */
#ifndef PORT_RECORD_READ_H
#define PORT_RECORD_READ_H

#include "json_read.h"

/* Zeroed is empty; reused from one to the next. `entry` points into the rest. */
struct record {
    struct ledger_entry entry; /* id 0: it says none */
    uint64_t redacted_by;
    int64_t timestamp_ms; /* 0: it says none */
    struct entry_buffer packed;
    struct entry_buffer payload;
    struct entry_buffer change;
    struct entry_buffer bytes; /* digests, salt, texts that are not UTF-8 */
    void *unpacked;            /* of msgpack-c */
};

int record_read_json(struct record *record, struct ledger_text line,
                     struct ledger_failure *failure);
void record_free(struct record *record);

/* A draft of it as it was booked, for OPERATION_IMPORT: appends to `buffer`. */
int record_write_import(const struct record *record, struct entry_buffer *buffer);

/* What a file says of the ledger that it was written from. */
struct record_header {
    char currency[8];
    uint64_t created_at_us;
    struct ledger_policy policy; /* for policy_free() */
    size_t series_count;
    struct declared_series series[DECLARED_MAX];
};
/* *is_header false: the line is something else. */
int record_read_header(struct ledger_text line, struct record_header *header, bool *is_header,
                       struct ledger_failure *failure);
/* The line that record_read_header() reads; without its end. */
int record_header_json(struct json *json, struct ledger *ledger);

#endif
