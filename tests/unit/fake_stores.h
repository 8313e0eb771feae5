/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_stores.h - a PostgreSQL and a Redis that do what a test says, under a real
 * engine.
 *
 * The program defines store.h's and broker.h's functions itself, so that libnode's are
 * not linked.  A statement waits until the test answers it, with rows or with an error,
 * by its constant; commands to Redis are only written down.
 */
#ifndef TESTS_FAKE_STORES_H
#define TESTS_FAKE_STORES_H

#include "broker/broker.h"
#include "engine/internal.h"
#include "store/store.h"

#define FAKE_ELEMS 4096
#define FAKE_LISTS 8

struct fake_list {
	struct elem elems[FAKE_ELEMS];
	size_t count;
};

struct fake_stores {
	bool lane_up[STORE_LANE_COUNT];
	bool redis_up;
	store_state_cb *store_cb;
	void *store_arg;
	const struct broker_events *events;
	void *events_arg;
	/* what the engine told Redis */
	struct fake_list pushed, pushed_first, acked, given_back, dropped;
	struct fake_list replaced; /* the last list that was made anew */
	size_t replaced_count;	   /* how often */
	size_t pops; /* asked for and not yet answered, of the first list */
	size_t asked[FAKE_LISTS]; /* the same of each list */
	bool line_empty;	  /* the blocking pop waits */
	bool looking;		  /* the worker's own list is being read */
	size_t look_count;
	broker_view_cb *look_cb;
	void *look_arg;
	int64_t epoch_set;
	char published[4096]; /* all messages, a space before each */
	int64_t length;
};
extern struct fake_stores fakes;

/* an engine that serves shoal.noop (1), echo (2), sleep (3), fail (4); attempts that
 * its handler was given wait in started[] */
extern struct loop *test_loop;
extern struct engine *test_engine;
extern struct attempt *started[256];
extern size_t started_count;
extern int engine_ended; /* how often it said so */
/* node.pools of the next one; NULL: main alone */
extern const char *engine_pools_served;
int engine_setup(void **state);
int engine_teardown(void **state);

void turn(void); /* lets everything run that is due now */
/* runs the loop until it is so, for a minute at most: a busy machine takes its time */
#define UNTIL(what)                                                                    \
	do {                                                                           \
		int64_t until_ms = clock_mono_ms() + 60000;                            \
		while (!(what) && clock_mono_ms() < until_ms)                          \
			turn();                                                        \
		assert_true(what);                                                     \
	} while (0)

/* statements of this kind without an answer */
size_t waiting(const struct pgstmt *st);
/* the oldest one's parameters, from 0 */
int64_t param_int(const struct pgstmt *st, int n);
int array_count(const struct pgstmt *st, int n);
int64_t array_int(const struct pgstmt *st, int n, int i);
void array_uuid(const struct pgstmt *st, int n, int i, struct uuid *id);
bool array_null(const struct pgstmt *st, int n, int i);
void array_text(const struct pgstmt *st, int n, int i, char *to, size_t size);

/* answers are built row by row: one letter a column: h i l int2, int4, int8; u struct
 * uuid *; t text; b bool; n NULL */
struct pgrows *rows_new(const char *kinds);
void rows_add(struct pgrows *rows, const char *kinds, ...);
void answer(const struct pgstmt *st, struct pgrows *rows); /* the oldest; given */
void answer_nothing(const struct pgstmt *st);
void answer_error(
    const struct pgstmt *st, enum pgerr_class class, const char *sqlstate);

void task_id(int n, struct uuid *id); /* sorted as their numbers */
void pop_id(int n, int type_id);      /* an id arrives from Redis */
bool listed(const struct fake_list *l, int n);

#endif
