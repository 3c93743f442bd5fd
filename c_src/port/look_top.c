/* The command top. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "reached.h"
#include "record_json.h"
#include "text.h"

#define PAGE 1000

struct ranked {
    char *value;
    struct ledger_sums sums;
};
struct ranking {
    size_t count, capacity;
    struct ranked *items;
    bool failed;
};

static void rank(void *context, struct ledger_text value, const struct ledger_sums *sums) {
    struct ranking *ranking = context;
    if (ranking->count == ranking->capacity) {
        size_t capacity = 2 * ranking->capacity + 64;
        struct ranked *grown = realloc(ranking->items, capacity * sizeof *grown);
        if (grown == NULL) {
            ranking->failed = true;
            return;
        }
        ranking->items = grown;
        ranking->capacity = capacity;
    }
    char *copy = strndup(value.data, value.size);
    ranking->failed = ranking->failed || copy == NULL;
    if (copy != NULL)
        ranking->items[ranking->count++] = (struct ranked){copy, *sums};
}

static int by_cost(const void *a, const void *b) {
    const struct ranked *left = a, *right = b;
    ledger_sum l = left->sums.totals.column[COLUMN_COST],
               r = right->sums.totals.column[COLUMN_COST];
    return l == r ? strcmp(left->value, right->value) : l < r ? 1 : -1;
}

static int find_dimension(const char *name) {
    for (int i = 1; i <= DIMENSION_PROMPT_TYPE; i++)
        if (strcmp(record_dimension_name(i), name) == 0)
            return i;
    return 0;
}

static ledger_sum net_tokens(const struct totals *totals, enum ledger_token_class class) {
    return totals->column[COLUMN_INPUT_TOKENS + class] +
           totals->column[COLUMN_CORRECTED_INPUT_TOKENS + class];
}

static void put_ranked(struct json *json, const char *dimension, const struct ranked *item) {
    const struct totals *totals = &item->sums.totals;
    json_open(json, '{');
    json_key(json, dimension);
    json_word(json, item->value);
    json_key(json, "invocations");
    json_big(json, totals->column[COLUMN_INVOCATIONS]);
    json_key(json, "runs");
    json_big(json, totals->column[COLUMN_RUNS]);
    json_key(json, "cost");
    json_big(json, totals->column[COLUMN_COST]);
    json_key(json, "net_cost");
    json_big(json, totals->column[COLUMN_COST] + totals->column[COLUMN_CORRECTED_COST]);
    json_key(json, "input_tokens");
    json_big(json, net_tokens(totals, TOKENS_INPUT));
    json_key(json, "output_tokens");
    json_big(json, net_tokens(totals, TOKENS_OUTPUT));
    json_close(json, '}');
}

static void print_ranking(const struct command_options *options, const char *dimension,
                          const struct ranking *ranking, struct entry_buffer *text) {
    const char *const heads[] = {dimension, "calls", "runs", "tokens in", "out", "cost"};
    struct table table;
    struct json json;
    char cell[TEXT_MAX], name[120];
    size_t shown = ranking->count < options->limit ? ranking->count : options->limit;
    if (options->json) {
        for (size_t i = 0; i < shown; i++) {
            json_begin(&json, text);
            put_ranked(&json, dimension, &ranking->items[i]);
            text_add(text, "\n");
        }
        return;
    }
    table_begin(&table, 6, "lrrrrr", NULL);
    for (int i = 0; i < 6; i++)
        table_cell(&table, heads[i]);
    for (size_t i = 0; i < shown; i++) {
        const struct ranked *item = &ranking->items[i];
        const struct totals *totals = &item->sums.totals;
        struct ledger_text value = {item->value, strlen(item->value)};
        table_cell(&table, text_cut(value, 28, name, sizeof name));
        table_cell(&table, text_grouped(totals->column[COLUMN_INVOCATIONS], cell));
        table_cell(&table, text_grouped(totals->column[COLUMN_RUNS], cell));
        table_cell(&table, text_shortened(net_tokens(totals, TOKENS_INPUT), cell));
        table_cell(&table, text_shortened(net_tokens(totals, TOKENS_OUTPUT), cell));
        table_cell(&table, text_money(totals->column[COLUMN_COST], cell));
    }
    table_end(&table, text);
    if (shown < ranking->count)
        text_add(text, "  and %zu more: --limit\n", ranking->count - shown);
}

int look_top(const struct command_options *options) {
    struct ledger_failure failure = {0};
    struct ledger_reader reader;
    struct ranking ranking = {0};
    struct entry_buffer text = {0};
    const char *by = options->by == NULL ? "state" : options->by;
    int dimension = find_dimension(by);
    uint32_t after = 0;
    bool done = false;
    if (dimension == 0) {
        fprintf(stderr,
                "cost_ledger: unknown dimension %s; known are state, org, project, user, "
                "agent, model, provider, prompt_type, status\n",
                by);
        return EXIT_USAGE;
    }
    struct ledger *ledger = command_open(options, &reader);
    if (ledger == NULL)
        return EXIT_FAILED;
    int rc = 0;
    while (rc == 0 && !done)
        rc = ledger_sum_up_by(ledger, &options->filter, (uint8_t)dimension, &after, PAGE, rank,
                              &ranking, &done);
    if (rc == 0 && ranking.failed)
        rc = ENOMEM;
    if (rc != 0)
        reached_fail(ledger, rc, by, &failure);
    command_shut(ledger);
    if (ranking.count > 0)
        qsort(ranking.items, ranking.count, sizeof ranking.items[0], by_cost);
    if (rc == 0)
        print_ranking(options, by, &ranking, &text);
    for (size_t i = 0; i < ranking.count; i++)
        free(ranking.items[i].value);
    free(ranking.items);
    return rc != 0 ? command_failed(&failure) : command_print(&text);
}
