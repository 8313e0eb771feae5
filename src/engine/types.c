/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * types.c - the task types that this worker can run, and how many places each has left.
 *
 * Two purses: types that cost no process share node.slots; exec types share
 * node.exec_slots and have a limit of their own.  The latter are metered, and so are
 * http types, whose servers bear only so much: the feeder pushes their ids only against
 * places that workers have published, since a popped id without a place has to go back.
 *
 * What a stream type can take is its handler's word (types_set_places), and changes
 * while the worker runs.  Before the first word, and while that is none, the type is
 * not served here.
 */
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "engine/internal.h"
#include "model/rate.h"

static const char *const builtin_names[] = {
    "shoal.noop", "shoal.echo", "shoal.sleep", "shoal.fail", "shoal.webhook"};

TAILQ_HEAD(entries, type_entry);

struct types {
	struct engine *engine;
	struct entries all;
	int slots, slots_used;
	int exec_slots, exec_used;
	int gates_used; /* of slots: by types of applications */
};

/* settings_check has read it before */
static const struct backoff *
type_backoff(const struct type_settings *s, struct backoff *b)
{
	if (s->backoff[0] == '\0' || backoff_parse_setting(s->backoff, b, NULL) != 0)
		return NULL;
	return b;
}

static int
least(int64_t a, int64_t b)
{
	return (int)(a < b ? a : b);
}

static bool
is_limited(const struct type_settings *s)
{
	return s->limit > 0 || s->rate[0] != '\0';
}

static struct type_entry *
add(struct types *ts, const char *name, enum handler_kind kind,
    const struct type_settings *s)
{
	struct type_entry *t = mem_zero(sizeof(*t));

	if (t == NULL || (t->name = mem_strdup(name)) == NULL) {
		mem_free(t);
		return NULL;
	}
	t->kind = kind;
	t->settings = s;
	t->most = -1;
	t->metered =
	    kind == HANDLER_EXEC || kind == HANDLER_HTTP || kind == HANDLER_STREAM;
	t->limit = kind == HANDLER_EXEC	    ? ts->exec_slots
		   : kind == HANDLER_STREAM ? 0
					    : ts->slots;
	if (kind == HANDLER_HTTP && s->concurrency == 0)
		t->limit =
		    least(t->limit, ts->engine->settings->egress_per_destination);
	t->backoff = s != NULL ? type_backoff(s, &t->own_backoff) : NULL;
	if (s != NULL && s->concurrency > 0 && s->concurrency < t->limit)
		t->limit = (int)s->concurrency;
	t->limited = s != NULL && is_limited(s);
	TAILQ_INSERT_TAIL(&ts->all, t, link);
	return t;
}

struct types *
types_create(struct engine *e, struct err *err)
{
	struct types *ts = mem_zero(sizeof(*ts));
	const struct type_settings *s;

	if (ts == NULL)
		goto fail;
	ts->engine = e;
	TAILQ_INIT(&ts->all);
	ts->slots = (int)e->settings->node_slots;
	ts->exec_slots = (int)e->settings->node_exec_slots;
	for (size_t i = 0; i < COUNT_OF(builtin_names); i++) {
		if (add(ts, builtin_names[i], HANDLER_BUILTIN, NULL) == NULL)
			goto fail;
	}
	TAILQ_FOREACH (s, &e->settings->types, link) {
		struct type_entry *t = types_by_name(ts, s->type);

		if (t == NULL && s->handler == HANDLER_BUILTIN)
			continue; /* settings for a built-in type that does not exist do
				     nothing */
		if (t == NULL &&
		    add(ts, s->type, (enum handler_kind)s->handler, s) == NULL)
			goto fail;
		if (t != NULL)
			t->backoff = type_backoff(s, &t->own_backoff);
		if (t != NULL && s->concurrency > 0 && s->concurrency < t->limit) {
			t->limit = (int)s->concurrency;
			t->metered = true;
		}
		if (t != NULL)
			t->limited = is_limited(s);
	}
	return ts;
fail:
	types_free(ts);
	err_set(err, ERR_NOMEM, "types");
	return NULL;
}

void
types_free(struct types *ts)
{
	struct type_entry *t;

	if (ts == NULL)
		return;
	while ((t = TAILQ_FIRST(&ts->all)) != NULL) {
		TAILQ_REMOVE(&ts->all, t, link);
		mem_free(t->name);
		mem_free(t);
	}
	mem_free(ts);
}

struct type_entry *
types_by_id(struct types *ts, int id)
{
	struct type_entry *t;

	TAILQ_FOREACH (t, &ts->all, link) {
		if (t->id == id && id != 0)
			return t->kind != HANDLER_PULL ? t : NULL;
	}
	return NULL;
}

