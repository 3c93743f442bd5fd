#include "hold.h"

#include <errno.h>
#include <string.h>

#include "pack.h"

void hold_free(struct hold *hold) {
    entry_buffer_free(&hold->row);
}

struct hold_share *hold_share_of(struct hold *hold, uint32_t series) {
    for (uint8_t i = 0; i < hold->share_count; i++)
        if (hold->shares[i].series == series)
            return &hold->shares[i];
    return NULL;
}

/* ---- reading ---------------------------------------------------------------------------- */

static uint64_t read_word(struct byte_reader *reader) {
    ledger_usum value = read_varint(reader);
    if (value > UINT64_MAX)
        reader->damaged = true;
    return (uint64_t)value;
}

static int64_t read_amount(struct byte_reader *reader) {
    uint64_t value = read_word(reader);
    if (value > INT64_MAX)
        reader->damaged = true;
    return (int64_t)value;
}

static const uint8_t *read_bytes(struct byte_reader *reader, size_t size) {
    const uint8_t *at = reader->at;
    if ((size_t)(reader->end - reader->at) < size) {
        reader->damaged = true;
        return NULL;
    }
    reader->at += size;
    return at;
}

static struct ledger_text read_text(struct byte_reader *reader) {
    uint64_t size = read_word(reader);
    const uint8_t *at = read_bytes(reader, size);
    if (at == NULL || size == 0)
        return (struct ledger_text){0};
    return (struct ledger_text){(const char *)at, size};
}

static void read_estimate(struct byte_reader *reader, struct hold *hold) {
    hold->given = read_byte(reader);
    if ((hold->given & ~(uint32_t)(ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS)) != 0)
        reader->damaged = true;
    if (hold->given & ENTRY_COST)
        hold->cost = read_amount(reader);
    if (hold->given & ENTRY_CREDITS)
        hold->credits = read_amount(reader);
    for (int class = 0; hold->given & ENTRY_TOKENS && class < TOKENS_CLASSES; class ++)
        hold->tokens[class] = read_amount(reader);
}

static void read_names(struct byte_reader *reader, struct hold *hold) {
    uint8_t count = read_byte(reader), previous = 0;
    for (uint8_t i = 0; i < count && !reader->damaged; i++) {
        uint8_t dimension = read_byte(reader);
        uint64_t number = read_word(reader);
        if (dimension <= previous || !entry_dimension_is_assigned(dimension) || number == 0 ||
            number > UINT32_MAX) {
            reader->damaged = true;
            return;
        }
        hold->name_numbers[dimension] = (uint32_t)number;
        previous = dimension;
    }
}

static void read_shares(struct byte_reader *reader, struct hold *hold) {
    hold->share_count = read_byte(reader);
    if (hold->share_count > HOLD_SHARES_MAX)
        reader->damaged = true;
    for (uint8_t i = 0; i < hold->share_count && !reader->damaged; i++) {
        struct hold_share *share = &hold->shares[i];
        uint64_t series = read_word(reader);
        if (series > UINT32_MAX)
            reader->damaged = true;
        share->series = (uint32_t)series;
        for (int column = 0; column < HELD_COLUMNS; column++) {
            share->held[column] = read_amount(reader);
            share->drawn[column] = read_amount(reader);
        }
    }
}

static int read_row(struct byte_reader *reader, struct hold *hold) {
    uint8_t version = read_byte(reader);
    if (version > HOLD_VERSION)
        return LEDGER_E_NEWER;
    hold->kind = (enum ledger_kind)read_byte(reader);
    if (version == 0 || (hold->kind != KIND_INVOCATION && hold->kind != KIND_RUN))
        reader->damaged = true;
    const uint8_t *boot_id = read_bytes(reader, GATE_BOOT_ID_BYTES);
    if (boot_id != NULL)
        memcpy(hold->boot_id, boot_id, GATE_BOOT_ID_BYTES);
    hold->deadline_us = read_word(reader);
    hold->extend_ms = read_word(reader);
    hold->policy_version = read_word(reader);
    hold->parent = read_word(reader);
    hold->open_children = read_word(reader);
    read_estimate(reader, hold);
    amounts_read(reader, &hold->children);
    read_names(reader, hold);
    read_shares(reader, hold);
    hold->owner = read_text(reader);
    hold->client_id = read_text(reader);
    hold->metered = read_text(reader);
    hold->repeats = read_word(reader);
    hold->run_id = read_text(reader);
    return reader->damaged || reader->at != reader->end ? LEDGER_E_DAMAGED : 0;
}

