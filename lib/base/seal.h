/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seal.h - secrets that are kept outside of this process, sealed.
 *
 * AES-256-GCM under keys of a file: one key a line, "<id> <base64 of 32 bytes>"; empty
 * lines and those that begin with '#' are left alone.  The first key seals, all of them
 * open: so a key is replaced by a new line above it, and the old line goes when nothing
 * is sealed with it any more.
 *
 * A sealed text is "<id>:<base64>".  It is bound to a context, a text that says whose
 * it is: copied to another place it does not open.
 */
#ifndef BASE_SEAL_H
#define BASE_SEAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"

#define SEAL_KEYS_MOST	32
#define SEAL_ID_MOST	32
#define SEAL_PLAIN_MOST 4096
#define SEAL_TEXT_MOST	6000
#define SEAL_FILE_MOST	16384

struct sealkeys;

/*
 * ERR_INVALID: it cannot be read, is no such file, or may be read by others than its
 * owner and group.  No key is ever in an error.
 */
struct sealkeys *sealkeys_load(const char *path, struct err *err) ATTR_CHECK;
void sealkeys_free(struct sealkeys *keys); /* wipes them; NULL is fine */
/* id of the key that seals; borrowed */
const char *sealkeys_current(const struct sealkeys *keys);

/* appends the sealed text to out */
int seal_put(const struct sealkeys *keys, const char *context, const void *plain,
    size_t len, struct strbuf *out, struct err *err) ATTR_CHECK;
/*
 * *plain is taken (mem_free_secret, with *len) and ends with a NUL.  ERR_NOT_FOUND: the
 * key is not in the file any more.  ERR_INVALID: it was not sealed so.
 */
int seal_open(const struct sealkeys *keys, const char *context, const char *text,
    char **plain, size_t *len, struct err *err) ATTR_CHECK;

/*
 * HMAC-SHA-256 of bytes under a key that is derived from the n-th of the file, 0 being
 * the one that seals, and used for nothing else.  false: there is no n-th.
 */
#define SEAL_MAC 32
bool seal_mac(const struct sealkeys *keys, size_t n, const void *bytes, size_t len,
    unsigned char mac[SEAL_MAC]) ATTR_CHECK;

#endif
