#include "backup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outfile.h"
#include "verify_job.h"

#define DATA_NAME "data.mdb"
#define UNFINISHED ".unfinished-"
#define LOOK_EVERY_US 50000

/* A copy in the making. */
struct making {
    struct job *job;
    char target[PATH_MAX];
    char parent[PATH_MAX];
    char directory[PATH_MAX]; /* temporary; empty: it is not there yet */
    int directory_fd;         /* flocked as long as it is ours */
    int file;
    bool is_named; /* the file lies in the directory already */
};

/* ---- temporary directories ------------------------------------------------------------------ */

static bool is_unfinished(const char *name) {
    const char *at = strstr(name, UNFINISHED);
    const char *digits = at == NULL ? "" : at + strlen(UNFINISHED);
    bool is_number = *digits != '\0';
    for (; *digits != '\0'; digits++)
        is_number = is_number && isdigit((unsigned char)*digits);
    return is_number;
}

/* Removes one that nobody holds: with nothing in it, or with the file. (Anything else in it is not
 * ours, and keeps it.) */
static void remove_unfinished(int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        (void)unlinkat(fd, DATA_NAME, 0);
        (void)unlinkat(parent, name, AT_REMOVEDIR);
    }
    close(fd);
}

static void remove_all_unfinished(const char *parent) {
    DIR *directory = opendir(parent);
    if (directory == NULL)
        return;
    for (struct dirent *each = readdir(directory); each != NULL; each = readdir(directory))
        if (is_unfinished(each->d_name))
            remove_unfinished(dirfd(directory), each->d_name);
    closedir(directory);
}

