#include "terms.h"

#include <stdio.h>
#include <string.h>

#include "msgpack_term.h"

#define DEFINE_ATOM(name) ERL_NIF_TERM atom_##name;
ATOMS(DEFINE_ATOM)
#undef DEFINE_ATOM

void terms_load(ErlNifEnv *env) {
#define MAKE_ATOM(name) atom_##name = enif_make_atom(env, #name);
    ATOMS(MAKE_ATOM)
#undef MAKE_ATOM
}

/* ---- to terms --------------------------------------------------------------------------- */

ERL_NIF_TERM make_text(ErlNifEnv *env, struct ledger_text text) {
    ERL_NIF_TERM term;
    unsigned char *bytes = enif_make_new_binary(env, text.size, &term);
    if (bytes != NULL && text.size > 0)
        memcpy(bytes, text.data, text.size);
    return term;
}

ERL_NIF_TERM make_reason(ErlNifEnv *env, int code, const char *detail) {
    char sentence[256], text[768];
    ledger_error_text(code, sentence, sizeof sentence);
    if (detail != NULL && detail[0] != '\0')
        snprintf(text, sizeof text, "%s (%s)", sentence, detail);
    else
        snprintf(text, sizeof text, "%s", sentence);
    return enif_make_tuple2(env, enif_make_atom(env, ledger_error_name(code)),
                            make_text(env, (struct ledger_text){text, strlen(text)}));
}

ERL_NIF_TERM make_failure(ErlNifEnv *env, const struct ledger_failure *failure) {
    return enif_make_tuple2(env, atom_error, make_reason(env, failure->code, failure->detail));
}

ERL_NIF_TERM make_error(ErlNifEnv *env, int code) {
    return enif_make_tuple2(env, atom_error, make_reason(env, code, NULL));
}

static ERL_NIF_TERM make_kind(enum ledger_kind kind) {
    switch (kind) {
    case KIND_INVOCATION:
        return atom_invocation;
    case KIND_RUN:
        return atom_run;
    case KIND_GRANT:
        return atom_grant;
    case KIND_RELEASE:
        return atom_release;
    case KIND_CORRECTION:
        return atom_correction;
    case KIND_POLICY:
        return atom_policy;
    case KIND_RESET:
        return atom_reset;
    case KIND_PRICE:
        return atom_price;
    }
    return atom_undefined;
}

static ERL_NIF_TERM make_status(enum ledger_status status) {
    switch (status) {
    case STATUS_COMPLETED:
        return atom_completed;
    case STATUS_FAILED:
        return atom_failed;
    case STATUS_ABORTED:
        return atom_aborted;
    case STATUS_NONE:
        break;
    }
    return atom_none;
}

static void put(ErlNifEnv *env, ERL_NIF_TERM *map, ERL_NIF_TERM key, ERL_NIF_TERM value) {
    enif_make_map_put(env, *map, key, value, map);
}

static ERL_NIF_TERM make_names(ErlNifEnv *env, const struct ledger_entry *entry) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (int dimension = DIMENSION_LIMIT - 1; dimension > 0; dimension--)
        if (entry->names[dimension].data != NULL)
            list = enif_make_list_cell(env,
                                       enif_make_tuple2(env, enif_make_int(env, dimension),
                                                        make_text(env, entry->names[dimension])),
                                       list);
    return list;
}

static ERL_NIF_TERM make_tokens(ErlNifEnv *env, const int64_t tokens[TOKENS_CLASSES]) {
    ERL_NIF_TERM terms[TOKENS_CLASSES];
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        terms[class] = enif_make_int64(env, tokens[class]);
    return enif_make_tuple_from_array(env, terms, TOKENS_CLASSES);
}

ERL_NIF_TERM make_entry(ErlNifEnv *env, const struct ledger_entry *entry) {
    ERL_NIF_TERM map = enif_make_new_map(env);
    put(env, &map, atom_id, enif_make_uint64(env, entry->id));
    put(env, &map, atom_kind, make_kind(entry->kind));
    put(env, &map, atom_status, make_status(entry->status));
    put(env, &map, atom_duration_ms, enif_make_int64(env, entry->duration_ms));
    put(env, &map, atom_names, make_names(env, entry));
    if (entry->given & ENTRY_COST)
        put(env, &map, atom_cost, enif_make_int64(env, entry->cost));
    if (entry->given & ENTRY_CREDITS)
        put(env, &map, atom_credits, enif_make_int64(env, entry->credits));
    if (entry->given & ENTRY_TOKENS)
        put(env, &map, atom_tokens, make_tokens(env, entry->tokens));
    if (entry->change.data != NULL)
        put(env, &map, atom_change, make_msgpack(env, entry->change));
    return map;
}

static ERL_NIF_TERM make_rule(ErlNifEnv *env, const struct ledger_rule *rule) {
    return enif_make_tuple4(env, make_text(env, rule->name), enif_make_uint(env, rule->state),
                            enif_make_uint64(env, rule->window_ms),
                            rule->limit == POLICY_UNLIMITED ? atom_infinity
                                                            : enif_make_uint64(env, rule->limit));
}

