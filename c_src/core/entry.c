/* What the format demands of an entry, and what an entry adds up to. */
#include "entry.h"

static bool in_range(const int64_t *values, size_t count, int64_t min) {
    const uint64_t lowest = (uint64_t)min, span = (uint64_t)ENTRY_AMOUNT_MAX - lowest;
    bool all = true;
    for (size_t i = 0; i < count; i++)
        all &= (uint64_t)values[i] - lowest <= span;
    return all;
}

/* The parts of a cost, which add up to it. */
static bool is_sound_breakdown(const struct ledger_entry *entry) {
    int64_t sum = 0;
    for (int part = 0; part < COST_PARTS; part++)
        sum += entry->breakdown[part];
    if (entry->given & ENTRY_PRICING)
        return entry->breakdown[COST_TOKENS] == 0;
    return entry->given & ENTRY_COST && sum == entry->cost;
}

static bool is_sound_run_id(struct ledger_text id) {
    return id.data == NULL || (id.size > 0 && id.size <= ENTRY_RUN_ID_BYTES_MAX);
}

/* What only the record of an invocation or a run may have. */
static const char *check_record(const struct ledger_entry *entry, bool is_record) {
    const uint32_t priced = ENTRY_TOKENS | ENTRY_COST;
    if ((entry->given & ENTRY_PRICING) && (!is_record || (entry->given & priced) != ENTRY_TOKENS))
        return "cost";
    if ((entry->given & ENTRY_UNIT_PRICES) && (!is_record || (entry->given & priced) != priced))
        return "unit_prices";
    if ((!is_record && entry->run_id.data != NULL) || !is_sound_run_id(entry->run_id))
        return "run_id";
    if ((!is_record && entry->parent_run.data != NULL) || !is_sound_run_id(entry->parent_run))
        return "parent_run";
    return NULL;
}

static const char *check(const struct ledger_entry *entry, uint64_t named) {
    bool has_outcome = entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN;
    bool may_be_negative = entry->kind == KIND_CORRECTION || entry->kind == KIND_GRANT;
    int64_t least = may_be_negative ? -ENTRY_AMOUNT_MAX : 0;
    if (entry->kind < KIND_INVOCATION || entry->kind > KIND_REDACTION)
        return "kind";
    if (has_outcome != (entry->status != STATUS_NONE) || entry->status > STATUS_ABORTED)
        return "status";
    if (!in_range(&entry->duration_ms, 1, 0))
        return "duration_ms";
    if ((entry->given & ENTRY_COST) && !in_range(&entry->cost, 1, least))
        return "cost";
    if ((entry->given & ENTRY_CREDITS) && !in_range(&entry->credits, 1, least))
        return "credits";
    if ((entry->given & ENTRY_TOKENS) && !in_range(entry->tokens, TOKENS_CLASSES, least))
        return "tokens";
    if ((entry->given & ENTRY_BREAKDOWN) &&
        (!in_range(entry->breakdown, COST_PARTS, least) || !is_sound_breakdown(entry)))
        return "breakdown";
    if ((entry->given & ENTRY_OCCURRED_AT) &&
        (entry->occurred_at_ms < 0 || entry->occurred_at_ms > INT64_MAX / 1000))
        return "occurred_at";
    if ((named & ~ENTRY_DIMENSIONS) != 0)
        return "names";
    if (entry->kind == KIND_INVOCATION && !(named & UINT64_C(1) << DIMENSION_STATE))
        return "state";
    return check_record(entry, has_outcome);
}

const char *entry_check(const struct ledger_entry *entry) {
    uint64_t named = 0;
    bool any_empty = false;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        const struct ledger_text *name = &entry->names[dimension];
        bool is_named = name->data != NULL || entry->name_numbers[dimension] != 0;
        any_empty = any_empty || (name->data != NULL && name->size == 0);
        named |= (uint64_t)is_named << dimension;
    }
    const char *wrong = check(entry, named);
    return wrong == NULL && any_empty ? "names" : wrong;
}

const char *entry_check_read(const struct ledger_entry *entry) {
    return check(entry, entry->named);
}

