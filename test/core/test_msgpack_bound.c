/* The look over hostile msgpack bytes. */
#include "support.h"

#include <msgpack.h>

#include "../../c_src/core/msgpack_bound.h"

#define ACCEPTED(bytes) assert_true(msgpack_is_bounded(bytes, sizeof(bytes) - 1))
#define REFUSED(bytes) assert_false(msgpack_is_bounded(bytes, sizeof(bytes) - 1))

static void every_type_is_known(void **state) {
    (void)state;
    ACCEPTED("\x00");
    ACCEPTED("\x7f");
    ACCEPTED("\xff");
    ACCEPTED("\xc0");
    ACCEPTED("\xc2");
    ACCEPTED("\xc3");
    ACCEPTED("\x80");
    ACCEPTED("\x81\xa1k\x01");
    ACCEPTED("\x90");
    ACCEPTED("\x92\x01\x02");
    ACCEPTED("\xa0");
    ACCEPTED("\xa3"
             "abc");
    ACCEPTED("\xc4\x02zz");
    ACCEPTED("\xc5\x00\x02zz");
    ACCEPTED("\xc6\x00\x00\x00\x02zz");
    ACCEPTED("\xc7\x02\x01zz");
    ACCEPTED("\xc8\x00\x02\x01zz");
    ACCEPTED("\xc9\x00\x00\x00\x02\x01zz");
    ACCEPTED("\xca\x00\x00\x00\x00");
    ACCEPTED("\xcb\x00\x00\x00\x00\x00\x00\x00\x00");
    ACCEPTED("\xcc\x01");
    ACCEPTED("\xcd\x01\x02");
    ACCEPTED("\xce\x01\x02\x03\x04");
    ACCEPTED("\xcf\x01\x02\x03\x04\x05\x06\x07\x08");
    ACCEPTED("\xd0\x01");
    ACCEPTED("\xd1\x01\x02");
    ACCEPTED("\xd2\x01\x02\x03\x04");
    ACCEPTED("\xd3\x01\x02\x03\x04\x05\x06\x07\x08");
    ACCEPTED("\xd4\x01z");
    ACCEPTED("\xd5\x01zz");
    ACCEPTED("\xd6\x01zzzz");
    ACCEPTED("\xd7\x01zzzzzzzz");
    ACCEPTED("\xd8\x01zzzzzzzzzzzzzzzz");
    ACCEPTED("\xd9\x02zz");
    ACCEPTED("\xda\x00\x02zz");
    ACCEPTED("\xdb\x00\x00\x00\x02zz");
    ACCEPTED("\xdc\x00\x01\x00");
    ACCEPTED("\xdd\x00\x00\x00\x01\x00");
    ACCEPTED("\xde\x00\x01\x00\x00");
    ACCEPTED("\xdf\x00\x00\x00\x01\x00\x00");
    REFUSED("\xc1");
    REFUSED("");
}

static void what_is_announced_must_be_there(void **state) {
    (void)state;
    REFUSED("\x91");
    REFUSED("\x81\x00");
    REFUSED("\xa3"
            "ab");
    REFUSED("\xc4\x03zz");
    REFUSED("\xd8\x01zzzzzzzzzzzzzzz");
    REFUSED("\xdc\xff\xff\x00");
    REFUSED("\xdd\xff\xff\xff\xff\x00");
    REFUSED("\xdf\xff\xff\xff\xff\x00");
    REFUSED("\xdb\xff\xff\xff\xff\x00");
    REFUSED("\xc9\xff\xff\xff\xff\x00");
    REFUSED("\x99\xdd\x01\x00\x00\x00\xdd\x01\x00\x00\x00");
}

static void nothing_may_follow(void **state) {
    (void)state;
    REFUSED("\x00\x00");
    REFUSED("\x91\x00\x00");
}

static void depth_is_limited(void **state) {
    uint8_t bytes[64];
    (void)state;
    for (size_t depth = 0; depth < 64; depth++) {
        memset(bytes, 0x91, depth);
        bytes[depth] = 0xc0;
        bool bounded = depth < sizeof bytes && msgpack_is_bounded(bytes, depth + 1);
        assert_int_equal(bounded, depth <= MSGPACK_DEPTH_MAX);
    }
}

/* Objects for as long as they are asked for; the reader is msgpack-c itself. */
static void pack_random(msgpack_packer *packer, unsigned depth) {
    switch (random_below(depth < 6 ? 8 : 5)) {
    case 0:
        msgpack_pack_uint64(packer, random_word() >> random_below(64));
        break;
    case 1:
        msgpack_pack_int64(packer, -(int64_t)(random_word() >> 1 >> random_below(63)));
        break;
    case 2:
        msgpack_pack_double(packer, 0.5);
        break;
    case 3: {
        size_t size = random_below(300);
        char *zeros = calloc(1, size + 1);
        msgpack_pack_str(packer, size);
        msgpack_pack_str_body(packer, zeros, size);
        free(zeros);
        break;
    }
    case 4:
        msgpack_pack_nil(packer);
        break;
    case 5: {
        size_t count = random_below(4);
        msgpack_pack_map(packer, count);
        for (size_t i = 0; i < 2 * count; i++)
            pack_random(packer, depth + 1);
        break;
    }
    default: {
        size_t count = random_below(20) == 0 ? 20 : random_below(5);
        msgpack_pack_array(packer, count);
        for (size_t i = 0; i < count; i++)
            pack_random(packer, depth + 1);
    }
    }
}

static void what_msgpack_writes_is_accepted_and_no_part_of_it(void **state) {
    (void)state;
    for (size_t i = rounds(400); i > 0; i--) {
        msgpack_sbuffer buffer;
        msgpack_packer packer;
        msgpack_sbuffer_init(&buffer);
        msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
        pack_random(&packer, 0);
        assert_true(msgpack_is_bounded(buffer.data, buffer.size));
        size_t step = 1 + buffer.size / 200;
        for (size_t cut = 0; cut < buffer.size; cut += step)
            assert_false(msgpack_is_bounded(buffer.data, cut));
        msgpack_sbuffer_destroy(&buffer);
    }
}

static void what_is_accepted_msgpack_can_read(void **state) {
    (void)state;
    for (size_t i = rounds(200000); i > 0; i--) {
        uint8_t bytes[12];
        size_t size = 1 + random_below(sizeof bytes);
        for (size_t at = 0; at < size; at++)
            bytes[at] = (uint8_t)(random_below(2) ? 0x80 + random_below(128) : random_below(4));
        if (!msgpack_is_bounded(bytes, size))
            continue;
        msgpack_unpacked unpacked;
        size_t offset = 0;
        msgpack_unpacked_init(&unpacked);
        assert_int_equal(msgpack_unpack_next(&unpacked, (char *)bytes, size, &offset),
                         MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(offset, size);
        msgpack_unpacked_destroy(&unpacked);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_known),
        cmocka_unit_test(what_is_announced_must_be_there),
        cmocka_unit_test(nothing_may_follow),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(what_msgpack_writes_is_accepted_and_no_part_of_it),
        cmocka_unit_test(what_is_accepted_msgpack_can_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
