/* Grants, and the balance that they make. */
#include "support.h"

/* Users have prepaid credits, of which non-critical calls may use 80 percent. */
static struct ledger *open_prepaid(const char *directory) {
    struct ledger_rule rules[] = {
        of(granted("prepaid", MEASURE_CREDITS), DIMENSION_USER, NULL),
    };
    rules[0].grace = 10;
    struct ledger *ledger = open_ruled(directory, rules, LENGTH(rules));
    at_time(ledger, START_US);
    return ledger;
}

static struct ledger_entry of_credits(const char *user, int64_t credits) {
    struct ledger_entry entry = invocation("executing");
    entry.names[DIMENSION_USER] = text(user);
    entry.given = ENTRY_CREDITS;
    entry.credits = credits;
    return entry;
}

static int ask(struct ledger *ledger, const char *user, int64_t credits) {
    struct ledger_entry estimate = of_credits(user, credits);
    uint64_t hold = reserve(ledger, &estimate, 0);
    if (hold == 0)
        return last.rc;
    assert_int_equal(release(ledger, hold), 0);
    return 0;
}

static void use(struct ledger *ledger, const char *user, int64_t credits) {
    struct ledger_entry entry = of_credits(user, credits);
    book_entry(ledger, &entry);
}

static void an_account_admits_what_was_granted(void **state) {
    struct ledger *ledger = open_prepaid(*state);
    assert_int_equal(ask(ledger, "ada", 11), LEDGER_E_BUDGET_EXHAUSTED);
    assert_int_equal(ask(ledger, "ada", 10), 0); /* the grace */
    assert_int_equal(grant_credits(ledger, "ada", 100), 0);
    assert_int_equal(ask(ledger, "ada", 110), 0);
    assert_int_equal(ask(ledger, "ada", 111), LEDGER_E_BUDGET_EXHAUSTED);
    assert_int_equal(ask(ledger, "bob", 11), LEDGER_E_BUDGET_EXHAUSTED);
    use(ledger, "ada", 105);
    struct ledger_rule_status status = status_for(ledger, "prepaid", "ada");
    assert_sum_equal(status.limit, 100);
    assert_sum_equal(status.used, 105);
    assert_sum_equal(status.remaining, -5);
    assert_int_equal(status.percent, 100);
    assert_int_equal(status.level, LEVEL_CRITICAL); /* not exhausted: there is grace left */
    assert_int_equal(ask(ledger, "ada", 5), 0);
    assert_int_equal(ask(ledger, "ada", 6), LEDGER_E_BUDGET_EXHAUSTED);
    assert_true(last.denial->rules[0].resets_at_us == UINT64_MAX);
    assert_books_agree(ledger);
    ledger = reopen(ledger, *state);
    assert_int_equal(ask(ledger, "ada", 6), LEDGER_E_BUDGET_EXHAUSTED);
    close_ledger(ledger);
}

