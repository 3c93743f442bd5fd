#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (real == NULL)                                                                              \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

static char armed[4096];
static enum fault fault;
static size_t fault_nth;
static bool fault_lasting;
static size_t operations;

static char recorded[4096];
static struct disk_event *events;
static size_t event_count;

void fault_arm(const char *directory, enum fault which, size_t nth, bool lasting) {
    fault = which;
    fault_nth = nth;
    fault_lasting = lasting;
    operations = 0;
    snprintf(armed, sizeof armed, "%s", directory);
}

size_t fault_disarm(void) {
    armed[0] = '\0';
    return operations;
}

static bool is_below(int fd, const char *directory, const char *file) {
    char link[64], path[4096];
    size_t size = strlen(directory);
    if (size == 0)
        return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path - 1);
    if (got < 0)
        return false;
    path[got] = '\0';
    return strncmp(path, directory, size) == 0 && (file == NULL || strstr(path, file) != NULL);
}

/* The fault that this operation meets. */
static enum fault met(int fd) {
    if (!is_below(fd, armed, NULL))
        return FAULT_NONE;
    operations++;
    if (operations < fault_nth)
        return FAULT_NONE;
    size_t since = operations - fault_nth;
    if (fault == FAULT_DOUBT && since < 2)
        return since == 0 ? FAULT_LIE : FAULT_IO;
    if (since > 0 && !fault_lasting)
        return FAULT_NONE;
    return fault == FAULT_DOUBT ? FAULT_IO : fault;
}

static ssize_t failed(enum fault which) {
    errno = which == FAULT_NO_SPACE ? ENOSPC : EIO;
    return -1;
}

/* Whether what is not a write is done all the same. */
static bool passes(enum fault which) {
    return which == FAULT_NONE || which == FAULT_LIE || which == FAULT_NO_SPACE;
}

/* ---- recording ---------------------------------------------------------------------------- */

void disk_record(const char *directory) {
    disk_forget();
    snprintf(recorded, sizeof recorded, "%s", directory);
}

const struct disk_event *disk_events(size_t *count) {
    *count = event_count;
    return events;
}

void disk_forget(void) {
    for (size_t i = 0; i < event_count; i++)
        free(events[i].bytes);
    free(events);
    events = NULL;
    event_count = 0;
    recorded[0] = '\0';
}

static struct disk_event *record(int fd) {
    if (!is_below(fd, recorded, "data.mdb"))
        return NULL;
    struct disk_event *grown = realloc(events, (event_count + 1) * sizeof *events);
    if (grown == NULL)
        abort();
    events = grown;
    events[event_count] = (struct disk_event){.kind = DISK_SYNC};
    return &events[event_count++];
}

static void record_write(int fd, const struct iovec *parts, int count, off_t offset) {
    struct disk_event *event = record(fd);
    if (event == NULL)
        return;
    event->kind = DISK_WRITE;
    event->offset = offset;
    event->durable = fcntl(fd, F_GETFL) & O_DSYNC;
    for (int i = 0; i < count; i++) {
        event->bytes = realloc(event->bytes, event->size + parts[i].iov_len);
        if (event->bytes == NULL)
            abort();
        memcpy(event->bytes + event->size, parts[i].iov_base, parts[i].iov_len);
        event->size += parts[i].iov_len;
    }
}

/* ---- in the C library's place ------------------------------------------------------------- */

/* A part of a header page is never torn: it is smaller than a sector. */
#define SECTOR 512

EXPORTED ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    enum fault which = met(fd);
    struct iovec all = {(void *)data, size};
    ssize_t done;
    if (which == FAULT_NONE || which == FAULT_LIE) {
        record_write(fd, &all, 1, offset);
        done = real(fd, data, size, offset);
        return which == FAULT_LIE ? failed(which) : done;
    }
    if ((which == FAULT_SHORT || which == FAULT_TORN) && size >= 2 * SECTOR) {
        done = real(fd, data, size / 2, offset);
        return which == FAULT_SHORT ? done : failed(which);
    }
    return failed(which);
}

EXPORTED ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    enum fault which = met(fd);
    struct iovec all = {(void *)data, size};
    ssize_t done;
    if (which == FAULT_NONE || which == FAULT_LIE) {
        record_write(fd, &all, 1, lseek(fd, 0, SEEK_CUR));
        done = real(fd, data, size);
        return which == FAULT_LIE ? failed(which) : done;
    }
    if ((which == FAULT_SHORT || which == FAULT_TORN) && size >= 2 * SECTOR) {
        done = real(fd, data, size / 2);
        return which == FAULT_SHORT ? done : failed(which);
    }
    return failed(which);
}

EXPORTED ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    enum fault which = met(fd);
    ssize_t done;
    if (which == FAULT_NONE || which == FAULT_LIE) {
        record_write(fd, parts, count, lseek(fd, 0, SEEK_CUR));
        done = real(fd, parts, count);
        return which == FAULT_LIE ? failed(which) : done;
    }
    if ((which == FAULT_SHORT || which == FAULT_TORN) && count > 1) {
        done = real(fd, parts, count / 2);
        return which == FAULT_SHORT ? done : failed(which);
    }
    return failed(which);
}

EXPORTED int fdatasync(int fd) {
    REAL(fdatasync);
    enum fault which = met(fd);
    if (!passes(which))
        return (int)failed(which);
    record(fd);
    int rc = real(fd);
    return which == FAULT_LIE ? (int)failed(which) : rc;
}

EXPORTED int fsync(int fd) {
    REAL(fsync);
    enum fault which = met(fd);
    if (!passes(which))
        return (int)failed(which);
    record(fd);
    int rc = real(fd);
    return which == FAULT_LIE ? (int)failed(which) : rc;
}

EXPORTED int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    enum fault which = met(fd);
    if (!passes(which))
        return (int)failed(which);
    struct disk_event *event = record(fd);
    if (event != NULL) {
        event->kind = DISK_SIZE;
        event->offset = size;
    }
    int rc = real(fd, size);
    return which == FAULT_LIE ? (int)failed(which) : rc;
}
