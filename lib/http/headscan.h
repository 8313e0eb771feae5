/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * headscan.h - looks at the raw bytes of a request's head as they arrive.
 *
 * evhttp hands over headers as C strings, already unfolded and cut at the first NUL,
 * with bare line feeds forgiven.  What it hides is noticed here, on the bytes
 * themselves, together with where the head ends.
 */
#ifndef HTTP_HEADSCAN_H
#define HTTP_HEADSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct headscan {
	size_t bytes;	  /* of the head so far, blank line included */
	size_t first_len; /* of them in the request line; 0: not complete */
	unsigned lines;	  /* complete ones: the request line and the headers */
	size_t line_len;  /* bytes of the line that is not complete yet */
	bool ended;	  /* the blank line has come */
	bool cr_last;	  /* the last byte was a carriage return */
	uint64_t length;  /* the largest Content-Length; 0: none, or no number */
	char start[32];	  /* of the line, cut */
	const char *flaw; /* why the request must be refused, or NULL; static */
};

void headscan_reset(struct headscan *hs);
/* takes the next bytes; returns how many belonged to the head */
size_t headscan_feed(struct headscan *hs, const char *bytes, size_t len);

#endif
