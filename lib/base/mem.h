/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mem.h - allocation that can fail, and be made to fail.
 *
 * All return NULL when memory is out; the caller reports ERR_NOMEM.  Free with
 * mem_free (NULL is fine).  Sizes that would overflow count as out of memory.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/attr.h"

void *mem_alloc(size_t size) ATTR_CHECK;
void *mem_zero(size_t size) ATTR_CHECK;		       /* zeroed */
void *mem_array(size_t count, size_t size) ATTR_CHECK; /* zeroed */
/* like realloc for count elements; on failure the old block stays valid */
void *mem_resize(void *block, size_t count, size_t size) ATTR_CHECK;
void *mem_dup(
    const void *bytes, size_t len) ATTR_CHECK; /* adds a NUL after len bytes */
char *mem_strdup(const char *text) ATTR_CHECK;
void mem_free(void *block);
/* overwrites first, for secrets */
void mem_free_secret(void *block, size_t len);

/* tests only: the n-th allocation from now (1 is the next) fails, once; 0 never */
void mem_fail_nth(unsigned n);

#endif
