/* FOCUS 1.0, the FinOps Open Cost and Usage Specification, as CSV: a row for each record. What each
 * column is made of is in docs/export.md.
 *
 * Thread class: any; allocates. */
#ifndef PORT_FOCUS_H
#define PORT_FOCUS_H

#include "csv.h"

struct focus {
    char currency[8];
};

int focus_begin(struct focus *focus, struct ledger *ledger);
void focus_head(struct csv *csv);
void focus_row(const struct focus *focus, struct csv *csv, const struct ledger_entry *entry);

#endif
