/* Sealing the oldest entries of a ledger in files of their own, before they are removed from it:
 * docs/operations.md.
 *
 *   DIRECTORY/entries-20260101-20260201.jsonl   entries of every kind from the first day (UTC) on,
 * up to and without the last: an export in JSON Lines. One a month, where there is any.
 *   DIRECTORY/SHA256SUMS                        a line for each, as sha256sum reads them
 *
 * Each file is there whole, synced, and read back, or not at all. One that is there already with
 * the same entries stays as it is; with others, it is an error. So who was killed begins again.
 *
 * Thread class: a job's thread; waits for another that seals into the same directory. */
#ifndef PORT_ARCHIVE_H
#define PORT_ARCHIVE_H

#include "job.h"

#define ARCHIVE_SUMS "SHA256SUMS"

struct archive_segment {
    char file[40];
    char sha256[65]; /* in hexadecimal */
    uint64_t entries;
    uint64_t from_us;
    uint64_t to_us;
};
struct archive_segments {
    size_t count;
    struct archive_segment *items;
};

/* Seals what is older than `horizon_us` (ledger_horizon()) and was not removed before. 0;
 * ECANCELED; EEXIST; LEDGER_E_PRUNED when it is removed meanwhile; what the disk or the ledger
 * said. archive_free() in any case. */
int archive_run(struct job *job, struct ledger *ledger, const char *directory, uint64_t horizon_us,
                struct archive_segments *segments, struct ledger_failure *failure);
void archive_free(struct archive_segments *segments);

#endif
