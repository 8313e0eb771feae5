/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mem.c - allocation that can fail, and be made to fail.
 *
 * A thin layer over malloc.  It exists for three things: products of sizes that
 * cannot overflow, no difference between "nothing" and "no memory" (a size of zero gets
 * a block too), and a switch by which tests let the n-th allocation fail.
 */
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static unsigned fail_countdown;

void
mem_fail_nth(unsigned n)
{
	fail_countdown = n;
}

static bool
must_fail(void)
{
	return fail_countdown > 0 && --fail_countdown == 0;
}

void *
mem_alloc(size_t size)
{
	if (must_fail())
		return NULL;
	return malloc(size > 0 ? size : 1);
}

void *
mem_zero(size_t size)
{
	return mem_array(1, size);
}

void *
mem_array(size_t count, size_t size)
{
	if (must_fail() || (size > 0 && count > SIZE_MAX / size))
		return NULL;
	return calloc(count > 0 ? count : 1, size > 0 ? size : 1);
}

void *
mem_resize(void *block, size_t count, size_t size)
{
	if (must_fail() || (size > 0 && count > SIZE_MAX / size))
		return NULL;
	return realloc(block, count * size > 0 ? count * size : 1);
}

void *
mem_dup(const void *bytes, size_t len)
{
	char *copy;

	if (len == SIZE_MAX)
		return NULL;
	copy = mem_alloc(len + 1);
	if (copy == NULL)
		return NULL;
	if (len > 0)
		memcpy(copy, bytes, len);
	copy[len] = '\0';
	return copy;
}

char *
mem_strdup(const char *text)
{
	return mem_dup(text, strlen(text));
}

void
mem_free(void *block)
{
	free(block);
}

void
mem_free_secret(void *block, size_t len)
{
	if (block == NULL)
		return;
	explicit_bzero(block, len);
	free(block);
}
