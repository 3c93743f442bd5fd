/* The series that a batch changes or looks at: loaded once, changed in memory, stored at the
 * end. */
#include <errno.h>
#include <stdlib.h>

#include "batch_internal.h"

static size_t hash_series(uint32_t series) {
    uint64_t hash = series * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash ^ hash >> 29);
}

static struct sums **slot_of(struct batch *batch, uint32_t series) {
    size_t mask = batch->sums_capacity - 1, at = hash_series(series) & mask;
    while (batch->sums[at] != NULL && batch->sums[at]->block.series != series)
        at = (at + 1) & mask;
    return &batch->sums[at];
}

static int grow(struct batch *batch) {
    struct sums **old = batch->sums;
    size_t old_capacity = batch->sums_capacity;
    size_t capacity = old_capacity == 0 ? 16 : 2 * old_capacity;
    struct sums **new = calloc(capacity, sizeof *new);
    if (new == NULL)
        return ENOMEM;
    batch->sums = new;
    batch->sums_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i] != NULL)
            *slot_of(batch, old[i]->block.series) = old[i];
    free(old);
    return 0;
}

struct sums *sums_find(struct batch *batch, uint32_t series) {
    return batch->sums_capacity == 0 ? NULL : *slot_of(batch, series);
}

/* ---- the rules over a series ------------------------------------------------------------ */

struct finding {
    struct batch *batch;
    struct uses *uses;
    uint32_t series;
    bool exists;
    uint32_t family_size; /* how many series it has; of one that is not there */
};

static int add_use(void *context, const struct ledger_rule *rule) {
    struct finding *finding = context;
    struct use use;
    int rc = use_begin(&finding->batch->moment, rule, finding->series, finding->exists, &use);
    uint64_t max = rule->max_values != 0 ? rule->max_values : RULE_MAX_VALUES;
    use.full = !finding->exists && rule_has_each(rule) && finding->family_size >= max;
    return rc != 0 ? rc : uses_add(finding->uses, &use);
}

void sums_refresh(struct sums *sums) {
    for (size_t i = 0; i < sums->uses.count; i++)
        use_refresh(&sums->uses.items[i], &sums->block.totals, &sums->held);
}

/* So that a warning can tell what the batch added. */
static int begin_uses(struct batch *batch, struct sums *sums) {
    int rc = 0;
    sums_refresh(sums);
    for (size_t i = 0; rc == 0 && i < sums->uses.count; i++) {
        struct use *use = &sums->uses.items[i];
        if (use->rule->warn_count == 0)
            continue;
        rc = use_load_grants(&batch->moment, use);
        use->first_percent = use->used > 0 ? use_percent(use, use->used) : 0;
    }
    return rc;
}

int sums_uses(struct batch *batch, int family, const struct ledger_text *names, struct uses *uses) {
    static const struct totals no_totals;
    static const struct held no_held;
    uint32_t series;
    int rc = batch_find_series(batch, family, names, false, &series);
    if (rc == 0) {
        struct sums *sums;
        rc = sums_get(batch, family, series, names, &sums);
        if (rc == 0)
            sums_refresh(sums);
        for (size_t i = 0; rc == 0 && i < sums->uses.count; i++)
            rc = uses_add(uses, &sums->uses.items[i]);
        return rc;
    }
    if (rc != MDB_NOTFOUND)
        return rc;
    const struct declared_series *declared = &batch->ledger->declared[family - 1];
    struct finding finding = {.batch = batch, .uses = uses};
    size_t first = uses->count;
    rc = names_count_family(batch->txn, batch_dbi(batch, DB_NAMES), declared->dimensions,
                            declared->count, &finding.family_size);
    if (rc == 0)
        rc = plan_match(batch->plan, batch->policy, family, names, add_use, &finding);
    for (size_t i = first; rc == 0 && i < uses->count; i++)
        use_refresh(&uses->items[i], &no_totals, &no_held);
    return rc;
}

/* ---- loading ---------------------------------------------------------------------------- */

static bool is_family_of_states(const struct batch *batch, int family) {
    if (family == FAMILY_EVERYTHING)
        return false;
    const struct declared_series *declared = &batch->ledger->declared[family - 1];
    return declared->count == 1 && declared->dimensions[0] == DIMENSION_STATE;
}

static int load(struct batch *batch, int family, uint32_t series, const struct ledger_text *names,
                struct sums *sums) {
    struct finding finding = {batch, &sums->uses, series, true, 0};
    sums->family = family;
    sums->state = is_family_of_states(batch, family)
                      ? policy_state(batch->policy, names[DIMENSION_STATE])
                      : -1;
    int rc = series_load(batch->txn, batch_dbi(batch, DB_SERIES), series, &sums->block);
    if (rc == 0)
        rc = held_load(batch->txn, batch_dbi(batch, DB_HELD), series, &sums->held);
    if (rc == 0)
        rc = plan_match(batch->plan, batch->policy, family, names, add_use, &finding);
    return rc == 0 ? begin_uses(batch, sums) : rc;
}

