/* CSV: RFC 4180, CRLF, UTF-8 or whatever bytes there are.
 *
 * A text that a spreadsheet would run as a formula (its first byte is one of = + - @, a tab or a
 * CR), or that begins with an apostrophe, gets one apostrophe in front; csv_undo() takes that one
 * away again, so that every text comes back as it was. Numbers are written as they are. An absent
 * text is an empty cell, an empty one is "".
 *
 * Thread class: any; allocates. */
#ifndef PORT_CSV_H
#define PORT_CSV_H

#include <stdio.h>

#include "../core/ledger.h"

struct csv {
    struct entry_buffer *out;
    bool any; /* cells in this row */
};

void csv_begin(struct csv *csv, struct entry_buffer *out);
void csv_text(struct csv *csv, struct ledger_text text); /* data NULL: absent */
void csv_number(struct csv *csv, const char *digits);    /* NULL: none */
void csv_end(struct csv *csv);                           /* of the row */

struct csv_cell {
    size_t start; /* in `bytes` of its row */
    size_t size;
    bool quoted;
};

/* A row that was read. Zeroed is none yet; reused from one to the next. */
struct csv_row {
    struct entry_buffer bytes;
    struct csv_cell *cells;
    size_t count;
    size_t capacity;
    uint64_t line;      /* that it begins in, from 1 on */
    uint64_t next_line; /* of the row behind it */
};

/* 0, EOF at the end of the file, ENOMEM, an errno, or LEDGER_E_BAD_ENTRY with *wrong: static text.
 * CRLF, LF and CR end a row. */
int csv_read(FILE *file, struct csv_row *row, const char **wrong);
void csv_row_free(struct csv_row *row);
/* Of a cell; data NULL where it is empty and not quoted. */
struct ledger_text csv_cell_text(const struct csv_row *row, size_t cell);
struct ledger_text csv_undo(struct ledger_text text);

#endif
