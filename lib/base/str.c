/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * str.c - small helpers on text.
 *
 * Nothing here depends on the locale, allocates or reads past a length that it
 * was given.  Numbers are parsed whole or not at all: the standard functions skip
 * white space, take signs and stop silently at rubbish, which is how "10 0" once
 * became ten workers.
 */
#include "base/str.h"

#include <string.h>

#define DISTANCE_MAX 64

static char
fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

int
str_to_u64(const char *text, uint64_t *n)
{
	uint64_t value = 0;
	const char *p;

	if (text[0] == '\0')
		return -1;
	for (p = text; *p != '\0'; p++) {
		unsigned digit;

		if (*p < '0' || *p > '9')
			return -1;
		digit = (unsigned)(*p - '0');
		if (value > (UINT64_MAX - digit) / 10)
			return -1;
		value = value * 10 + digit;
	}
	*n = value;
	return 0;
}

int
str_to_i64(const char *text, int64_t *n)
{
	uint64_t magnitude;
	bool negative = text[0] == '-';

	if (str_to_u64(text + negative, &magnitude) != 0)
		return -1;
	if (magnitude > (uint64_t)INT64_MAX + negative)
		return -1;
	/* unsigned, because -INT64_MIN is no int64_t */
	*n = (int64_t)(negative ? 0 - magnitude : magnitude);
	return 0;
}

bool
str_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

bool
str_ieq(const char *a, const char *b)
{
	while (*a != '\0' && fold(*a) == fold(*b)) {
		a++;
		b++;
	}
	return fold(*a) == fold(*b);
}

bool
str_starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool
str_copy(char *to, size_t size, const char *from)
{
	size_t len = strlen(from);
	bool fits = len < size;

	if (size == 0)
		return false;
	if (!fits)
		len = size - 1;
	memcpy(to, from, len);
	to[len] = '\0';
	return fits;
}

char *
str_trim(char *text)
{
	size_t len;

	while (is_space(*text))
		text++;
	len = strlen(text);
	while (len > 0 && is_space(text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

unsigned
str_distance(const char *a, const char *b)
{
	size_t alen = strnlen(a, DISTANCE_MAX), blen = strnlen(b, DISTANCE_MAX);
	unsigned row[DISTANCE_MAX + 1];
	size_t i, j;

	for (j = 0; j <= blen; j++)
		row[j] = (unsigned)j;
	for (i = 1; i <= alen; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (j = 1; j <= blen; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[blen];
}

void
str_hex(char *to, const void *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *from = bytes;
	size_t i;

	for (i = 0; i < len; i++) {
		to[2 * i] = digits[from[i] >> 4];
		to[2 * i + 1] = digits[from[i] & 15];
	}
	to[2 * len] = '\0';
}

int
str_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = fold(c);
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int
str_unhex(const char *text, void *bytes, size_t len)
{
	unsigned char *to = bytes;
	size_t i;

	/* look at everything before writing anything */
	for (i = 0; i < 2 * len; i++)
		if (str_hex_digit(text[i]) < 0)
			return -1;
	if (text[2 * len] != '\0')
		return -1;
	for (i = 0; i < len; i++)
		to[i] = (unsigned char)(str_hex_digit(text[2 * i]) << 4 |
					str_hex_digit(text[2 * i + 1]));
	return 0;
}

size_t
str_utf8(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t need, i;

	if (len == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	/*
	 * Table 3-7 of the Unicode standard: the first byte decides the length and
	 * narrows the second, which keeps out overlong forms, surrogates and
	 * everything above U+10FFFF.
	 */
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		need = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		need = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		need = 4;
	else
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (len < need || p[1] < low || p[1] > high)
		return 0;
	for (i = 2; i < need; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return need;
}

/*
 * Spells the character at from for a log: as it is, or as an escape.  piece has
 * room for 4 bytes; *used says how many bytes of from it stands for.
 */
static size_t
spell(char piece[4], const char *from, size_t len, size_t *used, const char *quoted)
{
	static const char digits[] = "0123456789abcdef";
	static const char named[] = "\aa\bb\tt\nn\vv\ff\rr";
	unsigned char c = (unsigned char)from[0];
	size_t run = str_utf8(from, len);
	const char *name;

	*used = 1;
	if (c >= 7 && c <= 13) {
		name = strchr(named, from[0]);
		piece[0] = '\\';
		piece[1] = name[1];
		return 2;
	}
	if (c != 0 && strchr(quoted, from[0]) != NULL) {
		piece[0] = '\\';
		piece[1] = from[0];
		return 2;
	}
	/* C1 controls (U+0080 to U+009F) move a terminal's cursor as C0 does */
	if (run == 0 || c < 0x20 || c == 0x7f ||
	    (run == 2 && c == 0xc2 && (unsigned char)from[1] < 0xa0)) {
		piece[0] = '\\';
		piece[1] = 'x';
		piece[2] = digits[c >> 4];
		piece[3] = digits[c & 15];
		return 4;
	}
	memcpy(piece, from, run);
	*used = run;
	return run;
}

static size_t
escape(char *to, size_t size, const char *from, size_t len, const char *quoted)
{
	size_t out = 0, in = 0;

	if (size == 0)
		return 0;
	while (in < len) {
		char piece[4];
		size_t used, n = spell(piece, from + in, len - in, &used, quoted);

		if (n >= size - out)
			break;
		memcpy(to + out, piece, n);
		out += n;
		in += used;
	}
	to[out] = '\0';
	return in;
}

void
str_printable(char *to, size_t size, const char *from, size_t len)
{
	escape(to, size, from, len, "\"\\");
}

size_t
str_one_line(char *to, size_t size, const char *from, size_t len)
{
	return escape(to, size, from, len, "");
}
