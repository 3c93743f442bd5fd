/* What the tests of the core share: scratch directories, drafts, a scripted ledger, and the
 * check that all that is derived agrees with the entries.
 *
 * Every helper that can fail asserts; a test reads as what it is about.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../c_src/core/internal.h"

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])
#define MINUTE_MS UINT64_C(60000)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
/* A Monday morning, in microseconds. */
#define START_US INT64_C(1700000000000000)

/* Divides a number of rounds when the test runs under a slow tool (TEST_QUICK is set). */
size_t rounds(size_t full);

/* ---- random numbers, the same in every run unless TEST_SEED says otherwise ---------------- */

uint64_t random_word(void);
/* Below `end`, which is not 0. */
uint64_t random_below(uint64_t end);

/* ---- directories -------------------------------------------------------------------------- */

/* cmocka's set-up and tear-down: *state becomes the path of an empty directory, which is
 * removed with all that is in it. */
int make_directory(void **state);
int remove_directory(void **state);
#define in_directory(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

/* "directory/file", in a buffer that the next call but three overwrites. */
const char *path_in(const char *directory, const char *file);
/* The whole file, for free(). */
char *read_file(const char *path, size_t *size);
void write_file(const char *path, const void *data, size_t size);
size_t file_size(const char *path);

/* ---- text, policies, drafts --------------------------------------------------------------- */

struct ledger_text text(const char *word);

/* States planning, executing, reviewing. Rules: executing at most 5 an hour, 20 a day;
 * planning without a limit. */
extern const struct ledger_policy three_states;

struct ledger_entry invocation(const char *state);

/* Drafts in a row, as a caller hands them over. */
struct drafts {
    size_t count;
    struct ledger_request requests[64];
    struct entry_buffer buffers[64];
};
/* Zeroed is empty. The draft's token is its place, from 1 on, plus `first_token`. */
void add_draft(struct drafts *drafts, const struct ledger_entry *entry);
void add_bytes(struct drafts *drafts, const void *bytes, size_t size);
void free_drafts(struct drafts *drafts);

/* ---- a ledger ----------------------------------------------------------------------------- */

/* Manual clock, 16 MiB, three_states, 4 readers. */
struct ledger_options options_for(const char *directory);
struct ledger *open_with(const struct ledger_options *options);
struct ledger *open_ledger(const char *directory);
void close_ledger(struct ledger *ledger);
struct ledger *reopen(struct ledger *ledger, const char *directory);
/* Opens, which must fail with `code`; nothing may stay open. Returns the failure. */
struct ledger_failure open_fails(const struct ledger_options *options, int code);

int commit(struct ledger *ledger, struct drafts *drafts, int64_t now_us);
/* Books one invocation at the ledger's own time; returns its id. */
uint64_t book(struct ledger *ledger, const char *state);
uint64_t book_entry(struct ledger *ledger, const struct ledger_entry *entry);
void book_many(struct ledger *ledger, const char *state, size_t count);
void at_time(struct ledger *ledger, int64_t now_us);

struct ledger_facts facts_of(struct ledger *ledger);
/* Invocations of all time; state NULL: of all states. */
uint64_t count_of(struct ledger *ledger, const char *state);
uint64_t count_in(struct ledger *ledger, const char *state, uint64_t window_ms);
uint64_t id_of(struct ledger *ledger, size_t nth_newest);

/* Reads every entry and adds it up anew, then compares: totals of every series, rollups, the
 * counts, the history, and every word of the gate. */
void assert_books_agree(struct ledger *ledger);

/* ---- LMDB without a ledger ---------------------------------------------------------------- */

struct scratch {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
};
/* One database in a write transaction, with a cursor on it. */
extern struct scratch scratch;
/* cmocka's set-up and tear-down of `scratch` in a directory of its own. */
int make_scratch(void **state);
int remove_scratch(void **state);
void scratch_open(struct scratch *scratch, const char *directory);
void scratch_close(struct scratch *scratch);

#endif
