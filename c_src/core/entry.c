/* What the format demands of an entry, and what an entry adds up to. */
#include "entry.h"

static bool in_range(const int64_t *values, size_t count, int64_t min) {
    for (size_t i = 0; i < count; i++)
        if (values[i] < min || values[i] > ENTRY_AMOUNT_MAX)
            return false;
    return true;
}

const char *entry_check(const struct ledger_entry *entry) {
    bool has_outcome = entry->kind == KIND_INVOCATION || entry->kind == KIND_RUN;
    int64_t least = entry->kind == KIND_CORRECTION ? -ENTRY_AMOUNT_MAX : 0;
    if (entry->kind < KIND_INVOCATION || entry->kind > KIND_PRICE)
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
    if ((entry->given & ENTRY_BREAKDOWN) && !in_range(entry->breakdown, COST_PARTS, least))
        return "breakdown";
    if ((entry->given & ENTRY_OCCURRED_AT) &&
        (entry->occurred_at_ms < 0 || entry->occurred_at_ms > INT64_MAX / 1000))
        return "occurred_at";
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        bool named = entry->names[dimension].data != NULL || entry->name_numbers[dimension] != 0;
        bool empty = entry->names[dimension].data != NULL && entry->names[dimension].size == 0;
        if (empty || (named && !entry_dimension_is_assigned(dimension)))
            return "names";
    }
    bool has_state =
        entry->names[DIMENSION_STATE].data != NULL || entry->name_numbers[DIMENSION_STATE] != 0;
    if (entry->kind == KIND_INVOCATION && !has_state)
        return "state";
    return NULL;
}

void entry_amounts(const struct ledger_entry *entry, struct amounts *amounts) {
    static const enum totals_column status_columns[] = {
        [STATUS_COMPLETED] = COLUMN_COMPLETED,
        [STATUS_FAILED] = COLUMN_FAILED,
        [STATUS_ABORTED] = COLUMN_ABORTED,
    };
    amounts->mask = 0;
    if (entry->kind != KIND_INVOCATION)
        return;
    bool completed = entry->status == STATUS_COMPLETED;
    amounts_set(amounts, COLUMN_INVOCATIONS, 1);
    amounts_set(amounts, status_columns[entry->status], 1);
    amounts_set(amounts, COLUMN_DURATION_MS, entry->duration_ms);
    if (entry->given & ENTRY_COST) {
        amounts_set(amounts, COLUMN_COST, entry->cost);
        amounts_set(amounts, COLUMN_COMPLETED_COST, completed ? entry->cost : 0);
    } else {
        amounts_set(amounts, COLUMN_UNPRICED, 1);
    }
    if (entry->given & ENTRY_CREDITS) {
        amounts_set(amounts, COLUMN_CREDITS, entry->credits);
        amounts_set(amounts, COLUMN_COMPLETED_CREDITS, completed ? entry->credits : 0);
    }
    if (entry->given & ENTRY_TOKENS)
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            amounts_set(amounts, COLUMN_INPUT_TOKENS + class, entry->tokens[class]);
}
