/* What the files of the core know of an open ledger. Not for adapters. */
#ifndef LEDGER_INTERNAL_H
#define LEDGER_INTERNAL_H

#include <pthread.h>

#include "gate.h"
#include "ledger.h"
#include "names.h"
#include "outcomes.h"
#include "storage.h"

#define DECLARED_MAX 64

/* The dimensions of one declared family of series, ascending. */
struct declared_series {
    uint8_t count;
    uint8_t dimensions[SERIES_NAMES_MAX];
};

struct ledger {
    struct storage storage;
    struct gate_page *gate; /* set at open, unmapped by ledger_free() */
    int lock;
    size_t max_entry_size;
    char currency[8];
    uint64_t created_at_us;
    size_t declared_count; /* fixed at open */
    struct declared_series declared[DECLARED_MAX];

    pthread_rwlock_t policy_lock;
    struct ledger_policy policy; /* written by the writer under policy_lock; read by the writer,
                                    or by others under policy_lock */

    /* The writer's own. */
    bool resync_due; /* the file was reopened, but what follows from it was not derived yet */
    struct outcomes outcomes;
    struct entry_decoder *decoder;
    struct entry_buffer buffer;
};

/* Computes and publishes every state's word. Nothing is written to the data. The writer's. */
int ledger_publish_all(struct ledger *ledger, struct ledger_failure *failure);

#endif
