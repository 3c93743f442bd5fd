/* The columns, and how a set of them is written. */
#include "support.h"

static struct totals random_totals(void) {
    struct totals totals = {0};
    for (int column = 0; column < COLUMN_COUNT; column++) {
        ledger_usum word = (ledger_usum)random_word() << 64 | random_word();
        if (random_below(3) > 0)
            totals.column[column] = (ledger_sum)(word >> random_below(128));
    }
    return totals;
}

static void totals_survive(void **state) {
    uint8_t bytes[TOTALS_BYTES_MAX];
    (void)state;
    for (size_t i = rounds(5000); i > 0; i--) {
        struct totals written = random_totals(), read;
        size_t size = totals_write(bytes, &written);
        struct byte_reader reader = byte_reader(bytes, size);
        assert_true(size <= sizeof bytes);
        totals_read(&reader, &read);
        assert_false(reader.damaged);
        assert_ptr_equal(reader.at, reader.end);
        assert_memory_equal(&read, &written, sizeof read);
    }
}

static void the_widest_totals_fit_their_buffer(void **state) {
    uint8_t bytes[TOTALS_BYTES_MAX + 1] = {0};
    struct totals widest, read;
    (void)state;
    memset(&widest, 0x80, sizeof widest);
    for (int column = 0; column < COLUMN_COUNT; column++)
        widest.column[column] = -(ledger_sum)(~(ledger_usum)0 >> 1) - 1;
    size_t size = totals_write(bytes, &widest);
    assert_true(size <= TOTALS_BYTES_MAX);
    struct byte_reader reader = byte_reader(bytes, size);
    totals_read(&reader, &read);
    assert_false(reader.damaged);
    assert_memory_equal(&read, &widest, sizeof read);
}

static void empty_totals_are_one_byte(void **state) {
    uint8_t bytes[TOTALS_BYTES_MAX];
    struct totals none = {0};
    struct amounts nothing = {0};
    (void)state;
    assert_int_equal(totals_write(bytes, &none), 1);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(amounts_write(bytes, &nothing), 1);
}

static void amounts_survive_and_add_up(void **state) {
    uint8_t bytes[AMOUNTS_BYTES_MAX];
    struct totals sum = {0}, expected = {0};
    (void)state;
    for (size_t i = rounds(5000); i > 0; i--) {
        struct amounts written = {0}, read = {0};
        for (int column = 0; column < COLUMN_COUNT; column++) {
            int64_t value = random_below(2) ? (int64_t)(random_word() >> random_below(64)) : 0;
            amounts_set(&written, column, value);
            expected.column[column] += value;
        }
        size_t size = amounts_write(bytes, &written);
        assert_true(size <= sizeof bytes);
        struct byte_reader reader = byte_reader(bytes, size);
        amounts_read(&reader, &read);
        assert_false(reader.damaged);
        assert_ptr_equal(reader.at, reader.end);
        assert_true(read.mask == written.mask);
        totals_add(&sum, &read);
    }
    assert_memory_equal(&sum, &expected, sizeof sum);
}

/* The columns that are asked for, whatever lies between them, to the same end. */
static void some_of_the_amounts_can_be_read(void **state) {
    uint8_t bytes[AMOUNTS_BYTES_MAX + 8];
    (void)state;
    for (size_t i = rounds(20000); i > 0; i--) {
        struct amounts written = {0}, read = {0};
        uint64_t wanted = random_word() & random_word();
        for (int column = 0; column < COLUMN_COUNT; column++)
            if (random_below(2))
                amounts_set(&written, column, (int64_t)(random_word() >> random_below(64)));
        size_t size = amounts_write(bytes, &written);
        memset(bytes + size, (int)random_below(256), 8);
        struct byte_reader reader = byte_reader(bytes, size + random_below(9));
        amounts_read_of(&reader, wanted, &read);
        assert_false(reader.damaged);
        assert_ptr_equal(reader.at, bytes + size);
        assert_true(read.mask == written.mask);
        for (int column = 0; column < COLUMN_COUNT; column++)
            if (wanted & written.mask & UINT64_C(1) << column)
                assert_true(read.column[column] == written.column[column]);
        size_t cut = random_below(size);
        reader = byte_reader(bytes, cut);
        amounts_read_of(&reader, wanted, &read);
        assert_true(reader.damaged);
    }
}

static void sums_go_beyond_64_bits(void **state) {
    struct totals sum = {0};
    struct amounts amounts = {0};
    (void)state;
    amounts_set(&amounts, COLUMN_COST, INT64_MAX);
    for (int i = 0; i < 1000; i++)
        totals_add(&sum, &amounts);
    assert_true(sum.column[COLUMN_COST] == (ledger_sum)INT64_MAX * 1000);
}

static void a_zero_takes_no_room(void **state) {
    struct amounts amounts = {0};
    (void)state;
    amounts_set(&amounts, COLUMN_COST, 0);
    assert_true(amounts.mask == 0);
}

static void a_column_of_a_later_version_is_damage(void **state) {
    uint8_t bytes[VARINT_BYTES_MAX + 1];
    struct totals totals;
    struct amounts amounts;
    (void)state;
    size_t size = put_varint(bytes, (ledger_usum)1 << COLUMN_COUNT);
    bytes[size++] = 2;
    struct byte_reader reader = byte_reader(bytes, size);
    totals_read(&reader, &totals);
    assert_true(reader.damaged);
    reader = byte_reader(bytes, size);
    amounts_read(&reader, &amounts);
    assert_true(reader.damaged);
}

static void an_amount_beyond_64_bits_is_damage(void **state) {
    uint8_t bytes[2 * VARINT_BYTES_MAX];
    struct amounts amounts;
    (void)state;
    size_t size = put_varint(bytes, (ledger_usum)1 << COLUMN_COST);
    size += put_varint(bytes + size, zigzag((ledger_sum)INT64_MAX + 1));
    struct byte_reader reader = byte_reader(bytes, size);
    amounts_read(&reader, &amounts);
    assert_true(reader.damaged);
}

static void totals_cut_short_are_damage(void **state) {
    uint8_t bytes[TOTALS_BYTES_MAX];
    struct totals written = random_totals(), read;
    (void)state;
    written.column[COLUMN_COUNT - 1] = INT64_MAX;
    size_t size = totals_write(bytes, &written);
    for (size_t cut = 0; cut < size; cut++) {
        struct byte_reader reader = byte_reader(bytes, cut);
        totals_read(&reader, &read);
        assert_true(reader.damaged);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(totals_survive),
        cmocka_unit_test(the_widest_totals_fit_their_buffer),
        cmocka_unit_test(empty_totals_are_one_byte),
        cmocka_unit_test(amounts_survive_and_add_up),
        cmocka_unit_test(some_of_the_amounts_can_be_read),
        cmocka_unit_test(sums_go_beyond_64_bits),
        cmocka_unit_test(a_zero_takes_no_room),
        cmocka_unit_test(a_column_of_a_later_version_is_damage),
        cmocka_unit_test(an_amount_beyond_64_bits_is_damage),
        cmocka_unit_test(totals_cut_short_are_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
