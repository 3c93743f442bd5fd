#include "text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void text_add(struct entry_buffer *buffer, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (size > 0)
        entry_buffer_append(buffer, line,
                            (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}

/* ---- times and numbers ------------------------------------------------------------------- */

static void break_down(int64_t us, struct tm *tm) {
    time_t seconds = us / 1000000;
    gmtime_r(&seconds, tm);
}

/* So many digits, and a mark behind them. An export writes millions of times and amounts, each of
 * which printf would take longer for than everything else of the row. */
static char *fixed_digits(char *at, unsigned number, unsigned count, char mark) {
    for (unsigned i = count; i > 0; i--, number /= 10)
        at[i - 1] = (char)('0' + number % 10);
    at[count] = mark;
    return at + count + 1;
}

char *text_time(int64_t us, char out[TEXT_MAX]) {
    struct tm tm;
    break_down(us, &tm);
    char *at = out;
    if (tm.tm_year < 0 || tm.tm_year > 9999 - 1900)
        at += snprintf(out, TEXT_MAX, "%ld-", 1900L + tm.tm_year);
    else
        at = fixed_digits(at, (unsigned)(1900 + tm.tm_year), 4, '-');
    at = fixed_digits(at, (unsigned)tm.tm_mon + 1, 2, '-');
    at = fixed_digits(at, (unsigned)tm.tm_mday, 2, 'T');
    at = fixed_digits(at, (unsigned)tm.tm_hour, 2, ':');
    at = fixed_digits(at, (unsigned)tm.tm_min, 2, ':');
    at = fixed_digits(at, (unsigned)tm.tm_sec, 2, '.');
    at = fixed_digits(at, (unsigned)(us / 1000 % 1000), 3, 'Z');
    *at = '\0';
    return out;
}

char *text_clock(int64_t us, char out[TEXT_MAX]) {
    struct tm tm;
    break_down(us, &tm);
    strftime(out, TEXT_MAX, "%H:%M:%S", &tm);
    return out;
}

/* Digits from the right, with a mark before every third where `mark` is not 0. */
static char *digits(ledger_sum number, char mark, char *out) {
    char reversed[TEXT_MAX];
    size_t size = 0, at = 0;
    bool negative = number < 0;
    ledger_usum rest = negative ? -(ledger_usum)number : (ledger_usum)number;
    unsigned n = 0;
    if (mark == 0 && rest <= UINT64_MAX) /* dividing 128 bits takes many times as long */
        for (uint64_t small = (uint64_t)rest; small != 0; small /= 10, n++, rest = 0)
            reversed[size++] = (char)('0' + small % 10);
    for (; rest != 0 || n == 0; n++, rest /= 10) {
        if (mark != 0 && n > 0 && n % 3 == 0)
            reversed[size++] = mark;
        reversed[size++] = (char)('0' + (int)(rest % 10));
    }
    if (negative)
        out[at++] = '-';
    while (size > 0)
        out[at++] = reversed[--size];
    out[at] = '\0';
    return out;
}

char *text_grouped(ledger_sum number, char out[TEXT_MAX]) {
    return digits(number, ',', out);
}

char *text_shortened(ledger_sum number, char out[TEXT_MAX]) {
    static const struct {
        ledger_sum from, unit;
        char letter;
    } steps[] = {{10000000000000, 1000000000000, 'T'},
                 {10000000000, 1000000000, 'G'},
                 {10000000, 1000000, 'M'}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (number < steps[i].from)
            continue;
        text_grouped(number / steps[i].unit, out);
        size_t at = strlen(out);
        snprintf(out + at, TEXT_MAX - at, ".%d%c",
                 (int)(number % steps[i].unit * 10 / steps[i].unit), steps[i].letter);
        return out;
    }
    return text_grouped(number, out);
}

char *text_sum(ledger_sum number, char out[TEXT_MAX]) {
    return digits(number, 0, out);
}

char *text_bytes(uint64_t bytes, char out[TEXT_MAX]) {
    unsigned long long mebi = bytes >> 20, rest = bytes & 0xfffff;
    if (mebi == 0)
        snprintf(out, TEXT_MAX, "%llu KiB", (unsigned long long)bytes >> 10);
    else
        snprintf(out, TEXT_MAX, "%llu.%llu MiB", mebi, rest * 10 >> 20);
    return out;
}

#define NANOS 1000000000

char *text_money(ledger_sum nanos, char out[TEXT_MAX]) {
    bool negative = nanos < 0;
    ledger_usum size = negative ? -(ledger_usum)nanos : (ledger_usum)nanos;
    unsigned fraction = (unsigned)(size % NANOS);
    digits((ledger_sum)(size / NANOS), 0, out + negative);
    if (negative)
        out[0] = '-';
    size_t at = strlen(out);
    out[at++] = '.';
    (void)fixed_digits(out + at, fraction, 9, '\0');
    at += 9;
    for (unsigned cut = 0; cut < 7 && out[at - 1] == '0'; cut++)
        out[--at] = '\0';
    return out;
}

/* ---- tables ------------------------------------------------------------------------------ */

/* Characters, not bytes: UTF-8's continuation bytes do not count. */
static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

char *text_cut(struct ledger_text text, size_t width, char *out, size_t size) {
    size_t at = 0, characters = 0, total = 0;
    for (size_t i = 0; i < text.size; i++)
        total += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    size_t keep = total > width ? width - 1 : total;
    for (; at < text.size && at + 2 < size; at++) {
        bool begins = ((unsigned char)text.data[at] & 0xc0) != 0x80;
        if (begins && characters++ == keep)
            break;
        /* Control characters would move the cursor of whoever looks. */
        out[at] =
            (unsigned char)text.data[at] < 0x20 || text.data[at] == 0x7f ? '?' : text.data[at];
    }
    if (total > width)
        out[at++] = '~';
    out[at] = '\0';
    return out;
}

void table_begin(struct table *table, unsigned columns, const char *sides, const size_t *least) {
    *table = (struct table){.columns = columns};
    for (unsigned i = 0; i < columns; i++) {
        table->right[i] = sides[i] == 'r';
        table->least[i] = least == NULL ? 0 : least[i];
    }
}

void table_cell(struct table *table, const char *text) {
    if (table->count == table->capacity) {
        size_t capacity = 2 * table->capacity + 64;
        char **grown = realloc(table->cells, capacity * sizeof *grown);
        if (grown == NULL) {
            table->failed = true;
            return;
        }
        table->cells = grown;
        table->capacity = capacity;
    }
    char *copy = strdup(text == NULL ? "" : text);
    table->failed = table->failed || copy == NULL;
    table->cells[table->count++] = copy;
}

static void pad(struct entry_buffer *line, size_t blanks) {
    while (blanks-- > 0)
        entry_buffer_append(line, " ", 1);
}

/* Two blanks before the last column: what comes before it may be a number. */
static void add_row(const struct table *table, char **cells, const size_t *widths,
                    struct entry_buffer *buffer) {
    struct entry_buffer line = {0};
    pad(&line, 2);
    for (unsigned i = 0; i < table->columns; i++) {
        size_t missing = widths[i] - width_of(cells[i]);
        if (i > 0)
            pad(&line, i + 1 == table->columns ? 2 : 1);
        if (table->right[i])
            pad(&line, missing);
        entry_buffer_append(&line, cells[i], strlen(cells[i]));
        if (!table->right[i])
            pad(&line, missing);
    }
    while (line.size > 0 && line.data[line.size - 1] == ' ')
        line.size--;
    entry_buffer_append(&line, "\n", 1);
    entry_buffer_append(buffer, line.data, line.size);
    buffer->failed = buffer->failed || line.failed;
    entry_buffer_free(&line);
}

void table_end(struct table *table, struct entry_buffer *buffer) {
    size_t widths[TABLE_COLUMNS_MAX];
    size_t rows = table->columns == 0 ? 0 : table->count / table->columns;
    for (unsigned i = 0; i < table->columns; i++)
        widths[i] = table->least[i];
    if (table->failed)
        buffer->failed = true;
    for (size_t i = 0; !table->failed && i < rows * table->columns; i++) {
        size_t width = width_of(table->cells[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (size_t row = 0; !table->failed && row < rows; row++)
        add_row(table, table->cells + row * table->columns, widths, buffer);
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){0};
}
