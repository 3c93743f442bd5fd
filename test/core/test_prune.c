/* Removing what was archived: no answer changes that is still given, what is not given any more is
 * refused, and what is left verifies, is rebuilt, and goes on. */
#include "support.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../c_src/core/meta.h"
#include "../../c_src/core/rebuild.h"
#include "../../c_src/core/retention.h"
#include "whole.h"

#define DAY_US INT64_C(86400000000)
#define DAYS(n) ((n)*DAY_US)

static const char *const states[] = {"planning", "executing", "reviewing"};
static const char *const users[] = {"ada", "bob", "eve"};
static const char *const orgs[] = {"acme", "umbrella"};

/* ---- a ledger with rules of every kind ------------------------------------------------------ */

/* The last two are declared when entries are gone already, in the test that does so. */
#define FAMILIES 4
static size_t family_count = FAMILIES;

static struct ledger *open_pruned(const char *directory) {
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

static int64_t now_of(struct ledger *ledger) {
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

static void work(struct ledger *ledger, size_t steps, int64_t until_us) {
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

/* ---- every answer, as a text ---------------------------------------------------------------- */

static void tell_status(void *context, const struct ledger_rule_status *status) {
    fprintf(context,
            "  %.*s %d %d used %lld held %lld limit %lld left %lld %llu%% %llu %llu %llu\n",
            (int)status->rule->name.size, status->rule->name.data, status->reason, status->level,
            (long long)status->used, (long long)status->held, (long long)status->limit,
            (long long)status->remaining, (unsigned long long)status->percent,
            (unsigned long long)status->resets_at_us, (unsigned long long)status->held_until_us,
            (unsigned long long)status->forecast_us);
}

static void tell_decision(FILE *out, int rc, const struct ledger_decision *decision) {
    fprintf(out, "%d: %zu %d %d %llu %llu\n", rc, decision->denials, decision->is_low_tier,
            decision->level, (unsigned long long)decision->resets_at_us,
            (unsigned long long)decision->held_until_us);
}

static void tell_sums(FILE *out, const struct ledger_sums *sums) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        fprintf(out, " %lld", (long long)sums->totals.column[column]);
    for (size_t i = 0; i < LENGTH(sums->extremes); i++)
        fprintf(out, " %d %lld..%lld", sums->extremes[i].any, (long long)sums->extremes[i].min,
                (long long)sums->extremes[i].max);
    fputc('\n', out);
}

static void tell_value(void *context, struct ledger_text value, const struct ledger_sums *sums) {
    fprintf(context, "%.*s", (int)value.size, value.data);
    tell_sums(context, sums);
}

static void tell_grant(void *context, const struct ledger_entry *entry, ledger_sum remaining) {
    fprintf(context, "  %llu %lld\n", (unsigned long long)entry->id, (long long)remaining);
}

static void tell_counts(void *context, const struct ledger_counts *counts) {
    fprintf(context, "%.*s %llu %llu %llu\n", (int)counts->state.size,
            counts->state.data == NULL ? "" : counts->state.data,
            (unsigned long long)counts->in_window[0], (unsigned long long)counts->in_window[1],
            (unsigned long long)counts->all);
}

static void tell_entry(void *context, const struct ledger_entry *entry,
                       const struct ledger_payload *payload) {
    fprintf(context, " %llu/%d/%zu", (unsigned long long)entry->id, entry->kind, payload->map.size);
}

static void tell_rules(FILE *out, struct ledger *ledger, const struct ledger_text *names) {
    struct ledger_decision decision;
    struct ledger_entry attempt = {.kind = KIND_INVOCATION,
                                   .given = ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS,
                                   .cost = 40,
                                   .credits = 6,
                                   .tokens = {9}};
    memcpy(attempt.names, names, sizeof attempt.names);
    int rc = ledger_statuses(ledger, names, tell_status, out, &decision);
    tell_decision(out, rc, &decision);
    rc = ledger_check(ledger, &attempt, false, tell_status, out, &decision);
    tell_decision(out, rc, &decision);
    rc = ledger_check(ledger, &attempt, true, tell_status, out, &decision);
    tell_decision(out, rc, &decision);
}

static void tell_family(FILE *out, struct ledger *ledger, const struct ledger_text *names,
                        uint64_t horizon) {
    struct ledger_sums sums;
    const uint64_t from[] = {0, horizon, horizon + DAY_US / 3, horizon + DAYS(1), horizon + 7};
    const uint64_t to[] = {UINT64_MAX, horizon + DAY_US / 2, horizon + DAYS(2), horizon + 1,
                           horizon};
    for (size_t i = 0; i < LENGTH(from); i++)
        for (size_t k = 0; k < LENGTH(to); k++) {
            struct ledger_filter filter = {.names = names, .since = from[i], .until = to[k]};
            fprintf(out, "%d", ledger_sum_up(ledger, &filter, &sums));
            tell_sums(out, &sums);
        }
}

static void tell_names(FILE *out, struct ledger *ledger, const struct ledger_text *names,
                       uint64_t horizon) {
    struct ledger_balance balance;
    tell_rules(out, ledger, names);
    for (int credits = 0; credits < 2; credits++) {
        struct ledger_text account[DIMENSION_LIMIT] = {0};
        account[DIMENSION_USER] = names[DIMENSION_USER];
        int rc = ledger_read_balance(ledger, account, credits, 100, tell_grant, out, &balance);
        fprintf(out, "balance %d %lld %lld %lld %llu\n", rc, (long long)balance.granted,
                (long long)balance.used, (long long)balance.held,
                (unsigned long long)balance.percent);
    }
    struct ledger_text family[DIMENSION_LIMIT] = {0};
    tell_family(out, ledger, family, horizon);
    family[DIMENSION_USER] = names[DIMENSION_USER];
    tell_family(out, ledger, family, horizon);
    family[DIMENSION_STATUS] = text("failed");
    tell_family(out, ledger, family, horizon);
    family[DIMENSION_STATUS] = (struct ledger_text){0};
    family[DIMENSION_ORG] = names[DIMENSION_ORG];
    tell_family(out, ledger, family, horizon);
}

static void tell_list(FILE *out, struct ledger *ledger, uint32_t kinds, uint64_t since,
                      const struct ledger_text *names, bool oldest_first) {
    struct ledger_list_query query = {
        .filter = {.names = names, .kinds = kinds, .since = since, .until = UINT64_MAX},
        .oldest_first = oldest_first,
        .payloads = true,
        .limit = 7,
        .scan = 9};
    struct ledger_page page = {.done = false};
    while (!page.done) {
        int rc = ledger_list(ledger, &query, tell_entry, out, &page);
        assert_int_equal(rc, 0);
        query.cursor = page.next;
    }
    fputc('\n', out);
}

/* Whatever is answered of the time from the horizon on, and of all of it. */
static char *answers(struct ledger *ledger, uint64_t horizon) {
    const uint64_t windows[2] = {HOUR_MS, DAY_MS};
    struct ledger_text names[DIMENSION_LIMIT] = {0}, any[DIMENSION_LIMIT] = {0};
    struct ledger_decision decision;
    struct ledger_filter filter = {.names = any, .until = UINT64_MAX};
    char *told;
    size_t size;
    bool done = false;
    uint32_t after = 0;
    int64_t at;
    FILE *out = open_memstream(&told, &size);
    assert_non_null(out);
    assert_int_equal(ledger_count(ledger, NULL, windows, tell_counts, out, &at), 0);
    int rc = ledger_statuses(ledger, NULL, tell_status, out, &decision);
    tell_decision(out, rc, &decision);
    for (size_t i = 0; i < 3; i++) {
        uint64_t from = ledger_allowed_from(ledger, (uint32_t)i);
        fprintf(out, "gate %llu\n",
                from <= (uint64_t)ledger_now(ledger) ? 0ULL : (unsigned long long)from);
        for (size_t k = 0; k < 6; k++) {
            names[DIMENSION_STATE] = text(states[i]);
            names[DIMENSION_USER] = text(users[k % 3]);
            names[DIMENSION_ORG] = text(orgs[k / 3]);
            tell_names(out, ledger, names, horizon);
        }
    }
    while (!done)
        assert_int_equal(
            ledger_sum_up_by(ledger, &filter, DIMENSION_USER, &after, 2, tell_value, out, &done),
            0);
    any[DIMENSION_STATUS] = (struct ledger_text){0};
    tell_list(out, ledger, ALL_KINDS, horizon, any, true);
    tell_list(out, ledger, ALL_KINDS, horizon, any, false);
    tell_list(out, ledger, RETENTION_KINDS, 0, any, true);
    tell_list(out, ledger, 1u << KIND_GRANT, 0, any, false);
    tell_list(out, ledger, 1u << KIND_GRANT, 0, any, true);
    any[DIMENSION_USER] = text("ada");
    tell_list(out, ledger, 1u << KIND_GRANT, 0, any, true);
    tell_list(out, ledger, KINDS_OF_WORK, horizon, any, true);
    fclose(out);
    return told;
}

/* ---- pruning -------------------------------------------------------------------------------- */

static uint64_t horizon_for(struct ledger *ledger, uint64_t wanted) {
    struct ledger_failure failure = {0};
    uint64_t horizon;
    int rc = ledger_horizon(ledger, wanted, &horizon, &failure);
    if (rc != 0)
        fail_msg("%s: %s", ledger_error_name(rc), failure.detail);
    return horizon;
}

static int horizon_fails(struct ledger *ledger, uint64_t wanted, const char *said) {
    struct ledger_failure failure = {0};
    uint64_t horizon;
    int rc = ledger_horizon(ledger, wanted, &horizon, &failure);
    if (rc != 0)
        assert_non_null(strstr(failure.detail, said));
    return rc;
}

static bool prune_slice(struct ledger *ledger, struct ledger_pruning *pruning, size_t limit) {
    struct ledger_failure failure = {0};
    int rc = ledger_prune(ledger, limit, pruning, &failure);
    if (rc != 0)
        fail_msg("%s: %s", ledger_error_name(rc), failure.detail);
    return pruning->done;
}

static uint64_t prune_to(struct ledger *ledger, uint64_t horizon) {
    struct ledger_pruning pruning = {.horizon_us = horizon};
    while (!prune_slice(ledger, &pruning, 1 + random_below(60)))
        ;
    return pruning.removed;
}

static void assert_same(const char *before, const char *after) {
    size_t at = 0, line = 0;
    while (before[at] != '\0' && before[at] == after[at])
        if (before[at++] == '\n')
            line = at;
    if (before[at] != after[at])
        fail_msg("before: %.300s\nafter: %.300s", before + line, after + line);
}

static uint64_t blocks_of(struct ledger *ledger) {
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

static uint64_t removable(struct ledger *ledger, uint64_t since, uint64_t until) {
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
static void assert_rebuild_answers(struct ledger *ledger, uint64_t horizon) {
    static unsigned nth;
    const struct ledger_rebuild_options options = {.left_out = keep_finding};
    struct ledger_failure failure;
    uint64_t left_out;
    char path[4096], *before = answers(ledger, horizon);
    snprintf(path, sizeof path, "%.3000s/rebuilt-%u", ledger->storage.options.directory, nth++);
    assert_int_equal(mkdir(path, 0700), 0);
    found_count = 0;
    assert_int_equal(ledger_rebuild(ledger, path, &options, &left_out, &failure), 0);
    print_findings();
    assert_int_equal(left_out, 0);
    struct ledger *rebuilt = open_pruned(path);
    at_time(rebuilt, now_of(ledger));
    char *after = answers(rebuilt, horizon);
    assert_same(before, after);
    assert_clean(rebuilt);
    close_ledger(rebuilt);
    free(before);
    free(after);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static struct ledger *declare_more(struct ledger *ledger, const char *directory) {
    struct ledger_failure failure;
    bool done = false;
    close_ledger(ledger);
    family_count = FAMILIES + 2;
    ledger = open_pruned(directory);
    while (!done) {
        assert_clean(ledger);
        assert_int_equal(ledger_build(ledger, 1 + random_below(300), &done, &failure), 0);
    }
    assert_clean(ledger);
    return ledger;
}

/* Random work for three weeks; then, again and again, a few days more, and everything older than a
 * random day goes. */
static void no_answer_changes(void **state) {
    for (size_t round = 0; round < rounds(4); round++) {
        char directory[4096];
        snprintf(directory, sizeof directory, "%.3000s/%zu", (const char *)*state, round);
        family_count = FAMILIES;
        struct ledger *ledger = open_pruned(directory);
        recent_count = 0;
        at_time(ledger, START_US);
        work(ledger, 1500, START_US + DAYS(21));
        for (size_t pruned = 0; pruned < 3; pruned++) {
            uint64_t now = (uint64_t)now_of(ledger);
            uint64_t horizon = horizon_for(ledger, now - DAYS(7 + random_below(6)));
            uint64_t kept_from = facts_of(ledger).kept_from;
            uint64_t old = horizon > kept_from ? removable(ledger, kept_from, horizon) : 0;
            uint64_t blocks = blocks_of(ledger);
            char *before = answers(ledger, horizon);
            struct ledger_pruning pruning = {.horizon_us = horizon};
            bool done = false;
            while (!done) {
                done = prune_slice(ledger, &pruning, 1 + random_below(200));
                if (random_below(4) == 0) {
                    char *between = answers(ledger, horizon);
                    assert_same(before, between);
                    free(between);
                    assert_clean(ledger);
                }
            }
            assert_int_equal(pruning.removed, old);
            assert_true(blocks_of(ledger) < blocks || old < 300);
            char *after = answers(ledger, horizon);
            assert_same(before, after);
            assert_clean(ledger);
            close_ledger(ledger);
            ledger = open_pruned(directory);
            char *opened = answers(ledger, horizon);
            assert_same(before, opened);
            assert_int_equal(facts_of(ledger).kept_from, horizon);
            assert_rebuild_answers(ledger, horizon);
            if (pruned == 0 && round % 2 == 0)
                ledger = declare_more(ledger, directory);
            work(ledger, 200, now_of(ledger) + DAYS(3));
            assert_clean(ledger);
            free(before);
            free(after);
            free(opened);
        }
        close_ledger(ledger);
    }
    family_count = FAMILIES;
}

/* Two weeks with an invocation a day, and what else a test wants. */
static struct ledger *two_weeks(const char *directory) {
    struct ledger *ledger = open_pruned(directory);
    for (int day = 0; day < 14; day++) {
        at_time(ledger, START_US + DAYS(day));
        (void)book(ledger, states[day % 3]);
    }
    return ledger;
}

static void skip_entry(void *context, const struct ledger_entry *entry,
                       const struct ledger_payload *payload) {
    (void)context;
    (void)entry;
    (void)payload;
}

static int sum_of(struct ledger *ledger, uint64_t since, uint64_t until) {
    struct ledger_text any[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter = {.names = any, .since = since, .until = until};
    struct ledger_sums sums;
    return ledger_sum_up(ledger, &filter, &sums);
}

static int list_in(struct ledger *ledger, uint32_t kinds, uint64_t since, uint64_t until,
                   struct ledger_page *page) {
    struct ledger_list_query query = list_of(kinds);
    query.filter.since = since;
    query.filter.until = until;
    return ledger_list(ledger, &query, skip_entry, NULL, page);
}

static void what_was_removed_is_said_to_be(void **state) {
    static const char payload[] = "\x81\xa6intent\xa3"
                                  "ask",
                      other[] = "\x81\xa6intent\xa2or";
    struct ledger *ledger = open_pruned(*state);
    at_time(ledger, START_US);
    assert_int_equal(set_rules(ledger, NULL, 0), 0);
    struct ledger_entry entry = priced("ada", 50);
    entry.client_id = text("a client");
    entry.payload = (struct ledger_text){payload, sizeof payload - 1};
    uint64_t recorded = ask(ledger, OPERATION_RECORD, 0, &entry);
    struct ledger_entry run = run_of("ada", 30);
    run.status = STATUS_COMPLETED;
    run.run_id = text("a run");
    uint64_t ran = ask(ledger, OPERATION_RECORD, 0, &run);
    struct ledger_entry call = priced("bob", 40);
    uint64_t hold = reserve_for(ledger, &call, 0, 1000);
    at_time(ledger, START_US + DAYS(1));
    expire(ledger);
    assert_int_equal(grant_credits(ledger, "ada", 10), 0);
    uint64_t grant = last.id;
    for (int day = 2; day < 14; day++) {
        at_time(ledger, START_US + DAYS(day));
        (void)book(ledger, "planning");
    }
    uint64_t horizon = horizon_for(ledger, (uint64_t)START_US + DAYS(4));
    assert_int_equal(horizon % DAY_US, 0);
    assert_int_equal(facts_of(ledger).kept_from, 0);
    assert_true(prune_to(ledger, horizon) > 3);
    assert_int_equal(facts_of(ledger).kept_from, horizon);

    assert_int_equal(ledger_read_record(ledger, recorded, skip_entry, NULL), LEDGER_E_PRUNED);
    assert_int_equal(ledger_read_record(ledger, ran, skip_entry, NULL), LEDGER_E_PRUNED);
    assert_int_equal(ledger_read_record(ledger, grant, skip_entry, NULL), 0);
    assert_int_equal(ledger_read_record(ledger, horizon + 5, skip_entry, NULL), MDB_NOTFOUND);
    assert_int_equal(ledger_read_run(ledger, text("a run"), skip_entry, NULL), LEDGER_E_PRUNED);
    assert_int_equal(ledger_read_run(ledger, text("no run"), skip_entry, NULL), MDB_NOTFOUND);

    assert_int_equal(sum_of(ledger, 0, UINT64_MAX), 0);
    assert_int_equal(sum_of(ledger, 0, horizon), 0);
    assert_int_equal(sum_of(ledger, 0, horizon - 1), LEDGER_E_PRUNED);
    assert_int_equal(sum_of(ledger, 1, UINT64_MAX), LEDGER_E_PRUNED);
    assert_int_equal(sum_of(ledger, horizon - 1, UINT64_MAX), LEDGER_E_PRUNED);
    assert_int_equal(sum_of(ledger, horizon, UINT64_MAX), 0);

    struct ledger_page page;
    assert_int_equal(list_in(ledger, ALL_KINDS, 0, UINT64_MAX, &page), 0);
    assert_int_equal(page.kept_from, horizon);
    assert_int_equal(list_in(ledger, KINDS_OF_WORK, 0, UINT64_MAX, &page), 0);
    assert_int_equal(page.kept_from, horizon);
    assert_int_equal(page.total, page.matched);
    assert_int_equal(list_in(ledger, KINDS_OF_WORK, horizon, UINT64_MAX, &page), 0);
    assert_int_equal(page.kept_from, 0);
    assert_int_equal(list_in(ledger, KINDS_OF_WORK, 1, UINT64_MAX, &page), LEDGER_E_PRUNED);
    assert_int_equal(list_in(ledger, KINDS_OF_WORK, 0, horizon, &page), LEDGER_E_PRUNED);
    assert_int_equal(list_in(ledger, 1u << KIND_GRANT, 1, horizon, &page), 0);
    assert_int_equal(page.matched, 1);
    assert_int_equal(page.kept_from, 0);

    struct ledger_entry correction = {
        .kind = KIND_CORRECTION, .given = ENTRY_COST, .cost = -1, .link = recorded};
    struct ledger_entry redaction = {.kind = KIND_REDACTION, .link = recorded};
    uint64_t entries = facts_of(ledger).entries;
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &correction), LEDGER_E_PRUNED);
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &redaction), LEDGER_E_PRUNED);
    assert_int_equal(settle(ledger, hold, 45), LEDGER_E_PRUNED);
    assert_int_equal(facts_of(ledger).entries, entries);

    /* The same request again has the answer that it had, also where its payload is gone. */
    assert_true(ask(ledger, OPERATION_RECORD, 0, &entry) == recorded);
    entry.payload = (struct ledger_text){other, sizeof other - 1};
    assert_true(ask(ledger, OPERATION_RECORD, 0, &entry) == recorded);
    entry.cost = 51;
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &entry), LEDGER_E_CONFLICT);
    assert_true(ask(ledger, OPERATION_RECORD, 0, &run) == ran);
    assert_int_equal(facts_of(ledger).entries, entries);
    assert_clean(ledger);
    close_ledger(ledger);
}

