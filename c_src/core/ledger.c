/* Opening and closing, and what needs nothing but the gate page. */
#include "ledger.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch.h"
#include "directory.h"
#include "internal.h"
#include "lock.h"
#include "meta.h"

/* A directory whose gate page has seen entries, but whose data is gone, is an accident: a new
 * ledger in its place would answer "nothing spent". */
static int check_past(const char *directory, const struct gate_past *past,
                      struct ledger_failure *failure) {
    char path[PATH_MAX];
    struct stat file;
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    bool empty = stat(path, &file) != 0 || file.st_size == 0;
    if (empty && past->last_id != 0)
        return ledger_fail(failure, LEDGER_E_DATA_MISSING, "%s", path);
    return 0;
}

/* The latest of all times that are known; see docs/architecture.md on ledger time. */
static int64_t starting_time(const struct ledger_options *options, const struct gate_past *past,
                             uint64_t last_id) {
    int64_t start = options->clock == CLOCK_MODE_SYSTEM ? clock_wall_us() : 0;
    if (start < past->last_seen_us)
        start = past->last_seen_us;
    if (start < (int64_t)last_id)
        start = (int64_t)last_id;
    return start;
}

static int create_databases(struct ledger *ledger, const struct ledger_options *options,
                            struct ledger_failure *failure) {
    MDB_txn *txn = NULL;
    storage_extend(&ledger->storage, 0);
    int rc = mdb_txn_begin(ledger->storage.env, NULL, 0, &txn);
    if (rc == 0)
        rc = storage_create(&ledger->storage, txn);
    if (rc == 0)
        rc = meta_create(ledger, txn, options, (uint64_t)clock_wall_us());
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (txn != NULL)
        mdb_txn_abort(txn);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "creating data.mdb in %s", options->directory);
}

static int load(struct ledger *ledger, uint64_t *last_id, struct ledger_failure *failure) {
    MDB_txn *txn;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return ledger_fail(failure, rc, "reading data.mdb");
    rc = meta_load(ledger, txn, failure);
    if (rc == 0 && (rc = storage_last_id(&ledger->storage, txn, last_id)) != 0)
        ledger_fail(failure, rc, "reading the newest entry");
    storage_read_end(&ledger->storage, txn);
    return rc;
}

/* Every state's word, before anyone can ask. Nothing is written to the data: the transaction
 * is only needed to compute, and is dropped. */
int ledger_publish_all(struct ledger *ledger, struct ledger_failure *failure) {
    struct batch *batch = NULL;
    int rc = batch_begin(ledger, ledger_now(ledger), &batch);
    if (rc == 0)
        rc = batch_finish(batch, &ledger->policy, true);
    if (rc == 0)
        batch_publish(batch);
    batch_end(batch);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "computing the gate");
}

static int open_files(struct ledger *ledger, const struct ledger_options *options,
                      struct ledger_opened *opened, struct ledger_failure *failure) {
    struct gate_past past;
    struct storage_options storage_options = {.directory = options->directory,
                                              .map_size = options->map_size,
                                              .pool_size = options->readers,
                                              .meta_sync = options->meta_sync};
    int rc = directory_make(options->directory, failure);
    if (rc == 0)
        rc = directory_check(options->directory, &opened->filesystem, failure);
    if (rc == 0)
        rc = lock_take(options->directory, options->holder, &ledger->lock, failure);
    if (rc != 0)
        return rc;
    gate_read_past(options->directory, &past);
    rc = check_past(options->directory, &past, failure);
    if (rc == 0)
        rc = storage_open(&ledger->storage, &storage_options, failure);
    if (rc == 0 && ledger->storage.is_new && past.last_id != 0)
        rc = ledger_fail(failure, LEDGER_E_DATA_MISSING, "%s", options->directory);
    if (rc == 0 && ledger->storage.is_new)
        rc = create_databases(ledger, options, failure);
    if (rc == 0 && (rc = storage_pool(&ledger->storage)) != 0)
        ledger_fail(failure, rc, "reader slots in %s", options->directory);
    if (rc == 0)
        rc = load(ledger, &opened->last_id, failure);
    if (rc == 0)
        rc = gate_open(options->directory, &past, &ledger->gate, &opened->gate_in_memory, failure);
    if (rc == 0) {
        int64_t start = starting_time(options, &past, opened->last_id);
        clock_start(&ledger->gate->header.clock, options->clock, start, clock_boottime_us());
        gate_see(ledger->gate, start);
        gate_declare(ledger->gate, &ledger->policy);
        rc = ledger_publish_all(ledger, failure);
    }
    return rc;
}

