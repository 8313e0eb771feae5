/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * strbuf.c - a growing byte buffer with a ceiling.
 *
 * The block doubles, so appending costs the same a byte however long the buffer
 * gets.  An empty buffer points at a static NUL: cap 0 means that nothing is owned.
 * cap counts the terminator, len and max do not.
 */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* what data points at before the first append: never written to */
static char nothing[1];

void
strbuf_init(struct strbuf *sb, size_t max)
{
	sb->data = nothing;
	sb->len = 0;
	sb->cap = 0;
	sb->max = max;
	sb->failed = false;
}

void
strbuf_fini(struct strbuf *sb)
{
	if (sb->cap > 0)
		mem_free(sb->data);
	strbuf_init(sb, sb->max);
}

void
strbuf_reset(struct strbuf *sb)
{
	sb->len = 0;
	sb->failed = false;
	if (sb->cap > 0)
		sb->data[0] = '\0';
}

char *
strbuf_room(struct strbuf *sb, size_t len)
{
	size_t cap = sb->cap;
	char *data;

	if (sb->failed)
		return NULL;
	/* a quarter of what size_t holds keeps the doubling below from overflowing */
	if (len > sb->max - sb->len || len > SIZE_MAX / 4 || sb->len > SIZE_MAX / 4) {
		sb->failed = true;
		return NULL;
	}
	if (sb->len + len + 1 > cap) {
		if (cap < 128)
			cap = 128;
		while (cap < sb->len + len + 1)
			cap *= 2;
		data = mem_resize(sb->cap > 0 ? sb->data : NULL, cap, 1);
		if (data == NULL) {
			sb->failed = true;
			return NULL;
		}
		sb->data = data;
		sb->cap = cap;
	}
	return sb->data + sb->len;
}

void
strbuf_grow(struct strbuf *sb, size_t len)
{
	sb->len += len;
	sb->data[sb->len] = '\0';
}

void
strbuf_put(struct strbuf *sb, const void *bytes, size_t len)
{
	char *room = strbuf_room(sb, len);

	if (room == NULL)
		return;
	if (len > 0)
		memcpy(room, bytes, len);
	strbuf_grow(sb, len);
}

void
strbuf_puts(struct strbuf *sb, const char *text)
{
	strbuf_put(sb, text, strlen(text));
}

void
strbuf_putc(struct strbuf *sb, char c)
{
	char *room = strbuf_room(sb, 1);

	if (room == NULL)
		return;
	*room = c;
	strbuf_grow(sb, 1);
}

void
strbuf_int(struct strbuf *sb, int64_t n)
{
	char digits[20]; /* 19 of the largest, and the sign */
	char *at = digits + sizeof(digits);
	uint64_t rest = n < 0 ? -(uint64_t)n : (uint64_t)n;

	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (n < 0)
		*--at = '-';
	strbuf_put(sb, at, (size_t)(digits + sizeof(digits) - at));
}

void
strbuf_printf(struct strbuf *sb, const char *fmt, ...)
{
	va_list ap;
	char *room;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0) {
		sb->failed = true;
		return;
	}
	room = strbuf_room(sb, (size_t)len);
	if (room == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(room, (size_t)len + 1, fmt, ap);
	va_end(ap);
	strbuf_grow(sb, (size_t)len);
}

bool
strbuf_failed(const struct strbuf *sb)
{
	return sb->failed;
}

char *
strbuf_take(struct strbuf *sb, size_t *len)
{
	char *data;

	if (sb->failed || strbuf_room(sb, 0) == NULL)
		return NULL;
	data = sb->data;
	data[sb->len] = '\0';
	if (len != NULL)
		*len = sb->len;
	strbuf_init(sb, sb->max);
	return data;
}