/* Between making and locking it another backup may take it for one that was left behind. */
static int make_directory(struct making *making, struct ledger_failure *failure) {
    int rc = ENOENT;
    if (snprintf(making->directory, sizeof making->directory, "%s%s%ld", making->target, UNFINISHED,
                 (long)getpid()) >= (int)sizeof making->directory)
        rc = ENAMETOOLONG;
    for (int attempt = 0; rc == ENOENT && attempt < 10; attempt++) {
        struct stat there;
        rc = mkdir(making->directory, 0700) == 0 ? 0 : errno;
        if (rc != 0)
            break;
        making->directory_fd = open(making->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (making->directory_fd < 0)
            rc = errno;
        else if (flock(making->directory_fd, LOCK_EX) != 0)
            rc = errno;
        else if (stat(making->directory, &there) != 0)
            rc = errno;
        if (rc != 0 && making->directory_fd >= 0) {
            close(making->directory_fd);
            making->directory_fd = -1;
        }
    }
    if (rc == 0)
        return 0;
    rc = ledger_fail(failure, rc, "%s", making->directory);
    making->directory[0] = '\0';
    return rc;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int make_file(struct making *making, struct ledger_failure *failure) {
    making->file = open(making->parent, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (making->file >= 0)
        return 0;
    /* A parent that is not there, or not ours; anything else is a file system that cannot. */
    if (errno == ENOENT || errno == EACCES || errno == ENOTDIR || errno == EROFS)
        return ledger_fail(failure, errno, "%s", making->parent);
    int rc = make_directory(making, failure);
    if (rc != 0)
        return rc;
    making->is_named = true;
    making->file =
        openat(making->directory_fd, DATA_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return making->file >= 0 ? 0 : ledger_fail(failure, errno, "%s", making->directory);
}

static int begin_making(struct making *making, struct job *job, const char *target,
                        struct ledger_failure *failure) {
    char copy[PATH_MAX];
    *making = (struct making){.job = job, .directory_fd = -1, .file = -1};
    size_t size = strlen(target);
    while (size > 1 && target[size - 1] == '/')
        size--;
    if (size == 0)
        return ledger_fail(failure, ENOENT, "the empty path");
    if (size >= sizeof making->target)
        return ledger_fail(failure, ENAMETOOLONG, "%s", target);
    memcpy(making->target, target, size);
    making->target[size] = '\0';
    memcpy(copy, making->target, size + 1);
    snprintf(making->parent, sizeof making->parent, "%s", dirname(copy));
    remove_all_unfinished(making->parent);
    return make_file(making, failure);
}

static void end_making(struct making *making) {
    if (making->file >= 0)
        close(making->file);
    if (making->directory[0] != '\0') {
        (void)unlinkat(making->directory_fd, DATA_NAME, 0);
        (void)rmdir(making->directory);
    }
    if (making->directory_fd >= 0)
        close(making->directory_fd);
}

/* ---- copying --------------------------------------------------------------------------------- */

struct copying {
    struct ledger *ledger;
    int file;
    struct ledger_failure *failure;
    int rc;
    _Atomic bool done;
};

static void *copy(void *context) {
    struct copying *copying = context;
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
    struct copying copying = {.ledger = ledger, .failure = failure};
    pthread_t thread;
    bool goes_on = true;
    (void)ledger_facts(ledger, &facts);
    copying.file = fcntl(making->file, F_DUPFD_CLOEXEC, 0);
    if (copying.file < 0)
        return ledger_fail(failure, errno, "%s", making->target);
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
        return ledger_fail(failure, ECANCELED, "%s", making->target);
    if (copying.rc == 0 && fsync(making->file) != 0)
        return ledger_fail(failure, errno, "%s", making->target);
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
    struct ledger_verify_result result;
    snprintf(path, sizeof path, "/proc/self/fd/%d", making->file);
    int rc = ledger_open_file(path, &ledger, failure);
    if (rc != 0)
        return rc;
    rc = verify_job_run(making->job, ledger, keep_first, &first, &result, failure);
    ledger_close(ledger);
    ledger_free(ledger);
    if (rc == 0 && result.findings > 0)
        rc = ledger_fail(failure, LEDGER_E_DAMAGED, "%s: %.150s: %.150s", first.database, first.key,
                         first.what);
    return rc;
}

/* ---- giving it its place --------------------------------------------------------------------- */

static int name_file(struct making *making, struct ledger_failure *failure) {
    char unnamed[64];
    int rc = make_directory(making, failure);
    if (rc != 0)
        return rc;
    snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", making->file);
    if (linkat(AT_FDCWD, unnamed, making->directory_fd, DATA_NAME, AT_SYMLINK_FOLLOW) != 0)
        return ledger_fail(failure, errno, "%s", making->directory);
    making->is_named = true;
    return 0;
}

/* An empty directory may be replaced where `may_be_empty`; nothing else is. */
static int place(struct making *making, bool may_be_empty, struct ledger_failure *failure) {
    int rc = making->is_named ? 0 : name_file(making, failure);
    if (rc != 0)
        return rc;
    rc = fsync(making->directory_fd) == 0 ? 0 : errno;
    if (rc == 0)
        rc = renameat2(AT_FDCWD, making->directory, AT_FDCWD, making->target,
                       may_be_empty ? 0 : RENAME_NOREPLACE) == 0
                 ? 0
                 : errno;
    if (rc == 0) {
        making->directory[0] = '\0';
        rc = outfile_sync_parent(making->target);
    }
    return rc == 0 ? 0 : ledger_fail(failure, rc, "%s", making->target);
}

static int make(struct job *job, struct ledger *ledger, const char *target, bool may_be_empty,
                struct ledger_failure *failure) {
    struct making making;
    int rc = begin_making(&making, job, target, failure);
    if (rc == 0)
        rc = copy_ledger(&making, ledger, failure);
    if (rc == 0)
        rc = verify_copy(&making, failure);
    if (rc == 0)
        rc = place(&making, may_be_empty, failure);
    end_making(&making);
    return rc;
}

/* ---- the two --------------------------------------------------------------------------------- */

int backup_run(struct job *job, struct ledger *ledger, const char *target,
               struct ledger_failure *failure) {
    struct stat there;
    if (lstat(target, &there) == 0)
        return ledger_fail(failure, EEXIST, "%s", target);
    return make(job, ledger, target, false, failure);
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
    if (snprintf(path, PATH_MAX, "%s/%s", backup, DATA_NAME) >= PATH_MAX)
        return ledger_fail(failure, ENAMETOOLONG, "%s", backup);
    if (stat(path, &there) != 0)
        return ledger_fail(failure, errno, "%s", path);
    if (ledger_is_held(backup, holder, sizeof holder))
        return ledger_fail(failure, LEDGER_E_LOCKED, "%s is open, by %s", backup, holder);
    return 0;
}

int backup_restore(struct job *job, const char *backup, const char *directory,
                   struct ledger_failure *failure) {
    char path[PATH_MAX];
    struct ledger *ledger;
    int rc = check_directory(directory, failure);
    if (rc == 0)
        rc = check_backup(backup, path, failure);
    if (rc == 0)
        rc = ledger_open_file(path, &ledger, failure);
    if (rc != 0)
        return rc;
    rc = make(job, ledger, directory, true, failure);
    ledger_close(ledger);
    ledger_free(ledger);
    return rc;
}
