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
    X(version)                                                                                     \
    X(states)                                                                                      \
    X(rules)                                                                                       \
    X(changed_by_entry)                                                                            \
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
    X(boot_id)

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
ERL_NIF_TERM make_entry(ErlNifEnv *env, const struct ledger_entry *entry);
ERL_NIF_TERM make_policy(ErlNifEnv *env, const struct ledger_policy *policy);

/* The text lies in the term: it lives as long as the call. Accepts binaries only. */
bool get_text(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_text *text);
/* A copy with a zero at the end, for paths; false when it is too long or has a zero inside. */
bool get_path(ErlNifEnv *env, ERL_NIF_TERM term, char *path, size_t size);

/* {Version, [State :: binary()], [{Name, StateIndex, WindowMs, Limit | infinity}]}. The texts lie
 * in the terms, the arrays are enif_alloc'ed: release_policy() frees them. */
bool get_policy(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_policy *policy);
void release_policy(struct ledger_policy *policy);

/* The tuple that cost_ledger_record:draft/2 makes; see cost_ledger_nif:encode/1. */
bool get_entry(ErlNifEnv *env, ERL_NIF_TERM term, struct ledger_entry *entry);

#endif
