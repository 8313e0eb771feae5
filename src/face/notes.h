/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notes.h - what the faces know of a request beside what it says itself: whose it is,
 * which task it concerns, which span it is.  Kept with the request (httpreq_notes).
 */
#ifndef FACE_NOTES_H
#define FACE_NOTES_H

#include <stdbool.h>

#include "base/uuid.h"
#include "http/httpd.h"
#include "telemetry/spans.h"

struct face_notes {
	int application; /* 0: none was found */
	bool has_task;
	struct uuid task;
	struct span_request span;
};

_Static_assert(sizeof(struct face_notes) <= HTTPREQ_NOTES, "they are kept there");

static inline struct face_notes *
face_notes(struct httpreq *req)
{
	return httpreq_notes(req);
}

static inline void
face_note_task(struct httpreq *req, const struct uuid *task)
{
	struct face_notes *n = face_notes(req);

	n->has_task = true;
	n->task = *task;
}

#endif
