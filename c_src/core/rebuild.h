/* A ledger made anew from what is ledger in another: entries, payloads, holds, warnings, the policy
 * and the families, and what clients asked that booked no entry. Names, series, rollups, sums of
 * what is held, and the other rows of `keys` are derived again, whatever they were.
 *
 * Of a ledger whose old entries were removed (retention.h), what stands in for them is taken as it
 * is: names, rows of `keys`, rollups, and blocks of series before the horizon.
 *
 * What cannot be read, or belongs to nothing, is left out, and told. Series keep the numbers that
 * they had, as far as `names` still tells them: holds and warnings go by those.
 *
 * Thread class: may write LMDB; takes long. The old ledger's pages of now are kept while it lasts.
 */
#ifndef LEDGER_REBUILD_H
#define LEDGER_REBUILD_H

#include "verify.h"

struct ledger_rebuild_options {
    bool (*goes_on)(void *context, uint64_t done, uint64_t total);
    void (*left_out)(void *context, const struct ledger_finding *finding);
    void *context;
};

/* `directory` is there, and empty; what was written stays there when it fails. *left_out: how many
 * rows. 0, ECANCELED, or what the disk said. */
int ledger_rebuild(struct ledger *from, const char *directory,
                   const struct ledger_rebuild_options *options, uint64_t *left_out,
                   struct ledger_failure *failure);

#endif
