/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * graph.c - references resolved and sorted; see graph.h.
 */
#include "api/graph.h"

#include <string.h>

#include "base/hmap.h"
#include "base/mem.h"

#define OUTSIDE ((size_t)-1) /* a parent that is not of this request */

struct builder {
	struct graph *g;
	const struct task_request *trs;
	const struct uuid *ids;
	size_t count;
	struct refusal *why;
	struct hmap *refs; /* name -> task */
	size_t *edges;	   /* beside g->parents: which task, or OUTSIDE */
	size_t *open;	   /* parents of the request that are not placed yet */
};

static size_t
parent_count(const struct task_request *tr)
{
	return tr->options.after.kind == JSON_ARRAY ? jspan_count(&tr->options.after)
						    : 0;
}

static int
add_refs(struct builder *b)
{
	char name[NAME_MAX_BYTES + 1];
	size_t len;

	for (size_t i = 0; i < b->count; i++) {
		const struct jspan *ref = &b->trs[i].options.ref;

		if (ref->kind != JSON_STRING ||
		    jspan_string(ref, name, sizeof(name), &len, NULL) != 0)
			continue;
		if (hmap_get(b->refs, name, len) != NULL)
			return refuse(b->why, 400, "invalid_field",
			    "tasks[%zu].ref: \"%s\" is another task's already.", i,
			    name);
		/* the map keeps the key by pointer: the caller's bytes, without quotes
		 */
		if (hmap_put(b->refs, ref->at + 1, ref->len - 2, (void *)&b->trs[i],
			NULL) != 0)
			return refuse(b->why, 503, "overloaded",
			    "The server is out of memory; nothing was done.");
	}
	return 0;
}

static int
add_parent(struct builder *b, size_t child, const struct jspan *value, size_t at)
{
	const struct task_request *found;
	char text[TASK_KEY_MAX + 1];
	size_t len;

	if (jspan_string(value, text, sizeof(text), &len, NULL) != 0)
		text[0] = '\0';
	b->edges[at] = OUTSIDE;
	if (uuid_parse(text, strlen(text), &b->g->parents[at]) == 0)
		return 0;
	found = hmap_get(b->refs, text, strlen(text));
	if (found == NULL)
		return refuse(b->why, 422, "unknown_parent",
		    "tasks[%zu].after: \"%.64s\" is neither the id of a task nor the "
		    "ref of "
		    "one in this request.",
		    child, text);
	b->edges[at] = (size_t)(found - b->trs);
	b->g->parents[at] = b->ids[b->edges[at]];
	b->open[child]++;
	return 0;
}

static int
add_edges(struct builder *b)
{
	struct jspan value;
	struct jwalk walk;
	size_t at = 0;

	for (size_t i = 0; i < b->count; i++) {
		b->g->first[i] = at;
		if (parent_count(&b->trs[i]) == 0)
			continue;
		jwalk_start(&walk, &b->trs[i].options.after);
		while (jwalk_element(&walk, &value)) {
			if (add_parent(b, i, &value, at) != 0)
				return -1;
			at++;
		}
	}
	b->g->first[b->count] = at;
	return 0;
}

/* rounds over what is left, each placing what waits for nothing: as many as the longest
 * chain has links */
static int
sort(struct builder *b)
{
	struct graph *g = b->g;
	size_t placed = 0, before;

	for (size_t i = 0; i < b->count; i++)
		g->place[i] = OUTSIDE;
	do {
		before = placed;
		for (size_t i = 0; i < b->count; i++) {
			if (g->place[i] != OUTSIDE)
				continue;
			for (size_t k = g->first[i]; k < g->first[i + 1]; k++) {
				if (b->edges[k] != OUTSIDE &&
				    g->place[b->edges[k]] != OUTSIDE) {
					b->edges[k] = OUTSIDE;
					b->open[i]--;
				}
			}
			if (b->open[i] > 0)
				continue;
			g->place[i] = placed;
			g->order[placed++] = i;
		}
	} while (placed > before);
	for (size_t i = 0; placed < b->count && i < b->count; i++) {
		if (g->place[i] == OUTSIDE)
			return refuse(b->why, 400, "dependency_cycle",
			    "tasks[%zu].after: the task would wait for itself, by way "
			    "of "
			    "others.",
			    i);
	}
	return 0;
}

int
graph_build(struct graph *g, const struct task_request *trs, const struct uuid *ids,
    size_t count, struct refusal *why)
{
	struct builder b = {.g = g, .trs = trs, .ids = ids, .count = count, .why = why};
	size_t edges = 0;
	int rc = -1;

	memset(g, 0, sizeof(*g));
	for (size_t i = 0; i < count; i++)
		edges += parent_count(&trs[i]);
	g->order = mem_array(count + 1, sizeof(*g->order));
	g->place = mem_array(count + 1, sizeof(*g->place));
	g->first = mem_array(count + 1, sizeof(*g->first));
	g->parents = mem_array(edges + 1, sizeof(*g->parents));
	b.edges = mem_array(edges + 1, sizeof(*b.edges));
	b.open = mem_array(count + 1, sizeof(*b.open));
	b.refs = hmap_create();
	if (g->order == NULL || g->place == NULL || g->first == NULL ||
	    g->parents == NULL || b.edges == NULL || b.open == NULL || b.refs == NULL)
		(void)refuse(why, 503, "overloaded",
		    "The server is out of memory; nothing was done.");
	else if (add_refs(&b) == 0 && add_edges(&b) == 0 && sort(&b) == 0)
		rc = 0;
	mem_free(b.edges);
	mem_free(b.open);
	hmap_free(b.refs);
	if (rc != 0)
		graph_fini(g);
	return rc;
}

void
graph_fini(struct graph *g)
{
	mem_free(g->order);
	mem_free(g->place);
	mem_free(g->first);
	mem_free(g->parents);
	memset(g, 0, sizeof(*g));
}
