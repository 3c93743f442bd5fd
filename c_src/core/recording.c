/* What is booked as it is said, without a hold: records of work, what corrects them, what takes
 * their payload away, and prices. */
#include "ending.h"
#include "keys.h"
#include "payloads.h"
#include "price.h"

int recording_price(struct batch *batch, struct ledger_entry *entry,
                    const struct ledger_text *names) {
    /* What is booked now comes after all that was, also where ids run ahead of ledger time. */
    uint64_t now = (uint64_t)batch->moment.now_us;
    return price_entry(batch->txn, batch_dbi(batch, DB_KEYS), entry, names,
                       now > batch->last_id ? now : batch->last_id);
}

static int book_work(struct batch *batch, struct ledger_entry *entry) {
    int rc = recording_price(batch, entry, entry->names);
    return rc == 0 ? batch_book(batch, entry, NULL) : rc;
}

/* ---- corrections ------------------------------------------------------------------------- */

static const enum totals_column corrected_columns[] = {COLUMN_COST,
                                                       COLUMN_CREDITS,
                                                       COLUMN_INPUT_TOKENS,
                                                       COLUMN_OUTPUT_TOKENS,
                                                       COLUMN_CACHE_READ_TOKENS,
                                                       COLUMN_CACHE_CREATION_TOKENS,
                                                       COLUMN_REASONING_TOKENS};
#define CORRECTED_COLUMNS (sizeof corrected_columns / sizeof corrected_columns[0])

static int64_t said_in(const struct ledger_entry *entry, enum totals_column column) {
    switch (column) {
    case COLUMN_COST:
        return entry->cost;
    case COLUMN_CREDITS:
        return entry->credits;
    default:
        return entry->tokens[column - COLUMN_INPUT_TOKENS];
    }
}

static int64_t sum_in(const struct amounts *amounts, enum totals_column column) {
    return amounts->mask & UINT64_C(1) << column ? amounts->column[column] : 0;
}

int recording_correct(struct batch *batch, struct ledger_entry *entry,
                      const struct ledger_entry *booked) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct key_corrected corrected, sum = {0};
    int rc = keys_find_corrected(batch->txn, keys, entry->link, &corrected);
    for (size_t i = 0; rc == 0 && i < CORRECTED_COLUMNS; i++) {
        enum totals_column column = corrected_columns[i];
        int64_t amount = sum_in(&corrected.amounts, column) + said_in(entry, column);
        int64_t net = said_in(booked, column) + amount;
        /* A correction of many that add up beyond what one amount may be is refused as well. */
        if (net < 0 || net > ENTRY_AMOUNT_MAX)
            rc = LEDGER_E_OVERCORRECTED;
        amounts_set(&sum.amounts, column, amount);
    }
    bool lacked = !(booked->given & ENTRY_COST) && !corrected.priced;
    if (entry->given & ENTRY_COST && lacked)
        entry->flags |= ENTRY_PRICES;
    sum.priced = corrected.priced || entry->flags & ENTRY_PRICES;
    if (booked->status == STATUS_COMPLETED || corrected.completed)
        entry->flags |= ENTRY_OF_COMPLETED;
    sum.completed = corrected.completed || entry->flags & ENTRY_COMPLETES;
    if (rc == 0)
        rc = batch_book(batch, entry, booked);
    return rc == 0 ? keys_put_corrected(batch->txn, keys, entry->link, &sum) : rc;
}

/* Of a record that the ledger booked for a hold, its caller's settlement must not come on top. */
static int end_settling(struct batch *batch, uint64_t hold) {
    MDB_dbi keys = batch_dbi(batch, DB_KEYS);
    struct key_resolved ended;
    if (hold == 0)
        return 0;
    int rc = keys_find_resolved(batch->txn, keys, hold, &ended);
    if (rc == 0 && !ended.settled) {
        ended.settled = true;
        rc = keys_put_resolved(batch->txn, keys, hold, &ended);
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int tell_parents(struct batch *batch, const struct ledger_entry *entry, uint64_t parent) {
    struct ledger_entry correction = *entry;
    correction.parent = parent;
    return parent == 0 ? 0 : ending_tell_parents(batch, &correction);
}

/* A record that the request names by its id. */
static int fetch_record(struct batch *batch, uint64_t id, struct ledger_entry *record) {
    int rc = batch_find_linked(batch, id, record);
    if (rc != 0)
        return rc;
    return record->kind == KIND_INVOCATION || record->kind == KIND_RUN ? 0 : LEDGER_E_NO_ENTRY;
}

static bool has_names(const struct ledger_entry *entry) {
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        if (entry->names[dimension].data != NULL)
            return true;
    return false;
}

static int correct(struct batch *batch, struct ledger_entry *entry) {
    struct ledger_entry booked;
    const uint32_t amounts = ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS;
    if (has_names(entry) || !(entry->given & amounts) || entry->flags != 0)
        return LEDGER_E_BAD_ENTRY;
    int rc = fetch_record(batch, entry->link, &booked);
    if (rc == 0)
        rc = batch_load_names(batch, booked.name_numbers, entry->names);
    if (rc == 0)
        rc = recording_correct(batch, entry, &booked);
    if (rc == 0)
        rc = tell_parents(batch, entry, booked.parent);
    return rc == 0 ? end_settling(batch, booked.hold) : rc;
}

/* ---- payloads and prices ----------------------------------------------------------------- */

static int redact(struct batch *batch, struct ledger_entry *entry) {
    MDB_dbi payloads = batch_dbi(batch, DB_PAYLOADS);
    struct ledger_payload payload;
    struct ledger_entry record;
    if (has_names(entry))
        return LEDGER_E_BAD_ENTRY;
    int rc = batch_find_linked(batch, entry->link, &record);
    if (rc == 0)
        rc = payloads_find(batch->txn, payloads, entry->link, &payload);
    if (rc == 0 && payload.map.data == NULL)
        rc = LEDGER_E_NO_PAYLOAD;
    if (rc == 0)
        rc = batch_book(batch, entry, NULL);
    return rc == 0 ? payloads_redact(batch->txn, payloads, entry->link, entry->id) : rc;
}

static int set_prices(struct batch *batch, struct ledger_entry *entry) {
    int rc = has_names(entry) ? LEDGER_E_BAD_ENTRY : price_check(entry->change);
    if (rc == 0)
        rc = batch_book(batch, entry, NULL);
    return rc == 0 ? price_put(batch->txn, batch_dbi(batch, DB_KEYS), entry->change, entry->id)
                   : rc;
}

int recording_record(struct batch *batch, struct ledger_request *request,
                     struct ledger_entry *entry) {
    int rc = LEDGER_E_BAD_ENTRY;
    switch (entry->kind) {
    case KIND_INVOCATION:
    case KIND_RUN:
        rc = book_work(batch, entry);
        break;
    case KIND_CORRECTION:
        rc = correct(batch, entry);
        break;
    case KIND_REDACTION:
        rc = redact(batch, entry);
        break;
    case KIND_PRICE:
        rc = set_prices(batch, entry);
        break;
    case KIND_GRANT:
    case KIND_RELEASE:
    case KIND_POLICY:
    case KIND_RESET:
        break;
    }
    request->id = entry->id;
    request->flags = entry->flags;
    return rc;
}
