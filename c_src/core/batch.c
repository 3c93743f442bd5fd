#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch_internal.h"
#include "marks.h"
#include "meta.h"
#include "payloads.h"

int batch_begin(struct ledger *ledger, const struct ledger_policy *policy, const struct plan *plan,
                int64_t now_us, struct batch **out) {
    struct batch *batch = calloc(1, sizeof *batch);
    *out = NULL;
    if (batch == NULL)
        return ENOMEM;
    batch->ledger = ledger;
    batch->policy = policy;
    batch->plan = plan;
    int rc = mdb_txn_begin(ledger->storage.env, NULL, 0, &batch->txn);
    batch->moment = (struct moment){.txn = batch->txn,
                                    .warned = batch_dbi(batch, DB_WARNED),
                                    .now_us = now_us > 0 ? now_us : 0,
                                    .save = sums_save,
                                    .context = batch};
    if (rc == 0)
        rc = storage_last_id(&ledger->storage, batch->txn, &batch->last_id);
    batch->first_id = batch->last_id;
    if (rc == 0)
        rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_ENTRIES), &batch->entries);
    if (rc == 0)
        rc = mdb_cursor_open(batch->txn, batch_dbi(batch, DB_SERIES), &batch->moment.series);
    if (rc == 0)
        rc = marks_any_reset(batch->txn, batch->moment.warned, &batch->moment.any_reset);
    if (rc == 0)
        rc = names_any_undefined(batch->txn, batch_dbi(batch, DB_NAMES), &batch->any_undefined);
    if (rc != 0)
        batch_end(batch);
    else
        *out = batch;
    return rc;
}

static void close_cursors(struct batch *batch) {
    mdb_cursor_close(batch->entries);
    mdb_cursor_close(batch->moment.series);
    batch->entries = batch->moment.series = NULL;
}

void batch_end(struct batch *batch) {
    if (batch == NULL)
        return;
    if (batch->txn != NULL) {
        close_cursors(batch);
        mdb_txn_abort(batch->txn);
    }
    sums_free(batch);
    uses_free(&batch->uses);
    while (batch->chunks != NULL) {
        struct chunk *next = batch->chunks->next;
        free(batch->chunks);
        batch->chunks = next;
    }
    ledger_effects_free(&batch->effects);
    free(batch->updates);
    free(batch);
}

MDB_txn *batch_transaction(struct batch *batch) {
    return batch->txn;
}

uint64_t batch_last_id(const struct batch *batch) {
    return batch->last_id;
}

bool batch_wrote(const struct batch *batch) {
    return batch->wrote;
}

bool batch_took_id(const struct batch *batch) {
    return batch->last_id != batch->first_id;
}

int batch_next_id(struct batch *batch, uint64_t *id) {
    uint64_t now = (uint64_t)batch->moment.now_us;
    if (batch->import_id != 0)
        now = batch->import_id;
    *id = now > batch->last_id ? now : batch->last_id + 1;
    if (*id > LEDGER_TIME_MAX)
        return LEDGER_E_ID_EXHAUSTED;
    batch->last_id = *id;
    batch->wrote = true;
    return 0;
}

/* ---- names ------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t hash_text(uint8_t dimension, struct ledger_text text) {
    uint64_t hash = mix(dimension, text.size);
    size_t at = 0;
    for (; at + 8 <= text.size; at += 8) {
        uint64_t word;
        memcpy(&word, text.data + at, 8);
        hash = mix(hash, word);
    }
    for (; at < text.size; at++)
        hash = mix(hash, (uint8_t)text.data[at]);
    return hash;
}

/* Finds, or makes when `made` is given. */
static int look_up(struct batch *batch, uint8_t dimension, struct ledger_text text, bool *made,
                   struct name_memo **out) {
    struct name_memo *memo = &batch->names[hash_text(dimension, text) % MEMO_SLOTS];
    MDB_dbi names = batch_dbi(batch, DB_NAMES);
    uint32_t number;
    *out = memo;
    if (made != NULL)
        *made = false;
    if (memo->dimension == dimension && text_equal(memo->text, text))
        return 0;
    int rc = made == NULL ? names_find(batch->txn, names, dimension, text, &number)
                          : names_intern(batch->txn, names, dimension, text, &number, made);
    if (rc == 0)
        *memo = (struct name_memo){dimension, batch->any_undefined, text, number};
    return rc;
}

