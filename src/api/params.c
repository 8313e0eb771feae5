/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.c - query parameters and headers, judged.
 */
#include "api/params.h"

#include <string.h>
#include <strings.h>

#include "base/str.h"
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
