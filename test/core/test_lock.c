/* One writer: the second is told who the first is. */
#include "support.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *self;

/* What a process of its own finds: this executable again, with a directory as its argument. */
static int open_elsewhere(const char *directory) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl(self, self, directory, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

enum { FREE = 0, LOCKED_BY_THE_TEST = 10, OTHERWISE = 11 };

static int be_the_other(const char *directory) {
    struct ledger_options options = options_for(directory);
    struct ledger *ledger;
    struct ledger_opened opened;
    struct ledger_failure failure;
    int rc = ledger_open(&options, &ledger, &opened, &failure);
    if (rc == 0) {
        close_ledger(ledger);
        return FREE;
    }
    if (rc == LEDGER_E_LOCKED && strstr(failure.detail, "the first of two") != NULL)
        return LOCKED_BY_THE_TEST;
    return OTHERWISE;
}

static struct ledger *open_as_first(const char *directory) {
    struct ledger_options options = options_for(directory);
    options.holder = "the first of two";
    return open_with(&options);
}

static void a_second_opening_in_this_process_is_refused(void **state) {
    struct ledger *ledger = open_as_first(*state);
    struct ledger_options options = options_for(*state);
    book(ledger, "executing");
    for (int i = 0; i < 3; i++) {
        struct ledger_failure failure = open_fails(&options, LEDGER_E_LOCKED);
        assert_non_null(strstr(failure.detail, "the first of two"));
        book(ledger, "executing"); /* the first has lost nothing by it */
    }
    assert_int_equal(open_elsewhere(*state), LOCKED_BY_THE_TEST);
    assert_int_equal(count_of(ledger, NULL), 4);
    assert_books_agree(ledger);
    close_ledger(ledger);
    close_ledger(open_with(&options));
}

static void a_second_opening_by_another_path_is_refused(void **state) {
    struct ledger *ledger = open_as_first(path_in(*state, "real"));
    struct ledger_options options = options_for(path_in(*state, "link"));
    assert_int_equal(symlink("real", options.directory), 0);
    open_fails(&options, LEDGER_E_LOCKED);
    close_ledger(ledger);
}

static void another_process_is_refused_until_this_one_closes(void **state) {
    struct ledger *ledger = open_as_first(*state);
    assert_int_equal(open_elsewhere(*state), LOCKED_BY_THE_TEST);
    assert_int_equal(open_elsewhere(*state), LOCKED_BY_THE_TEST);
    book(ledger, "executing");
    ledger_close(ledger);
    assert_int_equal(open_elsewhere(*state), FREE);
    ledger_free(ledger);
}

static void a_child_does_not_keep_the_lock(void **state) {
    struct ledger *ledger = open_as_first(*state);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* a program that was started while the ledger was open */
        dup2(ends[0], 0);
        close(ends[1]);
        execlp("cat", "cat", (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    usleep(100000);
    close_ledger(ledger);
    assert_int_equal(open_elsewhere(*state), FREE);
    close(ends[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void a_killed_holder_leaves_no_lock(void **state) {
    int ends[2];
    char byte = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ledger *ledger = open_as_first(*state);
        book(ledger, "executing");
        if (write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(open_elsewhere(*state), LOCKED_BY_THE_TEST);
    assert_int_equal(kill(child, 9), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
    struct ledger *ledger = open_ledger(*state);
    assert_int_equal(count_of(ledger, NULL), 1);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void a_long_holder_is_cut(void **state) {
    char holder[1000], shown[1000] = {0};
    struct ledger_options options = options_for(*state);
    memset(holder, 'h', sizeof holder - 1);
    holder[sizeof holder - 1] = '\0';
    options.holder = holder;
    struct ledger *ledger = open_with(&options);
    struct ledger_failure failure = open_fails(&options, LEDGER_E_LOCKED);
    memset(shown, 'h', 200);
    assert_non_null(strstr(failure.detail, shown));
    close_ledger(ledger);
    options.holder = "short"; /* nothing of the long one is left */
    ledger = open_with(&options);
    failure = open_fails(&options, LEDGER_E_LOCKED);
    assert_string_equal(failure.detail, "held by short");
    close_ledger(ledger);
}

/* Another process opened the environment first, with a reader table of two slots. */
static void a_short_reader_table_is_told(void **state) {
    int ends[2], back[2];
    char byte = 0;
    struct ledger_options options = options_for(*state);
    struct ledger *ledger;
    struct ledger_opened opened;
    struct ledger_failure failure;
    close_ledger(open_with(&options));
    assert_int_equal(unlink(path_in(*state, "lock.mdb")), 0);
    assert_int_equal(pipe(ends) | pipe(back), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        MDB_env *env;
        close(back[1]);
        if (mdb_env_create(&env) != 0 || mdb_env_set_maxreaders(env, 2) != 0 ||
            mdb_env_open(env, *state, MDB_RDONLY, 0600) != 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        _exit(read(back[0], &byte, 1) != 0);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    options.readers = 1000;
    assert_int_equal(ledger_open(&options, &ledger, &opened, &failure), 0);
    assert_true(opened.reader_slots_short);
    book(ledger, "executing");
    assert_int_equal(count_of(ledger, NULL), 1);
    close_ledger(ledger);
    close(back[0]);
    close(back[1]);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        in_directory(a_second_opening_in_this_process_is_refused),
        in_directory(a_second_opening_by_another_path_is_refused),
        in_directory(another_process_is_refused_until_this_one_closes),
        in_directory(a_child_does_not_keep_the_lock),
        in_directory(a_killed_holder_leaves_no_lock),
        in_directory(a_long_holder_is_cut),
        in_directory(a_short_reader_table_is_told),
    };
    self = arguments[0];
    if (count > 1)
        return be_the_other(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
