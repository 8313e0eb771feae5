/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jspan.c - walks and reads JSON that jscan_check has passed.
 *
 * Nothing is checked again and nothing is copied but what the caller asks for.
 * Handing bytes to these functions that were not checked is a bug of ours; they
 * stay inside the span all the same.
 */
#include "base/jscan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/jstr.h"
#include "base/mem.h"
#include "base/str.h"

static const char *const kind_names[] = {
    [JSON_NULL] = "null",
    [JSON_BOOL] = "boolean",
    [JSON_NUMBER] = "number",
    [JSON_STRING] = "string",
    [JSON_ARRAY] = "array",
    [JSON_OBJECT] = "object",
};

const char *
json_kind_name(enum json_kind kind)
{
	if (kind < JSON_NULL || kind > JSON_OBJECT)
		return "nothing";
	return kind_names[kind];
}

/* ---- walking ----------------------------------------------------------------- */

/* at is at an opening quote; behind the closing one */
static const char *
skip_string(const char *at, const char *end)
{
	const char *body = ++at;

	while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
		const char *back = at;

		while (back > body && back[-1] == '\\')
			back--;
		at++;
		/* an even number of backslashes: they escape each other, not the quote
		 */
		if ((at - 1 - back) % 2 == 0)
			return at;
	}
	return end;
}

static const char *
skip_container(const char *at, const char *end)
{
	unsigned depth = 0;

	while (at < end) {
		switch (*at) {
		case '"':
			at = skip_string(at, end);
			continue;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (--depth == 0)
				return at + 1;
			break;
		default:
			break;
		}
		at++;
	}
	return end;
}

static bool
ends_scalar(char c)
{
	return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\t' ||
	       c == '\r' || c == ':';
}

/* past white space and the punctuation between values, which was checked */
static void
skip_between(struct jwalk *w)
{
	while (
	    w->at < w->end && (*w->at == ',' || *w->at == ':' || *w->at == ' ' ||
				  *w->at == '\n' || *w->at == '\t' || *w->at == '\r'))
		w->at++;
}

static bool
take_value(struct jwalk *w, struct jspan *value)
{
	const char *from;

	skip_between(w);
	if (w->at >= w->end)
		return false;
	from = w->at;
	if (*from == '"')
		w->at = skip_string(from, w->end);
	else if (*from == '{' || *from == '[')
		w->at = skip_container(from, w->end);
	else
		while (w->at < w->end && !ends_scalar(*w->at))
			w->at++;
	*value = (struct jspan){from, (size_t)(w->at - from), jstr_kind(*from)};
	return true;
}

void
jwalk_start(struct jwalk *w, const struct jspan *container)
{
	bool inside = container->len >= 2 &&
		      (container->kind == JSON_OBJECT || container->kind == JSON_ARRAY);

	/* a scalar has nothing to walk: ends at once */
	w->at = container->at + (inside ? 1 : 0);
	w->end = inside ? container->at + container->len - 1 : w->at;
}

bool
jwalk_member(struct jwalk *w, struct jspan *key, struct jspan *value)
{
	return take_value(w, key) && take_value(w, value);
}

bool
jwalk_element(struct jwalk *w, struct jspan *value)
{
	return take_value(w, value);
}

size_t
jspan_count(const struct jspan *array)
{
	struct jwalk w;
	struct jspan element;
	size_t count = 0;

	jwalk_start(&w, array);
	while (jwalk_element(&w, &element))
		count++;
	return count;
}

bool
jspan_get(const struct jspan *object, const char *name, struct jspan *value)
{
	struct jwalk w;
	struct jspan key, found;

	if (object->kind != JSON_OBJECT)
		return false;
	jwalk_start(&w, object);
	while (jwalk_member(&w, &key, &found))
		if (jspan_is(&key, name)) {
			*value = found;
			return true;
		}
	return false;
}

/* ---- strings ----------------------------------------------------------------- */

static unsigned
read_hex4(const char *p)
{
	unsigned unit = 0;
	int i;

	for (i = 0; i < 4; i++)
		unit = unit << 4 | ((unsigned)str_hex_digit(p[i]) & 15);
	return unit;
}

static size_t
put_utf8(unsigned c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

size_t
jstr_next(const char **at, char out[4])
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *p = *at, *named;
	unsigned c;

	if (p[0] != '\\') {
		out[0] = p[0];
		*at = p + 1;
		return 1;
	}
	if (p[1] != 'u') {
		named = strchr(from, p[1]);
		out[0] = named != NULL ? to[named - from] : p[1];
		*at = p + 2;
		return 1;
	}
	c = read_hex4(p + 2);
	p += 6;
	if (c >= 0xd800 && c <= 0xdbff) {
		c = 0x10000 + ((c - 0xd800) << 10) + (read_hex4(p + 2) - 0xdc00);
		p += 6;
	}
	*at = p;
	return put_utf8(c, out);
}

