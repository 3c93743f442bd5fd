/* The commands stats and gate: what cost_ledger:i() shows, and the word of the gate. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "text.h"

#define HOUR_MS 3600000
#define DAY_MS 86400000
#define BAR 8
#define STATE_WIDTH 14
#define BUDGETS_SHOWN 20

/* ---- stats -------------------------------------------------------------------------------- */

struct counted {
    struct ledger_counts counts;
    char name[4 * STATE_WIDTH + 8];
    ledger_sum limits[2]; /* of the hour, of the day; -1: none */
    bool allowed;
    uint64_t allowed_from;
};

struct stats {
    struct ledger *ledger;
    struct ledger_policy policy;
    struct ledger_facts facts;
    struct ledger_reader reader;
    int64_t now_us;
    size_t count;
    struct counted rows[POLICY_STATES_MAX + 1]; /* the total first */
    size_t budget_count;
    struct budget {
        char rule[64];
        char window[24];
        ledger_sum used, held, limit;
        bool is_unlimited, is_count;
        uint64_t percent;
        enum ledger_level level;
    } budgets[POLICY_RULES_MAX];
};

static void add_counts(void *context, const struct ledger_counts *counts) {
    struct stats *stats = context;
    if (stats->count < sizeof stats->rows / sizeof stats->rows[0])
        stats->rows[stats->count++].counts = *counts;
}

/* The caps of an hour and a day of one state alone, as the budgets' short form has them. */
static void find_limits(const struct ledger_policy *policy, struct counted *row) {
    row->limits[0] = row->limits[1] = -1;
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        bool is_cap = rule->scope_count == 1 && rule->scope[0].dimension == DIMENSION_STATE &&
                      rule->measure == MEASURE_INVOCATIONS && rule->window == WINDOW_ROLLING &&
                      rule->limit != RULE_UNLIMITED && !rule->granted &&
                      rule->effect == EFFECT_DENY;
        if (!is_cap || rule->scope[0].value.size != row->counts.state.size ||
            memcmp(rule->scope[0].value.data, row->counts.state.data, rule->scope[0].value.size))
            continue;
        int which = rule->window_ms == HOUR_MS ? 0 : rule->window_ms == DAY_MS ? 1 : -1;
        if (which >= 0 && (row->limits[which] < 0 || (ledger_sum)rule->limit < row->limits[which]))
            row->limits[which] = (ledger_sum)rule->limit;
    }
}

/* ---- the gate ------------------------------------------------------------------------------ */

/* Rules that the gate of a state stands on: those that may deny, over everything or that state. */
static bool is_of_gate(const struct ledger_rule_status *status) {
    const struct ledger_rule *rule = status->rule;
    bool is_state = rule->scope_count == 1 && rule->scope[0].dimension == DIMENSION_STATE;
    return rule->effect == EFFECT_DENY && (rule->scope_count == 0 || is_state) &&
           status->reason != RULE_ADMITS && status->reason != RULE_REQUIRED;
}

static void find_latest(void *context, const struct ledger_rule_status *status) {
    uint64_t *from_us = context;
    if (is_of_gate(status) && status->resets_at_us > *from_us)
        *from_us = status->resets_at_us;
}

/* From when on a state may invoke (UINT64_MAX: never): as the gate page has it where a process
 * holds the ledger, else from the entries. */
static int gate_from(struct ledger *ledger, const struct ledger_reader *reader,
                     struct ledger_text state, uint64_t *from_us) {
    struct ledger_decision decision;
    struct ledger_entry attempt = {.kind = KIND_INVOCATION, .status = STATUS_COMPLETED};
    int index = ledger_state(ledger, state);
    *from_us = 0;
    if (index < 0)
        return LEDGER_E_UNDECLARED_STATE;
    if (reader->has_gate) {
        *from_us = ledger_allowed_from(ledger, (uint32_t)index);
        return 0;
    }
    attempt.names[DIMENSION_STATE] = state;
    return ledger_check(ledger, &attempt, false, find_latest, from_us, &decision);
}

