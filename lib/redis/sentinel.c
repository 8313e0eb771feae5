/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sentinel.c - where the primary is, as Redis Sentinel says; see sentinel.h.
 *
 * The connection is an rconn, led from sentinel to sentinel by rconn_set_server.  It
 * counts as lost when it was up and closes, and each second while it does not come up:
 * both move on to the next one.
 */
#include "redis/sentinel.h"

#include <hiredis/hiredis.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "redis/rconn.h"

#define SENTINEL_STAMP 0x534e544cu

#define ASK_MS	  1000
#define ANSWER_MS 1000 /* a sentinel that takes longer is worth no wait */
#define DOUBT_MS  500
#define HOST_MAX  255

struct sentinel {
	unsigned stamp;
	struct loop *loop; /* borrowed */
	struct log_ctx log;
	struct rconn *rc;
	struct loop_timer *timer;
	char *master;
	sentinel_found_cb *found;
	void *arg;
	struct sentinel_host hosts[SENTINEL_HOSTS_MOST];
	size_t count, current;
	bool asking;
	bool switching;	    /* the connection is closed because we want the next one */
	bool stranger_told; /* that none knows the name */
	int64_t doubted_ms; /* 0: never */
	char host[HOST_MAX + 1]; /* found last; "": nothing yet */
	uint16_t port;
};

static void
next_sentinel(struct sentinel *s)
{
	struct err err = ERR_INIT;

	/* (with one alone nothing is closed, and nothing will be told) */
	s->switching = s->count > 1 && rconn_is_up(s->rc);
	s->current = (s->current + 1) % s->count;
	if (rconn_set_server(
		s->rc, s->hosts[s->current].host, s->hosts[s->current].port, &err) != 0)
		log_warn(&s->log, "cannot go on to the next sentinel", "reason=\"%s\"",
		    err.text);
}

static void
take_answer(struct sentinel *s, const char *host, const char *port_text)
{
	uint64_t port;

	if (host[0] == '\0' || strlen(host) > HOST_MAX ||
	    str_to_u64(port_text, &port) != 0 || port < 1 || port > UINT16_MAX) {
		log_warn(&s->log, "a sentinel's answer is no address", "from=%s",
		    rconn_peer(s->rc));
		next_sentinel(s);
		return;
	}
	s->stranger_told = false;
	if (str_eq(s->host, host) && s->port == (uint16_t)port)
		return;
	log_info(&s->log, "the sentinels' primary is another",
	    "name=%s at=%s port=%u before=\"%s\" from=%s", s->master, host,
	    (unsigned)port, s->host, rconn_peer(s->rc));
	str_copy(s->host, sizeof(s->host), host);
	s->port = (uint16_t)port;
	s->found(s->host, s->port, s->arg);
}

/* it has answered, and not with an address */
static void
tell_stranger(const struct sentinel *s, const struct redisReply *reply)
{
	const char *answer = "no such primary", *mend = "redis.sentinel_master";
	char text[120];

	if (reply->type == REDIS_REPLY_ERROR)
		answer = reply->str;
	if (str_starts(answer, "NOPERM") || str_starts(answer, "NOAUTH"))
		mend = "redis.sentinel_username and redis.sentinel_password";
	str_printable(text, sizeof(text), answer, strlen(answer));
	log_warn(&s->log, "a sentinel does not tell where the primary is",
	    "name=%s from=%s answer=\"%s\" remedy=\"mend %s\"", s->master,
	    rconn_peer(s->rc), text, mend);
}

static void
on_answer(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct sentinel *s = arg;

	(void)rc;
	STAMP_CHECK(s, SENTINEL_STAMP);
	s->asking = false;
	if (err != NULL)
		return; /* the connection is lost, and on_state goes on */
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	    reply->element[0]->type == REDIS_REPLY_STRING &&
	    reply->element[1]->type == REDIS_REPLY_STRING) {
		take_answer(s, reply->element[0]->str, reply->element[1]->str);
		return;
	}
	if (!s->stranger_told) {
		s->stranger_told = true;
		tell_stranger(s, reply);
	}
	next_sentinel(s);
}

static void
ask(void *arg)
{
	struct sentinel *s = arg;
	const char *const argv[] = {"SENTINEL", "get-master-addr-by-name", s->master};

	STAMP_CHECK(s, SENTINEL_STAMP);
	loop_timer_start_ms(s->timer, ASK_MS);
	if (s->asking || !rconn_is_up(s->rc))
		return;
	s->asking = rconn_command(s->rc, on_answer, s, NULL, 3, argv, NULL) == 0;
}

