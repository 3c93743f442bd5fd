/* A price map in the format of LiteLLM, read into exact integers.
 *
 *   { "model": { "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, ... }, ... }
 *
 * Prices are currency units (USD) a token, in decimal; a row has them in 10^-15 currency units a
 * token, read from the digits themselves. What is not such an integer is refused, not rounded.
 *
 *   class           property                            where it is absent
 *   input           input_cost_per_token                the model is skipped
 *   output          output_cost_per_token               the model is skipped
 *   cache_read      cache_read_input_token_cost         as input
 *   cache_creation  cache_creation_input_token_cost     as input
 *   reasoning       output_cost_per_reasoning_token     as output
 *
 * With `_above_<n>k_tokens` after it, a property is the price of every token of a call whose prompt
 * is longer than n thousand tokens. Absent there, input and output keep their price, and so does
 * a class that the model names without a threshold; the others follow input and output above.
 * Other properties, such as `_batches`, `_priority` and `_above_1hr`, say nothing here.
 *
 * Thread class: any. Nothing blocks, but it computes and allocates: of the order of ten times the
 * size of the document, and at most half a GiB however that is made. Nothing is kept.
 */
#ifndef LEDGER_PRICE_MAP_H
#define LEDGER_PRICE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "error.h"

#define PRICE_MAP_BYTES_MAX (64 << 20)
#define PRICE_MAP_DEPTH_MAX 16
#define PRICE_MAP_MODEL_BYTES_MAX 400

/* One model. All that it points to lasts for the call of price_map_found only, but for `skipped`,
 * which is static. */
struct price_map_row {
    struct ledger_text model;      /* UTF-8 without NUL */
    uint64_t unit[TOKENS_CLASSES]; /* 10^-15 currency units a token, every class filled in */
    uint64_t above_tokens;         /* longer prompts cost unit_above; 0: there is no such tier */
    uint64_t unit_above[TOKENS_CLASSES];
    const char *skipped;            /* NULL, or why it has no price here: then all of them are 0 */
    struct ledger_text skipped_key; /* the property at fault; absent: the model itself is */
};

/* Anything but 0 ends the reading. */
typedef int price_map_found(void *context, const struct price_map_row *row);

/* Hands each model to `found`, in the order of the document; `json` need not be terminated.
 *
 * What is wrong with one model only skips that one: a property that the table above names whose
 * value is no number, negative, finer than 10^-15 or beyond 64 bits; two thresholds; a name that
 * is empty, longer than 400 bytes, or not text.
 *
 * 0; what `found` returned; ENOMEM; or LEDGER_E_BAD_PRICES before any row was found, with the
 * reason as detail: more than 64 MiB, not a JSON object, anything after it, nested deeper than 16,
 * one name twice in an object, or what json_bound.h refuses. */
int price_map_read(const char *json, size_t size, price_map_found *found, void *context,
                   struct ledger_failure *failure);

#endif
