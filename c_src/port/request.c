#include "request.h"

#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "../core/msgpack_bound.h"
#include "../core/pack.h"
#include "record_json.h"

#define KINDS_OF_WORK (UINT32_C(1) << KIND_INVOCATION | UINT32_C(1) << KIND_RUN)

/* A text of its own, terminated; false when it has a zero inside, or there is no memory. */
static bool take_text(const msgpack_object *object, char **out) {
    struct ledger_text text;
    if (!unpack_text(object, &text) || text.size == 0 || memchr(text.data, 0, text.size) != NULL)
        return false;
    free(*out);
    *out = strndup(text.data, text.size);
    return *out != NULL;
}

static int find_dimension(const msgpack_object *key) {
    for (int i = 1; i <= DIMENSION_PROMPT_TYPE; i++)
        if (unpacks_as(key, record_dimension_name(i)))
            return i;
    return 0;
}

static bool take_names(const msgpack_object *map, struct request *request) {
    if (map->type != MSGPACK_OBJECT_MAP)
        return false;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        int dimension = find_dimension(&map->via.map.ptr[i].key);
        if (dimension == 0 || !unpack_text(&map->via.map.ptr[i].val, &request->names[dimension]) ||
            request->names[dimension].size == 0)
            return false;
    }
    return true;
}

/* Numbers of kinds or of statuses, as bits. */
static bool take_bits(const msgpack_object *array, uint64_t most, uint32_t *bits) {
    uint64_t number;
    *bits = 0;
    if (array->type != MSGPACK_OBJECT_ARRAY)
        return false;
    for (uint32_t i = 0; i < array->via.array.size; i++) {
        if (!unpack_uint(&array->via.array.ptr[i], most, &number) || number == 0)
            return false;
        *bits |= UINT32_C(1) << number;
    }
    return true;
}

static const char *take_argument(const msgpack_object *key, const msgpack_object *value,
                                 struct request *request) {
    if (unpacks_as(key, "directory"))
        return take_text(value, &request->directory) ? NULL : "directory must be a path";
    if (unpacks_as(key, "output"))
        return take_text(value, &request->output) ? NULL : "output must be a path";
    if (unpacks_as(key, "format"))
        return take_text(value, &request->format) ? NULL : "format must be a word";
    if (unpacks_as(key, "columns"))
        return take_text(value, &request->columns) ? NULL : "columns must be names";
    if (unpacks_as(key, "names"))
        return take_names(value, request) ? NULL : "names must be values by dimension";
    if (unpacks_as(key, "kinds"))
        return take_bits(value, KIND_REDACTION, &request->filter.kinds) ? NULL
                                                                        : "kinds must be numbers";
    if (unpacks_as(key, "statuses"))
        return take_bits(value, STATUS_ABORTED, &request->filter.statuses)
                   ? NULL
                   : "statuses must be numbers";
    if (unpacks_as(key, "since"))
        return unpack_uint(value, UINT64_MAX, &request->filter.since) ? NULL
                                                                      : "since must be a number";
    if (unpacks_as(key, "until"))
        return unpack_uint(value, UINT64_MAX, &request->filter.until) ? NULL
                                                                      : "until must be a number";
    return "unknown argument";
}

static const char *take_array(const msgpack_object *array, struct request *request) {
    struct ledger_text job;
    if (array->type != MSGPACK_OBJECT_ARRAY || array->via.array.size < 2 ||
        array->via.array.size > 3)
        return "a request is an array of id, job and arguments";
    const msgpack_object *parts = array->via.array.ptr;
    if (!unpack_uint(&parts[0], UINT64_MAX, &request->id) || request->id == 0) {
        request->id = 0;
        return "the id of a request is a number above 0";
    }
    if (!unpack_text(&parts[1], &job) || job.size == 0 || job.size >= sizeof request->job)
        return "unknown job";
    memcpy(request->job, job.data, job.size);
    request->is_cancel = strcmp(request->job, "cancel") == 0;
    if (request->is_cancel)
        return array->via.array.size == 2 ? NULL : "cancel has no arguments";
    if (array->via.array.size != 3 || parts[2].type != MSGPACK_OBJECT_MAP)
        return "the arguments of a job are a map";
    const char *wrong = NULL;
    for (uint32_t i = 0; wrong == NULL && i < parts[2].via.map.size; i++)
        wrong = take_argument(&parts[2].via.map.ptr[i].key, &parts[2].via.map.ptr[i].val, request);
    return wrong;
}

const char *request_read(const char *frame, size_t size, struct request *request) {
    msgpack_unpacked unpacked;
    const char *wrong = "not one msgpack object";
    *request = (struct request){.filter = {.kinds = KINDS_OF_WORK, .until = UINT64_MAX}};
    request->filter.names = request->names;
    if (!msgpack_is_bounded(frame, size))
        return wrong;
    /* The texts of a filter outlive whatever the frame was read into. */
    request->frame = malloc(size);
    if (request->frame == NULL)
        return "out of memory";
    memcpy(request->frame, frame, size);
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, request->frame, size, NULL) == MSGPACK_UNPACK_SUCCESS)
        wrong = take_array(&unpacked.data, request);
    msgpack_unpacked_destroy(&unpacked);
    return wrong;
}

void request_free(struct request *request) {
    free(request->directory);
    free(request->output);
    free(request->format);
    free(request->columns);
    free(request->frame);
    *request = (struct request){0};
}
