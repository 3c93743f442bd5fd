/* Verifying one entry, and the rows that must be there because of it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "payloads.h"
#include "price.h"
#include "verify_internal.h"

/* ---- names ------------------------------------------------------------------------------- */

static int define(struct verifier *verifier, uint32_t number, uint8_t dimension) {
    if (number >= verifier->name_capacity) {
        size_t capacity = verifier->name_capacity == 0 ? 256 : verifier->name_capacity;
        while (capacity <= number)
            capacity *= 2;
        uint8_t *grown = realloc(verifier->names, capacity);
        if (grown == NULL)
            return ENOMEM;
        memset(grown + verifier->name_capacity, 0, capacity - verifier->name_capacity);
        verifier->names = grown;
        verifier->name_capacity = capacity;
    }
    verifier->names[number] = dimension | NAME_DEFINED;
    if (number >= verifier->name_count)
        verifier->name_count = (size_t)number + 1;
    return 0;
}

static bool is_defined(const struct verifier *verifier, uint32_t number) {
    return number < verifier->name_count && verifier->names[number] != 0;
}

/* A number far beyond what can have been given out: no memory for it. */
static int is_possible(struct verifier *verifier, uint32_t number, bool *possible) {
    MDB_stat stat;
    int rc = mdb_stat(verifier->txn, verify_dbi(verifier, DB_NAMES), &stat);
    *possible = number <= stat.ms_entries + verifier->result->entries;
    return rc;
}

/* Text to number, and back. */
static int verify_definition(struct verifier *verifier, uint64_t id,
                             const struct entry_definition *definition) {
    MDB_dbi names = verify_dbi(verifier, DB_NAMES);
    struct ledger_text stored;
    uint32_t number = 0;
    uint8_t dimension;
    bool possible;
    char cut[VERIFY_TEXT_BYTES];
    const char *word = verify_dimension(definition->dimension);
    if (is_defined(verifier, definition->number))
        return verify_found(verifier, "entries", id,
                            "%" PRIu64 "\ndefines number %" PRIu32 " again, as %s %s", id,
                            definition->number, word, verify_text(definition->value, cut));
    int rc = is_possible(verifier, definition->number, &possible);
    if (rc == 0 && !possible)
        return verify_found(verifier, "entries", id, "%" PRIu64 "\ndefines number %" PRIu32, id,
                            definition->number);
    if (rc == 0)
        rc = define(verifier, definition->number, definition->dimension);
    if (rc != 0)
        return rc;
    rc = names_find(verifier->txn, names, definition->dimension, definition->value, &number);
    if (rc == MDB_NOTFOUND || verify_is_damage(rc))
        rc = verify_found(verifier, "names", id,
                          "%s %s\nhas no number, but entry %" PRIu64 " defines it as %" PRIu32,
                          word, verify_text(definition->value, cut), id, definition->number);
    else if (rc == 0 && number != definition->number)
        rc = verify_found(
            verifier, "names", id,
            "%s %s\nhas number %" PRIu32 ", but entry %" PRIu64 " defines it as %" PRIu32, word,
            verify_text(definition->value, cut), number, id, definition->number);
    if (rc != 0)
        return rc;
    rc = names_text(verifier->txn, names, definition->number, &dimension, &stored);
    if (verify_is_damage(rc))
        return verify_found(verifier, "names", id,
                            "number %" PRIu32 "\nhas no text, but entry %" PRIu64
                            " defines it as %s %s",
                            definition->number, id, word, verify_text(definition->value, cut));
    if (rc == 0 && (dimension != definition->dimension || stored.size != definition->value.size ||
                    memcmp(stored.data, definition->value.data, stored.size) != 0))
        rc = verify_found(verifier, "names", id,
                          "number %" PRIu32 "\nhas another text than entry %" PRIu64
                          " gave it: %s %s",
                          definition->number, id, word, verify_text(definition->value, cut));
    return rc;
}

/* The entry that defined it may have been removed. */
static int define_past(struct verifier *verifier, uint32_t number) {
    uint8_t dimension = 0;
    bool defined = false, possible;
    int rc = is_possible(verifier, number, &possible);
    if (rc == 0 && possible)
        rc = verify_past_name(verifier, number, &dimension, &defined);
    return rc == 0 && possible && defined ? define(verifier, number, dimension) : rc;
}

