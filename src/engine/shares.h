/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shares.h - who among the applications has had how much.
 *
 * Each application has a finish tag: its virtual time, which a task put into the list
 * moves on by 1 / weight.  Whoever is behind comes next, so that shares hold by weight
 * over any stretch of time, whatever the numbers of lanes and tasks.  What lies in the
 * list has been counted already, so the tag less that is what an application has really
 * had; the least of these is the time at the popping end.  An application that had
 * nothing to do begins there: it is owed nothing for the time before, and nothing of
 * what the others have in the list goes before it but a like share.
 *
 * The numbers live in the leader's memory and are found anew after it: what lies in the
 * list is all that they remember.
 */
#ifndef ENGINE_SHARES_H
#define ENGINE_SHARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARES_MOST 4096    /* applications beyond these have no memory */
#define SHARE_UNIT  1000000 /* virtual time of one task of weight 1 */

struct share {
	int app_id, weight;
	int64_t tag;
	int64_t listed; /* in the list when it was last read */
	/* of the pass */
	int64_t base;	    /* where its first row stands */
	int64_t rows;	    /* that were given a tag */
	int64_t seen_to_us; /* rows behind it may have others before them */
	int first_pushed;   /* to the popping end */
	bool known;	    /* it has a tag */
	bool active;	    /* it had rows in this pass, or has some in the list */
};

struct shares {
	struct share *all; /* sorted by application */
	size_t count, room;
	int64_t now; /* the tag at the end of the list */
	int64_t pop; /* and at its popping end */
};

void shares_fini(struct shares *sh);
/* of an application, made if need be; valid until the next call; NULL: no room */
struct share *shares_of(struct shares *sh, int app_id);
int64_t share_cost(const struct share *s);

/* the list is read anew: listed counts are 0 */
void shares_begin_list(struct shares *sh);
/* all memory but the listed counts goes: the list is not in an order of ours */
void shares_anchor(struct shares *sh);
/*
 * Where each stands: after a look at the list by what lies in it; otherwise by its
 * length.
 */
void shares_begin_whole(struct shares *sh);
void shares_begin_brief(struct shares *sh, int64_t length);
/* applications that have nothing and are owed nothing are forgotten */
void shares_tidy(struct shares *sh);

#endif
