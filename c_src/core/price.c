#include "price.h"

#include <string.h>

#include "error.h"
#include "keys.h"
#include "msgpack_bound.h"
#include "pack.h"

#define HEAD_BYTES 3
#define KEY_BYTES_MAX (HEAD_BYTES + PRICE_MODEL_BYTES_MAX + 8)
#define VALUE_BYTES_MAX ((2 * TOKENS_CLASSES + 2) * VARINT_BYTES_MAX)

/* ---- rows -------------------------------------------------------------------------------- */

static size_t write_key(uint8_t *bytes, struct ledger_text model, uint64_t effective_us) {
    bytes[0] = KEY_PRICE;
    bytes[1] = (uint8_t)(model.size >> 8);
    bytes[2] = (uint8_t)model.size;
    memcpy(bytes + HEAD_BYTES, model.data, model.size);
    put_be64(bytes + HEAD_BYTES + model.size, effective_us);
    return HEAD_BYTES + model.size + 8;
}

static bool is_price_key(MDB_val key) {
    const uint8_t *bytes = key.mv_data;
    return key.mv_size > 0 && bytes[0] == KEY_PRICE;
}

static int read_key(MDB_val key, struct ledger_price *price) {
    const uint8_t *bytes = key.mv_data;
    if (key.mv_size <= HEAD_BYTES + 8)
        return LEDGER_E_DAMAGED;
    size_t size = (size_t)bytes[1] << 8 | bytes[2];
    if (key.mv_size != HEAD_BYTES + size + 8)
        return LEDGER_E_DAMAGED;
    price->model = (struct ledger_text){(const char *)bytes + HEAD_BYTES, size};
    price->effective_us = get_be64(bytes + HEAD_BYTES + size);
    return 0;
}

static void read_units(struct byte_reader *reader, uint64_t *units) {
    for (int class = 0; class < TOKENS_CLASSES; class ++) {
        ledger_usum unit = read_varint(reader);
        if (unit > UINT64_MAX)
            reader->damaged = true;
        units[class] = (uint64_t)unit;
    }
}

static int read_value(MDB_val value, struct ledger_price *price) {
    struct byte_reader reader = byte_reader(value.mv_data, value.mv_size);
    read_units(&reader, price->unit);
    price->above_tokens = (uint64_t)read_varint(&reader);
    if (price->above_tokens != 0)
        read_units(&reader, price->unit_above);
    price->entry = (uint64_t)read_varint(&reader);
    return reader.damaged || reader.at != reader.end ? LEDGER_E_DAMAGED : 0;
}

static size_t write_units(uint8_t *at, const uint64_t *units) {
    size_t size = 0;
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        size += put_varint(at + size, units[class]);
    return size;
}

int price_find(MDB_txn *txn, MDB_dbi keys, struct ledger_text model, uint64_t at_us,
               struct ledger_price *price) {
    uint8_t bytes[KEY_BYTES_MAX];
    MDB_cursor *cursor;
    MDB_val value;
    if (model.size == 0 || model.size > PRICE_MODEL_BYTES_MAX)
        return MDB_NOTFOUND;
    *price = (struct ledger_price){0};
    /* The row below that of the next microsecond. */
    MDB_val key = {write_key(bytes, model, at_us + 1), bytes};
    size_t size = key.mv_size;
    int rc = mdb_cursor_open(txn, keys, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
    else if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc == 0 && (key.mv_size != size || memcmp(key.mv_data, bytes, size - 8) != 0))
        rc = MDB_NOTFOUND;
    if (rc == 0)
        rc = read_value(value, price);
    if (rc == 0)
        price->effective_us = get_be64((const uint8_t *)key.mv_data + size - 8);
    mdb_cursor_close(cursor);
    return rc;
}