int batch_intern_names(struct batch *batch, const struct ledger_text *names, enum name_user user,
                       uint32_t *numbers, struct entry_definition *definitions,
                       size_t *definition_count) {
    int rc = 0;
    size_t count = 0;
    for (uint8_t dimension = 1; rc == 0 && dimension < DIMENSION_LIMIT; dimension++) {
        struct ledger_text text = names[dimension];
        struct name_memo *memo;
        bool made;
        numbers[dimension] = 0;
        if (text.data == NULL)
            continue;
        rc = look_up(batch, dimension, text, &made, &memo);
        if (rc != 0)
            break;
        numbers[dimension] = memo->number;
        if (user == NAMED_BY_HOLD) {
            if (made)
                rc = names_put_undefined(batch->txn, batch_dbi(batch, DB_NAMES), memo->number);
            memo->undefined = memo->undefined || made;
            batch->any_undefined = batch->any_undefined || made;
            continue;
        }
        bool undefined = made;
        if (!made && memo->undefined)
            rc = names_take_undefined(batch->txn, batch_dbi(batch, DB_NAMES), memo->number,
                                      &undefined);
        memo->undefined = false;
        if (undefined)
            definitions[count++] = (struct entry_definition){memo->number, dimension, text};
    }
    if (definition_count != NULL)
        *definition_count = count;
    return rc;
}

/* Memory that lives as long as the batch, because memos point into it; NULL without. */
static char *keep_bytes(struct batch *batch, size_t size) {
    struct chunk *chunk = batch->chunks;
    if (chunk == NULL || chunk->capacity - chunk->size < size) {
        size_t capacity = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        chunk = malloc(sizeof *chunk + capacity);
        if (chunk == NULL)
            return NULL;
        *chunk = (struct chunk){batch->chunks, 0, capacity};
        batch->chunks = chunk;
    }
    chunk->size += size;
    return chunk->bytes + chunk->size - size;
}

int batch_keep_text(struct batch *batch, struct ledger_text *text) {
    char *kept = keep_bytes(batch, text->size);
    if (kept == NULL)
        return ENOMEM;
    memcpy(kept, text->data, text->size);
    text->data = kept;
    return 0;
}

int batch_keep_names(struct batch *batch, struct ledger_text *names) {
    int rc = 0;
    for (int dimension = 0; rc == 0 && dimension < DIMENSION_LIMIT; dimension++)
        if (names[dimension].data != NULL)
            rc = batch_keep_text(batch, &names[dimension]);
    return rc;
}

int batch_load_names(struct batch *batch, const uint32_t *numbers, struct ledger_text *names) {
    for (int dimension = 0; dimension < DIMENSION_LIMIT; dimension++) {
        struct ledger_text text;
        uint8_t of;
        names[dimension] = (struct ledger_text){0};
        if (numbers[dimension] == 0)
            continue;
        int rc = names_text(batch->txn, batch_dbi(batch, DB_NAMES), numbers[dimension], &of, &text);
        if (rc == 0 && of != dimension)
            rc = LEDGER_E_DAMAGED;
        if (rc != 0)
            return rc;
        rc = batch_keep_text(batch, &text);
        if (rc != 0)
            return rc;
        names[dimension] = text;
    }
    return 0;
}

/* ---- series ----------------------------------------------------------------------------- */

bool batch_has_family(const struct batch *batch, int family, const struct ledger_text *names) {
    if (family == FAMILY_EVERYTHING)
        return true;
    const struct declared_series *declared = &batch->ledger->declared[family - 1];
    bool has = declared->ready || family == batch->building;
    for (uint8_t i = 0; has && i < declared->count; i++)
        has = names[declared->dimensions[i]].data != NULL;
    return has;
}

