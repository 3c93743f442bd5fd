/* What reads; see calls.h. */
#include <string.h>

#include "calls.h"
#include "record_terms.h"
#include "status_terms.h"
#include "terms.h"

ERL_NIF_TERM make_rows(const struct rows *rows, int rc) {
    return rc == 0 ? enif_make_tuple2(rows->env, atom_ok, rows->list) : make_error(rows->env, rc);
}

struct outcome outcome_of(struct handle *handle, int rc) {
    struct outcome outcome = {.rc = rc};
    if (rc == LEDGER_E_PRUNED && (rc = ledger_kept_from(handle->ledger, &outcome.kept_from)) != 0)
        outcome.rc = rc;
    return outcome;
}

ERL_NIF_TERM make_outcome_error(ErlNifEnv *env, struct outcome outcome) {
    return outcome.rc == LEDGER_E_PRUNED ? make_pruned(env, outcome.kept_from)
                                         : make_error(env, outcome.rc);
}

static void add_counts(void *context, const struct ledger_counts *counts) {
    struct rows *rows = context;
    ERL_NIF_TERM state =
        counts->state.data == NULL ? atom_total : make_text(rows->env, counts->state);
    ERL_NIF_TERM row =
        enif_make_tuple4(rows->env, state, enif_make_uint64(rows->env, counts->in_window[0]),
                         enif_make_uint64(rows->env, counts->in_window[1]),
                         enif_make_uint64(rows->env, counts->all));
    rows->list = enif_make_list_cell(rows->env, row, rows->list);
}

/* A state's name, or the atom all: *given is then NULL. */
static bool get_state_or_all(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_text *text,
                             const struct ledger_text **given) {
    *given = term == atom_all ? NULL : text;
    return term == atom_all || get_text(env, term, text);
}

NIF(nif_count) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_text text;
    const struct ledger_text *state;
    ErlNifUInt64 first, second;
    int64_t now_us;
    WITH_HANDLE(handle);
    if (!get_state_or_all(env, argv[1], &text, &state) || !enif_get_uint64(env, argv[2], &first) ||
        !enif_get_uint64(env, argv[3], &second))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    const uint64_t windows[2] = {first, second};
    int rc = ledger_count(handle->ledger, state, windows, add_counts, &rows, &now_us);
    handle_leave(handle);
    return rc == 0 ? enif_make_tuple3(env, atom_ok, enif_make_int64(env, now_us), rows.list)
                   : make_error(env, rc);
}

static bool add_entry(void *context, const struct ledger_entry *entry) {
    struct rows *rows = context;
    rows->list = enif_make_list_cell(rows->env, make_entry(rows->env, entry), rows->list);
    return true;
}

struct records {
    struct rows rows;
    struct name_terms names;
    bool whole;
};

static void add_record(void *context, const struct ledger_entry *entry,
                       const struct ledger_payload *payload) {
    struct records *records = context;
    struct rows *rows = &records->rows;
    ERL_NIF_TERM row = make_record(rows->env, &records->names, entry, payload, records->whole);
    rows->list = enif_make_list_cell(rows->env, row, rows->list);
}

static bool get_kinds(ErlNifEnv *env, ERL_NIF_TERM list, uint32_t *kinds) {
    ERL_NIF_TERM head;
    enum ledger_kind kind;
    for (*kinds = 0; enif_get_list_cell(env, list, &head, &list); *kinds |= 1u << kind)
        if (!get_kind(head, &kind))
            return false;
    return true;
}

static bool get_statuses(ErlNifEnv *env, ERL_NIF_TERM list, uint32_t *statuses) {
    ERL_NIF_TERM head;
    enum ledger_status status;
    for (*statuses = 0; enif_get_list_cell(env, list, &head, &list); *statuses |= 1u << status)
        if (!get_status(head, &status))
            return false;
    return true;
}

/* {Names, Kinds, Statuses, Since, Until, newest | oldest, WithPayloads, Limit, Scan, IsCount,
 * Cursor} */
