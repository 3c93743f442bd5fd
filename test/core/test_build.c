/* Series that are declared when there are entries already: built in slices, between which work
 * goes on, and in the end as if they had been declared from the start. */
#include "support.h"

#include <stdio.h>

#include "../../c_src/core/hold.h"
#include "books.h"

static const uint8_t boot_id[GATE_BOOT_ID_BYTES] = {1};

/* With none, or with all of these, besides that of the states. */
static struct declared_series families[3];

static struct ledger_options options_with(const char *directory, size_t count) {
    struct ledger_options options = options_for(directory);
    families[0] = FAMILY(DIMENSION_USER);
    families[1] = FAMILY(DIMENSION_ORG, DIMENSION_USER);
    families[2] = FAMILY(DIMENSION_MODEL);
    options.series = families;
    options.series_count = count;
    options.boot_id = boot_id; /* so that holds outlive reopening */
    return options;
}

static struct ledger *open_declaring(const char *directory, size_t count) {
    struct ledger_options options = options_with(directory, count);
    return open_with(&options);
}

static struct ledger *reopen_declaring(struct ledger *ledger, const char *directory, size_t count) {
    close_ledger(ledger);
    return open_declaring(directory, count);
}

static bool build(struct ledger *ledger, size_t limit) {
    struct ledger_failure failure;
    bool done;
    assert_int_equal(ledger_build(ledger, limit, &done, &failure), 0);
    return done;
}

static void build_all(struct ledger *ledger) {
    while (!build(ledger, 1 + random_below(200))) {
    }
}

static struct ledger_entry random_entry(void) {
    static const char *const users[] = {"ada", "bob", "eve"}, *const orgs[] = {"acme", "umbrella"};
    struct ledger_entry entry = priced(NULL, (int64_t)random_below(1000));
    if (random_below(2)) /* which has no limit */
        entry.names[DIMENSION_STATE] = text("planning");
    if (random_below(4) > 0)
        entry.names[DIMENSION_USER] = text(users[random_below(3)]);
    if (random_below(3) > 0)
        entry.names[DIMENSION_ORG] = text(orgs[random_below(2)]);
    if (random_below(2))
        entry.names[DIMENSION_MODEL] = text(random_below(2) ? "a model" : "another");
    entry.status = 1 + random_below(3);
    entry.duration_ms = (int64_t)random_below(5000);
    return entry;
}

/* Entries of every kind that adds up, holds that live on, and some that are corrected. */
static void work(struct ledger *ledger, size_t steps) {
    static uint64_t holds[64];
    size_t live = 0;
    while (steps-- > 0) {
        struct ledger_entry entry = random_entry();
        at_time(ledger, ledger_now(ledger) + (int64_t)random_below(20 * MINUTE_MS * 1000));
        if (random_below(3) > 0) {
            book_entry(ledger, &entry);
        } else if (live < LENGTH(holds) && random_below(2)) {
            if (random_below(3) == 0)
                entry.kind = KIND_RUN;
            holds[live] = reserve_for(ledger, &entry, 0, DAY_MS * 400);
            live += holds[live] != 0;
        } else if (live > 0 && random_below(2)) {
            size_t at = random_below(live);
            if (random_below(2))
                assert_int_equal(request(ledger, OPERATION_ABORT, holds[at], NULL), 0);
            assert_int_equal(settle(ledger, holds[at], (int64_t)random_below(1000)), 0);
            holds[at] = holds[--live];
        } else {
            assert_int_equal(grant_credits(ledger, NULL, 5), 0);
        }
    }
}

