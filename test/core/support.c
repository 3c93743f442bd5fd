#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../c_src/core/rebuild.h"
#include "../../c_src/core/verify.h"

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
#define OF_STATE(state) .scope_count = 1, .scope = {{DIMENSION_STATE, {state, sizeof state - 1}}}
static struct ledger_rule hour_and_day[] = {
    {.name = {"executing/hour", 14}, OF_STATE("executing"), .window_ms = HOUR_MS, .limit = 5},
    {.name = {"executing/day", 13}, OF_STATE("executing"), .window_ms = DAY_MS, .limit = 20},
    {.name = {"planning/hour", 13},
     OF_STATE("planning"),
     .window_ms = HOUR_MS,
     .limit = RULE_UNLIMITED},
};
const struct ledger_policy three_states = {.version = 1,
                                           .state_count = LENGTH(state_names),
                                           .rule_count = LENGTH(hour_and_day),
                                           .states = state_names,
                                           .rules = hour_and_day};

struct ledger_policy policy_of(struct ledger_rule *rules, uint32_t count) {
    struct ledger_policy policy = three_states;
    policy.rules = rules;
    policy.rule_count = count;
    return policy;
}

struct ledger_rule rule_of(const char *name, enum rule_measure measure, uint64_t limit) {
    return (struct ledger_rule){
        .name = text(name), .measure = measure, .window = WINDOW_LIFETIME, .limit = limit};
}

struct ledger_rule of(struct ledger_rule rule, uint8_t dimension, const char *value) {
    struct rule_part *part = &rule.scope[rule.scope_count++];
    part->dimension = dimension;
    if (value != NULL)
        part->value = text(value);
    return rule;
}

struct ledger_rule within(struct ledger_rule rule, uint64_t window_ms) {
    rule.window = WINDOW_ROLLING;
    rule.window_ms = window_ms;
    return rule;
}

struct ledger_rule calendar(struct ledger_rule rule, enum rule_window window, int32_t offset) {
    rule.window = window;
    rule.offset_minutes = offset;
    return rule;
}

struct ledger_rule granted(const char *name, enum rule_measure measure) {
    struct ledger_rule rule = rule_of(name, measure, 0);
    rule.granted = true;
    return rule;
}

struct declared_series family_of(const uint8_t *dimensions, size_t count) {
    struct declared_series family = {.count = (uint8_t)count};
    memcpy(family.dimensions, dimensions, count);
    return family;
}

struct ledger_entry invocation(const char *state) {
    struct ledger_entry entry = {.kind = KIND_INVOCATION, .status = STATUS_COMPLETED};
    entry.names[DIMENSION_STATE] = text(state);
    return entry;
}

struct ledger_entry priced(const char *user, int64_t cost) {
    struct ledger_entry entry = invocation("executing");
    if (user != NULL)
        entry.names[DIMENSION_USER] = text(user);
    entry.given = ENTRY_COST;
    entry.cost = cost;
    return entry;
}

struct ledger_entry run_of(const char *user, int64_t cost) {
    struct ledger_entry entry = priced(user, cost);
    entry.kind = KIND_RUN;
    entry.names[DIMENSION_STATE] = (struct ledger_text){0};
    return entry;
}

struct ledger_entry usage_of(int64_t cost) {
    return (struct ledger_entry){
        .kind = KIND_RUN, .status = STATUS_COMPLETED, .given = ENTRY_COST, .cost = cost};
}

struct ledger_entry no_usage(void) {
    return (struct ledger_entry){.kind = KIND_RELEASE};
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
    request->operation = OPERATION_RECORD;
    assert_int_equal(entry->payload.data != NULL
                         ? entry_write_request(buffer, entry, (struct ledger_text){0})
                         : entry_write_draft(buffer, entry),
                     0);
    request->draft = buffer->data;
    request->size = buffer->size;
}

struct ledger_request *add_request(struct drafts *drafts, enum ledger_operation operation,
                                   uint64_t hold, const struct ledger_entry *entry) {
    struct entry_buffer *buffer = &drafts->buffers[drafts->count];
    struct ledger_request *request = next_request(drafts);
    request->operation = operation;
    request->hold = hold;
    if (operation == OPERATION_RESERVE)
        request->extend_ms = HOUR_MS;
    if (entry != NULL) {
        struct ledger_entry copy = *entry;
        bool is_said_in_full =
            copy.client_id.data != NULL || copy.run_id.data != NULL || copy.payload.data != NULL;
        assert_int_equal(is_said_in_full
                             ? entry_write_request(buffer, &copy, (struct ledger_text){0})
                             : entry_write_draft(buffer, &copy),
                         0);
        request->draft = buffer->data;
        request->size = buffer->size;
    }
    return request;
}

