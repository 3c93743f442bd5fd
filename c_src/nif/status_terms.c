#include "status_terms.h"

#include "terms.h"

static ERL_NIF_TERM make_ms(ErlNifEnv *env, uint64_t us) {
    if (us == 0)
        return atom_none;
    return us == UINT64_MAX ? atom_never : enif_make_uint64(env, us / 1000);
}

/* The first ms that is not before that time. */
static ERL_NIF_TERM make_ms_up(ErlNifEnv *env, uint64_t us) {
    return us == 0 ? atom_none : enif_make_uint64(env, (us + 999) / 1000);
}

static ERL_NIF_TERM make_measure(enum rule_measure measure) {
    const ERL_NIF_TERM atoms[MEASURES] = {
        [MEASURE_INVOCATIONS] = atom_invocations,
        [MEASURE_COMPLETED_INVOCATIONS] = atom_completed_invocations,
        [MEASURE_COST] = atom_cost,
        [MEASURE_COMPLETED_COST] = atom_completed_cost,
        [MEASURE_CREDITS] = atom_credits,
        [MEASURE_COMPLETED_CREDITS] = atom_completed_credits,
        [MEASURE_TOKENS] = atom_tokens,
    };
    return atoms[measure];
}

static ERL_NIF_TERM make_window(ErlNifEnv *env, const struct ledger_rule *rule) {
    ERL_NIF_TERM period = atom_day;
    switch (rule->window) {
    case WINDOW_ROLLING:
        return enif_make_tuple2(env, atom_rolling, enif_make_uint64(env, rule->window_ms));
    case WINDOW_LIFETIME:
        return atom_lifetime;
    case WINDOW_DAY:
        break;
    case WINDOW_WEEK:
        period = atom_week;
        break;
    case WINDOW_MONTH:
        period = atom_month;
        break;
    }
    return enif_make_tuple3(env, atom_calendar, period, enif_make_int(env, rule->offset_minutes));
}

static ERL_NIF_TERM make_effect(enum rule_effect effect) {
    switch (effect) {
    case EFFECT_DEGRADE:
        return atom_degrade;
    case EFFECT_WARN:
        return atom_warn;
    case EFFECT_DENY:
        break;
    }
    return atom_deny;
}

static ERL_NIF_TERM make_level(enum ledger_level level) {
    switch (level) {
    case LEVEL_APPROACHING:
        return atom_approaching;
    case LEVEL_CRITICAL:
        return atom_critical;
    case LEVEL_EXHAUSTED:
        return atom_exhausted;
    case LEVEL_NORMAL:
        break;
    }
    return atom_normal;
}

static ERL_NIF_TERM make_rule_reason(enum rule_reason reason) {
    switch (reason) {
    case RULE_SOFT:
        return atom_soft;
    case RULE_REQUIRED:
        return atom_required;
    case RULE_TOO_MANY_VALUES:
        return atom_too_many_values;
    case RULE_LIMIT:
    case RULE_ADMITS:
        break;
    }
    return atom_limit;
}

static ERL_NIF_TERM make_scope(ErlNifEnv *env, const struct ledger_rule_status *status) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (uint8_t i = status->rule->scope_count; i > 0; i--) {
        struct ledger_text value = status->values[i - 1];
        ERL_NIF_TERM dimension =
            enif_make_atom(env, rule_dimension_name(status->rule->scope[i - 1].dimension));
        ERL_NIF_TERM term = value.data == NULL ? atom_undefined : make_text(env, value);
        list = enif_make_list_cell(env, enif_make_tuple2(env, dimension, term), list);
    }
    return list;
}

