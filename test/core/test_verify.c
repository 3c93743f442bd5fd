/* Verifying: a ledger that is as it should be has no findings, and whatever is changed in it is
 * found where it is. */
#include "whole.h"

#include <errno.h>
#include <stdio.h>

#include "../../c_src/core/keys.h"
#include "../../c_src/core/series_internal.h"

/* ---- tests ---------------------------------------------------------------------------------- */

static void a_ledger_of_everything_is_as_it_should_be(void **state) {
    struct world world = make_world(*state);
    assert_clean(world.ledger);
    assert_books_agree(world.ledger);
    assert_true(verify(world.ledger, 0).payloads == 2);
    close_ledger(world.ledger);
}

static void an_empty_ledger_is_as_it_should_be(void **state) {
    struct ledger *ledger = open_ledger(*state);
    assert_clean(ledger);
    close_ledger(ledger);
}

static void whatever_is_wrong_with_what_is_summed_is_found(void **state) {
    struct world world = make_world(*state);
    damage_rows(world.ledger, DB_SERIES, 0);
    add_a_row(world.ledger, DB_SERIES, 0);
    damage_rows(world.ledger, DB_ROLLUPS, 0);
    add_a_row(world.ledger, DB_ROLLUPS, 0);
    close_ledger(world.ledger);
}

static void whatever_is_wrong_with_names_is_found(void **state) {
    struct world world = make_world(*state);
    damage_rows(world.ledger, DB_NAMES, 0);
    for (uint8_t kind = 1; kind <= 7; kind++)
        if (kind != 2) /* no name is so long */
            add_a_row(world.ledger, DB_NAMES, kind);
    close_ledger(world.ledger);
}

static void whatever_is_wrong_with_payloads_is_found(void **state) {
    struct world world = make_world(*state);
    damage_rows(world.ledger, DB_PAYLOADS, 0);
    add_a_row(world.ledger, DB_PAYLOADS, 0);
    close_ledger(world.ledger);
}

static void whatever_is_wrong_with_keys_is_found(void **state) {
    struct world world = make_world(*state);
    for (uint8_t kind = KEY_RESOLVED; kind <= KEY_PRICE; kind++) {
        if (kind == KEY_RUN || kind == KEY_LONG_RUN)
            continue;
        damage_rows(world.ledger, DB_KEYS, kind);
        add_a_row(world.ledger, DB_KEYS, kind);
    }
    add_a_row(world.ledger, DB_KEYS, KEY_CLIENT);
    add_a_row(world.ledger, DB_KEYS, KEY_RUN);
    close_ledger(world.ledger);
}

/* What is told of one change: the row, in words, and the entry. */
static void findings_say_where(void **state) {
    struct world world = make_world(*state);
    static struct row row;
    char id[32];
    snprintf(id, sizeof id, "%llu", (unsigned long long)world.recorded);
    assert_true(nth_row(world.ledger, DB_KEYS, KEY_CLIENT, 0, &row));
    delete_raw(world.ledger, DB_KEYS, row.key);
    assert_found(world.ledger, "keys", "client id a client", id);
    put_raw(world.ledger, DB_KEYS, row.key, row.value);
    row.value_bytes[row.value.mv_size - 1] ^= 1;
    put_raw(world.ledger, DB_KEYS, row.key, row.value);
    assert_found(world.ledger, "keys", "client id a client", "another digest");
    row.value_bytes[row.value.mv_size - 1] ^= 1;
    put_raw(world.ledger, DB_KEYS, row.key, row.value);
    assert_true(nth_row(world.ledger, DB_PAYLOADS, 0, 0, &row));
    row.value_bytes[row.value.mv_size - 1] ^= 1;
    put_raw(world.ledger, DB_PAYLOADS, row.key, row.value);
    assert_found(world.ledger, "payloads", id, "digest");
    assert_int_equal(found_count, 1);
    assert_int_equal(found[0].id, world.recorded);
    row.value_bytes[row.value.mv_size - 1] ^= 1;
    put_raw(world.ledger, DB_PAYLOADS, row.key, row.value);
    assert_true(nth_row(world.ledger, DB_SERIES, 0, 1, &row)); /* the second block of everything */
    row.value_bytes[row.value.mv_size - 1] ^= 2;
    put_raw(world.ledger, DB_SERIES, row.key, row.value);
    assert_found(world.ledger, "series", "series 0 (everything), block from", "item 32");
    assert_int_equal(found_count, 1);
    row.value_bytes[row.value.mv_size - 1] ^= 2;
    put_raw(world.ledger, DB_SERIES, row.key, row.value);
    assert_clean(world.ledger);
    close_ledger(world.ledger);
}

