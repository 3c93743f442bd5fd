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
/* The same states, with other rules. */
struct ledger_policy policy_of(struct ledger_rule *rules, uint32_t count);

/* A rule over everything and over the lifetime, until these say otherwise. */
struct ledger_rule rule_of(const char *name, enum rule_measure measure, uint64_t limit);
/* One part more of its scope, in ascending order of dimensions; `value` NULL: each. */
struct ledger_rule of(struct ledger_rule rule, uint8_t dimension, const char *value);
struct ledger_rule within(struct ledger_rule rule, uint64_t window_ms);
struct ledger_rule calendar(struct ledger_rule rule, enum rule_window window, int32_t offset);
/* Of what was granted, not of a number. */
struct ledger_rule granted(const char *name, enum rule_measure measure);

struct declared_series family_of(const uint8_t *dimensions, size_t count);
#define FAMILY(...)                                                                                \
    family_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

struct ledger_entry invocation(const char *state);
/* An estimate: an invocation of `executing` by that user (NULL: nobody) for that cost. */
struct ledger_entry priced(const char *user, int64_t cost);
/* A run that holds that much. */
struct ledger_entry run_of(const char *user, int64_t cost);
/* What a hold turned out to cost, as settling and metering take it. */
struct ledger_entry usage_of(int64_t cost);
/* Of kind release: what releasing and transferring take. */
struct ledger_entry no_usage(void);

/* Drafts in a row, as a caller hands them over. */
struct drafts {
    size_t count;
    struct ledger_request requests[64];
    struct entry_buffer buffers[64];
};
/* Zeroed is empty. The draft's token is its place, from 1 on, plus `first_token`. */
void add_draft(struct drafts *drafts, const struct ledger_entry *entry);
void add_bytes(struct drafts *drafts, const void *bytes, size_t size);
/* One that does something else than book. With a client_id or a run_id it is made idempotent; a
 * payload is bound to it. */
struct ledger_request *add_request(struct drafts *drafts, enum ledger_operation operation,
                                   uint64_t hold, const struct ledger_entry *entry);
void free_drafts(struct drafts *drafts);

/* ---- a ledger ----------------------------------------------------------------------------- */

/* Manual clock, 16 MiB, three_states, 4 readers. */
struct ledger_options options_for(const char *directory);
struct ledger *open_with(const struct ledger_options *options);
struct ledger *open_ledger(const char *directory);
/* With other rules, and with the series of users. */
struct ledger *open_ruled(const char *directory, struct ledger_rule *rules, uint32_t count);
void close_ledger(struct ledger *ledger);
struct ledger *reopen(struct ledger *ledger, const char *directory);
/* Opens, which must fail with `code`; nothing may stay open. Returns the failure. */
struct ledger_failure open_fails(const struct ledger_options *options, int code);

/* What the last commit() brought about; the next one frees it. */
extern struct ledger_effects effects;
int commit(struct ledger *ledger, struct drafts *drafts, int64_t now_us);
/* Books one invocation at the ledger's own time; returns its id. */
uint64_t book(struct ledger *ledger, const char *state);
uint64_t book_entry(struct ledger *ledger, const struct ledger_entry *entry);
void book_many(struct ledger *ledger, const char *state, size_t count);
void at_time(struct ledger *ledger, int64_t now_us);

/* ---- single requests at the ledger's own time; `last` is what became of the last one ------ */

extern struct ledger_request last;
/* Without `entry` a draft is not sent. Returns its rc; a failure of the batch is one of the test.
 */
int request(struct ledger *ledger, enum ledger_operation operation, uint64_t hold,
            const struct ledger_entry *entry);
/* The same in two steps, so that more can be said. */
struct ledger_request *request_of(enum ledger_operation operation, uint64_t hold,
                                  const struct ledger_entry *entry);
int send_request(struct ledger *ledger);
/* The hold that was made; 0: last.rc says why not. It lasts for an hour. */
uint64_t reserve(struct ledger *ledger, const struct ledger_entry *estimate, uint64_t parent);
uint64_t reserve_for(struct ledger *ledger, const struct ledger_entry *estimate, uint64_t parent,
                     uint64_t extend_ms);
int settle(struct ledger *ledger, uint64_t hold, int64_t cost);
int release(struct ledger *ledger, uint64_t hold);
int meter(struct ledger *ledger, uint64_t hold, int64_t cost);
/* Credits, or cost; to that user's account (NULL: everyone's). */
int grant_credits(struct ledger *ledger, const char *user, int64_t amount);
int grant_cost(struct ledger *ledger, const char *user, int64_t amount);
/* Of the whole rule, or of that user's value of it. */
int reset_rule(struct ledger *ledger, const char *rule, const char *user);
/* Ends what is due. */
void expire(struct ledger *ledger);
/* Sets these rules; returns what ledger_set_policy() says. */
int set_rules(struct ledger *ledger, struct ledger_rule *rules, uint32_t count);

/* What a rule that names all its values has to tell. */
struct ledger_rule_status status_of(struct ledger *ledger, const char *rule);
/* What the rule has to tell of that user. */
struct ledger_rule_status status_for(struct ledger *ledger, const char *rule, const char *user);
ledger_sum used_of(struct ledger *ledger, const char *rule);
ledger_sum held_of(struct ledger *ledger, const char *rule);
/* Sums are wider than what cmocka compares. */
#define assert_sum_equal(a, b) assert_int_equal((int64_t)(a), (int64_t)(b))

struct ledger_facts facts_of(struct ledger *ledger);
/* Invocations of all time; state NULL: of all states. */
uint64_t count_of(struct ledger *ledger, const char *state);
uint64_t count_in(struct ledger *ledger, const char *state, uint64_t window_ms);
uint64_t id_of(struct ledger *ledger, size_t nth_newest);
#define ALL_KINDS UINT32_C(0x3fe)
#define KINDS_OF_WORK (1u << KIND_INVOCATION | 1u << KIND_RUN)
/* All entries of these kinds (1 << kind), newest first, in one page. */
struct ledger_list_query list_of(uint32_t kinds);

/* Reads every entry and every hold and adds them up anew, then compares whatever is derived from
 * them: books.c says what that is. */
void assert_books_agree(struct ledger *ledger);

/* ledger_verify() finds nothing. Part of assert_books_agree(). */
void assert_verified(struct ledger *ledger);

/* ledger_rebuild() leaves nothing out, and makes a ledger in which ledger_verify() finds nothing.
 */
void assert_rebuilds(struct ledger *ledger);

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
