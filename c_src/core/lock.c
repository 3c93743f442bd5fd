#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static int fail_locked(int fd, struct ledger_failure *failure) {
    char holder[256];
    ssize_t size = 0;
    /* The holder may have locked a moment ago and be about to write its name. */
    const struct timespec pause = {.tv_nsec = 5000000};
    for (int i = 0; i < 20 && size <= 0; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        size = pread(fd, holder, sizeof holder - 1, 0);
    }
    holder[size > 0 ? size : 0] = '\0';
    return ledger_fail(failure, LEDGER_E_LOCKED, "held by %s",
                       size > 0 ? holder : "a process that left no name");
}

int lock_take(const char *directory, const char *holder, int *fd, struct ledger_failure *failure) {
    char path[PATH_MAX];
    *fd = -1;
    if (snprintf(path, sizeof path, "%s/writer.lock", directory) >= (int)sizeof path)
        return ledger_fail(failure, ENAMETOOLONG, "%s", directory);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return ledger_fail(failure, errno, "%s", path);
    int rc = 0;
    size_t size = strlen(holder);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0)
        rc = errno == EWOULDBLOCK ? fail_locked(lock, failure)
                                  : ledger_fail(failure, errno, "%s", path);
    else if (ftruncate(lock, 0) != 0 || pwrite(lock, holder, size, 0) != (ssize_t)size)
        rc = ledger_fail(failure, errno != 0 ? errno : EIO, "%s", path);
    if (rc == 0)
        *fd = lock;
    else
        close(lock);
    return rc;
}

/* A line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF". */
static bool is_lock_on(const char *line, const struct stat *file) {
    unsigned device_major, device_minor;
    unsigned long long inode;
    return sscanf(line, "%*d: FLOCK %*s WRITE %*d %x:%x:%llu", &device_major, &device_minor,
                  &inode) == 3 &&
           major(file->st_dev) == device_major && minor(file->st_dev) == device_minor &&
           inode == file->st_ino;
}

bool lock_is_held(const char *directory, char *holder, size_t size) {
    char path[PATH_MAX], line[256];
    struct stat file;
    bool held = false;
    holder[0] = '\0';
    if (snprintf(path, sizeof path, "%s/writer.lock", directory) >= (int)sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    FILE *locks = fopen("/proc/locks", "re");
    if (locks != NULL && fstat(fd, &file) == 0)
        while (!held && fgets(line, sizeof line, locks) != NULL)
            held = is_lock_on(line, &file);
    if (locks != NULL)
        fclose(locks);
    ssize_t got = held ? pread(fd, holder, size - 1, 0) : 0;
    holder[got > 0 ? got : 0] = '\0';
    close(fd);
    return held;
}

void lock_release(int fd) {
    if (fd >= 0)
        close(fd);
}
