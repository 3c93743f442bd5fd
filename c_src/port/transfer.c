/* The commands export and import. */
#include <inttypes.h>
#include <string.h>

#include "bar.h"
#include "command.h"
#include "export.h"
#include "import.h"
#include "text.h"

static int refuse_usage(const char *what) {
    fprintf(stderr, "cost_ledger: %s; try 'cost_ledger --help'\n", what);
    return EXIT_USAGE;
}

static uint32_t kinds_of(const struct command_options *options, enum export_format format) {
    if (options->kinds_given)
        return options->filter.kinds;
    return format == EXPORT_CSV     ? EXPORT_KINDS_WORK
           : format == EXPORT_FOCUS ? EXPORT_KINDS_FOCUS
                                    : EXPORT_KINDS_ALL;
}

int transfer_export(const struct command_options *options) {
    struct export_request request = {.columns = options->columns,
                                     .filter = options->filter,
                                     .output = options->output,
                                     .stream = stdout};
    struct ledger_failure failure = {0};
    struct ledger_reader reader;
    char time[TEXT_MAX];
    if (options->operand != NULL)
        return refuse_usage("export takes a directory and options; the file is --output FILE");
    if (options->format == NULL || !export_format_named(options->format, &request.format))
        return refuse_usage("export needs --format csv, jsonl, msgpack or focus");
    if (options->columns != NULL && request.format != EXPORT_CSV)
        return refuse_usage("--columns are of --format csv");
    request.filter.kinds = kinds_of(options, request.format);
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    struct job job = bar_begin("exporting");
    int rc = export_run(&job, ledger, &request, &failure);
    bar_end(&job);
    command_shut(ledger);
    if (rc == 0 && request.kept_from != 0)
        fprintf(stderr, "cost_ledger: what is older than %s was archived, and is not in it\n",
                text_time((int64_t)request.kept_from, time));
    return rc == 0 ? EXIT_DONE : command_failed(&failure);
}

/* By what is asked for, else by the name of the file. */
static bool find_format(const struct command_options *options, enum import_format *format) {
    const char *name = options->format, *dot = strrchr(options->operand, '.');
    if (name == NULL)
        name = dot != NULL && strcmp(dot, ".csv") == 0 ? "csv" : "jsonl";
    *format = strcmp(name, "csv") == 0 ? IMPORT_CSV : IMPORT_JSON_LINES;
    return *format == IMPORT_CSV || strcmp(name, "jsonl") == 0;
}

int transfer_import(const struct command_options *options) {
    struct import_request request = {.directory = options->directory, .file = options->operand};
    struct ledger_failure failure = {0};
    if (options->operand == NULL)
        return refuse_usage("import needs a file: cost_ledger import DIR FILE");
    if (!find_format(options, &request.format))
        return refuse_usage("import reads --format csv or jsonl");
    struct job job = bar_begin("importing");
    int rc = import_run(&job, &request, &failure);
    bar_end(&job);
    if (rc == 0)
        printf("%" PRIu64 " imported, %" PRIu64 " already there\n", request.imported,
               request.skipped);
    else if (request.imported > 0)
        fprintf(stderr,
                "cost_ledger: %" PRIu64 " records were imported before that; the same import again "
                "goes on behind them\n",
                request.imported);
    return rc == 0 ? EXIT_DONE : command_failed(&failure);
}
