/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - the broker's inside, shared by its files only.
 */
#ifndef BROKER_INTERNAL_H
#define BROKER_INTERNAL_H

#include "broker/broker.h"
#include "broker/proclist.h"
#include "model/task.h"
#include "redis/redisurl.h"

struct rconn;
struct redisReply;

#define KEY_MAX	  192
#define PUSH_MOST 500 /* ids in one command */

enum broker_lane { LANE_COMMAND = 0, LANE_POP, LANE_CHANNELS, LANE_COUNT };

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
	struct rconn *lanes[LANE_COUNT];
	/* asks for the epoch again while it is another database's */
	struct loop_timer *judge_timer;
	bool up;      /* what events->state was last told */
	bool judged;  /* the epoch on this connection is ours, or missing */
	bool stopped; /* broker_stop_popping */
	bool waiting; /* a blocking pop is under way */
	bool hears_hints;
	int more_open; /* replies of broker_pop_more to come */
	int more_got;
	int64_t refused_told_ms; /* when an error reply was last logged; 0: never */
	int64_t length;		 /* of the dispatch list, last known */
	struct proclist *held;	 /* our processing list, as we know it */
	struct loop_defer *tidy; /* acknowledges what was done in this turn */
	/* broker_look, one at a time */
	struct look *look;
	/* keys, made once */
	char k_epoch[KEY_MAX], k_beat[KEY_MAX], k_dispatch[KEY_MAX], k_proc[KEY_MAX];
	char k_places[KEY_MAX], k_leader[KEY_MAX], k_ctl[KEY_MAX], k_done[KEY_MAX];
	char k_feed[KEY_MAX];
	char owner_name[OWNER_TEXT_SIZE];
};

void broker_key(
    const struct broker *b, char key[KEY_MAX], const char *what, const char *rest);
/* epoch 0: missing; foreign: of another database */
void broker_read_epoch(const struct broker *b, const struct redisReply *reply,
    int64_t *epoch, bool *foreign);

#endif