ERL_NIF_TERM make_policy(ErlNifEnv *env, const struct ledger_policy *policy) {
    ERL_NIF_TERM states = enif_make_list(env, 0), rules = states, map = enif_make_new_map(env);
    for (uint32_t i = policy->state_count; i > 0; i--)
        states = enif_make_list_cell(env, make_text(env, policy->states[i - 1]), states);
    for (uint32_t i = policy->rule_count; i > 0; i--)
        rules = enif_make_list_cell(env, make_rule(env, &policy->rules[i - 1]), rules);
    put(env, &map, atom_version, enif_make_uint64(env, policy->version));
    put(env, &map, atom_states, states);
    put(env, &map, atom_rules, rules);
    put(env, &map, atom_changed_by_entry, enif_make_uint64(env, policy->changed_by_entry));
    return map;
}

/* ---- from terms ------------------------------------------------------------------------- */

bool get_text(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_text *text) {
    ErlNifBinary binary;
    if (!enif_inspect_binary(env, term, &binary))
        return false;
    *text = (struct ledger_text){(const char *)binary.data, binary.size};
    return true;
}

bool get_path(ErlNifEnv *env, ERL_NIF_TERM term, char *path, size_t size) {
    struct ledger_text text;
    if (!get_text(env, term, &text) || text.size == 0 || text.size >= size ||
        memchr(text.data, 0, text.size) != NULL)
        return false;
    memcpy(path, text.data, text.size);
    path[text.size] = '\0';
    return true;
}

static bool get_rule(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_rule *rule) {
    const ERL_NIF_TERM *fields;
    ErlNifUInt64 window, limit = POLICY_UNLIMITED;
    unsigned state;
    int arity;
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 4 ||
        !get_text(env, fields[0], &rule->name) || !enif_get_uint(env, fields[1], &state) ||
        !enif_get_uint64(env, fields[2], &window) ||
        !(fields[3] == atom_infinity || enif_get_uint64(env, fields[3], &limit)))
        return false;
    rule->state = state;
    rule->window_ms = window;
    rule->limit = limit;
    return true;
}

void release_policy(struct ledger_policy *policy) {
    enif_free(policy->states);
    enif_free(policy->rules);
}

bool get_policy(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_policy *policy) {
    const ERL_NIF_TERM *fields;
    ERL_NIF_TERM head, states, rules;
    ErlNifUInt64 version;
    unsigned state_count, rule_count;
    int arity;
    *policy = (struct ledger_policy){0};
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 3 ||
        !enif_get_uint64(env, fields[0], &version) ||
        !enif_get_list_length(env, fields[1], &state_count) ||
        !enif_get_list_length(env, fields[2], &rule_count))
        return false;
    states = fields[1];
    rules = fields[2];
    policy->version = version;
    policy->states = enif_alloc((state_count + 1) * sizeof *policy->states);
    policy->rules = enif_alloc((rule_count + 1) * sizeof *policy->rules);
    if (policy->states == NULL || policy->rules == NULL)
        return false;
    for (; enif_get_list_cell(env, states, &head, &states); policy->state_count++)
        if (!get_text(env, head, &policy->states[policy->state_count]))
            return false;
    for (; enif_get_list_cell(env, rules, &head, &rules); policy->rule_count++)
        if (!get_rule(env, head, &policy->rules[policy->rule_count]))
            return false;
    return true;
}

static bool get_status(ERL_NIF_TERM term, enum ledger_status *status) {
    if (term == atom_completed)
        *status = STATUS_COMPLETED;
    else if (term == atom_failed)
        *status = STATUS_FAILED;
    else if (term == atom_aborted)
        *status = STATUS_ABORTED;
    else
        return false;
    return true;
}

static bool get_names(ErlNifEnv *env, ERL_NIF_TERM list, struct ledger_entry *entry) {
    ERL_NIF_TERM head;
    const ERL_NIF_TERM *pair;
    int arity, dimension;
    while (enif_get_list_cell(env, list, &head, &list))
        if (!enif_get_tuple(env, head, &arity, &pair) || arity != 2 ||
            !enif_get_int(env, pair[0], &dimension) || dimension <= 0 ||
            dimension >= DIMENSION_LIMIT || !get_text(env, pair[1], &entry->names[dimension]))
            return false;
    return true;
}

static bool get_amount(ErlNifEnv *env, ERL_NIF_TERM term, enum entry_field field,
                       struct ledger_entry *entry, int64_t *amount) {
    ErlNifSInt64 value;
    if (term == atom_undefined)
        return true;
    if (!enif_get_int64(env, term, &value))
        return false;
    *amount = value;
    entry->given |= field;
    return true;
}

static bool get_tokens(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry) {
    const ERL_NIF_TERM *classes;
    int arity;
    if (term == atom_undefined)
        return true;
    if (!enif_get_tuple(env, term, &arity, &classes) || arity != TOKENS_CLASSES)
        return false;
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        if (!get_amount(env, classes[class], ENTRY_TOKENS, entry, &entry->tokens[class]))
            return false;
    return true;
}

bool get_entry(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry) {
    const ERL_NIF_TERM *fields;
    ErlNifSInt64 duration;
    int arity;
    *entry = (struct ledger_entry){.kind = KIND_INVOCATION};
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 6 ||
        !get_status(fields[0], &entry->status) || !get_names(env, fields[1], entry) ||
        !enif_get_int64(env, fields[2], &duration) ||
        !get_amount(env, fields[3], ENTRY_COST, entry, &entry->cost) ||
        !get_amount(env, fields[4], ENTRY_CREDITS, entry, &entry->credits) ||
        !get_tokens(env, fields[5], entry))
        return false;
    entry->duration_ms = duration;
    return true;
}
