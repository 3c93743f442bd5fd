/* Price maps: the public one, single prices, and what is no price map. */
#include "support.h"

#include <stdio.h>

#include "../../c_src/core/price_map.h"

/* The tests run where the Makefile is. */
#define REAL_MAP "test/data/model_prices.json"

#define INPUT "\"input_cost_per_token\":"
#define OUTPUT "\"output_cost_per_token\":"
#define CACHE_READ "\"cache_read_input_token_cost\":"
#define CACHE_CREATION "\"cache_creation_input_token_cost\":"
#define REASONING "\"output_cost_per_reasoning_token\":"
/* 1000 and 2000 units. */
#define PLAIN INPUT "1e-12," OUTPUT "2e-12"

/* ---- reading, with all rows kept ---------------------------------------------------------- */

struct kept {
    struct price_map_row row;
    char model[PRICE_MAP_MODEL_BYTES_MAX + 1];
    char key[128];
};

static struct kept kept[256];
static size_t kept_count;
static struct ledger_failure failure;

static void keep(char *to, size_t size, struct ledger_text text) {
    size_t length = text.size < size ? text.size : size - 1;
    if (length > 0)
        memcpy(to, text.data, length);
    to[length] = '\0';
}

static int keep_row(void *context, const struct price_map_row *row) {
    struct kept *to = &kept[kept_count++ % LENGTH(kept)];
    (void)context;
    to->row = *row;
    keep(to->model, sizeof to->model, row->model);
    keep(to->key, sizeof to->key, row->skipped_key);
    return 0;
}

/* From a copy of exactly that size, so that a byte too far is seen. */
static int read_bytes(const char *json, size_t size) {
    char *exact = malloc(size > 0 ? size : 1);
    assert_non_null(exact);
    memcpy(exact, json, size);
    kept_count = 0;
    failure = (struct ledger_failure){0};
    int rc = price_map_read(exact, size, keep_row, NULL, &failure);
    free(exact);
    assert_int_equal(failure.code, rc);
    return rc;
}

static struct kept *only_row(const char *json) {
    if (read_bytes(json, strlen(json)) != 0)
        fail_msg("%s: %s", json, failure.detail);
    assert_int_equal(kept_count, 1);
    return &kept[0];
}

/* The only model, with these properties. */
static struct price_map_row priced_by(const char *properties) {
    char json[4096];
    snprintf(json, sizeof json, "{\"m\":{%s}}", properties);
    struct kept *only = only_row(json);
    if (only->row.skipped != NULL)
        fail_msg("%s: %s: %s", properties, only->key, only->row.skipped);
    return only->row;
}

static void assert_skipped(const char *json, const char *key, const char *reason) {
    struct kept *only = only_row(json);
    if (only->row.skipped == NULL)
        fail_msg("%s: not skipped", json);
    assert_string_equal(only->key, key);
    if (strstr(only->row.skipped, reason) == NULL)
        fail_msg("%s: %s, not: %s", json, only->row.skipped, reason);
    for (int i = 0; i < TOKENS_CLASSES; i++)
        assert_true(only->row.unit[i] == 0 && only->row.unit_above[i] == 0);
    assert_true(only->row.above_tokens == 0);
}

static void skipped_by(const char *properties, const char *key, const char *reason) {
    char json[4096];
    snprintf(json, sizeof json, "{\"m\":{%s}}", properties);
    assert_skipped(json, key, reason);
}

static void assert_units(const uint64_t unit[TOKENS_CLASSES], uint64_t input, uint64_t output,
                         uint64_t cache_read, uint64_t cache_creation, uint64_t reasoning) {
    assert_int_equal(unit[TOKENS_INPUT], input);
    assert_int_equal(unit[TOKENS_OUTPUT], output);
    assert_int_equal(unit[TOKENS_CACHE_READ], cache_read);
    assert_int_equal(unit[TOKENS_CACHE_CREATION], cache_creation);
    assert_int_equal(unit[TOKENS_REASONING], reasoning);
}

static void refused(const char *json, size_t size, const char *detail) {
    if (read_bytes(json, size) != LEDGER_E_BAD_PRICES)
        fail_msg("%.200s: not refused", json);
    assert_int_equal(kept_count, 0);
    if (strstr(failure.detail, detail) == NULL)
        fail_msg("%.200s: %s, not: %s", json, failure.detail, detail);
}
#define REFUSED(json, detail) refused(json, sizeof(json) - 1, detail)

