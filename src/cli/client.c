/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client.c - one request, one answer; see client.h.
 *
 * Runs a loop of its own until hconn's callback has come.  The connection stays open
 * between calls, so that a command that asks again and again connects once.
 */
#include "cli/client.h"

#include <string.h>

#include "base/mem.h"
#include "cli/hconn.h"
#include "event/loop.h"

#define REQUEST_MAX (64UL * 1024 * 1024)

struct client {
	const struct target *target; /* borrowed */
	struct loop *loop;
	struct hconn *hc;
	struct client_answer answer;
	struct err err; /* ERR_NONE: answer is set */
};

static void
on_answer(struct hconn *hc, const struct hconn_answer *answer, const struct err *err,
    void *arg)
{
	struct client *c = arg;

	(void)hc;
	if (err != NULL) {
		c->err = *err;
	} else {
		c->answer.status = answer->status;
		c->answer.len = answer->len;
		c->answer.body = mem_dup(answer->body, answer->len);
		if (c->answer.body == NULL)
			err_set(
			    &c->err, ERR_NOMEM, "an answer of %zu bytes", answer->len);
	}
	loop_stop(c->loop);
}

struct client *
client_create(const struct target *t, struct err *err)
{
	struct client *c = mem_zero(sizeof(*c));

	if (c == NULL) {
		err_set(err, ERR_NOMEM, "client");
		return NULL;
	}
	c->target = t;
	c->loop = loop_create(err);
	if (c->loop == NULL)
		goto fail;
	c->hc = hconn_create(c->loop, t->addrs, t->addr_count, on_answer, c, err);
	if (c->hc == NULL)
		goto fail;
	hconn_set_tls(c->hc, t->tls, t->url.host);
	return c;
fail:
	client_free(c);
	return NULL;
}

void
client_free(struct client *c)
{
	if (c == NULL)
		return;
	hconn_free(c->hc);
	if (c->loop != NULL)
		loop_free(c->loop);
	mem_free(c);
}

/* the reason with the address, and with what to check when nobody is there */
static int
tell(const struct client *c, struct err *err)
{
	if (c->err.code == ERR_IO)
		return err_set(err, ERR_IO,
		    "%s://%s: %s; is a node up there, and is that its address for %s?",
		    c->target->url.scheme, c->target->url.authority, c->err.text,
		    c->target->developers ? "developers" : "applications");
	return err_set(err, c->err.code, "%s://%s: %s", c->target->url.scheme,
	    c->target->url.authority, c->err.text);
}

int
client_call(struct client *c, const char *method, const char *path, const char *body,
    size_t len, int timeout_ms, struct client_answer *out, struct err *err)
{
	struct strbuf request;
	int rc = -1;

	strbuf_init(&request, REQUEST_MAX);
	target_request(c->target, method, path, body, len, &request);
	err_clear(&c->err);
	c->answer = (struct client_answer){.body = NULL};
	if (strbuf_failed(&request))
		rc = err_set(err, ERR_LIMIT, "the request is too large");
	else if (hconn_send(c->hc, request.data, request.len, timeout_ms, err) == 0 &&
		 loop_run(c->loop, err) == 0) {
		if (c->err.code == ERR_NONE) {
			*out = c->answer;
			rc = 0;
		} else {
			rc = tell(c, err);
		}
	}
	explicit_bzero(request.data, request.len); /* the key is in it */
	strbuf_fini(&request);
	return rc;
}

void
client_answer_fini(struct client_answer *a)
{
	mem_free(a->body);
	*a = (struct client_answer){.body = NULL};
}
