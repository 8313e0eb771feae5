/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * origin.c - whose request it is, when proxies have passed it on.
 *
 * Whether a connection's other end is trusted is looked up once.  Where it is not, or
 * where nobody is, nothing of this costs a request anything.
 */
#include "http/httpd_int.h"

#include <string.h>

#include <event2/bufferevent.h>

#include "base/cidr.h"
#include "base/str.h"
#include "event/addr.h"
#include "http/forward.h"

#define FOR_MAX 16 /* headers X-Forwarded-For that are looked at */

/* httpreq_peer is still who has connected, or whom a PROXY header named */
static bool
is_trusted(const struct httpreq *req)
{
	const struct cidr_list *trusted = req->httpd->opts.trusted;
	struct conn *c = req->conn;

	if (trusted == NULL || trusted->count == 0)
		return false;
	if (c->trust == CONN_TRUST_UNKNOWN)
		c->trust =
		    cidr_list_has(trusted, req->peer) ? CONN_TRUSTED : CONN_UNTRUSTED;
	return c->trust == CONN_TRUSTED;
}

static void
find_client(struct httpreq *req)
{
	struct forward f;
	unsigned seen = 0;

	forward_begin(&f, req->peer);
	for (size_t i = req->field_count; i > 0; i--) {
		const struct httpreq_pair *field = &req->fields[i - 1];

		if (!str_ieq(field->name, "X-Forwarded-For"))
			continue;
		if (++seen > FOR_MAX) {
			f.is_origin = false;
			break;
		}
		forward_for(&f, req->httpd->opts.trusted, field->value);
	}
	(void)str_copy(req->peer, sizeof(req->peer), f.client);
	req->by_proxy = true;
	req->origin = f.is_origin;
}

/* what the nearest proxy has said; NULL: nothing */
static const char *
last_header(const struct httpreq *req, const char *name)
{
	for (size_t i = req->field_count; i > 0; i--) {
		if (str_ieq(req->fields[i - 1].name, name))
			return req->fields[i - 1].value;
	}
	return NULL;
}

static void
find_scheme(struct httpreq *req)
{
	const char *proto = last_header(req, "X-Forwarded-Proto");
	const char *port = last_header(req, "X-Forwarded-Port");
	char word[8];
	int64_t n;

	if (proto != NULL) {
		forward_last(proto, word, sizeof(word));
		req->told_tls = str_ieq(word, "https") || str_ieq(word, "http");
		if (req->told_tls)
			req->tls = str_ieq(word, "https");
	}
	if (port != NULL) {
		forward_last(port, word, sizeof(word));
		if (str_to_i64(word, &n) == 0 && n > 0 && n <= UINT16_MAX)
			req->port = (uint16_t)n;
	}
}

void
origin_find(struct httpreq *req)
{
	if (!is_trusted(req))
		return;
	find_client(req);
	find_scheme(req);
}

bool
httpreq_is_origin(const struct httpreq *req)
{
	if (req->by_proxy)
		return req->origin;
	return httpreq_header(req, "X-Forwarded-For") == NULL &&
	       httpreq_header(req, "Forwarded") == NULL &&
	       httpreq_header(req, "Via") == NULL;
}

bool
httpreq_reached(const struct httpreq *req, bool *tls, uint16_t *port)
{
	struct addr own;

	if (req->told_tls) {
		*tls = req->tls;
		*port = req->port != 0 ? req->port : req->tls ? 443 : 80;
		return true;
	}
	if (!req->tls || req->conn == NULL)
		return false;
	*tls = true;
	*port = req->conn->proxied_port;
	if (*port == 0 &&
	    addr_of_socket(bufferevent_getfd(req->conn->bev), &own, NULL) == 0)
		*port = addr_port(&own);
	return *port != 0;
}
