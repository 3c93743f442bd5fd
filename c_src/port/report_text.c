/* A report as text on 80 columns. */
#include <string.h>

#include "report_data.h"
#include "text.h"

#define LINE 80
#define BAR_MOST 16
#define BAR_LEAST 6
#define NAME_LEAST 14
#define CELL 80
#define ROWS_MOST (REPORT_HOURS + 2)

static void put(struct entry_buffer *out, const char *text) {
    entry_buffer_append(out, text, strlen(text));
}

static void put_blanks(struct entry_buffer *out, size_t count) {
    while (count-- > 0)
        put(out, " ");
}

/* A cleaned text, cut to so many columns. */
static void put_cut(struct entry_buffer *out, const char *text, size_t columns, bool padded) {
    char cut[CLEAN_BYTES(LINE)];
    clean_text((struct ledger_text){text, strlen(text)}, columns < LINE ? columns : LINE, "~", cut,
               sizeof cut);
    put(out, cut);
    if (padded)
        put_blanks(out, columns - clean_width(cut));
}

static void put_title(struct entry_buffer *out, const char *title) {
    text_add(out, "\n%s\n", title);
}

static void put_fact(struct entry_buffer *out, const char *name, const char *value) {
    text_add(out, "  %-16s ", name);
    put_cut(out, value, LINE - 19, false);
    put(out, "\n");
}

/* ---- head and sums --------------------------------------------------------------------------- */

static void put_head(const struct report *report, struct entry_buffer *out) {
    char since[REPORT_TIME], until[REPORT_TIME], value[128], number[TEXT_MAX];
    put(out, "cost_ledger report; times are UTC\n\n");
    put_fact(out, "directory", report->directory);
    put_fact(out, "currency", report->facts.currency);
    put_fact(out, "ledger time", report_time(report->now_us, value));
    report_time((int64_t)report->since, since);
    report_time((int64_t)report->until - (report->until > report->since), until);
    snprintf(value, sizeof value, "%s to %s", since, until);
    put_fact(out, "period", report->is_empty ? "nothing was booked yet" : value);
    put_fact(out, "entries", text_grouped((ledger_sum)report->facts.entries, number));
}

static void put_money(struct entry_buffer *out, const char *name, ledger_sum nanos) {
    char money[TEXT_MAX];
    put_fact(out, name, text_money(nanos, money));
}

static void put_counts(const struct totals *totals, struct entry_buffer *out) {
    static const char *const heads[] = {"", "all", "failed", "aborted", "unpriced"};
    const struct {
        const char *name;
        ledger_sum numbers[4];
    } rows[] = {
        {"invocations",
         {totals->column[COLUMN_INVOCATIONS], totals->column[COLUMN_FAILED],
          totals->column[COLUMN_ABORTED],
          totals->column[COLUMN_UNPRICED] + totals->column[COLUMN_CORRECTED_UNPRICED]}},
        {"runs",
         {totals->column[COLUMN_RUNS], totals->column[COLUMN_RUNS_FAILED],
          totals->column[COLUMN_RUNS_ABORTED],
          totals->column[COLUMN_RUNS_UNPRICED] + totals->column[COLUMN_CORRECTED_RUNS_UNPRICED]}}};
    static const size_t least[] = {16, 10, 10, 10, 10};
    struct table table;
    char number[TEXT_MAX];
    table_begin(&table, 5, "lrrrr", least);
    for (int i = 0; i < 5; i++)
        table_cell(&table, heads[i]);
    for (int row = 0; row < 2; row++) {
        table_cell(&table, rows[row].name);
        for (int i = 0; i < 4; i++)
            table_cell(&table, text_grouped(rows[row].numbers[i], number));
    }
    put_title(out, "calls");
    table_end(&table, out);
}

