/* Backups: a verified copy of data.mdb in a directory of its own, which is there whole or not at
 * all.
 *
 * While it is copied and verified the file has no name, where the file system can do that
 * (O_TMPFILE); only then is it put into a directory with a temporary name (newdir.h), which becomes
 * the target in one step. Who is killed leaves at most that directory, which the next backup
 * removes.
 *
 * Thread class: a job's; makes a thread of its own for the copy. */
#ifndef PORT_BACKUP_H
#define PORT_BACKUP_H

#include "job.h"

struct backup_made {
    uint64_t entries; /* of every kind */
    uint64_t bytes;   /* of its data.mdb */
};

/* Of a ledger that is open for reading, also while another process writes to it. The target must
 * not be there. EEXIST, ECANCELED, LEDGER_E_DAMAGED with what is wrong first, ENOSPC, ... */
int backup_run(struct job *job, struct ledger *ledger, const char *target, struct backup_made *made,
               struct ledger_failure *failure);

/* A ledger from a backup: the directory must not be there, or be empty (ENOTEMPTY). LEDGER_E_LOCKED
 * when `backup` is a ledger that is open; what opening it says when it is damaged, truncated,
 * foreign or newer. */
int backup_restore(struct job *job, const char *backup, const char *directory,
                   struct backup_made *made, struct ledger_failure *failure);

#endif
