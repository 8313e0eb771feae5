/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * headscan.h - looks at the raw bytes of a request's head as they arrive.
 *
 * evhttp hands over headers as C strings, already unfolded and cut at the first NUL,
 * with bare line feeds forgiven, and answers what it cannot read with a page of its own
 * that no program understands.  What it hides, and what it would answer itself, is
 * noticed here, on the bytes themselves, together with where the head ends.
 */
#ifndef HTTP_HEADSCAN_H
#define HTTP_HEADSCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADSCAN_TAIL 10 /* " HTTP/1.1" and the carriage return */

struct headscan {
	size_t bytes;	  /* of the head so far, blank line included */
	size_t first_len; /* of them in the request line; 0: not complete */
	unsigned lines;	  /* complete ones: the request line and the headers */
	bool ended;	  /* the blank line has come */

	/* what the headers say of the body */
	unsigned lengths, encodings; /* how often Content-Length, Transfer-Encoding */
	uint64_t length;	     /* 0: none */
	bool chunked;		     /* a Transfer-Encoding is just that */
	bool takes_body;	     /* the method does */
	bool expects;		     /* there is an Expect header */
	bool stays;		     /* there is a Connection header other than close */

	/* the first thing for which the request must be refused; status 0: none */
	int status;
	const char *code, *detail; /* static */

	/* of the line that is not complete yet */
	size_t line_len;
	bool cr_last;  /* its last byte was a carriage return */
	bool colon;    /* there is one */
	size_t spaces; /* in the request line */
	char start[64];
	char tail[HEADSCAN_TAIL]; /* of the request line */
};

void headscan_reset(struct headscan *hs);
/* takes the next bytes; returns how many belonged to the head */
size_t headscan_feed(struct headscan *hs, const char *bytes, size_t len);

#endif
