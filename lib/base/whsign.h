/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * whsign.h - signatures of outgoing requests, by the Standard Webhooks scheme.
 *
 * HMAC-SHA-256 over "id.timestamp.body" with a secret that both sides know: "whsec_"
 * and the base64 of 24 to 64 bytes.  With two secrets the header has two signatures,
 * and a receiver may know either: so secrets are replaced without a gap.
 */
#ifndef BASE_WHSIGN_H
#define BASE_WHSIGN_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"

#define WHSIGN_SECRETS	2
#define WHSIGN_KEY_MOST 64
#define WHSIGN_SIZE	(WHSIGN_SECRETS * 48) /* "v1," and 44 bytes each */

struct whsecrets {
	size_t count; /* 0: nothing is signed */
	struct {
		uint8_t key[WHSIGN_KEY_MOST];
		size_t len;
	} at[WHSIGN_SECRETS];
};

/* one or two secrets with spaces between, or none; the text is never in the error */
int whsecrets_parse(
    const char *text, struct whsecrets *secrets, struct err *err) ATTR_CHECK;
void whsecrets_fini(struct whsecrets *secrets); /* wipes them */
/* the value of webhook-signature; secrets->count > 0 */
int whsign(const struct whsecrets *secrets, const char *id, int64_t timestamp_s,
    const void *body, size_t len, char out[WHSIGN_SIZE], struct err *err) ATTR_CHECK;

#endif
