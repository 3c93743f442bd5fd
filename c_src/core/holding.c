/* Reserving: admission and the hold itself, in one transaction; and what changes a live hold
 * without ending it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch_internal.h"
#include "status.h"

/* The parent of what is reserved, if one is named; it must live, and not be too deep. */
static int load_parent(struct batch *batch, uint64_t id, struct hold *parent, bool *has_parent) {
    MDB_dbi holds = batch_dbi(batch, DB_HOLDS);
    *has_parent = id != 0;
    if (id == 0)
        return 0;
    int rc = hold_load(batch->txn, holds, id, parent);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? LEDGER_E_NO_PARENT : rc;
    /* An invocation uses what it holds itself: there is nothing to lend. */
    if (parent->kind != KIND_RUN)
        return LEDGER_E_NO_PARENT;
    struct hold above = {0};
    uint64_t next = parent->parent;
    int depth = 2; /* this hold and its parent */
    while (rc == 0 && next != 0) {
        rc = hold_load(batch->txn, holds, next, &above);
        next = above.parent;
        depth += rc == 0; /* one that ended unattended ends the chain */
    }
    hold_free(&above);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    return depth > HOLD_DEPTH_MAX ? LEDGER_E_TOO_DEEP : 0;
}

/* Names every rule that denies, for whoever was denied. */
static int deny(struct batch *batch, const struct attempt *attempt,
                struct ledger_request *request) {
    const struct uses *uses = &batch->uses;
    struct ledger_denial *denial = malloc(sizeof *denial + uses->count * sizeof denial->rules[0]);
    if (denial == NULL)
        return ENOMEM;
    denial->count = 0;
    decision_begin(&denial->decision);
    for (size_t i = 0; i < uses->count; i++) {
        struct use *use = &uses->items[i];
        struct ledger_rule_status *status = &denial->rules[denial->count];
        int rc = use_load_grants(&batch->moment, use);
        enum rule_reason reason = use_decide(use, attempt_amount(attempt, use), attempt->critical);
        if (rc == 0)
            rc = status_fill(&batch->moment, attempt, use, reason, status);
        if (rc != 0) {
            free(denial);
            return rc;
        }
        decision_add(&denial->decision, status, reason != RULE_ADMITS);
        denial->count += reason != RULE_ADMITS;
    }
    free(request->denial);
    request->denial = denial;
    return LEDGER_E_BUDGET_EXHAUSTED;
}

/* What was asked, and what rules' default estimates added to it. */
static void set_estimate(struct hold *hold, const struct ledger_entry *estimate,
                         const struct attempt *attempt) {
    hold->given = estimate->given & (ENTRY_COST | ENTRY_CREDITS | ENTRY_TOKENS);
    hold->cost = estimate->cost;
    hold->credits = estimate->credits;
    memcpy(hold->tokens, estimate->tokens, sizeof hold->tokens);
    if (!(hold->given & ENTRY_COST) && attempt->given & 1 << HELD_COST) {
        hold->given |= ENTRY_COST;
        hold->cost = attempt->amount[HELD_COST];
    }
    if (!(hold->given & ENTRY_CREDITS) && attempt->given & 1 << HELD_CREDITS) {
        hold->given |= ENTRY_CREDITS;
        hold->credits = attempt->amount[HELD_CREDITS];
    }
    if (!(hold->given & ENTRY_TOKENS) && attempt->given & 1 << HELD_TOKENS) {
        hold->given |= ENTRY_TOKENS;
        hold->tokens[TOKENS_INPUT] = attempt->amount[HELD_TOKENS];
    }
}

