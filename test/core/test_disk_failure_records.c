/* A disk that fails at every single operation of a batch that sets a price, books what is priced
 * by it, with its payload and under a name of its own, corrects and redacts what was booked before,
 * and settles a hold: all of it is there afterwards, or nothing. */
#include "records.h"

#include <errno.h>
#include <stdio.h>

#include "faults.h"

static const uint8_t boot_id[GATE_BOOT_ID_BYTES] = {1};

struct trial {
    const char *directory;
    struct ledger *ledger;
    struct ledger_options options;
    struct ledger_policy policy;
    struct declared_series families[2];
    uint64_t next;
    int64_t now;
};

static void begin(struct trial *trial, const char *directory, bool meta_sync) {
    *trial = (struct trial){.directory = directory, .now = START_US};
    trial->policy = policy_of(NULL, 0);
    trial->families[0] = FAMILY(DIMENSION_USER);
    trial->families[1] = FAMILY(DIMENSION_STATUS);
    trial->options = options_for(directory);
    trial->options.policy = &trial->policy;
    trial->options.series = trial->families;
    trial->options.series_count = LENGTH(trial->families);
    trial->options.boot_id = boot_id;
    trial->options.meta_sync = meta_sync;
    trial->ledger = open_with(&trial->options);
}

static void count_price(void *context, const struct ledger_price *price) {
    (void)price;
    ++*(size_t *)context;
}

static void see_payload(void *context, const struct ledger_entry *entry,
                        const struct ledger_payload *payload) {
    (void)entry;
    *(bool *)context = payload->map.data != NULL;
}

/* Each of the things that one batch does. */
struct there {
    size_t entries;
    size_t prices;
    bool has_run;      /* the call that was priced */
    bool has_hold_run; /* what settled the hold */
    bool has_payload;  /* of the entry that is redacted */
    ledger_sum corrections;
    uint64_t holds;
};

static struct there look(struct trial *trial, const char *run, const char *hold_run,
                         uint64_t older) {
    struct there there = {.entries = facts_of(trial->ledger).entries,
                          .holds = facts_of(trial->ledger).holds};
    bool has_payload;
    assert_int_equal(
        ledger_read_prices(trial->ledger, text(""), 0, SIZE_MAX, count_price, &there.prices), 0);
    there.has_run = ledger_read_run(trial->ledger, text(run), see_payload, &has_payload) == 0;
    there.has_hold_run =
        ledger_read_run(trial->ledger, text(hold_run), see_payload, &has_payload) == 0;
    assert_int_equal(ledger_read_record(trial->ledger, older, see_payload, &there.has_payload), 0);
    there.corrections = sums_of(trial->ledger, NULL).totals.column[COLUMN_CORRECTIONS];
    return there;
}

/* Opens again what a failure has closed. */
static void go_on(struct trial *trial) {
    at_time(trial->ledger, trial->now += 1000);
    book(trial->ledger, "planning");
    assert_books_agree(trial->ledger);
}

static bool fail_at(struct trial *trial, enum fault fault, size_t nth, bool lasting) {
    static char large[9000] = "\x81\xa1k\xda";
    char model[32], run[32], hold_run[32];
    const uint64_t unit[TOKENS_CLASSES] = {1000000, 2000000};
    snprintf(model, sizeof model, "model %llu", (unsigned long long)++trial->next);
    snprintf(run, sizeof run, "run %llu", (unsigned long long)trial->next);
    snprintf(hold_run, sizeof hold_run, "hold %llu", (unsigned long long)trial->next);
    struct ledger_entry older = with_payload(priced("ada", 100), "to be taken away");
    older.payload = (struct ledger_text){large, trial->next % 2 ? 40 : sizeof large};
    uint64_t id = book_entry(trial->ledger, &older);
    struct ledger_entry held = run_of("ada", 30);
    held.run_id = text(hold_run);
    uint64_t hold = reserve_for(trial->ledger, &held, 0, DAY_MS);
    assert_true(hold != 0);
    struct there before = look(trial, run, hold_run, id);
    assert_true(before.has_payload && !before.has_run && !before.has_hold_run);

    struct entry_buffer change = price_change(model, unit, 0, NULL, -1);
    struct ledger_entry prices = prices_of(&change), call = call_of(model, 3, 4);
    struct ledger_entry correction = correction_of(id, -60), redaction = redaction_of(id);
    struct ledger_entry usage = with_payload(usage_of(20), "what it used");
    struct drafts drafts = {0};
    call.run_id = text(run);
    call.payload = older.payload;
    add_request(&drafts, OPERATION_RECORD, 0, &prices);
    add_request(&drafts, OPERATION_RECORD, 0, &call);
    add_request(&drafts, OPERATION_RECORD, 0, &correction);
    add_request(&drafts, OPERATION_RECORD, 0, &redaction);
    add_request(&drafts, OPERATION_SETTLE, hold, &usage);
    at_time(trial->ledger, trial->now += (int64_t)random_below(20 * MINUTE_MS * 1000));
    fault_arm(trial->directory, fault, nth, lasting);
    int rc = commit(trial->ledger, &drafts, trial->now);
    bool hit = fault_disarm() >= nth;
    for (size_t i = 0; i < drafts.count; i++)
        assert_int_equal(drafts.requests[i].rc, rc);
    free_drafts(&drafts);
    entry_buffer_free(&change);
    if (!hit)
        assert_int_equal(rc, 0);
    if (rc != 0 && rc != LEDGER_E_OUTCOME_UNKNOWN)
        assert_int_equal(rc, fault == FAULT_NO_SPACE ? ENOSPC : EIO);
    go_on(trial);
    struct there after = look(trial, run, hold_run, id);
    bool done = after.has_run;
    if (rc != LEDGER_E_OUTCOME_UNKNOWN)
        assert_int_equal(done, rc == 0);
    assert_int_equal(after.entries, before.entries + 1 + (done ? 5 : 0));
    assert_int_equal(after.prices, before.prices + done);
    assert_int_equal(after.has_hold_run, done);
    assert_int_equal(after.has_payload, !done);
    assert_int_equal(after.corrections - before.corrections, done);
    assert_int_equal(after.holds, before.holds - done);
    if (!done) {
        assert_int_equal(settle(trial->ledger, hold, 1), 0);
        assert_int_equal(record(trial->ledger, &call), LEDGER_E_NO_PRICE);
    }
    return hit;
}

static void fail_everywhere(const char *directory, bool meta_sync) {
    struct trial trial;
    begin(&trial, directory, meta_sync);
    at_time(trial.ledger, trial.now);
    for (enum fault fault = FAULT_NO_SPACE; fault < FAULTS; fault++)
        for (int lasting = rounds(20) == 20 ? 0 : 1; lasting < 2; lasting++) {
            size_t nth = 1;
            while (fail_at(&trial, fault, nth, lasting))
                nth++;
            assert_true(nth > 3);
            close_ledger(trial.ledger);
            trial.ledger = open_with(&trial.options);
            assert_books_agree(trial.ledger);
        }
    close_ledger(trial.ledger);
}

static void a_batch_of_records_is_there_whole_or_not_at_all(void **state) {
    fail_everywhere(*state, true);
}

static void the_same_without_synced_headers(void **state) {
    fail_everywhere(*state, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_batch_of_records_is_there_whole_or_not_at_all),
        in_directory(the_same_without_synced_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
