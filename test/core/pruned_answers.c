#include "pruned.h"

#include <stdio.h>

#include "../../c_src/core/retention.h"

static const char *const states[] = {"planning", "executing", "reviewing"};
static const char *const users[] = {"ada", "bob", "eve"};
static const char *const orgs[] = {"acme", "umbrella"};

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

void tell_grant(void *context, const struct ledger_entry *entry, ledger_sum remaining) {
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
char *all_answers(struct ledger *ledger, uint64_t horizon) {
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
