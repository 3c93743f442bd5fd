/* ledger_commit() and ledger_set_policy(): one durable transaction, or none.
 *
 * How a batch can end:
 *   all good            one transaction
 *   a bad request       (does not decode, undeclared state, too large) is left out; the rest
 *                       goes on in the same transaction, because nothing was put for it
 *   a put fails         the transaction is aborted and every request is run alone, so that only
 *                       the one at fault fails
 *   the disk fails      nobody is told success: the environment is opened again and asked what
 *                       it holds (settle_doubt)
 */
#include <errno.h>
#include <string.h>

#include "batch.h"
#include "directory.h"
#include "internal.h"
#include "meta.h"

/* The new policy is in force, with its cells named, before anyone is told of it. Takes over
 * *next. */
static void adopt(struct ledger *ledger, struct ledger_policy *next) {
    struct ledger_policy old = ledger->policy;
    gate_declare(ledger->gate, next);
    pthread_rwlock_wrlock(&ledger->policy_lock);
    ledger->policy = *next;
    pthread_rwlock_unlock(&ledger->policy_lock);
    policy_free(&old);
}

/* Closes the environment, opens it again, and derives from the file whatever this process
 * knows: the policy in force and every word of the gate. */
static int resync(struct ledger *ledger, uint64_t *last_id, struct ledger_failure *failure) {
    MDB_txn *txn;
    struct ledger_policy policy = {0};
    ledger->resync_due = true;
    int rc = storage_reopen(&ledger->storage, failure);
    if (rc != 0)
        return rc;
    rc = storage_read_begin(&ledger->storage, &txn);
    if (rc == 0) {
        rc = storage_last_id(&ledger->storage, txn, last_id);
        if (rc == 0)
            rc = meta_read_policy(ledger, txn, &policy);
        storage_read_end(&ledger->storage, txn);
    }
    if (rc != 0)
        return ledger_fail(failure, rc, "reading %s again", ledger->storage.options.directory);
    adopt(ledger, &policy);
    rc = ledger_publish_all(ledger, failure);
    ledger->resync_due = rc != 0;
    return rc;
}

/* After a disk failure. `batch_last` is the id of the last entry of a commit that was begun; 0
 * when it did not come to that, and then nothing is in doubt. Otherwise the file knows: entries
 * that are not there were not booked; entries that are there were if another commit, on top of
 * them, succeeds. (A second sync would prove nothing: Linux reports a lost write once.) */
#define ROOM_FOR_A_BATCH (UINT64_C(1) << 20)

static int settle_doubt(struct ledger *ledger, uint64_t batch_last, int rc,
                        struct ledger_failure *failure) {
    const char *directory = ledger->storage.options.directory;
    struct ledger_failure again;
    uint64_t last_id = 0;
    if (rc == EIO && directory_is_full(directory, ROOM_FOR_A_BATCH))
        rc = ENOSPC;
    int settled = resync(ledger, &last_id, &again);
    if (batch_last == 0 || (settled == 0 && last_id != batch_last))
        return ledger_fail(failure, rc, "writing to %s", directory);
    if (settled == 0 && (settled = meta_prove(ledger)) == 0)
        return 0;
    /* The failed proof left the environment unusable in its turn. */
    (void)resync(ledger, &last_id, &again);
    return ledger_fail(failure, LEDGER_E_OUTCOME_UNKNOWN, "%s: %s, then %s", directory,
                       ledger_error_name(rc), ledger_error_name(settled));
}

/* After a disk failure the storage may have stayed closed: try again before every batch. */
static int ensure_open(struct ledger *ledger, struct ledger_failure *failure) {
    uint64_t last_id;
    if (ledger->lock < 0)
        return ledger_fail(failure, LEDGER_E_CLOSED, "the ledger");
    if (ledger->storage.env != NULL && !ledger->resync_due)
        return 0;
    return resync(ledger, &last_id, failure);
}

static bool still_wanted(const struct ledger_batch *batch) {
    return batch->wanted == NULL || batch->wanted(batch->context);
}

/* About what the batch makes the file grow, and more than it usually does: each draft twice,
 * for overflow pages, and a page each for the trees. */
static uint64_t room_for(const struct ledger_request *requests, size_t count) {
    uint64_t room = 0;
    for (size_t i = 0; i < count; i++)
        room += 2 * requests[i].size + 4096;
    return room;
}

enum pass { PASS_OK, PASS_RERUN_SINGLY, PASS_FAILED };

/* One transaction over requests[0 .. count). Sets every rc. */
static enum pass run(struct ledger *ledger, const struct ledger_batch *input, size_t first,
                     size_t count, struct ledger_failure *failure) {
    struct batch *batch = NULL;
    struct ledger_entry entry;
    struct ledger_request *requests = input->requests + first;
    size_t booked = 0;
    storage_extend(&ledger->storage, room_for(requests, count));
    int rc = batch_begin(ledger, input->now_us, &batch);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct ledger_request *request = &requests[i];
        int state;
        request->rc = batch_read(batch, request->draft, request->size, &entry, &state);
        if (request->rc != 0)
            continue;
        rc = batch_add(batch, &entry, state);
        request->id = entry.id;
        booked++;
    }
    if (rc == 0 && booked > 0)
        rc = batch_finish(batch, &ledger->policy, false);
    uint64_t last_id = batch == NULL ? 0 : batch_last_id(batch);
    bool committing = rc == 0 && booked > 0;
    if (committing && !still_wanted(input))
        rc = ledger_fail(failure, LEDGER_E_WRITER_DEAD, "before the commit");
    else if (committing)
        rc = batch_commit(batch);
    batch_end(batch);
    if (rc != 0 && rc != LEDGER_E_WRITER_DEAD && !ledger_error_is_fatal(rc) && count > 1)
        return PASS_RERUN_SINGLY;
    if (ledger_error_is_fatal(rc))
        rc = settle_doubt(ledger, committing ? last_id : 0, rc, failure);
    else if (rc != 0 && rc != LEDGER_E_WRITER_DEAD)
        ledger_fail(failure, rc, "writing to %s", ledger->storage.options.directory);
    for (size_t i = 0; i < count; i++) {
        if (rc != 0)
            requests[i].rc = rc;
        else if (requests[i].rc == 0)
            outcomes_add(&ledger->outcomes, requests[i].token, requests[i].id);
    }
    return rc == 0 ? PASS_OK : PASS_FAILED;
}

