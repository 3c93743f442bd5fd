/* Text for people: times, numbers, tables that line up on 80 columns.
 *
 * Thread class: any; nothing here blocks. A failed allocation sets `failed` of the buffer. */
#ifndef PORT_TEXT_H
#define PORT_TEXT_H

#include <stdio.h>

#include "../core/ledger.h"

/* printf at the end of a buffer. */
void text_add(struct entry_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Each into `out`, which it returns; TEXT_MAX bytes hold the longest. */
#define TEXT_MAX 64
char *text_time(int64_t us, char out[TEXT_MAX]);           /* 2026-11-22T06:20:06.415Z */
char *text_clock(int64_t us, char out[TEXT_MAX]);          /* 06:20:06 */
char *text_grouped(ledger_sum number, char out[TEXT_MAX]); /* 1,234,567 */
/* Of a large one what fits, downwards: 12.3M. Where it is cut, --json has all of it. */
char *text_shortened(ledger_sum number, char out[TEXT_MAX]);
char *text_sum(ledger_sum number, char out[TEXT_MAX]); /* 1234567, of any size */
char *text_bytes(uint64_t bytes, char out[TEXT_MAX]);  /* 76 KiB, 1.2 MiB */
/* Exact: as few decimals as there are, at least two. */
char *text_money(ledger_sum nanos, char out[TEXT_MAX]);

/* A table: cells are copied; as wide as the widest, and at least `least`. */
#define TABLE_COLUMNS_MAX 12
struct table {
    unsigned columns;
    size_t least[TABLE_COLUMNS_MAX];
    bool right[TABLE_COLUMNS_MAX];
    size_t count, capacity;
    char **cells;
    bool failed;
};
void table_begin(struct table *table, unsigned columns, const char *sides, const size_t *least);
/* One cell after the other, row by row; NULL is empty. */
void table_cell(struct table *table, const char *text);
/* Writes it behind two blanks, and frees it. */
void table_end(struct table *table, struct entry_buffer *buffer);

/* At most `width` characters; what is cut ends in "~". */
char *text_cut(struct ledger_text text, size_t width, char *out, size_t size);

#endif
