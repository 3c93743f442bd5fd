/* The LMDB environment: opening it safely, its named databases, and a pool of read
 * transactions.
 *
 * States of a storage, and who may change them (`mutex` guards `open` and the pool):
 *
 *   storage_open()   --> open      the opener, before anyone else has the pointer
 *   open             --> closed    storage_close(); waits until every reader has come back
 *   open             --> open      storage_reopen(); the same wait, then a fresh environment
 *   storage_reopen() --> closed    when opening again fails; the next reopen may succeed
 *
 * A read transaction is taken from the pool, used on one thread, and given back before the
 * caller returns: values read under it must be copied out first. Readers wait when the pool is
 * empty, so reading is for dirty threads only. The writer uses storage.env directly; it is
 * alone by contract (see ledger_commit) and is also the only caller of storage_reopen().
 */
#ifndef LEDGER_STORAGE_H
#define LEDGER_STORAGE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum storage_database {
    DB_META,
    DB_ENTRIES,
    DB_PAYLOADS,
    DB_KEYS,
    DB_NAMES,
    DB_SERIES,
    DB_ROLLUPS,
    DB_HOLDS,
    DB_HELD,
    DB_WARNED,
    DB_COUNT
};

struct storage_options {
    const char *directory;
    size_t map_size;    /* reserved address space; halved until it fits */
    unsigned pool_size; /* read transactions; at least the threads that read at once */
    bool meta_sync;     /* false: MDB_NOMETASYNC, the last commit may be lost with power */
    bool read_only;     /* beside a process that may be writing; map_size is the file's own */
    bool is_file;       /* `directory` is the data file itself, and nobody writes to it */
};

struct storage {
    MDB_env *env;
    MDB_dbi databases[DB_COUNT];
    size_t map_size; /* what fitted */
    struct storage_options options;
    uint64_t file_size;      /* at least; the writer's own */
    bool is_new;             /* the environment had no databases: set by open */
    bool reader_slots_short; /* another process fixed fewer slots than the pool wants */

    pthread_mutex_t mutex;
    pthread_cond_t returned;
    bool open;
    bool reopening;             /* guarded by mutex: readers wait for what becomes of it */
    unsigned generation;        /* guarded by mutex: how often it was reopened */
    unsigned made;              /* transactions in the pool, idle or out; set while closed */
    unsigned idle_count;        /* guarded by mutex */
    MDB_txn **idle;             /* guarded by mutex; reset transactions, pool_size of them */
    struct storage_block *left; /* guarded by mutex */
};

/* The head of a malloc'ed block that one reader leaves for the next. */
struct storage_block {
    struct storage_block *next;
};

/* Opens or creates. On failure nothing stays open and `failure` says why. A new environment
 * has no databases yet: storage_create() makes them. */
int storage_open(struct storage *storage, const struct storage_options *options,
                 struct ledger_failure *failure);

/* Makes the databases inside `txn`, which the caller fills and commits; storage_pool() then
 * makes reading possible. */
int storage_create(struct storage *storage, MDB_txn *txn);
int storage_pool(struct storage *storage);

void storage_close(struct storage *storage);

/* Throws the environment away and opens it again from the file. Must be called by the writer,
 * outside a transaction. */
int storage_reopen(struct storage *storage, struct ledger_failure *failure);

/* 0, LEDGER_E_CLOSED, or what mdb_txn_renew says. Dirty threads only: may wait. */
int storage_read_begin(struct storage *storage, MDB_txn **txn);
void storage_read_end(struct storage *storage, MDB_txn *txn);

/* What a reader knows of what can be read, and the next one may use: taken after
 * storage_read_begin(), left before storage_read_end(). It never outlives the environment, which is
 * opened anew after a commit of which nobody knows whether it can be seen. NULL: none is there. */
struct storage_block *storage_take_block(struct storage *storage);
void storage_leave_block(struct storage *storage, struct storage_block *block);

/* Makes data.mdb at least `ahead` bytes longer than its last page, in large sparse steps. LMDB
 * does not write pages that a transaction took and gave back, so its files may end early
 * without being damaged; with this, done before each write transaction for more than it can
 * use, a file that is too short has lost something, and opening can say so. A failure is
 * harmless: a file that is not extended is only one that may be refused after a crash. */
void storage_extend(struct storage *storage, uint64_t ahead);

/* Whether a database whose keys begin with the kind of the row has any of that kind. */
int storage_has_kind(MDB_txn *txn, MDB_dbi dbi, uint8_t kind, bool *any);

/* The first or the last key of a database whose keys are ids; 0 when it is empty. */
int storage_id_at(MDB_txn *txn, MDB_dbi dbi, MDB_cursor_op end, uint64_t *id);

/* The newest id, of an entry or a live hold; 0 in an empty ledger. A hold that ended is below the
 * entry that ended it. */
int storage_last_id(struct storage *storage, MDB_txn *txn, uint64_t *id);

#endif
