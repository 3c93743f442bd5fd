#include "meta.h"

#include <errno.h>

#include "msgpack_bound.h"
#include "pack.h"

#define MAGIC "cost_ledger"
/* What a program must know: all but the last in every ledger that this version wrote to, the last
 * where there is the row of that name. */
#define RETENTION "retention"
static const char *const needed[] = {"budgets", "records", RETENTION};
#define NEEDED (sizeof needed / sizeof needed[0])
#define ALWAYS_NEEDED (NEEDED - 1)

static int put_row(struct ledger *ledger, MDB_txn *txn, const char *word,
                   struct entry_buffer *buffer) {
    MDB_val key = {strlen(word), (char *)word};
    MDB_val value = {buffer->size, buffer->data};
    int rc =
        buffer->failed ? ENOMEM : mdb_put(txn, ledger->storage.databases[DB_META], &key, &value, 0);
    entry_buffer_free(buffer);
    return rc;
}

int meta_put_policy(struct ledger *ledger, MDB_txn *txn, const struct ledger_policy *policy) {
    struct entry_buffer buffer = {0};
    policy_write(&buffer, policy);
    return put_row(ledger, txn, "policy", &buffer);
}

static int get_row(const struct ledger *ledger, MDB_txn *txn, const char *word, MDB_val *value) {
    MDB_val key = {strlen(word), (char *)word};
    return mdb_get(txn, ledger->storage.databases[DB_META], &key, value);
}

static int put_format(struct ledger *ledger, MDB_txn *txn, uint64_t created_at_us,
                      const char *currency) {
    struct entry_buffer buffer = {0};
    MDB_val retention;
    int has_removed = get_row(ledger, txn, RETENTION, &retention);
    if (has_removed != 0 && has_removed != MDB_NOTFOUND)
        return has_removed;
    size_t words = has_removed == 0 ? NEEDED : ALWAYS_NEEDED;
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buffer, entry_buffer_append);
    msgpack_pack_map(&packer, 5);
    pack_word(&packer, "magic");
    pack_word(&packer, MAGIC);
    pack_word(&packer, "version");
    msgpack_pack_int(&packer, LEDGER_FORMAT_VERSION);
    pack_word(&packer, "created_at");
    msgpack_pack_uint64(&packer, created_at_us);
    pack_word(&packer, "currency");
    pack_word(&packer, currency);
    pack_word(&packer, "needs");
    msgpack_pack_array(&packer, words);
    for (size_t i = 0; i < words; i++)
        pack_word(&packer, needed[i]);
    return put_row(ledger, txn, "format", &buffer);
}

int meta_put_needs(struct ledger *ledger, MDB_txn *txn) {
    return put_format(ledger, txn, ledger->created_at_us, ledger->currency);
}

static void pack_family(msgpack_packer *packer, const struct declared_series *family) {
    msgpack_pack_array(packer, family->count);
    for (uint8_t i = 0; i < family->count; i++)
        msgpack_pack_uint8(packer, family->dimensions[i]);
}

