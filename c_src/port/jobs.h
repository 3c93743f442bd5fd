/* Which jobs there are, and what each answers. Thread class: the job's own. */
#ifndef PORT_JOBS_H
#define PORT_JOBS_H

#include <msgpack.h>

#include "archive.h"
#include "job.h"
#include "request.h"

struct job_result {
    uint64_t count; /* of records, or of what there was */
    uint64_t bytes; /* written */
    bool has_count, has_bytes;
    struct entry_buffer findings; /* of verify: a map of database, key, id and what for each */
    uint32_t findings_count;
    bool has_findings, is_short;      /* is_short: there may be more */
    uint64_t pruned;                  /* ms: what is older was removed; 0: nothing asked for */
    struct archive_segments segments; /* of archive */
    bool has_segments;
};

/* EINVAL for a job that there is not. */
int jobs_run(struct job *job, const struct request *request, struct job_result *result,
             struct ledger_failure *failure);
void jobs_pack_result(msgpack_packer *packer, const struct job_result *result);
void jobs_free_result(struct job_result *result);

#endif
