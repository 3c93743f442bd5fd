#include "sums_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

/* Replaced by whoever comes next, should its writer have been killed. */
#define UNFINISHED ARCHIVE_SUMS ".unfinished"
#define NAME_AT 66 /* behind 64 digits and two blanks */

static bool is_of(const char *line, size_t size, const struct archive_segment *segment) {
    size_t name = strlen(segment->file);
    return size == NAME_AT + name && memcmp(line + NAME_AT, segment->file, name) == 0;
}

static bool is_ours(const char *line, size_t size, const struct archive_segments *segments) {
    for (size_t i = 0; i < segments->count; i++)
        if (is_of(line, size, &segments->items[i]))
            return true;
    return false;
}

/* Lines of the files that are not sealed now. */
static int take_others(int directory, const struct archive_segments *segments,
                       struct entry_buffer *text) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    int fd = openat(directory, ARCHIVE_SUMS, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : errno;
    FILE *stream = fdopen(fd, "r");
    if (stream == NULL) {
        close(fd);
        return ENOMEM;
    }
    while ((size = getline(&line, &capacity, stream)) > 0) {
        size -= line[size - 1] == '\n';
        if (size > 0 && !is_ours(line, (size_t)size, segments))
            text_add(text, "%.*s\n", (int)size, line);
    }
    int rc = ferror(stream) ? EIO : 0;
    free(line);
    fclose(stream);
    return rc;
}

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno != EINTR)
            return errno;
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
    return fsync(fd) == 0 ? 0 : errno;
}

static int replace(int directory, const struct entry_buffer *text) {
    int fd = openat(directory, UNFINISHED, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    int rc = write_all(fd, text->data, text->size);
    close(fd);
    if (rc == 0 && renameat(directory, UNFINISHED, directory, ARCHIVE_SUMS) != 0)
        rc = errno;
    if (rc == 0 && fsync(directory) != 0)
        rc = errno;
    if (rc != 0)
        (void)unlinkat(directory, UNFINISHED, 0);
    return rc;
}

int sums_file_put(int directory, const struct archive_segments *segments,
                  struct ledger_failure *failure) {
    struct entry_buffer text = {0};
    int rc = take_others(directory, segments, &text);
    for (size_t i = 0; i < segments->count; i++)
        text_add(&text, "%s  %s\n", segments->items[i].sha256, segments->items[i].file);
    if (rc == 0)
        rc = text.failed ? ENOMEM : replace(directory, &text);
    entry_buffer_free(&text);
    return rc == 0 ? 0 : ledger_fail(failure, rc, ARCHIVE_SUMS);
}
