/* A hold that is ending, however it does: what it and those above it held, and what is booked for
 * it; and what those above are told of a correction that comes after. Not for others than the files
 * that fill a batch; see batch_internal.h for how they fail. */
#ifndef LEDGER_ENDING_H
#define LEDGER_ENDING_H

#include "batch_internal.h"

struct ending {
    struct hold hold;
    bool is_own; /* what is booked is of the hold alone: nothing of its children is in it */
    struct ledger_text names[DIMENSION_LIMIT]; /* of the hold */
    int above_count;
    struct hold *above[HOLD_DEPTH_MAX]; /* its parent, the parent's parent, ... */
};

/* MDB_NOTFOUND: it is not live. ending_free() if it is 0. */
int ending_begin(struct batch *batch, uint64_t id, struct ending **ending);
void ending_free(struct ending *ending);

#define ENDING_AMOUNTS (ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS)
/* What was used, and how its cost came about. */
void ending_copy_usage(struct ledger_entry *entry, const struct ledger_entry *usage);
/* Names of a hold, or of what was booked for it, but for what the usage says otherwise (NULL: says
 * nothing). */
void ending_set_names(struct ledger_entry *entry, const struct ledger_text *names,
                      const struct ledger_text *usage);
/* A usage that is linked to its hold is of that hold alone. A usage that takes the children in must
 * know of all of them; this one is right whatever they book meanwhile. */
static inline bool ending_is_own(const struct ledger_entry *usage, uint64_t hold) {
    return usage->link == hold;
}
/* A run books what its children have not. How a cost came about that is not booked whole is not
 * said with it. */
void ending_leave_children_out(struct ledger_entry *entry, const struct amounts *children);

/* Books the entry for the hold, which is no more: of its kind, and all that says whose it is, comes
 * from the hold. What it has as usage is taken from what those above hold, and they are told of it.
 * `settled`: its caller can say no more of it. */
int ending_book(struct batch *batch, struct ending *ending, struct ledger_entry *entry,
                bool settled);
/* Books a release, which is whole, for the hold, which is no more: nothing was used, and its run_id
 * may stand for another run. */
int ending_book_release(struct batch *batch, struct ending *ending, struct ledger_entry *release);

/* Tells those above (correction->parent) of a correction of what was booked below them: what it
 * adds is taken from what they hold, and their own settling leaves it out. */
int ending_tell_parents(struct batch *batch, const struct ledger_entry *correction);

#endif