struct type_entry *
types_by_name(struct types *ts, const char *name)
{
	struct type_entry *t;

	TAILQ_FOREACH (t, &ts->all, link) {
		if (str_eq(t->name, name))
			return t;
	}
	return NULL;
}

struct type_entry *
types_next(struct types *ts, struct type_entry *after)
{
	return after == NULL ? TAILQ_FIRST(&ts->all) : TAILQ_NEXT(after, link);
}

bool
types_set_places(struct types *ts, struct type_entry *t, int places)
{
	int64_t most = t->settings->concurrency;
	bool served = t->limit > 0;

	t->limit = places < 0 || places > ts->slots ? ts->slots : places;
	if (most > 0 && t->limit > most)
		t->limit = (int)most;
	t->metered = places >= 0 || most > 0;
	return served != (t->limit > 0);
}

/* by whatever its handler said last */
static bool
is_served(const struct type_entry *t)
{
	return t->kind != HANDLER_STREAM || t->limit > 0;
}

int
types_free_places(const struct types *ts, const struct type_entry *t)
{
	int purse = t->kind == HANDLER_EXEC ? ts->exec_slots - ts->exec_used
					    : ts->slots - ts->slots_used;
	int own = (t->most >= 0 && t->most < t->limit ? t->most : t->limit) - t->used;

	if (t->gate != NULL && types_free_gates(ts) < purse)
		purse = types_free_gates(ts);
	if (t->gate != NULL && gate_free_places(t->gate) < own)
		own = gate_free_places(t->gate);
	if (purse < own)
		own = purse;
	return own > 0 ? own : 0; /* a limit that fell leaves what is there */
}

bool
types_take_place(struct types *ts, struct type_entry *t)
{
	if (types_free_places(ts, t) <= 0)
		return false;
	t->used++;
	if (t->kind == HANDLER_EXEC)
		ts->exec_used++;
	else
		ts->slots_used++;
	if (t->gate != NULL) {
		t->gate->used++;
		ts->gates_used++;
	}
	return true;
}

void
types_put_place(struct types *ts, struct type_entry *t)
{
	t->used--;
	if (t->kind == HANDLER_EXEC)
		ts->exec_used--;
	else
		ts->slots_used--;
	if (t->gate != NULL) {
		t->gate->used--;
		ts->gates_used--;
	}
}

int
types_free_slots(const struct types *ts)
{
	return ts->slots - ts->slots_used;
}

/* half of the slots, so that slow endpoints leave the other one to what runs here */
int
types_free_gates(const struct types *ts)
{
	int room = (ts->slots + 1) / 2 - ts->gates_used, slots = types_free_slots(ts);

	return room < slots ? room : slots;
}

int
types_free_commands(const struct types *ts)
{
	struct type_entry *t;

	TAILQ_FOREACH (t, &ts->all, link) {
		if (t->kind == HANDLER_EXEC)
			return ts->exec_slots - ts->exec_used;
	}
	return 0; /* no type could use them */
}

bool
types_have(const struct types *ts, enum handler_kind kind)
{
	const struct type_entry *t;

	TAILQ_FOREACH (t, &ts->all, link) {
		if (t->kind == kind)
			return true;
	}
	return false;
}

bool
types_have_commands(const struct types *ts)
{
	return types_have(ts, HANDLER_EXEC);
}

int
types_running(const struct types *ts)
{
	return ts->slots_used + ts->exec_used;
}

/* a suspect runs alone: nothing is to be sent here meanwhile */
static int
metered_places(const struct types *ts, const struct type_entry *t)
{
	int places = types_free_places(ts, t);

	/* more may run than are allowed by now */
	return dispatch_has_suspect(ts->engine->dispatch) || places < 0 ? 0 : places;
}

static void
list_commands(const struct types *ts, struct strbuf *out)
{
	const char *before = " commands=";
	const struct type_entry *t;

	TAILQ_FOREACH (t, &ts->all, link) {
		if (t->id == 0 || t->kind != HANDLER_EXEC)
			continue;
		strbuf_printf(out, "%s%d", before, t->id);
		before = ",";
	}
}

static void
list_pools(const struct engine *e, struct strbuf *out)
{
	if (e->served_count == 1 && e->served[0] == POOL_MAIN)
		return;
	for (int i = 0; i < e->served_count; i++)
		strbuf_printf(out, "%s%s", i == 0 ? " pools=" : ",",
		    pools_name(e->pools, e->served[i]));
}

