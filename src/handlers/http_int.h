/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * http_int.h - what http.c, http_answer.c and routes.c share.
 *
 *     route          one endpoint, with its breaker: a type's of the operator, or an
 *                    application's
 *     destination    a server, shared by the routes that lead there: how many requests
 *                    are under way, and the line of those that wait for a turn
 *     call           one attempt: waits for its endpoint to be read, then in that line,
 *                    then under way
 */
#ifndef HANDLERS_HTTP_INT_H
#define HANDLERS_HTTP_INT_H

#include <sys/queue.h>

#include "base/whsign.h"
#include "handlers/breaker.h"
#include "handlers/http.h"
#include "http/fetch.h"
#include "http/guard.h"
#include "http/weburl.h"
#include "model/lease_name.h"

struct ownhosts;

TAILQ_HEAD(calls, call);

struct destination {
	TAILQ_ENTRY(destination) link;
	char key[280];	/* scheme://host:port */
	unsigned users; /* routes and calls: 0, and it goes */
	int running;
	struct calls waiting;
};

struct route {
	TAILQ_ENTRY(route) link;
	struct http *http;
	/* the operator's; NULL: an application's, and its calls bring what is sent */
	const struct type_settings *settings;
	struct weburl url;
	struct whsecrets secrets;
	char **headers;
	struct destination *destination;
	/* an application's */
	int app_id;
	char name[NAME_MAX_BYTES + 1];
	unsigned calls; /* that have it */

	struct breaker breaker;
	struct loop_timer *timer; /* the end of the breaker's pause */
	bool probing;		  /* the one request of a half open breaker is out */
	/* of the first attempt; NULL before, and of deliveries, which have no places */
	struct dispatch *dispatch;
	struct type_entry *type;
};

struct call {
	TAILQ_ENTRY(call) link; /* of the destination's line, or of its state's list */
	struct route *route;
	struct attempt *attempt;
	struct destination *destination; /* NULL: not known yet */
	/* the application's endpoint, as it was read for this call; NULL: the
	 * operator's */
	struct endpoint *endpoint;
	struct endpoint_wait *wait; /* it is being read */
	struct fetch_run *run;	    /* NULL: waits */
	bool probe;
	/* what it may become; lease all zero: it was not told */
	struct lease_name lease;
	/* of http_deliver */
	bool delivery;
	char *id; /* owned; NULL: the task's */
	char *body;
	size_t body_len;
};

struct http {
	struct loop *loop;
	const struct settings *settings;
	struct score_slot *slot;
	struct resolver *resolver;
	struct endpoints *endpoints; /* NULL: not told yet */
	char url[SETTINGS_URL_SIZE]; /* where leases are told of */
	struct guard *guard;
	struct fetch *fetch; /* NULL: nothing was to be sent yet */
	struct ownhosts *own;
	TAILQ_HEAD(, route) routes;
	TAILQ_HEAD(, destination) destinations;
	struct calls running;
	struct calls reading;	  /* wait for their endpoint */
	struct loop_defer *lines; /* somebody's turn may have come */
};

/* routes.c */
/* with one user more; NULL: no memory */
struct destination *destination_take(struct http *h, const struct weburl *url);
void destination_put(struct http *h, struct destination *d); /* NULL is fine */
int route_add(
    struct http *h, const struct type_settings *t, struct err *err) ATTR_CHECK;
struct route *route_of_type(struct http *h, const struct type_settings *t);
/* an application's, made if it is missing, with one call more; NULL: no memory */
struct route *route_take(struct http *h, int app_id, const char *name);
void route_put(struct route *r);
void route_free(struct route *r);
/* requests may go: all, or the one that tries */
bool route_is_open(const struct route *r);
/* the outcome of a request, for its breaker */
void route_worked(struct route *r);
void route_fault(struct route *r);
/* left alone for so long, whatever was before */
void route_trip(struct route *r, int64_t pause_ms);
/* what waits for it is given back: others may have more luck */
void http_give_back(struct route *r);

/* http_answer.c */
#define HTTP_RETRY_LEAST_MS  1000LL
#define HTTP_UNREAD_PAUSE_MS 5000 /* an endpoint that cannot be read */
/* headers of an answer that we ask for */
enum { KEPT_ASYNC = 0, KEPT_TTL };
/* the call is over: its attempt ends by what came, and its route learns of it */
void http_judge(struct call *c, struct attempt *a, const struct fetch_answer *an);
void http_fail(struct attempt *a, enum attempt_outcome outcome, const char *code,
    const char *text);
/* bytes of an answer that may become a result */
size_t http_body_most(const struct http *h, const struct attempt *a, bool delivery);

#endif
