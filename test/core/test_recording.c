/* Records of work and what corrects them. */
#include "records.h"

#include "../../c_src/core/keys.h"

static struct ledger *open_at_start(const char *directory, struct ledger_rule *rules,
                                    uint32_t count) {
    struct ledger *ledger = open_ruled(directory, rules, count);
    at_time(ledger, START_US);
    return ledger;
}

static int correct(struct ledger *ledger, uint64_t id, int64_t cost) {
    struct ledger_entry correction = correction_of(id, cost);
    return record(ledger, &correction);
}

static ledger_sum net_cost(struct ledger *ledger) {
    struct totals totals = sums_of(ledger, NULL).totals;
    return totals.column[COLUMN_COST] + totals.column[COLUMN_CORRECTED_COST];
}

/* ---- corrections -------------------------------------------------------------------------- */

static void corrections_add_up_and_never_to_less_than_nothing(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry call = priced("ada", 100);
    uint64_t id = book_entry(ledger, &call);
    assert_int_equal(correct(ledger, id, -101), LEDGER_E_OVERCORRECTED);
    assert_int_equal(correct(ledger, id, -60), 0);
    assert_int_equal(correct(ledger, id, -41), LEDGER_E_OVERCORRECTED);
    assert_int_equal(correct(ledger, id, 5), 0);
    assert_int_equal(correct(ledger, id, -45), 0);
    assert_sum_equal(net_cost(ledger), 0);
    assert_int_equal(correct(ledger, id, -1), LEDGER_E_OVERCORRECTED);
    assert_int_equal(correct(ledger, id, ENTRY_AMOUNT_MAX), 0);
    assert_int_equal(correct(ledger, id, 1), LEDGER_E_OVERCORRECTED);
    assert_int_equal(correct(ledger, id, -ENTRY_AMOUNT_MAX), 0);
    struct ledger_entry both = correction_of(id, 10);
    both.given |= ENTRY_TOKENS; /* one of its amounts is too much */
    both.tokens[TOKENS_OUTPUT] = -1;
    assert_int_equal(record(ledger, &both), LEDGER_E_OVERCORRECTED);
    assert_sum_equal(net_cost(ledger), 0);
    assert_int_equal(facts_of(ledger).entries, 6);
    ledger_sum ada = sums_of(ledger, "ada").totals.column[COLUMN_CORRECTIONS];
    assert_sum_equal(ada, 5);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void in_one_batch_each_is_held_to_what_those_before_it_left(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry call = priced("ada", 10), correction = correction_of(START_US, -4);
    struct drafts drafts = {0};
    add_draft(&drafts, &call);
    for (int i = 0; i < 4; i++)
        add_draft(&drafts, &correction);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    for (size_t i = 0; i < drafts.count; i++)
        assert_int_equal(drafts.requests[i].rc, i < 3 ? 0 : LEDGER_E_OVERCORRECTED);
    free_drafts(&drafts);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void only_records_of_work_are_corrected(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry call = priced(NULL, 10), run = run_of(NULL, 10), bad;
    uint64_t id = book_entry(ledger, &call), of_run = book_entry(ledger, &run);
    assert_int_equal(correct(ledger, of_run, -3), 0);
    assert_int_equal(correct(ledger, last.id, 1), LEDGER_E_NO_ENTRY);
    assert_int_equal(grant_cost(ledger, NULL, 50), 0);
    assert_int_equal(correct(ledger, last.id, 1), LEDGER_E_NO_ENTRY);
    uint64_t prices = set_price(ledger, "m", 1, 1);
    assert_int_equal(correct(ledger, prices, 1), LEDGER_E_NO_ENTRY);
    uint64_t hold = reserve(ledger, &call, 0);
    assert_int_equal(correct(ledger, hold, 1), LEDGER_E_NO_ENTRY);
    assert_int_equal(release(ledger, hold), 0);
    assert_int_equal(correct(ledger, last.id, 1), LEDGER_E_NO_ENTRY);
    assert_int_equal(correct(ledger, 0, 1), LEDGER_E_NO_ENTRY);
    assert_int_equal(correct(ledger, UINT64_MAX, 1), LEDGER_E_NO_ENTRY);
    /* and by what says an amount, and neither a name nor what becomes of it */
    size_t entries = facts_of(ledger).entries;
    bad = correction_of(id, 1);
    bad.names[DIMENSION_USER] = text("eve");
    assert_int_equal(record(ledger, &bad), LEDGER_E_BAD_ENTRY);
    bad = correction_of(id, 0);
    bad.given = 0;
    assert_int_equal(record(ledger, &bad), LEDGER_E_BAD_ENTRY);
    bad = correction_of(id, 1);
    bad.flags = ENTRY_COMPLETES;
    assert_int_equal(record(ledger, &bad), LEDGER_E_BAD_ENTRY);
    assert_int_equal(facts_of(ledger).entries, entries);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_had_no_cost_is_given_one_once(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    for (int is_run = 0; is_run < 2; is_run++) {
        int unpriced = is_run ? COLUMN_RUNS_UNPRICED : COLUMN_UNPRICED;
        int corrected = is_run ? COLUMN_CORRECTED_RUNS_UNPRICED : COLUMN_CORRECTED_UNPRICED;
        struct ledger_entry entry = invocation("executing"), credits = correction_of(0, 0);
        if (is_run)
            entry.kind = KIND_RUN;
        credits.link = book_entry(ledger, &entry);
        credits.given = ENTRY_CREDITS;
        credits.credits = 4;
        assert_int_equal(record(ledger, &credits), 0);
        assert_int_equal(last.flags & ENTRY_PRICES, 0);
        assert_sum_equal(sums_of(ledger, NULL).totals.column[corrected], 0);
        assert_int_equal(correct(ledger, credits.link, 0), 0); /* a cost of nothing is one */
        assert_true(last.flags & ENTRY_PRICES);
        assert_true(fetched(ledger, last.id).flags & ENTRY_PRICES);
        assert_int_equal(correct(ledger, credits.link, 7), 0);
        assert_int_equal(last.flags & ENTRY_PRICES, 0);
        struct totals totals = sums_of(ledger, NULL).totals;
        assert_sum_equal(totals.column[unpriced] + totals.column[corrected], 0);
    }
    struct ledger_entry priced_before = priced(NULL, 0);
    assert_int_equal(correct(ledger, book_entry(ledger, &priced_before), 3), 0);
    assert_int_equal(last.flags & ENTRY_PRICES, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* What a completed call cost more is held against the budgets of completed calls; what it cost less
 * opens none of them. */
static void corrections_of_what_completed_are_of_completed_calls(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry call = priced(NULL, 10), failed = call;
    failed.status = STATUS_FAILED;
    uint64_t id = book_entry(ledger, &call);
    assert_int_equal(correct(ledger, id, 5), 0);
    assert_true(last.flags & ENTRY_OF_COMPLETED);
    assert_int_equal(correct(ledger, id, -7), 0);
    assert_sum_equal(sums_of(ledger, NULL).totals.column[COLUMN_COMPLETED_COST], 15);
    assert_int_equal(correct(ledger, book_entry(ledger, &failed), 5), 0);
    assert_false(last.flags & ENTRY_OF_COMPLETED);
    assert_sum_equal(sums_of(ledger, NULL).totals.column[COLUMN_COMPLETED_COST], 15);
    /* nobody settled it in time; it had completed all the same, and costs more in the end */
    uint64_t hold = reserve_for(ledger, &call, 0, 1);
    at_time(ledger, START_US + 10000);
    expire(ledger);
    uint64_t expired = effects.expiries[0].entry;
    assert_int_equal(settle(ledger, hold, 30), 0);
    assert_true(last.flags & ENTRY_COMPLETES);
    assert_int_equal(correct(ledger, expired, 4), 0);
    assert_true(last.flags & ENTRY_OF_COMPLETED);
    assert_int_equal(last.flags & ENTRY_COMPLETES, 0);
    assert_sum_equal(sums_of(ledger, NULL).totals.column[COLUMN_COMPLETED_COST], 15 + 30 + 4);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* What nobody settled, and somebody corrected, is not settled on top of it. */
static void a_correction_of_what_the_ledger_resolved_resolves_it(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry call = priced("ada", 100);
    uint64_t hold = reserve(ledger, &call, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0);
    uint64_t entry = effects.expiries[0].entry;
    assert_int_equal(correct(ledger, entry, -101), LEDGER_E_OVERCORRECTED);
    assert_int_equal(correct(ledger, entry, -70), 0);
    assert_int_equal(settle(ledger, hold, 55), LEDGER_E_RESOLVED);
    assert_sum_equal(net_cost(ledger), 30);
    /* the other way round both count */
    hold = reserve(ledger, &call, 0);
    assert_int_equal(request(ledger, OPERATION_ABORT, hold, NULL), 0);
    entry = effects.expiries[0].entry;
    assert_int_equal(settle(ledger, hold, 40), 0);
    assert_int_equal(correct(ledger, entry, -41), LEDGER_E_OVERCORRECTED);
    assert_int_equal(correct(ledger, entry, -40), 0);
    assert_sum_equal(net_cost(ledger), 30);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* What a run used is told with all that its children did: what is corrected of a child is left
 * out of it as well, before the run ends and after. */
static void a_correction_of_a_child_is_no_part_of_what_its_run_books(void **state) {
    struct ledger_rule rule = rule_of("cost", MEASURE_COST, 1000);
    struct ledger *ledger = open_at_start(*state, &rule, 1);
    static const int64_t corrections[] = {7, -5, 0};
    for (size_t i = 0; i < LENGTH(corrections); i++) {
        for (int late = 0; late < 2; late++) {
            ledger_sum before = net_cost(ledger);
            struct ledger_entry run = run_of("ada", 100), call = priced("ada", 20);
            uint64_t parent = reserve(ledger, &run, 0), child = reserve(ledger, &call, parent);
            assert_int_equal(settle(ledger, child, 20), 0);
            uint64_t entry = last.id;
            assert_sum_equal(held_of(ledger, "cost"), 80);
            assert_int_equal(correct(ledger, entry, corrections[i]), 0);
            int64_t more = corrections[i] > 0 ? corrections[i] : 0;
            assert_sum_equal(held_of(ledger, "cost"), 80 - more);
            if (late)
                assert_int_equal(request(ledger, OPERATION_ABORT, parent, NULL), 0);
            assert_int_equal(settle(ledger, parent, 90), 0);
            assert_sum_equal(net_cost(ledger) - before, 90);
            assert_sum_equal(held_of(ledger, "cost"), 0);
            assert_books_agree(ledger);
        }
    }
    close_ledger(ledger);
}

static void whoever_goes_over_a_limit_is_told(void **state) {
    struct ledger_rule rules[] = {rule_of("cost", MEASURE_COST, 100),
                                  of(rule_of("user", MEASURE_COST, 30), DIMENSION_USER, NULL)};
    struct ledger *ledger = open_at_start(*state, rules, 2);
    struct ledger_entry call = priced("ada", 30), run = run_of("bob", 31);
    uint64_t id = book_entry(ledger, &call);
    assert_int_equal(fetched(ledger, id).flags & ENTRY_OVERRUN, 0);
    assert_int_equal(record(ledger, &run), 0);
    assert_int_equal(last.flags & ENTRY_OVERRUN, ENTRY_OVERRUN);
    assert_int_equal(correct(ledger, id, -20), 0); /* which frees nothing: limits are gross */
    assert_int_equal(last.flags & ENTRY_OVERRUN, 0);
    assert_int_equal(correct(ledger, id, 1), 0);
    assert_int_equal(last.flags & ENTRY_OVERRUN, ENTRY_OVERRUN);
    assert_int_equal(fetched(ledger, last.id).flags & ENTRY_OVERRUN, ENTRY_OVERRUN);
    assert_sum_equal(used_of(ledger, "cost"), 62);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* ---- runs --------------------------------------------------------------------------------- */

static void keep_id(void *context, const struct ledger_entry *entry,
                    const struct ledger_payload *payload) {
    (void)payload;
    *(uint64_t *)context = entry->id;
}

static int read_run(struct ledger *ledger, const char *run_id, uint64_t *id) {
    *id = 0;
    return ledger_read_run(ledger, text(run_id), keep_id, id);
}

static void a_run_id_names_one_record(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry run = run_of("ada", 5), other = run;
    uint64_t id, found;
    run.run_id = other.run_id = text("the run");
    other.cost++;
    assert_int_equal(read_run(ledger, "the run", &found), MDB_NOTFOUND);
    assert_int_equal(record(ledger, &run), 0);
    id = last.id;
    assert_false(last.repeated);
    assert_int_equal(record(ledger, &run), 0);
    assert_true(last.repeated);
    assert_int_equal(last.id, id);
    assert_int_equal(record(ledger, &other), LEDGER_E_CONFLICT);
    assert_int_equal(last.id, id);
    assert_int_equal(request(ledger, OPERATION_RESERVE, 0, &run), LEDGER_E_CONFLICT);
    /* under an id of the request as well: the run is known all the same */
    run.client_id = text("a request");
    assert_int_equal(record(ledger, &run), 0);
    assert_true(last.repeated);
    assert_int_equal(read_run(ledger, "the run", &found), 0);
    assert_int_equal(found, id);
    assert_int_equal(facts_of(ledger).entries, 1);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void two_of_one_run_id_in_a_batch_are_one(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry run = run_of("ada", 5), other = run;
    struct drafts drafts = {0};
    run.run_id = other.run_id = text("the run");
    other.cost++;
    add_request(&drafts, OPERATION_RECORD, 0, &run);
    add_request(&drafts, OPERATION_RECORD, 0, &run);
    add_request(&drafts, OPERATION_RECORD, 0, &other);
    assert_int_equal(commit(ledger, &drafts, START_US), 0);
    assert_int_equal(drafts.requests[1].rc, 0);
    assert_true(drafts.requests[1].repeated);
    assert_int_equal(drafts.requests[1].id, drafts.requests[0].id);
    assert_int_equal(drafts.requests[2].rc, LEDGER_E_CONFLICT);
    free_drafts(&drafts);
    assert_int_equal(facts_of(ledger).entries, 1);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_hold_carries_its_run_id_to_what_becomes_of_it(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry run = run_of("ada", 50);
    uint64_t found;
    run.run_id = text("settled");
    uint64_t hold = reserve(ledger, &run, 0);
    assert_int_equal(read_run(ledger, "settled", &found), MDB_NOTFOUND); /* it lives */
    assert_int_equal(reserve(ledger, &run, 0), hold);
    assert_true(last.repeated);
    assert_int_equal(record(ledger, &run), LEDGER_E_CONFLICT);
    assert_int_equal(last.id, hold);
    assert_int_equal(settle(ledger, hold, 20), 0);
    uint64_t entry = last.id;
    assert_int_equal(read_run(ledger, "settled", &found), 0);
    assert_int_equal(found, entry);
    assert_int_equal(reserve(ledger, &run, 0), 0);
    assert_int_equal(last.rc, LEDGER_E_CONFLICT);
    assert_int_equal(last.id, entry);
    run.run_id = text("expired");
    hold = reserve_for(ledger, &run, 0, 1);
    at_time(ledger, START_US + 10000);
    expire(ledger);
    assert_int_equal(read_run(ledger, "expired", &found), 0);
    assert_int_equal(found, effects.expiries[0].entry);
    assert_int_equal(settle(ledger, hold, 30), 0); /* late: the run stays what was booked first */
    assert_int_equal(read_run(ledger, "expired", &entry), 0);
    assert_int_equal(entry, found);
    run.run_id = text("released");
    hold = reserve(ledger, &run, 0);
    assert_int_equal(release(ledger, hold), 0);
    assert_int_equal(read_run(ledger, "released", &found), MDB_NOTFOUND);
    assert_true(reserve(ledger, &run, 0) > hold);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void what_settles_has_no_run_id_of_its_own(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry run = run_of("ada", 50), usage = usage_of(5);
    uint64_t hold = reserve(ledger, &run, 0);
    usage.run_id = text("another");
    assert_int_equal(request(ledger, OPERATION_SETTLE, hold, &usage), LEDGER_E_BAD_ENTRY);
    assert_int_equal(request(ledger, OPERATION_METER, hold, &usage), LEDGER_E_BAD_ENTRY);
    assert_int_equal(settle(ledger, hold, 5), 0);
    close_ledger(ledger);
}

/* A run that was withdrawn never was. */
static void a_withdrawn_run_can_be_asked_for_again(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry run = run_of("ada", 50);
    run.run_id = text("the run");
    run.client_id = text("the request");
    struct ledger_request *sent = request_of(OPERATION_RESERVE, 0, &run);
    sent->token = 4711;
    assert_int_equal(send_request(ledger), 0);
    uint64_t hold = last.id;
    assert_int_equal(request(ledger, OPERATION_WITHDRAW, 4711, NULL), 0);
    assert_int_equal(facts_of(ledger).holds, 0);
    assert_books_agree(ledger);
    run.cost++;
    assert_true(reserve(ledger, &run, 0) > hold);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* Two asked for it, each under an id of its own, and gave up, in either order. */
static void a_withdrawn_run_leaves_no_id_of_those_that_asked(void **state) {
    const char *const ids[] = {"of one", "of another"};
    for (int first = 0; first < 2; first++) {
        char name[2] = {(char)('0' + first), '\0'};
        struct ledger *ledger = open_at_start(path_in(*state, name), NULL, 0);
        struct ledger_entry run = run_of("ada", 50);
        struct drafts drafts = {0};
        run.run_id = text("the run");
        for (uint64_t i = 0; i < 2; i++) {
            run.client_id = text(ids[i]);
            add_request(&drafts, OPERATION_RESERVE, 0, &run)->token = 11 + i;
        }
        for (uint64_t i = 0; i < 2; i++) {
            uint64_t who = i == 0 ? (uint64_t)first : 1 - (uint64_t)first;
            run.client_id = text(ids[who]);
            add_request(&drafts, OPERATION_WITHDRAW, 11 + who, &run);
        }
        assert_int_equal(commit(ledger, &drafts, START_US), 0);
        uint64_t hold = drafts.requests[0].id;
        free_drafts(&drafts);
        assert_int_equal(facts_of(ledger).holds, 0);
        assert_books_agree(ledger);
        /* Each may ask for something else now. */
        run.run_id = (struct ledger_text){0};
        for (int i = 0; i < 2; i++) {
            run.client_id = text(ids[i]);
            run.cost = 60 + i;
            assert_true(reserve(ledger, &run, 0) > hold);
            assert_false(last.repeated);
        }
        assert_books_agree(ledger);
        close_ledger(ledger);
    }
}

/* Neither is it taken for one that is not there. */
static void what_cannot_be_read_is_not_corrected(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry call = priced("ada", 5);
    uint64_t id = book_entry(ledger, &call);
    struct ledger_entry entries[] = {correction_of(id, 1), redaction_of(id)};
    uint8_t bytes[8];
    MDB_txn *txn;
    MDB_val key = {sizeof bytes, bytes}, value = {3, "\x93\x01\x01"};
    put_be64(bytes, id);
    assert_int_equal(mdb_txn_begin(ledger->storage.env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, ledger->storage.databases[DB_ENTRIES], &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    for (size_t i = 0; i < LENGTH(entries); i++) {
        struct drafts drafts = {0};
        add_draft(&drafts, &entries[i]);
        assert_int_equal(commit(ledger, &drafts, START_US), LEDGER_E_DAMAGED);
        free_drafts(&drafts);
    }
    assert_int_equal(facts_of(ledger).entries, 1);
    close_ledger(ledger);
}

static void what_occurs_ahead_of_time_is_refused(void **state) {
    struct ledger *ledger = open_at_start(*state, NULL, 0);
    struct ledger_entry call = priced("ada", 5);
    call.given |= ENTRY_OCCURRED_AT;
    call.occurred_at_ms = START_US / 1000;
    assert_int_equal(record(ledger, &call), 0);
    assert_int_equal(fetched(ledger, last.id).occurred_at_ms, START_US / 1000);
    /* by so much the clock of a caller may be ahead: it happened now */
    call.occurred_at_ms += 60000;
    assert_int_equal(record(ledger, &call), 0);
    assert_int_equal(fetched(ledger, last.id).occurred_at_ms, START_US / 1000);
    call.occurred_at_ms++;
    assert_int_equal(record(ledger, &call), LEDGER_E_OCCURS_AHEAD);
    call.occurred_at_ms = 0;
    assert_int_equal(record(ledger, &call), 0);
    assert_true(fetched(ledger, last.id).given & ENTRY_OCCURRED_AT);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(corrections_add_up_and_never_to_less_than_nothing),
        in_directory(in_one_batch_each_is_held_to_what_those_before_it_left),
        in_directory(only_records_of_work_are_corrected),
        in_directory(what_had_no_cost_is_given_one_once),
        in_directory(a_correction_of_what_the_ledger_resolved_resolves_it),
        in_directory(corrections_of_what_completed_are_of_completed_calls),
        in_directory(a_correction_of_a_child_is_no_part_of_what_its_run_books),
        in_directory(whoever_goes_over_a_limit_is_told),
        in_directory(a_run_id_names_one_record),
        in_directory(two_of_one_run_id_in_a_batch_are_one),
        in_directory(a_hold_carries_its_run_id_to_what_becomes_of_it),
        in_directory(what_settles_has_no_run_id_of_its_own),
        in_directory(a_withdrawn_run_can_be_asked_for_again),
        in_directory(a_withdrawn_run_leaves_no_id_of_those_that_asked),
        in_directory(what_cannot_be_read_is_not_corrected),
        in_directory(what_occurs_ahead_of_time_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
