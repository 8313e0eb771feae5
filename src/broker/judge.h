/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge.h - whether a Redis is set up for this cluster: its version, role, settings and
 * the arithmetic of connections.  Pure: who asks Redis is inspect.c, or a command.
 */
#ifndef BROKER_JUDGE_H
#define BROKER_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/findings.h"

/* what Redis says of itself; 0 or "" is what it did not say */
struct redis_facts {
	int64_t version; /* such as 30204 for 3.2.4 */
	char role[16];	 /* "master", "slave" */
	char maxmemory_policy[32];
	int64_t maxmemory_bytes;
	int64_t maxclients;
	int64_t connected_clients;
	bool cluster_enabled;
	bool loading;
	int64_t replicas;
};

/* what we are going to do with it; 0: not known */
struct redis_need {
	int64_t workers;     /* of the whole cluster */
	int64_t connections; /* of one of them */
};

/* takes in what it knows of the text that INFO answers; may be called for parts of it
 */
void redis_facts_info(struct redis_facts *f, const char *text, size_t len);
/* adds what is found, fine things too */
void redis_judge(
    const struct redis_facts *f, const struct redis_need *need, struct findings *found);
/*
 * Adds a warning if redis.url leads over a network without TLS.  It may be called with
 * a url that is not good, which is a fault.
 */
void redis_url_judge(const char *url, struct findings *found);

#endif
