/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * body.c - a request's body as a JSON object; see body.h.
 */
#include "api/body.h"

#include <string.h>

#include "base/str.h"

int
body_object(const char *body, size_t len, unsigned depth, unsigned levels,
    struct jspan *object, struct refusal *why)
{
	struct jscan_limits limits = {.max_depth = depth, .check_keys = levels};
	struct err err = ERR_INIT;

	if (body == NULL || len == 0)
		return refuse(
		    why, 400, "invalid_json", "The body is empty; JSON is expected.");
	if (jscan_check(body, len, &limits, object, &err) != 0)
		return refuse(why, 400, "invalid_json",
		    "The body is not acceptable JSON: %.300s.", err.text);
	if (object->kind != JSON_OBJECT)
		return refuse(why, 400, "invalid_request",
		    "The body must be an object, and is %s.",
		    json_kind_name(object->kind));
	return 0;
}

int
body_bad_field(struct refusal *why, const char *name, const char *rule)
{
	return refuse(why, 400, "invalid_field", "%s: %.300s.", name, rule);
}

int
body_unknown_field(struct refusal *why, const char *in, const struct jspan *key)
{
	char name[65], shown[100];
	size_t len;

	if (jspan_string(key, name, sizeof(name), &len, NULL) != 0) {
		str_copy(name, sizeof(name), "(a long name)");
		len = strlen(name);
	}
	str_printable(shown, sizeof(shown), name, len);
	return refuse(
	    why, 400, "unknown_field", "%s%s: there is no such field.", in, shown);
}
