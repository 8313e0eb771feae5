/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lists.c - what goes into the lists of ids and comes out of them: pops, pushes and
 * acknowledgements; see broker.h.
 *
 * What was popped is in our own processing list until it is acknowledged; proclist.c
 * knows what that holds.  The blocking pop command is named in one place, below.
 */
#include "broker/broker.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "broker/internal.h"
#include "redis/rconn.h"

/*
 * Deprecated since Redis 6.2 in favour of BLMOVE and served by all versions; BLMOVE is
 * missing before 6.2.  The timeout must be a whole number for servers before 6.0.
 */
#define POP_WAIT	     "BRPOPLPUSH"
#define POP_NOW		     "RPOPLPUSH"
#define POP_WAIT_S	     "5"
#define POP_WAIT_DEADLINE_MS 8000

#define REFUSED_TELL_MS 5000

static struct served_list *
served(const struct broker *b, int list)
{
	for (size_t i = 0; i < b->served_count; i++) {
		if (b->served[i].list == list)
			return (struct served_list *)&b->served[i];
	}
	return NULL;
}

static struct rconn *
pop_lane(const struct broker *b, const struct served_list *sl)
{
	return b->lanes[LANE_POP + (size_t)(sl - b->served)];
}

/* ---------------------------------------------------------------- pops */

/* an id is in our processing list */
void
broker_take(struct broker *b, const struct elem *e)
{
	proclist_popped(b->held, e);
	b->events->popped(e, b->arg);
}

/* a Redis without memory refuses hundreds a second: told once in a while */
static void
log_refused(struct broker *b, const char *what, const char *reason)
{
	int64_t now_ms = loop_now_ms(b->loop);

	if (b->refused_told_ms != 0 && now_ms - b->refused_told_ms < REFUSED_TELL_MS)
		return;
	b->refused_told_ms = now_ms;
	log_warn(NULL, "redis refuses commands", "command=%s reason=\"%.100s\"", what,
	    reason);
}

/* garbage is removed from where the pop has put it; returns whether an id came */
static bool
take_popped(struct served_list *sl, const struct redisReply *reply)
{
	struct broker *b = sl->broker;
	struct elem e;
	char shown[80];

	if (reply->type == REDIS_REPLY_ERROR) {
		log_refused(b, "pop", reply->str);
		if (strncmp(reply->str, "WRONGTYPE", 9) == 0) {
			/* our own keys, made unusable by someone: their ids are
			 * repairable */
			const char *argv[] = {"DEL", sl->key, b->k_proc};

			broker_tell(b, NULL, 3, argv, NULL);
		}
		b->events->refused(b->arg);
		return false;
	}
	if (reply->type != REDIS_REPLY_STRING)
		return false;
	if (elem_parse(b->pools, reply->str, (size_t)reply->len, &e) != 0 ||
	    e.list != sl->list) {
		const char *argv[] = {"LREM", b->k_proc, "1", reply->str};
		size_t lens[] = {4, strlen(b->k_proc), 1, (size_t)reply->len};

		str_printable(shown, sizeof(shown), reply->str, (size_t)reply->len);
		log_warn(NULL, "garbage in the dispatch list dropped", "value=\"%s\"",
		    shown);
		broker_tell(b, NULL, 4, argv, lens);
		return true;
	}
	broker_take(b, &e);
	return true;
}

static void
on_wait(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct served_list *sl = arg;
	struct broker *b = sl->broker;

	(void)rc;
	sl->waiting = false;
	if (err == NULL)
		take_popped(sl, reply);
	b->events->wait_ended(sl->list, b->arg);
}

int
broker_pop_wait(struct broker *b, int list, struct err *err)
{
	struct served_list *sl = served(b, list);

	if (!b->up || b->stopped || sl == NULL)
		return err_set(err, ERR_CLOSED, "redis is away");
	if (sl->waiting)
		return err_set(err, ERR_CONFLICT, "a pop is under way");
	if (rconn_command_within(pop_lane(b, sl), POP_WAIT_DEADLINE_MS, on_wait, sl,
		err, 4, (const char *[]){POP_WAIT, sl->key, b->k_proc, POP_WAIT_S},
		NULL) != 0)
		return -1;
	sl->waiting = true;
	return 0;
}

bool
broker_is_idle(const struct broker *b, int list)
{
	const struct served_list *sl = served(b, list);

	return sl != NULL && !sl->waiting && sl->more_open == 0;
}

bool
broker_is_waiting(const struct broker *b, int list)
{
	const struct served_list *sl = served(b, list);

	return sl != NULL && sl->waiting;
}

static void
more_reply(struct served_list *sl)
{
	struct broker *b = sl->broker;

	if (--sl->more_open == 0)
		b->events->more_ended(
		    sl->list, sl->more_got, b->lists[sl->list].length, b->arg);
}

static void
on_more(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct served_list *sl = arg;

	(void)rc;
	if (err == NULL && take_popped(sl, reply))
		sl->more_got++;
	more_reply(sl);
}

