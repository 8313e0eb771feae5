/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry.c - which types there are that no worker runs; see registry.h.
 *
 * All of it is read at once, whatever has changed: changes are rare, made by people and
 * by programs that start.  A new copy takes the place of the old one only when it is
 * whole.
 */
#include "engine/registry.h"

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "store/leases.h"

/* key {application, type}; type 0: the application has a pull type */
struct known {
	int key[2];
	enum handler_kind handler;
	int max_attempts;
};

struct registry {
	struct engine *engine;
	struct hmap *all;
	int64_t rev;	 /* of the copy; 0: there is none yet */
	bool nodes_pull; /* a node's settings have a pull type: for everybody */
	bool open, again;
};

static void
drop(struct hmap *all)
{
	struct known *k;
	size_t cursor = 0;

	if (all == NULL)
		return;
	while ((k = hmap_next(all, &cursor)) != NULL) {
		hmap_remove(all, k->key, sizeof(k->key));
		mem_free(k);
	}
	hmap_free(all);
}

struct registry *
registry_create(struct engine *e, struct err *err)
{
	struct registry *r = mem_zero(sizeof(*r));

	if (r == NULL || (r->all = hmap_create()) == NULL) {
		mem_free(r);
		err_set(err, ERR_NOMEM, "registry");
		return NULL;
	}
	r->engine = e;
	return r;
}

void
registry_free(struct registry *r)
{
	if (r == NULL)
		return;
	drop(r->all);
	mem_free(r);
}

static const struct known *
find(const struct registry *r, int app_id, int type_id)
{
	int key[2] = {app_id, type_id};

	return hmap_get(r->all, key, sizeof(key));
}

static int
put(struct hmap *all, int app_id, int type_id, enum handler_kind handler,
    int max_attempts)
{
	struct known *k = mem_zero(sizeof(*k)), *was;
	void *old = NULL;

	if (k == NULL)
		return -1;
	k->key[0] = app_id;
	k->key[1] = type_id;
	k->handler = handler;
	k->max_attempts = max_attempts;
	if (hmap_put(all, k->key, sizeof(k->key), k, &old) != 0) {
		mem_free(k);
		return -1;
	}
	was = old;
	mem_free(was);
	return 0;
}

static void
on_registry(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct registry *r = arg;
	struct hmap *all;
	bool nodes_pull = false;
	int rc = 0;

	r->open = false;
	if (pe != NULL) /* the next beat asks again */
		return;
	all = hmap_create();
	if (all == NULL)
		return;
	for (int i = 0; i < pgrows_count(rows) && rc == 0; i++) {
		int app_id = (int)pgrows_int(rows, i, 1);
		enum handler_kind kind = (enum handler_kind)pgrows_int(rows, i, 3);

		if (pgrows_is_null(rows, i, 2))
			continue; /* there are none */
		rc = put(all, app_id, (int)pgrows_int(rows, i, 2), kind,
		    (int)pgrows_int(rows, i, 4));
		nodes_pull |= app_id == 0 && kind == HANDLER_PULL;
		if (rc == 0 && kind == HANDLER_PULL && app_id != 0)
			rc = put(all, app_id, 0, kind, 0);
	}
	if (rc != 0 || pgrows_count(rows) == 0) {
		drop(all);
		return;
	}
	if (pgrows_count(rows) >= REGISTRY_MOST)
		log_warn(NULL, "too many types to know them all: tasks of some wait a "
			       "second longer",
		    "types=%d", pgrows_count(rows));
	drop(r->all);
	r->all = all;
	r->nodes_pull = nodes_pull;
	r->rev = pgrows_int(rows, 0, 0);
	if (r->again)
		registry_changed(r);
}

void
registry_changed(struct registry *r)
{
	struct pgparam p;

	r->again = r->open;
	if (r->open || r->engine->ending)
		return;
	pgparam_init(&p);
	pgparam_int4(&p, REGISTRY_MOST);
	r->open = store_exec(r->engine->store, STORE_READ, &types_registry, &p,
		      on_registry, r, NULL) == 0;
	pgparam_fini(&p);
}

void
registry_look(struct registry *r, int64_t rev)
{
	/* (a rev that is behind ours is an answer from before) */
	if (rev > r->rev && r->engine->registered)
		registry_changed(r);
}

bool
registry_is_pull(const struct registry *r, int app_id, int type_id)
{
	const struct known *k = find(r, 0, type_id);

	if (k != NULL && k->handler == HANDLER_PULL)
		return true;
	k = find(r, app_id, type_id);
	return k != NULL && k->handler == HANDLER_PULL;
}

bool
registry_has_pull(const struct registry *r, int app_id)
{
	return r->nodes_pull || find(r, app_id, 0) != NULL;
}

int
registry_max_attempts(const struct registry *r, int app_id, int type_id)
{
	const struct known *k = find(r, app_id, type_id);

	return k != NULL ? k->max_attempts : 0;
}