static void fail_from(const struct ledger_batch *batch, size_t first, int rc) {
    for (size_t i = first; i < batch->count; i++)
        batch->requests[i].rc = rc;
}

static bool ends_the_batch(int rc) {
    return ledger_error_is_fatal(rc) || rc == LEDGER_E_WRITER_DEAD ||
           rc == LEDGER_E_OUTCOME_UNKNOWN;
}

int ledger_commit(struct ledger *ledger, struct ledger_batch *batch,
                  struct ledger_failure *failure) {
    failure->code = 0;
    int rc = ensure_open(ledger, failure);
    if (rc != 0) {
        fail_from(batch, 0, rc);
        return rc;
    }
    enum pass pass = run(ledger, batch, 0, batch->count, failure);
    if (pass != PASS_RERUN_SINGLY)
        return pass == PASS_OK ? 0 : failure->code;
    for (size_t i = 0; i < batch->count; i++) {
        pass = run(ledger, batch, i, 1, failure);
        /* A disk that failed, or a writer that is gone, fails what is left as well. */
        if (pass == PASS_FAILED && ends_the_batch(failure->code)) {
            fail_from(batch, i + 1, failure->code);
            break;
        }
    }
    return 0;
}

/* ---- policy ----------------------------------------------------------------------------- */

static int check_change(const struct ledger *ledger, const struct ledger_policy *wanted,
                        struct ledger_failure *failure) {
    const struct ledger_policy *current = &ledger->policy;
    const char *wrong = policy_check(wanted);
    if (wrong != NULL)
        return ledger_fail(failure, LEDGER_E_BAD_POLICY, "%s", wrong);
    if (wanted->version != current->version)
        return ledger_fail(failure, LEDGER_E_VERSION_CONFLICT, "version %llu is in force, not %llu",
                           (unsigned long long)current->version,
                           (unsigned long long)wanted->version);
    bool keeps_states = wanted->state_count >= current->state_count;
    for (uint32_t i = 0; keeps_states && i < current->state_count; i++)
        keeps_states = text_equal(wanted->states[i], current->states[i]);
    if (!keeps_states)
        return ledger_fail(failure, LEDGER_E_BAD_POLICY, "a declared state cannot be removed");
    return 0;
}

#define FILE_ROOM_FOR_POLICY (UINT64_C(4) << 20) /* the largest policy, twice, and its pages */

/* Books the change and the new policy in one transaction, and publishes what follows. */
static int book_change(struct ledger *ledger, struct ledger_policy *next, struct ledger_text change,
                       int64_t now_us) {
    struct batch *batch = NULL;
    struct ledger_entry entry = {.kind = KIND_POLICY, .change = change};
    storage_extend(&ledger->storage, 4 * change.size + FILE_ROOM_FOR_POLICY);
    int rc = batch_begin(ledger, now_us, &batch);
    if (rc == 0)
        rc = batch_add(batch, &entry, -1);
    next->changed_by_entry = entry.id;
    if (rc == 0)
        rc = meta_put_policy(ledger, batch_transaction(batch), next);
    if (rc == 0)
        rc = batch_finish(batch, next, true);
    if (rc == 0)
        rc = batch_commit(batch);
    batch_end(batch);
    return rc;
}

int ledger_set_policy(struct ledger *ledger, const struct ledger_policy *wanted,
                      struct ledger_text by, struct ledger_text reason, int64_t now_us,
                      uint64_t *version, struct ledger_failure *failure) {
    struct ledger_policy next = {0};
    struct entry_buffer change = {0};
    *version = ledger->policy.version;
    int rc = ensure_open(ledger, failure);
    if (rc == 0)
        rc = check_change(ledger, wanted, failure);
    if (rc != 0 || policy_equal(wanted, &ledger->policy))
        return rc;
    rc = policy_copy(wanted, &next);
    next.version++;
    if (rc == 0)
        rc = policy_write_change(&change, &ledger->policy, &next, by, reason);
    if (rc == 0)
        rc = book_change(ledger, &next, (struct ledger_text){change.data, change.size}, now_us);
    if (rc == 0) {
        adopt(ledger, &next);
    } else {
        /* What the file then holds is adopted by settle_doubt(). */
        if (ledger_error_is_fatal(rc))
            rc = settle_doubt(ledger, next.changed_by_entry, rc, failure);
        else
            ledger_fail(failure, rc, "writing to %s", ledger->storage.options.directory);
        policy_free(&next);
    }
    *version = ledger->policy.version;
    entry_buffer_free(&change);
    return rc;
}

uint64_t ledger_booked(const struct ledger *ledger) {
    return atomic_load_explicit(&ledger->outcomes.added, memory_order_acquire);
}

int ledger_outcome(struct ledger *ledger, uint64_t token, uint64_t booked_before, uint64_t *id) {
    if (outcomes_find(&ledger->outcomes, token, id))
        return 0;
    bool remembered = ledger_booked(ledger) - booked_before <= OUTCOMES_KEPT;
    return remembered ? MDB_NOTFOUND : LEDGER_E_OUTCOME_UNKNOWN;
}
