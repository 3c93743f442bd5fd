/* How holds end by their caller: settled, in time or after the ledger did, or released. */
#include <string.h>

#include "ending.h"
#include "keys.h"

/* What is said of the work besides what it used. */
static void copy_record(struct ledger_entry *entry, const struct ledger_entry *said) {
    entry->given |= said->given & (ENTRY_DIGEST | ENTRY_OCCURRED_AT);
    entry->digest = said->digest;
    entry->salt = said->salt;
    entry->payload = said->payload;
    entry->occurred_at_ms = said->occurred_at_ms;
    entry->parent_run = said->parent_run;
}

static int64_t difference(const struct ledger_entry *usage, enum entry_field field, int64_t said,
                          int64_t booked) {
    return usage->given & field ? said - booked : 0;
}

/* The ledger settled first: books what the caller says beyond that, or short of it. */
static int settle_late(struct batch *batch, struct ledger_request *request,
                       const struct ledger_entry *usage) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct ledger_text names[DIMENSION_LIMIT];
    struct ledger_entry booked, said = *usage;
    struct key_resolved ended;
    int rc = keys_find_resolved(batch->txn, keys, request->hold, &ended);
    if (rc == MDB_NOTFOUND || (rc == 0 && ended.settled))
        return LEDGER_E_RESOLVED;
    if (rc == 0)
        rc = batch_find_linked(batch, ended.entry, &booked);
    if (rc == LEDGER_E_NO_ENTRY)
        rc = LEDGER_E_DAMAGED;
    if (rc == 0)
        rc = batch_load_names(batch, booked.name_numbers, names);
    ending_set_names(&said, names, usage->names);
    if (rc == 0)
        rc = recording_price(batch, &said, said.names);
    if (rc != 0)
        return rc;
    if (booked.kind == KIND_RUN && !ending_is_own(usage, request->hold))
        ending_leave_children_out(&said, &ended.children);
    struct ledger_entry entry = {.kind = KIND_CORRECTION,
                                 .flags = ENTRY_LATE,
                                 .link = ended.entry,
                                 .hold = request->hold,
                                 .parent = booked.parent,
                                 .policy_version = booked.policy_version,
                                 .client_id = usage->client_id,
                                 .given = (said.given & ENDING_AMOUNTS) |
                                          (usage->given & ENTRY_REQUEST_DIGEST),
                                 .request_digest = usage->request_digest};
    entry.cost = difference(&said, ENTRY_COST, said.cost, booked.cost);
    entry.credits = difference(&said, ENTRY_CREDITS, said.credits, booked.credits);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        entry.tokens[class] =
            difference(&said, ENTRY_TOKENS, said.tokens[class], booked.tokens[class]);
    if (usage->status == STATUS_COMPLETED)
        entry.flags |= ENTRY_COMPLETES;
    memcpy(entry.names, names, sizeof names);
    copy_record(&entry, usage);
    entry.parent_run = (struct ledger_text){0}; /* that stands in what it corrects */
    ended.settled = true;
    rc = keys_put_resolved(batch->txn, keys, request->hold, &ended);
    if (rc == 0)
        rc = ending_tell_parents(batch, &entry);
    if (rc == 0)
        rc = recording_correct(batch, &entry, &booked);
    request->id = entry.id;
    request->flags = entry.flags;
    return rc;
}

/* A hold that its caller names. MDB_NOTFOUND: resolved before. */
static int begin_resolving(struct batch *batch, uint64_t id, struct ending **ending) {
    if (id == 0 || id > batch->last_id)
        return LEDGER_E_NO_HOLD;
    int rc = ending_begin(batch, id, ending);
    if (rc == 0 && (*ending)->hold.open_children > 0) {
        ending_free(*ending);
        rc = LEDGER_E_OPEN_CHILDREN;
    }
    return rc;
}

int resolving_settle(struct batch *batch, struct ledger_request *request,
                     const struct ledger_entry *usage) {
    struct ending *ending;
    int rc = begin_resolving(batch, request->hold, &ending);
    if (rc == MDB_NOTFOUND)
        return settle_late(batch, request, usage);
    if (rc != 0)
        return rc;
    struct ledger_entry entry = {.status = usage->status,
                                 .given = usage->given & ENTRY_REQUEST_DIGEST,
                                 .duration_ms = usage->duration_ms,
                                 .client_id = usage->client_id,
                                 .request_digest = usage->request_digest};
    ending->is_own = ending_is_own(usage, request->hold);
    ending_copy_usage(&entry, usage);
    copy_record(&entry, usage);
    ending_set_names(&entry, ending->names, usage->names);
    rc = recording_price(batch, &entry, entry.names);
    if (rc == 0)
        rc = ending_book(batch, ending, &entry, true);
    request->id = entry.id;
    request->flags = entry.flags;
    ending_free(ending);
    return rc;
}

int resolving_release(struct batch *batch, struct ledger_request *request,
                      const struct ledger_entry *release) {
    struct ending *ending;
    int rc = begin_resolving(batch, request->hold, &ending);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? LEDGER_E_RESOLVED : rc;
    struct ledger_entry entry = {.kind = KIND_RELEASE,
                                 .hold = ending->hold.id,
                                 .parent = ending->hold.parent,
                                 .given = release->given & ENTRY_REQUEST_DIGEST,
                                 .client_id = release->client_id,
                                 .request_digest = release->request_digest};
    ending_set_names(&entry, ending->names, NULL);
    rc = ending_book_release(batch, ending, &entry);
    request->id = entry.id;
    ending_free(ending);
    return rc;
}
