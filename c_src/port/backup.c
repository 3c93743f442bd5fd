#include "backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "damage.h"
#include "newdir.h"
#include "verify_job.h"

#define LOOK_EVERY_US 50000

/* A copy in the making. */
struct making {
    struct job *job;
    struct newdir newdir;
    int file;
    bool is_named; /* the file lies in the directory already */
    struct backup_made *made;
};

/* ---- the file -------------------------------------------------------------------------------- */

static int make_file(struct making *making, struct ledger_failure *failure) {
    const char *parent = making->newdir.parent;
    making->file = open(parent, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (making->file >= 0)
        return 0;
    /* A parent that is not there, or not ours; anything else is a file system that cannot. */
    if (errno == ENOENT || errno == EACCES || errno == ENOTDIR || errno == EROFS)
        return ledger_fail(failure, errno, "%s", parent);
    int rc = newdir_make(&making->newdir, failure);
    if (rc != 0)
        return rc;
    making->is_named = true;
    making->file =
        openat(making->newdir.fd, NEWDIR_DATA, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return making->file >= 0 ? 0 : ledger_fail(failure, errno, "%s", making->newdir.path);
}

/* ---- copying --------------------------------------------------------------------------------- */

struct copying {
    struct ledger *ledger;
    int file;
    uint64_t job; /* whose thread makes this one */
    struct ledger_failure *failure;
    int rc;
    _Atomic bool done;
};

static void *copy(void *context) {
    struct copying *copying = context;
    damage_is_of(copying->job);
    copying->rc = ledger_copy(copying->ledger, copying->file, copying->failure);
    atomic_store(&copying->done, true);
    return NULL;
}

/* LMDB's copy cannot be told to end; a file that takes nothing any more ends it. */
static void break_off(int file) {
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full < 0)
        return;
    (void)dup2(full, file);
    close(full);
}

static int copy_ledger(struct making *making, struct ledger *ledger,
                       struct ledger_failure *failure) {
    struct ledger_facts facts = {0};
    struct copying copying = {.ledger = ledger, .job = damage_job(), .failure = failure};
    pthread_t thread;
    bool goes_on = true;
    (void)ledger_facts(ledger, &facts);
    copying.file = fcntl(making->file, F_DUPFD_CLOEXEC, 0);
    if (copying.file < 0)
        return ledger_fail(failure, errno, "%s", making->newdir.target);
    int rc = pthread_create(&thread, NULL, copy, &copying);
    if (rc != 0) {
        close(copying.file);
        return ledger_fail(failure, rc, "a thread for the copy");
    }
    while (!atomic_load(&copying.done)) {
        struct stat so_far = {0};
        (void)fstat(making->file, &so_far);
        if (goes_on && !job_goes_on(making->job, (uint64_t)so_far.st_size, facts.data_bytes)) {
            goes_on = false;
            break_off(copying.file);
        }
        usleep(LOOK_EVERY_US);
    }
    pthread_join(thread, NULL);
    close(copying.file);
    if (!goes_on)
        return ledger_fail(failure, ECANCELED, "%s", making->newdir.target);
    if (copying.rc == 0 && fsync(making->file) != 0)
        return ledger_fail(failure, errno, "%s", making->newdir.target);
    return copying.rc;
}

/* ---- verifying ------------------------------------------------------------------------------- */

static void keep_first(void *context, const struct ledger_finding *finding) {
    struct ledger_finding *first = context;
    if (first->database == NULL)
        *first = *finding;
}

/* The copy, by way of the open file. */
static int verify_copy(struct making *making, struct ledger_failure *failure) {
    char path[64];
    struct ledger *ledger;
    struct ledger_finding first = {0};
    struct ledger_verify_result result = {0};
    snprintf(path, sizeof path, "/proc/self/fd/%d", making->file);
    int rc = ledger_open_file(path, &ledger, failure);
    if (rc != 0)
        return rc;
    rc = verify_job_run(making->job, ledger, keep_first, &first, &result, failure);
    ledger_close(ledger);
    ledger_free(ledger);
    making->made->entries = result.entries;
    if (rc == 0 && result.findings > 0)
        rc = ledger_fail(failure, LEDGER_E_DAMAGED, "%s: %.150s: %.150s", first.database, first.key,
                         first.what);
    return rc;
}

/* ---- giving it its place --------------------------------------------------------------------- */

static int name_file(struct making *making, struct ledger_failure *failure) {
    char unnamed[64];
    int rc = newdir_make(&making->newdir, failure);
    if (rc != 0)
        return rc;
    snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", making->file);
    if (linkat(AT_FDCWD, unnamed, making->newdir.fd, NEWDIR_DATA, AT_SYMLINK_FOLLOW) != 0)
        return ledger_fail(failure, errno, "%s", making->newdir.path);
    making->is_named = true;
    return 0;
}

static int make(struct job *job, struct ledger *ledger, const char *target, bool may_be_empty,
                struct backup_made *made, struct ledger_failure *failure) {
    struct making making = {.job = job, .file = -1, .made = made};
    struct stat whole;
    *made = (struct backup_made){0};
    int rc = newdir_begin(&making.newdir, target, failure);
    if (rc == 0)
        rc = make_file(&making, failure);
    if (rc == 0)
        rc = copy_ledger(&making, ledger, failure);
    if (rc == 0)
        rc = verify_copy(&making, failure);
    if (rc == 0 && !making.is_named)
        rc = name_file(&making, failure);
    if (rc == 0)
        rc = newdir_place(&making.newdir, may_be_empty, failure);
    if (rc == 0 && fstat(making.file, &whole) == 0)
        made->bytes = (uint64_t)whole.st_size;
    if (making.file >= 0)
        close(making.file);
    newdir_end(&making.newdir);
    return rc;
}

/* ---- the two --------------------------------------------------------------------------------- */

int backup_run(struct job *job, struct ledger *ledger, const char *target, struct backup_made *made,
               struct ledger_failure *failure) {
    struct stat there;
    if (lstat(target, &there) == 0)
        return ledger_fail(failure, EEXIST, "%s", target);
    return make(job, ledger, target, false, made, failure);
}

/* Before anything is copied: that it is refused late would only cost time. */
static int check_directory(const char *path, struct ledger_failure *failure) {
    DIR *directory = opendir(path);
    int entries = 0;
    if (directory == NULL)
        return errno == ENOENT ? 0 : ledger_fail(failure, errno, "%s", path);
    while (entries <= 2 && readdir(directory) != NULL)
        entries++;
    closedir(directory);
    return entries <= 2 ? 0 : ledger_fail(failure, ENOTEMPTY, "%s", path);
}

/* A ledger that is open has to be backed up: what is read without LMDB's locks must not change. */
static int check_backup(const char *backup, char path[PATH_MAX], struct ledger_failure *failure) {
    struct stat there;
    char holder[256];
    if (snprintf(path, PATH_MAX, "%s/%s", backup, NEWDIR_DATA) >= PATH_MAX)
        return ledger_fail(failure, ENAMETOOLONG, "%s", backup);
    if (stat(path, &there) != 0)
        return ledger_fail(failure, errno, "%s", path);
    if (ledger_is_held(backup, holder, sizeof holder))
        return ledger_fail(failure, LEDGER_E_LOCKED, "%s is open, by %s", backup, holder);
    return 0;
}

int backup_restore(struct job *job, const char *backup, const char *directory,
                   struct backup_made *made, struct ledger_failure *failure) {
    char path[PATH_MAX];
    struct ledger *ledger;
    int rc = check_directory(directory, failure);
    if (rc == 0)
        rc = check_backup(backup, path, failure);
    if (rc == 0)
        rc = ledger_open_file(path, &ledger, failure);
    if (rc != 0)
        return rc;
    rc = make(job, ledger, directory, true, made, failure);
    ledger_close(ledger);
    ledger_free(ledger);
    return rc;
}
