/* What became of recent tokens. */
#include "support.h"

static int open_outcomes(void **state) {
    *state = calloc(1, sizeof(struct outcomes));
    return *state == NULL ? -1 : outcomes_open(*state);
}

static int close_outcomes(void **state) {
    outcomes_close(*state);
    free(*state);
    return 0;
}

static void a_token_that_was_booked_is_found(void **state) {
    uint64_t id, flags;
    assert_false(outcomes_find(*state, 5, &id, &flags));
    outcomes_add(*state, 5, 500, ENTRY_OVERRUN);
    assert_true(outcomes_find(*state, 5, &id, &flags));
    assert_int_equal(id, 500);
    assert_int_equal(flags, ENTRY_OVERRUN);
    assert_false(outcomes_find(*state, 6, &id, &flags));
}

static void no_token_is_not_kept(void **state) {
    uint64_t id, flags;
    outcomes_add(*state, 0, 500, 0);
    assert_false(outcomes_find(*state, 0, &id, &flags));
}

static void the_newest_of_two_equal_tokens_wins(void **state) {
    uint64_t id, flags;
    outcomes_add(*state, 5, 500, 0);
    outcomes_add(*state, 5, 501, 0);
    assert_true(outcomes_find(*state, 5, &id, &flags));
    assert_int_equal(id, 501);
}

/* Tokens as a counter makes them, as random words are, and all on one chain (they share the
 * upper 16 bits of their hash when the low ones are far apart enough). */
static void keep_the_last(struct outcomes *outcomes, const uint64_t *tokens, size_t count) {
    uint64_t id, flags;
    for (size_t i = 0; i < count; i++) {
        outcomes_add(outcomes, tokens[i], i + 1, 0);
        if (i >= OUTCOMES_KEPT)
            assert_false(outcomes_find(outcomes, tokens[i - OUTCOMES_KEPT], &id, &flags));
        size_t oldest = i >= OUTCOMES_KEPT ? i - OUTCOMES_KEPT + 1 : 0;
        assert_true(outcomes_find(outcomes, tokens[oldest], &id, &flags));
        assert_int_equal(id, oldest + 1);
    }
    for (size_t i = count > OUTCOMES_KEPT ? count - OUTCOMES_KEPT : 0; i < count; i++) {
        assert_true(outcomes_find(outcomes, tokens[i], &id, &flags));
        assert_int_equal(id, i + 1);
    }
}

static void the_last_65536_are_kept_of_counted_tokens(void **state) {
    static uint64_t tokens[3 * OUTCOMES_KEPT + 17];
    for (size_t i = 0; i < LENGTH(tokens); i++)
        tokens[i] = i + 1;
    keep_the_last(*state, tokens, LENGTH(tokens));
}

static void the_last_65536_are_kept_of_random_tokens(void **state) {
    static uint64_t tokens[2 * OUTCOMES_KEPT + 17];
    for (size_t i = 0; i < LENGTH(tokens); i++)
        tokens[i] = random_word() | 1;
    keep_the_last(*state, tokens, LENGTH(tokens));
}

/* The multiplier is odd, so it has an inverse: tokens can be made whose hashes are alike. */
static void tokens_of_one_chain_do_not_push_each_other_out(void **state) {
    static uint64_t tokens[300];
    uint64_t id, flags, inverse = 1, factor = UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < 6; i++)
        inverse *= 2 - factor * inverse;
    for (size_t i = 0; i < LENGTH(tokens); i++) {
        tokens[i] = (UINT64_C(7) << 48 | (i + 1)) * inverse;
        outcomes_add(*state, tokens[i], i + 1, 0);
    }
    for (size_t i = 0; i < OUTCOMES_KEPT - 150; i++)
        outcomes_add(*state, (UINT64_C(9) << 48 | (i + 1)) * inverse, 1, 0);
    for (size_t i = 0; i < LENGTH(tokens); i++)
        assert_int_equal(outcomes_find(*state, tokens[i], &id, &flags), i >= 150);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_token_that_was_booked_is_found, open_outcomes,
                                        close_outcomes),
        cmocka_unit_test_setup_teardown(no_token_is_not_kept, open_outcomes, close_outcomes),
        cmocka_unit_test_setup_teardown(the_newest_of_two_equal_tokens_wins, open_outcomes,
                                        close_outcomes),
        cmocka_unit_test_setup_teardown(the_last_65536_are_kept_of_counted_tokens, open_outcomes,
                                        close_outcomes),
        cmocka_unit_test_setup_teardown(the_last_65536_are_kept_of_random_tokens, open_outcomes,
                                        close_outcomes),
        cmocka_unit_test_setup_teardown(tokens_of_one_chain_do_not_push_each_other_out,
                                        open_outcomes, close_outcomes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
