#include "handle.h"

#include <string.h>

/* Of this library instance; an upgrade opens it again, taking over the resources. */
static ErlNifResourceType *handle_type;

static void destroy(ErlNifEnv *env, void *object) {
    struct handle *handle = object;
    (void)env;
    ledger_free(handle->ledger);
    struct state_table *table = atomic_load(&handle->states);
    while (table != NULL) {
        struct state_table *older = table->older;
        enif_free(table);
        table = older;
    }
    if (handle->changed != NULL)
        enif_cond_destroy(handle->changed);
    if (handle->mutex != NULL)
        enif_mutex_destroy(handle->mutex);
}

/* The owner died without closing (it was killed): whoever opens the directory next closes. */
static void owner_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor) {
    struct handle *handle = object;
    (void)env, (void)pid, (void)monitor;
    enif_mutex_lock(handle->mutex);
    handle->owner_dead = true;
    enif_mutex_unlock(handle->mutex);
}

int handle_type_open(ErlNifEnv *env) {
    ErlNifResourceTypeInit init = {.dtor = destroy, .down = owner_down};
    handle_type = enif_open_resource_type_x(env, "cost_ledger_handle", &init,
                                            ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER, NULL);
    return handle_type == NULL ? -1 : 0;
}

struct handle *handle_new(void) {
    struct handle *handle = enif_alloc_resource(handle_type, sizeof *handle);
    if (handle == NULL)
        return NULL;
    memset(handle, 0, sizeof *handle);
    handle->mutex = enif_mutex_create("cost_ledger_handle");
    handle->changed = enif_cond_create("cost_ledger_handle_changed");
    if (handle->mutex != NULL && handle->changed != NULL)
        return handle;
    enif_release_resource(handle);
    return NULL;
}

bool handle_get(ErlNifEnv *env, ERL_NIF_TERM term, struct handle **handle) {
    return enif_get_resource(env, term, handle_type, (void **)handle);
}

bool handle_enter(struct handle *handle) {
    enif_mutex_lock(handle->mutex);
    bool open = handle->phase == HANDLE_OPEN;
    handle->readers += open;
    enif_mutex_unlock(handle->mutex);
    return open;
}

void handle_leave(struct handle *handle) {
    enif_mutex_lock(handle->mutex);
    if (--handle->readers == 0)
        enif_cond_broadcast(handle->changed);
    enif_mutex_unlock(handle->mutex);
}

bool handle_lease(struct handle *handle) {
    enif_mutex_lock(handle->mutex);
    while (handle->phase == HANDLE_OPEN && handle->leased)
        enif_cond_wait(handle->changed, handle->mutex);
    bool open = handle->phase == HANDLE_OPEN;
    if (open)
        handle->leased = true;
    enif_mutex_unlock(handle->mutex);
    return open;
}

void handle_release(struct handle *handle) {
    enif_mutex_lock(handle->mutex);
    handle->leased = false;
    enif_cond_broadcast(handle->changed);
    enif_mutex_unlock(handle->mutex);
}

void handle_close(struct handle *handle) {
    enif_mutex_lock(handle->mutex);
    bool mine = handle->phase == HANDLE_OPEN;
    if (mine) {
        handle->phase = HANDLE_CLOSING;
        atomic_store(&handle->closed, true);
        enif_cond_broadcast(handle->changed);
    }
    /* Whoever comes second waits for the first to be done. */
    while (mine ? handle->readers > 0 || handle->leased : handle->phase != HANDLE_CLOSED)
        enif_cond_wait(handle->changed, handle->mutex);
    enif_mutex_unlock(handle->mutex);
    if (!mine)
        return;
    ledger_close(handle->ledger);
    enif_mutex_lock(handle->mutex);
    handle->phase = HANDLE_CLOSED;
    handle->has_writer = false;
    enif_cond_broadcast(handle->changed);
    enif_mutex_unlock(handle->mutex);
}

/* The row of the atom, or the empty one where it belongs. */
static struct state_row *row_of(struct state_table *table, ERL_NIF_TERM atom) {
    size_t at = (size_t)(atom * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (table->capacity - 1);
    for (;; at = (at + 1) & (table->capacity - 1)) {
        struct state_row *row = &table->rows[at];
        ERL_NIF_TERM there = atomic_load_explicit(&row->atom, memory_order_acquire);
        if (there == 0 || there == atom)
            return row;
    }
}

static void insert(struct state_table *table, ERL_NIF_TERM atom, uint32_t state) {
    struct state_row *row = row_of(table, atom);
    row->state = state;
    atomic_store_explicit(&row->atom, atom, memory_order_release);
    table->count++;
}

/* A table of twice the size with the same rows. */
static struct state_table *larger(struct state_table *old) {
    size_t capacity = old == NULL ? 8 : 2 * old->capacity;
    size_t size = sizeof(struct state_table) + capacity * sizeof(struct state_row);
    struct state_table *new = enif_alloc(size);
    if (new == NULL)
        return NULL;
    memset(new, 0, size);
    new->older = old;
    new->capacity = capacity;
    for (size_t i = 0; old != NULL && i < old->capacity; i++)
        if (atomic_load(&old->rows[i].atom) != 0)
            insert(new, atomic_load(&old->rows[i].atom), old->rows[i].state);
    return new;
}

bool handle_add_state(struct handle *handle, ERL_NIF_TERM atom, uint32_t state) {
    enif_mutex_lock(handle->mutex);
    struct state_table *table = atomic_load(&handle->states);
    bool known = handle_find_state(handle, atom) >= 0;
    if (!known && (table == NULL || 2 * (table->count + 1) > table->capacity))
        table = larger(table);
    if (!known && table != NULL) {
        insert(table, atom, state);
        atomic_store_explicit(&handle->states, table, memory_order_release);
    }
    enif_mutex_unlock(handle->mutex);
    return table != NULL;
}

int handle_find_state(struct handle *handle, ERL_NIF_TERM atom) {
    struct state_table *table = atomic_load_explicit(&handle->states, memory_order_acquire);
    if (table == NULL)
        return -1;
    const struct state_row *row = row_of(table, atom);
    return atomic_load_explicit(&row->atom, memory_order_relaxed) == atom ? (int)row->state : -1;
}
