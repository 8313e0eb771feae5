/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * status.c - what the node tells about itself on the control socket.
 *
 *     status    everything, as one JSON object
 *     table     the same for a person, who may have been woken for it
 *
 * Reads the master's state and the scoreboard, changes nothing.
 */
#include "config.h"
#include "master/node.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/str.h"

static uint64_t
counter(struct score_slot *slot, enum score_counter c)
{
	return atomic_load_explicit(&slot->counters[c], memory_order_relaxed);
}

static size_t
burials_open(const struct master *m)
{
	size_t n = 0;

	for (size_t i = 0; i < SCORE_BURIALS; i++)
		n += atomic_load(&m->board->burials[i].state) != BURIAL_FREE;
	return n;
}

static const char *
node_state(const struct master *m)
{
	if (m->stop != STOP_NO)
		return "stopping";
	if (m->upgrade.step != UPGRADE_NO)
		return "upgrading";
	if (m->newest != m->serving)
		return m->serving == NULL ? "starting" : "reloading";
	return "running";
}

/* a place that was never used tells nothing */
static bool
is_shown(const struct master *m, size_t i)
{
	return m->workers[i].slot.state != SLOT_EMPTY;
}

/* when the last process of the slot ended, as text; "" if none did */
static const char *
restarted_text(struct score_slot *score, char buf[CLOCK_TEXT_SIZE])
{
	int64_t at = atomic_load(&score->restarted_wall_us);

	if (at == 0)
		return "";
	return clock_format(at, buf);
}

static const char *
worker_state(const struct worker *w, struct score_slot *score)
{
	/* what the worker says of itself is finer than what we know */
	if (w->lingers)
		return "lingering";
	if (w->slot.state == SLOT_READY && atomic_load(&score->state) == SCORE_DRAINING)
		return "draining";
	return slot_state_name(w->slot.state);
}

/* what a worker has of its stores, in one word */
static const char *
stores_word(const struct worker *w, struct score_slot *score)
{
	bool database = atomic_load(&score->database_up) != 0,
	     redis = atomic_load(&score->redis_up) != 0;

	if (w->pid == 0)
		return "-";
	if (database && redis)
		return "ok";
	return database ? "no-redis" : redis ? "no-db" : "neither";
}

static void
worker_json(struct jsonw *j, const struct master *m, size_t i)
{
	const struct worker *w = &m->workers[i];
	struct score_slot *score = &m->board->slots[i];
	char at[CLOCK_TEXT_SIZE];
	bool runs = w->pid != 0;

	jsonw_object(j);
	jsonw_key(j, "worker");
	jsonw_int(j, (int64_t)i);
	jsonw_key(j, "pid");
	jsonw_int(j, w->pid);
	jsonw_key(j, "state");
	jsonw_string(j, worker_state(w, score));
	jsonw_key(j, "generation");
	jsonw_int(j, w->gen->number);
	jsonw_key(j, "uptime_ms");
	jsonw_int(j, runs ? m->now_ms - w->slot.started_ms : 0);
	jsonw_key(j, "heartbeat_age_ms");
	jsonw_int(j, runs ? m->now_ms - w->slot.alive_ms : 0);
	jsonw_key(j, "restarts");
	jsonw_int(j, atomic_load(&score->restarts));
	jsonw_key(j, "last_reason");
	jsonw_string(j, score->last_reason[0] != '\0' ? score->last_reason : NULL);
	jsonw_key(j, "last_ended_at");
	jsonw_string(j, restarted_text(score, at)[0] != '\0' ? at : NULL);
	jsonw_key(j, "database_up");
	jsonw_bool(j, atomic_load(&score->database_up) != 0);
	jsonw_key(j, "redis_up");
	jsonw_bool(j, atomic_load(&score->redis_up) != 0);
	for (int c = 0; c < SCORE_COUNTER_COUNT; c++) {
		jsonw_key(j, score_counter_name((enum score_counter)c));
		jsonw_int(j, (int64_t)counter(score, (enum score_counter)c));
	}
	jsonw_end(j);
}

