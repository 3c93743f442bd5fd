#include "digest.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "error.h"

/* Found once: looking it up by its name takes OpenSSL longer than a short text's digest. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;

static void find(void) {
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

int digest_sha256(const void *data, size_t size, uint8_t out[DIGEST_BYTES]) {
    unsigned int written = 0;
    if (pthread_once(&once, find) != 0 || sha256 == NULL)
        return LEDGER_E_CRYPTO;
    if (EVP_Digest(data, size, out, &written, sha256, NULL) != 1 || written != DIGEST_BYTES)
        return LEDGER_E_CRYPTO;
    return 0;
}
