/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * apikey.c - making and taking apart API keys; see apikey.h.
 */
#include "store/apikey.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "base/uuid.h"

#define PREFIX	     "shoal_live_"
#define SECRET_CHARS 43
#define CHECK_CHARS  6
#define BODY_LEN     (sizeof(PREFIX) - 1 + APIKEY_PUBLIC + 1 + SECRET_CHARS)
#define TEXT_LEN     (BODY_LEN + 1 + CHECK_CHARS)

_Static_assert(TEXT_LEN < APIKEY_TEXT_SIZE, "a key fits its buffer");

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* CRC-32 (ISO 3309, reflected 0x04c11db7); bit by bit: a key that is known is not
 * looked at again */
static uint32_t
crc32_of(const char *bytes, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= (uint8_t)bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0xedb88320 & (0U - (crc & 1)));
	}
	return ~crc;
}

/* 6 bits a character; chars may leave a rest of the last byte out */
static void
encode(const uint8_t *bytes, size_t len, char *to, size_t chars)
{
	for (size_t i = 0; i < chars; i++) {
		size_t bit = i * 6, at = bit / 8;
		unsigned pair =
		    (unsigned)bytes[at] << 8 | (at + 1 < len ? bytes[at + 1] : 0);

		to[i] = alphabet[pair >> (10 - bit % 8) & 63];
	}
}

void
apikey_generate(struct apikey *key)
{
	uint8_t secret[32], public[APIKEY_PUBLIC];
	char *p = key->text;

	random_bytes(secret, sizeof(secret));
	random_bytes(public, sizeof(public));
	memcpy(p, PREFIX, sizeof(PREFIX) - 1);
	p += sizeof(PREFIX) - 1;
	/* letters and digits only: the id is also said aloud and typed */
	for (size_t i = 0; i < APIKEY_PUBLIC; i++)
		*p++ = alphabet[public[i] % 62];
	*p++ = '_';
	encode(secret, sizeof(secret), p, SECRET_CHARS);
	p += SECRET_CHARS;
	snprintf(p, CHECK_CHARS + 2, "_%06x", crc32_of(key->text, BODY_LEN) & 0xffffff);
	OPENSSL_cleanse(secret, sizeof(secret));
	(void)apikey_parse(key->text, TEXT_LEN, key);
}

/*
 * SHA256() would look its algorithm up by name each time, which takes longer than the
 * digest; so one context is kept for the process.  Without it SHA256() does as well.
 */
bool
apikey_digest(const char *text, size_t len, uint8_t hash[APIKEY_HASH])
{
	static EVP_MD_CTX *ctx;
	static EVP_MD *md;

	if (len != TEXT_LEN)
		return false;
	if (ctx == NULL && (ctx = EVP_MD_CTX_new()) != NULL)
		md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (ctx == NULL || md == NULL || EVP_DigestInit_ex2(ctx, md, NULL) != 1 ||
	    EVP_DigestUpdate(ctx, text, len) != 1 ||
	    EVP_DigestFinal_ex(ctx, hash, NULL) != 1)
		SHA256((const uint8_t *)text, len, hash);
	return true;
}

bool
apikey_parse(const char *text, size_t len, struct apikey *key)
{
	char check[CHECK_CHARS + 1];

	if (len != TEXT_LEN || memcmp(text, PREFIX, sizeof(PREFIX) - 1) != 0 ||
	    text[BODY_LEN] != '_')
		return false;
	for (size_t i = 0; i < BODY_LEN; i++) {
		if (text[i] == '\0' || strchr(alphabet, text[i]) == NULL)
			return false;
	}
	snprintf(check, sizeof(check), "%06x", crc32_of(text, BODY_LEN) & 0xffffff);
	if (memcmp(check, text + BODY_LEN + 1, CHECK_CHARS) != 0)
		return false;
	memcpy(key->public_id, text + sizeof(PREFIX) - 1, APIKEY_PUBLIC);
	key->public_id[APIKEY_PUBLIC] = '\0';
	return apikey_digest(text, len, key->hash);
}

bool
apikey_hash_equal(const uint8_t a[APIKEY_HASH], const uint8_t b[APIKEY_HASH])
{
	return CRYPTO_memcmp(a, b, APIKEY_HASH) == 0;
}