static void
listeners_json(struct jsonw *j, const struct listen_set *set)
{
	char text[ADDR_TEXT_SIZE];

	jsonw_array(j);
	for (size_t i = 0; i < set->count; i++) {
		jsonw_object(j);
		jsonw_key(j, "audience");
		jsonw_string(j, audience_name(set->list[i].audience));
		jsonw_key(j, "address");
		jsonw_string(j, listen_set_address(set, i, text));
		jsonw_end(j);
	}
	jsonw_end(j);
}

static void
answer_json(const struct master *m, struct strbuf *out)
{
	struct jsonw j;
	char at[CLOCK_TEXT_SIZE];

	jsonw_init(&j, out);
	jsonw_object(&j);
	jsonw_key(&j, "node");
	jsonw_string(&j, m->board->node_text);
	jsonw_key(&j, "version");
	jsonw_string(&j, PACKAGE_VERSION);
	jsonw_key(&j, "pid");
	jsonw_int(&j, m->board->master_pid);
	jsonw_key(&j, "state");
	jsonw_string(&j, node_state(m));
	jsonw_key(&j, "started_at");
	jsonw_string(&j, clock_format(m->board->started_wall_us, at));
	jsonw_key(&j, "uptime_ms");
	jsonw_int(&j, m->now_ms - m->started_ms);
	jsonw_key(&j, "generation");
	jsonw_int(&j, m->newest->number);
	jsonw_key(&j, "generations");
	jsonw_int(&j, (int64_t)generations_count(m));
	jsonw_key(&j, "reload_failures");
	jsonw_int(&j, atomic_load(&m->board->reload_failures));
	jsonw_key(&j, "upgrade_failures");
	jsonw_int(&j, atomic_load(&m->board->upgrade_failures));
	jsonw_key(&j, "mode");
	jsonw_string(&j, node_mode_name(m->mode));
	jsonw_key(&j, "schema_ready");
	jsonw_bool(&j, atomic_load(&m->board->schema_ready) != 0);
	jsonw_key(&j, "burials");
	jsonw_int(&j, (int64_t)burials_open(m));
	jsonw_key(&j, "listeners");
	listeners_json(&j, &m->newest->listen);
	jsonw_key(&j, "helpers");
	jsonw_array(&j);
	for (size_t i = 0; i < HELPERS; i++) {
		const struct helper *h = &m->helpers[i];

		if (h->row == NULL ||
		    (i != HELPER_OF_SCHEMA && h->slot.state == SLOT_EMPTY))
			continue;
		jsonw_object(&j);
		jsonw_key(&j, "helper");
		jsonw_string(&j, helper_name(h));
		jsonw_key(&j, "pid");
		jsonw_int(&j, h->pid);
		jsonw_key(&j, "state");
		jsonw_string(&j, slot_state_name(h->slot.state));
		jsonw_key(&j, "last_reason");
		jsonw_string(&j, h->reason[0] != '\0' ? h->reason : NULL);
		jsonw_end(&j);
	}
	jsonw_end(&j);
	jsonw_key(&j, "workers");
	jsonw_array(&j);
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (is_shown(m, i))
			worker_json(&j, m, i);
	jsonw_end(&j);
	jsonw_key(&j, "totals");
	jsonw_object(&j);
	for (int c = 0; c < SCORE_COUNTER_COUNT; c++) {
		jsonw_key(&j, score_counter_name((enum score_counter)c));
		jsonw_int(&j, (int64_t)score_total(m->board, (enum score_counter)c));
	}
	jsonw_end(&j);
	jsonw_end(&j);
	strbuf_putc(out, '\n');
}

static char *
span_text(int64_t ms, char buf[32])
{
	long long s = ms / 1000;

	if (s < 100)
		snprintf(buf, 32, "%lld.%llds", s, (long long)(ms % 1000) / 100);
	else if (s < 6000)
		snprintf(buf, 32, "%lldm%02llds", s / 60, s % 60);
	else if (s < 48 * 3600)
		snprintf(buf, 32, "%lldh%02lldm", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 32, "%lldd%02lldh", s / 86400, s / 3600 % 24);
	return buf;
}

