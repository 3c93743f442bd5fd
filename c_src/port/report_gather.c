/* What a report says: sums by day, hour and name, budgets, and the newest failures. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "../core/msgpack_bound.h"
#include "../core/pack.h"
#include "record_json.h"
#include "report_data.h"

#define HOUR_US INT64_C(3600000000)
#define DAY_US (24 * HOUR_US)
#define DAYS_LEAST 7 /* a chart of one day is none */
#define SLICE 1000
#define MARK "\xE2\x80\xA6"
#define BIT(n) (UINT32_C(1) << (n))

struct gathering {
    struct job *job;
    struct ledger *ledger;
    struct report *report;
    struct ledger_filter filter;
    struct ledger_text names[DIMENSION_LIMIT];
    uint64_t steps;
};

static int go_on(struct gathering *gathering) {
    return job_goes_on(gathering->job, ++gathering->steps, 0) ? 0 : ECANCELED;
}

static void take_name(struct ledger_text text, char out[REPORT_NAME_BYTES]) {
    clean_text(text, REPORT_NAME_COLUMNS, MARK, out, REPORT_NAME_BYTES);
}

static void add_totals(struct totals *to, const struct totals *totals, int sign) {
    for (int column = 0; column < COLUMN_COUNT; column++)
        to->column[column] += sign * totals->column[column];
}

/* ---- the period ------------------------------------------------------------------------------ */

static void take_first(void *context, const struct ledger_entry *entry,
                       const struct ledger_payload *payload) {
    (void)payload;
    *(uint64_t *)context = entry->id;
}

static int find_first(struct gathering *gathering, uint64_t *id) {
    struct ledger_list_query query = {
        .filter = gathering->filter, .oldest_first = true, .limit = 1, .scan = SLICE};
    struct ledger_page page;
    query.filter.kinds = ~UINT32_C(0);
    *id = 0;
    return ledger_list(gathering->ledger, &query, take_first, id, &page);
}

/* From the first entry to now, or as it is asked for; without a beginning, from there on that
 * everything is kept. No sum is of what is booked from here on. */
