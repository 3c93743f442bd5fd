#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (1 << 20)

static int parent_of(const char *path, char parent[PATH_MAX]) {
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return ENAMETOOLONG;
    snprintf(parent, PATH_MAX, "%s", dirname(copy));
    return 0;
}

int outfile_sync_parent(const char *path) {
    char parent[PATH_MAX];
    int rc = parent_of(path, parent);
    int fd = rc == 0 ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        return rc != 0 ? rc : errno;
    rc = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return rc;
}

static int open_unnamed(const char *path) {
    char parent[PATH_MAX];
    if (parent_of(path, parent) != 0)
        return -1;
    return open(parent, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static int open_named(struct outfile *file) {
    if (snprintf(file->temporary, sizeof file->temporary, "%s.%ld.part", file->path,
                 (long)getpid()) >= (int)sizeof file->temporary) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = open(file->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        file->temporary[0] = '\0';
    return fd;
}

int outfile_begin(struct outfile *file, const char *path, struct ledger_failure *failure) {
    struct stat there;
    *file = (struct outfile){0};
    if (lstat(path, &there) == 0)
        return ledger_fail(failure, EEXIST, "%s", path);
    return outfile_begin_anew(file, path, failure);
}

int outfile_begin_anew(struct outfile *file, const char *path, struct ledger_failure *failure) {
    *file = (struct outfile){0};
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path)
        return ledger_fail(failure, ENAMETOOLONG, "%s", path);
    int fd = open_unnamed(path);
    if (fd < 0)
        fd = open_named(file);
    if (fd < 0)
        return ledger_fail(failure, errno, "%s", path);
    file->stream = fdopen(fd, "w");
    if (file->stream == NULL) {
        close(fd);
        return ledger_fail(failure, ENOMEM, "%s", path);
    }
    setvbuf(file->stream, NULL, _IOFBF, BUFFER_BYTES);
    return 0;
}

/* Neither replaces what is there. */
static int give_name(struct outfile *file) {
    char unnamed[64];
    if (file->temporary[0] != '\0')
        return link(file->temporary, file->path) == 0 ? 0 : errno;
    snprintf(unnamed, sizeof unnamed, "/proc/self/fd/%d", fileno(file->stream));
    return linkat(AT_FDCWD, unnamed, AT_FDCWD, file->path, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

int outfile_finish(struct outfile *file, struct ledger_failure *failure) {
    int rc = 0;
    if (ferror(file->stream) || fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0)
        rc = errno != 0 ? errno : EIO;
    if (rc == 0)
        rc = give_name(file);
    char path[PATH_MAX];
    memcpy(path, file->path, sizeof path);
    outfile_abandon(file); /* its temporary name, if it has one; and the stream */
    if (rc == 0)
        rc = outfile_sync_parent(path);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "%s", path);
}

void outfile_abandon(struct outfile *file) {
    if (file->stream != NULL)
        fclose(file->stream);
    if (file->temporary[0] != '\0')
        unlink(file->temporary);
    file->stream = NULL;
    file->temporary[0] = '\0';
}
