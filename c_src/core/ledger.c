/* Opening and closing, and what needs nothing but the gate page. */
#include "ledger.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch.h"
#include "digest.h"
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

/* Adds the families that the options name and the ledger does not have; they have to be built, from
 * what is kept. False: there are too many. */
static bool declare(struct ledger *ledger, const struct ledger_options *options,
                    uint64_t kept_from) {
    static const struct declared_series states = {.count = 1, .dimensions = {DIMENSION_STATE}};
    for (size_t i = 0; i <= options->series_count; i++) {
        const struct declared_series *wanted = i == 0 ? &states : &options->series[i - 1];
        bool is_there = false;
        for (size_t k = 0; !is_there && k < ledger->declared_count; k++)
            is_there = family_equal(wanted, &ledger->declared[k]);
        if (is_there)
            continue;
        if (ledger->declared_count == DECLARED_MAX)
            return false;
        struct declared_series *family = &ledger->declared[ledger->declared_count++];
        *family = *wanted;
        family->ready = false;
        family->built_to = family->from = kept_from;
    }
    return true;
}

/* What a family can be; the states' own comes first, without being named. */
static bool is_family(const struct declared_series *family) {
    int previous = 0;
    bool fits = family->count >= 1 && family->count <= RULE_SCOPE_MAX;
    for (uint8_t i = 0; fits && i < family->count; i++) {
        fits =
            family->dimensions[i] > previous && series_dimension_is_assigned(family->dimensions[i]);
        previous = family->dimensions[i];
    }
    return fits;
}

static int check_options(const struct ledger_options *options, struct ledger_failure *failure) {
    const char *wrong = policy_check(options->policy);
    if (wrong != NULL)
        return ledger_fail(failure, LEDGER_E_BAD_POLICY, "%s", wrong);
    if (options->readers == 0)
        return ledger_fail(failure, EINVAL, "a ledger needs at least one reader");
    for (size_t i = 0; i < options->series_count; i++)
        if (!is_family(&options->series[i]))
            return ledger_fail(failure, LEDGER_E_BAD_POLICY, "series %zu cannot be declared",
                               i + 1);
    if (options->series_count >= DECLARED_MAX)
        return ledger_fail(failure, LEDGER_E_BAD_POLICY, "at most 63 series may be declared");
    return 0;
}

/* Before anything is written: a ledger with a rule that it cannot plan would never open again. */
static int check_seed(struct ledger *ledger, const struct ledger_options *options,
                      struct ledger_failure *failure) {
    struct plan plan;
    uint32_t at = 0;
    int rc = plan_make(options->policy, ledger->declared, ledger->declared_count, &plan, &at);
    plan_free(&plan);
    if (rc == 0)
        return 0;
    struct ledger_text name = options->policy->rules[at].name;
    return ledger_fail(failure, rc, "rule %.*s", (int)name.size, name.data);
}

static int create_databases(struct ledger *ledger, const struct ledger_options *options,
                            struct ledger_failure *failure) {
    MDB_txn *txn = NULL;
    /* Nothing is booked yet: every family is complete. */
    (void)declare(ledger, options, 0); /* check_options() counted */
    for (size_t i = 0; i < ledger->declared_count; i++)
        ledger->declared[i].ready = true;
    int rc = check_seed(ledger, options, failure);
    if (rc != 0)
        return rc;
    storage_extend(&ledger->storage, 0);
    rc = mdb_txn_begin(ledger->storage.env, NULL, 0, &txn);
    if (rc == 0)
        rc = storage_create(&ledger->storage, txn);
    if (rc == 0)
        rc = meta_create(ledger, txn, options);
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
    struct retention retention;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc != 0)
        return ledger_fail(failure, rc, "reading data.mdb");
    rc = meta_load(ledger, txn, failure);
    if (rc == 0 && (rc = meta_read_retention(ledger, txn, &retention)) != 0)
        ledger_fail(failure, rc, "reading what was removed");
    atomic_store(&ledger->never_pruned,
                 rc == 0 && !ledger->storage.options.read_only && retention.horizon == 0);
    if (rc == 0 && (rc = storage_last_id(&ledger->storage, txn, last_id)) != 0)
        ledger_fail(failure, rc, "reading the newest entry");
    storage_read_end(&ledger->storage, txn);
    return rc;
}

