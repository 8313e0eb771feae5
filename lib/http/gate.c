/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.c - the rules a request must keep before anything looks at what it wants.
 *
 * evhttp is lenient where leniency is dangerous: it takes the first of two lengths,
 * ignores transfer codings that it does not know, keeps "Transfer-Encoding " as some
 * other header.  A proxy in front that reads such a request differently lets one client
 * speak with another's voice.  So a request is refused unless there is exactly one way
 * to read it.
 *
 * headscan.c has seen the same head as bytes, and refused what evhttp would answer
 * itself.  What counts here is what plain.c or evhttp made of it: a length that is read
 * differently there ends the request as well.
 *
 * A new rule is one more check here and one more row in test_gate.c.
 */
#include "http/gate.h"

#include <string.h>

#include "base/str.h"

#define LENGTH_DIGITS_MAX 18 /* fits 64 bits */

void
gate_begin(struct gate *g, const struct gate_limits *limits)
{
	memset(g, 0, sizeof(*g));
	g->limits = limits;
}

static void
refuse(struct gate *g, int status, const char *code, const char *detail)
{
	if (g->status != 0)
		return;
	g->status = status;
	g->code = code;
	g->detail = detail;
}

static void
malformed(struct gate *g, const char *detail)
{
	refuse(g, 400, "malformed_request", detail);
}

/* the characters of RFC 9110's token, in rows of 32 */
static const uint32_t token_chars[256 / 32] = {
    [1] = 0x03ff6cfa, /* !#$%&'*+-. 0-9 */
    [2] = 0xc7fffffe, /* A-Z ^_ */
    [3] = 0x57ffffff, /* ` a-z | ~ */
};

static bool
is_token(const char *text)
{
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if ((token_chars[c / 32] >> c % 32 & 1) == 0)
			return false;
	}
	return true;
}

static bool
is_value(const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* a name, an IPv4 address or an IPv6 address in brackets, and perhaps a port */
static bool
is_host(const char *text)
{
	const char *end;

	if (*text == '[') {
		end = text + 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
		if (end == text + 1 || *end++ != ']')
			return false;
	} else {
		end = text + strspn(text, "abcdefghijklmnopqrstuvwxyz"
					  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
		if (end == text)
			return false;
	}
	if (*end == ':')
		end += 1 + strspn(end + 1, "0123456789");
	return *end == '\0';
}

static void
content_length(struct gate *g, const char *value)
{
	size_t digits = strspn(value, "0123456789");

	if (++g->lengths > 1) {
		malformed(g, "There is more than one Content-Length.");
		return;
	}
	if (digits == 0 || digits > LENGTH_DIGITS_MAX || value[digits] != '\0') {
		malformed(g, "Content-Length is not a plain number.");
		return;
	}
	for (; *value != '\0'; value++)
		g->length = g->length * 10 + (uint64_t)(*value - '0');
}

static void
transfer_encoding(struct gate *g, const char *value)
{
	if (!g->limits->allow_chunked) {
		refuse(g, 411, "length_required",
		    "Send the body with Content-Length; Transfer-Encoding is "
		    "not taken.");
		return;
	}
	if (++g->encodings > 1 || !str_ieq(value, "chunked"))
		malformed(g, "The only Transfer-Encoding taken is chunked.");
	g->chunked = true;
}

void
gate_header(struct gate *g, const char *name, const char *value)
{
	if (g->status != 0)
		return;
	if (++g->headers > g->limits->max_headers) {
		refuse(g, 431, "too_many_headers", "There are too many headers.");
		return;
	}
	if (!is_token(name) || !is_value(value)) {
		malformed(g, "A header has characters that are not allowed.");
		return;
	}
	/* few names begin with these letters: most headers are done here */
	if (strchr("cChHtT", name[0]) == NULL)
		return;
	if (str_ieq(name, "Content-Length"))
		content_length(g, value);
	else if (str_ieq(name, "Transfer-Encoding"))
		transfer_encoding(g, value);
	else if (str_ieq(name, "Host") && (++g->hosts > 1 || !is_host(value)))
		malformed(g, "There must be exactly one well-formed Host.");
}

/* "." and "..", also escaped */
static bool
is_dots(const char *segment, size_t len)
{
	unsigned dots = 0;

	while (len > 0) {
		size_t n = *segment == '.' ? 1 : 3;

		if (n == 3 && (len < 3 || segment[0] != '%' || segment[1] != '2' ||
				  (segment[2] != 'e' && segment[2] != 'E')))
			return false;
		segment += n;
		len -= n;
		dots++;
	}
	return dots == 1 || dots == 2;
}

void
gate_uri(struct gate *g, const char *uri)
{
	const char *segment = uri, *c;

	if (g->status != 0)
		return;
	if (uri[0] != '/') {
		malformed(g, "The request target must begin with a slash.");
		return;
	}
	for (c = uri; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~' || *c == '#' || *c == '\\') {
			malformed(g, "The URI has characters that must be escaped.");
			return;
		}
		if (*c == '%' && (str_hex_digit(c[1]) < 0 || str_hex_digit(c[2]) < 0 ||
				     (c[1] == '0' && c[2] == '0'))) {
			malformed(g, "The URI has a percent sign without two digits, "
				     "or %00.");
			return;
		}
	}
	if ((size_t)(c - uri) > g->limits->max_uri_bytes) {
		refuse(g, 414, "uri_too_long", "The URI is too long.");
		return;
	}
	while (*segment == '/') {
		size_t len = strcspn(++segment, "/?");

		if (is_dots(segment, len)) {
			malformed(g, "The path has a segment of dots.");
			return;
		}
		segment += len;
	}
}

void
gate_end(struct gate *g, int minor, bool has_body, size_t body_len)
{
	if (g->status != 0)
		return;
	if (minor >= 1 && g->hosts != 1)
		malformed(g, "There must be exactly one well-formed Host.");
	else if (g->chunked && g->lengths > 0)
		malformed(g, "There is both a Content-Length and a Transfer-Encoding.");
	else if (g->chunked && minor < 1)
		malformed(g, "Transfer-Encoding needs HTTP/1.1.");
	else if (!g->chunked && g->length != body_len)
		malformed(g, "The body is not as long as Content-Length says.");
	else if (body_len > g->limits->max_body_bytes)
		refuse(g, 413, "body_too_large", "The body is too large.");
	else if (!has_body && (body_len > 0 || g->chunked))
		malformed(g, "This method takes no body.");
}