/* ---- the public map ----------------------------------------------------------------------- */

static const struct price_map_row *real_row(const char *model) {
    for (size_t i = 0; i < kept_count; i++)
        if (strcmp(kept[i].model, model) == 0)
            return &kept[i].row;
    fail_msg("no %s", model);
    return NULL;
}

static void read_real_map(void) {
    size_t size;
    char *json = read_file(REAL_MAP, &size);
    assert_int_equal(read_bytes(json, size), 0);
    free(json);
}

static void every_model_of_the_public_map_has_a_price(void **state) {
    (void)state;
    read_real_map();
    assert_int_equal(kept_count, 175);
    for (size_t i = 0; i < kept_count; i++)
        if (kept[i].row.skipped != NULL)
            fail_msg("%s: %s: %s", kept[i].model, kept[i].key, kept[i].row.skipped);
    assert_string_equal(kept[0].model, "claude-2"); /* the order of the document */
}

static void known_models_have_their_prices(void **state) {
    (void)state;
    read_real_map();
    assert_units(real_row("gpt-4o")->unit, 2500000000, 10000000000, 1250000000, 2500000000,
                 10000000000);
    assert_units(real_row("claude-3-5-sonnet-20241022")->unit, 3000000000, 15000000000, 300000000,
                 3750000000, 15000000000);
    assert_units(real_row("gemini-2.5-flash")->unit, 300000000, 2500000000, 75000000, 300000000,
                 2500000000);
    assert_true(real_row("gpt-4o")->above_tokens == 0);
}

static void known_models_have_their_prices_of_long_prompts(void **state) {
    (void)state;
    read_real_map();
    const struct price_map_row *claude = real_row("claude-4-sonnet-20250514");
    const struct price_map_row *gemini = real_row("gemini-2.5-pro");
    assert_int_equal(claude->above_tokens, 200000);
    assert_units(claude->unit, 3000000000, 15000000000, 300000000, 3750000000, 15000000000);
    assert_units(claude->unit_above, 6000000000, 22500000000, 300000000, 3750000000, 22500000000);
    assert_int_equal(gemini->above_tokens, 200000);
    assert_units(gemini->unit, 1250000000, 10000000000, 312500000, 1250000000, 10000000000);
    assert_units(gemini->unit_above, 2500000000, 15000000000, 312500000, 2500000000, 15000000000);
}

/* ---- one price ---------------------------------------------------------------------------- */

static void a_decimal_becomes_its_exact_integer(void **state) {
    static const struct {
        const char *text;
        uint64_t unit;
    } cases[] = {
        {"0", 0},
        {"0.0", 0},
        {"-0", 0},
        {"-0.0", 0},
        {"0e999999999999999999999", 0},
        {"0.000e-99999999999999999999", 0},
        {"1", UINT64_C(1000000000000000)},
        {"1.0", UINT64_C(1000000000000000)},
        {"18446", UINT64_C(18446000000000000000)},
        {"1e-15", 1},
        {"1E-15", 1},
        {"0.000000000000001", 1},
        {"0.0000000000000010000000000000000000000000000000", 1},
        {"10e-16", 1},
        {"1000000000000000000000000e-39", 1},
        {"0.00000000000000000000000001e+11", 1},
        {"2.5e-06", UINT64_C(2500000000)},
        {"2.5e-6", UINT64_C(2500000000)},
        {"0.0000025", UINT64_C(2500000000)},
        {"25e-7", UINT64_C(2500000000)},
        {"4.6875e-09", 4687500},
        {"1.00000000000001e-1", UINT64_C(100000000000001)},
        {"1.844674407370955e4", UINT64_C(18446744073709550000)},
        {"18446744073709551615e-15", UINT64_MAX},
        {"18446.744073709551615", UINT64_MAX},
        {"18446.744073709551615000000000000000000000", UINT64_MAX},
    };
    char properties[256];
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        snprintf(properties, sizeof properties, INPUT "%s," OUTPUT "0", cases[i].text);
        uint64_t unit = priced_by(properties).unit[TOKENS_INPUT];
        if (unit != cases[i].unit)
            fail_msg("%s: %llu", cases[i].text, (unsigned long long)unit);
    }
}

