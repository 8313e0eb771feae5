/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jscan.c - strict JSON, checked in place.
 *
 * One pass without recursion: what is open is a small stack of levels, and what
 * may come next is one word (enum want).  Strings are most of the bytes of real
 * payloads, so they are looked at eight bytes at a time; only quotes, escapes, controls
 * and non-ASCII characters are looked at singly.
 *
 * Keys of the levels that are checked for duplicates are remembered until their
 * object ends: the first few in an array on the stack, more on the heap.  Few are
 * compared with each other, many are sorted by content, so that a hostile object
 * costs n log n.  The only allocation is that one.
 *
 * Walking and reading what has passed is in jspan.c.
 */
#include "base/jscan.h"

#include <stdlib.h>
#include <string.h>

#include "base/jstr.h"
#include "base/mem.h"
#include "base/str.h"

#define DEPTH_MAX     128 /* whatever the caller allows */
#define KEYS_INLINE   32
#define KEYS_PAIRWISE 16 /* up to so many keys are compared each with each */

/* what the grammar allows at the next byte that is no white space */
enum want {
	WANT_VALUE,
	WANT_FIRST_ELEMENT, /* a value or ] */
	WANT_FIRST_KEY,	    /* a key or } */
	WANT_KEY,
	WANT_MORE, /* a comma or the end of what is open */
	WANT_NOTHING,
};

struct scan {
	const char *start, *at, *end;
	unsigned depth, max_depth, check_keys;
	enum want want;
	struct err *err;
	struct jstr *keys; /* of all open objects that are checked, innermost last */
	size_t key_count, key_cap;
	size_t key_first[DEPTH_MAX + 1]; /* where each level's keys begin */
	char close[DEPTH_MAX + 1];	 /* the bracket that ends each level */
	struct jstr inline_keys[KEYS_INLINE];
};

static int
fail_at(struct scan *s, const char *where, const char *what)
{
	return err_set(
	    s->err, ERR_INVALID, "%s at byte %zu", what, (size_t)(where - s->start));
}

/* ---- scalars ----------------------------------------------------------------- */

/* nonzero if one of the eight bytes is a control, a quote, a backslash or not ASCII */
static inline uint64_t
has_special(uint64_t word)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
	uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
	uint64_t found;

	/* (x - 1) & ~x has the top bit of a byte that is zero (Hacker's Delight, 6-1)
	 */
	found = (word - ones * 0x20) & ~word;
	found |= (quote - ones) & ~quote;
	found |= (backslash - ones) & ~backslash;
	found |= word;
	return found & highs;
}

