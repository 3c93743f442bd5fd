/* cost_ledger: the core. A write-once ledger of what AI agents spend, in an LMDB file.
 *
 * This is the one header that the adapters (the NIF, programs) include. Nothing below it knows
 * of Erlang.
 *
 * Caveats
 *   - One `struct ledger` per directory; opening a second, also in another process, is
 *     LEDGER_E_LOCKED.
 *   - Calls marked "writer" must not overlap each other: the caller holds a lease. They may
 *     overlap everything else but ledger_close().
 *   - Calls marked "reader" may touch the disk and wait for a free read transaction: never on
 *     a thread that must not block. They may overlap everything but ledger_close().
 *   - ledger_allowed() and ledger_now() may be called on any thread at any time until
 *     ledger_free(), also after ledger_close(). They never wait.
 *   - Text handed to a callback is valid until the callback returns.
 *   - A fork does not inherit a ledger. Nothing may open, copy or remove lock.mdb or
 *     writer.lock while it is open.
 *
 * Times: ledger time is microseconds since the Unix epoch (clock.h). A window of W ms holds,
 * at ledger time `now`, the entries with id >= (now / 1000 - W) * 1000; it has no upper bound.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "entry.h"
#include "error.h"
#include "payloads.h"
#include "plan.h"
#include "policy.h"
#include "price.h"

#define LEDGER_FORMAT_VERSION 1
/* The last microsecond that an entry can be booked at: the end of the year 9999. */
#define LEDGER_TIME_MAX INT64_C(253402300799999999)

struct ledger;

struct ledger_options {
    const char *directory; /* made, with its parents and mode 0700, if it is not there */
    const char *holder;    /* who has it, for the message that a second opener gets */
    const char *currency;  /* of `cost`, for a new ledger: three letters */
    size_t map_size;       /* the most that the file may grow to */
    size_t max_entry_size; /* of a draft, in bytes */
    unsigned readers;      /* how many threads may read at once */
    bool meta_sync;        /* false: a power cut may lose the last commit, but nothing else */
    enum clock_mode clock;
    uint64_t created_at_us; /* of a new ledger that goes on with what another was, whose policy
                               keeps its version; 0: it begins now */
    const struct ledger_policy *policy; /* seeds a new ledger; an old one keeps its own */
    /* Families of series besides that of the states; those that an old ledger does not have are
     * built by ledger_build(). */
    const struct declared_series *series;
    size_t series_count;
    const uint8_t *boot_id; /* GATE_BOOT_ID_BYTES, of the process that owners of holds live in;
                               NULL: a random one of this opening */
};

/* What the opener should be told although opening succeeded. */
struct ledger_opened {
    bool created;
    bool reader_slots_short; /* another process fixed the reader table too small */
    bool gate_in_memory;     /* the disk is full: nobody else can read the gate page */
    bool building;           /* series were declared that ledger_build() has to build */
    const char *filesystem;  /* NULL, or the name of one whose durability is in doubt */
    uint64_t last_id;
};

/* Dirty; may take long on a slow disk. On failure *ledger is NULL and `failure` says why. */
int ledger_open(const struct ledger_options *options, struct ledger **ledger,
                struct ledger_opened *opened, struct ledger_failure *failure);
/* Opens a ledger to read it only, beside a process that may have it open (*held, and who:
 * `holder`). What is read is as of each call. Ledger time is that of the process that has it, else
 * the latest time that is known, and stands still. Nothing is made or changed in the directory, but
 * for the reader's slot in lock.mdb. The writers' functions must not be called. */
struct ledger_reader {
    bool held;
    bool has_gate; /* its gate page is what ledger_allowed_from() reads */
    char holder[256];
};
int ledger_open_to_read(const char *directory, unsigned readers, struct ledger **ledger,
                        struct ledger_reader *reader, struct ledger_failure *failure);

/* Opens a data file that nobody writes to, wherever it lies, to read it only: a copy, a backup.
 * Nothing is made or changed beside it. */
int ledger_open_file(const char *file, struct ledger **ledger, struct ledger_failure *failure);
/* Whether a process has the ledger in that directory open to write, and who. */
bool ledger_is_held(const char *directory, char *holder, size_t size);
/* Writes the data file of a ledger as it is now, without its free pages, to an open file, at its
 * beginning: not to a pipe. It keeps the pages of now from being used again while it lasts, and
 * does not keep the writer waiting. What the disk said, or LMDB. */
int ledger_copy(struct ledger *ledger, int file, struct ledger_failure *failure);

/* Dirty. Waits for readers, closes files and drops the lock; the gate page stays readable. The
 * caller has made sure that no writer is inside and none begins. Safe to call twice. */
