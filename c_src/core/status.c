#include "status.h"

#include "period.h"

static enum ledger_level level_of(const struct use *use, uint64_t percent) {
    const struct ledger_rule *rule = use->rule;
    uint64_t approaching = rule->warn_count > 0 ? rule->warn[0] : 80;
    uint64_t critical = rule->warn_count > 1 ? rule->warn[rule->warn_count - 1] : 95;
    if (use->lacks || use_is_unlimited(use))
        return LEVEL_NORMAL;
    if (use->used + use->held >= use_hard_cap(use))
        return LEVEL_EXHAUSTED;
    if (percent >= critical)
        return LEVEL_CRITICAL;
    return percent >= approaching ? LEVEL_APPROACHING : LEVEL_NORMAL;
}

int status_fill(const struct moment *moment, const struct attempt *attempt, struct use *use,
                enum rule_reason reason, struct ledger_rule_status *status) {
    const struct ledger_rule *rule = use->rule;
    *status = (struct ledger_rule_status){.rule = rule, .reason = reason};
    for (uint8_t i = 0; i < rule->scope_count; i++)
        status->values[i] = attempt->names[rule->scope[i].dimension];
    int rc = use_load_grants(moment, use);
    if (rc == 0)
        rc = use_admits_from(moment, use, attempt_amount(attempt, use), attempt->critical,
                             &status->resets_at_us);
    if (rc == 0)
        rc = use_forecast(moment, use, &status->forecast_us);
    ledger_sum in_use = use->used + use->held;
    status->amount = attempt_amount(attempt, use);
    status->used = use->used;
    status->held = use->held;
    status->is_unlimited = use_is_unlimited(use);
    status->limit = use->limit;
    status->remaining = use->limit - in_use;
    if (status->remaining < 0 && !rule->granted)
        status->remaining = 0;
    status->percent = use_percent(use, in_use);
    status->level = level_of(use, status->percent);
    status->held_until_us = use->held_until_us;
    if (rule->window != WINDOW_ROLLING && rule->window != WINDOW_LIFETIME) {
        status->has_period = true;
        period_bounds(rule->window, rule->offset_minutes, moment->now_us / 1000,
                      &status->period_start_ms, &status->period_end_ms);
    }
    return rc;
}

void decision_begin(struct ledger_decision *decision) {
    *decision = (struct ledger_decision){0};
}

void decision_add(struct ledger_decision *decision, const struct ledger_rule_status *status,
                  bool denies) {
    if (status->level > decision->level)
        decision->level = status->level;
    if (status->rule->effect == EFFECT_DEGRADE && status->reason != RULE_ADMITS)
        decision->is_low_tier = true;
    if (!denies)
        return;
    decision->denials++;
    if (status->resets_at_us > decision->resets_at_us)
        decision->resets_at_us = status->resets_at_us;
    if (status->held_until_us != 0 &&
        (decision->held_until_us == 0 || status->held_until_us < decision->held_until_us))
        decision->held_until_us = status->held_until_us;
}
