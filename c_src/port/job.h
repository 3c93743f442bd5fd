/* A long job, as the command line and the port run it: what it may be told, and what it tells.
 *
 * A job reads in slices, and between two of them calls job_goes_on(), which reports how far it is
 * and says whether it may go on. It leaves nothing behind when it ends early.
 *
 * Thread class: a job has a thread of its own; `cancelled` may be set by any. */
#ifndef PORT_JOB_H
#define PORT_JOB_H

#include <stdatomic.h>

#include "../core/ledger.h"

struct job {
    _Atomic bool cancelled;
    /* `total` 0: not known. Called by the job's thread, at most ten times a second. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    int64_t told_at_us;
};

/* False: the job is to end with ECANCELED. */
bool job_goes_on(struct job *job, uint64_t done, uint64_t total);

#endif
