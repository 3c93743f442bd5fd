/* writer.lock: one process may write a ledger. flock(2) on a file that holds a sentence about
 * who has it; the kernel drops the lock however the holder dies.
 *
 * Thread class: may touch the disk; never waits for the lock. */
#ifndef LEDGER_LOCK_H
#define LEDGER_LOCK_H

#include "error.h"

/* 0 with *fd, or LEDGER_E_LOCKED with the holder's sentence as detail, or an errno. */
int lock_take(const char *directory, const char *holder, int *fd, struct ledger_failure *failure);
void lock_release(int fd);

#endif
