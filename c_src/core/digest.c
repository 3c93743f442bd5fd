#include "digest.h"

#include <openssl/evp.h>

#include "error.h"

int digest_sha256(const void *data, size_t size, uint8_t out[DIGEST_BYTES]) {
    unsigned int written = 0;
    if (EVP_Digest(data, size, out, &written, EVP_sha256(), NULL) != 1 || written != DIGEST_BYTES)
        return LEDGER_E_CRYPTO;
    return 0;
}
