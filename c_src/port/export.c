#include "export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "focus.h"
#include "outfile.h"
#include "reached.h"
#include "record_json.h"

#define SLICE_ROWS 1000
#define SLICE_SCAN 20000
#define FLUSH_BYTES (256 << 10)

struct export {
    const struct export_request *request;
    struct ledger *ledger;
    FILE *stream;
    struct columns columns;
    struct csv csv;
    struct focus focus;
    struct entry_buffer text; /* not written to the stream yet */
    struct entry_buffer line; /* of msgpack, as JSON */
    uint64_t kept_from;
    int rc;
    const char *wrong;
};

bool export_format_named(const char *name, enum export_format *format) {
    static const char *const names[] = {[EXPORT_CSV] = "csv",
                                        [EXPORT_JSON_LINES] = "jsonl",
                                        [EXPORT_MSGPACK] = "msgpack",
                                        [EXPORT_FOCUS] = "focus"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) {
            *format = (enum export_format)i;
            found = true;
        }
    return found;
}

static void flush(struct export *export) {
    if (export->text.failed)
        export->rc = ENOMEM;
    if (export->rc == 0 &&
        fwrite(export->text.data, 1, export->text.size, export->stream) != export->text.size)
        export->rc = errno != 0 ? errno : EIO;
    if (export->rc == 0 && export->request->written != NULL)
        export->request->written(export->request->context, export->text.data, export->text.size);
    export->text.size = 0;
}

/* A line of JSON as it is, or as a msgpack object. */
static void end_line(struct export *export) {
    size_t at;
    if (export->request->format == EXPORT_JSON_LINES) {
        entry_buffer_append(&export->text, "\n", 1);
        return;
    }
    struct ledger_text line = {export->line.data, export->line.size};
    if (export->line.failed)
        export->rc = ENOMEM;
    else if ((export->wrong = json_to_msgpack(line, &export->text, &at)) != NULL)
        export->rc = LEDGER_E_DAMAGED;
    export->line.size = 0;
}

static void json_for_line(struct export *export, struct json *json) {
    json_begin(json, export->request->format == EXPORT_JSON_LINES ? &export->text : &export->line);
}

static void put_row(void *context, const struct ledger_entry *entry,
                    const struct ledger_payload *payload) {
    struct export *export = context;
    struct json json;
    if (export->rc != 0)
        return;
    switch (export->request->format) {
    case EXPORT_CSV:
        columns_row(&export->columns, &export->csv, entry, payload);
        break;
    case EXPORT_FOCUS:
        focus_row(&export->focus, &export->csv, entry);
        break;
    case EXPORT_JSON_LINES:
    case EXPORT_MSGPACK:
        json_for_line(export, &json);
        record_json(&json, entry, payload);
        end_line(export);
        break;
    }
    if (export->text.size >= FLUSH_BYTES)
        flush(export);
}

static int put_head(struct export *export, struct ledger_failure *failure) {
    struct json json;
    int rc = 0;
    csv_begin(&export->csv, &export->text);
    switch (export->request->format) {
    case EXPORT_CSV:
        columns_head(&export->columns, &export->csv);
        break;
    case EXPORT_FOCUS:
        rc = focus_begin(&export->focus, export->ledger);
        focus_head(&export->csv);
        break;
    case EXPORT_JSON_LINES:
    case EXPORT_MSGPACK:
        json_for_line(export, &json);
        rc = record_header_json(&json, export->ledger);
        if (rc == 0)
            end_line(export);
        rc = rc != 0 ? rc : export->rc;
        break;
    }
    return rc == 0 ? 0 : ledger_fail(failure, rc, "the header");
}

static bool tells_payloads(enum export_format format) {
    return format != EXPORT_FOCUS;
}

/* One page; the first says what the export reaches. */
static int put_page(struct export *export, struct ledger_list_query *query,
                    struct ledger_page *page) {
    bool is_first = query->cursor == 0;
    int rc = ledger_list(export->ledger, query, put_row, export, page);
    if (rc == 0 && !is_first && page->kept_from != export->kept_from)
        rc = LEDGER_E_PRUNED; /* what it had not read yet is gone */
    export->kept_from = page->kept_from;
    query->cursor = page->next;
    return rc;
}

static int put_rows(struct export *export, struct job *job, uint64_t *exported,
                    struct ledger_failure *failure) {
    const struct export_request *request = export->request;
    struct ledger_list_query query = {.filter = export->request->filter,
                                      .oldest_first = true,
                                      .payloads = tells_payloads(export->request->format),
                                      .limit = SLICE_ROWS,
                                      .scan = SLICE_SCAN};
    struct ledger_facts facts;
    struct ledger_page page = {0};
    uint64_t done = 0, total = request->total;
    bool is_first = true;
    int rc = ledger_facts(export->ledger, &facts);
    /* What is booked from here on is not of this export. */
    if (rc == 0 && query.filter.until > facts.last_id)
        query.filter.until = facts.last_id + 1;
    while (rc == 0 && !page.done) {
        rc = put_page(export, &query, &page);
        if (rc != 0)
            break;
        if (is_first && total == 0 && page.total_known)
            total = page.total;
        is_first = false;
        done += page.matched;
        flush(export);
        if (export->rc != 0)
            return ledger_fail(failure, export->rc, "%s",
                               export->wrong != NULL             ? export->wrong
                               : export->request->output != NULL ? export->request->output
                                                                 : "standard output");
        if (!job_goes_on(job, request->done_before + done, total))
            return ledger_fail(failure, ECANCELED, "the export");
    }
    *exported = done;
    return rc == 0 ? 0 : reached_fail(export->ledger, rc, "reading the ledger", failure);
}

static int put_all(struct export *export, struct job *job, uint64_t *exported,
                   struct ledger_failure *failure) {
    int rc = put_head(export, failure);
    if (rc == 0)
        rc = put_rows(export, job, exported, failure);
    if (rc == 0 && fflush(export->stream) != 0)
        rc = ledger_fail(failure, errno, "%s",
                         export->request->output != NULL ? export->request->output
                                                         : "standard output");
    return rc;
}

int export_run(struct job *job, struct ledger *ledger, struct export_request *request,
               struct ledger_failure *failure) {
    struct export export = {.request = request, .ledger = ledger, .stream = request->stream};
    struct outfile file = {0};
    int rc = 0;
    request->exported = 0;
    if (request->format == EXPORT_CSV)
        rc = columns_choose(request->columns, &export.columns, failure);
    if (rc == 0 && request->output != NULL) {
        rc = outfile_begin(&file, request->output, failure);
        export.stream = file.stream;
    }
    if (rc != 0)
        return rc;
    rc = put_all(&export, job, &request->exported, failure);
    if (request->output != NULL && rc == 0)
        rc = outfile_finish(&file, failure);
    else if (request->output != NULL)
        outfile_abandon(&file);
    request->kept_from = export.kept_from;
    entry_buffer_free(&export.text);
    entry_buffer_free(&export.line);
    return rc;
}
