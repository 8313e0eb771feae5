/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoints.h - where applications want to be called, as a worker knows it.
 *
 * An endpoint is of one application and has a name: a URL, headers, and the secrets
 * that requests to it are signed with.  They are in PostgreSQL, the secrets sealed
 * (base/seal.h), and a copy is made when the first request needs one.  A change is told
 * to all workers, which forget their copies; without that, a copy is as old as
 * ENDPOINTS_FRESH_MS at most.  Opened secrets are in memory alone, wiped when a copy
 * goes.
 */
#ifndef ENGINE_ENDPOINTS_H
#define ENGINE_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/whsign.h"
#include "http/weburl.h"
#include "model/names.h"

#define ENDPOINTS_FRESH_MS 60000
#define ENDPOINTS_MOST	   10000 /* copies; when there are more, all are forgotten */
#define ENDPOINT_HEADERS   16	 /* of one endpoint */

struct engine;
struct endpoints;
struct endpoint_wait;
struct sealkeys;

struct endpoint {
	int app_id;
	char name[NAME_MAX_BYTES + 1];
	int64_t version; /* another one: something is different */
	struct weburl url;
	struct whsecrets secrets; /* one; two while they are changed */
	/* "Name: value"; the first NULL ends them */
	char *headers[ENDPOINT_HEADERS + 1];
	int64_t timeout_ms; /* 0: the request's own */
	bool disabled;	    /* nothing is to be sent there */
};

/*
 * Exactly once, from the loop, and not after endpoints_cancel.  ep is borrowed for the
 * call.  Both NULL: there is no such endpoint.  err: it could not be read, or its
 * secrets not be opened.
 */
typedef void endpoints_cb(const struct endpoint *ep, const struct err *err, void *arg);

/* ERR_INVALID: the key file is none */
struct endpoints *endpoints_create(struct engine *e, struct err *err) ATTR_CHECK;
void endpoints_free(struct endpoints *es); /* nobody is told any more */
/* what seals and opens secrets; NULL: there is no key file, and so no endpoint */
const struct sealkeys *endpoints_keys(const struct endpoints *es);

/* keeps a copy for as long as a request needs it; let go before its endpoints end, or
 * after */
struct endpoint *endpoint_hold(const struct endpoint *ep);
void endpoint_let_go(struct endpoint *ep); /* NULL is fine */

/* the copy that is here and as new as version at least, borrowed until the next turn of
 * the loop; NULL: it has to be asked for */
const struct endpoint *endpoints_known(
    struct endpoints *es, int app_id, const char *name, int64_t version);
/* name is copied; NULL: see err */
struct endpoint_wait *endpoints_get(struct endpoints *es, int app_id, const char *name,
    endpoints_cb *cb, void *arg, struct err *err) ATTR_CHECK;
void endpoints_cancel(struct endpoint_wait *w); /* no callback after this */

/* this one has changed, committed: told to all workers */
void endpoints_changed(struct endpoints *es, int app_id, const char *name);
/* a worker has said so: "endpoint <application> <name>" */
void endpoints_told(struct endpoints *es, const char *text, size_t len);
/* it said that it is gone: disabled in PostgreSQL, unless it was changed since this
 * copy was made, and told to all */
void endpoints_disable(
    struct endpoints *es, const struct endpoint *ep, const char *reason);
/* the words that a secret is sealed for: whose it is */
#define ENDPOINT_CONTEXT_SIZE (NAME_MAX_BYTES + 32)
char *endpoint_context(int app_id, const char *name, char buf[ENDPOINT_CONTEXT_SIZE]);

#endif
