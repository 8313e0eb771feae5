/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.c - queues and task types by name and by number; see names.h.
 *
 * Two maps over the same entries.  When there are NAMES_CACHE entries the whole cache
 * is emptied: simpler than an order of use, and refilled in one statement a name.
 *
 * A queue that is used and was not asked about for a while goes to a line; those that
 * gather there within GATHER_MS are asked about in one statement.
 */
#include "engine/names.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "model/names.h"

#define NAMES_CACHE 20000
#define KEY_SIZE    (NAME_MAX_BYTES + 16)
#define GATHER_MS   200
#define ASK_MOST    512 /* queues in one question about what is set for them */

enum name_kind { NAME_QUEUE = 0, NAME_TYPE };

struct name {
	enum name_kind kind;
	int app; /* queues only */
	int id;
	struct queue_policy policy; /* queues only, as all up to number */
	bool has_policy;	    /* something is set */
	int pool;
	bool stale; /* in the line */
	int64_t known_ms;
	TAILQ_ENTRY(name) link;
	int number[2]; /* kind and id: key of the second map */
	size_t key_len;
	char key[KEY_SIZE]; /* "q12/main" or "tthumbnail" */
	char text[NAME_MAX_BYTES + 1];
};

struct names {
	struct loop *loop;
	struct store *store;
	struct pools *pools;
	struct hmap *by_key;
	struct hmap *by_number;
	size_t policies; /* entries with has_policy */
	size_t pooled;	 /* entries in another pool than main */
	TAILQ_HEAD(, name) stale;
	struct loop_timer *timer; /* runs while some are in the line */
	bool asking;
};

struct ask {
	struct names *names;
	int app;
	names_cb *cb;
	void *arg;
};

static size_t
make_key(char key[KEY_SIZE], enum name_kind kind, int app, const char *text)
{
	int len = kind == NAME_QUEUE ? snprintf(key, KEY_SIZE, "q%d/%s", app, text)
				     : snprintf(key, KEY_SIZE, "t%s", text);

	return len > 0 && len < KEY_SIZE ? (size_t)len : 0;
}

static void
empty(struct names *n)
{
	struct name *nm;
	size_t cursor = 0;

	while ((nm = hmap_next(n->by_key, &cursor)) != NULL) {
		hmap_remove(n->by_key, nm->key, nm->key_len);
		hmap_remove(n->by_number, nm->number, sizeof(nm->number));
		mem_free(nm);
	}
	TAILQ_INIT(&n->stale);
	n->policies = n->pooled = 0;
}

static void ask_policies(void *arg);

struct names *
names_create(struct loop *l, struct store *st, struct pools *pools, struct err *err)
{
	struct names *n = mem_zero(sizeof(*n));

	if (n != NULL)
		TAILQ_INIT(&n->stale);
	if (n == NULL || (n->by_key = hmap_create()) == NULL ||
	    (n->by_number = hmap_create()) == NULL ||
	    (n->timer = loop_timer_create(l, ask_policies, n)) == NULL) {
		names_free(n);
		err_set(err, ERR_NOMEM, "names");
		return NULL;
	}
	n->loop = l;
	n->store = st;
	n->pools = pools;
	return n;
}

void
names_free(struct names *n)
{
	if (n == NULL)
		return;
	if (n->by_key != NULL && n->by_number != NULL)
		empty(n);
	hmap_free(n->by_key);
	hmap_free(n->by_number);
	loop_timer_free(n->timer);
	mem_free(n);
}

static struct name *
find(const struct names *n, enum name_kind kind, int app, const char *text)
{
	char key[KEY_SIZE];
	size_t len = make_key(key, kind, app, text);

	return len > 0 ? hmap_get(n->by_key, key, len) : NULL;
}

static struct name *
find_number(const struct names *n, enum name_kind kind, int id)
{
	int number[2] = {kind, id};

	return hmap_get(n->by_number, number, sizeof(number));
}

/* ---------------------------------------------------------------- what is set for
 * queues
 */

static void
forget_policy(struct names *n, struct name *nm)
{
	if (nm->stale)
		TAILQ_REMOVE(&n->stale, nm, link);
	nm->stale = false;
	n->policies -= nm->has_policy;
	nm->has_policy = false;
	n->pooled -= nm->pool != POOL_MAIN;
	nm->pool = POOL_MAIN;
}

static void
set_pool(struct names *n, struct name *nm, const struct pgrows *rows, int row)
{
	const char *text;
	size_t len;

	n->pooled -= nm->pool != POOL_MAIN;
	nm->pool = POOL_MAIN;
	if (!pgrows_is_null(rows, row, 9)) {
		text = pgrows_text(rows, row, 9, &len);
		nm->pool = pools_number(n->pools, text, len);
	}
	n->pooled += nm->pool != POOL_MAIN;
}