static bool get_query(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_text *names,
                      struct ledger_list_query *query, bool *is_count) {
    const ERL_NIF_TERM *fields;
    int arity;
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 11)
        return false;
    query->filter.names = names;
    query->oldest_first = fields[5] == atom_oldest;
    query->payloads = fields[6] == atom_true;
    *is_count = fields[9] == atom_true;
    return get_names(env, fields[0], names) && get_kinds(env, fields[1], &query->filter.kinds) &&
           get_statuses(env, fields[2], &query->filter.statuses) &&
           get_word(env, fields[3], &query->filter.since) &&
           get_word(env, fields[4], &query->filter.until) &&
           get_word(env, fields[7], &query->limit) && get_word(env, fields[8], &query->scan) &&
           get_word(env, fields[10], &query->cursor);
}

/* {ok, [Record], Matched, Next | done, Total | unknown, KeptFromMs (0: all there was)} */
NIF(nif_list) {
    struct records records = {.rows = {env, enif_make_list(env, 0)}};
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_list_query query;
    struct ledger_page page;
    ERL_NIF_TERM list;
    bool is_count;
    WITH_HANDLE(handle);
    if (!get_query(env, argv[1], names, &query, &is_count))
        return BADARG;
    records.whole = query.payloads;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_list(handle->ledger, &query, is_count ? NULL : add_record, &records, &page);
    struct outcome outcome = outcome_of(handle, rc);
    handle_leave(handle);
    if (rc != 0 || !enif_make_reverse_list(env, records.rows.list, &list))
        return make_outcome_error(env, outcome);
    return enif_make_tuple6(env, atom_ok, list, enif_make_uint64(env, page.matched),
                            page.done ? atom_done : enif_make_uint64(env, page.next),
                            page.total_known ? enif_make_uint64(env, page.total) : atom_unknown,
                            enif_make_uint64(env, page.kept_from / 1000));
}

/* {ok, Record} | {error, not_found} */
static ERL_NIF_TERM make_one(struct rows *rows, struct outcome outcome) {
    ERL_NIF_TERM head, tail;
    if (outcome.rc == 0 && enif_get_list_cell(rows->env, rows->list, &head, &tail))
        return enif_make_tuple2(rows->env, atom_ok, head);
    return make_outcome_error(rows->env, outcome);
}

NIF(nif_record) {
    struct records records = {.rows = {env, enif_make_list(env, 0)}, .whole = true};
    uint64_t id;
    WITH_HANDLE(handle);
    if (!get_word(env, argv[1], &id))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    struct outcome outcome =
        outcome_of(handle, ledger_read_record(handle->ledger, id, add_record, &records));
    handle_leave(handle);
    return make_one(&records.rows, outcome);
}

NIF(nif_run) {
    struct records records = {.rows = {env, enif_make_list(env, 0)}, .whole = true};
    struct ledger_text run_id;
    WITH_HANDLE(handle);
    if (!get_text(env, argv[1], &run_id))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    struct outcome outcome =
        outcome_of(handle, ledger_read_run(handle->ledger, run_id, add_record, &records));
    handle_leave(handle);
    return make_one(&records.rows, outcome);
}

/* {ok, [Id | 0]} */
NIF(nif_known) {
    ERL_NIF_TERM head, tail = argv[1], ids = enif_make_list(env, 0);
    struct ledger_text client_id;
    unsigned count;
    int rc = 0;
    WITH_HANDLE(handle);
    if (!enif_get_list_length(env, argv[1], &count))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    while (rc == 0 && enif_get_list_cell(env, tail, &head, &tail)) {
        uint64_t id = 0;
        if (!get_text(env, head, &client_id)) {
            handle_leave(handle);
            return BADARG;
        }
        rc = ledger_find_known(handle->ledger, client_id, (struct ledger_text){0}, &id);
        if (rc == MDB_NOTFOUND)
            rc = 0;
        ids = enif_make_list_cell(env, enif_make_uint64(env, id), ids);
    }
    handle_leave(handle);
    if (rc != 0)
        return make_error(env, rc);
    (void)enif_make_reverse_list(env, ids, &ids);
    return enif_make_tuple2(env, atom_ok, ids);
}

