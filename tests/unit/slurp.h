/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slurp.h - what a file holds, and how often it says something.
 */
#ifndef UNIT_SLURP_H
#define UNIT_SLURP_H

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* the file's beginning as a string in text; its length */
static inline size_t
slurp_into(const char *name, char *text, size_t size)
{
	int fd = open(name, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, text, size - 1);
	assert_true(n >= 0);
	text[n] = '\0';
	close(fd);
	return (size_t)n;
}

static inline size_t
count_in(const char *text, const char *what)
{
	size_t found = 0;

	for (; (text = strstr(text, what)) != NULL; text++)
		found++;
	return found;
}

#endif
