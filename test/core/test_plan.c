/* Which rules of a policy speak of an attempt: what the plan finds, against looking at each. */
#include "support.h"

#include <stdio.h>

static const uint8_t shape_org[] = {DIMENSION_ORG}, shape_user[] = {DIMENSION_USER};
static const uint8_t shape_both[] = {DIMENSION_ORG, DIMENSION_USER};
static const char *const orgs[] = {"acme", "umbrella", NULL};
static const char *const users[] = {"ada", "bob", "eve", "", NULL};

static struct declared_series declared[3];

static int declare(void **state) {
    (void)state;
    declared[0] = FAMILY(DIMENSION_USER);
    declared[1] = FAMILY(DIMENSION_ORG);
    declared[2] = FAMILY(DIMENSION_ORG, DIMENSION_USER);
    for (size_t i = 0; i < LENGTH(declared); i++)
        declared[i].ready = true;
    return 0;
}

static struct ledger_rule rules[200];
static char names[200][16];

static struct ledger_policy random_policy(uint32_t count) {
    struct ledger_policy policy = policy_of(rules, count);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "rule %u", i);
        rules[i] = within(rule_of(names[i], random_below(2), 1), 1 + random_below(3));
        if (random_below(3) > 0)
            rules[i] = of(rules[i], DIMENSION_ORG, orgs[random_below(3)]);
        if (random_below(3) > 0)
            rules[i] =
                of(rules[i], DIMENSION_USER, users[random_below(4) == 3 ? 4 : random_below(3)]);
        rules[i].require = random_below(4) == 0;
    }
    return policy;
}

struct found {
    size_t count;
    const struct ledger_rule *rules[200];
    size_t stop_at; /* 0: never */
};

static int keep(void *context, const struct ledger_rule *rule) {
    struct found *found = context;
    found->rules[found->count++] = rule;
    return found->count == found->stop_at ? 77 : 0;
}

static bool was_found(const struct found *found, const struct ledger_rule *rule) {
    size_t times = 0;
    for (size_t i = 0; i < found->count; i++)
        times += found->rules[i] == rule;
    assert_true(times <= 1);
    return times == 1;
}

static bool is_replaced(const struct ledger_policy *policy, const struct ledger_rule *rule,
                        const struct ledger_text *who) {
    for (uint32_t i = 0; i < policy->rule_count; i++)
        if (rule_replaces(&policy->rules[i], rule) &&
            rule_matches(&policy->rules[i], who) == RULE_MATCHES)
            return true;
    return false;
}

static void check_match(const struct ledger_policy *policy, const struct plan *plan, int family,
                        const char *org, const char *user) {
    struct ledger_text who[DIMENSION_LIMIT] = {0};
    struct found found = {0};
    who[DIMENSION_ORG] = text(org);
    who[DIMENSION_USER] = text(user);
    assert_int_equal(plan_match(plan, policy, family, who, keep, &found), 0);
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        bool expected = plan_family(rule, declared, LENGTH(declared)) == family &&
                        rule_matches(rule, who) == RULE_MATCHES && !is_replaced(policy, rule, who);
        assert_int_equal(was_found(&found, rule), expected);
    }
}

static void check_required(const struct ledger_policy *policy, const struct plan *plan) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        bool listed = false;
        for (uint32_t k = 0; k < plan->required_count; k++)
            listed = listed || plan->required[k] == i;
        assert_int_equal(listed, policy->rules[i].require);
        count += listed;
    }
    assert_int_equal(plan->required_count, count);
}

static void the_plan_finds_what_looking_at_each_rule_finds(void **state) {
    (void)state;
    for (size_t i = rounds(400); i > 0; i--) {
        struct ledger_policy policy = random_policy((uint32_t)random_below(i % 7 == 0 ? 200 : 20));
        struct plan plan;
        uint32_t at;
        assert_int_equal(plan_make(&policy, declared, LENGTH(declared), &plan, &at), 0);
        for (int family = 0; family <= (int)LENGTH(declared); family++)
            for (size_t org = 0; org < 2; org++)
                for (size_t user = 0; user < 4; user++)
                    check_match(&policy, &plan, family, orgs[org], users[user]);
        check_required(&policy, &plan);
        plan_free(&plan);
    }
}

static void a_family_is_found_by_its_dimensions(void **state) {
    struct ledger_rule rule = rule_of("r", MEASURE_COST, 1);
    (void)state;
    assert_int_equal(plan_family(&rule, declared, LENGTH(declared)), FAMILY_EVERYTHING);
    rule = of(rule, DIMENSION_ORG, NULL);
    assert_int_equal(plan_family(&rule, declared, LENGTH(declared)), 2);
    assert_int_equal(plan_family(&rule, declared, 1), -1);
    rule = of(rule, DIMENSION_USER, "ada");
    assert_int_equal(plan_family(&rule, declared, LENGTH(declared)), 3);
    rule = of(rule, DIMENSION_MODEL, "m");
    assert_int_equal(plan_family(&rule, declared, LENGTH(declared)), -1);
    assert_memory_equal(declared[1].dimensions, shape_org, 1);
    assert_memory_equal(declared[0].dimensions, shape_user, 1);
    assert_memory_equal(declared[2].dimensions, shape_both, 2);
}

