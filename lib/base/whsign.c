/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * whsign.c - Standard Webhooks signatures; see whsign.h.
 *
 * The digest is OpenSSL's.
 */
#include "base/whsign.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"

#define PREFIX	  "whsec_"
#define KEY_LEAST 24
#define DIGEST	  32

static int
read_one(const char *text, struct whsecrets *s, struct err *err)
{
	unsigned char bytes[WHSIGN_KEY_MOST + 3];
	size_t len;

	if (!str_starts(text, PREFIX) ||
	    base64_decode(text + strlen(PREFIX), bytes, sizeof(bytes), &len) != 0)
		return err_set(err, ERR_INVALID,
		    "a secret must be whsec_ and the base64 of 24 to 64 bytes");
	if (len < KEY_LEAST || len > WHSIGN_KEY_MOST) {
		explicit_bzero(bytes, sizeof(bytes));
		return err_set(err, ERR_INVALID,
		    "a secret must have 24 to 64 bytes, and this one has %zu", len);
	}
	memcpy(s->at[s->count].key, bytes, len);
	s->at[s->count].len = len;
	s->count++;
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

int
whsecrets_parse(const char *text, struct whsecrets *secrets, struct err *err)
{
	struct whsecrets s = {.count = 0};
	size_t size = strlen(text) + 1;
	char *copy = mem_dup(text, size - 1), *rest = copy, *word;
	int rc = 0;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "secrets");
	while (rc == 0 && (word = strsep(&rest, " \t")) != NULL) {
		if (*word == '\0')
			continue;
		if (s.count == WHSIGN_SECRETS)
			rc = err_set(err, ERR_INVALID,
			    "there may be two secrets, the new one and the one before");
		else
			rc = read_one(word, &s, err);
	}
	mem_free_secret(copy, size);
	if (rc == 0)
		*secrets = s;
	whsecrets_fini(&s);
	return rc;
}

void
whsecrets_fini(struct whsecrets *secrets)
{
	explicit_bzero(secrets, sizeof(*secrets));
}

static int
digest(EVP_MAC *mac, const void *key, size_t key_len, const char *head,
    const void *body, size_t len, unsigned char out[DIGEST])
{
	char name[] = "SHA256";
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string("digest", name, 0),
	    OSSL_PARAM_construct_end(),
	};
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	size_t written = 0;
	int ok;

	ok = ctx != NULL && EVP_MAC_init(ctx, key, key_len, params) == 1 &&
	     EVP_MAC_update(ctx, (const unsigned char *)head, strlen(head)) == 1 &&
	     EVP_MAC_update(ctx, body, len) == 1 &&
	     EVP_MAC_final(ctx, out, &written, DIGEST) == 1 && written == DIGEST;
	EVP_MAC_CTX_free(ctx);
	return ok ? 0 : -1;
}

int
whsign(const struct whsecrets *secrets, const char *id, int64_t timestamp_s,
    const void *body, size_t len, char out[WHSIGN_SIZE], struct err *err)
{
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	unsigned char bytes[DIGEST];
	char head[128], *at = out;
	int rc = mac != NULL ? 0 : -1;

	snprintf(head, sizeof(head), "%.80s.%lld.", id, (long long)timestamp_s);
	for (size_t i = 0; rc == 0 && i < secrets->count; i++) {
		rc = digest(mac, secrets->at[i].key, secrets->at[i].len, head, body,
		    len, bytes);
		if (rc != 0)
			break;
		at += snprintf(at, 5, "%sv1,", i > 0 ? " " : "");
		at += EVP_EncodeBlock((unsigned char *)at, bytes, DIGEST);
	}
	EVP_MAC_free(mac);
	if (rc != 0)
		return err_set(err, ERR_NOMEM, "the request could not be signed");
	return 0;
}
