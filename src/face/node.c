/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * node.c - the node's own state as HTTP shows it.
 *
 * /health knows two reasons for 503 and no more: the node is draining, or no worker's
 * heart has beaten lately.  It never looks at PostgreSQL or Redis: one failover of
 * theirs would empty the load balancer.  /ready does, and is always 200 for the same
 * reason.
 */
#include "face/node.h"

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/strbuf.h"

#define REPLY_MAX 4096

/* what the ready workers say about a store, as one word */
static const char *
store_word(unsigned up, unsigned ready)
{
	if (ready == 0 || up == 0)
		return "down";
	return up == ready ? "up" : "partly";
}

enum node_health
node_health(const struct scoreboard *b, int64_t now_ms)
{
	if (atomic_load(&b->draining) != 0)
		return NODE_DRAINING;
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		int64_t beat_ms = atomic_load(&b->slots[i].heartbeat_ms);

		if (beat_ms != 0 && now_ms - beat_ms <= NODE_FRESH_MS)
			return NODE_OK;
	}
	return NODE_STALLED;
}

void
node_health_reply(struct httpreq *req, const struct scoreboard *b)
{
	static const char ok[] = "{\"status\":\"ok\"}";
	static const char draining[] = "{\"status\":\"draining\"}";
	static const char stalled[] = "{\"status\":\"stalled\"}";

	httpreq_set_header(req, "Cache-Control", "no-store");
	switch (node_health(b, clock_mono_ms())) {
	case NODE_OK:
		httpreq_reply(req, 200, NULL, ok, sizeof(ok) - 1);
		return;
	case NODE_DRAINING:
		httpreq_reply(req, 503, NULL, draining, sizeof(draining) - 1);
		return;
	case NODE_STALLED:
		break;
	}
	httpreq_reply(req, 503, NULL, stalled, sizeof(stalled) - 1);
}

void
node_ready_reply(struct httpreq *req, const struct scoreboard *b, bool detail)
{
	unsigned states[SCORE_STATE_COUNT] = {0}, database = 0, redis = 0, ready;
	struct strbuf sb;
	struct jsonw w;
	bool ok;

	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		const struct score_slot *slot = &b->slots[i];
		unsigned state = atomic_load(&slot->state);

		if (state >= SCORE_STATE_COUNT)
			continue;
		states[state]++;
		if (state != SCORE_READY)
			continue;
		database += atomic_load(&slot->database_up) != 0;
		redis += atomic_load(&slot->redis_up) != 0;
	}
	ready = states[SCORE_READY];
	ok = ready > 0 && database == ready && redis == ready &&
	     atomic_load(&b->draining) == 0;

	strbuf_init(&sb, REPLY_MAX);
	jsonw_init(&w, &sb);
	jsonw_object(&w);
	jsonw_key(&w, "status");
	jsonw_string(&w, ok ? "ok" : "degraded");
	if (detail) {
		jsonw_key(&w, "database");
		jsonw_string(&w, store_word(database, ready));
		jsonw_key(&w, "redis");
		jsonw_string(&w, store_word(redis, ready));
		jsonw_key(&w, "draining");
		jsonw_bool(&w, atomic_load(&b->draining) != 0);
		jsonw_key(&w, "workers");
		jsonw_object(&w);
		for (unsigned s = SCORE_STARTING; s < SCORE_STATE_COUNT; s++) {
			jsonw_key(&w, score_state_name((enum score_state)s));
			jsonw_int(&w, states[s]);
		}
		jsonw_end(&w);
	}
	jsonw_end(&w);
	httpreq_set_header(req, "Cache-Control", "no-store");
	if (strbuf_failed(&sb))
		httpreq_problem(req, 503, "overloaded", "The server is out of memory.");
	else
		httpreq_reply(req, 200, NULL, sb.data, sb.len);
	strbuf_fini(&sb);
}

void
node_httpd_opts(const struct settings *s, struct httpd_opts *opts)
{
	httpd_opts_default(opts);
	opts->max_header_bytes = (size_t)s->http_max_header_bytes;
	opts->max_body_bytes = (size_t)s->http_max_body_bytes;
	opts->max_uri_bytes = (size_t)s->http_max_uri_bytes;
	opts->max_headers = (unsigned)s->http_max_headers;
	opts->max_connections = (size_t)s->http_max_connections;
	opts->header_ms = (int)s->http_header_timeout_ms;
	opts->body_ms = (int)s->http_body_timeout_ms;
	opts->write_ms = (int)s->http_write_timeout_ms;
	opts->idle_ms = (int)s->http_idle_timeout_ms;
	opts->allow_chunked = s->http_allow_chunked;
	opts->hello_ms = (int)s->tls_handshake_timeout_ms;
	opts->hsts_s = s->tls_hsts_ms / 1000;
}

void
node_count_hello(struct score_slot *slot, enum httpd_hello what)
{
	static const enum score_counter counters[HTTPD_HELLO_COUNT] = {
	    [HTTPD_HELLO_TLS] = SCORE_tls_handshakes_total,
	    [HTTPD_HELLO_RESUMED] = SCORE_tls_resumed_total,
	    [HTTPD_HELLO_FAILED] = SCORE_tls_failed_total,
	    [HTTPD_HELLO_STRANGER] = SCORE_proxy_refused_total,
	};

	score_add(slot, counters[what], 1);
}

void
node_count(struct score_slot *slot, int status)
{
	score_add(slot, SCORE_http_requests_total, 1);
	if (status >= 500)
		score_add(slot, SCORE_http_errors_total, 1);
}
