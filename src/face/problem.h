/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * problem.h - from an error of ours to the problem document that the client sees.
 *
 * One table: what the caller of a function can do (enum err_code) decides status and
 * code.  Only errors about the client's own input carry their text outside; the others
 * say a fixed sentence, so that no address, statement or path leaves the node.
 */
#ifndef FACE_PROBLEM_H
#define FACE_PROBLEM_H

#include "base/err.h"
#include "http/httpd.h"

/* answers with what err means; detail NULL: the table's sentence (or err's own text, if
 * it may) */
void problem_reply(struct httpreq *req, const struct err *err, const char *detail);
/* 503 with Retry-After: 1 */
void problem_unavailable(struct httpreq *req, const char *code, const char *detail);

#endif
