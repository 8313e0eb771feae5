/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gate.h - may this request come in?  Pure checks over strings.
 *
 * One gate per request: begin, each header in turn, then the rest.  The first failure
 * stays; what comes after it is not looked at.
 */
#ifndef HTTP_GATE_H
#define HTTP_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gate_limits {
	size_t max_header_bytes, max_uri_bytes, max_body_bytes;
	unsigned max_headers;
	bool allow_chunked;
};

struct gate {
	const struct gate_limits *limits;
	unsigned headers, hosts, lengths, encodings;
	uint64_t length; /* what Content-Length says */
	bool chunked;
	/* status 0: nothing wrong so far; the texts are static */
	int status;
	const char *code, *detail;
};

void gate_begin(struct gate *g, const struct gate_limits *limits);
void gate_header(struct gate *g, const char *name, const char *value);
void gate_uri(struct gate *g, const char *uri);
/* minor: of HTTP/1; has_body: the method may carry one */
void gate_end(struct gate *g, int minor, bool has_body, size_t body_len);

#endif
