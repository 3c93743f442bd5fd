/* What becomes of a request in a batch: whether it may be done, whether it was done before, who
 * does it, and what is remembered of it; and how one is withdrawn. */
#include <string.h>

#include "batch.h"
#include "batch_internal.h"
#include "hold.h"
#include "keys.h"
#include "marks.h"
#include "meta.h"
#include "payloads.h"

static int read_draft(struct batch *batch, const struct ledger_request *request,
                      struct ledger_entry *entry) {
    struct ledger *ledger = batch->ledger;
    if (request->size > ledger->max_entry_size)
        return LEDGER_E_ENTRY_TOO_LARGE;
    int rc = entry_read_draft(request->draft, request->size, entry);
    if (rc == 0 && entry->client_id.data != NULL &&
        entry->client_id.size > KEYS_CLIENT_ID_BYTES_MAX)
        rc = LEDGER_E_BAD_ENTRY;
    return rc;
}

/* How far the wall clock of a caller may be ahead of ledger time. */
#define AHEAD_MS_MAX 60000

/* Ledger time lags behind the wall clock after a step of it, and a caller goes by the wall clock:
 * what it says that happened just now happened now. */
static int check_time(const struct batch *batch, struct ledger_entry *entry) {
    int64_t now_ms = batch->moment.now_us / 1000;
    if (!(entry->given & ENTRY_OCCURRED_AT) || entry->occurred_at_ms <= now_ms)
        return 0;
    if (entry->occurred_at_ms - now_ms > AHEAD_MS_MAX)
        return LEDGER_E_OCCURS_AHEAD;
    entry->occurred_at_ms = now_ms;
    return 0;
}

/* What each operation's draft must be. */
static int check_draft(struct batch *batch, const struct ledger_request *request,
                       struct ledger_entry *entry) {
    bool fits = false;
    switch (request->operation) {
    case OPERATION_RECORD:
        fits = entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN ||
               entry->kind == KIND_GRANT || entry->kind == KIND_CORRECTION ||
               entry->kind == KIND_REDACTION || entry->kind == KIND_PRICE;
        break;
    case OPERATION_RESERVE:
        fits = entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN;
        break;
    case OPERATION_SETTLE:
    case OPERATION_METER:
        fits = entry->kind == KIND_RUN && entry->run_id.data == NULL;
        break;
    case OPERATION_RELEASE:
    case OPERATION_TRANSFER:
        fits = entry->kind == KIND_RELEASE;
        break;
    case OPERATION_RESET:
        fits = entry->kind == KIND_RESET;
        break;
    case OPERATION_IMPORT:
        fits = true;
        break;
    case OPERATION_NONE:
    case OPERATION_POLICY:
    case OPERATION_ABORT:
    case OPERATION_WITHDRAW:
        break;
    }
    if (!fits)
        return LEDGER_E_BAD_ENTRY;
    int rc = check_time(batch, entry);
    if (rc != 0)
        return rc;
    struct ledger_text state = entry->names[DIMENSION_STATE];
    return state.data == NULL || policy_state(batch->policy, state) >= 0
               ? 0
               : LEDGER_E_UNDECLARED_STATE;
}

