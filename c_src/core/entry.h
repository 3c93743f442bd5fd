/* One entry: the structure, and its two written forms.
 *
 *   stored   what lies in the `entries` database; names are numbers
 *   draft    what a caller hands to the writer; names are still text
 *
 * Both are one msgpack array with fixed order, cut off after its last element that is not nil:
 *
 *    0 version        1
 *    1 kind           enum ledger_kind
 *    2 status         enum ledger_status
 *    3 names          [dimension, name, dimension, name, ...], dimensions ascending;
 *                     a name is a number when stored, a string in a draft
 *    4 definitions    nil | [number, dimension, "value", ...]: names that this entry uses first
 *    5 duration_ms    uint
 *    6 cost           nil | nano-units (nil: unpriced)
 *    7 credits        nil | nano-units
 *    8 tokens         nil | [input, output, cache_read, cache_creation, reasoning]
 *    9 breakdown      nil | [tokens, tool_calls, external_requests, penalties], nano-units
 *   10 unit_prices    nil | [as tokens], 10^-15 currency units a token
 *   11 flags          nil | uint                  enum entry_flag
 *   12 digest         nil | 32 bytes: salted SHA-256 of the payload
 *   13 client_id      nil | string: the caller's idempotency key
 *   14 link           nil | id of the entry that this one corrects or follows
 *   15 occurred_at    nil | ms since the Unix epoch
 *   16 change         nil | map: who, why, and what (kinds that are not a record of work)
 *   17 run_id         nil | string: the caller's name of this record, unique in the ledger
 *   18 hold           nil | id of the hold that this entry resolves
 *   19 parent         nil | id of the hold or entry of the run that this is part of
 *   20 policy_version nil | version of the policy that decided, where it is not the one in force
 *   21 request_digest nil | 32 bytes: SHA-256 of the request without payload, for an id's sake
 *   22 parent_run     nil | string: run_id of the run that this one is part of, or came from
 *
 * and in drafts alone:
 *
 *   23 pricing        nil | 1: the price book says what it costs (price.h)
 *   24 payload        nil | bytes: a msgpack map, for the `payloads` database
 *   25 salt           nil | 16 bytes that go with it
 *
 * Thread class: any; writing allocates, reading does not, nothing blocks.
 */
#ifndef LEDGER_ENTRY_H
#define LEDGER_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "totals.h"

#define ENTRY_VERSION 1

/* Numbers are on disk: append only. */
enum ledger_kind {
    KIND_INVOCATION = 1,
    KIND_RUN = 2,
    KIND_GRANT = 3,
    KIND_RELEASE = 4,
    KIND_CORRECTION = 5,
    KIND_POLICY = 6,
    KIND_RESET = 7,
    KIND_PRICE = 8,
    KIND_REDACTION = 9,
};

enum ledger_status {
    STATUS_NONE = 0, /* kinds that have no outcome */
    STATUS_COMPLETED = 1,
    STATUS_FAILED = 2,
    STATUS_ABORTED = 3,
};

/* Numbers are on disk: append only. */
enum ledger_dimension {
    DIMENSION_STATE = 1,
    DIMENSION_ORG = 2,
    DIMENSION_PROJECT = 3,
    DIMENSION_USER = 4,
    DIMENSION_AGENT = 5,
    DIMENSION_MODEL = 6,
    DIMENSION_PROVIDER = 7,
    DIMENSION_STATUS = 8, /* derived from the status: of series, never among an entry's names */
    DIMENSION_PROMPT_TYPE = 9,
    DIMENSION_CUSTOM = 32, /* and up: declared by a user */
    DIMENSION_LIMIT = 48
};

enum ledger_token_class {
    TOKENS_INPUT,
    TOKENS_OUTPUT,
    TOKENS_CACHE_READ,
    TOKENS_CACHE_CREATION,
    TOKENS_REASONING,
    TOKENS_CLASSES
};

enum ledger_cost_part {
    COST_TOKENS,
    COST_TOOL_CALLS,
    COST_EXTERNAL_REQUESTS,
    COST_PENALTIES,
    COST_PARTS
};

/* 10^15: of every amount, count and duration. */
#define ENTRY_AMOUNT_MAX INT64_C(1000000000000000)
/* Unit prices are in 10^-15 of a currency unit. */
#define UNITS_A_NANO 1000000
#define ENTRY_DIGEST_BYTES 32
#define ENTRY_SALT_BYTES 16
#define ENTRY_RUN_ID_BYTES_MAX 1000

struct ledger_text {
    const char *data; /* NULL: absent; not terminated */
    size_t size;
};

/* Which of the optional fields are given. */
enum entry_field {
    ENTRY_COST = 1 << 0,
    ENTRY_CREDITS = 1 << 1,
    ENTRY_TOKENS = 1 << 2,
    ENTRY_BREAKDOWN = 1 << 3,
    ENTRY_UNIT_PRICES = 1 << 4,
    ENTRY_DIGEST = 1 << 5,
    ENTRY_OCCURRED_AT = 1 << 6,
    ENTRY_REQUEST_DIGEST = 1 << 7,
    ENTRY_PRICING = 1 << 8, /* of a draft: its cost is to be worked out */
};