static void a_block_that_skips_elsewhere_is_found(void **state) {
    struct ledger *ledger = open_ledger(*state);
    static struct row row;
    struct totals base;
    for (int i = 0; i < 2 * SERIES_BLOCK_ITEMS; i++) {
        struct ledger_entry call = priced("ada", 1000 + i);
        (void)ask(ledger, OPERATION_RECORD, 0, &call);
    }
    assert_clean(ledger);
    assert_true(nth_row(ledger, DB_SERIES, 0, 1, &row));
    assert_true(row.value_bytes[0] & SERIES_HAS_SKIP);
    struct byte_reader bytes = byte_reader(row.value_bytes + 1, row.value.mv_size - 1);
    totals_read(&bytes, &base);
    uint8_t *at = row.value_bytes + (bytes.at - row.value_bytes);
    series_pass_over_skip(&bytes);
    for (; at < bytes.at; at++) {
        if (*at & 0x80) /* the same length, so that what follows can be read */
            *at ^= 1;
        else
            *at ^= 0x40;
        put_raw(ledger, DB_SERIES, row.key, row.value);
        assert_int_equal(verify(ledger, 0).findings, 1);
        assert_found(ledger, "series", "series 0", "does not skip back");
        *at ^= *at & 0x80 ? 1 : 0x40;
    }
    put_raw(ledger, DB_SERIES, row.key, row.value);
    assert_clean(ledger);
    close_ledger(ledger);
}

static void an_entry_that_is_gone_or_unreadable_is_missed(void **state) {
    struct world world = make_world(*state);
    static struct row row;
    assert_true(nth_row(world.ledger, DB_ENTRIES, 0, 5, &row));
    delete_raw(world.ledger, DB_ENTRIES, row.key);
    verify(world.ledger, 0);
    assert_true(is_found("series", "series 0", "item 6"));
    assert_true(is_found("rollups", "", ""));
    assert_true(found_count < 50); /* what follows is not told block by block */
    put_raw(world.ledger, DB_ENTRIES, row.key, (MDB_val){3, "\x93\x01\x01"});
    assert_found(world.ledger, "entries", "", "cannot be read");
    put_raw(world.ledger, DB_ENTRIES, row.key, row.value);
    assert_clean(world.ledger);
    put_raw(world.ledger, DB_ENTRIES, (MDB_val){3, "abc"}, row.value);
    assert_found(world.ledger, "entries", "a key of 3 bytes", "");
    delete_raw(world.ledger, DB_ENTRIES, (MDB_val){3, "abc"});
    close_ledger(world.ledger);
}

