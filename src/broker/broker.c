/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * broker.c - the connections to Redis: made, judged, lost together; see broker.h.
 *
 * A blocking pop holds its connection hostage, so each list that is served has one of
 * its own, and commands have another: no list is heard of later than another.  A health
 * ping runs on the command connection; when it fails, or any of these closes, all are
 * closed, since they lead to the same server and a half-dead set pops ids that it
 * cannot acknowledge.
 *
 * After each reconnect the worker's own processing list is read: an id whose pop was
 * answered into a dead connection is there, and is handed up as if just popped.
 *
 * What goes over them is in lists.c (ids), news.c (what workers tell each other) and
 * look.c (what leaders look at).
 */
#include "broker/broker.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "broker/internal.h"
#include "redis/rconn.h"
#include "redis/sentinel.h"
#include "tls/tlsclient.h"

#define PING_MS	       1000
#define JUDGE_AGAIN_MS 1000
#define LATE_MS	       500   /* without an answer */
#define WHY_TELL_MS    60000 /* the same reason */
#define WHY_OTHER_MS   3000
#define SISTER_LOST    "the sister connection was lost"

static void on_state(struct rconn *rc, bool up, const struct err *err, void *arg);
static void judge(void *arg);

void
broker_key(
    const struct broker *b, char key[KEY_MAX], const char *what, const char *rest)
{
	snprintf(key, KEY_MAX, "shoal:%s:%s%s", b->settings->cluster_name, what, rest);
}

const char *
broker_list_key(const struct broker *b, int list, char buf[KEY_MAX])
{
	char name[LIST_NAME_SIZE];

	if (list == LIST_MAIN)
		return b->k_dispatch;
	pools_list_name(b->pools, list, name);
	broker_key(b, buf, name, "");
	return buf;
}

static struct rconn *
open_lane(struct broker *b, size_t lane, struct err *err)
{
	static const char *const names[] = {"command", "channels", "pop"};
	const struct settings *s = b->settings;
	struct rconn_opts opts = {
	    .name = names[lane < LANE_POP ? lane : LANE_POP],
	    /* with sentinels, on_found tells where it is */
	    .host = b->sentinel == NULL ? b->url.host : NULL,
	    .port = b->url.port,
	    .username =
		s->redis_username[0] != '\0' ? s->redis_username : b->url.username,
	    .password =
		s->redis_password[0] != '\0' ? s->redis_password : b->url.password,
	    .password_file = s->redis_password_file,
	    .tls = b->tls,
	    .tls_name = b->url.host,
	    .primary = lane != LANE_CHANNELS,
	    /* where these lead, those that pop follow */
	    .moved_ms = lane < LANE_POP ? (int)s->node_resolve_interval_ms : 0,
	    .database = b->url.database,
	    .ping_ms = lane >= LANE_POP ? 0 : PING_MS,
	    .max_waiting = 50000,
	    .state_cb = on_state,
	    .message_cb = broker_on_message,
	    .arg = b,
	};

	return rconn_create(b->loop, b->resolver, &opts, err);
}

/* the sentinels say that the primary is there */
static void
on_found(const char *host, uint16_t port, void *arg)
{
	struct broker *b = arg;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < b->lane_count; i++) {
		if (b->lanes[i] != NULL &&
		    rconn_set_server(b->lanes[i], host, port, &err) != 0)
			log_warn(NULL, "redis cannot be followed", "reason=\"%s\"",
			    err.text);
	}
}

static int
find_server(struct broker *b, struct err *err)
{
	const struct settings *s = b->settings;
	const struct tlsclient_opts tls = {
	    .ca_file = s->redis_ca_file,
	    .certificate = s->redis_certificate,
	    .key = s->redis_key,
	};
	struct sentinel_opts opts = {
	    .hosts = s->redis_sentinels,
	    .master = s->redis_sentinel_master,
	    .username = s->redis_sentinel_username,
	    .password = s->redis_sentinel_password,
	    .password_file = s->redis_sentinel_password_file,
	    .tls_name = b->url.host,
	    .found = on_found,
	    .arg = b,
	};

	if (b->url.tls && (b->tls = tlsclient_create(&tls, err)) == NULL)
		return -1;
	opts.tls = b->tls;
	if (s->redis_sentinels[0] != '\0' &&
	    (b->sentinel = sentinel_create(b->loop, b->resolver, &opts, err)) == NULL)
		return -1;
	return 0;
}

