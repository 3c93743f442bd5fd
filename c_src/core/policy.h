/* The policy in force: which states are declared, the rules that admit or deny, and settings
 * that the ledger only keeps.
 *
 * Written as a msgpack map, in `meta` under "policy":
 *
 *   {"version":  uint,
 *    "states":   [str, ...]                     in the order of their gate cells
 *    "rules":    [rule, ...]                    rule.h
 *    "settings": {str: map, ...}                absent where there are none
 *    "changed_by_entry": uint (0: the options that seeded the ledger)}
 *
 * Thread class: any; allocates, does not block.
 */
#ifndef LEDGER_POLICY_H
#define LEDGER_POLICY_H

#include <stdint.h>

#include "entry.h"
#include "rule.h"

#define POLICY_STATES_MAX 1024
#define POLICY_RULES_MAX 4096
#define POLICY_STATE_BYTES_MAX 1020 /* an atom of 255 characters of four bytes */
#define POLICY_SETTINGS_BYTES_MAX 1048576
#define POLICY_EACH_MAX 256 /* rules with `each`: every one is asked about every attempt */

struct ledger_policy {
    uint64_t version;
    uint64_t changed_by_entry;
    uint32_t state_count;
    uint32_t rule_count;
    struct ledger_text *states;
    struct ledger_rule *rules;
    uint32_t *by_name;           /* indices of the rules by their names; NULL: not known */
    struct ledger_text settings; /* a written msgpack map; size 0: none */
    char *memory;                /* what the texts point into, when the policy owns it */
};

/* A deep copy; *copy is zeroed first. 0 or ENOMEM. */
int policy_copy(const struct ledger_policy *policy, struct ledger_policy *copy);
/* Of a policy that policy_copy() or policy_read() made. */
void policy_free(struct ledger_policy *policy);

/* NULL, or what is wrong. */
const char *policy_check(const struct ledger_policy *policy);

/* Same states in the same order, same rules in any order, same settings. Versions are not looked
 * at. */
bool policy_equal(const struct ledger_policy *a, const struct ledger_policy *b);

int policy_write(struct entry_buffer *buffer, const struct ledger_policy *policy);
/* 0, ENOMEM, LEDGER_E_DAMAGED or LEDGER_E_NEWER. */
int policy_read(const void *data, size_t size, struct ledger_policy *policy);

/* The map that a `policy` entry carries:
 *   {"version": uint, "by": str, "reason": str,
 *    "previous": id of the change before, or 0,
 *    "states": [str, ...],             those that it declares
 *    "changes": [[from, to], ...]      a rule as above, or nil: there was, or is, none
 *    "settings": [from, to]}           whole maps; absent where they did not change */
int policy_write_change(struct entry_buffer *buffer, const struct ledger_policy *from,
                        const struct ledger_policy *to, struct ledger_text by,
                        struct ledger_text reason);

/* Index of a state, or -1. */
int policy_state(const struct ledger_policy *policy, struct ledger_text name);

/* The rule of that name, or NULL. */
const struct ledger_rule *policy_rule(const struct ledger_policy *policy, struct ledger_text name);

#endif
