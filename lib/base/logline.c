/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * logline.c - one event, from the words of a call to the bytes of a line; see
 * logline.h.
 *
 * The format of a call is read here, not by printf: printf would hand back one text, in
 * which a quote of a value and the quote behind it look the same.  It costs nothing
 * where it matters, since a line that is not wanted never comes here.
 *
 * Escapes are those of str_one_line.  Within quotes a quote gets a backslash, unless
 * there is one already: much of what is logged went through str_printable before.
 */
#include "base/logline.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#define FACILITY_DAEMON 3
#define CUT		"..."
#define CUT_LEN		3

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

/* as syslog(3) counts */
static const int priorities[] = {
    [LOG_ERROR] = 3,
    [LOG_WARN] = 4,
    [LOG_INFO] = 6,
    [LOG_DEBUG] = 7,
};

/* ---- what was said ----------------------------------------------------------- */

static void
keep(struct logline *l, const char *bytes, size_t len)
{
	size_t room = sizeof(l->text) - l->used;

	if (len > room) {
		len = room;
		l->cut = true;
	}
	if (len > 0)
		memcpy(l->text + l->used, bytes, len);
	l->used += len;
}

static void
keep_padded(struct logline *l, const char *bytes, size_t len, int width, char pad)
{
	for (size_t n = len; width > 0 && n < (size_t)width; n++)
		keep(l, &pad, 1);
	keep(l, bytes, len);
}

static void
keep_number(struct logline *l, uint64_t n, bool negative, unsigned base, int width,
    char pad, bool upper)
{
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char buf[24];
	size_t at = sizeof(buf);

	do
		buf[--at] = digits[n % base];
	while ((n /= base) > 0);
	if (negative && pad == '0') {
		keep(l, "-", 1);
		width--;
	} else if (negative) {
		buf[--at] = '-';
	}
	keep_padded(l, buf + at, sizeof(buf) - at, width, pad);
}

/* a conversion of printf, from behind its '%' */
struct conversion {
	char pad;
	int width, precision; /* -1: none */
	int longs;	      /* how many l; z, j and t count as one */
	char kind;
};

static const char *
read_number(const char *at, int *n)
{
	*n = 0;
	for (; *at >= '0' && *at <= '9'; at++)
		*n = *n < 10000 ? *n * 10 + (*at - '0') : *n;
	return at;
}

/* (a va_list that was handed on by value can be read by one function only) */
struct args {
	va_list ap;
};

static const char *
read_conversion(const char *at, struct conversion *c, struct args *args)
{
	*c = (struct conversion){.pad = ' ', .precision = -1};
	for (; *at != '\0' && strchr("-+ #0", *at) != NULL; at++)
		c->pad = *at == '0' ? '0' : c->pad;
	if (*at == '*') {
		c->width = va_arg(args->ap, int);
		at++;
	} else {
		at = read_number(at, &c->width);
	}
	if (*at == '.') {
		if (*++at == '*') {
			c->precision = va_arg(args->ap, int);
			at++;
		} else {
			at = read_number(at, &c->precision);
		}
	}
	for (; *at != '\0' && strchr("hlzjt", *at) != NULL; at++)
		c->longs += *at == 'l' ? 1 : *at != 'h';
	c->kind = *at;
	return *at == '\0' ? at : at + 1;
}

static int64_t
signed_arg(const struct conversion *c, struct args *args)
{
	if (c->longs == 0)
		return va_arg(args->ap, int);
	if (c->longs == 1)
		return va_arg(args->ap, long);
	return va_arg(args->ap, long long);
}

static uint64_t
unsigned_arg(const struct conversion *c, struct args *args)
{
	if (c->longs == 0)
		return va_arg(args->ap, unsigned);
	if (c->longs == 1)
		return va_arg(args->ap, unsigned long);
	return va_arg(args->ap, unsigned long long);
}

static void
keep_string(struct logline *l, const struct conversion *c, const char *text)
{
	size_t len;

	if (text == NULL)
		text = "(null)";
	len = c->precision >= 0 ? strnlen(text, (size_t)c->precision) : strlen(text);
	keep_padded(l, text, len, c->width, ' ');
}

