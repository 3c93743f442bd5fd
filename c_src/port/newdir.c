#include "newdir.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "outfile.h"

#define UNFINISHED ".cost_ledger-unfinished-"

static bool is_unfinished(const char *name) {
    const char *at = strstr(name, UNFINISHED);
    const char *digits = at == NULL ? "" : at + strlen(UNFINISHED);
    bool is_number = *digits != '\0';
    for (; *digits != '\0'; digits++)
        is_number = is_number && isdigit((unsigned char)*digits);
    return is_number;
}

static void remove_files(int directory) {
    (void)unlinkat(directory, NEWDIR_DATA, 0);
    (void)unlinkat(directory, "lock.mdb", 0); /* of one that is rebuilt */
}

/* Removes one that nobody holds: with nothing in it, or with the files. (Anything else in it is not
 * ours, and keeps it.) */
static void remove_unfinished(int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        remove_files(fd);
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

int newdir_begin(struct newdir *newdir, const char *target, struct ledger_failure *failure) {
    char copy[PATH_MAX];
    size_t size = strlen(target);
    *newdir = (struct newdir){.fd = -1};
    while (size > 1 && target[size - 1] == '/')
        size--;
    if (size == 0)
        return ledger_fail(failure, ENOENT, "the empty path");
    if (size >= sizeof newdir->target)
        return ledger_fail(failure, ENAMETOOLONG, "%s", target);
    memcpy(newdir->target, target, size);
    memcpy(copy, newdir->target, size + 1);
    snprintf(newdir->parent, sizeof newdir->parent, "%s", dirname(copy));
    remove_all_unfinished(newdir->parent);
    return 0;
}

/* Between making and locking it another backup may take it for one that was left behind. */
int newdir_make(struct newdir *newdir, struct ledger_failure *failure) {
    int rc = ENOENT;
    if (snprintf(newdir->path, sizeof newdir->path, "%s%s%ld", newdir->target, UNFINISHED,
                 (long)getpid()) >= (int)sizeof newdir->path)
        rc = ENAMETOOLONG;
    for (int attempt = 0; rc == ENOENT && attempt < 10; attempt++) {
        struct stat there;
        rc = mkdir(newdir->path, 0700) == 0 ? 0 : errno;
        if (rc != 0)
            break;
        newdir->fd = open(newdir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (newdir->fd < 0)
            rc = errno;
        else if (flock(newdir->fd, LOCK_EX) != 0)
            rc = errno;
        else if (stat(newdir->path, &there) != 0)
            rc = errno;
        if (rc != 0 && newdir->fd >= 0) {
            close(newdir->fd);
            newdir->fd = -1;
        }
    }
    if (rc == 0)
        return 0;
    rc = ledger_fail(failure, rc, "%s", newdir->path);
    newdir->path[0] = '\0';
    return rc;
}

int newdir_place(struct newdir *newdir, bool may_be_empty, struct ledger_failure *failure) {
    int rc = fsync(newdir->fd) == 0 ? 0 : errno;
    if (rc == 0 && renameat2(AT_FDCWD, newdir->path, AT_FDCWD, newdir->target,
                             may_be_empty ? 0 : RENAME_NOREPLACE) != 0)
        rc = errno;
    if (rc == 0) {
        newdir->path[0] = '\0';
        rc = outfile_sync_parent(newdir->target);
    }
    return rc == 0 ? 0 : ledger_fail(failure, rc, "%s", newdir->target);
}

void newdir_end(struct newdir *newdir) {
    if (newdir->path[0] != '\0') {
        remove_files(newdir->fd);
        (void)rmdir(newdir->path);
    }
    if (newdir->fd >= 0)
        close(newdir->fd);
}
