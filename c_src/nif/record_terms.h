/* Entries as the API gives them, and sums: whole maps at once, because a page has many. Thread
 * class: any. */
#ifndef COST_LEDGER_RECORD_TERMS_H
#define COST_LEDGER_RECORD_TERMS_H

#include <erl_nif.h>

#include "../core/ledger.h"

/* Terms of names, by where the library has their texts: a page has few names in many rows. Good for
 * one environment and one call of the library. */
#define NAME_TERMS 128
struct name_terms {
    struct {
        const char *text;
        ERL_NIF_TERM term;
    } slots[NAME_TERMS];
};

/* cost_ledger_record:record(). State and prompt type are atoms where the VM has them and they are
 * ASCII; other names, and those, are binaries. Whole: a change of prices has them, up to 10,000. */
ERL_NIF_TERM make_record(ErlNifEnv *env, struct name_terms *names, const struct ledger_entry *entry,
                         const struct ledger_payload *payload, bool whole);

/* {[Column], [{Min, Max} | none]}: columns as totals.h has them; extremes of cost and duration_ms
 * of invocations, then of runs. */
ERL_NIF_TERM make_sums(ErlNifEnv *env, const struct ledger_sums *sums);

/* A tuple, by class. */
ERL_NIF_TERM make_units(ErlNifEnv *env, const uint64_t *units);

/* {Model, EffectiveFromMs, Units, AboveTokens, UnitsAbove, Entry} */
ERL_NIF_TERM make_price(ErlNifEnv *env, const struct ledger_price *price);

#endif
