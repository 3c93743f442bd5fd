/* What the files that fill a batch share; see batch.h. Not for others.
 *
 *   batch.c       the transaction, names, entries
 *   recording.c   records of work, their corrections and redactions, prices
 *   sums.c        the series that the batch changes
 *   importing.c   entries as they were booked elsewhere
 *   holding.c     reserve, meter, transfer
 *   resolving.c   settle, release
 *   expiring.c    holds that nobody resolves
 *   ending.c      what ends with a hold, for both
 *   publishing.c  warnings, and the words of the gate
 */
#ifndef LEDGER_BATCH_INTERNAL_H
#define LEDGER_BATCH_INTERNAL_H

#include "attempt.h"
#include "batch.h"
#include "rollup.h"
#include "series.h"

/* A series that the batch adds to or looks at, with everything that follows from it. */
struct sums {
    struct series_block block;
    int family;
    int state;   /* index of the state whose series it is, or -1 */
    bool booked; /* entries were added */
    bool has_rollups;
    bool held_changed;
    struct rollup hour;
    struct rollup day;
    struct held held;
    struct uses uses; /* of the rules over it; sums_refresh() before reading */
};

/* What was looked up a moment ago; direct-mapped, so a miss only costs the lookup. */
#define MEMO_SLOTS 512
struct name_memo {
    uint8_t dimension; /* 0: empty */
    bool undefined;    /* no entry defines it yet */
    struct ledger_text text;
    uint32_t number;
};
struct series_memo {
    uint8_t count; /* 0: empty */
    uint32_t numbers[SERIES_NAMES_MAX];
    uint32_t series;
};

#define CHUNK_BYTES 4096
struct chunk {
    struct chunk *next;
    size_t size;
    size_t capacity;
    char bytes[];
};

/* What the gate will say of one state once the transaction is durable. */
struct gate_update {
    uint32_t state;
    struct gate_words words;
};

struct batch {
    struct ledger *ledger;
    const struct ledger_policy *policy;
    const struct plan *plan;
    MDB_txn *txn;
    MDB_cursor *entries;
    struct moment moment;
    uint64_t last_id;
    uint64_t first_id;  /* last_id before this batch */
    uint64_t import_id; /* that the next entry has, as it was; 0: it gets a new one */
    bool wrote;         /* there is something to commit */
    int building;       /* family that is being built, and treated as ready; 0: none */
    bool any_undefined; /* there are names that no entry defines yet */
    bool all_states;    /* the gate has to be worked out for every state */
    struct name_memo names[MEMO_SLOTS];
    struct series_memo series[MEMO_SLOTS];
    struct sums **sums; /* open addressing by series, capacity a power of two */
    size_t sums_capacity;
    size_t sums_count;
    struct uses uses;     /* of the attempt that is being looked at */
    struct chunk *chunks; /* texts that were loaded */
    struct ledger_effects effects;
    struct gate_update *updates;
    size_t update_count;
    bool all_changed;
    struct gate_words all;
};

static inline MDB_dbi batch_dbi(const struct batch *batch, enum storage_database database) {
    return batch->ledger->storage.databases[database];
}

/* The next id of the one sequence of entries and holds; LEDGER_E_ID_EXHAUSTED. */
int batch_next_id(struct batch *batch, uint64_t *id);

enum name_user { NAMED_BY_ENTRY, NAMED_BY_HOLD };
/* Numbers for all names; those that the entry has to define. `definitions` NULL for a hold. */
int batch_intern_names(struct batch *batch, const struct ledger_text *names, enum name_user user,
                       uint32_t *numbers, struct entry_definition *definitions,
                       size_t *definition_count);
/* Copies a text, so that it holds as long as the batch. */
int batch_keep_text(struct batch *batch, struct ledger_text *text);
/* Copies the texts, so that they hold as long as the batch: what is looked up is remembered. */
int batch_keep_names(struct batch *batch, struct ledger_text *names);
/* Texts of numbers, copied likewise. */
int batch_load_names(struct batch *batch, const uint32_t *numbers, struct ledger_text *names);
/* Family's series of these names: made, or MDB_NOTFOUND unless `make`. Series 0 for family 0. The
 * family's dimensions are all there. */
