#include "record_terms.h"

#include "msgpack_term.h"
#include "payload_term.h"
#include "terms.h"

/* The keys of a record in the order in which maps have them, that of their texts: what comes sorted
 * is not sorted again. */
enum field {
    FIELD_AGENT,
    FIELD_BREAKDOWN,
    FIELD_CACHE_SAVINGS,
    FIELD_CHANGE,
    FIELD_CLIENT_ID,
    FIELD_COMPLETES,
    FIELD_CORRECTS,
    FIELD_COST,
    FIELD_CREDITS,
    FIELD_DURATION_MS,
    FIELD_HOLD,
    FIELD_ID,
    FIELD_KIND,
    FIELD_LATE,
    FIELD_MODEL,
    FIELD_OCCURRED_AT,
    FIELD_ORG,
    FIELD_OVERRUN,
    FIELD_PARENT,
    FIELD_PARENT_RUN,
    FIELD_POLICY_VERSION,
    FIELD_PROJECT,
    FIELD_PROMPT_TYPE,
    FIELD_PROVIDER,
    FIELD_REDACTED_BY,
    FIELD_REDACTS,
    FIELD_RUN_ID,
    FIELD_STATE,
    FIELD_STATUS,
    FIELD_TIMESTAMP,
    FIELD_TOKENS,
    FIELD_UNATTENDED,
    FIELD_UNIT_PRICES,
    FIELD_USER,
    FIELDS
};

#define PAYLOAD_FIELDS_MAX 30

/* 0: not there. */
struct fields {
    ERL_NIF_TERM values[FIELDS];
};

static ERL_NIF_TERM make_map(ErlNifEnv *env, const struct fields *fields,
                             const struct ledger_payload *payload) {
    const ERL_NIF_TERM all[FIELDS] = {
        [FIELD_AGENT] = atom_agent,
        [FIELD_BREAKDOWN] = atom_breakdown,
        [FIELD_CACHE_SAVINGS] = atom_cache_savings,
        [FIELD_CHANGE] = atom_change,
        [FIELD_CLIENT_ID] = atom_client_id,
        [FIELD_COMPLETES] = atom_completes,
        [FIELD_CORRECTS] = atom_corrects,
        [FIELD_COST] = atom_cost,
        [FIELD_CREDITS] = atom_credits,
        [FIELD_DURATION_MS] = atom_duration_ms,
        [FIELD_HOLD] = atom_hold,
        [FIELD_ID] = atom_id,
        [FIELD_KIND] = atom_kind,
        [FIELD_LATE] = atom_late,
        [FIELD_MODEL] = atom_model,
        [FIELD_OCCURRED_AT] = atom_occurred_at,
        [FIELD_ORG] = atom_org,
        [FIELD_OVERRUN] = atom_overrun,
        [FIELD_PARENT] = atom_parent,
        [FIELD_PARENT_RUN] = atom_parent_run,
        [FIELD_POLICY_VERSION] = atom_policy_version,
        [FIELD_PROJECT] = atom_project,
        [FIELD_PROMPT_TYPE] = atom_prompt_type,
        [FIELD_PROVIDER] = atom_provider,
        [FIELD_REDACTED_BY] = atom_redacted_by,
        [FIELD_REDACTS] = atom_redacts,
        [FIELD_RUN_ID] = atom_run_id,
        [FIELD_STATE] = atom_state,
        [FIELD_STATUS] = atom_status,
        [FIELD_TIMESTAMP] = atom_timestamp,
        [FIELD_TOKENS] = atom_tokens,
        [FIELD_UNATTENDED] = atom_unattended,
        [FIELD_UNIT_PRICES] = atom_unit_prices,
        [FIELD_USER] = atom_user,
    };
    ERL_NIF_TERM keys[FIELDS + PAYLOAD_FIELDS_MAX], values[FIELDS + PAYLOAD_FIELDS_MAX], map;
    size_t count = 0;
    for (enum field field = 0; field < FIELDS; field++)
        if (fields->values[field] != 0) {
            keys[count] = all[field];
            values[count++] = fields->values[field];
        }
    if (payload != NULL && payload->map.data != NULL)
        count += make_payload(env, payload->map, keys + count, values + count, PAYLOAD_FIELDS_MAX);
    if (enif_make_map_from_arrays(env, keys, values, count, &map))
        return map;
    /* A key of the payload that is one of the record's as well: not written by us. */
    map = enif_make_new_map(env);
    for (size_t i = count; i > 0; i--)
        enif_make_map_put(env, map, keys[i - 1], values[i - 1], &map);
    return map;
}

static ERL_NIF_TERM make_fields(ErlNifEnv *env, const ERL_NIF_TERM *keys, ERL_NIF_TERM *values,
                                size_t count) {
    ERL_NIF_TERM map;
    return enif_make_map_from_arrays(env, (ERL_NIF_TERM *)keys, values, count, &map)
               ? map
               : atom_undefined;
}

/* Sorted by the keys' texts, as above. */
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

