#include "batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rollup.h"
#include "series.h"
#include "window.h"

/* A series that the batch adds to. */
struct touched {
    struct series_block block;
    struct rollup hour;
    struct rollup day;
};

/* What was looked up a moment ago; direct-mapped, so a miss only costs the lookup. */
#define MEMO_SLOTS 512
struct name_memo {
    uint8_t dimension; /* 0: empty */
    struct ledger_text text;
    uint32_t number;
};
struct series_memo {
    uint8_t count; /* 0: empty */
    uint32_t numbers[SERIES_NAMES_MAX];
    uint32_t series;
};

struct batch {
    struct ledger *ledger;
    MDB_txn *txn;
    MDB_cursor *entries;
    int64_t now_us;
    uint64_t last_id;
    struct name_memo names[MEMO_SLOTS];
    struct series_memo series[MEMO_SLOTS];
    struct touched **touched; /* open addressing by series, capacity a power of two */
    size_t touched_capacity;
    size_t touched_count;
    bool states[POLICY_STATES_MAX]; /* touched, by index */
    struct gate_update *updates;
    size_t update_count;
};

static MDB_dbi dbi_of(const struct batch *batch, enum storage_database database) {
    return batch->ledger->storage.databases[database];
}

int batch_begin(struct ledger *ledger, int64_t now_us, struct batch **out) {
    struct batch *batch = calloc(1, sizeof *batch);
    *out = NULL;
    if (batch == NULL)
        return ENOMEM;
    batch->ledger = ledger;
    batch->now_us = now_us;
    int rc = mdb_txn_begin(ledger->storage.env, NULL, 0, &batch->txn);
    if (rc == 0)
        rc = storage_last_id(&ledger->storage, batch->txn, &batch->last_id);
    if (rc == 0)
        rc = mdb_cursor_open(batch->txn, dbi_of(batch, DB_ENTRIES), &batch->entries);
    if (rc != 0)
        batch_end(batch);
    else
        *out = batch;
    return rc;
}

void batch_end(struct batch *batch) {
    if (batch == NULL)
        return;
    if (batch->txn != NULL) {
        mdb_cursor_close(batch->entries);
        mdb_txn_abort(batch->txn);
    }
    for (size_t i = 0; i < batch->touched_capacity; i++)
        free(batch->touched[i]);
    free(batch->touched);
    free(batch->updates);
    free(batch);
}

MDB_txn *batch_transaction(struct batch *batch) {
    return batch->txn;
}

uint64_t batch_last_id(const struct batch *batch) {
    return batch->last_id;
}

int batch_read(struct batch *batch, const void *draft, size_t size, struct ledger_entry *entry,
               int *state) {
    struct ledger *ledger = batch->ledger;
    if (size > ledger->max_entry_size)
        return LEDGER_E_ENTRY_TOO_LARGE;
    int rc = entry_read_draft(ledger->decoder, draft, size, entry);
    if (rc != 0)
        return rc;
    if (entry->kind != KIND_INVOCATION)
        return LEDGER_E_BAD_ENTRY;
    *state = policy_state(&ledger->policy, entry->names[DIMENSION_STATE]);
    return *state < 0 ? LEDGER_E_UNDECLARED_STATE : 0;
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

static int intern(struct batch *batch, uint8_t dimension, struct ledger_text text, uint32_t *number,
                  bool *made) {
    struct name_memo *memo = &batch->names[hash_text(dimension, text) % MEMO_SLOTS];
    *made = false;
    if (memo->dimension == dimension && text_equal(memo->text, text)) {
        *number = memo->number;
        return 0;
    }
    int rc = names_intern(batch->txn, dbi_of(batch, DB_NAMES), dimension, text, number, made);
    if (rc == 0)
        *memo = (struct name_memo){dimension, text, *number};
    return rc;
}

/* Numbers for all of the entry's names; the new ones are its definitions. */
static int intern_names(struct batch *batch, struct ledger_entry *entry,
                        struct entry_definition *definitions, size_t *definition_count) {
    int rc = 0;
    *definition_count = 0;
    for (uint8_t dimension = 1; rc == 0 && dimension < DIMENSION_LIMIT; dimension++) {
        struct ledger_text text = entry->names[dimension];
        bool made;
        if (text.data == NULL)
            continue;
        rc = intern(batch, dimension, text, &entry->name_numbers[dimension], &made);
        if (rc == 0 && made)
            definitions[(*definition_count)++] =
                (struct entry_definition){entry->name_numbers[dimension], dimension, text};
    }
    return rc;
}

/* ---- series ----------------------------------------------------------------------------- */

static int intern_series(struct batch *batch, const uint32_t *numbers, uint8_t count,
                         uint32_t *series) {
    uint64_t hash = count;
    for (uint8_t i = 0; i < count; i++)
        hash = mix(hash, numbers[i]);
    struct series_memo *memo = &batch->series[hash % MEMO_SLOTS];
    if (memo->count == count && memcmp(memo->numbers, numbers, count * sizeof *numbers) == 0) {
        *series = memo->series;
        return 0;
    }
    int rc = names_intern_series(batch->txn, dbi_of(batch, DB_NAMES), numbers, count, series);
    if (rc == 0) {
        memo->count = count;
        memo->series = *series;
        memcpy(memo->numbers, numbers, count * sizeof *numbers);
    }
    return rc;
}

static struct touched **slot_of(struct batch *batch, uint32_t series) {
    size_t mask = batch->touched_capacity - 1;
    size_t at = mix(0, series) & mask;
    while (batch->touched[at] != NULL && batch->touched[at]->block.series != series)
        at = (at + 1) & mask;
    return &batch->touched[at];
}

static int grow_touched(struct batch *batch) {
    struct touched **old = batch->touched;
    size_t old_capacity = batch->touched_capacity;
    size_t capacity = old_capacity == 0 ? 16 : 2 * old_capacity;
    struct touched **new = calloc(capacity, sizeof *new);
    if (new == NULL)
        return ENOMEM;
    batch->touched = new;
    batch->touched_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i] != NULL)
            *slot_of(batch, old[i]->block.series) = old[i];
    free(old);
    return 0;
}

