/* A ledger with little to spend, for the tests of holds. */
#ifndef TEST_LIMITED_H
#define TEST_LIMITED_H

#include "support.h"

/* Everything costs at most 100 (rule "all"); a user 60 of it ("each user"). */
struct ledger *open_limited(const char *directory);
/* Opens again as the process of that number. */
struct ledger *reopen_as(struct ledger *ledger, const char *directory, uint8_t boot);

/* Holds that must be made: of an invocation, and of a run. */
uint64_t hold_of(struct ledger *ledger, const char *user, int64_t cost, uint64_t parent);
uint64_t run_hold(struct ledger *ledger, int64_t cost, uint64_t parent);
/* A hold for 60 that the ledger has ended. */
uint64_t unattended(struct ledger *ledger);
void assert_denied(struct ledger *ledger, const char *user, int64_t cost, uint64_t parent);

/* Without its texts. */
struct ledger_entry entry_at(struct ledger *ledger, uint64_t id);
/* Zeros where it is not live; without its texts. */
struct ledger_live_hold live_hold(struct ledger *ledger, uint64_t hold);
bool is_live(struct ledger *ledger, uint64_t hold);
/* Over everything: what is used and held; and that the books agree. */
void assert_in_use(struct ledger *ledger, int64_t used, int64_t held);

#endif
