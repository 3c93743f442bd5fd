/* What tokens cost: which price is in force, and what comes out of it. */
#include "records.h"

#define MS 1000

static const uint64_t no_units[TOKENS_CLASSES];

static uint64_t price_from(struct ledger *ledger, const char *model, uint64_t input,
                           int64_t effective_ms) {
    const uint64_t unit[TOKENS_CLASSES] = {input};
    struct entry_buffer change = price_change(model, unit, 0, NULL, effective_ms);
    struct ledger_entry entry = prices_of(&change);
    uint64_t id = book_entry(ledger, &entry);
    entry_buffer_free(&change);
    return id;
}

static int64_t cost_when_booked(struct ledger *ledger, const struct ledger_entry *entry) {
    return fetched(ledger, book_entry(ledger, entry)).cost;
}

static struct ledger *open_at_start(const char *directory) {
    struct ledger *ledger = open_ledger(directory);
    at_time(ledger, START_US);
    return ledger;
}

/* ---- which price -------------------------------------------------------------------------- */

static void a_price_is_in_force_from_its_entry_on(void **state) {
    struct ledger *ledger = open_at_start(*state);
    struct ledger_entry call = call_of("m", 10, 0);
    assert_int_equal(record(ledger, &call), LEDGER_E_NO_PRICE);
    uint64_t first = price_from(ledger, "m", 1000000, -1);
    assert_int_equal(cost_when_booked(ledger, &call), 10);
    at_time(ledger, START_US + 5000);
    uint64_t second = price_from(ledger, "m", 3000000, -1);
    assert_int_equal(cost_when_booked(ledger, &call), 30);
    /* what occurred earlier is priced as of then, to the microsecond of the row */
    call.given |= ENTRY_OCCURRED_AT;
    call.occurred_at_ms = (int64_t)second / MS;
    assert_int_equal(second % MS, 0);
    assert_int_equal(cost_when_booked(ledger, &call), 30);
    call.occurred_at_ms--;
    assert_int_equal(cost_when_booked(ledger, &call), 10);
    call.occurred_at_ms = (int64_t)first / MS - 1;
    assert_int_equal(record(ledger, &call), LEDGER_E_NO_PRICE);
    call.occurred_at_ms = ledger_now(ledger) / MS + 60000;
    assert_int_equal(cost_when_booked(ledger, &call), 30);
    call.occurred_at_ms++;
    assert_int_equal(record(ledger, &call), LEDGER_E_OCCURS_AHEAD);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_price_and_a_call_after_it_may_be_in_one_batch(void **state) {
    const uint64_t unit[TOKENS_CLASSES] = {7000000};
    struct ledger *ledger = open_at_start(*state);
    struct entry_buffer change = price_change("m", unit, 0, NULL, -1);
    struct ledger_entry prices = prices_of(&change), call = call_of("m", 3, 0);
    struct drafts drafts = {0};
    add_draft(&drafts, &call);
    add_draft(&drafts, &prices);
    add_draft(&drafts, &call);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_NO_PRICE);
    assert_int_equal(drafts.requests[1].rc, 0);
    assert_int_equal(drafts.requests[2].rc, 0);
    assert_int_equal(fetched(ledger, drafts.requests[2].id).cost, 21);
    free_drafts(&drafts);
    entry_buffer_free(&change);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_price_can_be_set_ahead_and_back(void **state) {
    struct ledger *ledger = open_at_start(*state);
    struct ledger_entry call = call_of("m", 1, 0), past = call;
    int64_t now_ms = START_US / MS;
    price_from(ledger, "m", 1000000, now_ms - 1000);
    price_from(ledger, "m", 9000000, now_ms + 1000);
    assert_int_equal(cost_when_booked(ledger, &call), 1);
    at_time(ledger, (now_ms + 1000) * MS - 1);
    assert_int_equal(cost_when_booked(ledger, &call), 1);
    at_time(ledger, (now_ms + 1000) * MS);
    assert_int_equal(cost_when_booked(ledger, &call), 9);
    past.given |= ENTRY_OCCURRED_AT;
    past.occurred_at_ms = now_ms - 1000;
    assert_int_equal(cost_when_booked(ledger, &past), 1);
    past.occurred_at_ms--;
    assert_int_equal(record(ledger, &past), LEDGER_E_NO_PRICE);
    /* the same moment, said again */
    price_from(ledger, "m", 2000000, now_ms - 1000);
    past.occurred_at_ms++;
    assert_int_equal(cost_when_booked(ledger, &past), 2);
    close_ledger(ledger);
}

static void the_price_of_the_provider_goes_before_that_of_any(void **state) {
    struct ledger *ledger = open_at_start(*state);
    struct ledger_entry call = call_of("m", 1, 0);
    set_price(ledger, "m", 1000000, 0);
    set_price(ledger, "p/m", 2000000, 0);
    set_price(ledger, "q/m2", 3000000, 0);
    assert_int_equal(cost_when_booked(ledger, &call), 1);
    call.names[DIMENSION_PROVIDER] = text("p");
    assert_int_equal(cost_when_booked(ledger, &call), 2);
    call.names[DIMENSION_PROVIDER] = text("q");
    assert_int_equal(cost_when_booked(ledger, &call), 1);
    call.names[DIMENSION_MODEL] = text("m2");
    assert_int_equal(cost_when_booked(ledger, &call), 3);
    call.names[DIMENSION_PROVIDER] = (struct ledger_text){0};
    assert_int_equal(record(ledger, &call), LEDGER_E_NO_PRICE);
    call.names[DIMENSION_MODEL] = (struct ledger_text){0};
    assert_int_equal(record(ledger, &call), LEDGER_E_NO_PRICE);
    close_ledger(ledger);
}

/* Neighbours in the key order: shorter, longer, before and behind. */
static void models_that_are_alike_are_told_apart(void **state) {
    static const char *const models[] = {"a", "b", "aa", "ab", "ba", "aaa", "c"};
    struct ledger *ledger = open_at_start(*state);
    for (size_t i = 0; i < LENGTH(models); i += 2)
        set_price(ledger, models[i], 1000000 * (i + 1), 0);
    for (size_t i = 0; i < LENGTH(models); i++) {
        struct ledger_entry call = call_of(models[i], 1, 0);
        if (i % 2 == 0)
            assert_int_equal(cost_when_booked(ledger, &call), i + 1);
        else
            assert_int_equal(record(ledger, &call), LEDGER_E_NO_PRICE);
    }
    close_ledger(ledger);
}

static void a_model_may_have_400_bytes_also_with_its_provider(void **state) {
    static char model[PRICE_MODEL_BYTES_MAX + 2];
    struct ledger *ledger = open_at_start(*state);
    memset(model, 'm', PRICE_MODEL_BYTES_MAX);
    memcpy(model, "p/", 2);
    set_price(ledger, model, 1000000, 0);
    struct ledger_entry call = call_of(model, 1, 0), other = call_of(model + 2, 1, 0);
    assert_int_equal(cost_when_booked(ledger, &call), 1);
    other.names[DIMENSION_PROVIDER] = text("p");
    assert_int_equal(cost_when_booked(ledger, &other), 1);
    other.names[DIMENSION_PROVIDER] = text("pp"); /* too long together */
    assert_int_equal(record(ledger, &other), LEDGER_E_NO_PRICE);
    memset(model, 'm', PRICE_MODEL_BYTES_MAX + 1);
    call.names[DIMENSION_MODEL] = text(model);
    assert_int_equal(record(ledger, &call), LEDGER_E_NO_PRICE);
    struct entry_buffer change = price_change(model, no_units, 0, NULL, -1);
    struct ledger_entry prices = prices_of(&change);
    assert_int_equal(record(ledger, &prices), LEDGER_E_BAD_ENTRY);
    entry_buffer_free(&change);
    close_ledger(ledger);
}

/* ---- what it comes to --------------------------------------------------------------------- */

static void each_class_costs_its_own_and_all_is_rounded_once(void **state) {
    const uint64_t unit[TOKENS_CLASSES] = {100000, 20000, 3000, 400, 50};
    struct ledger *ledger = open_at_start(*state);
    struct entry_buffer change = price_change("m", unit, 0, NULL, -1);
    struct ledger_entry prices = prices_of(&change), call = call_of("m", 0, 0);
    book_entry(ledger, &prices);
    entry_buffer_free(&change);
    /* The last number of each is what it costs. */
    static const int64_t tokens[][TOKENS_CLASSES + 1] = {
        {15, 0, 0, 0, 0, 2}, {14, 4, 6, 4, 8, 2}, {4, 4, 6, 4, 8, 1}, {4, 4, 6, 4, 7, 0},
        {0, 0, 0, 0, 10, 0}, {5, 0, 0, 0, 0, 1},  {4, 4, 6, 5, 0, 1}, {0, 0, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < LENGTH(tokens); i++) {
        memcpy(call.tokens, tokens[i], sizeof call.tokens);
        struct ledger_entry booked = fetched(ledger, book_entry(ledger, &call));
        assert_int_equal(booked.cost, tokens[i][TOKENS_CLASSES]);
        assert_true(booked.given & ENTRY_COST && booked.given & ENTRY_UNIT_PRICES);
        assert_false(booked.given & ENTRY_PRICING);
        assert_memory_equal(booked.unit_prices, unit, sizeof unit);
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void half_a_nano_unit_is_rounded_up(void **state) {
    struct ledger *ledger = open_at_start(*state);
    struct ledger_entry call = call_of("half", 1, 0), less = call_of("less", 1, 0);
    set_price(ledger, "half", 500000, 0);
    set_price(ledger, "less", 499999, 0);
    assert_int_equal(cost_when_booked(ledger, &call), 1);
    assert_int_equal(cost_when_booked(ledger, &less), 0);
    call.tokens[TOKENS_INPUT] = 3;
    less.tokens[TOKENS_INPUT] = 3;
    assert_int_equal(cost_when_booked(ledger, &call), 2);
    assert_int_equal(cost_when_booked(ledger, &less), 1);
    close_ledger(ledger);
}

static void beyond_a_size_of_the_prompt_all_is_dearer(void **state) {
    const uint64_t unit[TOKENS_CLASSES] = {1000000, 2000000, 0, 0, 0};
    const uint64_t dear[TOKENS_CLASSES] = {10000000, 20000000, 0, 0, 0};
    struct ledger *ledger = open_at_start(*state);
    struct entry_buffer change = price_change("m", unit, 100, dear, -1);
    struct ledger_entry prices = prices_of(&change), call = call_of("m", 100, 500);
    book_entry(ledger, &prices);
    entry_buffer_free(&change);
    assert_int_equal(cost_when_booked(ledger, &call), 100 + 1000); /* output is no prompt */
    call.tokens[TOKENS_INPUT] = 101;
    assert_int_equal(cost_when_booked(ledger, &call), 1010 + 10000);
    call.tokens[TOKENS_INPUT] = 50;
    call.tokens[TOKENS_CACHE_READ] = 25;
    call.tokens[TOKENS_CACHE_CREATION] = 25;
    call.tokens[TOKENS_REASONING] = 1000;
    assert_int_equal(cost_when_booked(ledger, &call), 50 + 1000);
    call.tokens[TOKENS_CACHE_CREATION]++;
    assert_memory_equal(fetched(ledger, book_entry(ledger, &call)).unit_prices, dear, sizeof dear);
    close_ledger(ledger);
}

static void other_parts_of_the_cost_come_on_top(void **state) {
    struct ledger *ledger = open_at_start(*state);
    struct ledger_entry call = call_of("m", 3, 0);
    set_price(ledger, "m", 1500000, 0);
    call.given |= ENTRY_BREAKDOWN;
    call.breakdown[COST_TOOL_CALLS] = 100;
    call.breakdown[COST_PENALTIES] = 20;
    struct ledger_entry booked = fetched(ledger, book_entry(ledger, &call));
    assert_int_equal(booked.breakdown[COST_TOKENS], 5);
    assert_int_equal(booked.cost, 125);
    call.breakdown[COST_TOKENS] = 1; /* that is what was to be worked out */
    assert_string_equal(entry_check(&call), "breakdown");
    close_ledger(ledger);
}

static void what_would_cost_too_much_is_not_booked(void **state) {
    struct ledger *ledger = open_at_start(*state);
    struct ledger_entry call = call_of("m", ENTRY_AMOUNT_MAX, 0);
    set_price(ledger, "m", 1000000, UINT64_MAX);
    size_t entries = facts_of(ledger).entries;
    assert_int_equal(cost_when_booked(ledger, &call), ENTRY_AMOUNT_MAX);
    call.given |= ENTRY_BREAKDOWN;
    call.breakdown[COST_TOOL_CALLS] = 1;
    assert_int_equal(record(ledger, &call), LEDGER_E_AMOUNT);
    call.given &= ~(uint32_t)ENTRY_BREAKDOWN;
    call.breakdown[COST_TOOL_CALLS] = 0;
    for (int i = 0; i < TOKENS_CLASSES; i++)
        call.tokens[i] = ENTRY_AMOUNT_MAX;
    assert_int_equal(record(ledger, &call), LEDGER_E_AMOUNT);
    assert_int_equal(facts_of(ledger).entries, entries + 1);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_caching_saves_may_be_less_than_nothing(void **state) {
    static const struct {
        uint64_t unit[3]; /* input, cache read, cache creation */
        int64_t read;
        int64_t creation;
        int64_t saved;
    } cases[] = {
        {{1000000, 100000, 1250000}, 10, 0, 9},
        {{1000000, 100000, 1250000}, 0, 10, -2},
        {{1000000, 100000, 1250000}, 0, 2, 0},
        {{1000000, 100000, 1250000}, 0, 3, -1},
        {{1000000, 500000, 1500000}, 1, 0, 1},
        {{1000000, 500000, 1500000}, 0, 1, 0},
        {{1000000, 500000, 1500001}, 0, 1, -1},
        {{1000000, 500000, 1500000}, 0, 3, -1},
        {{1000000, 500001, 1500000}, 1, 0, 0},
        {{1000000, 500000, 1500000}, 7, 7, 0},
        {{0, UINT64_MAX, 0}, ENTRY_AMOUNT_MAX, 0, -ENTRY_AMOUNT_MAX},
        {{UINT64_MAX, 0, 0}, ENTRY_AMOUNT_MAX, 0, ENTRY_AMOUNT_MAX},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct ledger_entry entry = invocation("executing");
        entry.unit_prices[TOKENS_INPUT] = cases[i].unit[0];
        entry.unit_prices[TOKENS_CACHE_READ] = cases[i].unit[1];
        entry.unit_prices[TOKENS_CACHE_CREATION] = cases[i].unit[2];
        entry.tokens[TOKENS_INPUT] = 12345;
        entry.tokens[TOKENS_CACHE_READ] = cases[i].read;
        entry.tokens[TOKENS_CACHE_CREATION] = cases[i].creation;
        assert_int_equal(entry_cache_savings(&entry), 0);
        entry.given = ENTRY_UNIT_PRICES | ENTRY_TOKENS | ENTRY_COST;
        assert_int_equal(entry_cache_savings(&entry), cases[i].saved);
    }
}

/* ---- holds -------------------------------------------------------------------------------- */

static void what_is_reserved_is_held_at_its_price(void **state) {
    struct ledger_rule rule = rule_of("cost", MEASURE_COST, 100);
    struct ledger *ledger = open_ruled(*state, &rule, 1);
    at_time(ledger, START_US);
    struct ledger_entry call = call_of("m", 60, 0);
    assert_int_equal(reserve(ledger, &call, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_NO_PRICE);
    set_price(ledger, "m", 1000000, 0);
    uint64_t hold = reserve(ledger, &call, 0);
    assert_sum_equal(held_of(ledger, "cost"), 60);
    assert_int_equal(reserve(ledger, &call, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_BUDGET_EXHAUSTED);
    /* metered at the price of then; what it names decides which */
    struct ledger_entry usage = {.kind = KIND_RUN,
                                 .status = STATUS_COMPLETED,
                                 .given = ENTRY_TOKENS | ENTRY_PRICING,
                                 .tokens = {30}};
    usage.names[DIMENSION_MODEL] = text("another");
    assert_int_equal(request(ledger, OPERATION_METER, hold, &usage), LEDGER_E_NO_PRICE);
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), LEDGER_E_NO_PRICE);
    usage.names[DIMENSION_MODEL] = (struct ledger_text){0};
    assert_int_equal(request(ledger, OPERATION_METER, hold, &usage), 0);
    set_price(ledger, "m", 2000000, 0);
    set_price(ledger, "another", 5000000, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0);
    struct ledger_entry booked = fetched(ledger, effects.expiries[0].entry);
    assert_int_equal(booked.cost, 30);
    assert_true(booked.given & ENTRY_UNIT_PRICES);
    /* and who comes late pays what it costs then */
    usage.tokens[TOKENS_INPUT] = 20;
    usage.names[DIMENSION_MODEL] = text("another");
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
    assert_int_equal(fetched(ledger, last.id).cost, 5 * 20 - 30);
    assert_sum_equal(held_of(ledger, "cost"), 0);
    assert_sum_equal(used_of(ledger, "cost"), 100);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_is_settled_is_priced_by_what_it_says(void **state) {
    struct ledger_rule rule = rule_of("cost", MEASURE_COST, 100);
    struct ledger *ledger = open_ruled(*state, &rule, 1);
    at_time(ledger, START_US);
    set_price(ledger, "m", 1000000, 0);
    set_price(ledger, "another", 3000000, 0);
    for (int other = 0; other < 2; other++) {
        struct ledger_entry call = call_of("m", 10, 0), usage = call;
        uint64_t hold = reserve(ledger, &call, 0);
        usage.kind = KIND_RUN;
        usage.names[DIMENSION_STATE] = (struct ledger_text){0};
        usage.names[DIMENSION_MODEL] = other ? text("another") : (struct ledger_text){0};
        assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), 0);
        assert_int_equal(fetched(ledger, last.id).cost, other ? 30 : 10);
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* ---- what is no price --------------------------------------------------------------------- */

static void check_change(struct ledger *ledger, const char *bytes, size_t size, int rc) {
    struct ledger_entry entry = {.kind = KIND_PRICE, .change = {bytes, size}};
    size_t entries = facts_of(ledger).entries;
    assert_int_equal(record(ledger, &entry), rc);
    assert_int_equal(facts_of(ledger).entries, entries + (rc == 0));
}
#define CHANGE(rc, bytes) check_change(ledger, bytes, sizeof bytes - 1, rc)
#define UNITS "\x95\x01\x02\x03\x04\x05"

static void a_change_that_sets_no_price_is_refused(void **state) {
    struct ledger *ledger = open_at_start(*state);
    CHANGE(0, "\x81\xa6prices\x91\x92\xa1m" UNITS);
    CHANGE(0, "\x82\xa6prices\x91\x94\xa1m" UNITS "\x07" UNITS "\xae"
              "effective_from\x05");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x80");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x90");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\xc0");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\xc0");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x91\xa1m");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x92\xa0" UNITS);
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x92\x01" UNITS);
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x92\xa1m\x94\x01\x02\x03\x04");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x92\xa1m\x95\x01\x02\x03\x04\xff");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x93\xa1m" UNITS "\x07");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x94\xa1m" UNITS "\x00" UNITS);
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x91\x94\xa1m" UNITS "\x07\xc0");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x81\xa6prices\x92\x92\xa1m" UNITS "\x92\xa1m\xc0");
    CHANGE(LEDGER_E_BAD_ENTRY, "\x82\xa6prices\x91\x92\xa1m" UNITS "\xae"
                               "effective_from\xff");
    struct ledger_entry named = {.kind = KIND_PRICE};
    assert_int_equal(record(ledger, &named), LEDGER_E_BAD_ENTRY); /* without a change */
    struct entry_buffer change = price_change("m", no_units, 0, NULL, -1);
    named = prices_of(&change);
    named.names[DIMENSION_MODEL] = text("m");
    assert_int_equal(record(ledger, &named), LEDGER_E_BAD_ENTRY);
    entry_buffer_free(&change);
    close_ledger(ledger);
}

