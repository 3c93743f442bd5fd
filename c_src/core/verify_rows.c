/* Verifying rows that are found, not looked up: names, what clients asked, and what of `keys` and
 * `payloads` nothing has made. */
#include <inttypes.h>
#include <string.h>

#include "digest.h"
#include "meta.h"
#include "verify_internal.h"

#define REQUESTS_A_SLICE 50000

/* ---- names -------------------------------------------------------------------------------- */

/* Kinds of row, as in names.c. */
enum {
    ROW_NUMBER = 1,
    ROW_NUMBER_OF_LONG,
    ROW_TEXT,
    ROW_SERIES,
    ROW_NAMES,
    ROW_UNDEFINED,
    ROW_FAMILY
};

struct names_walk {
    struct verifier *verifier;
    uint64_t texts, last_text; /* rows, and the largest number */
    uint64_t series, last_series;
    uint32_t in_family[DECLARED_MAX];
    uint32_t told[DECLARED_MAX]; /* rows of kind 7 */
};

static int wrong_name(struct verifier *verifier, uint32_t number, const char *what) {
    return verify_found(verifier, "names", 0, "number %" PRIu32 "\n%s", number, what);
}

/* Text to number: the number's text must be that one. */
static int walk_number(struct names_walk *walk, const uint8_t *key, size_t size, MDB_val value) {
    struct verifier *verifier = walk->verifier;
    uint8_t digest[DIGEST_BYTES], dimension;
    struct ledger_text text;
    bool is_long = key[0] == ROW_NUMBER_OF_LONG;
    if (value.mv_size != 4 || size < 3 || (is_long && size != 2 + DIGEST_BYTES))
        return verify_found(verifier, "names", 0, "a text's number\ncannot be read");
    uint32_t number = get_be32(value.mv_data);
    int rc = names_text(verifier->txn, verify_dbi(verifier, DB_NAMES), number, &dimension, &text);
    if (rc == 0 && is_long)
        rc = digest_sha256(text.data, text.size, digest);
    bool fits = rc == 0 && dimension == key[1] &&
                (is_long ? memcmp(digest, key + 2, sizeof digest) == 0
                         : text.size == size - 2 && memcmp(text.data, key + 2, size - 2) == 0);
    if (rc != 0 && !verify_is_damage(rc))
        return rc;
    return fits ? 0 : wrong_name(verifier, number, "is given to a text that is not its own");
}

