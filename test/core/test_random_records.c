/* Records of work, with everything that is said of them, at random: runs under names of their own,
 * prices, payloads, corrections, redactions, and holds that become what was recorded. What becomes
 * of each request is foretold by a plain list; what is in the ledger then, by the books. */
#include "records.h"

#include <stdio.h>

#include "books.h"

static const char *const models[] = {"small", "large", "p/small"};
static const char *const users[] = {"ada", "bob", NULL};

#define PRICES_KEPT 200
#define RUNS_KEPT 400
#define ENDED_MAX 64

struct known_price {
    const char *model;
    uint64_t from_us;
    uint64_t unit[TOKENS_CLASSES];
    uint64_t above;
    uint64_t unit_above[TOKENS_CLASSES];
};

enum life { RECORDED, LIVE, ENDED, RELEASED };
struct run {
    char id[600];
    size_t size;
    enum life life;
    uint64_t hold; /* 0: it was recorded */
    uint64_t entry;
    struct ledger_entry said;
};

struct world {
    const char *directory;
    struct ledger *ledger;
    size_t families;
    size_t price_count;
    struct known_price prices[PRICES_KEPT];
    size_t run_count;
    struct run runs[RUNS_KEPT];
    size_t ended_count;
    uint64_t ended[ENDED_MAX];
};

/* ---- opening ------------------------------------------------------------------------------ */

static void open_world(struct world *world) {
    struct declared_series families[] = {
        FAMILY(DIMENSION_USER), FAMILY(DIMENSION_STATUS), FAMILY(DIMENSION_MODEL),
        FAMILY(DIMENSION_USER, DIMENSION_STATUS), FAMILY(DIMENSION_MODEL, DIMENSION_PROVIDER)};
    struct ledger_rule rules[] = {
        rule_of("cost", MEASURE_COST, 30000),
        within(rule_of("tokens", MEASURE_TOKENS, 4000), HOUR_MS),
        of(rule_of("state", MEASURE_COMPLETED_COST, 15000), DIMENSION_STATE, "executing"),
    };
    struct ledger_policy policy = policy_of(rules, LENGTH(rules));
    struct ledger_options options = options_for(world->directory);
    static const uint8_t boot_id[GATE_BOOT_ID_BYTES] = {1};
    options.policy = &policy;
    options.series = families;
    options.series_count = world->families;
    options.boot_id = boot_id;
    options.meta_sync = false;
    world->ledger = open_with(&options);
}

static void reopen_world(struct world *world) {
    close_ledger(world->ledger);
    if (world->families < 5)
        world->families += random_below(2);
    open_world(world);
}

static void build(struct world *world) {
    struct ledger_failure failure;
    bool done;
    assert_int_equal(ledger_build(world->ledger, 1 + random_below(40), &done, &failure), 0);
}

static void settle_down(struct world *world) {
    expire(world->ledger);
    for (size_t i = 0; i < effects.expiry_count; i++) {
        for (size_t k = 0; k < world->run_count; k++)
            if (world->runs[k].life == LIVE && world->runs[k].hold == effects.expiries[i].hold) {
                world->runs[k].life = ENDED;
                world->runs[k].entry = effects.expiries[i].entry;
            }
        if (world->ended_count < ENDED_MAX)
            world->ended[world->ended_count++] = effects.expiries[i].hold;
    }
}

/* ---- prices ------------------------------------------------------------------------------- */

static void random_units(uint64_t unit[TOKENS_CLASSES]) {
    for (int i = 0; i < TOKENS_CLASSES; i++)
        unit[i] = random_below(2) ? 500000 * random_below(8) : random_below(4000000);
}

