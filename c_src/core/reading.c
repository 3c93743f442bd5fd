#include "reading.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meta.h"

/* One that another reading left, or a new one. */
static struct reading *take_reading(struct ledger *ledger) {
    struct reading *reading = (struct reading *)storage_take_block(&ledger->storage);
    if (reading == NULL)
        reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return NULL;
    if (++reading->serial == 0) { /* after four billion: `used_in` would be mistaken */
        memset(reading->known, 0, sizeof reading->known);
        reading->serial = 1;
    }
    reading->ledger = ledger;
    memset(reading->cursors, 0, sizeof reading->cursors);
    reading->payload_at = 0;
    return reading;
}

/* Beside another process that writes nobody says when a commit failed that could be seen for a
 * moment: there nothing is known from before. */
static void leave_reading(struct reading *reading) {
    struct storage *storage = &reading->ledger->storage;
    if (storage->options.read_only)
        free(reading);
    else
        storage_leave_block(storage, &reading->block);
}

struct reading *reading_begin(struct ledger *ledger, int *rc) {
    struct retention retention = {0};
    struct declared_series declared[DECLARED_MAX];
    MDB_txn *txn;
    /* Before the transaction begins: what is ready then is whole in what the transaction sees. */
    size_t declared_count = ledger_series(ledger, declared);
    *rc = storage_read_begin(&ledger->storage, &txn);
    if (*rc != 0)
        return NULL;
    struct reading *reading = take_reading(ledger);
    if (reading == NULL) {
        storage_read_end(&ledger->storage, txn);
        *rc = ENOMEM;
        return NULL;
    }
    reading->txn = txn;
    reading->declared_count = declared_count;
    memcpy(reading->declared, declared, declared_count * sizeof *declared);
    if (!atomic_load(&ledger->never_pruned))
        *rc = meta_read_retention(ledger, txn, &retention);
    reading->horizon = retention.horizon;
    if (*rc != 0) {
        reading_end(reading);
        return NULL;
    }
    return reading;
}

void reading_end(struct reading *reading) {
    if (reading == NULL)
        return;
    struct ledger *ledger = reading->ledger;
    MDB_txn *txn = reading->txn;
    for (int i = 0; i < DB_COUNT; i++)
        if (reading->cursors[i] != NULL)
            mdb_cursor_close(reading->cursors[i]);
    leave_reading(reading);
    storage_read_end(&ledger->storage, txn);
}

int reading_cursor(struct reading *reading, enum storage_database database, MDB_cursor **cursor) {
    MDB_cursor **kept = &reading->cursors[database];
    int rc =
        *kept != NULL ? 0 : mdb_cursor_open(reading->txn, reading_dbi(reading, database), kept);
    *cursor = *kept;
    return rc;
}

static int look_name_up(struct reading *reading, uint32_t number, uint8_t *dimension,
                        struct ledger_text *text) {
    MDB_cursor *cursor;
    int rc = reading_cursor(reading, DB_NAMES, &cursor);
    return rc == 0 ? names_text_at(cursor, number, dimension, text) : rc;
}

static int load_name(struct reading *reading, uint32_t number, int dimension,
                     struct ledger_text *text) {
    struct reading_name *known = &reading->known[number % READING_NAMES];
    uint8_t found = known->dimension;
    if (known->number != number) {
        int rc = look_name_up(reading, number, &found, text);
        if (rc != 0 || text->size > READING_NAME_BYTES || known->used_in == reading->serial)
            return rc == 0 && found != dimension ? LEDGER_E_DAMAGED : rc;
        known->number = number;
        known->dimension = found;
        known->size = (uint8_t)text->size;
        memcpy(known->text, text->data, text->size);
    }
    known->used_in = reading->serial;
    *text = (struct ledger_text){known->text, known->size};
    return found == dimension ? 0 : LEDGER_E_DAMAGED;
}

int reading_load_names(struct reading *reading, struct ledger_entry *entry) {
    int rc = 0;
    for (uint64_t named = entry->named; rc == 0 && named != 0; named &= named - 1) {
        int dimension = __builtin_ctzll(named);
        rc =
            load_name(reading, entry->name_numbers[dimension], dimension, &entry->names[dimension]);
    }
    return rc;
}

int reading_find_bytes(struct reading *reading, uint64_t id, MDB_val *stored) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_cursor *cursor;
    put_be64(bytes, id);
    *stored = (MDB_val){0};
    int rc = reading_cursor(reading, DB_ENTRIES, &cursor);
    return rc == 0 ? mdb_cursor_get(cursor, &key, stored, MDB_SET) : rc;
}

int reading_payload(struct reading *reading, uint64_t id, struct ledger_payload *payload) {
    MDB_cursor *cursor;
    int rc = reading_cursor(reading, DB_PAYLOADS, &cursor);
    return rc == 0 ? payloads_find_next(cursor, &reading->payload_at, id, payload) : rc;
}

int reading_load(struct reading *reading, uint64_t id, struct ledger_entry *entry) {
    MDB_val stored;
    int rc = reading_find_bytes(reading, id, &stored);
    entry->id = id;
    if (rc == 0)
        rc = entry_read_stored(stored.mv_data, stored.mv_size, entry);
    if (rc == MDB_NOTFOUND && id != 0 && id < reading->horizon)
        rc = LEDGER_E_PRUNED;
    /* On its way out: it counts as gone already. */
    if (rc == 0 && id < reading->horizon && !retention_keeps(entry->kind))
        rc = LEDGER_E_PRUNED;
    return rc == 0 ? reading_load_names(reading, entry) : rc;
}

int reading_numbers(struct reading *reading, const struct ledger_text *names,
                    uint32_t numbers[DIMENSION_LIMIT]) {
    memset(numbers, 0, DIMENSION_LIMIT * sizeof *numbers);
    int rc = 0;
    for (int dimension = 1; rc == 0 && dimension < DIMENSION_LIMIT; dimension++)
        if (names[dimension].data != NULL)
            rc = names_find(reading->txn, reading_dbi(reading, DB_NAMES), (uint8_t)dimension,
                            names[dimension], &numbers[dimension]);
    return rc;
}

int reading_series(struct reading *reading, int family, const uint32_t *numbers, uint32_t *series) {
    uint32_t of_family[SERIES_NAMES_MAX];
    *series = SERIES_EVERYTHING;
    if (family == FAMILY_EVERYTHING)
        return 0;
    const struct declared_series *declared = &reading->declared[family - 1];
    for (uint8_t i = 0; i < declared->count; i++)
        of_family[i] = numbers[declared->dimensions[i]];
    return names_find_series(reading->txn, reading_dbi(reading, DB_NAMES), of_family,
                             declared->count, series);
}

int reading_family(const struct reading *reading, const uint32_t *numbers, int *family) {
    unsigned given = 0;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        given += numbers[dimension] != 0;
    *family = FAMILY_EVERYTHING;
    if (given == 0)
        return 0;
    for (size_t i = 0; i < reading->declared_count; i++) {
        const struct declared_series *declared = &reading->declared[i];
        bool same = declared->count == given;
        for (uint8_t k = 0; same && k < declared->count; k++)
            same = numbers[declared->dimensions[k]] != 0;
        if (!same)
            continue;
        *family = (int)i + 1;
        return declared->ready ? 0 : LEDGER_E_BUILDING;
    }
    return LEDGER_E_UNDECLARED_SERIES;
}
