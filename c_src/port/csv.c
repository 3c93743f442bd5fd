#include "csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ------------------------------------------------------------------------------ */

void csv_begin(struct csv *csv, struct entry_buffer *out) {
    *csv = (struct csv){.out = out};
}

static void separate(struct csv *csv) {
    if (csv->any)
        entry_buffer_append(csv->out, ",", 1);
    csv->any = true;
}

static bool is_dangerous(char first) {
    return first != '\0' && strchr("=+-@\t\r'", first) != NULL;
}

static bool needs_quotes(struct ledger_text text) {
    static const bool is_special[256] = {
        ['"'] = true, [','] = true, [';'] = true, ['\r'] = true, ['\n'] = true, ['\t'] = true};
    bool needs = text.size == 0 || text.data[0] == ' ' || text.data[text.size - 1] == ' ';
    for (size_t i = 0; !needs && i < text.size; i++)
        needs = is_special[(unsigned char)text.data[i]];
    return needs;
}

void csv_text(struct csv *csv, struct ledger_text text) {
    separate(csv);
    if (text.data == NULL)
        return;
    bool quoted = needs_quotes(text);
    if (quoted)
        entry_buffer_append(csv->out, "\"", 1);
    if (text.size > 0 && is_dangerous(text.data[0]))
        entry_buffer_append(csv->out, "'", 1);
    for (const char *at = text.data, *end = at + text.size; at < end;) {
        const char *quote = memchr(at, '"', (size_t)(end - at));
        const char *stop = quote == NULL ? end : quote + 1;
        entry_buffer_append(csv->out, at, (size_t)(stop - at));
        if (quote != NULL)
            entry_buffer_append(csv->out, "\"", 1);
        at = stop;
    }
    if (quoted)
        entry_buffer_append(csv->out, "\"", 1);
}

void csv_number(struct csv *csv, const char *digits) {
    separate(csv);
    if (digits != NULL)
        entry_buffer_append(csv->out, digits, strlen(digits));
}

void csv_end(struct csv *csv) {
    entry_buffer_append(csv->out, "\r\n", 2);
    csv->any = false;
}

struct ledger_text csv_undo(struct ledger_text text) {
    if (text.size > 1 && text.data[0] == '\'' && is_dangerous(text.data[1]))
        return (struct ledger_text){text.data + 1, text.size - 1};
    return text;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int begin_cell(struct csv_row *row) {
    if (row->count == row->capacity) {
        size_t capacity = 2 * row->capacity + 16;
        struct csv_cell *grown = realloc(row->cells, capacity * sizeof *grown);
        if (grown == NULL)
            return ENOMEM;
        row->cells = grown;
        row->capacity = capacity;
    }
    row->cells[row->count++] = (struct csv_cell){.start = row->bytes.size};
    return 0;
}

static void put(struct csv_row *row, int byte) {
    char one = (char)byte;
    entry_buffer_append(&row->bytes, &one, 1);
    row->cells[row->count - 1].size++;
}

/* The rest of a cell after its first quote; the byte behind the closing one. */
static int read_quoted(FILE *file, struct csv_row *row, const char **wrong) {
    int byte;
    row->cells[row->count - 1].quoted = true;
    for (;;) {
        byte = getc_unlocked(file);
        if (byte == EOF)
            break;
        if (byte == '"') {
            byte = getc_unlocked(file);
            if (byte != '"')
                return byte;
        }
        row->next_line += byte == '\n';
        put(row, byte);
    }
    *wrong = "a quoted cell does not end";
    return EOF;
}

/* One cell; the byte that ended it: a comma, a line's end, EOF. */
static int read_cell(FILE *file, struct csv_row *row, const char **wrong) {
    int byte = getc_unlocked(file);
    if (byte == '"') {
        byte = read_quoted(file, row, wrong);
        if (*wrong == NULL && byte != ',' && byte != '\r' && byte != '\n' && byte != EOF)
            *wrong = "something follows the closing quote of a cell";
    }
    while (*wrong == NULL && byte != ',' && byte != '\r' && byte != '\n' && byte != EOF) {
        if (byte == '"')
            *wrong = "a quote in a cell that does not begin with one";
        put(row, byte);
        byte = getc_unlocked(file);
    }
    return byte;
}

int csv_read(FILE *file, struct csv_row *row, const char **wrong) {
    int byte, rc = 0;
    row->bytes.size = row->count = 0;
    row->line = row->next_line == 0 ? 1 : row->next_line;
    row->next_line = row->line;
    *wrong = NULL;
    do {
        rc = begin_cell(row);
        byte = rc == 0 ? read_cell(file, row, wrong) : EOF;
    } while (rc == 0 && *wrong == NULL && byte == ',');
    if (byte == '\r') {
        byte = getc_unlocked(file);
        if (byte != '\n' && byte != EOF)
            ungetc(byte, file);
    }
    row->next_line++;
    if (rc == 0 && row->bytes.failed)
        rc = ENOMEM;
    if (rc == 0 && ferror(file))
        rc = errno != 0 ? errno : EIO;
    if (rc == 0 && *wrong != NULL)
        rc = LEDGER_E_BAD_ENTRY;
    bool is_empty = row->count == 1 && row->cells[0].size == 0 && !row->cells[0].quoted;
    return rc == 0 && byte == EOF && is_empty ? EOF : rc;
}

void csv_row_free(struct csv_row *row) {
    entry_buffer_free(&row->bytes);
    free(row->cells);
    *row = (struct csv_row){0};
}

struct ledger_text csv_cell_text(const struct csv_row *row, size_t cell) {
    const struct csv_cell *at = &row->cells[cell];
    if (at->size == 0)
        return (struct ledger_text){at->quoted ? "" : NULL, 0};
    return (struct ledger_text){row->bytes.data + at->start, at->size};
}
