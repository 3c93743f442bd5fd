/* JSON into msgpack and back. */
#include "support.h"

#include "../../c_src/port/json_read.h"
#include "../../c_src/port/record_json.h"

/* From an exact copy: a byte too far is seen. */
static const char *read_exactly(const char *json, size_t size, struct entry_buffer *out) {
    char *exact = malloc(size > 0 ? size : 1);
    size_t at;
    assert_non_null(exact);
    memcpy(exact, json, size);
    const char *wrong = json_to_msgpack((struct ledger_text){exact, size}, out, &at);
    assert_true(at <= size);
    free(exact);
    return wrong;
}

static void assert_refused(const char *json) {
    struct entry_buffer out = {0};
    if (read_exactly(json, strlen(json), &out) == NULL)
        fail_msg("taken: %s", json);
    entry_buffer_free(&out);
}

/* Written again it is the same text. */
static void assert_same(const char *text) {
    struct entry_buffer packed = {0}, again = {0};
    struct json json;
    assert_null(read_exactly(text, strlen(text), &packed));
    json_begin(&json, &again);
    record_json_value(&json, (struct ledger_text){packed.data, packed.size});
    assert_int_equal(again.size, strlen(text));
    assert_memory_equal(again.data, text, again.size);
    entry_buffer_free(&packed);
    entry_buffer_free(&again);
}

static void values_come_back(void **state) {
    (void)state;
    assert_same("null");
    assert_same("[true,false,[],{}]");
    assert_same("[0,-1,18446744073709551615,-9223372036854775808]");
    assert_same("[0.5,-0.0,1e+300,0.1]");
    assert_same("{\"a\":{\"b\":[1,\"c\"]},\"\":2}");
    assert_same("\"\\\"\\\\\\n\\r\\t\\u0000\\u001f/\xc3\xa9\xf0\x9f\x98\x80\"");
    assert_same("{\"$atom\":\"name\"}");
    assert_same("{\"$int\":\"18446744073709551616\"}");
    assert_same("{\"$int\":\"-1267650600228229401496703205376\"}");
    assert_same("[{\"$bin\":\"\"},{\"$bin\":\"/w==\"},{\"$bin\":\"/wA=\"},{\"$bin\":\"/wAB\"}]");
    assert_same("{\"$map\":[[1,2],[{\"$atom\":\"a\"},{\"$map\":[[\"$a\",[]]]}]]}");
}

static void what_is_no_json_is_refused(void **state) {
    static const char *const broken[] = {"",
                                         " ",
                                         "[",
                                         "[1",
                                         "[1,]",
                                         "[,1]",
                                         "[1 2]",
                                         "{\"a\"}",
                                         "{\"a\":}",
                                         "{\"a\":1,}",
                                         "{a:1}",
                                         "{'a':1}",
                                         "\"",
                                         "\"\\x\"",
                                         "\"\\u12\"",
                                         "\"\\ud800\"",
                                         "\"\\udc00\"",
                                         "\"\n\"",
                                         "\"\xff\"",
                                         "\"\xc3\"",
                                         "01",
                                         "1.",
                                         ".5",
                                         "1e",
                                         "-",
                                         "+1",
                                         "nul",
                                         "truex",
                                         "1 2",
                                         "{}}",
                                         "NaN",
                                         "Infinity",
                                         "1e999",
                                         "18446744073709551616",
                                         "-9223372036854775809",
                                         "{\"a\":1,\"a\":2}",
                                         "{\"$new\":1}",
                                         "{\"a\":1,\"$atom\":\"b\"}",
                                         "{\"$atom\":1}",
                                         "{\"$atom\":\"a\",\"b\":1}",
                                         "{\"$int\":\"\"}",
                                         "{\"$int\":\"1x\"}",
                                         "{\"$int\":\"-\"}",
                                         "{\"$bin\":\"a\"}",
                                         "{\"$bin\":\"=AAA\"}",
                                         "{\"$bin\":\"//==\"}",
                                         "{\"$map\":[[1]]}",
                                         "{\"$map\":[[1,2,3]]}",
                                         "{\"$map\":[[1,2],[1,3]]}",
                                         "{\"$map\":{}}"};
    (void)state;
    for (size_t i = 0; i < LENGTH(broken); i++)
        assert_refused(broken[i]);
}

static void depth_is_bounded(void **state) {
    char deep[100000];
    (void)state;
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    assert_refused(deep);
}

/* Damaged text is refused or read, never more. */
static void random_damage_does_no_harm(void **state) {
    static const char sound[] =
        "{\"a\":[1,-2.5,\"x\\u00e9\",{\"$map\":[[{\"$atom\":\"k\"},{\"$bin\":"
        "\"/w==\"}],[2,{\"$int\":\"99999999999999999999\"}]]}],\"b\":null}";
    (void)state;
    for (size_t i = 0; i < rounds(20000); i++) {
        char bytes[sizeof sound];
        struct entry_buffer out = {0};
        memcpy(bytes, sound, sizeof sound);
        for (size_t k = random_below(4); k > 0; k--)
            bytes[random_below(sizeof sound - 1)] = (char)random_below(256);
        (void)read_exactly(bytes, random_below(sizeof sound), &out);
        entry_buffer_free(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(random_damage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