void ledger_close(struct ledger *ledger);
/* Any thread; does not block. After ledger_close(), and after the last ledger_allowed(). */
void ledger_free(struct ledger *ledger);

/* ---- the gate: any thread, wait-free ------------------------------------------------------ */

/* May `state` (an index from ledger_state()) invoke now? */
bool ledger_allowed(const struct ledger *ledger, uint32_t state);
/* 0: allowed; UINT64_MAX: never; else exhausted until this ledger time. */
uint64_t ledger_allowed_from(const struct ledger *ledger, uint32_t state);
int64_t ledger_now(const struct ledger *ledger);

/* ---- writers ------------------------------------------------------------------------------ */

/* Numbers are on disk (keys.h): append only. */
enum ledger_operation {
    OPERATION_NONE = 0,    /* fails: what was sent is no request */
    OPERATION_RECORD = 1,  /* books the draft: any kind but release, policy and reset */
    OPERATION_RESERVE = 2, /* the draft is what is asked for; `hold` the parent; `text` the owner */
    OPERATION_SETTLE = 3,  /* the draft (of kind run) is what was used */
    OPERATION_RELEASE = 4, /* the draft (of kind release) */
    OPERATION_METER = 5,   /* the draft (of kind run) is what was used so far */
    OPERATION_TRANSFER = 6,  /* `text` is the new owner; the draft is of kind release */
    OPERATION_RESET = 7,     /* the draft (of kind reset); `text` names the rule */
    OPERATION_POLICY = 8,    /* ledger_set_policy() alone */
    OPERATION_ABORT = 9,     /* the owner of `hold` is gone; no draft */
    OPERATION_WITHDRAW = 10, /* releases what the reserve with token `hold` made, if it made
                                anything, and forgets its client_id; out: id of the hold */
    OPERATION_IMPORT = 11,   /* books the draft, of any kind, as it was booked in another ledger:
                                under the id `hold`, which is above all that are there
                                (LEDGER_E_OVERTAKEN) and not ahead of ledger time
                                (LEDGER_E_OCCURS_AHEAD), with its flags, digests and unit prices.
                                What has its client_id or run_id already: LEDGER_E_CONFLICT */
};

enum ledger_level { LEVEL_NORMAL, LEVEL_APPROACHING, LEVEL_CRITICAL, LEVEL_EXHAUSTED };

/* Beside the flags of an entry, which are on disk and below it: `repeated`, in an outcome. */
#define LEDGER_REPEATED (UINT64_C(1) << 31)

/* What one rule has to tell of one attempt. Sums are in the rule's measure; times are ledger
 * time, 0 where there is none. */
struct ledger_rule_status {
    const struct ledger_rule *rule;
    struct ledger_text values[RULE_SCOPE_MAX]; /* of the rule's scope, in its order */
    enum rule_reason reason;                   /* RULE_ADMITS: it does not deny */
    enum ledger_level level;
    bool is_unlimited;
    bool has_period;
    ledger_sum amount;
    ledger_sum used;
    ledger_sum held;
    ledger_sum limit;
    ledger_sum remaining;
    uint64_t percent;
    uint64_t resets_at_us; /* UINT64_MAX: never */
    uint64_t held_until_us;
    uint64_t forecast_us;
    int64_t period_start_ms;
    int64_t period_end_ms;
};

/* What the rules say together. */
struct ledger_decision {
    size_t denials;
    bool is_low_tier;
    enum ledger_level level;
    uint64_t resets_at_us;  /* the latest of those that deny */
    uint64_t held_until_us; /* the earliest */
};

struct ledger_denial {
    struct ledger_decision decision;
    size_t count;
    struct ledger_rule_status rules[];
};

/* One thing to be done, and what became of it. */
struct ledger_request {
    enum ledger_operation operation;
    const void *draft; /* entry_write_draft(); its client_id and request_digest make it
                          idempotent, as does its run_id */
    size_t size;
    uint64_t token; /* unique per request in this process; 0: none */
    uint64_t hold;
    uint64_t extend_ms; /* of reserve: how long the hold may last, and each metering extends it */
    bool critical;      /* of reserve */
    uint64_t
        redacted_by; /* of import: the entry that took the payload away, whose digest is `text` */
    struct ledger_text text;

    uint64_t id;    /* out: of the entry or hold, if rc is 0; of what conflicts */
    uint64_t flags; /* out: enum entry_flag, of the entry */
    bool repeated;  /* out: it was done before, under its client_id; nothing was done now */
    int rc;         /* out */
    struct ledger_denial *denial;   /* out, with LEDGER_E_BUDGET_EXHAUSTED; for free() */
    const struct ledger_rule *rule; /* out, with LEDGER_E_ESTIMATE_REQUIRED */
};

