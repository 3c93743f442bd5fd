#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "msgpack_bound.h"
#include "pack.h"

bool text_equal(struct ledger_text a, struct ledger_text b) {
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

int policy_state(const struct ledger_policy *policy, struct ledger_text name) {
    for (uint32_t i = 0; i < policy->state_count; i++)
        if (text_equal(policy->states[i], name))
            return (int)i;
    return -1;
}

static const struct ledger_rule *find_rule(const struct ledger_policy *policy,
                                           struct ledger_text name) {
    for (uint32_t i = 0; i < policy->rule_count; i++)
        if (text_equal(policy->rules[i].name, name))
            return &policy->rules[i];
    return NULL;
}

void policy_free(struct ledger_policy *policy) {
    free(policy->states);
    free(policy->rules);
    free(policy->memory);
    *policy = (struct ledger_policy){0};
}

/* calloc(0) may be NULL: always ask for one more. */
static int allocate(struct ledger_policy *policy, size_t states, size_t rules, size_t bytes) {
    *policy = (struct ledger_policy){0};
    policy->states = calloc(states + 1, sizeof *policy->states);
    policy->rules = calloc(rules + 1, sizeof *policy->rules);
    policy->memory = malloc(bytes + 1);
    if (policy->states != NULL && policy->rules != NULL && policy->memory != NULL)
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

int policy_copy(const struct ledger_policy *policy, struct ledger_policy *copy) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < policy->state_count; i++)
        bytes += policy->states[i].size;
    for (uint32_t i = 0; i < policy->rule_count; i++)
        bytes += policy->rules[i].name.size;
    int rc = allocate(copy, policy->state_count, policy->rule_count, bytes);
    if (rc != 0)
        return rc;
    char *memory = copy->memory;
    copy->version = policy->version;
    copy->changed_by_entry = policy->changed_by_entry;
    copy->state_count = policy->state_count;
    copy->rule_count = policy->rule_count;
    for (uint32_t i = 0; i < policy->state_count; i++)
        copy->states[i] = keep(&memory, policy->states[i]);
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        copy->rules[i] = policy->rules[i];
        copy->rules[i].name = keep(&memory, policy->rules[i].name);
    }
    return 0;
}

const char *policy_check(const struct ledger_policy *policy) {
    if (policy->state_count > POLICY_STATES_MAX)
        return "too many states: at most 1024";
    if (policy->rule_count > POLICY_RULES_MAX)
        return "too many rules: at most 4096";
    for (uint32_t i = 0; i < policy->state_count; i++) {
        struct ledger_text state = policy->states[i];
        if (state.size == 0 || state.size > POLICY_STATE_BYTES_MAX)
            return "a state's name must have 1 to 1020 bytes";
        if (text_equal(state, (struct ledger_text){"total", 5}))
            return "a state may not be named total: that is the sum of all";
        if (policy_state(policy, state) != (int)i)
            return "a state is named twice";
    }
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        const struct ledger_rule *rule = &policy->rules[i];
        if (rule->state >= policy->state_count)
            return "a rule names an undeclared state";
        if (rule->window_ms == 0 || rule->window_ms > (uint64_t)ENTRY_AMOUNT_MAX)
            return "a rule's window must be positive";
        if (rule->limit != POLICY_UNLIMITED && rule->limit > (uint64_t)ENTRY_AMOUNT_MAX)
            return "a rule's limit is beyond 10^15";
        if (find_rule(policy, rule->name) != rule)
            return "a rule is named twice";
    }
    return NULL;
}

static bool rule_equal(const struct ledger_rule *a, const struct ledger_rule *b) {
    return text_equal(a->name, b->name) && a->state == b->state && a->window_ms == b->window_ms &&
           a->limit == b->limit;
}

bool policy_equal(const struct ledger_policy *a, const struct ledger_policy *b) {
    if (a->state_count != b->state_count || a->rule_count != b->rule_count)
        return false;
    for (uint32_t i = 0; i < a->state_count; i++)
        if (!text_equal(a->states[i], b->states[i]))
            return false;
    for (uint32_t i = 0; i < a->rule_count; i++)
        if (!rule_equal(&a->rules[i], &b->rules[i]))
            return false;
    return true;
}

/* ---- writing ---------------------------------------------------------------------------- */

static void pack_limit(msgpack_packer *packer, uint64_t limit) {
    if (limit == POLICY_UNLIMITED)
        msgpack_pack_nil(packer);
    else
        msgpack_pack_uint64(packer, limit);
}

static void pack_rule(msgpack_packer *packer, const struct ledger_policy *policy,
                      const struct ledger_rule *rule) {
    msgpack_pack_map(packer, 5);
    pack_word(packer, "name");
    pack_text(packer, rule->name);
    pack_word(packer, "scope");
    msgpack_pack_map(packer, 1);
    pack_word(packer, "state");
    pack_text(packer, policy->states[rule->state]);
    pack_word(packer, "measure");
    pack_word(packer, "invocations");
    pack_word(packer, "window");
    msgpack_pack_array(packer, 2);
    pack_word(packer, "rolling");
    msgpack_pack_uint64(packer, rule->window_ms);
    pack_word(packer, "limit");
    pack_limit(packer, rule->limit);
}

