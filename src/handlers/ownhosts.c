/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ownhosts.c - keeps the guard told where our own stores are; see ownhosts.h.
 */
#include "handlers/ownhosts.h"

#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "redis/redisurl.h"
#include "redis/sentinel.h"

#define HOSTS_MOST 16
#define ADDRS_MOST (GUARD_OWN_MOST / HOSTS_MOST)
#define AGAIN_MS   60000
#define RESOLVE_MS 5000

struct own_host {
	struct ownhosts *owner;
	char name[256];
	struct resolve *resolve; /* NULL: not asking */
	size_t count;
	struct addr addrs[ADDRS_MOST];
};

struct ownhosts {
	struct loop *loop;
	struct resolver *resolver;
	struct guard *guard;
	struct loop_timer *timer;
	size_t count;
	struct own_host hosts[HOSTS_MOST];
};

static void
add_host(struct ownhosts *o, const char *name)
{
	struct own_host *h = &o->hosts[o->count];

	if (name[0] == '\0' || name[0] == '/' || str_starts(name, "unix:") ||
	    o->count == HOSTS_MOST)
		return; /* a socket of this machine */
	for (size_t i = 0; i < o->count; i++) {
		if (str_ieq(o->hosts[i].name, name))
			return;
	}
	if (!str_copy(h->name, sizeof(h->name), name))
		return; /* no name is that long */
	h->owner = o;
	o->count++;
}

static void
add_list(struct ownhosts *o, const char *list)
{
	char name[256];
	size_t len;

	for (; *list != '\0'; list += len + (list[len] == ',')) {
		len = strcspn(list, ",");
		if (len >= sizeof(name))
			continue;
		memcpy(name, list, len);
		name[len] = '\0';
		add_host(o, name);
	}
}

static void
add_database(struct ownhosts *o, const char *url)
{
	PQconninfoOption *info = PQconninfoParse(url, NULL);

	/* what cannot be read is said by whoever connects */
	for (PQconninfoOption *i = info; i != NULL && i->keyword != NULL; i++) {
		if (i->val == NULL)
			continue;
		if (str_eq(i->keyword, "host") || str_eq(i->keyword, "hostaddr"))
			add_list(o, i->val);
		if (i->dispchar[0] == '*')
			explicit_bzero(i->val, strlen(i->val));
	}
	if (info != NULL)
		PQconninfoFree(info);
}

static void
tell_guard(struct ownhosts *o)
{
	struct addr all[GUARD_OWN_MOST];
	struct err err = ERR_INIT;
	size_t count = 0;

	for (size_t i = 0; i < o->count; i++) {
		memcpy(
		    all + count, o->hosts[i].addrs, o->hosts[i].count * sizeof(all[0]));
		count += o->hosts[i].count;
	}
	if (guard_set_own(o->guard, all, count, &err) != 0)
		log_error(NULL, "BUG: too many addresses of stores", "reason=\"%s\"",
		    err.text);
}

static void
on_resolved(const struct addr *addrs, size_t count, const struct err *err, void *arg)
{
	struct own_host *h = arg;

	h->resolve = NULL;
	if (err != NULL) {
		log_debug(NULL, "a store's name is not resolved",
		    "host=%s reason=\"%s\"", h->name, err->text);
		return;
	}
	h->count = count < ADDRS_MOST ? count : ADDRS_MOST;
	memcpy(h->addrs, addrs, h->count * sizeof(addrs[0]));
	tell_guard(h->owner);
}

static void
on_time(void *arg)
{
	struct ownhosts *o = arg;
	struct err err = ERR_INIT;

	loop_timer_start_ms(o->timer, AGAIN_MS);
	for (size_t i = 0; i < o->count; i++) {
		struct own_host *h = &o->hosts[i];

		if (h->resolve != NULL)
			continue;
		h->resolve = resolve_start(
		    o->resolver, h->name, 0, RESOLVE_MS, on_resolved, h, &err);
		if (h->resolve == NULL)
			log_warn(NULL, "a store's name cannot be asked for",
			    "reason=\"%s\"", err.text);
	}
}

struct ownhosts *
ownhosts_create(struct loop *l, struct resolver *rv, struct guard *g,
    const struct settings *s, struct err *err)
{
	struct ownhosts *o = mem_zero(sizeof(*o));
	struct sentinel_host hosts[SENTINEL_HOSTS_MOST];
	struct redisurl redis;
	int sentinels;

	if (o == NULL || (o->timer = loop_timer_create(l, on_time, o)) == NULL) {
		mem_free(o);
		err_set(err, ERR_NOMEM, "own hosts");
		return NULL;
	}
	o->loop = l;
	o->resolver = rv;
	o->guard = g;
	add_database(o, s->database_url);
	add_database(o, s->database_migrate_url);
	sentinels = sentinel_hosts_parse(s->redis_sentinels, hosts, NULL);
	for (int i = 0; s->redis_sentinels[0] != '\0' && i < sentinels; i++)
		add_host(o, hosts[i].host);
	/* (with sentinels it may be no server's, but only a name in a certificate) */
	if (redisurl_parse(s->redis_url, &redis, NULL) == 0) {
		add_host(o, redis.host);
		explicit_bzero(&redis, sizeof(redis));
	}
	on_time(o);
	return o;
}

void
ownhosts_free(struct ownhosts *o)
{
	if (o == NULL)
		return;
	for (size_t i = 0; i < o->count; i++)
		resolve_cancel(o->hosts[i].resolve);
	loop_timer_free(o->timer);
	mem_free(o);
}
