/* One write transaction while it is being filled: everything that is derived from the entries
 * is derived here, from the file, and dropped with the transaction. Nothing survives an abort.
 *
 * A batch adds entries one by one, then writes out the blocks and rollups that they touched,
 * and works out what the gate must say. ledger_commit() and ledger_set_policy() drive it.
 *
 * Thread class: the holder of the write lease.
 */
#ifndef LEDGER_BATCH_H
#define LEDGER_BATCH_H

#include "internal.h"

struct batch;

/* What the gate will say of one state once the transaction is durable. */
struct gate_update {
    uint32_t state;
    uint64_t allowed_from_us;
    uint64_t invocations;
};

/* Begins the write transaction. */
int batch_begin(struct ledger *ledger, int64_t now_us, struct batch **batch);
/* Aborts what was not committed, and frees. NULL is allowed. */
void batch_end(struct batch *batch);

/* Reads and checks a draft; *state is the index of its state. Writes nothing: after a failure the
 * batch goes on. */
int batch_read(struct batch *batch, const void *draft, size_t size, struct ledger_entry *entry,
               int *state);
/* Gives the entry its id and books it, for that state (-1: none). After a failure the batch must be
 * ended. */
int batch_add(struct batch *batch, struct ledger_entry *entry, int state);

/* Writes what add() gathered and computes the gate for every state that it touched, or for all
 * of them, under `policy`. */
int batch_finish(struct batch *batch, const struct ledger_policy *policy, bool all_states);
/* Durable when it returns 0, and then published. */
int batch_commit(struct batch *batch);
/* Puts what batch_finish() computed on the gate page. */
void batch_publish(struct batch *batch);

MDB_txn *batch_transaction(struct batch *batch);
/* Id of the newest entry, this batch's included. */
uint64_t batch_last_id(const struct batch *batch);

#endif
