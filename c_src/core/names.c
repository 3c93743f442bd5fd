#include "names.h"

#include <string.h>

#include "digest.h"
#include "error.h"
#include "storage.h"

enum row {
    ROW_NUMBER = 1,
    ROW_NUMBER_OF_LONG = 2,
    ROW_TEXT = 3,
    ROW_SERIES = 4,
    ROW_NAMES = 5,
    ROW_UNDEFINED = 6,
    ROW_FAMILY = 7
};

#define VALUE_INLINE_MAX 500 /* LMDB's keys hold 511 bytes */

struct key {
    uint8_t bytes[2 + VALUE_INLINE_MAX];
    MDB_val val;
};

static int name_key(struct key *key, uint8_t dimension, struct ledger_text value) {
    key->bytes[1] = dimension;
    if (value.size <= VALUE_INLINE_MAX) {
        key->bytes[0] = ROW_NUMBER;
        memcpy(key->bytes + 2, value.data, value.size);
        key->val = (MDB_val){2 + value.size, key->bytes};
        return 0;
    }
    key->bytes[0] = ROW_NUMBER_OF_LONG;
    key->val = (MDB_val){2 + DIGEST_BYTES, key->bytes};
    return digest_sha256(value.data, value.size, key->bytes + 2);
}

static void number_key(struct key *key, enum row row, const uint32_t *numbers, size_t count) {
    key->bytes[0] = (uint8_t)row;
    for (size_t i = 0; i < count; i++)
        put_be32(key->bytes + 1 + 4 * i, numbers[i]);
    key->val = (MDB_val){1 + 4 * count, key->bytes};
}

/* Above all that are given out. */
#define STATUS_NUMBERS UINT32_C(0xfffffff0)

static const char *const statuses[] = {
    [STATUS_COMPLETED] = "completed", [STATUS_FAILED] = "failed", [STATUS_ABORTED] = "aborted"};

static int find_status(struct ledger_text value, uint32_t *number) {
    for (uint32_t status = STATUS_COMPLETED; status <= STATUS_ABORTED; status++) {
        size_t size = strlen(statuses[status]);
        if (value.size == size && memcmp(value.data, statuses[status], size) == 0) {
            *number = STATUS_NUMBERS + status;
            return 0;
        }
    }
    return MDB_NOTFOUND;
}

static int get_number(MDB_txn *txn, MDB_dbi dbi, struct key *key, uint32_t *number) {
    MDB_val value;
    int rc = mdb_get(txn, dbi, &key->val, &value);
    if (rc != 0)
        return rc;
    if (value.mv_size != 4)
        return LEDGER_E_DAMAGED;
    *number = get_be32(value.mv_data);
    return 0;
}

/* One more than the largest number among the rows of a kind whose key is one number. */
static int next_number(MDB_txn *txn, MDB_dbi dbi, enum row row, uint32_t *number) {
    MDB_cursor *cursor = NULL;
    uint8_t past = (uint8_t)row + 1;
    MDB_val key = {1, &past}, value;
    *number = 1;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
    else if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc == 0 && key.mv_size == 5 && ((uint8_t *)key.mv_data)[0] == row)
        *number = get_be32((uint8_t *)key.mv_data + 1) + 1;
    if (*number == 0 || *number >= STATUS_NUMBERS)
        rc = LEDGER_E_ID_EXHAUSTED;
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Writes a number under `there`, and what lies at the number: one optional byte, then text. */
static int put_pair(MDB_txn *txn, MDB_dbi dbi, struct key *there, enum row back_row,
                    uint32_t number, const uint8_t *head, size_t head_size, const void *tail,
                    size_t tail_size) {
    struct key back_key;
    uint8_t bytes[4];
    MDB_val value = {sizeof bytes, bytes};
    put_be32(bytes, number);
    int rc = mdb_put(txn, dbi, &there->val, &value, MDB_NOOVERWRITE);
    if (rc != 0)
        return rc;
    number_key(&back_key, back_row, &number, 1);
    value = (MDB_val){head_size + tail_size, NULL};
    rc = mdb_put(txn, dbi, &back_key.val, &value, MDB_NOOVERWRITE | MDB_RESERVE);
    if (rc != 0)
        return rc;
    if (head_size > 0)
        memcpy(value.mv_data, head, head_size);
    memcpy((uint8_t *)value.mv_data + head_size, tail, tail_size);
    return 0;
}

