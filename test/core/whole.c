#include "whole.h"

#include <stdio.h>

#include "../../c_src/core/keys.h"
#include "../../c_src/core/pack.h"

/* ---- findings ----------------------------------------------------------------------------- */

struct ledger_finding found[VERIFY_FINDINGS_MAX];
size_t found_count;

void keep_finding(void *context, const struct ledger_finding *finding) {
    (void)context;
    assert_true(found_count < LENGTH(found));
    found[found_count++] = *finding;
}

struct ledger_verify_result verify(struct ledger *ledger, size_t slice) {
    struct ledger_verify_options options = {.slice = slice, .found = keep_finding};
    struct ledger_verify_result result;
    struct ledger_failure failure;
    found_count = 0;
    assert_int_equal(ledger_verify(ledger, &options, &result, &failure), 0);
    assert_int_equal(result.findings, found_count);
    return result;
}

void print_findings(void) {
    for (size_t i = 0; i < found_count; i++)
        print_message("%s: %s: %s\n", found[i].database, found[i].key, found[i].what);
}

void assert_clean(struct ledger *ledger) {
    struct ledger_verify_result result = verify(ledger, 0);
    print_findings();
    assert_int_equal(found_count, 0);
    assert_int_equal(result.entries, facts_of(ledger).entries);
    assert_int_equal(result.holds, facts_of(ledger).holds);
    verify(ledger, 1 + random_below(20));
    print_findings();
    assert_int_equal(found_count, 0);
}

/* A finding in that database, whose key and text have these parts. */
bool is_found(const char *database, const char *key, const char *what) {
    for (size_t i = 0; i < found_count; i++)
        if (strcmp(found[i].database, database) == 0 && strstr(found[i].key, key) != NULL &&
            strstr(found[i].what, what) != NULL)
            return true;
    return false;
}

void assert_found(struct ledger *ledger, const char *database, const char *key, const char *what) {
    verify(ledger, 0);
    bool any = is_found(database, key, what);
    if (!any) {
        print_message("not found: %s: %s: %s, but %zu others\n", database, key, what, found_count);
        print_findings();
    }
    assert_true(any);
}

/* ---- a ledger with something of everything -------------------------------------------------- */

static const char payload[] = "\x81\xa6intent\xa9"
                              "find bugs";

/* Like request(), with a run id or a payload. */
uint64_t ask(struct ledger *ledger, enum ledger_operation operation, uint64_t hold,
             const struct ledger_entry *entry) {
    struct entry_buffer draft = {0};
    assert_int_equal(entry_write_request(&draft, entry, (struct ledger_text){0}), 0);
    struct ledger_request request = {.operation = operation,
                                     .draft = draft.data,
                                     .size = draft.size,
                                     .hold = hold,
                                     .token = random_word(),
                                     .extend_ms = HOUR_MS};
    struct ledger_batch batch = {.requests = &request, .count = 1, .now_us = ledger_now(ledger)};
    struct ledger_effects brought;
    struct ledger_failure failure;
    assert_int_equal(ledger_commit(ledger, &batch, &brought, &failure), 0);
    ledger_effects_free(&brought);
    if (request.rc != 0)
        fail_msg("%s", ledger_error_name(request.rc));
    entry_buffer_free(&draft);
    return request.id;
}

static struct ledger_entry record_of(const char *client_id, const char *run_id) {
    struct ledger_entry entry = priced("ada", 50);
    entry.given |= ENTRY_TOKENS;
    entry.tokens[TOKENS_INPUT] = 7;
    entry.duration_ms = 1200;
    entry.payload = (struct ledger_text){payload, sizeof payload - 1};
    if (client_id != NULL)
        entry.client_id = text(client_id);
    if (run_id != NULL)
        entry.run_id = text(run_id);
    return entry;
}

