/* SHA-256, from libcrypto. Thread class: any; does not block. */
#ifndef LEDGER_DIGEST_H
#define LEDGER_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 32

/* 0, or LEDGER_E_CRYPTO when libcrypto refuses (it is out of memory or has no SHA-256). */
int digest_sha256(const void *data, size_t size, uint8_t out[DIGEST_BYTES]);

/* The same of what comes in parts. digest_end() frees it, and says what went wrong on the way. */
struct digest {
    void *context;
    int rc;
};
void digest_begin(struct digest *digest);
void digest_add(struct digest *digest, const void *data, size_t size);
int digest_end(struct digest *digest, uint8_t out[DIGEST_BYTES]);

#endif