static int walk_text(struct names_walk *walk, const uint8_t *key, size_t size, MDB_val value) {
    struct verifier *verifier = walk->verifier;
    MDB_dbi names = verify_dbi(verifier, DB_NAMES);
    const uint8_t *bytes = value.mv_data;
    uint8_t undefined[5] = {ROW_UNDEFINED};
    MDB_val undefined_key = {sizeof undefined, undefined}, nothing;
    uint32_t number, back = 0;
    if (size != 5 || value.mv_size < 2)
        return verify_found(verifier, "names", 0, "a number's text\ncannot be read");
    number = get_be32(key + 1);
    memcpy(undefined + 1, key + 1, 4);
    walk->texts++;
    walk->last_text = number;
    uint8_t known = number < verifier->name_count ? verifier->names[number] : 0;
    bool is_past = verifier->retention.horizon != 0; /* its entry may have been removed */
    if (known == 0 && !is_past && mdb_get(verifier->txn, names, &undefined_key, &nothing) != 0)
        return wrong_name(verifier, number, "has a text, but no entry defines it");
    if (known != 0 && known != (bytes[0] | NAME_DEFINED))
        return wrong_name(verifier, number, "has another dimension than its entry gave it");
    struct ledger_text text = {(const char *)bytes + 1, value.mv_size - 1};
    int rc = names_find(verifier->txn, names, bytes[0], text, &back);
    if (rc != 0 && rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    /* Of a name that an entry defines this was told there. */
    return (rc == 0 && back == number) || known != 0
               ? 0
               : wrong_name(verifier, number, "has a text that does not lead back to it");
}

static int family_of(struct names_walk *walk, const uint8_t *dimensions, size_t count) {
    const struct verifier *verifier = walk->verifier;
    for (size_t i = 0; i < verifier->declared_count; i++)
        if (verifier->declared[i].count == count &&
            memcmp(verifier->declared[i].dimensions, dimensions, count) == 0)
            return (int)i;
    return -1;
}

static int wrong_series(struct verifier *verifier, uint32_t series, const char *what) {
    return verify_found(verifier, "names", 0, "series %" PRIu32 "\n%s", series, what);
}

/* Names to series. */
static int walk_series(struct names_walk *walk, const uint8_t *key, size_t size, MDB_val value) {
    struct verifier *verifier = walk->verifier;
    uint32_t back[SERIES_NAMES_MAX];
    uint8_t dimensions[SERIES_NAMES_MAX] = {0};
    size_t count = (size - 1) / 4, back_count = 0;
    if (size % 4 != 1 || count == 0 || count > SERIES_NAMES_MAX || value.mv_size != 4)
        return verify_found(verifier, "names", 0, "a series' names\ncannot be read");
    uint32_t series = get_be32(value.mv_data);
    int rc =
        names_of_series(verifier->txn, verify_dbi(verifier, DB_NAMES), series, back, &back_count);
    bool fits = rc == 0 && back_count == count;
    for (size_t i = 0; fits && i < count; i++) {
        struct ledger_text text;
        uint32_t number = get_be32(key + 1 + 4 * i);
        fits = number == back[i] && names_text(verifier->txn, verify_dbi(verifier, DB_NAMES),
                                               number, &dimensions[i], &text) == 0;
    }
    if (rc != 0 && !verify_is_damage(rc))
        return rc;
    if (!fits)
        return wrong_series(verifier, series, "is given to names that are not its own");
    int family = family_of(walk, dimensions, count);
    if (family >= 0)
        walk->in_family[family]++;
    return family >= 0 || !verifier->is_settled
               ? 0
               : wrong_series(verifier, series, "is of no declared family");
}

static int walk_names_of(struct names_walk *walk, const uint8_t *key, size_t size, MDB_val value) {
    struct verifier *verifier = walk->verifier;
    uint32_t numbers[SERIES_NAMES_MAX], back = 0;
    size_t count = value.mv_size / 4;
    if (size != 5 || value.mv_size % 4 != 0 || count == 0 || count > SERIES_NAMES_MAX)
        return verify_found(verifier, "names", 0, "names of a series\ncannot be read");
    uint32_t series = get_be32(key + 1);
    walk->series++;
    walk->last_series = series;
    for (size_t i = 0; i < count; i++)
        numbers[i] = get_be32((const uint8_t *)value.mv_data + 4 * i);
    int rc =
        names_find_series(verifier->txn, verify_dbi(verifier, DB_NAMES), numbers, count, &back);
    if (rc != 0 && rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    return rc == 0 && back == series
               ? 0
               : wrong_series(verifier, series, "has names that do not lead back to it");
}

static int walk_undefined(struct names_walk *walk, const uint8_t *key, size_t size, MDB_val value) {
    struct verifier *verifier = walk->verifier;
    struct ledger_text text;
    uint8_t dimension;
    if (size != 5 || value.mv_size != 0)
        return verify_found(verifier, "names", 0, "an undefined name\ncannot be read");
    uint32_t number = get_be32(key + 1);
    if (number < verifier->name_count && verifier->names[number] != 0)
        return wrong_name(verifier, number, "is said to be undefined, but an entry defines it");
    int rc = names_text(verifier->txn, verify_dbi(verifier, DB_NAMES), number, &dimension, &text);
    return verify_is_damage(rc) ? wrong_name(verifier, number, "is undefined and has no text") : rc;
}

static int walk_family(struct names_walk *walk, const uint8_t *key, size_t size, MDB_val value) {
    int family = family_of(walk, key + 1, size - 1);
    if (value.mv_size != 4)
        return verify_found(walk->verifier, "names", 0, "the size of a family\ncannot be read");
    if (family >= 0)
        walk->told[family] = get_be32(value.mv_data);
    return family >= 0 || !walk->verifier->is_settled
               ? 0
               : verify_found(walk->verifier, "names", 0,
                              "the size of a family\nis there of one that is not declared");
}

static int walk_name(struct names_walk *walk, MDB_val key, MDB_val value) {
    const uint8_t *bytes = key.mv_data;
    switch (key.mv_size < 2 ? 0 : bytes[0]) {
    case ROW_NUMBER:
    case ROW_NUMBER_OF_LONG:
        return walk_number(walk, bytes, key.mv_size, value);
    case ROW_TEXT:
        return walk_text(walk, bytes, key.mv_size, value);
    case ROW_SERIES:
        return walk_series(walk, bytes, key.mv_size, value);
    case ROW_NAMES:
        return walk_names_of(walk, bytes, key.mv_size, value);
    case ROW_UNDEFINED:
        return walk_undefined(walk, bytes, key.mv_size, value);
    case ROW_FAMILY:
        return walk_family(walk, bytes, key.mv_size, value);
    default:
        return verify_found(walk->verifier, "names", 0, "a key of %zu bytes\nis of no known kind",
                            key.mv_size);
    }
}

/* Numbers are given out without a gap, and series of a family are counted. */
static int verify_counts(struct names_walk *walk) {
    struct verifier *verifier = walk->verifier;
    int rc = 0;
    if (walk->texts != walk->last_text)
        rc = verify_found(verifier, "names", 0, "numbers\nare %" PRIu64 ", up to %" PRIu64,
                          walk->texts, walk->last_text);
    if (rc == 0 && walk->series != walk->last_series)
        rc = verify_found(verifier, "names", 0, "series\nare %" PRIu64 ", up to %" PRIu64,
                          walk->series, walk->last_series);
    for (size_t i = 0; rc == 0 && verifier->ledger->needs_told && i < verifier->declared_count; i++)
        if (walk->in_family[i] != walk->told[i])
            rc = verify_found(verifier, "names", 0,
                              "the size of the family of %s%s\nis %" PRIu32 ", there are %" PRIu32,
                              verify_dimension(verifier->declared[i].dimensions[0]),
                              verifier->declared[i].count > 1 ? " and others" : "", walk->told[i],
                              walk->in_family[i]);
    return rc;
}

int verify_names(struct verifier *verifier) {
    struct names_walk walk = {.verifier = verifier};
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(verifier->txn, verify_dbi(verifier, DB_NAMES), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        rc = walk_name(&walk, key, value);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? verify_counts(&walk) : rc;
}

/* ---- payloads ----------------------------------------------------------------------------- */

/* As many as there are entries with a digest, each of which was found: then there are no others. */
int verify_payload_rows(struct verifier *verifier) {
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_stat stat;
    int rc = mdb_stat(verifier->txn, verify_dbi(verifier, DB_PAYLOADS), &stat);
    if (rc != 0 || stat.ms_entries == verifier->digests)
        return rc;
    rc = mdb_cursor_open(verifier->txn, verify_dbi(verifier, DB_PAYLOADS), &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct ledger_entry entry;
        uint64_t id = key.mv_size == 8 ? get_be64(key.mv_data) : 0;
        int read = verify_fetch(verifier, id, &entry);
        if (read == MDB_NOTFOUND || (read == 0 && !(entry.given & ENTRY_DIGEST)))
            rc = verify_found(verifier, "payloads", id, "%" PRIu64 "\nno entry has this payload",
                              id);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- keys that are derived ----------------------------------------------------------------- */

static bool is_derived(MDB_val key) {
    const uint8_t *bytes = key.mv_data;
    return key.mv_size > 0 &&
           (bytes[0] == KEY_RESOLVED || bytes[0] == KEY_CORRECTED || bytes[0] == KEY_PRICE);
}

/* Of an entry or a hold that is older than the horizon: what it was made of is not there. */
static bool is_past_key(const struct verifier *verifier, MDB_val key) {
    const uint8_t *bytes = key.mv_data;
    return bytes[0] != KEY_PRICE && key.mv_size == 9 &&
           verify_is_past(verifier, get_be64(bytes + 1));
}

static int wrong_key(struct verifier *verifier, MDB_val key, const char *what) {
    const uint8_t *bytes = key.mv_data;
    uint64_t id = key.mv_size == 9 ? get_be64(bytes + 1) : 0;
    char cut[VERIFY_TEXT_BYTES];
    if (bytes[0] == KEY_PRICE && key.mv_size > 11)
        return verify_found(
            verifier, "keys", 0, "price of %s from %" PRIu64 "\n%s",
            verify_text((struct ledger_text){(const char *)bytes + 3, key.mv_size - 11}, cut),
            get_be64(bytes + key.mv_size - 8), what);
    return verify_found(verifier, "keys", id, "%s %" PRIu64 "\n%s",
                        bytes[0] == KEY_RESOLVED    ? "end of hold"
                        : bytes[0] == KEY_CORRECTED ? "corrections of entry"
                                                    : "key",
                        id, what);
}

/* Stored rows must be those that were made: the same bytes. */
static int verify_derived_key(struct verifier *verifier, MDB_val key, MDB_val stored) {
    MDB_val made;
    const uint8_t *bytes = key.mv_data;
    int rc = verifier->scratch.txn == NULL
                 ? MDB_NOTFOUND
                 : mdb_get(verifier->scratch.txn, verifier->scratch.databases[SCRATCH_KEYS], &key,
                           &made);
    bool is_made = rc == 0 && !(bytes[0] == KEY_RESOLVED && *(uint8_t *)made.mv_data == 0);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    if (!is_made)
        return wrong_key(verifier, key, "is there, but no entry makes it");
    return made.mv_size == stored.mv_size && memcmp(made.mv_data, stored.mv_data, made.mv_size) == 0
               ? 0
               : wrong_key(verifier, key, "is not what the entries make of it");
}

static int walk_derived(struct verifier *verifier, MDB_txn *txn, MDB_dbi dbi, bool is_stored) {
    static const uint8_t kinds[] = {KEY_RESOLVED, KEY_CORRECTED, KEY_PRICE};
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < sizeof kinds; i++) {
        MDB_val key = {1, (void *)&kinds[i]}, value, stored;
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        while (rc == 0 && is_derived(key) && *(uint8_t *)key.mv_data == kinds[i]) {
            /* A hold that has not ended has a row in the scratch file alone. */
            bool is_due = kinds[i] != KEY_RESOLVED || *(uint8_t *)value.mv_data != 0;
            if (is_past_key(verifier, key))
                rc = 0;
            else if (is_stored)
                rc = verify_derived_key(verifier, key, value);
            else if (is_due &&
                     mdb_get(verifier->txn, verify_dbi(verifier, DB_KEYS), &key, &stored) != 0)
                rc = wrong_key(verifier, key, "is missing");
            if (rc == 0)
                rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        }
        rc = rc == MDB_NOTFOUND ? 0 : rc;
    }
    mdb_cursor_close(cursor);
    return rc;
}

int verify_derived_keys(struct verifier *verifier) {
    int rc = walk_derived(verifier, verifier->txn, verify_dbi(verifier, DB_KEYS), true);
    if (rc == 0 && verifier->scratch.txn != NULL)
        rc = walk_derived(verifier, verifier->scratch.txn,
                          verifier->scratch.databases[SCRATCH_KEYS], false);
    return rc;
}

/* ---- keys of clients and runs -------------------------------------------------------------- */

static int wrong_request(struct verifier *verifier, MDB_val key, uint64_t id, const char *what) {
    const uint8_t *bytes = key.mv_data;
    char cut[VERIFY_TEXT_BYTES];
    bool is_run = bytes[0] == KEY_RUN || bytes[0] == KEY_LONG_RUN;
    bool is_long = bytes[0] == KEY_LONG_CLIENT || bytes[0] == KEY_LONG_RUN;
    struct ledger_text name = {(const char *)bytes + 1, key.mv_size - 1};
    if (is_long)
        name = (struct ledger_text){"(a long one)", 12};
    return verify_found(verifier, "keys", id, "%s id %s\n%s", is_run ? "run" : "client",
                        verify_text(name, cut), what);
}

/* An entry has the name; or it was asked for again by its run id, under another client id. */
bool verify_has_name(MDB_val key, const struct key_row *row, const struct ledger_entry *entry) {
    uint8_t kind = *(uint8_t *)key.mv_data;
    if (kind == KEY_RUN || kind == KEY_LONG_RUN)
        return keys_is_named(key, entry->run_id);
    bool is_asked_again = row->operation == OPERATION_RECORD && entry->run_id.data != NULL &&
                          entry->request_digest != NULL &&
                          memcmp(row->digest, entry->request_digest, sizeof row->digest) == 0;
    return is_asked_again || keys_is_named(key, entry->client_id);
}

/* Of a request that booked an entry, or a run that is booked. */
static int verify_named_entry(struct verifier *verifier, MDB_val key, const struct key_row *row) {
    struct ledger_entry entry;
    int rc = verify_fetch(verifier, row->id, &entry);
    if (rc != 0 && rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    bool is_removed = rc == MDB_NOTFOUND && row->id != 0 && verify_is_past(verifier, row->id);
    return is_removed || (rc == 0 && verify_has_name(key, row, &entry))
               ? 0
               : wrong_request(verifier, key, row->id, "no entry has it");
}

static int verify_live_run(struct verifier *verifier, MDB_val key, const struct key_row *row) {
    struct hold hold = {0};
    int rc = hold_load(verifier->txn, verify_dbi(verifier, DB_HOLDS), row->id, &hold);
    bool fits = rc == 0 && keys_is_named(key, hold.run_id);
    hold_free(&hold);
    if (rc != 0 && rc != MDB_NOTFOUND && !verify_is_damage(rc))
        return rc;
    return fits ? 0 : wrong_request(verifier, key, row->id, "no live hold has it, and no entry");
}

static int verify_request(struct verifier *verifier, MDB_val key, MDB_val value) {
    const uint8_t *bytes = key.mv_data;
    struct key_row row;
    bool is_run = bytes[0] == KEY_RUN || bytes[0] == KEY_LONG_RUN;
    if (keys_read(value, &row) != 0)
        return wrong_request(verifier, key, 0, "cannot be read");
    if (is_run && row.operation == OPERATION_RESERVE && row.version == 0)
        return verify_live_run(verifier, key, &row);
    if (is_run)
        return verify_named_entry(verifier, key, &row);
    switch (row.operation) {
    case OPERATION_RECORD:
    case OPERATION_SETTLE:
    case OPERATION_RELEASE:
    case OPERATION_RESET:
        return verify_named_entry(verifier, key, &row);
    case OPERATION_POLICY: /* one that changed nothing has no entry */
        return row.id == 0 ? 0 : verify_named_entry(verifier, key, &row);
    case OPERATION_RESERVE:
    case OPERATION_METER:
    case OPERATION_TRANSFER:
        return row.id == 0 || verify_is_entry(verifier, row.id)
                   ? wrong_request(verifier, key, row.id, "is of a hold that cannot have been")
                   : 0;
    default:
        return wrong_request(verifier, key, row.id, "is of no known operation");
    }
}

/* A slice of rows behind *last, in a transaction of its own. */
static int verify_requests_slice(struct verifier *verifier, uint8_t *last, size_t *size,
                                 bool *done) {
    MDB_val key = {*size, last}, value;
    MDB_cursor *cursor = NULL;
    size_t left = REQUESTS_A_SLICE;
    int rc = storage_read_begin(&verifier->ledger->storage, &verifier->txn);
    if (rc != 0)
        return rc;
    rc = meta_read_retention(verifier->ledger, verifier->txn, &verifier->retention);
    if (rc == 0)
        rc = mdb_cursor_open(verifier->txn, verify_dbi(verifier, DB_KEYS), &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0 && *size > 1 && key.mv_size == *size && memcmp(key.mv_data, last, *size) == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    while (rc == 0 && left-- > 0) {
        uint8_t kind = key.mv_size == 0 ? 0 : *(uint8_t *)key.mv_data;
        if (kind < KEY_CLIENT || kind > KEY_PRICE)
            rc = verify_found(verifier, "keys", 0, "a key of %zu bytes\nis of no known kind",
                              key.mv_size);
        else if (!is_derived(key))
            rc = verify_request(verifier, key, value);
        memcpy(last, key.mv_data, key.mv_size);
        *size = key.mv_size;
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    storage_read_end(&verifier->ledger->storage, verifier->txn);
    *done = rc == MDB_NOTFOUND;
    return *done ? 0 : rc;
}

int verify_requests(struct verifier *verifier) {
    uint8_t last[512] = {0};
    size_t size = 1;
    bool done = false;
    int rc = 0;
    while (rc == 0 && !done)
        rc = verify_requests_slice(verifier, last, &size, &done);
    return rc;
}
