/* One rule: its written form, what it must be, which rule takes the place of which. */
#include "support.h"

#include "../../c_src/core/msgpack_bound.h"
#include "../../c_src/core/pack.h"

static const uint8_t dimensions[] = {DIMENSION_STATE,    DIMENSION_ORG,        DIMENSION_PROJECT,
                                     DIMENSION_USER,     DIMENSION_AGENT,      DIMENSION_MODEL,
                                     DIMENSION_PROVIDER, DIMENSION_PROMPT_TYPE};
static const char *const values[] = {NULL, "a", "b", "a longer value"};

static uint64_t amount(void) {
    return random_below(UINT64_C(1) << random_below(49));
}

/* Of any form that a rule can have. */
static struct ledger_rule any_rule(void) {
    struct ledger_rule rule = rule_of("some rule", random_below(MEASURES), amount());
    for (size_t i = 0; i < LENGTH(dimensions); i++)
        if (random_below(4) == 0)
            rule = of(rule, dimensions[i], values[random_below(LENGTH(values))]);
    rule.window = random_below(5);
    if (rule.window == WINDOW_ROLLING)
        rule.window_ms = 1 + amount();
    else if (rule.window != WINDOW_LIFETIME)
        rule.offset_minutes = 15 * ((int32_t)random_below(145) - 72);
    if (random_below(5) == 0)
        rule.limit = RULE_UNLIMITED;
    if (random_below(5) == 0) {
        rule.window = WINDOW_LIFETIME;
        rule.window_ms = rule.limit = 0;
        rule.offset_minutes = 0;
        rule.measure = MEASURE_COST + random_below(4);
        rule.granted = true;
        rule.grace = random_below(2) * amount();
    }
    uint8_t percent = 0;
    for (uint64_t i = random_below(RULE_WARN_MAX + 1); i > 0; i--)
        rule.warn[rule.warn_count++] = percent += 1 + (uint8_t)random_below(12);
    rule.effect = random_below(3);
    rule.soft = (uint8_t)(random_below(2) * random_below(100));
    rule.require = random_below(2);
    rule.default_estimate = random_below(2) * amount();
    rule.max_values = random_below(2) * amount();
    return rule;
}

static struct entry_buffer packed(const struct ledger_rule *rule) {
    struct entry_buffer buffer = {0};
    msgpack_packer packer;
    msgpack_packer_init(&packer, &buffer, entry_buffer_append);
    rule_pack(&packer, rule);
    assert_false(buffer.failed);
    return buffer;
}

static msgpack_unpacked unpacked;

/* The texts of what was read hold until the next reading. */
static int read_bytes(const void *bytes, size_t size, struct ledger_rule *rule) {
    msgpack_unpacked_destroy(&unpacked);
    msgpack_unpacked_init(&unpacked);
    if (!msgpack_is_bounded(bytes, size) ||
        msgpack_unpack_next(&unpacked, bytes, size, NULL) != MSGPACK_UNPACK_SUCCESS)
        return LEDGER_E_DAMAGED;
    return rule_unpack(&unpacked.data, rule);
}

static void assert_survives(const struct ledger_rule *rule) {
    struct entry_buffer buffer = packed(rule);
    struct ledger_rule read;
    assert_int_equal(read_bytes(buffer.data, buffer.size, &read), 0);
    assert_true(rule_equal(&read, rule));
    assert_int_equal(read.limit, rule->granted ? 0 : rule->limit);
    entry_buffer_free(&buffer);
}

static void every_form_of_a_rule_survives(void **state) {
    (void)state;
    for (size_t i = rounds(5000); i > 0; i--) {
        struct ledger_rule rule = any_rule();
        const char *wrong = rule_check(&rule);
        if (wrong != NULL)
            fail_msg("a rule that should be right: %s", wrong);
        assert_survives(&rule);
    }
}