static void what_is_no_unit_price_skips_the_model_and_names_the_property(void **state) {
    static const struct {
        const char *text;
        const char *reason;
    } cases[] = {
        {"1e-16", "finer"},
        {"1.5e-15", "finer"},
        {"0.0000000000000001", "finer"},
        {"1e-99999999999999999999", "finer"},
        {"1.23456789012345678901234567890", "finer"},
        {"18446.7440737095516151", "finer"},
        {"-1", "negative"},
        {"-1e-6", "negative"},
        {"-99999999999999999999999", "negative"},
        {"-1e-99", "negative"},
        {"18446.744073709551616", "too large"},
        {"18447", "too large"},
        {"18446744073709551616", "too large"},
        {"99999999999999999999999999", "too large"},
        {"99999999999999999999999999.5e15", "too large"},
        {"1e5", "too large"},
        {"1e99999999999999999999", "too large"},
        {"NaN", "not a number"},
        {"Infinity", "not a number"},
        {"-Infinity", "not a number"},
        {"null", "not a number"},
        {"true", "not a number"},
        {"\"2.5e-06\"", "not a number"},
        {"\"\"", "not a number"},
        {"[1]", "not a number"},
        {"{}", "not a number"},
        {"1.", "not a number"},
        {"-.5", "not a number"},
        {"00.5", "not a number"},
    };
    char properties[256];
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        snprintf(properties, sizeof properties, PLAIN "," CACHE_READ "%s", cases[i].text);
        skipped_by(properties, "cache_read_input_token_cost", cases[i].reason);
    }
}

/* Digits and exponents at random, against 128-bit arithmetic. */
static void decimals_agree_with_wide_integers(void **state) {
    char properties[256];
    (void)state;
    for (size_t round = 0; round < rounds(20000); round++) {
        uint64_t digits = random_word() >> random_below(64);
        unsigned places = (unsigned)random_below(16);
        uint64_t scale = 1;
        for (unsigned i = 0; i < places; i++)
            scale *= 10;
        /* With the point somewhere, and the exponent that makes up for it. */
        int exponent = (int)random_below(20) - 10;
        snprintf(properties, sizeof properties, INPUT "%llu.%0*llue%d," OUTPUT "0",
                 (unsigned long long)(digits / scale), places > 0 ? (int)places : 1,
                 (unsigned long long)(digits % scale), exponent);
        unsigned __int128 wanted = digits;
        int power = 15 - (int)places + exponent;
        bool exact = true;
        for (; power > 0 && wanted <= UINT64_MAX; power--)
            wanted *= 10;
        for (; power < 0 && exact; power++, wanted /= 10)
            exact = wanted % 10 == 0;
        if (!exact)
            skipped_by(properties, "input_cost_per_token", "finer");
        else if (wanted > UINT64_MAX)
            skipped_by(properties, "input_cost_per_token", "too large");
        else
            assert_true(priced_by(properties).unit[TOKENS_INPUT] == (uint64_t)wanted);
    }
}

/* ---- one model ---------------------------------------------------------------------------- */

static void every_class_has_its_own_property(void **state) {
    (void)state;
    struct price_map_row row =
        priced_by(PLAIN "," CACHE_READ "3e-12," CACHE_CREATION "4e-12," REASONING "5e-12");
    assert_units(row.unit, 1000, 2000, 3000, 4000, 5000);
    assert_true(row.above_tokens == 0);
    assert_units(row.unit_above, 0, 0, 0, 0, 0);
}

static void what_a_model_does_not_name_costs_as_input_or_output(void **state) {
    (void)state;
    assert_units(priced_by(PLAIN).unit, 1000, 2000, 1000, 1000, 2000);
    assert_units(priced_by(PLAIN "," CACHE_READ "0").unit, 1000, 2000, 0, 1000, 2000);
    /* Whatever the order. */
    assert_units(
        priced_by(REASONING "0," OUTPUT "2e-12," CACHE_CREATION "9e-12," INPUT "1e-12").unit, 1000,
        2000, 1000, 9000, 0);
}

static void a_long_prompt_has_its_own_prices(void **state) {
    (void)state;
    struct price_map_row row =
        priced_by(PLAIN ",\"input_cost_per_token_above_200k_tokens\":6e-12,"
                        "\"output_cost_per_token_above_200k_tokens\":7e-12,"
                        "\"cache_read_input_token_cost_above_200k_tokens\":8e-12,"
                        "\"cache_creation_input_token_cost_above_200k_tokens\":9e-12,"
                        "\"output_cost_per_reasoning_token_above_200k_tokens\":10e-12");
    assert_int_equal(row.above_tokens, 200000);
    assert_units(row.unit, 1000, 2000, 1000, 1000, 2000);
    assert_units(row.unit_above, 6000, 7000, 8000, 9000, 10000);
}