static uint64_t set_a_price(struct ledger *ledger) {
    struct entry_buffer change = {0};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &change, entry_buffer_append);
    msgpack_pack_map(&packer, 3);
    pack_word(&packer, "by");
    pack_word(&packer, "ops");
    pack_word(&packer, "reason");
    pack_word(&packer, "list");
    pack_word(&packer, "prices");
    msgpack_pack_array(&packer, 1);
    msgpack_pack_array(&packer, 2);
    pack_word(&packer, "m-1");
    msgpack_pack_array(&packer, TOKENS_CLASSES);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        msgpack_pack_int(&packer, 3000 + class);
    struct ledger_entry entry = {.kind = KIND_PRICE, .change = {change.data, change.size}};
    uint64_t id = ask(ledger, OPERATION_RECORD, 0, &entry);
    entry_buffer_free(&change);
    return id;
}

static void add_holds(struct world *world) {
    struct ledger *ledger = world->ledger;
    struct ledger_entry run = run_of("bob", 900), call = priced("bob", 40);
    run.run_id = text("a run that lives");
    run.client_id = text("reserved");
    world->parent = ask(ledger, OPERATION_RESERVE, 0, &run);
    run.run_id = text("a run that ended");
    run.client_id = text("reserved, and ended");
    uint64_t below = ask(ledger, OPERATION_RESERVE, world->parent, &run);
    call.names[DIMENSION_MODEL] = text("only held");
    world->child = reserve(ledger, &call, world->parent);
    call.names[DIMENSION_MODEL] = (struct ledger_text){0};
    world->unattended = reserve_for(ledger, &call, below, 1000);
    assert_true(world->child != 0 && world->unattended != 0);
    at_time(ledger, ledger_now(ledger) + 2000000);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 1);
    world->ended_by = effects.expiries[0].entry;
    assert_int_equal(settle(ledger, below, 70), 0);
    assert_int_equal(settle(ledger, world->unattended, 45), 0);
    assert_true(last.flags & ENTRY_LATE);
    assert_int_equal(meter(ledger, world->parent, 100), 0);
}

struct world make_world(const char *directory) {
    static struct declared_series families[2];
    struct ledger_options options = options_for(directory);
    struct world world = {0};
    struct ledger_failure failure;
    bool done;
    options.meta_sync = false;
    struct ledger *ledger = open_with(&options);
    at_time(ledger, START_US);
    book_many(ledger, "planning", 70);
    struct ledger_entry entry = record_of("a client", "a run");
    world.recorded = ask(ledger, OPERATION_RECORD, 0, &entry);
    entry = record_of("again", "a run"); /* the same, under another id */
    assert_true(ask(ledger, OPERATION_RECORD, 0, &entry) == world.recorded);
    entry = record_of(NULL, NULL);
    world.redacted = ask(ledger, OPERATION_RECORD, 0, &entry);
    at_time(ledger, ledger_now(ledger) + (int64_t)HOUR_MS * 1000);
    world.corrected = ask(ledger, OPERATION_RECORD, 0, &entry);
    close_ledger(ledger);
    families[0] = FAMILY(DIMENSION_USER);
    families[1] = FAMILY(DIMENSION_STATE, DIMENSION_STATUS);
    options.series = families;
    options.series_count = 2;
    world.ledger = ledger = open_with(&options);
    assert_int_equal(ledger_build(ledger, 1000, &done, &failure), 0);
    assert_true(done);
    struct ledger_entry correction = {
        .kind = KIND_CORRECTION, .given = ENTRY_COST, .cost = -8, .link = world.corrected};
    ask(ledger, OPERATION_RECORD, 0, &correction);
    struct ledger_entry redaction = {.kind = KIND_REDACTION, .link = world.redacted};
    ask(ledger, OPERATION_RECORD, 0, &redaction);
    world.price = set_a_price(ledger);
    add_holds(&world);
    book_many(ledger, "executing", 3);
    return world;
}

/* ---- damage --------------------------------------------------------------------------------- */

