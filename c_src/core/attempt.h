/* An attempt against all rules: which of them speak of it, and what they say together.
 *
 * Thread class: any that has the uses; allocates, does not block. */
#ifndef LEDGER_ATTEMPT_H
#define LEDGER_ATTEMPT_H

#include "hold.h"
#include "plan.h"
#include "use.h"

struct attempt {
    const struct ledger_text *names; /* by dimension; data NULL: absent */
    bool critical;
    uint32_t given; /* bit N: amount[N] was said, else only room for something is asked for */
    int64_t amount[HELD_COLUMNS];
    struct hold *parent; /* lends what it holds in a series; NULL: nobody does */
};

/* The amounts that an entry, as an estimate, asks for. */
void attempt_amounts(const struct ledger_entry *estimate, struct attempt *attempt);

/* A growing list of uses. Zeroed is empty. */
struct uses {
    struct use *items;
    size_t count;
    size_t capacity;
};
void uses_free(struct uses *uses);
int uses_add(struct uses *uses, const struct use *use);

/* Where the series of a family stands for an attempt, and the uses of the rules over it. */
struct uses_source {
    const struct ledger_policy *policy;
    const struct plan *plan;
    const struct declared_series *declared;
    size_t declared_count;
    /* Adds to `uses` those of one family, all of whose dimensions the names have. */
    int (*family)(void *context, int family, const struct ledger_text *names, struct uses *uses);
    void *context;
};
/* Every rule that speaks of these names, and those that miss a dimension they require. */
int uses_collect(const struct uses_source *source, const struct ledger_text *names,
                 struct uses *uses);

/* Gives every amount that was not said the largest default estimate of the rules that measure it.
 * LEDGER_E_ESTIMATE_REQUIRED with *rule where there is none but a rule that could deny. */
int attempt_estimate(struct attempt *attempt, const struct uses *uses,
                     const struct ledger_rule **rule);

/* What the attempt asks of one rule, what its parent lends not counted. */
ledger_sum attempt_amount(const struct attempt *attempt, const struct use *use);

/* True when no rule denies. `degrades`: rules that would degrade deny as well, as in reserving. */
bool attempt_admitted(const struct moment *moment, const struct attempt *attempt, struct uses *uses,
                      bool degrades, int *rc);

#endif
