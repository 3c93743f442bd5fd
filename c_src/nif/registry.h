/* Which directories this VM has open, by device and inode of the directory: two paths to one
 * place are one ledger. LMDB must not open an environment twice in a process, for closing
 * either drops the locks of both.
 *
 * Lives in the library's private data, which an upgrade hands on, because the handles that it
 * refers to outlive the code.
 *
 * Thread class: dirty. */
#ifndef COST_LEDGER_REGISTRY_H
#define COST_LEDGER_REGISTRY_H

#include "handle.h"

struct registry {
    unsigned layout;        /* of this structure, for a later version that takes it over */
    _Atomic unsigned users; /* library instances that may still be inside */
    ErlNifMutex *mutex;
    struct handle *handles; /* guarded by mutex; a reference is held on each */
};

#define REGISTRY_LAYOUT 1

struct registry *registry_new(void);
void registry_free(struct registry *registry);

/* The handle that has the directory, with a reference for the caller; NULL: none. */
struct handle *registry_find(struct registry *registry, dev_t device, ino_t inode);
void registry_add(struct registry *registry, struct handle *handle);
/* Safe to call twice. */
void registry_remove(struct registry *registry, struct handle *handle);

#endif