static void a_new_ledger_needs_no_building(void **state) {
    struct ledger *ledger = open_declaring(*state, 3);
    struct ledger_opened opened;
    struct ledger_failure failure;
    struct ledger_options options = options_with(*state, 3);
    assert_true(build(ledger, 1));
    work(ledger, 30);
    assert_books_agree(ledger);
    close_ledger(ledger);
    assert_int_equal(ledger_open(&options, &ledger, &opened, &failure), 0);
    assert_false(opened.building);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void series_declared_later_become_what_they_would_have_been(void **state) {
    struct ledger *ledger = open_declaring(*state, 0);
    struct declared_series declared[DECLARED_MAX];
    at_time(ledger, START_US);
    work(ledger, rounds(300) + 20);
    ledger = reopen_declaring(ledger, *state, 3);
    assert_int_equal(ledger_series(ledger, declared), 4);
    assert_true(declared[0].ready && !declared[1].ready && !declared[3].ready);
    assert_books_agree(ledger);
    build_all(ledger);
    assert_int_equal(ledger_series(ledger, declared), 4);
    for (size_t i = 0; i < 4; i++)
        assert_true(declared[i].ready);
    assert_books_agree(ledger);
    work(ledger, 30);
    assert_books_agree(ledger);
    ledger = reopen_declaring(ledger, *state, 0); /* once built they stay */
    work(ledger, 30);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* Statuses are derived: nothing defined them before there was such a family. */
static void a_family_of_statuses_declared_later_has_the_same_sums(void **state) {
    struct declared_series with[] = {FAMILY(DIMENSION_USER, DIMENSION_STATUS),
                                     FAMILY(DIMENSION_STATUS)};
    static const char *const words[] = {"completed", "failed", "aborted"};
    struct ledger_options options = options_for(*state);
    struct ledger_sums sums[2][3];
    options.boot_id = boot_id;
    struct ledger *ledger = open_with(&options);
    at_time(ledger, START_US);
    work(ledger, 150);
    struct ledger_entry late = priced("ada", 50);
    late.names[DIMENSION_STATE] = text("planning");
    uint64_t hold = reserve_for(ledger, &late, 0, DAY_MS);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0);
    assert_int_equal(settle(ledger, hold, 70), 0); /* completed after all */
    options.series = with;
    options.series_count = LENGTH(with);
    for (int pass = 0; pass < 2; pass++) {
        struct ledger_text names[DIMENSION_LIMIT] = {0};
        struct ledger_filter filter = {.names = names, .until = UINT64_MAX};
        close_ledger(ledger);
        ledger = open_with(&options);
        for (size_t i = 0; i < 3; i++) {
            names[DIMENSION_STATUS] = text(words[i]);
            if (pass == 0)
                assert_int_equal(ledger_sum_up(ledger, &filter, &sums[pass][i]), LEDGER_E_BUILDING);
        }
        build_all(ledger);
        for (size_t i = 0; i < 3; i++) {
            names[DIMENSION_STATUS] = text(words[i]);
            assert_int_equal(ledger_sum_up(ledger, &filter, &sums[pass][i]), 0);
        }
        assert_books_agree(ledger);
    }
    assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
    struct totals totals = {0};
    for (size_t i = 0; i < 3; i++)
        for (int column = 0; column < COLUMN_COUNT; column++)
            totals.column[column] += sums[0][i].totals.column[column];
    struct ledger_text none[DIMENSION_LIMIT] = {0};
    struct ledger_filter everything = {.names = none, .until = UINT64_MAX};
    struct ledger_sums all;
    assert_int_equal(ledger_sum_up(ledger, &everything, &all), 0);
    for (int column = 0; column < COLUMN_GRANTS; column++) /* all but grants have a status */
        assert_sum_equal(totals.column[column], all.totals.column[column]);
    close_ledger(ledger);
}

static void work_goes_on_between_the_slices(void **state) {
    struct ledger *ledger = open_declaring(*state, 0);
    size_t slices = 0;
    at_time(ledger, START_US);
    work(ledger, rounds(200) + 100);
    ledger = reopen_declaring(ledger, *state, 3);
    expire(ledger);
    assert_true(effects.building);
    while (!build(ledger, 1 + random_below(30))) {
        work(ledger, random_below(4));
        assert_books_agree(ledger);
        slices++;
    }
    assert_true(slices > 5);
    expire(ledger);
    assert_false(effects.building);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* As after a crash: what was committed is there, and building goes on from there. */
static void building_goes_on_after_reopening(void **state) {
    struct ledger *ledger = open_declaring(*state, 0);
    at_time(ledger, START_US);
    work(ledger, 120);
    ledger = reopen_declaring(ledger, *state, 2);
    for (size_t i = 0; !build(ledger, 1 + random_below(20)); i++) {
        /* also without the option, and with one more */
        ledger = reopen_declaring(ledger, *state, i % 3 == 0 ? 2 : i % 3 == 1 ? 0 : 3);
        assert_books_agree(ledger);
        work(ledger, random_below(3));
    }
    build_all(ledger);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_was_not_begun_is_forgotten_with_its_option(void **state) {
    struct ledger *ledger = open_declaring(*state, 0);
    struct declared_series declared[DECLARED_MAX];
    work(ledger, 20);
    ledger = reopen_declaring(ledger, *state, 3);
    work(ledger, 20);
    ledger = reopen_declaring(ledger, *state, 0);
    assert_int_equal(ledger_series(ledger, declared), 1);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_ledger_without_entries_is_built_at_once(void **state) {
    struct ledger *ledger = open_declaring(*state, 0);
    ledger = reopen_declaring(ledger, *state, 3);
    assert_true(build(ledger, 1));
    work(ledger, 10);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* Until it is ready a family has no rules and no accounts. */
static void what_is_being_built_cannot_be_relied_on_yet(void **state) {
    struct ledger *ledger = open_declaring(*state, 0);
    struct ledger_rule rules[] = {of(rule_of("ada", MEASURE_COST, 10), DIMENSION_USER, "ada")};
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_balance balance;
    struct ledger_entry spent = priced("ada", 10);
    book_entry(ledger, &spent);
    book_entry(ledger, &spent);
    assert_int_equal(set_rules(ledger, rules, 1), LEDGER_E_UNDECLARED_SERIES);
    ledger = reopen_declaring(ledger, *state, 1);
    names[DIMENSION_USER] = text("ada");
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(set_rules(ledger, rules, 1), LEDGER_E_BUILDING);
        assert_int_equal(grant_credits(ledger, "ada", 5), LEDGER_E_BUILDING);
        assert_int_equal(ledger_read_balance(ledger, names, true, 0, NULL, NULL, &balance),
                         LEDGER_E_BUILDING);
        assert_books_agree(ledger);
        if (pass == 0)
            assert_false(build(ledger, 1));
    }
    assert_true(build(ledger, 9));
    assert_int_equal(set_rules(ledger, rules, 1), 0);
    assert_int_equal(grant_credits(ledger, "ada", 5), 0);
    assert_sum_equal(used_of(ledger, "ada"), 20);
    assert_books_agree(ledger);
    ledger = reopen_declaring(ledger, *state, 0); /* with the rule, without the option */
    assert_sum_equal(used_of(ledger, "ada"), 20);
    close_ledger(ledger);
}

/* ---- holds -------------------------------------------------------------------------------- */

static ledger_sum held_for(struct ledger *ledger, const char *user) {
    struct ledger_rule rule = of(rule_of("each", MEASURE_COST, 1000), DIMENSION_USER, NULL);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct books *books = read_books(ledger);
    names[DIMENSION_USER] = text(user);
    ledger_sum held = books_held(books, &rule, names);
    free_books(books);
    return held;
}

/* A chain: a run of ada with children of ada, bob and nobody, and a child of each of those. */
static uint64_t chain(struct ledger *ledger, uint64_t *holds) {
    static const char *const users[] = {"ada", "bob", NULL};
    struct ledger_entry estimate = run_of("ada", 100);
    uint64_t top = holds[0] = reserve_for(ledger, &estimate, 0, DAY_MS);
    for (size_t i = 0; i < 3; i++) {
        estimate = run_of(users[i], 20 + (int64_t)i);
        holds[2 * i + 1] = reserve_for(ledger, &estimate, top, DAY_MS);
        estimate = run_of("ada", 5 + (int64_t)i);
        holds[2 * i + 2] = reserve_for(ledger, &estimate, holds[2 * i + 1], DAY_MS);
    }
    return top;
}

/* Shares in the family of users: of each hold what it keeps there, and what it drew. */
static void read_shares(struct ledger *ledger, const uint64_t *holds, size_t count,
                        int64_t shares[][2]) {
    MDB_txn *txn;
    struct hold hold = {0};
    assert_int_equal(storage_read_begin(&ledger->storage, &txn), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(hold_load(txn, ledger->storage.databases[DB_HOLDS], holds[i], &hold), 0);
        bool has_user = hold.name_numbers[DIMENSION_USER] != 0;
        /* everything, and the users' family where it has one: nothing else is declared */
        assert_int_equal(hold.share_count, has_user ? 2 : 1);
        shares[i][0] = has_user ? hold.shares[1].held[HELD_COST] : -1;
        shares[i][1] = has_user ? hold.shares[1].drawn[HELD_COST] : -1;
    }
    hold_free(&hold);
    storage_read_end(&ledger->storage, txn);
}

static void live_holds_are_shared_as_if_it_had_always_been_there(void **state) {
    char other[4096];
    uint64_t holds[2][7];
    int64_t shares[2][7][2];
    snprintf(other, sizeof other, "%s/other", (char *)*state);
    for (int later = 0; later < 2; later++) {
        const char *directory = later ? *state : other;
        struct ledger *ledger = open_declaring(directory, later ? 0 : 1);
        at_time(ledger, START_US);
        chain(ledger, holds[later]);
        if (later) {
            ledger = reopen_declaring(ledger, directory, 1);
            assert_true(build(ledger, 1));
        }
        read_shares(ledger, holds[later], 7, shares[later]);
        assert_sum_equal(held_for(ledger, "ada"), 100 - 20 + 20 + 6 + 7);
        assert_sum_equal(held_for(ledger, "bob"), 21);
        assert_books_agree(ledger);
        close_ledger(ledger);
    }
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(shares[1][i][0], shares[0][i][0]);
        assert_int_equal(shares[1][i][1], shares[0][i][1]);
    }
}

static void holds_that_were_shared_later_end_like_others(void **state) {
    struct ledger *ledger = open_declaring(*state, 0);
    uint64_t holds[7];
    at_time(ledger, START_US);
    chain(ledger, holds);
    ledger = reopen_declaring(ledger, *state, 3);
    assert_true(build(ledger, 1));
    for (size_t i = 7; i-- > 0;) {
        if (i % 3 == 0)
            assert_int_equal(release(ledger, holds[i]), 0);
        else
            assert_int_equal(settle(ledger, holds[i], (int64_t)random_below(30)), 0);
        assert_books_agree(ledger);
    }
    assert_sum_equal(held_for(ledger, "ada"), 0);
    close_ledger(ledger);
}

/* Rows of holds that grow move about in the tree while they are walked. */
static void many_holds_are_shared_in_one_slice(void **state) {
    static char owner[700];
    struct ledger *ledger = open_declaring(*state, 0);
    struct ledger_entry estimate = priced("ada", 3);
    memset(owner, 'o', sizeof owner);
    at_time(ledger, START_US);
    estimate.names[DIMENSION_STATE] = text("planning");
    estimate.names[DIMENSION_ORG] = text("acme");
    estimate.names[DIMENSION_MODEL] = text("a model");
    size_t count = 0;
    while (count < rounds(600) + 50) {
        struct drafts drafts = {0};
        while (drafts.count < 50) {
            struct ledger_request *reserving =
                add_request(&drafts, OPERATION_RESERVE, 0, &estimate);
            reserving->text = (struct ledger_text){owner, random_below(sizeof owner)};
            reserving->extend_ms = DAY_MS;
        }
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        assert_int_equal(drafts.requests[drafts.count - 1].rc, 0);
        count += drafts.count;
        free_drafts(&drafts);
    }
    ledger = reopen_declaring(ledger, *state, 3);
    build_all(ledger);
    assert_sum_equal(held_for(ledger, "ada"), 3 * (ledger_sum)count);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* ---- options ------------------------------------------------------------------------------ */

static void the_most_families_can_be_declared_and_no_more(void **state) {
    static struct declared_series many[DECLARED_MAX];
    struct ledger_options options = options_for(*state);
    size_t count = 0;
    for (uint8_t a = DIMENSION_ORG; a <= DIMENSION_PROVIDER; a++)
        for (uint8_t b = (uint8_t)(a + 1); b <= DIMENSION_PROVIDER; b++)
            for (uint8_t c = (uint8_t)(b + 1); c <= DIMENSION_PROVIDER; c++)
                many[count++] = FAMILY(a, b, c);
    for (uint8_t a = DIMENSION_CUSTOM; a < DIMENSION_LIMIT; a++)
        for (uint8_t b = (uint8_t)(a + 1); b < DIMENSION_LIMIT && count < DECLARED_MAX; b++)
            many[count++] = FAMILY(a, b);
    assert_int_equal(count, DECLARED_MAX);
    options.series = many;
    options.series_count = DECLARED_MAX;
    open_fails(&options, LEDGER_E_BAD_POLICY);
    options.series_count = DECLARED_MAX - 1;
    struct ledger *ledger = open_with(&options);
    struct ledger_entry estimate = priced("ada", 1);
    for (int i = 1; i < DIMENSION_LIMIT; i++)
        if (entry_dimension_is_assigned(i) && i != DIMENSION_STATE)
            estimate.names[i] = text("name");
    uint64_t hold = reserve(ledger, &estimate, 0);
    book_entry(ledger, &estimate);
    assert_books_agree(ledger);
    assert_int_equal(settle(ledger, hold, 3), 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_is_no_family_is_refused(void **state) {
    struct declared_series wrong[] = {
        {.count = 0},
        {.count = RULE_SCOPE_MAX + 1},
        {.count = 1, .dimensions = {DIMENSION_PROMPT_TYPE + 1}},
        {.count = 2, .dimensions = {DIMENSION_STATUS, DIMENSION_STATUS}},
        {.count = 1, .dimensions = {0}},
        {.count = 1, .dimensions = {DIMENSION_LIMIT}},
        {.count = 2, .dimensions = {DIMENSION_USER, DIMENSION_ORG}},
        {.count = 2, .dimensions = {DIMENSION_USER, DIMENSION_USER}},
    };
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        struct ledger_options options = options_for(*state);
        options.series = &wrong[i];
        options.series_count = 1;
        open_fails(&options, LEDGER_E_BAD_POLICY);
    }
}

static void a_family_that_is_named_twice_is_one(void **state) {
    struct declared_series twice[] = {FAMILY(DIMENSION_USER), FAMILY(DIMENSION_STATE),
                                      FAMILY(DIMENSION_USER)};
    struct ledger_options options = options_for(*state);
    struct declared_series declared[DECLARED_MAX];
    options.series = twice;
    options.series_count = LENGTH(twice);
    struct ledger *ledger = open_with(&options);
    assert_int_equal(ledger_series(ledger, declared), 2);
    book(ledger, "executing");
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* A rule that cannot be planned must not be what the ledger is made with: it would never open. */
static void a_seed_with_a_rule_on_no_series_makes_no_ledger(void **state) {
    struct ledger_rule rules[] = {of(rule_of("ada", MEASURE_COST, 10), DIMENSION_USER, "ada")};
    struct ledger_policy policy = policy_of(rules, 1);
    struct ledger_options options = options_with(*state, 0);
    options.policy = &policy;
    struct ledger_failure failure = open_fails(&options, LEDGER_E_UNDECLARED_SERIES);
    assert_non_null(strstr(failure.detail, "ada"));
    options.series_count = 1;
    struct ledger *ledger = open_with(&options);
    struct ledger_entry spent = priced("ada", 3);
    book_entry(ledger, &spent);
    assert_sum_equal(used_of(ledger, "ada"), 3);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_new_ledger_needs_no_building),
        in_directory(series_declared_later_become_what_they_would_have_been),
        in_directory(a_family_of_statuses_declared_later_has_the_same_sums),
        in_directory(work_goes_on_between_the_slices),
        in_directory(building_goes_on_after_reopening),
        in_directory(what_was_not_begun_is_forgotten_with_its_option),
        in_directory(a_ledger_without_entries_is_built_at_once),
        in_directory(what_is_being_built_cannot_be_relied_on_yet),
        in_directory(live_holds_are_shared_as_if_it_had_always_been_there),
        in_directory(holds_that_were_shared_later_end_like_others),
        in_directory(many_holds_are_shared_in_one_slice),
        in_directory(the_most_families_can_be_declared_and_no_more),
        in_directory(what_is_no_family_is_refused),
        in_directory(a_family_that_is_named_twice_is_one),
        in_directory(a_seed_with_a_rule_on_no_series_makes_no_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
