/* Small helpers over msgpack-c that more than one written form needs. Thread class: any. */
#ifndef LEDGER_PACK_H
#define LEDGER_PACK_H

#include <msgpack.h>
#include <string.h>

#include "entry.h"

static inline void pack_text(msgpack_packer *packer, struct ledger_text text) {
    msgpack_pack_str(packer, text.size);
    msgpack_pack_str_body(packer, text.data, text.size);
}

static inline void pack_word(msgpack_packer *packer, const char *word) {
    pack_text(packer, (struct ledger_text){word, strlen(word)});
}

static inline bool unpack_uint(const msgpack_object *object, uint64_t max, uint64_t *out) {
    if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER || object->via.u64 > max)
        return false;
    *out = object->via.u64;
    return true;
}

static inline bool unpack_text(const msgpack_object *object, struct ledger_text *out) {
    if (object->type != MSGPACK_OBJECT_STR)
        return false;
    *out = (struct ledger_text){object->via.str.ptr, object->via.str.size};
    return true;
}

static inline bool unpacks_as(const msgpack_object *object, const char *word) {
    struct ledger_text text;
    return unpack_text(object, &text) && text.size == strlen(word) &&
           memcmp(text.data, word, text.size) == 0;
}

#endif