static void what_is_the_default_is_not_written(void **state) {
    struct ledger_rule rule = within(rule_of("r", MEASURE_COST, 7), 9);
    struct entry_buffer buffer = packed(&rule);
    static const char expected[] = "\x85\xa4name\xa1r\xa5scope\x80\xa7measure\xa4"
                                   "cost\xa6window\x92\xa7rolling\x09\xa5limit\x07";
    (void)state;
    assert_int_equal(buffer.size, sizeof expected - 1);
    assert_memory_equal(buffer.data, expected, buffer.size);
    entry_buffer_free(&buffer);
}

/* ---- what is not understood --------------------------------------------------------------- */

/* A rule with one word in the place of another of the same length. */
static int read_with(const struct ledger_rule *rule, const char *word, const char *other) {
    struct entry_buffer buffer = packed(rule);
    struct ledger_rule read;
    char *at = memmem(buffer.data, buffer.size, word, strlen(word));
    assert_non_null(at);
    memcpy(at, other, strlen(word));
    int rc = read_bytes(buffer.data, buffer.size, &read);
    entry_buffer_free(&buffer);
    return rc;
}

static void a_form_of_a_later_version_is_not_skipped(void **state) {
    struct ledger_rule full = of(granted("name of it", MEASURE_CREDITS), DIMENSION_USER, "ada");
    struct ledger_rule weekly = calendar(rule_of("week", MEASURE_TOKENS, 5), WINDOW_WEEK, 60);
    (void)state;
    full.effect = EFFECT_DEGRADE;
    full.soft = 80;
    assert_int_equal(read_with(&full, "credits", "credits"), 0);
    assert_int_equal(read_with(&full, "credits", "karma.."), LEDGER_E_NEWER);
    assert_int_equal(read_with(&full, "lifetime", "forever."), LEDGER_E_NEWER);
    assert_int_equal(read_with(&full, "granted", "earned."), LEDGER_E_NEWER);
    assert_int_equal(read_with(&full, "degrade", "explode"), LEDGER_E_NEWER);
    assert_int_equal(read_with(&full, "\xa4user", "\xa4race"), LEDGER_E_NEWER);
    assert_int_equal(read_with(&full,
                               "\xa3"
                               "ada",
                               "\xc4\x02"
                               "xx"),
                     LEDGER_E_NEWER);
    assert_int_equal(read_with(&full, "soft", "hard"), LEDGER_E_NEWER);
    assert_int_equal(read_with(&full, "scope", "shape"), LEDGER_E_NEWER);
    assert_int_equal(read_with(&weekly, "week\x3c", "week\xc0"), LEDGER_E_DAMAGED);
}

static void what_is_no_rule_is_not_taken_for_one(void **state) {
    struct ledger_rule read;
    (void)state;
    assert_int_equal(read_bytes("\x90", 1, &read), LEDGER_E_NEWER);
    assert_int_equal(read_bytes("\x80", 1, &read), LEDGER_E_NEWER);
    assert_int_equal(read_bytes("\xc0", 1, &read), LEDGER_E_NEWER);
    assert_int_equal(read_bytes("\x81\x01\x02", 3, &read), LEDGER_E_NEWER);
}

/* Every key but the five that each rule has may be missing. */
static void each_of_the_five_keys_is_needed(void **state) {
    static const char *const parts[] = {"\xa4name\xa1r", "\xa5scope\x80",
                                        "\xa7measure\xa4"
                                        "cost",
                                        "\xa6window\x91\xa8lifetime", "\xa5limit\x07"};
    (void)state;
    for (size_t missing = 0; missing <= LENGTH(parts); missing++) {
        struct ledger_rule read;
        char bytes[256] = {(char)(0x80 | (missing < LENGTH(parts) ? 4 : 5))};
        for (size_t i = 0; i < LENGTH(parts); i++)
            if (i != missing)
                strcat(bytes, parts[i]);
        assert_int_equal(read_bytes(bytes, strlen(bytes), &read),
                         missing < LENGTH(parts) ? LEDGER_E_NEWER : 0);
    }
}