static int verify_entry_names(struct verifier *verifier, const struct ledger_entry *entry) {
    struct entry_definition definitions[DIMENSION_LIMIT];
    size_t count = 0;
    int rc = 0;
    if (entry->definitions.data != NULL)
        rc = entry_read_definitions(entry, definitions, &count);
    if (rc == LEDGER_E_DAMAGED)
        rc = verify_found(verifier, "entries", entry->id,
                          "%" PRIu64 "\nhas definitions that cannot be read", entry->id);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = verify_definition(verifier, entry->id, &definitions[i]);
    for (int dimension = 1; rc == 0 && dimension < DIMENSION_LIMIT; dimension++) {
        uint32_t number = entry->name_numbers[dimension];
        if (number == 0)
            continue;
        if (!is_defined(verifier, number) && verifier->retention.horizon != 0)
            rc = define_past(verifier, number);
        if (rc != 0)
            break;
        if (!is_defined(verifier, number))
            rc = verify_found(verifier, "entries", entry->id,
                              "%" PRIu64 "\nuses number %" PRIu32
                              ", which no entry has defined so far",
                              entry->id, number);
        else if (verifier->names[number] != (dimension | NAME_DEFINED))
            rc = verify_found(verifier, "entries", entry->id,
                              "%" PRIu64 "\nuses number %" PRIu32 " as %s; it is another name",
                              entry->id, number, verify_dimension(dimension));
    }
    return rc;
}

/* ---- series ------------------------------------------------------------------------------ */

static bool has_family(const struct verifier *verifier, size_t family,
                       const struct ledger_entry *entry, const uint32_t *named,
                       uint32_t numbers[SERIES_NAMES_MAX]) {
    const struct declared_series *declared = &verifier->declared[family];
    bool has = declared->ready || entry->id < declared->built_to;
    for (uint8_t i = 0; has && i < declared->count; i++) {
        numbers[i] = named[declared->dimensions[i]];
        has = numbers[i] != 0;
    }
    return has;
}

/* A correction of what was removed is taken as series 0 lists it. */
static int replay_past(struct verifier *verifier, const struct ledger_entry *entry) {
    uint32_t named[DIMENSION_LIMIT], numbers[SERIES_NAMES_MAX] = {0};
    struct amounts amounts;
    bool is_there;
    int rc = verify_past_correction(verifier, entry, &amounts, &is_there);
    if (rc != 0 || !is_there)
        return rc;
    memcpy(named, entry->name_numbers, sizeof named);
    rc = replay_add(&verifier->replay, FAMILY_EVERYTHING, numbers, 0, entry->id, &amounts);
    for (size_t family = 0; rc == 0 && family < verifier->declared_count; family++) {
        rc = verify_past_status(verifier, &verifier->declared[family], named, entry->id);
        if (rc == 0 && has_family(verifier, family, entry, named, numbers))
            rc = replay_add(&verifier->replay, (int)family + 1, numbers,
                            verifier->declared[family].count, entry->id, &amounts);
    }
    return rc;
}

static int replay(struct verifier *verifier, const struct ledger_entry *entry,
                  const struct ledger_entry *corrected) {
    uint32_t named[DIMENSION_LIMIT], numbers[SERIES_NAMES_MAX] = {0};
    struct amounts amounts;
    entry_amounts(entry, corrected, &amounts);
    if (amounts.mask == 0)
        return 0;
    memcpy(named, entry->name_numbers, sizeof named);
    named[DIMENSION_STATUS] = 0;
    struct ledger_text status = entry_status_name(entry, corrected);
    int rc = 0;
    if (status.data != NULL)
        rc = names_find(verifier->txn, verify_dbi(verifier, DB_NAMES), DIMENSION_STATUS, status,
                        &named[DIMENSION_STATUS]);
    if (rc == 0)
        rc = replay_add(&verifier->replay, FAMILY_EVERYTHING, numbers, 0, entry->id, &amounts);
    for (size_t family = 0; rc == 0 && family < verifier->declared_count; family++)
        if (has_family(verifier, family, entry, named, numbers))
            rc = replay_add(&verifier->replay, (int)family + 1, numbers,
                            verifier->declared[family].count, entry->id, &amounts);
    return rc;
}

/* ---- payloads ---------------------------------------------------------------------------- */