static int delete_row(struct ledger *ledger, MDB_txn *txn, const char *word) {
    MDB_val key = {strlen(word), (char *)word};
    int rc = mdb_del(txn, ledger->storage.databases[DB_META], &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int meta_put_series(struct ledger *ledger, MDB_txn *txn, const struct declared_series *declared) {
    struct entry_buffer series = {0}, building = {0};
    msgpack_packer ready_packer, building_packer;
    size_t ready = 0;
    for (size_t i = 0; i < ledger->declared_count; i++)
        ready += declared[i].ready;
    msgpack_packer_init(&ready_packer, &series, entry_buffer_append);
    msgpack_packer_init(&building_packer, &building, entry_buffer_append);
    msgpack_pack_array(&ready_packer, ready);
    msgpack_pack_array(&building_packer, ledger->declared_count - ready);
    for (size_t i = 0; i < ledger->declared_count; i++) {
        const struct declared_series *family = &declared[i];
        if (family->ready) {
            pack_family(&ready_packer, family);
            continue;
        }
        msgpack_pack_array(&building_packer, 2);
        pack_family(&building_packer, family);
        msgpack_pack_uint64(&building_packer, family->built_to);
    }
    int rc = put_row(ledger, txn, "series", &series);
    if (rc == 0 && ready < ledger->declared_count)
        rc = put_row(ledger, txn, "building", &building);
    else if (rc == 0)
        rc = delete_row(ledger, txn, "building");
    entry_buffer_free(&building);
    struct retention retention = {0};
    if (rc == 0)
        rc = meta_read_retention(ledger, txn, &retention);
    return rc == 0 && retention.horizon != 0 ? meta_put_retention(ledger, txn, &retention, declared)
                                             : rc;
}

int meta_create(struct ledger *ledger, MDB_txn *txn, const struct ledger_options *options) {
    struct ledger_policy first = *options->policy;
    uint64_t created_at_us = options->created_at_us;
    if (created_at_us == 0) {
        created_at_us = (uint64_t)clock_wall_us();
        first.version = 1;
        first.changed_by_entry = 0;
    }
    int rc = put_format(ledger, txn, created_at_us, options->currency);
    if (rc == 0)
        rc = meta_put_series(ledger, txn, ledger->declared);
    if (rc == 0)
        rc = meta_put_policy(ledger, txn, &first);
    return rc;
}

/* False for a word that this code does not know. */
static bool read_needs(const msgpack_object *object, struct ledger *ledger) {
    unsigned told = 0;
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return false;
    for (uint32_t i = 0; i < object->via.array.size; i++) {
        size_t word = 0;
        while (word < NEEDED && !unpacks_as(&object->via.array.ptr[i], needed[word]))
            word++;
        if (word == NEEDED)
            return false;
        told |= 1u << word;
    }
    const unsigned always = (1u << ALWAYS_NEEDED) - 1;
    ledger->needs_told = (told & always) == always;
    return true;
}

static int read_format(const msgpack_object *object, void *context) {
    struct ledger *ledger = context;
    bool has_magic = false, knows_all = true;
    uint64_t version = 0;
    struct ledger_text currency = {0};
    if (object->type != MSGPACK_OBJECT_MAP)
        return LEDGER_E_FOREIGN;
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        const msgpack_object *key = &object->via.map.ptr[i].key;
        const msgpack_object *value = &object->via.map.ptr[i].val;
        if (unpacks_as(key, "magic"))
            has_magic = unpacks_as(value, MAGIC);
        else if (unpacks_as(key, "version"))
            unpack_uint(value, UINT64_MAX, &version);
        else if (unpacks_as(key, "created_at"))
            unpack_uint(value, UINT64_MAX, &ledger->created_at_us);
        else if (unpacks_as(key, "currency"))
            unpack_text(value, &currency);
        else
            knows_all = knows_all && unpacks_as(key, "needs") && read_needs(value, ledger);
    }
    if (!has_magic)
        return LEDGER_E_FOREIGN;
    if (version > LEDGER_FORMAT_VERSION || !knows_all)
        return LEDGER_E_NEWER;
    if (version == 0 || currency.size == 0 || currency.size >= sizeof ledger->currency)
        return LEDGER_E_DAMAGED;
    memcpy(ledger->currency, currency.data, currency.size);
    ledger->currency[currency.size] = '\0';
    return 0;
}

static int read_family(const msgpack_object *object, struct declared_series *family) {
    uint64_t previous = 0;
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size == 0)
        return LEDGER_E_DAMAGED;
    if (object->via.array.size > SERIES_NAMES_MAX)
        return LEDGER_E_NEWER;
    for (uint32_t i = 0; i < object->via.array.size; i++) {
        uint64_t dimension;
        if (!unpack_uint(&object->via.array.ptr[i], DIMENSION_LIMIT - 1, &dimension) ||
            dimension <= previous || !series_dimension_is_assigned((int)dimension))
            return LEDGER_E_NEWER;
        family->dimensions[family->count++] = (uint8_t)dimension;
        previous = dimension;
    }
    return 0;
}

