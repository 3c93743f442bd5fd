#include "reached.h"

#include "text.h"

int reached_fail(struct ledger *ledger, int rc, const char *what, struct ledger_failure *failure) {
    uint64_t kept_from;
    char time[TEXT_MAX];
    if (rc != LEDGER_E_PRUNED || ledger_kept_from(ledger, &kept_from) != 0)
        return ledger_fail(failure, rc, "%s", what);
    return ledger_fail(failure, rc, "%s: kept from %s on", what,
                       text_time((int64_t)kept_from, time));
}
