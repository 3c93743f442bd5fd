/* Every way a call on a ledger can fail: one number, one name, one sentence.
 *
 * Functions of the core return 0 or one of: an errno value (positive), an LMDB code
 * (-30799..-30780), or a LEDGER_E_ code (below -31000). ledger_error_name() turns any of them
 * into the word that Erlang sees as an atom, ledger_error_text() into a sentence that says
 * what to do. Both know every code; an unlisted errno is `io_error` with strerror's text.
 *
 * Thread class: any; nothing here blocks.
 */
#ifndef LEDGER_ERROR_H
#define LEDGER_ERROR_H

#include <stddef.h>

enum ledger_error {
    LEDGER_E_DAMAGED = -31001,
    LEDGER_E_TRUNCATED = -31002,
    LEDGER_E_FOREIGN = -31003,
    LEDGER_E_NEWER = -31004,
    LEDGER_E_DATA_MISSING = -31005,
    LEDGER_E_LOCKED = -31006,
    LEDGER_E_ALREADY_OPEN = -31007,
    LEDGER_E_CLOSED = -31008,
    LEDGER_E_NETWORK_FILESYSTEM = -31009,
    LEDGER_E_LMDB_VERSION = -31010,
    LEDGER_E_BAD_ENTRY = -31011,
    LEDGER_E_ENTRY_TOO_LARGE = -31012,
    LEDGER_E_UNDECLARED_STATE = -31013,
    LEDGER_E_BAD_POLICY = -31014,
    LEDGER_E_VERSION_CONFLICT = -31015,
    LEDGER_E_WRITER_DEAD = -31016,
    LEDGER_E_BACKWARDS = -31017,
    LEDGER_E_NOT_MANUAL = -31018,
    LEDGER_E_CRYPTO = -31019,
    LEDGER_E_NOT_DIRECTORY = -31020,
    LEDGER_E_ID_EXHAUSTED = -31021,
    LEDGER_E_OUTCOME_UNKNOWN = -31022,
    LEDGER_E_UNDECLARED_SERIES = -31023,
    LEDGER_E_BUILDING = -31024,
    LEDGER_E_BUDGET_EXHAUSTED = -31025,
    LEDGER_E_CONFLICT = -31026,
    LEDGER_E_RESOLVED = -31027,
    LEDGER_E_OPEN_CHILDREN = -31028,
    LEDGER_E_ESTIMATE_REQUIRED = -31029,
    LEDGER_E_NO_HOLD = -31030,
    LEDGER_E_NO_RULE = -31031,
    LEDGER_E_NO_PARENT = -31032,
    LEDGER_E_TOO_DEEP = -31033,
    LEDGER_E_NO_VERSION = -31034,
    LEDGER_E_NO_PRICE = -31035,
    LEDGER_E_BAD_PRICES = -31036,
    LEDGER_E_NO_ENTRY = -31037,
    LEDGER_E_OVERCORRECTED = -31038,
    LEDGER_E_NO_PAYLOAD = -31039,
    LEDGER_E_AMOUNT = -31040,
    LEDGER_E_OCCURS_AHEAD = -31041,
    LEDGER_E_OVERTAKEN = -31042,
    LEDGER_E_PRUNED = -31043,
    LEDGER_E_RETENTION = -31044,
};

/* Where a failure needs more than its code: which file, which holder, which field. */
struct ledger_failure {
    int code;
    char detail[768];
};

/* Static text, never NULL. */
const char *ledger_error_name(int code);
/* Static text, or strerror's; copied to `buffer`, which is also returned. */
const char *ledger_error_text(int code, char *buffer, size_t size);

/* Sets code and detail (printf style) and returns code. */
int ledger_fail(struct ledger_failure *failure, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The n-th row of the table, for tests that walk it; 0 past the end. */
int ledger_error_row(size_t n);

/* True for what is wrong with one request alone: nothing was put for it, the batch goes on. */
int ledger_error_is_own(int code);

/* True where the environment can no longer be trusted after a failed commit and has to be
 * closed and opened again: the disk failed in the middle, or LMDB gave up. */
int ledger_error_is_fatal(int code);

#endif
