#include "focus.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "record_json.h"
#include "text.h"

#define HOUR_S 3600

static const char *const columns[] = {"BilledCost",
                                      "BillingAccountId",
                                      "BillingAccountName",
                                      "BillingCurrency",
                                      "BillingPeriodEnd",
                                      "BillingPeriodStart",
                                      "ChargeCategory",
                                      "ChargeClass",
                                      "ChargeDescription",
                                      "ChargeFrequency",
                                      "ChargePeriodEnd",
                                      "ChargePeriodStart",
                                      "ConsumedQuantity",
                                      "ConsumedUnit",
                                      "ContractedCost",
                                      "ContractedUnitPrice",
                                      "EffectiveCost",
                                      "InvoiceIssuerName",
                                      "ListCost",
                                      "ListUnitPrice",
                                      "PricingCategory",
                                      "PricingQuantity",
                                      "PricingUnit",
                                      "ProviderName",
                                      "PublisherName",
                                      "RegionId",
                                      "RegionName",
                                      "ResourceId",
                                      "ResourceName",
                                      "ResourceType",
                                      "ServiceCategory",
                                      "ServiceName",
                                      "SkuId",
                                      "SkuPriceId",
                                      "SubAccountId",
                                      "SubAccountName",
                                      "Tags"};

/* What several columns are made of. */
struct row {
    const struct ledger_entry *entry;
    bool is_correction;
    char cost[TEXT_MAX];
    char hour[2][TEXT_MAX];  /* that it happened in, and the next */
    char month[2][TEXT_MAX]; /* that it is booked in, likewise */
    struct ledger_text provider;
    struct ledger_text model;
};

int focus_begin(struct focus *focus, struct ledger *ledger) {
    struct ledger_facts facts;
    int rc = ledger_facts(ledger, &facts);
    if (rc == 0)
        memcpy(focus->currency, facts.currency, sizeof focus->currency);
    return rc;
}

void focus_head(struct csv *csv) {
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        csv_number(csv, columns[i]);
    csv_end(csv);
}

static struct ledger_text or_else(struct ledger_text text, const char *word) {
    return text.data != NULL ? text : (struct ledger_text){word, strlen(word)};
}

