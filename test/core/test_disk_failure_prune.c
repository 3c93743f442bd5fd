/* A disk that fails at every single operation of a slice that removes old entries, the one that
 * moves the horizon among them: all of the slice is done, or nothing; removing goes on, and no sum
 * is another one. */
#include "pruned.h"

#include <stdio.h>

#include "faults.h"
#include "whole.h"

#define SLICE 9

/* Two weeks, with something of everything that is removed, and names of their own. */
static struct ledger *begin(const char *directory) {
    static const char payload[] = "\x81\xa6intent\xa3"
                                  "ask";
    static char models[14][16];
    struct ledger *ledger = open_pruned(directory);
    assert_int_equal(set_rules(ledger, NULL, 0), 0);
    for (int day = 0; day < 14; day++) {
        struct ledger_entry entry = priced("ada", 30 + day);
        at_time(ledger, START_US + DAYS(day));
        snprintf(models[day], sizeof models[day], "m-%d", day);
        entry.names[DIMENSION_MODEL] = text(models[day]);
        entry.payload = (struct ledger_text){payload, sizeof payload - 1};
        for (int i = 0; i < 5; i++)
            assert_int_equal(request(ledger, OPERATION_RECORD, 0, &entry), 0);
        struct ledger_entry correction = {
            .kind = KIND_CORRECTION, .given = ENTRY_COST, .cost = -2, .link = last.id};
        assert_int_equal(request(ledger, OPERATION_RECORD, 0, &correction), 0);
        assert_int_equal(grant_credits(ledger, "ada", 5), 0);
    }
    return ledger;
}

static void prune_on(struct ledger *ledger, struct ledger_pruning *pruning) {
    while (!prune_slice(ledger, pruning, SLICE))
        ;
}

static void a_slice_is_done_or_it_is_not(void **state) {
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++) {
        bool hit = true;
        for (size_t nth = 1; hit; nth++) {
            char directory[4096];
            struct ledger_failure failure = {0};
            struct ledger_pruning pruning = {0};
            snprintf(directory, sizeof directory, "%.3000s/%d-%zu", (char *)*state, (int)fault,
                     nth);
            struct ledger *ledger = begin(directory);
            uint64_t horizon = horizon_for(ledger, (uint64_t)now_of(ledger) - DAYS(4));
            char *before = all_answers(ledger, horizon);
            pruning.horizon_us = horizon;
            size_t done_before = random_below(8); /* 0: the slice is the first */
            for (size_t i = 0; i < done_before; i++)
                assert_false(prune_slice(ledger, &pruning, SLICE));
            fault_arm(directory, fault, nth, false);
            int rc = ledger_prune(ledger, SLICE, &pruning, &failure);
            hit = fault_disarm() >= nth;
            assert_int_equal(failure.code, rc);
            if (!hit)
                assert_int_equal(rc, 0);
            expire(ledger); /* opens the file again, should that have failed */
            assert_clean(ledger);
            char *between = all_answers(ledger, horizon);
            assert_same(before, between);
            prune_on(ledger, &pruning);
            char *after = all_answers(ledger, horizon);
            assert_same(before, after);
            assert_int_equal(facts_of(ledger).kept_from, horizon);
            close_ledger(ledger);
            ledger = open_pruned(directory);
            assert_clean(ledger);
            close_ledger(ledger);
            free(before);
            free(between);
            free(after);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_slice_is_done_or_it_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
