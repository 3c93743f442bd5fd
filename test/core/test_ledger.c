/* Opening, closing, ids, the seed policy, names that stay, the gate. */
#include "support.h"

#include <stdio.h>
#include <sys/stat.h>

static unsigned mode_of(const char *path) {
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    return file.st_mode & 07777;
}

static void a_new_ledger_is_for_its_owner_alone(void **state) {
    const char *below = path_in(*state, "a/b/c");
    struct ledger_options options = options_for(below);
    struct ledger *ledger = open_with(&options);
    assert_int_equal(mode_of(path_in(*state, "a")), 0700);
    assert_int_equal(mode_of(path_in(*state, "a/b/c")), 0700);
    assert_int_equal(mode_of(path_in(*state, "a/b/c/data.mdb")), 0600);
    assert_int_equal(mode_of(path_in(*state, "a/b/c/lock.mdb")), 0600);
    assert_int_equal(mode_of(path_in(*state, "a/b/c/gate")), 0600);
    assert_int_equal(mode_of(path_in(*state, "a/b/c/writer.lock")), 0600);
    close_ledger(ledger);
}

static void opening_tells_what_it_found(void **state) {
    struct ledger_options options = options_for(*state);
    struct ledger *ledger;
    struct ledger_opened opened;
    struct ledger_failure failure;
    assert_int_equal(ledger_open(&options, &ledger, &opened, &failure), 0);
    assert_true(opened.created);
    assert_false(opened.reader_slots_short);
    assert_int_equal(opened.last_id, 0);
    assert_int_equal(facts_of(ledger).map_size, options.map_size);
    uint64_t id = book(ledger, "executing");
    close_ledger(ledger);
    assert_int_equal(ledger_open(&options, &ledger, &opened, &failure), 0);
    assert_false(opened.created);
    assert_int_equal(opened.last_id, id);
    close_ledger(ledger);
}

/* Random entries over random states and times; everything is there again after reopening. */
static void a_ledger_keeps_everything(void **state) {
    static const char *const names[] = {"planning", "executing", "reviewing"};
    struct ledger *ledger = open_ledger(*state);
    int64_t now = START_US;
    for (size_t i = rounds(60) + 3; i > 0; i--) {
        struct drafts drafts = {0};
        now += (int64_t)random_below(HOUR_MS * 1000 / 2);
        at_time(ledger, now);
        for (size_t n = random_below(40) + 1; n > 0; n--) {
            struct ledger_entry entry = invocation(names[random_below(3)]);
            entry.status = 1 + random_below(3);
            entry.given = random_below(ENTRY_DIGEST) & ~(uint32_t)ENTRY_UNIT_PRICES;
            entry.cost = (int64_t)random_below(ENTRY_AMOUNT_MAX);
            entry.credits = (int64_t)random_below(1000);
            entry.duration_ms = (int64_t)random_below(100000);
            entry.tokens[random_below(TOKENS_CLASSES)] = (int64_t)random_below(1 << 20);
            if (!(entry.given & ENTRY_COST))
                entry.given &= ~(uint32_t)ENTRY_BREAKDOWN;
            entry.breakdown[COST_PENALTIES] = entry.cost / 3;
            entry.breakdown[COST_TOKENS] = entry.cost - entry.cost / 3;
            add_draft(&drafts, &entry);
        }
        assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
        free_drafts(&drafts);
        if (i % 4 == 0) {
            struct ledger_facts before = facts_of(ledger), after;
            assert_books_agree(ledger);
            ledger = reopen(ledger, *state);
            after = facts_of(ledger);
            assert_int_equal(after.entries, before.entries);
            assert_int_equal(after.last_id, before.last_id);
            assert_int_equal(after.created_at_us, before.created_at_us);
            assert_string_equal(after.currency, "USD");
            assert_memory_not_equal(after.boot_id, before.boot_id, sizeof after.boot_id);
        }
        assert_books_agree(ledger);
    }
    close_ledger(ledger);
}

