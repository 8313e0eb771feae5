/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tasks_each.h - requests whose tasks are made one by one (engine/each.h), from their
 * parsed form to the commit; internal to src/api.
 */
#ifndef API_TASKS_EACH_H
#define API_TASKS_EACH_H

#include "api/call.h"
#include "api/graph.h"
#include "api/idempotency.h"
#include "engine/each.h"

/* the group of a request */
struct group_request {
	struct uuid id;
	bool add; /* it exists; otherwise it is made */
	int open; /* more may be added later; -1: as it is */
	struct jspan metadata;
	/* tasks to be made when it has ended, has succeeded, has its first failure;
	 * type empty: none */
	struct task_request on_completion, on_success, on_failure;
};

/* owned by its call */
struct each_call {
	struct each_request request;
	struct each_item *items;
	struct strbuf specs;	  /* of all items, and the group's JSON behind them */
	struct task_request *trs; /* as they were asked for; owned */
	size_t count;
	struct graph graph;
	int *bounded; /* queues with a max_length, one for each task in one; owned */
	struct group_request *group; /* owned; NULL: none */
	char print[IDEMPOTENCY_PRINT_SIZE];
	void (*reply)(struct call *c);
};

/*
 * Takes trs and group (given; group NULL: none) and submits them; reply is called after
 * the commit, unless the call ends before.  Items are c->each->items in the order of
 * graph.place.
 */
void tasks_each(struct call *c, struct task_request *trs, size_t count,
    struct group_request *group, void (*reply)(struct call *c));
/* c->tasks, c->count of them, parsed; to be freed.  NULL: c was answered */
struct task_request *tasks_each_parse(struct call *c);
/* the member "tasks" of an answer: id and state of each, in the order of the request */
void tasks_each_json(const struct call *c, struct jsonw *w);
void tasks_each_free(struct each_call *e); /* NULL is fine */
/* what task i of the request became */
const struct each_item *tasks_each_item(const struct call *c, size_t i);
/* NULL for a task that was made */
const char *each_outcome_name(enum each_outcome outcome);

#endif
