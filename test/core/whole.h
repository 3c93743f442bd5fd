/* A ledger with something of everything, ways to damage it, and what verifying finds in it. */
#ifndef TEST_WHOLE_H
#define TEST_WHOLE_H

#include "support.h"

#include "../../c_src/core/hold.h"
#include "../../c_src/core/verify.h"

/* What the last verify() found. */
extern struct ledger_finding found[VERIFY_FINDINGS_MAX];
extern size_t found_count;
void keep_finding(void *context, const struct ledger_finding *finding);

struct world {
    struct ledger *ledger;
    uint64_t recorded; /* with client id, run id and payload */
    uint64_t redacted;
    uint64_t corrected;
    uint64_t unattended; /* a hold that the ledger ended, and the entry that it booked */
    uint64_t ended_by;
    uint64_t price;         /* its entry */
    uint64_t parent, child; /* live holds */
};

/* One row of a database, as it was. */
struct row {
    MDB_val key, value;
    uint8_t key_bytes[512];
    uint8_t value_bytes[8192];
};

struct ledger_verify_result verify(struct ledger *ledger, size_t slice);
void print_findings(void);
void assert_clean(struct ledger *ledger);
bool is_found(const char *database, const char *key, const char *what);
void assert_found(struct ledger *ledger, const char *database, const char *key, const char *what);
uint64_t ask(struct ledger *ledger, enum ledger_operation operation, uint64_t hold,
             const struct ledger_entry *entry);
struct world make_world(const char *directory);
bool nth_row(struct ledger *ledger, enum storage_database database, uint8_t kind, size_t nth,
             struct row *row);
void put_raw(struct ledger *ledger, enum storage_database database, MDB_val key, MDB_val value);
void delete_raw(struct ledger *ledger, enum storage_database database, MDB_val key);
void damage_rows(struct ledger *ledger, enum storage_database database, uint8_t kind);
void add_a_row(struct ledger *ledger, enum storage_database database, uint8_t kind);

#endif