static void above_a_threshold_only_what_nobody_named_follows(void **state) {
    (void)state;
    struct price_map_row row =
        priced_by(PLAIN "," CACHE_READ "3e-12,\"input_cost_per_token_above_128k_tokens\":6e-12");
    assert_int_equal(row.above_tokens, 128000);
    assert_units(row.unit, 1000, 2000, 3000, 1000, 2000);
    assert_units(row.unit_above, 6000, 2000, 3000, 6000, 2000);
    row = priced_by(PLAIN ",\"output_cost_per_token_above_272k_tokens\":7e-12");
    assert_int_equal(row.above_tokens, 272000);
    assert_units(row.unit_above, 1000, 7000, 1000, 1000, 7000);
}

static void other_properties_say_nothing(void **state) {
    (void)state;
    struct price_map_row row = priced_by(
        PLAIN ",\"input_cost_per_token_batches\":\"?\",\"input_cost_per_token_priority\":-1,"
              "\"input_cost_per_token_above_200k_tokens_priority\":1,"
              "\"cache_creation_input_token_cost_above_1hr\":1,"
              "\"cache_creation_input_token_cost_above_1hr_above_200k_tokens\":1,"
              "\"input_cost_per_image_above_128k_tokens\":1,\"input_cost_per_audio_token\":null,"
              "\"mode\":\"chat\",\"max_tokens\":1e99,\"\":[{}]");
    assert_units(row.unit, 1000, 2000, 1000, 1000, 2000);
    assert_true(row.above_tokens == 0);
}

static void a_threshold_that_is_no_number_skips_the_model(void **state) {
    static const char *const thresholds[] = {"k_tokens",           "0k_tokens",    "0200k_tokens",
                                             "200_tokens",         "xk_tokens",    "-1k_tokens",
                                             "1234567890k_tokens", "200kk_tokens", "1m_tokens",
                                             "200K_tokens",        "200 k_tokens"};
    char key[128], properties[512];
    (void)state;
    for (size_t i = 0; i < LENGTH(thresholds); i++) {
        snprintf(key, sizeof key, "output_cost_per_token_above_%s", thresholds[i]);
        snprintf(properties, sizeof properties, PLAIN ",\"%s\":1e-12", key);
        skipped_by(properties, key, "threshold");
    }
    assert_int_equal(
        priced_by(PLAIN ",\"input_cost_per_token_above_999999999k_tokens\":0").above_tokens,
        UINT64_C(999999999000));
}

static void two_thresholds_skip_the_model(void **state) {
    (void)state;
    skipped_by(PLAIN ",\"input_cost_per_token_above_128k_tokens\":1e-12,"
                     "\"output_cost_per_token_above_200k_tokens\":1e-12",
               "output_cost_per_token_above_200k_tokens", "two thresholds");
}

static void a_model_without_token_prices_is_skipped(void **state) {
    (void)state;
    skipped_by("", "input_cost_per_token", "no such price");
    skipped_by("\"input_cost_per_image\":0.04", "input_cost_per_token", "no such price");
    skipped_by(INPUT "1e-12", "output_cost_per_token", "no such price");
    skipped_by(OUTPUT "1e-12", "input_cost_per_token", "no such price");
    skipped_by("\"input_cost_per_token_above_200k_tokens\":1e-12", "input_cost_per_token",
               "no such price");
    assert_skipped("{\"m\":null}", "", "not a JSON object");
    assert_skipped("{\"m\":[]}", "", "not a JSON object");
    assert_skipped("{\"m\":1e-6}", "", "not a JSON object");
}

static void the_example_of_the_public_map_is_no_model(void **state) {
    (void)state;
    assert_skipped("{\"sample_spec\":{" INPUT "0," OUTPUT "0}}", "", "example");
}

