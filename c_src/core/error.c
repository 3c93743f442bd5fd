#include "error.h"

#include <errno.h>
#include <lmdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct row {
    int code;
    const char *name;
    const char *text;
};

static const struct row rows[] = {
    {LEDGER_E_DAMAGED, "damaged",
     "the ledger holds bytes that its format does not allow; restore it from a backup"},
    {LEDGER_E_TRUNCATED, "truncated",
     "data.mdb is shorter than its own header says; restore it from a backup"},
    {LEDGER_E_FOREIGN, "foreign",
     "the directory holds a data.mdb that is not a cost ledger; choose another path"},
    {LEDGER_E_NEWER, "newer_format",
     "the ledger was written by a newer version; open it with that version or a later one"},
    {LEDGER_E_DATA_MISSING, "data_missing",
     "the directory belonged to a ledger, but its data.mdb is gone or empty; restore it from a "
     "backup, or remove the directory to begin anew"},
    {LEDGER_E_LOCKED, "locked",
     "another process holds this ledger for writing; stop that one first"},
    {LEDGER_E_ALREADY_OPEN, "already_open",
     "this directory is already open in this VM; use the ledger that has it, or stop it first"},
    {LEDGER_E_CLOSED, "closed", "the ledger is closed; start it again"},
    {LEDGER_E_NETWORK_FILESYSTEM, "network_filesystem",
     "the path is on a network file system, where locks and memory maps cannot be trusted; "
     "choose a local disk"},
    {LEDGER_E_LMDB_VERSION, "lmdb_version",
     "the LMDB library found at run time is not of the 0.9 series below 0.9.70; install that"},
    {LEDGER_E_BAD_ENTRY, "bad_entry", "the entry breaks a rule of the format"},
    {LEDGER_E_ENTRY_TOO_LARGE, "entry_too_large",
     "the entry is larger than max_entry_size; record less, or open with a larger limit"},
    {LEDGER_E_UNDECLARED_STATE, "undeclared_state",
     "the state is not declared; name it in the budgets, or call set_budgets first"},
    {LEDGER_E_BAD_POLICY, "bad_policy", "the policy breaks a rule of the format"},
    {LEDGER_E_VERSION_CONFLICT, "version_conflict",
     "the policy was changed meanwhile; read it again and repeat the change"},
    {LEDGER_E_WRITER_DEAD, "writer_dead",
     "the writer died before the commit; nothing was written, try again"},
    {LEDGER_E_BACKWARDS, "backwards", "ledger time never goes back; set a later time"},
    {LEDGER_E_NOT_MANUAL, "not_manual",
     "only a ledger opened with clock => manual lets its time be set"},
    {LEDGER_E_CRYPTO, "crypto", "libcrypto could not compute a SHA-256"},
    {LEDGER_E_NOT_DIRECTORY, "not_a_directory",
     "the path names something that is not a directory; choose another path"},
    {LEDGER_E_OUTCOME_UNKNOWN, "outcome_unknown",
     "the disk failed in the middle of a commit; the entry may be in the ledger: check the disk, "
     "then look at the history before recording it again"},
    {LEDGER_E_UNDECLARED_SERIES, "undeclared_series",
     "no series of that combination of dimensions is declared; name it in the start option series"},
    {LEDGER_E_BUILDING, "building",
     "the series of that combination of dimensions is still being built; try again later"},
    {LEDGER_E_BUDGET_EXHAUSTED, "budget_exhausted", "a budget denies it"},
    {LEDGER_E_CONFLICT, "conflict", "the id was used by another request; choose a new one"},
    {LEDGER_E_RESOLVED, "resolved", "the hold was settled or released before"},
    {LEDGER_E_OPEN_CHILDREN, "open_children",
     "live holds have this one as parent; settle or release them first"},
    {LEDGER_E_ESTIMATE_REQUIRED, "estimate_required",
     "a rule limits what the attempt does not say; give an estimate, or give the rule a "
     "default_estimate"},
    {LEDGER_E_NO_HOLD, "no_hold", "this ledger never had that hold"},
    {LEDGER_E_NO_RULE, "no_rule", "no rule of that name is in force, or it cannot be reset"},
    {LEDGER_E_NO_PARENT, "no_parent", "the parent is not a live hold of kind run of this ledger"},
    {LEDGER_E_NO_VERSION, "no_version",
     "the policy has no such version yet; give one that was in force"},
    {LEDGER_E_BAD_PRICES, "bad_prices",
     "the price map cannot be read; give a JSON object as LiteLLM publishes it, complete"},
    {LEDGER_E_NO_PRICE, "no_price",
     "the price book has no price of that model at that time; give one with set_prices or "
     "import_prices, or say the cost"},
    {LEDGER_E_NO_ENTRY, "no_entry",
     "what is to be corrected or redacted is no record of this ledger; give the id of one"},
    {LEDGER_E_OVERCORRECTED, "overcorrected",
     "with this correction the record would come to less than nothing; correct by less"},
    {LEDGER_E_NO_PAYLOAD, "no_payload", "the record has nothing to redact, or was redacted before"},
    {LEDGER_E_OCCURS_AHEAD, "occurs_ahead",
     "occurred_at lies more than a minute ahead of ledger time; where ledger time is behind the "
     "wall "
     "clock, call accept_clock"},
    {LEDGER_E_OVERTAKEN, "overtaken",
     "an entry that is to keep its id is not newer than all that are there; record it now, with "
     "occurred_at"},
    {LEDGER_E_PRUNED, "pruned",
     "it reaches into the time whose entries were archived and removed; ask from then on, or look "
     "into the archive's segments"},
    {LEDGER_E_RETENTION, "retention_too_short",
     "a budget in force counts entries that would be removed; keep them for longer"},
    {LEDGER_E_AMOUNT, "amount_too_large", "at these prices the cost is beyond 10^15"},
    {LEDGER_E_TOO_DEEP, "too_deep", "holds may be nested 8 deep"},
    {LEDGER_E_ID_EXHAUSTED, "id_exhausted", "ledger time is beyond what an entry id can hold"},
    {MDB_KEYEXIST, "key_exists", "LMDB: the key is already there"},
    {MDB_NOTFOUND, "not_found", "there is no such entry"},
    {MDB_PAGE_NOTFOUND, "damaged", "LMDB: a page is missing; restore the ledger from a backup"},
    {MDB_CORRUPTED, "damaged", "LMDB: a page is corrupted; restore the ledger from a backup"},
    {MDB_PANIC, "panic",
     "LMDB: writing the header failed and the environment is being opened again; try again"},
    {MDB_VERSION_MISMATCH, "newer_format",
     "data.mdb was written by another version of LMDB; open it with that one"},
    {MDB_INVALID, "foreign",
     "data.mdb is not an LMDB file, or its header is damaged; choose another path, or restore it "
     "from a backup"},
    {MDB_MAP_FULL, "map_full", "the ledger has reached map_size; open it again with a larger one"},
    {MDB_DBS_FULL, "foreign", "LMDB: the file holds more databases than a ledger has"},
    {MDB_READERS_FULL, "readers_full",
     "LMDB: no free reader slot; other processes read this ledger, stop some of them"},
    {MDB_TLS_FULL, "too_many_threads", "LMDB: no thread-local slot is left; end some threads"},
    {MDB_TXN_FULL, "transaction_full", "LMDB: the transaction is too large; send smaller batches"},
    {MDB_CURSOR_FULL, "damaged", "LMDB: the tree is too deep; restore the ledger from a backup"},
    {MDB_PAGE_FULL, "damaged", "LMDB: a page overflowed; restore the ledger from a backup"},
    {MDB_MAP_RESIZED, "map_resized",
     "another process made the ledger larger than this map; open it again"},
    {MDB_INCOMPATIBLE, "foreign", "LMDB: a database is not of the kind that a ledger has"},
    {MDB_BAD_RSLOT, "reader_slot", "LMDB: a reader slot was used twice"},
    {MDB_BAD_TXN, "bad_transaction", "LMDB: the transaction failed before and must be aborted"},
    {MDB_BAD_VALSIZE, "bad_entry", "LMDB: a key is empty or longer than 511 bytes"},
    {MDB_BAD_DBI, "foreign", "LMDB: a database of the ledger is missing"},
    {ENOSPC, "disk_full", "the disk is full; make room, nothing that was acknowledged is lost"},
    {EDQUOT, "disk_full", "the disk quota is used up; make room, nothing acknowledged is lost"},
    {EFBIG, "disk_full", "the file may not grow further; raise the process's file size limit"},
    {EIO, "io_error", "the disk reports an error; check it, then the ledger"},
    {EACCES, "not_permitted", "the path is not accessible to this user; check owner and mode"},
    {EPERM, "not_permitted", "the path is not accessible to this user; check owner and mode"},
    {EROFS, "read_only_filesystem", "the file system is mounted read-only; choose another path"},
    {EEXIST, "exists", "there is something of that name already; choose another, or remove it"},
    {ENOTEMPTY, "exists", "the directory is not empty; choose another, or remove what is in it"},
    {ECANCELED, "cancelled", "it was cancelled; nothing was left behind"},
    {ENOTDIR, "not_a_directory", "a part of the path is not a directory; choose another path"},
    {ENOENT, "no_such_path", "the path does not exist and could not be made"},
    {ENAMETOOLONG, "path_too_long", "the path is too long for this file system"},
    {ENOMEM, "out_of_memory", "not enough memory or address space; open with a smaller map_size"},
    {EAGAIN, "reader_table_busy",
     "the lock file is used from another PID namespace or host; run one ledger per directory"},
    {EINVAL, "invalid_argument", "the operating system refused an argument"},
    {EMFILE, "too_many_files", "the process has no free file descriptor; raise its limit"},
    {ENFILE, "too_many_files", "the system has no free file descriptor; raise its limit"},
};

