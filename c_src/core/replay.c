#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static size_t hash_numbers(int family, const uint32_t *numbers, uint8_t count) {
    uint64_t hash = (uint64_t)family;
    for (uint8_t i = 0; i < count; i++) {
        hash = (hash ^ numbers[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return (size_t)hash;
}

static struct replay_series **slot_of(const struct replay *replay, int family,
                                      const uint32_t *numbers, uint8_t count) {
    size_t mask = replay->capacity - 1, at = hash_numbers(family, numbers, count) & mask;
    while (replay->slots[at] != NULL &&
           (replay->slots[at]->family != family ||
            memcmp(replay->slots[at]->numbers, numbers, count * sizeof *numbers) != 0))
        at = (at + 1) & mask;
    return &replay->slots[at];
}

static int grow(struct replay *replay) {
    struct replay old = *replay;
    size_t capacity = old.capacity == 0 ? 64 : 2 * old.capacity;
    struct replay_series **slots = calloc(capacity, sizeof *slots);
    if (slots == NULL)
        return ENOMEM;
    replay->slots = slots;
    replay->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        struct replay_series *series = old.slots[i];
        if (series != NULL)
            *slot_of(replay, series->family, series->numbers, series->count) = series;
    }
    free(old.slots);
    return 0;
}

struct replay_series *replay_find(const struct replay *replay, int family, const uint32_t *numbers,
                                  uint8_t count) {
    return replay->capacity == 0 ? NULL : *slot_of(replay, family, numbers, count);
}

static int make_series(struct replay *replay, int family, const uint32_t *numbers, uint8_t count,
                       uint64_t id, struct replay_series **out) {
    struct replay_series *series = calloc(1, sizeof *series);
    if (series == NULL)
        return ENOMEM;
    series->family = family;
    series->count = count;
    memcpy(series->numbers, numbers, count * sizeof *numbers);
    series->series = REPLAY_UNKNOWN;
    int rc = replay->sink.number(replay->sink.context, series);
    if (rc == 0 && 2 * (replay->count + 1) > replay->capacity)
        rc = grow(replay);
    if (rc != 0) {
        free(series);
        return rc;
    }
    *slot_of(replay, family, numbers, count) = series;
    replay->count++;
    series->block.series = series->hour.series = series->day.series = series->series;
    series->hour.granularity = ROLLUP_HOUR;
    series->day.granularity = ROLLUP_DAY;
    series->hour.period = rollup_period(ROLLUP_HOUR, id);
    series->day.period = rollup_period(ROLLUP_DAY, id);
    *out = series;
    bool has_more = replay->sink.begin != NULL && series->series != REPLAY_UNKNOWN;
    return has_more ? replay->sink.begin(replay->sink.context, series) : 0;
}

static int hand_over_block(struct replay *replay, struct replay_series *series, bool is_open) {
    if (series->series == REPLAY_UNKNOWN || series->block.count == 0)
        return 0;
    bool is_of_replay = series->block.first_id >= replay->from;
    series->blocks += is_of_replay;
    series->first_ids += is_of_replay ? series->block.first_id : 0;
    return replay->sink.block(replay->sink.context, series, is_open);
}

static int hand_over_rollup(struct replay *replay, struct replay_series *series,
                            const struct rollup *rollup, bool is_open) {
    if (series->series == REPLAY_UNKNOWN || !rollup->changed)
        return 0;
    series->rollups++;
    series->periods += (uint64_t)rollup->period << 2 | (uint64_t)rollup->granularity;
    return replay->sink.rollup(replay->sink.context, series, rollup, is_open);
}

static int add_rollup(struct replay *replay, struct replay_series *series, struct rollup *rollup,
                      uint64_t id, const struct amounts *amounts) {
    uint32_t period = rollup_period(rollup->granularity, id);
    int rc = 0;
    if (period != rollup->period) {
        rc = hand_over_rollup(replay, series, rollup, false);
        *rollup = (struct rollup){
            .series = series->series, .granularity = rollup->granularity, .period = period};
    }
    rollup_count(rollup, amounts);
    return rc;
}

static int find_skip(void *context, uint64_t first_id, unsigned level, struct series_skip *skip) {
    const struct replay_series *series = context;
    (void)first_id;
    if (level >= series->skip_count)
        return LEDGER_E_DAMAGED;
    *skip = series->skips[level];
    return 0;
}

/* Remembers the skip of a block that began, for those that will skip over it. */
static int remember_skip(struct replay_series *series) {
    const struct series_skip *skip = &series->block.skip;
    unsigned level = skip->number == 0 ? 0 : series_skip_level(skip);
    if (level == 0) /* the next block has it at hand */
        return 0;
    if (level >= series->skip_count) {
        struct series_skip *grown = realloc(series->skips, (level + 1) * sizeof *grown);
        if (grown == NULL)
            return ENOMEM;
        series->skips = grown;
        series->skip_count = level + 1;
    }
    series->skips[level] = *skip;
    return 0;
}

static int begin_next_block(struct replay *replay, struct replay_series *series, uint64_t id,
                            const struct amounts *amounts) {
    struct series_block *block = &series->block;
    struct series_skip skip;
    int rc = hand_over_block(replay, series, false);
    if (rc == 0)
        rc = series_skip_next(block, id, find_skip, series, &skip);
    if (rc != 0)
        return rc;
    series_block_begin(block, id, &skip);
    (void)series_block_add(block, id, amounts);
    return remember_skip(series);
}

int replay_add(struct replay *replay, int family, const uint32_t *numbers, uint8_t count,
               uint64_t id, const struct amounts *amounts) {
    struct replay_series *series = replay_find(replay, family, numbers, count);
    int rc = 0;
    if (series == NULL)
        rc = make_series(replay, family, numbers, count, id, &series);
    if (rc != 0)
        return rc;
    struct series_block *block = &series->block;
    if (block->count == 0)
        series_block_begin(block, id, NULL);
    if (!series_block_add(block, id, amounts))
        rc = begin_next_block(replay, series, id, amounts);
    if (rc == 0)
        rc = add_rollup(replay, series, &series->hour, id, amounts);
    if (rc == 0)
        rc = add_rollup(replay, series, &series->day, id, amounts);
    return rc;
}

int replay_finish(struct replay *replay) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < replay->capacity; i++) {
        struct replay_series *series = replay->slots[i];
        if (series == NULL)
            continue;
        rc = hand_over_block(replay, series, true);
        if (rc == 0)
            rc = hand_over_rollup(replay, series, &series->hour, true);
        if (rc == 0)
            rc = hand_over_rollup(replay, series, &series->day, true);
    }
    return rc;
}

void replay_free(struct replay *replay) {
    for (size_t i = 0; i < replay->capacity; i++) {
        if (replay->slots[i] != NULL)
            free(replay->slots[i]->skips);
        free(replay->slots[i]);
    }
    free(replay->slots);
    *replay = (struct replay){0};
}
