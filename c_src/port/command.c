#include "command.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "keep.h"
#include "record_json.h"
#include "text.h"

#define PROGRAM "cost_ledger"
#define BIT(n) (UINT32_C(1) << (n))
#define KINDS_OF_WORK (BIT(KIND_INVOCATION) | BIT(KIND_RUN))

static const struct command commands[] = {
    {"stats", "", "invocations this hour, today and in all; budgets", look_stats},
    {"top", "[--by DIMENSION]", "what cost most, by the values of a dimension", look_top},
    {"gate", "STATE", "may that state invoke now? exit status 0: yes, 1: no", look_gate},
    {"history", "[filter]", "records, newest first", look_history},
    {"show", "ID|RUN_ID", "one entry, whole", look_show},
    {"verify", "[--rebuild NEW]", "is everything as the entries say? exit status 0: yes, 1: no",
     keep_verify},
    {"backup", "TARGET", "a verified copy, of a ledger that may be open", keep_backup},
    {"restore", "NEWDIR", "a ledger from the backup DIR, verified", keep_restore},
    {"archive", "--output D ...", "what is older into files of D, and out of the ledger",
     keep_archive},
    {"report", "[--output FILE]", "what was spent, on what; HTML to a file, or text",
     report_command},
    {"export", "--format F", "all of it, or what the filter lets through, as a file",
     transfer_export},
    {"import", "FILE", "what an export wrote, or a CSV file of records", transfer_import},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_usage(FILE *to) {
    fprintf(to, "usage: " PROGRAM " COMMAND DIR [options]\n\ncommands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-8s %-18s %s\n", commands[i].name, commands[i].arguments,
                commands[i].purpose);
    fprintf(to,
            "\noptions:\n"
            "  --json              JSON instead of text\n"
            "  --limit N           at most so many (20)\n"
            "  --oldest            oldest first\n"
            "  --payload           with intent, input, output, trace, ...\n"
            "  --rebuild NEWDIR    of verify: whatever is derived anew, into a new ledger\n"
            "  --by DIMENSION      of top: state, org, project, user, agent, model, ...\n"
            "  --format F          of export: csv, jsonl, msgpack, focus; of import: csv, jsonl\n"
            "  --output FILE       of export, report: not standard output; must not exist yet;\n"
            "                      of archive: a directory, for one archive after the other\n"
            "  --columns A[,B]     of export as csv\n"
            "  --days N            of archive: what is older than that; or\n"
            "  --before T          of archive: what is older than that time\n"
            "  --text              of report: text on 80 columns; so without --output\n"
            "\nfilter (of report: --since and --until):\n"
            "  --state, --org, --project, --user, --agent, --model, --provider,\n"
            "  --prompt-type NAME  of that one only\n"
            "  --status S[,S]      completed, failed, aborted\n"
            "  --kind K[,K]|all    invocation, run (both by default), correction, grant, ...\n"
            "  --since, --until T  Unix milliseconds, or 2026-11-22[T06:20:00[Z]], inclusive\n"
            "\nexit status: 0 done, 1 the answer is no, 2 wrong usage, 3 failed\n");
}

static int wrong(const char *what, const char *which) {
    fprintf(stderr, PROGRAM ": %s%s%s; try '" PROGRAM " --help'\n", what, which == NULL ? "" : " ",
            which == NULL ? "" : which);
    return EXIT_USAGE;
}

int command_failed(const struct ledger_failure *failure) {
    char sentence[256];
    fprintf(stderr, PROGRAM ": %s", ledger_error_text(failure->code, sentence, sizeof sentence));
    if (failure->detail[0] != '\0')
        fprintf(stderr, " (%s)", failure->detail);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

int command_failed_with(int code, const char *what) {
    struct ledger_failure failure = {0};
    ledger_fail(&failure, code, "%s", what);
    return command_failed(&failure);
}

struct ledger *command_open(const struct command_options *options, struct ledger_reader *reader) {
    struct ledger_failure failure = {0};
    struct ledger *ledger;
    if (ledger_open_to_read(options->directory, 1, &ledger, reader, &failure) == 0)
        return ledger;
    command_failed(&failure);
    return NULL;
}

void command_shut(struct ledger *ledger) {
    ledger_close(ledger);
    ledger_free(ledger);
}

int command_print(struct entry_buffer *text) {
    bool fine = !text->failed && fwrite(text->data, 1, text->size, stdout) == text->size &&
                fflush(stdout) == 0;
    if (!fine)
        fprintf(stderr, PROGRAM ": standard output: %s\n",
                text->failed ? "out of memory" : strerror(errno));
    entry_buffer_free(text);
    return fine ? EXIT_DONE : EXIT_FAILED;
}

/* ---- options ------------------------------------------------------------------------------- */

enum option_code {
    OPTION_JSON = 256,
    OPTION_LIMIT,
    OPTION_OLDEST,
    OPTION_PAYLOAD,
    OPTION_BY,
    OPTION_REBUILD,
    OPTION_BEFORE,
    OPTION_DAYS,
    OPTION_STATUS,
    OPTION_KIND,
    OPTION_SINCE,
    OPTION_UNTIL,
    OPTION_OUTPUT,
    OPTION_TEXT,
    OPTION_FORMAT,
    OPTION_COLUMNS,
    OPTION_HELP,
    OPTION_DIMENSION /* and up: a dimension's number more */
};

static const struct option long_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"oldest", no_argument, NULL, OPTION_OLDEST},
    {"payload", no_argument, NULL, OPTION_PAYLOAD},
    {"by", required_argument, NULL, OPTION_BY},
    {"rebuild", required_argument, NULL, OPTION_REBUILD},
    {"before", required_argument, NULL, OPTION_BEFORE},
    {"days", required_argument, NULL, OPTION_DAYS},
    {"status", required_argument, NULL, OPTION_STATUS},
    {"kind", required_argument, NULL, OPTION_KIND},
    {"since", required_argument, NULL, OPTION_SINCE},
    {"until", required_argument, NULL, OPTION_UNTIL},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"text", no_argument, NULL, OPTION_TEXT},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"columns", required_argument, NULL, OPTION_COLUMNS},
    {"help", no_argument, NULL, OPTION_HELP},
    {"state", required_argument, NULL, OPTION_DIMENSION + DIMENSION_STATE},
    {"org", required_argument, NULL, OPTION_DIMENSION + DIMENSION_ORG},
    {"project", required_argument, NULL, OPTION_DIMENSION + DIMENSION_PROJECT},
    {"user", required_argument, NULL, OPTION_DIMENSION + DIMENSION_USER},
    {"agent", required_argument, NULL, OPTION_DIMENSION + DIMENSION_AGENT},
    {"model", required_argument, NULL, OPTION_DIMENSION + DIMENSION_MODEL},
    {"provider", required_argument, NULL, OPTION_DIMENSION + DIMENSION_PROVIDER},
    {"prompt-type", required_argument, NULL, OPTION_DIMENSION + DIMENSION_PROMPT_TYPE},
    {NULL, 0, NULL, 0},
};

