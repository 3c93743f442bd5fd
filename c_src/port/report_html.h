/* Parts of the HTML of a report. Each appends to a buffer.
 *
 * Text that is not of this program goes through html_text() or html_name() alone; both escape it.
 *
 * Thread class: the job's own. */
#ifndef PORT_REPORT_HTML_H
#define PORT_REPORT_HTML_H

#include "report_data.h"

extern const char *const report_style;

void html_put(struct entry_buffer *out, const char *markup);
void html_text(struct entry_buffer *out, const char *text);
/* The same, kept from turning what stands around it: some scripts run from right to left. */
void html_name(struct entry_buffer *out, const char *name);
void html_count(struct entry_buffer *out, ledger_sum number);

/* A bar over the whole width of where it stands; parts of `whole`, in units of it. */
void html_bar(struct entry_buffer *out, ledger_sum part, ledger_sum whole);
/* Of one that has a limit. */
void html_budget_bar(struct entry_buffer *out, const struct report_budget *budget);
/* A chart of the costs of days or hours, and the table of it. */
void html_chart(struct entry_buffer *out, const struct report_chart *chart, const char *currency);

#endif