/* Takes the hold's amounts in one series: from its parent as far as that goes, else anew. */
static int take_share(struct batch *batch, int family, const struct attempt *attempt,
                      struct hold *hold) {
    struct hold_share *share = &hold->shares[hold->share_count];
    struct hold_share *lender = NULL;
    int64_t delta[HELD_COLUMNS];
    struct sums *sums;
    int rc = batch_find_series(batch, family, attempt->names, true, &share->series);
    if (rc == 0)
        rc = sums_get(batch, family, share->series, attempt->names, &sums);
    if (rc != 0)
        return rc;
    hold->share_count++;
    if (attempt->parent != NULL)
        lender = hold_share_of(attempt->parent, share->series);
    for (int column = 0; column < HELD_COLUMNS; column++) {
        int64_t amount = attempt->given & 1u << column ? attempt->amount[column] : 0;
        int64_t lent = lender == NULL ? 0 : lender->held[column];
        share->held[column] = amount;
        share->drawn[column] = lent < amount ? lent : amount;
        if (lender != NULL)
            lender->held[column] -= share->drawn[column];
        delta[column] = amount - share->drawn[column];
    }
    sums_hold(sums, 1, delta, hold->deadline_us);
    return 0;
}

static uint64_t deadline_after(const struct batch *batch, uint64_t extend_ms) {
    uint64_t most = (uint64_t)LEDGER_TIME_MAX - (uint64_t)batch->moment.now_us;
    return (uint64_t)batch->moment.now_us + (extend_ms < most / 1000 ? extend_ms * 1000 : most);
}

static int make_hold(struct batch *batch, struct ledger_request *request,
                     const struct ledger_entry *estimate, const struct attempt *attempt) {
    struct ledger *ledger = batch->ledger;
    struct hold hold = {.kind = estimate->kind,
                        .extend_ms = request->extend_ms,
                        .deadline_us = deadline_after(batch, request->extend_ms),
                        .policy_version = estimate->policy_version,
                        .parent = request->hold,
                        .owner = request->text,
                        .client_id = estimate->client_id,
                        .run_id = estimate->run_id};
    memcpy(hold.boot_id, ledger->gate->header.boot_id, sizeof hold.boot_id);
    set_estimate(&hold, estimate, attempt);
    int rc = batch_next_id(batch, &hold.id);
    if (rc == 0)
        rc = batch_intern_names(batch, estimate->names, NAMED_BY_HOLD, hold.name_numbers, NULL,
                                NULL);
    for (int family = 0; rc == 0 && family <= (int)ledger->declared_count; family++)
        if (batch_has_family(batch, family, estimate->names))
            rc = take_share(batch, family, attempt, &hold);
    if (rc == 0)
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), &hold);
    if (rc == 0 && attempt->parent != NULL) {
        attempt->parent->open_children++;
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), attempt->parent);
    }
    if (rc == 0)
        rc = deadlines_push(&ledger->deadlines, hold.deadline_us, hold.id);
    request->id = hold.id;
    return rc;
}

static int collect_family(void *context, int family, const struct ledger_text *names,
                          struct uses *uses) {
    return sums_uses(context, family, names, uses);
}

int holding_reserve(struct batch *batch, struct ledger_request *request,
                    struct ledger_entry *estimate) {
    struct ledger *ledger = batch->ledger;
    struct attempt attempt = {.names = estimate->names, .critical = request->critical};
    struct uses_source source = {.policy = batch->policy,
                                 .plan = batch->plan,
                                 .declared = ledger->declared,
                                 .declared_count = ledger->declared_count,
                                 .family = collect_family,
                                 .context = batch};
    struct hold parent = {0};
    bool has_parent, admitted = false;
    if (request->text.size > HOLD_OWNER_BYTES_MAX)
        return LEDGER_E_BAD_ENTRY;
    if (estimate->policy_version > batch->policy->version)
        return LEDGER_E_NO_VERSION;
    int rc = load_parent(batch, request->hold, &parent, &has_parent);
    if (has_parent)
        attempt.parent = &parent;
    if (rc == 0)
        rc = recording_price(batch, estimate, estimate->names);
    attempt_amounts(estimate, &attempt);
    batch->uses.count = 0;
    if (rc == 0)
        rc = uses_collect(&source, estimate->names, &batch->uses);
    if (rc == 0)
        rc = attempt_estimate(&attempt, &batch->uses, &request->rule);
    if (rc == 0)
        admitted = attempt_admitted(&batch->moment, &attempt, &batch->uses, true, &rc);
    if (rc == 0)
        rc = admitted ? make_hold(batch, request, estimate, &attempt)
                      : deny(batch, &attempt, request);
    hold_free(&parent);
    return rc;
}

