#include "msgpack_bound.h"

#include <stdint.h>

struct header {
    size_t bytes;    /* of the header and its scalar or string */
    size_t elements; /* that follow */
};

static size_t big_endian(const uint8_t *at, size_t width) {
    size_t n = 0;
    while (width-- > 0)
        n = n << 8 | *at++;
    return n;
}

/* A header whose length field is `width` bytes wide and counts bytes. */
static bool sized(const uint8_t *at, size_t left, size_t width, size_t extra, struct header *out) {
    if (left < 1 + width)
        return false;
    out->bytes = 1 + width + extra + big_endian(at + 1, width);
    return true;
}

/* The same, counting elements. */
static bool counted(const uint8_t *at, size_t left, size_t width, size_t each, struct header *out) {
    if (left < 1 + width)
        return false;
    out->bytes = 1 + width;
    out->elements = each * big_endian(at + 1, width);
    return true;
}

static bool read_header(const uint8_t *at, size_t left, struct header *out) {
    static const uint8_t scalar_bytes[] = {5, 9, 2, 3, 5, 9, 2, 3, 5, 9}; /* 0xca .. 0xd3 */
    *out = (struct header){1, 0};
    uint8_t type = *at;
    if (type <= 0x7f || type >= 0xe0) /* fixint */
        return true;
    if (type <= 0x8f) { /* fixmap */
        out->elements = 2 * (size_t)(type & 0x0f);
        return true;
    }
    if (type <= 0x9f) { /* fixarray */
        out->elements = type & 0x0f;
        return true;
    }
    if (type <= 0xbf) { /* fixstr */
        out->bytes = 1 + (size_t)(type & 0x1f);
        return true;
    }
    if (type >= 0xca && type <= 0xd3) {
        out->bytes = scalar_bytes[type - 0xca];
        return true;
    }
    if (type >= 0xd4 && type <= 0xd8) { /* fixext */
        out->bytes = 2 + ((size_t)1 << (type - 0xd4));
        return true;
    }
    switch (type) {
    case 0xc0: /* nil */
    case 0xc2: /* false */
    case 0xc3: /* true */
        return true;
    case 0xc4: /* bin */
    case 0xc5:
    case 0xc6:
        return sized(at, left, (size_t)1 << (type - 0xc4), 0, out);
    case 0xc7: /* ext */
    case 0xc8:
    case 0xc9:
        return sized(at, left, (size_t)1 << (type - 0xc7), 1, out);
    case 0xd9: /* str */
    case 0xda:
    case 0xdb:
        return sized(at, left, (size_t)1 << (type - 0xd9), 0, out);
    case 0xdc: /* array */
    case 0xdd:
        return counted(at, left, (size_t)2 << (type - 0xdc), 1, out);
    case 0xde: /* map */
    case 0xdf:
        return counted(at, left, (size_t)2 << (type - 0xde), 2, out);
    default: /* 0xc1 is never used */
        return false;
    }
}

bool msgpack_skip(const void *data, size_t size, size_t depth_max, size_t *offset) {
    const uint8_t *at = (const uint8_t *)data + *offset;
    const uint8_t *end = (const uint8_t *)data + size;
    size_t open[MSGPACK_DEPTH_LIMIT + 1]; /* elements still due, by depth */
    size_t depth = 0;
    open[0] = 1;
    while (true) {
        while (open[depth] == 0) {
            if (depth == 0) {
                *offset = (size_t)(at - (const uint8_t *)data);
                return true;
            }
            depth--;
        }
        open[depth]--;
        struct header header;
        size_t left = (size_t)(end - at);
        if (left == 0)
            return false;
        /* What most of them are, at once: a small number, nil, a short text. */
        bool is_short = *at >= 0xa0 && *at <= 0xbf;
        if (*at <= 0x7f || *at == 0xc0 || is_short) {
            size_t bytes = is_short ? 1 + (size_t)(*at & 0x1f) : 1;
            if (bytes > left)
                return false;
            at += bytes;
            continue;
        }
        if (!read_header(at, left, &header) || header.bytes > left)
            return false;
        at += header.bytes;
        if (header.elements == 0)
            continue;
        /* Every element takes at least a byte: a larger announcement is a lie. */
        if (header.elements > (size_t)(end - at) || depth == depth_max)
            return false;
        open[++depth] = header.elements;
    }
}

bool msgpack_is_bounded_to(const void *data, size_t size, size_t depth_max) {
    size_t offset = 0;
    return msgpack_skip(data, size, depth_max, &offset) && offset == size;
}
