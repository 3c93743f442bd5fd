/* A report of a ledger: what was spent in a period, on what, what the budgets say, and what failed.
 * As one HTML file that needs nothing else, or as text on 80 columns.
 *
 * Everything but the budgets, which stand as they are now, is as of one moment: what is booked
 * while the report is made is not in it. Memory does not grow with the ledger.
 *
 * Thread class: the job's own; reads the ledger, may touch the disk. */
#ifndef PORT_REPORT_H
#define PORT_REPORT_H

#include "job.h"

struct report_request {
    const char *directory; /* as the head names it */
    const char *output;    /* a file that is not there yet; NULL: to `buffer` */
    struct entry_buffer *buffer;
    bool as_text;
    uint64_t since, until; /* since <= id < until; 0 and UINT64_MAX: everything */
    uint64_t *bytes;       /* out: how large it is */
};

/* 0; ECANCELED; EEXIST, ENOENT, ... of the output; ENOMEM; what reading the ledger said. Nothing is
 * left behind when it is not 0. */
int report_run(struct job *job, struct ledger *ledger, const struct report_request *request,
               struct ledger_failure *failure);

#endif
