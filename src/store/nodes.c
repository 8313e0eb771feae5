/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nodes.c - nodes as PostgreSQL knows them; see nodes.h.
 *
 * The living incarnations are few, and those of a node follow each other in the order
 * of their ids.
 */
#include "store/nodes.h"

#define MICROS(col) "(extract(epoch FROM " col ") * 1000000)::bigint"

const struct pgstmt nodes_workers = {
    "nodes_workers",
    "SELECT n.id, n.host, n.version, n.slots, " MICROS(
	"n.started_at") ", coalesce(n.id = c.leader AND c.lease_until > "
			"clock_timestamp(), false), "
			"array_to_string(coalesce(n.pools, '{main}'), ','), "
			"coalesce(n.running, 0), coalesce(n.generation, 0), "
			"coalesce(n.idle, false), coalesce(n.node_mode, 0)::int, "
			"(extract(epoch FROM clock_timestamp() - n.beaten_at) * "
			"1000)::bigint, o.mode::int, " MICROS(
			    "o.ordered_at") ", o.reason"
					    " FROM shoal.incarnation n CROSS JOIN "
					    "shoal.cluster c LEFT JOIN "
					    "shoal.node_order o ON o.node = "
					    "left(replace(n.id::text, '-', ''), 12)"
					    " WHERE n.state = 0 ORDER BY n.id LIMIT "
					    "4096",
};

const struct pgstmt nodes_order = {
    "nodes_order",
    "SELECT shoal.order_node($1::text, $2::int, $3::text)",
};

static enum node_mode
mode_of(int64_t number)
{
	return number > 0 && number < NODE_MODE_COUNT ? (enum node_mode)number
						      : NODE_MODE_WORK;
}

void
node_worker_get(const struct pgrows *rows, int row, struct node_worker *w)
{
	pgrows_uuid(rows, row, 0, &w->id);
	w->host = pgrows_text(rows, row, 1, NULL);
	w->version = pgrows_text(rows, row, 2, NULL);
	w->slots = (int)pgrows_int(rows, row, 3);
	w->started_us = pgrows_int(rows, row, 4);
	w->leads = pgrows_bool(rows, row, 5);
	w->pools = pgrows_text(rows, row, 6, NULL);
	w->running = pgrows_int(rows, row, 7);
	w->generation = pgrows_int(rows, row, 8);
	w->idle = pgrows_bool(rows, row, 9);
	w->mode = mode_of(pgrows_int(rows, row, 10));
	w->beat_age_ms = pgrows_is_null(rows, row, 11) ? -1 : pgrows_int(rows, row, 11);
	/* (two clock readings in one statement may be a little apart) */
	if (!pgrows_is_null(rows, row, 11) && w->beat_age_ms < 0)
		w->beat_age_ms = 0;
	w->ordered = mode_of(pgrows_int(rows, row, 12));
	w->ordered_us = pgrows_int(rows, row, 13);
	w->reason = pgrows_text_or_null(rows, row, 14, NULL);
}

void
nodes_order_params(
    struct pgparam *p, const char *node, enum node_mode mode, const char *reason)
{
	pgparam_reset(p);
	pgparam_text(p, node);
	pgparam_int4(p, (int32_t)mode);
	pgparam_text(p, reason);
}
