/* Entries that were booked elsewhere, each under the id that it had there: so that a ledger that is
 * written out and read in again is the same. Everything that follows from an entry follows here as
 * it did there; nothing is decided anew, priced anew, or flagged anew. */
#include <errno.h>
#include <string.h>

#include "batch_internal.h"
#include "digest.h"
#include "keys.h"
#include "marks.h"
#include "pack.h"
#include "payloads.h"

static bool is_record(const struct ledger_entry *entry) {
    return entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN;
}

/* ---- what must hold before anything is put ------------------------------------------------ */

static bool is_sound(const struct ledger_entry *entry, uint64_t id) {
    if (entry->given & ENTRY_PRICING)
        return false;
    if (entry->link >= id || entry->hold >= id || entry->parent >= id)
        return false;
    /* What was asked under a name has the digest by which the same request is known again. */
    bool named = entry->client_id.data != NULL || (entry->run_id.data != NULL && entry->hold == 0);
    if (named != ((entry->given & ENTRY_REQUEST_DIGEST) != 0))
        return false;
    bool is_change = entry->kind == KIND_GRANT || entry->kind == KIND_POLICY ||
                     entry->kind == KIND_RESET || entry->kind == KIND_PRICE ||
                     entry->kind == KIND_REDACTION;
    return !is_change || entry->change.data != NULL || entry->kind == KIND_GRANT;
}

/* The payload is the one that the entry is bound to; of one that was taken away, the digest is all
 * there is. */
static int check_payload(struct batch *batch, const struct ledger_request *request,
                         struct ledger_entry *entry) {
    struct entry_buffer *buffer = &batch->ledger->buffer;
    uint8_t digest[ENTRY_DIGEST_BYTES];
    if (request->redacted_by != 0) {
        if (entry->payload.data != NULL || request->text.size != ENTRY_DIGEST_BYTES ||
            request->redacted_by <= request->hold)
            return LEDGER_E_BAD_ENTRY;
        entry->digest = (const uint8_t *)request->text.data;
        entry->given |= ENTRY_DIGEST;
        return 0;
    }
    if (entry->payload.data == NULL)
        return 0;
    buffer->size = 0;
    buffer->failed = false;
    entry_buffer_append(buffer, (const char *)entry->salt, ENTRY_SALT_BYTES);
    entry_buffer_append(buffer, entry->payload.data, entry->payload.size);
    if (buffer->failed)
        return ENOMEM;
    int rc = digest_sha256(buffer->data, buffer->size, digest);
    if (rc == 0 && memcmp(digest, entry->digest, sizeof digest) != 0)
        rc = LEDGER_E_BAD_ENTRY;
    return rc;
}

static int check_keys(struct batch *batch, const struct ledger_entry *entry,
                      struct ledger_request *request) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct key_row row;
    int rc = MDB_NOTFOUND;
    if (entry->client_id.data != NULL)
        rc = keys_find(batch->txn, keys, entry->client_id, &row);
    if (rc == MDB_NOTFOUND && entry->run_id.data != NULL)
        rc = keys_find_run(batch->txn, keys, entry->run_id, &row);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    request->id = row.id;
    return LEDGER_E_CONFLICT;
}

/* ---- kinds -------------------------------------------------------------------------------- */

static int fetch_linked(struct batch *batch, const struct ledger_entry *entry,
                        struct ledger_entry *linked) {
    int rc = entry->link == 0 ? LEDGER_E_NO_ENTRY : batch_find_linked(batch, entry->link, linked);
    return rc == LEDGER_E_DAMAGED ? LEDGER_E_NO_ENTRY : rc;
}

/* It stands under the names of what it corrects. */
static int correct(struct batch *batch, struct ledger_entry *entry) {
    struct ledger_text names[DIMENSION_LIMIT];
    struct ledger_entry booked;
    int rc = fetch_linked(batch, entry, &booked);
    if (rc == 0 && !is_record(&booked))
        rc = LEDGER_E_NO_ENTRY;
    if (rc == 0)
        rc = batch_load_names(batch, booked.name_numbers, names);
    for (int dimension = 1; rc == 0 && dimension < DIMENSION_LIMIT; dimension++)
        if ((names[dimension].data == NULL) != (entry->names[dimension].data == NULL) ||
            (names[dimension].data != NULL &&
             !text_equal(names[dimension], entry->names[dimension])))
            rc = LEDGER_E_BAD_ENTRY;
    entry->flags &= ~(uint64_t)(ENTRY_PRICES | ENTRY_OF_COMPLETED); /* found out again */
    return rc == 0 ? recording_correct(batch, entry, &booked) : rc;
}

