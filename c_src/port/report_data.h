/* What a report says, gathered before any of it is written. Names and messages are clean (clean.h),
 * cut, and terminated; money is in nano-units, times are ledger time.
 *
 * Thread class: the job's own. */
#ifndef PORT_REPORT_DATA_H
#define PORT_REPORT_DATA_H

#include "clean.h"
#include "job.h"
#include "report.h"

#define REPORT_DAYS 31
#define REPORT_HOURS 48
#define REPORT_TOP 10
#define REPORT_BUDGETS 40
#define REPORT_FAILURES 20
#define REPORT_NAME_COLUMNS 64
#define REPORT_NAME_BYTES CLEAN_BYTES(REPORT_NAME_COLUMNS)
/* Longer than names: by it the record is found. */
#define REPORT_RUN_COLUMNS 200
#define REPORT_RUN_BYTES CLEAN_BYTES(REPORT_RUN_COLUMNS)
#define REPORT_MESSAGE_COLUMNS 300
#define REPORT_MESSAGE_BYTES CLEAN_BYTES(REPORT_MESSAGE_COLUMNS)

/* Neighbouring days or hours, the last of them that of the period's end. */
struct report_chart {
    bool is_hours;
    size_t count;
    struct report_bar {
        int64_t start_us; /* of the day or hour; what the period leaves out of it does not count */
        struct totals totals;
    } bars[REPORT_HOURS];
};

/* Sums by the values of a dimension, what cost most first. */
struct report_group {
    const char *dimension;
    bool is_building; /* there are no sums yet */
    size_t count;
    struct report_value {
        char name[REPORT_NAME_BYTES];
        struct totals totals;
    } values[REPORT_TOP];
    uint64_t other_count;
    struct totals others;  /* of the values that are not among them */
    struct totals without; /* of what has no value there */
    bool has_without;
};
#define REPORT_GROUPS 6

struct report_budget {
    char name[REPORT_NAME_BYTES];
    char scope[REPORT_NAME_BYTES];
    char window[32];
    const char *measure;
    bool is_money; /* else a count */
    bool is_unlimited;
    ledger_sum used, held, limit;
    uint64_t percent;
    enum ledger_level level;
    const char *effect;    /* NULL: it denies */
    uint64_t resets_at_us; /* 0: nothing to say, UINT64_MAX: never */
};

struct report_failure {
    uint64_t id;
    const char *status;
    const char *kind;
    char state[REPORT_NAME_BYTES]; /* this and the next three: empty where there is none */
    char agent[REPORT_NAME_BYTES];
    char run_id[REPORT_RUN_BYTES];
    char message[REPORT_MESSAGE_BYTES];
    bool has_cost;
    int64_t cost;
};

struct report {
    char directory[CLEAN_BYTES(1024)];
    struct ledger_facts facts;
    int64_t now_us;
    uint64_t since, until; /* of the period, until excluded */
    bool is_whole;         /* from the first entry on */
    bool is_empty;         /* nothing at all was booked */
    struct totals totals;
    struct report_chart days, hours;
    size_t group_count;
    struct report_group groups[REPORT_GROUPS];
    uint64_t budget_total; /* rules but those for each value of a dimension */
    uint64_t budgets_of_each;
    size_t budget_count; /* the fullest first */
    struct report_budget budgets[REPORT_BUDGETS];
    uint64_t failure_total;
    size_t failure_count; /* the newest first */
    struct report_failure failures[REPORT_FAILURES];
};

/* report.c's. *report is zeroed first. */
int report_gather(struct job *job, struct ledger *ledger, const struct report_request *request,
                  struct report *report);

/* Each appends to the buffer, whose `failed` tells when there was no memory. */
void report_put_text(const struct report *report, struct entry_buffer *out);
/* 0 or LEDGER_E_CRYPTO. */
int report_put_html(const struct report *report, struct entry_buffer *out);

/* Numbers as both say them. */
static inline ledger_sum report_net(const struct totals *totals) {
    return totals->column[COLUMN_COST] + totals->column[COLUMN_CORRECTED_COST];
}

static inline ledger_sum report_tokens(const struct totals *totals, enum ledger_token_class class) {
    return totals->column[COLUMN_INPUT_TOKENS + class] +
           totals->column[COLUMN_CORRECTED_INPUT_TOKENS + class];
}

static inline ledger_sum report_unpriced(const struct totals *totals) {
    return totals->column[COLUMN_UNPRICED] + totals->column[COLUMN_CORRECTED_UNPRICED] +
           totals->column[COLUMN_RUNS_UNPRICED] + totals->column[COLUMN_CORRECTED_RUNS_UNPRICED];
}

static inline ledger_sum report_failed(const struct totals *totals) {
    return totals->column[COLUMN_FAILED] + totals->column[COLUMN_RUNS_FAILED];
}

static inline ledger_sum report_aborted(const struct totals *totals) {
    return totals->column[COLUMN_ABORTED] + totals->column[COLUMN_RUNS_ABORTED];
}

#define REPORT_TIME 32
/* 2026-11-22 06:20:06; 2026-11-22; 06:20. */
char *report_time(int64_t us, char out[REPORT_TIME]);
char *report_day(int64_t us, char out[REPORT_TIME]);
char *report_hour(int64_t us, char out[REPORT_TIME]);

/* Money that stands in a column: with as many decimals as the longest of them needs. */
unsigned report_decimals(ledger_sum nanos, unsigned most);
char *report_money(ledger_sum nanos, unsigned decimals, char *out, size_t size);

extern const char *const report_levels[];
extern const char *const report_token_classes[];

#endif