int look_gate(const struct command_options *options) {
    struct ledger_reader reader;
    struct entry_buffer text = {0};
    char time[TEXT_MAX];
    uint64_t from_us;
    if (options->operand == NULL) {
        fprintf(stderr, "cost_ledger: gate needs a state: cost_ledger gate DIR STATE\n");
        return EXIT_USAGE;
    }
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    struct ledger_text state = {options->operand, strlen(options->operand)};
    int rc = gate_from(ledger, &reader, state, &from_us);
    bool open = from_us != UINT64_MAX && (int64_t)from_us <= ledger_now(ledger);
    command_shut(ledger);
    if (rc != 0)
        return command_failed_with(rc, options->operand);
    if (options->json) {
        struct json json;
        json_begin(&json, &text);
        json_open(&json, '{');
        json_key(&json, "state");
        json_text(&json, state);
        json_key(&json, "allowed");
        json_literal(&json, open ? "true" : "false");
        json_key(&json, "from");
        if (open || from_us == UINT64_MAX)
            json_literal(&json, "null");
        else
            json_int(&json, (int64_t)((from_us + 999) / 1000));
        json_close(&json, '}');
        text_add(&text, "\n");
    } else if (open) {
        text_add(&text, "open\n");
    } else if (from_us == UINT64_MAX) {
        text_add(&text, "stopped\n");
    } else {
        text_add(&text, "until %s\n", text_time((int64_t)from_us, time));
    }
    int printed = command_print(&text);
    return printed != EXIT_DONE ? printed : open ? EXIT_DONE : EXIT_NO;
}

/* ---- gathering ------------------------------------------------------------------------------ */

static void name_window(const struct ledger_rule *rule, char *out, size_t size) {
    static const char *const words[] = {[WINDOW_ROLLING] = "",
                                        [WINDOW_DAY] = "day",
                                        [WINDOW_WEEK] = "week",
                                        [WINDOW_MONTH] = "month",
                                        [WINDOW_LIFETIME] = "lifetime"};
    unsigned long long ms = rule->window_ms;
    if (rule->window != WINDOW_ROLLING)
        snprintf(out, size, "%s", words[rule->window]);
    else if (ms % DAY_MS == 0)
        snprintf(out, size, "%llu d", ms / DAY_MS);
    else if (ms % HOUR_MS == 0)
        snprintf(out, size, "%llu h", ms / HOUR_MS);
    else if (ms % 60000 == 0)
        snprintf(out, size, "%llu min", ms / 60000);
    else
        snprintf(out, size, "%llu ms", ms);
}

/* Those that the table of states has already are left out. */
static void add_budget(void *context, const struct ledger_rule_status *status) {
    struct stats *stats = context;
    const struct ledger_rule *rule = status->rule;
    for (size_t i = 1; i < stats->count; i++) {
        struct ledger_text state = stats->rows[i].counts.state;
        for (int hour = 0; hour < 2; hour++) {
            const char *suffix = hour ? "/hour" : "/day";
            size_t size = strlen(suffix);
            if (rule->name.size == state.size + size &&
                memcmp(rule->name.data, state.data, state.size) == 0 &&
                memcmp(rule->name.data + state.size, suffix, size) == 0)
                return;
        }
    }
    if (stats->budget_count == POLICY_RULES_MAX)
        return;
    struct budget *budget = &stats->budgets[stats->budget_count++];
    text_cut(rule->name, 15, budget->rule, sizeof budget->rule);
    name_window(rule, budget->window, sizeof budget->window);
    budget->used = status->used;
    budget->held = status->held;
    budget->limit = status->limit;
    budget->is_unlimited = status->is_unlimited;
    budget->is_count = rule->measure == MEASURE_INVOCATIONS ||
                       rule->measure == MEASURE_COMPLETED_INVOCATIONS ||
                       rule->measure == MEASURE_TOKENS;
    budget->percent = status->percent;
    budget->level = status->level;
}

