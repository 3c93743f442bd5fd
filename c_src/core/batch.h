/* One write transaction while it is being filled: everything that is derived from the entries
 * is derived here, from the file, and dropped with the transaction. Nothing survives an abort.
 *
 * A batch does requests one by one, then writes out the series that they changed, and works out
 * which warnings are due and what the gate must say. ledger_commit(), ledger_set_policy() and
 * ledger_build() drive it.
 *
 * Thread class: the holder of the write lease.
 */
#ifndef LEDGER_BATCH_H
#define LEDGER_BATCH_H

#include "internal.h"

struct batch;

/* Begins the write transaction, under that policy and its plan. */
int batch_begin(struct ledger *ledger, const struct ledger_policy *policy, const struct plan *plan,
                int64_t now_us, struct batch **batch);
/* Aborts what was not committed, and frees. NULL is allowed. */
void batch_end(struct batch *batch);

/* Ends the holds that are due, so many at most. */
#define BATCH_EXPIRE_MAX 5000
int batch_expire(struct batch *batch);
/* Does one request. Not 0: the batch must be ended. Otherwise request->rc says what became of it,
 * and where that is not 0 nothing was put for it. */
int batch_do(struct batch *batch, struct ledger_request *request);
/* Gives an entry its id and books it. After a failure the batch must be ended. */
struct ledger_entry;
int batch_book(struct batch *batch, struct ledger_entry *entry,
               const struct ledger_entry *corrected);

/* Writes what was gathered. */
int batch_store(struct batch *batch);
/* Does that, and works out the warnings, and the gate for every state that it
 * touches, or for all. */
int batch_finish(struct batch *batch, bool all_states);
/* Durable when it returns 0, and then published. */
int batch_commit(struct batch *batch);
/* Puts what batch_finish() computed on the gate page. */
void batch_publish(struct batch *batch);

/* Whether there is anything to commit; whether an id was given out. */
bool batch_wrote(const struct batch *batch);
bool batch_took_id(const struct batch *batch);
MDB_txn *batch_transaction(struct batch *batch);
/* The newest id, this batch's included. */
uint64_t batch_last_id(const struct batch *batch);
/* Of a batch that was committed; for ledger_effects_free(). */
struct ledger_effects batch_take_effects(struct batch *batch);

#endif
