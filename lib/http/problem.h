/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * problem.h - the phrases of statuses, and the document of a refusal (RFC 9457).
 */
#ifndef HTTP_PROBLEM_H
#define HTTP_PROBLEM_H

#include "base/strbuf.h"

#define PROBLEM_MAX 4096 /* bytes of a document */

const char *problem_phrase(int status);
/* without memory sb is left empty: the status alone has to do */
void problem_write(struct strbuf *sb, int status, const char *code, const char *detail);

#endif