static int by_percent(const void *a, const void *b) {
    const struct budget *left = a, *right = b;
    return left->percent == right->percent ? 0 : left->percent < right->percent ? 1 : -1;
}

static int by_name(const void *a, const void *b) {
    const struct counted *left = a, *right = b;
    size_t size = left->counts.state.size < right->counts.state.size ? left->counts.state.size
                                                                     : right->counts.state.size;
    int order = memcmp(left->counts.state.data, right->counts.state.data, size);
    return order != 0 ? order : left->counts.state.size < right->counts.state.size ? -1 : 1;
}

static int gather(struct stats *stats) {
    static const uint64_t windows[2] = {HOUR_MS, DAY_MS};
    struct ledger_decision decision;
    int rc = ledger_policy(stats->ledger, &stats->policy);
    if (rc == 0)
        rc = ledger_count(stats->ledger, NULL, windows, add_counts, stats, &stats->now_us);
    if (rc == 0)
        rc = ledger_facts(stats->ledger, &stats->facts);
    /* Texts of the counts are the ledger's own policy, which nobody replaces here. */
    for (size_t i = 1; rc == 0 && i < stats->count; i++) {
        struct counted *row = &stats->rows[i];
        find_limits(&stats->policy, row);
        text_cut(row->counts.state, STATE_WIDTH, row->name, sizeof row->name);
        rc = gate_from(stats->ledger, &stats->reader, row->counts.state, &row->allowed_from);
        row->allowed = row->allowed_from != UINT64_MAX &&
                       (int64_t)row->allowed_from <= ledger_now(stats->ledger);
    }
    if (rc == 0)
        rc = ledger_statuses(stats->ledger, NULL, add_budget, stats, &decision);
    if (rc == 0 && stats->count > 1)
        qsort(stats->rows + 1, stats->count - 1, sizeof stats->rows[0], by_name);
    qsort(stats->budgets, stats->budget_count, sizeof stats->budgets[0], by_percent);
    return rc;
}

/* ---- as text --------------------------------------------------------------------------------- */

/* "12/20 ######...." */
static void add_used(struct table *table, uint64_t used, ledger_sum limit) {
    char text[64], figures[32];
    if (limit < 0) {
        snprintf(text, sizeof text, "%llu of any", (unsigned long long)used);
        table_cell(table, text);
        return;
    }
    unsigned filled =
        limit == 0 || (ledger_sum)used >= limit ? BAR : (unsigned)((ledger_sum)used * BAR / limit);
    snprintf(figures, sizeof figures, "%llu/%llu", (unsigned long long)used,
             (unsigned long long)limit);
    snprintf(text, sizeof text, strlen(figures) <= 9 ? "%-9s %.*s%.*s" : "%s", figures, (int)filled,
             "########", (int)(BAR - filled), "........");
    table_cell(table, text);
}

static void add_gate(struct table *table, const struct counted *row) {
    char time[TEXT_MAX], text[TEXT_MAX + 8];
    if (row->allowed)
        snprintf(text, sizeof text, "open");
    else if (row->allowed_from == UINT64_MAX)
        snprintf(text, sizeof text, "stopped");
    else
        snprintf(text, sizeof text, "until %s", text_clock((int64_t)row->allowed_from, time));
    table_cell(table, text);
}

