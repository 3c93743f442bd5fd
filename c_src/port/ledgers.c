#include "ledgers.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "frames.h"

struct open_ledger {
    struct open_ledger *next;
    struct ledger *ledger;
    unsigned users;
    dev_t device; /* of data.mdb: a directory may have been replaced by another */
    ino_t inode;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct open_ledger *all; /* guarded by mutex */

static bool identify(const char *directory, struct stat *file) {
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/data.mdb", directory) < (int)sizeof path &&
           stat(path, file) == 0;
}

static struct open_ledger *find(const struct stat *file) {
    struct open_ledger *at = all;
    while (at != NULL && (at->device != file->st_dev || at->inode != file->st_ino))
        at = at->next;
    return at;
}

static int open_one(const char *directory, const struct stat *file, struct open_ledger **out,
                    struct ledger_failure *failure) {
    struct ledger_reader reader;
    struct open_ledger *one = calloc(1, sizeof *one);
    *out = NULL;
    if (one == NULL)
        return ledger_fail(failure, ENOMEM, "%s", directory);
    int rc = ledger_open_to_read(directory, JOBS_MAX, &one->ledger, &reader, failure);
    if (rc != 0) {
        free(one);
        return rc;
    }
    one->device = file->st_dev;
    one->inode = file->st_ino;
    one->next = all;
    all = one;
    *out = one;
    return 0;
}

int ledgers_take(const char *directory, struct ledger **ledger, struct ledger_failure *failure) {
    struct stat file;
    struct open_ledger *one = NULL;
    int rc = 0;
    *ledger = NULL;
    pthread_mutex_lock(&mutex);
    if (!identify(directory, &file)) {
        rc = ledger_fail(failure, errno, "%s", directory);
    } else {
        one = find(&file);
        if (one == NULL)
            rc = open_one(directory, &file, &one, failure);
    }
    if (rc == 0) {
        one->users++;
        *ledger = one->ledger;
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

void ledgers_give(struct ledger *ledger) {
    pthread_mutex_lock(&mutex);
    struct open_ledger **at = &all;
    while (*at != NULL && (*at)->ledger != ledger)
        at = &(*at)->next;
    struct open_ledger *one = *at;
    if (one != NULL && --one->users == 0) {
        *at = one->next;
        ledger_close(one->ledger);
        ledger_free(one->ledger);
        free(one);
    }
    pthread_mutex_unlock(&mutex);
}