static bool read_number(const char *text, uint64_t *number) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *number = value;
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

/* Unix milliseconds, or a date, or a date and a time of day, UTC. *span: of how many ms it speaks.
 */
static bool read_time(const char *text, uint64_t *ms, uint64_t *span) {
    struct tm tm = {0};
    *span = 1;
    if (strchr(text, '-') == NULL)
        return read_number(text, ms) && *ms < UINT64_C(253402300800000);
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    *span = 86400000;
    if (end != NULL && (*end == 'T' || *end == ' ')) {
        end = strptime(end + 1, "%H:%M:%S", &tm);
        *span = 1000;
    }
    if (end == NULL || !(*end == '\0' || (*end == 'Z' && end[1] == '\0')))
        return false;
    time_t seconds = timegm(&tm);
    *ms = (uint64_t)seconds * 1000;
    return seconds >= 0;
}

/* Names in a list with commas, as bits of their places in a table. */
static bool read_words(const char *list, const char *(*name)(int), int first, int last,
                       uint32_t *bits) {
    *bits = 0;
    while (*list != '\0') {
        size_t size = strcspn(list, ",");
        int found = last + 1;
        for (int i = first; i <= last && found > last; i++)
            if (strlen(name(i)) == size && memcmp(name(i), list, size) == 0)
                found = i;
        if (found > last)
            return false;
        *bits |= BIT(found);
        list += size + (list[size] == ',');
    }
    return *bits != 0;
}

