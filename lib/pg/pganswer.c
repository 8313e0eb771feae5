/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pganswer.c - the answer to one pipelined unit; see pganswer.h.
 *
 * A unit is sent as (prepare,) execute, sync, and libpq hands out
 *
 *     result, NULL (, result, NULL), sync
 *
 * Every one of these is counted: taking one too many or too few would give one caller
 * another's rows.  The implicit transaction ends with the sync, so the rows are kept
 * until it comes: only then is "it is done" true.  An error may still arrive between
 * the rows and the sync (a deferred constraint, a serialization failure), and wins.
 */
#include "pg/pganswer.h"

#include <string.h>

#include "base/str.h"

void
pganswer_reset(struct pganswer *a)
{
	PQclear(a->rows);
	a->rows = NULL;
	a->err.class = PGERR_NONE;
	a->results = 0;
	a->null_due = false;
	a->not_prepared = false;
}

static void
note_error(struct pganswer *a, const PGresult *res)
{
	const char *code = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	struct pgerr *e = &a->err;

	/* without a code libpq gave up on the answer: nobody knows what was done */
	e->class = code != NULL ? sqlstate_class(code) : PGERR_LOST;
	str_copy(e->sqlstate, sizeof(e->sqlstate), code != NULL ? code : "");
	str_copy(
	    e->text, sizeof(e->text), text != NULL ? text : PQresultErrorMessage(res));
	if (code == NULL)
		e->text[strcspn(e->text, "\n")] = '\0';
	PQclear(a->rows);
	a->rows = NULL;
}

enum pganswer_step
pganswer_take(struct pganswer *a, PGresult *res, bool prepares)
{
	enum pganswer_step step = PGANSWER_MISFIT;
	bool of_prepare;

	if (res == NULL) {
		step = a->null_due ? PGANSWER_MORE : PGANSWER_MISFIT;
		a->null_due = false;
		return step;
	}
	if (a->null_due)
		goto done;
	if (PQresultStatus(res) == PGRES_PIPELINE_SYNC) {
		if (a->rows != NULL || a->err.class != PGERR_NONE)
			step = PGANSWER_WHOLE;
		goto done;
	}
	a->null_due = true;
	a->results++;
	of_prepare = prepares && a->results == 1;
	switch (PQresultStatus(res)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
		if (of_prepare) {
			step = PGANSWER_MORE;
		} else if (a->rows == NULL && a->err.class == PGERR_NONE) {
			a->rows = res;
			return PGANSWER_MORE;
		}
		break;
	case PGRES_FATAL_ERROR:
		if (a->err.class == PGERR_NONE) {
			note_error(a, res);
			a->not_prepared = of_prepare;
		}
		step = PGANSWER_MORE;
		break;
	case PGRES_PIPELINE_ABORTED:
		if (a->err.class != PGERR_NONE)
			step = PGANSWER_MORE;
		break;
	default: /* COPY and the like cannot be spoken in a pipeline */
		break;
	}
done:
	PQclear(res);
	return step;
}
