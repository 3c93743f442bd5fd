/* The command `report`. */
#include <stdio.h>

#include "bar.h"
#include "command.h"
#include "report.h"

/* A report of everything under the name of a part would deceive. */
static bool has_other_filters(const struct command_options *options) {
    bool any = options->filter.statuses != 0;
    for (int i = 0; i < DIMENSION_LIMIT; i++)
        any = any || options->names[i].data != NULL;
    return any;
}

int report_command(const struct command_options *options) {
    struct job job = bar_begin("reporting");
    struct ledger_reader reader;
    struct ledger_failure failure = {0};
    struct entry_buffer text = {0};
    uint64_t bytes;
    struct report_request request = {.directory = options->directory,
                                     .output = options->output,
                                     .buffer = &text,
                                     .as_text = options->as_text || options->output == NULL,
                                     .since = options->filter.since,
                                     .until = options->filter.until,
                                     .bytes = &bytes};
    if (has_other_filters(options)) {
        fprintf(stderr,
                "cost_ledger: a report is of everything in its period: of the filters it takes "
                "--since and --until alone\n");
        return EXIT_USAGE;
    }
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    int rc = report_run(&job, ledger, &request, &failure);
    bar_end(&job);
    command_shut(ledger);
    if (rc != 0) {
        entry_buffer_free(&text);
        return command_failed(&failure);
    }
    return options->output != NULL ? EXIT_DONE : command_print(&text);
}