static void what_is_on_its_way_out_counts_as_removed(void **state) {
    struct ledger *ledger = two_weeks(*state);
    struct ledger_failure failure = {0};
    uint64_t leaving = id_of(ledger, 11);
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    struct ledger_pruning pruning = {.horizon_us = horizon};
    uint64_t entries = facts_of(ledger).entries;
    assert_true(leaving < horizon);
    assert_int_equal(ledger_read_record(ledger, leaving, skip_entry, NULL), 0);
    assert_false(prune_slice(ledger, &pruning, 1));
    assert_int_equal(facts_of(ledger).entries, entries - 1);
    assert_int_equal(ledger_read_record(ledger, leaving, skip_entry, NULL), LEDGER_E_PRUNED);
    struct ledger_entry correction = {
        .kind = KIND_CORRECTION, .given = ENTRY_COST, .cost = 1, .link = leaving};
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &correction), LEDGER_E_PRUNED);
    struct ledger_page page;
    assert_int_equal(list_in(ledger, ALL_KINDS, 0, UINT64_MAX, &page), 0);
    assert_int_equal(page.matched, removable(ledger, horizon, UINT64_MAX));
    assert_int_equal(list_in(ledger, KINDS_OF_WORK, 0, UINT64_MAX, &page), 0);
    assert_int_equal(page.matched, page.total);
    assert_clean(ledger);
    assert_int_equal(ledger_prune(ledger, 1000, &pruning, &failure), 0);
    assert_clean(ledger);
    close_ledger(ledger);
}

