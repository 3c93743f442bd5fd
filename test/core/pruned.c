#include "pruned.h"

#include <stdio.h>
#include <sys/stat.h>

#include "../../c_src/core/rebuild.h"
#include "../../c_src/core/retention.h"
#include "whole.h"

static const char *const states[] = {"planning", "executing", "reviewing"};
static const char *const users[] = {"ada", "bob", "eve"};
static const char *const orgs[] = {"acme", "umbrella"};

/* ---- a ledger with rules of every kind ------------------------------------------------------ */

size_t family_count = FAMILIES;

struct ledger *open_pruned(const char *directory) {
    static struct declared_series families[FAMILIES + 2];
    struct ledger_rule rules[] = {
        within(rule_of("rolling hour", MEASURE_INVOCATIONS, 5), HOUR_MS),
        within(of(rule_of("three days", MEASURE_COST, 4000), DIMENSION_USER, NULL), 3 * DAY_MS),
        calendar(rule_of("day", MEASURE_TOKENS, 900), WINDOW_DAY, 120),
        calendar(of(rule_of("week", MEASURE_COMPLETED_COST, 9000), DIMENSION_STATE, NULL),
                 WINDOW_WEEK, 0),
        rule_of("for ever", MEASURE_COST, 1000000),
        of(rule_of("ever by user", MEASURE_CREDITS, 5000), DIMENSION_USER, NULL),
        of(granted("prepaid", MEASURE_CREDITS), DIMENSION_USER, NULL),
        of(of(granted("prepaid too", MEASURE_COMPLETED_COST), DIMENSION_ORG, NULL), DIMENSION_USER,
           NULL),
    };
    rules[6].soft = 80;
    rules[6].warn[rules[6].warn_count++] = 50;
    rules[5].warn[rules[5].warn_count++] = 50;
    struct ledger_policy policy = policy_of(rules, LENGTH(rules));
    struct ledger_options options = options_for(directory);
    families[0] = FAMILY(DIMENSION_USER);
    families[1] = FAMILY(DIMENSION_ORG, DIMENSION_USER);
    families[2] = FAMILY(DIMENSION_USER, DIMENSION_STATUS);
    families[3] = FAMILY(DIMENSION_MODEL);
    families[4] = FAMILY(DIMENSION_STATUS);
    families[5] = FAMILY(DIMENSION_STATE, DIMENSION_MODEL);
    options.policy = &policy;
    options.series = families;
    options.series_count = family_count;
    options.map_size = (size_t)64 << 20;
    options.meta_sync = false;
    return open_with(&options);
}

int64_t now_of(struct ledger *ledger) {
    return ledger_now(ledger);
}

static struct ledger_entry some_work(void) {
    static char models[40][8];
    static const char payload[] = "\x81\xa6intent\xa3"
                                  "ask";
    struct ledger_entry entry = {.kind = random_below(5) ? KIND_INVOCATION : KIND_RUN,
                                 .status = 1 + random_below(3)};
    size_t model = random_below(40);
    entry.names[DIMENSION_STATE] = text(states[random_below(3)]);
    if (random_below(4))
        entry.names[DIMENSION_USER] = text(users[random_below(3)]);
    if (random_below(2))
        entry.names[DIMENSION_ORG] = text(orgs[random_below(2)]);
    if (random_below(6) == 0) {
        snprintf(models[model], sizeof models[model], "m-%zu", model);
        entry.names[DIMENSION_MODEL] = text(models[model]);
    }
    entry.given = ENTRY_CREDITS | ENTRY_TOKENS;
    if (random_below(4))
        entry.given |= ENTRY_COST;
    entry.cost = entry.given & ENTRY_COST ? (int64_t)random_below(60) : 0;
    entry.credits = (int64_t)random_below(8);
    entry.tokens[random_below(TOKENS_CLASSES)] = (int64_t)random_below(30);
    entry.duration_ms = (int64_t)random_below(9000);
    if (random_below(5) == 0)
        entry.payload = (struct ledger_text){payload, sizeof payload - 1};
    return entry;
}

/* Ids of the last invocations and runs, for those who want to correct or redact one. */
static uint64_t recent[512];
static size_t recent_count;
static uint64_t next_name;