/* The payload may be gone already: the record was then read in without it. */
static int redact(struct batch *batch, struct ledger_entry *entry) {
    MDB_dbi payloads = batch_dbi(batch, DB_PAYLOADS);
    struct ledger_payload payload = {0};
    struct ledger_entry record;
    int rc = fetch_linked(batch, entry, &record);
    if (rc == 0)
        rc = payloads_find(batch->txn, payloads, entry->link, &payload);
    if (rc == 0 && payload.map.data == NULL && payload.redacted_by != batch->import_id)
        rc = LEDGER_E_NO_PAYLOAD;
    bool is_there = payload.map.data != NULL;
    if (rc == 0)
        rc = batch_book(batch, entry, NULL);
    return rc == 0 && is_there ? payloads_redact(batch->txn, payloads, entry->link, entry->id) : rc;
}

/* Member of a written map; false: there is none. */
static const msgpack_object *member(const msgpack_object *map, const char *word) {
    const msgpack_object *found = NULL;
    for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++)
        if (unpacks_as(&map->via.map.ptr[i].key, word))
            found = &map->via.map.ptr[i].val;
    return found;
}

static int set_reset(struct batch *batch, const struct ledger_entry *entry,
                     struct ledger_text name) {
    const struct ledger_rule *rule = policy_rule(batch->policy, name);
    uint32_t series = MARKS_WHOLE_RULE, named = 0;
    int rc = 0;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        named += entry->names[dimension].data != NULL;
    /* The rule of that name in force may be another one by now, or none. */
    if (rule == NULL || rule->granted ||
        (named > 0 && (!rule_has_each(rule) || named != rule->scope_count ||
                       rule_matches(rule, entry->names) != RULE_MATCHES)))
        return 0;
    int family = plan_family(rule, batch->ledger->declared, batch->ledger->declared_count);
    if (named > 0)
        rc = batch_find_series(batch, family, entry->names, true, &series);
    if (rc == 0)
        rc = marks_put_reset(batch->txn, batch->moment.warned, rule->name, series, entry->id);
    batch->all_states = true;
    return rc == 0 ? sums_reset(batch, rule) : rc;
}

static int reset(struct batch *batch, struct ledger_entry *entry, const msgpack_object *change) {
    const msgpack_object *rule = member(change, "rule");
    struct ledger_text name;
    if (rule == NULL || !unpack_text(rule, &name))
        return LEDGER_E_BAD_ENTRY;
    int rc = batch_book(batch, entry, NULL);
    return rc == 0 ? set_reset(batch, entry, name) : rc;
}

/* What was remembered of a rule that the change replaced was forgotten then. */
static int forget_rule(struct batch *batch, const msgpack_object *pair) {
    struct ledger_rule from, to;
    if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2)
        return LEDGER_E_BAD_ENTRY;
    const msgpack_object *sides = pair->via.array.ptr;
    if (sides[0].type == MSGPACK_OBJECT_NIL)
        return 0;
    int rc = rule_unpack(&sides[0], &from);
    bool replaced = rc == 0 && sides[1].type != MSGPACK_OBJECT_NIL;
    if (replaced)
        rc = rule_unpack(&sides[1], &to);
    if (rc != 0 || (replaced && rule_same_budget(&from, &to)))
        return rc == LEDGER_E_DAMAGED ? LEDGER_E_BAD_ENTRY : rc;
    const struct ledger_rule *rule = policy_rule(batch->policy, from.name);
    rc = marks_delete(batch->txn, batch->moment.warned, from.name);
    batch->all_states = true;
    return rc == 0 && rule != NULL ? sums_reset(batch, rule) : rc;
}

/* The policy in force stays: it is that of the ledger, which began with the latest one. */
static int change_policy(struct batch *batch, struct ledger_entry *entry,
                         const msgpack_object *change) {
    const msgpack_object *changes = member(change, "changes");
    int rc = batch_book(batch, entry, NULL);
    for (uint32_t i = 0; rc == 0 && changes != NULL && changes->type == MSGPACK_OBJECT_ARRAY &&
                         i < changes->via.array.size;
         i++)
        rc = forget_rule(batch, &changes->via.array.ptr[i]);
    return rc;
}

