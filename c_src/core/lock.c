#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
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

void lock_release(int fd) {
    if (fd >= 0)
        close(fd);
}
