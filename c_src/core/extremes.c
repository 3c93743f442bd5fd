#include "extremes.h"

void extremes_widen(struct extremes *extremes, int64_t value) {
    if (!extremes->any || value < extremes->min)
        extremes->min = value;
    if (!extremes->any || value > extremes->max)
        extremes->max = value;
    extremes->any = true;
}

void extremes_merge(struct extremes all[EXTREMES_MEASURES],
                    const struct extremes others[EXTREMES_MEASURES]) {
    for (int measure = 0; measure < EXTREMES_MEASURES; measure++)
        if (others[measure].any) {
            extremes_widen(&all[measure], others[measure].min);
            extremes_widen(&all[measure], others[measure].max);
        }
}

static bool has(const struct amounts *amounts, enum totals_column column) {
    return amounts->mask & UINT64_C(1) << column;
}

static int64_t amount_in(const struct amounts *amounts, enum totals_column column) {
    return has(amounts, column) ? amounts->column[column] : 0;
}

void extremes_add(struct extremes all[EXTREMES_MEASURES], const struct amounts *amounts) {
    bool is_run = has(amounts, COLUMN_RUNS);
    if (!is_run && !has(amounts, COLUMN_INVOCATIONS))
        return;
    if (!has(amounts, is_run ? COLUMN_RUNS_UNPRICED : COLUMN_UNPRICED))
        extremes_widen(&all[is_run ? EXTREMES_RUN_COST : EXTREMES_COST],
                       amount_in(amounts, COLUMN_COST));
    if (is_run)
        extremes_widen(&all[EXTREMES_RUN_DURATION], amount_in(amounts, COLUMN_RUNS_DURATION_MS));
    else
        extremes_widen(&all[EXTREMES_DURATION], amount_in(amounts, COLUMN_DURATION_MS));
}

size_t extremes_write(uint8_t *at, const struct extremes all[EXTREMES_MEASURES]) {
    size_t size = 1;
    at[0] = 0;
    for (int measure = 0; measure < EXTREMES_MEASURES; measure++) {
        if (!all[measure].any)
            continue;
        at[0] |= (uint8_t)(1 << measure);
        size += put_varint(at + size, zigzag(all[measure].min));
        size += put_varint(at + size, zigzag(all[measure].max));
    }
    return size;
}

static int64_t read_extreme(struct byte_reader *reader) {
    ledger_sum value = unzigzag(read_varint(reader));
    if (value > INT64_MAX || value < INT64_MIN)
        reader->damaged = true;
    return (int64_t)value;
}

static uint8_t read_given(struct byte_reader *reader) {
    uint8_t given = read_byte(reader);
    if (given >> EXTREMES_MEASURES != 0)
        reader->damaged = true;
    return given;
}

void extremes_read(struct byte_reader *reader, struct extremes all[EXTREMES_MEASURES]) {
    uint8_t given = read_given(reader);
    for (int measure = 0; measure < EXTREMES_MEASURES; measure++) {
        if (!(given & 1 << measure))
            continue;
        int64_t min = read_extreme(reader), max = read_extreme(reader);
        if (min > max)
            reader->damaged = true;
        extremes_widen(&all[measure], min);
        extremes_widen(&all[measure], max);
    }
}

void extremes_skip(struct byte_reader *reader) {
    skip_varints(reader, 2 * count_bits(read_given(reader)));
}
