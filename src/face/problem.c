/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * problem.c - the table of statuses and stable codes; see problem.h.
 *
 * New error code?  A row here and a line in api/openapi.yaml.
 */
#include "face/problem.h"

#include "base/log.h"

static const struct problem_row {
	int status;
	const char *code;
	bool own_text; /* err's text is about the client's input: say it */
	const char *detail;
} table[ERR_CODE_COUNT] = {
    [ERR_NONE] = {500, "internal", false, "Something went wrong in the server."},
    [ERR_INVALID] = {400, "invalid_request", true, "The request is not acceptable."},
    [ERR_NOT_FOUND] = {404, "not_found", false, "There is no such thing."},
    [ERR_CONFLICT] = {409, "conflict", true, "The state does not allow that."},
    [ERR_TIMEOUT] = {503, "outcome_unknown", false,
	"The database did not answer in time; what was asked may have happened."},
    [ERR_CLOSED] = {503, "unavailable", false, "The database is away. Try again soon."},
    [ERR_IO] = {503, "unavailable", false, "The database is away. Try again soon."},
    [ERR_NOMEM] = {503, "overloaded", false,
	"The server is out of memory. Try again soon."},
    [ERR_LIMIT] = {503, "overloaded", false,
	"Too much is waiting already. Try again soon."},
    [ERR_BUG] = {500, "internal", false, "Something went wrong in the server."},
};

void
problem_reply(struct httpreq *req, const struct err *err, const char *detail)
{
	const struct problem_row *row = &table[ERR_BUG];

	if ((unsigned)err->code < ERR_CODE_COUNT)
		row = &table[err->code];
	if (detail == NULL)
		detail =
		    row->own_text && err->text[0] != '\0' ? err->text : row->detail;
	if (row->status == 500) {
		struct log_ctx ctx = {.kind = "request", .id = httpreq_name(req)};

		log_error(&ctx, "request failed inside", "path=%s reason=\"%s\"",
		    httpreq_path(req), err->text);
	}
	if (row->status == 503)
		problem_unavailable(req, row->code, detail);
	else
		httpreq_problem(req, row->status, row->code, "%s", detail);
}

void
problem_unavailable(struct httpreq *req, const char *code, const char *detail)
{
	httpreq_set_header(req, "Retry-After", "1");
	httpreq_problem(req, 503, code, "%s", detail);
}
