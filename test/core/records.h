/* Drafts of records, corrections, redactions and prices, for the tests of what is booked without a
 * hold. */
#ifndef TEST_RECORDS_H
#define TEST_RECORDS_H

#include "support.h"

/* The least `change` that prices one model. `effective_ms` below 0: from its entry on; `above` 0:
 * there is no second tier. In a buffer for entry_buffer_free(). */
struct entry_buffer price_change(const char *model, const uint64_t unit[TOKENS_CLASSES],
                                 uint64_t above, const uint64_t unit_above[TOKENS_CLASSES],
                                 int64_t effective_ms);
struct ledger_entry prices_of(const struct entry_buffer *change);
/* Input and output tokens of that model cost that many units each. */
uint64_t set_price(struct ledger *ledger, const char *model, uint64_t input, uint64_t output);

struct ledger_entry correction_of(uint64_t link, int64_t cost);
struct ledger_entry redaction_of(uint64_t link);
/* A call of that model, to be priced. */
struct ledger_entry call_of(const char *model, int64_t input, int64_t output);
struct ledger_entry with_payload(struct ledger_entry entry, const char *word);

int record(struct ledger *ledger, const struct ledger_entry *entry);
/* What was booked: its numbers. Its texts are gone. */
struct ledger_entry fetched(struct ledger *ledger, uint64_t id);
/* Of everything, or of that user. */
struct ledger_sums sums_of(struct ledger *ledger, const char *user);

#endif
