/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_name.c - what leases are called outside; see lease_name.h.
 *
 * Both are the first half of an HMAC-SHA-256, over words that begin with what they are
 * for.  The lease's own id is no secret of the token: it stands in URLs, and so in
 * logs.
 */
#include "model/lease_name.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/str.h"
#include "model/task.h"

#define WORDS_SIZE   160
#define TOKEN_DIGITS 32

char *
lease_format(const struct lease_name *l, char buf[LEASE_TEXT_SIZE])
{
	char task[UUID_TEXT_SIZE], lease[UUID_TEXT_SIZE];

	snprintf(buf, LEASE_TEXT_SIZE, "%s.%s", uuid_format(&l->task, task),
	    uuid_format(&l->lease, lease));
	return buf;
}

int
lease_parse(const char *text, size_t len, struct lease_name *l)
{
	const size_t half = UUID_TEXT_SIZE - 1;

	if (len != 2 * half + 1 || text[half] != '.' ||
	    uuid_parse(text, half, &l->task) != 0 ||
	    uuid_parse(text + half + 1, half, &l->lease) != 0 ||
	    !owner_is_lease(&l->lease))
		return -1;
	return 0;
}

/* ---------------------------------------------------------------- of an attempt */

static bool
lease_under(const struct sealkeys *keys, size_t n, const struct lease_attempt *at,
    struct uuid *lease)
{
	char words[WORDS_SIZE], task[UUID_TEXT_SIZE], owner[UUID_TEXT_SIZE];
	unsigned char mac[SEAL_MAC];
	int len = snprintf(words, sizeof(words), "lease %d %s %s %d %d", at->app_id,
	    uuid_format(&at->task, task), uuid_format(&at->owner, owner), at->number,
	    at->claim);

	if (!seal_mac(keys, n, words, (size_t)len, mac))
		return false;
	memcpy(lease->b, mac, sizeof(lease->b));
	owner_mark_lease(lease);
	return true;
}

int
lease_of_attempt(
    const struct sealkeys *keys, const struct lease_attempt *at, struct uuid *lease)
{
	return lease_under(keys, 0, at, lease) ? 0 : -1;
}

bool
lease_is_of_attempt(const struct sealkeys *keys, const struct lease_attempt *at,
    const struct uuid *lease)
{
	struct uuid its;

	for (size_t n = 0; lease_under(keys, n, at, &its); n++) {
		if (CRYPTO_memcmp(its.b, lease->b, sizeof(its.b)) == 0)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------- the token */

static bool
digits_under(const struct sealkeys *keys, size_t n, int app_id,
    const struct lease_name *l, char digits[TOKEN_DIGITS + 1])
{
	char words[WORDS_SIZE], name[LEASE_TEXT_SIZE];
	unsigned char mac[SEAL_MAC];
	int len = snprintf(
	    words, sizeof(words), "token %d %s", app_id, lease_format(l, name));

	if (!seal_mac(keys, n, words, (size_t)len, mac))
		return false;
	for (size_t i = 0; i < TOKEN_DIGITS / 2; i++)
		snprintf(digits + 2 * i, 3, "%02x", mac[i]);
	return true;
}

int
lease_token(const struct sealkeys *keys, int app_id, const struct lease_name *l,
    char buf[LEASE_TOKEN_SIZE])
{
	char digits[TOKEN_DIGITS + 1];

	if (!digits_under(keys, 0, app_id, l, digits))
		return -1;
	snprintf(buf, LEASE_TOKEN_SIZE, LEASE_TOKEN_PREFIX "%d_%s", app_id, digits);
	return 0;
}

bool
lease_token_check(const struct sealkeys *keys, const char *text,
    const struct lease_name *l, int *app_id)
{
	char app[16], digits[TOKEN_DIGITS + 1];
	const char *at = text + sizeof(LEASE_TOKEN_PREFIX) - 1;
	size_t app_len;
	int64_t app_number;

	if (!str_starts(text, LEASE_TOKEN_PREFIX))
		return false;
	app_len = strcspn(at, "_");
	if (app_len == 0 || app_len >= sizeof(app) || at[app_len] != '_' ||
	    strlen(at + app_len + 1) != TOKEN_DIGITS)
		return false;
	memcpy(app, at, app_len);
	app[app_len] = '\0';
	if (str_to_i64(app, &app_number) != 0 || app_number <= 0 ||
	    app_number > INT32_MAX)
		return false;
	for (size_t n = 0; digits_under(keys, n, (int)app_number, l, digits); n++) {
		if (CRYPTO_memcmp(digits, at + app_len + 1, TOKEN_DIGITS) == 0) {
			*app_id = (int)app_number;
			return true;
		}
	}
	return false;
}
