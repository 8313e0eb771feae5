/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * random.c - random bytes from the kernel, a block at a time; see uuid.h.
 *
 * A call to the kernel for every id would cost more than the rest of making it,
 * so bytes are fetched ahead.  Two processes must never hand out the same ones:
 * the block lies in a page that the kernel gives to a forked child zeroed, whatever way
 * it was forked, and zero means "nothing left".  Where the kernel cannot do that
 * (before 4.14) every call asks it directly.  Bytes handed out are wiped.
 */
#include "base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

struct pool {
	size_t left; /* unused bytes, at the end of bytes */
	unsigned char bytes[2048 - sizeof(size_t)];
};

static struct pool *pool; /* NULL: not tried yet, or the kernel cannot */
static bool pool_tried;

static void
from_kernel(unsigned char *to, size_t len)
{
	while (len > 0) {
		ssize_t n = getrandom(to, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fprintf(stderr, "the kernel gives no random bytes: %s\n",
			    strerror(errno));
			abort();
		}
		to += n;
		len -= (size_t)n;
	}
}

static void
pool_open(void)
{
	void *page;

	pool_tried = true;
	page = mmap(NULL, sizeof(*pool), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return;
	if (madvise(page, sizeof(*pool), MADV_WIPEONFORK) != 0) {
		munmap(page, sizeof(*pool));
		return;
	}
	/* nor into a core file; harmless if the kernel refuses */
	(void)madvise(page, sizeof(*pool), MADV_DONTDUMP);
	pool = page;
}

void
random_bytes(void *to, size_t len)
{
	unsigned char *from;

	if (!pool_tried)
		pool_open();
	if (pool == NULL || len > sizeof(pool->bytes) / 4) {
		from_kernel(to, len);
		return;
	}
	if (len > pool->left) {
		from_kernel(pool->bytes, sizeof(pool->bytes));
		pool->left = sizeof(pool->bytes);
	}
	from = pool->bytes + sizeof(pool->bytes) - pool->left;
	memcpy(to, from, len);
	explicit_bzero(from, len);
	pool->left -= len;
}

uint64_t
random_u64(void)
{
	uint64_t n;

	random_bytes(&n, sizeof(n));
	return n;
}

uint64_t
random_below(uint64_t bound)
{
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t)(((wide)random_u64() * bound) >> 64);
}
