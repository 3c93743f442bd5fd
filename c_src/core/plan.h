/* A policy's rules, sorted by the family of series that they are over, so that only those are
 * looked at which may match. Derived from a policy and the declared families.
 *
 * Thread class: any; allocates, does not block. */
#ifndef LEDGER_PLAN_H
#define LEDGER_PLAN_H

#include "policy.h"

#define DECLARED_MAX 64
#define FAMILIES_MAX (1 + DECLARED_MAX)
#define FAMILY_EVERYTHING 0 /* series 0 alone; family 1 + i is the declared one at i */

/* The dimensions of one declared family of series, ascending. */
struct declared_series {
    uint8_t count;
    uint8_t dimensions[RULE_SCOPE_MAX];
    bool ready;        /* false: not built up to the newest entry yet */
    uint64_t built_to; /* of one that is not ready: entries below this id are in */
    uint64_t from;     /* what it counts begins here; 0: with the first entry (retention.h) */
};

struct plan_value {
    uint64_t hash; /* of the values of a rule without `each` */
    uint32_t rule;
};

struct plan {
    uint32_t value_first[FAMILIES_MAX + 1];
    struct plan_value *values; /* by family, then by hash */
    uint32_t each_first[FAMILIES_MAX + 1];
    uint32_t *each; /* rules with `each`, by family */
    uint32_t required_count;
    uint32_t *required;       /* rules with `require` */
    uint32_t *replaced_first; /* by rule; one more than there are rules */
    uint32_t *replaced_by;    /* rules with `each` that take a rule's place where they match too */
};

/* 0, ENOMEM, or LEDGER_E_UNDECLARED_SERIES / LEDGER_E_BUILDING with *rule the index of the rule
 * at fault. plan_free() in any case. */
int plan_make(const struct ledger_policy *policy, const struct declared_series *declared,
              size_t declared_count, struct plan *plan, uint32_t *rule);
void plan_free(struct plan *plan);

/* Family of a rule, or -1. */
int plan_family(const struct ledger_rule *rule, const struct declared_series *declared,
                size_t declared_count);

/* Calls `found` for each rule of the family that speaks of these names, all of which the family
 * needs are there; rules that others replace are left out. Stops when it does not return 0. */
typedef int plan_found(void *context, const struct ledger_rule *rule);
int plan_match(const struct plan *plan, const struct ledger_policy *policy, int family,
               const struct ledger_text *names, plan_found *found, void *context);

#endif
