#include "scratch_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Some hundred million rows. Larger ones are more than valgrind lets a process have. */
#define MAP_BYTES ((size_t)1 << 34)

static int open_unnamed(struct scratch_file *file) {
    const char *above = getenv("TMPDIR");
    char directory[PATH_MAX], data[PATH_MAX + 16];
    snprintf(directory, sizeof directory, "%s/cost_ledger.XXXXXX",
             above != NULL && above[0] != '\0' ? above : "/tmp");
    if (mkdtemp(directory) == NULL)
        return errno;
    int rc = mdb_env_create(&file->env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(file->env, SCRATCH_COUNT);
    if (rc == 0)
        rc = mdb_env_set_mapsize(file->env, MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_open(file->env, directory, MDB_NOLOCK | MDB_NOSYNC, 0600);
    snprintf(data, sizeof data, "%s/data.mdb", directory);
    unlink(data);
    rmdir(directory);
    return rc;
}

int scratch_file_open(struct scratch_file *file, struct ledger_failure *failure) {
    static const char *const names[SCRATCH_COUNT] = {"keys", "held"};
    if (file->txn != NULL)
        return 0;
    int rc = open_unnamed(file);
    if (rc == 0)
        rc = mdb_txn_begin(file->env, NULL, 0, &file->txn);
    for (int i = 0; rc == 0 && i < SCRATCH_COUNT; i++)
        rc = mdb_dbi_open(file->txn, names[i], MDB_CREATE, &file->databases[i]);
    if (rc == 0)
        return 0;
    scratch_file_close(file);
    return ledger_fail(failure, rc, "a temporary file in TMPDIR");
}

int scratch_file_turn(struct scratch_file *file, struct ledger_failure *failure) {
    if (file->txn == NULL)
        return 0;
    int rc = mdb_txn_commit(file->txn);
    file->txn = NULL;
    if (rc == 0)
        rc = mdb_txn_begin(file->env, NULL, 0, &file->txn);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "a temporary file in TMPDIR");
}

void scratch_file_close(struct scratch_file *file) {
    if (file->txn != NULL)
        mdb_txn_abort(file->txn);
    if (file->env != NULL)
        mdb_env_close(file->env);
    *file = (struct scratch_file){0};
}
