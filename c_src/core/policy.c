#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "msgpack_bound.h"
#include "pack.h"

int policy_state(const struct ledger_policy *policy, struct ledger_text name) {
    for (uint32_t i = 0; i < policy->state_count; i++)
        if (text_equal(policy->states[i], name))
            return (int)i;
    return -1;
}

static int compare_text(struct ledger_text a, struct ledger_text b) {
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int by_name(const void *a, const void *b, void *rules) {
    const struct ledger_rule *all = rules;
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    int order = compare_text(all[left].name, all[right].name);
    /* Of two with one name the first comes first, and is found. */
    return order != 0 ? order : (left > right) - (left < right);
}

static void sort_by_name(struct ledger_policy *policy) {
    for (uint32_t i = 0; i < policy->rule_count; i++)
        policy->by_name[i] = i;
    qsort_r(policy->by_name, policy->rule_count, sizeof *policy->by_name, by_name, policy->rules);
}

const struct ledger_rule *policy_rule(const struct ledger_policy *policy, struct ledger_text name) {
    if (policy->by_name == NULL) {
        for (uint32_t i = 0; i < policy->rule_count; i++)
            if (text_equal(policy->rules[i].name, name))
                return &policy->rules[i];
        return NULL;
    }
    uint32_t low = 0, high = policy->rule_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_text(policy->rules[policy->by_name[middle]].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == policy->rule_count)
        return NULL;
    const struct ledger_rule *rule = &policy->rules[policy->by_name[low]];
    return text_equal(rule->name, name) ? rule : NULL;
}

void policy_free(struct ledger_policy *policy) {
    free(policy->states);
    free(policy->rules);
    free(policy->by_name);
    free(policy->memory);
    *policy = (struct ledger_policy){0};
}

/* calloc(0) may be NULL: always ask for one more. */
static int allocate(struct ledger_policy *policy, size_t states, size_t rules, size_t bytes) {
    *policy = (struct ledger_policy){0};
    policy->states = calloc(states + 1, sizeof *policy->states);
    policy->rules = calloc(rules + 1, sizeof *policy->rules);
    policy->by_name = calloc(rules + 1, sizeof *policy->by_name);
    policy->memory = malloc(bytes + 1);
    if (policy->states != NULL && policy->rules != NULL && policy->by_name != NULL &&
        policy->memory != NULL)
        return 0;
    policy_free(policy);
    return ENOMEM;
}

static struct ledger_text keep(char **memory, struct ledger_text text) {
    struct ledger_text kept = {*memory, text.size};
    memcpy(*memory, text.data, text.size);
    *memory += text.size;
    return kept;
}

/* Hands every text of a rule to `visit`: to be measured, or kept. */
static void each_text(struct ledger_rule *rule, void (*visit)(struct ledger_text *, void *),
                      void *context) {
    visit(&rule->name, context);
    for (uint8_t i = 0; i < rule->scope_count; i++)
        if (rule->scope[i].value.data != NULL)
            visit(&rule->scope[i].value, context);
}

static void measure_text(struct ledger_text *text, void *bytes) {
    *(size_t *)bytes += text->size;
}

static void keep_text(struct ledger_text *text, void *memory) {
    *text = keep(memory, *text);
}

int policy_copy(const struct ledger_policy *policy, struct ledger_policy *copy) {
    size_t bytes = policy->settings.size;
    for (uint32_t i = 0; i < policy->state_count; i++)
        bytes += policy->states[i].size;
    for (uint32_t i = 0; i < policy->rule_count; i++)
        each_text(&policy->rules[i], measure_text, &bytes);
    int rc = allocate(copy, policy->state_count, policy->rule_count, bytes);
    if (rc != 0)
        return rc;
    char *memory = copy->memory;
    copy->version = policy->version;
    copy->changed_by_entry = policy->changed_by_entry;
    copy->state_count = policy->state_count;
    copy->rule_count = policy->rule_count;
    if (policy->settings.size > 0)
        copy->settings = keep(&memory, policy->settings);
    for (uint32_t i = 0; i < policy->state_count; i++)
        copy->states[i] = keep(&memory, policy->states[i]);
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        copy->rules[i] = policy->rules[i];
        each_text(&copy->rules[i], keep_text, &memory);
    }
    sort_by_name(copy);
    return 0;
}

static const char *check_states(const struct ledger_policy *policy) {
    if (policy->state_count > POLICY_STATES_MAX)
        return "too many states: at most 1024";
    for (uint32_t i = 0; i < policy->state_count; i++) {
        struct ledger_text state = policy->states[i];
        if (state.size == 0 || state.size > POLICY_STATE_BYTES_MAX)
            return "a state's name must have 1 to 1020 bytes";
        if (text_equal(state, (struct ledger_text){"total", 5}))
            return "a state may not be named total: that is the sum of all";
        if (policy_state(policy, state) != (int)i)
            return "a state is named twice";
    }
    return NULL;
}

