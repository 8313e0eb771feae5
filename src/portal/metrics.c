/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics.c - one line a counter, summed over the node's workers.
 *
 * Any worker can answer: the scoreboard holds the living and, added up, the dead, so a
 * counter never goes back when a worker is replaced.  New counter?  A row in
 * model/scoreboard.h is enough.
 */
#include "portal/metrics.h"

#include <inttypes.h>

static void
head(struct strbuf *out, const char *name, const char *kind, const char *help)
{
	strbuf_printf(
	    out, "# HELP shoal_%s %s\n# TYPE shoal_%s %s\n", name, help, name, kind);
}

static void
worker_states(struct strbuf *out, const struct scoreboard *b)
{
	unsigned states[SCORE_STATE_COUNT] = {0};

	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		unsigned state = atomic_load(&b->slots[i].state);

		if (state < SCORE_STATE_COUNT)
			states[state]++;
	}
	head(out, "workers", "gauge", "Worker processes of this node by state.");
	for (unsigned s = SCORE_STARTING; s < SCORE_STATE_COUNT; s++)
		strbuf_printf(out, "shoal_workers{state=\"%s\"} %u\n",
		    score_state_name((enum score_state)s), states[s]);
}

void
metrics_lists(struct strbuf *out, const struct pools *pools,
    const struct list_told *lists, size_t count)
{
	char name[LIST_NAME_SIZE];

	head(out, "list_length", "gauge",
	    "Ids in a list of Redis, as the leader last saw it.");
	for (size_t i = 0; i < count; i++) {
		pools_list_name(pools, lists[i].list, name);
		strbuf_printf(out,
		    "shoal_list_length{pool=\"%s\",list=\"%s\"} %" PRId64 "\n",
		    pools_name(pools, list_pool(lists[i].list)), name, lists[i].length);
	}
	head(out, "list_spilling", "gauge",
	    "1 while more is queued than the list may hold.");
	for (size_t i = 0; i < count; i++) {
		pools_list_name(pools, lists[i].list, name);
		strbuf_printf(out, "shoal_list_spilling{pool=\"%s\",list=\"%s\"} %d\n",
		    pools_name(pools, list_pool(lists[i].list)), name,
		    lists[i].spilling);
	}
}

/* names come from files of the operator's; a label must not end early all the same */
static void
label(struct strbuf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			strbuf_putc(out, '\\');
		if ((unsigned char)*text >= ' ')
			strbuf_putc(out, *text);
	}
}

void
metrics_certificates(struct strbuf *out, const struct tlsctx *tls, int64_t now_s)
{
	head(out, "tls_certificate_seconds_left", "gauge",
	    "How long a certificate is still good; below 0 it is over.");
	for (size_t i = 0; i < tlsctx_count(tls); i++) {
		strbuf_printf(out,
		    "shoal_tls_certificate_seconds_left{number=\"%zu\",name=\"", i);
		label(out, tlsctx_title(tls, i));
		strbuf_printf(
		    out, "\"} %" PRId64 "\n", tlsctx_seconds_left(tls, i, now_s));
	}
}

void
metrics_write(struct strbuf *out, const struct scoreboard *b)
{
	/* (C11 has no atomic load from a pointer to const) */
	struct scoreboard *board = (struct scoreboard *)(uintptr_t)b;
	uint64_t restarts = 0;

	for (int c = 0; c < SCORE_COUNTER_COUNT; c++) {
		enum score_counter counter = (enum score_counter)c;
		const char *name = score_counter_name(counter);

		head(out, name, score_counter_kind(counter),
		    score_counter_help(counter));
		strbuf_printf(
		    out, "shoal_%s %" PRIu64 "\n", name, score_total(b, counter));
	}
	worker_states(out, b);
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		restarts += atomic_load(&b->slots[i].restarts);
	head(out, "worker_restarts_total", "counter",
	    "Workers that ended unplanned and were replaced.");
	strbuf_printf(out, "shoal_worker_restarts_total %" PRIu64 "\n", restarts);
	head(out, "reload_failures_total", "counter",
	    "Reloads that were refused or given up; the node went on as before.");
	strbuf_printf(out, "shoal_reload_failures_total %u\n",
	    atomic_load(&board->reload_failures));
	head(out, "upgrade_failures_total", "counter",
	    "Upgrades in place that failed; the node went on as before.");
	strbuf_printf(out, "shoal_upgrade_failures_total %u\n",
	    atomic_load(&board->upgrade_failures));
	head(out, "takes_tasks", "gauge",
	    "1 while this node takes tasks; 0 in maintenance, drained or stopping.");
	strbuf_printf(out, "shoal_takes_tasks %d\n",
	    atomic_load(&board->mode) == NODE_MODE_WORK ? 1 : 0);
	head(out, "start_time_seconds", "gauge",
	    "When this node started, in seconds since 1970.");
	strbuf_printf(out, "shoal_start_time_seconds %" PRId64 ".%06" PRId64 "\n",
	    b->started_wall_us / 1000000, b->started_wall_us % 1000000);
}