static void the_horizon_stops_at_what_is_needed(void **state) {
    struct ledger *ledger = two_weeks(*state);
    uint64_t now = (uint64_t)now_of(ledger);
    assert_int_equal(horizon_fails(ledger, now - DAYS(2), "three days"), LEDGER_E_RETENTION);
    assert_int_equal(set_rules(ledger, NULL, 0), 0);
    /* The last 24 hours are counted without any rule. */
    assert_int_equal(horizon_for(ledger, UINT64_MAX), (now - DAY_US) / DAY_US * DAY_US);
    assert_int_equal(horizon_for(ledger, now - DAYS(3)), (now - DAYS(3)) / DAY_US * DAY_US);
    assert_int_equal(horizon_for(ledger, 0), 0);
    at_time(ledger, now_of(ledger) + DAYS(20));
    uint64_t newest = facts_of(ledger).last_id;
    assert_int_equal(horizon_for(ledger, UINT64_MAX), newest / DAY_US * DAY_US);
    struct ledger_entry call = priced("bob", 40);
    uint64_t hold = reserve_for(ledger, &call, 0, 90 * DAY_MS);
    at_time(ledger, now_of(ledger) + DAYS(30));
    (void)book(ledger, "planning");
    at_time(ledger, now_of(ledger) + DAYS(5));
    assert_int_equal(horizon_for(ledger, UINT64_MAX), hold / DAY_US * DAY_US);
    uint64_t horizon = horizon_for(ledger, UINT64_MAX);
    assert_int_equal(release(ledger, hold), 0);
    assert_true(horizon_for(ledger, UINT64_MAX) > horizon);
    prune_to(ledger, horizon);
    assert_int_equal(horizon_for(ledger, 0), horizon); /* never goes back */
    assert_clean(ledger);
    close_ledger(ledger);
}

