#include "use.h"

#include <string.h>

#include "error.h"
#include "marks.h"
#include "period.h"
#include "series.h"

ledger_sum use_measure(enum rule_measure measure, const struct totals *totals) {
    static const enum totals_column columns[] = {
        [MEASURE_INVOCATIONS] = COLUMN_INVOCATIONS,
        [MEASURE_COMPLETED_INVOCATIONS] = COLUMN_COMPLETED,
        [MEASURE_COST] = COLUMN_COST,
        [MEASURE_COMPLETED_COST] = COLUMN_COMPLETED_COST,
        [MEASURE_CREDITS] = COLUMN_CREDITS,
        [MEASURE_COMPLETED_CREDITS] = COLUMN_COMPLETED_CREDITS,
    };
    if (measure != MEASURE_TOKENS)
        return totals->column[columns[measure]];
    ledger_sum sum = 0;
    for (int column = COLUMN_INPUT_TOKENS; column <= COLUMN_REASONING_TOKENS; column++)
        sum += totals->column[column];
    return sum;
}

static bool is_credits(const struct ledger_rule *rule) {
    return rule->measure == MEASURE_CREDITS || rule->measure == MEASURE_COMPLETED_CREDITS;
}

static ledger_sum granted(const struct ledger_rule *rule, const struct totals *totals) {
    return totals->column[is_credits(rule) ? COLUMN_GRANTED_CREDITS : COLUMN_GRANTED_COST];
}

static ledger_sum withdrawn(const struct ledger_rule *rule, const struct totals *totals) {
    return totals->column[is_credits(rule) ? COLUMN_WITHDRAWN_CREDITS : COLUMN_WITHDRAWN_COST];
}

/* ---- the window ------------------------------------------------------------------------- */

/* Entries from this ms on are in the window. */
static int64_t first_ms(const struct ledger_rule *rule, int64_t now_us) {
    int64_t now_ms = now_us / 1000, start = 0, end;
    if (rule->window == WINDOW_ROLLING)
        start = now_ms - (int64_t)rule->window_ms;
    else if (rule->window != WINDOW_LIFETIME)
        period_bounds(rule->window, rule->offset_minutes, now_ms, &start, &end);
    return start > 0 ? start : 0;
}

uint64_t use_window_start(const struct ledger_rule *rule, uint64_t since, int64_t now_us) {
    uint64_t start = (uint64_t)first_ms(rule, now_us) * 1000;
    return since >= start ? since + 1 : start;
}

int use_begin(const struct moment *moment, const struct ledger_rule *rule, uint32_t series,
              bool exists, struct use *use) {
    int rc = 0;
    *use = (struct use){.rule = rule, .series = series, .exists = exists};
    if (!exists)
        return 0;
    if (moment->any_reset)
        rc = marks_find_reset(moment->txn, moment->warned, rule->name, series, &use->since);
    uint64_t start = use_window_start(rule, use->since, moment->now_us);
    if (rc == 0 && start > 1) {
        struct totals before;
        rc = series_totals_before(moment->series, series, start, &before);
        use->before = use_measure(rule->measure, &before);
    }
    return rc;
}

void use_refresh(struct use *use, const struct totals *totals, const struct held *held) {
    const struct ledger_rule *rule = use->rule;
    use->limit = rule->limit;
    if (use->exists) {
        use->used = use_measure(rule->measure, totals) - use->before;
        use->held = held->column[held_column_of(rule->measure)];
        use->held_until_us = use->held > 0 ? held->until_us : 0;
    }
    if (rule->granted) {
        use->grants = use->exists ? granted(rule, totals) : 0;
        use->limit = use->grants - (use->exists ? withdrawn(rule, totals) : 0);
    }
}

/* ---- grants ----------------------------------------------------------------------------- */

/* What was used of the grants, what was taken back included: the oldest are used first. */
static ledger_sum consumed(const struct use *use) {
    return use->used + use->grants - use->limit;
}

static ledger_sum granted_sum(const void *rule, const struct totals *totals) {
    return granted(rule, totals);
}

int use_load_grants(const struct moment *moment, struct use *use) {
    ledger_sum gone = consumed(use);
    if (!use->rule->granted || (use->has_spent && use->spent <= gone && gone < use->spent_next))
        return 0;
    use->has_spent = true;
    use->spent = use->spent_next = use->grants;
    if (gone >= use->grants)
        return 0;
    if (moment->save != NULL) {
        int rc = moment->save(moment->context, use->series);
        if (rc != 0)
            return rc;
    }
    /* The grant with which the sum passes what is gone is the one that is being used. */
    uint64_t id;
    struct totals below, with;
    int rc = series_reach(moment->series, use->series, granted_sum, use->rule, gone + 1, 0,
                          UINT64_MAX, &id);
    if (rc == 0)
        rc = series_totals_before(moment->series, use->series, id, &below);
    if (rc == 0)
        rc = series_totals_before(moment->series, use->series, id + 1, &with);
    if (rc == 0) {
        use->spent = granted(use->rule, &below);
        use->spent_next = granted(use->rule, &with);
    }
    return rc;
}

/* ---- deciding --------------------------------------------------------------------------- */

bool use_is_unlimited(const struct use *use) {
    return !use->rule->granted && use->rule->limit == RULE_UNLIMITED;
}

ledger_sum use_hard_cap(const struct use *use) {
    return use->limit + (use->rule->granted ? (ledger_sum)use->rule->grace : 0);
}

ledger_sum use_cap(const struct use *use, bool critical) {
    if (critical || use->rule->soft == 0)
        return use_hard_cap(use);
    if (!use->rule->granted)
        return use->limit * use->rule->soft / 100;
    ledger_sum open = use->grants - use->spent;
    return use->spent + open * use->rule->soft / 100 - (use->grants - use->limit);
}