static void set_a_price(struct world *world) {
    struct known_price *price = &world->prices[world->price_count];
    int64_t now_ms = ledger_now(world->ledger) / 1000, from_ms = -1;
    if (world->price_count == PRICES_KEPT)
        return;
    settle_down(world);
    price->model = models[random_below(LENGTH(models))];
    price->above = random_below(2) * (1 + random_below(60));
    random_units(price->unit);
    random_units(price->unit_above);
    if (random_below(2))
        from_ms = now_ms + 3600000 - (int64_t)random_below(48 * 3600000);
    struct entry_buffer change =
        price_change(price->model, price->unit, price->above, price->unit_above, from_ms);
    struct ledger_entry entry = prices_of(&change);
    assert_int_equal(record(world->ledger, &entry), 0);
    entry_buffer_free(&change);
    price->from_us = from_ms < 0 ? last.id : (uint64_t)from_ms * 1000;
    world->price_count++;
}

static const struct known_price *in_force(const struct world *world, const char *model,
                                          uint64_t at_us) {
    const struct known_price *found = NULL;
    for (size_t i = 0; i < world->price_count; i++)
        if (strcmp(world->prices[i].model, model) == 0 && world->prices[i].from_us <= at_us &&
            (found == NULL || world->prices[i].from_us >= found->from_us))
            found = &world->prices[i];
    return found;
}

/* -1: there is no price. */
static int64_t cost_of(const struct world *world, const struct ledger_entry *entry,
                       const struct ledger_text *names) {
    uint64_t last_id = facts_of(world->ledger).last_id;
    uint64_t now = (uint64_t)ledger_now(world->ledger), at_us = now > last_id ? now : last_id;
    const struct known_price *price = NULL;
    if (!(entry->given & ENTRY_PRICING))
        return entry->cost;
    if (entry->given & ENTRY_OCCURRED_AT)
        at_us = (uint64_t)entry->occurred_at_ms * 1000;
    if (names[DIMENSION_MODEL].data == NULL)
        return -1;
    if (names[DIMENSION_PROVIDER].data != NULL && text_equal(names[DIMENSION_MODEL], text("small")))
        price = in_force(world, "p/small", at_us);
    if (price == NULL)
        price = in_force(
            world, text_equal(names[DIMENSION_MODEL], text("small")) ? "small" : "large", at_us);
    if (price == NULL)
        return -1;
    int64_t prompt = entry->tokens[TOKENS_INPUT] + entry->tokens[TOKENS_CACHE_READ] +
                     entry->tokens[TOKENS_CACHE_CREATION];
    const uint64_t *unit =
        price->above != 0 && prompt > (int64_t)price->above ? price->unit_above : price->unit;
    uint64_t units = 0;
    for (int i = 0; i < TOKENS_CLASSES; i++)
        units += (uint64_t)entry->tokens[i] * unit[i];
    int64_t cost = (int64_t)(units / 1000000 + (units % 1000000 >= 500000));
    for (int i = 0; entry->given & ENTRY_BREAKDOWN && i < COST_PARTS; i++)
        cost += entry->breakdown[i];
    return cost;
}

/* ---- what is said ------------------------------------------------------------------------- */

static void random_names(struct ledger_entry *entry) {
    const char *user = users[random_below(3)];
    entry->names[DIMENSION_STATE] = text(random_below(2) ? "planning" : "executing");
    if (user != NULL)
        entry->names[DIMENSION_USER] = text(user);
    if (random_below(4) > 0)
        entry->names[DIMENSION_MODEL] = text(models[random_below(2)]);
    if (random_below(2))
        entry->names[DIMENSION_PROVIDER] = text("p");
}

