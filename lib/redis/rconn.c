/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rconn.c - one asynchronous Redis connection that comes back by itself.
 *
 * Owns the socket, the commands that wait for a reply, and the attempts to get a
 * connection again.  Leaves to others what a command means and whether it is worth
 * sending once more.
 *
 *     RESTING -> RESOLVING -> CONNECTING (-> SHAKING_HANDS) -> SIGNING_IN -> UP
 *        ^----------+-------------+---------------+--------------+--------'
 *                           any trouble: rconn_teardown()
 *
 * rconn_teardown() only takes things apart: it moves the waiting commands to the lost
 * list and postpones the telling, so that no callback runs inside another one's call.
 * tell_loss() then answers the lost ones, tells the owner and starts the pause.  Since
 * nothing is up meanwhile, a queue never mixes commands of two connections.
 *
 * Callbacks may close or free the connection.  Whoever calls one holds it (rconn_hold,
 * rconn_unhold) and looks at the generation afterwards, which each teardown moves on.
 *
 * Here are its states and its owner's side.  How it is made is in rdial.c, what goes
 * over it in rtalk.c; the records of commands are in rqueue.c, the protocol is in
 * rwire.c.
 *
 * Bounds: one connection attempt at a time, never less than a pause between two, and
 * those of rtalk.c.
 */
#include "redis/internal.h"

#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"

#define CONNECT_TIMEOUT_MS 5000
#define REPLY_TIMEOUT_MS   2000
#define MAX_WAITING	   10000
#define MAX_OUTPUT_BYTES   ((size_t)8 << 20)

#define PAUSE_FIRST_MS 50
#define PAUSE_MAX_MS   1000
#define PAUSE_FLOOR_MS 5 /* chance may not make a pause none at all */
/* so long up, and the pauses begin anew: a link that flaps must not find us eager */
#define HEALTHY_MS    30000
#define TELL_EVERY_MS 1000

static const char *const state_names[RCONN_STATE_COUNT] = {
    [RCONN_NONE] = "none",
    [RCONN_RESTING] = "resting",
    [RCONN_RESOLVING] = "resolving",
    [RCONN_CONNECTING] = "connecting",
    [RCONN_SHAKING_HANDS] = "shaking_hands",
    [RCONN_SIGNING_IN] = "signing_in",
    [RCONN_UP] = "up",
};

static bool
is_given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

void
rconn_set_state(struct rconn *rc, enum rconn_state state)
{
	log_debug(&rc->log, "redis connection state", "from=%s to=%s",
	    state_names[rc->state], state_names[state]);
	rc->state = state;
}

/* ---- holding ------------------------------------------------------------- */

static void
destroy(struct rconn *rc)
{
	struct channel *ch;

	while ((ch = TAILQ_FIRST(&rc->channels)) != NULL) {
		TAILQ_REMOVE(&rc->channels, ch, link);
		mem_free(ch->name);
		mem_free(ch);
	}
	rqueue_fini(&rc->commands);
	loop_defer_free(rc->flush);
	loop_defer_free(rc->telling);
	loop_timer_free(rc->phase);
	loop_timer_free(rc->reply);
	if (rc->out != NULL)
		evbuffer_free(rc->out);
	if (rc->password != NULL)
		mem_free_secret(rc->password, strlen(rc->password));
	moved_free(rc->moved);
	mem_free(rc->password_file);
	mem_free(rc->tls_name);
	mem_free(rc->username);
	mem_free(rc->host);
	mem_free(rc->name);
	rc->stamp = 0;
	mem_free(rc);
}

void
rconn_hold(struct rconn *rc)
{
	rc->held++;
}

void
rconn_unhold(struct rconn *rc)
{
	if (--rc->held == 0 && rc->freed)
		destroy(rc);
}

/* ---- losing a connection ------------------------------------------------- */

