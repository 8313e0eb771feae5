/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_redis.c - whether Redis can be reached, and is set up for a queue.
 *
 * Asks as a worker would, over the same kind of connection, one command after the
 * other.  Version, role, memory and clients are judged by broker/judge.h.  Managed
 * services hide CONFIG and others; what is not answered is not judged.
 */
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "broker/judge.h"
#include "cli/doctor.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "redis/rconn.h"
#include "redis/redisurl.h"
#include "redis/sentinel.h"
#include "tls/tlsclient.h"

#define PATIENCE_MS 6000
#define TEXT_MOST   (64u << 10)
#define KEY_SIZE    160

/* one connection, and the answer to the command under way */
struct asked {
	struct loop *loop;
	struct resolver *resolver;
	struct tlsclient *tls;	   /* NULL: none */
	struct sentinel *sentinel; /* NULL: the url says where it is */
	struct rconn *rc;
	struct loop_timer *patience;
	bool done; /* up, or answered */
	struct err err;
	int type;	    /* of the reply, REDIS_REPLY_ */
	int64_t integer;    /* of an integer */
	struct strbuf text; /* of all others; elements of an array end in a newline */
};

static void
put_reply(struct strbuf *out, const redisReply *reply)
{
	switch (reply->type) {
	case REDIS_REPLY_ARRAY:
		for (size_t i = 0; i < reply->elements; i++) {
			put_reply(out, reply->element[i]);
			strbuf_putc(out, '\n');
		}
		break;
	case REDIS_REPLY_INTEGER:
		strbuf_int(out, reply->integer);
		break;
	case REDIS_REPLY_NIL:
		break;
	default:
		strbuf_put(out, reply->str, reply->len);
	}
}

static void
on_reply(
    struct rconn *rc, const struct redisReply *reply, const struct err *err, void *arg)
{
	struct asked *a = arg;

	(void)rc;
	a->done = true;
	if (err != NULL) {
		a->err = *err;
	} else {
		a->type = reply->type;
		a->integer = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
		put_reply(&a->text, reply);
	}
	loop_stop(a->loop);
}

static void
on_state(struct rconn *rc, bool up, const struct err *err, void *arg)
{
	struct asked *a = arg;

	(void)rc;
	if (a->done)
		return;
	a->done = true;
	if (!up)
		a->err = *err;
	loop_stop(a->loop);
}

static void
on_patience(void *arg)
{
	struct asked *a = arg;

	if (!a->done)
		err_set(
		    &a->err, ERR_TIMEOUT, "no answer within %d s", PATIENCE_MS / 1000);
	loop_stop(a->loop);
}

static int
run(struct asked *a, struct err *err)
{
	loop_timer_start_ms(a->patience, PATIENCE_MS);
	if (!a->done && loop_run(a->loop, err) != 0)
		return -1;
	loop_timer_stop(a->patience);
	if (a->err.code == ERR_NONE)
		return 0;
	*err = a->err;
	return -1;
}

/* words: NULL-terminated.  0: type and text are of the reply, an error too */
static int
ask(struct asked *a, const char *const words[], struct err *err)
{
	int count = 0;

	while (words[count] != NULL)
		count++;
	a->done = false;
	err_clear(&a->err);
	strbuf_reset(&a->text);
	if (rconn_command(a->rc, on_reply, a, err, count, words, NULL) != 0)
		return -1;
	return run(a, err);
}

static void
asked_fini(struct asked *a)
{
	a->done = true;
	sentinel_free(a->sentinel);
	rconn_free(a->rc);
	tlsclient_free(a->tls);
	loop_timer_free(a->patience);
	if (a->resolver != NULL)
		resolver_free(a->resolver);
	if (a->loop != NULL)
		loop_free(a->loop);
	strbuf_fini(&a->text);
}

/* the sentinels say where the primary is */
static void
on_found(const char *host, uint16_t port, void *arg)
{
	struct asked *a = arg;
	struct err err = ERR_INIT;

	if (rconn_set_server(a->rc, host, port, &err) != 0 && !a->done) {
		a->done = true;
		a->err = err;
		loop_stop(a->loop);
	}
}

static int
create(struct asked *a, const struct settings *s, const struct redisurl *url,
    struct err *err)
{
	const struct tlsclient_opts tls = {
	    .ca_file = s->redis_ca_file,
	    .certificate = s->redis_certificate,
	    .key = s->redis_key,
	};
	bool asks = s->redis_sentinels[0] != '\0';
	struct rconn_opts opts = {
	    .name = "doctor",
	    .host = asks ? NULL : url->host,
	    .port = url->port,
	    .database = url->database,
	    .username =
		s->redis_username[0] != '\0' ? s->redis_username : url->username,
	    .password =
		s->redis_password[0] != '\0' ? s->redis_password : url->password,
	    .tls_name = url->host,
	    .state_cb = on_state,
	    .arg = a,
	};
	struct sentinel_opts so = {
	    .hosts = s->redis_sentinels,
	    .master = s->redis_sentinel_master,
	    .username = s->redis_sentinel_username,
	    .password = s->redis_sentinel_password,
	    .tls_name = url->host,
	    .found = on_found,
	    .arg = a,
	};