static void keep_prices(void *context, const struct ledger_price *price) {
    struct ledger_price *kept = context;
    while (kept->entry != 0)
        kept++;
    *kept = *price;
}

static void prices_are_told_by_model_and_time(void **state) {
    const uint64_t unit[TOKENS_CLASSES] = {1, 2, 3, 4, UINT64_MAX}, above[] = {5, 4, 3, 2, 1};
    struct ledger *ledger = open_at_start(*state);
    struct ledger_price kept[4];
    memset(kept, 0, sizeof kept);
    struct entry_buffer change = price_change("mm", unit, 77, above, -1);
    struct ledger_entry prices = prices_of(&change);
    assert_int_equal(ledger_read_prices(ledger, text(""), 0, 4, keep_prices, kept), 0);
    assert_int_equal(kept[0].entry, 0);
    uint64_t first = book_entry(ledger, &prices);
    uint64_t second = price_from(ledger, "z", 9, 5);
    uint64_t third = price_from(ledger, "mm", 9, 6);
    entry_buffer_free(&change);
    assert_int_equal(ledger_read_prices(ledger, text(""), 0, 4, keep_prices, kept), 0);
    assert_int_equal(kept[0].entry, second);
    assert_int_equal(kept[0].effective_us, 5000);
    assert_int_equal(kept[1].entry, third);
    assert_int_equal(kept[2].entry, first);
    assert_int_equal(kept[2].effective_us, first);
    assert_int_equal(kept[2].above_tokens, 77);
    assert_memory_equal(kept[2].unit, unit, sizeof unit);
    assert_memory_equal(kept[2].unit_above, above, sizeof above);
    assert_int_equal(kept[3].entry, 0);
    /* From one of them on, and no more than wanted. */
    const struct {
        const char *model;
        uint64_t from_us;
        uint64_t entry;
    } from[] = {{"", 0, second},     {"z", 5000, second}, {"z", 5001, third},   {"a", 9, second},
                {"mm", 6000, third}, {"mm", 6001, first}, {"mm", first + 1, 0}, {"zz", 0, 0}};
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
        memset(kept, 0, sizeof kept);
        assert_int_equal(
            ledger_read_prices(ledger, text(from[i].model), from[i].from_us, 1, keep_prices, kept),
            0);
        assert_int_equal(kept[0].entry, from[i].entry);
        assert_int_equal(kept[1].entry, 0);
    }
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_price_is_in_force_from_its_entry_on),
        in_directory(a_price_and_a_call_after_it_may_be_in_one_batch),
        in_directory(a_price_can_be_set_ahead_and_back),
        in_directory(the_price_of_the_provider_goes_before_that_of_any),
        in_directory(models_that_are_alike_are_told_apart),
        in_directory(a_model_may_have_400_bytes_also_with_its_provider),
        in_directory(each_class_costs_its_own_and_all_is_rounded_once),
        in_directory(half_a_nano_unit_is_rounded_up),
        in_directory(beyond_a_size_of_the_prompt_all_is_dearer),
        in_directory(other_parts_of_the_cost_come_on_top),
        in_directory(what_would_cost_too_much_is_not_booked),
        cmocka_unit_test(what_caching_saves_may_be_less_than_nothing),
        in_directory(what_is_reserved_is_held_at_its_price),
        in_directory(what_is_settled_is_priced_by_what_it_says),
        in_directory(a_change_that_sets_no_price_is_refused),
        in_directory(prices_are_told_by_model_and_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
