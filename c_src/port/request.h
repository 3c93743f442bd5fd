/* A request of the port, taken apart. Its texts point into the frame that it was read from, which
 * it owns. Hostile bytes cost neither time nor memory beyond their own size.
 *
 * Thread class: any; allocates. */
#ifndef PORT_REQUEST_H
#define PORT_REQUEST_H

#include "../core/ledger.h"

struct request {
    uint64_t id;
    bool is_cancel;
    char job[24];
    char *directory; /* this and the next three: NULL: not given; terminated */
    char *output;
    char *format;
    char *columns;
    struct ledger_filter filter;
    struct ledger_text names[DIMENSION_LIMIT];
    char *frame;
};

/* NULL, or why it is no request; request->id is set where that could be read. request_free() after,
 * in any case. */
const char *request_read(const char *frame, size_t size, struct request *request);
void request_free(struct request *request);

#endif