static int find_period(struct gathering *gathering, const struct report_request *request) {
    struct report *report = gathering->report;
    uint64_t first;
    int rc = ledger_facts(gathering->ledger, &report->facts);
    /* Letters, where the ledger's own code wrote it; a file may say anything. */
    for (char *at = report->facts.currency; *at != '\0'; at++)
        *at = isalnum((unsigned char)*at) ? *at : '?';
    uint64_t since = request->since != 0 ? request->since : report->facts.kept_from;
    gathering->filter.since = request->since != 0 ? 0 : since;
    if (rc == 0)
        rc = find_first(gathering, &first);
    if (rc != 0)
        return rc;
    report->now_us = ledger_now(gathering->ledger);
    uint64_t end = (uint64_t)report->now_us + 1;
    if (end <= report->facts.last_id)
        end = report->facts.last_id + 1;
    report->is_empty = first == 0;
    report->is_whole = since <= first;
    report->since = report->is_whole ? first : since;
    if (first == 0)
        report->since = since != 0 ? since : (uint64_t)report->now_us;
    report->until = request->until < end ? request->until : end;
    if (report->until < report->since && report->is_whole)
        report->since = report->until;
    else if (report->until < report->since)
        report->until = report->since;
    gathering->filter.since = report->since;
    gathering->filter.until = report->until <= report->facts.last_id  ? report->until
                              : report->facts.last_id < report->since ? report->since
                                                                      : report->facts.last_id + 1;
    return 0;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static int sum(struct gathering *gathering, uint64_t since, uint64_t until, struct totals *totals) {
    struct ledger_filter filter = gathering->filter;
    struct ledger_sums sums;
    filter.since = since > filter.since ? since : filter.since;
    filter.until = until < filter.until ? until : filter.until;
    int rc = 0;
    memset(totals, 0, sizeof *totals);
    if (filter.since < filter.until) {
        rc = ledger_sum_up(gathering->ledger, &filter, &sums);
        *totals = sums.totals;
    }
    return rc == 0 ? go_on(gathering) : rc;
}

static int sum_chart(struct gathering *gathering, int64_t unit_us, size_t most, size_t least,
                     struct report_chart *chart) {
    const struct report *report = gathering->report;
    if (report->since >= report->until)
        return 0;
    uint64_t unit = (uint64_t)unit_us;
    uint64_t last = (report->until - 1) / unit, first = report->since / unit;
    if (last - first + 1 < least && report->is_whole)
        first = last + 1 > least ? last + 1 - least : 0;
    chart->count = last - first + 1 < most ? (size_t)(last - first + 1) : most;
    int rc = 0;
    for (size_t i = 0; i < chart->count && rc == 0; i++) {
        uint64_t start = (last - (chart->count - 1 - i)) * unit;
        chart->bars[i].start_us = (int64_t)start;
        rc = sum(gathering, start, start + unit, &chart->bars[i].totals);
    }
    return rc;
}

/* ---- by the values of a dimension ------------------------------------------------------------ */

static bool costs_more(const struct totals *a, const struct totals *b) {
    return a->column[COLUMN_COST] > b->column[COLUMN_COST];
}

static void put_value(struct report_group *group, size_t at, struct ledger_text name,
                      const struct totals *totals) {
    size_t kept = group->count < REPORT_TOP ? group->count : REPORT_TOP - 1;
    memmove(&group->values[at + 1], &group->values[at], (kept - at) * sizeof group->values[0]);
    take_name(name, group->values[at].name);
    group->values[at].totals = *totals;
    group->count = kept + 1;
}

/* Keeps the ten that cost most, and the sum of the others. `without` is what is left of all. */
static void rank(void *context, struct ledger_text name, const struct ledger_sums *sums) {
    struct report_group *group = context;
    const struct totals *totals = &sums->totals;
    size_t at = group->count;
    while (at > 0 && costs_more(totals, &group->values[at - 1].totals))
        at--;
    const struct totals *left_out = NULL;
    if (group->count == REPORT_TOP)
        left_out = at < REPORT_TOP ? &group->values[REPORT_TOP - 1].totals : totals;
    if (left_out != NULL) {
        add_totals(&group->others, left_out, 1);
        group->other_count++;
    }
    if (at < REPORT_TOP)
        put_value(group, at, name, totals);
    add_totals(&group->without, totals, -1);
}

/* Of invocations, runs or money: other sums (of grants, say) are not shown. */
static bool is_shown(const struct totals *totals) {
    return totals->column[COLUMN_INVOCATIONS] != 0 || totals->column[COLUMN_RUNS] != 0 ||
           totals->column[COLUMN_COST] != 0 || totals->column[COLUMN_CORRECTED_COST] != 0;
}

static int sum_group(struct gathering *gathering, uint8_t dimension) {
    struct report *report = gathering->report;
    struct report_group *group = &report->groups[report->group_count];
    uint32_t after = 0;
    bool done = false;
    int rc = 0;
    memset(group, 0, sizeof *group);
    group->dimension = record_dimension_name(dimension);
    group->without = report->totals;
    while (rc == 0 && !done) {
        rc = ledger_sum_up_by(gathering->ledger, &gathering->filter, dimension, &after, SLICE, rank,
                              group, &done);
        if (rc == 0)
            rc = go_on(gathering);
    }
    if (rc == LEDGER_E_UNDECLARED_SERIES)
        return 0;
    group->is_building = rc == LEDGER_E_BUILDING;
    if (rc != 0 && !group->is_building)
        return rc;
    group->has_without = !group->is_building && is_shown(&group->without);
    report->group_count++;
    return 0;
}

static int sum_groups(struct gathering *gathering) {
    static const uint8_t dimensions[REPORT_GROUPS] = {DIMENSION_STATE,   DIMENSION_AGENT,
                                                      DIMENSION_MODEL,   DIMENSION_STATUS,
                                                      DIMENSION_PROJECT, DIMENSION_USER};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < REPORT_GROUPS; i++)
        rc = sum_group(gathering, dimensions[i]);
    return rc;
}

/* ---- budgets --------------------------------------------------------------------------------- */