static void what_is_not_allowed_any_more_is_not_removed(void **state) {
    struct ledger *ledger = two_weeks(*state);
    struct ledger_failure failure = {0};
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    struct ledger_rule longer = within(rule_of("longer", MEASURE_COST, 10), 10 * DAY_MS);
    struct ledger_pruning pruning = {.horizon_us = horizon};
    uint64_t entries = facts_of(ledger).entries;
    assert_int_equal(set_rules(ledger, &longer, 1), 0);
    assert_int_equal(ledger_prune(ledger, 10, &pruning, &failure), LEDGER_E_RETENTION);
    assert_non_null(strstr(failure.detail, "longer"));
    assert_int_equal(facts_of(ledger).kept_from, 0);
    assert_int_equal(facts_of(ledger).entries, entries + 1);
    pruning.horizon_us = horizon + 1;
    assert_int_equal(ledger_prune(ledger, 10, &pruning, &failure), EINVAL);
    assert_clean(ledger);
    close_ledger(ledger);
}

static void a_rule_over_what_was_removed_is_refused(void **state) {
    struct ledger *ledger = two_weeks(*state);
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    prune_to(ledger, horizon);
    struct ledger_rule rules[] = {within(rule_of("longer", MEASURE_COST, 10), 9 * DAY_MS)};
    uint64_t version = ledger->policy.version;
    assert_int_equal(set_rules(ledger, rules, 1), LEDGER_E_PRUNED);
    assert_int_equal(ledger->policy.version, version);
    rules[0] = calendar(rule_of("month", MEASURE_COST, 10), WINDOW_MONTH, 0);
    assert_int_equal(set_rules(ledger, rules, 1), LEDGER_E_PRUNED);
    rules[0] = within(rule_of("shorter", MEASURE_INVOCATIONS, 10), 8 * DAY_MS);
    assert_int_equal(set_rules(ledger, rules, 1), 0);
    assert_sum_equal(used_of(ledger, "shorter"), 9);
    rules[0] = rule_of("for ever", MEASURE_INVOCATIONS, 100);
    assert_int_equal(set_rules(ledger, rules, 1), 0);
    assert_sum_equal(used_of(ledger, "for ever"), 14);
    assert_clean(ledger);
    close_ledger(ledger);
}

