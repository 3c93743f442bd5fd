/* Opening and closing; see calls.h. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "calls.h"
#include "registry.h"
#include "terms.h"

struct open_arguments {
    char directory[PATH_MAX];
    char holder[256];
    char currency[8];
    struct ledger_policy policy;
    struct declared_series series[DECLARED_MAX];
    struct ledger_text boot_id;
    struct ledger_options options;
};

/* [[Dimension :: pos_integer()]] */
static bool get_series(ErlNifEnv *env, ERL_NIF_TERM list, struct declared_series *series,
                       size_t *count) {
    ERL_NIF_TERM family, head;
    unsigned dimension;
    for (*count = 0; enif_get_list_cell(env, list, &family, &list); ++*count) {
        struct declared_series *declared = &series[*count];
        if (*count == DECLARED_MAX)
            return false;
        while (enif_get_list_cell(env, family, &head, &family)) {
            if (declared->count == RULE_SCOPE_MAX || !enif_get_uint(env, head, &dimension) ||
                dimension >= DIMENSION_LIMIT)
                return false;
            declared->dimensions[declared->count++] = (uint8_t)dimension;
        }
    }
    return true;
}

/* {Path, Holder, Currency, MapSize, MaxEntrySize, Readers, MetaSync, Clock, Policy, Series,
 *  BootId} */
static bool get_open_arguments(ErlNifEnv *env, ERL_NIF_TERM term, struct open_arguments *open) {
    const ERL_NIF_TERM *fields;
    ErlNifUInt64 map_size, max_entry_size;
    unsigned readers;
    size_t series_count;
    int arity;
    memset(open, 0, sizeof *open);
    if (!enif_get_tuple(env, term, &arity, &fields) || arity != 11 ||
        !get_path(env, fields[0], open->directory, sizeof open->directory) ||
        !get_path(env, fields[1], open->holder, sizeof open->holder) ||
        !get_path(env, fields[2], open->currency, sizeof open->currency) ||
        !enif_get_uint64(env, fields[3], &map_size) ||
        !enif_get_uint64(env, fields[4], &max_entry_size) ||
        !enif_get_uint(env, fields[5], &readers) || readers == 0 ||
        !get_policy(env, fields[8], &open->policy) ||
        !get_series(env, fields[9], open->series, &series_count) ||
        !get_text(env, fields[10], &open->boot_id) || open->boot_id.size != 16)
        return false;
    open->options = (struct ledger_options){
        .directory = open->directory,
        .holder = open->holder,
        .currency = open->currency,
        .map_size = map_size,
        .max_entry_size = max_entry_size,
        .readers = readers,
        .meta_sync = fields[6] == atom_true,
        .clock = fields[7] == atom_manual ? CLOCK_MODE_MANUAL : CLOCK_MODE_SYSTEM,
        .policy = &open->policy,
        .series = open->series,
        .series_count = series_count,
        .boot_id = (const uint8_t *)open->boot_id.data,
    };
    return true;
}

/* A directory that this VM has open: an error, or, when its owner was killed without closing,
 * something to be closed first. */
static int close_orphan(struct registry *registry, const char *directory,
                        struct ledger_failure *failure) {
    struct stat at;
    if (stat(directory, &at) != 0)
        return 0;
    struct handle *other = registry_find(registry, at.st_dev, at.st_ino);
    if (other == NULL)
        return 0;
    enif_mutex_lock(other->mutex);
    bool orphan = other->owner_dead;
    enif_mutex_unlock(other->mutex);
    if (orphan) {
        handle_close(other);
        registry_remove(registry, other);
    }
    enif_release_resource(other);
    return orphan ? 0 : ledger_fail(failure, LEDGER_E_ALREADY_OPEN, "%s", directory);
}

/* Puts an opened ledger under the care of the calling process. */
static int adopt(ErlNifEnv *env, struct registry *registry, const char *directory,
                 struct handle *handle, struct ledger_failure *failure) {
    struct stat at;
    if (stat(directory, &at) != 0)
        return ledger_fail(failure, LEDGER_E_CLOSED, "%s vanished", directory);
    handle->device = at.st_dev;
    handle->inode = at.st_ino;
    enif_self(env, &handle->owner);
    registry_add(registry, handle);
    /* With the mutex held, because owner_down() may already run on another thread. Above 0: the
     * owner is dead, and with it whoever would close. */
    enif_mutex_lock(handle->mutex);
    if (enif_monitor_process(env, handle, &handle->owner, &handle->owner_monitor) != 0)
        handle->owner_dead = true;
    enif_mutex_unlock(handle->mutex);
    return 0;
}

static ERL_NIF_TERM make_opened(ErlNifEnv *env, const struct ledger_opened *opened) {
    ERL_NIF_TERM map = enif_make_new_map(env), filesystem = atom_none;
    if (opened->filesystem != NULL)
        filesystem =
            make_text(env, (struct ledger_text){opened->filesystem, strlen(opened->filesystem)});
    enif_make_map_put(env, map, atom_created, opened->created ? atom_true : atom_false, &map);
    enif_make_map_put(env, map, atom_building, opened->building ? atom_true : atom_false, &map);
    enif_make_map_put(env, map, atom_gate_in_memory,
                      opened->gate_in_memory ? atom_true : atom_false, &map);
    enif_make_map_put(env, map, atom_reader_slots_short,
                      opened->reader_slots_short ? atom_true : atom_false, &map);
    enif_make_map_put(env, map, atom_filesystem, filesystem, &map);
    return map;
}

NIF(nif_open) {
    struct registry *registry = enif_priv_data(env);
    struct ledger_failure failure;
    struct ledger_opened opened;
    struct handle *handle = NULL;
    ERL_NIF_TERM result;
    struct open_arguments *open = enif_alloc(sizeof *open);
    (void)argc;
    if (open == NULL || !get_open_arguments(env, argv[0], open)) {
        result = BADARG;
        goto done;
    }
    handle = handle_new();
    int rc = handle == NULL ? ledger_fail(&failure, ENOMEM, "opening %s", open->directory) : 0;
    if (rc == 0)
        rc = close_orphan(registry, open->directory, &failure);
    if (rc == 0)
        rc = ledger_open(&open->options, &handle->ledger, &opened, &failure);
    if (rc == 0 && (rc = adopt(env, registry, open->directory, handle, &failure)) != 0)
        ledger_close(handle->ledger);
    if (rc == 0)
        result = enif_make_tuple3(env, atom_ok, enif_make_resource(env, handle),
                                  make_opened(env, &opened));
    else
        result = make_failure(env, &failure);
done:
    if (handle != NULL)
        enif_release_resource(handle);
    if (open != NULL)
        policy_free(&open->policy);
    enif_free(open);
    return result;
}

NIF(nif_close) {
    WITH_HANDLE(handle);
    handle_close(handle);
    registry_remove(enif_priv_data(env), handle);
    return atom_ok;
}
