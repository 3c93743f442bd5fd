/* writer.lock: one process may write a ledger. flock(2) on a file that holds a sentence about
 * who has it; the kernel drops the lock however the holder dies.
 *
 * Thread class: may touch the disk; never waits for the lock. */
#ifndef LEDGER_LOCK_H
#define LEDGER_LOCK_H

#include <stdbool.h>

#include "error.h"

/* 0 with *fd, or LEDGER_E_LOCKED with the holder's sentence as detail, or an errno. */
int lock_take(const char *directory, const char *holder, int *fd, struct ledger_failure *failure);
void lock_release(int fd);

/* Whether some process holds it now, with its sentence in `holder`; by what the kernel says,
 * without trying to take it, which could keep a process from opening the ledger at that moment. */
bool lock_is_held(const char *directory, char *holder, size_t size);

#endif
