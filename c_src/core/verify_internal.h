/* What the files that verify share; see verify.h. Not for others.
 *
 *   verify.c         slices, series and rollups, what is told
 *   verify_entry.c   one entry, and the rows that must be there because of it
 *   verify_rows.c    rows of names and keys
 *   verify_holds.c   live holds, what is held, what was booked below runs
 *   verify_kept.c    what is left of entries that were removed, and stands in for them
 */
#ifndef LEDGER_VERIFY_INTERNAL_H
#define LEDGER_VERIFY_INTERNAL_H

#include "hold.h"
#include "internal.h"
#include "keys.h"
#include "replay.h"
#include "retention.h"
#include "scratch_file.h"
#include "verify.h"

/* Of a name's number: its dimension, and this where an entry defines it. */
#define NAME_DEFINED 0x40

struct verifier {
    struct ledger *ledger;
    const struct ledger_verify_options *options;
    struct ledger_verify_result *result;
    struct ledger_failure *failure;
    MDB_txn *txn;
    struct retention retention; /* as of the first slice; at the end, of the last one */
    const struct ledger *past;  /* where corrections of what was removed are listed; NULL: here */
    MDB_txn *past_txn;
    size_t declared_count;
    struct declared_series declared[DECLARED_MAX]; /* as of the first slice */
    bool is_settled; /* the families are the same at the end: what is open can be compared */
    struct replay replay;
    struct scratch_file scratch;
    uint8_t *names;    /* by number */
    size_t name_count; /* one more than the largest that an entry defines */
    size_t name_capacity;
    uint64_t total;
    uint64_t digests; /* entries that have one */
    uint64_t policies;
    uint64_t last_policy;
};

static inline MDB_dbi verify_dbi(const struct verifier *verifier, enum storage_database database) {
    return verifier->ledger->storage.databases[database];
}

/* Tells a finding: printf style, first where, then what, apart by a newline. Returns 0, or
 * ECANCELED when there were enough. */
int verify_found(struct verifier *verifier, const char *database, uint64_t id, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
/* "series 3 (user ada)", into out. */
#define VERIFY_SERIES_BYTES 160
const char *verify_series(struct verifier *verifier, uint32_t series,
                          char out[VERIFY_SERIES_BYTES]);
/* A text to read, cut. */
#define VERIFY_TEXT_BYTES 80
const char *verify_text(struct ledger_text text, char out[VERIFY_TEXT_BYTES]);
const char *verify_dimension(int dimension);
/* True where LMDB or a decoder says that what it reads is damaged. */
bool verify_is_damage(int rc);

/* An entry by its id; MDB_NOTFOUND. */
int verify_fetch(struct verifier *verifier, uint64_t id, struct ledger_entry *entry);
bool verify_is_entry(struct verifier *verifier, uint64_t id);

/* verify_entry.c */
int verify_entry(struct verifier *verifier, uint64_t id, MDB_val value);
/* What booked it. */
enum ledger_operation verify_operation(const struct ledger_entry *entry);

/* verify_rows.c */
int verify_names(struct verifier *verifier);
/* Rows of clients and runs, in slices. */
int verify_requests(struct verifier *verifier);
/* Whether the entry that a row of a client or a run names goes by that name. */
bool verify_has_name(MDB_val key, const struct key_row *row, const struct ledger_entry *entry);
/* Rows that are derived from the entries, against those in the scratch file. */
int verify_derived_keys(struct verifier *verifier);
int verify_payload_rows(struct verifier *verifier);

/* verify_kept.c */
/* Whether a row is of what is older than the horizon: nothing is left to compare it with. */
static inline bool verify_is_past(const struct verifier *verifier, uint64_t id) {
    return id < verifier->retention.horizon;
}
/* For the replay: the sums before the horizon, and the rest of the block that they stand in. */
int verify_begin_series(void *context, struct replay_series *series);
/* A name that no entry defines any more; *defined: it is there, and is not one of a hold's alone.
 */
int verify_past_name(struct verifier *verifier, uint32_t number, uint8_t *dimension, bool *defined);
/* A correction of what was removed, as series list it: what it adds, and under which status. */
int verify_past_correction(struct verifier *verifier, const struct ledger_entry *entry,
                           struct amounts *amounts, bool *is_there);
int verify_past_status(struct verifier *verifier, const struct declared_series *declared,
                       uint32_t named[DIMENSION_LIMIT], uint64_t id);
/* Blocks that begin before the horizon: each by itself, and one after the other. */
int verify_kept_blocks(struct verifier *verifier);

/* verify_holds.c */
/* An entry that says that it ended a hold, or corrects one (`booked`) that may have. */
int verify_ending(struct verifier *verifier, const struct ledger_entry *entry,
                  const struct ledger_entry *booked);
int verify_holds(struct verifier *verifier);

#endif