static void
answer_lost(struct rconn *rc)
{
	struct rcommand c;
	struct err err;

	while (rqueue_pop_lost(&rc->commands, &c)) {
		err = rc->loss;
		err.code = c.late ? ERR_TIMEOUT : ERR_CLOSED;
		if (c.cb != NULL)
			c.cb(rc, NULL, &err, c.arg);
	}
}

/* anywhere below a ceiling that doubles, so that nodes don't come in step */
static int64_t
choose_pause_ms(struct rconn *rc)
{
	int64_t ceiling = PAUSE_MAX_MS;

	if (rc->attempts < 5 && (PAUSE_FIRST_MS << rc->attempts) < PAUSE_MAX_MS)
		ceiling = PAUSE_FIRST_MS << rc->attempts;
	rc->attempts++;
	return PAUSE_FLOOR_MS +
	       (int64_t)random_below((uint64_t)(ceiling - PAUSE_FLOOR_MS + 1));
}

static void
tell_loss(void *arg)
{
	struct rconn *rc = arg;
	struct err why;

	STAMP_CHECK(rc, RCONN_STAMP);
	rconn_hold(rc);
	answer_lost(rc);
	if (!rc->freed && rc->tell_state) {
		rc->tell_state = false;
		rc->told_ms = loop_now_ms(rc->loop);
		why = rc->loss;
		if (rc->state_cb != NULL)
			rc->state_cb(rc, false, &why, rc->arg);
	}
	/* a server that moved in good order is worth no pause */
	if (!rc->freed)
		loop_timer_start_ms(rc->phase, rc->leaving ? 0 : choose_pause_ms(rc));
	rc->leaving = false;
	rconn_unhold(rc);
}

/* closes whatever there is; no callback runs here */
static void
disconnect(struct rconn *rc)
{
	rc->generation++;
	if (rc->moved != NULL)
		moved_stop(rc->moved);
	resolve_cancel(rc->question);
	rc->question = NULL;
	if (rc->bev != NULL) {
		/* libevent closes in its next turn; the server should know at once */
		shutdown(rc->fd, SHUT_RDWR);
		bufferevent_free(rc->bev);
	}
	rc->bev = NULL;
	rc->fd = -1;
	rwire_reader_free(rc->reader);
	rc->reader = NULL;
	evbuffer_drain(rc->out, evbuffer_get_length(rc->out));
	loop_defer_stop(rc->flush);
	loop_timer_stop(rc->phase);
	loop_timer_stop(rc->reply);
	rc->reply_due_ms = 0;
	rc->signing_in = 0;
	rqueue_lose(&rc->commands);
}

void
rconn_teardown(struct rconn *rc, const struct err *why)
{
	int64_t now_ms = loop_now_ms(rc->loop);

	if (rc->state == RCONN_UP) {
		rc->tell_state = true;
		if (now_ms - rc->up_since_ms >= HEALTHY_MS)
			rc->attempts = 0;
	} else {
		rc->tell_state =
		    rc->told_ms == 0 || now_ms - rc->told_ms >= TELL_EVERY_MS;
	}
	/* perhaps another of the name's addresses is the one to talk to */
	rc->next_addr++;
	rc->loss = *why;
	disconnect(rc);
	rconn_set_state(rc, RCONN_RESTING);
	loop_defer_start(rc->telling);
}

/* ---- leaving -------------------------------------------------------------- */

void
rconn_leave(struct rconn *rc)
{
	struct err why = ERR_INIT;

	err_set(
	    &why, ERR_CLOSED, "%s does not lead to %s any more", rc->host, rc->peer);
	rconn_teardown(rc, &why);
}

static void
on_moved(void *arg)
{
	struct rconn *rc = arg;

	STAMP_CHECK(rc, RCONN_STAMP);
	log_info(&rc->log, "redis has moved: the connection is made again",
	    "host=%s address=%s", rc->host, rc->peer);
	rc->leaving = true;
	if (rqueue_oldest(&rc->commands) == NULL)
		rconn_leave(rc);
}

