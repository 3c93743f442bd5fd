#include "rule.h"

#include <string.h>

#include "error.h"
#include "pack.h"

bool text_equal(struct ledger_text a, struct ledger_text b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* ---- words ------------------------------------------------------------------------------ */

static const char *const measure_names[MEASURES] = {
    [MEASURE_INVOCATIONS] = "invocations",
    [MEASURE_COMPLETED_INVOCATIONS] = "completed_invocations",
    [MEASURE_COST] = "cost",
    [MEASURE_COMPLETED_COST] = "completed_cost",
    [MEASURE_CREDITS] = "credits",
    [MEASURE_COMPLETED_CREDITS] = "completed_credits",
    [MEASURE_TOKENS] = "tokens",
};

static const char *const window_names[] = {
    [WINDOW_ROLLING] = "rolling", [WINDOW_DAY] = "day",           [WINDOW_WEEK] = "week",
    [WINDOW_MONTH] = "month",     [WINDOW_LIFETIME] = "lifetime",
};

static const char *const effect_names[] = {
    [EFFECT_DENY] = "deny", [EFFECT_DEGRADE] = "degrade", [EFFECT_WARN] = "warn"};

static const char *const dimension_names[] = {
    [DIMENSION_STATE] = "state",       [DIMENSION_ORG] = "org",
    [DIMENSION_PROJECT] = "project",   [DIMENSION_USER] = "user",
    [DIMENSION_AGENT] = "agent",       [DIMENSION_MODEL] = "model",
    [DIMENSION_PROVIDER] = "provider", [DIMENSION_PROMPT_TYPE] = "prompt_type",
};

#define WORDS(table) (sizeof(table) / sizeof(table)[0])

const char *rule_measure_name(enum rule_measure measure) {
    return measure_names[measure];
}

const char *rule_dimension_name(uint8_t dimension) {
    return dimension < WORDS(dimension_names) ? dimension_names[dimension] : NULL;
}

/* Index of a word in a table, or -1. */
static int find_word(const msgpack_object *object, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (words[i] != NULL && unpacks_as(object, words[i]))
            return (int)i;
    return -1;
}

/* ---- what a rule must be ---------------------------------------------------------------- */

static const char *check_scope(const struct ledger_rule *rule) {
    int previous = 0;
    if (rule->scope_count > RULE_SCOPE_MAX)
        return "a rule's scope has at most 8 dimensions";
    for (uint8_t i = 0; i < rule->scope_count; i++) {
        const struct rule_part *part = &rule->scope[i];
        if (part->dimension <= previous || rule_dimension_name(part->dimension) == NULL)
            return "a rule's scope names a dimension twice, or one that it cannot have";
        if (part->value.data != NULL && part->value.size == 0)
            return "a value in a rule's scope is empty";
        previous = part->dimension;
    }
    return NULL;
}

static bool is_money(enum rule_measure measure) {
    return measure >= MEASURE_COST && measure <= MEASURE_COMPLETED_CREDITS;
}

static const char *check_warn(const struct ledger_rule *rule) {
    if (rule->warn_count > RULE_WARN_MAX)
        return "a rule has at most 8 warning thresholds";
    for (uint8_t i = 0; i < rule->warn_count; i++)
        if (rule->warn[i] == 0 || rule->warn[i] > 100 ||
            (i > 0 && rule->warn[i] <= rule->warn[i - 1]))
            return "warning thresholds must be ascending percents";
    return NULL;
}

const char *rule_check(const struct ledger_rule *rule) {
    uint64_t max = (uint64_t)ENTRY_AMOUNT_MAX;
    if (rule->name.size == 0 || rule->name.size > RULE_NAME_BYTES_MAX)
        return "a rule's name must have 1 to 1029 bytes";
    if (rule->window == WINDOW_ROLLING && (rule->window_ms == 0 || rule->window_ms > max))
        return "a rule's window must be positive";
    if (rule->offset_minutes % 15 != 0 || rule->offset_minutes > RULE_OFFSET_MAX ||
        rule->offset_minutes < -RULE_OFFSET_MAX)
        return "a rule's offset must be minutes east of UTC, a multiple of 15";
    if (!rule->granted && rule->limit != RULE_UNLIMITED && rule->limit > max)
        return "a rule's limit is beyond 10^15";
    if (rule->granted && (rule->window != WINDOW_LIFETIME || !is_money(rule->measure)))
        return "a granted limit is of cost or credits, over the lifetime";
    if (rule->grace > (rule->granted ? max : 0))
        return "grace is up to 10^15, and only of a granted limit";
    if (rule->soft > 99)
        return "a soft threshold is a percent below 100";
    if (rule->default_estimate > max)
        return "a rule's default estimate is beyond 10^15";
    const char *wrong = check_scope(rule);
    return wrong != NULL ? wrong : check_warn(rule);
}

static bool value_equal(struct ledger_text a, struct ledger_text b) {
    if (a.data == NULL || b.data == NULL)
        return a.data == b.data;
    return text_equal(a, b);
}

bool rule_same_shape(const struct ledger_rule *a, const struct ledger_rule *b) {
    if (a->scope_count != b->scope_count || a->measure != b->measure || a->window != b->window ||
        a->window_ms != b->window_ms || a->offset_minutes != b->offset_minutes)
        return false;
    for (uint8_t i = 0; i < a->scope_count; i++)
        if (a->scope[i].dimension != b->scope[i].dimension)
            return false;
    return true;
}

bool rule_same_budget(const struct ledger_rule *a, const struct ledger_rule *b) {
    if (!rule_same_shape(a, b))
        return false;
    for (uint8_t i = 0; i < a->scope_count; i++)
        if (!value_equal(a->scope[i].value, b->scope[i].value))
            return false;
    return true;
}

bool rule_equal(const struct ledger_rule *a, const struct ledger_rule *b) {
    if (!rule_same_budget(a, b) || !text_equal(a->name, b->name) || a->granted != b->granted ||
        (!a->granted && a->limit != b->limit) || a->grace != b->grace || a->effect != b->effect ||
        a->soft != b->soft || a->require != b->require || a->warn_count != b->warn_count ||
        a->default_estimate != b->default_estimate || a->max_values != b->max_values ||
        memcmp(a->warn, b->warn, a->warn_count) != 0)
        return false;
    return true;
}

/* ---- matching --------------------------------------------------------------------------- */

bool rule_has_each(const struct ledger_rule *rule) {
    for (uint8_t i = 0; i < rule->scope_count; i++)
        if (rule->scope[i].value.data == NULL)
            return true;
    return false;
}

enum rule_match rule_matches(const struct ledger_rule *rule, const struct ledger_text *names) {
    bool lacks = false;
    for (uint8_t i = 0; i < rule->scope_count; i++) {
        const struct rule_part *part = &rule->scope[i];
        struct ledger_text name = names[part->dimension];
        if (name.data == NULL)
            lacks = true;
        else if (part->value.data != NULL && !text_equal(part->value, name))
            return RULE_DIFFERS;
    }
    return lacks ? RULE_LACKS : RULE_MATCHES;
}

bool rule_replaces(const struct ledger_rule *a, const struct ledger_rule *b) {
    bool more = false;
    if (!rule_same_shape(a, b))
        return false;
    for (uint8_t i = 0; i < a->scope_count; i++) {
        struct ledger_text mine = a->scope[i].value, other = b->scope[i].value;
        if (other.data != NULL && !value_equal(mine, other))
            return false;
        more = more || (other.data == NULL && mine.data != NULL);
    }
    return more;
}

/* ---- writing ---------------------------------------------------------------------------- */

static void pack_scope(msgpack_packer *packer, const struct ledger_rule *rule) {
    msgpack_pack_map(packer, rule->scope_count);
    for (uint8_t i = 0; i < rule->scope_count; i++) {
        pack_word(packer, rule_dimension_name(rule->scope[i].dimension));
        if (rule->scope[i].value.data != NULL)
            pack_text(packer, rule->scope[i].value);
        else
            msgpack_pack_nil(packer);
    }
}

static void pack_window(msgpack_packer *packer, const struct ledger_rule *rule) {
    msgpack_pack_array(packer, rule->window == WINDOW_LIFETIME ? 1 : 2);
    pack_word(packer, window_names[rule->window]);
    if (rule->window == WINDOW_ROLLING)
        msgpack_pack_uint64(packer, rule->window_ms);
    else if (rule->window != WINDOW_LIFETIME)
        msgpack_pack_int32(packer, rule->offset_minutes);
}

static void pack_limit(msgpack_packer *packer, const struct ledger_rule *rule) {
    if (rule->granted)
        pack_word(packer, "granted");
    else if (rule->limit == RULE_UNLIMITED)
        msgpack_pack_nil(packer);
    else
        msgpack_pack_uint64(packer, rule->limit);
}

static void pack_warn(msgpack_packer *packer, const struct ledger_rule *rule) {
    msgpack_pack_array(packer, rule->warn_count);
    for (uint8_t i = 0; i < rule->warn_count; i++)
        msgpack_pack_uint8(packer, rule->warn[i]);
}

static void pack_number(msgpack_packer *packer, const char *key, uint64_t value) {
    if (value == 0)
        return;
    pack_word(packer, key);
    msgpack_pack_uint64(packer, value);
}

void rule_pack(msgpack_packer *packer, const struct ledger_rule *rule) {
    size_t optional = (rule->warn_count > 0) + (rule->soft > 0) + (rule->effect != EFFECT_DENY) +
                      (rule->grace > 0) + rule->require + (rule->default_estimate > 0) +
                      (rule->max_values > 0);
    msgpack_pack_map(packer, 5 + optional);
    pack_word(packer, "name");
    pack_text(packer, rule->name);
    pack_word(packer, "scope");
    pack_scope(packer, rule);
    pack_word(packer, "measure");
    pack_word(packer, rule_measure_name(rule->measure));
    pack_word(packer, "window");
    pack_window(packer, rule);
    pack_word(packer, "limit");
    pack_limit(packer, rule);
    if (rule->warn_count > 0) {
        pack_word(packer, "warn");
        pack_warn(packer, rule);
    }
    pack_number(packer, "soft", rule->soft);
    if (rule->effect != EFFECT_DENY) {
        pack_word(packer, "on_exhausted");
        pack_word(packer, effect_names[rule->effect]);
    }
    pack_number(packer, "grace", rule->grace);
    if (rule->require) {
        pack_word(packer, "require");
        msgpack_pack_true(packer);
    }
    pack_number(packer, "default_estimate", rule->default_estimate);
    pack_number(packer, "max_values", rule->max_values);
}

/* ---- reading ---------------------------------------------------------------------------- */

static int unpack_scope(const msgpack_object *object, struct ledger_rule *rule) {
    if (object->type != MSGPACK_OBJECT_MAP || object->via.map.size > RULE_SCOPE_MAX)
        return LEDGER_E_NEWER;
    for (uint32_t i = 0; i < object->via.map.size; i++) {
        const msgpack_object_kv *pair = &object->via.map.ptr[i];
        int dimension = find_word(&pair->key, dimension_names, WORDS(dimension_names));
        struct rule_part part = {0};
        if (dimension < 0)
            return LEDGER_E_NEWER;
        part.dimension = (uint8_t)dimension;
        if (pair->val.type != MSGPACK_OBJECT_NIL && !unpack_text(&pair->val, &part.value))
            return LEDGER_E_NEWER;
        /* A map of Erlang comes in any order. */
        uint8_t at = rule->scope_count++;
        for (; at > 0 && rule->scope[at - 1].dimension > part.dimension; at--)
            rule->scope[at] = rule->scope[at - 1];
        rule->scope[at] = part;
    }
    return 0;
}

static int unpack_window(const msgpack_object *object, struct ledger_rule *rule) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size == 0)
        return LEDGER_E_NEWER;
    int window = find_word(&object->via.array.ptr[0], window_names, WORDS(window_names));
    if (window < 0 || object->via.array.size != (window == WINDOW_LIFETIME ? 1 : 2))
        return LEDGER_E_NEWER;
    rule->window = (enum rule_window)window;
    if (window == WINDOW_LIFETIME)
        return 0;
    const msgpack_object *length = &object->via.array.ptr[1];
    if (window == WINDOW_ROLLING)
        return unpack_uint(length, UINT64_MAX, &rule->window_ms) ? 0 : LEDGER_E_DAMAGED;
    bool negative = length->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    if ((!negative &&
         (length->type != MSGPACK_OBJECT_POSITIVE_INTEGER || length->via.u64 > RULE_OFFSET_MAX)) ||
        (negative && length->via.i64 < -RULE_OFFSET_MAX))
        return LEDGER_E_DAMAGED;
    rule->offset_minutes = (int32_t)length->via.i64;
    return 0;
}

