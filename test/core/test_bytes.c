/* Varints, zigzag and big-endian keys. */
#include "support.h"

static const ledger_sum signed_edges[] = {
    0,
    1,
    -1,
    63,
    -64,
    64,
    -65,
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    (ledger_sum)INT64_MAX + 1,
    (ledger_sum)INT64_MIN - 1,
    (ledger_sum)(~(ledger_usum)0 >> 1),      /* the largest of 128 bits */
    -(ledger_sum)(~(ledger_usum)0 >> 1) - 1, /* the smallest */
};

static void assert_survives(ledger_usum n) {
    uint8_t bytes[VARINT_BYTES_MAX + 1];
    size_t size = put_varint(bytes, n);
    assert_true(size <= VARINT_BYTES_MAX);
    bytes[size] = 0x55;
    struct byte_reader reader = byte_reader(bytes, size + 1);
    assert_true(read_varint(&reader) == n);
    assert_false(reader.damaged);
    assert_ptr_equal(reader.at, bytes + size);
    /* and cut anywhere it is not a number */
    for (size_t cut = 0; cut < size; cut++) {
        reader = byte_reader(bytes, cut);
        read_varint(&reader);
        assert_true(reader.damaged);
    }
}

static void a_varint_survives_at_every_width(void **state) {
    (void)state;
    for (unsigned bit = 0; bit < 128; bit++) {
        ledger_usum power = (ledger_usum)1 << bit;
        assert_survives(power - 1);
        assert_survives(power);
        assert_survives(power + 1);
    }
    assert_survives(~(ledger_usum)0);
}

static void a_varint_grows_by_a_byte_every_seven_bits(void **state) {
    uint8_t bytes[VARINT_BYTES_MAX];
    (void)state;
    assert_int_equal(put_varint(bytes, 0x7f), 1);
    assert_int_equal(put_varint(bytes, 0x80), 2);
    assert_int_equal(bytes[0], 0x80);
    assert_int_equal(bytes[1], 0x01);
    assert_int_equal(put_varint(bytes, 0x3fff), 2);
    assert_int_equal(put_varint(bytes, 0x4000), 3);
    assert_int_equal(put_varint(bytes, UINT64_MAX), 10);
    assert_int_equal(put_varint(bytes, ~(ledger_usum)0), VARINT_BYTES_MAX);
}

static void a_varint_that_never_ends_is_damage(void **state) {
    uint8_t bytes[64];
    (void)state;
    memset(bytes, 0xff, sizeof bytes);
    struct byte_reader reader = byte_reader(bytes, sizeof bytes);
    read_varint(&reader);
    assert_true(reader.damaged);
}

static void a_varint_beyond_128_bits_is_damage(void **state) {
    uint8_t bytes[VARINT_BYTES_MAX];
    (void)state;
    assert_int_equal(put_varint(bytes, ~(ledger_usum)0), VARINT_BYTES_MAX);
    bytes[VARINT_BYTES_MAX - 1] = 0x04; /* bit 128 */
    struct byte_reader reader = byte_reader(bytes, sizeof bytes);
    read_varint(&reader);
    assert_true(reader.damaged);
}

static void zigzag_survives_at_the_edges(void **state) {
    (void)state;
    for (size_t i = 0; i < LENGTH(signed_edges); i++)
        assert_true(unzigzag(zigzag(signed_edges[i])) == signed_edges[i]);
}

static void zigzag_keeps_small_numbers_small(void **state) {
    (void)state;
    for (int n = 0; n < 100; n++) {
        assert_true(zigzag(n) == (ledger_usum)(2 * n));
        assert_true(zigzag(-n - 1) == (ledger_usum)(2 * n + 1));
    }
}

static void random_numbers_survive(void **state) {
    (void)state;
    for (size_t i = rounds(20000); i > 0; i--) {
        ledger_usum n = (ledger_usum)random_word() << 64 | random_word();
        n >>= random_below(128);
        assert_survives(n);
        assert_true(unzigzag(zigzag((ledger_sum)n)) == (ledger_sum)n);
    }
}

static void big_endian_keys_sort_as_their_numbers(void **state) {
    uint8_t a[8], b[8];
    (void)state;
    for (size_t i = rounds(10000); i > 0; i--) {
        uint64_t x = random_word() >> random_below(64), y = random_word() >> random_below(64);
        put_be64(a, x);
        put_be64(b, y);
        assert_true(get_be64(a) == x);
        assert_int_equal(memcmp(a, b, 8) < 0, x < y);
        put_be32(a, (uint32_t)x);
        put_be32(b, (uint32_t)y);
        assert_true(get_be32(a) == (uint32_t)x);
        assert_int_equal(memcmp(a, b, 4) < 0, (uint32_t)x < (uint32_t)y);
    }
}

static void reading_past_the_end_is_remembered(void **state) {
    uint8_t byte = 7;
    (void)state;
    struct byte_reader reader = byte_reader(&byte, 1);
    assert_int_equal(read_byte(&reader), 7);
    assert_false(reader.damaged);
    assert_int_equal(read_byte(&reader), 0);
    assert_true(reader.damaged);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_varint_survives_at_every_width),
        cmocka_unit_test(a_varint_grows_by_a_byte_every_seven_bits),
        cmocka_unit_test(a_varint_that_never_ends_is_damage),
        cmocka_unit_test(a_varint_beyond_128_bits_is_damage),
        cmocka_unit_test(zigzag_survives_at_the_edges),
        cmocka_unit_test(zigzag_keeps_small_numbers_small),
        cmocka_unit_test(random_numbers_survive),
        cmocka_unit_test(big_endian_keys_sort_as_their_numbers),
        cmocka_unit_test(reading_past_the_end_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