/* Maps of Erlang have no order, and hostile ones say things twice. */
static void the_scope_may_come_in_any_order(void **state) {
    static const char bytes[] = "\x85\xa5scope\x83\xa4user\xc0\xa5state\xa1s\xa3org\xa1o"
                                "\xa4name\xa1r\xa7measure\xa4"
                                "cost\xa6window\x91\xa8lifetime\xa5limit\xc0";
    struct ledger_rule read;
    (void)state;
    assert_int_equal(read_bytes(bytes, sizeof bytes - 1, &read), 0);
    assert_null(rule_check(&read));
    assert_int_equal(read.scope_count, 3);
    assert_int_equal(read.scope[0].dimension, DIMENSION_STATE);
    assert_int_equal(read.scope[1].dimension, DIMENSION_ORG);
    assert_int_equal(read.scope[2].dimension, DIMENSION_USER);
    assert_true(rule_has_each(&read));
}

static void thresholds_that_are_listed_twice_are_refused(void **state) {
    static const char list[] = "\xa4warn\x98\x01\x02\x03\x04\x05\x06\x07\x08";
    char bytes[512] = "\x8f";
    struct ledger_rule rules[2];
    (void)state;
    memset(&rules[1], 0x5a, sizeof rules[1]);
    for (int i = 0; i < 15; i++)
        strcat(bytes, list);
    assert_int_not_equal(read_bytes(bytes, strlen(bytes), &rules[0]), 0);
    for (size_t i = 0; i < sizeof rules[1]; i++)
        assert_int_equal(((uint8_t *)&rules[1])[i], 0x5a);
}

static void flipped_bits_do_no_harm(void **state) {
    (void)state;
    for (size_t i = rounds(60); i > 0; i--) {
        struct ledger_rule rule = any_rule(), read;
        struct entry_buffer buffer = packed(&rule);
        for (size_t bit = 0; bit < 8 * buffer.size; bit++) {
            buffer.data[bit / 8] ^= (char)(1 << bit % 8);
            int rc = read_bytes(buffer.data, buffer.size, &read);
            assert_true(rc == 0 || rc == LEDGER_E_DAMAGED || rc == LEDGER_E_NEWER);
            if (rc == 0 && rule_check(&read) == NULL)
                assert_survives(&read);
            buffer.data[bit / 8] ^= (char)(1 << bit % 8);
        }
        for (size_t cut = 0; cut < buffer.size; cut++)
            assert_int_not_equal(read_bytes(buffer.data, cut, &read), 0);
        entry_buffer_free(&buffer);
    }
}

/* ---- what a rule must be ------------------------------------------------------------------ */

static void assert_wrong(struct ledger_rule rule, const char *part) {
    const char *wrong = rule_check(&rule);
    if (wrong == NULL || strstr(wrong, part) == NULL)
        fail_msg("'%s' is not what is wrong, but: %s", part, wrong != NULL ? wrong : "nothing");
}

static struct ledger_rule right_rule(void) {
    return of(within(rule_of("r", MEASURE_COST, 7), HOUR_MS), DIMENSION_USER, NULL);
}
#define WITH(field, value, part)                                                                   \
    do {                                                                                           \
        struct ledger_rule rule = right_rule();                                                    \
        rule.field = value;                                                                        \
        assert_wrong(rule, part);                                                                  \
    } while (0)