static void set_amounts(ErlNifEnv *env, ERL_NIF_TERM *values, const struct ledger_entry *entry) {
    ERL_NIF_TERM by_class[TOKENS_CLASSES];
    if (entry->given & ENTRY_COST)
        values[FIELD_COST] = enif_make_int64(env, entry->cost);
    if (entry->given & ENTRY_CREDITS)
        values[FIELD_CREDITS] = enif_make_int64(env, entry->credits);
    if (entry->given & ENTRY_TOKENS) {
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            by_class[class] = enif_make_int64(env, entry->tokens[class]);
        values[FIELD_TOKENS] = make_by_class(env, by_class);
    }
    if (entry->given & ENTRY_BREAKDOWN)
        values[FIELD_BREAKDOWN] = make_breakdown(env, entry->breakdown);
    if (entry->given & ENTRY_UNIT_PRICES) {
        for (int class = 0; class < TOKENS_CLASSES; class ++)
            by_class[class] = enif_make_uint64(env, entry->unit_prices[class]);
        values[FIELD_UNIT_PRICES] = make_by_class(env, by_class);
        values[FIELD_CACHE_SAVINGS] = enif_make_int64(env, entry_cache_savings(entry));
    }
}

static ERL_NIF_TERM make_name(ErlNifEnv *env, struct name_terms *terms, int dimension,
                              struct ledger_text name) {
    size_t slot = ((uintptr_t)name.data ^ (uintptr_t)name.data >> 7) % NAME_TERMS;
    bool is_atom = dimension == DIMENSION_STATE || dimension == DIMENSION_PROMPT_TYPE;
    if (terms->slots[slot].text != name.data) {
        terms->slots[slot].text = name.data;
        terms->slots[slot].term = is_atom ? make_known_atom(env, name) : make_text(env, name);
    }
    return terms->slots[slot].term;
}

static void set_names(ErlNifEnv *env, ERL_NIF_TERM *values, struct name_terms *terms,
                      const struct ledger_text *names) {
    const enum field fields[] = {
        [DIMENSION_STATE] = FIELD_STATE,       [DIMENSION_ORG] = FIELD_ORG,
        [DIMENSION_PROJECT] = FIELD_PROJECT,   [DIMENSION_USER] = FIELD_USER,
        [DIMENSION_AGENT] = FIELD_AGENT,       [DIMENSION_MODEL] = FIELD_MODEL,
        [DIMENSION_PROVIDER] = FIELD_PROVIDER, [DIMENSION_PROMPT_TYPE] = FIELD_PROMPT_TYPE};
    for (int dimension = 1; dimension <= DIMENSION_PROMPT_TYPE; dimension++)
        if (names[dimension].data != NULL && dimension != DIMENSION_STATUS)
            values[fields[dimension]] = make_name(env, terms, dimension, names[dimension]);
}

/* 0 stands for none. */
static void set_id(ErlNifEnv *env, ERL_NIF_TERM *value, uint64_t id) {
    if (id != 0)
        *value = enif_make_uint64(env, id);
}

static void set_text(ErlNifEnv *env, ERL_NIF_TERM *value, struct ledger_text text) {
    if (text.data != NULL)
        *value = make_text(env, text);
}

static void set_flags(ERL_NIF_TERM *values, uint64_t flags) {
    static const struct {
        enum entry_flag flag;
        enum field field;
    } all[] = {{ENTRY_OVERRUN, FIELD_OVERRUN},
               {ENTRY_LATE, FIELD_LATE},
               {ENTRY_COMPLETES, FIELD_COMPLETES},
               {ENTRY_UNATTENDED, FIELD_UNATTENDED}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (flags & all[i].flag)
            values[all[i].field] = atom_true;
}

ERL_NIF_TERM make_record(ErlNifEnv *env, struct name_terms *names, const struct ledger_entry *entry,
                         const struct ledger_payload *payload, bool whole) {
    struct fields fields = {{0}};
    ERL_NIF_TERM *values = fields.values;
    values[FIELD_ID] = enif_make_uint64(env, entry->id);
    values[FIELD_KIND] = make_kind(entry->kind);
    values[FIELD_TIMESTAMP] = enif_make_uint64(env, entry->id / 1000);
    values[FIELD_STATUS] = make_status(entry->status);
    values[FIELD_DURATION_MS] = enif_make_int64(env, entry->duration_ms);
    set_names(env, values, names, entry->names);
    set_amounts(env, values, entry);
    set_flags(values, entry->flags);
    if (entry->change.data != NULL)
        values[FIELD_CHANGE] = make_msgpack_without(
            env, entry->change, !whole && entry->kind == KIND_PRICE ? "prices" : NULL);
    if (entry->given & ENTRY_OCCURRED_AT)
        values[FIELD_OCCURRED_AT] = enif_make_int64(env, entry->occurred_at_ms);
    set_text(env, &values[FIELD_CLIENT_ID], entry->client_id);
    set_text(env, &values[FIELD_RUN_ID], entry->run_id);
    set_text(env, &values[FIELD_PARENT_RUN], entry->parent_run);
    set_id(env, &values[entry->kind == KIND_REDACTION ? FIELD_REDACTS : FIELD_CORRECTS],
           entry->link);
    set_id(env, &values[FIELD_HOLD], entry->hold);
    set_id(env, &values[FIELD_PARENT], entry->parent);
    set_id(env, &values[FIELD_POLICY_VERSION], entry->policy_version);
    if (payload != NULL)
        set_id(env, &values[FIELD_REDACTED_BY], payload->redacted_by);
    return make_map(env, &fields, payload);
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