int names_find(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
               uint32_t *number) {
    struct key key;
    if (dimension == DIMENSION_STATUS)
        return find_status(value, number);
    int rc = name_key(&key, dimension, value);
    return rc != 0 ? rc : get_number(txn, dbi, &key, number);
}

int names_find_series(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count,
                      uint32_t *series) {
    struct key key;
    number_key(&key, ROW_SERIES, numbers, count);
    return get_number(txn, dbi, &key, series);
}

int names_find_series_of(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
                         uint32_t *series) {
    uint32_t number;
    int rc = names_find(txn, dbi, dimension, value, &number);
    return rc != 0 ? rc : names_find_series(txn, dbi, &number, 1, series);
}

int names_intern(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
                 uint32_t *number, bool *made) {
    struct key key;
    *made = false;
    if (dimension == DIMENSION_STATUS)
        return find_status(value, number);
    int rc = name_key(&key, dimension, value);
    if (rc == 0)
        rc = get_number(txn, dbi, &key, number);
    if (rc != MDB_NOTFOUND)
        return rc;
    *made = true;
    rc = next_number(txn, dbi, ROW_TEXT, number);
    if (rc != 0)
        return rc;
    return put_pair(txn, dbi, &key, ROW_TEXT, *number, &dimension, 1, value.data, value.size);
}

