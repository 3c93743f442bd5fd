/* A file that is there whole or not at all. It has no name until it is complete, where the file
 * system can do that (O_TMPFILE): a process that is killed leaves nothing. Elsewhere it has a
 * temporary one beside it. A file that is there already is never touched.
 *
 * Thread class: may touch the disk. */
#ifndef PORT_OUTFILE_H
#define PORT_OUTFILE_H

#include <limits.h>
#include <stdio.h>

#include "../core/error.h"

struct outfile {
    FILE *stream; /* for writing; errors show when it is finished */
    char path[PATH_MAX];
    char temporary[PATH_MAX]; /* empty: it has no name yet */
};

/* EEXIST, ENOENT of the directory, ... with what failed. */
int outfile_begin(struct outfile *file, const char *path, struct ledger_failure *failure);
/* The same where something of that name may be there: finishing is EEXIST then. */
int outfile_begin_anew(struct outfile *file, const char *path, struct ledger_failure *failure);
/* Durable under its name when it returns 0; gone otherwise. */
int outfile_finish(struct outfile *file, struct ledger_failure *failure);
/* Of one that was begun and not finished. */
void outfile_abandon(struct outfile *file);

/* fsync of the directory that a path is in. */
int outfile_sync_parent(const char *path);

#endif
