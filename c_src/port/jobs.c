#include "jobs.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "../core/pack.h"
#include "ledgers.h"
#include "report.h"

/* Counts the records that match, in slices. */
static int count(struct job *job, struct ledger *ledger, const struct request *request,
                 struct job_result *result, struct ledger_failure *failure) {
    struct ledger_list_query query = {
        .filter = request->filter, .oldest_first = true, .limit = UINT64_MAX, .scan = 10000};
    struct ledger_page page = {.done = false};
    int rc = 0;
    result->has_count = true;
    while (rc == 0 && !page.done) {
        rc = ledger_list(ledger, &query, NULL, NULL, &page);
        query.cursor = page.next;
        result->count += page.matched;
        if (rc == 0 && !job_goes_on(job, result->count, 0))
            rc = ECANCELED;
    }
    return rc == 0 ? 0 : ledger_fail(failure, rc, "%s", request->directory);
}

/* Its period is all of the filter that a report has. */
static int report(struct job *job, struct ledger *ledger, const struct request *request,
                  struct job_result *result, struct ledger_failure *failure) {
    struct report_request asked = {.directory = request->directory,
                                   .output = request->output,
                                   .since = request->filter.since,
                                   .until = request->filter.until,
                                   .bytes = &result->bytes};
    if (request->output == NULL)
        return ledger_fail(failure, EINVAL, "report needs an output");
    result->has_bytes = true;
    return report_run(job, ledger, &asked, failure);
}

static const struct {
    const char *name;
    int (*run)(struct job *, struct ledger *, const struct request *, struct job_result *,
               struct ledger_failure *);
} jobs[] = {
    {"count", count},
    {"report", report},
};

int jobs_run(struct job *job, const struct request *request, struct job_result *result,
             struct ledger_failure *failure) {
    struct ledger *ledger;
    size_t i = 0;
    while (i < sizeof jobs / sizeof jobs[0] && strcmp(jobs[i].name, request->job) != 0)
        i++;
    if (i == sizeof jobs / sizeof jobs[0])
        return ledger_fail(failure, EINVAL, "unknown job %s", request->job);
    if (request->directory == NULL)
        return ledger_fail(failure, EINVAL, "%s needs a directory", request->job);
    int rc = ledgers_take(request->directory, &ledger, failure);
    if (rc != 0)
        return rc;
    rc = jobs[i].run(job, ledger, request, result, failure);
    ledgers_give(ledger);
    return rc;
}

void jobs_pack_result(msgpack_packer *packer, const struct job_result *result) {
    msgpack_pack_map(packer, (size_t)result->has_count + result->has_bytes);
    if (result->has_count) {
        pack_word(packer, "count");
        msgpack_pack_uint64(packer, result->count);
    }
    if (result->has_bytes) {
        pack_word(packer, "bytes");
        msgpack_pack_uint64(packer, result->bytes);
    }
}

void jobs_free_result(struct job_result *result) {
    *result = (struct job_result){0};
}