uint64_t use_percent(const struct use *use, ledger_sum of) {
    ledger_sum part = of, whole = use->limit;
    if (use_is_unlimited(use))
        return 0;
    if (use->rule->granted) {
        part = of + use->grants - use->limit - use->spent;
        whole = use->grants - use->spent;
    }
    if (whole <= 0)
        return 100;
    ledger_sum percent = part * 100 / whole;
    if (percent > ENTRY_AMOUNT_MAX)
        return ENTRY_AMOUNT_MAX;
    return percent < 0 ? 0 : (uint64_t)percent;
}

enum rule_reason use_decide(const struct use *use, ledger_sum amount, bool critical) {
    if (use->lacks)
        return RULE_REQUIRED;
    if (amount == 0 || use_is_unlimited(use) || use->rule->effect == EFFECT_WARN)
        return RULE_ADMITS;
    if (use->full)
        return RULE_TOO_MANY_VALUES;
    ledger_sum after = use->used + use->held + amount;
    if (after > use_hard_cap(use))
        return RULE_LIMIT;
    return after > use_cap(use, critical) ? RULE_SOFT : RULE_ADMITS;
}

/* ---- when ------------------------------------------------------------------------------- */

static ledger_sum measured_sum(const void *rule, const struct totals *totals) {
    return use_measure(((const struct ledger_rule *)rule)->measure, totals);
}

/* The ms at which so many of the oldest entries have left the window that there is room: after
 * the entry with which the measure's sum, from the first on, reaches what must be gone. */
static int rolling_from(const struct moment *moment, const struct use *use, ledger_sum gone,
                        uint64_t *from_us) {
    uint64_t id, start = use_window_start(use->rule, use->since, moment->now_us);
    int rc = series_reach(moment->series, use->series, measured_sum, use->rule, gone, start,
                          UINT64_MAX, &id);
    *from_us = (id / 1000 + 1 + use->rule->window_ms) * 1000;
    return rc;
}

/* At the end of this period; or of the next, where ids ran ahead of the clock into it. */
static int calendar_from(const struct moment *moment, const struct use *use, ledger_sum gone,
                         uint64_t *from_us) {
    int64_t at_ms = moment->now_us / 1000, start;
    struct totals before;
    int rc;
    do {
        period_bounds(use->rule->window, use->rule->offset_minutes, at_ms, &start, &at_ms);
        rc = series_totals_before(moment->series, use->series, (uint64_t)at_ms * 1000, &before);
    } while (rc == 0 && use_measure(use->rule->measure, &before) < gone);
    *from_us = (uint64_t)at_ms * 1000;
    return rc;
}

int use_admits_from(const struct moment *moment, const struct use *use, ledger_sum amount,
                    bool critical, uint64_t *from_us) {
    enum rule_reason reason = use_decide(use, amount, critical);
    ledger_sum room = use_cap(use, critical) - use->held - amount;
    *from_us = 0;
    if (reason == RULE_ADMITS)
        return 0;
    *from_us = USE_NEVER;
    if (reason == RULE_REQUIRED || reason == RULE_TOO_MANY_VALUES || room < 0 || !use->exists ||
        use->rule->window == WINDOW_LIFETIME)
        return 0;
    if (moment->save != NULL) {
        int rc = moment->save(moment->context, use->series);
        if (rc != 0)
            return rc;
    }
    ledger_sum gone = use->before + use->used - room;
    if (use->rule->window == WINDOW_ROLLING)
        return rolling_from(moment, use, gone, from_us);
    return calendar_from(moment, use, gone, from_us);
}

/* Id of a series' first entry; 0: none. */
static int first_id(const struct moment *moment, uint32_t series, uint64_t *id) {
    uint8_t bytes[SERIES_KEY_BYTES] = {0};
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be32(bytes, series);
    *id = 0;
    int rc = mdb_cursor_get(moment->series, &key, &value, MDB_SET_RANGE);
    if (rc == 0 && key.mv_size == SERIES_KEY_BYTES && get_be32(key.mv_data) == series)
        *id = get_be64((uint8_t *)key.mv_data + 4);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int use_forecast(const struct moment *moment, const struct use *use, uint64_t *at_us) {
    ledger_sum left = use->limit - use->used - use->held;
    int64_t start = 0, end = INT64_MAX / 1000, now_ms = moment->now_us / 1000;
    uint64_t first;
    *at_us = 0;
    if (use_is_unlimited(use) || !use->exists || use->used <= 0 || left <= 0)
        return 0;
    int rc = moment->save == NULL ? 0 : moment->save(moment->context, use->series);
    if (rc == 0)
        rc = first_id(moment, use->series, &first);
    if (rc != 0)
        return rc;
    if (use->rule->window == WINDOW_ROLLING)
        start = now_ms - (int64_t)use->rule->window_ms;
    else if (use->rule->window != WINDOW_LIFETIME)
        period_bounds(use->rule->window, use->rule->offset_minutes, now_ms, &start, &end);
    bool is_calendar = use->rule->window != WINDOW_ROLLING && use->rule->window != WINDOW_LIFETIME;
    uint64_t from = is_calendar ? 0 : first;
    if (use->since > from)
        from = use->since;
    if ((int64_t)(from / 1000) > start)
        start = (int64_t)(from / 1000);
    ledger_sum age = now_ms - start;
    ledger_sum at_ms = now_ms + left * (age > 0 ? age : 1) / use->used;
    if (at_ms < end)
        *at_us = (uint64_t)at_ms * 1000;
    return 0;
}
