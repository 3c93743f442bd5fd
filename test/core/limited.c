#include "limited.h"

struct ledger *open_limited(const char *directory) {
    struct ledger_rule rules[] = {
        rule_of("all", MEASURE_COST, 100),
        of(rule_of("each user", MEASURE_COST, 60), DIMENSION_USER, NULL),
    };
    struct ledger *ledger = open_ruled(directory, rules, LENGTH(rules));
    at_time(ledger, START_US);
    return ledger;
}

uint64_t hold_of(struct ledger *ledger, const char *user, int64_t cost, uint64_t parent) {
    struct ledger_entry estimate = priced(user, cost);
    uint64_t hold = reserve(ledger, &estimate, parent);
    if (hold == 0)
        fail_msg("reserving %lld: %s", (long long)cost, ledger_error_name(last.rc));
    return hold;
}

uint64_t run_hold(struct ledger *ledger, int64_t cost, uint64_t parent) {
    struct ledger_entry estimate = run_of(NULL, cost);
    uint64_t hold = reserve(ledger, &estimate, parent);
    assert_true(hold != 0);
    return hold;
}

void assert_denied(struct ledger *ledger, const char *user, int64_t cost, uint64_t parent) {
    struct ledger_entry estimate = priced(user, cost);
    assert_int_equal(reserve(ledger, &estimate, parent), 0);
    assert_int_equal(last.rc, LEDGER_E_BUDGET_EXHAUSTED);
    assert_non_null(last.denial);
}

static bool keep_entry(void *context, const struct ledger_entry *entry) {
    *(struct ledger_entry *)context = *entry; /* but for its texts, which do not last */
    return true;
}

struct ledger_entry entry_at(struct ledger *ledger, uint64_t id) {
    struct ledger_entry entry;
    assert_int_equal(ledger_fetch(ledger, id, keep_entry, &entry), 0);
    return entry;
}

static void keep_hold(void *context, const struct ledger_live_hold *hold,
                      const struct ledger_text *names) {
    (void)names;
    *(struct ledger_live_hold *)context = *hold;
}

struct ledger_live_hold live_hold(struct ledger *ledger, uint64_t hold) {
    struct ledger_live_hold live = {0};
    assert_int_equal(ledger_read_hold(ledger, hold, keep_hold, &live), 0);
    return live;
}

bool is_live(struct ledger *ledger, uint64_t hold) {
    return live_hold(ledger, hold).id == hold;
}

void assert_in_use(struct ledger *ledger, int64_t used, int64_t held) {
    struct ledger_rule_status status = status_of(ledger, "all");
    assert_sum_equal(status.used, used);
    assert_sum_equal(status.held, held);
    assert_books_agree(ledger);
}

struct ledger *reopen_as(struct ledger *ledger, const char *directory, uint8_t boot) {
    struct ledger_options options = options_for(directory);
    uint8_t boot_id[GATE_BOOT_ID_BYTES];
    memset(boot_id, boot, sizeof boot_id);
    options.boot_id = boot_id;
    close_ledger(ledger);
    return open_with(&options);
}

uint64_t unattended(struct ledger *ledger) {
    uint64_t hold = hold_of(ledger, NULL, 60, 0);
    at_time(ledger, ledger_now(ledger) + (int64_t)HOUR_MS * 1000);
    expire(ledger);
    assert_int_equal(effects.expiry_count, 1);
    return hold;
}
