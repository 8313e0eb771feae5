/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlskeys.c - session tickets' keys: their file, and their use; see tlskeys.h.
 */
#include "tls/tlskeys.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/str.h"

/* ---------------------------------------------------------------- the file */

static bool
is_length(size_t len)
{
	return len == TLSKEY_SHORT || len == TLSKEY_LONG;
}

static int
add(struct tlskeys *keys, const uint8_t *bytes, size_t len, struct err *err)
{
	if (keys->count == TLSKEYS_MOST)
		return err_set(
		    err, ERR_INVALID, "there are more than %d keys", TLSKEYS_MOST);
	for (size_t i = 0; i < keys->count; i++) {
		if (memcmp(keys->at[i].bytes, bytes, TLSKEY_NAME) == 0)
			return err_set(err, ERR_INVALID, "a key is there twice");
	}
	memcpy(keys->at[keys->count].bytes, bytes, len);
	keys->at[keys->count++].len = len;
	return 0;
}

static int
take_line(struct tlskeys *keys, char *line, int number, struct err *err)
{
	uint8_t bytes[TLSKEY_LONG + 3];
	size_t len = 0;
	int rc;

	line = str_trim(line);
	if (*line == '\0' || *line == '#')
		return 0;
	if (base64_decode(line, bytes, sizeof(bytes), &len) != 0 || !is_length(len))
		rc = err_set(err, ERR_INVALID,
		    "a key is the base64 of %d or %d bytes on one line: openssl rand "
		    "%d | base64 -w 0",
		    TLSKEY_LONG, TLSKEY_SHORT, TLSKEY_LONG);
	else
		rc = add(keys, bytes, len, err);
	explicit_bzero(bytes, sizeof(bytes));
	return rc == 0 ? 0 : err_wrap(err, "line %d", number);
}

int
tlskeys_parse(const char *bytes, size_t len, struct tlskeys *keys, struct err *err)
{
	struct tlskeys out = {.count = 0};
	char *text, *rest, *line;
	int rc = 0;

	/* (no text of base64 has one of these lengths) */
	if (is_length(len)) {
		rc = add(&out, (const uint8_t *)bytes, len, err);
	} else {
		text = rest = mem_dup(bytes, len);
		if (text == NULL)
			return err_set(err, ERR_NOMEM, "ticket keys");
		for (int n = 1; rc == 0 && (line = strsep(&rest, "\n")) != NULL; n++)
			rc = take_line(&out, line, n, err);
		mem_free_secret(text, len);
		if (rc == 0 && out.count == 0)
			rc = err_set(err, ERR_INVALID,
			    "it has no key: write one with openssl rand %d | base64 -w "
			    "0",
			    TLSKEY_LONG);
	}
	if (rc == 0)
		*keys = out;
	explicit_bzero(&out, sizeof(out));
	return rc;
}

/* ---------------------------------------------------------------- tickets */

static size_t
half(const struct tlskey *k)
{
	return (k->len - TLSKEY_NAME) / 2;
}

static bool
set_mac(const struct tlskey *k, EVP_MAC_CTX *mac)
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY,
		(void *)(uintptr_t)(k->bytes + TLSKEY_NAME), half(k)),
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	    OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static const struct tlskey *
find(const struct tlskeys *keys, const uint8_t *name)
{
	for (size_t i = 0; i < keys->count; i++) {
		if (memcmp(keys->at[i].bytes, name, TLSKEY_NAME) == 0)
			return &keys->at[i];
	}
	return NULL;
}

int
tlskeys_use(const struct tlskeys *keys, uint8_t name[TLSKEY_NAME], uint8_t *iv,
    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, bool encrypt)
{
	const struct tlskey *k = encrypt ? &keys->at[0] : find(keys, name);
	const EVP_CIPHER *aes;

	if (k == NULL)
		return 0;
	aes = k->len == TLSKEY_LONG ? EVP_aes_256_cbc() : EVP_aes_128_cbc();
	if (encrypt) {
		memcpy(name, k->bytes, TLSKEY_NAME);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(aes)) != 1)
			return -1;
	}
	if (EVP_CipherInit_ex(cipher, aes, NULL, k->bytes + TLSKEY_NAME + half(k), iv,
		encrypt ? 1 : 0) != 1 ||
	    !set_mac(k, mac))
		return -1;
	return encrypt || k == &keys->at[0] ? 1 : 2;
}
