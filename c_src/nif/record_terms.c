#include "record_terms.h"

#include "msgpack_term.h"
#include "payload_term.h"
#include "terms.h"

#define RECORD_FIELDS_MAX 34
#define PAYLOAD_FIELDS_MAX 30
#define FIELDS_MAX (RECORD_FIELDS_MAX + PAYLOAD_FIELDS_MAX)

/* A map that is being gathered. */
struct fields {
    ErlNifEnv *env;
    size_t count;
    ERL_NIF_TERM keys[FIELDS_MAX];
    ERL_NIF_TERM values[FIELDS_MAX];
};

static void add(struct fields *fields, ERL_NIF_TERM key, ERL_NIF_TERM value) {
    fields->keys[fields->count] = key;
    fields->values[fields->count++] = value;
}

static void add_int(struct fields *fields, ERL_NIF_TERM key, int64_t value) {
    add(fields, key, enif_make_int64(fields->env, value));
}

/* 0 stands for none. */
static void add_id(struct fields *fields, ERL_NIF_TERM key, uint64_t id) {
    if (id != 0)
        add(fields, key, enif_make_uint64(fields->env, id));
}

static void add_text(struct fields *fields, ERL_NIF_TERM key, struct ledger_text text) {
    if (text.data != NULL)
        add(fields, key, make_text(fields->env, text));
}

static void add_flag(struct fields *fields, ERL_NIF_TERM key, uint64_t flags,
                     enum entry_flag flag) {
    if (flags & flag)
        add(fields, key, atom_true);
}

static ERL_NIF_TERM make_map(struct fields *fields) {
    ERL_NIF_TERM map;
    if (enif_make_map_from_arrays(fields->env, fields->keys, fields->values, fields->count, &map))
        return map;
    /* A key of the payload that is one of the record's as well: not written by us. */
    map = enif_make_new_map(fields->env);
    for (size_t i = fields->count; i > 0; i--)
        enif_make_map_put(fields->env, map, fields->keys[i - 1], fields->values[i - 1], &map);
    return map;
}

static ERL_NIF_TERM make_fields(ErlNifEnv *env, const ERL_NIF_TERM *keys, ERL_NIF_TERM *values,
                                size_t count) {
    ERL_NIF_TERM map;
    return enif_make_map_from_arrays(env, (ERL_NIF_TERM *)keys, values, count, &map)
               ? map
               : atom_undefined;
}

/* Sorted by the keys' texts, as in make_record(). */
static ERL_NIF_TERM make_by_class(ErlNifEnv *env, const ERL_NIF_TERM by_class[TOKENS_CLASSES]) {
    const ERL_NIF_TERM keys[] = {atom_cache_creation, atom_cache_read, atom_input, atom_output,
                                 atom_reasoning};
    ERL_NIF_TERM values[] = {by_class[TOKENS_CACHE_CREATION], by_class[TOKENS_CACHE_READ],
                             by_class[TOKENS_INPUT], by_class[TOKENS_OUTPUT],
                             by_class[TOKENS_REASONING]};
    return make_fields(env, keys, values, sizeof keys / sizeof keys[0]);
}

static ERL_NIF_TERM make_breakdown(ErlNifEnv *env, const int64_t *parts) {
    const ERL_NIF_TERM keys[] = {atom_external_requests, atom_penalties, atom_tokens,
                                 atom_tool_calls};
    ERL_NIF_TERM values[] = {enif_make_int64(env, parts[COST_EXTERNAL_REQUESTS]),
                             enif_make_int64(env, parts[COST_PENALTIES]),
                             enif_make_int64(env, parts[COST_TOKENS]),
                             enif_make_int64(env, parts[COST_TOOL_CALLS])};
    return make_fields(env, keys, values, sizeof keys / sizeof keys[0]);
}

static ERL_NIF_TERM make_tokens_by_class(ErlNifEnv *env, const int64_t *tokens) {
    ERL_NIF_TERM by_class[TOKENS_CLASSES];
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        by_class[class] = enif_make_int64(env, tokens[class]);
    return make_by_class(env, by_class);
}

static ERL_NIF_TERM make_prices_by_class(ErlNifEnv *env, const uint64_t *prices) {
    ERL_NIF_TERM by_class[TOKENS_CLASSES];
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        by_class[class] = enif_make_uint64(env, prices[class]);
    return make_by_class(env, by_class);
}

