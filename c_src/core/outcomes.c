#include "outcomes.h"

#include <errno.h>
#include <stdlib.h>

struct outcome {
    uint64_t token; /* 0: unused */
    uint64_t id;
    uint32_t flags; /* of the entry */
    uint32_t chain; /* the next of the same hash, 1 + index; 0: none */
};

int outcomes_open(struct outcomes *outcomes) {
    outcomes->ring = calloc(OUTCOMES_KEPT, sizeof *outcomes->ring);
    outcomes->heads = calloc(OUTCOMES_KEPT, sizeof *outcomes->heads);
    outcomes->next = 0;
    if (outcomes->ring != NULL && outcomes->heads != NULL)
        return 0;
    outcomes_close(outcomes);
    return ENOMEM;
}

void outcomes_close(struct outcomes *outcomes) {
    free(outcomes->ring);
    free(outcomes->heads);
    outcomes->ring = NULL;
    outcomes->heads = NULL;
}

static uint32_t *head_of(const struct outcomes *outcomes, uint64_t token) {
    return &outcomes->heads[token * UINT64_C(0x9e3779b97f4a7c15) >> 48];
}

static void forget(struct outcomes *outcomes, uint32_t index) {
    uint32_t *at = head_of(outcomes, outcomes->ring[index].token);
    while (*at != index + 1)
        at = &outcomes->ring[*at - 1].chain;
    *at = outcomes->ring[index].chain;
}

void outcomes_add(struct outcomes *outcomes, uint64_t token, uint64_t id, uint64_t flags) {
    atomic_fetch_add(&outcomes->added, 1);
    if (token == 0)
        return;
    uint32_t index = outcomes->next;
    struct outcome *outcome = &outcomes->ring[index];
    if (outcome->token != 0)
        forget(outcomes, index);
    uint32_t *head = head_of(outcomes, token);
    *outcome = (struct outcome){token, id, (uint32_t)flags, *head};
    *head = index + 1;
    outcomes->next = (index + 1) % OUTCOMES_KEPT;
}

bool outcomes_find(const struct outcomes *outcomes, uint64_t token, uint64_t *id, uint64_t *flags) {
    for (uint32_t at = *head_of(outcomes, token); at != 0; at = outcomes->ring[at - 1].chain) {
        if (outcomes->ring[at - 1].token == token) {
            *id = outcomes->ring[at - 1].id;
            *flags = outcomes->ring[at - 1].flags;
            return true;
        }
    }
    return false;
}