static int unpack_limit(const msgpack_object *object, struct ledger_rule *rule) {
    rule->granted = unpacks_as(object, "granted");
    if (rule->granted)
        rule->limit = 0;
    else if (object->type == MSGPACK_OBJECT_NIL)
        rule->limit = RULE_UNLIMITED;
    else if (!unpack_uint(object, UINT64_MAX, &rule->limit))
        return LEDGER_E_NEWER;
    return 0;
}

static int unpack_warn(const msgpack_object *object, struct ledger_rule *rule) {
    /* A key may come twice in bytes that are hostile: the lists must not add up. */
    if (object->type != MSGPACK_OBJECT_ARRAY || rule->warn_count > 0 ||
        object->via.array.size > RULE_WARN_MAX)
        return LEDGER_E_DAMAGED;
    for (uint32_t i = 0; i < object->via.array.size; i++) {
        uint64_t percent;
        if (!unpack_uint(&object->via.array.ptr[i], 100, &percent))
            return LEDGER_E_DAMAGED;
        rule->warn[rule->warn_count++] = (uint8_t)percent;
    }
    return 0;
}

static int unpack_number(const msgpack_object *object, uint64_t max, uint64_t *number) {
    return unpack_uint(object, max, number) ? 0 : LEDGER_E_DAMAGED;
}