void
types_places_text(struct types *ts, struct strbuf *out)
{
	struct type_entry *t;

	strbuf_printf(out, "%d/%d", ts->slots, types_free_slots(ts));
	TAILQ_FOREACH (t, &ts->all, link) {
		if (t->id == 0 || t->kind == HANDLER_PULL || !is_served(t))
			continue;
		/* -1: as many as there are slots */
		strbuf_printf(
		    out, " %d:%d", t->id, t->metered ? metered_places(ts, t) : -1);
	}
	list_commands(ts, out);
	list_pools(ts->engine, out);
}

struct learning {
	struct types *types;
	names_cb *cb;
	void *arg;
};

static void
on_learned(const struct err *err, void *arg)
{
	struct learning *lg = arg;
	struct type_entry *t;

	if (err == NULL) {
		TAILQ_FOREACH (t, &lg->types->all, link)
			t->id = names_type_id(lg->types->engine->names, t->name);
	}
	lg->cb(err, lg->arg);
	mem_free(lg);
}

int
types_learn(struct types *ts, names_cb *cb, void *arg, struct err *err)
{
	struct learning *lg = mem_zero(sizeof(*lg));
	struct type_entry *t;
	const char **texts;
	size_t count = 0;
	int rc;

	TAILQ_FOREACH (t, &ts->all, link)
		count++;
	texts = mem_array(count, sizeof(*texts));
	if (lg == NULL || texts == NULL) {
		mem_free(lg);
		mem_free(texts);
		return err_set(err, ERR_NOMEM, "types");
	}
	count = 0;
	TAILQ_FOREACH (t, &ts->all, link)
		texts[count++] = t->name;
	lg->types = ts;
	lg->cb = cb;
	lg->arg = arg;
	rc = names_learn(
	    ts->engine->names, 0, NULL, 0, texts, count, on_learned, lg, err);
	mem_free(texts);
	if (rc != 0)
		mem_free(lg);
	return rc;
}

/* one array: put says what each type that has settings gives to it */
#define EACH_SET(ts, s, t)                                                             \
	TAILQ_FOREACH ((s), &(ts)->engine->settings->types, link)                      \
		if (((t) = types_by_name((ts), (s)->type)) != NULL && (t)->id != 0)

/* settings of a built-in type name no handler: its own kind counts */
static int64_t
told_timeout_ms(const struct type_entry *t)
{
	return t->settings != NULL ? t->settings->timeout_ms : 0;
}

void
types_tell_params(struct types *ts, struct pgparam *p)
{
	struct backoff b;
	char text[BACKOFF_TEXT_SIZE];
	struct type_entry *t;

	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (t, &ts->all, link)
		pgparam_elem_int4(p, t->id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT2);
	TAILQ_FOREACH (t, &ts->all, link)
		pgparam_elem_int2(p, (int16_t)t->kind);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT8);
	TAILQ_FOREACH (t, &ts->all, link) {
		if (told_timeout_ms(t) > 0)
			pgparam_elem_int8(p, told_timeout_ms(t));
		else
			pgparam_elem_null(p);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (t, &ts->all, link) {
		if (t->settings != NULL && t->settings->max_attempts > 0)
			pgparam_elem_int4(p, (int32_t)t->settings->max_attempts);
		else
			pgparam_elem_null(p);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_TEXT);
	TAILQ_FOREACH (t, &ts->all, link) {
		if (t->settings != NULL && type_backoff(t->settings, &b) != NULL) {
			backoff_text(&b, text);
			pgparam_elem_text(p, text, strlen(text));
		} else {
			pgparam_elem_null(p);
		}
	}
	pgparam_array_end(p);
}

static void
add_rates(struct types *ts, struct pgparam *p, bool periods)
{
	const struct type_settings *s;
	struct type_entry *t;
	struct rate rate;

	pgparam_array(p, PGTYPE_INT4);
	EACH_SET(ts, s, t)
	{
		if (rate_parse(s->rate, &rate, NULL) != 0)
			rate = (struct rate){0, 0}; /* settings_check has seen it */
		pgparam_elem_int4(p, periods ? rate.per_ms : rate.limit);
	}
	pgparam_array_end(p);
}

void
types_serve_params(struct types *ts, struct pgparam *p)
{
	const struct type_settings *s;
	struct type_entry *t;

	pgparam_uuid(p, &ts->engine->owner);
	pgparam_array(p, PGTYPE_INT4);
	TAILQ_FOREACH (t, &ts->all, link) {
		if (is_served(t) && !ts->engine->idle)
			pgparam_elem_int4(p, t->id);
	}
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	EACH_SET(ts, s, t)
	pgparam_elem_int4(p, t->id);
	pgparam_array_end(p);
	pgparam_array(p, PGTYPE_INT4);
	EACH_SET(ts, s, t)
	pgparam_elem_int4(p, (int32_t)s->limit);
	pgparam_array_end(p);
	add_rates(ts, p, false);
	add_rates(ts, p, true);
}
