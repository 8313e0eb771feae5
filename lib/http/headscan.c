/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * headscan.c - where the head of a request ends, and what is wrong with its bytes.
 *
 * The head is lines that end in CR LF, up to an empty one.  A line that ends in a bare
 * LF, a CR elsewhere, a NUL, or a line that begins with white space (a folded header)
 * is a flaw: two programs that read such bytes differently are a way to smuggle a
 * request.  So are a request line that is not exactly method, target and version, two
 * lengths, or a length beside a coding.
 *
 * A flaw does not stop the scan; the end must be found by the same rule as evhttp's,
 * which takes a bare LF as the end of a line.  The first flaw stays.
 *
 * The bytes are passed over once, however they are cut: of a line only its start is
 * kept, of the request line its tail as well.  What needs more than that (the bytes of
 * the URI, names and values) is gate.c's business.
 *
 * Another header is one more row of headers[]; another method one of methods[].
 */
#include "http/headscan.h"

#include <string.h>
#include <strings.h>

#include "base/attr.h"

#define LENGTH_DIGITS_MAX 18   /* fits 64 bits */
#define TLS_HANDSHAKE	  0x16 /* the first byte of one; no method begins with it */

void
headscan_reset(struct headscan *hs)
{
	memset(hs, 0, sizeof(*hs));
}

static void
refuse(struct headscan *hs, int status, const char *code, const char *detail)
{
	if (hs->status != 0)
		return;
	hs->status = status;
	hs->code = code;
	hs->detail = detail;
}

static void
flaw(struct headscan *hs, const char *what)
{
	refuse(hs, 400, "malformed_request", what);
}

/* ---------------------------------------------------------------- the request line */

/* what the routes may answer; of the rest nothing is known, not even if it has a body
 */
static const struct {
	const char *name;
	bool body;
} methods[] = {
    {"GET ", false},
    {"POST ", true},
    {"HEAD ", false},
    {"PUT ", true},
    {"DELETE ", false},
    {"OPTIONS ", false},
    {"PATCH ", true},
};

