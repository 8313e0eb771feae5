/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dispatch_int.h - what dispatch.c, claim.c, adopt.c, suspect.c and attempt.c share:
 * the state of one worker's dispatch, and the calls between them.
 */
#ifndef ENGINE_DISPATCH_INT_H
#define ENGINE_DISPATCH_INT_H

#include "base/hmap.h"
#include "engine/internal.h"

#define DISPATCH_RETRY_MS 200

enum claim_state {
	CLAIM_NONE = 0,
	CLAIM_SENT,
	CLAIM_LOST,   /* the answer is lost; waits for the connection to ask */
	CLAIM_ASKING, /* asked again */
};

/* a batch that took something: its row in shoal.claim goes when its last attempt goes
 */
struct claim_note {
	TAILQ_ENTRY(claim_note) link;
	int claim;
	int left;
};

/* a list that this worker pops from */
struct line {
	int list;
	bool came;    /* the blocking pop has brought something that was taken */
	bool polling; /* the last look at the list found more */
	int64_t left; /* in the list, when last told */
	int asked;    /* ids that a pop under way may still bring */
};

TAILQ_HEAD(attempts, attempt);
TAILQ_HEAD(claim_notes, claim_note);

struct dispatch {
	struct engine *engine;
	struct hmap *held; /* every attempt but ghosts, by task id */
	struct attempts popped;
	struct attempts claiming;
	struct attempts unnamed;  /* CLAIMED, their queue's name is not known */
	struct attempts naming;	  /* the same, and the question is under way */
	struct attempts doubtful; /* CLAIMED, perhaps suspects */
	struct attempts asking;	  /* the same, and the question is under way */
	/* the one that shall run, or runs, with nothing beside it; NULL: none */
	struct attempt *suspect;
	bool suspect_begun;    /* it was alone, and is with its handler or on the way */
	struct attempts spare; /* free list */
	size_t spare_count;
	struct claim_notes ended; /* batches that ended without a finish */
	int batches;		  /* numbers given to claims so far: the latest one */
	enum claim_state claim_state;
	bool claim_direct; /* the claim under way was a direct one */
	bool claim_gates;  /* it was one for endpoints */
	bool claim_asked;  /* its answer was lost, and asked for again */
	/* there may be tasks for endpoints: of this application, 0: of any */
	bool due;
	int due_app;
	int64_t due_after_ms;	      /* not before this */
	int64_t due_sent_ms;	      /* when it was last asked */
	struct loop_timer *due_timer; /* each second, and after a pause */
	bool commands;		      /* which purse the latest direct claim was for */
	int turn;		      /* which pool and purse */
	int empty_claims;	      /* direct ones in a row that brought nothing */
	int claim;    /* number of the claim under way, or of the latest */
	int adopting; /* number of the batch of a submit under way; 0: none */
	struct claim_note *adopted;  /* that batch, once it has brought something */
	struct attempts newborn;     /* of that batch: to be started */
	struct claim_notes in_doubt; /* submits whose answer was lost: to be asked */
	int ghosts;
	bool stopped;
	struct line lines[2 * POOLS_SERVED];
	int line_count;
	int first_line; /* that is asked first, by turns */
	int bounces;	/* ids given back in a row */
	struct loop_defer *defer;
	/* pauses: after bounces, failures, between direct claims */
	struct loop_timer *timer;
	struct loop_timer *direct_timer; /* redis has been away long enough */
	bool direct;			 /* claim from PostgreSQL */
	int64_t try_redis_ms;	/* redis refuses, is late, or unfed: till then */
	int64_t pause_until_ms; /* no pop, no direct claim before this */
	int64_t claim_after_ms; /* no statement for a claim before this: one failed */
	struct pgparam params;
};

/* attempt.c: what is held */
/* NULL: no memory; the place was taken by the caller */
struct attempt *attempt_hold(
    struct dispatch *d, const struct elem *el, struct type_entry *t);
/* so much is not recorded yet that nothing more is taken */
bool dispatch_is_choked(const struct dispatch *d);
/* how many of the types without places of their own may be taken now */
int dispatch_room(const struct dispatch *d);
/* the end of an attempt's life here; its place is free again */
void attempt_let_go(struct dispatch *d, struct attempt *a);

/* dispatch.c: no pop and no direct claim for so long; no claim for a moment */
void dispatch_pause_ms(struct dispatch *d, int64_t ms);
void dispatch_claim_later(struct dispatch *d);
void dispatch_give_back_popped(
    struct dispatch *d); /* what is not claimed, for others */

/* adopt.c: a submit's batch whose answer was lost becomes the claim to be asked for */
void adopt_ask(struct dispatch *d);

/* suspect.c: tasks that were there in two crashes */
bool suspect_may_be(const struct attempt *a); /* CLAIMED: has to be asked about */
/* may_ask: the database may be asked now */
void suspect_look(struct dispatch *d, bool may_ask);
void suspect_ended(struct dispatch *d);

/* claim.c */
void claim_ready(struct dispatch *d, struct attempt *a); /* the same, once named */
void claim_start(struct dispatch *d, struct attempt *a); /* CLAIMED: to its handler */
void claim_popped(struct dispatch *d);	  /* what waits goes out in one claim */
void claim_straight(struct dispatch *d);  /* without Redis */
void claim_endpoints(struct dispatch *d); /* what runs at endpoints, if there is room */
void claim_ask(struct dispatch *d);	  /* the answer was lost: what is ours? */
void claim_ask_names(struct dispatch *d); /* of the queues of what was claimed */

#endif
