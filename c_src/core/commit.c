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
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "directory.h"
#include "internal.h"
#include "keys.h"
#include "marks.h"
#include "meta.h"

/* The new policy is in force, with its cells named, before anyone is told of it. Takes over
 * *next and *plan. */
static void adopt(struct ledger *ledger, struct ledger_policy *next, struct plan *plan) {
    struct ledger_policy old = ledger->policy;
    struct plan old_plan = ledger->plan;
    gate_declare(ledger->gate, next);
    pthread_rwlock_wrlock(&ledger->policy_lock);
    ledger->policy = *next;
    ledger->plan = *plan;
    pthread_rwlock_unlock(&ledger->policy_lock);
    policy_free(&old);
    plan_free(&old_plan);
}

static int make_plan(const struct ledger *ledger, const struct ledger_policy *policy,
                     struct plan *plan, struct ledger_failure *failure) {
    uint32_t at = 0;
    int rc = plan_make(policy, ledger->declared, ledger->declared_count, plan, &at);
    if (rc == 0)
        return 0;
    plan_free(plan);
    if (rc == ENOMEM)
        return ledger_fail(failure, rc, "the rules");
    struct ledger_text name = policy->rules[at].name;
    return ledger_fail(failure, rc, "rule %.*s", (int)name.size, name.data);
}

/* How far each family is built, as the file has it: a slice whose commit was reported as failed may
 * be there, and adding it a second time would count twice. Families that only the options name
 * stay as they are, behind the others. */
static void adopt_series(struct ledger *ledger, const struct declared_series *stored,
                         size_t count) {
    pthread_rwlock_wrlock(&ledger->policy_lock);
    for (size_t i = 0; i < ledger->declared_count; i++) {
        struct declared_series *family = &ledger->declared[i];
        family->ready = false;
        family->built_to = family->from;
        for (size_t k = 0; k < count; k++)
            if (family_equal(family, &stored[k]))
                *family = stored[k];
    }
    pthread_rwlock_unlock(&ledger->policy_lock);
}

/* The policy in force, how far series are built, and every word of the gate are derived anew. */
int ledger_resync(struct ledger *ledger, uint64_t *last_id, struct ledger_failure *failure) {
    MDB_txn *txn;
    struct ledger_policy policy = {0};
    struct declared_series declared[DECLARED_MAX];
    size_t declared_count;
    struct plan plan;
    ledger->resync_due = true;
    ledger->deadlines.fresh = false;
    int rc = storage_reopen(&ledger->storage, failure);
    if (rc != 0)
        return rc;
    rc = storage_read_begin(&ledger->storage, &txn);
    if (rc == 0) {
        rc = storage_last_id(&ledger->storage, txn, last_id);
        if (rc == 0)
            rc = meta_read_series(ledger, txn, declared, &declared_count);
        if (rc == 0)
            rc = meta_read_policy(ledger, txn, &policy);
        storage_read_end(&ledger->storage, txn);
    }
    if (rc != 0)
        return ledger_fail(failure, rc, "reading %s again", ledger->storage.options.directory);
    adopt_series(ledger, declared, declared_count);
    rc = make_plan(ledger, &policy, &plan, failure);
    if (rc != 0) {
        policy_free(&policy);
        return rc;
    }
    /* Rules that denials, warnings and callers point at stay, unless the file says otherwise. */
    if (policy.version == ledger->policy.version && policy_equal(&policy, &ledger->policy)) {
        policy_free(&policy);
        plan_free(&plan);
    } else {
        adopt(ledger, &policy, &plan);
    }
    rc = ledger_publish_all(ledger, failure);
    ledger->resync_due = rc != 0;
    return rc;
}

/* After a disk failure, in a commit that was `begun`; otherwise nothing is in doubt. `batch_last`
 * is the last id that it gave out: the file knows. What is not there was not booked; what is there
 * was if another commit, on top of it, succeeds. (A second sync would prove nothing: Linux reports
 * a lost write once.) A commit that gave out no id (0), which only changed holds, leaves no trace
 * to look for. */
#define ROOM_FOR_A_BATCH (UINT64_C(1) << 20)

