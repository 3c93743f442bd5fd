/* A look into the ledger: one read transaction, the declared families, and names that were looked
 * up. What the files that only read share; not for adapters.
 *
 * Thread class: those that may read LMDB. */
#ifndef LEDGER_READING_H
#define LEDGER_READING_H

#include "internal.h"
#include "payloads.h"
#include "series.h"

/* A name that was looked up; longer ones are looked up each time. What a number stands for never
 * changes, so one reading knows what the one before did. */
#define READING_NAMES 256
#define READING_NAME_BYTES 54
struct reading_name {
    uint32_t number;  /* 0: empty */
    uint32_t used_in; /* the last reading that gave its text away, which must stay till it ends */
    uint8_t dimension;
    uint8_t size;
    char text[READING_NAME_BYTES];
};

struct reading {
    struct storage_block block; /* left for the next reading, with `serial` and `known` */
    struct ledger *ledger;
    MDB_txn *txn;
    MDB_cursor *cursors[DB_COUNT]; /* NULL: not asked for yet; that of payloads stands at: */
    uint64_t payload_at;
    size_t declared_count;
    struct declared_series declared[DECLARED_MAX];
    uint64_t horizon; /* what is older was removed: retention.h */
    uint32_t serial;
    struct reading_name known[READING_NAMES];
};

/* NULL with *rc: ENOMEM, LEDGER_E_CLOSED or LMDB's. reading_end() after. */
struct reading *reading_begin(struct ledger *ledger, int *rc);
void reading_end(struct reading *reading);

static inline MDB_dbi reading_dbi(const struct reading *reading, enum storage_database database) {
    return reading->ledger->storage.databases[database];
}

/* A cursor on a database, the same for all that read there: its position is not kept, but for that
 * of payloads, which reading_payload() alone moves. */
int reading_cursor(struct reading *reading, enum storage_database database, MDB_cursor **cursor);

/* Gives every name of an entry that was read its text. */
int reading_load_names(struct reading *reading, struct ledger_entry *entry);
/* One entry as it is stored. MDB_NOTFOUND. */
int reading_find_bytes(struct reading *reading, uint64_t id, MDB_val *stored);
/* What an entry says in words; zeros where it says nothing. */
int reading_payload(struct reading *reading, uint64_t id, struct ledger_payload *payload);
/* One entry with its names; MDB_NOTFOUND, LEDGER_E_PRUNED. */
int reading_load(struct reading *reading, uint64_t id, struct ledger_entry *entry);

/* Numbers of all names that are given; MDB_NOTFOUND when one of them was never used. */
int reading_numbers(struct reading *reading, const struct ledger_text *names,
                    uint32_t numbers[DIMENSION_LIMIT]);
/* The series of a family's dimensions with these numbers. MDB_NOTFOUND: nothing was booked there.
 */
int reading_series(struct reading *reading, int family, const uint32_t *numbers, uint32_t *series);
/* The family whose dimensions are exactly those for which numbers are given.
 * LEDGER_E_UNDECLARED_SERIES, LEDGER_E_BUILDING. */
int reading_family(const struct reading *reading, const uint32_t *numbers, int *family);

#endif
