/* What reads the policy, what its rules say, holds, accounts and prices; see calls.h. */
#include "../core/price_map.h"

#include "calls.h"
#include "record_terms.h"
#include "status_terms.h"
#include "terms.h"

static void add_rule_status(void *context, const struct ledger_rule_status *status) {
    struct rows *rows = context;
    rows->list = enif_make_list_cell(rows->env, make_rule_status(rows->env, status), rows->list);
}

static ERL_NIF_TERM make_statuses(struct rows *rows, int rc,
                                  const struct ledger_decision *decision) {
    ERL_NIF_TERM list;
    if (rc != 0 || !enif_make_reverse_list(rows->env, rows->list, &list))
        return make_error(rows->env, rc);
    return enif_make_tuple3(rows->env, atom_ok, make_decision(rows->env, decision), list);
}

/* {ok, Decision, [RuleStatus]}: of those that deny. */
NIF(nif_check) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_decision decision;
    struct ledger_entry entry;
    struct entry_buffer change = {0};
    struct ledger_text extra;
    WITH_HANDLE(handle);
    bool fine = get_entry(env, argv[1], &entry, &change, &extra);
    entry_buffer_free(&change);
    if (!fine || entry_check(&entry) != NULL)
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_check(handle->ledger, &entry, argv[2] == atom_true, add_rule_status, &rows,
                          &decision);
    handle_leave(handle);
    return make_statuses(&rows, rc, &decision);
}

/* {ok, Decision, [RuleStatus]} */
NIF(nif_statuses) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_decision decision;
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    WITH_HANDLE(handle);
    bool all = argv[1] == atom_all;
    if (!all && !get_names(env, argv[1], names))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_statuses(handle->ledger, all ? NULL : names, add_rule_status, &rows, &decision);
    handle_leave(handle);
    return make_statuses(&rows, rc, &decision);
}

static void add_grant(void *context, const struct ledger_entry *entry, ledger_sum remaining) {
    struct rows *rows = context;
    ERL_NIF_TERM row =
        enif_make_tuple2(rows->env, make_entry(rows->env, entry), make_sum(rows->env, remaining));
    rows->list = enif_make_list_cell(rows->env, row, rows->list);
}

/* {ok, {Granted, Used, Held, Percent}, [{Entry, Remaining}]}, newest grant first. */
NIF(nif_balance) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_balance balance;
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    unsigned limit;
    WITH_HANDLE(handle);
    if (!get_names(env, argv[1], names) || !enif_get_uint(env, argv[3], &limit))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_read_balance(handle->ledger, names, argv[2] == atom_credits, limit, add_grant,
                                 &rows, &balance);
    struct outcome outcome = outcome_of(handle, rc);
    handle_leave(handle);
    if (rc != 0)
        return make_outcome_error(env, outcome);
    ERL_NIF_TERM sums =
        enif_make_tuple4(env, make_sum(env, balance.granted), make_sum(env, balance.used),
                         make_sum(env, balance.held), enif_make_uint64(env, balance.percent));
    return enif_make_tuple3(env, atom_ok, sums, rows.list);
}

/* {Cost, Credits, {Input, Output, CacheRead, CacheCreation, Reasoning}} */
static ERL_NIF_TERM make_children(ErlNifEnv *env, const struct ledger_entry *children) {
    ERL_NIF_TERM classes[TOKENS_CLASSES];
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        classes[class] = enif_make_int64(env, children->tokens[class]);
    return enif_make_tuple3(env, enif_make_int64(env, children->cost),
                            enif_make_int64(env, children->credits),
                            enif_make_tuple_from_array(env, classes, TOKENS_CLASSES));
}

static void add_hold(void *context, const struct ledger_live_hold *hold,
                     const struct ledger_text *names) {
    struct rows *rows = context;
    ErlNifEnv *env = rows->env;
    ERL_NIF_TERM map = make_entry(env, &hold->estimate);
    put_key(env, &map, atom_id, enif_make_uint64(env, hold->id));
    put_key(env, &map, atom_names, make_names(env, names));
    put_key(env, &map, atom_owner, make_text(env, hold->owner));
    put_key(env, &map, atom_boot_id,
            make_text(env, (struct ledger_text){(const char *)hold->boot_id, 16}));
    put_key(env, &map, atom_deadline, enif_make_uint64(env, hold->deadline_us));
    put_key(env, &map, atom_extend_ms, enif_make_uint64(env, hold->extend_ms));
    put_key(env, &map, atom_open_children, enif_make_uint64(env, hold->open_children));
    if (hold->estimate.run_id.data != NULL)
        put_key(env, &map, atom_run_id, make_text(env, hold->estimate.run_id));
    if (hold->estimate.kind == KIND_RUN)
        put_key(env, &map, atom_children, make_children(env, &hold->children));
    if (hold->is_metered)
        put_key(env, &map, atom_metered, make_entry(env, &hold->metered));
    rows->list = enif_make_list_cell(env, map, rows->list);
}

/* {ok, [Hold]}: at most one. */
NIF(nif_hold) {
    struct rows rows = {env, enif_make_list(env, 0)};
    ErlNifUInt64 id;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &id))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_read_hold(handle->ledger, id, add_hold, &rows);
    handle_leave(handle);
    return make_rows(&rows, rc);
}

/* {ok, [Hold]}, newest first: the caller asks in slices. */
NIF(nif_holds) {
    struct rows rows = {env, enif_make_list(env, 0)};
    ErlNifUInt64 from;
    unsigned limit;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &from) || !enif_get_uint(env, argv[2], &limit))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_read_holds(handle->ledger, from, limit, add_hold, &rows);
    handle_leave(handle);
    return make_rows(&rows, rc);
}

