/* Where the fields stand in the array of entry.h; for the two files that write and read it. */
#ifndef LEDGER_ENTRY_FORM_H
#define LEDGER_ENTRY_FORM_H

enum position {
    AT_VERSION,
    AT_KIND,
    AT_STATUS,
    AT_NAMES,
    AT_DEFINITIONS,
    AT_DURATION,
    AT_COST,
    AT_CREDITS,
    AT_TOKENS,
    AT_BREAKDOWN,
    AT_UNIT_PRICES,
    AT_FLAGS,
    AT_DIGEST,
    AT_CLIENT_ID,
    AT_LINK,
    AT_OCCURRED_AT,
    AT_CHANGE,
    AT_RUN_ID,
    AT_HOLD,
    AT_PARENT,
    AT_POLICY_VERSION,
    AT_REQUEST_DIGEST,
    AT_PARENT_RUN,
    STORED_POSITIONS,
    AT_PRICING = STORED_POSITIONS, /* this and what follows in drafts alone */
    AT_PAYLOAD,
    AT_SALT,
    POSITIONS
};

enum form { FORM_DRAFT, FORM_STORED };

#endif