/* columns from the fourth on of sql_names and sql_queues_by_id */
static void
set_policy(struct names *n, struct name *nm, const struct pgrows *rows, int row)
{
	struct queue_policy *p = &nm->policy;

	p->paused = pgrows_bool(rows, row, 3);
	p->limited = pgrows_bool(rows, row, 4);
	p->priority = pgrows_is_null(rows, row, 5) ? -1 : (int)pgrows_int(rows, row, 5);
	p->max_length = (int)pgrows_int(rows, row, 6);
	p->shed_ppm = (int)pgrows_int(rows, row, 7);
	p->shed_below =
	    pgrows_is_null(rows, row, 8) ? -1 : (int)pgrows_int(rows, row, 8);
	n->policies -= nm->has_policy;
	nm->has_policy = p->paused || p->limited || p->priority >= 0 ||
			 p->max_length > 0 || p->shed_ppm > 0;
	n->policies += nm->has_policy;
	set_pool(n, nm, rows, row);
	nm->known_ms = loop_now_ms(n->loop);
}

static void
want_policy(struct names *n, struct name *nm, int64_t wait_ms)
{
	if (!nm->stale) {
		nm->stale = true;
		TAILQ_INSERT_TAIL(&n->stale, nm, link);
	}
	if (!n->asking && (wait_ms == 0 || !loop_timer_pending(n->timer)))
		loop_timer_start_ms(n->timer, wait_ms);
}

static void
on_policies(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct names *n = arg;
	struct name *nm;

	n->asking = false;
	/* on an error what was known stays, and its next use asks again */
	for (int i = 0; pe == NULL && i < pgrows_count(rows); i++) {
		nm = find_number(n, NAME_QUEUE, (int)pgrows_int(rows, i, 0));
		if (nm != NULL)
			set_policy(n, nm, rows, i);
	}
	if (!TAILQ_EMPTY(&n->stale))
		loop_timer_start_ms(n->timer, GATHER_MS);
}

static void
ask_policies(void *arg)
{
	struct names *n = arg;
	struct pgparam p;
	struct name *nm;

	if (n->asking || TAILQ_EMPTY(&n->stale))
		return;
	pgparam_init(&p);
	pgparam_array(&p, PGTYPE_INT4);
	for (int i = 0; i < ASK_MOST && (nm = TAILQ_FIRST(&n->stale)) != NULL; i++) {
		TAILQ_REMOVE(&n->stale, nm, link);
		nm->stale = false;
		pgparam_elem_int4(&p, nm->id);
	}
	pgparam_array_end(&p);
	n->asking = store_exec(n->store, STORE_READ, &sql_queues_by_id, &p, on_policies,
			n, NULL) == 0;
	pgparam_fini(&p);
}

bool
names_have_policies(const struct names *n)
{
	return n->policies > 0;
}

const struct queue_policy *
names_policy(const struct names *n, int queue_id)
{
	const struct name *nm;

	if (n->policies == 0)
		return NULL;
	nm = find_number(n, NAME_QUEUE, queue_id);
	return nm != NULL && nm->has_policy ? &nm->policy : NULL;
}

int
names_pool(const struct names *n, int queue_id)
{
	const struct name *nm;

	if (n->pooled == 0)
		return POOL_MAIN;
	nm = find_number(n, NAME_QUEUE, queue_id);
	return nm != NULL ? nm->pool : POOL_MAIN;
}

void
names_queue_changed(struct names *n, int queue_id)
{
	struct name *nm = find_number(n, NAME_QUEUE, queue_id);

	if (nm != NULL)
		want_policy(n, nm, 0);
}

/* ---------------------------------------------------------------- names */

int
names_queue_id(struct names *n, int app, const char *queue)
{
	struct name *nm = find(n, NAME_QUEUE, app, queue);

	if (nm == NULL)
		return 0;
	if (loop_now_ms(n->loop) - nm->known_ms > NAMES_FRESH_MS - GATHER_MS)
		want_policy(n, nm, GATHER_MS);
	return nm->id;
}

int
names_type_id(const struct names *n, const char *type)
{
	const struct name *nm = find(n, NAME_TYPE, 0, type);

	return nm != NULL ? nm->id : 0;
}

const char *
names_queue(const struct names *n, int queue_id)
{
	const struct name *nm = find_number(n, NAME_QUEUE, queue_id);

	return nm != NULL ? nm->text : NULL;
}

/*
 * Before an answer is remembered, never within: who asked will look for all of its
 * names, and take one that is missing for one that does not exist.
 */
static void
make_room(struct names *n, int count)
{
	if (hmap_count(n->by_key) + (size_t)count > NAMES_CACHE)
		empty(n);
}