bool family_equal(const struct declared_series *a, const struct declared_series *b) {
    return a->count == b->count && memcmp(a->dimensions, b->dimensions, a->count) == 0;
}

struct families {
    size_t count;
    struct declared_series *items; /* DECLARED_MAX */
};

/* Budgets stand on the series of each state, and a family listed twice would count twice. */
static bool families_are_sound(const struct families *families) {
    const struct declared_series state = {.count = 1, .dimensions = {DIMENSION_STATE}};
    bool has_state = false;
    for (size_t i = 0; i < families->count; i++) {
        has_state |= family_equal(&families->items[i], &state);
        for (size_t j = 0; j < i; j++)
            if (family_equal(&families->items[i], &families->items[j]))
                return false;
    }
    return has_state;
}

static int read_declared(const msgpack_object *object, void *context) {
    struct families *families = context;
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return LEDGER_E_DAMAGED;
    if (object->via.array.size > DECLARED_MAX)
        return LEDGER_E_NEWER;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < object->via.array.size; i++) {
        struct declared_series *family = &families->items[families->count++];
        *family = (struct declared_series){.ready = true};
        rc = read_family(&object->via.array.ptr[i], family);
    }
    return rc != 0 || families_are_sound(families) ? rc : LEDGER_E_DAMAGED;
}

static int read_building(const msgpack_object *object, void *context) {
    struct families *families = context;
    if (object->type != MSGPACK_OBJECT_ARRAY)
        return LEDGER_E_DAMAGED;
    if (families->count + object->via.array.size > DECLARED_MAX)
        return LEDGER_E_NEWER;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < object->via.array.size; i++) {
        const msgpack_object *pair = &object->via.array.ptr[i];
        struct declared_series *family = &families->items[families->count++];
        *family = (struct declared_series){0};
        if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2 ||
            !unpack_uint(&pair->via.array.ptr[1], UINT64_MAX, &family->built_to))
            return LEDGER_E_DAMAGED;
        rc = read_family(&pair->via.array.ptr[0], family);
    }
    return rc != 0 || families_are_sound(families) ? rc : LEDGER_E_DAMAGED;
}

