#include "import_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- lines ---------------------------------------------------------------------------------- */

/* The next line that has something in it, without its end. */
static int next_line(struct import_file *file, struct ledger_text *line,
                     struct ledger_failure *failure) {
    ssize_t size;
    errno = 0;
    do {
        size = getline(&file->text, &file->capacity, file->stream);
        file->lines += size > 0;
        while (size > 0 && (file->text[size - 1] == '\n' || file->text[size - 1] == '\r'))
            size--;
    } while (size == 0);
    file->line = file->lines;
    if (size < 0)
        return errno == 0 || feof(file->stream) ? EOF
                                                : ledger_fail(failure, errno, "%s", file->path);
    *line = (struct ledger_text){file->text, (size_t)size};
    return 0;
}

static int digest_of(struct import_file *file, struct ledger_text text,
                     struct ledger_failure *failure) {
    uint8_t digest[ENTRY_DIGEST_BYTES];
    int rc = file->record.entry.id != 0 ? 0 : ledger_digest(text, digest);
    for (int i = 0; rc == 0 && file->record.entry.id == 0 && 2 * i + 1 < IMPORT_DIGEST_CHARACTERS;
         i++)
        snprintf(file->digest + 2 * i, 3, "%02x", digest[i]);
    return rc == 0 ? 0 : ledger_fail(failure, rc, "a line");
}

static int read_json_head(struct import_file *file, struct ledger_failure *failure) {
    struct ledger_text line;
    int rc = next_line(file, &line, failure);
    if (rc == 0)
        rc = record_read_header(line, &file->header, &file->has_header, failure);
    if (rc == 0 && !file->has_header)
        rc = import_file_rewind(file, failure);
    return rc == EOF ? 0 : rc;
}

static int next_json(struct import_file *file, struct ledger_failure *failure) {
    struct ledger_text line;
    int rc = next_line(file, &line, failure);
    if (rc == 0 && file->has_header && file->line == 1)
        rc = next_line(file, &line, failure);
    if (rc == 0)
        rc = record_read_json(&file->record, line, failure);
    return rc == 0 ? digest_of(file, line, failure) : rc;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static int next_row(struct import_file *file, struct ledger_failure *failure) {
    const char *wrong;
    int rc = csv_read(file->stream, &file->row, &wrong);
    file->line = file->row.line;
    if (rc != 0 && rc != EOF)
        return ledger_fail(failure, rc, "%s", wrong != NULL ? wrong : file->path);
    return rc;
}

static int read_csv_head(struct import_file *file, struct ledger_failure *failure) {
    int rc = next_row(file, failure);
    if (rc == EOF)
        return ledger_fail(failure, LEDGER_E_BAD_ENTRY,
                           "%s is empty: the first line names the "
                           "columns",
                           file->path);
    return rc == 0 ? columns_read_head(&file->row, &file->columns, failure) : rc;
}

static int next_csv(struct import_file *file, struct ledger_failure *failure) {
    bool is_head = file->row.next_line == 0;
    int rc = next_row(file, failure);
    if (rc == 0 && is_head)
        rc = next_row(file, failure);
    if (rc == 0)
        rc = columns_read_row(&file->columns, &file->row, &file->record, failure);
    struct ledger_text bytes = {file->row.bytes.data == NULL ? "" : file->row.bytes.data,
                                file->row.bytes.size};
    return rc == 0 ? digest_of(file, bytes, failure) : rc;
}

/* ---- both ----------------------------------------------------------------------------------- */

int import_file_open(struct import_file *file, const char *path, enum import_format format,
                     struct ledger_failure *failure) {
    struct stat status;
    *file = (struct import_file){.path = path, .format = format};
    file->stream = fopen(path, "re");
    if (file->stream == NULL || fstat(fileno(file->stream), &status) != 0)
        return ledger_fail(failure, errno, "%s", path);
    if (!S_ISREG(status.st_mode))
        return ledger_fail(failure, EINVAL, "%s: an import reads its file twice; save it first",
                           path);
    file->size = (uint64_t)status.st_size;
    int rc = format == IMPORT_CSV ? read_csv_head(file, failure) : read_json_head(file, failure);
    if (rc == 0)
        return import_file_rewind(file, failure);
    struct ledger_failure cause = *failure;
    return ledger_fail(failure, rc, "line 1: %.700s", cause.detail);
}

int import_file_next(struct import_file *file, struct ledger_failure *failure) {
    return file->format == IMPORT_CSV ? next_csv(file, failure) : next_json(file, failure);
}

int import_file_rewind(struct import_file *file, struct ledger_failure *failure) {
    file->lines = 0;
    file->row.line = file->row.next_line = 0;
    return fseek(file->stream, 0, SEEK_SET) == 0 ? 0
                                                 : ledger_fail(failure, errno, "%s", file->path);
}

uint64_t import_file_at(const struct import_file *file) {
    long at = ftell(file->stream);
    return at < 0 ? 0 : (uint64_t)at;
}

void import_file_close(struct import_file *file) {
    if (file->stream != NULL)
        fclose(file->stream);
    free(file->text);
    csv_row_free(&file->row);
    record_free(&file->record);
    policy_free(&file->header.policy);
    file->stream = NULL;
}