	a->loop = loop_create(err);
	if (a->loop == NULL || (a->resolver = resolver_create(a->loop, err)) == NULL)
		return -1;
	a->patience = loop_timer_create(a->loop, on_patience, a);
	if (a->patience == NULL)
		return err_set(err, ERR_NOMEM, "a connection");
	if (url->tls && (a->tls = tlsclient_create(&tls, err)) == NULL)
		return -1;
	opts.tls = so.tls = a->tls;
	a->rc = rconn_create(a->loop, a->resolver, &opts, err);
	if (a->rc == NULL)
		return -1;
	if (asks &&
	    (a->sentinel = sentinel_create(a->loop, a->resolver, &so, err)) == NULL)
		return -1;
	return 0;
}

static int
connect_redis(struct asked *a, const struct settings *s, struct err *err)
{
	struct redisurl url;
	int rc;

	strbuf_init(&a->text, TEXT_MOST);
	if (redisurl_parse(s->redis_url, &url, err) != 0)
		return err_wrap(err, "redis.url");
	rc = create(a, s, &url, err);
	if (rc == 0)
		rc = run(a, err);
	explicit_bzero(&url, sizeof(url));
	return rc;
}

/* ---------------------------------------------------------------- no connection */

static const struct {
	const char *says, *remedy;
} refusals[] = {
    {"WRONGPASS", "mend redis.password (or redis.password_file), and redis.username"},
    {"NOAUTH", "this Redis wants a password: redis.password_file"},
    {"invalid password", "mend redis.password (or redis.password_file)"},
    {"without any password configured",
	"this Redis has no password: leave redis.password out"},
    {"NOPERM", "give the ACL user what shoald.conf(5) lists under redis.username"},
    {"refused", "start Redis, or mend redis.url; it has to listen on that address "
		"(bind)"},
    {"MOVED", "use a Redis with cluster-enabled no"},
    {"LOADING", "wait until it has loaded its data"},
    {"max number of clients", "raise maxclients of Redis"},
    {"certificate", "let redis.ca_file name the authority of its certificate"},
};

static void
tell_unreachable(const struct err *err, struct findings *found)
{
	const char *remedy =
	    "look at redis.url, and at the network between; redis-cli -u tries it";

	for (size_t i = 0; i < COUNT_OF(refusals); i++) {
		if (strstr(err->text, refusals[i].says) == NULL)
			continue;
		remedy = refusals[i].remedy;
		break;
	}
	findings_add(
	    found, FINDING_FAULT, remedy, "redis cannot be used: %s", err->text);
}

/* ---------------------------------------------------------------- what is asked */

static void
look_at_memory(struct asked *a, const struct redis_facts *f, struct findings *found)
{
	const char *at = strstr(a->text.data, "used_memory:");
	int64_t used = at != NULL ? strtoll(at + strlen("used_memory:"), NULL, 10) : 0;

	if (f->maxmemory_bytes == 0 || used * 10 < f->maxmemory_bytes * 9)
		return;
	findings_add(found, FINDING_WARNING,
	    "raise maxmemory, or find out who else fills it: ids of Shoal take a few "
	    "megabytes",
	    "%" PRId64 " of %" PRId64 " MiB of redis' memory are used", used >> 20,
	    f->maxmemory_bytes >> 20);
}

static void
look_at_info(struct doctor *d, struct asked *a, struct findings *found)
{
	struct redis_need need = {.workers = d->workers, .connections = 3};
	struct redis_facts facts = {.version = 0};
	struct err err = ERR_INIT;
	int mine = settings_worker_count(d->settings);

	if (need.workers < mine || d->master == 0)
		need.workers += mine;
	if (ask(a, (const char *const[]){"INFO", NULL}, &err) != 0 ||
	    a->type == REDIS_REPLY_ERROR) {
		findings_add(found, FINDING_WARNING,
		    "let the ACL user run INFO, or look at version, role and "
		    "maxmemory-policy yourself",
		    "INFO is not answered: %s",
		    err.code != ERR_NONE ? err.text : a->text.data);
		return;
	}
	redis_facts_info(&facts, a->text.data, a->text.len);
	look_at_memory(a, &facts, found);
	if (facts.maxclients == 0 &&
	    ask(a, (const char *const[]){"CONFIG", "GET", "maxclients", NULL}, &err) ==
		0 &&
	    a->type == REDIS_REPLY_ARRAY && str_starts(a->text.data, "maxclients\n"))
		facts.maxclients =
		    strtoll(a->text.data + strlen("maxclients\n"), NULL, 10);
	redis_judge(&facts, &need, found);
}