static void an_adjustment_takes_back(void **state) {
    struct ledger *ledger = open_prepaid(*state);
    assert_int_equal(grant_credits(ledger, "ada", 100), 0);
    assert_int_equal(grant_credits(ledger, "ada", -70), 0);
    assert_int_equal(ask(ledger, "ada", 40), 0);
    assert_int_equal(ask(ledger, "ada", 41), LEDGER_E_BUDGET_EXHAUSTED);
    assert_int_equal(grant_credits(ledger, "ada", -70), 0); /* more than there is */
    assert_int_equal(ask(ledger, "ada", 1), LEDGER_E_BUDGET_EXHAUSTED);
    assert_sum_equal(status_for(ledger, "prepaid", "ada").remaining, -40);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_grant_is_to_an_account_that_is_a_series(void **state) {
    struct ledger *ledger = open_prepaid(*state);
    struct ledger_entry grant = {.kind = KIND_GRANT, .given = ENTRY_CREDITS, .credits = 5};
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), 0); /* everyone's */
    grant.names[DIMENSION_STATE] = text("executing");
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), 0);
    grant.names[DIMENSION_STATE] = text("dreaming");
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), LEDGER_E_UNDECLARED_STATE);
    grant.names[DIMENSION_STATE] = (struct ledger_text){0};
    grant.names[DIMENSION_ORG] = text("acme");
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), LEDGER_E_UNDECLARED_SERIES);
    grant.names[DIMENSION_USER] = text("ada");
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), LEDGER_E_UNDECLARED_SERIES);
    for (uint8_t i = DIMENSION_CUSTOM; i < DIMENSION_LIMIT; i++)
        grant.names[i] = text("one dimension too many");
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), LEDGER_E_UNDECLARED_SERIES);
    assert_int_equal(facts_of(ledger).entries, 2);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_grant_of_nothing_is_refused(void **state) {
    struct ledger *ledger = open_prepaid(*state);
    assert_int_equal(grant_credits(ledger, "ada", 0), LEDGER_E_BAD_ENTRY);
    assert_int_equal(facts_of(ledger).entries, 0);
    close_ledger(ledger);
}

