/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * headscan.c - where the head of a request ends, and what is wrong with its bytes.
 *
 * The head is lines that end in CR LF, up to an empty one.  A line that ends in a bare
 * LF, a CR elsewhere, a NUL, or a line that begins with white space (a folded header)
 * is a flaw: two programs that read such bytes differently are a way to smuggle a
 * request.  A flaw does not stop the scan; the end must be found by the same rule as
 * evhttp's, which takes a bare LF as the end of a line.
 */
#include "http/headscan.h"

#include <string.h>
#include <strings.h>

void
headscan_reset(struct headscan *hs)
{
	memset(hs, 0, sizeof(*hs));
}

static void
flaw(struct headscan *hs, const char *what)
{
	if (hs->flaw == NULL)
		hs->flaw = what;
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
	if (hs->line_len == 0 && hs->lines > 0 && (bytes[0] == ' ' || bytes[0] == '\t'))
		flaw(hs, "A header is folded over two lines.");
	if (memchr(bytes, '\0', len) != NULL)
		flaw(hs, "There is a NUL byte in the headers.");
	cr = memchr(bytes, '\r', len);
	if (cr != NULL && cr != bytes + len - 1)
		flaw(hs, "There is a carriage return inside a line.");
	hs->cr_last = bytes[len - 1] == '\r';
	if (hs->line_len < sizeof(hs->start)) {
		size_t room = sizeof(hs->start) - hs->line_len;

		memcpy(hs->start + hs->line_len, bytes, len < room ? len : room);
	}
	hs->line_len += len;
}

/*
 * Only to refuse a body that is too large before it is sent; whether the number is well
 * formed is the gate's business.
 */
static void
line_done(struct headscan *hs)
{
	static const char name[] = "content-length:";
	size_t len =
	    hs->line_len < sizeof(hs->start) ? hs->line_len : sizeof(hs->start);
	size_t at = sizeof(name) - 1;
	uint64_t n = 0;

	if (hs->lines++ == 0) {
		hs->first_len = hs->line_len + 1;
		return;
	}
	if (len < at || strncasecmp(hs->start, name, at) != 0)
		return;
	while (at < len && (hs->start[at] == ' ' || hs->start[at] == '\t'))
		at++;
	for (; at < len && hs->start[at] >= '0' && hs->start[at] <= '9'; at++)
		n = n > UINT64_MAX / 10 - 1 ? n
					    : n * 10 + (uint64_t)(hs->start[at] - '0');
	if (n > hs->length)
		hs->length = n;
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
		if (!hs->cr_last)
			flaw(hs, "A line does not end in CR LF.");
		if (hs->line_len == (hs->cr_last ? 1 : 0))
			hs->ended = true;
		else
			line_done(hs);
		hs->line_len = 0;
		hs->cr_last = false;
	}
	hs->bytes += used;
	return used;
}
