/* The policy's written form and its rules. */
#include "support.h"

#include <stdio.h>

static struct entry_buffer written(const struct ledger_policy *policy) {
    struct entry_buffer buffer = {0};
    assert_int_equal(policy_write(&buffer, policy), 0);
    return buffer;
}

static void a_policy_survives(void **state) {
    struct ledger_policy policy = three_states, read;
    (void)state;
    policy.version = UINT64_MAX;
    policy.changed_by_entry = START_US;
    struct entry_buffer buffer = written(&policy);
    assert_int_equal(policy_read(buffer.data, buffer.size, &read), 0);
    entry_buffer_free(&buffer); /* the policy owns its texts */
    assert_true(policy_equal(&read, &policy));
    assert_true(read.version == UINT64_MAX);
    assert_int_equal(read.changed_by_entry, START_US);
    assert_true(read.rules[2].limit == RULE_UNLIMITED);
    assert_int_equal(policy_state(&read, text("reviewing")), 2);
    assert_int_equal(policy_state(&read, text("review")), -1);
    policy_free(&read);
}

static void an_empty_policy_survives(void **state) {
    struct ledger_policy empty = {0}, read;
    (void)state;
    struct entry_buffer buffer = written(&empty);
    assert_int_equal(policy_read(buffer.data, buffer.size, &read), 0);
    assert_int_equal(read.state_count, 0);
    policy_free(&read);
    entry_buffer_free(&buffer);
}

/* A policy with everything that one can have. */
static struct ledger_policy rich_policy(void) {
    static struct ledger_rule rules[3];
    struct ledger_policy policy = policy_of(rules, LENGTH(rules));
    rules[0] =
        of(of(rule_of("each", MEASURE_COST, 9), DIMENSION_ORG, "acme"), DIMENSION_USER, NULL);
    rules[0].warn_count = 2;
    rules[0].warn[0] = 80;
    rules[0].warn[1] = 95;
    rules[0].default_estimate = 7;
    rules[1] = of(granted("prepaid", MEASURE_CREDITS), DIMENSION_USER, "ada");
    rules[1].grace = 5;
    rules[1].effect = EFFECT_DEGRADE;
    rules[2] = calendar(rule_of("month", MEASURE_TOKENS, RULE_UNLIMITED), WINDOW_MONTH, -120);
    rules[2].require = true;
    policy.version = 3;
    policy.settings = text("\x81\xa7retries\x82\xa4type\xa7integer\xa5value\x03");
    return policy;
}

static void rules_and_settings_survive(void **state) {
    struct ledger_policy policy = rich_policy(), read, copy;
    (void)state;
    struct entry_buffer buffer = written(&policy);
    assert_int_equal(policy_read(buffer.data, buffer.size, &read), 0);
    entry_buffer_free(&buffer);
    assert_true(policy_equal(&read, &policy));
    assert_int_equal(policy_copy(&read, &copy), 0);
    policy_free(&read);
    assert_true(policy_equal(&copy, &policy));
    assert_true(text_equal(copy.settings, policy.settings));
    policy_free(&copy);
}

static void a_rule_is_found_by_its_name(void **state) {
    struct ledger_policy policy = rich_policy(), copy;
    (void)state;
    assert_int_equal(policy_copy(&policy, &copy), 0);
    const struct ledger_policy *both[] = {&policy, &copy};
    for (size_t i = 0; i < LENGTH(both); i++) {
        for (uint32_t k = 0; k < both[i]->rule_count; k++)
            assert_ptr_equal(policy_rule(both[i], policy.rules[k].name), &both[i]->rules[k]);
        assert_null(policy_rule(both[i], text("mont")));
        assert_null(policy_rule(both[i], text("months")));
        assert_null(policy_rule(both[i], text("")));
    }
    policy_free(&copy);
}

static void the_order_of_rules_says_nothing(void **state) {
    struct ledger_policy policy = rich_policy(), copy;
    (void)state;
    assert_int_equal(policy_copy(&policy, &copy), 0);
    struct ledger_rule first = policy.rules[0];
    policy.rules[0] = policy.rules[2];
    policy.rules[2] = first;
    assert_true(policy_equal(&copy, &policy));
    assert_true(policy_equal(&policy, &copy));
    policy.rules[2].limit++;
    assert_false(policy_equal(&copy, &policy));
    policy_free(&copy);
}

