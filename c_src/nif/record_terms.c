#include "record_terms.h"

#include "msgpack_term.h"
#include "payload_term.h"
#include "terms.h"

#define PAIRS_MAX 64

struct pairs {
    size_t count;
    ERL_NIF_TERM keys[PAIRS_MAX];
    ERL_NIF_TERM values[PAIRS_MAX];
};

static void add(struct pairs *pairs, ERL_NIF_TERM key, ERL_NIF_TERM value) {
    if (pairs->count == PAIRS_MAX)
        return;
    pairs->keys[pairs->count] = key;
    pairs->values[pairs->count++] = value;
}

static ERL_NIF_TERM make_map(ErlNifEnv *env, struct pairs *pairs) {
    ERL_NIF_TERM map;
    if (enif_make_map_from_arrays(env, pairs->keys, pairs->values, pairs->count, &map))
        return map;
    /* A key of the payload that is one of the record's as well: not written by us. */
    map = enif_make_new_map(env);
    for (size_t i = pairs->count; i > 0; i--)
        enif_make_map_put(env, map, pairs->keys[i - 1], pairs->values[i - 1], &map);
    return map;
}

static ERL_NIF_TERM make_fields(ErlNifEnv *env, const ERL_NIF_TERM *keys, ERL_NIF_TERM *values,
                                size_t count) {
    ERL_NIF_TERM map;
    return enif_make_map_from_arrays(env, (ERL_NIF_TERM *)keys, values, count, &map)
               ? map
               : atom_undefined;
}

static ERL_NIF_TERM make_by_class(ErlNifEnv *env, ERL_NIF_TERM values[TOKENS_CLASSES]) {
    const ERL_NIF_TERM keys[TOKENS_CLASSES] = {atom_input, atom_output, atom_cache_read,
                                               atom_cache_creation, atom_reasoning};
    return make_fields(env, keys, values, TOKENS_CLASSES);
}

static void add_amounts(ErlNifEnv *env, struct pairs *pairs, const struct ledger_entry *entry) {
    ERL_NIF_TERM values[TOKENS_CLASSES];
    if (entry->given & ENTRY_COST)
        add(pairs, atom_cost, enif_make_int64(env, entry->cost));
    if (entry->given & ENTRY_CREDITS)
        add(pairs, atom_credits, enif_make_int64(env, entry->credits));
    if (entry->given & ENTRY_TOKENS) {
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            values[class] = enif_make_int64(env, entry->tokens[class]);
        add(pairs, atom_tokens, make_by_class(env, values));
    }
    if (entry->given & ENTRY_BREAKDOWN) {
        const ERL_NIF_TERM keys[COST_PARTS] = {atom_tokens, atom_tool_calls, atom_external_requests,
                                               atom_penalties};
        ERL_NIF_TERM parts[COST_PARTS];
        for (int part = 0; part < COST_PARTS; part++)
            parts[part] = enif_make_int64(env, entry->breakdown[part]);
        add(pairs, atom_breakdown, make_fields(env, keys, parts, COST_PARTS));
    }
    if (entry->given & ENTRY_UNIT_PRICES) {
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            values[class] = enif_make_uint64(env, entry->unit_prices[class]);
        add(pairs, atom_unit_prices, make_by_class(env, values));
        add(pairs, atom_cache_savings, enif_make_int64(env, entry_cache_savings(entry)));
    }
}

static void add_names(ErlNifEnv *env, struct pairs *pairs, const struct ledger_text *names) {
    const ERL_NIF_TERM keys[] = {
        [DIMENSION_STATE] = atom_state,       [DIMENSION_ORG] = atom_org,
        [DIMENSION_PROJECT] = atom_project,   [DIMENSION_USER] = atom_user,
        [DIMENSION_AGENT] = atom_agent,       [DIMENSION_MODEL] = atom_model,
        [DIMENSION_PROVIDER] = atom_provider, [DIMENSION_PROMPT_TYPE] = atom_prompt_type};
    for (int dimension = 1; dimension <= DIMENSION_PROMPT_TYPE; dimension++) {
        if (names[dimension].data == NULL || dimension == DIMENSION_STATUS)
            continue;
        bool is_atom = dimension == DIMENSION_STATE || dimension == DIMENSION_PROMPT_TYPE;
        add(pairs, keys[dimension],
            is_atom ? make_known_atom(env, names[dimension]) : make_text(env, names[dimension]));
    }
}