static void a_name_has_1_to_400_bytes_of_text(void **state) {
    char json[1024], name[PRICE_MAP_MODEL_BYTES_MAX + 2];
    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(json, sizeof json, "{\"%s\":{" PLAIN "}}", name);
    assert_skipped(json, "", "400 bytes");
    snprintf(json, sizeof json, "{\"%s\":{" PLAIN "}}", name + 1);
    assert_null(only_row(json)->row.skipped);
    assert_string_equal(kept[0].model, name + 1);
    assert_skipped("{\"\":{" PLAIN "}}", "", "400 bytes");
    assert_skipped("{\"\\ud800\":{" PLAIN "}}", "", "U+FFFD");
    assert_null(only_row("{\"\\ud83d\\ude00/\\u00e9\":{" PLAIN "}}")->row.skipped);
    assert_string_equal(kept[0].model, "\xf0\x9f\x98\x80/\xc3\xa9");
}

static void other_models_go_on_when_one_is_skipped(void **state) {
    const char *json =
        "{\"a\":{" PLAIN "},\"b\":{" INPUT "-1," OUTPUT "0},\"c\":7,\"d\":{" PLAIN "}}\n";
    (void)state;
    assert_int_equal(read_bytes(json, strlen(json)), 0);
    assert_int_equal(kept_count, 4);
    for (size_t i = 0; i < kept_count; i++)
        assert_int_equal(kept[i].row.skipped != NULL, i == 1 || i == 2);
    assert_units(kept[3].row.unit, 1000, 2000, 1000, 1000, 2000);
}

/* ---- the whole ---------------------------------------------------------------------------- */

static int count_to_two(void *context, const struct price_map_row *row) {
    (void)row;
    return ++*(int *)context == 2 ? LEDGER_E_CLOSED : 0;
}

static void what_the_caller_returns_ends_the_reading(void **state) {
    static const char json[] = "{\"a\":1,\"b\":1,\"c\":1}";
    int count = 0;
    (void)state;
    assert_int_equal(price_map_read(json, sizeof json - 1, count_to_two, &count, &failure),
                     LEDGER_E_CLOSED);
    assert_int_equal(count, 2);
}

static void an_empty_map_has_no_rows(void **state) {
    (void)state;
    assert_int_equal(read_bytes(" {} \r\n\t", 7), 0);
    assert_int_equal(kept_count, 0);
}

static void what_is_not_one_json_object_is_refused(void **state) {
    (void)state;
    REFUSED("", "too early");
    REFUSED(" \n", "too early");
    REFUSED("{\"a\"", "too early");
    REFUSED("{\"a\":{" PLAIN "}", "too early");
    REFUSED("null", "");
    REFUSED("1", "");
    REFUSED("\"a\"", "not a JSON object");
    REFUSED("[]", "not a JSON object");
    REFUSED("{} {}", "after the end");
    REFUSED("{}x", "after the end");
    REFUSED("{}\0", "byte 2: a NUL");
    REFUSED("{\"a\":1,}", "byte 7: ");
    REFUSED("{\"a\":01}", "number");
    REFUSED("{\"a\":1-2}", "number");
    REFUSED("{\"a\":1e-}", "number");
    REFUSED("{a:1}", "byte 1: ");
    REFUSED("{'a':1}", "byte 1: ");
    REFUSED("/* */{}", "byte 0: ");
    REFUSED("\xef\xbb\xbf{}", "byte 0: ");
    REFUSED("{\"\xff\":1}", "byte 2: not UTF-8");
    REFUSED("{\"\xed\xa0\x80\":1}", "byte 2: not UTF-8");
    REFUSED("{\"m\\u0000n\":1}", "byte 3: a NUL");
}

static void a_name_that_is_there_twice_is_refused(void **state) {
    (void)state;
    REFUSED("{\"m\":{" PLAIN "},\"m\":{" PLAIN "}}", "twice");
    REFUSED("{\"m\":{" PLAIN "," INPUT "1e-12}}", "twice");
    REFUSED("{\"m\":{" PLAIN ",\"\\u0069nput_cost_per_token\":1e-12}}", "twice");
    REFUSED("{\"m\":{\"x\":[0,{\"y\":1,\"y\":1}]}}", "twice");
    REFUSED("{\"\\ud800\":1,\"\\udfff\":1}", "twice");
    assert_skipped("{\"a\":{\"a\":{\"a\":\"a:a\"}}}", "input_cost_per_token", "no such price");
}

