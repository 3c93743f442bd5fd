/* What reading said, for people: with the time that a ledger reaches back to, where more was asked
 * for (LEDGER_E_PRUNED). Thread class: a job's. */
#ifndef PORT_REACHED_H
#define PORT_REACHED_H

#include "../core/ledger.h"

/* ledger_fail() with that; returns rc. */
int reached_fail(struct ledger *ledger, int rc, const char *what, struct ledger_failure *failure);

#endif