static bool names_declared_state(const struct ledger_policy *policy,
                                 const struct ledger_rule *rule) {
    bool names_one = rule->scope_count > 0 && rule->scope[0].dimension == DIMENSION_STATE &&
                     rule->scope[0].value.data != NULL;
    return !names_one || policy_state(policy, rule->scope[0].value) >= 0;
}

const char *policy_check(const struct ledger_policy *policy) {
    const char *wrong = check_states(policy);
    uint32_t each_count = 0;
    if (wrong == NULL && policy->rule_count > POLICY_RULES_MAX)
        wrong = "too many rules: at most 4096";
    if (wrong == NULL && policy->settings.size > POLICY_SETTINGS_BYTES_MAX)
        wrong = "the settings are larger than 1 MiB";
    for (uint32_t i = 0; wrong == NULL && i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        wrong = rule_check(rule);
        each_count += rule_has_each(rule);
        if (wrong == NULL && !names_declared_state(policy, rule))
            wrong = "a rule names an undeclared state";
        if (wrong == NULL && policy_rule(policy, rule->name) != rule)
            wrong = "a rule is named twice";
    }
    if (wrong == NULL && each_count > POLICY_EACH_MAX)
        wrong = "too many rules with `each`: at most 256";
    return wrong;
}

bool policy_equal(const struct ledger_policy *a, const struct ledger_policy *b) {
    if (a->state_count != b->state_count || a->rule_count != b->rule_count ||
        !text_equal(a->settings, b->settings))
        return false;
    for (uint32_t i = 0; i < a->state_count; i++)
        if (!text_equal(a->states[i], b->states[i]))
            return false;
    for (uint32_t i = 0; i < a->rule_count; i++) {
        const struct ledger_rule *other = policy_rule(b, a->rules[i].name);
        if (other == NULL || !rule_equal(&a->rules[i], other))
            return false;
    }
    return true;
}

/* ---- writing ---------------------------------------------------------------------------- */

/* A map that was written before, as it is. */
static void pack_written(struct entry_buffer *buffer, struct ledger_text map) {
    if (map.size > 0)
        entry_buffer_append(buffer, map.data, map.size);
    else
        entry_buffer_append(buffer, "\x80", 1); /* an empty map */
}

int policy_write(struct entry_buffer *buffer, const struct ledger_policy *policy) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    msgpack_pack_map(&packer, policy->settings.size > 0 ? 5 : 4);
    pack_word(&packer, "version");
    msgpack_pack_uint64(&packer, policy->version);
    pack_word(&packer, "states");
    msgpack_pack_array(&packer, policy->state_count);
    for (uint32_t i = 0; i < policy->state_count; i++)
        pack_text(&packer, policy->states[i]);
    pack_word(&packer, "rules");
    msgpack_pack_array(&packer, policy->rule_count);
    for (uint32_t i = 0; i < policy->rule_count; i++)
        rule_pack(&packer, &policy->rules[i]);
    if (policy->settings.size > 0) {
        pack_word(&packer, "settings");
        pack_written(buffer, policy->settings);
    }
    pack_word(&packer, "changed_by_entry");
    msgpack_pack_uint64(&packer, policy->changed_by_entry);
    return buffer->failed ? ENOMEM : 0;
}

static void pack_rule_or_nil(msgpack_packer *packer, const struct ledger_rule *rule) {
    if (rule == NULL)
        msgpack_pack_nil(packer);
    else
        rule_pack(packer, rule);
}

/* Packs the changes, or only counts them when `packer` is NULL: first what `to` has, then what
 * only `from` had. */
static size_t pack_changes(msgpack_packer *packer, const struct ledger_policy *from,
                           const struct ledger_policy *to) {
    size_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        const struct ledger_policy *side = pass == 0 ? to : from;
        for (uint32_t i = 0; i < side->rule_count; i++) {
            const struct ledger_rule *old = policy_rule(from, side->rules[i].name);
            const struct ledger_rule *new = policy_rule(to, side->rules[i].name);
            bool changed = old == NULL || new == NULL || !rule_equal(old, new);
            if (!changed || (pass == 1 && new != NULL))
                continue;
            count++;
            if (packer == NULL)
                continue;
            msgpack_pack_array(packer, 2);
            pack_rule_or_nil(packer, old);
            pack_rule_or_nil(packer, new);
        }
    }
    return count;
}