/* A warning that a batch gave, as it stands in the ledger. */
struct ledger_warning {
    struct ledger_rule_status status; /* `used` is what counts; the texts of `values` are the
                                    warning's own */
    uint8_t threshold;
    uint64_t id; /* the newest entry then */
    char *memory;
};

/* A hold that the ledger resolved itself. */
struct ledger_expiry {
    uint64_t hold;
    uint64_t entry;
    bool is_unpriced; /* nobody said what it cost */
};

/* What a batch brought about besides what was asked. ledger_effects_free() after. */
struct ledger_effects {
    struct ledger_warning *warnings;
    size_t warning_count;
    struct ledger_expiry *expiries;
    size_t expiry_count;
    uint64_t next_deadline_us; /* of a live hold; 0: none; 1: an empty batch is due now */
    bool building;             /* ledger_build() has work */
};
void ledger_effects_free(struct ledger_effects *effects);

/* What is nondeterministic enters here, so that the same batch does the same everywhere. */
struct ledger_batch {
    struct ledger_request *requests;
    size_t count;
    int64_t now_us;
    bool (*wanted)(void *context); /* asked just before the commit; NULL: yes */
    void *context;
};

/* Ends what is due, then does a batch, which may be empty, in one durable transaction; a bad
 * request fails alone. 0: look at each rc.
 * Otherwise nothing was written and every rc is set: LEDGER_E_WRITER_DEAD when `wanted` said
 * no, LEDGER_E_CLOSED, or what the disk said. Only LEDGER_E_OUTCOME_UNKNOWN leaves it open
 * whether something was written: the disk failed in the commit and cannot be asked. */
int ledger_commit(struct ledger *ledger, struct ledger_batch *batch, struct ledger_effects *effects,
                  struct ledger_failure *failure);

/* Adds older entries to the series that are being built, at most about `limit` of them, in a
 * transaction of its own. *done: none is left. */
int ledger_build(struct ledger *ledger, size_t limit, bool *done, struct ledger_failure *failure);

/* Removes what was archived, below a horizon that ledger_horizon() allowed, about `limit` rows of
 * it, in a transaction of its own: retention.h. Zeroed but for horizon_us before the first slice;
 * again and again until `done`. LEDGER_E_RETENTION: the horizon is not allowed any more. Where one
 * that is as late is there already, what is left of it is removed. */
struct ledger_pruning {
    uint64_t horizon_us;
    uint64_t removed; /* entries, so far */
    bool done;
    uint32_t series; /* where it goes on */
    uint64_t block;
};
int ledger_prune(struct ledger *ledger, size_t limit, struct ledger_pruning *pruning,
                 struct ledger_failure *failure);

/* Who changes the policy, and why. With a client_id and request digest it is idempotent. */
struct ledger_change {
    struct ledger_text by;
    struct ledger_text reason;
    struct ledger_text client_id; /* data NULL: none */
    const uint8_t *request_digest;
};

/* Replaces the policy if its version is still wanted->version, books who changed what and why,
 * and puts it in force before returning. The states must begin with those declared so far. A
 * change that changes nothing is not booked. *version: that in force afterwards; with
 * LEDGER_E_CONFLICT the id that has the change's client_id. LEDGER_E_PRUNED: a rule counts what was
 * removed. */
int ledger_set_policy(struct ledger *ledger, const struct ledger_policy *wanted,
                      const struct ledger_change *change, int64_t now_us, uint64_t *version,
                      struct ledger_effects *effects, struct ledger_failure *failure);

/* How many entries were booked through this structure. Any thread, wait-free. */
uint64_t ledger_booked(const struct ledger *ledger);

/* What became of a token, for a caller whose writer died: 0 with *id if it was booked,
 * MDB_NOTFOUND (-30798) if not. `booked_before`: ledger_booked() from before the request was
 * sent. When more was booked since than is remembered (65,536), it cannot be told any more:
 * LEDGER_E_OUTCOME_UNKNOWN. */
int ledger_outcome(struct ledger *ledger, uint64_t token, uint64_t booked_before, uint64_t *id,
                   uint64_t *flags);

/* About once a second: steers ledger time towards the wall clock and stores it. True when the
 * wall clock is more than a minute ahead and not followed; *ahead_us is how far (negative:
 * behind). */
bool ledger_tick(struct ledger *ledger, int64_t *ahead_us);
void ledger_accept_clock(struct ledger *ledger);
/* Manual clock only: LEDGER_E_NOT_MANUAL, LEDGER_E_BACKWARDS, LEDGER_E_ID_EXHAUSTED. */
int ledger_set_clock(struct ledger *ledger, int64_t now_us);

