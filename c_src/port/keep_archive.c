/* The command archive: seals, as the job of that name does; then removes, unless a node has the
 * ledger open, which would have to do that itself. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "../core/gate.h"
#include "archive.h"
#include "bar.h"
#include "damage.h"
#include "json.h"
#include "keep.h"
#include "text.h"

#define MAP_SIZE (UINT64_C(1) << 40)
#define ENTRY_BYTES_MAX (64 << 20)
#define SLICE 2000
#define DAY_US UINT64_C(86400000000)

static int refuse_usage(const char *what) {
    fprintf(stderr, "cost_ledger: %s; try 'cost_ledger --help'\n", what);
    return EXIT_USAGE;
}

struct archiving {
    const struct command_options *options;
    struct archive_segments segments;
    struct ledger_pruning pruning;
    uint64_t kept_from_us;
    struct ledger_failure failure;
};

static uint64_t wanted(const struct archiving *archiving, struct ledger *ledger) {
    uint64_t now_us = (uint64_t)ledger_now(ledger), age_us = archiving->options->days * DAY_US;
    if (archiving->options->days == 0)
        return archiving->options->before_us;
    return now_us > age_us ? now_us - age_us : 0;
}

/* ---- the two steps --------------------------------------------------------------------------- */

static int seal(struct archiving *archiving) {
    struct ledger_reader reader;
    struct job job = bar_begin("sealing");
    uint64_t *horizon = &archiving->pruning.horizon_us;
    struct ledger *ledger = command_open(archiving->options, &reader);
    if (ledger == NULL)
        return ENOENT; /* it has said why */
    int rc = ledger_horizon(ledger, wanted(archiving, ledger), horizon, &archiving->failure);
    if (rc == 0 && *horizon > 0)
        rc = archive_run(&job, ledger, archiving->options->output, *horizon, &archiving->segments,
                         &archiving->failure);
    (void)ledger_kept_from(ledger, &archiving->kept_from_us);
    bar_end(&job);
    command_shut(ledger);
    return rc;
}

/* Its own policy, series and time are in force. */
static int open_to_write(const char *directory, struct ledger **ledger,
                         struct ledger_failure *failure) {
    static const struct ledger_policy nothing = {.version = 1};
    struct gate_past past;
    struct ledger_opened opened;
    gate_read_past(directory, &past);
    const struct ledger_options options = {.directory = directory,
                                           .holder = "cost_ledger archive",
                                           .currency = "USD",
                                           .map_size = MAP_SIZE,
                                           .max_entry_size = ENTRY_BYTES_MAX,
                                           .readers = 2,
                                           .meta_sync = true,
                                           .clock = past.is_manual ? CLOCK_MODE_MANUAL
                                                                   : CLOCK_MODE_SYSTEM,
                                           .policy = &nothing};
    return ledger_open(&options, ledger, &opened, failure);
}

static int remove_sealed(struct archiving *archiving) {
    struct ledger_pruning *pruning = &archiving->pruning;
    struct job job = bar_begin("removing");
    struct ledger *ledger;
    int rc = open_to_write(archiving->options->directory, &ledger, &archiving->failure);
    if (rc != 0)
        return rc;
    while (rc == 0 && !pruning->done) {
        rc = ledger_prune(ledger, SLICE, pruning, &archiving->failure);
        (void)job_goes_on(&job, pruning->removed, 0);
    }
    if (rc == 0)
        archiving->kept_from_us = pruning->horizon_us;
    bar_end(&job);
    command_shut(ledger);
    return rc;
}

/* ---- what came of it ------------------------------------------------------------------------- */

static void tell_json(const struct archiving *archiving, struct entry_buffer *text) {
    struct json json;
    json_begin(&json, text);
    json_open(&json, '{');
    json_key(&json, "segments");
    json_open(&json, '[');
    for (size_t i = 0; i < archiving->segments.count; i++) {
        const struct archive_segment *segment = &archiving->segments.items[i];
        json_open(&json, '{');
        json_key(&json, "file");
        json_word(&json, segment->file);
        json_key(&json, "sha256");
        json_word(&json, segment->sha256);
        json_key(&json, "entries");
        json_int(&json, (int64_t)segment->entries);
        json_key(&json, "from");
        json_int(&json, (int64_t)(segment->from_us / 1000));
        json_key(&json, "to");
        json_int(&json, (int64_t)(segment->to_us / 1000));
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_key(&json, "removed");
    json_int(&json, (int64_t)archiving->pruning.removed);
    json_key(&json, "kept_from");
    json_int(&json, (int64_t)(archiving->kept_from_us / 1000));
    json_close(&json, '}');
    text_add(text, "\n");
}

static void tell_text(const struct archiving *archiving, struct entry_buffer *text) {
    char number[TEXT_MAX], time[TEXT_MAX];
    for (size_t i = 0; i < archiving->segments.count; i++) {
        const struct archive_segment *segment = &archiving->segments.items[i];
        text_add(text, "%s  %s entries\n", segment->file,
                 text_grouped((ledger_sum)segment->entries, number));
    }
    text_add(text, "%s entries removed", text_grouped(archiving->pruning.removed, number));
    if (archiving->kept_from_us != 0)
        text_add(text, "; the ledger is kept from %s on",
                 text_time((int64_t)archiving->kept_from_us, time));
    text_add(text, "\n");
}

static int tell(const struct archiving *archiving) {
    struct entry_buffer text = {0};
    if (archiving->options->json)
        tell_json(archiving, &text);
    else
        tell_text(archiving, &text);
    return command_print(&text);
}

int keep_archive(const struct command_options *options) {
    struct archiving archiving = {.options = options};
    if (options->operand != NULL || options->output == NULL)
        return refuse_usage("archive takes a directory, and --output for the archive's");
    if ((options->days == 0) == (options->before_us == 0))
        return refuse_usage("archive needs either --days or --before");
    damage_ends_command(EXIT_FAILED);
    int rc = seal(&archiving);
    bool is_sealed = rc == 0;
    if (rc == 0 && archiving.pruning.horizon_us > 0)
        rc = remove_sealed(&archiving);
    int printed = is_sealed ? tell(&archiving) : EXIT_FAILED;
    archive_free(&archiving.segments);
    if (rc == 0)
        return printed;
    if (is_sealed)
        fprintf(stderr, "cost_ledger: it is sealed, but not all of it is removed\n");
    return archiving.failure.code == 0 ? EXIT_FAILED : command_failed(&archiving.failure);
}
