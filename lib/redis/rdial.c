/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rdial.c - how a Redis connection is made: from the name to the end of the sign-in.
 *
 * One attempt at a time.  Whatever fails ends in rconn_teardown(), which plans the
 * next; the deadline of the whole is the phase timer of rconn.c.
 */
#include "redis/internal.h"

#include <stdio.h>
#include <unistd.h>

#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/conf.h"

static int
sign_in_step(struct rconn *rc, struct err *err, int argc, const char *const argv[])
{
	return rconn_send_sign_in(rc, RCOMMAND_SIGN_IN, err, argc, argv);
}

/* a file that cannot be read leaves the password as it is, which may still be right */
static void
refresh_password(struct rconn *rc)
{
	struct err err = ERR_INIT;

	if (rc->password_file == NULL)
		return;
	if (conf_refresh_secret(rc->password_file, &rc->password, &err) == 0) {
		rc->file_told = false;
	} else if (!rc->file_told) {
		rc->file_told = true;
		log_warn(&rc->log,
		    "the password's file cannot be read again: a new one needs a "
		    "reload",
		    "reason=\"%s\"", err.text);
	}
}

/*
 * All in one write, answered in order.  The PING makes a server that is loading, full
 * or out of disk say so before anybody relies on it.
 */
static int
sign_in(struct rconn *rc, struct err *err)
{
	const char *auth[3] = {"AUTH"};
	const char *select_db[2] = {"SELECT"};
	const char *const ping[] = {"PING"};
	const char *const role[] = {"ROLE"};
	const char *subscribe[2] = {"SUBSCRIBE"};
	const struct channel *ch;
	char number[16];
	int argc = 1;

	refresh_password(rc);
	if (rc->password != NULL && rc->password[0] != '\0') {
		if (rc->username != NULL)
			auth[argc++] = rc->username;
		auth[argc++] = rc->password;
		if (sign_in_step(rc, err, argc, auth) != 0)
			return -1;
	}
	if (rc->database != 0) {
		snprintf(number, sizeof(number), "%d", rc->database);
		select_db[1] = number;
		if (sign_in_step(rc, err, 2, select_db) != 0)
			return -1;
	}
	if (sign_in_step(rc, err, 1, ping) != 0 ||
	    (rc->primary && rconn_send_sign_in(rc, RCOMMAND_ROLE, err, 1, role) != 0))
		return -1;
	TAILQ_FOREACH (ch, &rc->channels, link) {
		subscribe[1] = ch->name;
		if (sign_in_step(rc, err, 2, subscribe) != 0)
			return -1;
	}
	return 0;
}

static void on_event(struct bufferevent *bev, short what, void *arg);

/* the socket is connected: from the bufferevent that waited for that to one with TLS */
static int
shake_hands(struct rconn *rc, struct err *err)
{
	int fd = rc->fd;

	rconn_set_state(rc, RCONN_SHAKING_HANDS);
	bufferevent_setfd(rc->bev, -1); /* it would close what we go on with */
	bufferevent_free(rc->bev);
	rc->bev = NULL;
	rc->fd = -1;
	rc->bev = tlsclient_open(rc->tls, rc->loop, fd, rc->host, rc->tls_name, err);
	if (rc->bev == NULL)
		return -1;
	rc->fd = fd;
	bufferevent_setcb(rc->bev, rconn_readable, NULL, on_event, rc);
	return 0;
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct rconn *rc = arg;
	int errnum = EVUTIL_SOCKET_ERROR();
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	if ((what & BEV_EVENT_CONNECTED) != 0 && rc->tls != NULL &&
	    rc->state == RCONN_CONNECTING) {
		if (shake_hands(rc, &why) == 0)
			return;
	} else if ((what & BEV_EVENT_CONNECTED) != 0) {
		rconn_set_state(rc, RCONN_SIGNING_IN);
		if (sign_in(rc, &why) == 0) {
			if (bufferevent_enable(bev, EV_READ) == 0)
				return;
			err_set(&why, ERR_NOMEM, "reading from %s", rc->peer);
		}
	} else if ((what & BEV_EVENT_EOF) != 0 && rc->tls != NULL &&
		   rc->state == RCONN_SIGNING_IN) {
		err_set(&why, ERR_CLOSED,
		    "%s closed the connection after the handshake: perhaps it wants a "
		    "certificate of ours, or another",
		    rc->peer);
	} else if ((what & BEV_EVENT_EOF) != 0) {
		err_set(&why, ERR_CLOSED, "%s closed the connection", rc->peer);
	} else if (rc->state > RCONN_CONNECTING && rc->tls != NULL) {
		tlsclient_why_bev(rc->tls, bev, errnum, rc->peer, &why);
	} else {
		err_errno(&why, errnum, "%s %s",
		    rc->state == RCONN_CONNECTING ? "connecting to" : "connection to",
		    rc->peer);
	}
	rconn_teardown(rc, &why);
}

static int
open_socket(struct rconn *rc, const struct addr *a, struct err *err)
{
	int fd;

	addr_format(a, rc->peer);
	/*
	 * The connect is ours and the bufferevent only waits for its end: libevent
	 * reports a refusal that comes at once without its errno, or from inside its
	 * own call.
	 */
	if (addr_connect(a, &fd, err) != 0)
		return -1;
	rc->bev =
	    bufferevent_socket_new(loop_base(rc->loop), fd, BEV_OPT_CLOSE_ON_FREE);
	if (rc->bev == NULL) {
		close(fd);
		return err_set(err, ERR_NOMEM, "connection to %s", rc->peer);
	}
	rc->fd = fd;
	rc->reader = rwire_reader_create();
	bufferevent_setcb(rc->bev, rconn_readable, NULL, on_event, rc);
	/* nothing is read before the connection is there */
	if (rc->reader == NULL || bufferevent_disable(rc->bev, EV_READ) != 0 ||
	    bufferevent_socket_connect(rc->bev, NULL, 0) != 0)
		return err_set(err, ERR_NOMEM, "connection to %s", rc->peer);
	return 0;
}

static void
on_resolved(const struct addr *addrs, size_t count, const struct err *err, void *arg)
{
	struct rconn *rc = arg;
	struct err why = ERR_INIT;

	STAMP_CHECK(rc, RCONN_STAMP);
	rc->question = NULL;
	if (err != NULL) {
		rconn_teardown(rc, err);
		return;
	}
	rconn_set_state(rc, RCONN_CONNECTING);
	if (open_socket(rc, &addrs[rc->next_addr % count], &why) != 0)
		rconn_teardown(rc, &why);
}

void
rconn_dial(struct rconn *rc)
{
	struct err why = ERR_INIT;

	/* rconn_set_server goes on from here */
	if (rc->host == NULL)
		return;
	rconn_set_state(rc, RCONN_RESOLVING);
	loop_timer_start_ms(rc->phase, rc->connect_timeout_ms);
	rc->question = resolve_start(
	    rc->rv, rc->host, rc->port, rc->connect_timeout_ms, on_resolved, rc, &why);
	if (rc->question == NULL)
		rconn_teardown(rc, &why);
}
