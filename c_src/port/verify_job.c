#include "verify_job.h"

struct verifying {
    struct job *job;
    verify_job_found *found;
    void *context;
};

static bool goes_on(void *context, uint64_t done, uint64_t total) {
    struct verifying *verifying = context;
    return job_goes_on(verifying->job, done, total);
}

static void tell(void *context, const struct ledger_finding *finding) {
    struct verifying *verifying = context;
    if (verifying->found != NULL)
        verifying->found(verifying->context, finding);
}

int verify_job_run(struct job *job, struct ledger *ledger, verify_job_found *found, void *context,
                   struct ledger_verify_result *result, struct ledger_failure *failure) {
    struct verifying verifying = {job, found, context};
    const struct ledger_verify_options options = {
        .goes_on = goes_on, .found = tell, .context = &verifying};
    return ledger_verify(ledger, &options, result, failure);
}