struct broker *
broker_create(struct loop *l, struct resolver *rv, const struct broker_opts *opts,
    struct err *err)
{
	struct broker *b = mem_zero(sizeof(*b));

	if (b == NULL) {
		err_set(err, ERR_NOMEM, "broker");
		return NULL;
	}
	b->loop = l;
	b->resolver = rv;
	b->settings = opts->settings;
	b->events = opts->events;
	b->arg = opts->arg;
	b->owner = opts->owner;
	b->pools = opts->pools;
	owner_text(&b->owner, b->owner_name);
	broker_key(b, b->k_epoch, "epoch", "");
	broker_key(b, b->k_beat, "beat", "");
	broker_key(b, b->k_dispatch, "dispatch:", "main");
	broker_key(b, b->k_proc, "proc:", b->owner_name);
	broker_key(b, b->k_places, "places", "");
	broker_key(b, b->k_leader, "leader", "");
	broker_key(b, b->k_ctl, "ctl", "");
	broker_key(b, b->k_done, "done:", b->owner_name);
	broker_key(b, b->k_feed, "feed", "");
	for (size_t i = 0; i < LISTS_MOST; i++)
		b->lists[i].broker = b;
	for (size_t i = 0; i < opts->served_count && i < SERVED_MOST; i++) {
		struct served_list *sl = &b->served[b->served_count++];
		char key[KEY_MAX];

		sl->broker = b;
		sl->list = opts->served[i];
		str_copy(sl->key, sizeof(sl->key), broker_list_key(b, sl->list, key));
	}
	b->lane_count = LANE_POP + b->served_count;
	if (redisurl_parse(b->settings->redis_url, &b->url, err) != 0 ||
	    find_server(b, err) != 0)
		goto fail;
	if (opts->board != NULL &&
	    (b->inspect = inspect_create(b, opts->board, err)) == NULL)
		goto fail;
	b->judge_timer = loop_timer_create(l, judge, b);
	b->tidy = loop_defer_create(l, broker_tidy, b);
	b->held = proclist_create();
	if (b->judge_timer == NULL || b->tidy == NULL || b->held == NULL) {
		err_set(err, ERR_NOMEM, "broker");
		goto fail;
	}
	for (size_t i = 0; i < b->lane_count; i++) {
		b->lanes[i] = open_lane(b, i, err);
		if (b->lanes[i] == NULL)
			goto fail;
	}
	if (rconn_subscribe(b->lanes[LANE_CHANNELS], b->k_ctl, err) != 0 ||
	    rconn_subscribe(b->lanes[LANE_CHANNELS], b->k_done, err) != 0)
		goto fail;
	return b;
fail:
	err_wrap(err, "opening redis");
	broker_free(b);
	return NULL;
}

void
broker_free(struct broker *b)
{
	if (b == NULL)
		return;
	b->up = false; /* callbacks run from inside the free: they must find nothing to
			  send on */
	for (size_t i = 0; i < b->lane_count; i++) {
		struct rconn *rc = b->lanes[i];

		b->lanes[i] = NULL;
		rconn_free(rc);
	}
	inspect_free(b->inspect);
	sentinel_free(b->sentinel);
	tlsclient_free(b->tls);
	loop_timer_free(b->judge_timer);
	loop_defer_free(b->tidy);
	proclist_free(b->held);
	explicit_bzero(&b->url, sizeof(b->url));
	mem_free(b);
}

bool
broker_is_up(const struct broker *b)
{
	return b->up;
}

int64_t
broker_last_length(const struct broker *b, int list)
{
	return b->lists[list].length;
}

/* ---------------------------------------------------------------- up and down */

static bool
lane_up(const struct broker *b, size_t lane)
{
	return b->lanes[lane] != NULL && rconn_is_up(b->lanes[lane]);
}