static void
answer_table(const struct master *m, struct strbuf *out)
{
	char span[32], at[CLOCK_TEXT_SIZE], addr[ADDR_TEXT_SIZE];

	strbuf_printf(out, "node %s  version %s  pid %ld  %s for %s  generation %u\n",
	    m->board->node_text, PACKAGE_VERSION, (long)m->board->master_pid,
	    node_state(m), span_text(m->now_ms - m->started_ms, span),
	    m->newest->number);
	for (size_t i = 0; i < m->newest->listen.count; i++)
		strbuf_printf(out, "%s on %s\n",
		    audience_name(m->newest->listen.list[i].audience),
		    listen_set_address(&m->newest->listen, i, addr));
	if (atomic_load(&m->board->reload_failures) > 0)
		strbuf_printf(out, "reloads refused: %u (see the log)\n",
		    atomic_load(&m->board->reload_failures));
	if (m->mode != NODE_MODE_WORK)
		strbuf_printf(out, "it takes no tasks: %s\n", node_mode_name(m->mode));
	if (atomic_load(&m->board->upgrade_failures) > 0)
		strbuf_printf(out, "upgrades that failed: %u (see the log)\n",
		    atomic_load(&m->board->upgrade_failures));
	if (burials_open(m) > 0)
		strbuf_printf(out, "ended workers whose tasks wait for recovery: %zu\n",
		    burials_open(m));
	if (atomic_load(&m->board->schema_ready) == 0)
		strbuf_printf(out, "the database's schema is not ready%s%s\n",
		    m->helpers[HELPER_OF_SCHEMA].reason[0] != '\0' ? ": " : "",
		    m->helpers[HELPER_OF_SCHEMA].reason);

	for (size_t i = 0; i < HELPERS; i++) {
		const struct helper *h = &m->helpers[i];

		/* the schema's ends when its work is done */
		if (h->row != NULL && i != HELPER_OF_SCHEMA &&
		    h->slot.state != SLOT_EMPTY && h->slot.state != SLOT_READY)
			strbuf_printf(out, "the %s is %s%s%s\n", helper_name(h),
			    slot_state_name(h->slot.state),
			    h->reason[0] != '\0' ? ": " : "", h->reason);
	}

	strbuf_printf(out, "\n%6s %8s %-9s %-8s %4s %8s %9s %8s %10s %6s %7s  %s\n",
	    "WORKER", "PID", "STATE", "STORES", "GEN", "UPTIME", "RESTARTS", "RUNNING",
	    "SUCCEEDED", "HTTP", "MEMORY", "LAST ENDED");
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		const struct worker *w = &m->workers[i];
		struct score_slot *score = &m->board->slots[i];

		if (!is_shown(m, i))
			continue;
		strbuf_printf(out,
		    "%6zu %8ld %-9s %-8s %4u %8s %9u %8llu %10llu %6llu %6lluM  "
		    "%s%s%s\n",
		    i, (long)w->pid, worker_state(w, score), stores_word(w, score),
		    w->gen->number,
		    w->pid != 0 ? span_text(m->now_ms - w->slot.started_ms, span) : "-",
		    atomic_load(&score->restarts),
		    (unsigned long long)counter(score, SCORE_tasks_running),
		    (unsigned long long)counter(score, SCORE_tasks_succeeded_total),
		    (unsigned long long)counter(score, SCORE_http_connections),
		    (unsigned long long)counter(score, SCORE_memory_bytes) >> 20,
		    score->last_reason[0] != '\0' ? score->last_reason : "-",
		    score->last_reason[0] != '\0' ? " at " : "",
		    restarted_text(score, at));
	}
}

static const struct {
	const char *command;
	void (*answer)(const struct master *m, struct strbuf *out);
} commands[] = {
    {"status", answer_json},
    {"table", answer_table},
};

bool
master_status_answer(const char *command, struct strbuf *out, void *master)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (str_eq(command, commands[i].command)) {
			commands[i].answer(master, out);
			return true;
		}
	}
	return false;
}