int requests_grant(struct batch *batch, struct ledger_request *request,
                   struct ledger_entry *entry) {
    /* An account is a declared series, whole. */
    if (entry->cost == 0 && entry->credits == 0)
        return LEDGER_E_BAD_ENTRY;
    struct ledger_rule account = {0};
    for (uint8_t dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        if (entry->names[dimension].data != NULL && account.scope_count < RULE_SCOPE_MAX)
            account.scope[account.scope_count++] =
                (struct rule_part){dimension, entry->names[dimension]};
    const struct ledger *ledger = batch->ledger;
    int family = plan_family(&account, ledger->declared, ledger->declared_count);
    if (family < 0)
        return LEDGER_E_UNDECLARED_SERIES;
    if (family > 0 && !ledger->declared[family - 1].ready)
        return LEDGER_E_BUILDING;
    if (family > 0 && ledger->declared[family - 1].from != 0)
        return LEDGER_E_PRUNED; /* what was used before is not known */
    int rc = batch_book(batch, entry, NULL);
    request->id = entry->id;
    return rc;
}

static int reset(struct batch *batch, struct ledger_request *request, struct ledger_entry *entry) {
    const struct ledger_rule *rule = policy_rule(batch->policy, request->text);
    uint32_t series = MARKS_WHOLE_RULE, named = 0;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        named += entry->names[dimension].data != NULL;
    bool whole = named == 0;
    if (rule == NULL || rule->granted)
        return LEDGER_E_NO_RULE;
    /* One value of many, and neither more nor less than that. */
    if (!whole && (!rule_has_each(rule) || named != rule->scope_count ||
                   rule_matches(rule, entry->names) != RULE_MATCHES))
        return LEDGER_E_NO_RULE;
    int family = plan_family(rule, batch->ledger->declared, batch->ledger->declared_count);
    int rc = batch_book(batch, entry, NULL);
    request->id = entry->id;
    if (rc == 0 && !whole)
        rc = batch_find_series(batch, family, entry->names, true, &series);
    if (rc == 0)
        rc = marks_put_reset(batch->txn, batch->moment.warned, rule->name, series, entry->id);
    batch->all_states = true;
    return rc == 0 ? sums_reset(batch, rule) : rc;
}

static int perform(struct batch *batch, struct ledger_request *request,
                   struct ledger_entry *entry) {
    switch (request->operation) {
    case OPERATION_RECORD:
        return entry->kind == KIND_GRANT ? requests_grant(batch, request, entry)
                                         : recording_record(batch, request, entry);
    case OPERATION_RESERVE:
        return holding_reserve(batch, request, entry);
    case OPERATION_SETTLE:
        return resolving_settle(batch, request, entry);
    case OPERATION_RELEASE:
        return resolving_release(batch, request, entry);
    case OPERATION_METER:
        return holding_meter(batch, request, entry);
    case OPERATION_TRANSFER:
        return holding_transfer(batch, request);
    case OPERATION_RESET:
        return reset(batch, request, entry);
    case OPERATION_IMPORT:
        return importing_import(batch, request, entry);
    case OPERATION_NONE:
    case OPERATION_POLICY:
    case OPERATION_ABORT:
    case OPERATION_WITHDRAW:
        break;
    }
    return LEDGER_E_BAD_ENTRY;
}

/* The id of whoever gives up, who may have asked for the run of another under an id of its own. */
static int free_client_id(struct batch *batch, const struct ledger_request *request, uint64_t id,
                          struct ledger_text of_hold) {
    struct ledger_entry asked;
    struct key_row row;
    if (request->size == 0 || read_draft(batch, request, &asked) != 0 ||
        asked.client_id.data == NULL || text_equal(asked.client_id, of_hold))
        return 0;
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    int rc = keys_find(batch->txn, keys, asked.client_id, &row);
    if (rc == 0 && row.operation == OPERATION_RESERVE && row.id == id)
        return keys_delete(batch->txn, keys, asked.client_id);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* A hold that a caller never learned of. As long as others were answered with it, it is theirs;
 * then its client_id is free again: what was asked under it is asked anew, as after a denial. */
static int withdraw(struct batch *batch, struct ledger_request *request) {
    struct ledger_entry release = {.kind = KIND_RELEASE};
    struct ledger_text client_id = {0};
    struct hold hold = {0};
    uint64_t id = request->hold;
    request->id = 0;
    int rc = hold_load(batch->txn, batch_dbi(batch, DB_HOLDS), id, &hold);
    if (rc == 0 && hold.repeats > 0) {
        hold.repeats--;
        batch->wrote = true;
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), &hold);
        if (rc == 0)
            rc = free_client_id(batch, request, id, hold.client_id);
        hold_free(&hold);
        return rc;
    }
    if (rc == 0 && hold.client_id.size > 0)
        rc = batch_keep_text(batch, &hold.client_id);
    client_id = hold.client_id;
    hold_free(&hold);
    if (rc == 0)
        rc = resolving_release(batch, request, &release);
    if (rc == 0 && client_id.size > 0)
        rc = keys_delete(batch->txn, batch_dbi(batch, DB_KEYS), client_id);
    if (rc == 0)
        rc = free_client_id(batch, request, id, client_id);
    if (rc == 0)
        request->id = id;
    return rc;
}