static void
keep_double(struct logline *l, const struct conversion *c, double n)
{
	char buf[64];
	int len =
	    snprintf(buf, sizeof(buf), "%.*f", c->precision < 0 ? 6 : c->precision, n);

	keep(l, buf, len < (int)sizeof(buf) ? (size_t)len : sizeof(buf) - 1);
}

_Static_assert(
    sizeof(long) == sizeof(size_t) && sizeof(long) == sizeof(intmax_t), "z is as l");

/* true: it was a number */
static bool
convert(struct logline *l, const struct conversion *c, struct args *args)
{
	int64_t n;
	char byte;

	switch (c->kind) {
	case 'd':
	case 'i':
		n = signed_arg(c, args);
		keep_number(l, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, n < 0, 10,
		    c->width, c->pad, false);
		return true;
	case 'u':
		keep_number(
		    l, unsigned_arg(c, args), false, 10, c->width, c->pad, false);
		return true;
	case 'x':
	case 'X':
		keep_number(l, unsigned_arg(c, args), false, 16, c->width, c->pad,
		    c->kind == 'X');
		return false;
	case 'o':
		keep_number(
		    l, unsigned_arg(c, args), false, 8, c->width, c->pad, false);
		return false;
	case 'p':
		keep(l, "0x", 2);
		keep_number(
		    l, (uintptr_t)va_arg(args->ap, void *), false, 16, 0, ' ', false);
		return false;
	case 'c':
		byte = (char)va_arg(args->ap, int);
		keep_padded(l, &byte, 1, c->width, ' ');
		return false;
	case 's':
		keep_string(l, c, va_arg(args->ap, const char *));
		return false;
	case 'f':
	case 'g':
	case 'e':
		keep_double(l, c, va_arg(args->ap, double));
		return true;
	case '%':
		keep(l, "%", 1);
		return false;
	default:
		return false; /* the compiler has refused it */
	}
}

static bool
is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* up to the character that ends the value, which is left */
static const char *
take_value(struct logline *l, const char *at, char end, struct args *args,
    enum logline_form *form)
{
	size_t pieces = 0;
	bool number = false;

	for (; *at != '\0' && *at != end; pieces++) {
		struct conversion c;

		if (*at == '%') {
			at = read_conversion(at + 1, &c, args);
			number = convert(l, &c, args);
		} else {
			keep(l, at++, 1);
			number = false;
		}
	}
	if (number && pieces == 1 && *form == LOGLINE_PLAIN)
		*form = LOGLINE_NUMBER;
	return at;
}

void
logline_fill(struct logline *l, const char *fmt, va_list ap)
{
	struct args args;

	va_copy(args.ap, ap);
	while (*(fmt += strspn(fmt, " ")) != '\0') {
		struct logline_field *f = &l->fields[l->count];
		const char *at = fmt;
		size_t from = l->used;

		if (l->count == LOGLINE_FIELDS) {
			l->cut = true;
			break;
		}
		while (is_key_char(*at))
			at++;
		*f = (struct logline_field){.form = LOGLINE_WORDS};
		if (at > fmt && *at == '=') {
			f->form = at[1] == '"' ? LOGLINE_QUOTED : LOGLINE_PLAIN;
			f->key = fmt;
			f->key_len = (size_t)(at - fmt);
			fmt = at + 1 + (f->form == LOGLINE_QUOTED);
		}
		fmt = take_value(
		    l, fmt, f->form == LOGLINE_QUOTED ? '"' : ' ', &args, &f->form);
		fmt += f->form == LOGLINE_QUOTED && *fmt == '"';
		f->value = l->text + from;
		f->len = l->used - from;
		if (f->len > 0 || f->form != LOGLINE_WORDS)
			l->count++;
	}
	va_end(args.ap);
}

void
logline_add(struct logline *l, const char *key, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	if (l->count == LOGLINE_FIELDS) {
		l->cut = true;
		return;
	}
	l->fields[l->count++] = (struct logline_field){
	    LOGLINE_PLAIN, key, strlen(key), value, strlen(value)};
}

void
logline_add_int(struct logline *l, const char *key, int64_t n)
{
	size_t from = l->used;

	if (l->count == LOGLINE_FIELDS) {
		l->cut = true;
		return;
	}
	keep_number(l, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, n < 0, 10, 0, ' ', false);
	l->fields[l->count++] = (struct logline_field){
	    LOGLINE_NUMBER, key, strlen(key), l->text + from, l->used - from};
}

