/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sentinel.h - where the primary is, as Redis Sentinel says.
 *
 * One connection to one sentinel at a time, which is asked each second: an answer costs
 * a line, and a subscription would have to be asked beside it anyway, since messages
 * get lost.  A sentinel that does not answer, or does not know the primary's name, or
 * whose answer was of no use, is followed by the next in the list.
 *
 * What is found is a hint: whoever connects to it asks it for its role.
 */
#ifndef REDIS_SENTINEL_H
#define REDIS_SENTINEL_H

#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "event/resolve.h"

#define SENTINEL_HOSTS_MOST 16
#define SENTINEL_PORT	    26379

struct tlsclient;
struct sentinel;

/* the primary is there; told when it is another than before, from the loop.  host is
 * borrowed: an address, or a name to be resolved. */
typedef void sentinel_found_cb(const char *host, uint16_t port, void *arg);

struct sentinel_opts {
	const char *hosts;  /* as redis.sentinels has them; copied */
	const char *master; /* the primary's name there; copied */
	const char *username, *password, *password_file; /* as for rconn */
	struct tlsclient *tls;				 /* NULL: none; borrowed */
	const char *tls_name;				 /* as for rconn */
	sentinel_found_cb *found;
	void *arg;
};

struct sentinel *sentinel_create(struct loop *l, struct resolver *rv,
    const struct sentinel_opts *opts, struct err *err) ATTR_CHECK;
void sentinel_free(struct sentinel *s); /* NULL is fine; not in its callback */
/* what was found is of no use: asks the next sentinel, at most twice a second */
void sentinel_doubt(struct sentinel *s);

struct sentinel_host {
	char host[256];
	uint16_t port; /* SENTINEL_PORT unless given */
};
/* host, host:port, [address]:port, separated by commas; how many, or -1 */
int sentinel_hosts_parse(const char *text,
    struct sentinel_host hosts[SENTINEL_HOSTS_MOST], struct err *err) ATTR_CHECK;

#endif
