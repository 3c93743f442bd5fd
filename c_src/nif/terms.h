/* Terms to core structures and back; nothing else. Strings are binaries on both sides: no atom
 * is made from stored data. Thread class: any. */
#ifndef COST_LEDGER_TERMS_H
#define COST_LEDGER_TERMS_H

#include <erl_nif.h>
#include <stdbool.h>

#include "../core/ledger.h"

/* All atoms that the library uses, made once at load. */
#define ATOMS(X)                                                                                   \
    X(ok)                                                                                          \
    X(error)                                                                                       \
    X(undefined)                                                                                   \
    X(true)                                                                                        \
    X(false)                                                                                       \
    X(all)                                                                                         \
    X(infinity)                                                                                    \
    X(none)                                                                                        \
    X(nil)                                                                                         \
    X(manual)                                                                                      \
    X(total)                                                                                       \
    X(closed)                                                                                      \
    X(undeclared)                                                                                  \
    X(budget_exhausted)                                                                            \
    X(overloaded)                                                                                  \
    X(no_writer)                                                                                   \
    X(unknown)                                                                                     \
    X(never)                                                                                       \
    X(id)                                                                                          \
    X(kind)                                                                                        \
    X(status)                                                                                      \
    X(duration_ms)                                                                                 \
    X(cost)                                                                                        \
    X(credits)                                                                                     \
    X(tokens)                                                                                      \
    X(names)                                                                                       \
    X(change)                                                                                      \
    X(invocation)                                                                                  \
    X(run)                                                                                         \
    X(grant)                                                                                       \
    X(release)                                                                                     \
    X(correction)                                                                                  \
    X(policy)                                                                                      \
    X(reset)                                                                                       \
    X(price)                                                                                       \
    X(completed)                                                                                   \
    X(failed)                                                                                      \
    X(aborted)                                                                                     \
    X(created)                                                                                     \
    X(gate_in_memory)                                                                              \
    X(reader_slots_short)                                                                          \
    X(filesystem)                                                                                  \
    X(map_size)                                                                                    \
    X(last_id)                                                                                     \
    X(entries)                                                                                     \
    X(data_bytes)                                                                                  \
    X(created_at)                                                                                  \
    X(currency)                                                                                    \
    X(record)                                                                                      \
    X(reserve)                                                                                     \
    X(settle)                                                                                      \
    X(meter)                                                                                       \
    X(transfer)                                                                                    \
    X(abort)                                                                                       \
    X(withdraw)                                                                                    \
    X(import)                                                                                      \
    X(denied)                                                                                      \
    X(conflict)                                                                                    \
    X(limit)                                                                                       \
    X(soft)                                                                                        \
    X(required)                                                                                    \
    X(too_many_values)                                                                             \
    X(normal)                                                                                      \
    X(approaching)                                                                                 \
    X(critical)                                                                                    \
    X(exhausted)                                                                                   \
    X(low)                                                                                         \
    X(deny)                                                                                        \
    X(degrade)                                                                                     \
    X(warn)                                                                                        \
    X(rolling)                                                                                     \
    X(calendar)                                                                                    \
    X(day)                                                                                         \
    X(week)                                                                                        \
    X(month)                                                                                       \
    X(lifetime)                                                                                    \
    X(invocations)                                                                                 \
    X(completed_invocations)                                                                       \
    X(completed_cost)                                                                              \
    X(completed_credits)                                                                           \
    X(rule)                                                                                        \
    X(scope)                                                                                       \
    X(measure)                                                                                     \
    X(window)                                                                                      \
    X(on_exhausted)                                                                                \
    X(used)                                                                                        \
    X(held)                                                                                        \
    X(remaining)                                                                                   \
    X(percent)                                                                                     \
    X(level)                                                                                       \
    X(resets_at)                                                                                   \
    X(held_until)                                                                                  \
    X(forecast)                                                                                    \
    X(period)                                                                                      \
    X(amount)                                                                                      \
    X(reason)                                                                                      \
    X(grace)                                                                                       \
    X(tier)                                                                                        \
    X(denials)                                                                                     \
    X(threshold)                                                                                   \
    X(warning)                                                                                     \
    X(expired)                                                                                     \
    X(building)                                                                                    \
    X(client_id)                                                                                   \
    X(link)                                                                                        \
    X(hold)                                                                                        \
    X(parent)                                                                                      \
    X(policy_version)                                                                              \
    X(flags)                                                                                       \
    X(owner)                                                                                       \
    X(deadline)                                                                                    \
    X(extend_ms)                                                                                   \
    X(open_children)                                                                               \
    X(children)                                                                                    \
    X(metered)                                                                                     \
    X(holds)                                                                                       \
    X(done)                                                                                        \
    X(more)                                                                                        \
    X(boot_id)                                                                                     \
    X(state)                                                                                       \
    X(org)                                                                                         \
    X(project)                                                                                     \
    X(user)                                                                                        \
    X(agent)                                                                                       \
    X(model)                                                                                       \
    X(provider)                                                                                    \
    X(prompt_type)                                                                                 \
    X(timestamp)                                                                                   \
    X(input)                                                                                       \
    X(output)                                                                                      \
    X(cache_read)                                                                                  \
    X(cache_creation)                                                                              \
    X(reasoning)                                                                                   \
    X(tool_calls)                                                                                  \
    X(external_requests)                                                                           \
    X(penalties)                                                                                   \
    X(breakdown)                                                                                   \
    X(unit_prices)                                                                                 \
    X(cache_savings)                                                                               \
    X(overrun)                                                                                     \
    X(late)                                                                                        \
    X(completes)                                                                                   \
    X(unattended)                                                                                  \
    X(occurred_at)                                                                                 \
    X(run_id)                                                                                      \
    X(parent_run)                                                                                  \
    X(redacts)                                                                                     \
    X(corrects)                                                                                    \
    X(redacted_by)                                                                                 \
    X(redaction)                                                                                   \
    X(newest)                                                                                      \
    X(oldest)                                                                                      \
    X(too_deep)                                                                                    \
    X(too_much)                                                                                    \
    X(out_of_memory)                                                                               \
    X(refused)                                                                                     \
    X(pruned)                                                                                      \
    X(kept_from)

