/* What is in a ledger, read entry by entry and hold by hold: for assert_books_agree(), and for
 * tests that ask what a rule would say if everything were counted anew. */
#ifndef TEST_BOOKS_H
#define TEST_BOOKS_H

#include "support.h"

/* Holds a read transaction of the ledger until it is freed. */
struct books *read_books(struct ledger *ledger);
void free_books(struct books *books);

/* Names are texts by dimension. Whether the rule speaks of them and no other takes its place. */
bool books_meets(const struct books *books, const struct ledger_rule *rule,
                 const struct ledger_text *names);
/* Whether they miss a dimension that the rule requires. */
bool books_misses(const struct ledger_rule *rule, const struct ledger_text *names);

/* Of a rule that speaks of these names, at a time. */
enum rule_reason books_reason(const struct books *books, const struct ledger_rule *rule,
                              const struct ledger_text *names, ledger_sum amount, bool critical,
                              int64_t at_ms);
ledger_sum books_used(const struct books *books, const struct ledger_rule *rule,
                      const struct ledger_text *names, int64_t at_ms);
ledger_sum books_held(const struct books *books, const struct ledger_rule *rule,
                      const struct ledger_text *names);
/* What use may come to, soft thresholds aside. */
ledger_sum books_cap(const struct books *books, const struct ledger_rule *rule,
                     const struct ledger_text *names, int64_t at_ms);
/* 0: now; UINT64_MAX: never; else the first ledger time (us) that admits. */
uint64_t books_admits_from(const struct books *books, const struct ledger_rule *rule,
                           const struct ledger_text *names, ledger_sum amount, bool critical,
                           int64_t now_us);
/* What a live hold keeps where the rule counts, if it is there at all. */
ledger_sum books_lent(const struct books *books, uint64_t parent, const struct ledger_rule *rule,
                      const struct ledger_text *names);
/* What an entry adds to the rule's measure. */
int64_t books_measured(const struct books *books, const struct ledger_rule *rule, uint64_t id);

/* Entries, oldest first. */
size_t books_count(const struct books *books);
uint64_t books_id(const struct books *books, size_t nth);
enum ledger_kind books_kind(const struct books *books, uint64_t id);
bool books_has_payload(const struct books *books, uint64_t id);
/* Cost, credits and tokens of a record with all that corrects it. */
#define BOOKS_AMOUNTS (2 + TOKENS_CLASSES)
void books_net(const struct books *books, uint64_t id, int64_t net[BOOKS_AMOUNTS]);

size_t books_live(const struct books *books);
uint64_t books_hold(const struct books *books, size_t nth);
bool books_is_run(const struct books *books, uint64_t hold);
size_t books_children(const struct books *books, uint64_t hold);
/* How many live holds its chain has, up from itself. */
size_t books_depth(const struct books *books, uint64_t hold);

#endif