static struct ledger *open_with_more(const char *directory, size_t count, bool built) {
    static struct declared_series more[3];
    struct ledger_options options = options_for(directory);
    struct ledger_failure failure;
    bool done = false;
    more[0] = FAMILY(DIMENSION_USER);
    more[1] = FAMILY(DIMENSION_USER, DIMENSION_STATUS);
    more[2] = FAMILY(DIMENSION_STATUS);
    options.series = more;
    options.series_count = count;
    struct ledger *ledger = open_with(&options);
    while (built && !done)
        assert_int_equal(ledger_build(ledger, 1 + random_below(20), &done, &failure), 0);
    return ledger;
}

static int sum_for(struct ledger *ledger, const char *user, uint64_t since, int64_t *cost) {
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter = {.names = names, .since = since, .until = UINT64_MAX};
    struct ledger_sums sums;
    names[DIMENSION_USER] = text(user);
    int rc = ledger_sum_up(ledger, &filter, &sums);
    *cost = (int64_t)sums.totals.column[COLUMN_COST];
    return rc;
}

/* It is built from the horizon on, and does not pretend to know what was before. */
static void a_series_that_is_declared_later_counts_from_the_horizon(void **state) {
    struct ledger *ledger = open_with_more(*state, 0, false);
    struct ledger_entry call = priced("ada", 50);
    int64_t cost;
    at_time(ledger, START_US);
    assert_int_equal(set_rules(ledger, NULL, 0), 0);
    uint64_t first = ask(ledger, OPERATION_RECORD, 0, &call);
    for (int day = 1; day < 12; day++) {
        at_time(ledger, START_US + DAYS(day));
        (void)ask(ledger, OPERATION_RECORD, 0, &call);
    }
    struct ledger_entry correction = {
        .kind = KIND_CORRECTION, .given = ENTRY_COST, .cost = 7, .link = first};
    (void)ask(ledger, OPERATION_RECORD, 0, &correction);
    close_ledger(ledger);
    ledger = open_with_more(*state, 1, false);
    assert_int_equal(horizon_fails(ledger, (uint64_t)START_US + DAYS(2), ""), LEDGER_E_BUILDING);
    close_ledger(ledger);

    ledger = open_with_more(*state, 0, false);
    uint64_t horizon = horizon_for(ledger, (uint64_t)START_US + DAYS(6));
    prune_to(ledger, horizon);
    close_ledger(ledger);
    ledger = open_with_more(*state, 1, false);
    assert_int_equal(sum_for(ledger, "ada", horizon, &cost), LEDGER_E_BUILDING);
    assert_clean(ledger);
    close_ledger(ledger);
    ledger = open_with_more(*state, 3, true);
    assert_clean(ledger);
    assert_int_equal(sum_for(ledger, "ada", 0, &cost), LEDGER_E_PRUNED);
    assert_int_equal(sum_for(ledger, "ada", horizon, &cost), 0);
    assert_int_equal(cost, 6 * 50 + 7);
    assert_int_equal(grant_cost(ledger, "ada", 10), LEDGER_E_PRUNED);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_balance balance;
    names[DIMENSION_USER] = text("ada");
    assert_int_equal(ledger_read_balance(ledger, names, false, 5, tell_grant, stderr, &balance),
                     LEDGER_E_PRUNED);
    struct ledger_rule rule = of(rule_of("ever", MEASURE_COST, 1000), DIMENSION_USER, NULL);
    assert_int_equal(set_rules(ledger, &rule, 1), LEDGER_E_PRUNED);
    rule = within(rule, 3 * DAY_MS);
    assert_int_equal(set_rules(ledger, &rule, 1), 0);
    assert_sum_equal(status_for(ledger, "ever", "ada").used, 4 * 50 + 7);
    assert_clean(ledger);

    /* It stays so when more is removed, and when the ledger is opened again. */
    prune_to(ledger, horizon_for(ledger, (uint64_t)START_US + DAYS(8)));
    close_ledger(ledger);
    ledger = open_with_more(*state, 3, true);
    assert_int_equal(sum_for(ledger, "ada", 0, &cost), LEDGER_E_PRUNED);
    assert_int_equal(sum_for(ledger, "ada", facts_of(ledger).kept_from, &cost), 0);
    assert_int_equal(cost, 4 * 50 + 7);
    assert_clean(ledger);
    close_ledger(ledger);
}