static void put_sums(const struct report *report, struct entry_buffer *out) {
    const struct totals *totals = &report->totals;
    char title[64], number[TEXT_MAX];
    snprintf(title, sizeof title, "spend in the period, %s", report->facts.currency);
    put_title(out, title);
    put_money(out, "cost, gross", totals->column[COLUMN_COST]);
    put_money(out, "corrected", totals->column[COLUMN_CORRECTED_COST]);
    put_money(out, "net", report_net(totals));
    put_money(out, "cache savings", totals->column[COLUMN_CACHE_SAVINGS]);
    put_counts(totals, out);
    put_title(out, "tokens");
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        put_fact(out, report_token_classes[class],
                 text_grouped(report_tokens(totals, (enum ledger_token_class) class), number));
}

/* ---- sums as rows ---------------------------------------------------------------------------- */

struct row {
    const char *name;
    const struct totals *totals; /* NULL: the head */
    bool has_bar;
};

enum { NUMBER_CALLS, NUMBER_RUNS, NUMBER_COST, NUMBER_NET, NUMBERS };

static char *number_of(const struct row *row, int which, unsigned decimals, char out[CELL]) {
    static const char *const heads[NUMBERS] = {"calls", "runs", "cost", "net"};
    const struct totals *totals = row->totals;
    if (totals == NULL) {
        snprintf(out, CELL, "%s", heads[which]);
        return out;
    }
    switch (which) {
    case NUMBER_CALLS:
        return text_grouped(totals->column[COLUMN_INVOCATIONS], out);
    case NUMBER_RUNS:
        return text_grouped(totals->column[COLUMN_RUNS], out);
    case NUMBER_COST:
        return report_money(totals->column[COLUMN_COST], decimals, out, CELL);
    default:
        return report_money(report_net(totals), decimals, out, CELL);
    }
}

/* What a table of them needs: numbers have the room that they need, names and bars what is left. */
struct layout {
    unsigned decimals;
    ledger_sum most;
    size_t numbers[NUMBERS];
    size_t name;
    size_t bar;
};

static void lay_out(const struct row *rows, size_t count, struct layout *layout) {
    char cell[CELL];
    size_t taken = 2, name = 0;
    *layout = (struct layout){.decimals = 2};
    for (size_t i = 0; i < count; i++) {
        const struct totals *totals = rows[i].totals;
        size_t width = clean_width(rows[i].name);
        name = width > name ? width : name;
        if (totals == NULL)
            continue;
        layout->decimals = report_decimals(totals->column[COLUMN_COST], layout->decimals);
        layout->decimals = report_decimals(report_net(totals), layout->decimals);
        if (rows[i].has_bar && totals->column[COLUMN_COST] > layout->most)
            layout->most = totals->column[COLUMN_COST];
    }
    for (int which = 0; which < NUMBERS; which++) {
        for (size_t i = 0; i < count; i++) {
            size_t width = strlen(number_of(&rows[i], which, layout->decimals, cell));
            if (width > layout->numbers[which])
                layout->numbers[which] = width;
        }
        taken += layout->numbers[which] + 2;
    }
    size_t left = taken < LINE ? LINE - taken : 0;
    layout->bar = left > NAME_LEAST + BAR_LEAST + 1 ? BAR_LEAST : 0;
    size_t room = layout->bar > 0 ? left - layout->bar - 1 : left;
    layout->name = name < room ? name : room;
    if (layout->bar > 0)
        layout->bar += room - layout->name;
    if (layout->bar > BAR_MOST)
        layout->bar = BAR_MOST;
}

static void put_bar(struct entry_buffer *out, ledger_sum part, ledger_sum whole, size_t columns) {
    size_t filled = 0;
    if (whole > 0 && part > 0)
        filled = (size_t)((part * (ledger_sum)columns + whole - 1) / whole);
    for (size_t i = 0; i < columns; i++)
        put(out, i < filled ? "#" : " ");
}

