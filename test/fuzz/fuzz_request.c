/* libFuzzer's target for what the companion reads: bytes as they come from a pipe, in frames, each
 * of which may be a request. See fuzz.mk. */
#include <stdlib.h>
#include <string.h>

#include "../../c_src/core/bytes.h"
#include "../../c_src/port/frames.h"
#include "../../c_src/port/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text) {
    if (text != NULL && (text[0] == '\0' || strlen(text) > FRAME_BYTES_MAX))
        abort();
}

/* It lies in the frame that the request owns. */
static void check_name(const struct request *request, const struct ledger_text *name, size_t size) {
    if (name->data != NULL && (name->data < request->frame || name->size > size ||
                               name->data + name->size > request->frame + size))
        abort();
}

/* In memory of its own length, so that a step over its end is seen. */
static void read_frame(const uint8_t *data, size_t size) {
    struct request request;
    char *frame = malloc(size > 0 ? size : 1);
    if (frame == NULL)
        return;
    memcpy(frame, data, size);
    const char *wrong = request_read(frame, size, &request);
    free(frame); /* the request has its own */
    if (wrong == NULL && !request.is_cancel) {
        if (memchr(request.job, '\0', sizeof request.job) == NULL)
            abort();
        check_text(request.directory);
        check_text(request.output);
        check_text(request.format);
        check_text(request.columns);
        for (int dimension = 0; dimension < DIMENSION_LIMIT; dimension++)
            check_name(&request, &request.names[dimension], size);
    }
    request_free(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    while (size >= 4) {
        size_t frame = get_be32(data);
        data += 4;
        size -= 4;
        if (frame > FRAME_BYTES_MAX || frame > size)
            break; /* too large, or cut: it ends the process */
        read_frame(data, frame);
        data += frame;
        size -= frame;
    }
    return 0;
}