int policy_write_change(struct entry_buffer *buffer, const struct ledger_policy *from,
                        const struct ledger_policy *to, struct ledger_text by,
                        struct ledger_text reason) {
    msgpack_packer packer;
    bool settings_changed = !text_equal(from->settings, to->settings);
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    msgpack_pack_map(&packer, settings_changed ? 7 : 6);
    pack_word(&packer, "version");
    msgpack_pack_uint64(&packer, to->version);
    pack_word(&packer, "by");
    pack_text(&packer, by);
    pack_word(&packer, "reason");
    pack_text(&packer, reason);
    pack_word(&packer, "previous");
    msgpack_pack_uint64(&packer, from->changed_by_entry);
    pack_word(&packer, "states");
    msgpack_pack_array(&packer, to->state_count - from->state_count);
    for (uint32_t i = from->state_count; i < to->state_count; i++)
        pack_text(&packer, to->states[i]);
    pack_word(&packer, "changes");
    msgpack_pack_array(&packer, pack_changes(NULL, from, to));
    pack_changes(&packer, from, to);
    if (settings_changed) {
        pack_word(&packer, "settings");
        msgpack_pack_array(&packer, 2);
        pack_written(buffer, from->settings);
        pack_written(buffer, to->settings);
    }
    return buffer->failed ? ENOMEM : 0;
}

/* ---- reading ---------------------------------------------------------------------------- */

static int read_states(const msgpack_object *object, struct ledger_policy *policy) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > POLICY_STATES_MAX)
        return LEDGER_E_DAMAGED;
    free(policy->states);
    policy->states = calloc((size_t)object->via.array.size + 1, sizeof *policy->states);
    if (policy->states == NULL)
        return ENOMEM;
    policy->state_count = object->via.array.size;
    for (uint32_t i = 0; i < policy->state_count; i++)
        if (!unpack_text(&object->via.array.ptr[i], &policy->states[i]))
            return LEDGER_E_DAMAGED;
    return 0;
}

static int read_rules(const msgpack_object *object, struct ledger_policy *policy) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size > POLICY_RULES_MAX)
        return LEDGER_E_DAMAGED;
    free(policy->rules);
    policy->rules = calloc((size_t)object->via.array.size + 1, sizeof *policy->rules);
    if (policy->rules == NULL)
        return ENOMEM;
    policy->rule_count = object->via.array.size;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < policy->rule_count; i++)
        rc = rule_unpack(&object->via.array.ptr[i], &policy->rules[i]);
    return rc;
}

/* msgpack-c does not say where an object's bytes lie: they are written anew, into the policy's
 * memory, which it then owns. */
static int read_settings(const msgpack_object *object, struct ledger_policy *policy) {
    struct entry_buffer buffer = {0};
    msgpack_packer packer;
    if (object->type != MSGPACK_OBJECT_MAP || policy->memory != NULL)
        return LEDGER_E_DAMAGED;
    if (object->via.map.size == 0)
        return 0;
    msgpack_packer_init(&packer, &buffer, entry_buffer_append);
    msgpack_pack_object(&packer, *object);
    policy->memory = buffer.data;
    policy->settings = (struct ledger_text){buffer.data, buffer.size};
    return buffer.failed ? ENOMEM : 0;
}

static int read_map(const msgpack_object *object, struct ledger_policy *policy) {
    int rc = object->type == MSGPACK_OBJECT_MAP ? 0 : LEDGER_E_DAMAGED;
    for (uint32_t i = 0; rc == 0 && i < object->via.map.size; i++) {
        const msgpack_object *key = &object->via.map.ptr[i].key;
        const msgpack_object *value = &object->via.map.ptr[i].val;
        if (unpacks_as(key, "version"))
            rc = unpack_uint(value, UINT64_MAX, &policy->version) ? 0 : LEDGER_E_DAMAGED;
        else if (unpacks_as(key, "states"))
            rc = read_states(value, policy);
        else if (unpacks_as(key, "rules"))
            rc = read_rules(value, policy);
        else if (unpacks_as(key, "settings"))
            rc = read_settings(value, policy);
        else if (unpacks_as(key, "changed_by_entry"))
            rc = unpack_uint(value, UINT64_MAX, &policy->changed_by_entry) ? 0 : LEDGER_E_DAMAGED;
        else
            rc = LEDGER_E_NEWER;
    }
    return rc;
}

int policy_read(const void *data, size_t size, struct ledger_policy *policy) {
    struct ledger_policy view = {0};
    msgpack_unpacked unpacked;
    *policy = (struct ledger_policy){0};
    if (!msgpack_is_bounded(data, size))
        return LEDGER_E_DAMAGED;
    msgpack_unpacked_init(&unpacked);
    int rc = msgpack_unpack_next(&unpacked, data, size, NULL);
    if (rc == MSGPACK_UNPACK_SUCCESS)
        rc = read_map(&unpacked.data, &view);
    else
        rc = rc == MSGPACK_UNPACK_NOMEM_ERROR ? ENOMEM : LEDGER_E_DAMAGED;
    if (rc == 0)
        rc = policy_copy(&view, policy);
    if (rc == 0 && policy_check(policy) != NULL) {
        policy_free(policy);
        rc = LEDGER_E_DAMAGED;
    }
    msgpack_unpacked_destroy(&unpacked);
    policy_free(&view);
    return rc;
}