static int verify_redacted(struct verifier *verifier, uint64_t id, uint64_t redacted_by) {
    struct ledger_entry redaction;
    int rc = verify_fetch(verifier, redacted_by, &redaction);
    bool fits = rc == 0 && redaction.kind == KIND_REDACTION && redaction.link == id;
    if (rc != 0 && rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    return fits ? 0
                : verify_found(verifier, "payloads", id,
                               "%" PRIu64 "\nis taken away by entry %" PRIu64
                               ", which does not say so",
                               id, redacted_by);
}

static int verify_payload(struct verifier *verifier, const struct ledger_entry *entry) {
    struct ledger_payload payload;
    uint8_t digest[ENTRY_DIGEST_BYTES];
    uint64_t id = entry->id;
    verifier->digests++;
    int rc = payloads_find(verifier->txn, verify_dbi(verifier, DB_PAYLOADS), id, &payload);
    if (verify_is_damage(rc))
        return verify_found(verifier, "payloads", id, "%" PRIu64 "\ncannot be read", id);
    if (rc == 0 && payload.redacted_by != 0)
        return verify_redacted(verifier, id, payload.redacted_by);
    if (rc == 0 && payload.map.data == NULL)
        return verify_found(verifier, "payloads", id, "%" PRIu64 "\nis missing", id);
    verifier->result->payloads++;
    /* In the row the salt lies before the map. */
    if (rc == 0)
        rc = digest_sha256(payload.salt, ENTRY_SALT_BYTES + payload.map.size, digest);
    if (rc == 0 && memcmp(digest, entry->digest, sizeof digest) != 0)
        rc = verify_found(verifier, "payloads", id,
                          "%" PRIu64 "\nis not what the entry's digest is of", id);
    return rc;
}

static int verify_redaction(struct verifier *verifier, const struct ledger_entry *entry) {
    struct ledger_payload payload;
    if (verify_is_past(verifier, entry->link))
        return 0;
    int rc = payloads_find(verifier->txn, verify_dbi(verifier, DB_PAYLOADS), entry->link, &payload);
    if (rc != 0 && !verify_is_damage(rc))
        return rc;
    return rc == 0 && payload.redacted_by == entry->id
               ? 0
               : verify_found(verifier, "payloads", entry->link,
                              "%" PRIu64 "\nis there, although entry %" PRIu64 " took it away",
                              entry->link, entry->id);
}

/* ---- keys -------------------------------------------------------------------------------- */

enum ledger_operation verify_operation(const struct ledger_entry *entry) {
    switch (entry->kind) {
    case KIND_INVOCATION:
    case KIND_RUN:
        return entry->hold != 0 ? OPERATION_SETTLE : OPERATION_RECORD;
    case KIND_CORRECTION:
        return entry->flags & ENTRY_LATE ? OPERATION_SETTLE : OPERATION_RECORD;
    case KIND_RELEASE:
        return OPERATION_RELEASE;
    case KIND_RESET:
        return OPERATION_RESET;
    case KIND_POLICY:
        return OPERATION_POLICY;
    case KIND_GRANT:
    case KIND_PRICE:
    case KIND_REDACTION:
        break;
    }
    return OPERATION_RECORD;
}

static bool same_digest(const struct key_row *row, const struct ledger_entry *entry) {
    return entry->request_digest != NULL &&
           memcmp(row->digest, entry->request_digest, sizeof row->digest) == 0;
}

/* A row that an entry must have: what is wrong about finding it; NULL with *rc: it was found, or
 * could not be looked for. */
static const char *wrong_row(int *rc, const struct key_row *row, const struct ledger_entry *entry) {
    bool is_damaged = verify_is_damage(*rc), is_missing = *rc == MDB_NOTFOUND;
    if (is_missing || is_damaged)
        *rc = 0;
    if (is_missing)
        return "is missing";
    if (is_damaged)
        return "cannot be read";
    return *rc == 0 && row->id != entry->id ? "names another entry than the one that has it" : NULL;
}

static int tell_wrong_row(struct verifier *verifier, const struct ledger_entry *entry,
                          const char *kind, struct ledger_text name, const char *wrong) {
    char cut[VERIFY_TEXT_BYTES];
    return wrong == NULL
               ? 0
               : verify_found(verifier, "keys", entry->id, "%s id %s\n%s (entry %" PRIu64 ")", kind,
                              verify_text(name, cut), wrong, entry->id);
}

static int verify_client(struct verifier *verifier, const struct ledger_entry *entry) {
    struct key_row row = {0};
    int rc = keys_find(verifier->txn, verify_dbi(verifier, DB_KEYS), entry->client_id, &row);
    const char *wrong = wrong_row(&rc, &row, entry);
    if (rc != 0)
        return rc;
    if (wrong == NULL && row.operation != verify_operation(entry))
        wrong = "names another operation than the entry is of";
    if (wrong == NULL && row.flags != entry->flags)
        wrong = "has other flags than the entry";
    if (wrong == NULL && !same_digest(&row, entry))
        wrong = "has another digest than the entry";
    return tell_wrong_row(verifier, entry, "client", entry->client_id, wrong);
}

static int verify_run(struct verifier *verifier, const struct ledger_entry *entry) {
    struct key_row row = {0};
    bool of_hold = entry->hold != 0;
    int rc = keys_find_run(verifier->txn, verify_dbi(verifier, DB_KEYS), entry->run_id, &row);
    const char *wrong = wrong_row(&rc, &row, entry);
    if (rc != 0)
        return rc;
    if (wrong == NULL && row.version != entry->hold)
        wrong = "names another hold than the entry";
    if (wrong == NULL && row.operation != (of_hold ? OPERATION_RESERVE : OPERATION_RECORD))
        wrong = "names another operation than the run was begun with";
    if (wrong == NULL && !of_hold && row.flags != entry->flags)
        wrong = "has other flags than the entry";
    if (wrong == NULL && !of_hold && !same_digest(&row, entry))
        wrong = "has another digest than the entry";
    return tell_wrong_row(verifier, entry, "run", entry->run_id, wrong);
}

/* ---- corrections ------------------------------------------------------------------------- */

static int64_t said_in(const struct ledger_entry *entry, int column) {
    if (column == COLUMN_COST)
        return entry->cost;
    return column == COLUMN_CREDITS ? entry->credits : entry->tokens[column - COLUMN_INPUT_TOKENS];
}

/* Adds a correction up with those before it, as recording.c does. */
static int sum_correction(struct verifier *verifier, const struct ledger_entry *entry,
                          const struct ledger_entry *booked) {
    MDB_dbi keys;
    struct key_corrected before, sum = {0};
    bool is_beyond = false;
    int rc = scratch_file_open(&verifier->scratch, verifier->failure);
    keys = verifier->scratch.databases[SCRATCH_KEYS];
    if (rc == 0)
        rc = keys_find_corrected(verifier->scratch.txn, keys, entry->link, &before);
    for (int column = COLUMN_COST; rc == 0 && column <= COLUMN_REASONING_TOKENS; column++) {
        if (column == COLUMN_COMPLETED_COST || column == COLUMN_COMPLETED_CREDITS)
            continue;
        int64_t so_far =
            before.amounts.mask & UINT64_C(1) << column ? before.amounts.column[column] : 0;
        int64_t amount = so_far + said_in(entry, column), net = said_in(booked, column) + amount;
        is_beyond = is_beyond || net < 0 || net > ENTRY_AMOUNT_MAX;
        amounts_set(&sum.amounts, column, amount);
    }
    if (rc != 0)
        return rc;
    bool prices = entry->given & ENTRY_COST && !(booked->given & ENTRY_COST) && !before.priced;
    bool of_completed = booked->status == STATUS_COMPLETED || before.completed;
    sum.priced = before.priced || prices;
    sum.completed = before.completed || entry->flags & ENTRY_COMPLETES;
    rc = keys_put_corrected(verifier->scratch.txn, keys, entry->link, &sum);
    if (rc == 0 && is_beyond)
        rc = verify_found(verifier, "entries", entry->id,
                          "%" PRIu64 "\ncorrects entry %" PRIu64 " beyond what it has", entry->id,
                          entry->link);
    if (rc == 0 && prices != ((entry->flags & ENTRY_PRICES) != 0))
        rc = verify_found(verifier, "entries", entry->id,
                          "%" PRIu64 "\n%s to have given entry %" PRIu64 " its cost", entry->id,
                          prices ? "does not say" : "says", entry->link);
    if (rc == 0 && of_completed != ((entry->flags & ENTRY_OF_COMPLETED) != 0))
        rc = verify_found(verifier, "entries", entry->id,
                          "%" PRIu64 "\n%s that entry %" PRIu64 " had completed", entry->id,
                          of_completed ? "does not say" : "says", entry->link);
    return rc;
}

/* *is_there: what it links to was read. */
static int verify_correction(struct verifier *verifier, const struct ledger_entry *entry,
                             struct ledger_entry *booked, bool *is_there) {
    int rc = entry->link == 0 || entry->link >= entry->id
                 ? MDB_NOTFOUND
                 : verify_fetch(verifier, entry->link, booked);
    *is_there = rc == 0 && (booked->kind == KIND_INVOCATION || booked->kind == KIND_RUN);
    if (rc != 0 && rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    if (!*is_there)
        return verify_found(verifier, "entries", entry->id,
                            "%" PRIu64 "\ncorrects entry %" PRIu64 ", which is no record",
                            entry->id, entry->link);
    rc = sum_correction(verifier, entry, booked);
    if (rc == 0 && memcmp(entry->name_numbers, booked->name_numbers, sizeof entry->name_numbers))
        rc = verify_found(verifier, "entries", entry->id,
                          "%" PRIu64 "\nhas other names than entry %" PRIu64 ", which it corrects",
                          entry->id, entry->link);
    return rc;
}

/* ---- kinds ------------------------------------------------------------------------------- */

static int verify_prices(struct verifier *verifier, const struct ledger_entry *entry) {
    int rc = scratch_file_open(&verifier->scratch, verifier->failure);
    if (rc == 0)
        rc = price_put(verifier->scratch.txn, verifier->scratch.databases[SCRATCH_KEYS],
                       entry->change, entry->id);
    return rc == LEDGER_E_BAD_ENTRY
               ? verify_found(verifier, "entries", entry->id,
                              "%" PRIu64 "\nhas prices that cannot be read", entry->id)
               : rc;
}

static int verify_kind(struct verifier *verifier, const struct ledger_entry *entry) {
    if (entry->kind == KIND_PRICE)
        return verify_prices(verifier, entry);
    if (entry->kind == KIND_REDACTION)
        return verify_redaction(verifier, entry);
    if (entry->kind == KIND_POLICY) {
        verifier->policies++;
        verifier->last_policy = entry->id;
    }
    return 0;
}

/* One that is to be removed, or should have been: it must not keep what is kept from being read. */
static int verify_leaving(struct verifier *verifier, const struct ledger_entry *entry) {
    int rc = verify_entry_names(verifier, entry);
    if (rc == 0 && entry->given & ENTRY_DIGEST)
        rc = verify_payload(verifier, entry);
    if (rc == 0 && entry->id < verifier->retention.removed_to)
        rc = verify_found(verifier, "entries", entry->id,
                          "%" PRIu64 "\nis there, but all like it before %" PRIu64 " were removed",
                          entry->id, verifier->retention.removed_to);
    return rc;
}

int verify_entry(struct verifier *verifier, uint64_t id, MDB_val value) {
    struct ledger_entry entry = {.id = id}, booked;
    bool has_booked = true, is_past = verify_is_past(verifier, id);
    int rc = entry_read_stored(value.mv_data, value.mv_size, &entry);
    if (rc == LEDGER_E_NEWER)
        return verify_found(verifier, "entries", id, "%" PRIu64 "\nis of a later version", id);
    if (verify_is_damage(rc))
        return verify_found(verifier, "entries", id, "%" PRIu64 "\ncannot be read", id);
    if (rc == 0 && is_past && !retention_keeps(entry.kind))
        return verify_leaving(verifier, &entry);
    if (rc == 0)
        rc = verify_entry_names(verifier, &entry);
    if (rc == 0 && entry.given & ENTRY_DIGEST)
        rc = verify_payload(verifier, &entry);
    if (rc == 0 && entry.client_id.data != NULL)
        rc = verify_client(verifier, &entry);
    if (rc == 0 && entry.run_id.data != NULL)
        rc = verify_run(verifier, &entry);
    if (rc == 0 && entry.kind == KIND_CORRECTION && verify_is_past(verifier, entry.link))
        return replay_past(verifier, &entry);
    if (rc == 0 && entry.kind == KIND_CORRECTION)
        rc = verify_correction(verifier, &entry, &booked, &has_booked);
    if (rc == 0 && (entry.kind == KIND_CORRECTION ? has_booked : entry.hold != 0))
        rc = verify_ending(verifier, &entry, &booked);
    if (rc == 0 && entry.kind >= KIND_POLICY)
        rc = verify_kind(verifier, &entry);
    return rc == 0 && has_booked && !is_past ? replay(verifier, &entry, &booked) : rc;
}
