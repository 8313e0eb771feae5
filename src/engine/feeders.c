/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * feeders.c - the leader's feeders, one for each list.
 *
 * Each list is kept by a feeder of its own, with its own window, shares and passes, so
 * that a backlog in one holds no other one back.  The first, of dispatch:main, is
 * always there.  The others are made when it hears of their pool from PostgreSQL, or
 * that workers serve commands; they rest, and their lists go, when no queue is in the
 * pool any more.  PostgreSQL bounds the number of pools.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "engine/feeder_int.h"

/* so often if anything has changed; and all the same so often, for those who came */
#define TELL_MS	      1000
#define TELL_AGAIN_MS 5000
#define TOLD_BYTES    (TOLD_MOST * (LIST_NAME_SIZE + 32))

TAILQ_HEAD(feeder_list, feeder);

struct feeders {
	struct engine *engine;
	struct feeder_list all;
	struct feeder *by_list[LISTS_MOST];
	size_t count;
	bool running;
	bool used[POOLS_MOST];	   /* queues are in it */
	bool commands[POOLS_MOST]; /* workers serve commands in it */
	int64_t told_ms;	   /* when all workers were last told the lengths */
	struct strbuf told;	   /* and what */
};

static struct feeder *
add(struct feeders *fs, int list, struct err *err)
{
	struct feeder *f = feeder_create(fs->engine, fs, list, err);

	if (f == NULL)
		return NULL;
	TAILQ_INSERT_TAIL(&fs->all, f, link);
	fs->by_list[list] = f;
	fs->count++;
	return f;
}

struct feeders *
feeders_create(struct engine *e, struct err *err)
{
	struct feeders *fs = mem_zero(sizeof(*fs));

	if (fs == NULL) {
		err_set(err, ERR_NOMEM, "feeders");
		return NULL;
	}
	fs->engine = e;
	fs->used[POOL_MAIN] = true;
	strbuf_init(&fs->told, TOLD_BYTES);
	TAILQ_INIT(&fs->all);
	if (add(fs, LIST_MAIN, err) == NULL) {
		feeders_free(fs);
		return NULL;
	}
	return fs;
}

void
feeders_free(struct feeders *fs)
{
	struct feeder *f;

	if (fs == NULL)
		return;
	while ((f = TAILQ_FIRST(&fs->all)) != NULL) {
		TAILQ_REMOVE(&fs->all, f, link);
		feeder_free(f);
	}
	strbuf_fini(&fs->told);
	mem_free(fs);
}

/*
 * Workers that died while Redis, or a leader, was away have left their places behind:
 * they would make the windows too large and their types look served.
 */
void
feeders_renew_places(struct feeders *fs)
{
	if (!fs->running)
		return;
	broker_renew_places(fs->engine->broker);
	engine_places_changed(fs->engine, true);
}

void
feeders_start(struct feeders *fs)
{
	struct feeder *f;

	fs->running = true;
	TAILQ_FOREACH (f, &fs->all, link) {
		if (fs->used[list_pool(f->list)])
			feeder_start(f);
	}
	feeders_renew_places(fs);
}

void
feeders_stop(struct feeders *fs)
{
	struct feeder *f;

	fs->running = false;
	TAILQ_FOREACH (f, &fs->all, link)
		feeder_stop(f);
}

void
feeders_hint(struct feeders *fs, int list)
{
	struct feeder *f;

	if (list >= 0 && fs->by_list[list] != NULL) {
		feeder_hint(fs->by_list[list]);
		return;
	}
	/* of one that is not known yet the first one hears */
	TAILQ_FOREACH (f, &fs->all, link) {
		/* those that pass all the time need it less than the others */
		if (list < 0 ? fs->count == 1 || !f->spilling : feeder_is_first(f))
			feeder_hint(f);
	}
}

