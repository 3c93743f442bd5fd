/* Rebuilding: what stands in for entries that were removed (retention.h) is taken as it is. */
#include <inttypes.h>

#include "rebuild_internal.h"

/* A name whose entry was removed, like one that only holds use. */
static int take_past_name(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    const uint8_t *bytes = key.mv_data;
    struct ledger_text text;
    uint8_t dimension;
    (void)value;
    if (key.mv_size != 5 || bytes[0] != NAMES_TEXT)
        return 0;
    uint32_t number = get_be32(bytes + 1);
    if (names_text(rebuilding->verifier.txn, new_dbi(rebuilding, DB_NAMES), number, &dimension,
                   &text) == 0)
        return 0;
    int rc = names_text(rebuilding->old, old_dbi(rebuilding, DB_NAMES), number, &dimension, &text);
    if (verify_is_damage(rc))
        return leave_out(rebuilding, "names", 0, "number %" PRIu32 "\nhas no text any more",
                         number);
    return rc == 0 ? rebuild_put_name(rebuilding, number, dimension, text) : rc;
}

/* A block that goes on behind the horizon is taken up to there; a skip that cannot be read is not.
 */
static int take_past_block(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    struct series_contents contents;
    struct series_key at;
    struct series_block block = {0};
    if (series_read_key(key, &at) != 0 || !rebuild_is_past(rebuilding, at.first_id))
        return 0;
    if (series_read_block(at.first_id, value, &contents) == 0 &&
        rebuild_is_past(rebuilding, contents.last_id))
        return rebuild_put(rebuilding, DB_SERIES, key, value);
    block.series = at.series;
    if (series_block_before(at.first_id, value, rebuilding->verifier.retention.horizon, &block) !=
        0)
        return leave_out(rebuilding, "series", at.first_id,
                         "series %" PRIu32 ", block from %" PRIu64 "\ncannot be read", at.series,
                         at.first_id);
    return series_store(rebuilding->verifier.txn, new_dbi(rebuilding, DB_SERIES), &block);
}

static int take_past_rollup(struct rebuilding *rebuilding, MDB_val key, MDB_val value) {
    const uint8_t *bytes = key.mv_data;
    if (key.mv_size != ROLLUP_KEY_BYTES)
        return 0;
    uint64_t unit = rollup_unit(bytes[4]);
    return verify_is_past(&rebuilding->verifier, get_be32(bytes + 5) * unit)
               ? rebuild_put(rebuilding, DB_ROLLUPS, key, value)
               : 0;
}

int rebuild_take_past(struct rebuilding *rebuilding) {
    if (rebuilding->verifier.retention.horizon == 0)
        return 0;
    int rc = rebuild_walk_old(rebuilding, DB_NAMES, take_past_name);
    if (rc == 0)
        rc = rebuild_walk_old(rebuilding, DB_SERIES, take_past_block);
    return rc == 0 ? rebuild_walk_old(rebuilding, DB_ROLLUPS, take_past_rollup) : rc;
}
