/* The commands history and show. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lmdb.h>

#include "command.h"
#include "reached.h"
#include "record_json.h"
#include "text.h"

#define STATE_WIDTH 14

struct rows {
    const struct command_options *options;
    struct entry_buffer text;
    struct json json;
    struct table table;
    size_t count;
};

static void add_record(struct rows *rows, const struct ledger_entry *entry) {
    char id[TEXT_MAX], time[TEXT_MAX], cost[TEXT_MAX], name[40];
    snprintf(id, sizeof id, "%llu", (unsigned long long)entry->id);
    table_cell(&rows->table, id);
    text_time((int64_t)entry->id, time);
    time[19] = '\0';
    time[10] = ' ';
    table_cell(&rows->table, time);
    struct ledger_text what = entry->names[DIMENSION_STATE];
    if (what.data == NULL)
        what = (struct ledger_text){record_kind_name(entry->kind),
                                    strlen(record_kind_name(entry->kind))};
    table_cell(&rows->table, text_cut(what, STATE_WIDTH, name, sizeof name));
    table_cell(&rows->table, entry->status == STATUS_NONE ? record_kind_name(entry->kind)
                                                          : record_status_name(entry->status));
    table_cell(&rows->table, entry->given & ENTRY_COST ? text_money(entry->cost, cost) : "-");
}

static void on_record(void *context, const struct ledger_entry *entry,
                      const struct ledger_payload *payload) {
    struct rows *rows = context;
    if (rows->options->json) {
        json_begin(&rows->json, &rows->text);
        record_json(&rows->json, entry, payload);
        text_add(&rows->text, "\n");
    } else {
        add_record(rows, entry);
    }
    rows->count++;
}

#define PAGE 1000

static int list(struct ledger *ledger, const struct command_options *options, struct rows *rows) {
    struct ledger_list_query query = {.filter = options->filter,
                                      .oldest_first = options->oldest_first,
                                      .payloads = options->payload,
                                      .scan = UINT64_C(10) * PAGE};
    struct ledger_page page = {.done = false};
    int rc = 0;
    while (rc == 0 && !page.done && rows->count < options->limit) {
        uint64_t left = options->limit - rows->count;
        query.limit = left < PAGE ? left : PAGE;
        rc = ledger_list(ledger, &query, on_record, rows, &page);
        query.cursor = page.next;
    }
    return rc;
}

int look_history(const struct command_options *options) {
    struct ledger_failure failure = {0};
    struct ledger_reader reader;
    struct rows rows = {.options = options};
    static const char *const heads[] = {"id", "time", "state", "status", "cost"};
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    table_begin(&rows.table, 5, "lllll", NULL);
    for (int i = 0; i < 5 && !options->json; i++)
        table_cell(&rows.table, heads[i]);
    int rc = list(ledger, options, &rows);
    table_end(&rows.table, &rows.text);
    if (rc != 0)
        reached_fail(ledger, rc, options->directory, &failure);
    command_shut(ledger);
    if (rc != 0) {
        entry_buffer_free(&rows.text);
        return command_failed(&failure);
    }
    return command_print(&rows.text);
}

/* All of an entry, a field a line: JSON is the clearest text for what is nested. */
static void on_whole(void *context, const struct ledger_entry *entry,
                     const struct ledger_payload *payload) {
    struct rows *rows = context;
    json_begin(&rows->json, &rows->text);
    record_json(&rows->json, entry, payload);
    text_add(&rows->text, "\n");
}

static bool is_id(const char *text) {
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) < 20;
}

int look_show(const struct command_options *options) {
    struct ledger_failure failure = {0};
    struct ledger_reader reader;
    struct rows rows = {.options = options};
    int rc = LEDGER_E_NO_ENTRY;
    if (options->operand == NULL) {
        fprintf(stderr, "cost_ledger: show needs an id or a run_id: cost_ledger show DIR ID\n");
        return EXIT_USAGE;
    }
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    struct ledger_text run_id = {options->operand, strlen(options->operand)};
    if (run_id.size > 0)
        rc = ledger_read_run(ledger, run_id, on_whole, &rows);
    if (rc != 0 && rc != LEDGER_E_PRUNED && is_id(options->operand))
        rc = ledger_read_record(ledger, strtoull(options->operand, NULL, 10), on_whole, &rows);
    if (rc != 0)
        reached_fail(ledger, rc, options->operand, &failure);
    command_shut(ledger);
    if (rc == 0)
        return command_print(&rows.text);
    entry_buffer_free(&rows.text);
    int failed = command_failed(&failure);
    bool is_not_there = rc == MDB_NOTFOUND || rc == LEDGER_E_NO_ENTRY || rc == LEDGER_E_PRUNED;
    return is_not_there ? EXIT_NO : failed;
}
