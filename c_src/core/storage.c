#include "storage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"

_Static_assert(sizeof(size_t) == 8, "a ledger needs a 64-bit address space");

#define MAP_SIZE_LEAST ((size_t)1 << 20)
/* Slots for other processes that read: the companion, tools, Python. */
#define READER_SLOTS_FOR_OTHERS 64
#define REOPENING_SECONDS 10
/* More than LMDB's header and what it needs for a reader: it takes a larger file as it is. */
#define LOCK_HEADER_BYTES 4096
#define LOCK_SLOT_BYTES 64
#define FILE_STEP (UINT64_C(1) << 20)

static const char *const database_names[DB_COUNT] = {
    [DB_META] = "meta",       [DB_ENTRIES] = "entries", [DB_PAYLOADS] = "payloads",
    [DB_KEYS] = "keys",       [DB_NAMES] = "names",     [DB_SERIES] = "series",
    [DB_ROLLUPS] = "rollups", [DB_HOLDS] = "holds",     [DB_HELD] = "held",
    [DB_WARNED] = "warned",
};

/* The file format is that of LMDB 0.9; 0.9.70 and up are the development line of 1.0. */
static int check_library(struct ledger_failure *failure) {
    int major, minor, patch;
    const char *version = mdb_version(&major, &minor, &patch);
    if (major != 0 || minor != 9 || patch >= 70)
        return ledger_fail(failure, LEDGER_E_LMDB_VERSION, "found %s", version);
    return 0;
}

/* LMDB makes lock.mdb sparse and then writes through its map: on a full disk that is a SIGBUS,
 * and the VM is gone. So its blocks are taken first. No lock of LMDB's is held on the file now,
 * which closing it would drop: the environment is not open, and writer.lock keeps it so. An old
 * file keeps its size, for other processes may have mapped it. */