/* The row that counts the series of the family that these numbers belong to. */
static int family_key(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count,
                      struct key *key) {
    key->bytes[0] = ROW_FAMILY;
    key->val = (MDB_val){1 + count, key->bytes};
    for (size_t i = 0; i < count; i++) {
        struct ledger_text value;
        int rc = names_text(txn, dbi, numbers[i], &key->bytes[1 + i], &value);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int count_in_family(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count) {
    struct key key;
    uint32_t series = 0;
    uint8_t bytes[4];
    MDB_val value = {sizeof bytes, bytes};
    int rc = family_key(txn, dbi, numbers, count, &key);
    if (rc == 0)
        rc = get_number(txn, dbi, &key, &series);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    put_be32(bytes, series + 1);
    return mdb_put(txn, dbi, &key.val, &value, 0);
}

int names_intern_series(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count,
                        uint32_t *series) {
    struct key key;
    number_key(&key, ROW_SERIES, numbers, count);
    int rc = get_number(txn, dbi, &key, series);
    if (rc != MDB_NOTFOUND)
        return rc;
    rc = next_number(txn, dbi, ROW_NAMES, series);
    if (rc == 0)
        rc = count_in_family(txn, dbi, numbers, count);
    if (rc != 0)
        return rc;
    return put_pair(txn, dbi, &key, ROW_NAMES, *series, NULL, 0, key.bytes + 1, 4 * count);
}

/* Neither row of a pair is there. */
static int check_free(MDB_txn *txn, MDB_dbi dbi, struct key *there, enum row back_row,
                      uint32_t number) {
    struct key back_key;
    MDB_val value;
    number_key(&back_key, back_row, &number, 1);
    int rc = mdb_get(txn, dbi, &there->val, &value);
    if (rc == MDB_NOTFOUND)
        rc = mdb_get(txn, dbi, &back_key.val, &value);
    return rc == 0 ? MDB_KEYEXIST : rc == MDB_NOTFOUND ? 0 : rc;
}

int names_put(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, struct ledger_text value,
              uint32_t number) {
    struct key key;
    int rc = name_key(&key, dimension, value);
    if (rc == 0)
        rc = check_free(txn, dbi, &key, ROW_TEXT, number);
    return rc == 0
               ? put_pair(txn, dbi, &key, ROW_TEXT, number, &dimension, 1, value.data, value.size)
               : rc;
}

int names_put_series(MDB_txn *txn, MDB_dbi dbi, const uint32_t *numbers, size_t count,
                     uint32_t series) {
    struct key key;
    number_key(&key, ROW_SERIES, numbers, count);
    int rc = check_free(txn, dbi, &key, ROW_NAMES, series);
    return rc == 0 ? put_pair(txn, dbi, &key, ROW_NAMES, series, NULL, 0, key.bytes + 1, 4 * count)
                   : rc;
}

int names_count_families(MDB_txn *txn, MDB_dbi dbi) {
    struct key key = {.bytes = {ROW_NAMES}};
    MDB_cursor *cursor;
    MDB_val value;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    key.val = (MDB_val){1, key.bytes};
    rc = mdb_cursor_get(cursor, &key.val, &value, MDB_SET_RANGE);
    while (rc == 0 && *(uint8_t *)key.val.mv_data == ROW_NAMES) {
        uint32_t numbers[SERIES_NAMES_MAX];
        size_t count = value.mv_size / 4;
        for (size_t i = 0; i < count && i < SERIES_NAMES_MAX; i++)
            numbers[i] = get_be32((const uint8_t *)value.mv_data + 4 * i);
        rc = count_in_family(txn, dbi, numbers, count);
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key.val, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int names_count_family(MDB_txn *txn, MDB_dbi dbi, const uint8_t *dimensions, size_t count,
                       uint32_t *series) {
    struct key key;
    key.bytes[0] = ROW_FAMILY;
    memcpy(key.bytes + 1, dimensions, count);
    key.val = (MDB_val){1 + count, key.bytes};
    *series = 0;
    int rc = get_number(txn, dbi, &key, series);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int names_of_series(MDB_txn *txn, MDB_dbi dbi, uint32_t series, uint32_t numbers[SERIES_NAMES_MAX],
                    size_t *count) {
    struct key key;
    MDB_val value;
    number_key(&key, ROW_NAMES, &series, 1);
    int rc = mdb_get(txn, dbi, &key.val, &value);
    if (rc == MDB_NOTFOUND ||
        (rc == 0 && (value.mv_size % 4 != 0 || value.mv_size > 4 * SERIES_NAMES_MAX)))
        return LEDGER_E_DAMAGED;
    for (*count = 0; rc == 0 && 4 * *count < value.mv_size; ++*count)
        numbers[*count] = get_be32((uint8_t *)value.mv_data + 4 * *count);
    return rc;
}

int names_put_undefined(MDB_txn *txn, MDB_dbi dbi, uint32_t number) {
    struct key key;
    MDB_val value = {0, key.bytes};
    number_key(&key, ROW_UNDEFINED, &number, 1);
    return mdb_put(txn, dbi, &key.val, &value, 0);
}

int names_take_undefined(MDB_txn *txn, MDB_dbi dbi, uint32_t number, bool *undefined) {
    struct key key;
    number_key(&key, ROW_UNDEFINED, &number, 1);
    int rc = mdb_del(txn, dbi, &key.val, NULL);
    *undefined = rc == 0;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int names_any_undefined(MDB_txn *txn, MDB_dbi dbi, bool *any) {
    return storage_has_kind(txn, dbi, ROW_UNDEFINED, any);
}

/* Those of the statuses are in no row. */
static int text_of_status(uint32_t number, uint8_t *dimension, struct ledger_text *value) {
    uint32_t status = number - STATUS_NUMBERS;
    if (status > STATUS_ABORTED)
        return LEDGER_E_DAMAGED;
    *dimension = DIMENSION_STATUS;
    *value = (struct ledger_text){statuses[status], strlen(statuses[status])};
    return 0;
}

/* By the cursor, or without one. */
static int find_text(MDB_txn *txn, MDB_dbi dbi, MDB_cursor *cursor, uint32_t number,
                     uint8_t *dimension, struct ledger_text *value) {
    struct key key;
    MDB_val stored;
    if (number > STATUS_NUMBERS)
        return text_of_status(number, dimension, value);
    number_key(&key, ROW_TEXT, &number, 1);
    int rc = cursor == NULL ? mdb_get(txn, dbi, &key.val, &stored)
                            : mdb_cursor_get(cursor, &key.val, &stored, MDB_SET);
    if (rc == MDB_NOTFOUND || (rc == 0 && stored.mv_size < 2))
        return LEDGER_E_DAMAGED;
    if (rc != 0)
        return rc;
    *dimension = *(uint8_t *)stored.mv_data;
    *value = (struct ledger_text){(const char *)stored.mv_data + 1, stored.mv_size - 1};
    return 0;
}

int names_text(MDB_txn *txn, MDB_dbi dbi, uint32_t number, uint8_t *dimension,
               struct ledger_text *value) {
    return find_text(txn, dbi, NULL, number, dimension, value);
}

int names_text_at(MDB_cursor *cursor, uint32_t number, uint8_t *dimension,
                  struct ledger_text *value) {
    return find_text(NULL, 0, cursor, number, dimension, value);
}

/* ---- all names of a dimension ------------------------------------------------------------ */

static void walk_statuses(uint32_t *after, names_found *found, void *context) {
    uint32_t status = *after > STATUS_NUMBERS ? *after - STATUS_NUMBERS : 0;
    while (++status <= STATUS_ABORTED) {
        *after = STATUS_NUMBERS + status;
        if (!found(context, (struct ledger_text){statuses[status], strlen(statuses[status])},
                   *after))
            return;
    }
}

/* The rows of one kind, from *key on. *done: `found` wanted no more. */
static int walk_rows(MDB_txn *txn, MDB_cursor *cursor, const struct key *start, uint8_t dimension,
                     uint32_t *after, names_found *found, void *context, bool *done) {
    MDB_dbi dbi = mdb_cursor_dbi(cursor);
    MDB_val key = start->val, value;
    uint8_t kind = start->bytes[0];
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && !*done) {
        const uint8_t *bytes = key.mv_data;
        struct ledger_text text;
        uint8_t of;
        if (key.mv_size < 2 || bytes[0] != kind || bytes[1] != dimension)
            return 0;
        if (value.mv_size != 4)
            return LEDGER_E_DAMAGED;
        uint32_t number = get_be32(value.mv_data);
        rc = names_text(txn, dbi, number, &of, &text);
        if (rc == 0 && number != *after) {
            *after = number;
            *done = !found(context, text, number);
        }
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int names_walk(MDB_txn *txn, MDB_dbi dbi, uint8_t dimension, uint32_t *after, names_found *found,
               void *context) {
    struct key start = {.bytes = {ROW_NUMBER, dimension}};
    struct ledger_text text;
    MDB_cursor *cursor;
    uint8_t of;
    bool done = false;
    if (dimension == DIMENSION_STATUS) {
        walk_statuses(after, found, context);
        return 0;
    }
    start.val = (MDB_val){2, start.bytes};
    int rc = *after == 0 ? 0 : names_text(txn, dbi, *after, &of, &text);
    if (rc == 0 && *after != 0)
        rc = name_key(&start, dimension, text);
    if (rc == 0)
        rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    if (start.bytes[0] == ROW_NUMBER) {
        rc = walk_rows(txn, cursor, &start, dimension, after, found, context, &done);
        start.bytes[0] = ROW_NUMBER_OF_LONG;
        start.val = (MDB_val){2, start.bytes};
    }
    if (rc == 0 && !done)
        rc = walk_rows(txn, cursor, &start, dimension, after, found, context, &done);
    mdb_cursor_close(cursor);
    return rc;
}
