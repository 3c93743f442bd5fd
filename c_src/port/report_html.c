/* A report as one HTML file: no script, nothing from elsewhere, and a policy that forbids both, so
 * that a name that got through as markup could do nothing. */
#include "report_html.h"

#include <openssl/evp.h>
#include <string.h>

#include "text.h"

/* ---- text ------------------------------------------------------------------------------------ */

void html_put(struct entry_buffer *out, const char *markup) {
    entry_buffer_append(out, markup, strlen(markup));
}

void html_text(struct entry_buffer *out, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            html_put(out, "&amp;");
            break;
        case '<':
            html_put(out, "&lt;");
            break;
        case '>':
            html_put(out, "&gt;");
            break;
        case '"':
            html_put(out, "&quot;");
            break;
        case '\'':
            html_put(out, "&#39;");
            break;
        default:
            entry_buffer_append(out, text, 1);
        }
    }
}

void html_name(struct entry_buffer *out, const char *name) {
    html_put(out, "<bdi>");
    html_text(out, name);
    html_put(out, "</bdi>");
}

void html_count(struct entry_buffer *out, ledger_sum number) {
    char digits[TEXT_MAX];
    html_put(out, text_grouped(number, digits));
}

static void put_heading(struct entry_buffer *out, const char *heading) {
    text_add(out, "<h2>%s</h2>\n", heading);
}

/* ---- head ------------------------------------------------------------------------------------ */