/* 0 stands for none. */
static void add_id(ErlNifEnv *env, struct pairs *pairs, ERL_NIF_TERM key, uint64_t id) {
    if (id != 0)
        add(pairs, key, enif_make_uint64(env, id));
}

static void add_text(ErlNifEnv *env, struct pairs *pairs, ERL_NIF_TERM key,
                     struct ledger_text text) {
    if (text.data != NULL)
        add(pairs, key, make_text(env, text));
}

static void add_flags(struct pairs *pairs, uint64_t flags) {
    const struct {
        enum entry_flag flag;
        ERL_NIF_TERM key;
    } all[] = {{ENTRY_OVERRUN, atom_overrun},
               {ENTRY_LATE, atom_late},
               {ENTRY_COMPLETES, atom_completes},
               {ENTRY_UNATTENDED, atom_unattended}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (flags & all[i].flag)
            add(pairs, all[i].key, atom_true);
}

ERL_NIF_TERM make_record(ErlNifEnv *env, const struct ledger_entry *entry,
                         const struct ledger_payload *payload) {
    struct pairs pairs = {.count = 0};
    add(&pairs, atom_id, enif_make_uint64(env, entry->id));
    add(&pairs, atom_kind, make_kind(entry->kind));
    add(&pairs, atom_timestamp, enif_make_uint64(env, entry->id / 1000));
    add(&pairs, atom_status, make_status(entry->status));
    add(&pairs, atom_duration_ms, enif_make_int64(env, entry->duration_ms));
    add_names(env, &pairs, entry->names);
    add_amounts(env, &pairs, entry);
    add_flags(&pairs, entry->flags);
    if (entry->change.data != NULL)
        add(&pairs, atom_change, make_msgpack(env, entry->change));
    if (entry->given & ENTRY_OCCURRED_AT)
        add(&pairs, atom_occurred_at, enif_make_int64(env, entry->occurred_at_ms));
    add_text(env, &pairs, atom_client_id, entry->client_id);
    add_text(env, &pairs, atom_run_id, entry->run_id);
    add_text(env, &pairs, atom_parent_run, entry->parent_run);
    add_id(env, &pairs, entry->kind == KIND_REDACTION ? atom_redacts : atom_corrects, entry->link);
    add_id(env, &pairs, atom_hold, entry->hold);
    add_id(env, &pairs, atom_parent, entry->parent);
    add_id(env, &pairs, atom_policy_version, entry->policy_version);
    if (payload != NULL) {
        add_id(env, &pairs, atom_redacted_by, payload->redacted_by);
        if (payload->map.data != NULL)
            pairs.count += make_payload(env, payload->map, pairs.keys + pairs.count,
                                        pairs.values + pairs.count, PAIRS_MAX - pairs.count);
    }
    return make_map(env, &pairs);
}

ERL_NIF_TERM make_sums(ErlNifEnv *env, const struct ledger_sums *sums) {
    ERL_NIF_TERM columns = enif_make_list(env, 0), extremes = enif_make_list(env, 0);
    for (int column = COLUMN_COUNT; column > 0; column--)
        columns = enif_make_list_cell(env, make_sum(env, sums->totals.column[column - 1]), columns);
    for (int i = 4; i > 0; i--) {
        const struct ledger_extremes *of = &sums->extremes[i - 1];
        ERL_NIF_TERM term = of->any ? enif_make_tuple2(env, enif_make_int64(env, of->min),
                                                       enif_make_int64(env, of->max))
                                    : atom_none;
        extremes = enif_make_list_cell(env, term, extremes);
    }
    return enif_make_tuple2(env, columns, extremes);
}

ERL_NIF_TERM make_units(ErlNifEnv *env, const uint64_t *units) {
    ERL_NIF_TERM values[TOKENS_CLASSES];
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        values[class] = enif_make_uint64(env, units[class]);
    return enif_make_tuple_from_array(env, values, TOKENS_CLASSES);
}

ERL_NIF_TERM make_price(ErlNifEnv *env, const struct ledger_price *price) {
    return enif_make_tuple6(
        env, make_text(env, price->model), enif_make_uint64(env, price->effective_us / 1000),
        make_units(env, price->unit), enif_make_uint64(env, price->above_tokens),
        make_units(env, price->unit_above), enif_make_uint64(env, price->entry));
}