int sums_get(struct batch *batch, int family, uint32_t series, const struct ledger_text *names,
             struct sums **out) {
    int rc = 0;
    if (2 * (batch->sums_count + 1) > batch->sums_capacity && (rc = grow(batch)) != 0)
        return rc;
    struct sums **slot = slot_of(batch, series);
    if (*slot == NULL) {
        struct sums *new = malloc(sizeof *new);
        if (new == NULL)
            return ENOMEM;
        new->booked = new->has_rollups = new->held_changed = false;
        new->uses = (struct uses){0};
        rc = load(batch, family, series, names, new);
        if (rc != 0) {
            uses_free(&new->uses);
            free(new);
            return rc;
        }
        *slot = new;
        batch->sums_count++;
    }
    *out = *slot;
    return 0;
}

void sums_free(struct batch *batch) {
    for (size_t i = 0; i < batch->sums_capacity; i++) {
        if (batch->sums[i] == NULL)
            continue;
        uses_free(&batch->sums[i]->uses);
        free(batch->sums[i]);
    }
    free(batch->sums);
}

/* ---- changing --------------------------------------------------------------------------- */

static int load_rollups(struct batch *batch, struct sums *sums, uint64_t id) {
    MDB_dbi rollups = batch_dbi(batch, DB_ROLLUPS);
    uint32_t series = sums->block.series;
    sums->has_rollups = true;
    int rc = rollup_load(batch->txn, rollups, series, ROLLUP_HOUR, rollup_period(ROLLUP_HOUR, id),
                         &sums->hour);
    if (rc == 0)
        rc = rollup_load(batch->txn, rollups, series, ROLLUP_DAY, rollup_period(ROLLUP_DAY, id),
                         &sums->day);
    return rc;
}

int sums_add(struct batch *batch, struct sums *sums, uint64_t id, const struct amounts *amounts) {
    MDB_dbi rollups = batch_dbi(batch, DB_ROLLUPS);
    int rc = sums->has_rollups ? 0 : load_rollups(batch, sums, id);
    if (rc == 0)
        rc = series_append(batch->txn, batch_dbi(batch, DB_SERIES), &sums->block, id, amounts);
    if (rc == 0)
        rc = rollup_add(batch->txn, rollups, &sums->hour, id, amounts);
    if (rc == 0)
        rc = rollup_add(batch->txn, rollups, &sums->day, id, amounts);
    sums->booked = true;
    return rc;
}

void sums_hold(struct sums *sums, int holds, const int64_t delta[HELD_COLUMNS], uint64_t until_us) {
    struct held *held = &sums->held;
    held->holds += (uint64_t)(int64_t)holds;
    for (int column = 0; column < HELD_COLUMNS; column++)
        held->column[column] += delta[column];
    if (held->holds == 0)
        held->until_us = 0;
    else if (until_us > held->until_us)
        held->until_us = until_us;
    sums->held_changed = true;
}

int sums_save(void *context, uint32_t series) {
    struct batch *batch = context;
    struct sums *sums = sums_find(batch, series);
    return sums == NULL ? 0 : series_store(batch->txn, batch_dbi(batch, DB_SERIES), &sums->block);
}

int sums_store(struct batch *batch) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < batch->sums_capacity; i++) {
        struct sums *sums = batch->sums[i];
        if (sums == NULL)
            continue;
        rc = series_store(batch->txn, batch_dbi(batch, DB_SERIES), &sums->block);
        if (rc == 0 && sums->has_rollups)
            rc = rollup_store(batch->txn, batch_dbi(batch, DB_ROLLUPS), &sums->hour);
        if (rc == 0 && sums->has_rollups)
            rc = rollup_store(batch->txn, batch_dbi(batch, DB_ROLLUPS), &sums->day);
        if (rc == 0 && sums->held_changed)
            rc = held_store(batch->txn, batch_dbi(batch, DB_HELD), sums->block.series, &sums->held);
    }
    return rc;
}

int sums_reset(struct batch *batch, const struct ledger_rule *rule) {
    int rc = 0;
    batch->moment.any_reset = true;
    for (size_t i = 0; i < batch->sums_capacity; i++) {
        struct sums *sums = batch->sums[i];
        for (size_t k = 0; rc == 0 && sums != NULL && k < sums->uses.count; k++) {
            struct use *use = &sums->uses.items[k];
            if (use->rule != rule)
                continue;
            rc = sums_save(batch, sums->block.series);
            if (rc == 0)
                rc = use_begin(&batch->moment, rule, sums->block.series, true, use);
        }
    }
    return rc;
}
