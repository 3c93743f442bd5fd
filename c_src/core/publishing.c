/* What a batch has to tell once it is durable: warnings, and the words of the gate. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch_internal.h"
#include "marks.h"
#include "status.h"

/* ---- warnings --------------------------------------------------------------------------- */

/* The values of a rule's scope, from the names that make its series. */
static int copy_values(struct batch *batch, const struct use *use, struct ledger_warning *warning) {
    uint32_t numbers[SERIES_NAMES_MAX];
    size_t count = 0, size = 0;
    MDB_dbi names = batch_dbi(batch, DB_NAMES);
    struct ledger_text *values = warning->status.values;
    int rc = use->series == SERIES_EVERYTHING
                 ? 0
                 : names_of_series(batch->txn, names, use->series, numbers, &count);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        uint8_t dimension;
        rc = names_text(batch->txn, names, numbers[i], &dimension, &values[i]);
        size += values[i].size;
    }
    if (rc != 0)
        return rc;
    char *memory = warning->memory = malloc(size + 1);
    if (memory == NULL)
        return ENOMEM;
    for (size_t i = 0; i < count; i++) {
        memcpy(memory, values[i].data, values[i].size);
        values[i].data = memory;
        memory += values[i].size;
    }
    return 0;
}

static int add_warning(struct batch *batch, struct use *use, uint8_t threshold,
                       const struct mark *mark, uint64_t percent) {
    static const struct ledger_text no_names[DIMENSION_LIMIT];
    struct attempt nobody = {.names = no_names};
    struct ledger_effects *effects = &batch->effects;
    size_t size = (effects->warning_count + 1) * sizeof *effects->warnings;
    struct ledger_warning *grown = realloc(effects->warnings, size);
    if (grown == NULL)
        return ENOMEM;
    effects->warnings = grown;
    struct ledger_warning *warning = &grown[effects->warning_count];
    *warning = (struct ledger_warning){.threshold = threshold, .id = mark->id};
    int rc = status_fill(&batch->moment, &nobody, use, RULE_ADMITS, &warning->status);
    warning->status.percent = percent;
    if (rc == 0)
        rc = copy_values(batch, use, warning);
    effects->warning_count += rc == 0;
    return rc;
}

static uint64_t period_of(const struct batch *batch, const struct ledger_rule *rule) {
    bool is_calendar = rule->window != WINDOW_ROLLING && rule->window != WINDOW_LIFETIME;
    return is_calendar ? use_window_start(rule, 0, batch->moment.now_us) : 0;
}

/* A threshold that booked use has reached: told, unless it was told before and use has been
 * above it since. */
static int reached(struct batch *batch, struct use *use, uint8_t threshold, uint64_t percent) {
    struct mark mark, now = {period_of(batch, use->rule), use->limit, batch->last_id};
    int rc = marks_find_warned(batch->txn, batch->moment.warned, use->rule->name, use->series,
                               threshold, &mark);
    bool told = rc == 0 && mark.period_us == now.period_us && mark.limit == now.limit &&
                use->first_percent >= threshold;
    if (told || (rc != 0 && rc != MDB_NOTFOUND))
        return rc;
    rc = marks_put_warned(batch->txn, batch->moment.warned, use->rule->name, use->series, threshold,
                          &now);
    return rc == 0 ? add_warning(batch, use, threshold, &now, percent) : rc;
}

static int warn_of(struct batch *batch, struct use *use) {
    int rc = 0;
    if (use->rule->warn_count == 0 || use_is_unlimited(use) || use->used <= 0 || use->limit < 0)
        return 0;
    rc = use_load_grants(&batch->moment, use);
    uint64_t percent = use_percent(use, use->used);
    for (uint8_t i = 0; rc == 0 && i < use->rule->warn_count; i++)
        if (percent >= use->rule->warn[i])
            rc = reached(batch, use, use->rule->warn[i], percent);
    return rc;
}

int publishing_warn(struct batch *batch) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < batch->sums_capacity; i++) {
        struct sums *sums = batch->sums[i];
        if (sums == NULL || !sums->booked || sums->uses.count == 0)
            continue;
        sums_refresh(sums);
        for (size_t k = 0; rc == 0 && k < sums->uses.count; k++)
            rc = warn_of(batch, &sums->uses.items[k]);
    }
    return rc;
}