int batch_find_series(struct batch *batch, int family, const struct ledger_text *names, bool make,
                      uint32_t *series) {
    uint32_t numbers[SERIES_NAMES_MAX];
    *series = SERIES_EVERYTHING;
    if (family == FAMILY_EVERYTHING)
        return 0;
    const struct declared_series *declared = &batch->ledger->declared[family - 1];
    uint64_t hash = declared->count;
    for (uint8_t i = 0; i < declared->count; i++) {
        struct name_memo *memo;
        int rc =
            look_up(batch, declared->dimensions[i], names[declared->dimensions[i]], NULL, &memo);
        if (rc != 0)
            return rc;
        numbers[i] = memo->number;
        hash = mix(hash, numbers[i]);
    }
    struct series_memo *memo = &batch->series[hash % MEMO_SLOTS];
    if (memo->count == declared->count &&
        memcmp(memo->numbers, numbers, declared->count * sizeof *numbers) == 0) {
        *series = memo->series;
        return 0;
    }
    MDB_dbi dbi = batch_dbi(batch, DB_NAMES);
    int rc = names_find_series(batch->txn, dbi, numbers, declared->count, series);
    if (rc == MDB_NOTFOUND && make) {
        rc = names_intern_series(batch->txn, dbi, numbers, declared->count, series);
        /* A state more may be as many as a rule of each state admits: no new one is then. */
        batch->all_states = batch->all_states ||
                            (declared->count == 1 && declared->dimensions[0] == DIMENSION_STATE &&
                             batch->plan->each_first[family] < batch->plan->each_first[family + 1]);
    }
    if (rc == 0) {
        memo->count = declared->count;
        memo->series = *series;
        memcpy(memo->numbers, numbers, declared->count * sizeof *numbers);
    }
    return rc;
}

/* ---- entries ---------------------------------------------------------------------------- */

static int put_entry(struct batch *batch, const struct ledger_entry *entry,
                     const struct entry_definition *definitions, size_t definition_count) {
    struct entry_buffer *buffer = &batch->ledger->buffer;
    uint8_t bytes[8];
    buffer->size = 0;
    buffer->failed = false;
    int rc = entry_write_stored(buffer, entry, definitions, definition_count);
    if (rc != 0)
        return rc;
    put_be64(bytes, entry->id);
    MDB_val key = {sizeof bytes, bytes}, value = {buffer->size, buffer->data};
    return mdb_cursor_put(batch->entries, &key, &value, MDB_APPEND | MDB_NOOVERWRITE);
}

int batch_find(struct batch *batch, uint64_t id, struct ledger_entry *entry) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, id);
    int rc = mdb_get(batch->txn, batch_dbi(batch, DB_ENTRIES), &key, &value);
    entry->id = id;
    return rc != 0 ? rc : entry_read_stored(value.mv_data, value.mv_size, entry);
}

/* What is older than the horizon counts as removed from the moment on that it is said to be. */
int batch_find_linked(struct batch *batch, uint64_t id, struct ledger_entry *entry) {
    struct retention retention;
    int rc = batch_find(batch, id, entry);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    bool is_there = rc == 0;
    rc = meta_read_retention(batch->ledger, batch->txn, &retention);
    if (rc != 0)
        return rc;
    if (id != 0 && id < retention.horizon && !(is_there && retention_keeps(entry->kind)))
        return LEDGER_E_PRUNED;
    return is_there ? 0 : LEDGER_E_NO_ENTRY;
}

int batch_fetch(struct batch *batch, uint64_t id, struct ledger_entry *entry) {
    int rc = batch_find(batch, id, entry);
    return rc == MDB_NOTFOUND ? LEDGER_E_DAMAGED : rc;
}

/* Whether some rule that could deny it is beyond its limit with what the entry adds. */
static bool overruns(struct sums *sums, const struct amounts *amounts) {
    if (sums->uses.count == 0)
        return false;
    struct totals adds = {0};
    totals_add(&adds, amounts);
    sums_refresh(sums);
    for (size_t i = 0; i < sums->uses.count; i++) {
        const struct use *use = &sums->uses.items[i];
        if (use->rule->effect == EFFECT_WARN || use_is_unlimited(use))
            continue;
        ledger_sum added = use_measure(use->rule->measure, &adds);
        if (added > 0 && use->used + use->held + added > use_hard_cap(use))
            return true;
    }
    return false;
}

