/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * facts.c - what is known of a request for logs: its name, and where its time went.
 *
 * A name that a client gives is taken, so that one request can be followed through all
 * that it passed; it is read when it is first asked for.  Ours is 64 random bits of the
 * process and a number.
 *
 * Time is measured only where somebody is told of it, and told once: when the reply was
 * handed over, or when nobody waited for one any more.
 */
#include "http/httpd_int.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/uuid.h"

static uint64_t last_id;

uint64_t
facts_next_id(void)
{
	return ++last_id;
}

/* ---------------------------------------------------------------- the name */

static bool
is_name(const char *text)
{
	size_t len = 0;

	for (; text[len] != '\0'; len++) {
		char c = text[len];

		if (len == HTTPREQ_NAME ||
		    !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || strchr("-_.:+/=@", c) != NULL))
			return false;
	}
	return len > 0;
}

void
facts_make_name(uint64_t id, char name[HTTPREQ_NAME + 1])
{
	static const char digits[] = "0123456789abcdef";
	static char process[17];
	char number[16];
	size_t at = sizeof(number);

	if (process[0] == '\0') {
		uint8_t bytes[8];

		random_bytes(bytes, sizeof(bytes));
		str_hex(process, bytes, sizeof(bytes));
	}
	do
		number[--at] = digits[id & 15];
	while ((id >>= 4) > 0);
	memcpy(name, process, 16);
	name[16] = '-';
	memcpy(name + 17, number + at, sizeof(number) - at);
	name[17 + sizeof(number) - at] = '\0';
}

const char *
httpreq_name(struct httpreq *req)
{
	const char *given;

	STAMP_CHECK(req, HTTPREQ_STAMP);
	if (req->name[0] != '\0')
		return req->name;
	given = httpreq_header(req, "X-Request-Id");
	if (given != NULL && is_name(given))
		memcpy(req->name, given, strlen(given) + 1);
	else
		facts_make_name(req->id, req->name);
	return req->name;
}

/* ---------------------------------------------------------------- the rest */

const char *
httpreq_route(const struct httpreq *req)
{
	return req->match.route == NULL ? NULL : req->match.route->path;
}

const char *
httpreq_method_name(const struct httpreq *req)
{
	switch (req->method) {
	case HTTP_GET:
		return "GET";
	case HTTP_POST:
		return "POST";
	case HTTP_PUT:
		return "PUT";
	case HTTP_DELETE:
		return "DELETE";
	case HTTP_HEAD:
		return "HEAD";
	}
	return "-";
}

const char *
httpreq_target(const struct httpreq *req)
{
	return req->uri == NULL ? "" : req->uri;
}

void *
httpreq_notes(struct httpreq *req)
{
	return req->notes;
}

void
httpreq_phase_since(struct httpreq *req, enum http_phase phase, int64_t mono_us)
{
	if (req->httpd == NULL || req->httpd->opts.told == NULL)
		return;
	if (mono_us > req->phase_us_at) {
		req->phase_us[req->phase] += mono_us - req->phase_us_at;
		req->phase_us_at = mono_us;
	}
	req->phase = phase;
}

void
httpreq_phase(struct httpreq *req, enum http_phase phase)
{
	if (req->httpd != NULL && req->httpd->opts.told != NULL)
		httpreq_phase_since(req, phase, clock_mono_us());
}

void
facts_begin(struct httpreq *req)
{
	const struct conn *c = req->conn;

	req->phase_us_at = req->since_us;
	req->bytes_in = c->head.bytes + req->body_len;
	req->read_us = (loop_now_ms(req->httpd->loop) - c->begun_ms) * 1000;
}

void
facts_tell(struct httpreq *req, int status, size_t bytes_out, int64_t reply_us)
{
	struct httpd *h = req->httpd;
	int64_t now_us;
	struct httpreq_facts f = {
	    .status = status,
	    .bytes_in = req->bytes_in,
	    .bytes_out = bytes_out,
	    .since_us = req->since_us,
	    .read_us = req->read_us,
	};

	if (h == NULL || h->opts.told == NULL || req->told)
		return;
	req->told = true;
	now_us = clock_mono_us();
	httpreq_phase_since(req, HTTP_WORK, reply_us != 0 ? reply_us : now_us);
	memcpy(f.phase_us, req->phase_us, sizeof(f.phase_us));
	if (reply_us != 0) {
		f.write_us = now_us - reply_us;
		f.unsent = h->unsent;
	}
	h->opts.told(req, &f, h->opts.arg);
}

size_t
httpd_tell_held_of(const struct httpd *h, size_t most)
{
	struct httpreq *req;
	size_t told = 0;

	TAILQ_FOREACH (req, &h->held, link) {
		if (told == most || req->stamp != HTTPREQ_STAMP)
			break;
		log_urgent("crash report: request",
		    "request=%s listener=%s method=%s path=\"%s\"", httpreq_name(req),
		    h->name, httpreq_method_name(req), httpreq_path(req));
		told++;
	}
	return told;
}
