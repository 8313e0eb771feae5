/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * registry.c - which types there are that no worker runs; see registry.h.
 *
 * All of it is read at once, whatever has changed: changes are rare, made by people and
 * by programs that start.  A new copy takes the place of the old one only when it is
 * whole.
 */
#include "engine/registry.h"

#include <stdio.h>
#include <string.h>

#include "base/hmap.h"
#include "base/log.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "model/names.h"
#include "store/leases.h"

/* key {application, type}; type 0: the application has a pull type */
struct known {
	int key[2];
	enum handler_kind handler;
	int max_attempts;
	size_t name_len;
	char name[NAME_MAX_BYTES + 16]; /* "12/mail.send"; "": only by its number */
};

struct registry {
	struct engine *engine;
	struct hmap *all;
	struct hmap *named; /* those that say something of tasks */
	int64_t rev;	    /* of the copy; 0: there is none yet */
	bool nodes_pull;    /* a node's settings have a pull type: for everybody */
	bool has_http;	    /* an application has an http type */
	bool open, again;
};

static void
drop(struct hmap *all, struct hmap *named)
{
	struct known *k;
	size_t cursor = 0;

	hmap_free(named);
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

	if (r == NULL || (r->all = hmap_create()) == NULL ||
	    (r->named = hmap_create()) == NULL) {
		registry_free(r);
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
	drop(r->all, r->named);
	mem_free(r);
}

static const struct known *
find(const struct registry *r, int app_id, int type_id)
{
	int key[2] = {app_id, type_id};

	return hmap_get(r->all, key, sizeof(key));
}

static size_t
make_name(char to[NAME_MAX_BYTES + 16], int app_id, const char *type)
{
	int len = snprintf(to, NAME_MAX_BYTES + 16, "%d/%s", app_id, type);

	return len > 0 && len < NAME_MAX_BYTES + 16 ? (size_t)len : 0;
}

/* NULL: no memory; there already: it as it is */
static struct known *
put(struct hmap *all, int app_id, int type_id, enum handler_kind handler)
{
	int key[2] = {app_id, type_id};
	struct known *k = hmap_get(all, key, sizeof(key));

	if (k != NULL)
		return k;
	k = mem_zero(sizeof(*k));
	if (k == NULL)
		return NULL;
	memcpy(k->key, key, sizeof(key));
	k->handler = handler;
	if (hmap_put(all, k->key, sizeof(k->key), k, NULL) != 0) {
		mem_free(k);
		return NULL;
	}
	return k;
}

static int
read_row(struct hmap *all, struct hmap *named, const struct pgrows *rows, int row)
{
	int app_id = (int)pgrows_int(rows, row, 1);
	enum handler_kind kind = (enum handler_kind)pgrows_int(rows, row, 3);
	struct known *k = put(all, app_id, (int)pgrows_int(rows, row, 2), kind);

	if (k == NULL)
		return -1;
	k->max_attempts = (int)pgrows_int(rows, row, 4);
	if (kind == HANDLER_PULL && app_id != 0 && put(all, app_id, 0, kind) == NULL)
		return -1;
	if (k->max_attempts == 0 || app_id == 0)
		return 0;
	k->name_len = make_name(k->name, app_id, pgrows_text(rows, row, 5, NULL));
	return hmap_put(named, k->name, k->name_len, k, NULL);
}

static void
on_registry(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct registry *r = arg;
	struct hmap *all, *named;
	bool nodes_pull = false, has_http = false;
	int rc;

	r->open = false;
	if (pe != NULL || r->engine->ending) /* the next beat asks again */
		return;
	all = hmap_create();
	named = hmap_create();
	rc = all != NULL && named != NULL && pgrows_count(rows) > 0 ? 0 : -1;
	for (int i = 0; i < pgrows_count(rows) && rc == 0; i++) {
		if (pgrows_is_null(rows, i, 2))
			continue; /* there are none */
		rc = read_row(all, named, rows, i);
		nodes_pull |= pgrows_int(rows, i, 1) == 0 &&
			      pgrows_int(rows, i, 3) == HANDLER_PULL;
		has_http |= pgrows_int(rows, i, 1) != 0 &&
			    pgrows_int(rows, i, 3) == HANDLER_HTTP;
	}
	if (rc != 0) {
		drop(all, named);
		return;
	}
	if (pgrows_count(rows) >= REGISTRY_MOST)
		log_warn(NULL,
		    "too many types to know them all: tasks of some wait a "
		    "second longer",
		    "types=%d", pgrows_count(rows));
	drop(r->all, r->named);
	r->all = all;
	r->named = named;
	r->nodes_pull = nodes_pull;
	r->has_http = has_http;
	r->rev = pgrows_int(rows, 0, 0);
	if (r->again)
		registry_changed(r);
	/* a type that is new may have tasks already */
	dispatch_endpoints_due(r->engine->dispatch, 0);
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
registry_is_http(const struct registry *r, int app_id, int type_id)
{
	const struct known *k;

	if (!r->has_http)
		return false;
	k = find(r, app_id, type_id);
	return k != NULL && k->handler == HANDLER_HTTP;
}

bool
registry_has_http(const struct registry *r)
{
	return r->has_http;
}

bool
registry_has_pull(const struct registry *r, int app_id)
{
	return r->nodes_pull || find(r, app_id, 0) != NULL;
}

int
registry_max_attempts(const struct registry *r, int app_id, const char *type)
{
	char name[NAME_MAX_BYTES + 16];
	const struct known *k;

	if (hmap_count(r->named) == 0)
		return 0;
	k = hmap_get(r->named, name, make_name(name, app_id, type));
	return k != NULL ? k->max_attempts : 0;
}