void
feeders_requeue(struct feeders *fs)
{
	struct feeder *f;

	TAILQ_FOREACH (f, &fs->all, link)
		feeder_requeue(f);
}

void
feeders_again(struct feeders *fs, const struct uuid *id)
{
	struct feeder *f;

	TAILQ_FOREACH (f, &fs->all, link)
		feeder_again(f, id);
}

/* ---------------------------------------------------------------- told by the first */

/* its list is fed from now on, or again */
static void
want(struct feeders *fs, int list)
{
	struct feeder *f = fs->by_list[list];
	char name[LIST_NAME_SIZE];
	struct err err = ERR_INIT;

	if (f != NULL && (f->running || f->open))
		return; /* (a pass of before has to end first) */
	pools_list_name(fs->engine->pools, list, name);
	if (f == NULL && (f = add(fs, list, &err)) == NULL) {
		log_warn(NULL, "a list cannot be fed yet", "list=%s reason=\"%s\"",
		    name, err.text);
		return; /* the next pass tries again */
	}
	log_info(NULL, "a list is fed", "list=%s", name);
	feeder_start(f);
}

static void
rest(struct feeders *fs, struct feeder *f)
{
	char name[LIST_NAME_SIZE];

	pools_list_name(fs->engine->pools, f->list, name);
	log_info(
	    NULL, "no queue is in this pool any more: its list goes", "list=%s", name);
	feeder_stop(f);
	broker_replace(fs->engine->broker, f->list, NULL, 0);
}

void
feeders_pools(struct feeders *fs, const int *pools, size_t count)
{
	struct feeder *f;

	memset(fs->used, 0, sizeof(fs->used));
	fs->used[POOL_MAIN] = true;
	for (size_t i = 0; i < count; i++)
		fs->used[pools[i]] = true;
	for (int p = 0; p < POOLS_MOST; p++) {
		if (!fs->used[p])
			continue;
		want(fs, list_of(p, false));
		if (fs->commands[p])
			want(fs, list_of(p, true));
	}
	TAILQ_FOREACH (f, &fs->all, link) {
		if (f->running && !fs->used[list_pool(f->list)])
			rest(fs, f);
	}
}

void
feeders_commands(struct feeders *fs, int pool)
{
	if (pool >= 0)
		fs->commands[pool] = true;
}

/* which of its lists the task belongs to the feeders know */
void
feeders_promoted(struct feeders *fs, int pool)
{
	for (int i = 0; i < 2 && pool >= 0; i++) {
		struct feeder *f = fs->by_list[list_of(pool, i == 1)];

		if (f != NULL && !feeder_is_first(f))
			feeder_hint(f);
	}
}

void
feeders_lost_redis(struct feeders *fs)
{
	struct feeder *f;

	TAILQ_FOREACH (f, &fs->all, link) {
		if (!feeder_is_first(f))
			feeder_refill(f);
	}
}

void
feeders_tell(struct feeders *fs)
{
	int64_t now_ms = loop_now_ms(fs->engine->loop);
	char name[LIST_NAME_SIZE];
	struct strbuf text;
	struct feeder *f;

	if (now_ms - fs->told_ms < TELL_MS)
		return;
	strbuf_init(&text, TOLD_BYTES);
	strbuf_puts(&text, "lists");
	TAILQ_FOREACH (f, &fs->all, link) {
		pools_list_name(fs->engine->pools, f->list, name);
		if (f->running)
			strbuf_printf(&text, " %s=%lld,%d", name, (long long)f->length,
			    f->spilling);
	}
	if (strbuf_failed(&text) ||
	    (now_ms - fs->told_ms < TELL_AGAIN_MS && fs->told.len == text.len &&
		memcmp(fs->told.data, text.data, text.len) == 0)) {
		strbuf_fini(&text);
		return;
	}
	broker_publish(fs->engine->broker, text.data);
	strbuf_fini(&fs->told);
	fs->told = text;
	fs->told_ms = now_ms;
}