static void every_part_of_a_rule_is_checked(void **state) {
    static char name[RULE_NAME_BYTES_MAX + 1];
    struct ledger_rule right = right_rule();
    (void)state;
    memset(name, 'n', sizeof name);
    assert_null(rule_check(&right));
    right.name = (struct ledger_text){name, RULE_NAME_BYTES_MAX};
    assert_null(rule_check(&right));
    WITH(name.size, 0, "name");
    WITH(name, ((struct ledger_text){name, sizeof name}), "name");
    WITH(window_ms, 0, "window");
    WITH(window_ms, (uint64_t)ENTRY_AMOUNT_MAX + 1, "window");
    WITH(offset_minutes, 20, "offset");
    WITH(offset_minutes, RULE_OFFSET_MAX + 15, "offset");
    WITH(offset_minutes, -RULE_OFFSET_MAX - 15, "offset");
    WITH(limit, (uint64_t)ENTRY_AMOUNT_MAX + 1, "limit");
    WITH(limit, RULE_UNLIMITED - 1, "limit");
    WITH(granted, true, "lifetime");
    WITH(grace, 1, "grace");
    WITH(soft, 100, "soft");
    WITH(default_estimate, (uint64_t)ENTRY_AMOUNT_MAX + 1, "estimate");
    WITH(scope_count, RULE_SCOPE_MAX + 1, "scope");
    WITH(scope[0].dimension, DIMENSION_STATUS, "dimension");
    WITH(scope[0].dimension, DIMENSION_CUSTOM, "dimension");
    WITH(scope[0].dimension, 0, "dimension");
    WITH(scope[0].value, text(""), "empty");
    WITH(warn_count, RULE_WARN_MAX + 1, "thresholds");
    WITH(warn_count, 1, "percents"); /* of 0 */
    assert_wrong(of(right_rule(), DIMENSION_USER, "a"), "dimension");
    assert_wrong(of(right_rule(), DIMENSION_ORG, "a"), "dimension");
}

static void thresholds_rise_from_1_to_100(void **state) {
    struct ledger_rule rule = right_rule();
    (void)state;
    rule.warn_count = 2;
    rule.warn[0] = 1;
    rule.warn[1] = 100;
    assert_null(rule_check(&rule));
    rule.warn[1] = 101;
    assert_wrong(rule, "percents");
    rule.warn[1] = 1;
    assert_wrong(rule, "percents");
}

static void a_granted_limit_is_of_money_over_the_lifetime(void **state) {
    (void)state;
    for (enum rule_measure measure = 0; measure < MEASURES; measure++) {
        struct ledger_rule rule = granted("g", measure);
        bool is_money = measure >= MEASURE_COST && measure <= MEASURE_COMPLETED_CREDITS;
        assert_int_equal(rule_check(&rule) == NULL, is_money);
        rule.grace = (uint64_t)ENTRY_AMOUNT_MAX;
        assert_int_equal(rule_check(&rule) == NULL, is_money);
        rule.grace++;
        assert_non_null(rule_check(&rule));
    }
    for (enum rule_window window = WINDOW_DAY; window <= WINDOW_MONTH; window++)
        assert_wrong(calendar(granted("g", MEASURE_COST), window, 0), "lifetime");
}

static void equality_sees_every_part(void **state) {
    (void)state;
    for (size_t i = rounds(2000); i > 0; i--) {
        struct ledger_rule a = any_rule(), b = any_rule();
        struct entry_buffer left = packed(&a), right = packed(&b);
        bool same = left.size == right.size && memcmp(left.data, right.data, left.size) == 0;
        assert_int_equal(rule_equal(&a, &b), same);
        assert_true(rule_equal(&a, &a));
        entry_buffer_free(&left);
        entry_buffer_free(&right);
    }
}

/* ---- whom it speaks of -------------------------------------------------------------------- */

static void names_of(struct ledger_text *names, const char *org, const char *user) {
    memset(names, 0, DIMENSION_LIMIT * sizeof *names);
    if (org != NULL)
        names[DIMENSION_ORG] = text(org);
    if (user != NULL)
        names[DIMENSION_USER] = text(user);
}

static void a_rule_speaks_of_those_who_have_its_values(void **state) {
    struct ledger_rule rule =
        of(of(rule_of("r", MEASURE_COST, 1), DIMENSION_ORG, "acme"), DIMENSION_USER, NULL);
    struct ledger_rule all = rule_of("all", MEASURE_COST, 1);
    struct ledger_text names[DIMENSION_LIMIT];
    (void)state;
    names_of(names, "acme", "ada");
    assert_int_equal(rule_matches(&rule, names), RULE_MATCHES);
    names_of(names, "acme", NULL);
    assert_int_equal(rule_matches(&rule, names), RULE_LACKS);
    names_of(names, NULL, "ada");
    assert_int_equal(rule_matches(&rule, names), RULE_LACKS);
    names_of(names, "acmes", "ada");
    assert_int_equal(rule_matches(&rule, names), RULE_DIFFERS);
    names_of(names, "acmes", NULL);
    assert_int_equal(rule_matches(&rule, names), RULE_DIFFERS);
    assert_int_equal(rule_matches(&all, names), RULE_MATCHES);
}

