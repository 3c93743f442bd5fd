/* The power goes at any moment: of what was written since the last sync, any part may be
 * missing. What reached the disk's door is recorded while a ledger works; from that, files are
 * made as a power cut could have left them, and opened. */
#include "support.h"

#include <stdio.h>
#include <unistd.h>

#include "faults.h"

#define SECTOR 512
#define COMMITS_MAX 200

struct image {
    char *bytes;
    size_t size;
    size_t capacity;
};

/* What was acknowledged when so many events had happened. */
struct acknowledged {
    size_t events;
    uint64_t last_id;
    uint64_t entries;
    uint64_t version;
};

static struct acknowledged acknowledged[COMMITS_MAX];
static size_t acknowledged_count;

static void grow(struct image *image, size_t size) {
    if (size > image->capacity) {
        image->bytes = realloc(image->bytes, 2 * size);
        assert_non_null(image->bytes);
        image->capacity = 2 * size;
    }
    if (size > image->size) {
        memset(image->bytes + image->size, 0, size - image->size);
        image->size = size;
    }
}

static void put(struct image *image, off_t offset, const char *bytes, size_t size) {
    grow(image, (size_t)offset + size);
    memcpy(image->bytes + offset, bytes, size);
}

/* Writes since the last sync may be there, or not, or in part; sectors are whole. */
static void put_perhaps(struct image *image, const struct disk_event *event) {
    unsigned how = (unsigned)random_below(3);
    if (how == 0)
        return;
    for (size_t at = 0; at < event->size; at += SECTOR) {
        size_t size = event->size - at < SECTOR ? event->size - at : SECTOR;
        if (how == 1 || random_below(2))
            put(image, event->offset + (off_t)at, event->bytes + at, size);
    }
}

static void apply(struct image *image, size_t cut) {
    size_t count, synced = 0;
    const struct disk_event *events = disk_events(&count);
    for (size_t i = 0; i < cut; i++)
        if (events[i].kind == DISK_SYNC)
            synced = i;
    for (size_t i = 0; i < cut; i++) {
        const struct disk_event *event = &events[i];
        if (event->kind == DISK_SIZE && (i < synced || random_below(2)))
            grow(image, (size_t)event->offset);
        else if (event->kind == DISK_WRITE && (i < synced || event->durable))
            put(image, event->offset, event->bytes, event->size);
        else if (event->kind == DISK_WRITE)
            put_perhaps(image, event);
    }
}

static void acknowledge(struct ledger *ledger) {
    struct ledger_facts facts = facts_of(ledger);
    struct acknowledged *now = &acknowledged[acknowledged_count++];
    assert_true(acknowledged_count <= COMMITS_MAX);
    disk_events(&now->events);
    now->last_id = facts.last_id;
    now->entries = facts.entries;
    now->version = ledger->policy.version;
}

static void change_limit(struct ledger *ledger) {
    struct ledger_policy policy;
    struct ledger_failure failure;
    struct ledger_change change = {.by = text("ada"), .reason = text("why")};
    uint64_t version;
    assert_int_equal(ledger_policy(ledger, &policy), 0);
    policy.rules[0].limit++;
    ledger_effects_free(&effects);
    assert_int_equal(ledger_set_policy(ledger, &policy, &change, ledger_now(ledger), &version,
                                       &effects, &failure),
                     0);
    policy_free(&policy);
}

/* One thing that a hold can be asked; those that end by themselves do so meanwhile. */
static void add_hold_request(struct drafts *drafts, uint64_t hold) {
    struct ledger_entry estimate = priced("ada", (int64_t)random_below(100));
    struct ledger_entry usage = usage_of((int64_t)random_below(100));
    estimate.names[DIMENSION_STATE] = text("planning"); /* which has no limit */
    if (hold != 0)
        add_request(drafts, random_below(2) ? OPERATION_SETTLE : OPERATION_METER, hold, &usage);
    else
        add_request(drafts, OPERATION_RESERVE, 0, &estimate)->extend_ms = random_below(HOUR_MS);
}