/* a Redis that closes idle connections makes every quiet worker connect again */
static void
look_at_timeout(struct asked *a, struct findings *found)
{
	struct err err = ERR_INIT;
	int64_t s = 0;

	if (ask(a, (const char *const[]){"CONFIG", "GET", "timeout", NULL}, &err) !=
		0 ||
	    a->type != REDIS_REPLY_ARRAY || !str_starts(a->text.data, "timeout\n"))
		return;
	s = strtoll(a->text.data + strlen("timeout\n"), NULL, 10);
	if (s > 0 && s < 60)
		findings_add(found, FINDING_WARNING, "set timeout 0",
		    "redis closes connections that are idle for %" PRId64
		    " s, and one waits for messages",
		    s);
}

static void
look_at_clock(struct asked *a, struct findings *found)
{
	int64_t began = clock_mono_us(), wall = clock_wall_us(), took;
	struct err err = ERR_INIT;
	long long s, us;

	if (ask(a, (const char *const[]){"TIME", NULL}, &err) != 0 ||
	    sscanf(a->text.data, "%lld\n%lld", &s, &us) != 2)
		return;
	took = clock_mono_us() - began;
	doctor_clock_judge("Redis", (double)(s * 1000000 + us - wall - took / 2) / 1e6,
	    (double)took / 2e6, found);
}

/* whose ids are in it: the epoch is "<database id>:<generation>" */
static void
look_at_epoch(const struct doctor *d, struct asked *a, struct findings *found)
{
	char key[KEY_SIZE];
	struct err err = ERR_INIT;
	size_t len = strlen(d->database_id);

	snprintf(key, sizeof(key), "shoal:%s:epoch", d->settings->cluster_name);
	if (len == 0 || ask(a, (const char *const[]){"GET", key, NULL}, &err) != 0 ||
	    a->type != REDIS_REPLY_STRING)
		return;
	if (strncmp(a->text.data, d->database_id, len) != 0)
		findings_add(found, FINDING_FAULT,
		    "let redis.url and database.url lead to stores of the same "
		    "cluster; if this Redis is to be taken over, DEL that key",
		    "this redis serves another database (%s)", key);
	else
		findings_add(
		    found, FINDING_FINE, NULL, "this redis serves our database");
}

/* what workers do, with a key and a channel that nobody else uses */
static void
look_at_rights(const struct doctor *d, struct asked *a, struct findings *found)
{
	char key[KEY_SIZE];
	const char *const commands[][6] = {
	    {"SET", key, "doctor", "EX", "10", NULL},
	    {"GET", key, NULL},
	    {"DEL", key, NULL},
	    {"LPUSH", key, "doctor", NULL},
	    {"RPOPLPUSH", key, key, NULL},
	    {"LREM", key, "1", "doctor", NULL},
	    {"HSET", key, "doctor", "1", NULL},
	    {"EXPIRE", key, "10", NULL},
	    {"DEL", key, NULL},
	    {"PUBLISH", key, "doctor", NULL},
	};
	struct err err = ERR_INIT;

	snprintf(key, sizeof(key), "shoal:%s:doctor", d->settings->cluster_name);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (ask(a, commands[i], &err) != 0) {
			findings_add(found, FINDING_FAULT,
			    "look at redis' log, and at the network between",
			    "%s is not answered: %s", commands[i][0], err.text);
			return;
		}
		if (a->type != REDIS_REPLY_ERROR)
			continue;
		findings_add(found, FINDING_FAULT,
		    str_starts(a->text.data, "NOPERM")
			? "let the ACL user run it on keys and channels shoal:*"
		    : str_starts(a->text.data, "OOM") ? "raise maxmemory: it is full"
		    : str_starts(a->text.data, "READONLY")
			? "let redis.url lead to the primary"
			: "take its rename-command away, or use another Redis",
		    "%s is refused: %.120s", commands[i][0], a->text.data);
		return;
	}
	findings_add(
	    found, FINDING_FINE, NULL, "what workers do with redis is answered");
}

void
doctor_redis(struct doctor *d, struct findings *found)
{
	struct asked a = {.loop = NULL};
	struct err err = ERR_INIT;

	redis_url_judge(d->settings->redis_url, found);
	if (connect_redis(&a, d->settings, &err) != 0) {
		tell_unreachable(&err, found);
	} else {
		look_at_info(d, &a, found);
		look_at_timeout(&a, found);
		look_at_epoch(d, &a, found);
		look_at_rights(d, &a, found);
		look_at_clock(&a, found);
	}
	asked_fini(&a);
}
