/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * finished.c - counts of finished tasks from /metrics; see finished.h.
 *
 * A round asks all nodes at once and ends with the last answer; the next one starts
 * POLL_MS later.  A counter that went back is that of a node that was restarted: what
 * it shows then has all been finished since.
 */
#include "cli/finished.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/hconn.h"

#define POLL_MS	    20
#define REQUEST_MS  10000
#define REQUEST_MAX 65536

struct node {
	struct finished *owner;
	const struct target *target; /* borrowed */
	struct hconn *hc;
	struct strbuf request;
	bool seen;
	uint64_t counter;  /* as it counted last */
	uint64_t finished; /* of these, since we began */
};

struct finished {
	struct node nodes[FINISHED_NODES];
	size_t node_count;
	size_t open; /* answers that this round waits for */
	struct loop_timer *poll;
	finished_cb *cb;
	void *arg;
	struct err last;
};

uint64_t
finished_metric_sum(const char *text, size_t len, const char *name)
{
	size_t name_len = strlen(name);
	const char *at = text, *end = text + len, *line_end, *value;
	uint64_t sum = 0, n;
	char digits[24];

	for (; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL)
			line_end = end;
		if ((size_t)(line_end - at) <= name_len ||
		    memcmp(at, name, name_len) != 0 ||
		    (at[name_len] != ' ' && at[name_len] != '{'))
			continue;
		value = memrchr(at, ' ', (size_t)(line_end - at));
		if (value == NULL || (size_t)(line_end - value) > sizeof(digits))
			continue;
		memcpy(digits, value + 1, (size_t)(line_end - value - 1));
		digits[line_end - value - 1] = '\0';
		if (str_to_u64(digits, &n) == 0)
			sum += n;
	}
	return sum;
}

uint64_t
finished_count(const struct finished *f)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < f->node_count; i++)
		sum += f->nodes[i].finished;
	return sum;
}

static void
count(struct node *node, const struct hconn_answer *a)
{
	uint64_t counter =
	    finished_metric_sum(a->body, a->len, "shoal_tasks_succeeded_total") +
	    finished_metric_sum(a->body, a->len, "shoal_tasks_failed_total");

	if (node->seen)
		node->finished +=
		    counter >= node->counter ? counter - node->counter : counter;
	node->counter = counter;
	node->seen = true;
}

static void
end_round(struct finished *f)
{
	bool complete = true;

	for (size_t i = 0; i < f->node_count; i++)
		complete = complete && f->nodes[i].seen;
	loop_timer_start_ms(f->poll, POLL_MS);
	f->cb(f, complete, &f->last, f->arg);
}

static void
on_metrics(
    struct hconn *hc, const struct hconn_answer *a, const struct err *err, void *arg)
{
	struct node *node = arg;
	struct finished *f = node->owner;

	(void)hc;
	if (err != NULL) {
		f->last = *err;
		err_wrap(&f->last, "%s://%s/metrics", node->target->url.scheme,
		    node->target->url.authority);
	} else if (a->status != 200) {
		err_set(&f->last, ERR_IO, "%s://%s/metrics answers %d",
		    node->target->url.scheme, node->target->url.authority, a->status);
	} else {
		count(node, a);
	}
	if (--f->open == 0)
		end_round(f);
}

static void
start_round(void *arg)
{
	struct finished *f = arg;

	f->open = f->node_count;
	for (size_t i = 0; i < f->node_count; i++) {
		struct node *node = &f->nodes[i];

		/* refused only while a request is under way, and none is */
		if (hconn_send(node->hc, node->request.data, node->request.len,
			REQUEST_MS, &f->last) != 0 &&
		    --f->open == 0)
			end_round(f);
	}
}

struct finished *
finished_create(struct loop *l, const struct target *nodes, size_t node_count,
    finished_cb *cb, void *arg, struct err *err)
{
	struct finished *f = mem_zero(sizeof(*f));

	if (f == NULL) {
		err_set(err, ERR_NOMEM, "counting finished tasks");
		return NULL;
	}
	f->cb = cb;
	f->arg = arg;
	f->last = (struct err)ERR_INIT;
	f->poll = loop_timer_create(l, start_round, f);
	if (f->poll == NULL) {
		err_set(err, ERR_NOMEM, "counting finished tasks");
		goto fail;
	}
	for (size_t i = 0; i < node_count; i++) {
		struct node *node = &f->nodes[f->node_count++];

		node->owner = f;
		node->target = &nodes[i];
		strbuf_init(&node->request, REQUEST_MAX);
		target_request(
		    node->target, "GET", "/metrics", NULL, 0, &node->request);
		node->hc = hconn_create(l, node->target->addrs,
		    node->target->addr_count, on_metrics, node, err);
		if (node->hc == NULL)
			goto fail;
		hconn_set_tls(node->hc, node->target->tls, node->target->url.host);
	}
	loop_timer_start_ms(f->poll, 0);
	return f;
fail:
	finished_free(f);
	return NULL;
}

void
finished_free(struct finished *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->node_count; i++) {
		struct strbuf *request = &f->nodes[i].request;

		hconn_free(f->nodes[i].hc);
		if (request->data != NULL)
			explicit_bzero(request->data, request->len); /* a token */
		strbuf_fini(request);
	}
	loop_timer_free(f->poll);
	mem_free(f);
}
