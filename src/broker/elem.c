/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * elem.c - one id as it stands in a list of Redis; see elem.h.
 */
#include "broker/elem.h"

#include <limits.h>
#include <string.h>

#define ID_LEN (UUID_TEXT_SIZE - 1)

static size_t
put_number(char *to, int n)
{
	char digits[12];
	size_t len = 0, i;

	do {
		digits[len++] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	for (i = 0; i < len; i++)
		to[i] = digits[len - 1 - i];
	return len;
}

size_t
elem_format(const struct pools *p, const struct elem *e, char buf[ELEM_TEXT_SIZE])
{
	size_t len = ID_LEN;

	uuid_format(&e->id, buf);
	buf[len++] = '/';
	len += put_number(buf + len, e->app_id);
	buf[len++] = '/';
	len += put_number(buf + len, e->type_id);
	if (e->list != LIST_MAIN) {
		buf[len++] = '/';
		len += pools_list_name(p, e->list, buf + len);
	}
	buf[len] = '\0';
	return len;
}

/* a positive int without leading zeros, up to end */
static int
get_number(const char *at, const char *end, int *n)
{
	int64_t value = 0;

	if (at == end || end - at > 10 || *at == '0')
		return -1;
	for (; at < end; at++) {
		if (*at < '0' || *at > '9')
			return -1;
		value = value * 10 + (*at - '0');
	}
	if (value > INT_MAX)
		return -1;
	*n = (int)value;
	return 0;
}

int
elem_parse(struct pools *p, const char *text, size_t len, struct elem *e)
{
	const char *end = text + len, *slash, *third;
	const char *whole = text;
	char canonical[ELEM_TEXT_SIZE];
	struct elem got;

	if (len < ID_LEN + 4 || len >= ELEM_TEXT_SIZE || text[ID_LEN] != '/' ||
	    uuid_parse(text, ID_LEN, &got.id) != 0)
		return -1;
	text += ID_LEN + 1;
	slash = memchr(text, '/', (size_t)(end - text));
	if (slash == NULL || get_number(text, slash, &got.app_id) != 0)
		return -1;
	third = memchr(slash + 1, '/', (size_t)(end - slash - 1));
	if (get_number(slash + 1, third != NULL ? third : end, &got.type_id) != 0)
		return -1;
	got.list = LIST_MAIN;
	if (third != NULL && (got.list = pools_list_number(p, third + 1,
				  (size_t)(end - third - 1))) <= LIST_MAIN)
		return -1;
	/* one spelling only: what is removed later must be the very bytes that lie in
	 * the list */
	if (elem_format(p, &got, canonical) != len ||
	    memcmp(canonical, whole, len) != 0)
		return -1;
	*e = got;
	return 0;
}