static bool get_sums_filter(ErlNifEnv *env, const ERL_NIF_TERM argv[], struct ledger_text *names,
                            struct ledger_filter *filter) {
    *filter = (struct ledger_filter){.names = names};
    return get_names(env, argv[1], names) && get_word(env, argv[2], &filter->since) &&
           get_word(env, argv[3], &filter->until);
}

/* {ok, Sums} */
NIF(nif_sum_up) {
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter;
    struct ledger_sums sums;
    WITH_HANDLE(handle);
    if (!get_sums_filter(env, argv, names, &filter))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    struct outcome outcome = outcome_of(handle, ledger_sum_up(handle->ledger, &filter, &sums));
    handle_leave(handle);
    return outcome.rc == 0 ? enif_make_tuple2(env, atom_ok, make_sums(env, &sums))
                           : make_outcome_error(env, outcome);
}

static void add_sums(void *context, struct ledger_text value, const struct ledger_sums *sums) {
    struct rows *rows = context;
    ERL_NIF_TERM row =
        enif_make_tuple2(rows->env, make_text(rows->env, value), make_sums(rows->env, sums));
    rows->list = enif_make_list_cell(rows->env, row, rows->list);
}

/* {ok, [{Value, Sums}], After | done} */
NIF(nif_sum_up_by) {
    struct rows rows = {env, enif_make_list(env, 0)};
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter;
    unsigned dimension, after;
    uint64_t limit;
    bool done;
    WITH_HANDLE(handle);
    if (!get_sums_filter(env, argv, names, &filter) || !enif_get_uint(env, argv[4], &dimension) ||
        dimension == 0 || dimension >= DIMENSION_LIMIT || !enif_get_uint(env, argv[5], &after) ||
        !get_word(env, argv[6], &limit) || limit == 0)
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    uint32_t last = after;
    int rc = ledger_sum_up_by(handle->ledger, &filter, (uint8_t)dimension, &last, limit, add_sums,
                              &rows, &done);
    struct outcome outcome = outcome_of(handle, rc);
    handle_leave(handle);
    if (rc != 0)
        return make_outcome_error(env, outcome);
    return enif_make_tuple3(env, atom_ok, rows.list, done ? atom_done : enif_make_uint(env, last));
}

NIF(nif_fetch) {
    struct rows rows = {env, enif_make_list(env, 0)};
    ErlNifUInt64 id;
    WITH_HANDLE(handle);
    if (!enif_get_uint64(env, argv[1], &id))
        return BADARG;
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_fetch(handle->ledger, id, add_entry, &rows);
    handle_leave(handle);
    return make_rows(&rows, rc);
}

NIF(nif_facts) {
    struct ledger_facts facts;
    WITH_HANDLE(handle);
    if (!handle_enter(handle))
        return atom_closed;
    int rc = ledger_facts(handle->ledger, &facts);
    handle_leave(handle);
    if (rc != 0)
        return make_error(env, rc);
    const ERL_NIF_TERM keys[] = {atom_entries,    atom_last_id,  atom_data_bytes,
                                 atom_created_at, atom_map_size, atom_currency,
                                 atom_boot_id,    atom_holds,    atom_kept_from};
    const ERL_NIF_TERM values[] = {
        enif_make_uint64(env, facts.entries),
        enif_make_uint64(env, facts.last_id),
        enif_make_uint64(env, facts.data_bytes),
        enif_make_uint64(env, facts.created_at_us),
        enif_make_uint64(env, facts.map_size),
        make_text(env, (struct ledger_text){facts.currency, strlen(facts.currency)}),
        make_text(env, (struct ledger_text){(const char *)facts.boot_id, sizeof facts.boot_id}),
        enif_make_uint64(env, facts.holds),
        enif_make_uint64(env, facts.kept_from / 1000),
    };
    ERL_NIF_TERM map = enif_make_new_map(env);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        enif_make_map_put(env, map, keys[i], values[i], &map);
    return enif_make_tuple2(env, atom_ok, map);
}