/* ---- what follows from an entry ---------------------------------------------------------- */

struct ledger_text entry_status_name(const struct ledger_entry *entry,
                                     const struct ledger_entry *corrected) {
    enum ledger_status status = entry->status;
    /* Also of what was completed late: else the sums of neither status would be what was spent
     * there, and what was unpriced would be less than nothing in one of them. */
    if (entry->kind == KIND_CORRECTION && corrected != NULL)
        status = corrected->status;
    switch (status) {
    case STATUS_COMPLETED:
        return (struct ledger_text){"completed", 9};
    case STATUS_FAILED:
        return (struct ledger_text){"failed", 6};
    case STATUS_ABORTED:
        return (struct ledger_text){"aborted", 7};
    case STATUS_NONE:
        break;
    }
    return (struct ledger_text){0};
}

int64_t entry_cache_savings(const struct ledger_entry *entry) {
    static const int classes[] = {TOKENS_CACHE_READ, TOKENS_CACHE_CREATION};
    ledger_sum saved = UNITS_A_NANO / 2;
    if (!(entry->given & ENTRY_UNIT_PRICES))
        return 0;
    for (int i = 0; i < 2; i++)
        saved +=
            (ledger_sum)entry->tokens[classes[i]] * ((ledger_sum)entry->unit_prices[TOKENS_INPUT] -
                                                     (ledger_sum)entry->unit_prices[classes[i]]);
    ledger_sum nanos = saved / UNITS_A_NANO;
    if (saved % UNITS_A_NANO < 0)
        nanos--;
    if (nanos > ENTRY_AMOUNT_MAX)
        return ENTRY_AMOUNT_MAX;
    return nanos < -ENTRY_AMOUNT_MAX ? -ENTRY_AMOUNT_MAX : (int64_t)nanos;
}

static void add_priced(const struct ledger_entry *entry, struct amounts *amounts) {
    bool completed = entry->status == STATUS_COMPLETED;
    if (entry->given & ENTRY_COST) {
        amounts_set(amounts, COLUMN_COST, entry->cost);
        amounts_set(amounts, COLUMN_COMPLETED_COST, completed ? entry->cost : 0);
    }
    if (entry->given & ENTRY_CREDITS) {
        amounts_set(amounts, COLUMN_CREDITS, entry->credits);
        amounts_set(amounts, COLUMN_COMPLETED_CREDITS, completed ? entry->credits : 0);
    }
    if (entry->given & ENTRY_TOKENS)
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            amounts_set(amounts, COLUMN_INPUT_TOKENS + class, entry->tokens[class]);
    amounts_set(amounts, COLUMN_CACHE_SAVINGS, entry_cache_savings(entry));
}

/* Budgets are held to the gross columns, which never fall; reports add the corrected ones. */
static void add_difference(struct amounts *amounts, int64_t difference, enum totals_column gross,
                           enum totals_column corrected) {
    amounts_set(amounts, difference > 0 ? gross : corrected, difference);
}

/* What a late completion turns out to have cost in all. */
static void add_completed(const struct ledger_entry *entry, const struct ledger_entry *corrected,
                          struct amounts *amounts) {
    int64_t cost = corrected->cost + entry->cost, credits = corrected->credits + entry->credits;
    bool is_run = corrected->kind == KIND_RUN;
    amounts_set(amounts, is_run ? COLUMN_RUNS_COMPLETED : COLUMN_COMPLETED, 1);
    amounts_set(amounts, is_run ? COLUMN_LATE_RUNS_COMPLETED : COLUMN_LATE_COMPLETED, 1);
    amounts_set(amounts, COLUMN_COMPLETED_COST, cost > 0 ? cost : 0);
    amounts_set(amounts, COLUMN_COMPLETED_CREDITS, credits > 0 ? credits : 0);
}

/* What a call that completed turns out to have cost beyond that: gross, like what it cost. */
static void add_to_completed(const struct ledger_entry *entry, struct amounts *amounts) {
    amounts_set(amounts, COLUMN_COMPLETED_COST, entry->cost > 0 ? entry->cost : 0);
    amounts_set(amounts, COLUMN_COMPLETED_CREDITS, entry->credits > 0 ? entry->credits : 0);
}

