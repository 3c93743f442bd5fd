#include "rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "meta.h"
#include "payloads.h"
#include "rebuild_internal.h"

#define ENTRIES_A_COMMIT 20000

static int begin_txn(struct rebuilding *rebuilding) {
    storage_extend(&rebuilding->to->storage, 0);
    return mdb_txn_begin(rebuilding->to->storage.env, NULL, 0, &rebuilding->verifier.txn);
}

static int commit(struct rebuilding *rebuilding) {
    int rc = mdb_txn_commit(rebuilding->verifier.txn);
    rebuilding->verifier.txn = NULL;
    return rc;
}

static int turn(struct rebuilding *rebuilding) {
    const struct ledger_rebuild_options *options = rebuilding->options;
    if (options->goes_on != NULL &&
        !options->goes_on(options->context, rebuilding->done, rebuilding->total))
        return ECANCELED;
    int rc = commit(rebuilding);
    return rc == 0 ? begin_txn(rebuilding) : rc;
}

/* ---- rows as they are ----------------------------------------------------------------------- */

static int walk(struct rebuilding *rebuilding, MDB_txn *txn, MDB_dbi dbi, rebuild_take *take) {
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        rc = take(rebuilding, key, value);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int rebuild_walk_old(struct rebuilding *rebuilding, enum storage_database database,
                     rebuild_take *take) {
    return walk(rebuilding, rebuilding->old, old_dbi(rebuilding, database), take);
}

int rebuild_put(struct rebuilding *rebuilding, enum storage_database database, MDB_val key,
                MDB_val value) {
    return mdb_put(rebuilding->verifier.txn, new_dbi(rebuilding, database), &key, &value, 0);
}

static int take_meta(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    return rebuild_put(rebuilding, DB_META, key, value);
}

static int take_warned(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    return rebuild_put(rebuilding, DB_WARNED, key, value);
}

/* ---- names ---------------------------------------------------------------------------------- */

int rebuild_put_name(struct rebuilding *rebuilding, uint32_t number, uint8_t dimension,
                     struct ledger_text text) {
    int rc =
        names_put(rebuilding->verifier.txn, new_dbi(rebuilding, DB_NAMES), dimension, text, number);
    return rc == MDB_KEYEXIST
               ? leave_out(rebuilding, "names", 0, "number %" PRIu32 "\nis given out twice", number)
               : rc;
}

static int put_definitions(struct rebuilding *rebuilding, const struct ledger_entry *entry) {
    struct entry_definition definitions[DIMENSION_LIMIT];
    size_t count = 0;
    int rc = entry_read_definitions(entry, definitions, &count);
    if (verify_is_damage(rc))
        return leave_out(rebuilding, "names", entry->id,
                         "definitions of %" PRIu64 "\ncannot be read", entry->id);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = rebuild_put_name(rebuilding, definitions[i].number, definitions[i].dimension,
                              definitions[i].value);
    return rc;
}

/* A name that only holds used: what `names` says of it is all there is. */
static int put_undefined(struct rebuilding *rebuilding, uint32_t number) {
    struct ledger_text text;
    uint8_t dimension;
    MDB_txn *txn = rebuilding->verifier.txn;
    MDB_dbi names = new_dbi(rebuilding, DB_NAMES);
    if (names_text(txn, names, number, &dimension, &text) == 0)
        return 0;
    int rc = names_text(rebuilding->old, old_dbi(rebuilding, DB_NAMES), number, &dimension, &text);
    if (verify_is_damage(rc))
        return leave_out(rebuilding, "names", 0, "number %" PRIu32 "\nhas no text any more",
                         number);
    if (rc == 0)
        rc = rebuild_put_name(rebuilding, number, dimension, text);
    return rc == 0 ? names_put_undefined(txn, names, number) : rc;
}

static int take_undefined(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    const uint8_t *bytes = key.mv_data;
    (void)value;
    return key.mv_size == 5 && bytes[0] == NAMES_UNDEFINED
               ? put_undefined(rebuilding, get_be32(bytes + 1))
               : 0;
}

/* Whether all have a text now, and are those of a declared family. */
static bool is_series(const struct rebuilding *rebuilding, const uint32_t *numbers, size_t count) {
    const struct verifier *verifier = &rebuilding->verifier;
    uint8_t dimensions[SERIES_NAMES_MAX] = {0};
    bool is_declared = false;
    for (size_t i = 0; i < count; i++) {
        struct ledger_text text;
        if (names_text(verifier->txn, new_dbi(rebuilding, DB_NAMES), numbers[i], &dimensions[i],
                       &text) != 0)
            return false;
    }
    for (size_t i = 0; !is_declared && i < verifier->declared_count; i++)
        is_declared = verifier->declared[i].count == count &&
                      memcmp(verifier->declared[i].dimensions, dimensions, count) == 0;
    return is_declared;
}

/* A series as a row of `names` tells it, from its names or from its number. What two rows tell
 * differently the first one decides. */
static int take_series(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    const uint8_t *bytes = key.mv_data;
    bool is_by_names = bytes[0] == NAMES_SERIES && key.mv_size % 4 == 1 && value.mv_size == 4;
    bool is_by_number = bytes[0] == NAMES_OF_SERIES && key.mv_size == 5 && value.mv_size % 4 == 0;
    const uint8_t *at = is_by_names ? bytes + 1 : value.mv_data;
    size_t count = is_by_names ? (key.mv_size - 1) / 4 : value.mv_size / 4;
    uint32_t numbers[SERIES_NAMES_MAX];
    if ((!is_by_names && !is_by_number) || count == 0 || count > SERIES_NAMES_MAX)
        return 0;
    uint32_t series = get_be32(is_by_names ? value.mv_data : bytes + 1);
    for (size_t i = 0; i < count; i++)
        numbers[i] = get_be32(at + 4 * i);
    if (series == 0 || series == REPLAY_UNKNOWN || !is_series(rebuilding, numbers, count))
        return 0;
    int rc = names_put_series(rebuilding->verifier.txn, new_dbi(rebuilding, DB_NAMES), numbers,
                              count, series);
    return rc == MDB_KEYEXIST ? 0 : rc;
}

static bool has_names(const struct hold *hold, const struct declared_series *declared,
                      uint32_t numbers[SERIES_NAMES_MAX]) {
    bool has = declared->ready;
    for (uint8_t i = 0; has && i < declared->count; i++) {
        numbers[i] = hold->name_numbers[declared->dimensions[i]];
        has = numbers[i] != 0;
    }
    return has;
}

/* Shares stand in the order of their families: a series that `names` does not tell any more is the
 * first of them that is no other's. */
static int name_share(struct rebuilding *rebuilding, const struct hold *hold,
                      const uint32_t *numbers, size_t count) {
    MDB_txn *txn = rebuilding->verifier.txn;
    MDB_dbi names = new_dbi(rebuilding, DB_NAMES);
    uint32_t known;
    int rc = names_find_series(txn, names, numbers, count, &known);
    for (uint8_t i = 1; rc == MDB_NOTFOUND && i < hold->share_count; i++) {
        rc = names_put_series(txn, names, numbers, count, hold->shares[i].series);
        if (rc == MDB_KEYEXIST)
            rc = MDB_NOTFOUND;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int take_shares(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    const struct verifier *verifier = &rebuilding->verifier;
    struct hold hold = {0};
    int rc = hold_read(get_be64(key.mv_data), value.mv_data, value.mv_size, &hold);
    for (size_t family = 0; rc == 0 && family < verifier->declared_count; family++) {
        uint32_t numbers[SERIES_NAMES_MAX];
        if (has_names(&hold, &verifier->declared[family], numbers))
            rc = name_share(rebuilding, &hold, numbers, verifier->declared[family].count);
    }
    hold_free(&hold);
    return rc;
}

/* For the replay: one that `names` did not tell gets the lowest number that is free. */
static int number_series(void *context, struct replay_series *series) {
    struct rebuilding *rebuilding = context;
    MDB_txn *txn = rebuilding->verifier.txn;
    MDB_dbi names = new_dbi(rebuilding, DB_NAMES);
    series->series = SERIES_EVERYTHING;
    if (series->family == FAMILY_EVERYTHING)
        return 0;
    int rc = names_find_series(txn, names, series->numbers, series->count, &series->series);
    while (rc == MDB_NOTFOUND || rc == MDB_KEYEXIST) {
        series->series = ++rebuilding->next_series;
        rc = names_put_series(txn, names, series->numbers, series->count, series->series);
    }
    return rc;
}

static int begin_series(void *context, struct replay_series *series) {
    struct rebuilding *rebuilding = context;
    return verify_begin_series(&rebuilding->verifier, series);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static int put_client(struct rebuilding *rebuilding, const struct ledger_entry *entry) {
    struct key_row row = {.operation = (uint8_t)verify_operation(entry),
                          .flags = entry->flags,
                          .id = entry->id,
                          .version = entry->kind == KIND_POLICY ? rebuilding->policies + 1 : 0};
    if (entry->request_digest != NULL)
        memcpy(row.digest, entry->request_digest, sizeof row.digest);
    int rc =
        keys_put(rebuilding->verifier.txn, new_dbi(rebuilding, DB_KEYS), entry->client_id, &row);
    return rc == MDB_KEYEXIST ? leave_out(rebuilding, "keys", entry->id,
                                          "client id of %" PRIu64 "\nis another entry's", entry->id)
                              : rc;
}

/* Of a run that a hold was for, the digest of what was asked stands in the row alone. */
static int put_run(struct rebuilding *rebuilding, const struct ledger_entry *entry) {
    struct key_row row = {.operation = OPERATION_RECORD, .flags = entry->flags};
    int rc = 0;
    if (entry->request_digest != NULL)
        memcpy(row.digest, entry->request_digest, sizeof row.digest);
    if (entry->hold != 0) {
        rc = keys_find_run(rebuilding->old, old_dbi(rebuilding, DB_KEYS), entry->run_id, &row);
        if (rc == MDB_NOTFOUND || verify_is_damage(rc)) {
            row = (struct key_row){0};
            rc = leave_out(rebuilding, "keys", entry->id,
                           "run id of %" PRIu64 "\nits request is not known any more", entry->id);
        }
        row.operation = OPERATION_RESERVE;
    }
    row.id = entry->id;
    row.version = entry->hold;
    return rc == 0 ? keys_put_run(rebuilding->verifier.txn, new_dbi(rebuilding, DB_KEYS),
                                  entry->run_id, &row)
                   : rc;
}

static bool is_live_run(struct rebuilding *rebuilding, MDB_val key, uint64_t id) {
    struct hold hold = {0};
    int rc = hold_load(rebuilding->verifier.txn, new_dbi(rebuilding, DB_HOLDS), id, &hold);
    bool is = rc == 0 && keys_is_named(key, hold.run_id);
    hold_free(&hold);
    return is;
}

/* One under which a record was asked for again by its run id: its own name the entry has made. */
static bool is_asked_again(struct rebuilding *rebuilding, MDB_val key, const struct key_row *row) {
    struct verifier *verifier = &rebuilding->verifier;
    struct ledger_entry entry;
    return row->operation == OPERATION_RECORD && verify_fetch(verifier, row->id, &entry) == 0 &&
           verify_has_name(key, row, &entry);
}

/* Rows that no entry makes. How holds ended is derived, too, but of a release nothing else says
 * whether it was of a run: they are there until the derived ones take their place. */
static int take_key(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    uint8_t kind = key.mv_size == 0 ? 0 : *(uint8_t *)key.mv_data;
    struct key_row row;
    bool is_run = kind == KEY_RUN || kind == KEY_LONG_RUN;
    if (kind == KEY_RESOLVED)
        return rebuild_put(rebuilding, DB_KEYS, key, value);
    if (kind == KEY_CORRECTED || kind == KEY_PRICE)
        return kind == KEY_CORRECTED && rebuild_is_past_key(rebuilding, key)
                   ? rebuild_put(rebuilding, DB_KEYS, key, value)
                   : 0;
    if (kind == 0 || kind > KEY_PRICE || keys_read(value, &row) != 0)
        return leave_out(rebuilding, "keys", 0, "a row of kind %u\ncannot be read", kind);
    bool is_of_hold = row.operation == OPERATION_RESERVE || row.operation == OPERATION_METER ||
                      row.operation == OPERATION_TRANSFER;
    bool is_ours = is_run ? is_of_hold && row.version == 0 && is_live_run(rebuilding, key, row.id)
                          : (is_of_hold && row.id != 0) ||
                                (row.operation == OPERATION_POLICY && row.id == 0) ||
                                is_asked_again(rebuilding, key, &row);
    if (!is_ours && !rebuild_is_past(rebuilding, row.id))
        return 0;
    int rc = mdb_put(rebuilding->verifier.txn, new_dbi(rebuilding, DB_KEYS), &key, &value,
                     MDB_NOOVERWRITE);
    return rc == MDB_KEYEXIST ? 0 : rc; /* an entry has it */
}

/* Those of holds that are older than the horizon are not made again. */
static int drop_resolved(struct rebuilding *rebuilding) {
    MDB_cursor *cursor;
    uint8_t bytes[9] = {KEY_RESOLVED};
    put_be64(bytes + 1, rebuilding->verifier.retention.horizon);
    int rc = mdb_cursor_open(rebuilding->verifier.txn, new_dbi(rebuilding, DB_KEYS), &cursor);
    while (rc == 0) {
        MDB_val key = {sizeof bytes, bytes}, value;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc == 0 && *(uint8_t *)key.mv_data != KEY_RESOLVED)
            rc = MDB_NOTFOUND;
        if (rc == 0)
            rc = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int take_derived(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    uint8_t kind = *(uint8_t *)key.mv_data;
    bool has_ended = kind != KEY_RESOLVED || *(uint8_t *)value.mv_data != 0;
    bool is_kept = kind != KEY_PRICE && rebuild_is_past_key(rebuilding, key);
    return has_ended && !is_kept ? rebuild_put(rebuilding, DB_KEYS, key, value) : 0;
}

/* ---- entries, payloads, holds --------------------------------------------------------------- */

static int take_payload(struct rebuilding *rebuilding, const struct ledger_entry *entry) {
    struct ledger_payload payload;
    uint8_t bytes[8], digest[ENTRY_DIGEST_BYTES];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, entry->id);
    int rc = payloads_find(rebuilding->old, old_dbi(rebuilding, DB_PAYLOADS), entry->id, &payload);
    bool is_whole = rc == 0 && payload.redacted_by != 0;
    if (rc == 0 && payload.map.data != NULL)
        is_whole = digest_sha256(payload.salt, ENTRY_SALT_BYTES + payload.map.size, digest) == 0 &&
                   memcmp(digest, entry->digest, sizeof digest) == 0;
    if (rc != 0 && !verify_is_damage(rc))
        return rc;
    if (!is_whole)
        return leave_out(rebuilding, "payloads", entry->id,
                         "%" PRIu64 "\nis missing, or not what the entry's digest is of",
                         entry->id);
    rc = mdb_get(rebuilding->old, old_dbi(rebuilding, DB_PAYLOADS), &key, &value);
    return rc == 0 ? rebuild_put(rebuilding, DB_PAYLOADS, key, value) : rc;
}

static int take_entry(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    struct ledger_entry entry = {0};
    if (key.mv_size != 8)
        return leave_out(rebuilding, "entries", 0, "a key of %zu bytes\nis no id", key.mv_size);
    entry.id = get_be64(key.mv_data);
    int rc = entry_read_stored(value.mv_data, value.mv_size, &entry);
    if (verify_is_damage(rc))
        return leave_out(rebuilding, "entries", entry.id, "%" PRIu64 "\ncannot be read", entry.id);
    if (rc == 0)
        rc = rebuild_put(rebuilding, DB_ENTRIES, key, value);
    if (rc == 0 && entry.definitions.data != NULL)
        rc = put_definitions(rebuilding, &entry);
    if (rc == 0 && entry.given & ENTRY_DIGEST)
        rc = take_payload(rebuilding, &entry);
    if (rc == 0 && entry.client_id.data != NULL)
        rc = put_client(rebuilding, &entry);
    if (rc == 0 && entry.run_id.data != NULL)
        rc = put_run(rebuilding, &entry);
    rebuilding->policies += entry.kind == KIND_POLICY;
    if (rc == 0 && ++rebuilding->done % ENTRIES_A_COMMIT == 0)
        rc = turn(rebuilding);
    return rc;
}

static int take_hold(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    struct hold hold = {0};
    uint64_t id = key.mv_size == 8 ? get_be64(key.mv_data) : 0;
    int rc = id == 0 ? LEDGER_E_DAMAGED : hold_read(id, value.mv_data, value.mv_size, &hold);
    if (verify_is_damage(rc)) {
        hold_free(&hold);
        return leave_out(rebuilding, "holds", id, "%" PRIu64 "\ncannot be read", id);
    }
    for (int dimension = 1; rc == 0 && dimension < DIMENSION_LIMIT; dimension++)
        if (hold.name_numbers[dimension] != 0)
            rc = put_undefined(rebuilding, hold.name_numbers[dimension]);
    hold_free(&hold);
    return rc == 0 ? rebuild_put(rebuilding, DB_HOLDS, key, value) : rc;
}

/* ---- what is derived ------------------------------------------------------------------------ */

static int put_block(void *context, struct replay_series *series, bool is_open) {
    struct rebuilding *rebuilding = context;
    (void)is_open;
    return series_store(rebuilding->verifier.txn, new_dbi(rebuilding, DB_SERIES), &series->block);
}

static int put_rollup(void *context, struct replay_series *series, const struct rollup *rollup,
                      bool is_open) {
    struct rebuilding *rebuilding = context;
    uint8_t bytes[ROLLUP_KEY_BYTES], data[ROLLUP_BYTES_MAX];
    MDB_val key = {sizeof bytes, bytes}, value = {rollup_write(rollup, bytes, data), data};
    (void)series;
    (void)is_open;
    return rebuild_put(rebuilding, DB_ROLLUPS, key, value);
}

static int take_held(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    return rebuild_put(rebuilding, DB_HELD, key, value);
}

/* Over the entries that were taken. */
static int replay_entries(struct rebuilding *rebuilding) {
    struct verifier *verifier = &rebuilding->verifier;
    uint8_t bytes[8];
    uint64_t next = 0;
    int rc = 0;
    while (rc == 0) {
        MDB_val key = {sizeof bytes, bytes}, value;
        MDB_cursor *cursor;
        rc = mdb_cursor_open(verifier->txn, new_dbi(rebuilding, DB_ENTRIES), &cursor);
        if (rc != 0)
            break;
        put_be64(bytes, next);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        for (size_t left = ENTRIES_A_COMMIT; rc == 0 && left > 0; left--) {
            next = get_be64(key.mv_data) + 1;
            rebuilding->done++;
            rc = verify_entry(verifier, next - 1, value);
            if (rc == 0)
                rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        }
        mdb_cursor_close(cursor);
        if (rc == 0)
            rc = scratch_file_turn(&verifier->scratch, verifier->failure);
        if (rc == 0)
            rc = turn(rebuilding);
    }
    return rc == MDB_NOTFOUND ? replay_finish(&verifier->replay) : rc;
}

static int count_families(struct rebuilding *rebuilding) {
    return rebuilding->from->needs_told
               ? names_count_families(rebuilding->verifier.txn, new_dbi(rebuilding, DB_NAMES))
               : 0;
}

static int derive(struct rebuilding *rebuilding) {
    struct verifier *verifier = &rebuilding->verifier;
    int rc = rebuild_walk_old(rebuilding, DB_NAMES, take_series);
    if (rc == 0)
        rc = walk(rebuilding, verifier->txn, new_dbi(rebuilding, DB_HOLDS), take_shares);
    if (rc == 0)
        rc = replay_entries(rebuilding);
    if (rc == 0)
        rc = count_families(rebuilding);
    if (rc == 0)
        rc = verify_holds(verifier); /* sums them up in the scratch file */
    if (rc == 0)
        rc = drop_resolved(rebuilding);
    if (rc == 0 && verifier->scratch.txn != NULL)
        rc = walk(rebuilding, verifier->scratch.txn, verifier->scratch.databases[SCRATCH_KEYS],
                  take_derived);
    if (rc == 0 && verifier->scratch.txn != NULL)
        rc = walk(rebuilding, verifier->scratch.txn, verifier->scratch.databases[SCRATCH_HELD],
                  take_held);
    return rc;
}

static int take_all(struct rebuilding *rebuilding) {
    int rc = rebuild_walk_old(rebuilding, DB_META, take_meta);
    if (rc == 0)
        rc = rebuild_walk_old(rebuilding, DB_ENTRIES, take_entry);
    if (rc == 0)
        rc = rebuild_walk_old(rebuilding, DB_HOLDS, take_hold);
    if (rc == 0)
        rc = rebuild_walk_old(rebuilding, DB_NAMES, take_undefined);
    if (rc == 0)
        rc = rebuild_take_past(rebuilding);
    if (rc == 0)
        rc = rebuild_walk_old(rebuilding, DB_KEYS, take_key);
    if (rc == 0)
        rc = rebuild_walk_old(rebuilding, DB_WARNED, take_warned);
    if (rc == 0)
        rc = turn(rebuilding);
    return rc == 0 ? derive(rebuilding) : rc;
}

static int rebuild(struct rebuilding *rebuilding) {
    struct storage *storage = &rebuilding->to->storage;
    MDB_stat entries;
    int rc = storage_read_begin(&rebuilding->from->storage, &rebuilding->old);
    if (rc != 0)
        return rc;
    rc = mdb_stat(rebuilding->old, old_dbi(rebuilding, DB_ENTRIES), &entries);
    rebuilding->total = 2 * entries.ms_entries; /* taken, then replayed */
    rebuilding->verifier.past = rebuilding->from;
    rebuilding->verifier.past_txn = rebuilding->old;
    if (rc == 0)
        rc =
            meta_read_retention(rebuilding->from, rebuilding->old, &rebuilding->verifier.retention);
    rebuilding->verifier.replay.from = rebuilding->verifier.retention.horizon;
    if (rc == 0)
        rc = begin_txn(rebuilding);
    if (rc == 0)
        rc = storage_create(storage, rebuilding->verifier.txn);
    if (rc == 0)
        rc = take_all(rebuilding);
    if (rc == 0)
        rc = commit(rebuilding);
    if (rebuilding->verifier.txn != NULL)
        mdb_txn_abort(rebuilding->verifier.txn);
    storage_read_end(&rebuilding->from->storage, rebuilding->old);
    return rc;
}

/* The new ledger while it is made: files, and what meta will say. */
static int open_new(struct rebuilding *rebuilding, const char *directory,
                    struct ledger_failure *failure) {
    struct ledger *from = rebuilding->from;
    struct verifier *verifier = &rebuilding->verifier;
    MDB_envinfo info;
    rebuilding->to = calloc(1, sizeof *rebuilding->to);
    if (rebuilding->to == NULL)
        return ledger_fail(failure, ENOMEM, "%s", directory);
    int rc = mdb_env_info(from->storage.env, &info);
    struct storage_options options = {
        .directory = directory, .map_size = info.me_mapsize, .pool_size = 1, .meta_sync = true};
    if (rc == 0)
        rc = storage_open(&rebuilding->to->storage, &options, failure);
    rebuilding->to->needs_told = from->needs_told;
    verifier->ledger = rebuilding->to;
    verifier->declared_count = from->declared_count;
    memcpy(verifier->declared, from->declared, sizeof verifier->declared);
    return rc;
}

int ledger_rebuild(struct ledger *from, const char *directory,
                   const struct ledger_rebuild_options *options, uint64_t *left_out,
                   struct ledger_failure *failure) {
    struct ledger_verify_result told = {0};
    struct rebuilding rebuilding = {.options = options, .from = from, .left_out = &told};
    struct verifier *verifier = &rebuilding.verifier;
    rebuilding.verify_options =
        (struct ledger_verify_options){.findings_max = UINT64_MAX, .context = options->context};
    *verifier = (struct verifier){
        .options = &rebuilding.verify_options, .result = &rebuilding.result, .failure = failure};
    verifier->replay.sink = (struct replay_sink){.number = number_series,
                                                 .begin = begin_series,
                                                 .block = put_block,
                                                 .rollup = put_rollup,
                                                 .context = &rebuilding};
    failure->code = 0;
    int rc = open_new(&rebuilding, directory, failure);
    if (rc == 0)
        rc = rebuild(&rebuilding);
    if (rebuilding.to != NULL && rebuilding.to->storage.idle != NULL)
        storage_close(&rebuilding.to->storage);
    free(rebuilding.to);
    replay_free(&verifier->replay);
    scratch_file_close(&verifier->scratch);
    free(verifier->names);
    *left_out = told.findings;
    if (rc != 0 && failure->code == 0)
        ledger_fail(failure, rc, "rebuilding %s in %s", from->storage.options.directory, directory);
    return rc;
}
