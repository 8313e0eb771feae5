/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_proxyhead.c - any bytes as the beginning of a connection, and as a header
 * X-Forwarded-For.
 *
 * Bytes come in pieces: what is good must have been "more" in each of its parts, or a
 * header would be taken or refused by how the network cut it.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <string.h>

#include "http/forward.h"
#include "http/proxyhead.h"

static bool
is_address(const char *text)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, text, bytes) == 1 ||
	       inet_pton(AF_INET6, text, bytes) == 1;
}

static void
look_at_head(const uint8_t *bytes, size_t len)
{
	struct proxyhead head, again;

	switch (proxyhead_parse(bytes, len, &head)) {
	case PROXYHEAD_GOOD:
		FUZZ_CHECK(head.len > 0 && head.len <= len);
		FUZZ_CHECK(head.len <= PROXYHEAD_MAX);
		FUZZ_CHECK(head.client[0] == '\0' || is_address(head.client));
		FUZZ_CHECK(!head.local || head.client[0] == '\0');
		for (size_t n = 0; n < head.len; n++)
			FUZZ_CHECK(proxyhead_parse(bytes, n, &again) == PROXYHEAD_MORE);
		FUZZ_CHECK(proxyhead_parse(bytes, head.len, &again) == PROXYHEAD_GOOD);
		FUZZ_CHECK(again.len == head.len && again.port == head.port);
		break;
	case PROXYHEAD_MORE:
		FUZZ_CHECK(len < PROXYHEAD_MAX);
		break;
	case PROXYHEAD_BAD:
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cidr_list trusted;
	struct err err = ERR_INIT;
	struct forward f;
	char *text = malloc(len + 1), word[8];

	FUZZ_CHECK(text != NULL);
	look_at_head(bytes, len);
	memcpy(text, bytes, len);
	text[len] = '\0';
	FUZZ_CHECK(cidr_list_parse("10.0.0.0/8, fd00::/8", &trusted, &err) == 0);
	forward_begin(&f, "10.0.0.1");
	forward_for(&f, &trusted, text);
	FUZZ_CHECK(is_address(f.client) && f.hops <= FORWARD_HOPS);
	forward_last(text, word, sizeof(word));
	FUZZ_CHECK(strchr(word, ',') == NULL);
	cidr_list_fini(&trusted);
	free(text);
	return 0;
}
