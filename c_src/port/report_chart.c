/* Bars and charts: SVG that has no text but its titles, so that it can be stretched; labels and the
 * same numbers as a table stand beside it in HTML. */
#include <string.h>

#include "report_html.h"
#include "text.h"

/* Of 10,000: per mille would be too coarse for a wide screen. */
static unsigned share(ledger_sum part, ledger_sum whole) {
    if (whole <= 0 || part <= 0)
        return 0;
    ledger_sum of = part * 10000 / whole;
    return of > 10000 ? 10000 : of == 0 ? 1 : (unsigned)of;
}

static void put_rect(struct entry_buffer *out, const char *class, unsigned from, unsigned size) {
    text_add(out,
             "<rect class=\"%s\" x=\"%u.%02u%%\" y=\"0\" width=\"%u.%02u%%\" height=\"100%%\"/>",
             class, from / 100, from % 100, size / 100, size % 100);
}

void html_bar(struct entry_buffer *out, ledger_sum part, ledger_sum whole) {
    html_put(out, "<svg class=\"bar\" aria-hidden=\"true\" focusable=\"false\">");
    put_rect(out, "fill", 0, share(part, whole));
    html_put(out, "</svg>");
}

/* Used, then held; where both are beyond the limit, a line shows where that is. */
void html_budget_bar(struct entry_buffer *out, const struct report_budget *budget) {
    ledger_sum in_use = budget->used + budget->held;
    ledger_sum whole = in_use > budget->limit ? in_use : budget->limit;
    unsigned used = share(budget->used, whole), held = share(budget->held, whole);
    if (used + held > 10000)
        held = 10000 - used;
    html_put(out, "<svg class=\"bar budget\" aria-hidden=\"true\" focusable=\"false\">");
    put_rect(out, "fill", 0, used);
    put_rect(out, "held", used, held);
    if (whole > budget->limit) {
        unsigned limit = share(budget->limit, whole);
        text_add(out,
                 "<line class=\"limit\" x1=\"%u.%02u%%\" x2=\"%u.%02u%%\" y1=\"0\" y2=\"100%%\"/>",
                 limit / 100, limit % 100, limit / 100, limit % 100);
    }
    html_put(out, "</svg>");
}

/* ---- days and hours -------------------------------------------------------------------------- */

static char *name_bar(const struct report_chart *chart, const struct report_bar *bar,
                      char out[2 * REPORT_TIME]) {
    char hour[REPORT_TIME];
    report_day(bar->start_us, out);
    if (chart->is_hours)
        snprintf(out + strlen(out), REPORT_TIME, " %s", report_hour(bar->start_us, hour));
    return out;
}

static ledger_sum find_most(const struct report_chart *chart, size_t *at) {
    ledger_sum most = 0;
    *at = 0;
    for (size_t i = 0; i < chart->count; i++)
        if (chart->bars[i].totals.column[COLUMN_COST] > most) {
            most = chart->bars[i].totals.column[COLUMN_COST];
            *at = i;
        }
    return most;
}

/* Each bar has a title over its whole height, also where it is too small to be pointed at. */
static void put_bars(struct entry_buffer *out, const struct report_chart *chart, ledger_sum most,
                     const char *currency) {
    char name[2 * REPORT_TIME], money[TEXT_MAX];
    for (size_t i = 0; i < chart->count; i++) {
        const struct report_bar *bar = &chart->bars[i];
        unsigned height = share(bar->totals.column[COLUMN_COST], most);
        text_add(out,
                 "<g><title>%s: %s %s</title><rect class=\"hit\" x=\"%zu\" y=\"0\" width=\"100\" "
                 "height=\"10000\"/>",
                 name_bar(chart, bar, name), text_money(bar->totals.column[COLUMN_COST], money),
                 currency, i * 100);
        if (height > 0)
            text_add(out, "<rect class=\"fill\" x=\"%zu\" y=\"%u\" width=\"76\" height=\"%u\"/>",
                     i * 100 + 12, 10000 - height, height);
        html_put(out, "</g>");
    }
}