/* Every state's word, before anyone can ask. Nothing is written to the data: the transaction
 * is only needed to compute, and is dropped. */
int ledger_publish_all(struct ledger *ledger, struct ledger_failure *failure) {
    struct batch *batch = NULL;
    int rc = batch_begin(ledger, &ledger->policy, &ledger->plan, ledger_now(ledger), &batch);
    if (rc == 0)
        rc = batch_finish(batch, true);
    if (rc == 0)
        batch_publish(batch);
    batch_end(batch);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "computing the gate");
}

static int plan(struct ledger *ledger, struct ledger_failure *failure) {
    uint32_t at = 0;
    int rc =
        plan_make(&ledger->policy, ledger->declared, ledger->declared_count, &ledger->plan, &at);
    if (rc == 0)
        return 0;
    plan_free(&ledger->plan);
    return ledger_fail(failure, rc, "rule %u of %s", at + 1, ledger->storage.options.directory);
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
    ledger->declared_count = 0;
    if (rc == 0 && (rc = storage_pool(&ledger->storage)) != 0)
        ledger_fail(failure, rc, "reader slots in %s", options->directory);
    if (rc == 0)
        rc = load(ledger, &opened->last_id, failure);
    uint64_t kept_from = 0;
    if (rc == 0 && (rc = ledger_kept_from(ledger, &kept_from)) != 0)
        ledger_fail(failure, rc, "row 'retention' in %s", options->directory);
    if (rc == 0 && !declare(ledger, options, kept_from))
        rc = ledger_fail(failure, LEDGER_E_BAD_POLICY,
                         "a ledger has at most 64 series, and never loses one");
    if (rc == 0)
        rc = plan(ledger, failure);
    if (rc == 0)
        rc = gate_open(options->directory, &past, options->boot_id, &ledger->gate,
                       &opened->gate_in_memory, failure);
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
    struct ledger *ledger = calloc(1, sizeof *ledger);
    *out = NULL;
    *opened = (struct ledger_opened){0};
    if (ledger == NULL)
        return ledger_fail(failure, ENOMEM, "opening %s", options->directory);
    ledger->lock = -1;
    ledger->max_entry_size = options->max_entry_size;
    pthread_rwlock_init(&ledger->policy_lock, NULL);
    int rc = check_options(options, failure);
    if (rc == 0 &&
        (outcomes_open(&ledger->outcomes) != 0 ||
         (ledger->gate_words = calloc(POLICY_STATES_MAX, sizeof *ledger->gate_words)) == NULL))
        rc = ledger_fail(failure, ENOMEM, "opening %s", options->directory);
    if (rc == 0)
        rc = open_files(ledger, options, opened, failure);
    if (rc != 0) {
        ledger_close(ledger);
        ledger_free(ledger);
        return rc;
    }
    for (size_t i = 0; i < ledger->declared_count; i++)
        opened->building = opened->building || !ledger->declared[i].ready;
    opened->created = ledger->storage.is_new;
    opened->reader_slots_short = ledger->storage.reader_slots_short;
    *out = ledger;
    return 0;
}

/* A process that opens the ledger just now may put its gate page in place a moment later. */
static int look_at_gate(struct ledger *ledger, const char *directory, uint64_t last_id,
                        struct ledger_reader *reader, struct ledger_failure *failure) {
    struct gate_past past;
    int rc = reader->held ? gate_look(directory, &ledger->gate) : ENOENT;
    reader->has_gate = rc == 0;
    if (rc == 0)
        return 0;
    const struct ledger_options options = {.clock = CLOCK_MODE_SYSTEM};
    gate_read_past(directory, &past);
    int64_t now_us = starting_time(&options, &past, last_id);
    if (past.is_manual)
        now_us = past.last_seen_us > (int64_t)last_id ? past.last_seen_us : (int64_t)last_id;
    rc = gate_imagine(now_us, &ledger->gate);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "%s", directory);
}

