/* What the files that rebuild share; see rebuild.h. Not for others.
 *
 *   rebuild.c        rows as they are, and what is derived from them
 *   rebuild_past.c   what stands in for entries that were removed
 */
#ifndef LEDGER_REBUILD_INTERNAL_H
#define LEDGER_REBUILD_INTERNAL_H

#include "rebuild.h"
#include "verify_internal.h"

struct rebuilding {
    const struct ledger_rebuild_options *options;
    struct ledger *from;
    MDB_txn *old;
    struct ledger *to; /* only its storage, and what meta says */
    /* Over the new ledger: what it is handed is put there. What it finds is told, as left out, only
     * where nothing else would tell it. */
    struct verifier verifier;
    struct ledger_verify_options verify_options;
    struct ledger_verify_result result;
    struct ledger_verify_result *left_out;
    uint64_t done;
    uint64_t total;
    uint64_t policies;
    uint32_t next_series; /* none below is free */
};

static inline MDB_dbi old_dbi(const struct rebuilding *rebuilding, enum storage_database database) {
    return rebuilding->from->storage.databases[database];
}

static inline MDB_dbi new_dbi(const struct rebuilding *rebuilding, enum storage_database database) {
    return rebuilding->to->storage.databases[database];
}

/* Tells what is left out, the way a verifier tells what it finds. */
#define leave_out(rebuilding, database, id, ...)                                                   \
    ((rebuilding)->verifier.result = (rebuilding)->left_out,                                       \
     (rebuilding)->verify_options.found = (rebuilding)->options->left_out,                         \
     (void)verify_found(&(rebuilding)->verifier, database, id, __VA_ARGS__),                       \
     (rebuilding)->verify_options.found = NULL,                                                    \
     (rebuilding)->verifier.result = &(rebuilding)->result, 0)

/* What becomes of one row; 0 also where it is left out. */
typedef int rebuild_take(struct rebuilding *rebuilding, MDB_val key, MDB_val value);

/* rebuild.c */
int rebuild_walk_old(struct rebuilding *rebuilding, enum storage_database database,
                     rebuild_take *take);
int rebuild_put(struct rebuilding *rebuilding, enum storage_database database, MDB_val key,
                MDB_val value);
int rebuild_put_name(struct rebuilding *rebuilding, uint32_t number, uint8_t dimension,
                     struct ledger_text text);

/* rebuild_past.c */
int rebuild_take_past(struct rebuilding *rebuilding);
/* Of an entry or a hold that is older than the horizon; the same of a row of `keys`. */
static inline bool rebuild_is_past(const struct rebuilding *rebuilding, uint64_t id) {
    return id != 0 && verify_is_past(&rebuilding->verifier, id);
}
static inline bool rebuild_is_past_key(const struct rebuilding *rebuilding, MDB_val key) {
    return key.mv_size == 9 &&
           rebuild_is_past(rebuilding, get_be64((const uint8_t *)key.mv_data + 1));
}

#endif