static const struct row *find(int code) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == code)
            return &rows[i];
    return NULL;
}

const char *ledger_error_name(int code) {
    const struct row *row = find(code);
    return row != NULL ? row->name : "io_error";
}

const char *ledger_error_text(int code, char *buffer, size_t size) {
    const struct row *row = find(code);
    if (row != NULL)
        snprintf(buffer, size, "%s", row->text);
    else if (code > 0)
        snprintf(buffer, size, "%s", strerror(code));
    else
        snprintf(buffer, size, "%s", mdb_strerror(code));
    return buffer;
}

/* A text that was cut may end in the middle of a character of UTF-8. */
static void cut_last_character(char *text) {
    size_t size = strlen(text);
    while (size > 0 && ((unsigned char)text[size - 1] & 0xc0) == 0x80)
        size--;
    if (size > 0 && (unsigned char)text[size - 1] >= 0x80)
        size--;
    text[size] = '\0';
}

int ledger_fail(struct ledger_failure *failure, int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    failure->code = code;
    int size = vsnprintf(failure->detail, sizeof failure->detail, format, arguments);
    va_end(arguments);
    if (size >= (int)sizeof failure->detail)
        cut_last_character(failure->detail);
    return code;
}

int ledger_error_row(size_t n) {
    return n < sizeof rows / sizeof rows[0] ? rows[n].code : 0;
}