static void keep_row(struct row *row, MDB_val key, MDB_val value) {
    assert_true(key.mv_size <= sizeof row->key_bytes && value.mv_size <= sizeof row->value_bytes);
    memcpy(row->key_bytes, key.mv_data, key.mv_size);
    memcpy(row->value_bytes, value.mv_data, value.mv_size);
    row->key = (MDB_val){key.mv_size, row->key_bytes};
    row->value = (MDB_val){value.mv_size, row->value_bytes};
}

/* The nth row whose key begins with a kind (0: whatever it begins with). */
bool nth_row(struct ledger *ledger, enum storage_database database, uint8_t kind, size_t nth,
             struct row *row) {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    assert_int_equal(mdb_txn_begin(ledger->storage.env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_cursor_open(txn, ledger->storage.databases[database], &cursor), 0);
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (size_t at = 0; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        if ((kind == 0 || *(uint8_t *)key.mv_data == kind) && at++ == nth)
            break;
    if (rc == 0)
        keep_row(row, key, value);
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return rc == 0;
}

void put_raw(struct ledger *ledger, enum storage_database database, MDB_val key, MDB_val value) {
    MDB_txn *txn;
    assert_int_equal(mdb_txn_begin(ledger->storage.env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, ledger->storage.databases[database], &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

void delete_raw(struct ledger *ledger, enum storage_database database, MDB_val key) {
    MDB_txn *txn;
    assert_int_equal(mdb_txn_begin(ledger->storage.env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_del(txn, ledger->storage.databases[database], &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static const char *const names_of_databases[] = {
    [DB_META] = "meta",       [DB_ENTRIES] = "entries", [DB_PAYLOADS] = "payloads",
    [DB_KEYS] = "keys",       [DB_NAMES] = "names",     [DB_SERIES] = "series",
    [DB_ROLLUPS] = "rollups", [DB_HOLDS] = "holds",     [DB_HELD] = "held",
    [DB_WARNED] = "warned",
};

static void assert_found_in(struct ledger *ledger, enum storage_database database, const char *done,
                            const struct row *row) {
    verify(ledger, 0);
    bool any = is_found(names_of_databases[database], "", "");
    if (!any) {
        print_message("%s: a row of kind %d %s is not found; %zu others\n",
                      names_of_databases[database], row->key_bytes[0], done, found_count);
        print_findings();
    }
    assert_true(any);
}

/* Every row that begins so is changed in one byte, then taken away, then put back. */
void damage_rows(struct ledger *ledger, enum storage_database database, uint8_t kind) {
    static struct row row;
    size_t nth = 0;
    for (; nth_row(ledger, database, kind, nth, &row); nth++) {
        size_t at = row.value.mv_size == 0 ? 0 : random_below(row.value.mv_size);
        uint8_t flip = (uint8_t)(1 + random_below(255));
        if (row.value.mv_size > 0) {
            row.value_bytes[at] ^= flip;
            put_raw(ledger, database, row.key, row.value);
            row.value_bytes[at] ^= flip;
            assert_found_in(ledger, database, "changed in a byte", &row);
        }
        delete_raw(ledger, database, row.key);
        assert_found_in(ledger, database, "taken away", &row);
        put_raw(ledger, database, row.key, row.value);
    }
    assert_true(nth > 0);
    assert_clean(ledger);
}

/* A row more, with the key of the first one but for its last byte. */
void add_a_row(struct ledger *ledger, enum storage_database database, uint8_t kind) {
    static struct row row;
    assert_true(nth_row(ledger, database, kind, 0, &row));
    row.key_bytes[row.key.mv_size - 1] ^= 0x55;
    if (database == DB_KEYS && kind == KEY_CLIENT) /* who knows the digest asked again */
        row.value_bytes[row.value.mv_size - 1] ^= 1;
    put_raw(ledger, database, row.key, row.value);
    assert_found_in(ledger, database, "made up", &row);
    delete_raw(ledger, database, row.key);
    assert_clean(ledger);
}