static void random_usage(const struct world *world, struct ledger_entry *entry) {
    entry->duration_ms = (int64_t)random_below(9000);
    entry->given = (uint32_t)random_below(8);
    if (entry->given & ENTRY_COST)
        entry->cost = (int64_t)random_below(300);
    if (entry->given & ENTRY_CREDITS)
        entry->credits = (int64_t)random_below(300);
    for (int i = 0; entry->given & ENTRY_TOKENS && i < TOKENS_CLASSES; i++)
        entry->tokens[i] = (int64_t)(random_below(2) * random_below(60));
    if ((entry->given & (ENTRY_COST | ENTRY_TOKENS)) == ENTRY_TOKENS && random_below(4) > 0)
        entry->given |= ENTRY_PRICING;
    if (entry->given & (ENTRY_COST | ENTRY_PRICING) && random_below(2)) {
        entry->given |= ENTRY_BREAKDOWN;
        entry->breakdown[COST_PENALTIES] =
            entry->given & ENTRY_COST ? entry->cost / 3 : (int64_t)random_below(20);
        entry->breakdown[COST_TOKENS] = entry->cost - entry->cost / 3;
    }
    if (random_below(3) == 0) {
        entry->given |= ENTRY_OCCURRED_AT;
        entry->occurred_at_ms =
            ledger_now(world->ledger) / 1000 - (int64_t)random_below(30 * 3600000);
    }
}

/* Some of a row, and some of pages. */
static void random_payload(struct ledger_entry *entry) {
    static char bytes[9000] = "\x81\xa1k\xda";
    if (random_below(3) > 0)
        return;
    entry->payload =
        (struct ledger_text){bytes, 1 + random_below(random_below(6) ? 60 : sizeof bytes)};
}

static struct ledger_entry random_record(const struct world *world) {
    struct ledger_entry entry = {.kind = random_below(3) ? KIND_INVOCATION : KIND_RUN,
                                 .status = 1 + random_below(3)};
    random_names(&entry);
    random_usage(world, &entry);
    return entry;
}

static struct run *new_run(struct world *world, struct ledger_entry *entry) {
    struct run *run = &world->runs[world->run_count];
    if (world->run_count == RUNS_KEPT || random_below(2))
        return NULL;
    memset(run, 0, sizeof *run);
    run->size = (size_t)snprintf(run->id, sizeof run->id, "%zu%0*d", world->run_count,
                                 random_below(5) ? 1 : 520, 0);
    entry->run_id = (struct ledger_text){run->id, run->size};
    if (random_below(3) == 0)
        entry->parent_run = text("the one above");
    return run;
}

/* ---- doing -------------------------------------------------------------------------------- */

static void record_something(struct world *world) {
    struct ledger_entry entry = random_record(world);
    random_payload(&entry);
    settle_down(world);
    struct run *run = new_run(world, &entry);
    int64_t cost = cost_of(world, &entry, entry.names);
    assert_int_equal(record(world->ledger, &entry), cost < 0 ? LEDGER_E_NO_PRICE : 0);
    if (cost < 0)
        return;
    assert_int_equal(fetched(world->ledger, last.id).cost, cost);
    if (run == NULL)
        return;
    run->life = RECORDED;
    run->entry = last.id;
    run->said = entry;
    world->run_count++;
}

/* What has a run_id is done once; whatever else is sent under it is refused, and told of it. */
static void repeat_something(struct world *world) {
    if (world->run_count == 0)
        return;
    struct run *run = &world->runs[random_below(world->run_count)];
    struct ledger_entry said = run->said;
    enum ledger_operation operation = run->hold == 0 ? OPERATION_RECORD : OPERATION_RESERVE;
    bool other = random_below(2);
    settle_down(world);
    if (run->life == RELEASED || (run->hold != 0 && operation == OPERATION_RECORD))
        return;
    if (other)
        said.duration_ms++;
    if (said.given & ENTRY_OCCURRED_AT && said.occurred_at_ms > ledger_now(world->ledger) / 1000)
        return;
    size_t entries = facts_of(world->ledger).entries;
    struct ledger_request *sent = request_of(operation, 0, &said);
    sent->extend_ms = 1;
    bool repeats = !other && run->life != ENDED;
    assert_int_equal(send_request(world->ledger), repeats ? 0 : LEDGER_E_CONFLICT);
    assert_int_equal(last.id, run->life == LIVE ? run->hold : run->entry);
    assert_int_equal(last.repeated, repeats);
    assert_int_equal(facts_of(world->ledger).entries, entries);
}

