#include "price_map.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "json_bound.h"

/* A unit price is so many 10^-15 of a currency unit. */
#define UNIT_DIGITS 15
/* A larger exponent makes no difference, whatever digits 64 MiB may hold. */
#define EXPONENT_MAX INT64_C(1000000000)

static const char not_a_number[] = "the price is not a number";
static const char too_large[] = "the price is too large: at most 18446 currency units a token";
/* Told from the others by its address: not the model is at fault. */
static const char out_of_memory[] = "out of memory";

/* ---- decimals --------------------------------------------------------------------------- */

/* digits * 10^scale; digits does not end in 0 unless it is 0. */
struct decimal {
    bool negative;
    bool overflow; /* digits has more than 64 bits; scale holds */
    uint64_t digits;
    int64_t scale;
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* value * 10^power; false: more than 64 bits. */
static bool shift(uint64_t *value, int64_t power) {
    bool fits = true;
    if (*value != 0)
        for (; power > 0 && fits; power--)
            fits = !__builtin_mul_overflow(*value, 10, value);
    return fits;
}

/* Appends the digits that begin there, without the zeros at the end, which are left to the scale.
 * Returns where the digits end. */
static const char *read_digits(const char *at, struct decimal *decimal) {
    for (; is_digit(*at); at++) {
        decimal->scale++;
        if (*at == '0')
            continue;
        if (!decimal->overflow &&
            (!shift(&decimal->digits, decimal->scale) ||
             __builtin_add_overflow(decimal->digits, *at - '0', &decimal->digits)))
            decimal->overflow = true;
        decimal->scale = 0;
    }
    return at;
}

/* NULL: no digit is there. */
static const char *read_exponent(const char *at, int64_t *exponent) {
    bool negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    if (!is_digit(*at))
        return NULL;
    for (*exponent = 0; is_digit(*at); at++)
        if (*exponent < EXPONENT_MAX)
            *exponent = *exponent * 10 + (*at - '0');
    if (negative)
        *exponent = -*exponent;
    return at;
}

/* A number as JSON defines it. json-c takes more: `-.5`, `1.`, `00.5`, `NaN`. */
static bool read_decimal(const char *text, struct decimal *decimal) {
    int64_t exponent = 0, fraction = 0;
    *decimal = (struct decimal){.negative = *text == '-'};
    const char *begin = text + decimal->negative;
    const char *at = read_digits(begin, decimal);
    bool valid = at != begin && (*begin != '0' || at == begin + 1);
    if (valid && *at == '.') {
        const char *point = at;
        at = read_digits(point + 1, decimal);
        fraction = at - (point + 1);
        valid = fraction > 0;
    }
    if (valid && (*at == 'e' || *at == 'E')) {
        at = read_exponent(at + 1, &exponent);
        valid = at != NULL;
    }
    decimal->scale += exponent - fraction;
    return valid && *at == '\0';
}

/* NULL, or why it is no unit price. */
static const char *unit_price(const char *text, uint64_t *unit) {
    struct decimal decimal;
    if (!read_decimal(text, &decimal))
        return not_a_number;
    if (decimal.digits == 0 && !decimal.overflow)
        decimal = (struct decimal){0}; /* also -0.0e9 */
    int64_t power = decimal.scale + UNIT_DIGITS;
    if (decimal.negative)
        return "the price is negative";
    if (power < 0)
        return "the price is finer than 10^-15 currency units a token";
    if (decimal.overflow || !shift(&decimal.digits, power))
        return too_large;
    *unit = decimal.digits;
    return NULL;
}

static const char *read_price(struct json_object *value, uint64_t *unit) {
    if (!json_object_is_type(value, json_type_int) && !json_object_is_type(value, json_type_double))
        return not_a_number;
    /* The text of the document, but for an integer beyond 64 bits, which is the nearest within:
     * too large all the same. */
    const char *text = json_object_to_json_string(value);
    return text != NULL ? unit_price(text, unit) : out_of_memory;
}

/* ---- one model -------------------------------------------------------------------------- */

struct tier {
    bool named[TOKENS_CLASSES];
    uint64_t unit[TOKENS_CLASSES];
};

struct model {
    struct tier base;
    struct tier above;
    uint64_t above_tokens;
};

static const char *const class_keys[TOKENS_CLASSES] = {
    [TOKENS_INPUT] = "input_cost_per_token",
    [TOKENS_OUTPUT] = "output_cost_per_token",
    [TOKENS_CACHE_READ] = "cache_read_input_token_cost",
    [TOKENS_CACHE_CREATION] = "cache_creation_input_token_cost",
    [TOKENS_REASONING] = "output_cost_per_reasoning_token",
};

/* What a class costs that is not named. */
static const enum ledger_token_class fallback[TOKENS_CLASSES] = {
    [TOKENS_INPUT] = TOKENS_INPUT,      [TOKENS_OUTPUT] = TOKENS_OUTPUT,
    [TOKENS_CACHE_READ] = TOKENS_INPUT, [TOKENS_CACHE_CREATION] = TOKENS_INPUT,
    [TOKENS_REASONING] = TOKENS_OUTPUT,
};

static struct ledger_text text_of(const char *word) {
    return (struct ledger_text){word, strlen(word)};
}

/* What follows `start`; NULL: the text begins otherwise. */
static const char *after(const char *text, const char *start) {
    size_t size = strlen(start);
    return strncmp(text, start, size) == 0 ? text + size : NULL;
}

static bool ends_with(const char *text, const char *end) {
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* Of "200k_tokens" 200000; 0: it is not written so. Every number has one spelling, so that no two
 * properties of a model mean the same. */
static uint64_t read_threshold(const char *text) {
    uint64_t thousands = 0;
    const char *at = text;
    if (*at != '0')
        for (; is_digit(*at) && at < text + 9; at++)
            thousands = thousands * 10 + (uint64_t)(*at - '0');
    return strcmp(at, "k_tokens") == 0 ? thousands * 1000 : 0;
}

static const char *read_above(struct model *model, enum ledger_token_class token_class,
                              const char *threshold, struct json_object *value) {
    uint64_t tokens = read_threshold(threshold);
    if (tokens == 0)
        return "the threshold is not a number of thousand tokens";
    if (model->above_tokens != 0 && model->above_tokens != tokens)
        return "the model has two thresholds";
    model->above_tokens = tokens;
    model->above.named[token_class] = true;
    return read_price(value, &model->above.unit[token_class]);
}

static const char *read_property(struct model *model, const char *key, struct json_object *value) {
    const char *wrong = NULL;
    for (int i = 0; i < TOKENS_CLASSES; i++) {
        const char *rest = after(key, class_keys[i]);
        if (rest == NULL)
            continue;
        const char *threshold = after(rest, "_above_");
        if (*rest == '\0') {
            model->base.named[i] = true;
            wrong = read_price(value, &model->base.unit[i]);
        } else if (threshold != NULL && strstr(threshold, "_above_") == NULL &&
                   ends_with(threshold, "_tokens")) {
            wrong = read_above(model, i, threshold, value);
        }
    }
    return wrong;
}

static void skip(struct price_map_row *row, const char *reason, const char *key) {
    row->skipped = reason;
    row->skipped_key = key != NULL ? text_of(key) : (struct ledger_text){0};
}

static const char *check_name(struct ledger_text name) {
    if (name.size == 0 || name.size > PRICE_MAP_MODEL_BYTES_MAX)
        return "a model's name must have 1 to 400 bytes";
    /* What json-c makes of half a surrogate pair: two names could have become one. */
    if (memmem(name.data, name.size, "\xef\xbf\xbd", 3) != NULL)
        return "the name has a character that is none: U+FFFD";
    /* Of the public map: it explains the properties, some in prose, and costs nothing. */
    if (strcmp(name.data, "sample_spec") == 0)
        return "it is the example of the format, not a model";
    return NULL;
}

static void read_properties(struct json_object *properties, struct model *model,
                            struct price_map_row *row) {
    json_object_object_foreach(properties, key, value) {
        const char *wrong = read_property(model, key, value);
        if (wrong != NULL) {
            skip(row, wrong, key);
            return;
        }
    }
    for (int i = TOKENS_INPUT; i <= TOKENS_OUTPUT; i++)
        if (row->skipped == NULL && !model->base.named[i])
            skip(row, "the model has no such price", class_keys[i]);
}

/* Input and output come first in the order of classes: the others can follow them. */
static void fill_in(const struct model *model, struct price_map_row *row) {
    const struct tier *base = &model->base, *above = &model->above;
    for (int i = 0; i < TOKENS_CLASSES; i++)
        row->unit[i] = base->named[i] ? base->unit[i] : row->unit[fallback[i]];
    row->above_tokens = model->above_tokens;
    for (int i = 0; model->above_tokens != 0 && i < TOKENS_CLASSES; i++)
        row->unit_above[i] = above->named[i]  ? above->unit[i]
                             : base->named[i] ? base->unit[i]
                                              : row->unit_above[fallback[i]];
}

static void read_model(const char *name, struct json_object *properties,
                       struct price_map_row *row) {
    struct model model = {0};
    *row = (struct price_map_row){.model = text_of(name)};
    const char *wrong = check_name(row->model);
    if (wrong == NULL && !json_object_is_type(properties, json_type_object))
        wrong = "the model has no properties: not a JSON object";
    if (wrong != NULL)
        skip(row, wrong, NULL);
    else
        read_properties(properties, &model, row);
    if (row->skipped == NULL)
        fill_in(&model, row);
}

/* ---- the document ----------------------------------------------------------------------- */

static size_t count_members(struct json_object *value) {
    size_t count = 0;
    if (json_object_is_type(value, json_type_object)) {
        json_object_object_foreach(value, key, member) {
            (void)key;
            count += 1 + count_members(member);
        }
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            count += count_members(json_object_array_get_idx(value, i));
    }
    return count;
}

static bool is_blank(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at == end;
}

struct document {
    const char *json;
    size_t size;
    size_t end; /* of what was parsed */
    size_t members;
    struct json_object *tree;
    enum json_tokener_error error;
};

static int parse(struct document *document, struct ledger_failure *failure) {
    struct json_tokener *tokener = json_tokener_new_ex(PRICE_MAP_DEPTH_MAX);
    if (tokener == NULL)
        return ledger_fail(failure, ENOMEM, "reading prices");
    /* Strict alone would refuse a line feed at the end. */
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    document->tree = json_tokener_parse_ex(tokener, document->json, (int)document->size);
    document->end = json_tokener_get_parse_end(tokener);
    document->error = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
    return 0;
}

static int check_bound(struct document *document, struct ledger_failure *failure) {
    struct json_bound bound;
    if (document->size > PRICE_MAP_BYTES_MAX)
        return ledger_fail(failure, LEDGER_E_BAD_PRICES, "the document is larger than 64 MiB");
    const char *wrong = json_bound(document->json, document->size, &bound);
    document->members = bound.members;
    return wrong == NULL
               ? 0
               : ledger_fail(failure, LEDGER_E_BAD_PRICES, "byte %zu: %s", bound.at, wrong);
}

static int check_tree(const struct document *document, struct ledger_failure *failure) {
    const char *rest = document->json + document->end;
    int rc = 0;
    if (document->error == json_tokener_continue)
        rc = ledger_fail(failure, LEDGER_E_BAD_PRICES, "the document ends too early");
    else if (document->error != json_tokener_success)
        rc = ledger_fail(failure, LEDGER_E_BAD_PRICES, "byte %zu: %s", document->end,
                         json_tokener_error_desc(document->error));
    else if (!json_object_is_type(document->tree, json_type_object))
        rc = ledger_fail(failure, LEDGER_E_BAD_PRICES, "the document is not a JSON object");
    else if (!is_blank(rest, document->json + document->size))
        rc = ledger_fail(failure, LEDGER_E_BAD_PRICES, "byte %zu: something after the end",
                         document->end);
    else if (count_members(document->tree) != document->members)
        rc = ledger_fail(failure, LEDGER_E_BAD_PRICES, "an object has one name twice");
    return rc;
}

static int each_model(struct json_object *tree, price_map_found *found, void *context,
                      struct ledger_failure *failure) {
    int rc = 0;
    json_object_object_foreach(tree, name, properties) {
        struct price_map_row row;
        read_model(name, properties, &row);
        if (row.skipped == out_of_memory)
            rc = ledger_fail(failure, ENOMEM, "reading prices");
        else
            rc = found(context, &row);
        if (rc != 0)
            break;
    }
    return rc;
}

int price_map_read(const char *json, size_t size, price_map_found *found, void *context,
                   struct ledger_failure *failure) {
    struct document document = {.json = json, .size = size};
    int rc = check_bound(&document, failure);
    if (rc == 0)
        rc = parse(&document, failure);
    if (rc == 0)
        rc = check_tree(&document, failure);
    if (rc == 0)
        rc = each_model(document.tree, found, context, failure);
    json_object_put(document.tree);
    return rc;
}