int price_walk(MDB_txn *txn, MDB_dbi keys, struct ledger_text model, uint64_t from_us, size_t limit,
               ledger_price_row *row, void *context) {
    uint8_t bytes[KEY_BYTES_MAX];
    MDB_val key = {write_key(bytes, model, from_us), bytes}, value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, keys, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (size_t i = 0; rc == 0 && i < limit && is_price_key(key); i++) {
        struct ledger_price price = {0};
        rc = read_key(key, &price);
        if (rc == 0)
            rc = read_value(value, &price);
        if (rc == 0)
            row(context, &price);
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- pricing ----------------------------------------------------------------------------- */

/* "provider/model" where there is a provider, then "model". */
static int find_for(MDB_txn *txn, MDB_dbi keys, const struct ledger_text *names, uint64_t at_us,
                    struct ledger_price *price) {
    struct ledger_text provider = names[DIMENSION_PROVIDER], model = names[DIMENSION_MODEL];
    char both[PRICE_MODEL_BYTES_MAX];
    int rc = MDB_NOTFOUND;
    if (model.data == NULL)
        return rc;
    if (provider.data != NULL && provider.size + 1 + model.size <= sizeof both) {
        memcpy(both, provider.data, provider.size);
        both[provider.size] = '/';
        memcpy(both + provider.size + 1, model.data, model.size);
        rc = price_find(txn, keys, (struct ledger_text){both, provider.size + 1 + model.size},
                        at_us, price);
    }
    return rc == MDB_NOTFOUND ? price_find(txn, keys, model, at_us, price) : rc;
}

static const uint64_t *units_for(const struct ledger_price *price,
                                 const struct ledger_entry *entry) {
    uint64_t prompt = (uint64_t)entry->tokens[TOKENS_INPUT] +
                      (uint64_t)entry->tokens[TOKENS_CACHE_READ] +
                      (uint64_t)entry->tokens[TOKENS_CACHE_CREATION];
    return price->above_tokens != 0 && prompt > price->above_tokens ? price->unit_above
                                                                    : price->unit;
}

int price_entry(MDB_txn *txn, MDB_dbi keys, struct ledger_entry *entry,
                const struct ledger_text *names, uint64_t now_us) {
    struct ledger_price price;
    ledger_usum cost = UNITS_A_NANO / 2;
    if (!(entry->given & ENTRY_PRICING))
        return 0;
    /* The whole millisecond, as it is told: a price that is set within it is in force. */
    uint64_t at_us =
        entry->given & ENTRY_OCCURRED_AT ? (uint64_t)entry->occurred_at_ms * 1000 + 999 : now_us;
    int rc = find_for(txn, keys, names, at_us, &price);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? LEDGER_E_NO_PRICE : rc;
    const uint64_t *units = units_for(&price, entry);
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        cost += (ledger_usum)entry->tokens[class] * units[class];
    cost /= UNITS_A_NANO;
    if (cost > (ledger_usum)ENTRY_AMOUNT_MAX)
        return LEDGER_E_AMOUNT;
    int64_t of_tokens = (int64_t)cost;
    for (int part = 0; entry->given & ENTRY_BREAKDOWN && part < COST_PARTS; part++)
        cost += (ledger_usum)entry->breakdown[part];
    if (cost > (ledger_usum)ENTRY_AMOUNT_MAX)
        return LEDGER_E_AMOUNT;
    entry->cost = (int64_t)cost;
    if (entry->given & ENTRY_BREAKDOWN)
        entry->breakdown[COST_TOKENS] = of_tokens;
    memcpy(entry->unit_prices, units, sizeof entry->unit_prices);
    entry->given &= ~(uint32_t)ENTRY_PRICING;
    entry->given |= ENTRY_COST | ENTRY_UNIT_PRICES;
    return 0;
}

/* ---- entries of kind price --------------------------------------------------------------- */

static bool unpack_units(const msgpack_object *object, uint64_t *units) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != TOKENS_CLASSES)
        return false;
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        if (!unpack_uint(&object->via.array.ptr[class], UINT64_MAX, &units[class]))
            return false;
    return true;
}

