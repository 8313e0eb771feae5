/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_request.c - the requests of a measurement; see bench_request.h.
 *
 * All tasks of a run are alike, so the bytes are made before the clock starts.
 */
#include "cli/bench_request.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/jsonw.h"

#define PAYLOAD_HEAD "{\"pad\":\""
#define PAYLOAD_TAIL "\"}"

_Static_assert(
    sizeof(PAYLOAD_HEAD) - 1 + sizeof(PAYLOAD_TAIL) - 1 == BENCH_PAYLOAD_LEAST,
    "the least payload is one with an empty pad");

static void
put_payload(struct jsonw *w, int64_t bytes)
{
	static const char filler[] = "0123456789abcdef";
	struct strbuf pad;

	strbuf_init(&pad, BENCH_REQUEST_MAX);
	strbuf_puts(&pad, PAYLOAD_HEAD);
	for (int64_t i = 0; i < bytes - BENCH_PAYLOAD_LEAST; i++)
		strbuf_putc(&pad, filler[i % 16]);
	strbuf_puts(&pad, PAYLOAD_TAIL);
	jsonw_raw(w, pad.data, pad.len);
	strbuf_fini(&pad);
}

static void
put_task(struct jsonw *w, const struct bench_request *what)
{
	jsonw_object(w);
	jsonw_key(w, "type");
	jsonw_string(w, what->type);
	if (what->queue != NULL) {
		jsonw_key(w, "queue");
		jsonw_string(w, what->queue);
	}
	if (what->run_at != NULL) {
		jsonw_key(w, "run_at");
		jsonw_string(w, what->run_at);
	}
	jsonw_key(w, "payload");
	put_payload(w, what->payload_bytes);
	jsonw_end(w);
}

static void
put_body(struct jsonw *w, const struct bench_request *what)
{
	if (!what->batch) {
		put_task(w, what);
		return;
	}
	jsonw_object(w);
	jsonw_key(w, "tasks");
	jsonw_array(w);
	for (int64_t i = 0; i < what->tasks; i++)
		put_task(w, what);
	jsonw_end(w);
	jsonw_end(w);
}

int
bench_request_build(const struct target *target, const struct bench_request *what,
    struct strbuf *out, struct err *err)
{
	char path[64] = "/v1/tasks";
	struct strbuf body;
	struct jsonw w;
	bool failed;

	strbuf_init(&body, BENCH_REQUEST_MAX);
	jsonw_init(&w, &body);
	put_body(&w, what);
	if (what->batch)
		snprintf(path, sizeof(path), "/v1/tasks/batch");
	else if (what->wait_s > 0)
		snprintf(path, sizeof(path), "/v1/tasks?wait=%d", what->wait_s);
	failed = strbuf_failed(&body);
	if (!failed) {
		target_request(target, "POST", path, body.data, body.len, out);
		failed = strbuf_failed(out);
	}
	strbuf_fini(&body);
	if (failed)
		return err_set(err, ERR_INVALID,
		    "a request would be longer than %lu bytes", BENCH_REQUEST_MAX);
	return 0;
}
