/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * linebuf.c - bytes in, whole lines out; see linebuf.h.
 */
#include "base/linebuf.h"

#include <string.h>

#define KEPT_BYTES 65536 /* the block of a longer line is not kept for the next one */

void
linebuf_init(struct linebuf *lb, size_t max_line_bytes)
{
	lb->max = max_line_bytes;
	strbuf_init(&lb->begun, max_line_bytes + 1); /* and a "\r" */
}

void
linebuf_fini(struct linebuf *lb)
{
	strbuf_fini(&lb->begun);
}

static int
too_long(struct linebuf *lb, struct err *err)
{
	strbuf_fini(&lb->begun);
	return err_set(err, ERR_LIMIT, "a line is longer than %zu bytes", lb->max);
}

/* tells it; *more: the callback wants to hear the next one */
static int
tell(struct linebuf *lb, const char *line, size_t len, linebuf_cb *cb, void *arg,
    bool *more, struct err *err)
{
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (len > lb->max)
		return too_long(lb, err);
	*more = cb(line, len, arg);
	return 0;
}

static int
tell_begun(struct linebuf *lb, linebuf_cb *cb, void *arg, bool *more, struct err *err)
{
	int rc = tell(lb, lb->begun.data, lb->begun.len, cb, arg, more, err);

	if (lb->begun.cap > KEPT_BYTES)
		strbuf_fini(&lb->begun);
	else
		strbuf_reset(&lb->begun);
	return rc;
}

static int
keep(struct linebuf *lb, const char *bytes, size_t len, struct err *err)
{
	if (lb->begun.len + len > lb->max + 1)
		return too_long(lb, err);
	strbuf_put(&lb->begun, bytes, len);
	if (!strbuf_failed(&lb->begun))
		return 0;
	strbuf_fini(&lb->begun);
	return err_set(err, ERR_NOMEM, "a line of %zu bytes", len);
}

int
linebuf_feed(struct linebuf *lb, const char *bytes, size_t len, linebuf_cb *cb,
    void *arg, struct err *err)
{
	const char *end = bytes + len, *newline;
	bool more = true;

	while (bytes < end && more) {
		newline = memchr(bytes, '\n', (size_t)(end - bytes));
		if (newline == NULL)
			return keep(lb, bytes, (size_t)(end - bytes), err);
		if (lb->begun.len > 0) {
			if (keep(lb, bytes, (size_t)(newline - bytes), err) != 0 ||
			    tell_begun(lb, cb, arg, &more, err) != 0)
				return -1;
		} else if (tell(lb, bytes, (size_t)(newline - bytes), cb, arg, &more,
			       err) != 0) {
			return -1;
		}
		bytes = newline + 1;
	}
	return 0;
}

void
linebuf_end(struct linebuf *lb, linebuf_cb *cb, void *arg)
{
	bool more;

	/* what fitted into the buffer may be told */
	if (lb->begun.len > 0)
		(void)!tell_begun(lb, cb, arg, &more, NULL);
}