static int unpack_optional(const msgpack_object *key, const msgpack_object *value,
                           struct ledger_rule *rule) {
    uint64_t number = 0;
    int rc = LEDGER_E_NEWER;
    if (unpacks_as(key, "warn")) {
        rc = unpack_warn(value, rule);
    } else if (unpacks_as(key, "soft")) {
        rc = unpack_number(value, 99, &number);
        rule->soft = (uint8_t)number;
    } else if (unpacks_as(key, "on_exhausted")) {
        int effect = find_word(value, effect_names, WORDS(effect_names));
        rule->effect = (enum rule_effect)effect;
        rc = effect < 0 ? LEDGER_E_NEWER : 0;
    } else if (unpacks_as(key, "grace")) {
        rc = unpack_number(value, UINT64_MAX, &rule->grace);
    } else if (unpacks_as(key, "require")) {
        rule->require = value->type == MSGPACK_OBJECT_BOOLEAN && value->via.boolean;
        rc = value->type == MSGPACK_OBJECT_BOOLEAN ? 0 : LEDGER_E_DAMAGED;
    } else if (unpacks_as(key, "default_estimate")) {
        rc = unpack_number(value, UINT64_MAX, &rule->default_estimate);
    } else if (unpacks_as(key, "max_values")) {
        rc = unpack_number(value, UINT64_MAX, &rule->max_values);
    }
    return rc;
}

