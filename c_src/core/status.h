/* What a rule has to tell of an attempt: filled for whoever was denied, or asks.
 *
 * Thread class: those that may read LMDB. */
#ifndef LEDGER_STATUS_H
#define LEDGER_STATUS_H

#include "attempt.h"
#include "ledger.h"

/* `reason` is what use_decide() said. The texts of *status are those of the attempt's names and
 * of the rule. */
int status_fill(const struct moment *moment, const struct attempt *attempt, struct use *use,
                enum rule_reason reason, struct ledger_rule_status *status);

/* Starts and joins what several rules say together. */
void decision_begin(struct ledger_decision *decision);
void decision_add(struct ledger_decision *decision, const struct ledger_rule_status *status,
                  bool denies);

#endif