static void
watch_name(struct rconn *rc)
{
	struct addr used;

	used.len = sizeof(used.storage);
	if (rc->moved != NULL && getpeername(rc->fd, &used.sa, &used.len) == 0)
		moved_watch(rc->moved, &used);
}

/* ---- being up ------------------------------------------------------------ */

static void
phase_next_ping(struct rconn *rc)
{
	if (rc->ping_ms > 0)
		loop_timer_start_ms(
		    rc->phase, rc->sent_ms + rc->ping_ms - loop_now_ms(rc->loop));
}

static void
send_ping(struct rconn *rc)
{
	static const char *const argv[] = {"PING"};
	struct err why = ERR_INIT;

	if (rconn_send(rc, RCOMMAND_PING, rc->reply_timeout_ms, NULL, NULL, &why, 1,
		argv, NULL) != 0)
		rconn_teardown(rc, &why);
	else
		phase_next_ping(rc);
}

void
rconn_become_up(struct rconn *rc)
{
	rconn_set_state(rc, RCONN_UP);
	rc->up_since_ms = loop_now_ms(rc->loop);
	watch_name(rc);
	phase_next_ping(rc);
	if (rc->ping_ms == 0)
		loop_timer_stop(rc->phase);
	if (rc->state_cb != NULL)
		rc->state_cb(rc, true, NULL, rc->arg);
}

static void
phase_over(void *arg)
{
	struct rconn *rc = arg;
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	switch (rc->state) {
	case RCONN_RESTING:
		rconn_dial(rc);
		break;
	case RCONN_UP:
		/* while commands wait, their own deadline watches over the connection
		 */
		if (rqueue_oldest(&rc->commands) == NULL && !rc->leaving &&
		    loop_now_ms(rc->loop) - rc->sent_ms >= rc->ping_ms)
			send_ping(rc);
		else if (rqueue_oldest(&rc->commands) == NULL)
			phase_next_ping(rc);
		else
			loop_timer_start_ms(rc->phase, rc->ping_ms);
		break;
	default:
		err_set(&why, ERR_TIMEOUT, "no connection to %s within %d ms (%s)",
		    rc->state == RCONN_RESOLVING ? rc->host : rc->peer,
		    rc->connect_timeout_ms, state_names[rc->state]);
		rconn_teardown(rc, &why);
		break;
	}
}

/* ---- for the owner ------------------------------------------------------- */

static int
copy_texts(struct rconn *rc, const struct rconn_opts *opts)
{
	const struct {
		char **to;
		const char *from;
	} texts[] = {
	    {&rc->username, opts->username},
	    {&rc->password, opts->password},
	    {&rc->password_file, opts->password_file},
	    {&rc->tls_name, opts->tls_name},
	};

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		if (is_given(texts[i].from) &&
		    (*texts[i].to = mem_strdup(texts[i].from)) == NULL)
			return -1;
	}
	return 0;
}

struct rconn *
rconn_create(
    struct loop *l, struct resolver *rv, const struct rconn_opts *opts, struct err *err)
{
	struct rconn *rc;

	rc = mem_zero(sizeof(*rc));
	if (rc == NULL) {
		err_set(err, ERR_NOMEM, "redis connection");
		return NULL;
	}
	rc->stamp = RCONN_STAMP;
	rc->loop = l;
	rc->rv = rv;
	rc->fd = -1;
	rqueue_init(&rc->commands);
	TAILQ_INIT(&rc->channels);
	rc->database = opts->database;
	rc->connect_timeout_ms = opts->connect_timeout_ms > 0 ? opts->connect_timeout_ms
							      : CONNECT_TIMEOUT_MS;
	rc->reply_timeout_ms =
	    opts->reply_timeout_ms > 0 ? opts->reply_timeout_ms : REPLY_TIMEOUT_MS;
	rc->ping_ms = opts->ping_ms > 0 ? opts->ping_ms : 0;
	rc->max_waiting = opts->max_waiting > 0 ? opts->max_waiting : MAX_WAITING;
	rc->max_output_bytes =
	    opts->max_output_bytes > 0 ? opts->max_output_bytes : MAX_OUTPUT_BYTES;
	rc->state_cb = opts->state_cb;
	rc->message_cb = opts->message_cb;
	rc->arg = opts->arg;

