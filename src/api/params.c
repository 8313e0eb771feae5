/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.c - query parameters and headers, judged.
 */
#include "api/params.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "model/names.h"
#include "model/task.h"

int
params_known(const struct httpreq *req, const char *const names[], struct refusal *why)
{
	const char *name, *value;
	char shown[100];
	size_t cursor = 0, i;

	while (httpreq_query_next(req, &cursor, &name, &value)) {
		for (i = 0; names[i] != NULL && !str_eq(names[i], name); i++)
			;
		if (names[i] != NULL)
			continue;
		str_printable(shown, sizeof(shown), name, strlen(name));
		return refuse(why, 400, "unknown_parameter",
		    "There is no query parameter \"%s\" here.", shown);
	}
	return 0;
}

int
params_no_key(const struct httpreq *req, struct refusal *why)
{
	static const char *const names[] = {"api_key", "apikey", "api-key", "key",
	    "token", "access_token", "auth", "authorization", "bearer"};
	const char *name, *value;
	size_t cursor = 0;

	while (httpreq_query_next(req, &cursor, &name, &value)) {
		for (size_t i = 0; i < COUNT_OF(names); i++) {
			if (str_ieq(names[i], name) || str_starts(value, "shoal_live_"))
				return refuse(why, 400, "key_in_url",
				    "API keys are taken only from the "
				    "Authorization header. One that was "
				    "sent in a URL may be in the logs of "
				    "proxies: replace it.");
		}
	}
	return 0;
}

int
params_wait(const struct httpreq *req, int64_t *wait_ms, struct refusal *why)
{
	const char *text = httpreq_query(req, "wait");
	int64_t seconds = 0;

	if (text != NULL && (str_to_i64(text, &seconds) != 0 || seconds < 0 ||
				seconds > TASK_WAIT_MAX_S))
		return refuse(why, 400, "invalid_parameter",
		    "wait: it must be whole seconds from 0 to %d.", TASK_WAIT_MAX_S);
	*wait_ms = seconds * 1000;
	return 0;
}

int
params_limit(
    const struct httpreq *req, int otherwise, int most, int *limit, struct refusal *why)
{
	const char *text = httpreq_query(req, "limit");
	int64_t n = otherwise;

	if (text != NULL && (str_to_i64(text, &n) != 0 || n < 1 || n > most))
		return refuse(why, 400, "invalid_parameter",
		    "limit: it must be a whole number from 1 to %d.", most);
	*limit = (int)n;
	return 0;
}

int
params_bad_cursor(struct refusal *why)
{
	return refuse(why, 400, "invalid_parameter",
	    "cursor: it must be the next_cursor of a page, unchanged.");
}

int
params_names(const struct httpreq *req, int otherwise, int most, const char **after,
    int *limit, struct refusal *why)
{
	static const char *const known[] = {"cursor", "limit", NULL};
	const char *cursor = httpreq_query(req, "cursor");

	if (params_known(req, known, why) != 0 ||
	    params_limit(req, otherwise, most, limit, why) != 0)
		return -1;
	if (cursor != NULL && name_check("cursor", cursor, strlen(cursor), NULL) != 0)
		return params_bad_cursor(why);
	*after = cursor;
	return 0;
}

static bool
is_json(const char *content_type)
{
	static const char json[] = "application/json";
	const char *rest = content_type + sizeof(json) - 1;

	if (strncasecmp(content_type, json, sizeof(json) - 1) != 0)
		return false;
	rest += strspn(rest, " \t");
	return *rest == '\0' || *rest == ';';
}

int
params_post_headers(const struct httpreq *req, struct refusal *why)
{
	const char *type = httpreq_header(req, "Content-Type");

	if (type != NULL && !is_json(type))
		return refuse(why, 415, "unsupported_media_type",
		    "The Content-Type must be application/json.");
	return 0;
}