static void add_name(struct fields *fields, ERL_NIF_TERM key, struct name_terms *terms,
                     const struct ledger_text *names, enum ledger_dimension dimension) {
    const struct ledger_text *name = &names[dimension];
    if (name->data == NULL)
        return;
    size_t slot = ((uintptr_t)name->data ^ (uintptr_t)name->data >> 7) % NAME_TERMS;
    bool is_atom = dimension == DIMENSION_STATE || dimension == DIMENSION_PROMPT_TYPE;
    if (terms->slots[slot].text != name->data) {
        terms->slots[slot].text = name->data;
        terms->slots[slot].term =
            is_atom ? make_known_atom(fields->env, *name) : make_text(fields->env, *name);
    }
    add(fields, key, terms->slots[slot].term);
}

/* In the order of the keys' texts, which is that of small maps up to OTP 25: what comes sorted is
 * not sorted again. */
ERL_NIF_TERM make_record(ErlNifEnv *env, struct name_terms *names, const struct ledger_entry *entry,
                         const struct ledger_payload *payload, bool whole) {
    struct fields fields;
    bool is_redaction = entry->kind == KIND_REDACTION;
    fields.env = env;
    fields.count = 0;
    add_name(&fields, atom_agent, names, entry->names, DIMENSION_AGENT);
    if (entry->given & ENTRY_BREAKDOWN)
        add(&fields, atom_breakdown, make_breakdown(env, entry->breakdown));
    if (entry->given & ENTRY_UNIT_PRICES)
        add_int(&fields, atom_cache_savings, entry_cache_savings(entry));
    if (entry->change.data != NULL)
        add(&fields, atom_change,
            make_msgpack_without(env, entry->change,
                                 !whole && entry->kind == KIND_PRICE ? "prices" : NULL));
    add_text(&fields, atom_client_id, entry->client_id);
    add_flag(&fields, atom_completes, entry->flags, ENTRY_COMPLETES);
    add_id(&fields, atom_corrects, is_redaction ? 0 : entry->link);
    if (entry->given & ENTRY_COST)
        add_int(&fields, atom_cost, entry->cost);
    if (entry->given & ENTRY_CREDITS)
        add_int(&fields, atom_credits, entry->credits);
    add_int(&fields, atom_duration_ms, entry->duration_ms);
    add_id(&fields, atom_hold, entry->hold);
    add(&fields, atom_id, enif_make_uint64(env, entry->id));
    add(&fields, atom_kind, make_kind(entry->kind));
    add_flag(&fields, atom_late, entry->flags, ENTRY_LATE);
    add_name(&fields, atom_model, names, entry->names, DIMENSION_MODEL);
    if (entry->given & ENTRY_OCCURRED_AT)
        add_int(&fields, atom_occurred_at, entry->occurred_at_ms);
    add_name(&fields, atom_org, names, entry->names, DIMENSION_ORG);
    add_flag(&fields, atom_overrun, entry->flags, ENTRY_OVERRUN);
    add_id(&fields, atom_parent, entry->parent);
    add_text(&fields, atom_parent_run, entry->parent_run);
    add_id(&fields, atom_policy_version, entry->policy_version);
    add_name(&fields, atom_project, names, entry->names, DIMENSION_PROJECT);
    add_name(&fields, atom_prompt_type, names, entry->names, DIMENSION_PROMPT_TYPE);
    add_name(&fields, atom_provider, names, entry->names, DIMENSION_PROVIDER);
    add_id(&fields, atom_redacted_by, payload != NULL ? payload->redacted_by : 0);
    add_id(&fields, atom_redacts, is_redaction ? entry->link : 0);
    add_text(&fields, atom_run_id, entry->run_id);
    add_name(&fields, atom_state, names, entry->names, DIMENSION_STATE);
    add(&fields, atom_status, make_status(entry->status));
    add(&fields, atom_timestamp, enif_make_uint64(env, entry->id / 1000));
    if (entry->given & ENTRY_TOKENS)
        add(&fields, atom_tokens, make_tokens_by_class(env, entry->tokens));
    add_flag(&fields, atom_unattended, entry->flags, ENTRY_UNATTENDED);
    if (entry->given & ENTRY_UNIT_PRICES)
        add(&fields, atom_unit_prices, make_prices_by_class(env, entry->unit_prices));
    add_name(&fields, atom_user, names, entry->names, DIMENSION_USER);
    if (payload != NULL && payload->map.data != NULL)
        fields.count += make_payload(env, payload->map, fields.keys + fields.count,
                                     fields.values + fields.count, PAYLOAD_FIELDS_MAX);
    return make_map(&fields);
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