static void put_time(time_t seconds, char out[TEXT_MAX]) {
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(out, TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

static void put_month(time_t seconds, int more, char out[TEXT_MAX]) {
    struct tm tm;
    gmtime_r(&seconds, &tm);
    struct tm first = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + more, .tm_mday = 1};
    put_time(timegm(&first), out);
}

static void prepare(struct row *row, const struct ledger_entry *entry) {
    time_t booked = (time_t)(entry->id / 1000000), happened = booked;
    *row = (struct row){.entry = entry, .is_correction = entry->kind == KIND_CORRECTION};
    if (entry->given & ENTRY_OCCURRED_AT)
        happened = (time_t)(entry->occurred_at_ms / 1000);
    happened -= happened % HOUR_S;
    text_money(entry->given & ENTRY_COST ? entry->cost : 0, row->cost);
    for (int next = 0; next < 2; next++) {
        put_time(happened + next * HOUR_S, row->hour[next]);
        put_month(booked, next, row->month[next]);
    }
    row->provider = or_else(entry->names[DIMENSION_PROVIDER], "unknown");
    row->model = entry->names[DIMENSION_MODEL];
}

/* "gpt-4o invocation by backend" */
static void put_description(struct csv *csv, const struct row *row) {
    struct ledger_text agent = row->entry->names[DIMENSION_AGENT];
    struct entry_buffer text = {0};
    entry_buffer_append(&text, row->model.data, row->model.size);
    text_add(&text, "%s%s", row->model.size > 0 ? " " : "", record_kind_name(row->entry->kind));
    if (agent.data != NULL) {
        text_add(&text, " by ");
        entry_buffer_append(&text, agent.data, agent.size);
    }
    csv_text(csv, (struct ledger_text){text.data, text.size});
    csv->out->failed = csv->out->failed || text.failed;
    entry_buffer_free(&text);
}

/* Tokens where they are known, else how many times. */
static void put_consumed(struct csv *csv, const struct row *row) {
    const struct ledger_entry *entry = row->entry;
    char digits[TEXT_MAX];
    ledger_sum tokens = 0;
    for (int class = 0; class < TOKENS_CLASSES; class ++)
        tokens += entry->tokens[class];
    bool is_in_tokens = entry->given & ENTRY_TOKENS;
    if (row->is_correction) {
        csv_number(csv, NULL);
        csv_number(csv, NULL);
        return;
    }
    csv_number(csv, is_in_tokens ? text_sum(tokens, digits) : "1");
    csv_number(csv, is_in_tokens                     ? "Tokens"
                    : entry->kind == KIND_INVOCATION ? "Invocations"
                                                     : "Runs");
}

static void put_sku(struct csv *csv, const struct row *row) {
    struct ledger_text provider = row->entry->names[DIMENSION_PROVIDER];
    struct entry_buffer text = {0};
    if (row->model.data != NULL && provider.data != NULL) {
        entry_buffer_append(&text, provider.data, provider.size);
        text_add(&text, "/");
    }
    entry_buffer_append(&text, row->model.data, row->model.size);
    csv_text(csv, (struct ledger_text){text.data, text.size});
    csv->out->failed = csv->out->failed || text.failed;
    entry_buffer_free(&text);
}

static void put_tag(struct json *json, const char *key, struct ledger_text text) {
    if (text.data == NULL)
        return;
    json_key(json, key);
    json_text(json, text);
}

/* What FOCUS has no column for. */
static void put_tags(struct csv *csv, const struct row *row) {
    static const int dimensions[] = {DIMENSION_STATE, DIMENSION_USER, DIMENSION_AGENT,
                                     DIMENSION_PROMPT_TYPE};
    const struct ledger_entry *entry = row->entry;
    struct entry_buffer text = {0};
    struct json json;
    char digits[TEXT_MAX];
    json_begin(&json, &text);
    json_open(&json, '{');
    for (size_t i = 0; i < sizeof dimensions / sizeof dimensions[0]; i++)
        put_tag(&json, record_dimension_name(dimensions[i]), entry->names[dimensions[i]]);
    put_tag(&json, "run_id", entry->run_id);
    put_tag(&json, "parent_run", entry->parent_run);
    json_key(&json, "id");
    json_id(&json, entry->id);
    if (entry->link != 0) {
        json_key(&json, "corrects");
        json_id(&json, entry->link);
    }
    if (entry->status != STATUS_NONE) {
        json_key(&json, "status");
        json_word(&json, record_status_name(entry->status));
    }
    if (!(entry->given & ENTRY_COST)) {
        json_key(&json, "unpriced");
        json_word(&json, "true");
    }
    if (entry->given & ENTRY_CREDITS) {
        json_key(&json, "credits");
        json_word(&json, text_sum(entry->credits, digits));
    }
    json_close(&json, '}');
    csv_text(csv, (struct ledger_text){text.data, text.size});
    csv->out->failed = csv->out->failed || text.failed;
    entry_buffer_free(&text);
}

static void put_billing(const struct focus *focus, struct csv *csv, const struct row *row) {
    struct ledger_text org = or_else(row->entry->names[DIMENSION_ORG], "default");
    csv_number(csv, row->cost);
    csv_text(csv, org);
    csv_text(csv, org);
    csv_text(csv, (struct ledger_text){focus->currency, strlen(focus->currency)});
    csv_number(csv, row->month[1]);
    csv_number(csv, row->month[0]);
    csv_number(csv, "Usage");
    csv_number(csv, row->is_correction ? "Correction" : NULL);
    put_description(csv, row);
    csv_number(csv, "Usage-Based");
    csv_number(csv, row->hour[1]);
    csv_number(csv, row->hour[0]);
}

/* A record is priced as a whole: one, at what it cost. */
static void put_prices(struct csv *csv, const struct row *row) {
    const char *price = row->is_correction ? NULL : row->cost;
    put_consumed(csv, row);
    csv_number(csv, row->cost);
    csv_number(csv, price);
    csv_number(csv, row->cost);
    csv_text(csv, row->provider);
    csv_number(csv, row->cost);
    csv_number(csv, price);
    csv_number(csv, "Standard");
    csv_number(csv, row->is_correction ? NULL : "1");
    csv_number(csv, row->is_correction                    ? NULL
                    : row->entry->kind == KIND_INVOCATION ? "Invocations"
                                                          : "Runs");
}

void focus_row(const struct focus *focus, struct csv *csv, const struct ledger_entry *entry) {
    struct ledger_text agent = entry->names[DIMENSION_AGENT];
    struct ledger_text project = entry->names[DIMENSION_PROJECT];
    struct row row;
    prepare(&row, entry);
    put_billing(focus, csv, &row);
    put_prices(csv, &row);
    csv_text(csv, row.provider);
    csv_text(csv, row.provider);
    csv_number(csv, NULL);
    csv_number(csv, NULL);
    csv_text(csv, agent);
    csv_text(csv, agent);
    csv_number(csv, agent.data == NULL ? NULL : "AI agent");
    csv_number(csv, "AI and Machine Learning");
    csv_text(csv, or_else(row.model, "AI agents"));
    put_sku(csv, &row);
    csv_number(csv, NULL);
    csv_text(csv, project);
    csv_text(csv, project);
    put_tags(csv, &row);
    csv_end(csv);
}
