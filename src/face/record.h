/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record.h - what is written of a request when all is done for it: a line of the access
 * log, and a span.
 */
#ifndef FACE_RECORD_H
#define FACE_RECORD_H

#include <stdint.h>

#include "face/notes.h"
#include "http/httpd.h"
#include "telemetry/accesslog.h"
#include "telemetry/spans.h"

struct record {
	const char *listener;
	struct accesslog *accesslog; /* borrowed; NULL: off */
	struct spans *spans;	     /* borrowed; NULL: off */
};

/* at its beginning: whether it is traced is decided here */
void record_begin(const struct record *r, struct httpreq *req);
/* its reply is on its way */
void record_span(
    const struct record *r, struct httpreq *req, int status, int64_t duration_us);
void record_told(
    const struct record *r, struct httpreq *req, const struct httpreq_facts *facts);
void record_refused(
    const struct record *r, const char *peer, const char *name, int status);

#endif