static int touch(struct batch *batch, uint32_t series, uint64_t id, struct touched **out) {
    int rc = 0;
    if (2 * (batch->touched_count + 1) > batch->touched_capacity && (rc = grow_touched(batch)) != 0)
        return rc;
    struct touched **slot = slot_of(batch, series);
    if (*slot == NULL) {
        struct touched *new = malloc(sizeof *new);
        if (new == NULL)
            return ENOMEM;
        rc = series_load(batch->txn, dbi_of(batch, DB_SERIES), series, &new->block);
        if (rc == 0)
            rc = rollup_load(batch->txn, dbi_of(batch, DB_ROLLUPS), series, ROLLUP_HOUR,
                             rollup_period(ROLLUP_HOUR, id), &new->hour);
        if (rc == 0)
            rc = rollup_load(batch->txn, dbi_of(batch, DB_ROLLUPS), series, ROLLUP_DAY,
                             rollup_period(ROLLUP_DAY, id), &new->day);
        if (rc != 0) {
            free(new);
            return rc;
        }
        *slot = new;
        batch->touched_count++;
    }
    *out = *slot;
    return 0;
}

static int add_to_series(struct batch *batch, uint32_t series, const struct ledger_entry *entry,
                         const struct amounts *amounts) {
    struct touched *touched;
    MDB_dbi rollups = dbi_of(batch, DB_ROLLUPS);
    int rc = touch(batch, series, entry->id, &touched);
    if (rc == 0)
        rc = series_append(batch->txn, dbi_of(batch, DB_SERIES), &touched->block, entry->id,
                           amounts);
    if (rc == 0)
        rc = rollup_add(batch->txn, rollups, &touched->hour, entry, amounts);
    if (rc == 0)
        rc = rollup_add(batch->txn, rollups, &touched->day, entry, amounts);
    return rc;
}

/* The series of one declared family that the entry belongs to, if it has all its dimensions. */
static int add_to_family(struct batch *batch, const struct declared_series *family,
                         const struct ledger_entry *entry, const struct amounts *amounts) {
    uint32_t numbers[SERIES_NAMES_MAX], series;
    for (uint8_t i = 0; i < family->count; i++) {
        numbers[i] = entry->name_numbers[family->dimensions[i]];
        if (numbers[i] == 0)
            return 0;
    }
    int rc = intern_series(batch, numbers, family->count, &series);
    return rc != 0 ? rc : add_to_series(batch, series, entry, amounts);
}