static const char *new_name(const char *what) {
    static char names[4][32];
    static size_t at;
    char *name = names[at++ % 4];
    snprintf(name, sizeof names[0], "%s %llu", what, (unsigned long long)++next_name);
    return name;
}

static void record_work(struct ledger *ledger) {
    struct ledger_entry entry = some_work();
    if (random_below(6) == 0)
        entry.client_id = text(new_name("client"));
    if (entry.kind == KIND_RUN && random_below(3) == 0)
        entry.run_id = text(new_name("run"));
    if (request(ledger, OPERATION_RECORD, 0, &entry) == 0)
        recent[recent_count++ % LENGTH(recent)] = last.id;
}

static uint64_t some_recent(void) {
    size_t count = recent_count < LENGTH(recent) ? recent_count : LENGTH(recent);
    return count == 0 ? 0 : recent[random_below(count)];
}

static void correct_something(struct ledger *ledger) {
    struct ledger_entry entry = {.kind = KIND_CORRECTION,
                                 .given = ENTRY_COST,
                                 .cost = (int64_t)random_below(30) - 10,
                                 .link = some_recent()};
    (void)request(ledger, OPERATION_RECORD, 0, &entry); /* may be more than there is */
}

static void redact_something(struct ledger *ledger) {
    struct ledger_entry entry = {.kind = KIND_REDACTION, .link = some_recent()};
    (void)request(ledger, OPERATION_RECORD, 0, &entry);
}

static void hold_something(struct ledger *ledger) {
    struct ledger_entry run = some_work(), call = some_work();
    run.kind = KIND_RUN;
    call.kind = KIND_INVOCATION;
    run.payload = call.payload = (struct ledger_text){0};
    if (random_below(2))
        run.run_id = text(new_name("held run"));
    uint64_t parent = reserve_for(ledger, &run, 0, DAY_MS / 4);
    uint64_t child = reserve_for(ledger, &call, parent, HOUR_MS);
    if (random_below(3) == 0)
        at_time(ledger, now_of(ledger) + 2 * (int64_t)HOUR_MS * 1000);
    expire(ledger);
    if (child != 0)
        (void)settle(ledger, child, (int64_t)random_below(50));
    if (parent != 0 && random_below(4) == 0)
        (void)release(ledger, parent);
    else if (parent != 0)
        (void)settle(ledger, parent, (int64_t)random_below(90));
}

void old_work(struct ledger *ledger, size_t steps, int64_t until_us) {
    for (size_t i = 0; i < steps; i++) {
        int64_t left = until_us > now_of(ledger) ? until_us - now_of(ledger) : 0;
        at_time(ledger,
                now_of(ledger) + (int64_t)random_below((uint64_t)(2 * left) / (steps - i + 1) + 1));
        switch (random_below(16)) {
        case 0:
            correct_something(ledger);
            break;
        case 1:
            redact_something(ledger);
            break;
        case 2:
            hold_something(ledger);
            break;
        case 3:
            (void)grant_credits(ledger, users[random_below(3)], 1 + (int64_t)random_below(200));
            break;
        case 4:
            if (random_below(8) == 0)
                (void)reset_rule(ledger, random_below(2) ? "ever by user" : "for ever", NULL);
            else if (random_below(4) == 0)
                (void)reset_rule(ledger, "ever by user", users[random_below(3)]);
            break;
        default:
            record_work(ledger);
        }
    }
    at_time(ledger, until_us > now_of(ledger) ? until_us : now_of(ledger));
    expire(ledger);
    /* Ids may be ahead of the clock, which starts with them when it is opened again. */
    uint64_t last_id = facts_of(ledger).last_id;
    if (last_id > (uint64_t)now_of(ledger))
        at_time(ledger, (int64_t)last_id);
}

/* The ids are of another ledger. */
void forget_recent(void) {
    recent_count = 0;
}

/* ---- pruning -------------------------------------------------------------------------------- */

uint64_t horizon_for(struct ledger *ledger, uint64_t wanted) {
    struct ledger_failure failure = {0};
    uint64_t horizon;
    int rc = ledger_horizon(ledger, wanted, &horizon, &failure);
    if (rc != 0)
        fail_msg("%s: %s", ledger_error_name(rc), failure.detail);
    return horizon;
}

