/* What rules and holds have to tell, as terms. Thread class: any; in the bracket under which the
 * structures were filled. */
#ifndef COST_LEDGER_STATUS_TERMS_H
#define COST_LEDGER_STATUS_TERMS_H

#include <erl_nif.h>

#include "../core/ledger.h"

/* The map of docs/budgets.md, but for `scope`, which is [{Dimension, Value :: binary()}]. Without
 * `reason` and `amount` where the rule does not deny. */
ERL_NIF_TERM make_rule_status(ErlNifEnv *env, const struct ledger_rule_status *status);
/* #{denials, tier, level, resets_at, held_until} */
ERL_NIF_TERM make_decision(ErlNifEnv *env, const struct ledger_decision *decision);
/* {Decision, [RuleStatus]} */
ERL_NIF_TERM make_denial(ErlNifEnv *env, const struct ledger_denial *denial);
/* {NextDeadlineUs | none, [{warning, Map} | {expired, Hold, Entry, IsUnpriced} | building]} */
ERL_NIF_TERM make_effects(ErlNifEnv *env, const struct ledger_effects *effects);

#endif
