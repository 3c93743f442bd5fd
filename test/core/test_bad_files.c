/* What may lie in the directory instead of a ledger. Nothing of it is ever written over. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../c_src/core/series.h"

#define PAGE 4096

static const char *data_of(const char *directory) {
    return path_in(directory, "data.mdb");
}

static void make_ledger(const char *directory, size_t entries) {
    struct ledger *ledger = open_ledger(directory);
    at_time(ledger, START_US);
    book_many(ledger, "executing", entries);
    close_ledger(ledger);
}

/* Opening fails with `code`, twice, and leaves data.mdb as it was. */
static void assert_refused(const char *directory, int code) {
    struct ledger_options options = options_for(directory);
    size_t size_before, size_after;
    char *before = read_file(data_of(directory), &size_before);
    open_fails(&options, code);
    open_fails(&options, code);
    char *after = read_file(data_of(directory), &size_after);
    assert_int_equal(size_after, size_before);
    assert_memory_equal(after, before, size_before);
    free(before);
    free(after);
}

static void a_file_that_lost_its_end_is_truncated(void **state) {
    make_ledger(*state, 500);
    size_t used = 0, size;
    char *data = read_file(data_of(*state), &size);
    for (size_t at = 0; at < size; at++)
        if (data[at] != 0)
            used = at / PAGE + 1; /* pages up to the last byte that says anything */
    assert_true(used > 10);
    write_file(data_of(*state), data, used / 2 * PAGE);
    assert_refused(*state, LEDGER_E_TRUNCATED);
    write_file(data_of(*state), data, 2 * PAGE); /* only the two headers */
    assert_refused(*state, LEDGER_E_TRUNCATED);
    write_file(data_of(*state), data, (used - 1) * PAGE);
    assert_refused(*state, LEDGER_E_TRUNCATED);
    write_file(data_of(*state), data, size);
    free(data);
    struct ledger *ledger = open_ledger(*state);
    assert_int_equal(count_of(ledger, NULL), 500);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void half_a_header_is_not_a_ledger(void **state) {
    size_t size;
    make_ledger(*state, 1);
    char *data = read_file(data_of(*state), &size);
    write_file(data_of(*state), data, PAGE);
    assert_refused(*state, MDB_INVALID);
    write_file(data_of(*state), data, 100);
    assert_refused(*state, MDB_INVALID);
    free(data);
}

static void garbage_is_not_a_ledger(void **state) {
    char garbage[10 * PAGE];
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)random_word();
    write_file(data_of(*state), garbage, sizeof garbage);
    assert_refused(*state, MDB_INVALID);
    assert_string_equal(ledger_error_name(MDB_INVALID), "foreign");
    write_file(data_of(*state), "hello", 5);
    assert_refused(*state, MDB_INVALID);
}

static void an_empty_data_file_after_entries_is_missed(void **state) {
    struct ledger_options options = options_for(*state);
    make_ledger(*state, 3);
    write_file(data_of(*state), "", 0);
    assert_refused(*state, LEDGER_E_DATA_MISSING);
    assert_int_equal(unlink(data_of(*state)), 0);
    open_fails(&options, LEDGER_E_DATA_MISSING);
    open_fails(&options, LEDGER_E_DATA_MISSING);
}

static void an_empty_data_file_before_any_entry_is_a_new_ledger(void **state) {
    make_ledger(*state, 0);
    write_file(data_of(*state), "", 0);
    make_ledger(*state, 3);
    struct ledger *ledger = open_ledger(*state);
    assert_int_equal(count_of(ledger, NULL), 3);
    close_ledger(ledger);
}

/* ---- environments of LMDB that are no ledgers --------------------------------------------- */