/* ---- bytes ------------------------------------------------------------------- */

/* room behind which a piece that does not fit whole is cut */
struct out {
	char *to;
	size_t len, size;
	bool full;
};

static void
put(struct out *o, const char *bytes, size_t len)
{
	if (o->full || len > o->size - o->len) {
		o->full = true;
		return;
	}
	memcpy(o->to + o->len, bytes, len);
	o->len += len;
}

static void
put_text(struct out *o, const char *text)
{
	put(o, text, strlen(text));
}

static void
put_int(struct out *o, long n)
{
	char buf[24];
	size_t at = sizeof(buf);

	do
		buf[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	put(o, buf + at, sizeof(buf) - at);
}

/* on one line, as far as it fits */
static void
put_escaped(struct out *o, const char *text, size_t len)
{
	size_t room = o->size - o->len;

	if (o->full || len == 0)
		return;
	/* (str_one_line wants a byte for its NUL: there is one behind the room) */
	if (str_one_line(o->to + o->len, room + 1, text, len) < len)
		o->full = true;
	o->len += strlen(o->to + o->len);
}

/* the same within quotes */
static void
put_quoted(struct out *o, const char *text, size_t len)
{
	size_t slashes = 0, from = 0;

	put(o, "\"", 1);
	for (size_t i = 0; i < len && !o->full; i++) {
		if (text[i] == '"' && slashes % 2 == 0) {
			put_escaped(o, text + from, i - from);
			put(o, "\\", 1);
			from = i;
		}
		slashes = text[i] == '\\' ? slashes + 1 : 0;
	}
	put_escaped(o, text + from, len - from);
	if (slashes % 2 != 0)
		put(o, "\\", 1); /* it shall not hide the quote behind it */
	put(o, "\"", 1);
}

/* a value without quotes that would be taken for several words, or for none */
static bool
needs_quotes(const struct logline_field *f)
{
	if (f->form != LOGLINE_PLAIN)
		return f->form == LOGLINE_QUOTED;
	if (f->len == 0)
		return false; /* "key=" is what such lines have always said */
	for (size_t i = 0; i < f->len; i++) {
		if (f->value[i] == '"' || (f->value[i] == ' ' && i + 1 < f->len))
			return true;
	}
	return false;
}

static void
put_field(struct out *o, const struct logline_field *f)
{
	put(o, " ", 1);
	if (f->form != LOGLINE_WORDS) {
		put(o, f->key, f->key_len);
		put(o, "=", 1);
	}
	if (needs_quotes(f))
		put_quoted(o, f->value, f->len);
	else
		put_escaped(o, f->value, f->len);
}

/* "identity kind=id sentence fields", as far as it fits */
static void
put_words(struct out *o, const struct logline *l)
{
	const struct log_ctx *ctx = l->ctx;

	put_escaped(o, l->identity, strlen(l->identity));
	if (l->identity[0] != '\0' && !l->bare)
		put(o, " ", 1);
	if (ctx != NULL && ctx->kind != NULL) {
		put_text(o, ctx->kind);
		put(o, "=", 1);
		put_escaped(o, ctx->id, strlen(ctx->id));
		put(o, " ", 1);
	}
	put_escaped(o, l->sentence, strlen(l->sentence));
	for (size_t i = 0; i < l->count; i++)
		put_field(o, &l->fields[i]);
}

size_t
logline_text(const struct logline *l, char *to, size_t size)
{
	/* behind it "...", the newline, and the NUL that only str_one_line sees */
	struct out o = {.to = to, .size = size - CUT_LEN - 2};
	char when[CLOCK_TEXT_SIZE];

	clock_format(l->wall_us, when);
	put(&o, when, 23);
	put(&o, "Z ", 2);
	if (!l->bare) {
		put_text(&o, level_names[l->level]);
		put(&o, "  ", (size_t)(6 - (int)strlen(level_names[l->level])));
	}
	put_words(&o, l);
	if (o.full || l->cut) {
		memcpy(to + o.len, CUT, CUT_LEN);
		o.len += CUT_LEN;
	}
	to[o.len++] = '\n';
	return o.len;
}

/* ---- JSON -------------------------------------------------------------------- */

#define JSON_TAIL 32 /* for CUT, the quote, "cut":true, the brace and the newline */

static size_t
json_piece(char piece[8], const char *from, size_t len, size_t *used)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char c = (unsigned char)from[0];
	size_t run = str_utf8(from, len);

	*used = 1;
	if (run == 0) {
		memcpy(piece, "\xef\xbf\xbd", 3); /* U+FFFD: no character at all */
		return 3;
	}
	if (c == '"' || c == '\\' || c == '\n' || c == '\r' || c == '\t') {
		piece[0] = '\\';
		piece[1] = c == '\n'   ? 'n'
			   : c == '\r' ? 'r'
			   : c == '\t' ? 't'
				       : from[0];
		return 2;
	}
	/* C1 controls move a terminal's cursor as C0 does */
	if (c < 0x20 || c == 0x7f ||
	    (run == 2 && c == 0xc2 && (unsigned char)from[1] < 0xa0)) {
		*used = run;
		if (run == 2)
			c = (unsigned char)from[1];
		memcpy(piece, "\\u00", 4);
		piece[4] = digits[c >> 4];
		piece[5] = digits[c & 15];
		return 6;
	}
	memcpy(piece, from, run);
	*used = run;
	return run;
}

