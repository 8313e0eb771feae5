/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reqhead.c - headers that somebody else adds to our requests; see reqhead.h.
 */
#include "http/reqhead.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define NAME_MOST  64
#define VALUE_MOST 2048

/* ours or libcurl's alone; a final '-' stands for all names that begin so */
static const char *const taken[] = {
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "expect",
    "te",
    "trailer",
    "user-agent",
    "proxy-",
    "shoal-",
    "webhook-",
};

static bool
is_token_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

int
reqhead_check(const char *line, struct err *err)
{
	char name[NAME_MOST + 1];
	size_t len;

	for (len = 0; is_token_char(line[len]) && len < NAME_MOST; len++)
		name[len] = line[len] >= 'A' && line[len] <= 'Z'
				? (char)(line[len] | 0x20)
				: line[len];
	name[len] = '\0';
	if (len == 0 || line[len] != ':')
		return err_set(err, ERR_INVALID,
		    "a header must be \"Name: value\" with a name of at most %d bytes",
		    NAME_MOST);
	for (size_t i = 0; i < COUNT_OF(taken); i++) {
		size_t n = strlen(taken[i]);

		if (taken[i][n - 1] == '-' ? strncmp(name, taken[i], n) == 0
					   : str_eq(name, taken[i]))
			return err_set(err, ERR_INVALID,
			    "the header %s is not yours to set", name);
	}
	line += len + 1;
	line += strspn(line, " \t");
	if (*line == '\0')
		return err_set(err, ERR_INVALID, "the header %s has no value", name);
	if (strnlen(line, VALUE_MOST + 1) > VALUE_MOST)
		return err_set(err, ERR_INVALID,
		    "the header %s is longer than %d bytes", name, VALUE_MOST);
	for (; *line != '\0'; line++) {
		if (((unsigned char)*line < ' ' && *line != '\t') || *line == 0x7f)
			return err_set(err, ERR_INVALID,
			    "the header %s has a control character", name);
	}
	return 0;
}