static const char *kind_name(int kind) {
    return record_kind_name((enum ledger_kind)kind);
}

static const char *status_name(int status) {
    return record_status_name((enum ledger_status)status);
}

static bool read_kinds(const char *list, uint32_t *kinds) {
    if (strcmp(list, "all") == 0) {
        *kinds = ~UINT32_C(0);
        return true;
    }
    return read_words(list, kind_name, KIND_INVOCATION, KIND_REDACTION, kinds);
}

static bool take_option(int code, const char *value, struct command_options *options) {
    uint64_t ms, span;
    switch (code) {
    case OPTION_JSON:
        return options->json = true;
    case OPTION_OLDEST:
        return options->oldest_first = true;
    case OPTION_PAYLOAD:
        return options->payload = true;
    case OPTION_LIMIT:
        return read_number(value, &options->limit) && options->limit > 0;
    case OPTION_OUTPUT:
        options->output = value;
        return value[0] != '\0';
    case OPTION_TEXT:
        return options->as_text = true;
    case OPTION_BY:
        options->by = value;
        return true;
    case OPTION_REBUILD:
        options->rebuild = value;
        return value[0] != '\0';
    case OPTION_BEFORE:
        if (!read_time(value, &ms, &span))
            return false;
        options->before_us = ms * 1000;
        return ms > 0;
    case OPTION_DAYS:
        return read_number(value, &options->days) && options->days > 0 && options->days <= 36500;
    case OPTION_STATUS:
        return read_words(value, status_name, STATUS_COMPLETED, STATUS_ABORTED,
                          &options->filter.statuses);
    case OPTION_FORMAT:
        options->format = value;
        return true;
    case OPTION_COLUMNS:
        options->columns = value;
        return true;
    case OPTION_KIND:
        options->kinds_given = true;
        return read_kinds(value, &options->filter.kinds);
    case OPTION_SINCE:
        if (!read_time(value, &ms, &span))
            return false;
        options->filter.since = ms * 1000;
        return true;
    case OPTION_UNTIL:
        if (!read_time(value, &ms, &span))
            return false;
        options->filter.until = (ms + span) * 1000;
        return true;
    default:
        if (code <= OPTION_DIMENSION || code >= OPTION_DIMENSION + DIMENSION_LIMIT)
            return false;
        options->names[code - OPTION_DIMENSION] = (struct ledger_text){value, strlen(value)};
        return value[0] != '\0';
    }
}

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int command_main(int argc, char **argv) {
    struct command_options options = {.limit = 20,
                                      .filter = {.kinds = KINDS_OF_WORK, .until = UINT64_MAX}};
    options.filter.names = options.names;
    int code, index;
    opterr = 0;
    while ((code = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
        if (code == OPTION_HELP) {
            print_usage(stdout);
            return EXIT_DONE;
        }
        if (code == '?')
            return wrong("unknown option", argv[optind - 1]);
        if (code == ':')
            return wrong("a value is missing after", argv[optind - 1]);
        if (!take_option(code, optarg, &options))
            return wrong("wrong value for", argv[optind - 1]);
    }
    if (optind >= argc) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    const struct command *command = find_command(argv[optind]);
    if (command == NULL)
        return wrong("unknown command", argv[optind]);
    if (optind + 1 >= argc)
        return wrong("a ledger's directory is missing after", command->name);
    options.directory = argv[optind + 1];
    options.operand = optind + 2 < argc ? argv[optind + 2] : NULL;
    if (optind + 3 < argc)
        return wrong("too many arguments:", argv[optind + 3]);
    return command->run(&options);
}