static void
on_state(struct rconn *rc, bool up, const struct err *err, void *arg)
{
	struct sentinel *s = arg;

	(void)rc;
	STAMP_CHECK(s, SENTINEL_STAMP);
	if (up || s->switching) {
		s->switching = false;
		if (up)
			ask(s);
		return;
	}
	log_debug(&s->log, "a sentinel is away", "host=%s port=%u reason=\"%s\"",
	    s->hosts[s->current].host, s->hosts[s->current].port, err->text);
	next_sentinel(s);
}

/* ---- the list --------------------------------------------------------------- */

static int
parse_host(char *word, struct sentinel_host *h, struct err *err)
{
	char *colon = strrchr(word, ':'), *host = word, *end;
	uint64_t port = SENTINEL_PORT;

	if (word[0] == '[') {
		host = word + 1;
		end = strchr(host, ']');
		if (end == NULL || (end[1] != ':' && end[1] != '\0'))
			goto bad;
		colon = end[1] == ':' ? end + 1 : NULL;
		*end = '\0';
	} else if (colon != NULL && strchr(word, ':') != colon) {
		goto bad;
	}
	if (colon != NULL) {
		*colon = '\0';
		if (str_to_u64(colon + 1, &port) != 0 || port < 1 || port > UINT16_MAX)
			return err_set(err, ERR_INVALID,
			    "the port of a sentinel is a number, 1 to 65535");
	}
	for (const char *p = host; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~' || *p == '/' || *p == '@')
			goto bad;
	if (host[0] == '\0' || !str_copy(h->host, sizeof(h->host), host))
		goto bad;
	h->port = (uint16_t)port;
	return 0;
bad:
	return err_set(err, ERR_INVALID,
	    "a sentinel is host, host:port or [address]:port, and several are "
	    "separated by commas");
}

int
sentinel_hosts_parse(
    const char *text, struct sentinel_host hosts[SENTINEL_HOSTS_MOST], struct err *err)
{
	char *copy = mem_strdup(text), *rest = copy, *word;
	int count = 0, rc = 0;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "a list of sentinels");
	while (rc == 0 && (word = strsep(&rest, ",")) != NULL) {
		if (count == SENTINEL_HOSTS_MOST)
			rc = err_set(err, ERR_LIMIT, "more than %d sentinels",
			    SENTINEL_HOSTS_MOST);
		else
			rc = parse_host(str_trim(word), &hosts[count++], err);
	}
	mem_free(copy);
	return rc == 0 ? count : -1;
}

/* ---- life --------------------------------------------------------------------- */

struct sentinel *
sentinel_create(struct loop *l, struct resolver *rv, const struct sentinel_opts *opts,
    struct err *err)
{
	struct sentinel *s = mem_zero(sizeof(*s));
	struct rconn_opts ro = {
	    .name = "sentinel",
	    .username = opts->username,
	    .password = opts->password,
	    .password_file = opts->password_file,
	    .tls = opts->tls,
	    .tls_name = opts->tls_name,
	    .connect_timeout_ms = ANSWER_MS,
	    .reply_timeout_ms = ANSWER_MS,
	    .state_cb = on_state,
	    .arg = s,
	};
	int count;

	if (s == NULL) {
		err_set(err, ERR_NOMEM, "sentinels");
		return NULL;
	}
	s->stamp = SENTINEL_STAMP;
	s->loop = l;
	s->log.kind = "redis";
	s->log.id = "sentinel";
	s->found = opts->found;
	s->arg = opts->arg;
	count = sentinel_hosts_parse(opts->hosts, s->hosts, err);
	if (count < 0)
		goto fail;
	s->count = (size_t)count;
	s->master = mem_strdup(opts->master);
	s->timer = loop_timer_create(l, ask, s);
	if (s->master == NULL || s->timer == NULL) {
		err_set(err, ERR_NOMEM, "sentinels");
		goto fail;
	}
	ro.host = s->hosts[0].host;
	ro.port = s->hosts[0].port;
	s->rc = rconn_create(l, rv, &ro, err);
	if (s->rc == NULL)
		goto fail;
	loop_timer_start_ms(s->timer, ASK_MS);
	return s;
fail:
	sentinel_free(s);
	return NULL;
}

void
sentinel_free(struct sentinel *s)
{
	if (s == NULL)
		return;
	STAMP_CHECK(s, SENTINEL_STAMP);
	rconn_free(s->rc);
	loop_timer_free(s->timer);
	mem_free(s->master);
	s->stamp = 0;
	mem_free(s);
}

void
sentinel_doubt(struct sentinel *s)
{
	int64_t now_ms = loop_now_ms(s->loop);

	STAMP_CHECK(s, SENTINEL_STAMP);
	if (s->doubted_ms != 0 && now_ms - s->doubted_ms < DOUBT_MS)
		return;
	s->doubted_ms = now_ms;
	/* alone, it is asked once more; several are asked in turn */
	if (s->count > 1)
		next_sentinel(s);
	else
		ask(s);
}
