/* The columns of a CSV file: what each is called, how a record fills it, and how it is read back.
 *
 *   text      names, ids of the caller, intent, error_message; neutralised (csv.h)
 *   JSON      input, output, trace, attributes: text, too
 *   number    amounts in nano-units, counts, ms, ids of the ledger
 *   money     total_cost: currency units, exactly
 *   time      RFC 3339, ms, UTC
 *
 * docs/export.md has the list.
 *
 * Thread class: any; allocates. */
#ifndef PORT_COLUMNS_H
#define PORT_COLUMNS_H

#include "csv.h"
#include "record_read.h"

#define COLUMNS_MAX 64

struct column;
struct columns {
    size_t count;
    const struct column *items[COLUMNS_MAX];
};

/* "a,b,c", or NULL for those of an execution's history. LEDGER_E_BAD_ENTRY for one that there is
 * not, or that is there twice: the failure lists those that there are. */
int columns_choose(const char *list, struct columns *columns, struct ledger_failure *failure);

void columns_head(const struct columns *columns, struct csv *csv);
void columns_row(const struct columns *columns, struct csv *csv, const struct ledger_entry *entry,
                 const struct ledger_payload *payload);

/* The head of a file: which columns it has. */
int columns_read_head(const struct csv_row *row, struct columns *columns,
                      struct ledger_failure *failure);
/* A row below it, as a record of work; texts point into the row. LEDGER_E_BAD_ENTRY names the
 * column. */
int columns_read_row(const struct columns *columns, const struct csv_row *row,
                     struct record *record, struct ledger_failure *failure);

#endif
