/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * problem.c - what a refusal says, the same whoever refuses.
 *
 * A new status needs a row in phrases only if somebody answers with it.
 */
#include "http/problem.h"

#include <stddef.h>

#include "base/attr.h"
#include "base/jsonw.h"

static const struct {
	int status;
	const char *phrase;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *
problem_phrase(int status)
{
	for (size_t i = 0; i < COUNT_OF(phrases); i++) {
		if (phrases[i].status == status)
			return phrases[i].phrase;
	}
	return status < 400 ? "OK" : status < 500 ? "Client Error" : "Server Error";
}

void
problem_write(struct strbuf *sb, int status, const char *code, const char *detail)
{
	struct jsonw w;

	jsonw_init(&w, sb);
	jsonw_object(&w);
	jsonw_key(&w, "type");
	jsonw_string(&w, "about:blank");
	jsonw_key(&w, "title");
	jsonw_string(&w, problem_phrase(status));
	jsonw_key(&w, "status");
	jsonw_int(&w, status);
	jsonw_key(&w, "code");
	jsonw_string(&w, code);
	jsonw_key(&w, "detail");
	jsonw_string(&w, detail);
	jsonw_end(&w);
	if (strbuf_failed(sb))
		strbuf_reset(sb);
}