static void name_window(const struct ledger_rule *rule, char *out, size_t size) {
    static const char *const words[] = {[WINDOW_DAY] = "calendar day",
                                        [WINDOW_WEEK] = "calendar week",
                                        [WINDOW_MONTH] = "calendar month",
                                        [WINDOW_LIFETIME] = "lifetime"};
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}, {1, "ms"}};
    size_t unit = 0;
    if (rule->window != WINDOW_ROLLING) {
        snprintf(out, size, "%s", words[rule->window]);
        return;
    }
    while (rule->window_ms % units[unit].ms != 0)
        unit++;
    snprintf(out, size, "rolling %llu %s", (unsigned long long)(rule->window_ms / units[unit].ms),
             units[unit].name);
}

static void name_scope(const struct ledger_rule *rule, char out[REPORT_NAME_BYTES]) {
    char all[4 * REPORT_NAME_BYTES] = "everything", value[CLEAN_BYTES(40)];
    size_t at = 0;
    for (uint8_t i = 0; i < rule->scope_count && at + sizeof value + 64 < sizeof all; i++) {
        const struct rule_part *part = &rule->scope[i];
        const char *dimension = rule_dimension_name(part->dimension);
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s %s", i > 0 ? ", " : "",
                               dimension == NULL ? "?" : dimension,
                               clean_text(part->value, 40, MARK, value, sizeof value));
    }
    take_name((struct ledger_text){all, strlen(all)}, out);
}

static bool is_money(enum rule_measure measure) {
    return measure == MEASURE_COST || measure == MEASURE_COMPLETED_COST ||
           measure == MEASURE_CREDITS || measure == MEASURE_COMPLETED_CREDITS;
}

static void fill_budget(const struct ledger_rule_status *status, struct report_budget *budget) {
    static const char *const effects[] = {
        [EFFECT_DENY] = NULL, [EFFECT_DEGRADE] = "degrades", [EFFECT_WARN] = "warns"};
    const struct ledger_rule *rule = status->rule;
    take_name(rule->name, budget->name);
    name_scope(rule, budget->scope);
    name_window(rule, budget->window, sizeof budget->window);
    budget->measure = rule_measure_name(rule->measure);
    budget->is_money = is_money(rule->measure);
    budget->is_unlimited = status->is_unlimited;
    budget->used = status->used;
    budget->held = status->held;
    budget->limit = status->limit;
    budget->percent = status->percent;
    budget->level = status->level;
    budget->effect = effects[rule->effect];
    budget->resets_at_us =
        status->has_period ? (uint64_t)status->period_end_ms * 1000 : status->resets_at_us;
}

static bool is_fuller(const struct ledger_rule_status *status, const struct report_budget *budget) {
    return status->level != budget->level ? status->level > budget->level
                                          : status->percent > budget->percent;
}

/* Keeps the fullest, in order. */
static void add_budget(void *context, const struct ledger_rule_status *status) {
    struct report *report = context;
    size_t at = report->budget_count;
    report->budget_total++;
    while (at > 0 && is_fuller(status, &report->budgets[at - 1]))
        at--;
    if (at == REPORT_BUDGETS)
        return;
    size_t kept = report->budget_count < REPORT_BUDGETS ? report->budget_count : REPORT_BUDGETS - 1;
    memmove(&report->budgets[at + 1], &report->budgets[at],
            (kept - at) * sizeof report->budgets[0]);
    fill_budget(status, &report->budgets[at]);
    report->budget_count = kept + 1;
}

static int find_budgets(struct gathering *gathering) {
    struct report *report = gathering->report;
    struct ledger_decision decision;
    struct ledger_policy policy;
    int rc = ledger_policy(gathering->ledger, &policy);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < policy.rule_count; i++)
        report->budgets_of_each += rule_has_each(&policy.rules[i]);
    policy_free(&policy);
    rc = ledger_statuses(gathering->ledger, NULL, add_budget, report, &decision);
    return rc == 0 ? go_on(gathering) : rc;
}

/* ---- failures -------------------------------------------------------------------------------- */

