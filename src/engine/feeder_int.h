/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feeder_int.h - the feeders' inside, shared by their files: feeder.c asks, line.c puts
 * the answer into the list, feeders.c has all feeders.
 */
#ifndef ENGINE_FEEDER_INT_H
#define ENGINE_FEEDER_INT_H

#include "engine/internal.h"
#include "engine/lanes.h"
#include "engine/recent.h"
#include "engine/shares.h"

#define YOUNG_MS   1000
#define TYPES_MOST 1024

struct hmap;

struct take {
	int type_id;
	int free; /* places over all workers; where it is not metered, free slots */
	int left; /* of these, in this pass */
	bool metered;
};

/* a task that is due and queued */
struct row {
	struct elem el;
	int queue_id, weight;
	int asked; /* of its lane; 0: only limits ended it */
	int room;  /* that limits leave in its lane; -1: no limit */
	int64_t order_us, age_ms;
	int64_t tag;	     /* its place in the fair order */
	int64_t rivals;	     /* how many its application has in the list */
	size_t ties;	     /* behind it, and about as early */
	size_t at;	     /* in the list, if listed */
	bool fresh;	     /* came due in this pass */
	bool early;	     /* belongs in front of what its lane has in the list */
	bool listed, placed; /* placed: it is in the list, or on its way to a claim */
};

enum pass_kind {
	PASS_WHOLE,   /* the list is read, and the lanes from their heads */
	PASS_BRIEF,   /* reads on from the last one */
	PASS_REPLACE, /* whole, and the list is made anew */
};

struct feeder {
	TAILQ_ENTRY(feeder) link;
	struct feeders *all_feeders;
	struct engine *engine;
	int list; /* that it feeds */
	bool running;
	bool open;   /* a pass is under way */
	bool hinted; /* a hint came: the next pass trusts no "on its way" */
	bool all;    /* this pass does so */
	bool refill; /* Redis lost its contents */
	enum pass_kind kind;
	bool from_low; /* this whole pass did not begin at the heads */
	bool ended;    /* nothing was left to read on */
	bool again;    /* there is more, and room for it */
	bool requeue;  /* the list is to be made anew */
	int64_t replaced_ms, replaced_spent_ms; /* when that was last done, its time */
	int64_t whole_ms, whole_spent_ms;	/* the same of whole passes */
	int64_t head_ms, head_spent_ms; /* and of those that began at the heads */
	struct lanes lanes;
	struct shares shares;
	bool metered_due; /* types or lanes with places of their own have something due
			   */
	int64_t due_us;	  /* the latest time to run that was promoted; 0: none */
	int64_t paused;	  /* changes with the set of paused queues */
	bool paused_known;
	struct loop_timer *timer;
	int64_t started_ms;
	int64_t beat;
	int64_t database_epoch;
	bool epoch_open;
	/* the view of this pass */
	bool seen;
	int64_t seen_epoch;
	bool seen_foreign;
	int64_t length;
	struct hmap *listed; /* elements of the list, by id; values point into elems */
	struct elem *elems;  /* from the popping end */
	size_t list_count;
	struct take takes[TYPES_MOST];
	size_t take_count;
	int64_t slots; /* of the cluster */
	int64_t window;
	bool spilling;
	int64_t told_ms;      /* when that was last said */
	size_t pushed;	      /* by this pass */
	bool more;	      /* lanes go on behind what was read */
	struct recent recent; /* what was pushed */
	struct pgparam params;
};

struct feeder *feeder_create(
    struct engine *e, struct feeders *fs, int list, struct err *err) ATTR_CHECK;
void feeder_free(struct feeder *f);
void feeder_start(struct feeder *f);
void feeder_stop(struct feeder *f);
void feeder_hint(struct feeder *f);
void feeder_requeue(struct feeder *f);
/* it is queued once more: where it was pushed before counts no more */
void feeder_again(struct feeder *f, const struct uuid *id);
/* Redis has lost its contents: what was pushed is forgotten, and the list made anew */
void feeder_refill(struct feeder *f);

/* that of the first list also renews the lease, promotes, and watches over the epoch */
static inline bool
feeder_is_first(const struct feeder *f)
{
	return f->list == LIST_MAIN;
}

/* feeders.c, told by the first feeder */
/* these pools have queues, and a list each; all others have none */
void feeders_pools(struct feeders *fs, const int *pools, size_t count);
/* a worker serves commands in this pool */
void feeders_commands(struct feeders *fs, int pool);
void feeders_promoted(struct feeders *fs, int pool);
void feeders_lost_redis(struct feeders *fs);
/* how long the lists are, for all workers */
void feeders_tell(struct feeders *fs);

/* NULL: no node serves it in this list, as far as Redis tells */
struct take *feeder_take(struct feeder *f, int type_id);

/*
 * line.c: pushes what is missing, or replaces the list.  Rows come lane by lane, each
 * in order.  Returns whether something had to be left out.
 */
bool line_update(struct feeder *f, struct row *rows, size_t count);

#endif