static void put_rows(struct entry_buffer *out, const struct row *rows, size_t count) {
    struct layout layout;
    char cell[CELL];
    lay_out(rows, count, &layout);
    for (size_t i = 0; i < count; i++) {
        const struct totals *totals = rows[i].totals;
        put(out, "  ");
        put_cut(out, rows[i].name, layout.name, true);
        if (layout.bar > 0) {
            put(out, " ");
            put_bar(out, rows[i].has_bar ? totals->column[COLUMN_COST] : 0, layout.most,
                    layout.bar);
        }
        for (int which = 0; which < NUMBERS; which++) {
            number_of(&rows[i], which, layout.decimals, cell);
            put_blanks(out, 2 + layout.numbers[which] - strlen(cell));
            put(out, cell);
        }
        put(out, "\n");
    }
}

/* Hours in which nothing was booked are left out: there are many of them. */
static void put_chart(const struct report_chart *chart, struct entry_buffer *out) {
    struct row rows[ROWS_MOST];
    char names[ROWS_MOST][2 * REPORT_TIME];
    size_t count = 0;
    put_title(out, chart->is_hours ? "by hour, of the last 48 (UTC; those with nothing left out)"
                                   : "by day, of the last 31 (UTC)");
    rows[count++] = (struct row){chart->is_hours ? "hour" : "day", NULL, false};
    for (size_t i = 0; i < chart->count; i++) {
        const struct report_bar *bar = &chart->bars[i];
        bool any = false;
        for (int column = 0; column < COLUMN_COUNT; column++)
            any = any || bar->totals.column[column] != 0;
        if (chart->is_hours && !any)
            continue;
        report_day(bar->start_us, names[count]);
        if (chart->is_hours) {
            strcat(names[count], " ");
            report_hour(bar->start_us, names[count] + strlen(names[count]));
        }
        rows[count] = (struct row){names[count], &bar->totals, true};
        count++;
    }
    if (count == 1)
        put(out, "  nothing\n");
    else
        put_rows(out, rows, count);
}

static void put_group(const struct report_group *group, struct entry_buffer *out) {
    struct row rows[ROWS_MOST];
    char title[64], others[64], number[TEXT_MAX], without[64];
    size_t count = 0;
    snprintf(title, sizeof title, "by %s", group->dimension);
    put_title(out, title);
    rows[count++] = (struct row){group->dimension, NULL, false};
    for (size_t i = 0; i < group->count; i++)
        rows[count++] = (struct row){group->values[i].name, &group->values[i].totals, true};
    snprintf(others, sizeof others, "%s others",
             text_grouped((ledger_sum)group->other_count, number));
    snprintf(without, sizeof without, "no %s", group->dimension);
    if (group->other_count > 0)
        rows[count++] = (struct row){others, &group->others, false};
    if (group->has_without)
        rows[count++] = (struct row){without, &group->without, false};
    if (group->is_building)
        put(out, "  its sums are being built; make the report again later\n");
    else if (count == 1)
        put(out, "  nothing\n");
    else
        put_rows(out, rows, count);
}

/* On lines of their own, as many as it takes, broken at blanks where there are some. */
static void put_folded(struct entry_buffer *out, const char *text) {
    while (*text != '\0') {
        char line[CLEAN_BYTES(LINE)];
        clean_text((struct ledger_text){text, strlen(text)}, LINE - 4, "", line, sizeof line);
        size_t size = strlen(line);
        char *blank = text[size] == '\0' ? NULL : strrchr(line, ' ');
        if (blank != NULL && (size_t)(blank - line) > size / 2)
            size = (size_t)(blank - line) + 1;
        if (size == 0)
            break;
        put(out, "    ");
        entry_buffer_append(out, line, line[size - 1] == ' ' ? size - 1 : size);
        put(out, "\n");
        text += size;
    }
}

/* ---- budgets --------------------------------------------------------------------------------- */

static char *amount(const struct report_budget *budget, ledger_sum sum, char out[TEXT_MAX]) {
    return budget->is_money ? text_money(sum, out) : text_grouped(sum, out);
}

static char *reset(const struct report_budget *budget, char out[64]) {
    char time[REPORT_TIME];
    out[0] = '\0';
    if (budget->resets_at_us == UINT64_MAX)
        snprintf(out, 64, ", never resets");
    else if (budget->resets_at_us != 0)
        snprintf(out, 64, ", resets %s", report_time((int64_t)budget->resets_at_us, time));
    return out;
}