/* Entries of all sizes, with names that come and stay, in batches of a few; holds come and go. */
static void work(struct ledger *ledger, size_t commits) {
    static char blob[20000];
    int64_t now = ledger_now(ledger) + START_US / 1000;
    uint64_t hold = 0;
    for (size_t i = 0; i < commits; i++) {
        struct drafts drafts = {0};
        at_time(ledger, now += (int64_t)random_below(10 * MINUTE_MS * 1000));
        add_hold_request(&drafts, hold);
        for (size_t n = 1 + random_below(20); n > 0; n--) {
            char name[32];
            struct ledger_entry entry = invocation(random_below(2) ? "executing" : "planning");
            snprintf(name, sizeof name, "user %d", (int)random_below(50));
            entry.names[DIMENSION_USER] = text(name);
            if (random_below(30) == 0)
                entry.payload = (struct ledger_text){blob, 1 + random_below(sizeof blob)};
            add_draft(&drafts, &entry);
        }
        if (random_below(10) == 0) {
            change_limit(ledger);
        } else {
            assert_int_equal(commit(ledger, &drafts, now), 0);
            if (hold == 0)
                hold = drafts.requests[0].id;
            else if (random_below(2))
                hold = 0;
        }
        free_drafts(&drafts);
        acknowledge(ledger);
    }
}

/* `lost`: how many of the newest acknowledged commits may be missing. */
static void check_image(const char *directory, const struct image *image, size_t cut, size_t lost) {
    const struct acknowledged *least = NULL;
    struct ledger_options options = options_for(directory);
    for (size_t i = 0; i + lost < acknowledged_count; i++)
        if (acknowledged[i + lost].events <= cut)
            least = &acknowledged[i];
    write_file(path_in(directory, "data.mdb"), image->bytes, image->size);
    unlink(path_in(directory, "gate"));
    struct ledger *ledger = open_with(&options);
    struct ledger_facts facts = facts_of(ledger);
    if (least != NULL) {
        assert_true(facts.last_id >= least->last_id);
        assert_true(facts.entries >= least->entries);
        assert_true(ledger->policy.version >= least->version);
    }
    at_time(ledger, ledger_now(ledger) + 1000000);
    assert_books_agree(ledger);
    book(ledger, "executing");
    /* holds are of another boot now, and have ended */
    assert_int_equal(facts_of(ledger).entries, facts.entries + effects.expiry_count + 1);
    assert_int_equal(facts_of(ledger).holds, 0);
    assert_books_agree(ledger);
    close_ledger(ledger);
}

static void cut_the_power(const char *directory, bool meta_sync, size_t commits, size_t cuts) {
    struct ledger_options options = options_for(path_in(directory, "worked"));
    struct image base = {0};
    size_t events;
    char after[4096];
    snprintf(after, sizeof after, "%s", path_in(directory, "after"));
    acknowledged_count = 0;
    options.meta_sync = meta_sync;
    struct ledger *ledger = open_with(&options);
    work(ledger, 5);
    if (!meta_sync)
        assert_int_equal(mdb_env_sync(ledger->storage.env, 1), 0);
    base.bytes = read_file(path_in(directory, "worked/data.mdb"), &base.size);
    acknowledged_count = 0;
    disk_record(path_in(directory, "worked"));
    work(ledger, commits);
    disk_events(&events);
    assert_true(events > 2 * commits);
    close_ledger(ledger);
    close_ledger(open_ledger(after)); /* makes the directory */
    for (size_t i = 0; i < cuts; i++) {
        struct image image = {0};
        size_t cut = random_below(events + 1);
        put(&image, 0, base.bytes, base.size);
        apply(&image, cut);
        check_image(after, &image, cut, meta_sync ? 0 : 1);
        free(image.bytes);
    }
    free(base.bytes);
    disk_forget();
}

static void a_power_cut_loses_nothing_acknowledged(void **state) {
    cut_the_power(*state, true, 60, rounds(150));
}

static void without_synced_headers_it_loses_at_most_the_last_commit(void **state) {
    cut_the_power(*state, false, 60, rounds(150));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_directory(a_power_cut_loses_nothing_acknowledged),
        in_directory(without_synced_headers_it_loses_at_most_the_last_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
