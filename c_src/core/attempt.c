#include "attempt.h"

#include <errno.h>
#include <stdlib.h>

void attempt_amounts(const struct ledger_entry *estimate, struct attempt *attempt) {
    attempt->given |= 1 << HELD_INVOCATIONS;
    attempt->amount[HELD_INVOCATIONS] = estimate->kind == KIND_INVOCATION;
    if (estimate->given & ENTRY_COST) {
        attempt->given |= 1 << HELD_COST;
        attempt->amount[HELD_COST] = estimate->cost;
    }
    if (estimate->given & ENTRY_CREDITS) {
        attempt->given |= 1 << HELD_CREDITS;
        attempt->amount[HELD_CREDITS] = estimate->credits;
    }
    if (estimate->given & ENTRY_TOKENS) {
        attempt->given |= 1 << HELD_TOKENS;
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            attempt->amount[HELD_TOKENS] += estimate->tokens[class];
    }
}

void uses_free(struct uses *uses) {
    free(uses->items);
    *uses = (struct uses){0};
}

int uses_add(struct uses *uses, const struct use *use) {
    if (uses->count == uses->capacity) {
        size_t capacity = uses->capacity == 0 ? 8 : 2 * uses->capacity;
        struct use *grown = realloc(uses->items, capacity * sizeof *grown);
        if (grown == NULL)
            return ENOMEM;
        uses->items = grown;
        uses->capacity = capacity;
    }
    uses->items[uses->count++] = *use;
    return 0;
}

static bool has_names(const struct declared_series *family, const struct ledger_text *names) {
    for (uint8_t i = 0; i < family->count; i++)
        if (names[family->dimensions[i]].data == NULL)
            return false;
    return true;
}

int uses_collect(const struct uses_source *source, const struct ledger_text *names,
                 struct uses *uses) {
    int rc = source->family(source->context, FAMILY_EVERYTHING, names, uses);
    for (size_t i = 0; rc == 0 && i < source->declared_count; i++)
        if (source->declared[i].ready && has_names(&source->declared[i], names))
            rc = source->family(source->context, (int)i + 1, names, uses);
    for (uint32_t i = 0; rc == 0 && i < source->plan->required_count; i++) {
        static const struct totals no_totals;
        static const struct held no_held;
        const struct ledger_rule *rule = &source->policy->rules[source->plan->required[i]];
        struct use use = {.rule = rule, .lacks = true};
        use_refresh(&use, &no_totals, &no_held); /* for its limit */
        if (rule->effect != EFFECT_WARN && rule_matches(rule, names) == RULE_LACKS)
            rc = uses_add(uses, &use);
    }
    return rc;
}

/* Limit 0 needs no estimate to deny. */
static bool needs_estimate(const struct use *use) {
    return !use->lacks && use->rule->effect != EFFECT_WARN && !use_is_unlimited(use) &&
           (use->rule->granted || use->rule->limit > 0);
}

int attempt_estimate(struct attempt *attempt, const struct uses *uses,
                     const struct ledger_rule **rule) {
    uint32_t said = attempt->given, estimated = 0;
    for (size_t i = 0; i < uses->count; i++) {
        const struct use *use = &uses->items[i];
        enum held_column column = held_column_of(use->rule->measure);
        int64_t estimate = (int64_t)use->rule->default_estimate;
        if (said & 1u << column || use->lacks || estimate == 0)
            continue;
        estimated |= 1u << column;
        if (estimate > attempt->amount[column])
            attempt->amount[column] = estimate;
    }
    for (size_t i = 0; i < uses->count; i++) {
        const struct use *use = &uses->items[i];
        *rule = use->rule;
        if (!((said | estimated) & 1u << held_column_of(use->rule->measure)) && needs_estimate(use))
            return LEDGER_E_ESTIMATE_REQUIRED;
    }
    attempt->given |= estimated;
    return 0;
}

ledger_sum attempt_amount(const struct attempt *attempt, const struct use *use) {
    enum held_column column = held_column_of(use->rule->measure);
    if (!(attempt->given & 1u << column))
        return 1;
    int64_t amount = attempt->amount[column];
    struct hold_share *share = NULL;
    if (attempt->parent != NULL && use->exists)
        share = hold_share_of(attempt->parent, use->series);
    if (share == NULL)
        return amount;
    return share->held[column] >= amount ? 0 : amount - share->held[column];
}

bool attempt_admitted(const struct moment *moment, const struct attempt *attempt, struct uses *uses,
                      bool degrades, int *rc) {
    *rc = 0;
    for (size_t i = 0; i < uses->count; i++) {
        struct use *use = &uses->items[i];
        if (use->rule->soft > 0 && !attempt->critical && (*rc = use_load_grants(moment, use)) != 0)
            return false;
        if (use->rule->effect == EFFECT_DEGRADE && !degrades && !use->lacks && !use->full)
            continue;
        if (use_decide(use, attempt_amount(attempt, use), attempt->critical) != RULE_ADMITS)
            return false;
    }
    return true;
}