int rule_unpack(const msgpack_object *object, struct ledger_rule *rule) {
    enum { NAME = 1, SCOPE = 2, MEASURE = 4, WINDOW = 8, LIMIT = 16, WHOLE = 31 };
    unsigned found = 0;
    int rc = 0;
    *rule = (struct ledger_rule){0};
    if (object->type != MSGPACK_OBJECT_MAP)
        return LEDGER_E_NEWER;
    for (uint32_t i = 0; rc == 0 && i < object->via.map.size; i++) {
        const msgpack_object *key = &object->via.map.ptr[i].key;
        const msgpack_object *value = &object->via.map.ptr[i].val;
        if (unpacks_as(key, "name")) {
            found |= NAME;
            rc = unpack_text(value, &rule->name) ? 0 : LEDGER_E_DAMAGED;
        } else if (unpacks_as(key, "scope")) {
            found |= SCOPE;
            rc = rule->scope_count == 0 ? unpack_scope(value, rule) : LEDGER_E_DAMAGED;
        } else if (unpacks_as(key, "measure")) {
            int measure = find_word(value, measure_names, MEASURES);
            found |= MEASURE;
            rule->measure = (enum rule_measure)measure;
            rc = measure < 0 ? LEDGER_E_NEWER : 0;
        } else if (unpacks_as(key, "window")) {
            found |= WINDOW;
            rc = unpack_window(value, rule);
        } else if (unpacks_as(key, "limit")) {
            found |= LIMIT;
            rc = unpack_limit(value, rule);
        } else {
            rc = unpack_optional(key, value, rule);
        }
    }
    return rc != 0 || found == WHOLE ? rc : LEDGER_E_NEWER;
}
