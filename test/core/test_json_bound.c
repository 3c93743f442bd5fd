/* The look over JSON bytes. */
#include "support.h"

#include "../../c_src/core/json_bound.h"

static const char *look(const char *json, size_t size, struct json_bound *bound) {
    char *exact = malloc(size > 0 ? size : 1); /* a byte too far is seen */
    assert_non_null(exact);
    memcpy(exact, json, size);
    const char *wrong = json_bound(exact, size, bound);
    assert_true(wrong == NULL ? bound->at == size : bound->at < size);
    free(exact);
    return wrong;
}

static bool accepts(const char *json, size_t size) {
    struct json_bound bound;
    return look(json, size, &bound) == NULL;
}

#define ACCEPTED(bytes) assert_true(accepts(bytes, sizeof(bytes) - 1))
#define REFUSED(bytes) assert_false(accepts(bytes, sizeof(bytes) - 1))

static void every_length_of_utf8_passes(void **state) {
    (void)state;
    ACCEPTED("");
    ACCEPTED("\x7f");
    ACCEPTED("\xc2\x80\xdf\xbf");
    ACCEPTED("\xe0\xa0\x80\xec\xbf\xbf\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf");
    ACCEPTED("\xf0\x90\x80\x80\xf3\xbf\xbf\xbf\xf4\x8f\xbf\xbf");
}

static void what_is_not_utf8_is_refused(void **state) {
    (void)state;
    REFUSED("\x80");
    REFUSED("\xbf");
    REFUSED("\xc0\x80"); /* overlong */
    REFUSED("\xc1\xbf");
    REFUSED("\xe0\x9f\xbf");
    REFUSED("\xf0\x8f\xbf\xbf");
    REFUSED("\xed\xa0\x80");     /* a surrogate */
    REFUSED("\xf4\x90\x80\x80"); /* beyond U+10FFFF */
    REFUSED("\xf5\x80\x80\x80");
    REFUSED("\xff");
    REFUSED("\xc2"); /* cut short */
    REFUSED("\xe2\x82");
    REFUSED("\xf0\x9f\x98");
    REFUSED("\xc2\x41");
    REFUSED("\xe2\x82\x41");
    REFUSED("\xf0\x9f\x98\x41");
    REFUSED("{\"\\\xc2\"}"); /* after a backslash too */
}

static void what_json_c_would_swallow_is_refused(void **state) {
    (void)state;
    REFUSED("{}\0");
    REFUSED("{\"a\0b\":1}");
    REFUSED("{\"a\\u0000b\":1}");
    REFUSED("{'a':1}");
    REFUSED("{\"a\nb\":1}");
    REFUSED("{\"\x1f\":1}");
    ACCEPTED("{\"it's\":1}");
    ACCEPTED("{\"\\\\u0000\":1}");
    ACCEPTED("{\"\\u0001\":1}");
}

static void the_byte_at_fault_is_told(void **state) {
    struct json_bound bound;
    (void)state;
    assert_string_equal(look("{\"abc\":'x'}", 11, &bound), "a single quote where none may be");
    assert_int_equal(bound.at, 7);
}

static void members_are_counted_outside_of_strings(void **state) {
    struct json_bound bound;
    const char *json = "{\"a:b\":{\"c\\\":\":1,\"\\\\\":[{\"d\":\":\"}]}}";
    (void)state;
    assert_null(look(json, strlen(json), &bound));
    assert_int_equal(bound.members, 4);
}

static void more_values_than_may_be_are_refused(void **state) {
    size_t size = JSON_VALUES_MAX + 1;
    char *json = malloc(size);
    struct json_bound bound;
    (void)state;
    assert_non_null(json);
    memset(json, ',', size);
    json[0] = '[';
    assert_null(look(json, size - 1, &bound));
    assert_non_null(look(json, size, &bound));
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_of_utf8_passes),
        cmocka_unit_test(what_is_not_utf8_is_refused),
        cmocka_unit_test(what_json_c_would_swallow_is_refused),
        cmocka_unit_test(the_byte_at_fault_is_told),
        cmocka_unit_test(members_are_counted_outside_of_strings),
        cmocka_unit_test(more_values_than_may_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