static int settle_doubt(struct ledger *ledger, bool begun, uint64_t batch_last, int rc,
                        struct ledger_failure *failure) {
    const char *directory = ledger->storage.options.directory;
    struct ledger_failure again;
    uint64_t last_id = 0;
    if (rc == EIO && directory_is_full(directory, ROOM_FOR_A_BATCH))
        rc = ENOSPC;
    int settled = ledger_resync(ledger, &last_id, &again);
    if (!begun || (batch_last != 0 && settled == 0 && last_id != batch_last))
        return ledger_fail(failure, rc, "writing to %s", directory);
    if (batch_last != 0 && settled == 0 && (settled = meta_prove(ledger)) == 0)
        return 0;
    /* The failed proof left the environment unusable in its turn. */
    (void)ledger_resync(ledger, &last_id, &again);
    return ledger_fail(failure, LEDGER_E_OUTCOME_UNKNOWN, "%s: %s, then %s", directory,
                       ledger_error_name(rc), ledger_error_name(settled));
}

int ledger_ensure_open(struct ledger *ledger, struct ledger_failure *failure) {
    uint64_t last_id;
    if (ledger->lock < 0)
        return ledger_fail(failure, LEDGER_E_CLOSED, "the ledger");
    if (ledger->storage.env != NULL && !ledger->resync_due)
        return 0;
    return ledger_resync(ledger, &last_id, failure);
}

static bool still_wanted(const struct ledger_batch *batch) {
    return batch->wanted == NULL || batch->wanted(batch->context);
}

/* About what a batch makes the file grow, and more than it usually does: each draft twice, for
 * overflow pages, and a page each for the trees that it touches, which are one more for every
 * family; and the same for each hold that may be due. */
static uint64_t room_for(const struct ledger *ledger, const struct ledger_request *requests,
                         size_t count) {
    const struct deadline *first = deadlines_first(&ledger->deadlines);
    uint64_t each = 4096 * (uint64_t)(1 + ledger->declared_count), room = 0;
    for (size_t i = 0; i < count; i++)
        room += 2 * requests[i].size + each;
    if (first != NULL && first->us <= (uint64_t)ledger_now(ledger))
        room += each * (ledger->deadlines.count < BATCH_EXPIRE_MAX ? ledger->deadlines.count
                                                                   : BATCH_EXPIRE_MAX);
    return room;
}

/* The hold that a reserve was answered with, which is to be withdrawn: it may be in this very
 * batch, before the request. */
static void find_withdrawn(struct ledger *ledger, struct ledger_request *requests, size_t at) {
    struct ledger_request *request = &requests[at];
    uint64_t token = request->hold, id = 0, flags;
    for (size_t i = 0; i < at && id == 0; i++)
        if (requests[i].operation == OPERATION_RESERVE && requests[i].token == token &&
            requests[i].rc == 0)
            id = requests[i].id;
    if (id == 0 && !outcomes_find(&ledger->outcomes, token, &id, &flags))
        id = 0;
    request->hold = id;
}

static int do_requests(struct ledger *ledger, struct batch *batch, struct ledger_request *requests,
                       size_t count) {
    int rc = batch_expire(batch);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint64_t token = requests[i].hold;
        if (requests[i].operation == OPERATION_WITHDRAW)
            find_withdrawn(ledger, requests, i);
        rc = batch_do(batch, &requests[i]);
        requests[i].hold = token; /* for the next attempt, should a later request fail this one */
    }
    return rc;
}

/* Denials hold what a transaction saw that is gone, and rules of a policy that may be replaced. */
static void forget_denials(struct ledger_request *requests, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(requests[i].denial);
        requests[i].denial = NULL;
        requests[i].rule = NULL;
    }
}

enum pass { PASS_OK, PASS_RERUN_SINGLY, PASS_FAILED };