/* A live run that is not too deep, or none. */
static uint64_t random_parent(const struct world *world) {
    struct books *books = read_books(world->ledger);
    uint64_t parent = 0;
    for (int i = 0; i < 3 && parent == 0 && books_live(books) > 0; i++) {
        uint64_t hold = books_hold(books, random_below(books_live(books)));
        if (books_is_run(books, hold) && books_depth(books, hold) < 8 && random_below(2))
            parent = hold;
    }
    free_books(books);
    return parent;
}

static void reserve_something(struct world *world) {
    struct ledger_entry entry = random_record(world);
    settle_down(world);
    struct run *run = new_run(world, &entry);
    if (!(entry.given & (ENTRY_COST | ENTRY_PRICING)))
        entry.given |= ENTRY_COST;
    entry.given &= ~(uint32_t)(entry.given & ENTRY_PRICING ? ENTRY_COST : 0);
    entry.given &= ~(uint32_t)ENTRY_BREAKDOWN;
    entry.given |= entry.given & ENTRY_PRICING ? 0 : ENTRY_TOKENS;
    int64_t cost = cost_of(world, &entry, entry.names);
    request_of(OPERATION_RESERVE, random_parent(world), &entry)->extend_ms =
        1 + random_below(UINT64_C(1) << random_below(24));
    int rc = send_request(world->ledger);
    if (cost < 0)
        assert_int_equal(rc, LEDGER_E_NO_PRICE);
    else
        assert_true(rc == 0 || rc == LEDGER_E_BUDGET_EXHAUSTED);
    if (rc != 0 || run == NULL)
        return;
    run->life = LIVE;
    run->hold = last.id;
    run->said = entry;
    world->run_count++;
}

static struct run *run_of_hold(struct world *world, uint64_t hold) {
    for (size_t i = 0; i < world->run_count; i++)
        if (world->runs[i].life == LIVE && world->runs[i].hold == hold)
            return &world->runs[i];
    return NULL;
}

static void keep_names(void *context, const struct ledger_live_hold *hold,
                       const struct ledger_text *names) {
    struct ledger_entry *of_hold = context;
    static char kept[DIMENSION_LIMIT][64];
    (void)hold;
    for (int i = 1; i < DIMENSION_LIMIT; i++) {
        of_hold->names[i] = (struct ledger_text){0};
        if (names[i].data == NULL)
            continue;
        memcpy(kept[i], names[i].data, names[i].size);
        of_hold->names[i] = (struct ledger_text){kept[i], names[i].size};
    }
}

/* Of a live hold: metered, settled, released, or given up. */
static void go_on_with_something(struct world *world) {
    struct ledger_entry usage = {.kind = KIND_RUN, .status = 1 + random_below(3)};
    struct ledger_entry of_hold = {0}, nothing = no_usage();
    settle_down(world);
    struct books *books = read_books(world->ledger);
    uint64_t hold = books_live(books) == 0 ? 0 : books_hold(books, random_below(books_live(books)));
    bool has_children = hold != 0 && books_children(books, hold) > 0;
    bool is_run = hold != 0 && books_is_run(books, hold);
    free_books(books);
    if (hold == 0)
        return;
    assert_int_equal(ledger_read_hold(world->ledger, hold, keep_names, &of_hold), 0);
    random_usage(world, &usage);
    random_payload(&usage);
    struct run *run = run_of_hold(world, hold);
    int64_t cost = cost_of(world, &usage, of_hold.names);
    int expected = cost < 0 ? LEDGER_E_NO_PRICE : 0;
    int ending = has_children ? LEDGER_E_OPEN_CHILDREN : 0;
    switch (random_below(5)) {
    case 0:
        assert_int_equal(request(world->ledger, OPERATION_METER, hold, &usage), expected);
        return;
    case 1:
        assert_int_equal(request(world->ledger, OPERATION_RELEASE, hold, &nothing), ending);
        if (run != NULL && ending == 0)
            run->life = RELEASED;
        return;
    case 2:
        assert_int_equal(request(world->ledger, OPERATION_ABORT, hold, NULL), 0);
        if (world->ended_count < ENDED_MAX)
            world->ended[world->ended_count++] = hold;
        if (run != NULL) {
            run->life = ENDED;
            run->entry = effects.expiries[0].entry;
        }
        return;
    default:
        expected = ending != 0 ? ending : expected;
        assert_int_equal(request(world->ledger, OPERATION_SETTLE, hold, &usage), expected);
        if (expected != 0)
            return;
        /* a run books what its children have not */
        if (is_run)
            assert_true(fetched(world->ledger, last.id).cost <= cost);
        else
            assert_int_equal(fetched(world->ledger, last.id).cost, cost);
        if (run != NULL) {
            run->life = ENDED;
            run->entry = last.id;
        }
    }
}

