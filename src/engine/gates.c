/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gates.c - types of applications that run at endpoints of theirs.
 *
 * They are known by application and number together, and not before a claim has brought
 * a task of one: what the claim's row says of the type is what counts.  Types of one
 * endpoint share a gate, which bounds what runs there from here.  Both stay as long as
 * the engine, since attempts and the http handler point to them; there are never more
 * than types were run here.
 */
#include <string.h>

#include "base/hmap.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "store/endpoints.h"

struct own_type {
	TAILQ_ENTRY(own_type) link; /* of the retired */
	struct type_entry entry;
	struct type_settings settings;
	int key[2]; /* application, type */
};

struct gates {
	const struct settings *settings;
	struct hmap *types;
	TAILQ_HEAD(, own_type) retired; /* their endpoint is another one now */
	TAILQ_HEAD(, gate) all;
};

struct gates *
gates_create(struct engine *e, struct err *err)
{
	struct gates *g = mem_zero(sizeof(*g));

	if (g == NULL || (g->types = hmap_create()) == NULL) {
		mem_free(g);
		err_set(err, ERR_NOMEM, "types of applications");
		return NULL;
	}
	g->settings = e->settings;
	TAILQ_INIT(&g->retired);
	TAILQ_INIT(&g->all);
	return g;
}

static void
type_free(struct own_type *t)
{
	mem_free(t->entry.name);
	mem_free(t);
}

void
gates_free(struct gates *g)
{
	struct own_type *t;
	struct gate *gate;
	size_t cursor = 0;

	if (g == NULL)
		return;
	while ((t = hmap_next(g->types, &cursor)) != NULL) {
		hmap_remove(g->types, t->key, sizeof(t->key));
		type_free(t);
	}
	while ((t = TAILQ_FIRST(&g->retired)) != NULL) {
		TAILQ_REMOVE(&g->retired, t, link);
		type_free(t);
	}
	while ((gate = TAILQ_FIRST(&g->all)) != NULL) {
		TAILQ_REMOVE(&g->all, gate, link);
		mem_free(gate);
	}
	hmap_free(g->types);
	mem_free(g);
}

static struct own_type *
find(const struct gates *g, int app_id, int type_id)
{
	int key[2] = {app_id, type_id};

	return hmap_get(g->types, key, sizeof(key));
}

struct type_entry *
gates_type(const struct gates *g, int app_id, int type_id)
{
	struct own_type *t = find(g, app_id, type_id);

	return t != NULL ? &t->entry : NULL;
}

static struct gate *
gate_of(struct gates *g, int app_id, const char *endpoint)
{
	struct gate *gate;

	TAILQ_FOREACH (gate, &g->all, link) {
		if (gate->app_id == app_id && str_eq(gate->endpoint, endpoint))
			return gate;
	}
	gate = mem_zero(sizeof(*gate));
	if (gate == NULL)
		return NULL;
	gate->app_id = app_id;
	gate->most = -1;
	gate->limit = (int)g->settings->egress_per_destination;
	str_copy(gate->endpoint, sizeof(gate->endpoint), endpoint);
	TAILQ_INSERT_HEAD(&g->all, gate, link);
	return gate;
}

static struct own_type *
make(struct gates *g, int app_id, int type_id, const char *name, const char *endpoint)
{
	struct own_type *t = mem_zero(sizeof(*t));

	if (t == NULL || (t->entry.name = mem_strdup(name)) == NULL)
		goto fail;
	t->key[0] = app_id;
	t->key[1] = type_id;
	t->entry.id = type_id;
	t->entry.kind = HANDLER_HTTP;
	t->entry.settings = &t->settings;
	t->entry.most = -1;
	t->entry.limit = (int)g->settings->egress_per_destination;
	t->settings.type = t->entry.name;
	t->settings.handler = HANDLER_HTTP;
	t->settings.max_output_bytes = g->settings->tasks_max_result_bytes;
	t->entry.gate = gate_of(g, app_id, endpoint);
	if (t->entry.gate == NULL)
		goto fail;
	if (hmap_put(g->types, t->key, sizeof(t->key), t, NULL) != 0)
		goto fail;
	return t;
fail:
	if (t != NULL)
		mem_free(t->entry.name);
	mem_free(t);
	return NULL;
}

struct type_entry *
gates_learn(struct gates *g, const struct pgrows *rows, int row)
{
	int app_id = (int)pgrows_int(rows, row, 0),
	    type_id = (int)pgrows_int(rows, row, 3);
	const char *endpoint = pgrows_text(rows, row, CLAIM_ENDPOINT, NULL), *text;
	struct own_type *t = find(g, app_id, type_id);
	struct type_entry *entry;
	size_t len;

	if (t != NULL && !str_eq(t->entry.gate->endpoint, endpoint)) {
		/* those that run keep the gate that they went through */
		hmap_remove(g->types, t->key, sizeof(t->key));
		TAILQ_INSERT_TAIL(&g->retired, t, link);
		t = NULL;
	}
	if (t == NULL)
		t = make(g, app_id, type_id, pgrows_text(rows, row, CLAIM_TYPE, NULL),
		    endpoint);
	if (t == NULL)
		return NULL;
	entry = &t->entry;
	entry->version = pgrows_int(rows, row, CLAIM_VERSION);
	t->settings.timeout_ms = pgrows_is_null(rows, row, CLAIM_TYPE_TIMEOUT)
				     ? 0
				     : pgrows_int(rows, row, CLAIM_TYPE_TIMEOUT);
	entry->backoff = NULL;
	if (!pgrows_is_null(rows, row, CLAIM_TYPE_BACKOFF)) {
		text = pgrows_text(rows, row, CLAIM_TYPE_BACKOFF, &len);
		if (backoff_parse_json(text, len, &entry->own_backoff, NULL) == 0)
			entry->backoff = &entry->own_backoff;
	}
	return entry;
}

int
gate_free_places(const struct gate *gate)
{
	int most =
	    gate->most >= 0 && gate->most < gate->limit ? gate->most : gate->limit;

	return most > gate->used ? most - gate->used : 0;
}

void
gates_put_params(const struct gates *g, struct pgparam *p)
{
	const struct gate *gate;

	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (gate, &g->all, link) {
		if (gate->used > 0 || gate->most >= 0)
			pgparam_elem_int4(p, gate->app_id);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	TAILQ_FOREACH (gate, &g->all, link) {
		if (gate->used > 0 || gate->most >= 0)
			pgparam_elem_text(p, gate->endpoint, strlen(gate->endpoint));
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (gate, &g->all, link) {
		if (gate->used > 0 || gate->most >= 0)
			pgparam_elem_int4(p, gate_free_places(gate));
	}
	pgparam_array_end(p);
}
