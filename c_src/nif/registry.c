#include "registry.h"

struct registry *registry_new(void) {
    struct registry *registry = enif_alloc(sizeof *registry);
    if (registry == NULL)
        return NULL;
    registry->layout = REGISTRY_LAYOUT;
    registry->handles = NULL;
    atomic_init(&registry->users, 1);
    registry->mutex = enif_mutex_create("cost_ledger_registry");
    if (registry->mutex != NULL)
        return registry;
    enif_free(registry);
    return NULL;
}

void registry_free(struct registry *registry) {
    if (atomic_fetch_sub(&registry->users, 1) != 1)
        return;
    enif_mutex_destroy(registry->mutex);
    enif_free(registry);
}

struct handle *registry_find(struct registry *registry, dev_t device, ino_t inode) {
    enif_mutex_lock(registry->mutex);
    struct handle *handle = registry->handles;
    while (handle != NULL && (handle->device != device || handle->inode != inode))
        handle = handle->next;
    if (handle != NULL)
        enif_keep_resource(handle);
    enif_mutex_unlock(registry->mutex);
    return handle;
}

void registry_add(struct registry *registry, struct handle *handle) {
    enif_keep_resource(handle);
    enif_mutex_lock(registry->mutex);
    handle->next = registry->handles;
    registry->handles = handle;
    enif_mutex_unlock(registry->mutex);
}

void registry_remove(struct registry *registry, struct handle *handle) {
    enif_mutex_lock(registry->mutex);
    struct handle **at = &registry->handles;
    while (*at != NULL && *at != handle)
        at = &(*at)->next;
    bool found = *at != NULL;
    if (found)
        *at = handle->next;
    enif_mutex_unlock(registry->mutex);
    if (found)
        enif_release_resource(handle);
}
