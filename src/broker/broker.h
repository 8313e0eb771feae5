/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * broker.h - every Redis command and key name of Shoal.
 *
 * Connections: one for commands, one for channels, and one that blocks in the pop for
 * each list that the worker serves.  They live and die together, and the broker is
 * usable ("up") once all but the channels are connected and the epoch key names our
 * database, or is missing.  Everything here may
 * be lost at any moment: ids are repaired from PostgreSQL, messages are hints.
 *
 * Keys, each with the prefix shoal:<cluster>:
 *
 *     epoch                 string    "<database id>:<generation>"
 *     beat                  string    the leader's count, each second
 *     dispatch:<pool>       list      ids waiting, pushed left, popped right
 *     commands:<pool>       list      the same of those that run a command
 *     proc:<incarnation>    list      ids that a worker holds
 *     places                hash      incarnation -> free places; TTL
 *     leader                string    who leads, for people; TTL
 *     ctl                   channel   hints to all workers
 *     feed                  channel   hints to the leader: "feed", "requeue"
 *     done:<incarnation>    channel   ends of tasks that this worker waits for
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/uuid.h"
#include "broker/elem.h"
#include "event/loop.h"
#include "event/resolve.h"
#include "model/scoreboard.h"
#include "model/settings.h"

struct broker;

struct broker_events {
	/* usable, or not any more; err says why not */
	void (*state)(bool up, const struct err *err, void *arg);
	/* an id is in our processing list now; called during a reply */
	void (*popped)(const struct elem *e, void *arg);
	/* a pop or a push was answered with an error (out of memory, a key of a wrong
	 * type) */
	void (*refused)(void *arg);
	/* a command is sent while an earlier one has not been answered for long */
	void (*late)(void *arg);
	/* the blocking pop of this list has ended: an id came before this, or it timed
	 * out, or failed */
	void (*wait_ended)(int list, void *arg);
	/* broker_pop_more has ended; got ids came, the list's length was left after it
	 */
	void (*more_ended)(int list, int got, int64_t left, void *arg);
	/* a message for us: a task that this worker waits for has ended */
	void (*done)(int app_id, const struct uuid *id, void *arg);
	/* a message for all: "feed", "done <app>/<id>", "places", "schedules" ... */
	void (*ctl)(const char *text, size_t len, void *arg);
	/* the epoch as Redis has it; 0: the key is missing */
	void (*epoch)(int64_t epoch, void *arg);
	/* after broker_stop_popping: no id will come any more */
	void (*settled)(void *arg);
};

struct broker_opts {
	const struct settings *settings; /* borrowed */
	struct uuid owner;		 /* this incarnation */
	struct pools *pools;		 /* borrowed */
	/* lists that are popped from, at least one; copied */
	const int *served;
	size_t served_count;
	/* says how many workers there are, for a look at how Redis is set up; NULL:
	 * this worker does not look; borrowed */
	const struct scoreboard *board;
	const struct broker_events *events;
	void *arg;
};

struct broker *broker_create(struct loop *l, struct resolver *rv,
    const struct broker_opts *opts, struct err *err) ATTR_CHECK;
void broker_free(struct broker *b);
/* without it the broker stays down: connections are made, the epoch cannot be judged */
void broker_set_database(struct broker *b, const struct uuid *database_id);
bool broker_is_up(const struct broker *b);
/* closes all connections and makes them again */
void broker_close(struct broker *b, const char *reason);

/* pops from a list that is served; the ids arrive by events->popped.  At most one of
 * each is under way for a list (ERR_CONFLICT). */
int broker_pop_wait(struct broker *b, int list, struct err *err) ATTR_CHECK;
int broker_pop_more(struct broker *b, int list, int count, struct err *err) ATTR_CHECK;
bool broker_is_idle(const struct broker *b, int list); /* no pop is under way */
/* in the blocking pop: nothing is there */
bool broker_is_waiting(const struct broker *b, int list);
/* drops the blocking connections, so that nothing is popped any more (drain); they are
 * not made again.  An id that came at that moment arrives by events->popped, too:
 * until events->settled, or until Redis is lost, the list is not to be forgotten. */
void broker_stop_popping(struct broker *b);
bool broker_is_settled(const struct broker *b);

/* commands whose outcome nobody waits for: lost ones are repaired by the feeder.  Each
 * id goes to its own list, those that follow each other in one command. */
void broker_push(
    struct broker *b, const struct elem *elems, size_t count); /* at the waiting end */
void broker_push_first(
    struct broker *b, const struct elem *elems, size_t count); /* at the popping end */
/* the list becomes these, the first at the popping end, at once; the leader's */
void broker_replace(struct broker *b, int list, const struct elem *elems, size_t count);
void broker_ack(struct broker *b, const struct elem *e);
void broker_give_back(struct broker *b, const struct elem *e);
void broker_drop(struct broker *b, const struct elem *e); /* out of its list */
void broker_publish_done(
    struct broker *b, const struct uuid *waiter, int app_id, const struct uuid *id);
void broker_publish(struct broker *b, const char *text);
/* to the leader alone: whoever has called broker_hear_hints; heard by events->ctl as
 * "feed", or as "feed <list>" if it is about that list alone (-1: about all) */
void broker_publish_hint(struct broker *b, int list);
/* to the leader too: what may run has changed, and the list is to be made anew */
void broker_publish_requeue(struct broker *b);
/* to the leader: this task, which the feeder may have pushed lately, is queued again */
void broker_publish_again(struct broker *b, const struct uuid *id);
void broker_hear_hints(struct broker *b); /* from now on; again: nothing */
void broker_set_places(struct broker *b, const char *text);
/* all places go, and every worker is asked to tell its own again: what the dead left
 * goes too */
void broker_renew_places(struct broker *b);
void broker_forget(struct broker *b); /* leaving: our lists and places */

/* closes all connections, for good: what is told from now on is told nobody */
void broker_release(struct broker *b);

/* length of a list after our last push or pop, as far as we know; 0 at first */
int64_t broker_last_length(const struct broker *b, int list);

/* ids in a dead worker's processing list go back to the lists that they came from */
void broker_bury(struct broker *b, const struct uuid *owner);

/*
 * The leader's look at Redis in one round trip: writes beat and leader (beat 0: not),
 * reads epoch, a list and the places.  cb once: err, or what was read.  list is NULL
 * when with_list was false; length is always set.  One at a time for each list.
 */
struct broker_view {
	int64_t epoch; /* 0: missing */
	bool foreign;  /* another database's */
	int64_t length;
	const struct elem *list; /* from the popping end; borrowed; garbage left out */
	size_t list_count;
	const char *const *places; /* texts as set by broker_set_places, borrowed */
	const struct uuid *place_owners;
	size_t place_count;
};
typedef void broker_view_cb(
    const struct broker_view *view, const struct err *err, void *arg);
int broker_look(struct broker *b, int list, int64_t beat, bool with_list,
    broker_view_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/* for a worker's own doubts: reads beat */
typedef void broker_beat_cb(int64_t beat, const struct err *err, void *arg);
int broker_read_beat(
    struct broker *b, broker_beat_cb *cb, void *arg, struct err *err) ATTR_CHECK;
/* writes the epoch (after PostgreSQL counted it) */
void broker_set_epoch(struct broker *b, int64_t epoch);
/* removes the field of an incarnation that is gone */
void broker_drop_places(struct broker *b, const struct uuid *owner);

#endif