int meta_prove(struct ledger *ledger) {
    struct entry_buffer copy = {0};
    MDB_txn *txn = NULL;
    MDB_val value;
    int rc = mdb_txn_begin(ledger->storage.env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = get_row(ledger, txn, "format", &value);
    if (rc == 0) {
        entry_buffer_append(&copy, value.mv_data, value.mv_size);
        rc = put_row(ledger, txn, "format", &copy);
    }
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

static int load_row(const struct ledger *ledger, MDB_txn *txn, const char *word,
                    int (*read)(const msgpack_object *, void *), void *context) {
    MDB_val value;
    msgpack_unpacked unpacked;
    int rc = get_row(ledger, txn, word, &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? LEDGER_E_FOREIGN : rc;
    if (!msgpack_is_bounded(value.mv_data, value.mv_size))
        return LEDGER_E_DAMAGED;
    msgpack_unpacked_init(&unpacked);
    rc = msgpack_unpack_next(&unpacked, value.mv_data, value.mv_size, NULL);
    rc = rc == MSGPACK_UNPACK_SUCCESS ? read(&unpacked.data, context) : LEDGER_E_DAMAGED;
    msgpack_unpacked_destroy(&unpacked);
    return rc;
}

/* What is read of the row: the ids, or from when on families count. */
struct retention_row {
    struct retention retention;
    size_t count;
    struct declared_series *declared;
};

static int read_late(const msgpack_object *pairs, struct retention_row *row) {
    int rc = pairs->type == MSGPACK_OBJECT_ARRAY ? 0 : LEDGER_E_DAMAGED;
    for (uint32_t i = 0; rc == 0 && i < pairs->via.array.size; i++) {
        const msgpack_object *pair = &pairs->via.array.ptr[i];
        struct declared_series family = {0};
        if (pair->type != MSGPACK_OBJECT_ARRAY || pair->via.array.size != 2 ||
            !unpack_uint(&pair->via.array.ptr[1], row->retention.horizon, &family.from))
            return LEDGER_E_DAMAGED;
        rc = read_family(&pair->via.array.ptr[0], &family);
        for (size_t k = 0; rc == 0 && k < row->count; k++)
            if (family_equal(&family, &row->declared[k]))
                row->declared[k].from = family.from;
    }
    return rc;
}

static int read_retention(const msgpack_object *object, void *context) {
    struct retention_row *row = context;
    struct retention *retention = &row->retention;
    const msgpack_object *parts = object->via.array.ptr;
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != 3 ||
        !unpack_uint(&parts[0], LEDGER_TIME_MAX, &retention->horizon) ||
        !unpack_uint(&parts[1], retention->horizon, &retention->removed_to) ||
        retention->horizon % RETENTION_UNIT_US != 0)
        return LEDGER_E_DAMAGED;
    return row->declared == NULL ? 0 : read_late(&parts[2], row);
}

static int load_retention(const struct ledger *ledger, MDB_txn *txn, struct retention_row *row) {
    int rc = load_row(ledger, txn, RETENTION, read_retention, row);
    return rc == LEDGER_E_FOREIGN ? 0 : rc; /* absent */
}

int meta_read_retention(const struct ledger *ledger, MDB_txn *txn, struct retention *retention) {
    struct retention_row row = {.declared = NULL};
    int rc = load_retention(ledger, txn, &row);
    *retention = row.retention;
    return rc;
}

int meta_put_retention(struct ledger *ledger, MDB_txn *txn, const struct retention *retention,
                       const struct declared_series *declared) {
    struct entry_buffer buffer = {0};
    msgpack_packer packer;
    size_t late = 0;
    atomic_store(&ledger->never_pruned, false);
    for (size_t i = 0; i < ledger->declared_count; i++)
        late += declared[i].from != 0;
    msgpack_packer_init(&packer, &buffer, entry_buffer_append);
    msgpack_pack_array(&packer, 3);
    msgpack_pack_uint64(&packer, retention->horizon);
    msgpack_pack_uint64(&packer, retention->removed_to);
    msgpack_pack_array(&packer, late);
    for (size_t i = 0; i < ledger->declared_count; i++) {
        if (declared[i].from == 0)
            continue;
        msgpack_pack_array(&packer, 2);
        pack_family(&packer, &declared[i]);
        msgpack_pack_uint64(&packer, declared[i].from);
    }
    return put_row(ledger, txn, RETENTION, &buffer);
}

int meta_read_policy(struct ledger *ledger, MDB_txn *txn, struct ledger_policy *policy) {
    MDB_val value;
    int rc = get_row(ledger, txn, "policy", &value);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? LEDGER_E_DAMAGED : rc;
    return policy_read(value.mv_data, value.mv_size, policy);
}

int meta_read_series(struct ledger *ledger, MDB_txn *txn, struct declared_series *declared,
                     size_t *count) {
    struct families families = {0, declared};
    int rc = load_row(ledger, txn, "series", read_declared, &families);
    if (rc == 0) {
        rc = load_row(ledger, txn, "building", read_building, &families);
        if (rc == LEDGER_E_FOREIGN) /* absent */
            rc = 0;
    }
    struct retention_row row = {.count = families.count, .declared = declared};
    if (rc == 0)
        rc = load_retention(ledger, txn, &row);
    *count = families.count;
    return rc;
}

int meta_load(struct ledger *ledger, MDB_txn *txn, struct ledger_failure *failure) {
    const char *directory = ledger->storage.options.directory;
    int rc = load_row(ledger, txn, "format", read_format, ledger);
    if (rc != 0)
        return ledger_fail(failure, rc, "row 'format' in %s", directory);
    rc = meta_read_series(ledger, txn, ledger->declared, &ledger->declared_count);
    if (rc != 0)
        return ledger_fail(failure, rc, "rows 'series' and 'building' in %s", directory);
    rc = meta_read_policy(ledger, txn, &ledger->policy);
    if (rc != 0)
        return ledger_fail(failure, rc, "row 'policy' in %s", directory);
    return 0;
}
