/* The series and rollups that entries make, one entry after the other, in memory: what a batch does
 * (sums.c), without a file. Blocks and rollups are handed over when they are complete, and the open
 * ones at the end.
 *
 * Memory: about 5 KiB a series.
 *
 * Thread class: any; allocates. */
#ifndef LEDGER_REPLAY_H
#define LEDGER_REPLAY_H

#include "names.h"
#include "plan.h"
#include "rollup.h"
#include "series.h"

#define REPLAY_UNKNOWN UINT32_MAX

struct replay_series {
    int family;
    uint8_t count; /* of its numbers; 0: of everything */
    uint32_t numbers[SERIES_NAMES_MAX];
    uint32_t series; /* REPLAY_UNKNOWN: it has no number, and nothing of it is handed over */
    unsigned wrong;  /* whoever is handed the blocks counts here */
    uint64_t
        blocks; /* handed over that begin with an entry of the replay; sum of their first ids */
    uint64_t first_ids;
    uint64_t rollups; /* likewise; of their periods and granularities */
    uint64_t periods;
    struct series_block block;
    struct series_skip *skips; /* by level: of the last block of each */
    size_t skip_count;
    struct rollup hour;
    struct rollup day;
};

/* Each returns 0, or what ends the replay. */
struct replay_sink {
    /* Gives a new series its number: *series->series. */
    int (*number)(void *context, struct replay_series *series);
    /* Fills the block of a new series with what is in it before the first entry; NULL: nothing. */
    int (*begin)(void *context, struct replay_series *series);
    int (*block)(void *context, struct replay_series *series, bool is_open);
    int (*rollup)(void *context, struct replay_series *series, const struct rollup *rollup,
                  bool is_open);
    void *context;
};

struct replay {
    struct replay_sink sink;
    uint64_t from; /* no entry that is added is older */
    size_t count;
    size_t capacity; /* a power of two */
    struct replay_series **slots;
};

/* Adds an entry to the series of a family with these numbers, in the order of its dimensions. */
int replay_add(struct replay *replay, int family, const uint32_t *numbers, uint8_t count,
               uint64_t id, const struct amounts *amounts);
/* Hands over what is open. */
int replay_finish(struct replay *replay);
/* A series by its names; NULL. */
struct replay_series *replay_find(const struct replay *replay, int family, const uint32_t *numbers,
                                  uint8_t count);
void replay_free(struct replay *replay);

#endif
