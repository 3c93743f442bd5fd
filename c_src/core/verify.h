/* Verifying a ledger: whatever is derived is made anew from the entries and the holds, and compared
 * with what is stored, byte by byte where there is one form only.
 *
 * Looked at are: each entry by itself and its order; names and their numbers; blocks of series;
 * rollups; payloads against their digests; rows of `keys`; holds, and what they hold together;
 * how many policies there were. Not looked at: warnings that were given, and whether what was
 * admitted should have been.
 *
 * The entries are read in slices, each in a read transaction of its own, so that the old pages of
 * a ledger that is written to are not pinned. What goes on changing, the open blocks and the holds,
 * is compared at the end, in the transaction that read the newest entry.
 *
 * Memory: by series and by names, not by entries. What has to be summed by entry or by hold goes to
 * a file without a name in TMPDIR, or /tmp.
 *
 * Pages of data.mdb have no checksums: a page that is no page any more may end the process. It is
 * for a process of its own.
 *
 * Thread class: may read LMDB; takes long. */
#ifndef LEDGER_VERIFY_H
#define LEDGER_VERIFY_H

#include "ledger.h"

/* What is wrong, and where. */
struct ledger_finding {
    const char *database;
    char key[192]; /* to read: "1700000000000000", "state executing", "series 3 (user ada) ..." */
    uint64_t id;   /* of the entry or hold that it is about; 0: none */
    char what[256];
};

struct ledger_verify_options {
    size_t slice;          /* entries in one read transaction; 0: VERIFY_SLICE */
    uint64_t findings_max; /* it ends after so many; 0: VERIFY_FINDINGS_MAX */
    /* False: to end with ECANCELED. `total` is about how many entries there are. NULL: goes on. */
    bool (*goes_on)(void *context, uint64_t done, uint64_t total);
    void (*found)(void *context, const struct ledger_finding *finding); /* NULL: only counted */
    void *context;
};
#define VERIFY_SLICE 50000
#define VERIFY_FINDINGS_MAX 100

struct ledger_verify_result {
    uint64_t entries;
    uint64_t last_id; /* of the newest of them */
    uint64_t payloads;
    uint64_t holds;
    uint64_t series;
    uint64_t findings;
    bool is_short; /* findings_max was reached: there may be more */
};

/* 0 also where there are findings; ECANCELED, ENOMEM, what the disk said. The ledger is one of
 * ledger_open_to_read(), or one that is open. */
int ledger_verify(struct ledger *ledger, const struct ledger_verify_options *options,
                  struct ledger_verify_result *result, struct ledger_failure *failure);

#endif
