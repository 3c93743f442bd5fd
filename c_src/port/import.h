/* Records of a file into a ledger that nobody else has open: docs/export.md.
 *
 * The file is read twice: once to see that all of it can be booked, and how; then to book it. It is
 * booked in batches, each durable; what is there already is passed over, so that an import that was
 * cut short is finished by the same import again.
 *
 *   as they were   when each record that is not there yet has an id above all that are, and not
 *                  ahead of ledger time: they keep ids, digests and all
 *   now            else: invocations and runs only, with new ids; occurred_at says when they were.
 *                  What says no client_id gets one, so that it is booked once
 *
 * Thread class: a job's thread. */
#ifndef PORT_IMPORT_H
#define PORT_IMPORT_H

#include "job.h"

enum import_format { IMPORT_JSON_LINES, IMPORT_CSV };

struct import_request {
    enum import_format format;
    const char *directory; /* JSON Lines: may be empty, or not there; the header seeds it */
    const char *file;      /* to be read twice: no pipe */
    uint64_t imported;     /* out */
    uint64_t skipped;      /* out: were there already */
    bool as_they_were;     /* out */
};

/* 0; ECANCELED; LEDGER_E_LOCKED with the holder; LEDGER_E_BAD_ENTRY and others name the line, and
 * mean that nothing was booked unless `imported` is not 0. */
int import_run(struct job *job, struct import_request *request, struct ledger_failure *failure);

#endif