/* ---- live holds ------------------------------------------------------------------------- */

/* A hold that a caller names, and that must live. */
static int load_live(struct batch *batch, uint64_t id, struct hold *hold) {
    int rc = hold_load(batch->txn, batch_dbi(batch, DB_HOLDS), id, hold);
    if (rc == MDB_NOTFOUND)
        return id == 0 || id > batch->last_id ? LEDGER_E_NO_HOLD : LEDGER_E_RESOLVED;
    return rc;
}

/* The draft of what was used, with its cost where that was to be worked out. */
static int price_usage(struct batch *batch, const struct ledger_text *names,
                       struct ledger_entry *usage, struct entry_buffer *draft) {
    struct ledger_text all[DIMENSION_LIMIT];
    if (!(usage->given & ENTRY_PRICING))
        return 0;
    for (int dimension = 0; dimension < DIMENSION_LIMIT; dimension++)
        all[dimension] =
            usage->names[dimension].data != NULL ? usage->names[dimension] : names[dimension];
    int rc = recording_price(batch, usage, all);
    return rc == 0 ? entry_write_draft(draft, usage) : rc;
}

int holding_meter(struct batch *batch, struct ledger_request *request, struct ledger_entry *usage) {
    static const int64_t nothing[HELD_COLUMNS];
    struct hold hold = {0};
    struct entry_buffer draft = {0};
    struct ledger_text names[DIMENSION_LIMIT];
    int rc = load_live(batch, request->hold, &hold);
    if (rc == 0)
        rc = batch_load_names(batch, hold.name_numbers, names);
    if (rc == 0)
        rc = price_usage(batch, names, usage, &draft);
    if (rc == 0) {
        hold.metered = draft.size > 0 ? (struct ledger_text){draft.data, draft.size}
                                      : (struct ledger_text){request->draft, request->size};
        hold.deadline_us = deadline_after(batch, hold.extend_ms);
    }
    for (int family = 0; rc == 0 && family <= (int)batch->ledger->declared_count; family++) {
        uint32_t series;
        struct sums *sums;
        if (!batch_has_family(batch, family, names))
            continue;
        rc = batch_find_series(batch, family, names, true, &series);
        if (rc == 0 && hold_share_of(&hold, series) != NULL) {
            rc = sums_get(batch, family, series, names, &sums);
            if (rc == 0)
                sums_hold(sums, 0, nothing, hold.deadline_us);
        }
    }
    batch->wrote = batch->wrote || rc == 0;
    if (rc == 0)
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), &hold);
    if (rc == 0)
        rc = deadlines_push(&batch->ledger->deadlines, hold.deadline_us, hold.id);
    request->id = request->hold;
    entry_buffer_free(&draft);
    hold_free(&hold);
    return rc;
}

int holding_transfer(struct batch *batch, struct ledger_request *request) {
    struct hold hold = {0};
    if (request->text.size > HOLD_OWNER_BYTES_MAX)
        return LEDGER_E_BAD_ENTRY;
    int rc = load_live(batch, request->hold, &hold);
    if (rc == 0) {
        batch->wrote = true;
        hold.owner = request->text;
        memcpy(hold.boot_id, batch->ledger->gate->header.boot_id, sizeof hold.boot_id);
        rc = hold_store(batch->txn, batch_dbi(batch, DB_HOLDS), &hold);
    }
    request->id = request->hold;
    hold_free(&hold);
    return rc;
}