/* Owners of holds live in a process that may open a ledger more than once. */
static void a_boot_can_be_named_by_the_opener(void **state) {
    struct ledger_options options = options_for(*state);
    uint8_t boot_id[GATE_BOOT_ID_BYTES];
    memset(boot_id, 0x7e, sizeof boot_id);
    options.boot_id = boot_id;
    for (int i = 0; i < 2; i++) {
        struct ledger *ledger = open_with(&options);
        assert_memory_equal(facts_of(ledger).boot_id, boot_id, sizeof boot_id);
        assert_memory_equal(ledger->gate->header.boot_id, boot_id, sizeof boot_id);
        close_ledger(ledger);
    }
    struct ledger *ledger = open_ledger(*state); /* by chance */
    assert_memory_not_equal(facts_of(ledger).boot_id, boot_id, sizeof boot_id);
    close_ledger(ledger);
}

static void ids_rise_while_the_clock_stands_still(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    uint64_t last = 0;
    for (int i = 0; i < 30; i++) {
        uint64_t id = book(ledger, "executing");
        assert_int_equal(id, last == 0 ? (uint64_t)START_US : last + 1);
        last = id;
        if (i % 10 == 9)
            ledger = reopen(ledger, *state);
    }
    close_ledger(ledger);
}

static void ids_rise_over_a_clock_that_went_back(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("executing");
    add_draft(&drafts, &entry);
    for (int64_t now = START_US; now > START_US - 10; now--) {
        uint64_t last = facts_of(ledger).last_id;
        assert_int_equal(commit(ledger, &drafts, now), 0);
        assert_true(drafts.requests[0].id > last);
    }
    assert_int_equal(commit(ledger, &drafts, INT64_MIN), 0);
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void time_does_not_go_back_over_reopening(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_options options = options_for(*state);
    int64_t ahead;
    assert_int_equal(ledger_now(ledger), 0);
    at_time(ledger, START_US);
    ledger = reopen(ledger, *state);
    assert_int_equal(ledger_now(ledger), START_US);
    /* a system clock, and then one that had run ahead of it */
    close_ledger(ledger);
    options.clock = CLOCK_MODE_SYSTEM;
    ledger = open_with(&options);
    assert_true(ledger_now(ledger) >= clock_wall_us() - 1000000);
    assert_false(ledger_tick(ledger, &ahead));
    assert_in_range(ahead + 1000000, 0, 2000000);
    close_ledger(ledger);
    int64_t future = clock_wall_us() + (int64_t)DAY_MS * 1000;
    ledger = open_ledger(*state);
    at_time(ledger, future);
    close_ledger(ledger);
    ledger = open_with(&options);
    assert_true(ledger_now(ledger) >= future);
    assert_false(ledger_tick(ledger, &ahead));
    assert_true(ahead < -(int64_t)HOUR_MS * 1000);
    ledger_accept_clock(ledger);
    assert_true(ledger_now(ledger) >= future);
    close_ledger(ledger);
}

static void time_is_not_lost_when_the_ledger_was_not_closed(void **state) {
    struct ledger *ledger = open_ledger(*state);
    size_t size;
    at_time(ledger, START_US);
    char *gate = read_file(path_in(*state, "gate"), &size);
    close_ledger(ledger);
    write_file(path_in(*state, "gate"), gate, size);
    free(gate);
    ledger = open_ledger(*state);
    assert_int_equal(ledger_now(ledger), START_US);
    close_ledger(ledger);
}

/* Two times are kept, and one that was half stored does not pass for a time. */
static void a_stored_time_that_is_torn_is_not_believed(void **state) {
    struct ledger *ledger = open_ledger(*state);
    size_t size;
    at_time(ledger, START_US);
    at_time(ledger, START_US + 1000);
    close_ledger(ledger);
    char *bytes = read_file(path_in(*state, "gate"), &size);
    struct gate_header *header = (struct gate_header *)bytes;
    struct gate_seen *seen = header->last_seen;
    int later = seen[0].us > seen[1].us ? 0 : 1;
    int64_t earlier_us = seen[1 - later].us;
    assert_int_equal(seen[later].us, START_US + 1000);
    seen[later].us = INT64_MAX;
    write_file(path_in(*state, "gate"), bytes, size);
    ledger = open_ledger(*state);
    assert_int_equal(ledger_now(ledger), earlier_us);
    close_ledger(ledger);
    free(bytes);
}

static void without_its_gate_page_time_starts_at_the_newest_entry(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    book_many(ledger, "executing", 3);
    close_ledger(ledger);
    assert_int_equal(remove(path_in(*state, "gate")), 0);
    ledger = open_ledger(*state);
    assert_int_equal(ledger_now(ledger), START_US + 2);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_gate_page_that_is_garbage_is_made_anew(void **state) {
    struct ledger *ledger = open_ledger(*state);
    book_many(ledger, "executing", 7);
    close_ledger(ledger);
    write_file(path_in(*state, "gate"), "garbage", 7);
    ledger = open_ledger(*state);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void only_a_manual_clock_is_set_and_only_forward(void **state) {
    struct ledger_options options = options_for(*state);
    struct ledger *ledger = open_with(&options);
    at_time(ledger, START_US);
    assert_int_equal(ledger_set_clock(ledger, START_US - 1), LEDGER_E_BACKWARDS);
    assert_int_equal(ledger_now(ledger), START_US);
    close_ledger(ledger);
    options.clock = CLOCK_MODE_SYSTEM;
    ledger = open_with(&options);
    assert_int_equal(ledger_set_clock(ledger, LEDGER_TIME_MAX), LEDGER_E_NOT_MANUAL);
    close_ledger(ledger);
}

static void an_id_beyond_the_format_is_refused(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("executing");
    add_draft(&drafts, &entry);
    assert_int_equal(commit(ledger, &drafts, LEDGER_TIME_MAX + 1), LEDGER_E_ID_EXHAUSTED);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_ID_EXHAUSTED);
    assert_int_equal(commit(ledger, &drafts, LEDGER_TIME_MAX), 0);
    assert_int_equal(commit(ledger, &drafts, 0), LEDGER_E_ID_EXHAUSTED);
    assert_int_equal(ledger_set_clock(ledger, LEDGER_TIME_MAX + 1), LEDGER_E_ID_EXHAUSTED);
    assert_int_equal(count_of(ledger, NULL), 1);
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void the_stored_policy_wins_over_the_seed(void **state) {
    struct ledger_text states[] = {{"other", 5}};
    struct ledger_policy seed = {.state_count = 1, .states = states};
    struct ledger_options options = options_for(*state);
    struct ledger *ledger = open_with(&options);
    struct ledger_opened opened;
    struct ledger_failure failure;
    struct ledger_policy in_force;
    close_ledger(ledger);
    options.policy = &seed;
    assert_int_equal(ledger_open(&options, &ledger, &opened, &failure), 0);
    assert_int_equal(ledger_policy(ledger, &in_force), 0);
    assert_true(policy_equal(&in_force, &three_states));
    assert_int_equal(in_force.version, 1);
    assert_int_equal(in_force.changed_by_entry, 0);
    assert_int_equal(ledger_state(ledger, text("executing")), 1);
    assert_int_equal(ledger_state(ledger, text("other")), -1);
    policy_free(&in_force);
    close_ledger(ledger);
}

static void a_seed_that_breaks_the_rules_makes_no_directory(void **state) {
    struct ledger_text states[] = {{"total", 5}};
    struct ledger_policy seed = {.state_count = 1, .states = states};
    struct ledger_options options = options_for(path_in(*state, "new"));
    struct stat file;
    options.policy = &seed;
    open_fails(&options, LEDGER_E_BAD_POLICY);
    assert_int_not_equal(stat(path_in(*state, "new"), &file), 0);
}

/* ---- names -------------------------------------------------------------------------------- */

static uint32_t number_of(struct ledger *ledger, uint8_t dimension, struct ledger_text name) {
    MDB_txn *txn;
    uint32_t number = 0;
    assert_int_equal(storage_read_begin(&ledger->storage, &txn), 0);
    int rc = names_find(txn, ledger->storage.databases[DB_NAMES], dimension, name, &number);
    assert_true(rc == 0 || rc == MDB_NOTFOUND);
    storage_read_end(&ledger->storage, txn);
    return number;
}

static void a_name_keeps_its_number_over_reopening(void **state) {
    static char longer[100000];
    struct ledger *ledger = open_ledger(*state);
    struct ledger_entry entry = invocation("executing");
    memset(longer, 'l', sizeof longer);
    entry.names[DIMENSION_USER] = text("ada");
    entry.names[DIMENSION_MODEL] = (struct ledger_text){longer, sizeof longer};
    book_entry(ledger, &entry);
    uint32_t user = number_of(ledger, DIMENSION_USER, text("ada"));
    uint32_t model = number_of(ledger, DIMENSION_MODEL, entry.names[DIMENSION_MODEL]);
    assert_true(user != 0 && model != 0 && user != model);
    ledger = reopen(ledger, *state);
    entry.names[DIMENSION_ORG] = text("new");
    book_entry(ledger, &entry);
    assert_int_equal(number_of(ledger, DIMENSION_USER, text("ada")), user);
    assert_int_equal(number_of(ledger, DIMENSION_MODEL, entry.names[DIMENSION_MODEL]), model);
    assert_true(number_of(ledger, DIMENSION_ORG, text("new")) > model);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void check_name(void *context, const struct ledger_entry *entry,
                       const struct ledger_payload *payload) {
    size_t *left = context;
    (void)payload;
    char name[600];
    --*left;
    snprintf(name, sizeof name, "user %zu%0*d", *left, *left % 7 == 0 ? 550 : 1, 0);
    assert_true(text_equal(entry->names[DIMENSION_USER], text(name)));
}

static void many_names_come_back_as_they_were(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct ledger_list_query all = list_of(ALL_KINDS);
    struct ledger_page page;
    size_t many = rounds(2000), left = many;
    for (size_t i = 0; i < many;) {
        struct drafts drafts = {0};
        for (; i < many && drafts.count < LENGTH(drafts.requests); i++) {
            char name[600];
            struct ledger_entry entry = invocation("executing");
            snprintf(name, sizeof name, "user %zu%0*d", i, i % 7 == 0 ? 550 : 1, 0);
            entry.names[DIMENSION_USER] = text(name);
            add_draft(&drafts, &entry);
        }
        assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
        free_drafts(&drafts);
    }
    ledger = reopen(ledger, *state);
    assert_int_equal(ledger_list(ledger, &all, check_name, &left, &page), 0);
    assert_int_equal(left, 0);
    close_ledger(ledger);
}

/* ---- the gate ----------------------------------------------------------------------------- */

static void the_gate_closes_at_the_limit_and_opens_by_itself(void **state) {
    struct ledger *ledger = open_ledger(*state);
    uint32_t executing = 1;
    at_time(ledger, START_US);
    for (int i = 0; i < 5; i++) {
        assert_true(ledger_allowed(ledger, executing));
        book(ledger, "executing");
    }
    assert_false(ledger_allowed(ledger, executing));
    assert_true(ledger_allowed(ledger, 0));
    assert_true(ledger_allowed(ledger, 2));
    int64_t opens = (START_US / 1000 + (int64_t)HOUR_MS + 1) * 1000;
    assert_int_equal(ledger_allowed_from(ledger, executing), opens);
    ledger = reopen(ledger, *state); /* right after reopening it says the same */
    assert_int_equal(ledger_allowed_from(ledger, executing), opens);
    assert_false(ledger_allowed(ledger, executing));
    at_time(ledger, opens - 1);
    assert_false(ledger_allowed(ledger, executing));
    at_time(ledger, opens);
    assert_true(ledger_allowed(ledger, executing));
    assert_int_equal(count_in(ledger, "executing", HOUR_MS), 0);
    assert_int_equal(count_of(ledger, "executing"), 5);
    close_ledger(ledger);
}

static void the_strictest_of_two_rules_decides(void **state) {
    struct ledger *ledger = open_ledger(*state);
    int64_t now = START_US;
    for (int i = 0; i < 4; i++) { /* 5 in each of four hours: the day is full as well */
        at_time(ledger, now);
        book_many(ledger, "executing", 5);
        assert_books_agree(ledger);
        now += 2 * (int64_t)HOUR_MS * 1000;
    }
    at_time(ledger, now);
    assert_false(ledger_allowed(ledger, 1));
    assert_int_equal(ledger_allowed_from(ledger, 1),
                     (START_US / 1000 + (int64_t)DAY_MS + 1) * 1000);
    ledger = reopen(ledger, *state);
    assert_books_agree(ledger);
    assert_false(ledger_allowed(ledger, 1));
    close_ledger(ledger);
}

static void booking_goes_on_beyond_the_limit(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    book_many(ledger, "executing", 50);
    assert_int_equal(count_in(ledger, "executing", HOUR_MS), 50);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void the_gate_answers_after_closing(void **state) {
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    book_many(ledger, "executing", 5);
    ledger_close(ledger);
    assert_false(ledger_allowed(ledger, 1));
    assert_true(ledger_allowed(ledger, 0));
    assert_int_equal(ledger_now(ledger), START_US);
    ledger_close(ledger);
    ledger_free(ledger);
}

static void a_closed_ledger_says_so(void **state) {
    struct ledger *ledger = open_ledger(*state);
    struct drafts drafts = {0};
    struct ledger_entry entry = invocation("executing");
    struct ledger_facts facts;
    struct ledger_failure failure;
    struct ledger_change change = {.by = text("a"), .reason = text("b")};
    uint64_t version;
    ledger_close(ledger);
    add_draft(&drafts, &entry);
    assert_int_equal(commit(ledger, &drafts, START_US), LEDGER_E_CLOSED);
    assert_int_equal(drafts.requests[0].rc, LEDGER_E_CLOSED);
    assert_int_equal(ledger_facts(ledger, &facts), LEDGER_E_CLOSED);
    assert_int_equal(
        ledger_set_policy(ledger, &three_states, &change, START_US, &version, &effects, &failure),
        LEDGER_E_CLOSED);
    free_drafts(&drafts);
    ledger_free(ledger);
    ledger_free(NULL);
}

static void opening_and_closing_leaks_no_file_descriptor(void **state) {
    int highest[2];
    for (int i = 0; i < 2; i++) {
        for (int n = 0; n < 5; n++)
            close_ledger(open_ledger(*state));
        FILE *file = tmpfile();
        assert_non_null(file);
        highest[i] = fileno(file);
        fclose(file);
    }
    assert_int_equal(highest[0], highest[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_new_ledger_is_for_its_owner_alone),
        in_directory(opening_tells_what_it_found),
        in_directory(a_ledger_keeps_everything),
        in_directory(a_boot_can_be_named_by_the_opener),
        in_directory(ids_rise_while_the_clock_stands_still),
        in_directory(ids_rise_over_a_clock_that_went_back),
        in_directory(time_does_not_go_back_over_reopening),
        in_directory(time_is_not_lost_when_the_ledger_was_not_closed),
        in_directory(a_stored_time_that_is_torn_is_not_believed),
        in_directory(without_its_gate_page_time_starts_at_the_newest_entry),
        in_directory(a_gate_page_that_is_garbage_is_made_anew),
        in_directory(only_a_manual_clock_is_set_and_only_forward),
        in_directory(an_id_beyond_the_format_is_refused),
        in_directory(the_stored_policy_wins_over_the_seed),
        in_directory(a_seed_that_breaks_the_rules_makes_no_directory),
        in_directory(a_name_keeps_its_number_over_reopening),
        in_directory(many_names_come_back_as_they_were),
        in_directory(the_gate_closes_at_the_limit_and_opens_by_itself),
        in_directory(the_strictest_of_two_rules_decides),
        in_directory(booking_goes_on_beyond_the_limit),
        in_directory(the_gate_answers_after_closing),
        in_directory(a_closed_ledger_says_so),
        in_directory(opening_and_closing_leaks_no_file_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