/* ---- readers ------------------------------------------------------------------------------ */

/* Index of a declared state, or -1. May wait for a policy change and for those who count. */
int ledger_state(struct ledger *ledger, struct ledger_text name);
/* A copy of the policy in force, for policy_free(). */
int ledger_policy(struct ledger *ledger, struct ledger_policy *copy);

/* Invocations in each window, then of all time, in one consistent view. */
struct ledger_counts {
    struct ledger_text state; /* data NULL: the sum over all entries */
    uint64_t in_window[2];
    uint64_t all;
};
typedef void ledger_counts_row(void *context, const struct ledger_counts *counts);

/* One row for the total, then one per declared state, or only for `state` if that is given
 * (an undeclared one counts what it has). *now_us: the ledger time it was counted at. */
int ledger_count(struct ledger *ledger, const struct ledger_text *state,
                 const uint64_t window_ms[2], ledger_counts_row *row, void *context,
                 int64_t *now_us);

/* A row for each rule that denies the attempt that `estimate` describes: its names' text and
 * its amounts; the rest of the entry is not looked at but for the kind. Like reserving, but for
 * what is not said, which asks for room for anything. */
typedef void ledger_rule_status_row(void *context, const struct ledger_rule_status *status);
int ledger_check(struct ledger *ledger, const struct ledger_entry *estimate, bool critical,
                 ledger_rule_status_row *row, void *context, struct ledger_decision *decision);
/* A row for each rule that such an attempt meets; `names` NULL: for each rule without `each`. */
int ledger_statuses(struct ledger *ledger, const struct ledger_text *names,
                    ledger_rule_status_row *row, void *context, struct ledger_decision *decision);

/* The account of a scope (names by dimension; all NULL: everything), in one measure: see
 * docs/budgets.md. LEDGER_E_UNDECLARED_SERIES, LEDGER_E_PRUNED. */
struct ledger_balance {
    ledger_sum granted; /* less what was taken back */
    ledger_sum used;    /* of completed calls only, where a granted rule counts only those */
    ledger_sum held;
    uint64_t percent;
};
/* Grants that are not used up, oldest first; `remaining` of the grant that `entry` is. */
typedef void ledger_grant_row(void *context, const struct ledger_entry *entry,
                              ledger_sum remaining);
int ledger_read_balance(struct ledger *ledger, const struct ledger_text *names, bool credits,
                        size_t limit, ledger_grant_row *row, void *context,
                        struct ledger_balance *balance);

/* A live hold. `estimate` and `metered` have kind, parent, policy_version, client_id, and amounts;
 * `estimate` also the run_id of the run that it becomes. */
struct ledger_live_hold {
    uint64_t id;
    uint64_t deadline_us;
    uint64_t extend_ms;
    uint64_t open_children;
    const uint8_t *boot_id; /* of the process that its owner lives in */
    struct ledger_text owner;
    struct ledger_entry estimate;
    bool is_metered;
    struct ledger_entry metered;
    struct ledger_entry children; /* amounts alone: what was booked below it so far */
};
typedef void ledger_hold_row(void *context, const struct ledger_live_hold *hold,
                             const struct ledger_text *names);
/* No row: it is not live. */
int ledger_read_hold(struct ledger *ledger, uint64_t id, ledger_hold_row *row, void *context);
/* From `from` on, at most `limit`. */
int ledger_read_holds(struct ledger *ledger, uint64_t from, size_t limit, ledger_hold_row *row,
                      void *context);

/* Which entries. Names are by dimension, DIMENSION_LIMIT of them; data NULL: any. That of
 * DIMENSION_STATUS only chooses a series. */
struct ledger_filter {
    const struct ledger_text *names;
    uint32_t kinds;    /* 1 << enum ledger_kind, of those that are wanted */
    uint32_t statuses; /* 1 << enum ledger_status, likewise; 0: whatever their status */
    uint64_t since;    /* since <= id < until */
    uint64_t until;
};

struct ledger_list_query {
    struct ledger_filter filter;
    bool oldest_first; /* else newest first */
    bool payloads;     /* tell them, too */
    uint64_t cursor;   /* `next` of the page before; 0: the first page */
    uint64_t limit;    /* at most so many are told */
    uint64_t scan;     /* at most about so many are looked at, in this call */
};

struct ledger_page {
    uint64_t matched;
    uint64_t next; /* unless done: the cursor of the next page */
    bool done;
    bool total_known;
    uint64_t total;     /* of all that match, in the whole time asked for */
    uint64_t kept_from; /* there may have been more before this time, which was removed; 0: no */
};