static inline bool
is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* four hexadecimal digits at p, or -1 */
static int
hex4(const char *p, const char *end)
{
	int unit = 0, i;

	if (end - p < 4)
		return -1;
	for (i = 0; i < 4; i++) {
		int digit = str_hex_digit(p[i]);

		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

/* s->at is at a backslash; moves behind the escape, or behind both of a pair */
static int
scan_escape(struct scan *s)
{
	const char *p = s->at + 1;
	int unit;

	if (p < s->end && *p != '\0' && strchr("\"\\/bfnrt", *p) != NULL) {
		s->at = p + 1;
		return 0;
	}
	if (p == s->end || *p != 'u')
		return fail_at(s, s->at, "unknown escape in a string");
	unit = hex4(p + 1, s->end);
	if (unit < 0)
		return fail_at(s, s->at, "\\u without four hexadecimal digits");
	if (unit == 0)
		return fail_at(
		    s, s->at, "\\u0000 in a string, which cannot be stored,");
	p += 5;
	if (unit >= 0xd800 && unit <= 0xdfff) {
		int low = -1;

		if (unit <= 0xdbff && s->end - p >= 6 && p[0] == '\\' && p[1] == 'u')
			low = hex4(p + 2, s->end);
		if (low < 0xdc00 || low > 0xdfff)
			return fail_at(s, s->at, "unpaired surrogate in a string");
		p += 6;
	}
	s->at = p;
	return 0;
}

/* s->at is at the opening quote; text (may be NULL) gets what is between the quotes */
static int
scan_string(struct scan *s, struct jstr *text)
{
	const char *open = s->at;
	bool escaped = false;

	s->at++;
	for (;;) {
		uint64_t word;
		unsigned char c;
		size_t run;

		while (s->end - s->at >= 8) {
			memcpy(&word, s->at, sizeof(word));
			if (has_special(word) != 0)
				break;
			s->at += 8;
		}
		while (s->at < s->end && is_plain((unsigned char)*s->at))
			s->at++;
		if (s->at == s->end)
			return fail_at(s, open, "string without an end, begun");
		c = (unsigned char)*s->at;
		if (c == '"')
			break;
		if (c == '\\') {
			escaped = true;
			if (scan_escape(s) != 0)
				return -1;
		} else if (c < 0x20) {
			return fail_at(s, s->at, "control character in a string");
		} else {
			run = str_utf8(s->at, (size_t)(s->end - s->at));
			if (run == 0)
				return fail_at(s, s->at, "invalid UTF-8");
			s->at += run;
		}
	}
	if (text != NULL)
		*text = (struct jstr){open + 1, (size_t)(s->at - open) - 1, escaped};
	s->at++;
	return 0;
}

static bool
scan_digits(struct scan *s)
{
	const char *from = s->at;

	while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
		s->at++;
	return s->at > from;
}

static bool
next_is(struct scan *s, char a, char b)
{
	if (s->at == s->end || (*s->at != a && *s->at != b))
		return false;
	s->at++;
	return true;
}

static int
scan_number(struct scan *s)
{
	next_is(s, '-', '-');
	/* a zero ends the integer part: the next digit is then one too many */
	if (!next_is(s, '0', '0') && !scan_digits(s))
		return fail_at(s, s->at, "a digit is missing");
	if (next_is(s, '.', '.') && !scan_digits(s))
		return fail_at(s, s->at, "a digit is missing");
	if (next_is(s, 'e', 'E')) {
		next_is(s, '+', '-');
		if (!scan_digits(s))
			return fail_at(s, s->at, "a digit is missing");
	}
	return 0;
}

static int
scan_word(struct scan *s, const char *word)
{
	size_t len = strlen(word);

	if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
		return fail_at(s, s->at, "no JSON value");
	s->at += len;
	return 0;
}

/* ---- keys -------------------------------------------------------------------- */

static int
remember_key(struct scan *s, const struct jstr *text)
{
	struct jstr *more;
	size_t cap;

	if (s->key_count == s->key_cap) {
		cap = 4 * s->key_cap;
		more = mem_resize(
		    s->keys == s->inline_keys ? NULL : s->keys, cap, sizeof(*more));
		if (more == NULL)
			return err_set(s->err, ERR_NOMEM, "keys of a JSON object");
		if (s->keys == s->inline_keys)
			memcpy(more, s->keys, s->key_count * sizeof(*more));
		s->keys = more;
		s->key_cap = cap;
	}
	s->keys[s->key_count++] = *text;
	return 0;
}

/* by content; equal ones by place, so that the second is the one to blame */
static int
compare_keys(const void *a, const void *b)
{
	const struct jstr *x = a, *y = b;
	int order = jstr_cmp(x, y);

	if (order != 0)
		return order;
	return x->at < y->at ? -1 : x->at > y->at;
}

/* the innermost object ends: none of its keys may be there twice */
static int
check_keys(struct scan *s)
{
	struct jstr *keys = s->keys + s->key_first[s->depth];
	size_t count = s->key_count - s->key_first[s->depth], i, j;
	const char *second = NULL;

	s->key_count = s->key_first[s->depth];
	if (count <= KEYS_PAIRWISE) {
		for (i = 1; i < count && second == NULL; i++)
			for (j = 0; j < i; j++)
				if (jstr_eq(&keys[i], &keys[j]))
					second = keys[i].at;
	} else {
		qsort(keys, count, sizeof(*keys), compare_keys);
		for (i = 1; i < count; i++)
			if (jstr_eq(&keys[i], &keys[i - 1]) &&
			    (second == NULL || keys[i].at < second))
				second = keys[i].at;
	}
	if (second != NULL)
		return fail_at(s, second - 1, "a key that its object has already");
	return 0;
}

/* ---- structure --------------------------------------------------------------- */

static int
enter(struct scan *s, char close)
{
	if (s->depth == s->max_depth)
		return fail_at(s, s->at, "too many levels");
	s->depth++;
	s->close[s->depth] = close;
	s->key_first[s->depth] = s->key_count;
	s->want = close == '}' ? WANT_FIRST_KEY : WANT_FIRST_ELEMENT;
	s->at++;
	return 0;
}

static void
value_done(struct scan *s)
{
	s->want = s->depth > 0 ? WANT_MORE : WANT_NOTHING;
}

static int
leave(struct scan *s)
{
	if (s->close[s->depth] == '}' && s->depth <= s->check_keys &&
	    check_keys(s) != 0)
		return -1;
	s->depth--;
	s->at++;
	value_done(s);
	return 0;
}

static int
scan_value(struct scan *s)
{
	int rc;

	switch (*s->at) {
	case '{':
		return enter(s, '}');
	case '[':
		return enter(s, ']');
	case '"':
		rc = scan_string(s, NULL);
		break;
	case 't':
		rc = scan_word(s, "true");
		break;
	case 'f':
		rc = scan_word(s, "false");
		break;
	case 'n':
		rc = scan_word(s, "null");
		break;
	default:
		if (*s->at != '-' && (*s->at < '0' || *s->at > '9'))
			return fail_at(s, s->at, "no JSON value");
		rc = scan_number(s);
		break;
	}
	if (rc != 0)
		return -1;
	value_done(s);
	return 0;
}

static void
skip_space(struct scan *s)
{
	while (s->at < s->end &&
	       (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
		s->at++;
}

static int
scan_key(struct scan *s)
{
	struct jstr text;

	if (*s->at != '"')
		return fail_at(s, s->at, "a key in double quotes is missing");
	if (scan_string(s, &text) != 0)
		return -1;
	if (s->depth <= s->check_keys && remember_key(s, &text) != 0)
		return -1;
	skip_space(s);
	if (!next_is(s, ':', ':'))
		return fail_at(s, s->at, "a colon is missing");
	s->want = WANT_VALUE;
	return 0;
}

static int
scan_more(struct scan *s)
{
	if (*s->at == s->close[s->depth])
		return leave(s);
	if (*s->at != ',')
		return fail_at(s, s->at,
		    s->close[s->depth] == '}' ? "a comma or } is missing"
					      : "a comma or ] is missing");
	s->at++;
	s->want = s->close[s->depth] == '}' ? WANT_KEY : WANT_VALUE;
	return 0;
}

/* one step; s->at is at a byte that is no white space */
static int
step(struct scan *s)
{
	switch (s->want) {
	case WANT_FIRST_KEY:
		return *s->at == '}' ? leave(s) : scan_key(s);
	case WANT_KEY:
		return scan_key(s);
	case WANT_FIRST_ELEMENT:
		return *s->at == ']' ? leave(s) : scan_value(s);
	case WANT_VALUE:
		return scan_value(s);
	case WANT_MORE:
		return scan_more(s);
	case WANT_NOTHING:
		break;
	}
	return fail_at(s, s->at, "something follows the value");
}

static int
scan_all(struct scan *s, struct jspan *value)
{
	const char *from, *after = NULL;

	skip_space(s);
	from = s->at;
	while (s->at < s->end) {
		if (step(s) != 0)
			return -1;
		if (s->want == WANT_NOTHING && after == NULL)
			after = s->at;
		skip_space(s);
	}
	if (after == NULL)
		return fail_at(s, s->at, "the JSON ends too early,");
	*value = (struct jspan){from, (size_t)(after - from), jstr_kind(*from)};
	return 0;
}

int
jscan_check(const char *bytes, size_t len, const struct jscan_limits *limits,
    struct jspan *value, struct err *err)
{
	struct scan s;
	int rc;

	/* not zeroed as a whole: the tables are large and read only where written */
	s.start = s.at = bytes;
	s.end = bytes + len;
	s.depth = 0;
	s.max_depth = limits->max_depth < DEPTH_MAX ? limits->max_depth : DEPTH_MAX;
	s.check_keys = limits->check_keys;
	s.want = WANT_VALUE;
	s.err = err;
	s.keys = s.inline_keys;
	s.key_count = 0;
	s.key_cap = KEYS_INLINE;

	rc = scan_all(&s, value);
	if (s.keys != s.inline_keys)
		mem_free(s.keys);
	return rc;
}
