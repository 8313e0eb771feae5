/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge.c - whether a Redis is set up for this cluster; see judge.h.
 *
 * Managed services hide CONFIG, so that all is read from INFO as far as it says; what
 * no answer tells is not judged.
 */
#include "broker/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "event/addr.h"
#include "redis/redisurl.h"

#define VERSION_MIN 30204 /* 3.2.4 */

/* "3.2.4" is 30204; 0 if it is no version */
static int64_t
version_number(const char *text)
{
	unsigned major, minor, patch = 0;

	if (sscanf(text, "%3u.%3u.%3u", &major, &minor, &patch) < 2)
		return 0;
	return (int64_t)major * 10000 + minor * 100 + patch;
}

static void
take_number(int64_t *to, const char *value)
{
	int64_t n;

	if (str_to_i64(value, &n) == 0 && n >= 0)
		*to = n;
}

static void
take(struct redis_facts *f, const char *name, const char *value)
{
	if (str_eq(name, "redis_version"))
		f->version = version_number(value);
	else if (str_eq(name, "role"))
		str_copy(f->role, sizeof(f->role), value);
	else if (str_eq(name, "maxmemory_policy"))
		str_copy(f->maxmemory_policy, sizeof(f->maxmemory_policy), value);
	else if (str_eq(name, "maxmemory"))
		take_number(&f->maxmemory_bytes, value);
	else if (str_eq(name, "maxclients"))
		take_number(&f->maxclients, value);
	else if (str_eq(name, "connected_clients"))
		take_number(&f->connected_clients, value);
	else if (str_eq(name, "connected_slaves"))
		take_number(&f->replicas, value);
	else if (str_eq(name, "cluster_enabled"))
		f->cluster_enabled = str_eq(value, "1");
	else if (str_eq(name, "loading"))
		f->loading = str_eq(value, "1");
}

void
redis_facts_info(struct redis_facts *f, const char *text, size_t len)
{
	char line[128], *colon;
	size_t at = 0, n;

	while (at < len) {
		const char *end = memchr(text + at, '\n', len - at);

		n = (end != NULL ? (size_t)(end - text) : len) - at;
		if (n < sizeof(line)) {
			memcpy(line, text + at, n);
			line[n] = '\0';
			line[strcspn(line, "\r")] = '\0';
			colon = strchr(line, ':');
			if (line[0] != '#' && colon != NULL) {
				*colon = '\0';
				take(f, line, colon + 1);
			}
		}
		at += n + 1;
	}
}

static void
judge_clients(
    const struct redis_facts *f, const struct redis_need *need, struct findings *found)
{
	int64_t all = need->workers * need->connections;

	if (need->workers == 0 || f->maxclients == 0)
		return;
	if (all > f->maxclients)
		findings_add(found, FINDING_WARNING,
		    "raise maxclients, or lower node.workers",
		    "connections to redis: %" PRId64 " workers x %" PRId64 " = %" PRId64
		    " of maxclients %" PRId64 ": too few",
		    need->workers, need->connections, all, f->maxclients);
	else
		findings_add(found, FINDING_FINE, NULL,
		    "connections to redis: %" PRId64 " workers x %" PRId64 " = %" PRId64
		    " of maxclients %" PRId64 " (%" PRId64 " clients now)",
		    need->workers, need->connections, all, f->maxclients,
		    f->connected_clients);
}

void
redis_judge(
    const struct redis_facts *f, const struct redis_need *need, struct findings *found)
{
	const int64_t v = f->version;

	if (v != 0)
		findings_add(found, v < VERSION_MIN ? FINDING_FAULT : FINDING_FINE,
		    v < VERSION_MIN ? "upgrade it to 3.2.4 or later" : NULL,
		    "redis' version is %" PRId64 ".%" PRId64 ".%" PRId64 "%s",
		    v / 10000, v / 100 % 100, v % 100,
		    v < VERSION_MIN ? ": too old" : "");
	if (f->cluster_enabled)
		findings_add(found, FINDING_FAULT,
		    "use a redis with cluster-enabled no; one primary is enough",
		    "redis runs in cluster mode, which is not supported");
	if (str_eq(f->role, "slave"))
		findings_add(found, FINDING_FAULT,
		    "let redis.url lead to the primary, or use redis.sentinels",
		    "this redis is a replica");
	if (f->loading)
		findings_add(found, FINDING_WARNING, "wait until it is there",
		    "redis is loading its data");
	if (f->maxmemory_policy[0] != '\0' &&
	    !str_eq(f->maxmemory_policy, "noeviction"))
		findings_add(found, FINDING_WARNING,
		    "set maxmemory-policy noeviction: what is evicted is repaired, and "
		    "late",
		    "redis' maxmemory-policy is %s%s", f->maxmemory_policy,
		    f->maxmemory_bytes == 0 ? " (and maxmemory is not set)" : "");
	else if (f->maxmemory_policy[0] != '\0')
		findings_add(
		    found, FINDING_FINE, NULL, "redis' maxmemory-policy is noeviction");
	judge_clients(f, need, found);
}

void
redis_url_judge(const char *url, struct findings *found)
{
	struct redisurl u = {.port = 0};
	struct err err = ERR_INIT;

	if (redisurl_parse(url, &u, &err) != 0)
		findings_add(found, FINDING_FAULT,
		    "give it as redis://host:6379/0 or rediss://host:6380/0",
		    "redis.url: %s", err.text);
	else if (u.tls)
		findings_add(
		    found, FINDING_FINE, NULL, "redis.url is encrypted and verified");
	else if (str_starts(u.host, "unix:") || addr_host_is_local(u.host))
		findings_add(
		    found, FINDING_FINE, NULL, "redis.url does not leave this machine");
	else
		findings_add(found, FINDING_WARNING,
		    "use rediss://, and redis.ca_file if the authority is your own",
		    "redis.url leads over a network without TLS");
	explicit_bzero(&u, sizeof(u));
}
