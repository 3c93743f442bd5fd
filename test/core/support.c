#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

size_t rounds(size_t full) {
    size_t few = full / 20;
    if (getenv("TEST_QUICK") == NULL)
        return full;
    return few > 0 ? few : 1;
}

/* xorshift64* */
uint64_t random_word(void) {
    static uint64_t word;
    if (word == 0) {
        const char *seed = getenv("TEST_SEED");
        word = seed != NULL ? strtoull(seed, NULL, 10) | 1 : UINT64_C(0x243f6a8885a308d3);
    }
    word ^= word >> 12;
    word ^= word << 25;
    word ^= word >> 27;
    return word * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t random_below(uint64_t end) {
    return (random_word() >> 1) % end;
}

/* ---- directories -------------------------------------------------------------------------- */

int make_directory(void **state) {
    const char *parent = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/cost_ledger.XXXXXX", parent != NULL ? parent : "/tmp");
    if (mkdtemp(path) == NULL)
        return -1;
    *state = strdup(path);
    return *state == NULL ? -1 : 0;
}

static void remove_tree(const char *path) {
    DIR *directory = opendir(path);
    struct dirent *item;
    while (directory != NULL && (item = readdir(directory)) != NULL) {
        char below[4096];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%s/%s", path, item->d_name);
        if (unlink(below) != 0)
            remove_tree(below);
    }
    if (directory != NULL)
        closedir(directory);
    rmdir(path);
}

int remove_directory(void **state) {
    remove_tree(*state);
    free(*state);
    return 0;
}

const char *path_in(const char *directory, const char *file) {
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, file);
    return path;
}

size_t file_size(const char *path) {
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    return (size_t)file.st_size;
}

char *read_file(const char *path, size_t *size) {
    *size = file_size(path);
    char *data = malloc(*size + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_non_null(data);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, data, *size), *size);
    close(fd);
    return data;
}