static void put_svg(struct entry_buffer *out, const struct report_chart *chart, ledger_sum most,
                    size_t at, const char *currency) {
    const char *id = chart->is_hours ? "hours" : "days";
    char first[2 * REPORT_TIME], last[2 * REPORT_TIME], highest[2 * REPORT_TIME], money[TEXT_MAX];
    text_add(out,
             "<svg class=\"chart\" role=\"img\" aria-labelledby=\"%s-title %s-text\" "
             "viewBox=\"0 0 %zu 10000\" preserveAspectRatio=\"none\">"
             "<title id=\"%s-title\">Cost per %s</title>",
             id, id, chart->count * 100, id, chart->is_hours ? "hour" : "day");
    text_add(out, "<desc id=\"%s-text\">%zu bars from %s to %s, UTC. ", id, chart->count,
             name_bar(chart, &chart->bars[0], first),
             name_bar(chart, &chart->bars[chart->count - 1], last));
    if (most > 0)
        text_add(out, "The highest is %s: %s %s. ", name_bar(chart, &chart->bars[at], highest),
                 text_money(most, money), currency);
    html_put(out, "The table below has all of them.</desc>");
    put_bars(out, chart, most, currency);
    html_put(out, "</svg>");
}

/* First, middle and last: what is between can be counted, or pointed at. */
static void put_labels(struct entry_buffer *out, const struct report_chart *chart) {
    char name[2 * REPORT_TIME];
    size_t places[3] = {0, chart->count / 2, chart->count - 1};
    html_put(out, "<div class=\"axis\" aria-hidden=\"true\">");
    for (int i = 0; i < 3; i++)
        if (i == 0 || places[i] > places[i - 1])
            text_add(out, "<span>%s</span>", name_bar(chart, &chart->bars[places[i]], name));
    html_put(out, "</div>");
}

static void put_table(struct entry_buffer *out, const struct report_chart *chart) {
    char name[2 * REPORT_TIME], money[TEXT_MAX];
    unsigned decimals = 2;
    for (size_t i = 0; i < chart->count; i++) {
        decimals = report_decimals(chart->bars[i].totals.column[COLUMN_COST], decimals);
        decimals = report_decimals(report_net(&chart->bars[i].totals), decimals);
    }
    text_add(out,
             "<details><summary>As a table</summary><div class=\"wide\"><table class=\"%s\"><thead>"
             "<tr><th scope=\"col\">%s, UTC</th><th scope=\"col\">Calls</th><th scope=\"col\">Runs"
             "</th><th scope=\"col\">Cost</th><th scope=\"col\">Net</th></tr></thead><tbody>\n",
             chart->is_hours ? "hours" : "days", chart->is_hours ? "Hour" : "Day");
    for (size_t i = 0; i < chart->count; i++) {
        const struct totals *totals = &chart->bars[i].totals;
        text_add(out, "<tr><th scope=\"row\">%s</th><td>", name_bar(chart, &chart->bars[i], name));
        html_count(out, totals->column[COLUMN_INVOCATIONS]);
        html_put(out, "</td><td>");
        html_count(out, totals->column[COLUMN_RUNS]);
        text_add(out, "</td><td>%s</td>",
                 report_money(totals->column[COLUMN_COST], decimals, money, sizeof money));
        text_add(out, "<td>%s</td></tr>\n",
                 report_money(report_net(totals), decimals, money, sizeof money));
    }
    html_put(out, "</tbody></table></div></details>");
}

void html_chart(struct entry_buffer *out, const struct report_chart *chart, const char *currency) {
    size_t at;
    char money[TEXT_MAX];
    ledger_sum most = find_most(chart, &at);
    if (chart->count == 0) {
        html_put(out, "<p class=\"none\">Nothing.</p>");
        return;
    }
    text_add(out, "<p class=\"scale\" aria-hidden=\"true\">%s %s</p>", text_money(most, money),
             currency);
    put_svg(out, chart, most, at, currency);
    put_labels(out, chart);
    put_table(out, chart);
}