static void
on_more_length(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct served_list *sl = arg;

	(void)rc;
	sl->broker->lists[sl->list].length =
	    err == NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
	more_reply(sl);
}

int
broker_pop_more(struct broker *b, int list, int count, struct err *err)
{
	struct rconn *rc = b->lanes[LANE_COMMAND];
	struct served_list *sl = served(b, list);
	const char *pop[] = {POP_NOW, NULL, b->k_proc};
	const char *length[] = {"LLEN", NULL};

	if (!b->up || b->stopped || sl == NULL)
		return err_set(err, ERR_CLOSED, "redis is away");
	if (sl->more_open > 0)
		return err_set(err, ERR_CONFLICT, "a pop is under way");
	pop[1] = length[1] = sl->key;
	sl->more_got = 0;
	for (int i = 0; i < count; i++) {
		if (rconn_command(rc, on_more, sl, err, 3, pop, NULL) != 0)
			break;
		sl->more_open++;
	}
	if (sl->more_open == 0)
		return -1;
	if (rconn_command(rc, on_more_length, sl, NULL, 2, length, NULL) == 0)
		sl->more_open++;
	return 0;
}

/* ---------------------------------------------------------------- pushes */

static void
on_length(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct list_state *l = arg;
	struct broker *b = l->broker;

	(void)rc;
	if (err != NULL)
		return;
	if (reply->type == REDIS_REPLY_INTEGER) {
		l->length = reply->integer;
	} else if (reply->type == REDIS_REPLY_ERROR) {
		log_refused(b, "push", reply->str);
		if (strncmp(reply->str, "WRONGTYPE", 9) == 0) {
			/* our own key, made unusable by someone: its ids are repairable
			 */
			char key[KEY_MAX];
			const char *argv[] = {
			    "DEL", broker_list_key(b, (int)(l - b->lists), key)};

			broker_tell(b, NULL, 2, argv, NULL);
		}
		b->events->refused(b->arg);
	}
}

/* so many from here on go to one list, and into one command */
static size_t
run_length(const struct elem *elems, size_t count)
{
	size_t n = 1;

	while (n < count && n < PUSH_MOST && elems[n].list == elems[0].list)
		n++;
	return n;
}

static void
push(struct broker *b, const char *command, const struct elem *elems, size_t count)
{
	char texts[PUSH_MOST][ELEM_TEXT_SIZE], key[KEY_MAX];
	const char *argv[PUSH_MOST + 2];
	size_t lens[PUSH_MOST + 2], n;

	while (b->up && count > 0) {
		n = run_length(elems, count);
		argv[0] = command;
		lens[0] = strlen(command);
		argv[1] = broker_list_key(b, elems[0].list, key);
		lens[1] = strlen(argv[1]);
		for (size_t i = 0; i < n; i++) {
			lens[i + 2] = elem_format(b->pools, &elems[i], texts[i]);
			argv[i + 2] = texts[i];
		}
		broker_tell_of(
		    b, on_length, &b->lists[elems[0].list], (int)n + 2, argv, lens);
		elems += n;
		count -= n;
	}
}

void
broker_push(struct broker *b, const struct elem *elems, size_t count)
{
	push(b, "LPUSH", elems, count);
}

void
broker_push_first(struct broker *b, const struct elem *elems, size_t count)
{
	push(b, "RPUSH", elems, count);
}

/* ---------------------------------------------------------------- acknowledgements */

static void
remove_held(struct broker *b, const struct elem *e)
{
	char text[ELEM_TEXT_SIZE];
	const char *argv[] = {"LREM", b->k_proc, "-1", text};

	elem_format(b->pools, e, text);
	broker_tell(b, NULL, 4, argv, NULL);
}

/* what was acknowledged in this turn: the oldest in one command, the others one by one
 */
void
broker_tidy(void *arg)
{
	struct broker *b = arg;
	size_t oldest = proclist_trim(b->held);
	char last[24];
	const char *argv[] = {"LTRIM", b->k_proc, "0", last};
	struct elem e;

	if (oldest > 0) {
		snprintf(last, sizeof(last), "-%zu", oldest + 1);
		broker_tell(b, NULL, 4, argv, NULL);
	}
	while (proclist_stray(b->held, &e))
		remove_held(b, &e);
}

void
broker_ack(struct broker *b, const struct elem *e)
{
	if (proclist_ack(b->held, e))
		loop_defer_start(b->tidy);
	else
		remove_held(b, e);
}

void
broker_drop(struct broker *b, const struct elem *e)
{
	char text[ELEM_TEXT_SIZE], key[KEY_MAX];
	const char *argv[] = {"LREM", broker_list_key(b, e->list, key), "0", text};

	elem_format(b->pools, e, text);
	broker_tell(b, NULL, 4, argv, NULL);
}

void
broker_give_back(struct broker *b, const struct elem *e)
{
	/* pushed first: if we die between the two there are two ids, and a claim sorts
	 * that out */
	broker_push(b, e, 1);
	broker_ack(b, e);
}