void write_file(const char *path, const void *data, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

/* ---- text, policies, drafts --------------------------------------------------------------- */

struct ledger_text text(const char *word) {
    return (struct ledger_text){word, strlen(word)};
}

static struct ledger_text state_names[] = {{"planning", 8}, {"executing", 9}, {"reviewing", 9}};
static struct ledger_rule hour_and_day[] = {
    {{"executing/hour", 14}, 1, HOUR_MS, 5},
    {{"executing/day", 13}, 1, DAY_MS, 20},
    {{"planning/hour", 13}, 0, HOUR_MS, POLICY_UNLIMITED},
};
const struct ledger_policy three_states = {.version = 1,
                                           .state_count = LENGTH(state_names),
                                           .rule_count = LENGTH(hour_and_day),
                                           .states = state_names,
                                           .rules = hour_and_day};

struct ledger_entry invocation(const char *state) {
    struct ledger_entry entry = {.kind = KIND_INVOCATION, .status = STATUS_COMPLETED};
    entry.names[DIMENSION_STATE] = text(state);
    return entry;
}

static struct ledger_request *next_request(struct drafts *drafts) {
    assert_true(drafts->count < LENGTH(drafts->requests));
    struct ledger_request *request = &drafts->requests[drafts->count++];
    request->token = drafts->count;
    return request;
}

void add_draft(struct drafts *drafts, const struct ledger_entry *entry) {
    struct entry_buffer *buffer = &drafts->buffers[drafts->count];
    struct ledger_request *request = next_request(drafts);
    assert_int_equal(entry_write_draft(buffer, entry), 0);
    request->draft = buffer->data;
    request->size = buffer->size;
}

void add_bytes(struct drafts *drafts, const void *bytes, size_t size) {
    struct entry_buffer *buffer = &drafts->buffers[drafts->count];
    struct ledger_request *request = next_request(drafts);
    buffer->data = malloc(size + 1);
    assert_non_null(buffer->data);
    memcpy(buffer->data, bytes, size);
    request->draft = buffer->data;
    request->size = size;
}

void free_drafts(struct drafts *drafts) {
    for (size_t i = 0; i < LENGTH(drafts->buffers); i++)
        entry_buffer_free(&drafts->buffers[i]);
    memset(drafts, 0, sizeof *drafts);
}

/* ---- a ledger ----------------------------------------------------------------------------- */

struct ledger_options options_for(const char *directory) {
    return (struct ledger_options){.directory = directory,
                                   .holder = "a test",
                                   .currency = "USD",
                                   .map_size = (size_t)16 << 20,
                                   .max_entry_size = (size_t)1 << 20,
                                   .readers = 4,
                                   .meta_sync = true,
                                   .clock = CLOCK_MODE_MANUAL,
                                   .policy = &three_states};
}

struct ledger *open_with(const struct ledger_options *options) {
    struct ledger *ledger = NULL;
    struct ledger_opened opened;
    struct ledger_failure failure = {0};
    int rc = ledger_open(options, &ledger, &opened, &failure);
    if (rc != 0)
        fail_msg("opening: %s, %s", ledger_error_name(rc), failure.detail);
    assert_non_null(ledger);
    return ledger;
}

struct ledger *open_ledger(const char *directory) {
    struct ledger_options options = options_for(directory);
    return open_with(&options);
}

void close_ledger(struct ledger *ledger) {
    ledger_close(ledger);
    ledger_free(ledger);
}

struct ledger *reopen(struct ledger *ledger, const char *directory) {
    close_ledger(ledger);
    return open_ledger(directory);
}

struct ledger_failure open_fails(const struct ledger_options *options, int code) {
    struct ledger *ledger = (struct ledger *)options;
    struct ledger_opened opened;
    struct ledger_failure failure = {0};
    int rc = ledger_open(options, &ledger, &opened, &failure);
    if (rc != code)
        fail_msg("opening: %s (%d, %s), not %s", ledger_error_name(rc), rc, failure.detail,
                 ledger_error_name(code));
    assert_null(ledger);
    assert_int_equal(failure.code, code);
    assert_true(strlen(failure.detail) > 0);
    return failure;
}

int commit(struct ledger *ledger, struct drafts *drafts, int64_t now_us) {
    struct ledger_failure failure = {0};
    struct ledger_batch batch = {
        .requests = drafts->requests, .count = drafts->count, .now_us = now_us};
    int rc = ledger_commit(ledger, &batch, &failure);
    assert_int_equal(rc == 0 ? 0 : failure.code, rc);
    return rc;
}

uint64_t book_entry(struct ledger *ledger, const struct ledger_entry *entry) {
    struct drafts drafts = {0};
    add_draft(&drafts, entry);
    int rc = commit(ledger, &drafts, ledger_now(ledger));
    uint64_t id = drafts.requests[0].id;
    if (rc != 0 || drafts.requests[0].rc != 0)
        fail_msg("booking: %s, %s", ledger_error_name(rc),
                 ledger_error_name(drafts.requests[0].rc));
    free_drafts(&drafts);
    return id;
}

uint64_t book(struct ledger *ledger, const char *state) {
    struct ledger_entry entry = invocation(state);
    return book_entry(ledger, &entry);
}

void book_many(struct ledger *ledger, const char *state, size_t count) {
    struct ledger_entry entry = invocation(state);
    while (count > 0) {
        struct drafts drafts = {0};
        while (count > 0 && drafts.count < LENGTH(drafts.requests)) {
            add_draft(&drafts, &entry);
            count--;
        }
        assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
        for (size_t i = 0; i < drafts.count; i++)
            assert_int_equal(drafts.requests[i].rc, 0);
        free_drafts(&drafts);
    }
}

void at_time(struct ledger *ledger, int64_t now_us) {
    assert_int_equal(ledger_set_clock(ledger, now_us), 0);
}

struct ledger_facts facts_of(struct ledger *ledger) {
    struct ledger_facts facts;
    assert_int_equal(ledger_facts(ledger, &facts), 0);
    return facts;
}

static void keep_counts(void *context, const struct ledger_counts *counts) {
    *(struct ledger_counts *)context = *counts;
}

static void keep_first_counts(void *context, const struct ledger_counts *counts) {
    if (counts->state.data == NULL)
        *(struct ledger_counts *)context = *counts;
}

static struct ledger_counts counts_of(struct ledger *ledger, const char *state,
                                      uint64_t window_ms) {
    struct ledger_text name = {0};
    struct ledger_counts counts = {0};
    uint64_t windows[2] = {window_ms, DAY_MS};
    int64_t now_us;
    if (state != NULL)
        name = text(state);
    assert_int_equal(ledger_count(ledger, state != NULL ? &name : NULL, windows,
                                  state != NULL ? keep_counts : keep_first_counts, &counts,
                                  &now_us),
                     0);
    return counts;
}

uint64_t count_of(struct ledger *ledger, const char *state) {
    return counts_of(ledger, state, HOUR_MS).all;
}

uint64_t count_in(struct ledger *ledger, const char *state, uint64_t window_ms) {
    return counts_of(ledger, state, window_ms).in_window[0];
}

static bool keep_id(void *context, const struct ledger_entry *entry) {
    *(uint64_t *)context = entry->id;
    return true;
}

uint64_t id_of(struct ledger *ledger, size_t nth_newest) {
    struct ledger_history_query query = {.before = UINT64_MAX, .limit = nth_newest + 1};
    uint64_t id = 0;
    assert_int_equal(ledger_history(ledger, &query, keep_id, &id), 0);
    return id;
}

/* ---- LMDB without a ledger ---------------------------------------------------------------- */

void scratch_open(struct scratch *scratch, const char *directory) {
    assert_int_equal(mdb_env_create(&scratch->env), 0);
    assert_int_equal(mdb_env_set_maxdbs(scratch->env, 2), 0);
    assert_int_equal(mdb_env_set_mapsize(scratch->env, (size_t)32 << 20), 0);
    assert_int_equal(mdb_env_open(scratch->env, directory, MDB_NOSYNC, 0600), 0);
    assert_int_equal(mdb_txn_begin(scratch->env, NULL, 0, &scratch->txn), 0);
    assert_int_equal(mdb_dbi_open(scratch->txn, "scratch", MDB_CREATE, &scratch->dbi), 0);
    assert_int_equal(mdb_cursor_open(scratch->txn, scratch->dbi, &scratch->cursor), 0);
}

void scratch_close(struct scratch *scratch) {
    mdb_cursor_close(scratch->cursor);
    mdb_txn_abort(scratch->txn);
    mdb_env_close(scratch->env);
}

struct scratch scratch;

int make_scratch(void **state) {
    if (make_directory(state) != 0)
        return -1;
    scratch_open(&scratch, *state);
    return 0;
}

int remove_scratch(void **state) {
    scratch_close(&scratch);
    return remove_directory(state);
}
