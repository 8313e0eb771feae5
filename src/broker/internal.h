/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - the broker's inside, shared by its files only.
 */
#ifndef BROKER_INTERNAL_H
#define BROKER_INTERNAL_H

#include "broker/broker.h"
#include "broker/proclist.h"
#include "model/task.h"
#include "redis/rconn.h"
#include "redis/redisurl.h"

struct tlsclient;
struct sentinel;
struct inspect;

#define KEY_MAX	  192
#define PUSH_MOST 500 /* ids in one command */

/* one LANE_POP for each list that is served */
enum broker_lane { LANE_COMMAND = 0, LANE_CHANNELS, LANE_POP };

#define SERVED_MOST (2 * POOLS_SERVED)
#define LANES_MOST  (LANE_POP + SERVED_MOST)

/* what is known of a list, by its number */
struct list_state {
	struct broker *broker;
	int64_t length; /* last known */
	bool looking;	/* broker_look, one at a time */
};

/* a list that is popped from */
struct served_list {
	struct broker *broker;
	int list;
	char key[KEY_MAX];
	bool waiting;  /* a blocking pop is under way */
	int more_open; /* replies of broker_pop_more to come */
	int more_got;
};

struct broker {
	struct loop *loop;
	struct resolver *resolver;
	const struct settings *settings;
	const struct broker_events *events;
	void *arg;
	struct uuid owner;
	struct uuid database_id;
	bool database_known;
	struct redisurl url;
	struct tlsclient *tls;	   /* NULL: none */
	struct sentinel *sentinel; /* NULL: url says where Redis is */
	struct inspect *inspect;   /* NULL: another worker of the node looks */
	struct pools *pools;
	struct served_list served[SERVED_MOST];
	size_t served_count;
	struct rconn *lanes[LANES_MOST];
	size_t lane_count;
	/* asks for the epoch again while it is another database's */
	struct loop_timer *judge_timer;
	bool up;      /* what events->state was last told */
	bool judged;  /* the epoch on this connection is ours, or missing */
	bool looking; /* the epoch is asked for, and then our list */
	bool stopped; /* broker_stop_popping */
	bool hears_hints;
	struct err why_not;	 /* why it is down, as told last */
	int64_t why_told_ms;	 /* when that was */
	int64_t refused_told_ms; /* when an error reply was last logged; 0: never */
	struct list_state lists[LISTS_MOST];
	struct proclist *held;	 /* our processing list, as we know it */
	struct loop_defer *tidy; /* acknowledges what was done in this turn */
	/* keys, made once */
	char k_epoch[KEY_MAX], k_beat[KEY_MAX], k_dispatch[KEY_MAX], k_proc[KEY_MAX];
	char k_places[KEY_MAX], k_leader[KEY_MAX], k_ctl[KEY_MAX], k_done[KEY_MAX];
	char k_feed[KEY_MAX];
	char owner_name[OWNER_TEXT_SIZE];
};

void broker_key(
    const struct broker *b, char key[KEY_MAX], const char *what, const char *rest);
/* of a list; made in buf but for the first one */
const char *broker_list_key(const struct broker *b, int list, char buf[KEY_MAX]);
/* epoch 0: missing; foreign: of another database */
void broker_read_epoch(const struct broker *b, const struct redisReply *reply,
    int64_t *epoch, bool *foreign);

/* sends a command that nobody waits for; what is lost is repaired by the feeder */
void broker_tell(struct broker *b, rconn_reply_cb *cb, int argc,
    const char *const argv[], const size_t lens[]);
void broker_tell_of(struct broker *b, rconn_reply_cb *cb, void *arg, int argc,
    const char *const argv[], const size_t lens[]);

/* lists.c: an id is in our processing list */
void broker_take(struct broker *b, const struct elem *e);
void broker_tidy(void *arg);

/* news.c */
void broker_on_message(struct rconn *rc, const char *channel, size_t channel_len,
    const char *text, size_t len, void *arg);

/* inspect.c: board is borrowed */
struct inspect *inspect_create(
    struct broker *b, const struct scoreboard *board, struct err *err) ATTR_CHECK;
void inspect_free(struct inspect *in); /* NULL is fine; no reply may be open */
void inspect_soon(struct inspect *in); /* there is a new connection; NULL is fine */

#endif