int batch_find_series(struct batch *batch, int family, const struct ledger_text *names, bool make,
                      uint32_t *series);
bool batch_has_family(const struct batch *batch, int family, const struct ledger_text *names);
/* Reads an entry that must be there; its names are numbers. */
int batch_fetch(struct batch *batch, uint64_t id, struct ledger_entry *entry);
/* The same of one that may not be: MDB_NOTFOUND. */
int batch_find(struct batch *batch, uint64_t id, struct ledger_entry *entry);
/* The same of one that a request names, or what it asks for does: LEDGER_E_NO_ENTRY,
 * LEDGER_E_PRUNED. */
int batch_find_linked(struct batch *batch, uint64_t id, struct ledger_entry *entry);

/* Gives the entry its id and its overrun flag, and books it. `corrected`: see entry_amounts(). */
int batch_book(struct batch *batch, struct ledger_entry *entry,
               const struct ledger_entry *corrected);

/* sums.c. The series is in the family, and has these names (by dimension, text). */
int sums_get(struct batch *batch, int family, uint32_t series, const struct ledger_text *names,
             struct sums **sums);
struct sums *sums_find(struct batch *batch, uint32_t series);
void sums_refresh(struct sums *sums);
int sums_add(struct batch *batch, struct sums *sums, uint64_t id, const struct amounts *amounts);
/* Adds to what is held; `holds` is 1, 0 or -1. */
void sums_hold(struct sums *sums, int holds, const int64_t delta[HELD_COLUMNS], uint64_t until_us);
int sums_store(struct batch *batch);
void sums_free(struct batch *batch);
/* For struct moment: brings the series database up to date. */
int sums_save(void *batch, uint32_t series);
/* Looks again for resets of a rule. */
int sums_reset(struct batch *batch, const struct ledger_rule *rule);

/* The uses of one family for these names, whether the series is there or not. */
int sums_uses(struct batch *batch, int family, const struct ledger_text *names, struct uses *uses);

/* recording.c. Gives an entry that is to be priced its cost: LEDGER_E_NO_PRICE, LEDGER_E_AMOUNT. */
int recording_price(struct batch *batch, struct ledger_entry *entry,
                    const struct ledger_text *names);
int recording_record(struct batch *batch, struct ledger_request *request,
                     struct ledger_entry *entry);
/* Books a correction of what it links to: LEDGER_E_OVERCORRECTED. */
int recording_correct(struct batch *batch, struct ledger_entry *entry,
                      const struct ledger_entry *booked);

/* requests.c. Books a grant to an account: LEDGER_E_UNDECLARED_SERIES, LEDGER_E_BUILDING. */
int requests_grant(struct batch *batch, struct ledger_request *request, struct ledger_entry *entry);

/* importing.c: OPERATION_IMPORT. */
int importing_import(struct batch *batch, struct ledger_request *request,
                     struct ledger_entry *entry);

/* holding.c, resolving.c, expiring.c: what ledger.h says of each operation. 0, or what fails this
 * request alone as long as nothing was put; anything else ends the batch. */
int holding_reserve(struct batch *batch, struct ledger_request *request,
                    struct ledger_entry *estimate);
int holding_meter(struct batch *batch, struct ledger_request *request, struct ledger_entry *usage);
int holding_transfer(struct batch *batch, struct ledger_request *request);
int resolving_settle(struct batch *batch, struct ledger_request *request,
                     const struct ledger_entry *usage);
int resolving_release(struct batch *batch, struct ledger_request *request,
                      const struct ledger_entry *release);
/* MDB_NOTFOUND: not live. */
int expiring_end(struct batch *batch, uint64_t hold);
/* Ends holds that are due, up to a bound. */
int expiring_end_due(struct batch *batch);

/* publishing.c */
int publishing_warn(struct batch *batch);
int publishing_gate(struct batch *batch);

#endif
