/* Rebuilding as a job: core/rebuild.h, into a directory that is there whole or not at all.
 *
 * Thread class: a job's. */
#ifndef PORT_REBUILD_JOB_H
#define PORT_REBUILD_JOB_H

#include "verify_job.h"

/* `target` must not be there. Calls `left_out` for each row that is; then verifies what was made,
 * and calls `found` for what is not as it should be even so. *left: how many were left out. */
int rebuild_job_run(struct job *job, struct ledger *ledger, const char *target,
                    verify_job_found *left_out, verify_job_found *found, void *context,
                    uint64_t *left, struct ledger_verify_result *result,
                    struct ledger_failure *failure);

#endif
