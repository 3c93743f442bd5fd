/* The file of an import, record by record. Not for others than import.c.
 *
 * Thread class: a job's thread. */
#ifndef PORT_IMPORT_FILE_H
#define PORT_IMPORT_FILE_H

#include "columns.h"
#include "import.h"

#define IMPORT_DIGEST_CHARACTERS 33

struct import_file {
    FILE *stream;
    const char *path;
    enum import_format format;
    uint64_t size;
    bool has_header; /* of JSON Lines */
    struct record_header header;
    struct columns columns; /* of CSV */
    /* Of the record read last: */
    uint64_t line;
    struct record record;
    char digest[IMPORT_DIGEST_CHARACTERS]; /* of what stands in the line, if it says no id */

    char *text; /* of getline() */
    size_t capacity;
    uint64_t lines; /* that were read */
    struct csv_row row;
};

/* Opens it and reads its head. import_file_close() in any case. */
int import_file_open(struct import_file *file, const char *path, enum import_format format,
                     struct ledger_failure *failure);
/* 0, EOF, or what is wrong; empty lines are passed over. */
int import_file_next(struct import_file *file, struct ledger_failure *failure);
int import_file_rewind(struct import_file *file, struct ledger_failure *failure);
uint64_t import_file_at(const struct import_file *file);
void import_file_close(struct import_file *file);

#endif