ERL_NIF_TERM make_rule_status(ErlNifEnv *env, const struct ledger_rule_status *status) {
    const struct ledger_rule *rule = status->rule;
    ERL_NIF_TERM map = enif_make_new_map(env);
    put_key(env, &map, atom_rule, make_text(env, rule->name));
    put_key(env, &map, atom_scope, make_scope(env, status));
    put_key(env, &map, atom_measure, make_measure(rule->measure));
    put_key(env, &map, atom_window, make_window(env, rule));
    put_key(env, &map, atom_on_exhausted, make_effect(rule->effect));
    put_key(env, &map, atom_used, make_sum(env, status->used));
    put_key(env, &map, atom_held, make_sum(env, status->held));
    put_key(env, &map, atom_limit,
            status->is_unlimited ? atom_infinity : make_sum(env, status->limit));
    put_key(env, &map, atom_remaining,
            status->is_unlimited ? atom_infinity : make_sum(env, status->remaining));
    put_key(env, &map, atom_percent, enif_make_uint64(env, status->percent));
    put_key(env, &map, atom_level, make_level(status->level));
    put_key(env, &map, atom_resets_at, make_ms(env, status->resets_at_us));
    put_key(env, &map, atom_held_until, make_ms_up(env, status->held_until_us));
    put_key(env, &map, atom_forecast, make_ms(env, status->forecast_us));
    if (rule->granted)
        put_key(env, &map, atom_grace, enif_make_uint64(env, rule->grace));
    if (status->has_period)
        put_key(env, &map, atom_period,
                enif_make_tuple2(env, enif_make_int64(env, status->period_start_ms),
                                 enif_make_int64(env, status->period_end_ms)));
    if (status->reason != RULE_ADMITS) {
        put_key(env, &map, atom_reason, make_rule_reason(status->reason));
        put_key(env, &map, atom_amount, make_sum(env, status->amount));
    }
    return map;
}

ERL_NIF_TERM make_decision(ErlNifEnv *env, const struct ledger_decision *decision) {
    ERL_NIF_TERM map = enif_make_new_map(env);
    put_key(env, &map, atom_denials, enif_make_uint64(env, decision->denials));
    put_key(env, &map, atom_tier, decision->is_low_tier ? atom_low : atom_normal);
    put_key(env, &map, atom_level, make_level(decision->level));
    put_key(env, &map, atom_resets_at, make_ms(env, decision->resets_at_us));
    put_key(env, &map, atom_held_until, make_ms_up(env, decision->held_until_us));
    return map;
}

ERL_NIF_TERM make_denial(ErlNifEnv *env, const struct ledger_denial *denial) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (size_t i = denial->count; i > 0; i--)
        list = enif_make_list_cell(env, make_rule_status(env, &denial->rules[i - 1]), list);
    return enif_make_tuple2(env, make_decision(env, &denial->decision), list);
}

static ERL_NIF_TERM make_warning(ErlNifEnv *env, const struct ledger_warning *warning) {
    ERL_NIF_TERM map = make_rule_status(env, &warning->status);
    put_key(env, &map, atom_threshold, enif_make_uint(env, warning->threshold));
    put_key(env, &map, atom_id, enif_make_uint64(env, warning->id));
    return enif_make_tuple2(env, atom_warning, map);
}

ERL_NIF_TERM make_effects(ErlNifEnv *env, const struct ledger_effects *effects) {
    ERL_NIF_TERM list = enif_make_list(env, 0), next = atom_none;
    if (effects->building)
        list = enif_make_list_cell(env, atom_building, list);
    for (size_t i = effects->warning_count; i > 0; i--)
        list = enif_make_list_cell(env, make_warning(env, &effects->warnings[i - 1]), list);
    for (size_t i = effects->expiry_count; i > 0; i--) {
        const struct ledger_expiry *expiry = &effects->expiries[i - 1];
        ERL_NIF_TERM term = enif_make_tuple4(env, atom_expired, enif_make_uint64(env, expiry->hold),
                                             enif_make_uint64(env, expiry->entry),
                                             expiry->is_unpriced ? atom_true : atom_false);
        list = enif_make_list_cell(env, term, list);
    }
    if (effects->next_deadline_us != 0)
        next = enif_make_uint64(env, effects->next_deadline_us);
    return enif_make_tuple2(env, next, list);
}