static void add_states(const struct stats *stats, struct entry_buffer *text) {
    static const char *const heads[] = {"state", "this hour", "today", "session", "gate"};
    static const size_t least[] = {STATE_WIDTH, 18, 18, 9, 0};
    struct table table;
    char number[TEXT_MAX];
    table_begin(&table, 5, "lllrl", least);
    for (int i = 0; i < 5; i++)
        table_cell(&table, heads[i]);
    for (size_t i = 1; i < stats->count; i++) {
        const struct counted *row = &stats->rows[i];
        table_cell(&table, row->name);
        add_used(&table, row->counts.in_window[0], row->limits[0]);
        add_used(&table, row->counts.in_window[1], row->limits[1]);
        table_cell(&table, text_grouped((ledger_sum)row->counts.all, number));
        add_gate(&table, row);
    }
    const struct ledger_counts *all = &stats->rows[0].counts;
    table_cell(&table, "total");
    for (int i = 0; i < 2; i++)
        table_cell(&table, text_sum((ledger_sum)all->in_window[i], number));
    table_cell(&table, text_grouped((ledger_sum)all->all, number));
    table_cell(&table, "");
    table_end(&table, text);
}

static const char *const levels[] = {[LEVEL_NORMAL] = "normal",
                                     [LEVEL_APPROACHING] = "approaching",
                                     [LEVEL_CRITICAL] = "critical",
                                     [LEVEL_EXHAUSTED] = "exhausted"};

static void add_amount(struct table *table, const struct budget *budget, ledger_sum amount) {
    char text[TEXT_MAX + 1], *at = text;
    if (amount < 0) {
        *at++ = '-';
        amount = -amount;
    }
    if (budget->is_count) {
        text_shortened(amount, at);
    } else if (amount >= (ledger_sum)1000000000000000) {
        text_shortened(amount / 1000000000, at);
    } else {
        text_grouped(amount / 1000000000, at);
        size_t size = strlen(at);
        snprintf(at + size, TEXT_MAX - size, ".%04d", (int)(amount % 1000000000 / 100000));
    }
    table_cell(table, text);
}

static void add_budgets(const struct stats *stats, struct entry_buffer *text) {
    static const char *const heads[] = {"budget", "window", "used", "held", "limit", "%", "level"};
    struct table table;
    char percent[TEXT_MAX];
    if (stats->budget_count == 0)
        return;
    text_add(text, "\n");
    table_begin(&table, 7, "llrrrrl", NULL);
    for (int i = 0; i < 7; i++)
        table_cell(&table, heads[i]);
    for (size_t i = 0; i < stats->budget_count && i < BUDGETS_SHOWN; i++) {
        const struct budget *budget = &stats->budgets[i];
        table_cell(&table, budget->rule);
        table_cell(&table, budget->window);
        add_amount(&table, budget, budget->used);
        add_amount(&table, budget, budget->held);
        if (budget->is_unlimited)
            table_cell(&table, "any");
        else
            add_amount(&table, budget, budget->limit);
        snprintf(percent, sizeof percent, budget->percent > 999 ? ">999" : "%u",
                 (unsigned)budget->percent);
        table_cell(&table, percent);
        table_cell(&table, levels[budget->level]);
    }
    table_end(&table, text);
    if (stats->budget_count > BUDGETS_SHOWN)
        text_add(text, "  and %zu more: --json\n", stats->budget_count - BUDGETS_SHOWN);
}

static void add_head(const struct stats *stats, const char *directory, struct entry_buffer *text) {
    char entries[TEXT_MAX], bytes[TEXT_MAX], time[TEXT_MAX], holds[TEXT_MAX];
    text_add(text, "cost_ledger %s\n", directory);
    text_add(text, "  %s entries, %s, currency %s, %s%s\n",
             text_grouped((ledger_sum)stats->facts.entries, entries),
             text_bytes(stats->facts.data_bytes, bytes), stats->facts.currency,
             stats->reader.held ? "held by " : "held by nobody",
             stats->reader.held ? stats->reader.holder : "");
    text_add(text, "  ledger time %s, %s live hold%s\n", text_time(stats->now_us, time),
             text_grouped((ledger_sum)stats->facts.holds, holds),
             stats->facts.holds == 1 ? "" : "s");
    if (stats->facts.kept_from != 0)
        text_add(text, "  archived and removed: what is older than %s\n",
                 text_time((int64_t)stats->facts.kept_from, time));
    text_add(text, "\n");
}

