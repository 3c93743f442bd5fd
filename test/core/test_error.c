/* Every code has one name and one sentence. */
#include "support.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

static void every_row_has_a_name_and_a_sentence(void **state) {
    char buffer[512];
    size_t count = 0;
    (void)state;
    for (int code; (code = ledger_error_row(count)) != 0; count++) {
        const char *name = ledger_error_name(code);
        assert_true(strlen(name) > 0 && strlen(name) < 64);
        for (const char *at = name; *at != '\0'; at++)
            assert_true(islower((unsigned char)*at) || *at == '_');
        const char *sentence = ledger_error_text(code, buffer, sizeof buffer);
        assert_ptr_equal(sentence, buffer);
        assert_true(strlen(sentence) > 10 && strlen(sentence) < sizeof buffer - 1);
    }
    assert_true(count > 40);
}

static void no_code_has_two_rows(void **state) {
    (void)state;
    for (size_t i = 0; ledger_error_row(i) != 0; i++)
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(ledger_error_row(i), ledger_error_row(j));
}

static int has_row(int code) {
    for (size_t i = 0; ledger_error_row(i) != 0; i++)
        if (ledger_error_row(i) == code)
            return 1;
    return 0;
}

static void every_code_of_the_ledger_and_of_lmdb_has_a_row(void **state) {
    (void)state;
    for (int code = LEDGER_E_OVERTAKEN; code <= LEDGER_E_DAMAGED; code++)
        assert_true(has_row(code));
    for (int code = MDB_KEYEXIST; code <= MDB_LAST_ERRCODE; code++)
        if (!has_row(code))
            fail_msg("no row for %d, %s", code, mdb_strerror(code));
}

static void an_unlisted_errno_is_an_io_error_in_the_systems_words(void **state) {
    char buffer[512];
    (void)state;
    assert_string_equal(ledger_error_name(EXDEV), "io_error");
    assert_string_equal(ledger_error_text(EXDEV, buffer, sizeof buffer), strerror(EXDEV));
}

static void a_short_buffer_gets_a_cut_sentence(void **state) {
    char buffer[8] = "zzzzzzz";
    (void)state;
    ledger_error_text(LEDGER_E_LOCKED, buffer, sizeof buffer);
    assert_int_equal(strlen(buffer), 7);
}

static void a_long_detail_is_cut_and_terminated(void **state) {
    struct ledger_failure failure;
    char longer[1000];
    (void)state;
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(ledger_fail(&failure, LEDGER_E_CLOSED, "%s", longer), LEDGER_E_CLOSED);
    assert_int_equal(failure.code, LEDGER_E_CLOSED);
    assert_int_equal(strlen(failure.detail), sizeof failure.detail - 1);
}

static void disk_errors_and_the_alarms_of_lmdb_are_fatal(void **state) {
    static const int fatal[] = {ENOSPC, EIO, EDQUOT, MDB_PANIC, MDB_CORRUPTED, MDB_PAGE_NOTFOUND};
    (void)state;
    for (size_t i = 0; i < LENGTH(fatal); i++)
        if (!ledger_error_is_fatal(fatal[i]))
            fail_msg("%s (%d) is not fatal", ledger_error_name(fatal[i]), fatal[i]);
}

static void what_one_entry_or_a_full_map_causes_is_not_fatal(void **state) {
    static const int mild[] = {0,
                               MDB_MAP_FULL,
                               MDB_BAD_VALSIZE,
                               MDB_KEYEXIST,
                               MDB_TXN_FULL,
                               LEDGER_E_BAD_ENTRY,
                               LEDGER_E_UNDECLARED_STATE,
                               LEDGER_E_ID_EXHAUSTED,
                               LEDGER_E_WRITER_DEAD};
    (void)state;
    for (size_t i = 0; i < LENGTH(mild); i++)
        assert_false(ledger_error_is_fatal(mild[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_name_and_a_sentence),
        cmocka_unit_test(no_code_has_two_rows),
        cmocka_unit_test(every_code_of_the_ledger_and_of_lmdb_has_a_row),
        cmocka_unit_test(an_unlisted_errno_is_an_io_error_in_the_systems_words),
        cmocka_unit_test(a_short_buffer_gets_a_cut_sentence),
        cmocka_unit_test(a_long_detail_is_cut_and_terminated),
        cmocka_unit_test(disk_errors_and_the_alarms_of_lmdb_are_fatal),
        cmocka_unit_test(what_one_entry_or_a_full_map_causes_is_not_fatal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
