#include "reading.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meta.h"

struct reading *reading_begin(struct ledger *ledger, int *rc) {
    struct retention retention = {0};
    struct reading *reading = malloc(sizeof *reading);
    *rc = ENOMEM;
    if (reading == NULL)
        return NULL;
    reading->ledger = ledger;
    reading->txn = NULL;
    reading->series = reading->entries = reading->names = reading->payloads = NULL;
    reading->payload_at = 0;
    memset(reading->memo, 0, sizeof reading->memo);
    /* Before the transaction begins: what is ready then is whole in what the transaction sees. */
    reading->declared_count = ledger_series(ledger, reading->declared);
    reading->decoder = entry_decoder_new();
    if (reading->decoder != NULL)
        *rc = storage_read_begin(&ledger->storage, &reading->txn);
    if (*rc != 0)
        reading->txn = NULL;
    if (*rc == 0)
        *rc = meta_read_retention(ledger, reading->txn, &retention);
    reading->horizon = retention.horizon;
    const struct {
        enum storage_database database;
        MDB_cursor **cursor;
    } cursors[] = {{DB_SERIES, &reading->series},
                   {DB_ENTRIES, &reading->entries},
                   {DB_NAMES, &reading->names},
                   {DB_PAYLOADS, &reading->payloads}};
    for (size_t i = 0; *rc == 0 && i < sizeof cursors / sizeof cursors[0]; i++)
        *rc = mdb_cursor_open(reading->txn, reading_dbi(reading, cursors[i].database),
                              cursors[i].cursor);
    if (*rc != 0) {
        reading_end(reading);
        return NULL;
    }
    return reading;
}

void reading_end(struct reading *reading) {
    if (reading == NULL)
        return;
    MDB_cursor *const cursors[] = {reading->series, reading->entries, reading->names,
                                   reading->payloads};
    for (size_t i = 0; i < sizeof cursors / sizeof cursors[0]; i++)
        if (cursors[i] != NULL)
            mdb_cursor_close(cursors[i]);
    if (reading->txn != NULL)
        storage_read_end(&reading->ledger->storage, reading->txn);
    entry_decoder_free(reading->decoder);
    free(reading);
}

static int load_name(struct reading *reading, uint32_t number, uint8_t dimension,
                     struct ledger_text *text) {
    struct reading_name *memo = &reading->memo[number % READING_MEMO_SLOTS];
    if (memo->number != number) {
        int rc = names_text_at(reading->names, number, &memo->dimension, &memo->text);
        memo->number = rc == 0 ? number : 0;
        if (rc != 0)
            return rc;
    }
    *text = memo->text;
    return memo->dimension == dimension ? 0 : LEDGER_E_DAMAGED;
}

int reading_load_names(struct reading *reading, struct ledger_entry *entry) {
    int rc = 0;
    for (uint64_t named = entry->named; rc == 0 && named != 0; named &= named - 1) {
        int dimension = __builtin_ctzll(named);
        rc = load_name(reading, entry->name_numbers[dimension], (uint8_t)dimension,
                       &entry->names[dimension]);
    }
    return rc;
}

int reading_find(struct reading *reading, uint64_t id, struct ledger_entry *entry, size_t *size) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, id);
    int rc = mdb_cursor_get(reading->entries, &key, &value, MDB_SET);
    entry->id = id;
    *size = rc == 0 ? value.mv_size : 0;
    return rc == 0 ? entry_read_stored(reading->decoder, value.mv_data, value.mv_size, entry) : rc;
}

int reading_load(struct reading *reading, uint64_t id, struct ledger_entry *entry) {
    size_t size;
    int rc = reading_find(reading, id, entry, &size);
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
