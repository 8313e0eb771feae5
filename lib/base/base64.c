/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base64.c - keys as text; see base64.h.
 *
 * OpenSSL decodes.  It overlooks what it does not expect, so that is looked for first.
 */
#include "base/base64.h"

#include <string.h>

#include <openssl/evp.h>

int
base64_decode(const char *text, void *to, size_t size, size_t *len)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t all = strlen(text), digits = strspn(text, alphabet),
	       padding = strspn(text + digits, "=");
	int n;

	if (all % 4 != 0 || padding > 2 || digits + padding != all ||
	    all / 4 * 3 > size)
		return -1;
	n = EVP_DecodeBlock(to, (const unsigned char *)text, (int)all);
	if (n < (int)padding)
		return -1;
	*len = (size_t)n - padding;
	return 0;
}