/* {ok, [{[Dimension], IsReady}]} */
NIF(nif_series) {
    struct declared_series declared[DECLARED_MAX];
    ERL_NIF_TERM list = enif_make_list(env, 0);
    WITH_HANDLE(handle);
    if (!handle_enter(handle))
        return atom_closed;
    size_t count = ledger_series(handle->ledger, declared);
    handle_leave(handle);
    for (size_t i = count; i > 0; i--) {
        ERL_NIF_TERM dimensions = enif_make_list(env, 0);
        for (uint8_t k = declared[i - 1].count; k > 0; k--)
            dimensions = enif_make_list_cell(
                env, enif_make_uint(env, declared[i - 1].dimensions[k - 1]), dimensions);
        ERL_NIF_TERM row =
            enif_make_tuple2(env, dimensions, declared[i - 1].ready ? atom_true : atom_false);
        list = enif_make_list_cell(env, row, list);
    }
    return enif_make_tuple2(env, atom_ok, list);
}

/* SHA-256 of anything: a whole policy, for one. */
NIF(nif_digest) {
    struct ledger_text text;
    uint8_t digest[ENTRY_DIGEST_BYTES];
    (void)argc;
    if (!get_text(env, argv[0], &text))
        return BADARG;
    int rc = ledger_digest(text, digest);
    return rc == 0 ? make_text(env, (struct ledger_text){(const char *)digest, sizeof digest})
                   : make_error(env, rc);
}

NIF(nif_policy) {
    struct ledger_policy policy;
    WITH_HANDLE(handle);
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_policy(handle->ledger, &policy);
    handle_leave(handle);
    if (rc != 0)
        return make_error(env, rc);
    ERL_NIF_TERM term = make_policy(env, &policy);
    policy_free(&policy);
    return enif_make_tuple2(env, atom_ok, term);
}

static void add_price(void *context, const struct ledger_price *price) {
    struct rows *rows = context;
    rows->list = enif_make_list_cell(rows->env, make_price(rows->env, price), rows->list);
}

/* {ok, [Price]}: one, or none */
NIF(nif_price) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_text model;
    uint64_t at_us;
    WITH_HANDLE(handle);
    if (!get_text(env, argv[1], &model) || !get_word(env, argv[2], &at_us))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_read_price(handle->ledger, model, at_us, add_price, &rows);
    handle_leave(handle);
    return rc == 0 || rc == MDB_NOTFOUND ? enif_make_tuple2(env, atom_ok, rows.list)
                                         : make_error(env, rc);
}

struct prices {
    struct rows rows;
    uint64_t left;
    ERL_NIF_TERM next; /* {Model, FromUs}: behind the last one */
};

static void add_next_price(void *context, const struct ledger_price *price) {
    struct prices *prices = context;
    ErlNifEnv *env = prices->rows.env;
    add_price(&prices->rows, price);
    if (--prices->left == 0)
        prices->next = enif_make_tuple2(env, make_text(env, price->model),
                                        enif_make_uint64(env, price->effective_us + 1));
}

/* {ok, [Price], {Model, FromUs} | done}: the caller asks in slices. */
NIF(nif_prices) {
    struct prices prices = {.rows = {env, enif_make_list(env, 0)}, .next = atom_done};
    struct ledger_text model;
    uint64_t from_us;
    WITH_HANDLE(handle);
    if (!get_text(env, argv[1], &model) || model.size > PRICE_MODEL_BYTES_MAX ||
        !get_word(env, argv[2], &from_us) || !get_word(env, argv[3], &prices.left) ||
        prices.left == 0)
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc =
        ledger_read_prices(handle->ledger, model, from_us, prices.left, add_next_price, &prices);
    handle_leave(handle);
    return rc == 0 ? enif_make_tuple3(env, atom_ok, prices.rows.list, prices.next)
                   : make_error(env, rc);
}

static int add_map_row(void *context, const struct price_map_row *row) {
    struct rows *rows = context;
    ErlNifEnv *env = rows->env;
    ERL_NIF_TERM term;
    if (row->skipped == NULL)
        term = enif_make_tuple4(env, make_text(env, row->model), make_units(env, row->unit),
                                enif_make_uint64(env, row->above_tokens),
                                make_units(env, row->unit_above));
    else
        term = enif_make_tuple3(
            env, make_text(env, row->model), make_text(env, row->skipped_key),
            make_text(env, (struct ledger_text){row->skipped, strlen(row->skipped)}));
    rows->list = enif_make_list_cell(env, term, rows->list);
    return 0;
}

/* {ok, [{Model, Units, AboveTokens, UnitsAbove} | {SkippedModel, Key, Reason}]} */
NIF(nif_price_map) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_failure failure = {0};
    struct ledger_text json;
    (void)argc;
    if (!get_text(env, argv[0], &json))
        return BADARG;
    int rc = price_map_read(json.data, json.size, add_map_row, &rows, &failure);
    if (rc == LEDGER_E_BAD_PRICES)
        return make_failure(env, &failure);
    return make_rows(&rows, rc);
}

/* {ok, HorizonUs} */
NIF(nif_horizon) {
    struct ledger_failure failure;
    uint64_t wanted, horizon;
    WITH_HANDLE(handle);
    if (!get_word(env, argv[1], &wanted))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_horizon(handle->ledger, wanted, &horizon, &failure);
    handle_leave(handle);
    return rc == 0 ? enif_make_tuple2(env, atom_ok, enif_make_uint64(env, horizon))
                   : make_failure(env, &failure);
}