static void a_value_takes_the_place_of_each(void **state) {
    struct ledger_rule each = of(rule_of("each", MEASURE_COST, 1), DIMENSION_USER, NULL);
    struct ledger_rule ada = of(rule_of("ada", MEASURE_COST, 9), DIMENSION_USER, "ada");
    struct ledger_rule other = ada;
    (void)state;
    assert_true(rule_replaces(&ada, &each));
    assert_false(rule_replaces(&each, &ada));
    assert_false(rule_replaces(&ada, &ada));
    other.measure = MEASURE_CREDITS;
    assert_false(rule_replaces(&other, &each));
    assert_false(rule_replaces(&(struct ledger_rule){0}, &each));
    other = within(ada, HOUR_MS);
    assert_false(rule_replaces(&other, &each));
    other = calendar(ada, WINDOW_DAY, 0);
    struct ledger_rule west = calendar(each, WINDOW_DAY, -60);
    assert_false(rule_replaces(&other, &west));
}

/* Of rules over two dimensions, each with a value, another value, or each: who names more. */
static void whoever_names_more_takes_the_place_of_who_names_less(void **state) {
    static const char *const names[] = {NULL, "a", "b"};
    (void)state;
    for (int set = 0; set < 81; set++) {
        const char *a[] = {names[set % 3], names[set / 3 % 3]};
        const char *b[] = {names[set / 9 % 3], names[set / 27]};
        struct ledger_rule rules[2] = {rule_of("a", MEASURE_COST, 1),
                                       rule_of("b", MEASURE_COST, 2)};
        bool covers = true, more = false;
        for (int i = 0; i < 2; i++) {
            uint8_t dimension = i == 0 ? DIMENSION_ORG : DIMENSION_USER;
            rules[0] = of(rules[0], dimension, a[i]);
            rules[1] = of(rules[1], dimension, b[i]);
            covers = covers && (b[i] == NULL || a[i] == b[i]);
            more = more || (b[i] == NULL && a[i] != NULL);
        }
        assert_int_equal(rule_replaces(&rules[0], &rules[1]), covers && more);
        assert_int_equal(rule_same_budget(&rules[0], &rules[1]), a[0] == b[0] && a[1] == b[1]);
        assert_true(rule_same_shape(&rules[0], &rules[1]));
    }
}

static int free_unpacked(void **state) {
    (void)state;
    msgpack_unpacked_destroy(&unpacked);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_rule_survives),
        cmocka_unit_test(what_is_the_default_is_not_written),
        cmocka_unit_test(a_form_of_a_later_version_is_not_skipped),
        cmocka_unit_test(what_is_no_rule_is_not_taken_for_one),
        cmocka_unit_test(each_of_the_five_keys_is_needed),
        cmocka_unit_test(the_scope_may_come_in_any_order),
        cmocka_unit_test(thresholds_that_are_listed_twice_are_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(every_part_of_a_rule_is_checked),
        cmocka_unit_test(thresholds_rise_from_1_to_100),
        cmocka_unit_test(a_granted_limit_is_of_money_over_the_lifetime),
        cmocka_unit_test(equality_sees_every_part),
        cmocka_unit_test(a_rule_speaks_of_those_who_have_its_values),
        cmocka_unit_test(a_value_takes_the_place_of_each),
        cmocka_unit_test(whoever_names_more_takes_the_place_of_who_names_less),
    };
    return cmocka_run_group_tests(tests, NULL, free_unpacked);
}