static size_t
started(const struct headscan *hs)
{
	return hs->line_len < sizeof(hs->start) ? hs->line_len : sizeof(hs->start);
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void
version(struct headscan *hs)
{
	const char *t = hs->tail;

	if (memcmp(t, " HTTP/", 6) != 0 || !is_digit(t[6]) || t[7] != '.' ||
	    !is_digit(t[8]) || t[9] != '\r' || hs->spaces != 2)
		flaw(hs, "The request line is not a method, a target and a version.");
	else if (t[6] != '1' || t[8] > '1')
		refuse(hs, 505, "version_not_supported",
		    "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
}

static void
request_line(struct headscan *hs)
{
	size_t len = started(hs), at = 0;

	version(hs);
	for (size_t i = 0; i < COUNT_OF(methods) && at == 0; i++) {
		size_t n = strlen(methods[i].name);

		if (len > n && memcmp(hs->start, methods[i].name, n) == 0) {
			hs->takes_body = methods[i].body;
			at = n;
		}
	}
	if (at == 0)
		refuse(
		    hs, 501, "method_not_implemented", "There is no such method here.");
	else if (hs->start[at] != '/' || (at + 1 < len && hs->start[at + 1] == '/'))
		/* evhttp would take what follows two slashes for a host */
		flaw(hs, "The request target must begin with one slash.");
}

/* ---------------------------------------------------------------- headers */

static void
content_length(struct headscan *hs, const char *value, size_t len)
{
	uint64_t n = 0;

	if (++hs->lengths > 1)
		flaw(hs, "There is more than one Content-Length.");
	for (size_t i = 0; i < len; i++) {
		if (!is_digit(value[i]) || len > LENGTH_DIGITS_MAX) {
			len = 0;
			break;
		}
		n = n * 10 + (uint64_t)(value[i] - '0');
	}
	if (len == 0)
		flaw(hs, "Content-Length is not a plain number.");
	else
		hs->length = n;
}

static bool
is_word(const char *value, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(value, word, len) == 0;
}

static void
transfer_encoding(struct headscan *hs, const char *value, size_t len)
{
	hs->encodings++;
	hs->chunked = is_word(value, len, "chunked");
}

static void
connection(struct headscan *hs, const char *value, size_t len)
{
	if (!is_word(value, len, "close"))
		hs->stays = true;
}

static void
expect(struct headscan *hs, const char *value, size_t len)
{
	hs->expects = true;
	if (!is_word(value, len, "100-continue"))
		refuse(hs, 417, "expectation_failed",
		    "The only expectation that can be met is 100-continue.");
}

/* the value is without the spaces around it; none is as bad as one that is too long */
static const struct {
	const char *name;
	void (*take)(struct headscan *hs, const char *value, size_t len);
} headers[] = {
    {"Content-Length:", content_length},
    {"Transfer-Encoding:", transfer_encoding},
    {"Connection:", connection},
    {"Expect:", expect},
};

static void
header(struct headscan *hs)
{
	const char *s = hs->start;
	size_t len = started(hs);

	if (!hs->colon)
		flaw(hs, "A header has no colon.");
	/* most headers are done here */
	if (strchr("cCtTeE", s[0]) == NULL)
		return;
	for (size_t i = 0; i < COUNT_OF(headers); i++) {
		size_t at = strlen(headers[i].name);

		if (len < at || strncasecmp(s, headers[i].name, at) != 0)
			continue;
		/* by evhttp's rule: a tab before the value belongs to it */
		while (at < len && s[at] == ' ')
			at++;
		while (len > at && strchr(" \t\r", s[len - 1]) != NULL)
			len--;
		/* a part would say something else */
		if (hs->line_len > sizeof(hs->start))
			len = at;
		headers[i].take(hs, s + at, len - at);
		return;
	}
}

/* ---------------------------------------------------------------- lines */

static void
keep_tail(struct headscan *hs, const char *bytes, size_t len)
{
	size_t n = len < HEADSCAN_TAIL ? len : HEADSCAN_TAIL;

	memmove(hs->tail, hs->tail + n, HEADSCAN_TAIL - n);
	memcpy(hs->tail + HEADSCAN_TAIL - n, bytes + len - n, n);
}

static size_t
count(const char *bytes, size_t len, char c)
{
	const char *end = bytes + len;
	size_t n = 0;

	while ((bytes = memchr(bytes, c, (size_t)(end - bytes))) != NULL) {
		bytes++;
		n++;
	}
	return n;
}

/* a piece of one line without its LF */
static void
piece(struct headscan *hs, const char *bytes, size_t len)
{
	const char *cr;

	if (len == 0)
		return;
	if (hs->cr_last)
		flaw(hs, "There is a carriage return inside a line.");
	if (hs->line_len == 0 && hs->lines == 0 && bytes[0] == TLS_HANDSHAKE)
		flaw(hs, "This is TLS, and plain HTTP is spoken here.");
	if (hs->line_len == 0 && hs->lines > 0 && (bytes[0] == ' ' || bytes[0] == '\t'))
		flaw(hs, "A header is folded over two lines.");
	if (memchr(bytes, '\0', len) != NULL)
		flaw(hs, "There is a NUL byte in the headers.");
	cr = memchr(bytes, '\r', len);
	if (cr != NULL && cr != bytes + len - 1)
		flaw(hs, "There is a carriage return inside a line.");
	hs->cr_last = bytes[len - 1] == '\r';
	if (hs->lines == 0) {
		keep_tail(hs, bytes, len);
		hs->spaces += count(bytes, len, ' ');
	} else if (!hs->colon) {
		hs->colon = memchr(bytes, ':', len) != NULL;
	}
	if (hs->line_len < sizeof(hs->start)) {
		size_t room = sizeof(hs->start) - hs->line_len;

		memcpy(hs->start + hs->line_len, bytes, len < room ? len : room);
	}
	hs->line_len += len;
}

static void
head_done(struct headscan *hs)
{
	hs->ended = true;
	if (hs->lines == 0)
		flaw(hs, "There is no request line.");
	if (hs->lengths > 0 && hs->encodings > 0)
		flaw(hs, "There is both a Content-Length and a Transfer-Encoding.");
	/* evhttp takes the end of the connection for the body's end then */
	if (hs->takes_body && hs->stays && hs->lengths == 0 && hs->encodings == 0)
		refuse(hs, 411, "length_required", "Send Content-Length, even if 0.");
}

static void
line_done(struct headscan *hs)
{
	if (!hs->cr_last)
		flaw(hs, "A line does not end in CR LF.");
	if (hs->line_len == (hs->cr_last ? 1 : 0)) {
		head_done(hs);
	} else if (hs->lines++ == 0) {
		hs->first_len = hs->line_len + 1;
		request_line(hs);
	} else {
		header(hs);
	}
	hs->line_len = 0;
	hs->cr_last = false;
	hs->colon = false;
}

size_t
headscan_feed(struct headscan *hs, const char *bytes, size_t len)
{
	size_t used = 0;

	while (used < len && !hs->ended) {
		const char *from = bytes + used;
		const char *lf = memchr(from, '\n', len - used);
		size_t n = lf == NULL ? len - used : (size_t)(lf - from);

		piece(hs, from, n);
		used += n;
		if (lf == NULL)
			break;
		used++;
		line_done(hs);
	}
	hs->bytes += used;
	return used;
}