static int read_files(struct ledger *ledger, const struct storage_options *options,
                      uint64_t *last_id, struct ledger_failure *failure) {
    int rc = storage_open(&ledger->storage, options, failure);
    if (rc == 0 && ledger->storage.is_new)
        rc = ledger_fail(failure, LEDGER_E_FOREIGN, "%s has no databases", options->directory);
    if (rc == 0 && (rc = storage_pool(&ledger->storage)) != 0)
        ledger_fail(failure, rc, "reader slots in %s", options->directory);
    if (rc == 0)
        rc = load(ledger, last_id, failure);
    return rc == 0 ? plan(ledger, failure) : rc;
}

static int open_to_read(struct ledger *ledger, const char *directory, unsigned readers,
                        struct ledger_reader *reader, struct ledger_failure *failure) {
    const char *doubtful;
    uint64_t last_id = 0;
    struct storage_options options = {
        .directory = directory, .pool_size = readers, .read_only = true};
    int rc = directory_check(directory, &doubtful, failure);
    if (rc == 0)
        rc = read_files(ledger, &options, &last_id, failure);
    reader->held = lock_is_held(directory, reader->holder, sizeof reader->holder);
    return rc == 0 ? look_at_gate(ledger, directory, last_id, reader, failure) : rc;
}

static int open_file(struct ledger *ledger, const char *file, struct ledger_failure *failure) {
    struct storage_options options = {
        .directory = file, .pool_size = 1, .read_only = true, .is_file = true};
    uint64_t last_id = 0;
    int rc = read_files(ledger, &options, &last_id, failure);
    if (rc == 0 && (rc = gate_imagine((int64_t)last_id, &ledger->gate)) != 0)
        ledger_fail(failure, rc, "%s", file);
    return rc;
}

static struct ledger *new_reader(void) {
    struct ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger != NULL) {
        ledger->lock = -1;
        pthread_rwlock_init(&ledger->policy_lock, NULL);
    }
    return ledger;
}

/* Gives out one that was opened (rc 0), or drops it. */
static int hand_out(struct ledger *ledger, int rc, struct ledger **out) {
    if (rc == 0) {
        *out = ledger;
        return 0;
    }
    ledger_close(ledger);
    ledger_free(ledger);
    return rc;
}

int ledger_open_to_read(const char *directory, unsigned readers, struct ledger **out,
                        struct ledger_reader *reader, struct ledger_failure *failure) {
    struct ledger *ledger = new_reader();
    *out = NULL;
    *reader = (struct ledger_reader){0};
    if (ledger == NULL)
        return ledger_fail(failure, ENOMEM, "opening %s", directory);
    return hand_out(ledger, open_to_read(ledger, directory, readers, reader, failure), out);
}

int ledger_open_file(const char *file, struct ledger **out, struct ledger_failure *failure) {
    struct ledger *ledger = new_reader();
    *out = NULL;
    if (ledger == NULL)
        return ledger_fail(failure, ENOMEM, "opening %s", file);
    return hand_out(ledger, open_file(ledger, file, failure), out);
}

bool ledger_is_held(const char *directory, char *holder, size_t size) {
    return lock_is_held(directory, holder, size);
}

int ledger_copy(struct ledger *ledger, int file, struct ledger_failure *failure) {
    int rc = ledger->storage.env == NULL
                 ? LEDGER_E_CLOSED
                 : mdb_env_copyfd2(ledger->storage.env, file, MDB_CP_COMPACT);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "copying %s", ledger->storage.options.directory);
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
    plan_free(&ledger->plan);
    deadlines_free(&ledger->deadlines);
    free(ledger->gate_words);
    outcomes_close(&ledger->outcomes);
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

int ledger_digest(struct ledger_text text, uint8_t digest[ENTRY_DIGEST_BYTES]) {
    return digest_sha256(text.data, text.size, digest);
}