	rc->tls = opts->tls;
	rc->primary = opts->primary;
	rc->name = mem_strdup(is_given(opts->name) ? opts->name : "redis");
	if (copy_texts(rc, opts) != 0) {
		err_set(err, ERR_NOMEM, "redis connection %s", opts->name);
		destroy(rc);
		return NULL;
	}
	if (opts->moved_ms > 0 && (rc->moved = moved_create(l, rv, opts->moved_ms,
				       on_moved, rc, err)) == NULL) {
		destroy(rc);
		return NULL;
	}
	if (is_given(opts->host) &&
	    rconn_set_server(rc, opts->host, opts->port, err) != 0) {
		destroy(rc);
		return NULL;
	}
	rc->out = evbuffer_new();
	rc->flush = loop_defer_create(l, rconn_flush, rc);
	rc->telling = loop_defer_create(l, tell_loss, rc);
	rc->phase = loop_timer_create(l, phase_over, rc);
	rc->reply = loop_timer_create(l, rconn_reply_due, rc);
	if (rc->name == NULL || rc->out == NULL || rc->flush == NULL ||
	    rc->telling == NULL || rc->phase == NULL || rc->reply == NULL) {
		err_set(err, ERR_NOMEM, "redis connection %s", opts->name);
		destroy(rc);
		return NULL;
	}
	rc->log.kind = "redis";
	rc->log.id = rc->name;
	rc->state = RCONN_RESTING;
	loop_timer_start_ms(rc->phase, 0);
	return rc;
}

void
rconn_free(struct rconn *rc)
{
	if (rc == NULL)
		return;
	STAMP_CHECK(rc, RCONN_STAMP);
	/* a callback that hears the news below may well want to free us, too */
	if (rc->freed)
		return;
	rc->freed = true;
	if (rc->state != RCONN_RESTING)
		err_set(&rc->loss, ERR_CLOSED, "the connection is not needed any more");
	disconnect(rc);
	rconn_set_state(rc, RCONN_RESTING);
	loop_defer_stop(rc->telling);
	rconn_hold(rc);
	answer_lost(rc);
	rconn_unhold(rc);
}

bool
rconn_is_up(const struct rconn *rc)
{
	return rc->state == RCONN_UP && !rc->leaving;
}

const char *
rconn_peer(const struct rconn *rc)
{
	return rc->peer;
}

size_t
rconn_waiting(const struct rconn *rc)
{
	return rc->commands.count;
}

void
rconn_close(struct rconn *rc, const char *reason)
{
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	if (rc->freed || rc->state == RCONN_RESTING)
		return;
	err_set(&why, ERR_CLOSED, "%s", reason);
	rconn_teardown(rc, &why);
}

int
rconn_set_server(struct rconn *rc, const char *host, uint16_t port, struct err *err)
{
	bool waited = rc->host == NULL;
	struct err why = ERR_INIT;
	char *copy;

	STAMP_CHECK(rc, RCONN_STAMP);
	if (!waited && str_eq(rc->host, host) && rc->port == port)
		return 0;
	copy = mem_strdup(host);
	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "redis connection %s", rc->name);
	mem_free(rc->host);
	rc->host = copy;
	rc->port = port;
	if (rc->moved != NULL) {
		moved_forget(rc->moved);
		if (moved_add(rc->moved, host, err) != 0)
			return -1;
	}
	if (rc->freed || rc->state == RCONN_NONE)
		return 0;
	if (rc->state != RCONN_RESTING) {
		err_set(&why, ERR_CLOSED, "the server is %s now", host);
		rconn_teardown(rc, &why);
	} else if (waited) {
		loop_timer_start_ms(rc->phase, 0);
	}
	return 0;
}
