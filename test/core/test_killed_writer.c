/* A writer that is killed in the middle of its work, and readers beside one that works. */
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Books until it is killed, and says each id after it was told that it is booked. */
static void book_for_ever(const char *directory, int to) {
    struct ledger *ledger = open_ledger(directory);
    for (;;) {
        struct drafts drafts = {0};
        struct ledger_entry entry = invocation("executing");
        for (int i = 0; i < 5; i++)
            add_draft(&drafts, &entry);
        if (commit(ledger, &drafts, ledger_now(ledger)) != 0)
            _exit(1);
        for (size_t i = 0; i < drafts.count; i++)
            if (write(to, &drafts.requests[i].id, sizeof drafts.requests[i].id) < 0)
                _exit(1);
        free_drafts(&drafts);
    }
}

static bool is_there(void *context, const struct ledger_entry *entry) {
    *(uint64_t *)context = entry->id;
    return true;
}

static void a_killed_writer_loses_nothing_it_acknowledged(void **state) {
    for (size_t i = rounds(20); i > 0; i--) {
        int ends[2];
        uint64_t id, found, acknowledged = 0;
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            book_for_ever(*state, ends[1]);
        }
        close(ends[1]);
        assert_int_equal(read(ends[0], &id, sizeof id), sizeof id);
        usleep((useconds_t)random_below(20000));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        struct ledger *ledger = open_ledger(*state);
        do {
            acknowledged++;
            assert_int_equal(ledger_fetch(ledger, id, is_there, &found), 0);
            assert_int_equal(found, id);
        } while (read(ends[0], &id, sizeof id) == sizeof id);
        close(ends[0]);
        assert_true(acknowledged >= 1);
        assert_int_equal(facts_of(ledger).entries % 5, 0); /* batches are whole */
        assert_books_agree(ledger);
        book_many(ledger, "executing", 5);
        close_ledger(ledger);
    }
}

/* ---- readers ------------------------------------------------------------------------------ */

struct reader {
    struct ledger *ledger;
    _Atomic bool *stop;
    size_t views;
    bool wrong;
};

struct view {
    uint64_t total;
    uint64_t sum;
};

static void add_view(void *context, const struct ledger_counts *counts) {
    struct view *view = context;
    if (counts->state.data == NULL)
        view->total = counts->all;
    else
        view->sum += counts->all;
}

struct order {
    uint64_t last;
    bool wrong;
};

static void is_older(void *context, const struct ledger_entry *entry,
                     const struct ledger_payload *payload) {
    struct order *order = context;
    (void)payload;
    order->wrong = order->wrong || entry->id >= order->last;
    order->last = entry->id;
}

static void *read_on(void *context) {
    static const uint64_t windows[2] = {HOUR_MS, DAY_MS};
    struct reader *reader = context;
    uint64_t before = 0;
    while (!atomic_load(reader->stop) || reader->views == 0) {
        struct view view = {0};
        struct ledger_list_query newest = list_of(KINDS_OF_WORK);
        struct order order = {.last = UINT64_MAX};
        struct ledger_page page;
        int64_t now_us;
        newest.limit = 40;
        /* LMDB's reader takes a number, then the page of that number, which the commit after the
         * next overwrites before it is counted: one that is interrupted in between may be ahead of
         * the next reader, by that one commit, and sees all of it. */
        int rc = ledger_count(reader->ledger, NULL, windows, add_view, &view, &now_us);
        if (rc != 0 || view.sum != view.total || view.total + 6 < before || view.total % 6 != 0)
            reader->wrong = true;
        if (ledger_list(reader->ledger, &newest, is_older, &order, &page) != 0 || order.wrong ||
            !page.total_known || page.total % 6 != 0)
            reader->wrong = true;
        ledger_allowed(reader->ledger, 1);
        before = view.total;
        reader->views++;
    }
    return NULL;
}

/* Six threads, four read transactions: readers wait for each other, never for the writer. */
static void readers_see_whole_batches_only(void **state) {
    struct ledger *ledger = open_ledger(*state);
    _Atomic bool stop = false;
    pthread_t threads[6];
    struct reader readers[6];
    for (size_t i = 0; i < LENGTH(readers); i++) {
        readers[i] = (struct reader){.ledger = ledger, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    for (size_t i = rounds(300); i > 0; i--) {
        struct drafts drafts = {0};
        struct ledger_entry executing = invocation("executing"), planning = invocation("planning");
        for (int n = 0; n < 3; n++) {
            add_draft(&drafts, &executing);
            add_draft(&drafts, &planning);
        }
        assert_int_equal(commit(ledger, &drafts, ledger_now(ledger)), 0);
        free_drafts(&drafts);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < LENGTH(readers); i++) {
        pthread_join(threads[i], NULL);
        assert_false(readers[i].wrong);
        assert_true(readers[i].views > 0);
    }
    assert_books_agree(ledger);
    close_ledger(ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_killed_writer_loses_nothing_it_acknowledged),
        in_directory(readers_see_whole_batches_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