int ledger_error_is_own(int code) {
    switch (code) {
    case LEDGER_E_NEWER:
    case LEDGER_E_BAD_ENTRY:
    case LEDGER_E_ENTRY_TOO_LARGE:
    case LEDGER_E_UNDECLARED_STATE:
    case LEDGER_E_UNDECLARED_SERIES:
    case LEDGER_E_BUILDING:
    case LEDGER_E_BUDGET_EXHAUSTED:
    case LEDGER_E_CONFLICT:
    case LEDGER_E_RESOLVED:
    case LEDGER_E_OPEN_CHILDREN:
    case LEDGER_E_ESTIMATE_REQUIRED:
    case LEDGER_E_NO_HOLD:
    case LEDGER_E_NO_RULE:
    case LEDGER_E_NO_PARENT:
    case LEDGER_E_TOO_DEEP:
    case LEDGER_E_NO_VERSION:
    case LEDGER_E_NO_PRICE:
    case LEDGER_E_NO_ENTRY:
    case LEDGER_E_OVERCORRECTED:
    case LEDGER_E_NO_PAYLOAD:
    case LEDGER_E_AMOUNT:
    case LEDGER_E_OCCURS_AHEAD:
    case LEDGER_E_OVERTAKEN:
    case LEDGER_E_PRUNED:
        return 1;
    default:
        return 0;
    }
}

int ledger_error_is_fatal(int code) {
    switch (code) {
    case 0:
    case MDB_MAP_FULL:
    case MDB_BAD_VALSIZE:
    case MDB_KEYEXIST:
    case MDB_TXN_FULL:
        return 0;
    default: /* errno values and LMDB's own alarms; the ledger's own codes never reach a disk */
        return code > 0 || (code >= MDB_KEYEXIST && code <= MDB_LAST_ERRCODE);
    }
}