static bool needs_word(struct ledger *ledger) {
    static struct row row;
    for (size_t i = 0; nth_row(ledger, DB_META, 'f', i, &row); i++)
        if (memmem(row.value.mv_data, row.value.mv_size, "retention", 9) != NULL)
            return true;
    return false;
}

static void programs_that_do_not_know_are_told(void **state) {
    struct ledger *ledger = two_weeks(*state);
    assert_false(needs_word(ledger));
    prune_to(ledger, horizon_for(ledger, (uint64_t)START_US + DAYS(4)));
    assert_true(needs_word(ledger));
    (void)book(ledger, "planning");
    assert_true(needs_word(ledger));
    close_ledger(ledger);
    ledger = open_pruned(*state);
    ledger->needs_told = false; /* as if an earlier version had made it */
    (void)book(ledger, "planning");
    assert_true(needs_word(ledger));
    assert_clean(ledger);
    close_ledger(ledger);
}

/* A process that removes slices is killed in the middle, again and again. */
static void who_is_killed_in_it_goes_on_later(void **state) {
    struct ledger *ledger = open_pruned(*state);
    recent_count = 0;
    at_time(ledger, START_US);
    work(ledger, 3000, START_US + DAYS(30));
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    char *before = answers(ledger, horizon);
    close_ledger(ledger);
    unsigned in_it = 0;
    for (size_t kill_nr = 0; kill_nr < rounds(30); kill_nr++) {
        pid_t child = fork();
        if (child == 0) {
            struct ledger_pruning pruning = {.horizon_us = horizon};
            ledger = open_pruned(*state);
            while (!prune_slice(ledger, &pruning, 5))
                ;
            _exit(0);
        }
        int status;
        usleep((useconds_t)(3000 + random_below(9000)));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        in_it += WIFSIGNALED(status);
        ledger = open_pruned(*state);
        assert_clean(ledger);
        close_ledger(ledger);
    }
    assert_true(in_it > 0);
    ledger = open_pruned(*state);
    prune_to(ledger, horizon);
    char *after = answers(ledger, horizon);
    assert_same(before, after);
    assert_clean(ledger);
    struct ledger_page page;
    assert_int_equal(list_in(ledger, RETENTION_KINDS, 0, horizon, &page), 0);
    uint64_t kept = page.matched;
    assert_int_equal(list_in(ledger, ALL_KINDS, horizon, UINT64_MAX, &page), 0);
    assert_int_equal(facts_of(ledger).entries, kept + page.matched);
    close_ledger(ledger);
    free(before);
    free(after);
}

