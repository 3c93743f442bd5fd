/* A small LMDB environment for what is summed up on the way and does not fit into memory. Its file
 * has no name any more once it is open: nothing of it is left when the process ends, however that
 * comes about. It is made when it is first needed.
 *
 * Thread class: one thread; may touch the disk. */
#ifndef LEDGER_SCRATCH_FILE_H
#define LEDGER_SCRATCH_FILE_H

#include <lmdb.h>

#include "error.h"

enum scratch_database { SCRATCH_KEYS, SCRATCH_HELD, SCRATCH_COUNT };

struct scratch_file {
    MDB_env *env;
    MDB_txn *txn; /* for writing */
    MDB_dbi databases[SCRATCH_COUNT];
};

/* Has a transaction when it returns 0. */
int scratch_file_open(struct scratch_file *file, struct ledger_failure *failure);
/* Ends the transaction and begins the next, so that memory does not grow. Does nothing where it was
 * never opened. */
int scratch_file_turn(struct scratch_file *file, struct ledger_failure *failure);
void scratch_file_close(struct scratch_file *file);

#endif
