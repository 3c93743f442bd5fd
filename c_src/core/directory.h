/* The directory of a ledger. Thread class: dirty. */
#ifndef LEDGER_DIRECTORY_H
#define LEDGER_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* Makes it and its parents, mode 0700, where they are missing. */
int directory_make(const char *path, struct ledger_failure *failure);

/* Refuses network file systems, whose locks and maps do not hold. *doubtful: NULL, or the name
 * of a file system that keeps less than a local disk does. */
int directory_check(const char *path, const char **doubtful, struct ledger_failure *failure);

/* True when the file system has less room than `bytes`. LMDB answers EIO to a short write, and
 * a short write is how a disk that fills up says so first. */
bool directory_is_full(const char *path, uint64_t bytes);

#endif
