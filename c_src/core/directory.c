#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define CIFS_MAGIC 0xff534d42
#define SMB2_MAGIC 0xfe534d42

struct filesystem {
    unsigned long magic;
    const char *name;
    int refused;
};

static const struct filesystem filesystems[] = {
    {NFS_SUPER_MAGIC, "nfs", 1},   {SMB_SUPER_MAGIC, "smb", 1},
    {CIFS_MAGIC, "cifs", 1},       {SMB2_MAGIC, "smb2", 1},
    {V9FS_MAGIC, "9p", 1},         {AFS_SUPER_MAGIC, "afs", 1},
    {CODA_SUPER_MAGIC, "coda", 1}, {CEPH_SUPER_MAGIC, "ceph", 1},
    {FUSE_SUPER_MAGIC, "fuse", 0}, {TMPFS_MAGIC, "tmpfs", 0},
    {RAMFS_MAGIC, "ramfs", 0},     {OVERLAYFS_SUPER_MAGIC, "overlay", 0},
};

/* A new directory is there after a power cut only if the one above it was synced. */
static int make_one(const char *path) {
    char above[PATH_MAX];
    if (mkdir(path, 0700) != 0)
        return errno == EEXIST ? 0 : errno;
    strcpy(above, path);
    int fd = open(dirname(above), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) { /* one that may not be read cannot be synced either */
        (void)fsync(fd);
        close(fd);
    }
    return 0;
}

int directory_make(const char *path, struct ledger_failure *failure) {
    char part[PATH_MAX];
    struct stat stat_of;
    if (path[0] == '\0')
        return ledger_fail(failure, ENOENT, "the empty path");
    if (strlen(path) >= sizeof part)
        return ledger_fail(failure, ENAMETOOLONG, "%s", path);
    strcpy(part, path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        /* A parent that is there may be one we cannot write to: only a missing one matters. */
        int rc = stat(part, &stat_of) == 0 ? 0 : make_one(part);
        if (rc != 0)
            return ledger_fail(failure, rc, "%s", part);
        if (slash == NULL)
            break;
        *slash = '/';
    }
    if (stat(path, &stat_of) != 0)
        return ledger_fail(failure, errno, "%s", path);
    if (!S_ISDIR(stat_of.st_mode))
        return ledger_fail(failure, LEDGER_E_NOT_DIRECTORY, "%s", path);
    return 0;
}

int directory_check(const char *path, const char **doubtful, struct ledger_failure *failure) {
    struct statfs stat_of;
    *doubtful = NULL;
    if (statfs(path, &stat_of) != 0)
        return ledger_fail(failure, errno, "%s", path);
    for (size_t i = 0; i < sizeof filesystems / sizeof filesystems[0]; i++) {
        if ((unsigned long)stat_of.f_type != filesystems[i].magic)
            continue;
        if (filesystems[i].refused)
            return ledger_fail(failure, LEDGER_E_NETWORK_FILESYSTEM, "%s is on %s", path,
                               filesystems[i].name);
        *doubtful = filesystems[i].name;
    }
    return 0;
}

bool directory_is_full(const char *path, uint64_t bytes) {
    struct statvfs room;
    return statvfs(path, &room) == 0 && (uint64_t)room.f_bavail * room.f_frsize < bytes;
}
