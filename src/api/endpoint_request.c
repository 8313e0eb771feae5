/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoint_request.c - the JSON that sets an endpoint; see endpoint_request.h.
 */
#include "api/endpoint_request.h"

#include <stdio.h>
#include <string.h>

#include "api/body.h"
#include "api/task_fields.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "engine/endpoints.h"
#include "http/reqhead.h"
#include "store/endpoints.h"

#define MAX_DEPTH  32
#define HEADER_MAX 2200 /* bytes of one, as it is sent */

static int
read_url(const struct jspan *value, struct endpoint_request *er, struct refusal *why)
{
	char text[WEBURL_MOST + 1];
	struct err err = ERR_INIT;

	if (value->kind != JSON_STRING)
		return body_bad_field(why, "url", "it must be an http or https URL");
	if (jspan_string(value, text, sizeof(text), NULL, &err) != 0 ||
	    weburl_parse(text, &er->url, &err) != 0)
		return body_bad_field(why, "url", err.text);
	er->given |= ENDPOINT_URL;
	return 0;
}

/* 0, or -1 with why filled; lower-case names of those before are in seen */
static int
read_header(const struct jspan *key, const struct jspan *value, struct jsonw *w,
    char seen[ENDPOINT_HEADERS][80], size_t n, struct refusal *why)
{
	char name[80], text[HEADER_MAX], line[sizeof(name) + sizeof(text) + 4];
	struct err err = ERR_INIT;

	if (n == ENDPOINT_HEADERS)
		return body_bad_field(why, "headers", "there may be 16 at most");
	if (value->kind != JSON_STRING)
		return body_bad_field(why, "headers", "each value must be a string");
	if (jspan_string(key, name, sizeof(name), NULL, &err) != 0 ||
	    jspan_string(value, text, sizeof(text), NULL, &err) != 0)
		return body_bad_field(why, "headers", err.text);
	snprintf(line, sizeof(line), "%s: %s", name, text);
	/* (a name with a colon would be read as a shorter one) */
	if (strchr(name, ':') != NULL || reqhead_check(line, &err) != 0)
		return body_bad_field(why, "headers",
		    err.text[0] != '\0' ? err.text : "a name has a colon in it");
	for (size_t i = 0; i < n; i++) {
		if (str_ieq(seen[i], name))
			return body_bad_field(why, "headers", "a name is there twice");
	}
	memcpy(seen[n], name, sizeof(name));
	jsonw_member_string(w, name, text);
	return 0;
}

static int
read_headers(
    const struct jspan *value, struct endpoint_request *er, struct refusal *why)
{
	char seen[ENDPOINT_HEADERS][80];
	struct jspan key, item;
	struct jwalk walk;
	struct strbuf sb;
	struct jsonw w;
	size_t n = 0;
	int rc = 0;

	er->given |= ENDPOINT_HEADERS_GIVEN;
	if (value->kind == JSON_NULL)
		return 0;
	if (value->kind != JSON_OBJECT)
		return body_bad_field(
		    why, "headers", "it must be an object of names and strings");
	strbuf_init(&sb, ENDPOINT_HEADERS_MAX);
	jsonw_init(&w, &sb);
	jsonw_object(&w);
	jwalk_start(&walk, value);
	while (rc == 0 && jwalk_member(&walk, &key, &item))
		rc = read_header(&key, &item, &w, seen, n++, why);
	jsonw_end(&w);
	if (rc == 0 && strbuf_failed(&sb))
		rc = body_bad_field(
		    why, "headers", "together they may have 8,192 bytes");
	if (rc == 0 && n > 0)
		str_copy(er->headers, sizeof(er->headers), sb.data);
	strbuf_fini(&sb);
	return rc;
}

static int
read_field(const struct jspan *key, const struct jspan *value,
    struct endpoint_request *er, struct refusal *why)
{
	struct err err = ERR_INIT;

	if (jspan_is(key, "url"))
		return read_url(value, er, why);
	if (jspan_is(key, "headers"))
		return read_headers(value, er, why);
	if (jspan_is(key, "timeout")) {
		er->given |= ENDPOINT_TIMEOUT;
		if (value->kind == JSON_NULL)
			return 0;
		if (!field_duration(value, ENDPOINT_TIMEOUT_MAX, &er->timeout_ms) ||
		    er->timeout_ms < 1000)
			return body_bad_field(why, "timeout",
			    "it must be seconds, or a duration such as \"PT30S\", from "
			    "1 s to an hour, or null");
		return 0;
	}
	if (jspan_is(key, "disabled")) {
		er->given |= ENDPOINT_DISABLED;
		return jspan_bool(value, &er->disabled, NULL) == 0
			   ? 0
			   : body_bad_field(
				 why, "disabled", "it must be true or false");
	}
	if (jspan_is(key, "reason")) {
		if (value->kind == JSON_NULL)
			return 0;
		if (jspan_string(value, er->reason, sizeof(er->reason), NULL, &err) !=
		    0)
			return body_bad_field(why, "reason",
			    "it must be a string of at most 400 characters");
		return 0;
	}
	return body_unknown_field(why, "", key);
}

int
endpoint_request_parse(
    const char *body, size_t len, struct endpoint_request *er, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	memset(er, 0, sizeof(*er));
	if (body_object(body, len, MAX_DEPTH, 2, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (read_field(&key, &value, er, why) != 0)
			return -1;
	}
	if (er->reason[0] != '\0' && !er->disabled)
		return body_bad_field(
		    why, "reason", "it is for {\"disabled\":true} alone");
	return 0;
}

int
rotate_request_parse(
    const char *body, size_t len, int64_t *overlap_ms, struct refusal *why)
{
	struct jspan top, key, value;
	struct jwalk walk;

	*overlap_ms = ENDPOINT_OVERLAP_MS;
	if (len == 0)
		return 0;
	if (body_object(body, len, MAX_DEPTH, 1, &top, why) != 0)
		return -1;
	jwalk_start(&walk, &top);
	while (jwalk_member(&walk, &key, &value)) {
		if (!jspan_is(&key, "overlap"))
			return body_unknown_field(why, "", &key);
		if (!field_duration(&value, ENDPOINT_OVERLAP_MAX, overlap_ms))
			return body_bad_field(why, "overlap",
			    "it must be seconds, or a duration such as \"PT24H\", from "
			    "0 to 30 days");
	}
	return 0;
}
