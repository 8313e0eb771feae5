/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * look.c - the leader's view of Redis, and the rarer commands around it; see broker.h.
 *
 * A look is one pipelined round trip.  Its answer is a snapshot of something that
 * others change all the time, which is fine: a wrong decision costs a duplicate or a
 * delay, and the next pass sees it.
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "broker/internal.h"
#include "redis/rconn.h"

#define LEADER_TTL_S "9"
#define PLACES_MOST  4096
#define LIST_FROM    "-20000" /* twice what the feeder ever puts there */

struct look {
	struct broker *broker;
	int list_number;
	broker_view_cb *cb;
	void *arg;
	struct broker_view view;
	struct elem *list;
	char **places;
	struct uuid *owners;
	struct err err;
	bool failed;
	int open; /* replies to come; the last one ends the look */
};

static void
look_free(struct look *lk)
{
	for (size_t i = 0; i < lk->view.place_count; i++)
		mem_free(lk->places[i]);
	mem_free(lk->places);
	mem_free(lk->owners);
	mem_free(lk->list);
	mem_free(lk);
}

/* "<12 hex>-<number>-<16 hex>" */
static int
parse_owner(const char *text, size_t len, struct uuid *owner)
{
	char copy[OWNER_TEXT_SIZE], *dash, *dash2;
	int64_t worker;

	if (len >= sizeof(copy))
		return -1;
	memcpy(copy, text, len);
	copy[len] = '\0';
	dash = strchr(copy, '-');
	dash2 = dash != NULL ? strchr(dash + 1, '-') : NULL;
	if (dash2 == NULL)
		return -1;
	*dash = *dash2 = '\0';
	if (str_unhex(copy, owner->b, 6) != 0 ||
	    str_unhex(dash2 + 1, owner->b + 8, 8) != 0 ||
	    str_to_i64(dash + 1, &worker) != 0 || worker < 0 || worker > 65535)
		return -1;
	owner->b[6] = (uint8_t)(worker >> 8);
	owner->b[7] = (uint8_t)worker;
	return 0;
}

static void
fail(struct look *lk, const struct err *err)
{
	if (lk->failed)
		return;
	lk->failed = true;
	lk->err = *err;
}

/* one reply less; after the last the caller is told */
static void
settle(struct look *lk)
{
	if (--lk->open > 0)
		return;
	lk->view.list = lk->list;
	lk->view.places = (const char *const *)lk->places;
	lk->view.place_owners = lk->owners;
	lk->broker->lists[lk->list_number].looking = false;
	lk->cb(lk->failed ? NULL : &lk->view, lk->failed ? &lk->err : NULL, lk->arg);
	look_free(lk);
}

static void
on_look_epoch(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct look *lk = arg;

	(void)rc;
	if (err != NULL)
		fail(lk, err);
	else
		broker_read_epoch(
		    lk->broker, reply, &lk->view.epoch, &lk->view.foreign);
	settle(lk);
}

/* our own key, made unusable by someone: what it said is told again */
static void
remake_places(struct broker *b)
{
	const char *argv[] = {"DEL", b->k_places};

	log_warn(NULL, "the key of free places was of a wrong type: removed", "key=%s",
	    b->k_places);
	(void)!rconn_command(b->lanes[LANE_COMMAND], NULL, NULL, NULL, 2, argv, NULL);
	broker_publish(b, "places");
}

static void
take_places(struct look *lk, const struct redisReply *reply)
{
	size_t pairs;

	if (reply->type == REDIS_REPLY_ERROR &&
	    strncmp(reply->str, "WRONGTYPE", 9) == 0)
		remake_places(lk->broker);
	if (reply->type != REDIS_REPLY_ARRAY)
		return;
	pairs = reply->elements / 2;
	if (pairs > PLACES_MOST)
		pairs = PLACES_MOST;
	lk->places = mem_array(pairs, sizeof(*lk->places));
	lk->owners = mem_array(pairs, sizeof(*lk->owners));
	if (lk->places == NULL || lk->owners == NULL)
		return;
	for (size_t i = 0; i < pairs; i++) {
		const struct redisReply *name = reply->element[2 * i],
					*text = reply->element[2 * i + 1];
		size_t n = lk->view.place_count;

		if (name->type != REDIS_REPLY_STRING ||
		    text->type != REDIS_REPLY_STRING ||
		    parse_owner(name->str, (size_t)name->len, &lk->owners[n]) != 0)
			continue;
		lk->places[n] = mem_dup(text->str, (size_t)text->len);
		if (lk->places[n] != NULL)
			lk->view.place_count++;
	}
}

static void
on_look_places(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct look *lk = arg;

	(void)rc;
	if (err != NULL)
		fail(lk, err);
	else
		take_places(lk, reply);
	settle(lk);
}