/* Whoever comes late brings up what was booked to what he says. */
static void come_late(struct world *world) {
    struct ledger_entry usage = {.kind = KIND_RUN, .status = 1 + random_below(3)};
    if (world->ended_count == 0)
        return;
    size_t at = random_below(world->ended_count);
    uint64_t hold = world->ended[at];
    settle_down(world);
    random_usage(world, &usage);
    random_payload(&usage);
    usage.given &= ~(uint32_t)(ENTRY_PRICING | ENTRY_BREAKDOWN);
    int rc = request(world->ledger, OPERATION_SETTLE, hold, &usage);
    assert_true(rc == 0 || rc == LEDGER_E_RESOLVED); /* by a correction */
    world->ended[at] = world->ended[--world->ended_count];
    if (rc != 0)
        return;
    assert_true(last.flags & ENTRY_LATE);
    struct ledger_entry correction = fetched(world->ledger, last.id);
    struct books *books = read_books(world->ledger);
    int64_t net[BOOKS_AMOUNTS];
    books_net(books, correction.link, net);
    if (usage.given & ENTRY_COST && books_kind(books, correction.link) == KIND_INVOCATION)
        assert_int_equal(net[0], usage.cost);
    free_books(books);
    assert_int_equal(request(world->ledger, OPERATION_SETTLE, hold, &usage), LEDGER_E_RESOLVED);
}

static uint64_t random_entry(const struct books *books) {
    if (books_count(books) == 0 || random_below(20) == 0)
        return random_below(1000);
    return books_id(books, random_below(books_count(books))) + (random_below(20) == 0);
}

static void correct_something(struct world *world) {
    struct ledger_entry entry = {.kind = KIND_CORRECTION, .given = 1 + (uint32_t)random_below(7)};
    settle_down(world);
    struct books *books = read_books(world->ledger);
    entry.link = random_entry(books);
    enum ledger_kind kind = books_kind(books, entry.link);
    int64_t net[BOOKS_AMOUNTS] = {0};
    bool is_record = kind == KIND_INVOCATION || kind == KIND_RUN;
    if (is_record)
        books_net(books, entry.link, net);
    free_books(books);
    int64_t *said[BOOKS_AMOUNTS] = {&entry.cost, &entry.credits};
    int expected = is_record ? 0 : LEDGER_E_NO_ENTRY;
    for (int i = 0; i < BOOKS_AMOUNTS; i++) {
        uint32_t field = i == 0 ? ENTRY_COST : i == 1 ? ENTRY_CREDITS : ENTRY_TOKENS;
        int64_t *amount = i < 2 ? said[i] : &entry.tokens[i - 2];
        if (!(entry.given & field))
            continue;
        *amount = random_below(3) ? (int64_t)random_below(60) - (net[i] < 50 ? net[i] : 50)
                                  : -net[i] - (random_below(12) == 0);
        if (is_record && net[i] + *amount < 0)
            expected = LEDGER_E_OVERCORRECTED;
    }
    random_payload(&entry);
    assert_int_equal(record(world->ledger, &entry), expected);
}

