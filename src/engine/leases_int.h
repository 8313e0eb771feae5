/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases_int.h - the inside of leases, shared by their files: leases.c has those who
 * wait, lease_take.c the statement that leases for them, lease_hints.c tells and hears
 * that there is something, lease_undo.c gives back what nobody has.
 */
#ifndef ENGINE_LEASES_INT_H
#define ENGINE_LEASES_INT_H

#include <sys/queue.h>

#include "engine/internal.h"
#include "engine/leases.h"

struct hmap;
struct lease_hints;
struct lease_undo;

#define LEASE_LINES_MOST 64  /* in one statement */
#define LEASE_SLOTS_MOST 512 /* in one statement */

TAILQ_HEAD(wait_list, lease_wait);
TAILQ_HEAD(line_list, line);

struct line {
	TAILQ_ENTRY(line) dirty_link;
	TAILQ_ENTRY(line) later_link;
	TAILQ_ENTRY(line) app_link;
	struct app *app;
	struct wait_list waits; /* in the order of their coming */
	bool dirty, later, sent;
	bool late;     /* it is dirty out of its turn alone ... */
	bool after;    /* ... and so it was for the statement under way */
	uint64_t name; /* of the key, the same at all workers */
	size_t wanted; /* of the statement under way: its slots; got: rows that came */
	size_t got;
	int queues[LEASE_MAX_QUEUES];
	size_t queue_count;
	size_t type_count;
	size_t key_len;
	char
	    key[]; /* application, queues, names of types: all that makes it one line */
};

/* lines of one application */
struct app {
	int id;
	struct line_list lines;
};

struct lease_wait {
	TAILQ_ENTRY(lease_wait) link;
	struct leases *set;
	struct line *line;
	struct loop_timer *timer;
	lease_cb *cb;
	void *arg;
	int max;
	uint64_t number; /* in the order of their coming, to all lines */
	int64_t ttl_ms;
	unsigned slots; /* of the statement under way */
	bool over;	/* its time is up, and it waits for that statement */
	char *worker;	/* owned; NULL: none */
	char by[APIKEY_PUBLIC + 1];
};

struct slot {
	struct uuid lease;
	struct lease_wait *wait; /* NULL: it is gone */
	int row;		 /* -1: nothing came for it */
};

struct leases {
	struct engine *engine;
	struct hmap *lines; /* by their key */
	struct hmap *apps;
	struct hmap *keys; /* how many of each key wait */
	struct line_list dirty;
	struct line_list later; /* dirty when it is time */
	size_t count;
	uint64_t last_number;
	bool ending;
	struct loop_defer *defer;
	struct loop_timer *poll; /* runs while somebody waits */
	struct loop_timer *again;
	struct loop_timer *turn;
	/* the statement under way */
	bool open;
	int64_t sent_ms;
	int64_t took_ms; /* those that brought something, on the average */
	int batch;	 /* counts down: dispatch's batches count up */
	struct line *asks[LEASE_LINES_MOST];
	size_t ask_count;
	struct slot slots[LEASE_SLOTS_MOST];
	size_t slot_count;
	struct pgparam params;
	struct lease_undo *undo;
	struct lease_hints *hints;
};

/* ---- leases.c */

/* there may be something for it */
void lease_line_due(struct leases *ls, struct line *line);
void lease_line_put(
    struct leases *ls, struct line *line); /* it may go if it is empty */
/* the names of its types, each ended by a NUL */
const char *lease_line_types(const struct line *line);
int64_t leases_turn_ms(const struct leases *ls); /* of a worker, before all others */
/* gone before the call: the callback may add another */
bool lease_tell(struct lease_wait *w, const struct pgrows *rows,
    const struct lease_grant grants[], size_t count, const struct err *err);
void lease_tell_none(struct lease_wait *w, const struct err *err);
/*
 * There may be something in a queue (0: in any) of an application (0: of
 * any).  lot: by a hint that all workers hear, see turns.h; NULL: look at once.
 */
void leases_wake(struct leases *ls, int app_id, int queue_id, const uint32_t *lot);

/* ---- lease_take.c */

void lease_take_next(void *arg); /* the leases: for what is dirty, if none is open */
void lease_take_forget(struct leases *ls, struct lease_wait *w); /* its slots */

/* ---- lease_hints.c */

struct lease_hints *lease_hints_create(struct engine *e) ATTR_CHECK; /* NULL: memory */
void lease_hints_free(struct lease_hints *h);
void lease_hints_add(struct lease_hints *h, int app_id, int queue_id);
void lease_hints_told(struct lease_hints *h, char *text); /* a message; it is cut up */
/* what a line's key is called among workers; who waits comes and goes by that name */
uint64_t lease_hints_name(const void *key, size_t len);
void lease_hints_enter(struct lease_hints *h, uint64_t name);
void lease_hints_leave(struct lease_hints *h, uint64_t name);
bool lease_hints_is_ours(struct lease_hints *h, uint64_t name, uint32_t lot);
/* what comes goes by turns: whoever begins to wait need not look for it */
bool lease_hints_is_scarce(struct lease_hints *h, uint64_t name);
/* whether turns leave something over */
void lease_hints_left_over(struct lease_hints *h, uint64_t name, bool left);
/* a look out of our turn took what had just come: none for a while */
void lease_hints_rest(struct lease_hints *h, uint64_t name, int64_t turn_ms);
bool lease_hints_rests(const struct lease_hints *h, uint64_t name);
void lease_hints_tell(struct lease_hints *h);	   /* who waits, once a second ... */
bool lease_hints_any(const struct lease_hints *h); /* ... while this is true */

/* ---- lease_undo.c */

#define LEASE_UNDO_TRIES 4 /* of one that may be committed later than it is undone */
struct lease_undo *lease_undo_create(struct engine *e) ATTR_CHECK; /* NULL: memory */
void lease_undo_free(struct lease_undo *u);
void lease_undo_add(struct lease_undo *u, const struct uuid *lease, int tries);
bool lease_undo_idle(const struct lease_undo *u);

#endif
