/* What is in a ledger, as a file for others: docs/export.md.
 *
 * Everything that was booked before it began and that the filter lets through, oldest first. It
 * reads in slices, each in a read transaction of its own, so that no page of the ledger is pinned
 * for long, and takes constant memory.
 *
 * Thread class: a job's thread. */
#ifndef PORT_EXPORT_H
#define PORT_EXPORT_H

#include <stdio.h>

#include "job.h"

enum export_format { EXPORT_CSV, EXPORT_JSON_LINES, EXPORT_MSGPACK, EXPORT_FOCUS };

/* Kinds that each format has, where nobody asks for others. */
#define EXPORT_KINDS_WORK (1u << KIND_INVOCATION | 1u << KIND_RUN)
#define EXPORT_KINDS_FOCUS (EXPORT_KINDS_WORK | 1u << KIND_CORRECTION)
#define EXPORT_KINDS_ALL (~UINT32_C(0))

struct export_request {
    enum export_format format;
    const char *columns; /* of EXPORT_CSV: "a,b,c"; NULL: those of an execution's history */
    struct ledger_filter filter;
    const char *output; /* a path that must not exist yet; NULL: `stream` */
    FILE *stream;
    /* Told whatever is written to the stream; NULL: nobody. */
    void (*written)(void *context, const char *bytes, size_t size);
    void *context;
    uint64_t done_before; /* of a job that this is a part of, and in all; 0: it is all of it */
    uint64_t total;
    uint64_t exported;  /* out: how many records */
    uint64_t kept_from; /* out: what is older was removed from the ledger; 0: nothing asked for */
};

/* 0; ECANCELED; EEXIST; LEDGER_E_BAD_ENTRY for a column that there is not (the failure lists those
 * that there are); LEDGER_E_PRUNED, also where entries are removed while it reads them; what the
 * disk or the ledger said. Without 0 there is no file; what was written
 * to a stream stays. */
int export_run(struct job *job, struct ledger *ledger, struct export_request *request,
               struct ledger_failure *failure);

/* False: no such format. */
bool export_format_named(const char *name, enum export_format *format);

#endif
