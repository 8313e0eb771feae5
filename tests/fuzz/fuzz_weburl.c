/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_weburl.c - any bytes as a URL: refused, or understood as libcurl does.
 *
 * The guard judges what our reader found, and libcurl connects: two readers that
 * differ would be a way around it.
 */
#include "fuzz.h"

#include <string.h>

#include <curl/curl.h>

#include "http/reqhead.h"
#include "http/weburl.h"

static char *
part(CURLU *cu, CURLUPart what)
{
	char *text = NULL;

	FUZZ_CHECK(curl_url_get(cu, what, &text, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		   text != NULL);
	return text;
}

/* the text as it came, too: who reads it before us must not find another host */
static void
compare(const struct weburl *u, const char *text)
{
	CURLU *cu = curl_url();
	char *host, *port, *scheme, expected[8], bracketed[260];

	FUZZ_CHECK(cu != NULL);
	FUZZ_CHECK(curl_url_set(cu, CURLUPART_URL, text, 0) == CURLUE_OK);
	host = part(cu, CURLUPART_HOST);
	port = part(cu, CURLUPART_PORT);
	scheme = part(cu, CURLUPART_SCHEME);
	snprintf(expected, sizeof(expected), "%u", u->port);
	snprintf(bracketed, sizeof(bracketed), "[%s]", u->host);
	FUZZ_CHECK(strcasecmp(scheme, u->tls ? "https" : "http") == 0);
	FUZZ_CHECK(strcmp(port, expected) == 0);
	FUZZ_CHECK(host[0] == '[' || strcasecmp(host, u->host) == 0);
	if (text == u->text && host[0] == '[')
		FUZZ_CHECK(strcmp(host, bracketed) == 0);
	curl_free(host);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(cu);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *text = malloc(len + 1);
	struct weburl u, again;
	struct err err = ERR_INIT;

	FUZZ_CHECK(text != NULL);
	memcpy(text, bytes, len);
	text[len] = '\0';
	if (weburl_parse(text, &u, &err) == 0) {
		FUZZ_CHECK(weburl_parse(u.text, &again, &err) == 0);
		FUZZ_CHECK(strcmp(u.text, again.text) == 0);
		FUZZ_CHECK(strcmp(u.host, again.host) == 0 && u.port == again.port);
		compare(&u, text);
		compare(&u, u.text);
	} else {
		FUZZ_CHECK(err.code == ERR_INVALID && err.text[0] != '\0');
	}
	/* the same bytes as a header: accepted only on one line */
	if (reqhead_check(text, &err) == 0)
		FUZZ_CHECK(strpbrk(text, "\r\n") == NULL && strchr(text, ':') != NULL);
	free(text);
	return 0;
}
