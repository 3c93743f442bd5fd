/* For LD_PRELOAD: a machine whose clocks are wrong and whose disk fails, on demand.
 *
 * The file named by FAULT_CONTROL holds one line, read again at most every 10 ms:
 *
 *     WALL_US BOOT_US DISK
 *
 *   WALL_US   is added to CLOCK_REALTIME, in microseconds
 *   BOOT_US   is added to CLOCK_BOOTTIME: the time that a machine slept
 *   DISK      what becomes of data.mdb; every other file is left alone
 *     ok         nothing
 *     enospc     writes and allocations fail, the disk is full
 *     eio        writes fail
 *     short      writes stop half way
 *     sync       fdatasync and fsync fail
 *     slow       fdatasync and fsync take a fifth of a second longer
 *     meta       writes of LMDB's header pages fail, those of other pages do not
 *     meta_late  the header reaches the file, but the write reports failure, and it cannot be
 *                taken back
 *     meta_lost  the same, and nothing can be synced from then on
 *
 * Without the file, or while it is not understood, nothing is changed. Replace the file by a
 * rename, so that no half of it is read.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REREAD_NS 10000000
#define SLOW_NS 200000000
#define HEADER_BYTES 8192 /* LMDB's two header pages */

#define EXPORT __attribute__((visibility("default")))

enum disk { OK, ENOSPC_ALL, EIO_ALL, SHORT, SYNC, META, META_LATE, META_LOST, SLOW, DISK_COUNT };
static const char *const disk_names[DISK_COUNT] = {
    "ok", "enospc", "eio", "short", "sync", "meta", "meta_late", "meta_lost", "slow"};

static int (*next_clock_gettime)(clockid_t, struct timespec *);
static ssize_t (*next_write)(int, const void *, size_t);
static ssize_t (*next_writev)(int, const struct iovec *, int);
static ssize_t (*next_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*next_pwritev)(int, const struct iovec *, int, off_t);
static int (*next_fallocate)(int, int, off_t, off_t);
static int (*next_posix_fallocate)(int, off_t, off_t);
static int (*next_fdatasync)(int);
static int (*next_fsync)(int);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *control;

static _Atomic int64_t wall_us, boot_us;
static _Atomic int disk;
static _Atomic int header_failed;
static _Atomic int64_t read_at_ns;
static atomic_flag reading = ATOMIC_FLAG_INIT;

/* dlsym() gives a void *, which C does not turn into a function by itself. */
static void find(void *function, const char *name) {
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof symbol);
}

static void prepare(void) {
    find(&next_clock_gettime, "clock_gettime");
    find(&next_write, "write");
    find(&next_writev, "writev");
    find(&next_pwrite, "pwrite");
    find(&next_pwritev, "pwritev");
    find(&next_fallocate, "fallocate");
    find(&next_posix_fallocate, "posix_fallocate");
    find(&next_fdatasync, "fdatasync");
    find(&next_fsync, "fsync");
    control = getenv("FAULT_CONTROL");
    atomic_store(&read_at_ns, INT64_MIN);
}

