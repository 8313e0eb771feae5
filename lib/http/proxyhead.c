/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxyhead.c - a balancer's word about a connection, from its bytes alone.
 */
#include "http/proxyhead.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/str.h"

#define V1_MAX	   107 /* by the protocol's paper, line end included */
#define V1_START   "PROXY "
#define V1_WORDS   5
#define V2_START   12
#define V2_FIXED   16
#define V2_LOCAL   0x20
#define V2_PROXIED 0x21
#define V2_TCP4	   0x11
#define V2_TCP6	   0x21
#define V2_UNIX	   0x31

static const uint8_t v2_start[V2_START] = {
    0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static void
put_client(struct proxyhead *out, const uint8_t *address, bool v6)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (v6 && memcmp(address, mapped, sizeof(mapped)) == 0) {
		address += sizeof(mapped);
		v6 = false;
	}
	(void)inet_ntop(
	    v6 ? AF_INET6 : AF_INET, address, out->client, sizeof(out->client));
}

/* ---------------------------------------------------------------- version 1 */

/* decimal, without signs or leading zeros; -1: it is no port */
static int
port_of(const char *text, uint16_t *port)
{
	int64_t n;

	if (str_to_i64(text, &n) != 0 || n < 0 || n > UINT16_MAX ||
	    (text[0] == '0' && text[1] != '\0'))
		return -1;
	*port = (uint16_t)n;
	return 0;
}

/* what stands between "PROXY " and the line's end */
static bool
v1_words(char *text, struct proxyhead *out)
{
	char *words[V1_WORDS], *word;
	uint8_t client[16], us[16];
	uint16_t client_port;
	size_t count = 0;
	int family;

	/* what stands behind it is not to be looked at */
	if (strcmp(text, "UNKNOWN") == 0 || str_starts(text, "UNKNOWN "))
		return true;
	while ((word = strsep(&text, " ")) != NULL) {
		if (count == V1_WORDS)
			return false;
		words[count++] = word;
	}
	if (count != V1_WORDS)
		return false;
	if (strcmp(words[0], "TCP4") == 0)
		family = AF_INET;
	else if (strcmp(words[0], "TCP6") == 0)
		family = AF_INET6;
	else
		return false;
	if (inet_pton(family, words[1], client) != 1 ||
	    inet_pton(family, words[2], us) != 1 ||
	    port_of(words[3], &client_port) != 0 || port_of(words[4], &out->port) != 0)
		return false;
	put_client(out, client, family == AF_INET6);
	return true;
}

static enum proxyhead_verdict
v1_parse(const uint8_t *bytes, size_t len, struct proxyhead *out)
{
	const uint8_t *end = memchr(bytes, '\n', len < V1_MAX ? len : V1_MAX);
	const size_t start = sizeof(V1_START) - 1;
	char text[V1_MAX + 1];
	size_t n;

	if (end == NULL)
		return len < V1_MAX ? PROXYHEAD_MORE : PROXYHEAD_BAD;
	n = (size_t)(end - bytes);
	if (n <= start || bytes[n - 1] != '\r' || memchr(bytes, '\0', n) != NULL)
		return PROXYHEAD_BAD;
	memcpy(text, bytes + start, n - 1 - start);
	text[n - 1 - start] = '\0';
	out->len = n + 1;
	return v1_words(text, out) ? PROXYHEAD_GOOD : PROXYHEAD_BAD;
}

/* ---------------------------------------------------------------- version 2 */

static enum proxyhead_verdict
v2_parse(const uint8_t *bytes, size_t len, struct proxyhead *out)
{
	const uint8_t *at = bytes + V2_FIXED;
	size_t room;

	if (len > V2_START && bytes[V2_START] != V2_LOCAL &&
	    bytes[V2_START] != V2_PROXIED)
		return PROXYHEAD_BAD;
	if (len < V2_FIXED)
		return PROXYHEAD_MORE;
	room = (size_t)bytes[14] << 8 | bytes[15];
	out->len = V2_FIXED + room;
	if (out->len > PROXYHEAD_MAX)
		return PROXYHEAD_BAD;
	if (len < out->len)
		return PROXYHEAD_MORE;
	if (bytes[V2_START] == V2_LOCAL) {
		out->local = true;
		return PROXYHEAD_GOOD;
	}
	switch (bytes[13]) {
	case V2_TCP4:
		if (room < 12)
			return PROXYHEAD_BAD;
		put_client(out, at, false);
		out->port = (uint16_t)(at[10] << 8 | at[11]);
		return PROXYHEAD_GOOD;
	case V2_TCP6:
		if (room < 36)
			return PROXYHEAD_BAD;
		put_client(out, at, true);
		out->port = (uint16_t)(at[34] << 8 | at[35]);
		return PROXYHEAD_GOOD;
	case V2_UNIX: /* has no address that would tell us anything */
	case 0x00:    /* unspecified */
		return PROXYHEAD_GOOD;
	default:
		return PROXYHEAD_BAD;
	}
}

enum proxyhead_verdict
proxyhead_parse(const uint8_t *bytes, size_t len, struct proxyhead *out)
{
	static const char v1_start[] = V1_START;
	const size_t v1_len = sizeof(v1_start) - 1;
	struct proxyhead head = {.len = 0};
	enum proxyhead_verdict verdict = PROXYHEAD_BAD;

	if (len == 0)
		return PROXYHEAD_MORE;
	if (memcmp(bytes, v1_start, len < v1_len ? len : v1_len) == 0)
		verdict = len < v1_len ? PROXYHEAD_MORE : v1_parse(bytes, len, &head);
	else if (memcmp(bytes, v2_start, len < V2_START ? len : V2_START) == 0)
		verdict =
		    len <= V2_START ? PROXYHEAD_MORE : v2_parse(bytes, len, &head);
	if (verdict == PROXYHEAD_GOOD)
		*out = head;
	return verdict;
}