static void add_correction(const struct ledger_entry *entry, const struct ledger_entry *corrected,
                           struct amounts *amounts) {
    amounts_set(amounts, COLUMN_CORRECTIONS, 1);
    add_difference(amounts, entry->cost, COLUMN_COST, COLUMN_CORRECTED_COST);
    amounts_set(amounts, COLUMN_CORRECTIONS_COST, entry->cost > 0 ? entry->cost : 0);
    add_difference(amounts, entry->credits, COLUMN_CREDITS, COLUMN_CORRECTED_CREDITS);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        add_difference(amounts, entry->tokens[class], COLUMN_INPUT_TOKENS + class,
                       COLUMN_CORRECTED_INPUT_TOKENS + class);
    if (entry->flags & ENTRY_COMPLETES)
        add_completed(entry, corrected, amounts);
    else if (entry->flags & ENTRY_OF_COMPLETED)
        add_to_completed(entry, amounts);
    if (entry->flags & ENTRY_PRICES)
        amounts_set(amounts,
                    corrected->kind == KIND_RUN ? COLUMN_CORRECTED_RUNS_UNPRICED
                                                : COLUMN_CORRECTED_UNPRICED,
                    -1);
}

static void add_grant(struct amounts *amounts, int64_t amount, enum totals_column granted,
                      enum totals_column withdrawn) {
    amounts_set(amounts, amount > 0 ? granted : withdrawn, amount > 0 ? amount : -amount);
}

void entry_amounts(const struct ledger_entry *entry, const struct ledger_entry *corrected,
                   struct amounts *amounts) {
    static const enum totals_column invocations_by[] = {
        [STATUS_COMPLETED] = COLUMN_COMPLETED,
        [STATUS_FAILED] = COLUMN_FAILED,
        [STATUS_ABORTED] = COLUMN_ABORTED,
    };
    static const enum totals_column runs_by[] = {
        [STATUS_COMPLETED] = COLUMN_RUNS_COMPLETED,
        [STATUS_FAILED] = COLUMN_RUNS_FAILED,
        [STATUS_ABORTED] = COLUMN_RUNS_ABORTED,
    };
    amounts->mask = 0;
    switch (entry->kind) {
    case KIND_INVOCATION:
        amounts_set(amounts, COLUMN_INVOCATIONS, 1);
        amounts_set(amounts, invocations_by[entry->status], 1);
        amounts_set(amounts, COLUMN_DURATION_MS, entry->duration_ms);
        amounts_set(amounts, COLUMN_UNPRICED, entry->given & ENTRY_COST ? 0 : 1);
        add_priced(entry, amounts);
        break;
    case KIND_RUN: /* its duration is that of its invocations, and more: a sum of its own */
        amounts_set(amounts, COLUMN_RUNS, 1);
        amounts_set(amounts, COLUMN_RUNS_DURATION_MS, entry->duration_ms);
        amounts_set(amounts, runs_by[entry->status], 1);
        amounts_set(amounts, COLUMN_RUNS_UNPRICED, entry->given & ENTRY_COST ? 0 : 1);
        amounts_set(amounts, COLUMN_RUNS_COST, entry->given & ENTRY_COST ? entry->cost : 0);
        add_priced(entry, amounts);
        break;
    case KIND_CORRECTION:
        add_correction(entry, corrected, amounts);
        break;
    case KIND_GRANT:
        amounts_set(amounts, COLUMN_GRANTS, 1);
        add_grant(amounts, entry->cost, COLUMN_GRANTED_COST, COLUMN_WITHDRAWN_COST);
        add_grant(amounts, entry->credits, COLUMN_GRANTED_CREDITS, COLUMN_WITHDRAWN_CREDITS);
        break;
    case KIND_RELEASE:
    case KIND_POLICY:
    case KIND_RESET:
    case KIND_PRICE:
    case KIND_REDACTION:
        break;
    }
}
