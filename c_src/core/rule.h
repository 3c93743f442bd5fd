/* One rule: what it limits, how it is written, and which attempts it speaks of.
 *
 * Written as a msgpack map, as part of a policy (policy.h):
 *
 *   {"name":    str,
 *    "scope":   {dimension: str | nil, ...}      {} is all; nil is a budget for each value
 *    "measure": "invocations" | "completed_invocations" | "cost" | "completed_cost" |
 *               "credits" | "completed_credits" | "tokens",
 *    "window":  ["rolling", ms] | ["day" | "week" | "month", minutes east of UTC] | ["lifetime"],
 *    "limit":   uint | nil (no limit) | "granted",
 *
 *    and only where it is not the default:
 *    "warn":             [percent, ...]          ascending
 *    "soft":             percent
 *    "on_exhausted":     "degrade" | "warn"      default: deny
 *    "grace":            uint                    of a granted limit
 *    "require":          true
 *    "default_estimate": uint
 *    "max_values":       uint}
 *
 * Thread class: any; nothing here blocks.
 */
#ifndef LEDGER_RULE_H
#define LEDGER_RULE_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "entry.h"

#define RULE_NAME_BYTES_MAX 1029 /* the longest state, and "/hour" */
#define RULE_SCOPE_MAX 8
#define RULE_WARN_MAX 8
#define RULE_UNLIMITED UINT64_MAX
#define RULE_MAX_VALUES 100000
#define RULE_OFFSET_MAX 1080 /* minutes */

enum rule_measure {
    MEASURE_INVOCATIONS,
    MEASURE_COMPLETED_INVOCATIONS,
    MEASURE_COST,
    MEASURE_COMPLETED_COST,
    MEASURE_CREDITS,
    MEASURE_COMPLETED_CREDITS,
    MEASURE_TOKENS,
    MEASURES
};

enum rule_window { WINDOW_ROLLING, WINDOW_DAY, WINDOW_WEEK, WINDOW_MONTH, WINDOW_LIFETIME };

enum rule_effect { EFFECT_DENY, EFFECT_DEGRADE, EFFECT_WARN };

/* What a rule says of an attempt. */
enum rule_reason { RULE_ADMITS, RULE_LIMIT, RULE_SOFT, RULE_REQUIRED, RULE_TOO_MANY_VALUES };

struct rule_part {
    uint8_t dimension;
    struct ledger_text value; /* data NULL: each */
};

struct ledger_rule {
    struct ledger_text name;
    uint8_t scope_count;                    /* 0: all */
    struct rule_part scope[RULE_SCOPE_MAX]; /* by dimension, ascending */
    enum rule_measure measure;
    enum rule_window window;
    uint64_t window_ms;     /* of a rolling window */
    int32_t offset_minutes; /* of a calendar window */
    uint64_t limit;         /* RULE_UNLIMITED: none; 0: never admits; not read when granted */
    bool granted;
    uint64_t grace;
    enum rule_effect effect;
    uint8_t soft; /* percent; 0: none */
    uint8_t warn_count;
    uint8_t warn[RULE_WARN_MAX]; /* percents, ascending */
    bool require;
    uint64_t default_estimate; /* 0: none */
    uint64_t max_values;       /* 0: RULE_MAX_VALUES */
};

bool text_equal(struct ledger_text a, struct ledger_text b);

/* NULL, or what is wrong. That its states are declared is the policy's to know. */
const char *rule_check(const struct ledger_rule *rule);
bool rule_equal(const struct ledger_rule *a, const struct ledger_rule *b);

void rule_pack(msgpack_packer *packer, const struct ledger_rule *rule);
/* 0, LEDGER_E_DAMAGED, or LEDGER_E_NEWER for what this code does not know: a rule that is not
 * understood must not be skipped. Texts point into the object. */
int rule_unpack(const msgpack_object *object, struct ledger_rule *rule);

const char *rule_measure_name(enum rule_measure measure);
/* NULL for a dimension that has no name. */
const char *rule_dimension_name(uint8_t dimension);

bool rule_has_each(const struct ledger_rule *rule);

enum rule_match { RULE_MATCHES, RULE_DIFFERS, RULE_LACKS };
/* Whether the rule speaks of an attempt with these names (by dimension; data NULL: absent).
 * RULE_LACKS: it would, but a dimension is absent. */
enum rule_match rule_matches(const struct ledger_rule *rule, const struct ledger_text *names);

/* True when `a` takes the place of `b` where both match: the same dimensions, measure and
 * window, a value wherever `b` has one, and one more. */
bool rule_replaces(const struct ledger_rule *a, const struct ledger_rule *b);
/* The same scope, measure and window: what is remembered of the one is true of the other. */
bool rule_same_budget(const struct ledger_rule *a, const struct ledger_rule *b);
/* The same dimensions, measure and window. */
bool rule_same_shape(const struct ledger_rule *a, const struct ledger_rule *b);

#endif
