/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reload.c - generations: a configuration, its listeners and its number.
 *
 * A reload is all or nothing.  The settings are loaded from the same sources into a
 * fresh struct and checked, new addresses are bound, and only then is there a new
 * generation; if anything fails the node goes on as before, and the log says which file
 * and line.
 *
 * What needs a restart keeps its old value in the new generation, so that
 * workers of two generations never disagree about, say, the cluster's name.
 */
#include "config.h"
#include "master/node.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/command.h"
#include "proc/spawner.h"
#include "tls/tlsbag.h"
#include "tls/tlsctx.h"

#define CHANGE_AGAIN_MS 1000

static bool
generation_in_use(const struct master *m, const struct generation *g)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (m->workers[i].gen == g)
			return true;
	return false;
}

static bool
settings_are_shared(const struct master *m, const struct settings *settings)
{
	const struct generation *g;

	TAILQ_FOREACH (g, &m->generations, link)
		if (g->settings == settings)
			return true;
	return false;
}

static void
generation_free(struct master *m, struct generation *g)
{
	TAILQ_REMOVE(&m->generations, g, link);
	close(g->door[0]);
	close(g->door[1]);
	listeners_release(m->listeners, &g->listen);
	tlsbag_free(g->tls);
	if (!settings_are_shared(m, g->settings))
		settings_free(g->settings);
	mem_free(g);
}

size_t
generations_count(const struct master *m)
{
	const struct generation *g;
	size_t n = 0;

	TAILQ_FOREACH (g, &m->generations, link)
		n++;
	return n;
}

void
generations_sweep(struct master *m)
{
	struct generation *g, *next;

	for (g = TAILQ_FIRST(&m->generations); g != NULL; g = next) {
		next = TAILQ_NEXT(g, link);
		if (g == m->newest || g == m->serving)
			continue;
		/* its sockets first: nobody accepts on them any more, nobody should
		 * wait there */
		if (g->retired && g->listen.count > 0)
			listeners_release(m->listeners, &g->listen);
		if (g->retired && !generation_in_use(m, g) &&
		    m->helpers[g->spawner].slot.state == SLOT_EMPTY)
			generation_free(m, g);
	}
}

void
generations_free(struct master *m)
{
	struct generation *g;

	while ((g = TAILQ_FIRST(&m->generations)) != NULL)
		generation_free(m, g);
	m->newest = m->serving = NULL;
}

/* a helper that no generation has; there is one: generations are bounded */
static size_t
spawner_place(const struct master *m)
{
	size_t place = HELPER_OF_SCHEMA;
	bool taken = true;

	while (taken && ++place < HELPERS) {
		const struct generation *g;

		taken = false;
		TAILQ_FOREACH (g, &m->generations, link)
			taken |= g->spawner == place;
	}
	return place;
}

#define SECOND_US 1000000

/* bytes and nothing else, but what a worker would refuse is refused now */
static int
take_certificates(struct generation *g, const struct settings *s, struct err *err)
{
	struct tls_opts opts;

	if (!settings_tls(s, &opts))
		return 0;
	g->tls = tlsbag_load(&opts, err);
	if (g->tls != NULL &&
	    tlsctx_check(g->tls, clock_wall_us() / SECOND_US, err) == 0)
		return 0;
	tlsbag_free(g->tls);
	return -1;
}

int
generation_add(struct master *m, struct settings *settings, struct err *err)
{
	struct generation *g = mem_zero(sizeof(*g));
	size_t spawner = spawner_place(m);
	struct commands *commands;
	int rc;

	if (g == NULL || spawner == HELPERS) {
		mem_free(g);
		rc = err_set(err, ERR_NOMEM, "generation");
		goto fail;
	}
	/* what a spawner would refuse is refused now */
	commands = commands_create(settings, err);
	commands_free(commands);
	if (commands == NULL || commands_check_files(settings, err) != 0 ||
	    commands_check_groups(settings, err) != 0 ||
	    take_certificates(g, settings, err) != 0) {
		mem_free(g);
		rc = -1;
		goto fail;
	}
	if (spawner_door(g->door, err) != 0) {
		tlsbag_free(g->tls);
		mem_free(g);
		rc = -1;
		goto fail;
	}
	if (listeners_acquire(m->listeners, settings, &g->listen, err) != 0) {
		close(g->door[0]);
		close(g->door[1]);
		tlsbag_free(g->tls);
		mem_free(g);
		rc = -1;
		goto fail;
	}
	g->spawner = spawner;
	helper_init(
	    &m->helpers[spawner], HELPER_SPAWNER, settings->node_hang_timeout_ms);
	(void)slot_on_wanted(&m->helpers[spawner].slot, m->now_ms);
	g->settings = settings;
	g->number = ++m->last_number;
	g->idle = m->mode != NODE_MODE_WORK;
	g->since_ms = m->now_ms;
	TAILQ_INSERT_TAIL(&m->generations, g, link);
	m->newest = g;
	atomic_store(&m->board->generation, g->number);
	atomic_store(&m->board->tls_warned_ms, 0);
	return 0;
fail:
	if (!settings_are_shared(m, settings))
		settings_free(settings);
	return rc;
}