#define DECLARE_ATOM(name) extern ERL_NIF_TERM atom_##name;
ATOMS(DECLARE_ATOM)
#undef DECLARE_ATOM

void terms_load(ErlNifEnv *env);

ERL_NIF_TERM make_text(ErlNifEnv *env, struct ledger_text text);
/* {Name :: atom(), Text :: binary()}: what failed, and what to do about it. */
ERL_NIF_TERM make_reason(ErlNifEnv *env, int code, const char *detail);
/* {error, {Name, Text}} */
ERL_NIF_TERM make_failure(ErlNifEnv *env, const struct ledger_failure *failure);
ERL_NIF_TERM make_error(ErlNifEnv *env, int code);
/* {error, {pruned, Ms}}: it is kept from then on. */
ERL_NIF_TERM make_pruned(ErlNifEnv *env, uint64_t kept_from_us);
ERL_NIF_TERM make_kind(enum ledger_kind kind);
ERL_NIF_TERM make_status(enum ledger_status status);
bool get_kind(ERL_NIF_TERM term, enum ledger_kind *kind);
bool get_status(ERL_NIF_TERM term, enum ledger_status *status);
ERL_NIF_TERM make_entry(ErlNifEnv *env, const struct ledger_entry *entry);
/* An integer of any size. */
ERL_NIF_TERM make_sum(ErlNifEnv *env, ledger_sum sum);
ERL_NIF_TERM make_names(ErlNifEnv *env, const struct ledger_text names[DIMENSION_LIMIT]);
void put_key(ErlNifEnv *env, ERL_NIF_TERM *map, ERL_NIF_TERM key, ERL_NIF_TERM value);
ERL_NIF_TERM make_policy(ErlNifEnv *env, const struct ledger_policy *policy);

/* The text lies in the term: it lives as long as the call. Accepts binaries only. */
bool get_text(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_text *text);
bool get_word(ErlNifEnv *env, ERL_NIF_TERM term, uint64_t *word);
/* A copy with a zero at the end, for paths; false when it is too long or has a zero inside. */
bool get_path(ErlNifEnv *env, ERL_NIF_TERM term, char *path, size_t size);

/* The map of policy.h, with binaries for strings; for policy_free(). */
bool get_policy(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_policy *policy);

/* [{Dimension :: pos_integer(), Name :: binary()}]; `names` are zeroed before. */
bool get_names(ErlNifEnv *env, ERL_NIF_TERM list, struct ledger_text names[DIMENSION_LIMIT]);

/* The tuple of cost_ledger_nif:encode/1. `change` holds what it says in entry->change, for
 * entry_buffer_free(). */
bool get_entry(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry,
               struct entry_buffer *change, struct ledger_text *extra);

#endif