static void change_hold(struct world *world, uint64_t id, void (*how)(struct hold *hold)) {
    struct hold hold = {0};
    MDB_txn *txn;
    MDB_dbi dbi = world->ledger->storage.databases[DB_HOLDS];
    assert_int_equal(mdb_txn_begin(world->ledger->storage.env, NULL, 0, &txn), 0);
    assert_int_equal(hold_load(txn, dbi, id, &hold), 0);
    how(&hold);
    assert_int_equal(hold_store(txn, dbi, &hold), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    hold_free(&hold);
}

static void hold_more(struct hold *hold) {
    hold->shares[1].held[HELD_COST]++;
}
static void lose_a_share(struct hold *hold) {
    hold->share_count--;
}
static void have_a_child_more(struct hold *hold) {
    hold->open_children++;
}
static void know_less(struct hold *hold) {
    hold->children = (struct amounts){0};
}
static void be_over(struct hold *hold) {
    hold->deadline_us = 1;
}
static void have_another_run(struct hold *hold) {
    hold->run_id = text("another run");
}
static void have_another_client(struct hold *hold) {
    hold->client_id = text("another client");
}
static void have_another_name(struct hold *hold) {
    hold->name_numbers[DIMENSION_USER] = hold->name_numbers[DIMENSION_STATE];
    hold->name_numbers[DIMENSION_ORG] = 1;
}

static void whatever_is_wrong_with_holds_is_found(void **state) {
    static const struct {
        void (*how)(struct hold *);
        const char *database, *what;
    } changes[] = {
        {hold_more, "held", "not the sum"},
        {lose_a_share, "holds", "share"},
        {have_a_child_more, "holds", "live children"},
        {know_less, "holds", "children booked"},
        {be_over, "holds", "before it began"},
        {have_another_run, "holds", "run id"},
        {have_another_client, "holds", "client id"},
        {have_another_name, "holds", "name"},
    };
    struct world world = make_world(*state);
    static struct row row;
    size_t nth = 0;
    do
        assert_true(nth_row(world.ledger, DB_HOLDS, 0, nth++, &row));
    while (get_be64(row.key_bytes) != world.parent);
    for (size_t i = 0; i < LENGTH(changes); i++) {
        change_hold(&world, world.parent, changes[i].how);
        assert_found(world.ledger, changes[i].database, "", changes[i].what);
        put_raw(world.ledger, DB_HOLDS, row.key, row.value);
    }
    assert_clean(world.ledger);
    delete_raw(world.ledger, DB_HOLDS, row.key);
    assert_found(world.ledger, "held", "series 0", "not the sum");
    assert_true(is_found("keys", "run id a run that lives", "no live hold"));
    put_raw(world.ledger, DB_HOLDS, row.key, (MDB_val){3, "\x01\x01\x01"});
    assert_found(world.ledger, "holds", "", "cannot be read");
    put_raw(world.ledger, DB_HOLDS, row.key, row.value);
    /* one that has ended */
    uint8_t bytes[8];
    put_be64(bytes, world.unattended);
    put_raw(world.ledger, DB_HOLDS, (MDB_val){8, bytes}, row.value);
    assert_found(world.ledger, "holds", "", "is live, but entry");
    delete_raw(world.ledger, DB_HOLDS, (MDB_val){8, bytes});
    assert_clean(world.ledger);
    close_ledger(world.ledger);
}

static void hold_one_more(struct held *held) {
    held->holds++;
}
static void hold_another_sum(struct held *held) {
    held->column[HELD_COST] += 3;
}
static void end_early(struct held *held) {
    held->until_us = 1;
}

static void whatever_is_wrong_with_what_is_held_is_found(void **state) {
    void (*const changes[])(struct held *) = {hold_one_more, hold_another_sum, end_early};
    struct world world = make_world(*state);
    MDB_dbi dbi = world.ledger->storage.databases[DB_HELD];
    static struct row row;
    size_t nth = 0;
    for (; nth_row(world.ledger, DB_HELD, 0, nth, &row); nth++) {
        for (size_t i = 0; i < LENGTH(changes); i++) {
            struct held held;
            MDB_txn *txn;
            assert_int_equal(mdb_txn_begin(world.ledger->storage.env, NULL, 0, &txn), 0);
            assert_int_equal(held_load(txn, dbi, get_be32(row.key_bytes), &held), 0);
            changes[i](&held);
            assert_int_equal(held_store(txn, dbi, get_be32(row.key_bytes), &held), 0);
            assert_int_equal(mdb_txn_commit(txn), 0);
            assert_found(world.ledger, "held", "series", "not the sum");
            put_raw(world.ledger, DB_HELD, row.key, row.value);
        }
        delete_raw(world.ledger, DB_HELD, row.key);
        assert_found(world.ledger, "held", "series", "is missing");
        put_raw(world.ledger, DB_HELD, row.key, row.value);
    }
    assert_true(nth >= 2);
    put_raw(world.ledger, DB_HELD, (MDB_val){4, "\0\0\0\x77"}, row.value);
    assert_found(world.ledger, "held", "series 119", "no live hold");
    delete_raw(world.ledger, DB_HELD, (MDB_val){4, "\0\0\0\x77"});
    assert_clean(world.ledger);
    close_ledger(world.ledger);
}

static bool count_to_two(void *context, uint64_t done, uint64_t total) {
    size_t *asked = context;
    assert_true(done <= total);
    return ++*asked < 3;
}

static void it_ends_when_it_is_told_to(void **state) {
    size_t asked = 0;
    struct world world = make_world(*state);
    struct ledger_verify_options options = {.slice = 1, .goes_on = count_to_two, .context = &asked};
    struct ledger_verify_result result;
    struct ledger_failure failure;
    assert_int_equal(ledger_verify(world.ledger, &options, &result, &failure), ECANCELED);
    assert_int_equal(asked, 3);
    assert_int_equal(result.entries, 2);
    assert_true(facts_of(world.ledger).entries > 2); /* no reader is stuck */
    close_ledger(world.ledger);
}

static void it_ends_after_so_many_findings(void **state) {
    struct world world = make_world(*state);
    static struct row row;
    while (nth_row(world.ledger, DB_ROLLUPS, 0, 0, &row))
        delete_raw(world.ledger, DB_ROLLUPS, row.key);
    struct ledger_verify_options options = {.found = keep_finding, .findings_max = 4};
    struct ledger_verify_result result;
    struct ledger_failure failure;
    found_count = 0;
    assert_int_equal(ledger_verify(world.ledger, &options, &result, &failure), 0);
    assert_int_equal(found_count, 4);
    assert_true(result.is_short);
    close_ledger(world.ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(an_empty_ledger_is_as_it_should_be),
        in_directory(a_ledger_of_everything_is_as_it_should_be),
        in_directory(findings_say_where),
        in_directory(whatever_is_wrong_with_what_is_summed_is_found),
        in_directory(whatever_is_wrong_with_names_is_found),
        in_directory(whatever_is_wrong_with_payloads_is_found),
        in_directory(whatever_is_wrong_with_keys_is_found),
        in_directory(a_block_that_skips_elsewhere_is_found),
        in_directory(an_entry_that_is_gone_or_unreadable_is_missed),
        in_directory(whatever_is_wrong_with_holds_is_found),
        in_directory(whatever_is_wrong_with_what_is_held_is_found),
        in_directory(it_ends_when_it_is_told_to),
        in_directory(it_ends_after_so_many_findings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
