/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * session.c - a blocking PostgreSQL session; see session.h.
 */
#include "store/session.h"

#include <libpq-fe.h>
#include <string.h>

#include "base/mem.h"
#include "pg/pgconn.h"

#define MAX_COLUMNS 32

struct session {
	PGconn *conn;
};

static void
no_notice(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

struct session *
session_open(const char *url, const char *password, struct err *err)
{
	/* of several hosts, the one that can be written; what comes first, the url may
	 * overrule */
	const char *names[] = {"target_session_attrs", "dbname", "password",
	    "connect_timeout", "client_encoding", "fallback_application_name", NULL};
	const char *values[] = {
	    "read-write", url, password, "10", "UTF8", "shoal", NULL};
	struct session *se = mem_zero(sizeof(*se));

	if (se == NULL) {
		err_set(err, ERR_NOMEM, "database session");
		return NULL;
	}
	if (password == NULL || password[0] == '\0') {
		names[2] = "connect_timeout";
		values[2] = "10";
	}
	se->conn = PQconnectdbParams(names, values, 1);
	if (PQstatus(se->conn) != CONNECTION_OK) {
		const char *text =
		    se->conn != NULL ? PQerrorMessage(se->conn) : "no memory";

		err_set(err, ERR_IO, "database: %.*s", (int)strcspn(text, "\n"), text);
		session_close(se);
		return NULL;
	}
	PQsetNoticeProcessor(se->conn, no_notice, NULL);
	return se;
}

void
session_close(struct session *se)
{
	if (se == NULL)
		return;
	PQfinish(se->conn);
	mem_free(se);
}

static enum err_code
code_for(const char *sqlstate)
{
	if (strcmp(sqlstate, "23505") == 0)
		return ERR_CONFLICT;
	switch (sqlstate_class(sqlstate)) {
	case PGERR_RETRY:
	case PGERR_RECONNECT:
	case PGERR_BUSY:
	case PGERR_LOST:
		return ERR_IO;
	default:
		return ERR_INVALID;
	}
}

static PGresult *
run(struct session *se, const char *sql, int count, const char *const params[],
    struct err *err)
{
	PGresult *res =
	    count > 0 ? PQexecParams(se->conn, sql, count, NULL, params, NULL, NULL, 0)
		      : PQexec(se->conn, sql);
	ExecStatusType status = PQresultStatus(res);
	const char *state, *text;

	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
		return res;
	state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	if (text == NULL)
		text = PQerrorMessage(se->conn);
	err_set(err, state != NULL ? code_for(state) : ERR_IO, "database: %.*s",
	    (int)strcspn(text, "\n"), text);
	PQclear(res);
	return NULL;
}

int
session_run(struct session *se, const char *sql, int count, const char *const params[],
    struct err *err)
{
	PGresult *res = run(se, sql, count, params, err);

	if (res == NULL)
		return -1;
	PQclear(res);
	return 0;
}

int
session_value(struct session *se, const char *sql, int count,
    const char *const params[], char *value, size_t size, struct err *err)
{
	PGresult *res = run(se, sql, count, params, err);
	int rc = 0;

	if (res == NULL)
		return -1;
	if (PQntuples(res) < 1)
		rc = err_set(err, ERR_NOT_FOUND, "no such row");
	else if ((size_t)PQgetlength(res, 0, 0) >= size)
		rc = err_set(err, ERR_BUG, "a value of %d bytes is too long",
		    PQgetlength(res, 0, 0));
	else
		memcpy(
		    value, PQgetvalue(res, 0, 0), (size_t)PQgetlength(res, 0, 0) + 1);
	PQclear(res);
	return rc;
}

int
session_backend(const struct session *se)
{
	return PQbackendPID(se->conn);
}

int
session_rows(struct session *se, const char *sql, int count, const char *const params[],
    session_row *row, void *arg, struct err *err)
{
	PGresult *res = run(se, sql, count, params, err);
	const char *values[MAX_COLUMNS];
	int columns;

	if (res == NULL)
		return -1;
	columns = PQnfields(res);
	if (columns > MAX_COLUMNS)
		columns = MAX_COLUMNS;
	for (int r = 0; r < PQntuples(res); r++) {
		for (int c = 0; c < columns; c++)
			values[c] =
			    PQgetisnull(res, r, c) ? NULL : PQgetvalue(res, r, c);
		if (row(columns, values, arg) != 0)
			break;
	}
	PQclear(res);
	return 0;
}
