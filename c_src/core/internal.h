/* What the files of the core know of an open ledger. Not for adapters. */
#ifndef LEDGER_INTERNAL_H
#define LEDGER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "deadlines.h"
#include "gate.h"
#include "ledger.h"
#include "names.h"
#include "outcomes.h"
#include "plan.h"
#include "storage.h"

/* From when on a state may invoke, before rules over everything are looked at; gate.h. */
struct gate_words {
    uint64_t ok_from_us;
    uint64_t critical_from_us;
    uint64_t invocations;
};

struct ledger {
    struct storage storage;
    struct gate_page *gate; /* set at open, unmapped by ledger_free() */
    int lock;
    size_t max_entry_size;
    char currency[8];
    uint64_t created_at_us;

    pthread_rwlock_t policy_lock;
    /* These: written by the writer under policy_lock; read by the writer, or by others under
     * policy_lock. */
    struct ledger_policy policy;
    struct plan plan;      /* of that policy */
    size_t declared_count; /* fixed at open */
    struct declared_series declared[DECLARED_MAX];

    /* True: no horizon (retention.h) was ever written. Set at open, if nobody else can write;
     * cleared by the writer before it commits the first one, so that a transaction that began
     * before this was read sees none. */
    atomic_bool never_pruned;

    /* The writer's own. */
    bool needs_told; /* the file says which features a program must know */
    struct deadlines deadlines;
    struct gate_words *gate_words; /* POLICY_STATES_MAX; of rules over a state */
    struct gate_words gate_all;    /* of rules over everything */
    bool resync_due; /* the file was reopened, but what follows from it was not derived yet */
    struct outcomes outcomes;
    struct entry_buffer buffer;
};

/* Looks an entry up and gives its names their text; MDB_NOTFOUND. */
int query_load_entry(struct ledger *ledger, MDB_txn *txn, uint64_t id, struct ledger_entry *entry);

bool family_equal(const struct declared_series *a, const struct declared_series *b);

/* Computes and publishes every state's word. Nothing is written to the data. The writer's. */
int ledger_publish_all(struct ledger *ledger, struct ledger_failure *failure);

/* After a disk failure the storage may have stayed closed: to be tried before every transaction.
 * The writer's. */
int ledger_ensure_open(struct ledger *ledger, struct ledger_failure *failure);
/* Closes the environment, opens it again, and derives from the file whatever this process knows.
 * The writer's. */
int ledger_resync(struct ledger *ledger, uint64_t *last_id, struct ledger_failure *failure);

#endif