/* a string as a stream of bytes, escapes resolved */
struct reader {
	const char *at, *end;
	char piece[4];
	size_t next, have;
};

/* -1 at the end */
static int
read_byte(struct reader *r)
{
	if (r->next == r->have) {
		if (r->at >= r->end)
			return -1;
		r->have = jstr_next(&r->at, r->piece);
		r->next = 0;
	}
	return (unsigned char)r->piece[r->next++];
}

int
jstr_cmp_slow(const struct jstr *a, const struct jstr *b)
{
	struct reader x = {.at = a->at, .end = a->at + a->len};
	struct reader y = {.at = b->at, .end = b->at + b->len};
	int p, q;

	do {
		p = read_byte(&x);
		q = read_byte(&y);
	} while (p == q && p >= 0);
	return p - q;
}

static struct jstr
inside(const struct jspan *string)
{
	struct jstr text = {string->at + 1, string->len - 2, false};

	text.escaped = memchr(text.at, '\\', text.len) != NULL;
	return text;
}

bool
jspan_is(const struct jspan *string, const char *text)
{
	struct jstr a, b = {text, strlen(text), false};
	struct reader r;

	if (string->kind != JSON_STRING || string->len < 2)
		return false;
	a = inside(string);
	if (!a.escaped)
		return jstr_eq(&a, &b);
	/* text is no JSON: its backslashes mean themselves */
	r = (struct reader){.at = a.at, .end = a.at + a.len};
	for (; b.len > 0; b.at++, b.len--)
		if (read_byte(&r) != (unsigned char)*b.at)
			return false;
	return read_byte(&r) < 0;
}

/* an error that names what the value is instead */
static int
wrong_kind(const struct jspan *value, const char *wanted, struct err *err)
{
	const char *article = "a ";

	if (value->kind == JSON_NULL)
		article = "";
	else if (value->kind == JSON_ARRAY || value->kind == JSON_OBJECT)
		article = "an ";
	return err_set(err, ERR_INVALID, "must be %s, not %s%s", wanted, article,
	    json_kind_name(value->kind));
}

int
jspan_string(
    const struct jspan *string, char *buf, size_t size, size_t *len, struct err *err)
{
	struct jstr text;
	struct reader r;
	size_t need;
	int c;

	if (string->kind != JSON_STRING || string->len < 2)
		return wrong_kind(string, "a string", err);
	text = inside(string);
	need = text.len;
	if (text.escaped && need >= size) {
		r = (struct reader){.at = text.at, .end = text.at + text.len};
		for (need = 0; read_byte(&r) >= 0;)
			need++;
	}
	if (need >= size)
		return err_set(err, ERR_LIMIT, "must be shorter than %zu bytes", size);
	if (text.escaped) {
		r = (struct reader){.at = text.at, .end = text.at + text.len};
		for (need = 0; (c = read_byte(&r)) >= 0;)
			buf[need++] = (char)c;
	} else {
		memcpy(buf, text.at, need);
	}
	buf[need] = '\0';
	if (len != NULL)
		*len = need;
	return 0;
}

/* ---- other scalars ----------------------------------------------------------- */

int
jspan_i64(const struct jspan *number, int64_t *n, struct err *err)
{
	char text[32];

	if (number->kind != JSON_NUMBER)
		return wrong_kind(number, "an integer", err);
	if (memchr(number->at, '.', number->len) != NULL ||
	    memchr(number->at, 'e', number->len) != NULL ||
	    memchr(number->at, 'E', number->len) != NULL)
		return err_set(err, ERR_INVALID,
		    "must be an integer without fraction or exponent");
	if (number->len >= sizeof(text))
		return err_set(err, ERR_INVALID, "is out of range");
	memcpy(text, number->at, number->len);
	text[number->len] = '\0';
	if (str_to_i64(text, n) != 0)
		return err_set(err, ERR_INVALID, "is out of range");
	return 0;
}

int
jspan_double(const struct jspan *number, double *n, struct err *err)
{
	char small[64], *text = small;
	double value;

	if (number->kind != JSON_NUMBER)
		return wrong_kind(number, "a number", err);
	/* strtod wants a terminator; few numbers are long */
	if (number->len >= sizeof(small)) {
		text = mem_dup(number->at, number->len);
		if (text == NULL)
			return err_set(err, ERR_NOMEM, "a long number");
	} else {
		memcpy(small, number->at, number->len);
		small[number->len] = '\0';
	}
	value = strtod(text, NULL);
	if (text != small)
		mem_free(text);
	if (!isfinite(value))
		return err_set(err, ERR_INVALID, "is out of range");
	*n = value;
	return 0;
}

int
jspan_bool(const struct jspan *value, bool *b, struct err *err)
{
	if (value->kind != JSON_BOOL)
		return wrong_kind(value, "true or false", err);
	*b = value->at[0] == 't';
	return 0;
}