/* ---- keys that need a restart ------------------------------------------------------
 */

static size_t
value_size(enum conf_type type)
{
	switch (type) {
	case CONF_BOOL:
		return sizeof(bool);
	case CONF_ENUM:
		return sizeof(int);
	case CONF_INT:
	case CONF_SIZE:
	case CONF_DURATION:
		return sizeof(int64_t);
	case CONF_STRING:
		break;
	}
	return sizeof(char *);
}

/* gives the fresh settings the old value; -1 without memory */
static int
keep_old(const struct conf_key *key, const struct settings *old, struct settings *fresh)
{
	const char *from = (const char *)old + key->offset;
	char *to = (char *)fresh + key->offset;
	size_t size = value_size(key->type);
	char *before, *after;

	if (key->type != CONF_STRING) {
		if (memcmp(from, to, size) == 0)
			return 0;
		memcpy(to, from, size);
	} else {
		memcpy(&before, from, size);
		memcpy(&after, to, size);
		if (str_eq(before, after))
			return 0;
		before = mem_strdup(before);
		if (before == NULL)
			return -1;
		mem_free(after);
		memcpy(to, &before, size);
	}
	log_warn(NULL, "this setting needs a restart, its old value stays", "key=%s.%s",
	    key->section, key->name);
	return 0;
}

static int
keep_what_needs_a_restart(
    const struct settings *old, struct settings *fresh, struct err *err)
{
	for (size_t i = 0; i < settings_schema.key_count; i++) {
		const struct conf_key *key = &settings_schema.keys[i];

		/* sections with names of their own (types, queues) are wholly the
		 * workers' */
		if ((key->flags & CONF_RELOAD) != 0 ||
		    strchr(key->section, ':') != NULL)
			continue;
		if (keep_old(key, old, fresh) != 0)
			return err_set(err, ERR_NOMEM, "settings");
	}
	return 0;
}

void
master_reload(struct master *m)
{
	struct err err = ERR_INIT;
	struct settings *fresh = m->opts.load(m->opts.load_arg, &err);

	if (fresh != NULL &&
	    keep_what_needs_a_restart(m->newest->settings, fresh, &err) != 0) {
		settings_free(fresh);
		fresh = NULL;
	}
	if (fresh == NULL || generation_add(m, fresh, &err) != 0) {
		atomic_fetch_add(&m->board->reload_failures, 1);
		log_error(
		    NULL, "reload refused, nothing changed", "reason=\"%s\"", err.text);
		return;
	}
	m->wanted_workers = settings_worker_count(m->newest->settings);
	/* the file's word counts again, for those who leave as well */
	if (atomic_exchange(&m->board->log_level, 0) != 0)
		workers_order(m, WORKER_LEVEL);
	log_set_level((enum log_level)m->newest->settings->log_level);
	chown_logs(m);
	log_info(NULL, "new configuration, starting its workers",
	    "generation=%u workers=%d", m->newest->number, m->wanted_workers);
}

void
master_change(struct master *m)
{
	struct err err = ERR_INIT;

	if (m->newest->idle == (m->mode != NODE_MODE_WORK))
		return;
	if (generation_add(m, m->newest->settings, &err) == 0) {
		log_info(NULL, "starting other workers", "generation=%u mode=%s",
		    m->newest->number, node_mode_name(m->mode));
		return;
	}
	log_error(NULL, "other workers cannot be started, trying again",
	    "mode=%s reason=\"%s\"", node_mode_name(m->mode), err.text);
	m->requests.change = true;
	m->reload_after_ms = m->now_ms + CHANGE_AGAIN_MS;
}
