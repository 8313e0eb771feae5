/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * follow.h - those who follow the events of an application at this worker.
 *
 * A follower is a long reply that gets every event behind the place it began at, in
 * order, once.  It ends when its client is gone, or when the worker leaves.
 */
#ifndef API_FOLLOW_H
#define API_FOLLOW_H

#include "base/attr.h"
#include "base/err.h"
#include "event/loop.h"
#include "http/httpd.h"
#include "model/names.h"
#include "store/events.h"
#include "store/store.h"

struct follow;

#define FOLLOW_MOST	1000 /* streams at one worker */
#define FOLLOW_APP_MOST 200  /* of one application */

/* what a follower wants to see; empty texts, kind 0 and a task that is not given: all
 */
struct follow_filter {
	char queue[NAME_MAX_BYTES + 1];
	char type[NAME_MAX_BYTES + 1];
	enum event_kind kind;
	bool of_task;
	struct uuid task;
};

struct follow *follow_create(
    struct loop *l, struct store *store, struct err *err) ATTR_CHECK; /* borrowed */
void follow_free(struct follow *f);				      /* NULL is fine */
/* is there room for one more? ERR_LIMIT: the application has its share; ERR_CLOSED: the
 * worker has no room, or leaves */
int follow_room(const struct follow *f, int app_id, struct err *err) ATTR_CHECK;
/*
 * Begins the reply to req, which is given, also on failure: then its client is gone, or
 * memory out.  filter is copied.
 */
void follow_add(struct follow *f, int app_id, const struct follow_filter *filter,
    const struct event_place *after, struct httpreq *req);
/* the worker leaves: all are told to go on elsewhere, and none comes any more */
void follow_end_all(struct follow *f);
size_t follow_count(const struct follow *f);

#endif