static void
json_string(struct out *o, const char *text, size_t len)
{
	put(o, "\"", 1);
	if (o->full)
		return;
	for (size_t in = 0, used; in < len; in += used) {
		char piece[8];
		size_t n = json_piece(piece, text + in, len - in, &used);

		if (n > o->size - o->len) {
			/* there is room behind the end for this and the rest */
			memcpy(o->to + o->len, CUT "\"", CUT_LEN + 1);
			o->len += CUT_LEN + 1;
			o->size = o->len;
			o->full = true;
			return;
		}
		memcpy(o->to + o->len, piece, n);
		o->len += n;
	}
	/* the quote may use a byte of what is behind */
	memcpy(o->to + o->len++, "\"", 1);
	if (o->len > o->size)
		o->full = true;
}

/* a key that does not fit with a little of its value is left out */
static bool
json_key(struct out *o, const char *key, size_t len)
{
	if (o->full || len + 16 > o->size - o->len) {
		o->full = true;
		return false;
	}
	if (o->len > 1)
		put(o, ",", 1);
	put(o, "\"", 1);
	put(o, key, len);
	put(o, "\":", 2);
	return true;
}

static void
json_member(struct out *o, const char *key, const char *value)
{
	if (value != NULL && json_key(o, key, strlen(key)))
		json_string(o, value, strlen(value));
}

static bool
all_digits(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
	}
	return len > 0 && len < 16;
}

/* the words of an identity: "node=... worker=2", "node=... master" */
static void
json_identity(struct out *o, const char *text)
{
	while (*(text += strspn(text, " ")) != '\0') {
		size_t len = strcspn(text, " "), key = strcspn(text, "= ");

		if (key == len) {
			if (json_key(o, "process", 7))
				json_string(o, text, len);
		} else if (json_key(o, text, key)) {
			const char *value = text + key + 1;
			size_t n = len - key - 1;

			if (str_starts(text, "worker=") && all_digits(value, n))
				put(o, value, n);
			else
				json_string(o, value, n);
		}
		text += len;
	}
}

/* the identity says the same already: a key stands in an object once */
static bool
is_identity(const struct logline *l, const struct logline_field *f)
{
	const char *at = l->identity;

	for (; *at != '\0'; at += strcspn(at, " "), at += strspn(at, " ")) {
		if (strcspn(at, "= ") == f->key_len &&
		    strncmp(at, f->key, f->key_len) == 0 && at[f->key_len] == '=')
			return true;
	}
	return false;
}

static void
json_fields(struct out *o, const struct logline *l)
{
	for (size_t i = 0; i < l->count; i++) {
		const struct logline_field *f = &l->fields[i];

		if (f->form == LOGLINE_WORDS) {
			if (json_key(o, "words", 5))
				json_string(o, f->value, f->len);
		} else if (!is_identity(l, f) && json_key(o, f->key, f->key_len)) {
			if (f->form == LOGLINE_NUMBER && f->len < 24)
				put(o, f->value, f->len);
			else
				json_string(o, f->value, f->len);
		}
	}
}