void add_bytes(struct drafts *drafts, const void *bytes, size_t size) {
    struct entry_buffer *buffer = &drafts->buffers[drafts->count];
    struct ledger_request *request = next_request(drafts);
    buffer->data = malloc(size + 1);
    assert_non_null(buffer->data);
    request->operation = OPERATION_RECORD;
    memcpy(buffer->data, bytes, size);
    request->draft = buffer->data;
    request->size = size;
}

void free_drafts(struct drafts *drafts) {
    for (size_t i = 0; i < LENGTH(drafts->buffers); i++) {
        entry_buffer_free(&drafts->buffers[i]);
        free(drafts->requests[i].denial);
    }
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

struct ledger *open_ruled(const char *directory, struct ledger_rule *rules, uint32_t count) {
    struct ledger_options options = options_for(directory);
    struct ledger_policy policy = policy_of(rules, count);
    struct declared_series users = FAMILY(DIMENSION_USER);
    options.policy = &policy;
    options.series = &users;
    options.series_count = 1;
    return open_with(&options);
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

struct ledger_effects effects;

int commit(struct ledger *ledger, struct drafts *drafts, int64_t now_us) {
    struct ledger_failure failure = {0};
    ledger_effects_free(&effects);
    struct ledger_batch batch = {
        .requests = drafts->requests, .count = drafts->count, .now_us = now_us};
    int rc = ledger_commit(ledger, &batch, &effects, &failure);
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

/* ---- single requests ---------------------------------------------------------------------- */

struct ledger_request last;

/* The next request, and after it was sent the last one: a denial's texts lie in it. */
static struct drafts single;

struct ledger_request *request_of(enum ledger_operation operation, uint64_t hold,
                                  const struct ledger_entry *entry) {
    free_drafts(&single);
    return add_request(&single, operation, hold, entry);
}

int send_request(struct ledger *ledger) {
    int rc = commit(ledger, &single, ledger_now(ledger));
    last = single.requests[0];
    if (rc != 0)
        fail_msg("a single request: %s", ledger_error_name(rc));
    return last.rc;
}

int request(struct ledger *ledger, enum ledger_operation operation, uint64_t hold,
            const struct ledger_entry *entry) {
    request_of(operation, hold, entry);
    return send_request(ledger);
}

uint64_t reserve_for(struct ledger *ledger, const struct ledger_entry *estimate, uint64_t parent,
                     uint64_t extend_ms) {
    request_of(OPERATION_RESERVE, parent, estimate)->extend_ms = extend_ms;
    return send_request(ledger) == 0 ? last.id : 0;
}

uint64_t reserve(struct ledger *ledger, const struct ledger_entry *estimate, uint64_t parent) {
    return reserve_for(ledger, estimate, parent, HOUR_MS);
}

int settle(struct ledger *ledger, uint64_t hold, int64_t cost) {
    struct ledger_entry usage = usage_of(cost);
    return request(ledger, OPERATION_SETTLE, hold, &usage);
}

int release(struct ledger *ledger, uint64_t hold) {
    struct ledger_entry nothing = no_usage();
    return request(ledger, OPERATION_RELEASE, hold, &nothing);
}

int meter(struct ledger *ledger, uint64_t hold, int64_t cost) {
    struct ledger_entry usage = usage_of(cost);
    return request(ledger, OPERATION_METER, hold, &usage);
}

static int grant(struct ledger *ledger, const char *user, uint32_t given, int64_t amount) {
    struct ledger_entry entry = {
        .kind = KIND_GRANT, .given = given, .cost = amount, .credits = amount};
    if (user != NULL)
        entry.names[DIMENSION_USER] = text(user);
    if (!(given & ENTRY_COST))
        entry.cost = 0;
    if (!(given & ENTRY_CREDITS))
        entry.credits = 0;
    return request(ledger, OPERATION_RECORD, 0, &entry);
}

int grant_credits(struct ledger *ledger, const char *user, int64_t amount) {
    return grant(ledger, user, ENTRY_CREDITS, amount);
}

int grant_cost(struct ledger *ledger, const char *user, int64_t amount) {
    return grant(ledger, user, ENTRY_COST, amount);
}

int reset_rule(struct ledger *ledger, const char *rule, const char *user) {
    char change[256] = "\x81\xa4rule\xd9";
    size_t head = strlen(change), size = strlen(rule);
    struct ledger_entry entry = {.kind = KIND_RESET};
    assert_true(head + 1 + size <= sizeof change);
    change[head] = (char)size;
    memcpy(change + head + 1, rule, size);
    entry.change = (struct ledger_text){change, head + 1 + size};
    if (user != NULL)
        entry.names[DIMENSION_USER] = text(user);
    request_of(OPERATION_RESET, 0, &entry)->text = text(rule);
    return send_request(ledger);
}

void expire(struct ledger *ledger) {
    struct drafts none = {0};
    assert_int_equal(commit(ledger, &none, ledger_now(ledger)), 0);
}

int set_rules(struct ledger *ledger, struct ledger_rule *rules, uint32_t count) {
    struct ledger_policy policy = policy_of(rules, count);
    struct ledger_change change = {.by = text("ada"), .reason = text("why not")};
    struct ledger_failure failure = {0};
    uint64_t version;
    policy.version = ledger->policy.version;
    ledger_effects_free(&effects);
    return ledger_set_policy(ledger, &policy, &change, ledger_now(ledger), &version, &effects,
                             &failure);
}

struct wanted_status {
    struct ledger_text rule;
    struct ledger_rule_status status;
};

static void keep_status(void *context, const struct ledger_rule_status *status) {
    struct wanted_status *wanted = context;
    if (text_equal(status->rule->name, wanted->rule))
        wanted->status = *status;
}

static struct ledger_rule_status find_status(struct ledger *ledger, const char *rule,
                                             const struct ledger_text *names) {
    struct wanted_status wanted = {.rule = text(rule)};
    struct ledger_decision decision;
    assert_int_equal(ledger_statuses(ledger, names, keep_status, &wanted, &decision), 0);
    if (wanted.status.rule == NULL)
        fail_msg("no status of rule %s", rule);
    return wanted.status;
}

struct ledger_rule_status status_of(struct ledger *ledger, const char *rule) {
    return find_status(ledger, rule, NULL);
}

struct ledger_rule_status status_for(struct ledger *ledger, const char *rule, const char *user) {
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    names[DIMENSION_USER] = text(user);
    return find_status(ledger, rule, names);
}

ledger_sum used_of(struct ledger *ledger, const char *rule) {
    return status_of(ledger, rule).used;
}

ledger_sum held_of(struct ledger *ledger, const char *rule) {
    return status_of(ledger, rule).held;
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

struct ledger_list_query list_of(uint32_t kinds) {
    static const struct ledger_text no_names[DIMENSION_LIMIT];
    return (struct ledger_list_query){
        .filter = {.names = no_names, .kinds = kinds, .until = UINT64_MAX},
        .limit = UINT64_MAX,
        .scan = UINT64_MAX};
}

static void keep_id(void *context, const struct ledger_entry *entry,
                    const struct ledger_payload *payload) {
    (void)payload;
    *(uint64_t *)context = entry->id;
}

uint64_t id_of(struct ledger *ledger, size_t nth_newest) {
    struct ledger_list_query query = list_of(1u << KIND_INVOCATION);
    struct ledger_page page;
    uint64_t id = 0;
    query.limit = nth_newest + 1;
    assert_int_equal(ledger_list(ledger, &query, keep_id, &id, &page), 0);
    return id;
}

static void print_finding(void *context, const struct ledger_finding *finding) {
    (void)context;
    print_message("%s: %s: %s\n", finding->database, finding->key, finding->what);
}

void assert_verified(struct ledger *ledger) {
    struct ledger_verify_options options = {.slice = 1 + random_below(50), .found = print_finding};
    struct ledger_verify_result result;
    struct ledger_failure failure;
    assert_int_equal(ledger_verify(ledger, &options, &result, &failure), 0);
    assert_int_equal(result.findings, 0);
}

void assert_rebuilds(struct ledger *ledger) {
    const struct ledger_rebuild_options options = {.left_out = print_finding};
    struct ledger_failure failure;
    struct ledger_reader reader;
    struct ledger *rebuilt;
    uint64_t left_out;
    char path[4096];
    snprintf(path, sizeof path, "%s/rebuilt", ledger->storage.options.directory);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(ledger_rebuild(ledger, path, &options, &left_out, &failure), 0);
    assert_int_equal(left_out, 0);
    assert_int_equal(ledger_open_to_read(path, 1, &rebuilt, &reader, &failure), 0);
    assert_verified(rebuilt);
    close_ledger(rebuilt);
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