static void a_grant_under_an_id_is_given_once(void **state) {
    struct ledger *ledger = open_prepaid(*state);
    struct ledger_entry grant = {.kind = KIND_GRANT, .given = ENTRY_CREDITS, .credits = 500};
    grant.names[DIMENSION_USER] = text("ada");
    grant.client_id = text("inv-17");
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), 0);
    uint64_t id = last.id;
    ledger = reopen(ledger, *state);
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), 0);
    assert_int_equal(last.id, id);
    assert_true(last.repeated);
    grant.credits = 501;
    assert_int_equal(request(ledger, OPERATION_RECORD, 0, &grant), LEDGER_E_CONFLICT);
    assert_int_equal(last.id, id);
    assert_sum_equal(status_for(ledger, "prepaid", "ada").limit, 500);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_grant_is_no_invocation_and_opens_the_gate(void **state) {
    struct ledger_rule rules[] = {granted("prepaid", MEASURE_COST)};
    struct ledger *ledger = open_ruled(*state, rules, 1);
    at_time(ledger, START_US);
    assert_int_equal(ledger_allowed_from(ledger, 1), UINT64_MAX);
    assert_int_equal(grant_cost(ledger, NULL, 5), 0);
    assert_true(ledger_allowed(ledger, 1));
    assert_int_equal(count_of(ledger, NULL), 0);
    struct ledger_entry spent = priced(NULL, 5);
    book_entry(ledger, &spent);
    assert_int_equal(ledger_allowed_from(ledger, 1), UINT64_MAX);
    assert_books_agree(ledger);
    assert_int_equal(grant_cost(ledger, NULL, 1), 0);
    assert_true(ledger_allowed(ledger, 1));
    assert_int_equal(grant_cost(ledger, NULL, -1), 0);
    assert_false(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* 80 percent of what is open, in the gate too; critical calls have their own word. */
static void the_soft_threshold_is_of_the_grants_that_are_open(void **state) {
    struct ledger_rule rules[] = {granted("prepaid", MEASURE_COST)};
    rules[0].soft = 80;
    struct ledger *ledger = open_ruled(*state, rules, 1);
    struct ledger_entry spent = priced(NULL, 80);
    at_time(ledger, START_US);
    assert_int_equal(grant_cost(ledger, NULL, 100), 0);
    book_entry(ledger, &spent);
    assert_false(ledger_allowed(ledger, 1));
    assert_int_equal(atomic_load(&ledger->gate->cells[1].critical_from_us), 0);
    assert_books_agree(ledger);
    assert_int_equal(grant_cost(ledger, NULL, 100), 0); /* 80 of 200, and 80 more may be */
    assert_true(ledger_allowed(ledger, 1));
    spent.cost = 79;
    book_entry(ledger, &spent);
    assert_true(ledger_allowed(ledger, 1)); /* the first is used up: 59 of 100 */
    assert_books_agree(ledger);
    spent.cost = 21;
    book_entry(ledger, &spent);
    assert_false(ledger_allowed(ledger, 1));
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* ---- balances ----------------------------------------------------------------------------- */

struct listed {
    size_t count;
    uint64_t ids[200];
    int64_t remaining[200];
};

static void list_grant(void *context, const struct ledger_entry *entry, ledger_sum remaining) {
    struct listed *listed = context;
    assert_int_equal(entry->kind, KIND_GRANT);
    listed->ids[listed->count] = entry->id;
    listed->remaining[listed->count++] = (int64_t)remaining;
}

static struct ledger_balance balance_of(struct ledger *ledger, const char *user, bool credits,
                                        size_t limit, struct listed *listed) {
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_balance balance;
    *listed = (struct listed){0};
    if (user != NULL)
        names[DIMENSION_USER] = text(user);
    assert_int_equal(
        ledger_read_balance(ledger, names, credits, limit, list_grant, listed, &balance), 0);
    assert_true(listed->count <= limit);
    return balance;
}

static void an_account_that_nobody_knows_is_empty(void **state) {
    struct ledger *ledger = open_prepaid(*state);
    struct ledger_text names[DIMENSION_LIMIT] = {0};
    struct ledger_balance balance;
    struct listed listed;
    const char *const users[] = {NULL, "nobody"};
    for (size_t i = 0; i < LENGTH(users); i++) {
        balance = balance_of(ledger, users[i], true, 100, &listed);
        assert_sum_equal(balance.granted, 0);
        assert_sum_equal(balance.used, 0);
        assert_int_equal(balance.percent, 0);
        assert_int_equal(listed.count, 0);
    }
    names[DIMENSION_ORG] = text("acme");
    assert_int_equal(ledger_read_balance(ledger, names, true, 9, list_grant, &listed, &balance),
                     LEDGER_E_UNDECLARED_SERIES);
    close_ledger(ledger);
}

static void a_balance_counts_what_its_rule_counts(void **state) {
    struct ledger_rule rules[] = {
        of(granted("completed", MEASURE_COMPLETED_CREDITS), DIMENSION_USER, "ada"),
    };
    struct ledger *ledger = open_ruled(*state, rules, 1);
    struct listed listed;
    const char *const users[] = {"ada", "bob"};
    at_time(ledger, START_US);
    for (size_t i = 0; i < LENGTH(users); i++) {
        struct ledger_entry failed = of_credits(users[i], 30);
        failed.status = STATUS_FAILED;
        assert_int_equal(grant_credits(ledger, users[i], 100), 0);
        use(ledger, users[i], 20);
        book_entry(ledger, &failed);
        struct ledger_balance balance = balance_of(ledger, users[i], true, 100, &listed);
        assert_sum_equal(balance.used, i == 0 ? 20 : 50);
        assert_int_equal(balance.percent, i == 0 ? 20 : 50);
        assert_int_equal(listed.remaining[0], i == 0 ? 80 : 50);
    }
    close_ledger(ledger);
}

static void what_is_held_is_not_in_the_balance(void **state) {
    struct ledger *ledger = open_prepaid(*state);
    struct ledger_entry estimate = of_credits("ada", 30);
    struct listed listed;
    assert_int_equal(grant_credits(ledger, "ada", 100), 0);
    use(ledger, "ada", 20);
    assert_true(reserve(ledger, &estimate, 0) != 0);
    struct ledger_balance balance = balance_of(ledger, "ada", true, 100, &listed);
    assert_sum_equal(balance.granted, 100);
    assert_sum_equal(balance.used, 20);
    assert_sum_equal(balance.held, 30);
    assert_int_equal(balance.percent, 50);
    assert_int_equal(listed.remaining[0], 80); /* of the grant nothing more is used yet */
    close_ledger(ledger);
}

/* One grant of one account, as the test remembers it. */
struct given {
    uint64_t id;
    int64_t credits;
    int64_t cost;
};

static void check_balance(struct ledger *ledger, const struct given *given, size_t count,
                          bool credits, int64_t used, int64_t withdrawn) {
    struct listed listed;
    size_t limit = 1 + random_below(12), expected = 0;
    int64_t granted = 0, gone = used + withdrawn, open = 0, taken = 0;
    struct ledger_balance balance = balance_of(ledger, "ada", credits, limit, &listed);
    for (size_t i = 0; i < count; i++) {
        int64_t amount = credits ? given[i].credits : given[i].cost;
        if (amount <= 0)
            continue;
        int64_t here = gone < amount ? gone : amount;
        granted += amount;
        gone -= here;
        if (here == amount)
            continue;
        open += amount;
        taken += here;
        if (expected < limit) {
            assert_true(expected < listed.count);
            assert_int_equal(listed.ids[expected], given[i].id);
            assert_int_equal(listed.remaining[expected], amount - here);
        }
        expected++;
    }
    assert_int_equal(listed.count, expected < limit ? expected : limit);
    assert_sum_equal(balance.granted, granted - withdrawn);
    assert_sum_equal(balance.used, used);
    assert_int_equal(balance.percent, granted == 0 ? 0 : open == 0 ? 100 : taken * 100 / open);
}

/* Grants of both measures, in one entry or in two, taken back and used, among those of others. */
static void what_is_left_of_grants_equals_counting(void **state) {
    static struct given given[2000];
    struct ledger *ledger = open_prepaid(*state);
    int64_t used[2] = {0}, withdrawn[2] = {0};
    size_t count = 0;
    for (size_t i = rounds(400) + 20; i > 0; i--) {
        struct ledger_entry entry = {.kind = KIND_GRANT, .given = ENTRY_COST | ENTRY_CREDITS};
        entry.names[DIMENSION_USER] = text(random_below(5) == 0 ? "bob" : "ada");
        bool is_ours = text_equal(entry.names[DIMENSION_USER], text("ada"));
        if (random_below(3) == 0) {
            entry.credits = random_below(2) * (int64_t)random_below(300);
            entry.cost = random_below(2) * (int64_t)random_below(300);
            if (random_below(6) == 0)
                entry.credits = -(int64_t)random_below(100);
            if (entry.credits == 0 && entry.cost == 0)
                entry.cost = 1;
            assert_int_equal(request(ledger, OPERATION_RECORD, 0, &entry), 0);
            if (is_ours)
                given[count++] = (struct given){last.id, entry.credits, entry.cost};
            withdrawn[1] += is_ours && entry.credits < 0 ? -entry.credits : 0;
        } else {
            entry = of_credits(is_ours ? "ada" : "bob", (int64_t)random_below(100));
            entry.given |= ENTRY_COST;
            entry.cost = (int64_t)random_below(100);
            book_entry(ledger, &entry);
            used[0] += is_ours ? entry.cost : 0;
            used[1] += is_ours ? entry.credits : 0;
        }
        check_balance(ledger, given, count, false, used[0], withdrawn[0]);
        check_balance(ledger, given, count, true, used[1], withdrawn[1]);
        if (i % 100 == 0) {
            assert_books_agree(ledger);
            ledger = reopen(ledger, *state);
        }
    }
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(an_account_admits_what_was_granted),
        in_directory(an_adjustment_takes_back),
        in_directory(a_grant_is_to_an_account_that_is_a_series),
        in_directory(a_grant_of_nothing_is_refused),
        in_directory(a_grant_under_an_id_is_given_once),
        in_directory(a_grant_is_no_invocation_and_opens_the_gate),
        in_directory(the_soft_threshold_is_of_the_grants_that_are_open),
        in_directory(an_account_that_nobody_knows_is_empty),
        in_directory(a_balance_counts_what_its_rule_counts),
        in_directory(what_is_held_is_not_in_the_balance),
        in_directory(what_is_left_of_grants_equals_counting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