static size_t
json_line(const struct logline *l, char *to, size_t size)
{
	struct out o = {.to = to, .size = size - JSON_TAIL};
	char when[CLOCK_TEXT_SIZE];

	put(&o, "{", 1);
	json_member(&o, "time", clock_format(l->wall_us, when));
	if (!l->bare)
		json_member(&o, "level", level_names[l->level]);
	json_identity(&o, l->identity);
	if (!l->bare)
		json_member(&o, "message", l->sentence);
	if (l->ctx != NULL && l->ctx->kind != NULL)
		json_member(&o, l->ctx->kind, l->ctx->id);
	json_fields(&o, l);
	o.full |= l->cut;
	if (o.full) {
		memcpy(to + o.len, ",\"cut\":true", 11);
		o.len += 11;
	}
	to[o.len++] = '}';
	return o.len;
}

size_t
logline_json(const struct logline *l, char *to, size_t size)
{
	size_t len = json_line(l, to, size);

	to[len++] = '\n';
	return len;
}

/* ---- daemons ----------------------------------------------------------------- */

/* SHOAL_KEY=value */
static void
journal_field(
    struct out *o, const char *key, size_t key_len, const char *value, size_t len)
{
	size_t before = o->len;

	put(o, "SHOAL_", 6);
	for (size_t i = 0; i < key_len; i++) {
		char c =
		    key[i] >= 'a' && key[i] <= 'z' ? (char)(key[i] - 0x20) : key[i];

		put(o, &c, 1);
	}
	put(o, "=", 1);
	put_escaped(o, value, len);
	put(o, "\n", 1);
	if (o->full)
		o->len = before; /* half a field would be another one */
}

static void
journal_identity(struct out *o, const char *text)
{
	while (*(text += strspn(text, " ")) != '\0') {
		size_t len = strcspn(text, " "), key = strcspn(text, "= ");

		if (key == len)
			journal_field(o, "process", 7, text, len);
		else
			journal_field(o, text, key, text + key + 1, len - key - 1);
		text += len;
	}
}

size_t
logline_journal(const struct logline *l, const char *ident, char *to, size_t size)
{
	struct out o = {.to = to, .size = size / 2};

	put_text(&o, "PRIORITY=");
	put_int(&o, priorities[l->level]);
	put_text(&o, "\nSYSLOG_IDENTIFIER=");
	put_text(&o, ident);
	put_text(&o, "\nMESSAGE=");
	put_words(&o, l);
	if (o.full || l->cut) {
		memcpy(to + o.len, CUT, CUT_LEN);
		o.len += CUT_LEN;
	}
	/* what follows says the same again, for those who search */
	o.full = false;
	o.size = size - 1;
	put(&o, "\n", 1);
	journal_identity(&o, l->identity);
	if (l->ctx != NULL && l->ctx->kind != NULL)
		journal_field(&o, l->ctx->kind, strlen(l->ctx->kind), l->ctx->id,
		    strlen(l->ctx->id));
	for (size_t i = 0; i < l->count; i++) {
		if (l->fields[i].form != LOGLINE_WORDS &&
		    !is_identity(l, &l->fields[i]))
			journal_field(&o, l->fields[i].key, l->fields[i].key_len,
			    l->fields[i].value, l->fields[i].len);
	}
	return o.len;
}

size_t
logline_syslog(const struct logline *l, const char *ident, long pid, bool json,
    char *to, size_t size)
{
	struct out o = {.to = to, .size = size - CUT_LEN - 1};

	put(&o, "<", 1);
	put_int(&o, FACILITY_DAEMON * 8 + priorities[l->level]);
	put(&o, ">", 1);
	put_text(&o, ident);
	put(&o, "[", 1);
	put_int(&o, pid);
	put(&o, "]: ", 3);
	if (json)
		return o.len + json_line(l, to + o.len, size - o.len);
	put_words(&o, l);
	if (o.full || l->cut) {
		memcpy(to + o.len, CUT, CUT_LEN);
		o.len += CUT_LEN;
	}
	return o.len;
}
