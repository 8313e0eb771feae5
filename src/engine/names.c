/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * names.c - queues and task types by name and by number; see names.h.
 *
 * Two maps over the same entries.  When there are NAMES_CACHE entries the whole cache
 * is emptied: simpler than an order of use, and refilled in one statement a name.
 */
#include "engine/names.h"

#include <stdio.h>
#include <string.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "model/names.h"

#define NAMES_CACHE 20000
#define KEY_SIZE    (NAME_MAX_BYTES + 16)

enum name_kind { NAME_QUEUE = 0, NAME_TYPE };

struct name {
	enum name_kind kind;
	int app; /* queues only */
	int id;
	int number[2]; /* kind and id: key of the second map */
	size_t key_len;
	char key[KEY_SIZE]; /* "q12/main" or "tthumbnail" */
	char text[NAME_MAX_BYTES + 1];
};

struct names {
	struct store *store;
	struct hmap *by_key;
	struct hmap *by_number;
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
}

struct names *
names_create(struct store *st, struct err *err)
{
	struct names *n = mem_zero(sizeof(*n));

	if (n == NULL || (n->by_key = hmap_create()) == NULL ||
	    (n->by_number = hmap_create()) == NULL) {
		names_free(n);
		err_set(err, ERR_NOMEM, "names");
		return NULL;
	}
	n->store = st;
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
	mem_free(n);
}

static const struct name *
find(const struct names *n, enum name_kind kind, int app, const char *text)
{
	char key[KEY_SIZE];
	size_t len = make_key(key, kind, app, text);

	return len > 0 ? hmap_get(n->by_key, key, len) : NULL;
}

static const struct name *
find_number(const struct names *n, enum name_kind kind, int id)
{
	int number[2] = {kind, id};

	return hmap_get(n->by_number, number, sizeof(number));
}

int
names_queue_id(const struct names *n, int app, const char *queue)
{
	const struct name *nm = find(n, NAME_QUEUE, app, queue);

	return nm != NULL ? nm->id : 0;
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

/* -1: no memory */
static int
remember(
    struct names *n, enum name_kind kind, int app, int id, const char *text, size_t len)
{
	struct name *nm;
	void *old = NULL;

	if (len > NAME_MAX_BYTES || find_number(n, kind, id) != NULL)
		return 0;
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
		mem_free(gone);
	}
	if (hmap_put(n->by_number, nm->number, sizeof(nm->number), nm, NULL) != 0) {
		hmap_remove(n->by_key, nm->key, nm->key_len);
		mem_free(nm);
		return -1;
	}
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
	const char *text;
	size_t len;
	int rc = 0;

	if (answer(ask, pe) == 0) {
		make_room(ask->names, pgrows_count(rows));
		for (int i = 0; i < pgrows_count(rows); i++) {
			text = pgrows_text(rows, i, 1, &len);
			rc |= remember(ask->names,
			    pgrows_int(rows, i, 0) == 0 ? NAME_QUEUE : NAME_TYPE,
			    ask->app, (int)pgrows_int(rows, i, 2), text, len);
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
	const char *text;
	size_t len;
	int rc = 0;

	if (answer(ask, pe) == 0) {
		make_room(ask->names, pgrows_count(rows));
		for (int i = 0; i < pgrows_count(rows); i++) {
			text = pgrows_text(rows, i, 2, &len);
			rc |= remember(ask->names, NAME_QUEUE,
			    (int)pgrows_int(rows, i, 1), (int)pgrows_int(rows, i, 0),
			    text, len);
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