static int allocate_lock_file(const char *directory, unsigned slots) {
    char path[PATH_MAX];
    struct stat file;
    snprintf(path, sizeof path, "%s/lock.mdb", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int rc = fstat(fd, &file) == 0 ? 0 : errno;
    if (rc == 0) {
        off_t size = file.st_size > 0 ? file.st_size : LOCK_HEADER_BYTES + slots * LOCK_SLOT_BYTES;
        rc = posix_fallocate(fd, 0, size);
    }
    close(fd);
    return rc;
}

static int create_environment(struct storage *storage, size_t map_size) {
    MDB_env *env = NULL;
    bool read_only = storage->options.read_only;
    unsigned slots = storage->options.pool_size + READER_SLOTS_FOR_OTHERS;
    int allocated = read_only ? 0 : allocate_lock_file(storage->options.directory, slots);
    if (allocated != 0)
        return allocated;
    unsigned flags = MDB_NOTLS | (read_only                    ? MDB_RDONLY
                                  : storage->options.meta_sync ? 0
                                                               : MDB_NOMETASYNC);
    if (storage->options.is_file)
        flags |= MDB_NOSUBDIR | MDB_NOLOCK;
    int rc = mdb_env_create(&env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env, DB_COUNT);
    if (rc == 0 && !read_only)
        rc = mdb_env_set_maxreaders(env, slots);
    if (rc == 0 && !read_only)
        rc = mdb_env_set_mapsize(env, map_size);
    if (rc == 0)
        rc = mdb_env_open(env, storage->options.directory, flags, 0600);
    if (rc != 0) {
        mdb_env_close(env); /* also required after a failed open; NULL is allowed */
        return rc;
    }
    storage->env = env;
    storage->map_size = map_size;
    return 0;
}

/* LMDB maps a file that is shorter than its header promises without a word; the first touch of
 * a missing page is then a SIGBUS that kills the VM. Only the headers were read so far. */
static int check_file(struct storage *storage, struct ledger_failure *failure) {
    MDB_envinfo info;
    MDB_stat stat;
    struct stat file;
    int fd;
    int rc = mdb_env_info(storage->env, &info);
    if (rc == 0)
        rc = mdb_env_stat(storage->env, &stat);
    if (rc == 0)
        rc = mdb_env_get_fd(storage->env, &fd);
    if (rc == 0 && (fstat(fd, &file) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0))
        rc = errno;
    if (rc != 0)
        return ledger_fail(failure, rc, "data.mdb in %s", storage->options.directory);
    unsigned long long need = ((unsigned long long)info.me_last_pgno + 1) * stat.ms_psize;
    if ((unsigned long long)file.st_size < need && info.me_last_pgno > 1)
        return ledger_fail(failure, LEDGER_E_TRUNCATED,
                           "%s%s has %llu bytes, its header needs %llu", storage->options.directory,
                           storage->options.is_file ? "" : "/data.mdb",
                           (unsigned long long)file.st_size, need);
    storage->file_size = (uint64_t)file.st_size;
    storage->reader_slots_short = info.me_maxreaders < storage->options.pool_size;
    return 0;
}

/* A file that LMDB made is in the directory only after the directory itself is synced. */
static int sync_directory(const char *directory) {
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int rc = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return rc;
}

/* Not inline: compare_keys() would save registers for a call that it seldom makes. */
static __attribute__((noinline)) int compare_bytes(const MDB_val *a, const MDB_val *b) {
    size_t common = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    int order = memcmp(a->mv_data, b->mv_data, common);
    if (order != 0 || a->mv_size == b->mv_size)
        return order;
    return a->mv_size < b->mv_size ? -1 : 1;
}

/* The order that LMDB has by itself, so that the file is anybody's: as memcmp, then the shorter
 * first. But a search compares some thirty keys, nearly all of which begin with 8 bytes that tell
 * them apart, and these are compared here without a call. */
static int compare_keys(const MDB_val *a, const MDB_val *b) {
    if (a->mv_size >= 8 && b->mv_size >= 8) {
        uint64_t of_a = get_be64(a->mv_data), of_b = get_be64(b->mv_data);
        if (of_a != of_b)
            return of_a < of_b ? -1 : 1;
        if (a->mv_size == 8 && b->mv_size == 8)
            return 0;
    }
    return compare_bytes(a, b);
}

static int open_database(struct storage *storage, MDB_txn *txn, enum storage_database database,
                         unsigned flags) {
    MDB_dbi *dbi = &storage->databases[database];
    int rc = mdb_dbi_open(txn, database_names[database], flags, dbi);
    return rc == 0 ? mdb_set_compare(txn, *dbi, compare_keys) : rc;
}

static int open_databases(struct storage *storage, struct ledger_failure *failure) {
    MDB_txn *txn = NULL;
    MDB_stat stat;
    MDB_dbi main;
    int rc = mdb_txn_begin(storage->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return ledger_fail(failure, rc, "in %s", storage->options.directory);
    rc = mdb_dbi_open(txn, NULL, 0, &main);
    if (rc == 0)
        rc = mdb_stat(txn, main, &stat);
    storage->is_new = rc == 0 && stat.ms_entries == 0;
    for (int i = 0; rc == 0 && i < DB_COUNT && !storage->is_new; i++) {
        rc = open_database(storage, txn, i, 0);
        if (rc == MDB_NOTFOUND || rc == MDB_BAD_DBI || rc == MDB_INCOMPATIBLE)
            rc = ledger_fail(failure, LEDGER_E_FOREIGN, "%s/data.mdb has no database '%s'",
                             storage->options.directory, database_names[i]);
        else if (rc != 0)
            ledger_fail(failure, rc, "database '%s' in %s", database_names[i],
                        storage->options.directory);
    }
    /* Committing keeps the handles; aborting would close them. */
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return rc;
}

static int open_environment(struct storage *storage, struct ledger_failure *failure) {
    int rc = check_library(failure);
    if (rc != 0)
        return rc;
    size_t map_size = storage->options.map_size;
    char data[PATH_MAX];
    struct stat file;
    snprintf(data, sizeof data, "%s/data.mdb", storage->options.directory);
    bool had_data = stat(data, &file) == 0 && file.st_size > 0;
    do {
        rc = create_environment(storage, map_size);
        map_size /= 2;
    } while (rc == ENOMEM && map_size >= MAP_SIZE_LEAST && !storage->options.read_only);
    if (rc != 0) {
        /* Half a header, on a full disk: the next open would take it for something foreign. */
        if (!had_data && !storage->options.read_only)
            unlink(data);
        return ledger_fail(failure, rc, "data.mdb in %s", storage->options.directory);
    }
    int dead;
    rc = check_file(storage, failure);
    if (rc == 0 && (rc = mdb_reader_check(storage->env, &dead)) != 0)
        ledger_fail(failure, rc, "lock.mdb in %s", storage->options.directory);
    if (rc == 0)
        rc = open_databases(storage, failure);
    if (rc == 0 && !storage->options.read_only &&
        (rc = sync_directory(storage->options.directory)) != 0)
        ledger_fail(failure, rc, "%s", storage->options.directory);
    if (rc != 0) {
        mdb_env_close(storage->env);
        storage->env = NULL;
    }
    return rc;
}

int storage_create(struct storage *storage, MDB_txn *txn) {
    int rc = 0;
    for (int i = 0; rc == 0 && i < DB_COUNT; i++)
        rc = open_database(storage, txn, i, MDB_CREATE);
    return rc;
}

/* Begins every transaction once, which takes LMDB's cross-process reader mutex, so that
 * renewing it later takes none. */
static int fill_pool(struct storage *storage) {
    int rc = 0;
    storage->idle_count = 0;
    while (rc == 0 && storage->idle_count < storage->options.pool_size) {
        MDB_txn *txn = NULL;
        rc = mdb_txn_begin(storage->env, NULL, MDB_RDONLY, &txn);
        if (rc == 0) {
            mdb_txn_reset(txn);
            storage->idle[storage->idle_count++] = txn;
        }
    }
    storage->made = storage->idle_count;
    /* Fewer slots than asked for are still a pool. */
    return rc == MDB_READERS_FULL && storage->made > 0 ? 0 : rc;
}

int storage_pool(struct storage *storage) {
    pthread_mutex_lock(&storage->mutex);
    int rc = fill_pool(storage);
    storage->open = rc == 0;
    pthread_cond_broadcast(&storage->returned);
    pthread_mutex_unlock(&storage->mutex);
    return rc;
}

int storage_open(struct storage *storage, const struct storage_options *options,
                 struct ledger_failure *failure) {
    *storage = (struct storage){.options = *options};
    storage->options.directory = strdup(options->directory);
    storage->idle = calloc(options->pool_size, sizeof *storage->idle);
    pthread_mutex_init(&storage->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&storage->returned, &attributes);
    pthread_condattr_destroy(&attributes);
    int rc;
    if (storage->options.directory == NULL || storage->idle == NULL)
        rc = ledger_fail(failure, ENOMEM, "opening the storage");
    else
        rc = open_environment(storage, failure);
    if (rc != 0)
        storage_close(storage);
    return rc;
}

/* Waits for all readers, ends their transactions, and closes the environment. */
static void close_environment(struct storage *storage) {
    pthread_mutex_lock(&storage->mutex);
    storage->open = false;
    while (storage->idle_count < storage->made)
        pthread_cond_wait(&storage->returned, &storage->mutex);
    for (unsigned i = 0; i < storage->made; i++)
        mdb_txn_abort(storage->idle[i]);
    storage->made = storage->idle_count = 0;
    while (storage->left != NULL) {
        struct storage_block *block = storage->left;
        storage->left = block->next;
        free(block);
    }
    if (storage->env != NULL)
        mdb_env_close(storage->env);
    storage->env = NULL;
    pthread_cond_broadcast(&storage->returned);
    pthread_mutex_unlock(&storage->mutex);
}

void storage_close(struct storage *storage) {
    close_environment(storage);
    pthread_cond_destroy(&storage->returned);
    pthread_mutex_destroy(&storage->mutex);
    free((char *)storage->options.directory);
    free(storage->idle);
    *storage = (struct storage){0};
}

static int reopen(struct storage *storage, struct ledger_failure *failure) {
    close_environment(storage);
    int rc = open_environment(storage, failure);
    if (rc != 0)
        return rc;
    if (storage->is_new) /* the file was emptied under us: never begin anew in its place */
        rc = ledger_fail(failure, LEDGER_E_DATA_MISSING, "%s", storage->options.directory);
    if (rc == 0 && (rc = storage_pool(storage)) != 0)
        ledger_fail(failure, rc, "reader slots in %s", storage->options.directory);
    if (rc != 0)
        close_environment(storage);
    return rc;
}

int storage_reopen(struct storage *storage, struct ledger_failure *failure) {
    pthread_mutex_lock(&storage->mutex);
    storage->reopening = true;
    pthread_mutex_unlock(&storage->mutex);
    int rc = reopen(storage, failure);
    pthread_mutex_lock(&storage->mutex);
    storage->reopening = false;
    storage->generation++;
    pthread_cond_broadcast(&storage->returned);
    pthread_mutex_unlock(&storage->mutex);
    return rc;
}

/* With `mutex` held. False: nobody reopened within the time that a slow disk may need. */
static bool wait_for_reopening(struct storage *storage, unsigned generation) {
    struct timespec until;
    int rc = clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += REOPENING_SECONDS;
    while (rc == 0 && storage->open && storage->generation == generation)
        rc = pthread_cond_timedwait(&storage->returned, &storage->mutex, &until);
    return rc == 0;
}

int storage_read_begin(struct storage *storage, MDB_txn **txn) {
    int rc = 0;
    *txn = NULL;
    pthread_mutex_lock(&storage->mutex);
    do {
        while (storage->reopening || (storage->open && storage->idle_count == 0))
            pthread_cond_wait(&storage->returned, &storage->mutex);
        if (!storage->open) {
            rc = LEDGER_E_CLOSED;
            break;
        }
        unsigned generation = storage->generation;
        *txn = storage->idle[--storage->idle_count];
        pthread_mutex_unlock(&storage->mutex);
        rc = mdb_txn_renew(*txn);
        if (rc != 0)
            storage_read_end(storage, *txn);
        pthread_mutex_lock(&storage->mutex);
        /* A commit failed a moment ago, and its thread is about to reopen. */
        if (rc == MDB_PANIC && !wait_for_reopening(storage, generation))
            break;
    } while (rc == MDB_PANIC);
    pthread_mutex_unlock(&storage->mutex);
    return rc;
}

void storage_read_end(struct storage *storage, MDB_txn *txn) {
    mdb_txn_reset(txn);
    pthread_mutex_lock(&storage->mutex);
    storage->idle[storage->idle_count++] = txn;
    pthread_cond_broadcast(&storage->returned);
    pthread_mutex_unlock(&storage->mutex);
}

struct storage_block *storage_take_block(struct storage *storage) {
    pthread_mutex_lock(&storage->mutex);
    struct storage_block *block = storage->left;
    if (block != NULL)
        storage->left = block->next;
    pthread_mutex_unlock(&storage->mutex);
    return block;
}

void storage_leave_block(struct storage *storage, struct storage_block *block) {
    pthread_mutex_lock(&storage->mutex);
    block->next = storage->left;
    storage->left = block;
    pthread_mutex_unlock(&storage->mutex);
}

void storage_extend(struct storage *storage, uint64_t ahead) {
    MDB_envinfo info;
    MDB_stat stat;
    int fd;
    if (mdb_env_info(storage->env, &info) != 0 || mdb_env_stat(storage->env, &stat) != 0 ||
        mdb_env_get_fd(storage->env, &fd) != 0)
        return;
    uint64_t used = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    uint64_t wanted = used + ahead + FILE_STEP;
    struct stat file;
    /* Beyond the map LMDB cannot write. */
    if (wanted > storage->map_size)
        wanted = storage->map_size;
    if (storage->file_size >= used + ahead || storage->file_size >= wanted)
        return;
    /* Never shorten: LMDB may have written further than was asked for. */
    if (fstat(fd, &file) != 0)
        return;
    storage->file_size = (uint64_t)file.st_size;
    if (storage->file_size < wanted && ftruncate(fd, (off_t)wanted) == 0)
        storage->file_size = wanted;
}

int storage_has_kind(MDB_txn *txn, MDB_dbi dbi, uint8_t kind, bool *any) {
    MDB_cursor *cursor;
    MDB_val key = {1, &kind}, value;
    *any = false;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    *any = rc == 0 && *(uint8_t *)key.mv_data == kind;
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int storage_id_at(MDB_txn *txn, MDB_dbi dbi, MDB_cursor_op end, uint64_t *id) {
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    *id = 0;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, end)) == 0) {
        if (key.mv_size == 8)
            *id = get_be64(key.mv_data);
        else
            rc = LEDGER_E_DAMAGED;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int storage_last_id(struct storage *storage, MDB_txn *txn, uint64_t *id) {
    uint64_t hold;
    int rc = storage_id_at(txn, storage->databases[DB_ENTRIES], MDB_LAST, id);
    if (rc == 0)
        rc = storage_id_at(txn, storage->databases[DB_HOLDS], MDB_LAST, &hold);
    if (rc == 0 && hold > *id)
        *id = hold;
    return rc;
}