/* The one style that is allowed is told by its digest. */
static int put_begin(const struct report *report, struct entry_buffer *out) {
    uint8_t digest[ENTRY_DIGEST_BYTES];
    unsigned char code[4 * ENTRY_DIGEST_BYTES / 3 + 8];
    struct ledger_text style = {report_style, strlen(report_style)};
    int rc = ledger_digest(style, digest);
    if (rc != 0)
        return rc;
    EVP_EncodeBlock(code, digest, sizeof digest);
    html_put(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    text_add(out,
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
             "'sha256-%s'; base-uri 'none'; form-action 'none'\">\n",
             (const char *)code);
    html_put(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n"
                  "<meta name=\"referrer\" content=\"no-referrer\">\n<title>Spend: ");
    html_text(out, report->directory);
    html_put(out, "</title>\n<style>");
    html_put(out, report_style);
    html_put(out, "</style>\n</head>\n<body>\n<main>\n");
    return 0;
}

static void put_period(const struct report *report, struct entry_buffer *out) {
    char since[REPORT_TIME], until[REPORT_TIME];
    if (report->is_empty)
        html_put(out, "Nothing was booked yet");
    else
        text_add(out, "%s to %s UTC", report_time((int64_t)report->since, since),
                 report_time((int64_t)report->until - (report->until > report->since), until));
}

static void put_head(const struct report *report, struct entry_buffer *out) {
    char time[REPORT_TIME];
    html_put(out, "<header>\n<h1>Spend</h1>\n<p class=\"period\">");
    put_period(report, out);
    html_put(out, "</p>\n<dl class=\"about\">\n<div><dt>Ledger</dt><dd class=\"path\">");
    html_name(out, report->directory);
    html_put(out, "</dd></div>\n<div><dt>Ledger time</dt><dd>");
    text_add(out, "%s UTC</dd></div>\n<div><dt>Entries</dt><dd>",
             report_time(report->now_us, time));
    html_count(out, (ledger_sum)report->facts.entries);
    html_put(out, "</dd></div>\n<div><dt>Currency</dt><dd>");
    html_text(out, report->facts.currency);
    html_put(out, "</dd></div>\n</dl>\n</header>\n");
}

/* ---- sums ------------------------------------------------------------------------------------ */

static void put_sum(struct entry_buffer *out, const char *name, ledger_sum nanos) {
    char money[TEXT_MAX];
    text_add(out, "<div><dt>%s</dt><dd>%s</dd></div>\n", name, text_money(nanos, money));
}

static void put_costs(const struct report *report, struct entry_buffer *out) {
    const struct totals *totals = &report->totals;
    char money[TEXT_MAX];
    html_put(out, "<section class=\"sums\">\n<h2 class=\"hidden\">Spend in the period</h2>\n"
                  "<div class=\"net\"><p class=\"label\">Net cost</p><p class=\"figure\">");
    text_add(out, "%s <span class=\"unit\">%s</span></p>\n<dl class=\"parts\">\n",
             text_money(report_net(totals), money), report->facts.currency);
    put_sum(out, "Gross", totals->column[COLUMN_COST]);
    put_sum(out, "Corrected", totals->column[COLUMN_CORRECTED_COST]);
    put_sum(out, "Cache savings", totals->column[COLUMN_CACHE_SAVINGS]);
    html_put(out, "</dl>\n</div>\n");
}

static void put_numbers(struct entry_buffer *out, const char *name, const ledger_sum *numbers,
                        size_t count) {
    text_add(out, "<tr><th scope=\"row\">%s</th>", name);
    for (size_t i = 0; i < count; i++) {
        html_put(out, numbers[i] == 0 ? "<td class=\"zero\">" : "<td>");
        html_count(out, numbers[i]);
        html_put(out, "</td>");
    }
    html_put(out, "</tr>\n");
}

static void put_counts(const struct totals *totals, struct entry_buffer *out) {
    const ledger_sum invocations[] = {totals->column[COLUMN_INVOCATIONS],
                                      totals->column[COLUMN_FAILED], totals->column[COLUMN_ABORTED],
                                      totals->column[COLUMN_UNPRICED] +
                                          totals->column[COLUMN_CORRECTED_UNPRICED]};
    const ledger_sum runs[] = {totals->column[COLUMN_RUNS], totals->column[COLUMN_RUNS_FAILED],
                               totals->column[COLUMN_RUNS_ABORTED],
                               totals->column[COLUMN_RUNS_UNPRICED] +
                                   totals->column[COLUMN_CORRECTED_RUNS_UNPRICED]};
    html_put(out,
             "<div class=\"wide\"><table class=\"counts\"><thead><tr><th scope=\"col\">Calls</th>"
             "<th scope=\"col\">All</th><th scope=\"col\">Failed</th><th scope=\"col\">Aborted"
             "</th><th scope=\"col\">Unpriced</th></tr></thead><tbody>\n");
    put_numbers(out, "Invocations", invocations, 4);
    put_numbers(out, "Runs", runs, 4);
    html_put(out, "</tbody></table></div>\n");
}

static void put_tokens(const struct totals *totals, struct entry_buffer *out) {
    html_put(out, "<table class=\"tokens\"><thead><tr><th scope=\"col\">Tokens</th>"
                  "<th scope=\"col\">Net</th></tr></thead><tbody>\n");
    for (int class = 0; class < TOKENS_CLASSES; class ++) {
        ledger_sum tokens = report_tokens(totals, (enum ledger_token_class) class);
        put_numbers(out, report_token_classes[class], &tokens, 1);
    }
    html_put(out, "</tbody></table>\n");
}

static void put_sums(const struct report *report, struct entry_buffer *out) {
    put_costs(report, out);
    put_counts(&report->totals, out);
    put_tokens(&report->totals, out);
    html_put(out, "</section>\n");
}

static void put_charts(const struct report *report, struct entry_buffer *out) {
    html_put(out, "<section class=\"pair\">\n<div>\n");
    put_heading(out, "Cost per day <small>UTC, the last 31 at most</small>");
    html_chart(out, &report->days, report->facts.currency);
    html_put(out, "</div>\n<div>\n");
    put_heading(out, "Cost per hour <small>UTC, the last 48 at most</small>");
    html_chart(out, &report->hours, report->facts.currency);
    html_put(out, "</div>\n</section>\n");
}

/* ---- by the values of a dimension ------------------------------------------------------------ */

/* `most` is what the longest bar stands for; 0: no bar. */
static void put_row(struct entry_buffer *out, const struct totals *totals, ledger_sum most,
                    unsigned decimals) {
    char money[TEXT_MAX + 8];
    if (most > 0)
        html_bar(out, totals->column[COLUMN_COST], most);
    html_put(out, "</th><td>");
    html_count(out, totals->column[COLUMN_INVOCATIONS]);
    html_put(out, "</td><td>");
    html_count(out, totals->column[COLUMN_RUNS]);
    text_add(out, "</td><td>%s</td>",
             report_money(totals->column[COLUMN_COST], decimals, money, sizeof money));
    text_add(out, "<td>%s</td></tr>\n",
             report_money(report_net(totals), decimals, money, sizeof money));
}

static unsigned widen(unsigned decimals, const struct totals *totals) {
    decimals = report_decimals(totals->column[COLUMN_COST], decimals);
    return report_decimals(report_net(totals), decimals);
}

/* Of all rows: they stand in one column. */
static unsigned find_decimals(const struct report_group *group) {
    unsigned decimals = widen(2, &group->others);
    if (group->has_without)
        decimals = widen(decimals, &group->without);
    for (size_t i = 0; i < group->count; i++)
        decimals = widen(decimals, &group->values[i].totals);
    return decimals;
}

static void put_group_rows(const struct report_group *group, struct entry_buffer *out) {
    ledger_sum most = group->count > 0 ? group->values[0].totals.column[COLUMN_COST] : 0;
    unsigned decimals = find_decimals(group);
    for (size_t i = 0; i < group->count; i++) {
        html_put(out, "<tr><th scope=\"row\">");
        html_name(out, group->values[i].name);
        put_row(out, &group->values[i].totals, most, decimals);
    }
    if (group->other_count > 0) {
        html_put(out, "<tr class=\"rest\"><th scope=\"row\">");
        html_count(out, (ledger_sum)group->other_count);
        html_put(out, " others");
        put_row(out, &group->others, 0, decimals);
    }
    if (group->has_without) {
        text_add(out, "<tr class=\"rest\"><th scope=\"row\">no %s", group->dimension);
        put_row(out, &group->without, 0, decimals);
    }
}

static void put_group(const struct report_group *group, struct entry_buffer *out) {
    text_add(out, "<section class=\"group\" id=\"by-%s\">\n<h2>By %s</h2>\n", group->dimension,
             group->dimension);
    if (group->is_building) {
        html_put(out,
                 "<p class=\"none\">Its sums are being built; make the report again later.</p>");
    } else if (group->count == 0 && !group->has_without) {
        html_put(out, "<p class=\"none\">Nothing.</p>");
    } else {
        html_put(out,
                 "<div class=\"wide\"><table><thead><tr><th scope=\"col\">Name</th>"
                 "<th scope=\"col\">Calls</th><th scope=\"col\">Runs</th>"
                 "<th scope=\"col\">Cost</th><th scope=\"col\">Net</th></tr></thead><tbody>\n");
        put_group_rows(group, out);
        html_put(out, "</tbody></table></div>");
    }
    html_put(out, "\n</section>\n");
}

/* ---- budgets --------------------------------------------------------------------------------- */

static void put_amount(const struct report_budget *budget, ledger_sum amount,
                       struct entry_buffer *out) {
    char number[TEXT_MAX];
    html_put(out, budget->is_money ? text_money(amount, number) : text_grouped(amount, number));
}

static void put_budget_numbers(const struct report_budget *budget, struct entry_buffer *out) {
    html_put(out, "<dl class=\"amounts\"><div><dt>Used</dt><dd>");
    put_amount(budget, budget->used, out);
    html_put(out, "</dd></div><div><dt>Held</dt><dd>");
    put_amount(budget, budget->held, out);
    html_put(out, "</dd></div><div><dt>Limit</dt><dd>");
    if (budget->is_unlimited)
        html_put(out, "none");
    else
        put_amount(budget, budget->limit, out);
    html_put(out, "</dd></div></dl>\n");
}

static void put_budget(const struct report_budget *budget, struct entry_buffer *out) {
    char time[REPORT_TIME];
    const char *level = report_levels[budget->level];
    text_add(out, "<li class=\"%s\"><div class=\"line\"><h3>", level);
    html_name(out, budget->name);
    text_add(out, "</h3><span class=\"level\">%s%s%s</span>", level,
             budget->effect == NULL ? "" : ", ", budget->effect == NULL ? "" : budget->effect);
    if (!budget->is_unlimited)
        text_add(out, "<span class=\"percent\">%llu\xE2\x80\xAF%%</span>",
                 (unsigned long long)budget->percent);
    html_put(out, "</div>");
    if (!budget->is_unlimited)
        html_budget_bar(out, budget);
    put_budget_numbers(budget, out);
    html_put(out, "<p class=\"note\">");
    html_name(out, budget->scope);
    text_add(out, " \xC2\xB7 %s \xC2\xB7 %s", budget->measure, budget->window);
    if (budget->resets_at_us == UINT64_MAX)
        html_put(out, " \xC2\xB7 never resets");
    else if (budget->resets_at_us != 0)
        text_add(out, " \xC2\xB7 <span class=\"time\">resets %s UTC</span>",
                 report_time((int64_t)budget->resets_at_us, time));
    html_put(out, "</p></li>\n");
}

static void put_budgets(const struct report *report, struct entry_buffer *out) {
    html_put(out, "<section class=\"budgets\">\n");
    put_heading(out, "Budgets <small>as they stand now</small>");
    if (report->budget_total == 0)
        html_put(out, "<p class=\"none\">None.</p>\n");
    html_put(out, report->budget_count > 0 ? "<ul class=\"cards\">\n" : "");
    for (size_t i = 0; i < report->budget_count; i++)
        put_budget(&report->budgets[i], out);
    html_put(out, report->budget_count > 0 ? "</ul>\n" : "");
    if (report->budget_total > report->budget_count) {
        html_put(out, "<p class=\"note\">And ");
        html_count(out, (ledger_sum)(report->budget_total - report->budget_count));
        html_put(out, " more, which are less full.</p>\n");
    }
    if (report->budgets_of_each > 0) {
        html_put(out, "<p class=\"note\">Rules for each value of a dimension are not among them: ");
        html_count(out, (ledger_sum)report->budgets_of_each);
        html_put(out, ".</p>\n");
    }
    html_put(out, "</section>\n");
}

/* ---- failures -------------------------------------------------------------------------------- */

static void put_part(struct entry_buffer *out, const char *class, const char *label,
                     const char *text) {
    if (text[0] == '\0')
        return;
    text_add(out, "<p class=\"%s\">%s", class, label);
    html_name(out, text);
    html_put(out, "</p>");
}

static void put_failure(const struct report *report, const struct report_failure *failure,
                        struct entry_buffer *out) {
    char time[REPORT_TIME], money[TEXT_MAX];
    text_add(out,
             "<li><div class=\"line\"><span class=\"time\">%s</span><span class=\"status %s\">%s"
             "</span><span class=\"what\">",
             report_time((int64_t)failure->id, time), failure->status, failure->status);
    html_name(out, failure->state[0] != '\0' ? failure->state : failure->kind);
    if (failure->agent[0] != '\0') {
        html_put(out, " \xC2\xB7 ");
        html_name(out, failure->agent);
    }
    text_add(out, "</span><span class=\"cost\">%s%s%s</span></div>",
             failure->has_cost ? text_money(failure->cost, money) : "unpriced",
             failure->has_cost ? " " : "", failure->has_cost ? report->facts.currency : "");
    put_part(out, "message", "", failure->message);
    put_part(out, "run", "run ", failure->run_id);
    html_put(out, "</li>\n");
}

static void put_failures(const struct report *report, struct entry_buffer *out) {
    html_put(out, "<section class=\"failures\">\n");
    put_heading(out, "Failed or aborted <small>newest first, times are UTC</small>");
    if (report->failure_count == 0)
        html_put(out, "<p class=\"none\">None.</p>\n");
    html_put(out, report->failure_count > 0 ? "<ol>\n" : "");
    for (size_t i = 0; i < report->failure_count; i++)
        put_failure(report, &report->failures[i], out);
    html_put(out, report->failure_count > 0 ? "</ol>\n" : "");
    if (report->failure_total > report->failure_count) {
        html_put(out, "<p class=\"note\">And ");
        html_count(out, (ledger_sum)(report->failure_total - report->failure_count));
        html_put(out, " more before.</p>\n");
    }
    html_put(out, "</section>\n");
}

int report_put_html(const struct report *report, struct entry_buffer *out) {
    int rc = put_begin(report, out);
    if (rc != 0)
        return rc;
    put_head(report, out);
    put_sums(report, out);
    put_charts(report, out);
    html_put(out, "<div class=\"groups\">\n");
    for (size_t i = 0; i < report->group_count; i++)
        put_group(&report->groups[i], out);
    html_put(out, "</div>\n");
    put_budgets(report, out);
    put_failures(report, out);
    html_put(out, "</main>\n</body>\n</html>\n");
    return 0;
}