/* One that cannot read what it is to remove, say. */
static void a_slice_that_fails_leaves_nothing_of_it(void **state) {
    struct ledger *ledger = two_weeks(*state);
    struct ledger_failure failure = {0};
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    struct ledger_pruning pruning = {.horizon_us = horizon};
    static struct row row;
    assert_true(nth_row(ledger, DB_ENTRIES, 0, 3, &row));
    put_raw(ledger, DB_ENTRIES, row.key, (MDB_val){3, "\x93\x01\x01"});
    uint64_t entries = facts_of(ledger).entries;
    assert_int_equal(ledger_prune(ledger, 100, &pruning, &failure), LEDGER_E_DAMAGED);
    assert_int_equal(facts_of(ledger).entries, entries);
    assert_int_equal(facts_of(ledger).kept_from, 0);
    assert_false(needs_word(ledger));
    put_raw(ledger, DB_ENTRIES, row.key, row.value);
    uint64_t removed = prune_to(ledger, horizon);
    assert_int_equal(removed, entries - facts_of(ledger).entries);
    assert_clean(ledger);
    close_ledger(ledger);
}

/* What verifying does between two of its slices, should it be in that mood. */
struct meanwhile {
    struct ledger *ledger;
    struct ledger_pruning pruning;
    unsigned slices;
    unsigned begun; /* how often it began */
};

static bool prune_meanwhile(void *context, uint64_t done, uint64_t total) {
    struct meanwhile *meanwhile = context;
    (void)total;
    meanwhile->begun += done == 0;
    if (done > 0 && !meanwhile->pruning.done && random_below(3) == 0) {
        prune_slice(meanwhile->ledger, &meanwhile->pruning, 1 + random_below(150));
        meanwhile->slices++;
    }
    return true;
}

