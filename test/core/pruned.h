/* A ledger with rules of every kind and weeks of random work, of which what is old is removed; and
 * whatever it answers, as a text to compare. */
#ifndef TEST_PRUNED_H
#define TEST_PRUNED_H

#include "support.h"

#define DAY_US INT64_C(86400000000)
#define DAYS(n) ((n)*DAY_US)

/* How many families of series it is opened with. Two more are declared when entries are gone
 * already, in the test that does so. */
#define FAMILIES 4
extern size_t family_count;
struct ledger *open_pruned(const char *directory);
int64_t now_of(struct ledger *ledger);

/* About so many things are booked, corrected, redacted, held, granted or reset until then. */
void old_work(struct ledger *ledger, size_t steps, int64_t until_us);
void forget_recent(void);

/* Whatever is answered of the time from the horizon on, and of all of it; for free(). */
char *all_answers(struct ledger *ledger, uint64_t horizon);
void assert_same(const char *before, const char *after);
void tell_grant(void *out, const struct ledger_entry *entry, ledger_sum remaining);

uint64_t horizon_for(struct ledger *ledger, uint64_t wanted);
/* What ledger_horizon() says; where it fails, it says that, too. */
int horizon_fails(struct ledger *ledger, uint64_t wanted, const char *said);
/* True when it is done. */
bool prune_slice(struct ledger *ledger, struct ledger_pruning *pruning, size_t limit);
/* In slices of any size; how many entries went. */
uint64_t prune_to(struct ledger *ledger, uint64_t horizon);

/* Blocks of series; and entries of those kinds that are removed. */
uint64_t blocks_of(struct ledger *ledger);
uint64_t removable(struct ledger *ledger, uint64_t since, uint64_t until);
void skip_entry(void *context, const struct ledger_entry *entry,
                const struct ledger_payload *payload);
int list_in(struct ledger *ledger, uint32_t kinds, uint64_t since, uint64_t until,
            struct ledger_page *page);

/* A ledger made anew from it verifies, and gives the same answers. */
void assert_rebuild_answers(struct ledger *ledger, uint64_t horizon);
/* Of one that was damaged since it gave them. */
void assert_rebuild_says(struct ledger *ledger, uint64_t horizon, const char *answers);

#endif
