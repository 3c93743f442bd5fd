#include "jobs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "../core/pack.h"
#include "backup.h"
#include "export.h"
#include "ledgers.h"
#include "report.h"
#include "verify_job.h"

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

static int size_of(const char *path, uint64_t *size) {
    struct stat file;
    if (stat(path, &file) != 0)
        return errno;
    *size = (uint64_t)file.st_size;
    return 0;
}

static int export(struct job *job, struct ledger *ledger, const struct request *request,
                  struct job_result *result, struct ledger_failure *failure) {
    struct export_request asked = {
        .columns = request->columns, .filter = request->filter, .output = request->output};
    if (request->output == NULL || request->format == NULL ||
        !export_format_named(request->format, &asked.format))
        return ledger_fail(failure, EINVAL, "export needs an output, and one of its formats");
    int rc = export_run(job, ledger, &asked, failure);
    if (rc == 0 && (rc = size_of(request->output, &result->bytes)) != 0)
        ledger_fail(failure, rc, "%s", request->output);
    result->count = asked.exported;
    result->pruned = asked.kept_from / 1000;
    result->has_count = result->has_bytes = true;
    return rc;
}

static int tell_made(int rc, const struct backup_made *made, struct job_result *result) {
    result->has_count = result->has_bytes = true;
    result->count = made->entries;
    result->bytes = made->bytes;
    return rc;
}

static int backup(struct job *job, struct ledger *ledger, const struct request *request,
                  struct job_result *result, struct ledger_failure *failure) {
    struct backup_made made = {0};
    if (request->output == NULL)
        return ledger_fail(failure, EINVAL, "backup needs an output");
    return tell_made(backup_run(job, ledger, request->output, &made, failure), &made, result);
}

/* Of a directory that is no ledger of ours to open: nothing may be made in it. */
static int restore(struct job *job, struct ledger *none, const struct request *request,
                   struct job_result *result, struct ledger_failure *failure) {
    struct backup_made made = {0};
    (void)none;
    if (request->output == NULL)
        return ledger_fail(failure, EINVAL, "restore needs an output");
    return tell_made(backup_restore(job, request->directory, request->output, &made, failure),
                     &made, result);
}

static void keep_finding(void *context, const struct ledger_finding *finding) {
    struct job_result *result = context;
    msgpack_packer packer;
    msgpack_packer_init(&packer, &result->findings, entry_buffer_append);
    msgpack_pack_map(&packer, 4);
    pack_word(&packer, "database");
    pack_word(&packer, finding->database);
    pack_word(&packer, "key");
    pack_word(&packer, finding->key);
    pack_word(&packer, "id");
    msgpack_pack_uint64(&packer, finding->id);
    pack_word(&packer, "what");
    pack_word(&packer, finding->what);
    result->findings_count++;
}

static int verify(struct job *job, struct ledger *ledger, const struct request *request,
                  struct job_result *result, struct ledger_failure *failure) {
    struct ledger_verify_result verified = {0};
    (void)request;
    int rc = verify_job_run(job, ledger, keep_finding, result, &verified, failure);
    result->has_count = result->has_findings = true;
    result->count = verified.entries;
    result->is_short = verified.is_short;
    if (rc == 0 && result->findings.failed)
        rc = ledger_fail(failure, ENOMEM, "%s", request->directory);
    return rc;
}

/* Only seals: what removes is the VM's writer. */
static int archive(struct job *job, struct ledger *ledger, const struct request *request,
                   struct job_result *result, struct ledger_failure *failure) {
    if (request->output == NULL || request->filter.until == UINT64_MAX)
        return ledger_fail(failure, EINVAL, "archive needs an output, and until when");
    result->has_segments = true;
    return archive_run(job, ledger, request->output, request->filter.until, &result->segments,
                       failure);
}

static const struct {
    const char *name;
    int (*run)(struct job *, struct ledger *, const struct request *, struct job_result *,
               struct ledger_failure *);
    bool takes_ledger;
} jobs[] = {
    {"count", count, true},      {"export", export, true}, {"backup", backup, true},
    {"verify", verify, true},    {"report", report, true}, {"archive", archive, true},
    {"restore", restore, false},
};

int jobs_run(struct job *job, const struct request *request, struct job_result *result,
             struct ledger_failure *failure) {
    struct ledger *ledger = NULL;
    size_t i = 0;
    while (i < sizeof jobs / sizeof jobs[0] && strcmp(jobs[i].name, request->job) != 0)
        i++;
    if (i == sizeof jobs / sizeof jobs[0])
        return ledger_fail(failure, EINVAL, "unknown job %s", request->job);
    if (request->directory == NULL)
        return ledger_fail(failure, EINVAL, "%s needs a directory", request->job);
    int rc = jobs[i].takes_ledger ? ledgers_take(request->directory, &ledger, failure) : 0;
    if (rc != 0)
        return rc;
    rc = jobs[i].run(job, ledger, request, result, failure);
    if (ledger != NULL)
        ledgers_give(ledger);
    return rc;
}

static void pack_segments(msgpack_packer *packer, const struct archive_segments *segments) {
    pack_word(packer, "segments");
    msgpack_pack_array(packer, segments->count);
    for (size_t i = 0; i < segments->count; i++) {
        const struct archive_segment *segment = &segments->items[i];
        msgpack_pack_map(packer, 5);
        pack_word(packer, "file");
        pack_word(packer, segment->file);
        pack_word(packer, "sha256");
        pack_word(packer, segment->sha256);
        pack_word(packer, "entries");
        msgpack_pack_uint64(packer, segment->entries);
        pack_word(packer, "from");
        msgpack_pack_uint64(packer, segment->from_us / 1000);
        pack_word(packer, "to");
        msgpack_pack_uint64(packer, segment->to_us / 1000);
    }
}

void jobs_pack_result(msgpack_packer *packer, const struct job_result *result) {
    msgpack_pack_map(packer, (size_t)result->has_count + result->has_bytes +
                                 (size_t)(result->has_findings ? 2 : 0) + (result->pruned != 0) +
                                 result->has_segments);
    if (result->pruned != 0) {
        pack_word(packer, "pruned");
        msgpack_pack_uint64(packer, result->pruned);
    }
    if (result->has_segments)
        pack_segments(packer, &result->segments);
    if (result->has_count) {
        pack_word(packer, "count");
        msgpack_pack_uint64(packer, result->count);
    }
    if (result->has_bytes) {
        pack_word(packer, "bytes");
        msgpack_pack_uint64(packer, result->bytes);
    }
    if (result->has_findings) {
        pack_word(packer, "findings");
        msgpack_pack_array(packer, result->findings_count);
        entry_buffer_append(packer->data, result->findings.data, result->findings.size);
        pack_word(packer, "complete");
        if (result->is_short)
            msgpack_pack_false(packer);
        else
            msgpack_pack_true(packer);
    }
}

void jobs_free_result(struct job_result *result) {
    entry_buffer_free(&result->findings);
    archive_free(&result->segments);
    *result = (struct job_result){0};
}