static void find_message(const struct ledger_payload *payload, char out[REPORT_MESSAGE_BYTES]) {
    msgpack_unpacked unpacked;
    struct ledger_text text;
    out[0] = '\0';
    if (payload->map.data == NULL ||
        !msgpack_is_bounded_to(payload->map.data, payload->map.size, MSGPACK_DEPTH_LIMIT))
        return;
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, payload->map.data, payload->map.size, NULL) ==
            MSGPACK_UNPACK_SUCCESS &&
        unpacked.data.type == MSGPACK_OBJECT_MAP)
        for (uint32_t i = 0; i < unpacked.data.via.map.size; i++) {
            const msgpack_object_kv *pair = &unpacked.data.via.map.ptr[i];
            if (unpacks_as(&pair->key, "error_message") && unpack_text(&pair->val, &text))
                clean_text(text, REPORT_MESSAGE_COLUMNS, MARK, out, REPORT_MESSAGE_BYTES);
        }
    msgpack_unpacked_destroy(&unpacked);
}

static void add_failure(void *context, const struct ledger_entry *entry,
                        const struct ledger_payload *payload) {
    struct report *report = context;
    struct report_failure *failure;
    if (report->failure_count == REPORT_FAILURES)
        return;
    failure = &report->failures[report->failure_count++];
    failure->id = entry->id;
    failure->status = record_status_name(entry->status);
    failure->kind = record_kind_name(entry->kind);
    take_name(entry->names[DIMENSION_STATE], failure->state);
    take_name(entry->names[DIMENSION_AGENT], failure->agent);
    clean_text(entry->run_id, REPORT_RUN_COLUMNS, MARK, failure->run_id, REPORT_RUN_BYTES);
    find_message(payload, failure->message);
    failure->has_cost = entry->given & ENTRY_COST;
    failure->cost = entry->cost;
}

/* The sums say how many there are: where there are few, the whole ledger is not searched for more.
 */
static int find_failures(struct gathering *gathering) {
    struct report *report = gathering->report;
    ledger_sum all = report_failed(&report->totals) + report_aborted(&report->totals);
    struct ledger_list_query query = {
        .filter = gathering->filter, .payloads = true, .scan = UINT64_C(10) * SLICE};
    struct ledger_page page = {.done = false};
    int rc = 0;
    report->failure_total = (uint64_t)all;
    query.filter.statuses = BIT(STATUS_FAILED) | BIT(STATUS_ABORTED);
    size_t wanted = all < REPORT_FAILURES ? (size_t)all : REPORT_FAILURES;
    while (rc == 0 && !page.done && report->failure_count < wanted) {
        query.limit = wanted - report->failure_count;
        rc = ledger_list(gathering->ledger, &query, add_failure, report, &page);
        query.cursor = page.next;
        if (rc == 0)
            rc = go_on(gathering);
    }
    return rc;
}

int report_gather(struct job *job, struct ledger *ledger, const struct report_request *request,
                  struct report *report) {
    struct gathering gathering = {.job = job, .ledger = ledger, .report = report};
    struct ledger_text directory = {request->directory, strlen(request->directory)};
    memset(report, 0, sizeof *report);
    report->hours.is_hours = true;
    clean_text(directory, 1024, MARK, report->directory, sizeof report->directory);
    gathering.filter = (struct ledger_filter){.names = gathering.names,
                                              .kinds = BIT(KIND_INVOCATION) | BIT(KIND_RUN),
                                              .until = UINT64_MAX};
    int rc = find_period(&gathering, request);
    if (rc == 0)
        rc = sum(&gathering, report->since, report->until, &report->totals);
    if (rc == 0)
        rc = sum_chart(&gathering, DAY_US, REPORT_DAYS, DAYS_LEAST, &report->days);
    if (rc == 0)
        rc = sum_chart(&gathering, HOUR_US, REPORT_HOURS, REPORT_HOURS, &report->hours);
    if (rc == 0)
        rc = sum_groups(&gathering);
    if (rc == 0)
        rc = find_budgets(&gathering);
    if (rc == 0)
        rc = find_failures(&gathering);
    return rc;
}