/* entry->names hold the text of its names. The payload is empty where it was not asked for. */
typedef void ledger_list_row(void *context, const struct ledger_entry *entry,
                             const struct ledger_payload *payload);

/* A page of entries. `row` NULL: they are counted only. A page may be short, or empty, without
 * being the last: the bound on what is looked at keeps a call from pinning old pages.
 * LEDGER_E_PRUNED: a time that was asked for lies in what was removed. */
int ledger_list(struct ledger *ledger, const struct ledger_list_query *query, ledger_list_row *row,
                void *context, struct ledger_page *page);

/* One entry of any kind with its payload, or MDB_NOTFOUND (-30798); LEDGER_E_PRUNED for an id that
 * lies in what was removed. */
int ledger_read_record(struct ledger *ledger, uint64_t id, ledger_list_row *row, void *context);
/* The record that has that run_id; one that is a live hold has no entry yet. */
int ledger_read_run(struct ledger *ledger, struct ledger_text run_id, ledger_list_row *row,
                    void *context);

/* What was booked, or is held, under a client_id or else a run_id (data NULL: none): its id, or
 * MDB_NOTFOUND. */
int ledger_find_known(struct ledger *ledger, struct ledger_text client_id,
                      struct ledger_text run_id, uint64_t *id);

struct ledger_extremes {
    bool any;
    int64_t min;
    int64_t max;
};
struct ledger_sums {
    struct totals totals;
    struct ledger_extremes extremes[4]; /* cost, duration_ms of invocations; the same of runs */
};

/* Sums of one series, that of all the filter's names (its kinds and statuses are not looked at):
 * LEDGER_E_UNDECLARED_SERIES, LEDGER_E_BUILDING; LEDGER_E_PRUNED where they would begin (but at 0)
 * or end in what was removed. */
int ledger_sum_up(struct ledger *ledger, const struct ledger_filter *filter,
                  struct ledger_sums *sums);
/* The same for each value of one more dimension, up to `limit` values in a call, after the one that
 * has number *after. */
typedef void ledger_sums_row(void *context, struct ledger_text value,
                             const struct ledger_sums *sums);
int ledger_sum_up_by(struct ledger *ledger, const struct ledger_filter *filter, uint8_t dimension,
                     uint32_t *after, uint64_t limit, ledger_sums_row *row, void *context,
                     bool *done);

/* The price of a model that was in force at that time; UINT64_MAX: as what is booked now would be
 * priced. MDB_NOTFOUND. */
int ledger_read_price(struct ledger *ledger, struct ledger_text model, uint64_t at_us,
                      ledger_price_row *row, void *context);
/* Prices of the book, by model and time: at most `limit` of them, from that one on (price.h). */
int ledger_read_prices(struct ledger *ledger, struct ledger_text model, uint64_t from_us,
                       size_t limit, ledger_price_row *row, void *context);

/* Returns false to stop. entry->names hold the text of its names. */
typedef bool ledger_entry_row(void *context, const struct ledger_entry *entry);

/* One entry of any kind, or MDB_NOTFOUND (-30798). */
int ledger_fetch(struct ledger *ledger, uint64_t id, ledger_entry_row *row, void *context);

/* The declared families, into an array of DECLARED_MAX; how many. */
size_t ledger_series(struct ledger *ledger, struct declared_series *declared);

/* SHA-256 of a text. Any thread. 0 or LEDGER_E_CRYPTO. */
int ledger_digest(struct ledger_text text, uint8_t digest[ENTRY_DIGEST_BYTES]);

struct ledger_facts {
    uint64_t entries; /* of every kind */
    uint64_t last_id;
    uint64_t data_bytes; /* of data.mdb that are in use; its sparse tail not counted */
    uint64_t created_at_us;
    uint64_t map_size;
    char currency[8];
    uint8_t boot_id[16];
    uint64_t holds;     /* live ones */
    uint64_t kept_from; /* what is older was archived and removed; 0: everything is there */
};
int ledger_facts(struct ledger *ledger, struct ledger_facts *facts);

/* How much of what is older than `wanted` may be archived and removed: up to which id, a whole day,
 * and never less than what was. LEDGER_E_RETENTION, naming the rule that counts what is older;
 * LEDGER_E_BUILDING. */
int ledger_horizon(struct ledger *ledger, uint64_t wanted_us, uint64_t *horizon_us,
                   struct ledger_failure *failure);
/* As in the facts. */
int ledger_kept_from(struct ledger *ledger, uint64_t *us);

#endif