static void redact_something(struct world *world) {
    settle_down(world);
    struct books *books = read_books(world->ledger);
    struct ledger_entry entry = redaction_of(random_entry(books));
    int expected = books_kind(books, entry.link) == 0     ? LEDGER_E_NO_ENTRY
                   : books_has_payload(books, entry.link) ? 0
                                                          : LEDGER_E_NO_PAYLOAD;
    free_books(books);
    assert_int_equal(record(world->ledger, &entry), expected);
}

/* Several at once, some of which are refused; those that are not are there. */
static void send_a_batch(struct world *world) {
    struct drafts drafts = {0};
    size_t entries = facts_of(world->ledger).entries, booked = 0;
    uint64_t at = entries == 0 ? 1 : facts_of(world->ledger).last_id;
    settle_down(world);
    entries = facts_of(world->ledger).entries;
    for (size_t count = 1 + random_below(12); count > 0; count--) {
        struct ledger_entry entry = random_record(world);
        if (random_below(3) == 0)
            entry = correction_of(at, (int64_t)random_below(40) - 20);
        else if (random_below(3) == 0)
            entry = redaction_of(at);
        random_payload(&entry);
        add_request(&drafts, OPERATION_RECORD, 0, &entry);
    }
    assert_int_equal(commit(world->ledger, &drafts, ledger_now(world->ledger)), 0);
    for (size_t i = 0; i < drafts.count; i++) {
        assert_true(drafts.requests[i].rc == 0 || ledger_error_is_own(drafts.requests[i].rc));
        booked += drafts.requests[i].rc == 0;
    }
    assert_int_equal(facts_of(world->ledger).entries, entries + booked);
    free_drafts(&drafts);
}

static void let_time_pass(struct world *world) {
    int64_t now = ledger_now(world->ledger), hour = (int64_t)HOUR_MS * 1000;
    if (random_below(3) == 0)
        now = (now / hour + 1) * hour - (int64_t)random_below(2);
    else
        now += (int64_t)random_below(UINT64_C(1) << random_below(37));
    at_time(world->ledger, now);
}

static void do_something(struct world *world) {
    static void (*const things[])(struct world *) = {
        record_something,     record_something,
        record_something,     repeat_something,
        reserve_something,    go_on_with_something,
        go_on_with_something, come_late,
        correct_something,    correct_something,
        redact_something,     set_a_price,
        send_a_batch,         build,
        reopen_world,         let_time_pass,
        let_time_pass,
    };
    things[random_below(LENGTH(things))](world);
}

static void work(const char *directory, size_t steps, size_t families) {
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->directory = directory;
    world->families = families;
    open_world(world);
    at_time(world->ledger, START_US);
    for (size_t i = 1; i <= steps; i++) {
        do_something(world);
        if (i % 4 == 0)
            assert_books_agree(world->ledger);
    }
    assert_rebuilds(world->ledger); /* with what is still held */
    at_time(world->ledger, ledger_now(world->ledger) + 40 * (int64_t)DAY_MS * 1000);
    settle_down(world);
    assert_books_agree(world->ledger);
    close_ledger(world->ledger);
    free(world);
}

static void in_many_worlds(const char *directory, size_t families) {
    for (size_t i = rounds(12); i > 0; i--) {
        char below[4096];
        snprintf(below, sizeof below, "%s/%zu", directory, i);
        work(below, 60 + random_below(200), families);
    }
}

static void whatever_is_recorded_the_books_agree(void **state) {
    in_many_worlds(*state, 5);
}

static void the_same_while_series_of_statuses_are_built(void **state) {
    in_many_worlds(*state, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(whatever_is_recorded_the_books_agree),
        in_directory(the_same_while_series_of_statuses_are_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
