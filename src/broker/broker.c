/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * broker.c - Redis as Shoal uses it: pops, pushes, acknowledgements, channels; see
 * broker.h.
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
 * The blocking pop command is named in one place, below.
 */
#include "broker/broker.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "broker/internal.h"
#include "redis/rconn.h"
#include "redis/sentinel.h"
#include "tls/tlsclient.h"

/*
 * Deprecated since Redis 6.2 in favour of BLMOVE and served by all versions; BLMOVE is
 * missing before 6.2.  The timeout must be a whole number for servers before 6.0.
 */
#define POP_WAIT	     "BRPOPLPUSH"
#define POP_NOW		     "RPOPLPUSH"
#define POP_WAIT_S	     "5"
#define POP_WAIT_DEADLINE_MS 8000

#define PING_MS	       1000
#define JUDGE_AGAIN_MS 1000
#define PLACES_TTL_S   "30"
#define PROC_TTL_S     "86400" /* of our own list, should nobody ever bury us */

#define REFUSED_TELL_MS 5000
#define WHY_TELL_MS	60000 /* the same reason */
#define WHY_OTHER_MS	3000
#define SISTER_LOST	"the sister connection was lost"

static void on_state(struct rconn *rc, bool up, const struct err *err, void *arg);
static void on_message(struct rconn *rc, const char *channel, size_t channel_len,
    const char *text, size_t len, void *arg);
static void judge(void *arg);
static void tidy(void *arg);

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
	    .message_cb = on_message,
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
	b->tidy = loop_defer_create(l, tidy, b);
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
static void
tell_of(struct broker *b, rconn_reply_cb *cb, void *arg, int argc,
    const char *const argv[], const size_t lens[])
{
	struct err err = ERR_INIT;

	if (!b->up)
		return;
	if (rconn_command(b->lanes[LANE_COMMAND], cb, arg, &err, argc, argv, lens) != 0)
		log_debug(NULL, "redis command left out", "command=%s reason=\"%s\"",
		    argv[0], err.text);
}

static void
tell(struct broker *b, rconn_reply_cb *cb, int argc, const char *const argv[],
    const size_t lens[])
{
	tell_of(b, cb, b, argc, argv, lens);
}

static void
set_up(struct broker *b, bool up, const struct err *err)
{
	if (b->up == up)
		return;
	b->up = up;
	b->events->state(up, err, b->arg);
}

/* an id is in our processing list */
static void
take(struct broker *b, const struct elem *e)
{
	proclist_popped(b->held, e);
	b->events->popped(e, b->arg);
}

static void
on_own_list(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct broker *b = arg;
	struct elem e;

	(void)rc;
	if (err != NULL || reply->type != REDIS_REPLY_ARRAY || !b->up)
		return;
	/* the oldest is the last; no pop has been asked for on this connection yet */
	proclist_clear(b->held);
	for (size_t i = reply->elements; i > 0; i--) {
		const struct redisReply *r = reply->element[i - 1];

		if (r->type == REDIS_REPLY_STRING &&
		    elem_parse(b->pools, r->str, (size_t)r->len, &e) == 0)
			take(b, &e);
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
	if (err != NULL)
		return; /* the connection is gone; the next one asks again */
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
		return;
	}
	b->judged = true;
	if (may_pop(b)) {
		const char *argv[] = {"LRANGE", b->k_proc, "0", "-1"};

		set_up(b, true, NULL);
		b->events->epoch(epoch, b->arg);
		tell(b, on_own_list, 4, argv, NULL);
	}
}

static void
judge(void *arg)
{
	struct broker *b = arg;
	const char *argv[] = {"GET", b->k_epoch};
	struct err err = ERR_INIT;

	if (b->database_known && lane_up(b, LANE_COMMAND) && may_pop(b) &&
	    rconn_command(b->lanes[LANE_COMMAND], on_epoch, b, &err, 2, argv, NULL) !=
		0)
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

/* ---------------------------------------------------------------- pops */

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

			tell(b, NULL, 3, argv, NULL);
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
		tell(b, NULL, 4, argv, lens);
		return true;
	}
	take(b, &e);
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
	/* what the server moved for us at the last moment is in our list */
	judge(b);
}

/* ---------------------------------------------------------------- pushes and
 * acknowledgements */

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

			tell(b, NULL, 2, argv, NULL);
		}
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
		tell_of(b, on_length, &b->lists[elems[0].list], (int)n + 2, argv, lens);
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

static void
remove_held(struct broker *b, const struct elem *e)
{
	char text[ELEM_TEXT_SIZE];
	const char *argv[] = {"LREM", b->k_proc, "-1", text};

	elem_format(b->pools, e, text);
	tell(b, NULL, 4, argv, NULL);
}

/* what was acknowledged in this turn: the oldest in one command, the others one by one
 */
