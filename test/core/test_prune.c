/* Removing what was archived: what is not there any more is said not to be, and what is still
 * needed is not removed. */
#include "pruned.h"

#include <errno.h>
#include <stdio.h>

#include "../../c_src/core/retention.h"
#include "../../c_src/core/series_internal.h"
#include "whole.h"

static const char *const states[] = {"planning", "executing", "reviewing"};

/* Two weeks with an invocation a day, and what else a test wants. */
static struct ledger *two_weeks(const char *directory) {
    struct ledger *ledger = open_pruned(directory);
    for (int day = 0; day < 14; day++) {
        at_time(ledger, START_US + DAYS(day));
        (void)book(ledger, states[day % 3]);
    }
    return ledger;
}
static int sum_of(struct ledger *ledger, uint64_t since, uint64_t until) {
    struct ledger_text any[DIMENSION_LIMIT] = {0};
    struct ledger_filter filter = {.names = any, .since = since, .until = until};
    struct ledger_sums sums;
    return ledger_sum_up(ledger, &filter, &sums);
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

/* Of the last block of series 0 that begins before the horizon: as if it were the first of its day.
 */
static void damage_last_skip_before(struct ledger *ledger, uint64_t horizon) {
    static struct row row, last;
    struct totals base;
    for (size_t i = 0; nth_row(ledger, DB_SERIES, 0, i, &row); i++) {
        struct series_key at;
        assert_int_equal(series_read_key(row.key, &at), 0);
        if (at.series == SERIES_EVERYTHING && at.first_id < horizon)
            last = row;
    }
    last.key.mv_data = last.key_bytes;
    last.value.mv_data = last.value_bytes;
    assert_true(last.value_bytes[0] & SERIES_HAS_SKIP);
    struct byte_reader reader = byte_reader(last.value_bytes + 1, last.value.mv_size - 1);
    totals_read(&reader, &base);
    last.value_bytes[reader.at - last.value_bytes] = 0;
    put_raw(ledger, DB_SERIES, last.key, last.value);
}

/* Nobody follows it, and no sum is lost with it: neither where the block ends before the horizon
 * nor where it goes on behind it. */
static void a_damaged_skip_before_the_horizon_is_found_and_costs_no_sum(void **state) {
    for (int count = 64; count <= 70; count += 6) {
        char path[4096];
        snprintf(path, sizeof path, "%s/of-%d", (char *)*state, count);
        struct ledger *ledger = open_pruned(path);
        assert_int_equal(set_rules(ledger, NULL, 0), 0);
        at_time(ledger, START_US);
        for (int i = 0; i < count; i++) {
            struct ledger_entry call = priced("ada", 1000 + i);
            (void)ask(ledger, OPERATION_RECORD, 0, &call);
        }
        for (int day = 1; day < 14; day++) {
            at_time(ledger, START_US + DAYS(day));
            (void)book(ledger, "planning");
        }
        uint64_t horizon = horizon_for(ledger, (uint64_t)START_US + DAYS(1));
        assert_true(prune_to(ledger, horizon) >= (uint64_t)count);
        assert_clean(ledger);
        char *answers = all_answers(ledger, horizon);
        damage_last_skip_before(ledger, horizon);
        assert_true(verify(ledger, 0).findings > 0);
        assert_found(ledger, "series", "series 0", "cannot be read");
        assert_rebuild_says(ledger, horizon, answers);
        free(answers);
        close_ledger(ledger);
    }
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

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(what_was_removed_is_said_to_be),
        in_directory(what_is_on_its_way_out_counts_as_removed),
        in_directory(the_horizon_stops_at_what_is_needed),
        in_directory(what_is_not_allowed_any_more_is_not_removed),
        in_directory(a_rule_over_what_was_removed_is_refused),
        in_directory(a_series_that_is_declared_later_counts_from_the_horizon),
        in_directory(a_damaged_skip_before_the_horizon_is_found_and_costs_no_sum),
        in_directory(programs_that_do_not_know_are_told),
        in_directory(a_slice_that_fails_leaves_nothing_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