/* ---- as JSON --------------------------------------------------------------------------------- */

static void put_limit(struct json *json, const char *key, ledger_sum limit) {
    json_key(json, key);
    if (limit < 0)
        json_literal(json, "null");
    else
        json_big(json, limit);
}

static void put_states(const struct stats *stats, struct json *json) {
    json_key(json, "states");
    json_open(json, '[');
    for (size_t i = 0; i < stats->count; i++) {
        const struct counted *row = &stats->rows[i];
        json_open(json, '{');
        json_key(json, "state");
        if (i == 0)
            json_literal(json, "null");
        else
            json_text(json, row->counts.state);
        json_key(json, "hourly");
        json_big(json, (ledger_sum)row->counts.in_window[0]);
        json_key(json, "daily");
        json_big(json, (ledger_sum)row->counts.in_window[1]);
        json_key(json, "session");
        json_big(json, (ledger_sum)row->counts.all);
        if (i > 0) {
            put_limit(json, "hourly_limit", row->limits[0]);
            put_limit(json, "daily_limit", row->limits[1]);
            json_key(json, "allowed");
            json_literal(json, row->allowed ? "true" : "false");
        }
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void put_budgets(const struct stats *stats, struct json *json) {
    json_key(json, "budgets");
    json_open(json, '[');
    for (size_t i = 0; i < stats->budget_count; i++) {
        const struct budget *budget = &stats->budgets[i];
        json_open(json, '{');
        json_key(json, "rule");
        json_word(json, budget->rule);
        json_key(json, "window");
        json_word(json, budget->window);
        json_key(json, "used");
        json_big(json, budget->used);
        json_key(json, "held");
        json_big(json, budget->held);
        put_limit(json, "limit", budget->is_unlimited ? -1 : budget->limit);
        json_key(json, "percent");
        json_int(json, (int64_t)budget->percent);
        json_key(json, "level");
        json_word(json, levels[budget->level]);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void put_stats(const struct stats *stats, const char *directory, struct entry_buffer *text) {
    struct json json;
    json_begin(&json, text);
    json_open(&json, '{');
    json_key(&json, "directory");
    json_word(&json, directory);
    json_key(&json, "entries");
    json_big(&json, (ledger_sum)stats->facts.entries);
    json_key(&json, "bytes");
    json_big(&json, (ledger_sum)stats->facts.data_bytes);
    json_key(&json, "currency");
    json_word(&json, stats->facts.currency);
    json_key(&json, "ledger_time");
    json_int(&json, stats->now_us / 1000);
    json_key(&json, "holds");
    json_big(&json, (ledger_sum)stats->facts.holds);
    json_key(&json, "kept_from");
    json_int(&json, (int64_t)(stats->facts.kept_from / 1000));
    json_key(&json, "holder");
    if (stats->reader.held)
        json_word(&json, stats->reader.holder);
    else
        json_literal(&json, "null");
    put_states(stats, &json);
    put_budgets(stats, &json);
    json_close(&json, '}');
    text_add(text, "\n");
}

int look_stats(const struct command_options *options) {
    struct entry_buffer text = {0};
    struct stats *stats = calloc(1, sizeof *stats);
    if (stats == NULL)
        return command_failed_with(ENOMEM, "stats");
    stats->ledger = command_open(options, &stats->reader);
    int rc = stats->ledger == NULL ? 0 : gather(stats);
    if (stats->ledger != NULL && rc == 0 && options->json) {
        put_stats(stats, options->directory, &text);
    } else if (stats->ledger != NULL && rc == 0) {
        add_head(stats, options->directory, &text);
        add_states(stats, &text);
        add_budgets(stats, &text);
    }
    bool opened = stats->ledger != NULL;
    policy_free(&stats->policy);
    if (opened)
        command_shut(stats->ledger);
    free(stats);
    if (!opened)
        return EXIT_FAILED;
    return rc != 0 ? command_failed_with(rc, options->directory) : command_print(&text);
}