int ledger_open(const struct ledger_options *options, struct ledger **out,
                struct ledger_opened *opened, struct ledger_failure *failure) {
    const char *wrong = policy_check(options->policy);
    struct ledger *ledger = calloc(1, sizeof *ledger);
    *out = NULL;
    *opened = (struct ledger_opened){0};
    if (ledger == NULL)
        return ledger_fail(failure, ENOMEM, "opening %s", options->directory);
    ledger->lock = -1;
    ledger->max_entry_size = options->max_entry_size;
    pthread_rwlock_init(&ledger->policy_lock, NULL);
    int rc = 0;
    if (wrong != NULL)
        rc = ledger_fail(failure, LEDGER_E_BAD_POLICY, "%s", wrong);
    else if (options->readers == 0)
        rc = ledger_fail(failure, EINVAL, "a ledger needs at least one reader");
    else if ((ledger->decoder = entry_decoder_new()) == NULL ||
             outcomes_open(&ledger->outcomes) != 0)
        rc = ledger_fail(failure, ENOMEM, "opening %s", options->directory);
    if (rc == 0)
        rc = open_files(ledger, options, opened, failure);
    if (rc != 0) {
        ledger_close(ledger);
        ledger_free(ledger);
        return rc;
    }
    opened->created = ledger->storage.is_new;
    opened->reader_slots_short = ledger->storage.reader_slots_short;
    *out = ledger;
    return 0;
}

void ledger_close(struct ledger *ledger) {
    if (ledger->gate != NULL && ledger->lock >= 0)
        gate_see(ledger->gate, ledger_now(ledger));
    if (ledger->storage.idle != NULL)
        storage_close(&ledger->storage);
    /* Last: whoever gets the lock finds the environment closed. */
    lock_release(ledger->lock);
    ledger->lock = -1;
}

void ledger_free(struct ledger *ledger) {
    if (ledger == NULL)
        return;
    gate_close(ledger->gate);
    policy_free(&ledger->policy);
    outcomes_close(&ledger->outcomes);
    entry_decoder_free(ledger->decoder);
    entry_buffer_free(&ledger->buffer);
    pthread_rwlock_destroy(&ledger->policy_lock);
    free(ledger);
}

bool ledger_allowed(const struct ledger *ledger, uint32_t state) {
    return gate_check(ledger->gate, state);
}

uint64_t ledger_allowed_from(const struct ledger *ledger, uint32_t state) {
    return atomic_load(&ledger->gate->cells[state].ok_from_us);
}

int64_t ledger_now(const struct ledger *ledger) {
    return gate_now(ledger->gate);
}

bool ledger_tick(struct ledger *ledger, int64_t *ahead_us) {
    struct gate_header *header = &ledger->gate->header;
    int64_t boot_us = clock_boottime_us(), wall_us = clock_wall_us();
    bool jumped = clock_tick(&header->clock, boot_us, wall_us);
    int64_t now_us = clock_now(&header->clock, boot_us);
    *ahead_us = wall_us - now_us;
    gate_see(ledger->gate, now_us);
    return jumped;
}

void ledger_accept_clock(struct ledger *ledger) {
    clock_accept(&ledger->gate->header.clock, clock_boottime_us(), clock_wall_us());
}

int ledger_set_clock(struct ledger *ledger, int64_t now_us) {
    if (now_us > LEDGER_TIME_MAX)
        return LEDGER_E_ID_EXHAUSTED;
    int rc = clock_set(&ledger->gate->header.clock, now_us);
    if (rc == 0)
        gate_see(ledger->gate, now_us);
    return rc;
}
