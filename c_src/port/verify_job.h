/* Verifying as a job: core/verify.h with a job's progress and cancelling.
 *
 * Thread class: a job's. */
#ifndef PORT_VERIFY_JOB_H
#define PORT_VERIFY_JOB_H

#include "../core/verify.h"
#include "job.h"

/* Calls `found` for each finding. 0 also where there are any; ECANCELED, or what failed. */
typedef void verify_job_found(void *context, const struct ledger_finding *finding);
int verify_job_run(struct job *job, struct ledger *ledger, verify_job_found *found, void *context,
                   struct ledger_verify_result *result, struct ledger_failure *failure);

#endif
