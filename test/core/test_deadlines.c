/* The heap of deadlines, against a list. */
#include "support.h"

#define MOST 2000

static struct deadlines heap;
static struct deadline list[MOST];
static size_t count;

static int begin(void **state) {
    (void)state;
    count = 0;
    return 0;
}

static int end(void **state) {
    (void)state;
    deadlines_free(&heap);
    return 0;
}

static void push(uint64_t us, uint64_t hold) {
    assert_int_equal(deadlines_push(&heap, us, hold), 0);
    assert_true(count < MOST);
    list[count++] = (struct deadline){us, hold};
}

/* Place of the earliest in the list; of two at one time that of the older hold. */
static size_t earliest(void) {
    size_t at = 0;
    for (size_t i = 1; i < count; i++)
        if (list[i].us < list[at].us || (list[i].us == list[at].us && list[i].hold < list[at].hold))
            at = i;
    return at;
}

static void check_first(void) {
    const struct deadline *first = deadlines_first(&heap);
    assert_int_equal(heap.count, count);
    if (count == 0) {
        assert_null(first);
        return;
    }
    assert_int_equal(first->us, list[earliest()].us);
    assert_int_equal(first->hold, list[earliest()].hold);
}

static void pop(void) {
    list[earliest()] = list[count - 1];
    count--;
    deadlines_pop(&heap);
}

static void nothing_is_due_at_first(void **state) {
    (void)state;
    check_first();
    deadlines_clear(&heap);
    check_first();
}

static void the_earliest_comes_first_whatever_was_pushed(void **state) {
    (void)state;
    for (size_t i = rounds(4000); i > 0; i--) {
        if (count > 0 && random_below(5) < 2)
            pop();
        else if (count < MOST)
            push(random_below(50), random_below(1000));
        check_first();
    }
    while (count > 0) {
        pop();
        check_first();
    }
}

static void what_is_due_at_once_precedes_all(void **state) {
    (void)state;
    push(5, 1);
    push(0, 9);
    push(UINT64_MAX, 2);
    push(0, 3);
    for (int i = 0; i < 4; i++) {
        check_first();
        pop();
    }
}

static void one_hold_may_be_there_more_than_once(void **state) {
    (void)state;
    for (uint64_t i = 100; i > 0; i--)
        push(i, 7);
    while (count > 0) {
        check_first();
        pop();
    }
}

static void what_was_cleared_can_be_filled_again(void **state) {
    (void)state;
    for (int pass = 0; pass < 3; pass++) {
        for (uint64_t i = 0; i < 300; i++)
            push(random_below(1000), i);
        check_first();
        deadlines_clear(&heap);
        count = 0;
        check_first();
    }
}

#define with_heap(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        with_heap(nothing_is_due_at_first),
        with_heap(the_earliest_comes_first_whatever_was_pushed),
        with_heap(what_is_due_at_once_precedes_all),
        with_heap(one_hold_may_be_there_more_than_once),
        with_heap(what_was_cleared_can_be_filled_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
