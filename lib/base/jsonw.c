/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jsonw.c - JSON written straight into a strbuf.
 *
 * The writer places commas and colons and knows what is open; what it writes
 * is well-formed or the strbuf is marked as failed.  Misuse (a value without its
 * key, a key in an array, one end too many, a second value at the top) fails the
 * strbuf too, so a mistake never leaves as broken JSON.
 *
 * The program never calls setlocale, so printf's decimal point is a point.
 */
#include "base/jsonw.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/clock.h"
#include "base/str.h"

#define DEPTH_MAX (COUNT_OF(((struct jsonw *)0)->first) - 1)

void
jsonw_init(struct jsonw *w, struct strbuf *out)
{
	memset(w, 0, sizeof(*w));
	w->out = out;
	w->first[0] = true;
}

/* what must stand before a value here; false if none may */
static bool
before_value(struct jsonw *w)
{
	if (w->out->failed)
		return false;
	if (w->after_key) {
		w->after_key = false;
		return true;
	}
	if (w->close[w->depth] == '}' || (w->depth == 0 && !w->first[0])) {
		w->out->failed = true;
		return false;
	}
	if (!w->first[w->depth])
		strbuf_putc(w->out, ',');
	w->first[w->depth] = false;
	return true;
}

static void
open_level(struct jsonw *w, char open, char close)
{
	if (!before_value(w))
		return;
	if (w->depth == DEPTH_MAX) {
		w->out->failed = true;
		return;
	}
	strbuf_putc(w->out, open);
	w->depth++;
	w->first[w->depth] = true;
	w->close[w->depth] = close;
}

void
jsonw_object(struct jsonw *w)
{
	open_level(w, '{', '}');
}

void
jsonw_array(struct jsonw *w)
{
	open_level(w, '[', ']');
}

void
jsonw_end(struct jsonw *w)
{
	if (w->out->failed)
		return;
	if (w->depth == 0 || w->after_key) {
		w->out->failed = true;
		return;
	}
	strbuf_putc(w->out, w->close[w->depth]);
	w->close[w->depth] = '\0';
	w->depth--;
}

/* the escape of a byte below 0x20, a quote or a backslash */
static void
put_escape(struct strbuf *out, unsigned char c)
{
	switch (c) {
	case '"':
		strbuf_put(out, "\\\"", 2);
		break;
	case '\\':
		strbuf_put(out, "\\\\", 2);
		break;
	case '\n':
		strbuf_put(out, "\\n", 2);
		break;
	case '\r':
		strbuf_put(out, "\\r", 2);
		break;
	case '\t':
		strbuf_put(out, "\\t", 2);
		break;
	case '\b':
		strbuf_put(out, "\\b", 2);
		break;
	case '\f':
		strbuf_put(out, "\\f", 2);
		break;
	default:
		strbuf_printf(out, "\\u%04x", c);
	}
}

/* none of eight bytes is a control, a quote, a backslash or beyond ASCII */
static bool
all_plain(const char *text)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
	uint64_t w, quote, backslash;

	memcpy(&w, text, sizeof(w));
	quote = w ^ ones * '"';
	backslash = w ^ ones * '\\';
	/* a byte that is less than another borrows into its high bit */
	return ((w | (w - ones * 0x20) | (quote - ones) | (backslash - ones)) & high) ==
	       0;
}

/* bytes that stand for themselves, from text's first on */
static size_t
plain_run(const char *text, size_t len)
{
	size_t n = 0;

	while (len - n >= 8 && all_plain(text + n))
		n += 8;
	while (n < len) {
		unsigned char c = (unsigned char)text[n];

		if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
			break;
		n++;
	}
	return n;
}

static void
put_string(struct strbuf *out, const char *text, size_t len)
{
	size_t done = 0, i = plain_run(text, len);
	char *room;

	/* most need no look at each of their characters */
	if (i == len && (room = strbuf_room(out, len + 2)) != NULL) {
		room[0] = '"';
		memcpy(room + 1, text, len);
		room[len + 1] = '"';
		strbuf_grow(out, len + 2);
		return;
	}
	strbuf_putc(out, '"');
	while (i < len) {
		size_t run = str_utf8(text + i, len - i);

		if (run > 1) {
			i += run;
		} else {
			strbuf_put(out, text + done, i - done);
			if (run == 1)
				put_escape(out, (unsigned char)text[i]);
			else
				strbuf_put(out, "\xef\xbf\xbd", 3);
			done = ++i;
		}
		i += plain_run(text + i, len - i);
	}
	strbuf_put(out, text + done, len - done);
	strbuf_putc(out, '"');
}

void
jsonw_key(struct jsonw *w, const char *name)
{
	if (w->out->failed)
		return;
	if (w->close[w->depth] != '}' || w->after_key) {
		w->out->failed = true;
		return;
	}
	if (!w->first[w->depth])
		strbuf_putc(w->out, ',');
	w->first[w->depth] = false;
	put_string(w->out, name, strlen(name));
	strbuf_putc(w->out, ':');
	w->after_key = true;
}

void
jsonw_string(struct jsonw *w, const char *text)
{
	if (text == NULL)
		jsonw_null(w);
	else
		jsonw_stringn(w, text, strlen(text));
}

void
jsonw_stringn(struct jsonw *w, const char *text, size_t len)
{
	if (before_value(w))
		put_string(w->out, text, len);
}

void
jsonw_int(struct jsonw *w, int64_t n)
{
	if (before_value(w))
		strbuf_int(w->out, n);
}

void
jsonw_double(struct jsonw *w, double n)
{
	char text[32];
	int digits;

	if (!isfinite(n)) {
		jsonw_null(w);
		return;
	}
	/* the shortest that reads back as the same number; 17 digits always do */
	for (digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, n);
		if (strtod(text, NULL) == n)
			break;
	}
	if (before_value(w))
		strbuf_puts(w->out, text);
}

void
jsonw_bool(struct jsonw *w, bool b)
{
	if (before_value(w))
		strbuf_puts(w->out, b ? "true" : "false");
}

void
jsonw_null(struct jsonw *w)
{
	if (before_value(w))
		strbuf_puts(w->out, "null");
}

void
jsonw_raw(struct jsonw *w, const char *json, size_t len)
{
	if (before_value(w))
		strbuf_put(w->out, json, len);
}

void
jsonw_member_string(struct jsonw *w, const char *name, const char *text)
{
	jsonw_key(w, name);
	jsonw_string(w, text);
}

void
jsonw_member_int(struct jsonw *w, const char *name, int64_t n)
{
	jsonw_key(w, name);
	jsonw_int(w, n);
}

void
jsonw_member_bool(struct jsonw *w, const char *name, bool b)
{
	jsonw_key(w, name);
	jsonw_bool(w, b);
}

void
jsonw_member_time(struct jsonw *w, const char *name, int64_t wall_us)
{
	char text[CLOCK_TEXT_SIZE];

	jsonw_member_string(w, name, wall_us != 0 ? clock_format(wall_us, text) : NULL);
}

void
jsonw_member_uuid(struct jsonw *w, const char *name, const struct uuid *id)
{
	static const struct uuid none;
	char text[UUID_TEXT_SIZE];

	jsonw_member_string(w, name, uuid_eq(id, &none) ? NULL : uuid_format(id, text));
}