static void put_budget(const struct report_budget *budget, struct entry_buffer *out) {
    char numbers[3][TEXT_MAX], line[REPORT_NAME_BYTES + 128], resets[64], percent[32] = "";
    ledger_sum full = budget->percent < 100 ? (ledger_sum)budget->percent : 100;
    if (!budget->is_unlimited)
        snprintf(percent, sizeof percent, "%llu%%", (unsigned long long)budget->percent);
    put(out, "  ");
    put_cut(out, budget->name, 30, true);
    put(out, " ");
    put_bar(out, budget->is_unlimited ? 0 : full, 100, 16);
    text_add(out, " %5s  %s%s%s\n", percent, report_levels[budget->level],
             budget->effect == NULL ? "" : ", ", budget->effect == NULL ? "" : budget->effect);
    snprintf(line, sizeof line, "%s, %s, %s", budget->scope, budget->measure, budget->window);
    put_folded(out, line);
    snprintf(line, sizeof line, "used %s, held %s, limit %s%s",
             amount(budget, budget->used, numbers[0]), amount(budget, budget->held, numbers[1]),
             budget->is_unlimited ? "none" : amount(budget, budget->limit, numbers[2]),
             reset(budget, resets));
    put_folded(out, line);
}

static void put_budgets(const struct report *report, struct entry_buffer *out) {
    char number[TEXT_MAX];
    put_title(out, "budgets, as they stand now");
    for (size_t i = 0; i < report->budget_count; i++)
        put_budget(&report->budgets[i], out);
    if (report->budget_total == 0)
        put(out, "  none\n");
    if (report->budget_total > report->budget_count)
        text_add(out, "  and %s more, which are less full\n",
                 text_grouped((ledger_sum)(report->budget_total - report->budget_count), number));
    if (report->budgets_of_each > 0)
        text_add(out, "  rules for each value of a dimension are not among them: %s\n",
                 text_grouped((ledger_sum)report->budgets_of_each, number));
}

/* ---- failures -------------------------------------------------------------------------------- */

static void put_failure(const struct report *report, const struct report_failure *failure,
                        struct entry_buffer *out) {
    char time[REPORT_TIME], money[TEXT_MAX] = "unpriced";
    if (failure->has_cost)
        text_money(failure->cost, money);
    text_add(out, "  %s  %-7s  ", report_time((int64_t)failure->id, time), failure->status);
    put_cut(out, failure->state[0] != '\0' ? failure->state : failure->kind, 20, true);
    text_add(out, " %s%s%s\n", money, failure->has_cost ? " " : "",
             failure->has_cost ? report->facts.currency : "");
    if (failure->agent[0] != '\0') {
        put(out, "    agent ");
        put_cut(out, failure->agent, LINE - 10, false);
        put(out, "\n");
    }
    if (failure->run_id[0] != '\0') {
        char line[REPORT_RUN_BYTES + 8];
        snprintf(line, sizeof line, "run_id %s", failure->run_id);
        put_folded(out, line);
    }
    put_folded(out, failure->message);
}

static void put_failures(const struct report *report, struct entry_buffer *out) {
    char number[TEXT_MAX];
    put_title(out, "failed or aborted, newest first");
    for (size_t i = 0; i < report->failure_count; i++)
        put_failure(report, &report->failures[i], out);
    if (report->failure_count == 0)
        put(out, "  none\n");
    if (report->failure_total > report->failure_count)
        text_add(out, "  and %s more before\n",
                 text_grouped((ledger_sum)(report->failure_total - report->failure_count), number));
}

void report_put_text(const struct report *report, struct entry_buffer *out) {
    put_head(report, out);
    put_sums(report, out);
    put_chart(&report->days, out);
    put_chart(&report->hours, out);
    for (size_t i = 0; i < report->group_count; i++)
        put_group(&report->groups[i], out);
    put_budgets(report, out);
    put_failures(report, out);
}