/* Opens the environment without a ledger; `name` NULL: its main database. */
static MDB_env *open_raw(const char *directory, const char *name, MDB_txn **txn, MDB_dbi *dbi) {
    MDB_env *env;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 20), 0);
    assert_int_equal(mdb_env_set_mapsize(env, (size_t)16 << 20), 0);
    assert_int_equal(mdb_env_open(env, directory, 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, txn), 0);
    assert_int_equal(mdb_dbi_open(*txn, name, name == NULL ? 0 : MDB_CREATE, dbi), 0);
    return env;
}

static void put_raw(const char *directory, const char *name, const char *key_word,
                    struct ledger_text bytes) {
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = open_raw(directory, name, &txn, &dbi);
    MDB_val key = {strlen(key_word), (char *)key_word}, value = {bytes.size, (char *)bytes.data};
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void delete_raw(const char *directory, const char *name, const char *key_word) {
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = open_raw(directory, name, &txn, &dbi);
    MDB_val key = {strlen(key_word), (char *)key_word};
    assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void another_programs_environment_is_foreign(void **state) {
    put_raw(*state, "theirs", "key", text("value"));
    assert_refused(*state, LEDGER_E_FOREIGN);
}

static void plain_values_in_the_main_database_are_foreign(void **state) {
    put_raw(*state, NULL, "meta", text("not a database"));
    assert_refused(*state, LEDGER_E_FOREIGN);
}

static void a_ledger_without_its_format_row_is_foreign(void **state) {
    make_ledger(*state, 1);
    delete_raw(*state, "meta", "format");
    assert_refused(*state, LEDGER_E_FOREIGN);
}

static void a_ledger_without_its_policy_is_damaged(void **state) {
    make_ledger(*state, 1);
    delete_raw(*state, "meta", "policy");
    assert_refused(*state, LEDGER_E_DAMAGED);
}

/* An environment as LMDB makes it, in the place of one that had entries. */
static void an_empty_environment_in_a_ledgers_place_is_missed(void **state) {
    MDB_txn *txn;
    MDB_dbi dbi;
    make_ledger(*state, 3);
    assert_int_equal(unlink(data_of(*state)), 0);
    assert_int_equal(unlink(path_in(*state, "lock.mdb")), 0);
    MDB_env *env = open_raw(*state, NULL, &txn, &dbi);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    assert_refused(*state, LEDGER_E_DATA_MISSING);
}

/* ---- rows of meta ------------------------------------------------------------------------- */

static void put_format(const char *directory, const char *bytes, size_t size) {
    put_raw(directory, "meta", "format", (struct ledger_text){bytes, size});
}
#define FORMAT(magic, version)                                                                     \
    "\x84\xa5magic\xab" magic "\xa7version" version "\xaa"                                         \
    "created_at\x07\xa8"                                                                           \
    "currency\xa3"                                                                                 \
    "EUR"
#define PUT_FORMAT(magic, version)                                                                 \
    put_format(*state, FORMAT(magic, version), sizeof FORMAT(magic, version) - 1)

static void the_format_row_decides(void **state) {
    make_ledger(*state, 1);
    PUT_FORMAT("cost_ledger", "\x02");
    assert_refused(*state, LEDGER_E_NEWER);
    PUT_FORMAT("cost_ledger", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_refused(*state, LEDGER_E_NEWER);
    PUT_FORMAT("lost_cedger", "\x01");
    assert_refused(*state, LEDGER_E_FOREIGN);
    PUT_FORMAT("cost_ledger", "\xc0");
    assert_refused(*state, LEDGER_E_DAMAGED);
    put_format(*state, "\x84\xa5magic", 7);
    assert_refused(*state, LEDGER_E_DAMAGED);
    put_format(*state, "\xdd\xff\xff\xff\xff", 5);
    assert_refused(*state, LEDGER_E_DAMAGED);
    PUT_FORMAT("cost_ledger", "\x01");
    struct ledger *ledger = open_ledger(*state);
    assert_string_equal(facts_of(ledger).currency, "EUR");
    assert_int_equal(facts_of(ledger).created_at_us, 7);
    close_ledger(ledger);
}

static void what_a_later_version_needs_is_not_ignored(void **state) {
    static const char needs_holds[] = FORMAT("cost_ledger", "\x01") "\xa5needs\x91\xa5holds";
    static const char needs_nothing[] = FORMAT("cost_ledger", "\x01") "\xa5needs\x90";
    static const char other_word[] = FORMAT("cost_ledger", "\x01") "\xa5other\x01";
    char bytes[128];
    make_ledger(*state, 1);
    memcpy(bytes, needs_holds, sizeof needs_holds);
    bytes[0] = (char)0x85;
    put_format(*state, bytes, sizeof needs_holds - 1);
    assert_refused(*state, LEDGER_E_NEWER);
    memcpy(bytes, other_word, sizeof other_word);
    bytes[0] = (char)0x85;
    put_format(*state, bytes, sizeof other_word - 1);
    assert_refused(*state, LEDGER_E_NEWER);
    memcpy(bytes, needs_nothing, sizeof needs_nothing);
    bytes[0] = (char)0x85;
    put_format(*state, bytes, sizeof needs_nothing - 1);
    make_ledger(*state, 1);
}

static bool format_says(const char *directory, const char *word) {
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = open_raw(directory, "meta", &txn, &dbi);
    MDB_val key = {6, "format"}, value;
    assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
    bool says = memmem(value.mv_data, value.mv_size, word, strlen(word)) != NULL;
    mdb_txn_abort(txn);
    mdb_env_close(env);
    return says;
}

/* A program that does not know budgets or records must not write to a ledger that has them. */
#define NEEDS                                                                                      \
    "\xa5needs\x92\xa7"                                                                            \
    "budgets\xa7records"
static void a_ledger_says_what_it_needs(void **state) {
    make_ledger(*state, 0);
    assert_true(format_says(*state, NEEDS));
    PUT_FORMAT("cost_ledger", "\x01"); /* as an earlier version left it */
    assert_false(format_says(*state, "needs"));
    make_ledger(*state, 0);
    assert_false(format_says(*state, "needs")); /* nothing was written yet */
    make_ledger(*state, 1);
    assert_true(format_says(*state, NEEDS));
    struct ledger *ledger = open_ledger(*state);
    assert_string_equal(facts_of(ledger).currency, "EUR");
    assert_int_equal(facts_of(ledger).created_at_us, 7);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void put_building(const char *directory, const char *bytes, size_t size) {
    put_raw(directory, "meta", "building", (struct ledger_text){bytes, size});
}
#define PUT_BUILDING(bytes) put_building(*state, bytes, sizeof bytes - 1)

static void what_is_being_built_is_not_taken_on_trust(void **state) {
    make_ledger(*state, 1);
    PUT_BUILDING("\x01");
    assert_refused(*state, LEDGER_E_DAMAGED);
    PUT_BUILDING("\x91\x91\x04");
    assert_refused(*state, LEDGER_E_DAMAGED);
    PUT_BUILDING("\x91\x92\x91\x04\xc0");
    assert_refused(*state, LEDGER_E_DAMAGED);
    PUT_BUILDING("\x91\x92\x91\x30\x00"); /* dimension 48 */
    assert_refused(*state, LEDGER_E_NEWER);
    PUT_BUILDING("\x91\x92\x91\x01\x00"); /* ready and being built */
    assert_refused(*state, LEDGER_E_DAMAGED);
    PUT_BUILDING("\x91\x92\x91\x04\x00");
    struct ledger *ledger = open_ledger(*state);
    struct ledger_failure failure;
    bool done;
    assert_int_equal(ledger_build(ledger, 100, &done, &failure), 0);
    assert_true(done);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

/* What a hold says is not known any more: nothing that depends on it may go on. */
static void a_hold_that_cannot_be_read_stops_the_writer(void **state) {
    struct ledger_entry estimate = priced("ada", 5);
    struct drafts drafts = {0};
    struct ledger *ledger = open_ledger(*state);
    at_time(ledger, START_US);
    assert_true(reserve(ledger, &estimate, 0) != 0);
    close_ledger(ledger);
    MDB_txn *txn;
    MDB_dbi dbi;
    uint8_t bytes[8];
    MDB_env *env = open_raw(*state, "holds", &txn, &dbi);
    MDB_val key = {sizeof bytes, bytes}, value = {3, "\x01\x01\x01"};
    put_be64(bytes, START_US);
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    ledger = open_ledger(*state);
    estimate = invocation("planning");
    add_draft(&drafts, &estimate);
    assert_int_equal(commit(ledger, &drafts, START_US), LEDGER_E_DAMAGED);
    assert_int_equal(facts_of(ledger).entries, 0);
    assert_true(ledger_allowed(ledger, 0)); /* the gate goes on answering */
    free_drafts(&drafts);
    close_ledger(ledger);
}

static void series_of_a_later_version_are_not_ignored(void **state) {
    make_ledger(*state, 1);
    put_raw(*state, "meta", "series", (struct ledger_text){"\x91\x91\x30", 3}); /* dimension 48 */
    assert_refused(*state, LEDGER_E_NEWER);
    put_raw(*state, "meta", "series", (struct ledger_text){"\x91\x90", 2});
    assert_refused(*state, LEDGER_E_DAMAGED);
    /* without that of the states, or with it twice, budgets would be wrong */
    put_raw(*state, "meta", "series", (struct ledger_text){"\x91\x91\x04", 3});
    assert_refused(*state, LEDGER_E_DAMAGED);
    put_raw(*state, "meta", "series", (struct ledger_text){"\x92\x91\x01\x91\x01", 5});
    assert_refused(*state, LEDGER_E_DAMAGED);
    put_raw(*state, "meta", "series", (struct ledger_text){"\x91\x91\x01", 3});
    make_ledger(*state, 1);
}

/* Declared families are not only for states: tuples are kept as well. */
static void a_declared_tuple_is_counted(void **state) {
    struct ledger_entry both = invocation("executing"), one = both;
    make_ledger(*state, 0);
    put_raw(*state, "meta", "series", (struct ledger_text){"\x92\x91\x01\x92\x01\x04", 6});
    struct ledger *ledger = open_ledger(*state);
    both.names[DIMENSION_USER] = text("ada");
    for (int i = 0; i < 40; i++) {
        book_entry(ledger, &both);
        book_entry(ledger, &one);
    }
    assert_books_agree(ledger);
    uint32_t numbers[2], series;
    MDB_txn *txn;
    MDB_dbi names = ledger->storage.databases[DB_NAMES];
    assert_int_equal(storage_read_begin(&ledger->storage, &txn), 0);
    assert_int_equal(names_find(txn, names, DIMENSION_STATE, text("executing"), &numbers[0]), 0);
    assert_int_equal(names_find(txn, names, DIMENSION_USER, text("ada"), &numbers[1]), 0);
    assert_int_equal(names_find_series(txn, names, numbers, 2, &series), 0);
    assert_true(series != 0);
    storage_read_end(&ledger->storage, txn);
    close_ledger(ledger);
}

static void bytes_that_are_no_entry_are_damage(void **state) {
    struct ledger_list_query all = list_of(ALL_KINDS);
    struct ledger_page page;
    struct ledger *ledger;
    uint8_t bytes[8];
    MDB_txn *txn;
    MDB_dbi dbi;
    make_ledger(*state, 3);
    MDB_env *env = open_raw(*state, "entries", &txn, &dbi);
    MDB_val key = {sizeof bytes, bytes}, value = {3, "\x93\x01\x01"};
    put_be64(bytes, START_US + 1);
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    put_be64(bytes, START_US + 2);
    value = (MDB_val){7, "\x96\x02\x01\x01\x90\xc0\x00"};
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    ledger = open_ledger(*state);
    assert_int_equal(ledger_fetch(ledger, START_US + 1, NULL, NULL), LEDGER_E_DAMAGED);
    assert_int_equal(ledger_fetch(ledger, START_US + 2, NULL, NULL), LEDGER_E_NEWER);
    assert_int_equal(ledger_list(ledger, &all, NULL, NULL, &page), LEDGER_E_NEWER);
    close_ledger(ledger);
}

static void count_row(void *context, const struct ledger_entry *entry,
                      const struct ledger_payload *payload) {
    (void)entry;
    (void)payload;
    ++*(unsigned *)context;
}

/* Where entries lie is looked up ahead of reading them. */
static void an_entry_that_is_gone_is_damage_where_a_list_comes_to_it(void **state) {
    struct ledger_list_query query = list_of(KINDS_OF_WORK);
    struct ledger_text names[DIMENSION_LIMIT] = {[DIMENSION_STATE] = text("executing")};
    struct ledger_page page;
    struct ledger *ledger;
    unsigned rows = 0;
    uint8_t bytes[8];
    MDB_txn *txn;
    MDB_dbi dbi;
    make_ledger(*state, 5);
    MDB_env *env = open_raw(*state, "entries", &txn, &dbi);
    MDB_val key = {sizeof bytes, bytes};
    put_be64(bytes, START_US + 2);
    assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    ledger = open_ledger(*state);
    query.filter.names = names;
    query.limit = 2;
    assert_int_equal(ledger_list(ledger, &query, count_row, &rows, &page), 0);
    assert_int_equal(rows, 2);
    assert_int_equal(page.total, 5);
    query.limit = 5;
    rows = 0;
    assert_int_equal(ledger_list(ledger, &query, count_row, &rows, &page), LEDGER_E_DAMAGED);
    assert_int_equal(rows, 2);
    close_ledger(ledger);
}

/* Cuts the last byte off every block that begins with that entry. */
static void cut_blocks(const char *directory, uint64_t first_id) {
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val key, value;
    unsigned cut = 0;
    MDB_env *env = open_raw(directory, "series", &txn, &dbi);
    assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        struct series_key read;
        uint8_t of_key[SERIES_KEY_BYTES], shorter[SERIES_BLOCK_BYTES];
        if (series_read_key(key, &read) != 0 || read.first_id != first_id)
            continue;
        /* Copies: both lie on the page that is changed. */
        memcpy(of_key, key.mv_data, key.mv_size);
        memcpy(shorter, value.mv_data, --value.mv_size);
        key.mv_data = of_key;
        value.mv_data = shorter;
        assert_int_equal(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT), 0);
        cut++;
    }
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    assert_true(cut > 0);
}

static void a_block_that_is_damaged_is_told_of_where_a_list_comes_to_it(void **state) {
    struct ledger_list_query query = list_of(KINDS_OF_WORK);
    struct ledger_text names[DIMENSION_LIMIT] = {[DIMENSION_STATE] = text("executing")};
    struct ledger_page page;
    unsigned rows = 0;
    const unsigned in_last = 8;
    make_ledger(*state, SERIES_BLOCK_ITEMS + in_last);
    cut_blocks(*state, START_US);
    struct ledger *ledger = open_ledger(*state);
    query.filter.names = names;
    query.scan = in_last;
    assert_int_equal(ledger_list(ledger, &query, count_row, &rows, &page), 0);
    assert_int_equal(rows, in_last);
    assert_int_equal(page.next, START_US + SERIES_BLOCK_ITEMS);
    query.scan = in_last + 1;
    rows = 0;
    assert_int_equal(ledger_list(ledger, &query, count_row, &rows, &page), LEDGER_E_DAMAGED);
    assert_int_equal(rows, in_last);
    close_ledger(ledger);
}

/* ---- paths -------------------------------------------------------------------------------- */

static void a_path_that_is_a_file_is_refused(void **state) {
    struct ledger_options options = options_for(path_in(*state, "file"));
    write_file(options.directory, "x", 1);
    open_fails(&options, LEDGER_E_NOT_DIRECTORY);
    options.directory = path_in(*state, "file/below");
    open_fails(&options, ENOTDIR);
    options.directory = path_in(*state, "file/far/below");
    open_fails(&options, ENOTDIR);
}

static void a_path_that_is_too_long_is_refused(void **state) {
    static char longest[5000];
    struct ledger_options options = options_for(longest);
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    open_fails(&options, ENAMETOOLONG);
    longest[300] = '\0';
    open_fails(&options, ENAMETOOLONG);
    (void)state;
}

static void an_empty_path_is_refused(void **state) {
    struct ledger_options options = options_for("");
    struct ledger *ledger;
    struct ledger_opened opened;
    struct ledger_failure failure;
    (void)state;
    assert_int_equal(ledger_open(&options, &ledger, &opened, &failure), ENOENT);
    assert_null(ledger);
}

static void a_path_may_end_in_a_slash(void **state) {
    char path[4096];
    snprintf(path, sizeof path, "%s/x/y//", (char *)*state);
    struct ledger *ledger = open_ledger(path);
    book(ledger, "executing");
    close_ledger(ledger);
    ledger = open_ledger(path_in(*state, "x/y"));
    assert_int_equal(count_of(ledger, NULL), 1);
    close_ledger(ledger);
}

/* In a child that is nobody: root may write everywhere. */
static void a_directory_that_may_not_be_written_to_is_refused(void **state) {
    assert_int_equal(chmod(*state, 0555), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ledger_options options = options_for(*state);
        struct ledger *ledger;
        struct ledger_opened opened;
        struct ledger_failure failure;
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(3);
        int rc = ledger_open(&options, &ledger, &opened, &failure);
        bool named = rc == EACCES && strcmp(ledger_error_name(rc), "not_permitted") == 0;
        options.directory = path_in(*state, "below");
        rc = ledger_open(&options, &ledger, &opened, &failure);
        _exit(named && rc == EACCES ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    chmod(*state, 0700);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_file_that_lost_its_end_is_truncated),
        in_directory(half_a_header_is_not_a_ledger),
        in_directory(garbage_is_not_a_ledger),
        in_directory(an_empty_data_file_after_entries_is_missed),
        in_directory(an_empty_data_file_before_any_entry_is_a_new_ledger),
        in_directory(another_programs_environment_is_foreign),
        in_directory(plain_values_in_the_main_database_are_foreign),
        in_directory(a_ledger_without_its_format_row_is_foreign),
        in_directory(a_ledger_without_its_policy_is_damaged),
        in_directory(an_empty_environment_in_a_ledgers_place_is_missed),
        in_directory(the_format_row_decides),
        in_directory(what_a_later_version_needs_is_not_ignored),
        in_directory(a_ledger_says_what_it_needs),
        in_directory(what_is_being_built_is_not_taken_on_trust),
        in_directory(a_hold_that_cannot_be_read_stops_the_writer),
        in_directory(series_of_a_later_version_are_not_ignored),
        in_directory(a_declared_tuple_is_counted),
        in_directory(bytes_that_are_no_entry_are_damage),
        in_directory(an_entry_that_is_gone_is_damage_where_a_list_comes_to_it),
        in_directory(a_block_that_is_damaged_is_told_of_where_a_list_comes_to_it),
        in_directory(a_path_that_is_a_file_is_refused),
        in_directory(a_path_that_is_too_long_is_refused),
        in_directory(an_empty_path_is_refused),
        in_directory(a_path_may_end_in_a_slash),
        in_directory(a_directory_that_may_not_be_written_to_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