static void
take_list(struct look *lk, const struct redisReply *reply)
{
	struct elem *e;

	if (reply->type != REDIS_REPLY_ARRAY)
		return;
	lk->list = mem_array(reply->elements, sizeof(*lk->list));
	if (lk->list == NULL)
		return;
	for (size_t i = reply->elements; i > 0; i--) {
		const struct redisReply *r = reply->element[i - 1];

		e = &lk->list[lk->view.list_count];
		if (r->type == REDIS_REPLY_STRING &&
		    elem_parse(lk->broker->pools, r->str, (size_t)r->len, e) == 0 &&
		    e->list == lk->list_number)
			lk->view.list_count++;
	}
}

static void
on_look_list(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct look *lk = arg;

	(void)rc;
	if (err != NULL)
		fail(lk, err);
	else
		take_list(lk, reply);
	settle(lk);
}

static void
on_look_length(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct look *lk = arg;
	struct broker *b = lk->broker;

	(void)rc;
	if (err != NULL)
		fail(lk, err);
	else if (reply->type == REDIS_REPLY_INTEGER)
		b->lists[lk->list_number].length = lk->view.length = reply->integer;
	else if (reply->type == REDIS_REPLY_ERROR &&
		 strncmp(reply->str, "WRONGTYPE", 9) == 0) {
		char key[KEY_MAX];
		const char *argv[] = {"DEL", broker_list_key(b, lk->list_number, key)};

		log_warn(
		    NULL, "the dispatch key held no list: removed", "key=%s", argv[1]);
		(void)!rconn_command(
		    b->lanes[LANE_COMMAND], NULL, NULL, NULL, 2, argv, NULL);
	}
	settle(lk);
}

int
broker_look(struct broker *b, int list_number, int64_t beat, bool with_list,
    broker_view_cb *cb, void *arg, struct err *err)
{
	struct rconn *rc = b->lanes[LANE_COMMAND];
	char number[24], key_room[KEY_MAX];
	const char *key = broker_list_key(b, list_number, key_room);
	const char *set_beat[] = {"SET", b->k_beat, number};
	const char *set_leader[] = {
	    "SET", b->k_leader, b->owner_name, "EX", LEADER_TTL_S};
	const char *epoch[] = {"GET", b->k_epoch};
	const char *places[] = {"HGETALL", b->k_places};
	const char *list[] = {"LRANGE", key, LIST_FROM, "-1"};
	const char *length[] = {"LLEN", key};
	struct look *lk;

	if (!b->up)
		return err_set(err, ERR_CLOSED, "redis is away");
	if (b->lists[list_number].looking)
		return err_set(err, ERR_CONFLICT, "a look is under way");
	lk = mem_zero(sizeof(*lk));
	if (lk == NULL)
		return err_set(err, ERR_NOMEM, "redis look");
	lk->broker = b;
	lk->list_number = list_number;
	lk->cb = cb;
	lk->arg = arg;
	snprintf(number, sizeof(number), "%lld", (long long)beat);
	if (beat > 0 &&
	    (rconn_command(rc, NULL, NULL, err, 3, set_beat, NULL) != 0 ||
		rconn_command(rc, NULL, NULL, err, 5, set_leader, NULL) != 0)) {
		look_free(lk);
		return -1;
	}
	b->lists[list_number].looking = true;
	lk->open += rconn_command(rc, on_look_epoch, lk, err, 2, epoch, NULL) == 0;
	lk->open += rconn_command(rc, on_look_places, lk, err, 2, places, NULL) == 0;
	lk->open +=
	    with_list && rconn_command(rc, on_look_list, lk, err, 4, list, NULL) == 0;
	lk->open += rconn_command(rc, on_look_length, lk, err, 2, length, NULL) == 0;
	if (lk->open == 0) {
		b->lists[list_number].looking = false;
		look_free(lk);
		return -1;
	}
	if (lk->open < (with_list ? 4 : 3)) {
		/* half a look is none: what was sent is answered, then the caller is
		 * told */
		lk->failed = true;
		err_set(&lk->err, ERR_LIMIT, "no room for the leader's look");
	}
	return 0;
}

/* ---------------------------------------------------------------- the list anew */

/* what EXEC has done: the last push tells the length */
static void
on_replaced(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct list_state *l = arg;
	const struct redisReply *last;

	(void)rc;
	if (err != NULL)
		return;
	if (reply->type == REDIS_REPLY_ERROR) {
		log_warn(NULL, "redis refuses a new dispatch list", "reason=\"%.100s\"",
		    reply->str);
		l->broker->events->refused(l->broker->arg);
	}
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
		return;
	last = reply->element[reply->elements - 1];
	/* alone it is the DEL, which tells whether there was one */
	l->length = reply->elements > 1 && last->type == REDIS_REPLY_INTEGER
			? last->integer
			: 0;
}