int hold_read(uint64_t id, const void *data, size_t size, struct hold *hold) {
    struct entry_buffer row = hold->row;
    row.size = 0;
    *hold = (struct hold){.id = id, .row = row};
    /* Copied: a value of LMDB moves with the next put. */
    entry_buffer_append(&hold->row, data, size);
    if (hold->row.failed)
        return ENOMEM;
    struct byte_reader reader = byte_reader(hold->row.data, hold->row.size);
    return read_row(&reader, hold);
}

int hold_load(MDB_txn *txn, MDB_dbi dbi, uint64_t id, struct hold *hold) {
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes}, value;
    put_be64(bytes, id);
    int rc = mdb_get(txn, dbi, &key, &value);
    return rc != 0 ? rc : hold_read(id, value.mv_data, value.mv_size, hold);
}

int hold_next(MDB_cursor *cursor, struct hold *hold) {
    MDB_val key, value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    if (rc != 0)
        return rc;
    return key.mv_size == 8 ? hold_read(get_be64(key.mv_data), value.mv_data, value.mv_size, hold)
                            : LEDGER_E_DAMAGED;
}

/* ---- writing ---------------------------------------------------------------------------- */

static void append_word(struct entry_buffer *buffer, uint64_t value) {
    uint8_t bytes[VARINT_BYTES_MAX];
    entry_buffer_append(buffer, (const char *)bytes, put_varint(bytes, value));
}

static void append_byte(struct entry_buffer *buffer, uint8_t byte) {
    entry_buffer_append(buffer, (const char *)&byte, 1);
}

static void append_text(struct entry_buffer *buffer, struct ledger_text text) {
    append_word(buffer, text.size);
    if (text.size > 0)
        entry_buffer_append(buffer, text.data, text.size);
}

static void append_estimate(struct entry_buffer *buffer, const struct hold *hold) {
    append_byte(buffer, (uint8_t)hold->given);
    if (hold->given & ENTRY_COST)
        append_word(buffer, (uint64_t)hold->cost);
    if (hold->given & ENTRY_CREDITS)
        append_word(buffer, (uint64_t)hold->credits);
    for (int class = 0; hold->given & ENTRY_TOKENS && class < TOKENS_CLASSES; class ++)
        append_word(buffer, (uint64_t)hold->tokens[class]);
}

static void append_names(struct entry_buffer *buffer, const struct hold *hold) {
    uint8_t count = 0;
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++)
        count += hold->name_numbers[dimension] != 0;
    append_byte(buffer, count);
    for (int dimension = 1; dimension < DIMENSION_LIMIT; dimension++) {
        if (hold->name_numbers[dimension] == 0)
            continue;
        append_byte(buffer, (uint8_t)dimension);
        append_word(buffer, hold->name_numbers[dimension]);
    }
}

static void append_shares(struct entry_buffer *buffer, const struct hold *hold) {
    append_byte(buffer, hold->share_count);
    for (uint8_t i = 0; i < hold->share_count; i++) {
        const struct hold_share *share = &hold->shares[i];
        append_word(buffer, share->series);
        for (int column = 0; column < HELD_COLUMNS; column++) {
            append_word(buffer, (uint64_t)share->held[column]);
            append_word(buffer, (uint64_t)share->drawn[column]);
        }
    }
}

int hold_store(MDB_txn *txn, MDB_dbi dbi, const struct hold *hold) {
    struct entry_buffer buffer = {0};
    uint8_t bytes[8], children[AMOUNTS_BYTES_MAX];
    append_byte(&buffer, HOLD_VERSION);
    append_byte(&buffer, (uint8_t)hold->kind);
    entry_buffer_append(&buffer, (const char *)hold->boot_id, GATE_BOOT_ID_BYTES);
    append_word(&buffer, hold->deadline_us);
    append_word(&buffer, hold->extend_ms);
    append_word(&buffer, hold->policy_version);
    append_word(&buffer, hold->parent);
    append_word(&buffer, hold->open_children);
    append_estimate(&buffer, hold);
    entry_buffer_append(&buffer, (const char *)children, amounts_write(children, &hold->children));
    append_names(&buffer, hold);
    append_shares(&buffer, hold);
    append_text(&buffer, hold->owner);
    append_text(&buffer, hold->client_id);
    append_text(&buffer, hold->metered);
    append_word(&buffer, hold->repeats);
    append_text(&buffer, hold->run_id);
    int rc = ENOMEM;
    if (!buffer.failed) {
        MDB_val key = {sizeof bytes, bytes}, value = {buffer.size, buffer.data};
        put_be64(bytes, hold->id);
        rc = mdb_put(txn, dbi, &key, &value, 0);
    }
    entry_buffer_free(&buffer);
    return rc;
}