/* ---- the gate --------------------------------------------------------------------------- */

static void later(uint64_t *word, uint64_t from_us) {
    if (from_us > *word)
        *word = from_us;
}

/* From when on the rules that could deny leave room for anything. */
static int words_of(struct batch *batch, struct use *uses, size_t count, struct gate_words *words) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct use *use = &uses[i];
        uint64_t ok = 0, critical;
        if (use->rule->effect != EFFECT_DENY || use_is_unlimited(use))
            continue;
        if (use->rule->soft > 0)
            rc = use_load_grants(&batch->moment, use);
        if (rc == 0)
            rc = use_admits_from(&batch->moment, use, 1, false, &ok);
        critical = ok;
        if (rc == 0 && use->rule->soft > 0)
            rc = use_admits_from(&batch->moment, use, 1, true, &critical);
        later(&words->ok_from_us, ok);
        later(&words->critical_from_us, critical);
    }
    return rc;
}

static int words_of_sums(struct batch *batch, struct sums *sums, struct gate_words *words) {
    sums_refresh(sums);
    *words =
        (struct gate_words){.invocations = (uint64_t)sums->block.totals.column[COLUMN_INVOCATIONS]};
    return words_of(batch, sums->uses.items, sums->uses.count, words);
}

static int update_touched(struct batch *batch) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < batch->sums_capacity; i++) {
        struct sums *sums = batch->sums[i];
        if (sums == NULL || sums->state < 0 || !(sums->booked || sums->held_changed))
            continue;
        struct gate_update *update = &batch->updates[batch->update_count++];
        update->state = (uint32_t)sums->state;
        rc = words_of_sums(batch, sums, &update->words);
    }
    return rc;
}

/* Every state, also those in which nothing was booked yet. */
static int update_all_states(struct batch *batch, int family) {
    int rc = 0;
    for (uint32_t state = 0; rc == 0 && state < batch->policy->state_count; state++) {
        struct gate_update *update = &batch->updates[batch->update_count++];
        struct ledger_text names[DIMENSION_LIMIT] = {0};
        uint32_t series;
        update->state = state;
        names[DIMENSION_STATE] = batch->policy->states[state];
        rc = batch_find_series(batch, family, names, false, &series);
        if (rc == 0) {
            struct sums *sums;
            rc = sums_get(batch, family, series, names, &sums);
            if (rc == 0)
                rc = words_of_sums(batch, sums, &update->words);
        } else if (rc == MDB_NOTFOUND) {
            batch->uses.count = 0;
            update->words = (struct gate_words){0};
            rc = sums_uses(batch, family, names, &batch->uses);
            if (rc == 0)
                rc = words_of(batch, batch->uses.items, batch->uses.count, &update->words);
        }
    }
    return rc;
}

static int family_of_states(const struct ledger *ledger) {
    for (size_t i = 0; i < ledger->declared_count; i++)
        if (ledger->declared[i].count == 1 && ledger->declared[i].dimensions[0] == DIMENSION_STATE)
            return (int)i + 1;
    return -1;
}

/* Rules over everything hold for each state alike, and may change with every batch. */
static int update_everything(struct batch *batch) {
    static const struct ledger_text no_names[DIMENSION_LIMIT];
    struct sums *sums = sums_find(batch, SERIES_EVERYTHING);
    bool has_rules = batch->plan->value_first[FAMILY_EVERYTHING + 1] > 0;
    int rc = 0;
    batch->all_changed = batch->all_states || (has_rules && sums != NULL);
    if (!batch->all_changed)
        return 0;
    rc = sums_get(batch, FAMILY_EVERYTHING, SERIES_EVERYTHING, no_names, &sums);
    return rc == 0 ? words_of_sums(batch, sums, &batch->all) : rc;
}

int publishing_gate(struct batch *batch) {
    int family = family_of_states(batch->ledger);
    batch->updates = calloc((size_t)batch->policy->state_count + 1, sizeof *batch->updates);
    if (batch->updates == NULL)
        return ENOMEM;
    int rc = update_everything(batch);
    if (rc != 0)
        return rc;
    return batch->all_states && family > 0 ? update_all_states(batch, family)
                                           : update_touched(batch);
}
