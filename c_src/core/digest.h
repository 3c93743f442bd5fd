/* SHA-256, from libcrypto. Thread class: any; does not block. */
#ifndef LEDGER_DIGEST_H
#define LEDGER_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES 32

/* 0, or LEDGER_E_CRYPTO when libcrypto refuses (it is out of memory or has no SHA-256). */
int digest_sha256(const void *data, size_t size, uint8_t out[DIGEST_BYTES]);

#endif