/* One transaction over requests[first .. first + count). Sets every rc. */
static enum pass run(struct ledger *ledger, const struct ledger_batch *input, size_t first,
                     size_t count, struct ledger_effects *effects, struct ledger_failure *failure) {
    struct batch *batch = NULL;
    struct ledger_request *requests = input->requests + first;
    storage_extend(&ledger->storage, room_for(ledger, requests, count));
    int rc = batch_begin(ledger, &ledger->policy, &ledger->plan, input->now_us, &batch);
    if (rc == 0)
        rc = do_requests(ledger, batch, requests, count);
    bool committing = rc == 0 && batch_wrote(batch);
    if (committing)
        rc = batch_finish(batch, false);
    uint64_t last_id = batch == NULL || !batch_took_id(batch) ? 0 : batch_last_id(batch);
    committing = committing && rc == 0;
    if (committing && !still_wanted(input))
        rc = ledger_fail(failure, LEDGER_E_WRITER_DEAD, "before the commit");
    else if (committing)
        rc = batch_commit(batch);
    /* Kept over a doubt: what turns out to have been written has to be told. */
    if (committing)
        *effects = batch_take_effects(batch);
    batch_end(batch);
    bool rerun = rc != 0 && rc != LEDGER_E_WRITER_DEAD && !ledger_error_is_fatal(rc) && count > 1;
    const struct ledger_rule *rules = ledger->policy.rules;
    if (rc != 0)
        ledger->deadlines.fresh = false;
    if (ledger_error_is_fatal(rc))
        rc = settle_doubt(ledger, committing, last_id, rc, failure);
    else if (rc != 0 && !rerun && rc != LEDGER_E_WRITER_DEAD)
        ledger_fail(failure, rc, "writing to %s", ledger->storage.options.directory);
    /* Effects and denials name rules of the policy that was in force. */
    if (rc != 0 || ledger->policy.rules != rules) {
        ledger_effects_free(effects);
        forget_denials(requests, count);
    }
    if (rerun)
        return PASS_RERUN_SINGLY;
    for (size_t i = 0; i < count; i++) {
        if (rc != 0)
            requests[i].rc = rc;
        else if (requests[i].rc == 0)
            outcomes_add(&ledger->outcomes, requests[i].token, requests[i].id,
                         requests[i].flags | (requests[i].repeated ? LEDGER_REPEATED : 0));
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

/* What the ledger has to do next, whether or not anything was committed. Deadlines that are not
 * fresh may lack those that a transaction took before it failed: they are looked at at once. */
static void look_ahead(struct ledger *ledger, struct ledger_effects *effects) {
    const struct deadline *first = deadlines_first(&ledger->deadlines);
    effects->next_deadline_us = first == NULL ? 0 : first->us > 0 ? first->us : 1;
    if (!ledger->deadlines.fresh)
        effects->next_deadline_us = 1;
    for (size_t i = 0; i < ledger->declared_count; i++)
        effects->building = effects->building || !ledger->declared[i].ready;
}

static void join_effects(struct ledger_effects *all, struct ledger_effects *more) {
    /* Of batches that are run singly: what the first of them brought about is enough to carry
     * over where memory is short. */
    size_t warnings = all->warning_count + more->warning_count;
    size_t expiries = all->expiry_count + more->expiry_count;
    struct ledger_warning *grown = realloc(all->warnings, (warnings + 1) * sizeof *grown);
    if (grown != NULL) {
        all->warnings = grown;
        if (more->warning_count > 0)
            memcpy(grown + all->warning_count, more->warnings, more->warning_count * sizeof *grown);
        all->warning_count = warnings;
        more->warning_count = 0;
    }
    struct ledger_expiry *longer = realloc(all->expiries, (expiries + 1) * sizeof *longer);
    if (longer != NULL) {
        all->expiries = longer;
        if (more->expiry_count > 0)
            memcpy(longer + all->expiry_count, more->expiries, more->expiry_count * sizeof *longer);
        all->expiry_count = expiries;
    }
    ledger_effects_free(more);
}

static bool has_backlog(const struct ledger *ledger) {
    const struct deadline *first = deadlines_first(&ledger->deadlines);
    return first != NULL && first->us <= (uint64_t)ledger_now(ledger) &&
           ledger->deadlines.count >= BATCH_EXPIRE_MAX;
}

/* No request is decided while more is due than one transaction ends: those would count as held
 * still. */
static void end_backlog(struct ledger *ledger, const struct ledger_batch *batch,
                        struct ledger_effects *effects, struct ledger_failure *failure) {
    size_t ended = BATCH_EXPIRE_MAX;
    while (ended == BATCH_EXPIRE_MAX && (!ledger->deadlines.fresh || has_backlog(ledger))) {
        struct ledger_effects more = {0};
        enum pass pass = run(ledger, batch, 0, 0, &more, failure);
        ended = pass == PASS_OK ? more.expiry_count : 0;
        join_effects(effects, &more);
    }
    failure->code = 0;
}

int ledger_commit(struct ledger *ledger, struct ledger_batch *batch, struct ledger_effects *effects,
                  struct ledger_failure *failure) {
    failure->code = 0;
    *effects = (struct ledger_effects){0};
    int rc = ledger_ensure_open(ledger, failure);
    if (rc != 0) {
        fail_from(batch, 0, rc);
        return rc;
    }
    end_backlog(ledger, batch, effects, failure);
    struct ledger_effects first = {0};
    enum pass pass = run(ledger, batch, 0, batch->count, &first, failure);
    join_effects(effects, &first);
    for (size_t i = 0; pass == PASS_RERUN_SINGLY && i < batch->count; i++) {
        struct ledger_effects more = {0};
        enum pass single = run(ledger, batch, i, 1, &more, failure);
        join_effects(effects, &more);
        /* A disk that failed, or a writer that is gone, fails what is left as well. */
        if (single == PASS_FAILED && ends_the_batch(failure->code)) {
            fail_from(batch, i + 1, failure->code);
            break;
        }
    }
    look_ahead(ledger, effects);
    return pass == PASS_FAILED ? failure->code : 0;
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

/* What was remembered of rules that are gone, or that measure something else now, is not theirs. */
static int forget_rules(struct ledger *ledger, MDB_txn *txn, const struct ledger_policy *next) {
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < ledger->policy.rule_count; i++) {
        const struct ledger_rule *old = &ledger->policy.rules[i];
        const struct ledger_rule *new = policy_rule(next, old->name);
        if (new == NULL || !rule_same_budget(old, new))
            rc = marks_delete(txn, ledger->storage.databases[DB_WARNED], old->name);
    }
    return rc;
}

/* So that the change is made once. `entry` 0: it changed nothing, and was not booked. */
static int put_change(struct ledger *ledger, MDB_txn *txn, const struct ledger_change *change,
                      uint64_t entry, uint64_t version) {
    struct key_row row = {.operation = OPERATION_POLICY, .id = entry, .version = version};
    if (change->client_id.data == NULL)
        return 0;
    memcpy(row.digest, change->request_digest, ENTRY_DIGEST_BYTES);
    return keys_put(txn, ledger->storage.databases[DB_KEYS], change->client_id, &row);
}

/* A change that changes nothing is not booked, but its id is taken. */
static int remember_no_change(struct ledger *ledger, const struct ledger_change *change,
                              int64_t now_us, struct ledger_failure *failure) {
    struct batch *batch = NULL;
    bool committing = false;
    if (change->client_id.data == NULL)
        return 0;
    storage_extend(&ledger->storage, 0);
    int rc = batch_begin(ledger, &ledger->policy, &ledger->plan, now_us, &batch);
    if (rc == 0)
        rc = put_change(ledger, batch_transaction(batch), change, 0, ledger->policy.version);
    if (rc == 0) {
        committing = true;
        rc = batch_commit(batch);
    }
    batch_end(batch);
    if (ledger_error_is_fatal(rc))
        rc = settle_doubt(ledger, committing, 0, rc, failure);
    else if (rc != 0)
        ledger_fail(failure, rc, "writing to %s", ledger->storage.options.directory);
    return rc;
}

/* Books the change and the new policy in one transaction, and publishes what follows. */
static int book_change(struct ledger *ledger, struct ledger_policy *next, const struct plan *plan,
                       const struct ledger_change *change, struct ledger_entry *entry,
                       int64_t now_us, uint64_t *last_id, bool *committing,
                       struct ledger_effects *effects) {
    struct batch *batch = NULL;
    storage_extend(&ledger->storage, 4 * entry->change.size + FILE_ROOM_FOR_POLICY);
    int rc = batch_begin(ledger, next, plan, now_us, &batch);
    if (rc == 0)
        rc = forget_rules(ledger, batch_transaction(batch), next);
    if (rc == 0)
        rc = batch_book(batch, entry, NULL);
    next->changed_by_entry = entry->id;
    if (rc == 0)
        rc = meta_put_policy(ledger, batch_transaction(batch), next);
    if (rc == 0)
        rc = put_change(ledger, batch_transaction(batch), change, entry->id, next->version);
    if (rc == 0)
        rc = batch_finish(batch, true);
    *last_id = entry->id;
    *committing = rc == 0;
    if (rc == 0)
        rc = batch_commit(batch);
    if (rc == 0)
        *effects = batch_take_effects(batch);
    batch_end(batch);
    return rc;
}

/* A change that was made before has the same answer. */
static int find_change(struct ledger *ledger, const struct ledger_change *change, bool *done,
                       uint64_t *version, struct ledger_failure *failure) {
    struct key_row row;
    MDB_txn *txn;
    *done = false;
    if (change->client_id.data == NULL)
        return 0;
    int rc = storage_read_begin(&ledger->storage, &txn);
    if (rc == 0) {
        rc = keys_find(txn, ledger->storage.databases[DB_KEYS], change->client_id, &row);
        storage_read_end(&ledger->storage, txn);
    }
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : ledger_fail(failure, rc, "the id of the change");
    if (row.operation != OPERATION_POLICY ||
        memcmp(row.digest, change->request_digest, ENTRY_DIGEST_BYTES) != 0) {
        *version = row.id;
        return ledger_fail(failure, LEDGER_E_CONFLICT, "%llu", (unsigned long long)row.id);
    }
    *done = true;
    *version = row.version;
    return 0;
}

int ledger_set_policy(struct ledger *ledger, const struct ledger_policy *wanted,
                      const struct ledger_change *change, int64_t now_us, uint64_t *version,
                      struct ledger_effects *effects, struct ledger_failure *failure) {
    struct ledger_policy next = {0};
    struct plan plan = {0};
    struct entry_buffer map = {0};
    uint64_t last_id = 0;
    bool committing = false, done = false;
    *version = ledger->policy.version;
    *effects = (struct ledger_effects){0};
    int rc = ledger_ensure_open(ledger, failure);
    if (rc == 0)
        rc = find_change(ledger, change, &done, version, failure);
    if (rc != 0 || done)
        return rc;
    rc = check_change(ledger, wanted, failure);
    if (rc == 0)
        rc = retention_check_policy(ledger, wanted, now_us, failure);
    if (rc == 0)
        rc = make_plan(ledger, wanted, &plan, failure);
    if (rc != 0 || policy_equal(wanted, &ledger->policy)) {
        plan_free(&plan);
        return rc != 0 ? rc : remember_no_change(ledger, change, now_us, failure);
    }
    rc = policy_copy(wanted, &next);
    next.version++;
    if (rc == 0)
        rc = policy_write_change(&map, &ledger->policy, &next, change->by, change->reason);
    struct ledger_entry entry = {.kind = KIND_POLICY,
                                 .change = {map.data, map.size},
                                 .client_id = change->client_id,
                                 .request_digest = change->request_digest,
                                 .given =
                                     change->request_digest != NULL ? ENTRY_REQUEST_DIGEST : 0};
    if (rc == 0)
        rc = book_change(ledger, &next, &plan, change, &entry, now_us, &last_id, &committing,
                         effects);
    if (rc == 0) {
        adopt(ledger, &next, &plan);
    } else {
        /* What the file then holds is adopted by settle_doubt(). */
        if (ledger_error_is_fatal(rc))
            rc = settle_doubt(ledger, committing, last_id, rc, failure);
        else
            ledger_fail(failure, rc, "writing to %s", ledger->storage.options.directory);
        policy_free(&next);
        plan_free(&plan);
    }
    *version = ledger->policy.version;
    look_ahead(ledger, effects);
    entry_buffer_free(&map);
    return rc;
}

uint64_t ledger_booked(const struct ledger *ledger) {
    return atomic_load_explicit(&ledger->outcomes.added, memory_order_acquire);
}

int ledger_outcome(struct ledger *ledger, uint64_t token, uint64_t booked_before, uint64_t *id,
                   uint64_t *flags) {
    if (outcomes_find(&ledger->outcomes, token, id, flags))
        return 0;
    bool remembered = ledger_booked(ledger) - booked_before <= OUTCOMES_KEPT;
    return remembered ? MDB_NOTFOUND : LEDGER_E_OUTCOME_UNKNOWN;
}