/* a row of an answer: its number, name and, of a queue, what is set; -1: no memory */
static int
remember(struct names *n, enum name_kind kind, int app, int id,
    const struct pgrows *rows, int row, int text_col)
{
	struct name *nm = find_number(n, kind, id);
	void *old = NULL;
	const char *text;
	size_t len;

	text = pgrows_text(rows, row, text_col, &len);
	if (len > NAME_MAX_BYTES)
		return 0;
	if (nm != NULL) {
		if (kind == NAME_QUEUE)
			set_policy(n, nm, rows, row);
		return 0;
	}
	nm = mem_zero(sizeof(*nm));
	if (nm == NULL)
		return -1;
	nm->kind = kind;
	nm->app = app;
	nm->id = id;
	nm->number[0] = kind;
	nm->number[1] = id;
	memcpy(nm->text, text, len);
	nm->key_len = make_key(nm->key, kind, app, nm->text);
	if (nm->key_len == 0 ||
	    hmap_put(n->by_key, nm->key, nm->key_len, nm, &old) != 0) {
		mem_free(nm);
		return -1;
	}
	if (old != NULL) { /* the name has a new number: an application was made anew */
		struct name *gone = old;

		hmap_remove(n->by_number, gone->number, sizeof(gone->number));
		forget_policy(n, gone);
		mem_free(gone);
	}
	if (hmap_put(n->by_number, nm->number, sizeof(nm->number), nm, NULL) != 0) {
		hmap_remove(n->by_key, nm->key, nm->key_len);
		mem_free(nm);
		return -1;
	}
	if (kind == NAME_QUEUE)
		set_policy(n, nm, rows, row);
	return 0;
}

/* all names of the answer are known now, or the caller is told that they are not */
static void
tell(struct ask *ask, bool remembered)
{
	struct err err = ERR_INIT;

	if (!remembered)
		err_set(&err, ERR_NOMEM, "names");
	ask->cb(remembered ? NULL : &err, ask->arg);
}

/* 0 when rows came; otherwise the caller of ask is told here */
static int
answer(struct ask *ask, const struct pgerr *pe)
{
	struct err err = ERR_INIT;

	if (pe == NULL)
		return 0;
	if (str_eq(pe->sqlstate, "54000"))
		err_set(&err, ERR_LIMIT, "%s", pe->text);
	else
		err_set(&err, ERR_IO, "database: %s", pe->text);
	ask->cb(&err, ask->arg);
	return -1;
}

static void
on_names(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct ask *ask = arg;
	int rc = 0;

	if (answer(ask, pe) == 0) {
		make_room(ask->names, pgrows_count(rows));
		for (int i = 0; i < pgrows_count(rows); i++) {
			rc |= remember(ask->names,
			    pgrows_int(rows, i, 0) == 0 ? NAME_QUEUE : NAME_TYPE,
			    ask->app, (int)pgrows_int(rows, i, 2), rows, i, 1);
		}
		tell(ask, rc == 0);
	}
	mem_free(ask);
}

static struct ask *
ask_create(struct names *n, int app, names_cb *cb, void *arg, struct err *err)
{
	struct ask *ask = mem_zero(sizeof(*ask));

	if (ask == NULL) {
		err_set(err, ERR_NOMEM, "names");
		return NULL;
	}
	ask->names = n;
	ask->app = app;
	ask->cb = cb;
	ask->arg = arg;
	return ask;
}

static void
add_texts(struct pgparam *p, const char *const texts[], size_t count)
{
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_text(p, texts[i], strlen(texts[i]));
	pgparam_array_end(p);
}

static int
ask_send(struct names *n, const struct pgstmt *stmt, struct pgparam *p,
    pgconn_done_cb *done, struct ask *ask, struct err *err)
{
	int rc = store_exec(n->store, STORE_READ, stmt, p, done, ask, err);

	pgparam_fini(p);
	if (rc != 0)
		mem_free(ask);
	return rc;
}

int
names_learn(struct names *n, int app, const char *const queues[], size_t queue_count,
    const char *const types[], size_t type_count, names_cb *cb, void *arg,
    struct err *err)
{
	struct ask *ask = ask_create(n, app, cb, arg, err);
	struct pgparam p;

	if (ask == NULL)
		return -1;
	pgparam_init(&p);
	if (app > 0)
		pgparam_int4(&p, app);
	else
		pgparam_null(&p, PGTYPE_INT4);
	add_texts(&p, queues, queue_count);
	add_texts(&p, types, type_count);
	pgparam_int4(&p, NAMES_LIMIT);
	return ask_send(n, &sql_names, &p, on_names, ask, err);
}

static void
on_queues(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct ask *ask = arg;
	int rc = 0;

	if (answer(ask, pe) == 0) {
		make_room(ask->names, pgrows_count(rows));
		for (int i = 0; i < pgrows_count(rows); i++) {
			rc |= remember(ask->names, NAME_QUEUE,
			    (int)pgrows_int(rows, i, 1), (int)pgrows_int(rows, i, 0),
			    rows, i, 2);
		}
		tell(ask, rc == 0);
	}
	mem_free(ask);
}

int
names_learn_queues(struct names *n, const int ids[], size_t count, names_cb *cb,
    void *arg, struct err *err)
{
	struct ask *ask = ask_create(n, 0, cb, arg, err);
	struct pgparam p;

	if (ask == NULL)
		return -1;
	pgparam_init(&p);
	pgparam_array(&p, PGTYPE_INT4);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_int4(&p, ids[i]);
	pgparam_array_end(&p);
	return ask_send(n, &sql_queues_by_id, &p, on_queues, ask, err);
}