/* all that pops, or nothing pops any more */
static bool
may_pop(const struct broker *b)
{
	bool up = true;

	for (size_t i = LANE_POP; i < b->lane_count && !b->stopped; i++)
		up = up && lane_up(b, i);
	return up;
}

/* sends a command that nobody waits for; what is lost is repaired by the feeder */
void
broker_tell_of(struct broker *b, rconn_reply_cb *cb, void *arg, int argc,
    const char *const argv[], const size_t lens[])
{
	struct err err = ERR_INIT;

	if (!b->up)
		return;
	if (rconn_command(b->lanes[LANE_COMMAND], cb, arg, &err, argc, argv, lens) != 0)
		log_debug(NULL, "redis command left out", "command=%s reason=\"%s\"",
		    argv[0], err.text);
	/* an id or a hint that is sent now comes as late as what was sent before */
	if (rconn_late_ms(b->lanes[LANE_COMMAND]) >= LATE_MS)
		b->events->late(b->arg);
}

void
broker_tell(struct broker *b, rconn_reply_cb *cb, int argc, const char *const argv[],
    const size_t lens[])
{
	broker_tell_of(b, cb, b, argc, argv, lens);
}

static void
set_up(struct broker *b, bool up, const struct err *err)
{
	if (b->up == up)
		return;
	b->up = up;
	b->events->state(up, err, b->arg);
}

static void
looked(struct broker *b)
{
	b->looking = false;
	if (b->stopped)
		b->events->settled(b->arg);
}

static void
on_own_list(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct broker *b = arg;
	struct elem e;

	(void)rc;
	if (err == NULL && reply->type == REDIS_REPLY_ARRAY && b->up) {
		/* the oldest is the last; no pop has been asked for on this connection
		 * yet */
		proclist_clear(b->held);
		for (size_t i = reply->elements; i > 0; i--) {
			const struct redisReply *r = reply->element[i - 1];

			if (r->type == REDIS_REPLY_STRING &&
			    elem_parse(b->pools, r->str, (size_t)r->len, &e) == 0)
				broker_take(b, &e);
		}
	}
	looked(b);
}

static void
look_at_own_list(struct broker *b)
{
	const char *argv[] = {"LRANGE", b->k_proc, "0", "-1"};
	struct err err = ERR_INIT;

	b->looking = rconn_command(b->lanes[LANE_COMMAND], on_own_list, b, &err, 4,
			 argv, NULL) == 0;
	if (!b->looking) {
		log_debug(NULL, "own list not read", "reason=\"%s\"", err.text);
		looked(b);
	}
}

void
broker_read_epoch(const struct broker *b, const struct redisReply *reply,
    int64_t *epoch, bool *foreign)
{
	struct uuid id;
	const size_t id_len = UUID_TEXT_SIZE - 1;

	*epoch = 0;
	*foreign = false;
	if (reply->type != REDIS_REPLY_STRING)
		return;
	if ((size_t)reply->len <= id_len + 1 || reply->str[id_len] != ':' ||
	    uuid_parse(reply->str, id_len, &id) != 0 ||
	    str_to_i64(reply->str + id_len + 1, epoch) != 0 || *epoch < 1) {
		*epoch = 0; /* garbage counts as missing: the leader writes it anew */
		return;
	}
	*foreign = !uuid_eq(&id, &b->database_id);
}

static void
on_epoch(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct broker *b = arg;
	struct err why = ERR_INIT;
	int64_t epoch;
	bool foreign;

	(void)rc;
	if (err != NULL) {
		looked(b); /* the connection is gone; the next one asks again */
		return;
	}
	broker_read_epoch(b, reply, &epoch, &foreign);
	if (foreign) {
		err_set(&why, ERR_CONFLICT,
		    "this redis serves another database under the same cluster name");
		log_error(NULL,
		    "redis belongs to another database: no task is taken from it",
		    "key=%s", b->k_epoch);
		b->judged = false;
		set_up(b, false, &why);
		loop_timer_start_ms(b->judge_timer, JUDGE_AGAIN_MS);
		looked(b);
		return;
	}
	b->judged = true;
	if (!may_pop(b)) {
		looked(b);
		return;
	}
	set_up(b, true, NULL);
	b->events->epoch(epoch, b->arg);
	look_at_own_list(b);
}