static void verifying_begins_again_where_entries_are_removed(void **state) {
    struct ledger *ledger = open_pruned(*state);
    struct ledger_verify_result result;
    struct ledger_failure failure;
    recent_count = 0;
    at_time(ledger, START_US);
    work(ledger, 1000, START_US + DAYS(21));
    struct meanwhile meanwhile = {.ledger = ledger};
    meanwhile.pruning.horizon_us = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    const struct ledger_verify_options options = {
        .slice = 60, .goes_on = prune_meanwhile, .found = keep_finding, .context = &meanwhile};
    found_count = 0;
    while (!meanwhile.pruning.done) {
        assert_int_equal(ledger_verify(ledger, &options, &result, &failure), 0);
        print_findings();
        assert_int_equal(result.findings, 0);
        assert_int_equal(result.entries, facts_of(ledger).entries);
    }
    assert_true(meanwhile.slices > 2 && meanwhile.begun > 2);
    assert_clean(ledger);
    close_ledger(ledger);
}

static uint64_t id_in(enum storage_database database, const struct row *row) {
    return get_be64(row->key_bytes + (database == DB_SERIES ? 4 : 0));
}

static void assert_some(struct ledger *ledger, const char *done, enum storage_database database,
                        const struct row *row) {
    if (verify(ledger, 0).findings == 0)
        fail_msg("%llu %s in database %d is not found, its size %zu",
                 (unsigned long long)id_in(database, row), done, database, row->value.mv_size);
}

/* One that adds nothing leaves no trace when it is gone, and not every byte of one has one. */
static bool adds_something(const struct row *row) {
    uint8_t head = row->value_bytes[0] == 0xdc ? 3 : 1, kind = row->value_bytes[head + 1];
    return kind == KIND_INVOCATION || kind == KIND_RUN || kind == KIND_CORRECTION ||
           kind == KIND_GRANT;
}

/* Every row from the horizon on, changed in a byte and taken away. */
static void damage_behind_the_horizon_is_found(void **state) {
    static const enum storage_database databases[] = {DB_ENTRIES, DB_SERIES, DB_PAYLOADS};
    static struct row row;
    struct ledger *ledger = open_pruned(*state);
    recent_count = 0;
    at_time(ledger, START_US);
    work(ledger, 250, START_US + DAYS(21));
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    prune_to(ledger, horizon);
    assert_clean(ledger);
    for (size_t i = 0; i < LENGTH(databases); i++)
        for (size_t nth = 0; nth_row(ledger, databases[i], 0, nth, &row); nth++) {
            bool is_entry = databases[i] == DB_ENTRIES;
            if (id_in(databases[i], &row) < horizon || (is_entry && !adds_something(&row)))
                continue;
            size_t at = random_below(row.value.mv_size);
            uint8_t flip = (uint8_t)(1 + random_below(255));
            row.value_bytes[at] ^= flip;
            put_raw(ledger, databases[i], row.key, row.value);
            row.value_bytes[at] ^= flip;
            if (!is_entry)
                assert_some(ledger, "changed", databases[i], &row);
            delete_raw(ledger, databases[i], row.key);
            assert_some(ledger, "taken away", databases[i], &row);
            put_raw(ledger, databases[i], row.key, row.value);
        }
    assert_clean(ledger);
    close_ledger(ledger);
}

/* What stands in for what was removed is looked at as far as it can be. */
static void blocks_before_the_horizon_are_looked_at(void **state) {
    static struct row row;
    struct ledger *ledger = open_pruned(*state);
    recent_count = 0;
    at_time(ledger, START_US);
    work(ledger, 1500, START_US + DAYS(21));
    uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(8));
    prune_to(ledger, horizon);
    size_t before = 0;
    for (size_t nth = 0; nth_row(ledger, DB_SERIES, 0, nth, &row); nth++) {
        if (id_in(DB_SERIES, &row) >= horizon)
            continue;
        before++;
        uint8_t count = row.value_bytes[0];
        row.value_bytes[0] = 40;
        put_raw(ledger, DB_SERIES, row.key, row.value);
        row.value_bytes[0] = count;
        assert_found(ledger, "series", "block from", "");
        put_raw(ledger, DB_SERIES, row.key, row.value);
        if (before > 20)
            break;
    }
    assert_true(before > 5);
    assert_clean(ledger);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(no_answer_changes),
        in_directory(what_was_removed_is_said_to_be),
        in_directory(what_is_on_its_way_out_counts_as_removed),
        in_directory(the_horizon_stops_at_what_is_needed),
        in_directory(what_is_not_allowed_any_more_is_not_removed),
        in_directory(a_rule_over_what_was_removed_is_refused),
        in_directory(a_series_that_is_declared_later_counts_from_the_horizon),
        in_directory(programs_that_do_not_know_are_told),
        in_directory(who_is_killed_in_it_goes_on_later),
        in_directory(a_slice_that_fails_leaves_nothing_of_it),
        in_directory(verifying_begins_again_where_entries_are_removed),
        in_directory(damage_behind_the_horizon_is_found),
        in_directory(blocks_before_the_horizon_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
