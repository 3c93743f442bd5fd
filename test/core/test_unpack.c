/* Reading msgpack by hand: what msgpack-c makes of the same bytes. */
#include "support.h"

#include <msgpack.h>

#include "../../c_src/core/unpack.h"

/* An object of each type, whatever its bytes say; cut where the generator ran out. */
struct sample {
    uint8_t bytes[40];
    size_t size;
    msgpack_object object; /* as msgpack-c reads it */
    size_t end;            /* 0: it does not */
};

static msgpack_zone zone;

static void make_sample(struct sample *sample, uint8_t type) {
    sample->size = 1 + random_below(sizeof sample->bytes);
    sample->end = 0;
    for (size_t i = 0; i < sample->size; i++)
        sample->bytes[i] = random_below(3) ? (uint8_t)random_below(4) : (uint8_t)random_word();
    sample->bytes[0] = type;
    msgpack_zone_clear(&zone);
    /* No more memory than there are bytes: msgpack-c believes a length. */
    if (msgpack_skip(sample->bytes, sample->size, MSGPACK_DEPTH_MAX, &sample->end)) {
        size_t end = 0;
        msgpack_unpack_return rc =
            msgpack_unpack((const char *)sample->bytes, sample->end, &end, &zone, &sample->object);
        assert_int_equal(rc, MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(end, sample->end);
    }
}

static void assert_taken(bool taken, bool expected, const struct sample *sample,
                         const struct byte_reader *reader) {
    assert_int_equal(taken, expected);
    if (taken)
        assert_ptr_equal(reader->at, sample->bytes + sample->end);
}

static void check_integers(const struct sample *sample) {
    const msgpack_object *object = &sample->object;
    bool is_positive = sample->end > 0 && object->type == MSGPACK_OBJECT_POSITIVE_INTEGER;
    bool is_negative = sample->end > 0 && object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    const uint64_t limits[] = {0, 127, 65535, UINT32_MAX, INT64_MAX, UINT64_MAX};
    int64_t n = 0;
    struct byte_reader reader = byte_reader(sample->bytes, sample->size);
    bool fits = is_negative || (is_positive && object->via.u64 <= INT64_MAX);
    assert_taken(take_int(&reader, &n), fits, sample, &reader);
    assert_true(!fits || n == object->via.i64);
    for (size_t i = 0; i < LENGTH(limits); i++) {
        uint64_t word = 0;
        reader = byte_reader(sample->bytes, sample->size);
        bool is_within = is_positive && object->via.u64 <= limits[i];
        assert_taken(take_uint(&reader, limits[i], &word), is_within, sample, &reader);
        assert_true(!is_within || word == object->via.u64);
    }
}

/* An empty one lies where it stands; msgpack-c does not say where that is. */
static void assert_same_text(struct ledger_text text, const char *data, size_t size,
                             const struct sample *sample) {
    assert_int_equal(text.size, size);
    assert_ptr_equal(text.data, size > 0 ? data : (const char *)sample->bytes + sample->end);
}

static void check_texts(const struct sample *sample) {
    const msgpack_object *object = &sample->object;
    struct ledger_text text = {0};
    struct byte_reader reader = byte_reader(sample->bytes, sample->size);
    bool is_text = sample->end > 0 && object->type == MSGPACK_OBJECT_STR;
    assert_taken(take_text(&reader, &text), is_text, sample, &reader);
    if (is_text)
        assert_same_text(text, object->via.str.ptr, object->via.str.size, sample);
    reader = byte_reader(sample->bytes, sample->size);
    bool is_binary = sample->end > 0 && object->type == MSGPACK_OBJECT_BIN;
    assert_taken(take_binary(&reader, &text), is_binary, sample, &reader);
    if (is_binary)
        assert_same_text(text, object->via.bin.ptr, object->via.bin.size, sample);
    reader = byte_reader(sample->bytes, sample->size);
    assert_taken(take_any(&reader, MSGPACK_DEPTH_MAX, &text), sample->end > 0, sample, &reader);
}

static void check_others(const struct sample *sample) {
    const msgpack_object *object = &sample->object;
    struct ledger_text bytes = {0};
    double number;
    int8_t type;
    struct byte_reader reader = byte_reader(sample->bytes, sample->size);
    bool is_double = sample->end > 0 && object->type == MSGPACK_OBJECT_FLOAT64;
    assert_taken(take_double(&reader, &number), is_double, sample, &reader);
    if (is_double)
        assert_memory_equal(&number, &object->via.f64, sizeof number);
    reader = byte_reader(sample->bytes, sample->size);
    bool is_extension = sample->end > 0 && object->type == MSGPACK_OBJECT_EXT;
    assert_taken(take_extension(&reader, &type, &bytes), is_extension, sample, &reader);
    if (is_extension) {
        assert_int_equal(type, object->via.ext.type);
        assert_same_text(bytes, object->via.ext.ptr, object->via.ext.size, sample);
    }
}

/* The head of an array is read whether or not its elements are there. */
static void check_heads(const struct sample *sample) {
    const msgpack_object *object = &sample->object;
    struct byte_reader reader = byte_reader(sample->bytes, sample->size);
    uint64_t count = 0;
    bool at_array = is_at_array(&reader), at_map = is_at_map(&reader);
    bool taken = take_array(&reader, &count);
    assert_true(at_array || !taken);
    assert_true(reader.at <= reader.end);
    reader = byte_reader(sample->bytes, sample->size);
    uint64_t pairs = 0;
    bool is_map = take_map(&reader, &pairs);
    assert_true(at_map || !is_map);
    assert_true(reader.at <= reader.end);
    reader = byte_reader(sample->bytes, sample->size);
    bool is_nil = take_nil(&reader);
    if (sample->end == 0) {
        assert_false(is_nil);
        return;
    }
    assert_int_equal(at_array, object->type == MSGPACK_OBJECT_ARRAY);
    assert_int_equal(at_map, object->type == MSGPACK_OBJECT_MAP);
    assert_int_equal(taken, at_array);
    assert_true(!taken || count == object->via.array.size);
    assert_int_equal(is_map, at_map);
    assert_true(!is_map || pairs == object->via.map.size);
    assert_taken(is_nil, object->type == MSGPACK_OBJECT_NIL, sample, &reader);
}

static void every_type_is_what_msgpack_c_makes_of_it(void **state) {
    (void)state;
    for (size_t round = rounds(500); round > 0; round--)
        for (unsigned type = 0; type < 256; type++) {
            struct sample sample;
            make_sample(&sample, (uint8_t)type);
            check_integers(&sample);
            check_texts(&sample);
            check_others(&sample);
            check_heads(&sample);
        }
}

static void what_msgpack_c_writes_is_read(void **state) {
    msgpack_packer packer;
    (void)state;
    for (size_t i = rounds(20000); i > 0; i--) {
        struct entry_buffer buffer = {0};
        int64_t number = (int64_t)(random_word() >> random_below(64)), read;
        uint64_t word = random_word() >> random_below(64), read_word;
        if (random_below(2))
            number = -number;
        msgpack_packer_init(&packer, &buffer, entry_buffer_append);
        msgpack_pack_int64(&packer, number);
        msgpack_pack_uint64(&packer, word);
        struct byte_reader reader = byte_reader(buffer.data, buffer.size);
        assert_true(take_int(&reader, &read) && read == number);
        assert_true(take_uint(&reader, UINT64_MAX, &read_word) && read_word == word);
        assert_ptr_equal(reader.at, reader.end);
        entry_buffer_free(&buffer);
    }
}

static void nothing_is_read_where_nothing_is(void **state) {
    const uint8_t bytes[1] = {0};
    struct byte_reader reader = byte_reader(bytes, 0);
    struct ledger_text text;
    uint64_t word;
    int64_t number;
    double fraction;
    int8_t type;
    (void)state;
    assert_false(take_nil(&reader));
    assert_false(take_int(&reader, &number));
    assert_false(take_uint(&reader, UINT64_MAX, &word));
    assert_false(take_text(&reader, &text));
    assert_false(take_binary(&reader, &text));
    assert_false(take_array(&reader, &word));
    assert_false(take_map(&reader, &word));
    assert_false(take_double(&reader, &fraction));
    assert_false(take_extension(&reader, &type, &text));
    assert_false(take_any(&reader, MSGPACK_DEPTH_MAX, &text));
    assert_false(is_at_array(&reader) || is_at_map(&reader));
}

static int begin(void **state) {
    (void)state;
    return msgpack_zone_init(&zone, 8192) ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    msgpack_zone_destroy(&zone);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_what_msgpack_c_makes_of_it),
        cmocka_unit_test(what_msgpack_c_writes_is_read),
        cmocka_unit_test(nothing_is_read_where_nothing_is),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