static void a_copy_stands_alone(void **state) {
    struct ledger_policy copy, copy_of_copy;
    (void)state;
    assert_int_equal(policy_copy(&three_states, &copy), 0);
    assert_int_equal(policy_copy(&copy, &copy_of_copy), 0);
    policy_free(&copy);
    assert_true(policy_equal(&copy_of_copy, &three_states));
    policy_free(&copy_of_copy);
}

static void bytes_cut_anywhere_are_refused(void **state) {
    struct ledger_policy policy = rich_policy(), read;
    struct entry_buffer buffer = written(&policy);
    (void)state;
    for (size_t cut = 0; cut < buffer.size; cut++)
        assert_int_equal(policy_read(buffer.data, cut, &read), LEDGER_E_DAMAGED);
    entry_buffer_free(&buffer);
}

static void flipped_bits_do_no_harm(void **state) {
    struct ledger_policy policy = rich_policy(), read;
    struct entry_buffer buffer = written(&policy);
    (void)state;
    for (size_t bit = 0; bit < 8 * buffer.size; bit++) {
        buffer.data[bit / 8] ^= (char)(1 << bit % 8);
        int rc = policy_read(buffer.data, buffer.size, &read);
        assert_true(rc == 0 || rc == LEDGER_E_DAMAGED || rc == LEDGER_E_NEWER);
        if (rc == 0) {
            assert_null(policy_check(&read));
            policy_free(&read);
        }
        buffer.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    entry_buffer_free(&buffer);
}

/* Puts one word in the place of another of the same length. */
static int read_with(const char *word, const char *other) {
    struct entry_buffer buffer = written(&three_states);
    struct ledger_policy read;
    char *at = memmem(buffer.data, buffer.size, word, strlen(word));
    assert_non_null(at);
    memcpy(at, other, strlen(word));
    int rc = policy_read(buffer.data, buffer.size, &read);
    policy_free(&read);
    entry_buffer_free(&buffer);
    return rc;
}

static void a_rule_that_is_not_understood_is_not_skipped(void **state) {
    (void)state;
    assert_int_equal(read_with("invocations", "completions"), LEDGER_E_NEWER);
    assert_int_equal(read_with("rolling", "falling"), LEDGER_E_NEWER);
    assert_int_equal(read_with("measure", "quality"), LEDGER_E_NEWER);
    assert_int_equal(read_with("limit", "floor"), LEDGER_E_NEWER);
    assert_int_equal(read_with("changed_by_entry", "changed_by_night"), LEDGER_E_NEWER);
    assert_int_equal(read_with("\xa5state", "\xa5stage"), LEDGER_E_NEWER);
    assert_int_equal(read_with("reviewing", "reviewing"), 0);
}

static void assert_wrong(const struct ledger_policy *policy, const char *part) {
    const char *wrong = policy_check(policy);
    if (wrong == NULL || strstr(wrong, part) == NULL)
        fail_msg("'%s' is not what is wrong, but: %s", part, wrong != NULL ? wrong : "nothing");
}

static void every_rule_of_a_policy_is_checked(void **state) {
    static char name[POLICY_STATE_BYTES_MAX + 1];
    struct ledger_text states[3] = {{"a", 1}, {"b", 1}, {"c", 1}};
    struct ledger_rule rules[2] = {
        within(of(rule_of("r", MEASURE_INVOCATIONS, 0), DIMENSION_STATE, "a"), 1),
        within(of(rule_of("s", MEASURE_INVOCATIONS, 0), DIMENSION_STATE, "c"), ENTRY_AMOUNT_MAX)};
    struct ledger_policy policy = {
        .state_count = 3, .rule_count = 2, .states = states, .rules = rules};
    (void)state;
    memset(name, 'n', sizeof name);
    assert_null(policy_check(&policy));
    rules[1].scope[0].value = text("d");
    assert_wrong(&policy, "undeclared");
    rules[1].scope[0].value = text("c");
    rules[1].window_ms = 0;
    assert_wrong(&policy, "window");
    rules[1].window_ms = (uint64_t)ENTRY_AMOUNT_MAX + 1;
    assert_wrong(&policy, "window");
    rules[1].window_ms = 1;
    rules[1].limit = (uint64_t)ENTRY_AMOUNT_MAX + 1;
    assert_wrong(&policy, "limit");
    rules[1].limit = RULE_UNLIMITED;
    assert_null(policy_check(&policy));
    rules[1].name = text("r");
    assert_wrong(&policy, "twice");
    rules[1].name = text("s");
    states[2] = text("a");
    assert_wrong(&policy, "twice");
    states[2] = text("total");
    assert_wrong(&policy, "total");
    states[2] = text("");
    assert_wrong(&policy, "bytes");
    states[2] = (struct ledger_text){name, POLICY_STATE_BYTES_MAX};
    rules[1].scope[0].value = states[2];
    assert_null(policy_check(&policy));
    states[2].size++;
    assert_wrong(&policy, "bytes");
}

static void too_many_states_or_rules_are_refused(void **state) {
    struct ledger_policy policy = {.state_count = POLICY_STATES_MAX + 1};
    (void)state;
    assert_wrong(&policy, "states");
    policy = (struct ledger_policy){.rule_count = POLICY_RULES_MAX + 1};
    assert_wrong(&policy, "rules");
    policy = (struct ledger_policy){.settings = {"", POLICY_SETTINGS_BYTES_MAX + 1}};
    assert_wrong(&policy, "settings");
}

static void rules_with_each_are_fewer(void **state) {
    static struct ledger_rule rules[POLICY_EACH_MAX + 1];
    static char names[POLICY_EACH_MAX + 1][16];
    struct ledger_policy policy = policy_of(rules, POLICY_EACH_MAX);
    (void)state;
    for (uint32_t i = 0; i < LENGTH(rules); i++) {
        snprintf(names[i], sizeof names[i], "r%u", i);
        rules[i] = of(rule_of(names[i], MEASURE_COST, i), DIMENSION_USER, NULL);
    }
    assert_null(policy_check(&policy));
    policy.rule_count++;
    assert_wrong(&policy, "each");
    rules[0].scope[0].value = text("ada");
    assert_null(policy_check(&policy));
}

static void equality_sees_every_part(void **state) {
    struct ledger_policy copy;
    (void)state;
    assert_int_equal(policy_copy(&three_states, &copy), 0);
    copy.version = 9;
    assert_true(policy_equal(&copy, &three_states));
    copy.rules[0].limit++;
    assert_false(policy_equal(&copy, &three_states));
    copy.rules[0].limit--;
    copy.rules[0].window_ms++;
    assert_false(policy_equal(&copy, &three_states));
    copy.rules[0].window_ms--;
    copy.rules[0].scope[0].value.size--;
    assert_false(policy_equal(&copy, &three_states));
    copy.rules[0].scope[0].value.size++;
    copy.settings = text("\x81\xa1s\x80");
    assert_false(policy_equal(&copy, &three_states));
    copy.settings.size = 0;
    copy.rules[0].name.size--;
    assert_false(policy_equal(&copy, &three_states));
    copy.rules[0].name.size++;
    copy.states[1].size--;
    assert_false(policy_equal(&copy, &three_states));
    copy.states[1].size++;
    assert_true(policy_equal(&copy, &three_states));
    copy.rule_count--;
    assert_false(policy_equal(&copy, &three_states));
    policy_free(&copy);
}

static bool contains(const struct entry_buffer *buffer, const char *bytes, size_t size) {
    return memmem(buffer->data, buffer->size, bytes, size) != NULL;
}
#define CONTAINS(bytes) assert_true(contains(&buffer, bytes, sizeof bytes - 1))

static struct ledger_text one_state[] = {{"s", 1}, {"new", 3}};

static void a_change_tells_who_and_why_and_what_came_before(void **state) {
    struct ledger_rule before[] = {rule_of("r", MEASURE_COST, 1)};
    struct ledger_rule after[] = {rule_of("r", MEASURE_COST, 2)};
    struct ledger_policy from = {.version = 7,
                                 .changed_by_entry = 55,
                                 .state_count = 1,
                                 .rule_count = 1,
                                 .states = one_state,
                                 .rules = before};
    struct ledger_policy to = from;
    to.version = 8;
    to.state_count = 2;
    to.rules = after;
    struct entry_buffer buffer = {0};
    (void)state;
    assert_int_equal(policy_write_change(&buffer, &from, &to, text("ada"), text("why")), 0);
    CONTAINS("\xa7version\x08");
    CONTAINS("\xa2"
             "by\xa3"
             "ada");
    CONTAINS("\xa6reason\xa3why");
    CONTAINS("\xa8previous\x37");
    CONTAINS("\xa6states\x91\xa3new");
    entry_buffer_free(&buffer);
}

/* The pairs of rules that a change from one list of rules to the other carries. */
static size_t changes_between(struct ledger_rule *before, uint32_t before_count,
                              struct ledger_rule *after, uint32_t after_count,
                              struct entry_buffer *buffer) {
    struct ledger_policy from = {.version = 1,
                                 .state_count = 1,
                                 .rule_count = before_count,
                                 .states = one_state,
                                 .rules = before};
    struct ledger_policy to = from;
    to.version = 2;
    to.rule_count = after_count;
    to.rules = after;
    assert_int_equal(policy_write_change(buffer, &from, &to, text("a"), text("b")), 0);
    const char *at = memmem(buffer->data, buffer->size, "changes", 7);
    assert_non_null(at);
    return (uint8_t)at[7] & 0x0f;
}

static void a_change_lists_every_rule_that_is_not_as_it_was(void **state) {
    struct ledger_rule before[] = {within(rule_of("kept", MEASURE_COST, 1), 1),
                                   within(rule_of("raised", MEASURE_COST, 2), 1),
                                   within(rule_of("longer", MEASURE_COST, 3), 5),
                                   within(rule_of("dropped", MEASURE_COST, 4), 1)};
    struct ledger_rule after[] = {within(rule_of("kept", MEASURE_COST, 1), 1),
                                  within(rule_of("raised", MEASURE_COST, RULE_UNLIMITED), 1),
                                  within(rule_of("longer", MEASURE_COST, 3), 6),
                                  within(rule_of("added", MEASURE_COST, 4), 1)};
    struct entry_buffer buffer = {0};
    (void)state;
    assert_int_equal(changes_between(before, 4, after, 4, &buffer), 4);
    assert_false(contains(&buffer, "kept", 4));
    CONTAINS("rolling\x05");
    CONTAINS("rolling\x06");
    CONTAINS("limit\x02");
    CONTAINS("limit\xc0");
    CONTAINS("\x92\xc0\x85\xa4name\xa5"
             "added");
    CONTAINS("limit\x04\xc0"); /* dropped: last of its map, then nil */
    entry_buffer_free(&buffer);
    assert_int_equal(changes_between(before, 4, before, 4, &buffer), 0);
    entry_buffer_free(&buffer);
}

static void changed_settings_are_told_whole(void **state) {
    struct ledger_policy from = rich_policy(), to = from;
    struct entry_buffer buffer = {0};
    (void)state;
    to.settings = (struct ledger_text){0};
    assert_int_equal(policy_write_change(&buffer, &from, &to, text("a"), text("b")), 0);
    CONTAINS("\xa8settings\x92\x81\xa7retries");
    CONTAINS("value\x03\x80"); /* now there are none */
    entry_buffer_free(&buffer);
    to.settings = from.settings;
    assert_int_equal(policy_write_change(&buffer, &from, &to, text("a"), text("b")), 0);
    assert_false(contains(&buffer, "settings", 8));
    entry_buffer_free(&buffer);
}

static void the_largest_policy_survives(void **state) {
    static struct ledger_text states[POLICY_STATES_MAX];
    static struct ledger_rule rules[POLICY_STATES_MAX];
    static char names[POLICY_STATES_MAX][8];
    struct ledger_policy policy = {.state_count = POLICY_STATES_MAX,
                                   .rule_count = POLICY_STATES_MAX,
                                   .states = states,
                                   .rules = rules};
    struct ledger_policy read;
    (void)state;
    for (uint32_t i = 0; i < POLICY_STATES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "s%u", i);
        states[i] = text(names[i]);
        rules[i] = within(rule_of(names[i], MEASURE_INVOCATIONS, i), 1 + i);
        rules[i] = of(rules[i], DIMENSION_STATE, names[i]);
    }
    struct entry_buffer buffer = written(&policy);
    assert_int_equal(policy_read(buffer.data, buffer.size, &read), 0);
    assert_true(policy_equal(&read, &policy));
    policy_free(&read);
    entry_buffer_free(&buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_survives),
        cmocka_unit_test(an_empty_policy_survives),
        cmocka_unit_test(rules_and_settings_survive),
        cmocka_unit_test(a_rule_is_found_by_its_name),
        cmocka_unit_test(the_order_of_rules_says_nothing),
        cmocka_unit_test(a_copy_stands_alone),
        cmocka_unit_test(bytes_cut_anywhere_are_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(a_rule_that_is_not_understood_is_not_skipped),
        cmocka_unit_test(every_rule_of_a_policy_is_checked),
        cmocka_unit_test(too_many_states_or_rules_are_refused),
        cmocka_unit_test(rules_with_each_are_fewer),
        cmocka_unit_test(equality_sees_every_part),
        cmocka_unit_test(a_change_tells_who_and_why_and_what_came_before),
        cmocka_unit_test(a_change_lists_every_rule_that_is_not_as_it_was),
        cmocka_unit_test(changed_settings_are_told_whole),
        cmocka_unit_test(the_largest_policy_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
