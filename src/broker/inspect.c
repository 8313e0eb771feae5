/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect.c - a worker's look at how Redis is set up, for the log.
 *
 * One worker of a node looks, a while after it has connected, when it knows how many
 * workers the cluster has; and again after each new connection, which may lead to a
 * server that is set up otherwise.  It speaks only when it finds something else than
 * before.  A Redis that will not say something is not judged for it.
 */
#include <hiredis/hiredis.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "broker/internal.h"
#include "broker/judge.h"
#include "redis/rconn.h"

#define LOOK_MS 5000

struct inspect {
	struct broker *broker;
	const struct scoreboard *board; /* borrowed */
	struct loop_timer *timer;
	struct redis_facts facts;
	struct findings told;
};

static bool
same(const struct findings *a, const struct findings *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (a->list[i].weight != b->list[i].weight ||
		    (a->list[i].weight != FINDING_FINE &&
			!str_eq(a->list[i].text, b->list[i].text)))
			return false;
	}
	return true;
}

static void
tell(struct inspect *in)
{
	struct broker *b = in->broker;
	struct findings *found = mem_zero(sizeof(*found));
	const struct redis_need need = {
	    .workers = atomic_load(&in->board->peers),
	    .connections = (int64_t)b->lane_count,
	};

	if (found == NULL)
		return;
	redis_url_judge(b->settings->redis_url, found);
	redis_judge(&in->facts, &need, found);
	if (!same(found, &in->told)) {
		findings_log(found, "redis was looked at");
		in->told = *found;
	}
	mem_free(found);
}

static void
on_maxclients(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct inspect *in = arg;
	int64_t n;

	(void)rc;
	if (err != NULL)
		return; /* the next connection is looked at again */
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	    reply->element[1]->type == REDIS_REPLY_STRING &&
	    str_to_i64(reply->element[1]->str, &n) == 0 && n > 0)
		in->facts.maxclients = n;
	tell(in);
}

static void
on_info(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct inspect *in = arg;
	const char *argv[] = {"CONFIG", "GET", "maxclients"};

	if (err != NULL)
		return;
	memset(&in->facts, 0, sizeof(in->facts));
	if (reply->type == REDIS_REPLY_STRING)
		redis_facts_info(&in->facts, reply->str, (size_t)reply->len);
	/* INFO says it from 7.0 on */
	if (in->facts.maxclients != 0 ||
	    rconn_command(rc, on_maxclients, in, NULL, 3, argv, NULL) != 0)
		tell(in);
}

static void
look(void *arg)
{
	struct inspect *in = arg;
	struct rconn *rc = in->broker->lanes[LANE_COMMAND];
	const char *argv[] = {"INFO"};

	if (rc == NULL || rconn_command(rc, on_info, in, NULL, 1, argv, NULL) != 0)
		return; /* it is away: inspect_soon comes again */
}

struct inspect *
inspect_create(struct broker *b, const struct scoreboard *board, struct err *err)
{
	struct inspect *in = mem_zero(sizeof(*in));

	if (in == NULL || (in->timer = loop_timer_create(b->loop, look, in)) == NULL) {
		mem_free(in);
		err_set(err, ERR_NOMEM, "a look at redis");
		return NULL;
	}
	in->broker = b;
	in->board = board;
	return in;
}

void
inspect_free(struct inspect *in)
{
	if (in == NULL)
		return;
	loop_timer_free(in->timer);
	mem_free(in);
}

void
inspect_soon(struct inspect *in)
{
	if (in != NULL)
		loop_timer_start_ms(in->timer, LOOK_MS);
}
