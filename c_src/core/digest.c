#include "digest.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>

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

void digest_begin(struct digest *digest) {
    bool fine = pthread_once(&once, find) == 0 && sha256 != NULL;
    digest->context = fine ? EVP_MD_CTX_new() : NULL;
    fine = digest->context != NULL && EVP_DigestInit_ex(digest->context, sha256, NULL) == 1;
    digest->rc = fine ? 0 : LEDGER_E_CRYPTO;
}

void digest_add(struct digest *digest, const void *data, size_t size) {
    if (digest->rc == 0 && EVP_DigestUpdate(digest->context, data, size) != 1)
        digest->rc = LEDGER_E_CRYPTO;
}

int digest_end(struct digest *digest, uint8_t out[DIGEST_BYTES]) {
    unsigned int written = 0;
    if (digest->rc == 0 &&
        (EVP_DigestFinal_ex(digest->context, out, &written) != 1 || written != DIGEST_BYTES))
        digest->rc = LEDGER_E_CRYPTO;
    EVP_MD_CTX_free(digest->context);
    digest->context = NULL;
    return digest->rc;
}