static void
tidy(void *arg)
{
	struct broker *b = arg;
	size_t oldest = proclist_trim(b->held);
	char last[24];
	const char *argv[] = {"LTRIM", b->k_proc, "0", last};
	struct elem e;

	if (oldest > 0) {
		snprintf(last, sizeof(last), "-%zu", oldest + 1);
		tell(b, NULL, 4, argv, NULL);
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
	tell(b, NULL, 4, argv, NULL);
}

void
broker_give_back(struct broker *b, const struct elem *e)
{
	/* pushed first: if we die between the two there are two ids, and a claim sorts
	 * that out */
	broker_push(b, e, 1);
	broker_ack(b, e);
}

void
broker_publish(struct broker *b, const char *text)
{
	const char *argv[] = {"PUBLISH", b->k_ctl, text};

	tell(b, NULL, 3, argv, NULL);
}

void
broker_publish_hint(struct broker *b, int list)
{
	char text[LIST_NAME_SIZE + 8] = "feed";
	const char *argv[] = {"PUBLISH", b->k_feed, text};

	if (list >= 0) {
		text[4] = ' ';
		pools_list_name(b->pools, list, text + 5);
	}
	tell(b, NULL, 3, argv, NULL);
}

void
broker_publish_requeue(struct broker *b)
{
	const char *argv[] = {"PUBLISH", b->k_feed, "requeue"};

	tell(b, NULL, 3, argv, NULL);
}

void
broker_hear_hints(struct broker *b)
{
	struct err err = ERR_INIT;

	if (b->hears_hints)
		return;
	b->hears_hints = rconn_subscribe(b->lanes[LANE_CHANNELS], b->k_feed, &err) == 0;
	if (!b->hears_hints) /* the next time that we lead; passes come all the same */
		log_debug(NULL, "hints are not heard", "reason=\"%s\"", err.text);
}

void
broker_publish_done(
    struct broker *b, const struct uuid *waiter, int app_id, const struct uuid *id)
{
	static const struct uuid everyone;
	char channel[KEY_MAX], name[OWNER_TEXT_SIZE], text[80], id_text[UUID_TEXT_SIZE];
	const char *argv[] = {"PUBLISH", channel, text};

	uuid_format(id, id_text);
	if (uuid_eq(waiter, &everyone)) {
		snprintf(text, sizeof(text), "done %d/%s", app_id, id_text);
		broker_publish(b, text);
		return;
	}
	broker_key(b, channel, "done:", owner_text(waiter, name));
	snprintf(text, sizeof(text), "%d/%s", app_id, id_text);
	tell(b, NULL, 3, argv, NULL);
}

void
broker_set_places(struct broker *b, const char *text)
{
	const char *set[] = {"HSET", b->k_places, b->owner_name, text};
	const char *ttl[] = {"EXPIRE", b->k_places, PLACES_TTL_S};
	const char *proc_ttl[] = {"EXPIRE", b->k_proc, PROC_TTL_S};

	tell(b, NULL, 3, proc_ttl, NULL); /* comes with each renewal of the places */
	tell(b, NULL, 4, set, NULL);
	tell(b, NULL, 3, ttl, NULL);
}

void
broker_drop_places(struct broker *b, const struct uuid *owner)
{
	char name[OWNER_TEXT_SIZE];
	const char *argv[] = {"HDEL", b->k_places, owner_text(owner, name)};

	tell(b, NULL, 3, argv, NULL);
}

void
broker_renew_places(struct broker *b)
{
	const char *argv[] = {"DEL", b->k_places};

	tell(b, NULL, 2, argv, NULL);
	broker_publish(b, "places");
}

void
broker_forget(struct broker *b)
{
	const char *argv[] = {"DEL", b->k_proc};

	broker_drop_places(b, &b->owner);
	tell(b, NULL, 2, argv, NULL);
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

/* ---------------------------------------------------------------- messages */

/* "<app>/<id>" */
static int
parse_done(const char *text, size_t len, int *app_id, struct uuid *id)
{
	const char *slash = memchr(text, '/', len);
	int64_t n;
	char number[12];

	if (slash == NULL || (size_t)(slash - text) >= sizeof(number))
		return -1;
	memcpy(number, text, (size_t)(slash - text));
	number[slash - text] = '\0';
	if (str_to_i64(number, &n) != 0 || n < 1 || n > INT32_MAX)
		return -1;
	*app_id = (int)n;
	return uuid_parse(slash + 1, len - (size_t)(slash + 1 - text), id);
}

static void
on_message(struct rconn *rc, const char *channel, size_t channel_len, const char *text,
    size_t len, void *arg)
{
	struct broker *b = arg;
	struct uuid id;
	int app_id;
	bool ours = channel_len == strlen(b->k_done) &&
		    memcmp(channel, b->k_done, channel_len) == 0;

	(void)rc;
	if (ours) {
		if (parse_done(text, len, &app_id, &id) == 0)
			b->events->done(app_id, &id, b->arg);
	} else if (len > 5 && memcmp(text, "done ", 5) == 0) {
		if (parse_done(text + 5, len - 5, &app_id, &id) == 0)
			b->events->done(app_id, &id, b->arg);
	} else {
		b->events->ctl(text, len, b->arg);
	}
}
