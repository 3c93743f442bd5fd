/* A disk that fails on demand: stands in for write(), writev(), pwrite(), fdatasync(), fsync()
 * and ftruncate() of the test's own executable, which is where liblmdb finds them too.
 *
 * Only files below the armed directory are touched, and only while armed. Link faults.c into
 * the tests that use it, with -rdynamic. One thread.
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum fault {
    FAULT_NONE,
    FAULT_NO_SPACE, /* nothing is written: ENOSPC; syncs and sparse growth succeed */
    FAULT_IO,       /* nothing is written: EIO */
    FAULT_SHORT,    /* the first half is written, and its length returned */
    FAULT_TORN,     /* the first half is written: EIO */
    FAULT_LIE,      /* all is written: EIO */
    FAULT_DOUBT,    /* the same, and taking it back, the next operation, fails with EIO too */
    FAULTS
};

/* The n-th operation from now on (from 1) fails, or that and all after it. */
void fault_arm(const char *directory, enum fault fault, size_t nth, bool lasting);
/* How many operations there were since arming. */
size_t fault_disarm(void);

/* What reached the disk's door, for a test that cuts the power. */
struct disk_event {
    enum { DISK_WRITE, DISK_SYNC, DISK_SIZE } kind;
    off_t offset; /* of a write; the new size */
    size_t size;
    char *bytes;  /* a copy */
    bool durable; /* a write through O_DSYNC */
};
/* Records what happens to data.mdb below the directory, until disk_forget(). */
void disk_record(const char *directory);
const struct disk_event *disk_events(size_t *count);
void disk_forget(void);

#endif
