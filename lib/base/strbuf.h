/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * strbuf.h - a growing byte buffer with a ceiling.
 *
 * Failure sticks: after an append that did not fit (the ceiling, or no memory)
 * nothing more is appended and strbuf_failed() says so, so that a long run of
 * appends is checked once at its end.  data is always NUL-terminated.
 */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct strbuf {
	char *data; /* never NULL; owned */
	size_t len;
	size_t cap;
	size_t max; /* len never exceeds it */
	bool failed;
};

/* max in bytes; nothing is allocated before the first append */
void strbuf_init(struct strbuf *sb, size_t max);
void strbuf_fini(struct strbuf *sb);  /* sb is empty again, as after strbuf_init */
void strbuf_reset(struct strbuf *sb); /* empties, keeps the block, clears failed */
void strbuf_put(struct strbuf *sb, const void *bytes, size_t len);
void strbuf_puts(struct strbuf *sb, const char *text);
void strbuf_putc(struct strbuf *sb, char c);
void strbuf_int(struct strbuf *sb, int64_t n); /* in decimal */
void strbuf_printf(struct strbuf *sb, const char *fmt, ...) ATTR_PRINTF(2, 3);
/* room for len more bytes at the returned place, to be counted with strbuf_grow; NULL:
 * failed */
char *strbuf_room(struct strbuf *sb, size_t len);
void strbuf_grow(struct strbuf *sb, size_t len);
bool strbuf_failed(const struct strbuf *sb);
/* the block is taken (mem_free it); sb is empty again.  NULL if failed. */
char *strbuf_take(struct strbuf *sb, size_t *len);

#endif