static int do_without_draft(struct batch *batch, struct ledger_request *request) {
    int rc = 0;
    if (request->operation == OPERATION_ABORT)
        rc = expiring_end(batch, request->hold);
    else if (request->hold != 0)
        rc = withdraw(batch, request);
    if (ledger_error_is_own(rc)) { /* a hold with children is not withdrawn */
        request->rc = rc;
        return 0;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Whether a request that comes again has the payload that it had. What was taken away since then,
 * or removed with its entry, is not known any more: whatever is said in its place then is the same.
 */
static int check_payload(struct batch *batch, uint64_t id, const struct ledger_entry *entry) {
    struct ledger_payload payload;
    struct retention retention;
    int rc = payloads_find(batch->txn, batch_dbi(batch, DB_PAYLOADS), id, &payload);
    if (rc != 0 || payload.redacted_by != 0)
        return rc;
    if (payload.map.size == 0 && entry->payload.size > 0) {
        rc = meta_read_retention(batch->ledger, batch->txn, &retention);
        if (rc != 0 || id < retention.horizon)
            return rc;
    }
    bool same = payload.map.size == entry->payload.size &&
                (payload.map.size == 0 ||
                 memcmp(payload.map.data, entry->payload.data, payload.map.size) == 0);
    return same ? 0 : LEDGER_E_CONFLICT;
}

/* A request that was done before has the same answer; another one under its id, or its run_id, has
 * none. */
static int find_done(struct batch *batch, struct ledger_request *request,
                     const struct ledger_entry *entry, bool *done) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct key_row row;
    *done = false;
    int rc = MDB_NOTFOUND;
    bool has_ended = false, is_run = false;
    if (entry->client_id.data != NULL)
        rc = keys_find(batch->txn, keys, entry->client_id, &row);
    if (rc == MDB_NOTFOUND && entry->run_id.data != NULL) {
        rc = keys_find_run(batch->txn, keys, entry->run_id, &row);
        has_ended = rc == 0 && row.version != 0;
        is_run = rc == 0;
    }
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    request->id = row.id;
    request->flags = row.flags;
    if (has_ended || row.operation != request->operation || entry->request_digest == NULL ||
        memcmp(row.digest, entry->request_digest, ENTRY_DIGEST_BYTES) != 0)
        return LEDGER_E_CONFLICT;
    /* The other operations book no payload: a hold has none of its own. */
    if (row.operation == OPERATION_RECORD || row.operation == OPERATION_SETTLE)
        rc = check_payload(batch, row.id, entry);
    if (rc != 0)
        return rc;
    *done = request->repeated = true;
    /* Its client_id is taken by this as well, if it was found by its run_id. */
    if (is_run && entry->client_id.data != NULL) {
        batch->wrote = true;
        return keys_put(batch->txn, keys, entry->client_id, &row);
    }
    return 0;
}

static int remember_done(struct batch *batch, const struct ledger_request *request,
                         const struct ledger_entry *entry) {
    struct key_row row = {
        .operation = (uint8_t)request->operation, .flags = request->flags, .id = request->id};
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    int rc = 0;
    if (entry->request_digest != NULL)
        memcpy(row.digest, entry->request_digest, ENTRY_DIGEST_BYTES);
    if (entry->client_id.data != NULL)
        rc = keys_put(batch->txn, keys, entry->client_id, &row);
    if (rc == 0 && entry->run_id.data != NULL)
        rc = keys_put_run(batch->txn, keys, entry->run_id, &row);
    return rc;
}

/* A hold that a second request was answered with is that one's too: whoever gave up the first
 * must not take it away. */
static int count_repeat(struct batch *batch, const struct ledger_request *request) {
    struct hold hold = {0};
    int rc = 0;
    if (request->operation == OPERATION_RESERVE)
        rc = hold_load(batch->txn, batch_dbi(batch, DB_HOLDS), request->id, &hold);
    if (rc == 0 && request->operation == OPERATION_RESERVE) {
        hold.repeats++;
        batch->wrote = true;
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), &hold);
    }
    hold_free(&hold);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int batch_do(struct batch *batch, struct ledger_request *request) {
    struct ledger_entry entry;
    bool done = false, is_import = request->operation == OPERATION_IMPORT;
    request->rc = 0;
    request->repeated = false;
    if (request->operation == OPERATION_ABORT || request->operation == OPERATION_WITHDRAW)
        return do_without_draft(batch, request);
    request->rc = read_draft(batch, request, &entry);
    if (request->rc == 0)
        request->rc = check_draft(batch, request, &entry);
    if (request->rc == 0 && !is_import)
        request->rc = find_done(batch, request, &entry, &done);
    if (request->rc == 0 && done)
        return count_repeat(batch, request);
    if (request->rc != 0)
        return ledger_error_is_own(request->rc) ? 0 : request->rc;
    uint64_t last_id = batch->last_id;
    int rc = perform(batch, request, &entry);
    /* What took an id has put something: the batch cannot go on as if nothing had been done. */
    if (ledger_error_is_own(rc) && batch->last_id == last_id) {
        request->rc = rc;
        return 0;
    }
    return rc != 0 || is_import ? rc : remember_done(batch, request, &entry);
}
