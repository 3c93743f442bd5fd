#include "job.h"

#define TELL_EVERY_US 100000

bool job_goes_on(struct job *job, uint64_t done, uint64_t total) {
    int64_t now_us = clock_boottime_us();
    if (job->progress != NULL && now_us - job->told_at_us >= TELL_EVERY_US) {
        job->told_at_us = now_us;
        job->progress(job->context, done, total);
    }
    return !atomic_load(&job->cancelled);
}
