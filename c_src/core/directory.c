#include "directory.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

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

int directory_make(const char *path, struct ledger_failure *failure) {
    char part[PATH_MAX];
    struct stat stat_of;
    if (strlen(path) >= sizeof part)
        return ledger_fail(failure, ENAMETOOLONG, "%s", path);
    strcpy(part, path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = '\0';
        /* A parent that is there may be one we cannot write to: only a missing one matters. */
        if (stat(part, &stat_of) != 0 && mkdir(part, 0700) != 0 && errno != EEXIST)
            return ledger_fail(failure, errno, "%s", part);
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