int batch_book(struct batch *batch, struct ledger_entry *entry,
               const struct ledger_entry *corrected) {
    struct entry_definition definitions[DIMENSION_LIMIT];
    size_t definition_count, count = 0;
    struct sums *series[FAMILIES_MAX];
    struct ledger_text names[DIMENSION_LIMIT];
    struct amounts amounts;
    int rc = batch_next_id(batch, &entry->id);
    if (rc == 0)
        rc = batch_intern_names(batch, entry->names, NAMED_BY_ENTRY, entry->name_numbers,
                                definitions, &definition_count);
    entry_amounts(entry, corrected, &amounts);
    memcpy(names, entry->names, sizeof names);
    names[DIMENSION_STATUS] = entry_status_name(entry, corrected);
    int families = amounts.mask == 0 ? 0 : (int)batch->ledger->declared_count + 1;
    for (int family = 0; rc == 0 && family < families; family++) {
        uint32_t number;
        if (!batch_has_family(batch, family, names))
            continue;
        rc = batch_find_series(batch, family, names, true, &number);
        if (rc == 0)
            rc = sums_get(batch, family, number, names, &series[count]);
        /* Of what was booked elsewhere it was found out there. */
        if (rc == 0 && overruns(series[count++], &amounts) && batch->import_id == 0)
            entry->flags |= ENTRY_OVERRUN;
    }
    if (rc == 0)
        rc = put_entry(batch, entry, definitions, definition_count);
    if (rc == 0 && entry->payload.data != NULL)
        rc = payloads_put(batch->txn, batch_dbi(batch, DB_PAYLOADS), entry->id, entry->salt,
                          entry->payload);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = sums_add(batch, series[i], entry->id, &amounts);
    return rc;
}

int batch_expire(struct batch *batch) {
    return expiring_end_due(batch);
}

/* ---- the end of a batch ----------------------------------------------------------------- */

static int tell_needs(struct batch *batch) {
    return batch->ledger->needs_told ? 0 : meta_put_needs(batch->ledger, batch->txn);
}

int batch_store(struct batch *batch) {
    return sums_store(batch);
}

int batch_finish(struct batch *batch, bool all_states) {
    batch->all_states = batch->all_states || all_states;
    int rc = publishing_warn(batch);
    if (rc == 0)
        rc = sums_store(batch);
    if (rc == 0)
        rc = publishing_gate(batch);
    return rc;
}

static void store_words(struct gate_cell *cell, const struct gate_words *own,
                        const struct gate_words *all) {
    uint64_t ok = own->ok_from_us > all->ok_from_us ? own->ok_from_us : all->ok_from_us;
    uint64_t critical = own->critical_from_us > all->critical_from_us ? own->critical_from_us
                                                                      : all->critical_from_us;
    atomic_store_explicit(&cell->invocations, own->invocations, memory_order_relaxed);
    atomic_store_explicit(&cell->critical_from_us, critical, memory_order_release);
    atomic_store_explicit(&cell->ok_from_us, ok, memory_order_release);
}

void batch_publish(struct batch *batch) {
    struct ledger *ledger = batch->ledger;
    struct gate_page *gate = ledger->gate;
    for (size_t i = 0; i < batch->update_count; i++)
        ledger->gate_words[batch->updates[i].state] = batch->updates[i].words;
    if (batch->all_changed)
        ledger->gate_all = batch->all;
    if (batch->all_changed)
        for (uint32_t state = 0; state < batch->policy->state_count; state++)
            store_words(&gate->cells[state], &ledger->gate_words[state], &ledger->gate_all);
    else
        for (size_t i = 0; i < batch->update_count; i++)
            store_words(&gate->cells[batch->updates[i].state], &batch->updates[i].words,
                        &ledger->gate_all);
    atomic_store_explicit(&gate->header.last_id, batch->last_id, memory_order_relaxed);
}

int batch_commit(struct batch *batch) {
    int rc = tell_needs(batch);
    if (rc != 0)
        return rc;
    close_cursors(batch);
    rc = mdb_txn_commit(batch->txn);
    batch->txn = NULL; /* freed, whatever the answer */
    if (rc == 0) {
        batch->ledger->needs_told = true;
        batch_publish(batch);
    }
    return rc;
}

struct ledger_effects batch_take_effects(struct batch *batch) {
    struct ledger_effects effects = batch->effects;
    batch->effects = (struct ledger_effects){0};
    return effects;
}

void ledger_effects_free(struct ledger_effects *effects) {
    for (size_t i = 0; i < effects->warning_count; i++)
        free(effects->warnings[i].memory);
    free(effects->warnings);
    free(effects->expiries);
    *effects = (struct ledger_effects){0};
}
