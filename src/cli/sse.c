/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sse.c - server-sent events, line by line; see sse.h.
 *
 * Lines end in LF or CR LF: a node sends no lone CR.
 */
#include "cli/sse.h"

#include <string.h>

#include "base/str.h"

#define LINE_MOST (4u << 20)

void
sse_init(struct sse *s, sse_cb *cb, void *arg)
{
	memset(s, 0, sizeof(*s));
	s->cb = cb;
	s->arg = arg;
	strbuf_init(&s->line, LINE_MOST);
	strbuf_init(&s->data, LINE_MOST);
}

void
sse_fini(struct sse *s)
{
	strbuf_fini(&s->line);
	strbuf_fini(&s->data);
}

void
sse_restart(struct sse *s)
{
	strbuf_reset(&s->line);
	strbuf_reset(&s->data);
	s->name[0] = '\0';
	s->has_data = false;
}

static void
dispatch(struct sse *s)
{
	if (s->has_data)
		s->cb(s->name[0] != '\0' ? s->name : "message", s->data.data, s->arg);
	s->name[0] = '\0';
	s->has_data = false;
	strbuf_reset(&s->data);
}

static void
take_line(struct sse *s, char *line)
{
	char *value = strchr(line, ':');

	if (line[0] == '\0') {
		dispatch(s);
		return;
	}
	if (value == line)
		return; /* a comment */
	if (value != NULL) {
		*value++ = '\0';
		value += *value == ' ';
	} else {
		value = line + strlen(line);
	}
	if (str_eq(line, "data")) {
		if (s->has_data)
			strbuf_putc(&s->data, '\n');
		s->has_data = true;
		strbuf_puts(&s->data, value);
	} else if (str_eq(line, "event")) {
		(void)str_copy(s->name, sizeof(s->name), value);
	} else if (str_eq(line, "id") && strlen(value) < sizeof(s->id)) {
		(void)str_copy(s->id, sizeof(s->id), value);
	}
}

bool
sse_feed(struct sse *s, const char *bytes, size_t len)
{
	while (len > 0) {
		const char *end = memchr(bytes, '\n', len);
		size_t part = end != NULL ? (size_t)(end - bytes) : len;

		strbuf_put(&s->line, bytes, part);
		if (strbuf_failed(&s->line) || strbuf_failed(&s->data))
			return false;
		if (end == NULL)
			return true;
		if (s->line.len > 0 && s->line.data[s->line.len - 1] == '\r')
			s->line.data[--s->line.len] = '\0';
		take_line(s, s->line.data);
		strbuf_reset(&s->line);
		bytes = end + 1;
		len -= part + 1;
	}
	return !strbuf_failed(&s->data);
}
