/* The columns that the ledger adds up, and how a set of them is written.
 *
 *   amounts / totals on disk:   mask          varint, bit N set = column N follows
 *                               column value  zigzag varint, one per set bit, lowest bit first
 *
 * A column that is 0 is left out. A new column takes the next bit, so a later version reads
 * what this one wrote without rewriting it.
 *
 * Thread class: any; nothing here blocks or keeps state.
 */
#ifndef LEDGER_TOTALS_H
#define LEDGER_TOTALS_H

#include "bytes.h"

/* Numbers are on disk: append only. docs/format.md lists the same table. */
enum totals_column {
    COLUMN_INVOCATIONS = 0,
    COLUMN_RUNS = 1,
    COLUMN_COMPLETED = 2, /* invocations, by status */
    COLUMN_FAILED = 3,
    COLUMN_ABORTED = 4,
    COLUMN_UNPRICED = 5, /* invocations that carry no cost */
    COLUMN_DURATION_MS = 6,
    COLUMN_COST = 7, /* nano-units, gross: what corrections give back is in its own column */
    COLUMN_COMPLETED_COST = 8,
    COLUMN_CREDITS = 9,
    COLUMN_COMPLETED_CREDITS = 10,
    COLUMN_INPUT_TOKENS = 11,
    COLUMN_OUTPUT_TOKENS = 12,
    COLUMN_CACHE_READ_TOKENS = 13,
    COLUMN_CACHE_CREATION_TOKENS = 14,
    COLUMN_REASONING_TOKENS = 15,
    COLUMN_RUNS_COMPLETED = 16,
    COLUMN_RUNS_FAILED = 17,
    COLUMN_RUNS_ABORTED = 18,
    COLUMN_CORRECTIONS = 19,
    COLUMN_CORRECTED_COST = 20, /* not above 0: net cost is cost plus this */
    COLUMN_CORRECTED_CREDITS = 21,
    COLUMN_GRANTS = 22,
    COLUMN_GRANTED_COST = 23,
    COLUMN_GRANTED_CREDITS = 24,
    COLUMN_CACHE_SAVINGS = 25,          /* nano-units; may be below 0 */
    COLUMN_CORRECTED_INPUT_TOKENS = 26, /* and by class up to 30; not above 0 */
    COLUMN_CORRECTED_REASONING_TOKENS = 30,
    COLUMN_WITHDRAWN_COST = 31, /* grants that were taken back */
    COLUMN_WITHDRAWN_CREDITS = 32,
    COLUMN_RUNS_UNPRICED = 33,
    COLUMN_RUNS_COST = 34,          /* what runs themselves added to COLUMN_COST when booked */
    COLUMN_CORRECTED_UNPRICED = 35, /* not above 0: invocations that a correction gave a cost */
    COLUMN_CORRECTED_RUNS_UNPRICED = 36,
    COLUMN_LATE_COMPLETED = 37,      /* corrections that COLUMN_COMPLETED counts as well */
    COLUMN_LATE_RUNS_COMPLETED = 38, /* and COLUMN_RUNS_COMPLETED */
    COLUMN_RUNS_DURATION_MS = 39,
    COLUMN_CORRECTIONS_COST = 40, /* what corrections added to COLUMN_COST */
    COLUMN_COUNT
};

struct totals {
    ledger_sum column[COLUMN_COUNT];
};

/* What one entry adds. `mask` has bit N set where column[N] is not 0; others are not read. */
struct amounts {
    uint64_t mask;
    int64_t column[COLUMN_COUNT];
};

#define TOTALS_BYTES_MAX ((COLUMN_COUNT + 1) * VARINT_BYTES_MAX)
#define AMOUNTS_BYTES_MAX ((COLUMN_COUNT + 1) * 10)

void amounts_set(struct amounts *amounts, enum totals_column column, int64_t value);
void totals_add(struct totals *totals, const struct amounts *amounts);

size_t totals_write(uint8_t *at, const struct totals *totals);
size_t amounts_write(uint8_t *at, const struct amounts *amounts);

/* These set reader->damaged on a mask with unknown columns or a value out of range. */
void totals_read(struct byte_reader *reader, struct totals *totals);
void amounts_read(struct byte_reader *reader, struct amounts *amounts);
/* The mask, and the values of the columns in `wanted` (bit N: column N), of either written form.
 * The others are passed over, and not checked. */
void amounts_read_of(struct byte_reader *reader, uint64_t wanted, struct amounts *amounts);

#endif
