#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../core/digest.h"
#include "../core/directory.h"
#include "export.h"
#include "outfile.h"
#include "sums_file.h"

#define DAY_US UINT64_C(86400000000)
#define LOOK_EVERY_US 50000
#define READ_BYTES (256 << 10)

struct archive {
    struct job *job;
    struct ledger *ledger;
    const char *directory;
    int fd; /* of the directory */
    struct archive_segments *segments;
    struct ledger_failure *failure;
    uint64_t done;
    uint64_t total; /* about */
};

/* ---- what a file comes to -------------------------------------------------------------------- */

/* Of all of it, and of what is behind the first line: that tells who was asked when. */
struct sums {
    struct digest whole, body;
    bool is_in_body;
};

static void sums_begin(struct sums *sums) {
    digest_begin(&sums->whole);
    digest_begin(&sums->body);
    sums->is_in_body = false;
}

static void sums_add(void *context, const char *bytes, size_t size) {
    struct sums *sums = context;
    digest_add(&sums->whole, bytes, size);
    if (!sums->is_in_body) {
        const char *end = memchr(bytes, '\n', size);
        size_t head = end == NULL ? size : (size_t)(end - bytes) + 1;
        sums->is_in_body = end != NULL;
        bytes += head;
        size -= head;
    }
    digest_add(&sums->body, bytes, size);
}

struct summed {
    uint8_t whole[DIGEST_BYTES], body[DIGEST_BYTES];
};

static int sums_end(struct sums *sums, struct summed *summed) {
    int rc = digest_end(&sums->whole, summed->whole);
    int of_body = digest_end(&sums->body, summed->body);
    return rc != 0 ? rc : of_body;
}

/* As it lies on the disk: not from the memory that it was written to, as far as that can be had. */
static int sum_file(int fd, struct summed *summed) {
    struct sums sums;
    char *bytes = malloc(READ_BYTES);
    off_t at = 0;
    ssize_t size = -1;
    if (bytes == NULL)
        return ENOMEM;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    sums_begin(&sums);
    while ((size = pread(fd, bytes, READ_BYTES, at)) > 0 || (size < 0 && errno == EINTR)) {
        if (size < 0)
            continue;
        sums_add(&sums, bytes, (size_t)size);
        at += size;
    }
    int failed = size < 0 ? errno : 0;
    free(bytes);
    int rc = sums_end(&sums, summed);
    return failed != 0 ? failed : rc;
}

/* ---- one segment ----------------------------------------------------------------------------- */

static void name_day(uint64_t us, char out[9]) {
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(out, 9, "%Y%m%d", &tm);
}

static void name_segment(struct archive_segment *segment) {
    char from[9], to[9];
    name_day(segment->from_us, from);
    name_day(segment->to_us, to);
    snprintf(segment->file, sizeof segment->file, "entries-%s-%s.jsonl", from, to);
}

static int write_segment(struct archive *archive, struct archive_segment *segment, FILE *stream,
                         struct summed *written) {
    struct ledger_text any[DIMENSION_LIMIT] = {0};
    struct sums sums;
    struct export_request request = {.format = EXPORT_JSON_LINES,
                                     .filter = {.names = any,
                                                .kinds = EXPORT_KINDS_ALL,
                                                .since = segment->from_us,
                                                .until = segment->to_us},
                                     .stream = stream,
                                     .written = sums_add,
                                     .context = &sums,
                                     .done_before = archive->done,
                                     .total = archive->total};
    sums_begin(&sums);
    int rc = export_run(archive->job, archive->ledger, &request, archive->failure);
    int summed = sums_end(&sums, written);
    segment->entries = request.exported;
    archive->done += request.exported;
    if (archive->total < archive->done)
        archive->total = archive->done;
    return rc == 0 && summed != 0 ? ledger_fail(archive->failure, summed, "%s", segment->file) : rc;
}

/* What was written is what is there. */
static int read_back(struct archive *archive, const struct archive_segment *segment, FILE *stream,
                     const struct summed *written) {
    struct summed there;
    int rc = fflush(stream) == 0 && fsync(fileno(stream)) == 0 ? 0 : errno;
    if (rc == 0)
        rc = sum_file(fileno(stream), &there);
    if (rc == 0 && memcmp(there.whole, written->whole, DIGEST_BYTES) != 0)
        return ledger_fail(archive->failure, EIO, "%s reads other bytes than were written",
                           segment->file);
    return rc == 0 ? 0 : ledger_fail(archive->failure, rc, "%s", segment->file);
}

/* One that was sealed before must have the same entries; then it stays. *is_there says whether
 * there is any, and *written what it comes to. */
static int look_at_old(struct archive *archive, const struct archive_segment *segment,
                       struct summed *written, bool *is_there) {
    struct summed there;
    int fd = openat(archive->fd, segment->file, O_RDONLY | O_CLOEXEC);
    *is_there = fd >= 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : ledger_fail(archive->failure, errno, "%s", segment->file);
    int rc = sum_file(fd, &there);
    close(fd);
    if (rc != 0)
        return ledger_fail(archive->failure, rc, "%s", segment->file);
    if (memcmp(there.body, written->body, DIGEST_BYTES) != 0)
        return ledger_fail(archive->failure, EEXIST,
                           "%s/%s, with other entries than these: move it away, or archive to "
                           "another directory",
                           archive->directory, segment->file);
    *written = there;
    return 0;
}

