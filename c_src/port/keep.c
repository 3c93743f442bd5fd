#include "keep.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "backup.h"
#include "bar.h"
#include "json.h"
#include "rebuild_job.h"
#include "text.h"
#include "verify_job.h"

/* ---- damaged pages ------------------------------------------------------------------------ */

static volatile sig_atomic_t exit_of_damage;

/* Pages have no checksums, and LMDB follows what they say: one that was overwritten may lead beyond
 * the file, or to an assertion. Nothing of ours is in the way then, and nothing has a name yet. */
static void end_of_damage(int number) {
    static const char said[] =
        "cost_ledger: data.mdb is damaged: a page of it cannot be read; restore a backup\n";
    (void)number;
    (void)!write(STDERR_FILENO, said, sizeof said - 1);
    _exit(exit_of_damage);
}

void keep_expect_damage(enum command_exit status) {
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE};
    struct sigaction action = {.sa_handler = end_of_damage};
    exit_of_damage = status;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

/* ---- verify -------------------------------------------------------------------------------- */

struct telling {
    struct entry_buffer text;
    struct json json;
    bool is_json;
};

static void tell_text(struct entry_buffer *text, const struct ledger_finding *finding) {
    text_add(text, "%s: %s: %s\n", finding->database, finding->key, finding->what);
}

static void tell_json(struct json *json, const struct ledger_finding *finding) {
    json_open(json, '{');
    json_key(json, "database");
    json_word(json, finding->database);
    json_key(json, "key");
    json_word(json, finding->key);
    json_key(json, "id");
    json_id(json, finding->id);
    json_key(json, "what");
    json_word(json, finding->what);
    json_close(json, '}');
}

static void tell(void *context, const struct ledger_finding *finding) {
    struct telling *telling = context;
    if (telling->is_json)
        tell_json(&telling->json, finding);
    else
        tell_text(&telling->text, finding);
}

static void begin_telling(struct telling *telling) {
    if (!telling->is_json)
        return;
    json_begin(&telling->json, &telling->text);
    json_open(&telling->json, '{');
    json_key(&telling->json, "findings");
    json_open(&telling->json, '[');
}

static void end_json(struct telling *telling, const struct ledger_verify_result *result) {
    struct json *json = &telling->json;
    json_close(json, ']');
    json_key(json, "entries");
    json_int(json, (int64_t)result->entries);
    json_key(json, "payloads");
    json_int(json, (int64_t)result->payloads);
    json_key(json, "holds");
    json_int(json, (int64_t)result->holds);
    json_key(json, "series");
    json_int(json, (int64_t)result->series);
    json_key(json, "complete");
    json_literal(json, result->is_short ? "false" : "true");
    json_close(json, '}');
    text_add(&telling->text, "\n");
}

static void end_telling(struct telling *telling, const struct ledger_verify_result *result) {
    char entries[TEXT_MAX];
    text_grouped((ledger_sum)result->entries, entries);
    if (telling->is_json)
        end_json(telling, result);
    else if (result->findings == 0)
        text_add(&telling->text, "%s entries, all as they should be\n", entries);
    else
        text_add(&telling->text, "%s entries, %" PRIu64 " finding%s%s\n", entries, result->findings,
                 result->findings == 1 ? "" : "s", result->is_short ? ", perhaps more" : "");
}

/* A line of its own kind: what is told of the old ledger must not be taken for the new one's. */
static void tell_left_out(void *context, const struct ledger_finding *finding) {
    struct telling *telling = context;
    if (telling->is_json) {
        tell_json(&telling->json, finding);
        return;
    }
    text_add(&telling->text, "left out: ");
    tell_text(&telling->text, finding);
}

static int keep_rebuild(const struct command_options *options) {
    struct telling telling = {.is_json = options->json};
    struct ledger_verify_result result = {0};
    struct ledger_failure failure = {0};
    struct ledger_reader reader;
    uint64_t left_out = 0;
    struct job job = bar_begin("rebuilding");
    keep_expect_damage(EXIT_FAILED);
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    begin_telling(&telling);
    int rc = rebuild_job_run(&job, ledger, options->rebuild, tell_left_out, tell, &telling,
                             &left_out, &result, &failure);
    bar_end(&job);
    command_shut(ledger);
    if (rc != 0) {
        entry_buffer_free(&telling.text);
        return command_failed(&failure);
    }
    end_telling(&telling, &result);
    int printed = command_print(&telling.text);
    return printed == EXIT_DONE && left_out + result.findings > 0 ? EXIT_NO : printed;
}

int keep_verify(const struct command_options *options) {
    if (options->rebuild != NULL)
        return keep_rebuild(options);
    struct telling telling = {.is_json = options->json};
    struct ledger_verify_result result;
    struct ledger_failure failure = {0};
    struct ledger_reader reader;
    struct job job = bar_begin("verifying");
    keep_expect_damage(EXIT_NO);
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    begin_telling(&telling);
    int rc = verify_job_run(&job, ledger, tell, &telling, &result, &failure);
    bar_end(&job);
    command_shut(ledger);
    if (rc != 0) {
        entry_buffer_free(&telling.text);
        return command_failed(&failure);
    }
    end_telling(&telling, &result);
    int printed = command_print(&telling.text);
    return printed == EXIT_DONE && result.findings > 0 ? EXIT_NO : printed;
}

/* ---- backup and restore -------------------------------------------------------------------- */

static int missing_operand(const char *what) {
    fprintf(stderr, "cost_ledger: %s is missing; try 'cost_ledger --help'\n", what);
    return EXIT_USAGE;
}

int keep_backup(const struct command_options *options) {
    struct ledger_failure failure = {0};
    struct ledger_reader reader;
    if (options->operand == NULL)
        return missing_operand("the backup's directory");
    struct job job = bar_begin("backing up");
    keep_expect_damage(EXIT_FAILED);
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    int rc = backup_run(&job, ledger, options->operand, &failure);
    bar_end(&job);
    command_shut(ledger);
    return rc == 0 ? EXIT_DONE : command_failed(&failure);
}

int keep_restore(const struct command_options *options) {
    struct ledger_failure failure = {0};
    if (options->operand == NULL)
        return missing_operand("the directory to restore to");
    struct job job = bar_begin("restoring");
    keep_expect_damage(EXIT_FAILED);
    int rc = backup_restore(&job, options->directory, options->operand, &failure);
    bar_end(&job);
    return rc == 0 ? EXIT_DONE : command_failed(&failure);
}