static int count_entry(struct batch *batch, const struct ledger_entry *entry) {
    struct amounts amounts;
    entry_amounts(entry, &amounts);
    if (amounts.mask == 0)
        return 0;
    int rc = add_to_series(batch, SERIES_EVERYTHING, entry, &amounts);
    for (size_t i = 0; rc == 0 && i < batch->ledger->declared_count; i++)
        rc = add_to_family(batch, &batch->ledger->declared[i], entry, &amounts);
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

int batch_add(struct batch *batch, struct ledger_entry *entry, int state) {
    struct entry_definition definitions[DIMENSION_LIMIT];
    size_t definition_count;
    uint64_t now = batch->now_us > 0 ? (uint64_t)batch->now_us : 0;
    entry->id = now > batch->last_id ? now : batch->last_id + 1;
    if (entry->id > LEDGER_TIME_MAX)
        return LEDGER_E_ID_EXHAUSTED;
    int rc = intern_names(batch, entry, definitions, &definition_count);
    if (rc == 0)
        rc = put_entry(batch, entry, definitions, definition_count);
    if (rc == 0)
        rc = count_entry(batch, entry);
    if (rc != 0)
        return rc;
    batch->last_id = entry->id;
    if (state >= 0)
        batch->states[state] = true;
    return 0;
}

/* ---- the end of a batch ----------------------------------------------------------------- */

static int store_touched(struct batch *batch) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < batch->touched_capacity; i++) {
        struct touched *touched = batch->touched[i];
        if (touched == NULL)
            continue;
        rc = series_store(batch->txn, dbi_of(batch, DB_SERIES), &touched->block);
        if (rc == 0)
            rc = rollup_store(batch->txn, dbi_of(batch, DB_ROLLUPS), &touched->hour);
        if (rc == 0)
            rc = rollup_store(batch->txn, dbi_of(batch, DB_ROLLUPS), &touched->day);
    }
    return rc;
}

static int compute_state(struct batch *batch, const struct ledger_policy *policy, uint32_t state,
                         MDB_cursor *cursor, struct gate_update *update) {
    struct totals totals;
    uint32_t series = 0;
    /* MDB_NOTFOUND while nothing was booked for the state. */
    int rc = names_find_series_of(batch->txn, dbi_of(batch, DB_NAMES), DIMENSION_STATE,
                                  policy->states[state], &series);
    bool empty = rc == MDB_NOTFOUND;
    *update = (struct gate_update){.state = state, .allowed_from_us = GATE_ALLOWED};
    if (empty)
        rc = 0;
    else if (rc == 0 && (rc = series_totals_now(cursor, series, &totals)) == 0)
        update->invocations = (uint64_t)totals.column[COLUMN_INVOCATIONS];
    for (uint32_t i = 0; rc == 0 && i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        uint64_t from = rule->limit == 0 ? GATE_NEVER : GATE_ALLOWED;
        if (rule->state != state || rule->limit == POLICY_UNLIMITED)
            continue;
        if (!empty)
            rc = window_allowed_from(cursor, series, COLUMN_INVOCATIONS, batch->now_us,
                                     rule->window_ms, rule->limit, &from);
        if (from > update->allowed_from_us)
            update->allowed_from_us = from;
    }
    return rc;
}

int batch_finish(struct batch *batch, const struct ledger_policy *policy, bool all_states) {
    MDB_cursor *cursor = NULL;
    int rc = store_touched(batch);
    batch->updates = calloc((size_t)policy->state_count + 1, sizeof *batch->updates);
    if (rc == 0 && batch->updates == NULL)
        rc = ENOMEM;
    if (rc == 0)
        rc = mdb_cursor_open(batch->txn, dbi_of(batch, DB_SERIES), &cursor);
    for (uint32_t state = 0; rc == 0 && state < policy->state_count; state++)
        if (all_states || batch->states[state])
            rc =
                compute_state(batch, policy, state, cursor, &batch->updates[batch->update_count++]);
    mdb_cursor_close(cursor);
    return rc;
}

void batch_publish(struct batch *batch) {
    struct gate_page *gate = batch->ledger->gate;
    for (size_t i = 0; i < batch->update_count; i++) {
        const struct gate_update *update = &batch->updates[i];
        struct gate_cell *cell = &gate->cells[update->state];
        atomic_store_explicit(&cell->invocations, update->invocations, memory_order_relaxed);
        atomic_store_explicit(&cell->critical_from_us, update->allowed_from_us,
                              memory_order_release);
        atomic_store_explicit(&cell->ok_from_us, update->allowed_from_us, memory_order_release);
    }
    atomic_store_explicit(&gate->header.last_id, batch->last_id, memory_order_relaxed);
}

int batch_commit(struct batch *batch) {
    mdb_cursor_close(batch->entries);
    int rc = mdb_txn_commit(batch->txn);
    batch->txn = NULL; /* freed, whatever the answer */
    if (rc == 0)
        batch_publish(batch);
    return rc;
}