static void read_control(void) {
    char line[128] = "", name[32] = "";
    long long wall, boot;
    int fd = open(control, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    if (fd >= 0)
        close(fd);
    if (size <= 0 || sscanf(line, "%lld %lld %31s", &wall, &boot, name) != 3)
        return;
    for (int i = 0; i < DISK_COUNT; i++) {
        if (strcmp(name, disk_names[i]) != 0)
            continue;
        atomic_store(&wall_us, wall);
        atomic_store(&boot_us, boot);
        if (atomic_exchange(&disk, i) != i)
            atomic_store(&header_failed, 0);
    }
}

static void refresh(void) {
    struct timespec now;
    int saved = errno;
    pthread_once(&once, prepare);
    if (control == NULL || next_clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return;
    int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    int64_t last_ns = atomic_load(&read_at_ns);
    if ((last_ns == INT64_MIN || now_ns - last_ns >= REREAD_NS) &&
        !atomic_flag_test_and_set(&reading)) {
        read_control();
        atomic_store(&read_at_ns, now_ns);
        atomic_flag_clear(&reading);
    }
    errno = saved;
}

/* ---- clocks ----------------------------------------------------------------------------- */

static void shift(struct timespec *time, int64_t us) {
    int64_t ns = time->tv_nsec + us % 1000000 * 1000;
    time->tv_sec += us / 1000000;
    time->tv_sec += ns / 1000000000;
    ns %= 1000000000;
    if (ns < 0) {
        ns += 1000000000;
        time->tv_sec--;
    }
    time->tv_nsec = ns;
}

EXPORT int clock_gettime(clockid_t id, struct timespec *time) {
    refresh();
    int rc = next_clock_gettime(id, time);
    if (rc == 0 && id == CLOCK_REALTIME)
        shift(time, atomic_load(&wall_us));
    else if (rc == 0 && id == CLOCK_BOOTTIME)
        shift(time, atomic_load(&boot_us));
    return rc;
}

/* ---- the disk --------------------------------------------------------------------------- */

static int is_data(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = '\0';
    const char *file = strrchr(path, '/');
    return file != NULL && strcmp(file, "/data.mdb") == 0;
}

/* What is wrong with the disk that `fd` is on. Leaves errno alone. */
static enum disk disk_of(int fd) {
    refresh();
    int saved = errno;
    enum disk state = (enum disk)atomic_load(&disk);
    if (state != OK && !is_data(fd))
        state = OK;
    errno = saved;
    return state;
}

/* LMDB writes a header of a commit through a descriptor of its own, one with O_DSYNC. */
static int is_dsync(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_DSYNC) != 0;
}

static ssize_t refuse(int error) {
    errno = error;
    return -1;
}

EXPORT ssize_t write(int fd, const void *data, size_t size) {
    switch (disk_of(fd)) {
    case ENOSPC_ALL:
        return refuse(ENOSPC);
    case EIO_ALL:
        return refuse(EIO);
    case SHORT:
        return next_write(fd, data, size / 2);
    default:
        return next_write(fd, data, size);
    }
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
    switch (disk_of(fd)) {
    case ENOSPC_ALL:
        return refuse(ENOSPC);
    case EIO_ALL:
        return refuse(EIO);
    case SHORT:
        return next_writev(fd, parts, count > 1 ? count / 2 : count);
    default:
        return next_writev(fd, parts, count);
    }
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    switch (disk_of(fd)) {
    case ENOSPC_ALL:
        return refuse(ENOSPC);
    case EIO_ALL:
        return refuse(EIO);
    case SHORT:
        return next_pwrite(fd, data, size / 2, at);
    case META:
        return at < HEADER_BYTES ? refuse(EIO) : next_pwrite(fd, data, size, at);
    case META_LATE:
    case META_LOST:
        if (at >= HEADER_BYTES)
            return next_pwrite(fd, data, size, at);
        if (is_dsync(fd))
            (void)!next_pwrite(fd, data, size, at);
        atomic_store(&header_failed, 1);
        return refuse(EIO);
    default:
        return next_pwrite(fd, data, size, at);
    }
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    switch (disk_of(fd)) {
    case ENOSPC_ALL:
        return refuse(ENOSPC);
    case EIO_ALL:
        return refuse(EIO);
    case SHORT:
        return next_pwritev(fd, parts, count > 1 ? count / 2 : count, at);
    default:
        return next_pwritev(fd, parts, count, at);
    }
}

EXPORT int fallocate(int fd, int mode, off_t at, off_t size) {
    return disk_of(fd) == ENOSPC_ALL ? (int)refuse(ENOSPC) : next_fallocate(fd, mode, at, size);
}

/* This one returns the error. */
EXPORT int posix_fallocate(int fd, off_t at, off_t size) {
    return disk_of(fd) == ENOSPC_ALL ? ENOSPC : next_posix_fallocate(fd, at, size);
}

/* The same functions under the names of a library built for 64-bit offsets. */
#define SAME_AS(name) __attribute__((alias(#name)))
EXPORT ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) SAME_AS(pwrite);
EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) SAME_AS(pwritev);
EXPORT int fallocate64(int fd, int mode, off_t at, off_t size) SAME_AS(fallocate);
EXPORT int posix_fallocate64(int fd, off_t at, off_t size) SAME_AS(posix_fallocate);

static int sync_fails(int fd) {
    enum disk state = disk_of(fd);
    if (state == SLOW)
        nanosleep(&(struct timespec){0, SLOW_NS}, NULL);
    return state == SYNC || (state == META_LOST && atomic_load(&header_failed));
}

EXPORT int fdatasync(int fd) {
    return sync_fails(fd) ? (int)refuse(EIO) : next_fdatasync(fd);
}

EXPORT int fsync(int fd) {
    return sync_fails(fd) ? (int)refuse(EIO) : next_fsync(fd);
}
