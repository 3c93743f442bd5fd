#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

int plan_family(const struct ledger_rule *rule, const struct declared_series *declared,
                size_t declared_count) {
    if (rule->scope_count == 0)
        return FAMILY_EVERYTHING;
    for (size_t i = 0; i < declared_count; i++) {
        bool same = declared[i].count == rule->scope_count;
        for (uint8_t k = 0; same && k < rule->scope_count; k++)
            same = declared[i].dimensions[k] == rule->scope[k].dimension;
        if (same)
            return (int)i + 1;
    }
    return -1;
}

/* FNV-1a over the values, each with its size. */
static uint64_t hash_text(uint64_t hash, struct ledger_text text) {
    for (size_t i = 0; i < text.size; i++)
        hash = (hash ^ (uint8_t)text.data[i]) * UINT64_C(0x100000001b3);
    return (hash ^ text.size) * UINT64_C(0x100000001b3);
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

static uint64_t hash_scope(const struct ledger_rule *rule) {
    uint64_t hash = HASH_START;
    for (uint8_t i = 0; i < rule->scope_count; i++)
        hash = hash_text(hash, rule->scope[i].value);
    return hash;
}

static uint64_t hash_names(const struct ledger_rule *shape, const struct ledger_text *names) {
    uint64_t hash = HASH_START;
    for (uint8_t i = 0; i < shape->scope_count; i++)
        hash = hash_text(hash, names[shape->scope[i].dimension]);
    return hash;
}

void plan_free(struct plan *plan) {
    free(plan->values);
    free(plan->each);
    free(plan->required);
    free(plan->replaced_first);
    free(plan->replaced_by);
    *plan = (struct plan){0};
}

static int by_hash(const void *a, const void *b) {
    const struct plan_value *left = a, *right = b;
    if (left->hash != right->hash)
        return left->hash < right->hash ? -1 : 1;
    return left->rule < right->rule ? -1 : left->rule > right->rule;
}

/* For each rule with `each`, the others with `each` that replace it; those without are met where
 * they match. Counts, or fills when `fill`. */
static uint32_t find_replacements(const struct ledger_policy *policy, struct plan *plan,
                                  bool fill) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        if (fill)
            plan->replaced_first[i] = count;
        if (!rule_has_each(&policy->rules[i]))
            continue;
        for (uint32_t j = 0; j < policy->rule_count; j++) {
            if (!rule_has_each(&policy->rules[j]) ||
                !rule_replaces(&policy->rules[j], &policy->rules[i]))
                continue;
            if (fill)
                plan->replaced_by[count] = j;
            count++;
        }
    }
    if (fill)
        plan->replaced_first[policy->rule_count] = count;
    return count;
}

int plan_make(const struct ledger_policy *policy, const struct declared_series *declared,
              size_t declared_count, struct plan *plan, uint32_t *rule) {
    size_t count = (size_t)policy->rule_count + 1;
    int *families = malloc(count * sizeof *families);
    *plan = (struct plan){0};
    plan->values = malloc(count * sizeof *plan->values);
    plan->each = malloc(count * sizeof *plan->each);
    plan->required = malloc(count * sizeof *plan->required);
    plan->replaced_first = malloc(count * sizeof *plan->replaced_first);
    plan->replaced_by =
        malloc((find_replacements(policy, plan, false) + 1) * sizeof *plan->replaced_by);
    int rc = 0;
    if (families == NULL || plan->values == NULL || plan->each == NULL || plan->required == NULL ||
        plan->replaced_first == NULL || plan->replaced_by == NULL)
        rc = ENOMEM;
    for (uint32_t i = 0; rc == 0 && i < policy->rule_count; i++) {
        *rule = i;
        families[i] = plan_family(&policy->rules[i], declared, declared_count);
        if (families[i] < 0)
            rc = LEDGER_E_UNDECLARED_SERIES;
        else if (families[i] > 0 && !declared[families[i] - 1].ready)
            rc = LEDGER_E_BUILDING;
        else if (policy->rules[i].require)
            plan->required[plan->required_count++] = i;
    }
    uint32_t values = 0, each = 0;
    for (size_t family = 0; rc == 0 && family < FAMILIES_MAX; family++) {
        plan->value_first[family] = values;
        plan->each_first[family] = each;
        for (uint32_t i = 0; i < policy->rule_count; i++) {
            if (families[i] != (int)family)
                continue;
            if (rule_has_each(&policy->rules[i]))
                plan->each[each++] = i;
            else
                plan->values[values++] = (struct plan_value){hash_scope(&policy->rules[i]), i};
        }
        uint32_t first = plan->value_first[family];
        qsort(plan->values + first, values - first, sizeof *plan->values, by_hash);
    }
    plan->value_first[FAMILIES_MAX] = values;
    plan->each_first[FAMILIES_MAX] = each;
    if (rc == 0)
        find_replacements(policy, plan, true);
    free(families);
    return rc;
}

static bool is_replaced(const struct plan *plan, const struct ledger_policy *policy, uint32_t rule,
                        const struct ledger_text *names) {
    for (uint32_t i = plan->replaced_first[rule]; i < plan->replaced_first[rule + 1]; i++)
        if (rule_matches(&policy->rules[plan->replaced_by[i]], names) == RULE_MATCHES)
            return true;
    return false;
}

/* First of the family's values whose hash is not below `hash`. */
static uint32_t first_with_hash(const struct plan *plan, int family, uint64_t hash) {
    uint32_t low = plan->value_first[family], high = plan->value_first[family + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->values[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The family's rules without `each` that match; all have one hash. */
static void find_values(const struct plan *plan, const struct ledger_policy *policy, int family,
                        const struct ledger_text *names, uint32_t *first, uint32_t *end) {
    uint32_t family_first = plan->value_first[family], family_end = plan->value_first[family + 1];
    *first = *end = family_first;
    if (family_first == family_end)
        return;
    uint64_t hash = hash_names(&policy->rules[plan->values[family_first].rule], names);
    *first = *end = first_with_hash(plan, family, hash);
    while (*end < family_end && plan->values[*end].hash == hash)
        ++*end;
}

int plan_match(const struct plan *plan, const struct ledger_policy *policy, int family,
               const struct ledger_text *names, plan_found *found, void *context) {
    uint32_t first, end;
    int rc = 0;
    find_values(plan, policy, family, names, &first, &end);
    for (uint32_t i = first; rc == 0 && i < end; i++) {
        const struct ledger_rule *rule = &policy->rules[plan->values[i].rule];
        if (rule_matches(rule, names) == RULE_MATCHES)
            rc = found(context, rule);
    }
    for (uint32_t i = plan->each_first[family]; rc == 0 && i < plan->each_first[family + 1]; i++) {
        const struct ledger_rule *rule = &policy->rules[plan->each[i]];
        bool replaced = rule_matches(rule, names) != RULE_MATCHES ||
                        is_replaced(plan, policy, plan->each[i], names);
        for (uint32_t k = first; !replaced && k < end; k++) {
            const struct ledger_rule *other = &policy->rules[plan->values[k].rule];
            replaced = rule_matches(other, names) == RULE_MATCHES && rule_replaces(other, rule);
        }
        if (!replaced)
            rc = found(context, rule);
    }
    return rc;
}
