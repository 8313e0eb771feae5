/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * idempotency.c - see idempotency.h.
 */
#include "api/idempotency.h"

#include <openssl/evp.h>
#include <string.h>

int
idempotency_key(const struct httpreq *req, const char **key, struct refusal *why)
{
	const char *text = httpreq_header(req, "Idempotency-Key");

	*key = text;
	if (text == NULL)
		return 0;
	if (text[0] == '\0' || strlen(text) > IDEMPOTENCY_KEY_MAX)
		return refuse(why, 400, "invalid_header",
		    "Idempotency-Key: it must have 1 to %d characters.",
		    IDEMPOTENCY_KEY_MAX);
	for (const char *p = text; *p != '\0'; p++) {
		if (*p < 0x20 || *p > 0x7e)
			return refuse(why, 400, "invalid_header",
			    "Idempotency-Key: it must be printable ASCII.");
	}
	return 0;
}

bool
idempotency_print(struct httpreq *req, char print[IDEMPOTENCY_PRINT_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	const char *path = httpreq_path(req), *body;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t len;
	bool ok;

	body = httpreq_body(req, &len);
	ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
	     EVP_DigestUpdate(ctx, path, strlen(path) + 1) == 1 &&
	     (body == NULL || EVP_DigestUpdate(ctx, body, len) == 1) &&
	     EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return false;
	for (int i = 0; i < 32; i++) {
		print[2 * i] = hex[digest[i] >> 4];
		print[2 * i + 1] = hex[digest[i] & 15];
	}
	print[64] = '\0';
	return true;
}
