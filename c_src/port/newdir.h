/* A directory with a ledger's data.mdb that is there whole or not at all. It is made under a
 * temporary name beside its own,
 *
 *   TARGET.cost_ledger-unfinished-PID
 *
 * and locked (flock) as long as its maker lives. What a maker that was killed left behind the next
 * one in the same parent removes.
 *
 * Thread class: may touch the disk. */
#ifndef PORT_NEWDIR_H
#define PORT_NEWDIR_H

#include <limits.h>
#include <stdbool.h>

#include "../core/error.h"

#define NEWDIR_DATA "data.mdb"

struct newdir {
    char target[PATH_MAX];
    char parent[PATH_MAX];
    char path[PATH_MAX]; /* of the temporary one; empty: it is not there */
    int fd;              /* of that, or -1 */
};

/* Only cleans up, and finds out where it is going to be. ENOENT, ENAMETOOLONG. */
int newdir_begin(struct newdir *newdir, const char *target, struct ledger_failure *failure);
int newdir_make(struct newdir *newdir, struct ledger_failure *failure);
/* Gives it its name, and is durable then. An empty directory of that name is replaced where
 * `may_be_empty`; nothing else is: EEXIST, ENOTEMPTY, ENOTDIR. */
int newdir_place(struct newdir *newdir, bool may_be_empty, struct ledger_failure *failure);
/* Removes it where it was not placed. */
void newdir_end(struct newdir *newdir);

#endif
