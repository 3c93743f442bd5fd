/* Ledgers that jobs read, each opened once however many jobs read it: opening an LMDB environment
 * twice in a process, or closing it while another handle lives, drops the locks of both.
 *
 * Thread class: any; may wait for the disk, and for another that opens. */
#ifndef PORT_LEDGERS_H
#define PORT_LEDGERS_H

#include "../core/ledger.h"

/* Of the same directory it is the same ledger. ledgers_give() after. */
int ledgers_take(const char *directory, struct ledger **ledger, struct ledger_failure *failure);
/* Closes it when nobody reads it any more. */
void ledgers_give(struct ledger *ledger);

#endif