/* Bits are on disk: append only. */
enum entry_flag {
    ENTRY_OVERRUN = 1 << 0,      /* a rule that it added to was beyond its limit afterwards */
    ENTRY_LATE = 1 << 1,         /* its caller settled after the ledger had */
    ENTRY_COMPLETES = 1 << 2,    /* of a correction: what it links to was completed after all */
    ENTRY_UNATTENDED = 1 << 3,   /* the ledger resolved the hold, not its caller */
    ENTRY_PRICES = 1 << 4,       /* of a correction: what it links to had no cost until then */
    ENTRY_OF_COMPLETED = 1 << 5, /* of a correction: what it links to had completed before */
};

/* Text and bytes point into what the entry was decoded from, or to the caller's own memory. */
struct ledger_entry {
    uint64_t id; /* ledger time in microseconds; the key, not part of the written forms */
    enum ledger_kind kind;
    enum ledger_status status;
    uint32_t given; /* enum entry_field */
    int64_t duration_ms;
    int64_t cost;
    int64_t credits;
    int64_t tokens[TOKENS_CLASSES];
    int64_t breakdown[COST_PARTS];
    uint64_t unit_prices[TOKENS_CLASSES];
    uint64_t flags;
    const uint8_t *digest;
    const uint8_t *request_digest;
    uint64_t link; /* this and the next three: 0 is none */
    uint64_t hold;
    uint64_t parent;
    uint64_t policy_version;
    int64_t occurred_at_ms;
    struct ledger_text client_id;
    struct ledger_text run_id;
    struct ledger_text parent_run;
    struct ledger_text payload; /* of a draft; `salt` goes with it, and `digest` */
    const uint8_t *salt;
    struct ledger_text change;                 /* a written msgpack map */
    struct ledger_text names[DIMENSION_LIMIT]; /* by dimension; text, in a draft */
    uint32_t name_numbers[DIMENSION_LIMIT];    /* by dimension; 0: absent; when stored */
    uint64_t named;                            /* when read: bit N for a name in dimension N */
    struct ledger_text definitions;            /* a written msgpack array; when stored */
};

/* A name that an entry uses first. */
struct entry_definition {
    uint32_t number;
    uint8_t dimension;
    struct ledger_text value;
};

/* A growing byte buffer. Zeroed is empty; entry_buffer_free() releases it. */
struct entry_buffer {
    char *data;
    size_t size;
    size_t capacity;
    bool failed; /* out of memory; whatever was written is incomplete */
};

void entry_buffer_free(struct entry_buffer *buffer);
/* A msgpack_packer's write callback; sets `failed` when out of memory. */
int entry_buffer_append(void *buffer, const char *bytes, size_t size);

/* Both append to `buffer`: 0, ENOMEM, or LEDGER_E_BAD_ENTRY (see entry_check). */
int entry_write_draft(struct entry_buffer *buffer, const struct ledger_entry *entry);
/* A draft of a request. With a client_id or a run_id it gets the SHA-256 of the rest of it: the
 * entry but for its client_id and payload, and `extra`, which is what the request says besides. A
 * payload is salted, and bound by its digest. Or LEDGER_E_CRYPTO. */
int entry_write_request(struct entry_buffer *buffer, const struct ledger_entry *entry,
                        struct ledger_text extra);
int entry_write_stored(struct entry_buffer *buffer, const struct ledger_entry *entry,
                       const struct entry_definition *definitions, size_t definition_count);

/* Fill *entry (id untouched). `data` must outlive the entry's text. Hostile input costs no more
 * time than its size, and no memory. 0, LEDGER_E_NEWER (stored by a version that this code does not
 * know) or LEDGER_E_DAMAGED / LEDGER_E_BAD_ENTRY (stored / draft). */
int entry_read_draft(const void *data, size_t size, struct ledger_entry *entry);
int entry_read_stored(const void *data, size_t size, struct ledger_entry *entry);

/* The names that a stored entry defines, DIMENSION_LIMIT at most; their texts lie in the entry.
 * 0 or LEDGER_E_DAMAGED. */
int entry_read_definitions(const struct ledger_entry *entry, struct entry_definition *definitions,
                           size_t *count);

/* Every rule of the format that one entry alone can break. NULL when it breaks none, else the
 * field that does. */
const char *entry_check(const struct ledger_entry *entry);
/* The same of one that was read, which says in `named` where its names are: they were checked when
 * they were read. */
const char *entry_check_read(const struct ledger_entry *entry);

/* Dimensions that a name of an entry may belong to; 10 to 31 are free. As bits: 1 to 7, 9, and 32
 * to 47. */
#define ENTRY_DIMENSIONS UINT64_C(0x0000ffff000002fe)
static inline bool entry_dimension_is_assigned(int dimension) {
    return dimension >= 0 && dimension < DIMENSION_LIMIT && ENTRY_DIMENSIONS >> dimension & 1;
}

/* The same, of a series. */
static inline bool series_dimension_is_assigned(int dimension) {
    return dimension == DIMENSION_STATUS || entry_dimension_is_assigned(dimension);
}

/* What the entry is called in DIMENSION_STATUS: a static text, or none. A correction is where what
 * it corrects is (`corrected`), also with ENTRY_COMPLETES. */
struct ledger_text entry_status_name(const struct ledger_entry *entry,
                                     const struct ledger_entry *corrected);

/* What caching saved, in nano-units, rounded half up: against the price of input tokens. Below 0
 * where writing to the cache cost more than reading from it saved. */
int64_t entry_cache_savings(const struct ledger_entry *entry);

/* What the entry adds to the totals of each of its series. `corrected` is the entry that a
 * correction links to; NULL for other kinds. */
void entry_amounts(const struct ledger_entry *entry, const struct ledger_entry *corrected,
                   struct amounts *amounts);

#endif
