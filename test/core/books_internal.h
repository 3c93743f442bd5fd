/* What the files that read the books share; see books.h. Not for tests. */
#ifndef TEST_BOOKS_INTERNAL_H
#define TEST_BOOKS_INTERNAL_H

#include "books.h"

#include "../../c_src/core/hold.h"
#include "../../c_src/core/rollup.h"
#include "../../c_src/core/series.h"

#define NONE UINT32_MAX

/* A name, at its number. */
struct named {
    bool is_there;
    bool is_defined; /* by an entry */
    bool is_marked;  /* as undefined */
    uint8_t dimension;
    struct ledger_text text;
};

/* One entry: what it says, and what it adds to each of its series. */
struct booked {
    uint64_t id;
    enum ledger_kind kind;
    enum ledger_status status;
    uint64_t flags;
    uint64_t link;
    uint64_t hold;
    bool has_cost;
    int64_t cost;
    int64_t credits;
    int64_t tokens[TOKENS_CLASSES];
    int64_t duration_ms;
    const uint8_t *digest; /* of its payload; this and the next two in LMDB's map */
    struct ledger_text client_id;
    struct ledger_text run_id;
    bool is_corrected;
    bool is_priced_later;             /* a correction gave it the cost that it lacked */
    bool is_completed_later;          /* a late settlement said that it was completed */
    int64_t corrected[BOOKS_AMOUNTS]; /* cost, credits, tokens: what corrections said */
    bool adds_any;
    int64_t adds[COLUMN_COUNT];
    uint32_t names[DIMENSION_LIMIT]; /* numbers, also of its status; 0: absent */
};

/* The sum over a series, or over one hour or day of it. */
struct sum_key {
    uint32_t family;
    uint32_t numbers[SERIES_NAMES_MAX];
    uint32_t granularity; /* 0: all of it */
    uint32_t period;
};
struct sum {
    struct sum_key key;
    bool is_used;
    bool is_seen; /* in the database */
    struct totals totals;
    struct extremes extremes[EXTREMES_MEASURES];
    struct held held; /* until_us: the latest deadline */
};

struct reset_of {
    char rule[RULE_NAME_BYTES_MAX];
    size_t size;
    uint64_t id;
    uint32_t names[DIMENSION_LIMIT];
};

struct books {
    struct ledger *ledger;
    MDB_txn *txn;
    size_t name_count; /* one more than the largest number */
    struct named *names;
    size_t count;
    struct booked *entries;
    size_t hold_count;
    struct hold *holds;
    size_t sum_count;
    size_t sum_capacity;
    struct sum *sums;
    size_t reset_count;
    struct reset_of *resets;
};

static inline MDB_dbi books_dbi(const struct books *books, enum storage_database database) {
    return books->ledger->storage.databases[database];
}
MDB_cursor *books_cursor(const struct books *books, enum storage_database database);

/* The number that a status has as a name. */
#define STATUS_NUMBER(status) (UINT32_C(0xfffffff0) + (uint32_t)(status))
uint8_t books_dimension(const struct books *books, uint32_t number);
/* Number of a name; NONE. */
uint32_t books_number(const struct books *books, int dimension, struct ledger_text text);
/* The key of these names (numbers) in a family. False where one of its dimensions is not named. */
bool books_key(const struct books *books, uint32_t family, const uint32_t *names,
               struct sum_key *key);
/* NULL: nothing was added there. */
struct sum *books_sum(const struct books *books, const struct sum_key *key);
/* Number of the series; NONE. */
uint32_t books_series(const struct books *books, const struct sum_key *key);
/* NULL: there is none of that id. */
const struct booked *books_entry(const struct books *books, uint64_t id);
/* Extremes with those of one more entry. */
void books_widen(struct extremes *extremes, const struct booked *entry);
struct hold *books_live_hold(const struct books *books, uint64_t id);

/* The key of the series that a rule is over, for these names (numbers). */
struct sum_key books_key_of_rule(const struct books *books, const struct ledger_rule *rule,
                                 const uint32_t *names);
/* The newest reset of the rule for these names; 0: none. */
uint64_t books_reset_id(const struct books *books, const struct ledger_rule *rule,
                        const uint32_t *names);

/* books_lists.c: what lists and sums of random filters say, against all entries. */
void books_check_lists(const struct books *books);
void books_check_sums(const struct books *books);

#endif