static int book(struct batch *batch, struct ledger_request *request, struct ledger_entry *entry,
                const msgpack_object *change) {
    switch (entry->kind) {
    case KIND_INVOCATION:
    case KIND_RUN:
    case KIND_RELEASE:
        return batch_book(batch, entry, NULL);
    case KIND_GRANT:
        return requests_grant(batch, request, entry);
    case KIND_CORRECTION:
        return correct(batch, entry);
    case KIND_POLICY:
        return change_policy(batch, entry, change);
    case KIND_RESET:
        return reset(batch, entry, change);
    case KIND_PRICE:
        return recording_record(batch, request, entry);
    case KIND_REDACTION:
        return redact(batch, entry);
    }
    return LEDGER_E_BAD_ENTRY;
}

/* ---- what is remembered of it -------------------------------------------------------------- */

/* Which request it was that booked such an entry. */
static enum ledger_operation operation_of(const struct ledger_entry *entry) {
    switch (entry->kind) {
    case KIND_POLICY:
        return OPERATION_POLICY;
    case KIND_RESET:
        return OPERATION_RESET;
    case KIND_RELEASE:
        return OPERATION_RELEASE;
    default:
        return entry->hold != 0 ? OPERATION_SETTLE : OPERATION_RECORD;
    }
}

/* So that the request that booked it, sent again, is answered with it. The one that reserved its
 * hold is not known any more: a run that is reserved again is a conflict. */
static int remember(struct batch *batch, const struct ledger_entry *entry,
                    const msgpack_object *change) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct key_row row = {
        .operation = (uint8_t)operation_of(entry), .flags = entry->flags, .id = entry->id};
    const msgpack_object *version = entry->kind == KIND_POLICY ? member(change, "version") : NULL;
    int rc = 0;
    if (entry->request_digest != NULL)
        memcpy(row.digest, entry->request_digest, ENTRY_DIGEST_BYTES);
    if (version != NULL)
        unpack_uint(version, UINT64_MAX, &row.version);
    if (entry->client_id.data != NULL)
        rc = keys_put(batch->txn, keys, entry->client_id, &row);
    row.version = entry->hold;
    if (entry->hold != 0)
        row.operation = OPERATION_RESERVE;
    if (rc == 0 && entry->run_id.data != NULL)
        rc = keys_put_run(batch->txn, keys, entry->run_id, &row);
    return rc;
}

static int import(struct batch *batch, struct ledger_request *request, struct ledger_entry *entry,
                  const msgpack_object *change) {
    MDB_dbi payloads = batch_dbi(batch, DB_PAYLOADS);
    batch->import_id = request->hold;
    int rc = book(batch, request, entry, change);
    batch->import_id = 0;
    if (rc == 0 && request->redacted_by != 0)
        rc = payloads_redact(batch->txn, payloads, entry->id, request->redacted_by);
    if (rc == 0)
        rc = remember(batch, entry, change);
    request->id = entry->id;
    request->flags = entry->flags;
    return rc;
}

int importing_import(struct batch *batch, struct ledger_request *request,
                     struct ledger_entry *entry) {
    msgpack_unpacked change;
    if (!is_sound(entry, request->hold))
        return LEDGER_E_BAD_ENTRY;
    /* Before its place is looked at: what is there already is not overtaken by what came later. */
    int rc = check_keys(batch, entry, request);
    if (rc == 0 && request->hold <= batch->last_id)
        rc = LEDGER_E_OVERTAKEN;
    if (rc == 0 && request->hold > (uint64_t)batch->moment.now_us)
        rc = LEDGER_E_OCCURS_AHEAD;
    if (rc == 0)
        rc = check_payload(batch, request, entry);
    if (rc != 0)
        return rc;
    msgpack_unpacked_init(&change);
    if (entry->change.data != NULL &&
        msgpack_unpack_next(&change, entry->change.data, entry->change.size, NULL) !=
            MSGPACK_UNPACK_SUCCESS)
        rc = LEDGER_E_BAD_ENTRY;
    if (rc == 0)
        rc = import(batch, request, entry, &change.data);
    msgpack_unpacked_destroy(&change);
    return rc;
}
