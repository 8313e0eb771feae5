/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.h - a blocking PostgreSQL session for commands and helpers, never for a
 * worker.
 */
#ifndef STORE_SESSION_H
#define STORE_SESSION_H

#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"

struct session;
struct pg_result;

/* password "" or NULL: what url says.  ERR_IO: not reachable or refused */
struct session *session_open(
    const char *url, const char *password, struct err *err) ATTR_CHECK;
void session_close(struct session *se);
/*
 * Runs one statement (several without parameters), parameters and results as text.
 * Errors: ERR_IO (the connection, or a passing trouble), ERR_CONFLICT (unique),
 * ERR_INVALID (the rest).
 */
int session_run(struct session *se, const char *sql, int count,
    const char *const params[], struct err *err) ATTR_CHECK;
/* the first column of the only row; ERR_NOT_FOUND: no row */
int session_value(struct session *se, const char *sql, int count,
    const char *const params[], char *value, size_t size, struct err *err) ATTR_CHECK;
/* the process that serves us as it named itself when we came in; a pooler in front
 * names its own */
int session_backend(const struct session *se);
/* calls row for each row with its columns as text (NULL for null), until it returns
 * non-zero */
typedef int session_row(int columns, const char *const values[], void *arg);
int session_rows(struct session *se, const char *sql, int count,
    const char *const params[], session_row *row, void *arg,
    struct err *err) ATTR_CHECK;

#endif