/* at the waiting end in order, so that the first is popped first */
static int
send_elems(struct broker *b, const char *key, const struct elem *elems, size_t count,
    struct err *err)
{
	char texts[PUSH_MOST][ELEM_TEXT_SIZE];
	const char *argv[PUSH_MOST + 2] = {"LPUSH", key};
	size_t lens[PUSH_MOST + 2] = {5, strlen(key)}, n;

	for (; count > 0; elems += n, count -= n) {
		n = count > PUSH_MOST ? PUSH_MOST : count;
		for (size_t i = 0; i < n; i++) {
			lens[i + 2] = elem_format(b->pools, &elems[i], texts[i]);
			argv[i + 2] = texts[i];
		}
		if (rconn_command(b->lanes[LANE_COMMAND], NULL, NULL, err, (int)n + 2,
			argv, lens) != 0)
			return -1;
	}
	return 0;
}

void
broker_replace(struct broker *b, int list, const struct elem *elems, size_t count)
{
	struct rconn *rc = b->lanes[LANE_COMMAND];
	char key[KEY_MAX];
	const char *multi[] = {"MULTI"}, *exec[] = {"EXEC"};
	const char *del[] = {"DEL", broker_list_key(b, list, key)};
	struct err err = ERR_INIT;

	if (!b->up || rconn_command(rc, NULL, NULL, &err, 1, multi, NULL) != 0)
		return; /* the next pass sees the list as it is */
	if (rconn_command(rc, NULL, NULL, &err, 2, del, NULL) != 0 ||
	    send_elems(b, del[1], elems, count, &err) != 0 ||
	    rconn_command(rc, on_replaced, &b->lists[list], &err, 1, exec, NULL) != 0)
		/* what follows would wait for an EXEC that never comes */
		rconn_close(rc, "no room for the whole of a transaction");
}

/* ---------------------------------------------------------------- beat and epoch */

struct beat_read {
	broker_beat_cb *cb;
	void *arg;
};

static void
on_beat(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct beat_read *br = arg;
	int64_t beat = 0;

	(void)rc;
	if (err == NULL && reply->type == REDIS_REPLY_STRING &&
	    str_to_i64(reply->str, &beat) != 0)
		beat = 0;
	br->cb(beat, err, br->arg);
	mem_free(br);
}

int
broker_read_beat(struct broker *b, broker_beat_cb *cb, void *arg, struct err *err)
{
	const char *argv[] = {"GET", b->k_beat};
	struct beat_read *br;

	if (!b->up)
		return err_set(err, ERR_CLOSED, "redis is away");
	br = mem_zero(sizeof(*br));
	if (br == NULL)
		return err_set(err, ERR_NOMEM, "beat");
	br->cb = cb;
	br->arg = arg;
	if (rconn_command(b->lanes[LANE_COMMAND], on_beat, br, err, 2, argv, NULL) !=
	    0) {
		mem_free(br);
		return -1;
	}
	return 0;
}

void
broker_set_epoch(struct broker *b, int64_t epoch)
{
	char text[UUID_TEXT_SIZE + 24], id[UUID_TEXT_SIZE];
	const char *argv[] = {"SET", b->k_epoch, text};

	if (!b->up)
		return;
	snprintf(text, sizeof(text), "%s:%lld", uuid_format(&b->database_id, id),
	    (long long)epoch);
	(void)!rconn_command(b->lanes[LANE_COMMAND], NULL, NULL, NULL, 3, argv, NULL);
}

/* ---------------------------------------------------------------- burials */

struct burial {
	struct broker *broker;
	char key[KEY_MAX];
};

static void
on_buried_list(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct burial *bu = arg;
	struct broker *b = bu->broker;
	const char *del[] = {"DEL", bu->key};
	struct elem e;

	if (err == NULL && reply->type == REDIS_REPLY_ARRAY && b->up) {
		for (size_t i = 0; i < reply->elements; i++) {
			const struct redisReply *r = reply->element[i];

			if (r->type == REDIS_REPLY_STRING &&
			    elem_parse(b->pools, r->str, (size_t)r->len, &e) == 0)
				broker_push_first(b, &e, 1);
		}
		/* pushed before removed: in between an id is there twice, never not at
		 * all */
		(void)!rconn_command(rc, NULL, NULL, NULL, 2, del, NULL);
	}
	mem_free(bu);
}

void
broker_bury(struct broker *b, const struct uuid *owner)
{
	char name[OWNER_TEXT_SIZE];
	struct burial *bu;
	const char *argv[4] = {"LRANGE", NULL, "0", "-1"};

	if (!b->up || (bu = mem_zero(sizeof(*bu))) == NULL)
		return;
	bu->broker = b;
	broker_key(b, bu->key, "proc:", owner_text(owner, name));
	argv[1] = bu->key;
	if (rconn_command(
		b->lanes[LANE_COMMAND], on_buried_list, bu, NULL, 4, argv, NULL) != 0)
		mem_free(bu);
	broker_drop_places(b, owner);
}