static void nesting_may_be_16_deep(void **state) {
    char json[128] = "{\"m\":";
    (void)state;
    for (size_t depth = 2; depth <= 17; depth++) {
        size_t size = 5;
        memset(json + size, '[', depth - 1);
        memset(json + size + depth - 1, ']', depth - 1);
        size += 2 * (depth - 1);
        json[size++] = '}';
        json[size] = '\0';
        if (depth <= PRICE_MAP_DEPTH_MAX)
            assert_int_equal(read_bytes(json, size), 0);
        else
            refused(json, size, "too deep");
    }
}

static void more_than_64_mib_are_refused(void **state) {
    size_t size = PRICE_MAP_BYTES_MAX;
    char *json = malloc(size + 1);
    (void)state;
    assert_non_null(json);
    memset(json, ' ', size + 1);
    json[0] = '{';
    json[size - 1] = '}';
    assert_int_equal(price_map_read(json, size, keep_row, NULL, &failure), 0);
    assert_int_equal(price_map_read(json, size + 1, keep_row, NULL, &failure), LEDGER_E_BAD_PRICES);
    assert_non_null(strstr(failure.detail, "64 MiB"));
    free(json);
}

static void a_map_that_is_cut_off_is_refused(void **state) {
    size_t size;
    char *json = read_file(REAL_MAP, &size);
    (void)state;
    while (json[size - 1] != '}')
        size--;
    for (size_t round = 0; round < rounds(400); round++)
        refused(json, round < 50 ? round : random_below(size), "");
    for (size_t cut = 1; cut < 20; cut++)
        refused(json, size - cut, "");
    free(json);
}

static void flip_and_read(const char *json, size_t size) {
    char *broken = malloc(size);
    assert_non_null(broken);
    memcpy(broken, json, size);
    for (uint64_t flips = 1 + random_below(3); flips > 0; flips--)
        broken[random_below(size)] ^= (char)(1 << random_below(8));
    int rc = read_bytes(broken, size);
    assert_true(rc == 0 || rc == LEDGER_E_BAD_PRICES);
    free(broken);
}

static void flipped_bytes_are_refused_or_read(void **state) {
    static const char small[] = "{\"\\u00e9\":{" PLAIN "," REASONING "-18446.744073709551615e+00},"
                                "\"m\":{" PLAIN ",\"input_cost_per_token_above_200k_tokens\":0.1,"
                                "\"output_cost_per_token_above_200k_tokens\":[{\"a\":null}]}}";
    size_t size;
    char *json = read_file(REAL_MAP, &size);
    (void)state;
    for (size_t round = 0; round < rounds(200); round++)
        flip_and_read(json, size);
    for (size_t round = 0; round < rounds(20000); round++)
        flip_and_read(small, sizeof small - 1);
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_of_the_public_map_has_a_price),
        cmocka_unit_test(known_models_have_their_prices),
        cmocka_unit_test(known_models_have_their_prices_of_long_prompts),
        cmocka_unit_test(a_decimal_becomes_its_exact_integer),
        cmocka_unit_test(what_is_no_unit_price_skips_the_model_and_names_the_property),
        cmocka_unit_test(decimals_agree_with_wide_integers),
        cmocka_unit_test(every_class_has_its_own_property),
        cmocka_unit_test(what_a_model_does_not_name_costs_as_input_or_output),
        cmocka_unit_test(a_long_prompt_has_its_own_prices),
        cmocka_unit_test(above_a_threshold_only_what_nobody_named_follows),
        cmocka_unit_test(other_properties_say_nothing),
        cmocka_unit_test(a_threshold_that_is_no_number_skips_the_model),
        cmocka_unit_test(two_thresholds_skip_the_model),
        cmocka_unit_test(a_model_without_token_prices_is_skipped),
        cmocka_unit_test(the_example_of_the_public_map_is_no_model),
        cmocka_unit_test(a_name_has_1_to_400_bytes_of_text),
        cmocka_unit_test(other_models_go_on_when_one_is_skipped),
        cmocka_unit_test(what_the_caller_returns_ends_the_reading),
        cmocka_unit_test(an_empty_map_has_no_rows),
        cmocka_unit_test(what_is_not_one_json_object_is_refused),
        cmocka_unit_test(a_name_that_is_there_twice_is_refused),
        cmocka_unit_test(nesting_may_be_16_deep),
        cmocka_unit_test(more_than_64_mib_are_refused),
        cmocka_unit_test(a_map_that_is_cut_off_is_refused),
        cmocka_unit_test(flipped_bytes_are_refused_or_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