static void keep_digest(struct archive_segment *segment, const uint8_t digest[DIGEST_BYTES]) {
    for (size_t i = 0; i < DIGEST_BYTES; i++)
        snprintf(segment->sha256 + 2 * i, 3, "%02x", digest[i]);
}

static int add_segment(struct archive *archive, const struct archive_segment *segment) {
    struct archive_segments *segments = archive->segments;
    struct archive_segment *grown =
        realloc(segments->items, (segments->count + 1) * sizeof *segments->items);
    if (grown == NULL)
        return ledger_fail(archive->failure, ENOMEM, "%s", segment->file);
    segments->items = grown;
    segments->items[segments->count++] = *segment;
    return 0;
}

static int seal(struct archive *archive, uint64_t from_us, uint64_t to_us) {
    struct archive_segment segment = {.from_us = from_us, .to_us = to_us};
    struct outfile file;
    struct summed written;
    char path[PATH_MAX];
    bool is_there = false;
    name_segment(&segment);
    if (snprintf(path, sizeof path, "%s/%s", archive->directory, segment.file) >= (int)sizeof path)
        return ledger_fail(archive->failure, ENAMETOOLONG, "%s", archive->directory);
    int rc = outfile_begin_anew(&file, path, archive->failure);
    if (rc != 0)
        return rc;
    rc = write_segment(archive, &segment, file.stream, &written);
    if (rc == 0 && segment.entries > 0)
        rc = read_back(archive, &segment, file.stream, &written);
    if (rc == 0 && segment.entries > 0)
        rc = look_at_old(archive, &segment, &written, &is_there);
    if (rc == 0 && segment.entries > 0 && !is_there)
        rc = outfile_finish(&file, archive->failure);
    else
        outfile_abandon(&file);
    if (rc != 0 || segment.entries == 0)
        return rc;
    keep_digest(&segment, written.whole);
    return add_segment(archive, &segment);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static uint64_t next_month(uint64_t us) {
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    struct tm first = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1};
    return (uint64_t)timegm(&first) * 1000000;
}

static void keep_id(void *context, const struct ledger_entry *entry,
                    const struct ledger_payload *payload) {
    (void)payload;
    *(uint64_t *)context = entry->id;
}

/* From the horizon that is, or the day of the first entry; and about how many there are. */
static int find_first(struct archive *archive, uint64_t horizon_us, uint64_t *from_us) {
    struct ledger_text any[DIMENSION_LIMIT] = {0};
    struct ledger_list_query query = {
        .filter = {.names = any, .kinds = EXPORT_KINDS_ALL, .until = horizon_us},
        .oldest_first = true,
        .limit = 1,
        .scan = 1};
    struct ledger_page page;
    uint64_t first = horizon_us;
    int rc = ledger_kept_from(archive->ledger, from_us);
    if (rc == 0 && *from_us == 0 && horizon_us > 0) {
        rc = ledger_list(archive->ledger, &query, keep_id, &first, &page);
        *from_us = first / DAY_US * DAY_US;
    }
    if (rc == 0 && *from_us < horizon_us) {
        query.filter.since = *from_us;
        query.filter.kinds = EXPORT_KINDS_FOCUS | 1u << KIND_GRANT;
        rc = ledger_list(archive->ledger, &query, NULL, NULL, &page);
        archive->total = rc == 0 && page.total_known ? page.total : 0;
    }
    return rc == 0 ? 0 : ledger_fail(archive->failure, rc, "reading the ledger");
}

static int seal_all(struct archive *archive, uint64_t horizon_us) {
    uint64_t from_us;
    int rc = find_first(archive, horizon_us, &from_us);
    while (rc == 0 && from_us < horizon_us) {
        uint64_t to_us = next_month(from_us);
        if (to_us > horizon_us)
            to_us = horizon_us;
        rc = seal(archive, from_us, to_us);
        from_us = to_us;
    }
    return rc;
}

/* One at a time in a directory. */
static int enter(struct archive *archive) {
    archive->fd = open(archive->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (archive->fd < 0)
        return ledger_fail(archive->failure, errno, "%s", archive->directory);
    while (flock(archive->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return ledger_fail(archive->failure, errno, "%s", archive->directory);
        if (!job_goes_on(archive->job, 0, 0))
            return ledger_fail(archive->failure, ECANCELED, "%s", archive->directory);
        usleep(LOOK_EVERY_US);
    }
    return 0;
}

int archive_run(struct job *job, struct ledger *ledger, const char *directory, uint64_t horizon_us,
                struct archive_segments *segments, struct ledger_failure *failure) {
    struct archive archive = {.job = job,
                              .ledger = ledger,
                              .directory = directory,
                              .fd = -1,
                              .segments = segments,
                              .failure = failure};
    *segments = (struct archive_segments){0};
    int rc = directory_make(directory, failure);
    if (rc == 0)
        rc = enter(&archive);
    if (rc == 0)
        rc = seal_all(&archive, horizon_us);
    if (rc == 0 && segments->count > 0)
        rc = sums_file_put(archive.fd, segments, failure);
    if (archive.fd >= 0)
        close(archive.fd);
    return rc;
}

void archive_free(struct archive_segments *segments) {
    free(segments->items);
    *segments = (struct archive_segments){0};
}