static void
judge(void *arg)
{
	struct broker *b = arg;
	const char *argv[] = {"GET", b->k_epoch};
	struct err err = ERR_INIT;

	if (!b->database_known || !lane_up(b, LANE_COMMAND) || !may_pop(b))
		return;
	b->looking = rconn_command(
			 b->lanes[LANE_COMMAND], on_epoch, b, &err, 2, argv, NULL) == 0;
	if (!b->looking)
		log_debug(NULL, "redis epoch not asked", "reason=\"%s\"", err.text);
}

/*
 * While Redis is down, nobody above hears of attempts: their reason is told when it is
 * another than before, and now and then.
 */
static void
tell_why_not(struct broker *b, const struct err *err)
{
	int64_t now_ms = loop_now_ms(b->loop);
	int64_t pause_ms =
	    str_eq(b->why_not.text, err->text) ? WHY_TELL_MS : WHY_OTHER_MS;

	if (b->up || str_eq(err->text, SISTER_LOST) ||
	    (b->why_told_ms != 0 && now_ms - b->why_told_ms < pause_ms))
		return;
	b->why_not = *err;
	b->why_told_ms = now_ms;
	log_warn(NULL, "redis is not connected", "reason=\"%.300s\"", err->text);
}

static void
on_state(struct rconn *rc, bool up, const struct err *err, void *arg)
{
	struct broker *b = arg;

	if (rc == b->lanes[LANE_CHANNELS] && rc != NULL)
		return; /* hints only: its loss is covered by polls */
	if (up) {
		b->why_told_ms = 0;
		judge(b);
		if (rc == b->lanes[LANE_COMMAND])
			inspect_soon(b->inspect);
		return;
	}
	b->judged = false;
	tell_why_not(b, err);
	set_up(b, false, err);
	if (b->sentinel != NULL)
		sentinel_doubt(b->sentinel);
	/* one of them is gone: so must be the others */
	for (size_t i = 0; i < b->lane_count; i++) {
		if (i != LANE_CHANNELS && b->lanes[i] != rc && lane_up(b, i))
			rconn_close(b->lanes[i], SISTER_LOST);
	}
}

void
broker_set_database(struct broker *b, const struct uuid *database_id)
{
	b->database_id = *database_id;
	b->database_known = true;
	judge(b);
}

void
broker_close(struct broker *b, const char *reason)
{
	for (size_t i = 0; i < b->lane_count; i++) {
		if (b->lanes[i] != NULL)
			rconn_close(b->lanes[i], reason);
	}
}

/* ---------------------------------------------------------------- leaving */

void
broker_stop_popping(struct broker *b)
{
	struct rconn *rc;

	if (b->stopped)
		return;
	b->stopped = true;
	for (size_t i = LANE_POP; i < b->lane_count; i++) {
		rc = b->lanes[i];
		b->lanes[i] = NULL;
		rconn_free(rc); /* on_wait gets its error from inside */
	}
	/* what the server moved for us at the last moment is in our list; with the
	 * first answer it has seen that these connections are closed */
	judge(b);
}

bool
broker_is_settled(const struct broker *b)
{
	return b->stopped && !b->looking;
}

void
broker_forget(struct broker *b)
{
	const char *argv[] = {"DEL", b->k_proc};

	broker_drop_places(b, &b->owner);
	broker_tell(b, NULL, 2, argv, NULL);
}

void
broker_release(struct broker *b)
{
	struct err why = {ERR_CLOSED, "released"};

	b->stopped = true;
	loop_timer_stop(b->judge_timer);
	sentinel_free(b->sentinel);
	b->sentinel = NULL;
	set_up(b, false, &why);
	for (size_t i = 0; i < b->lane_count; i++) {
		struct rconn *rc = b->lanes[i];

		b->lanes[i] = NULL;
		rconn_free(rc);
	}
}