int policy_write(struct entry_buffer *buffer, const struct ledger_policy *policy) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    msgpack_pack_map(&packer, 4);
    pack_word(&packer, "version");
    msgpack_pack_uint64(&packer, policy->version);
    pack_word(&packer, "states");
    msgpack_pack_array(&packer, policy->state_count);
    for (uint32_t i = 0; i < policy->state_count; i++)
        pack_text(&packer, policy->states[i]);
    pack_word(&packer, "rules");
    msgpack_pack_array(&packer, policy->rule_count);
    for (uint32_t i = 0; i < policy->rule_count; i++)
        pack_rule(&packer, policy, &policy->rules[i]);
    pack_word(&packer, "changed_by_entry");
    msgpack_pack_uint64(&packer, policy->changed_by_entry);
    return buffer->failed ? ENOMEM : 0;
}

static void pack_rule_or_nil(msgpack_packer *packer, const struct ledger_policy *policy,
                             const struct ledger_rule *rule) {
    if (rule == NULL)
        msgpack_pack_nil(packer);
    else
        pack_rule(packer, policy, rule);
}

/* Packs the changes, or only counts them when `packer` is NULL: first what `to` has, then what
 * only `from` had. */
static size_t pack_changes(msgpack_packer *packer, const struct ledger_policy *from,
                           const struct ledger_policy *to) {
    size_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        const struct ledger_policy *side = pass == 0 ? to : from;
        for (uint32_t i = 0; i < side->rule_count; i++) {
            const struct ledger_rule *old = find_rule(from, side->rules[i].name);
            const struct ledger_rule *new = find_rule(to, side->rules[i].name);
            bool changed = old == NULL || new == NULL || !rule_equal(old, new);
            if (!changed || (pass == 1 && new != NULL))
                continue;
            count++;
            if (packer == NULL)
                continue;
            msgpack_pack_array(packer, 2);
            pack_rule_or_nil(packer, from, old);
            pack_rule_or_nil(packer, to, new);
        }
    }
    return count;
}

int policy_write_change(struct entry_buffer *buffer, const struct ledger_policy *from,
                        const struct ledger_policy *to, struct ledger_text by,
                        struct ledger_text reason) {
    msgpack_packer packer;
    msgpack_packer_init(&packer, buffer, entry_buffer_append);
    msgpack_pack_map(&packer, 6);
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

static int read_scope(const msgpack_object *object, const struct ledger_policy *policy,
                      struct ledger_rule *rule) {
    struct ledger_text state;
    if (object->type != MSGPACK_OBJECT_MAP || object->via.map.size != 1 ||
        !unpacks_as(&object->via.map.ptr[0].key, "state") ||
        !unpack_text(&object->via.map.ptr[0].val, &state))
        return LEDGER_E_NEWER;
    int index = policy_state(policy, state);
    rule->state = (uint32_t)index;
    return index < 0 ? LEDGER_E_DAMAGED : 0;
}

static int read_window(const msgpack_object *object, struct ledger_rule *rule) {
    if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != 2 ||
        !unpacks_as(&object->via.array.ptr[0], "rolling"))
        return LEDGER_E_NEWER;
    return unpack_uint(&object->via.array.ptr[1], UINT64_MAX, &rule->window_ms) ? 0
                                                                                : LEDGER_E_DAMAGED;
}

static int read_rule(const msgpack_object *object, const struct ledger_policy *policy,
                     struct ledger_rule *rule) {
    if (object->type != MSGPACK_OBJECT_MAP || object->via.map.size != 5)
        return LEDGER_E_NEWER;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < object->via.map.size; i++) {
        const msgpack_object *key = &object->via.map.ptr[i].key;
        const msgpack_object *value = &object->via.map.ptr[i].val;
        if (unpacks_as(key, "name"))
            rc = unpack_text(value, &rule->name) ? 0 : LEDGER_E_DAMAGED;
        else if (unpacks_as(key, "scope"))
            rc = read_scope(value, policy, rule);
        else if (unpacks_as(key, "measure"))
            rc = unpacks_as(value, "invocations") ? 0 : LEDGER_E_NEWER;
        else if (unpacks_as(key, "window"))
            rc = read_window(value, rule);
        else if (!unpacks_as(key, "limit"))
            rc = LEDGER_E_NEWER;
        else if (value->type == MSGPACK_OBJECT_NIL)
            rule->limit = POLICY_UNLIMITED;
        else if (!unpack_uint(value, UINT64_MAX, &rule->limit))
            rc = LEDGER_E_NEWER;
    }
    return rc;
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
        rc = read_rule(&object->via.array.ptr[i], policy, &policy->rules[i]);
    return rc;
}

/* States come before rules, because a rule's scope is looked up among them. */
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
        else if (unpacks_as(key, "changed_by_entry"))
            rc = unpack_uint(value, UINT64_MAX, &policy->changed_by_entry) ? 0 : LEDGER_E_DAMAGED;
        else
            rc = LEDGER_E_NEWER;
    }
    return rc != 0 || policy_check(policy) == NULL ? rc : LEDGER_E_DAMAGED;
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
    msgpack_unpacked_destroy(&unpacked);
    policy_free(&view);
    return rc;
}
