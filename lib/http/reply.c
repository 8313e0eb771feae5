/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply.c - the head of a reply, in one piece.
 *
 * evhttp would keep each header as two strings in a list and print them one by one, and
 * find the date anew for each reply.  Here the head is text from the start: what a
 * handler adds is kept with its request as the lines that go out, and the rest is put
 * around it in one buffer of the httpd's.  Which headers a reply has is decided here
 * alone; how its bytes leave is conn.c's business.
 */
#include "http/httpd_int.h"

#include <string.h>
#include <time.h>

#include <event2/util.h>

#include "base/log.h"
#include "http/problem.h"

/* "Sun, 06 Nov 1994 08:49:37 GMT", of the current second */
static const char *
date(void)
{
	static char text[48];
	static time_t second;
	time_t now = time(NULL);

	if (now != second || text[0] == '\0') {
		struct tm tm;

		if (gmtime_r(&now, &tm) == NULL ||
		    evutil_date_rfc1123(text, sizeof(text), &tm) <= 0)
			text[0] = '\0';
		second = now;
	}
	return text;
}

static void
line(struct strbuf *sb, const char *name, const char *value)
{
	strbuf_puts(sb, name);
	strbuf_put(sb, ": ", 2);
	strbuf_puts(sb, value);
	strbuf_put(sb, "\r\n", 2);
}

/* a line break would be the start of a header that nobody meant */
static bool
is_one_line(const char *text)
{
	return text[strcspn(text, "\r\n")] == '\0';
}

void
reply_header(struct httpreq *req, const char *name, const char *value)
{
	struct strbuf *sb = &req->headers;
	size_t len = strlen(name) + strlen(value) + 4;

	if (is_one_line(name) && is_one_line(value) && strbuf_room(sb, len) != NULL)
		line(sb, name, value);
	else
		log_warn(NULL, "header of a reply was left out", "name=%s request=%s",
		    name, httpreq_name(req));
	sb->failed = false; /* the next may fit */
}

bool
reply_has_body(const struct httpreq *req, int status)
{
	return req->method != HTTP_HEAD && status != 204 && status != 304;
}

int
reply_write(struct strbuf *out, struct httpreq *req, const struct reply_facts *r)
{
	strbuf_reset(out);
	strbuf_put(out, r->minor == 0 ? "HTTP/1.0 " : "HTTP/1.1 ", 9);
	strbuf_int(out, r->status);
	strbuf_putc(out, ' ');
	strbuf_puts(out, problem_phrase(r->status));
	strbuf_put(out, "\r\n", 2);
	strbuf_put(out, req->headers.data, req->headers.len);
	if (r->type != NULL)
		line(out, "Content-Type", r->type);
	if (r->minor > 0)
		line(out, "Date", date());
	line(out, "X-Request-Id", httpreq_name(req));
	if (req->tls && req->httpd->opts.hsts_s > 0) {
		strbuf_puts(out, "Strict-Transport-Security: max-age=");
		strbuf_int(out, req->httpd->opts.hsts_s);
		strbuf_put(out, "\r\n", 2);
	}
	/* who speaks 1.0 and closes takes the connection's end for the body's */
	if (r->stream) {
		if (r->minor > 0)
			line(out, "Transfer-Encoding", "chunked");
	} else if ((r->minor > 0 || r->kept_alive || req->method == HTTP_HEAD) &&
		   (reply_has_body(req, r->status) || req->method == HTTP_HEAD)) {
		strbuf_puts(out, "Content-Length: ");
		strbuf_int(out, (int64_t)r->len);
		strbuf_put(out, "\r\n", 2);
	}
	if (r->says_close)
		line(out, "Connection", "close");
	else if (r->minor == 0 && r->kept_alive)
		line(out, "Connection", "keep-alive");
	strbuf_put(out, "\r\n", 2);
	return strbuf_failed(out) ? -1 : 0;
}
