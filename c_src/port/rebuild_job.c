#include "rebuild_job.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/rebuild.h"
#include "newdir.h"

struct rebuilding {
    struct job *job;
    verify_job_found *left_out;
    void *context;
};

static bool goes_on(void *context, uint64_t done, uint64_t total) {
    struct rebuilding *rebuilding = context;
    return job_goes_on(rebuilding->job, done, total);
}

static void tell(void *context, const struct ledger_finding *finding) {
    struct rebuilding *rebuilding = context;
    if (rebuilding->left_out != NULL)
        rebuilding->left_out(rebuilding->context, finding);
}

/* The directory has nothing but data.mdb when it gets its name. */
static int verify_new(struct job *job, const struct newdir *newdir, verify_job_found *found,
                      void *context, struct ledger_verify_result *result,
                      struct ledger_failure *failure) {
    char path[PATH_MAX + 16];
    struct ledger *ledger;
    snprintf(path, sizeof path, "%s/%s", newdir->path, NEWDIR_DATA);
    (void)unlinkat(newdir->fd, "lock.mdb", 0);
    int rc = ledger_open_file(path, &ledger, failure);
    if (rc != 0)
        return rc;
    rc = verify_job_run(job, ledger, found, context, result, failure);
    ledger_close(ledger);
    ledger_free(ledger);
    return rc;
}

int rebuild_job_run(struct job *job, struct ledger *ledger, const char *target,
                    verify_job_found *left_out, verify_job_found *found, void *context,
                    uint64_t *left, struct ledger_verify_result *result,
                    struct ledger_failure *failure) {
    struct rebuilding rebuilding = {job, left_out, context};
    const struct ledger_rebuild_options options = {
        .goes_on = goes_on, .left_out = tell, .context = &rebuilding};
    struct newdir newdir;
    struct stat there;
    if (lstat(target, &there) == 0)
        return ledger_fail(failure, EEXIST, "%s", target);
    int rc = newdir_begin(&newdir, target, failure);
    if (rc == 0)
        rc = newdir_make(&newdir, failure);
    if (rc == 0)
        rc = ledger_rebuild(ledger, newdir.path, &options, left, failure);
    if (rc == 0)
        rc = verify_new(job, &newdir, found, context, result, failure);
    if (rc == 0)
        rc = newdir_place(&newdir, false, failure);
    newdir_end(&newdir);
    return rc;
}
