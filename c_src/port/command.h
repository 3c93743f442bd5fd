/* The command line: `cost_ledger COMMAND DIR [options]`.
 *
 * Exit status: 0 done; 1 the answer is no (gate: exhausted; verify: damage; show: not there); 2 the
 * command line is wrong; 3 it could not be done, and standard error says why. Nothing but what was
 * asked for goes to standard output. */
#ifndef PORT_COMMAND_H
#define PORT_COMMAND_H

#include "../core/ledger.h"

enum command_exit { EXIT_DONE = 0, EXIT_NO = 1, EXIT_USAGE = 2, EXIT_FAILED = 3 };

/* What the options say. Texts point into argv. */
struct command_options {
    const char *directory;
    const char *operand; /* what follows the directory; NULL: nothing */
    bool json;
    bool payload;
    bool as_text;
    bool oldest_first;
    bool kinds_given;
    uint64_t limit;
    const char *format;
    const char *output;
    const char *columns;
    const char *by;
    const char *rebuild; /* of verify: where to; NULL: only verify */
    uint64_t before_us;  /* of archive; 0: not said */
    uint64_t days;       /* likewise */
    struct ledger_filter filter;
    struct ledger_text names[DIMENSION_LIMIT];
};

struct command {
    const char *name;
    const char *arguments; /* of the usage line, behind DIR */
    const char *purpose;
    int (*run)(const struct command_options *options);
};

int command_main(int argc, char **argv);

/* Prints what failed, and what to do about it; EXIT_FAILED. */
int command_failed(const struct ledger_failure *failure);
int command_failed_with(int code, const char *what);
/* With a ledger that is open for reading; NULL after saying why not. ledger_shut() after. */
struct ledger *command_open(const struct command_options *options, struct ledger_reader *reader);
void command_shut(struct ledger *ledger);
/* Writes all of it to standard output; EXIT_DONE, or EXIT_FAILED. Frees it. */
int command_print(struct entry_buffer *text);

/* look.c */
int look_stats(const struct command_options *options);
int look_top(const struct command_options *options);
int look_gate(const struct command_options *options);
int look_history(const struct command_options *options);
int look_show(const struct command_options *options);

/* report_command.c */
int report_command(const struct command_options *options);
/* transfer.c */
int transfer_export(const struct command_options *options);
int transfer_import(const struct command_options *options);

#endif