static void a_rule_without_its_series_is_named(void **state) {
    struct ledger_rule two[2] = {of(rule_of("user", MEASURE_COST, 1), DIMENSION_USER, NULL),
                                 of(rule_of("model", MEASURE_COST, 1), DIMENSION_MODEL, NULL)};
    struct ledger_policy policy = policy_of(two, 2);
    struct plan plan;
    uint32_t at = 77;
    (void)state;
    assert_int_equal(plan_make(&policy, declared, LENGTH(declared), &plan, &at),
                     LEDGER_E_UNDECLARED_SERIES);
    assert_int_equal(at, 1);
    plan_free(&plan);
    two[1].scope[0].dimension = DIMENSION_ORG;
    declared[1].ready = false;
    at = 77;
    assert_int_equal(plan_make(&policy, declared, LENGTH(declared), &plan, &at), LEDGER_E_BUILDING);
    assert_int_equal(at, 1);
    plan_free(&plan);
}

static void the_first_that_says_stop_is_the_last(void **state) {
    struct ledger_rule three[3] = {rule_of("a", MEASURE_COST, 1), rule_of("b", MEASURE_COST, 2),
                                   rule_of("c", MEASURE_COST, 3)};
    struct ledger_policy policy = policy_of(three, 3);
    struct ledger_text nobody[DIMENSION_LIMIT] = {0};
    struct plan plan;
    uint32_t at;
    (void)state;
    assert_int_equal(plan_make(&policy, declared, LENGTH(declared), &plan, &at), 0);
    for (size_t stop = 1; stop <= 3; stop++) {
        struct found found = {.stop_at = stop};
        assert_int_equal(plan_match(&plan, &policy, 0, nobody, keep, &found), 77);
        assert_int_equal(found.count, stop);
    }
    plan_free(&plan);
}

static void an_empty_policy_has_an_empty_plan(void **state) {
    struct ledger_policy policy = policy_of(NULL, 0);
    struct ledger_text nobody[DIMENSION_LIMIT] = {0};
    struct found found = {0};
    struct plan plan;
    uint32_t at;
    (void)state;
    assert_int_equal(plan_make(&policy, declared, 0, &plan, &at), 0);
    assert_int_equal(plan_match(&plan, &policy, 0, nobody, keep, &found), 0);
    assert_int_equal(found.count, 0);
    plan_free(&plan);
    plan_free(&plan);
}

/* Values that run together, and that are as long as a name may be. */
static void values_are_told_apart_by_where_they_end(void **state) {
    static char longest[1000];
    struct ledger_text who[DIMENSION_LIMIT] = {0};
    struct ledger_rule two[2] = {
        of(of(rule_of("a", MEASURE_COST, 1), DIMENSION_ORG, "ab"), DIMENSION_USER, "c"),
        of(of(rule_of("b", MEASURE_COST, 1), DIMENSION_ORG, "a"), DIMENSION_USER, "bc")};
    struct ledger_policy policy = policy_of(two, 2);
    struct plan plan;
    uint32_t at;
    (void)state;
    memset(longest, 'x', sizeof longest);
    for (int i = 0; i < 3; i++) {
        struct found found = {0};
        assert_int_equal(plan_make(&policy, declared, LENGTH(declared), &plan, &at), 0);
        who[DIMENSION_ORG] = two[i % 2].scope[0].value;
        who[DIMENSION_USER] = two[i % 2].scope[1].value;
        assert_int_equal(plan_match(&plan, &policy, 3, who, keep, &found), 0);
        assert_int_equal(found.count, 1);
        assert_ptr_equal(found.rules[0], &two[i % 2]);
        plan_free(&plan);
        if (i == 1)
            two[0].scope[0].value = (struct ledger_text){longest, sizeof longest};
    }
}

#define declaring(test) cmocka_unit_test_setup(test, declare)

int main(void) {
    const struct CMUnitTest tests[] = {
        declaring(the_plan_finds_what_looking_at_each_rule_finds),
        declaring(a_family_is_found_by_its_dimensions),
        declaring(a_rule_without_its_series_is_named),
        declaring(the_first_that_says_stop_is_the_last),
        declaring(an_empty_policy_has_an_empty_plan),
        declaring(values_are_told_apart_by_where_they_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