static bool unpack_price(const msgpack_object *object, struct ledger_price *price) {
    *price = (struct ledger_price){0};
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return false;
    const msgpack_object *parts = object->via.array.ptr;
    uint32_t count = object->via.array.size;
    if ((count != 2 && count != 4) || !unpack_text(&parts[0], &price->model) ||
        price->model.size == 0 || price->model.size > PRICE_MODEL_BYTES_MAX ||
        !unpack_units(&parts[1], price->unit))
        return false;
    return count == 2 ||
           (unpack_uint(&parts[2], (uint64_t)ENTRY_AMOUNT_MAX, &price->above_tokens) &&
            price->above_tokens > 0 && unpack_units(&parts[3], price->unit_above));
}

/* What a `change` says; `prices` is not looked into. */
static bool unpack_change(const msgpack_object *change, uint64_t *effective_ms, bool *has_time,
                          const msgpack_object **prices) {
    *prices = NULL;
    *has_time = false;
    if (change->type != MSGPACK_OBJECT_MAP)
        return false;
    for (uint32_t i = 0; i < change->via.map.size; i++) {
        const msgpack_object *key = &change->via.map.ptr[i].key;
        const msgpack_object *value = &change->via.map.ptr[i].val;
        if (unpacks_as(key, "prices")) {
            *prices = value;
        } else if (unpacks_as(key, "effective_from")) {
            *has_time = true;
            if (!unpack_uint(value, INT64_MAX / 1000, effective_ms))
                return false;
        }
    }
    return *prices != NULL && (*prices)->type == MSGPACK_OBJECT_ARRAY &&
           (*prices)->via.array.size > 0 && (*prices)->via.array.size <= PRICES_MAX;
}

typedef int found_price(void *context, const struct ledger_price *price);

/* Calls `found` for each price of a `change`, all of whose form is looked at first. */
static int each_price(struct ledger_text change, uint64_t entry, found_price *found,
                      void *context) {
    const msgpack_object *prices;
    struct ledger_price price;
    msgpack_unpacked unpacked;
    uint64_t effective_ms = 0;
    bool has_time;
    if (change.data == NULL || !msgpack_is_bounded(change.data, change.size))
        return LEDGER_E_BAD_ENTRY;
    msgpack_unpacked_init(&unpacked);
    bool fine =
        msgpack_unpack_next(&unpacked, change.data, change.size, NULL) == MSGPACK_UNPACK_SUCCESS &&
        unpack_change(&unpacked.data, &effective_ms, &has_time, &prices);
    for (uint32_t i = 0; fine && i < prices->via.array.size; i++)
        fine = unpack_price(&prices->via.array.ptr[i], &price);
    int rc = fine ? 0 : LEDGER_E_BAD_ENTRY;
    for (uint32_t i = 0; rc == 0 && found != NULL && i < prices->via.array.size; i++) {
        unpack_price(&prices->via.array.ptr[i], &price);
        price.effective_us = has_time ? effective_ms * 1000 : entry;
        price.entry = entry;
        rc = found(context, &price);
    }
    msgpack_unpacked_destroy(&unpacked);
    return rc;
}

int price_check(struct ledger_text change) {
    return each_price(change, 0, NULL, NULL);
}

struct putting {
    MDB_txn *txn;
    MDB_dbi keys;
};

static int put_one(void *context, const struct ledger_price *price) {
    struct putting *putting = context;
    uint8_t key_bytes[KEY_BYTES_MAX], data[VALUE_BYTES_MAX];
    MDB_val key = {write_key(key_bytes, price->model, price->effective_us), key_bytes};
    size_t size = write_units(data, price->unit);
    size += put_varint(data + size, price->above_tokens);
    if (price->above_tokens != 0)
        size += write_units(data + size, price->unit_above);
    size += put_varint(data + size, price->entry);
    MDB_val value = {size, data};
    return mdb_put(putting->txn, putting->keys, &key, &value, 0);
}

int price_put(MDB_txn *txn, MDB_dbi keys, struct ledger_text change, uint64_t entry) {
    struct putting putting = {txn, keys};
    return each_price(change, entry, put_one, &putting);
}
