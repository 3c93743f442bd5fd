#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "outfile.h"
#include "reached.h"
#include "report_data.h"
#include "text.h"

const char *const report_levels[] = {[LEVEL_NORMAL] = "normal",
                                     [LEVEL_APPROACHING] = "approaching",
                                     [LEVEL_CRITICAL] = "critical",
                                     [LEVEL_EXHAUSTED] = "exhausted"};

const char *const report_token_classes[] = {[TOKENS_INPUT] = "input",
                                            [TOKENS_OUTPUT] = "output",
                                            [TOKENS_CACHE_READ] = "cache read",
                                            [TOKENS_CACHE_CREATION] = "cache creation",
                                            [TOKENS_REASONING] = "reasoning"};

/* ---- times and money, as both forms write them ----------------------------------------------- */

static char *put_time(int64_t us, const char *format, char out[REPORT_TIME]) {
    struct tm tm;
    time_t seconds = us / 1000000;
    gmtime_r(&seconds, &tm);
    if (strftime(out, REPORT_TIME, format, &tm) == 0)
        out[0] = '\0';
    return out;
}

char *report_time(int64_t us, char out[REPORT_TIME]) {
    return put_time(us, "%Y-%m-%d %H:%M:%S", out);
}

char *report_day(int64_t us, char out[REPORT_TIME]) {
    return put_time(us, "%Y-%m-%d", out);
}

char *report_hour(int64_t us, char out[REPORT_TIME]) {
    return put_time(us, "%H:%M", out);
}

unsigned report_decimals(ledger_sum nanos, unsigned most) {
    char money[TEXT_MAX];
    unsigned decimals = (unsigned)strlen(strchr(text_money(nanos, money), '.') + 1);
    return decimals > most ? decimals : most;
}

char *report_money(ledger_sum nanos, unsigned decimals, char *out, size_t size) {
    char money[TEXT_MAX];
    unsigned has = report_decimals(nanos, 0);
    snprintf(out, size, "%s%.*s", text_money(nanos, money),
             decimals > has ? (int)(decimals - has) : 0, "000000000");
    return out;
}

/* ---- the report ------------------------------------------------------------------------------ */

static int put(const struct report *report, bool as_text, struct entry_buffer *out) {
    int rc = 0;
    if (as_text)
        report_put_text(report, out);
    else
        rc = report_put_html(report, out);
    return rc == 0 && out->failed ? ENOMEM : rc;
}

/* It is small: it is whole before the file is begun. */
static int write_file(const struct report *report, const struct report_request *request,
                      struct outfile *file, struct ledger_failure *failure) {
    struct entry_buffer text = {0};
    int rc = put(report, request->as_text, &text);
    if (rc != 0) {
        ledger_fail(failure, rc, "%s", request->output);
        outfile_abandon(file);
    } else {
        fwrite(text.data, 1, text.size, file->stream);
        *request->bytes = text.size;
        rc = outfile_finish(file, failure);
    }
    entry_buffer_free(&text);
    return rc;
}

int report_run(struct job *job, struct ledger *ledger, const struct report_request *request,
               struct ledger_failure *failure) {
    struct outfile file;
    int rc = 0;
    *request->bytes = 0;
    struct report *report = calloc(1, sizeof *report);
    if (report == NULL)
        return ledger_fail(failure, ENOMEM, "%s", request->directory);
    /* Before the work: an output that cannot be made is told at once. */
    if (request->output != NULL)
        rc = outfile_begin(&file, request->output, failure);
    bool begun = request->output != NULL && rc == 0;
    if (rc == 0 && (rc = report_gather(job, ledger, request, report)) != 0) {
        reached_fail(ledger, rc, request->directory, failure);
        if (begun)
            outfile_abandon(&file);
    } else if (begun) {
        rc = write_file(report, request, &file, failure);
    } else if (rc == 0) {
        rc = put(report, request->as_text, request->buffer);
        *request->bytes = request->buffer->size;
        if (rc != 0)
            ledger_fail(failure, rc, "%s", request->directory);
    }
    free(report);
    return rc;
}