int horizon_fails(struct ledger *ledger, uint64_t wanted, const char *said) {
    struct ledger_failure failure = {0};
    uint64_t horizon;
    int rc = ledger_horizon(ledger, wanted, &horizon, &failure);
    if (rc != 0)
        assert_non_null(strstr(failure.detail, said));
    return rc;
}

bool prune_slice(struct ledger *ledger, struct ledger_pruning *pruning, size_t limit) {
    struct ledger_failure failure = {0};
    int rc = ledger_prune(ledger, limit, pruning, &failure);
    if (rc != 0)
        fail_msg("%s: %s", ledger_error_name(rc), failure.detail);
    return pruning->done;
}

uint64_t prune_to(struct ledger *ledger, uint64_t horizon) {
    struct ledger_pruning pruning = {.horizon_us = horizon};
    while (!prune_slice(ledger, &pruning, 1 + random_below(60)))
        ;
    return pruning.removed;
}

void assert_same(const char *before, const char *after) {
    size_t at = 0, line = 0;
    while (before[at] != '\0' && before[at] == after[at])
        if (before[at++] == '\n')
            line = at;
    if (before[at] != after[at])
        fail_msg("before: %.300s\nafter: %.300s", before + line, after + line);
}

uint64_t blocks_of(struct ledger *ledger) {
    MDB_txn *txn;
    MDB_stat stat;
    assert_int_equal(storage_read_begin(&ledger->storage, &txn), 0);
    assert_int_equal(mdb_stat(txn, ledger->storage.databases[DB_SERIES], &stat), 0);
    storage_read_end(&ledger->storage, txn);
    return stat.ms_entries;
}

static void count_removable(void *context, const struct ledger_entry *entry,
                            const struct ledger_payload *payload) {
    (void)payload;
    *(uint64_t *)context += !retention_keeps(entry->kind);
}

uint64_t removable(struct ledger *ledger, uint64_t since, uint64_t until) {
    struct ledger_text any[DIMENSION_LIMIT] = {0};
    struct ledger_list_query query = {
        .filter = {.names = any, .kinds = ALL_KINDS, .since = since, .until = until},
        .oldest_first = true,
        .limit = UINT64_MAX,
        .scan = UINT64_MAX};
    struct ledger_page page = {.done = false};
    uint64_t count = 0;
    while (!page.done) {
        assert_int_equal(ledger_list(ledger, &query, count_removable, &count, &page), 0);
        query.cursor = page.next;
    }
    return count;
}

/* A ledger made anew from it gives the same answers. */
void assert_rebuild_answers(struct ledger *ledger, uint64_t horizon) {
    char *answers = all_answers(ledger, horizon);
    assert_rebuild_says(ledger, horizon, answers);
    free(answers);
}

void assert_rebuild_says(struct ledger *ledger, uint64_t horizon, const char *answers) {
    static unsigned nth;
    const struct ledger_rebuild_options options = {.left_out = keep_finding};
    struct ledger_failure failure;
    uint64_t left_out;
    char path[4096];
    snprintf(path, sizeof path, "%.3000s/rebuilt-%u", ledger->storage.options.directory, nth++);
    assert_int_equal(mkdir(path, 0700), 0);
    found_count = 0;
    assert_int_equal(ledger_rebuild(ledger, path, &options, &left_out, &failure), 0);
    print_findings();
    assert_int_equal(left_out, 0);
    struct ledger *rebuilt = open_pruned(path);
    at_time(rebuilt, now_of(ledger));
    char *after = all_answers(rebuilt, horizon);
    assert_same(answers, after);
    assert_clean(rebuilt);
    close_ledger(rebuilt);
    free(after);
}

void skip_entry(void *context, const struct ledger_entry *entry,
                const struct ledger_payload *payload) {
    (void)context;
    (void)entry;
    (void)payload;
}

int list_in(struct ledger *ledger, uint32_t kinds, uint64_t since, uint64_t until,
            struct ledger_page *page) {
    struct ledger_list_query query = list_of(kinds);
    query.filter.since = since;
    query.filter.until = until;
    return ledger_list(ledger, &query, skip_entry, NULL, page);
}
