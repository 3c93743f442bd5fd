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

ERL_NIF_TERM make_pruned(ErlNifEnv *env, uint64_t kept_from_us) {
    ERL_NIF_TERM ms = enif_make_uint64(env, kept_from_us / 1000);
    return enif_make_tuple2(env, atom_error, enif_make_tuple2(env, atom_pruned, ms));
}

ERL_NIF_TERM make_kind(enum ledger_kind kind) {
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
    case KIND_REDACTION:
        return atom_redaction;
    }
    return atom_undefined;
}

ERL_NIF_TERM make_status(enum ledger_status status) {
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

void put_key(ErlNifEnv *env, ERL_NIF_TERM *map, ERL_NIF_TERM key, ERL_NIF_TERM value) {
    enif_make_map_put(env, *map, key, value, map);
}

ERL_NIF_TERM make_names(ErlNifEnv *env, const struct ledger_text names[DIMENSION_LIMIT]) {
    ERL_NIF_TERM list = enif_make_list(env, 0);
    for (int dimension = DIMENSION_LIMIT - 1; dimension > 0; dimension--)
        if (names[dimension].data != NULL)
            list = enif_make_list_cell(env,
                                       enif_make_tuple2(env, enif_make_int(env, dimension),
                                                        make_text(env, names[dimension])),
                                       list);
    return list;
}

/* Beyond 64 bits a term is made from its external form: SMALL_BIG_EXT. */
ERL_NIF_TERM make_sum(ErlNifEnv *env, ledger_sum sum) {
    if (sum <= INT64_MAX && sum >= INT64_MIN)
        return enif_make_int64(env, (int64_t)sum);
    bool negative = sum < 0;
    ledger_usum magnitude = negative ? -(ledger_usum)sum : (ledger_usum)sum;
    unsigned char bytes[4 + 16] = {131, 110, 16, negative};
    ERL_NIF_TERM term;
    for (int i = 0; i < 16; i++, magnitude >>= 8)
        bytes[4 + i] = (unsigned char)magnitude;
    if (enif_binary_to_term(env, bytes, sizeof bytes, &term, 0) == 0)
        return atom_undefined;
    return term;
}

static ERL_NIF_TERM make_tokens(ErlNifEnv *env, const int64_t tokens[TOKENS_CLASSES]) {
    ERL_NIF_TERM terms[TOKENS_CLASSES];
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        terms[class] = enif_make_int64(env, tokens[class]);
    return enif_make_tuple_from_array(env, terms, TOKENS_CLASSES);
}

/* 0 stands for none. */
static void put_id(ErlNifEnv *env, ERL_NIF_TERM *map, ERL_NIF_TERM key, uint64_t id) {
    if (id != 0)
        put_key(env, map, key, enif_make_uint64(env, id));
}

ERL_NIF_TERM make_entry(ErlNifEnv *env, const struct ledger_entry *entry) {
    ERL_NIF_TERM map = enif_make_new_map(env);
    put_key(env, &map, atom_id, enif_make_uint64(env, entry->id));
    put_key(env, &map, atom_kind, make_kind(entry->kind));
    put_key(env, &map, atom_status, make_status(entry->status));
    put_key(env, &map, atom_duration_ms, enif_make_int64(env, entry->duration_ms));
    put_key(env, &map, atom_names, make_names(env, entry->names));
    if (entry->given & ENTRY_COST)
        put_key(env, &map, atom_cost, enif_make_int64(env, entry->cost));
    if (entry->given & ENTRY_CREDITS)
        put_key(env, &map, atom_credits, enif_make_int64(env, entry->credits));
    if (entry->given & ENTRY_TOKENS)
        put_key(env, &map, atom_tokens, make_tokens(env, entry->tokens));
    if (entry->change.data != NULL)
        put_key(env, &map, atom_change, make_msgpack(env, entry->change));
    if (entry->client_id.data != NULL)
        put_key(env, &map, atom_client_id, make_text(env, entry->client_id));
    put_id(env, &map, atom_flags, entry->flags);
    put_id(env, &map, atom_link, entry->link);
    put_id(env, &map, atom_hold, entry->hold);
    put_id(env, &map, atom_parent, entry->parent);
    put_id(env, &map, atom_policy_version, entry->policy_version);
    return map;
}

ERL_NIF_TERM make_policy(ErlNifEnv *env, const struct ledger_policy *policy) {
    struct entry_buffer buffer = {0};
    ERL_NIF_TERM map = atom_undefined;
    if (policy_write(&buffer, policy) == 0)
        map = make_msgpack(env, (struct ledger_text){buffer.data, buffer.size});
    entry_buffer_free(&buffer);
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

bool get_policy(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_policy *policy) {
    struct entry_buffer buffer = {0};
    *policy = (struct ledger_policy){0};
    bool fine =
        get_msgpack(env, term, &buffer) && policy_read(buffer.data, buffer.size, policy) == 0;
    entry_buffer_free(&buffer);
    return fine;
}

bool get_status(ERL_NIF_TERM term, enum ledger_status *status) {
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

bool get_names(ErlNifEnv *env, ERL_NIF_TERM list, struct ledger_text names[DIMENSION_LIMIT]) {
    ERL_NIF_TERM head;
    const ERL_NIF_TERM *pair;
    int arity, dimension;
    while (enif_get_list_cell(env, list, &head, &list))
        if (!enif_get_tuple(env, head, &arity, &pair) || arity != 2 ||
            !enif_get_int(env, pair[0], &dimension) || dimension <= 0 ||
            dimension >= DIMENSION_LIMIT || !get_text(env, pair[1], &names[dimension]))
            return false;
    return true;
}

bool get_kind(ERL_NIF_TERM term, enum ledger_kind *kind) {
    for (int each = KIND_INVOCATION; each <= KIND_REDACTION; each++) {
        *kind = (enum ledger_kind)each;
        if (term == make_kind(*kind))
            return true;
    }
    return false;
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

static bool get_breakdown(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry) {
    const ERL_NIF_TERM *parts;
    int arity;
    if (term == atom_undefined)
        return true;
    if (!enif_get_tuple(env, term, &arity, &parts) || arity != COST_PARTS)
        return false;
    for (int part = 0; part < COST_PARTS; part++)
        if (!get_amount(env, parts[part], ENTRY_BREAKDOWN, entry, &entry->breakdown[part]))
            return false;
    return true;
}

static bool get_text_or_none(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_text *text) {
    return term == atom_undefined || get_text(env, term, text);
}

/* What most invocations do not have: {RunId, ParentRun, Link, OccurredAt, Breakdown, Payload}. */
static bool get_rest(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry) {
    const ERL_NIF_TERM *fields;
    ErlNifUInt64 link;
    int arity;
    if (term == atom_undefined)
        return true;
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 6 ||
        !get_text_or_none(env, fields[0], &entry->run_id) ||
        !get_text_or_none(env, fields[1], &entry->parent_run) ||
        !enif_get_uint64(env, fields[2], &link) ||
        !get_amount(env, fields[3], ENTRY_OCCURRED_AT, entry, &entry->occurred_at_ms) ||
        !get_breakdown(env, fields[4], entry) || !get_text_or_none(env, fields[5], &entry->payload))
        return false;
    entry->link = link;
    return true;
}

static bool get_cost(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry) {
    if (term == atom_price) {
        entry->given |= ENTRY_PRICING;
        return true;
    }
    return get_amount(env, term, ENTRY_COST, entry, &entry->cost);
}

bool get_entry(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry,
               struct entry_buffer *change, struct ledger_text *extra) {
    const ERL_NIF_TERM *fields;
    ErlNifSInt64 duration;
    ErlNifUInt64 version;
    int arity;
    *entry = (struct ledger_entry){0};
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 12 ||
        !get_kind(fields[0], &entry->kind) ||
        !(fields[1] == atom_none || get_status(fields[1], &entry->status)) ||
        !get_names(env, fields[2], entry->names) || !enif_get_int64(env, fields[3], &duration) ||
        !get_cost(env, fields[4], entry) ||
        !get_amount(env, fields[5], ENTRY_CREDITS, entry, &entry->credits) ||
        !get_tokens(env, fields[6], entry) || !enif_get_uint64(env, fields[8], &version) ||
        !get_text_or_none(env, fields[9], &entry->client_id) || !get_text(env, fields[10], extra) ||
        !get_rest(env, fields[11], entry))
        return false;
    if (fields[7] != atom_undefined) {
        if (!enif_is_map(env, fields[7]) || !get_msgpack(env, fields[7], change))
            return false;
        entry->change = (struct ledger_text){change->data, change->size};
    }
    entry->duration_ms = duration;
    entry->policy_version = version;
    return true;
}

bool get_word(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t *word) {
    ErlNifUInt64 value;
    bool fine = enif_get_uint64(env, term, &value);
    *word = value;
    return fine;
}
