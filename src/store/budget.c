/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * budget.c - whether PostgreSQL is set up for this cluster; see budget.h.
 *
 * A worker keeps database.connections, and one more once tasks come with keys or rules
 * of their own (STORE_EACH).  The leader has two more, wherever it is, and a starting
 * node or a command one for a moment, which is left to the others' share.
 */
#include "store/budget.h"

#include <inttypes.h>
#include <stdio.h>

#define LEADER_CONNECTIONS 2
#define VERSION_MIN	   90400

void
budget_count(const struct budget_facts *f, struct budget *b)
{
	b->a_worker = f->connections + 1;
	b->a_node = f->workers * b->a_worker;
	b->nodes = f->nodes * b->a_node;
	b->all = b->nodes + LEADER_CONNECTIONS + f->others;
	b->room = f->max_connections - f->reserved;
	b->fits = b->all <= b->room;
}

char *
budget_text(const struct budget_facts *f, char buf[BUDGET_TEXT_SIZE])
{
	struct budget b;

	budget_count(f, &b);
	snprintf(buf, BUDGET_TEXT_SIZE,
	    "connections at the most: %" PRId64 " node%s x %" PRId64
	    " worker%s x %" PRId64 " = %" PRId64 ", the leader %d, others now %" PRId64
	    ", together %" PRId64 " of %" PRId64 " (max_connections %" PRId64
	    " - %" PRId64 " reserved)",
	    f->nodes, f->nodes == 1 ? "" : "s", f->workers, f->workers == 1 ? "" : "s",
	    b.a_worker, b.nodes, LEADER_CONNECTIONS, f->others, b.all, b.room,
	    f->max_connections, f->reserved);
	return buf;
}

static void
judge_durability(const struct budget_facts *f, struct findings *found)
{
	if (f->fsync_off)
		findings_add(found, FINDING_WARNING,
		    "set fsync = on, unless losing everything in a crash is fine",
		    "fsync is off: a crash of the database's machine loses accepted "
		    "tasks");
	if (f->commit_off)
		findings_add(found, FINDING_WARNING,
		    "set synchronous_commit = on for the server and for this role",
		    "synchronous_commit is off: a crash loses tasks that were "
		    "accepted");
	if (f->standbys > 0 && !f->synchronous_standbys)
		findings_add(found, FINDING_WARNING,
		    "set synchronous_standby_names, if no accepted task may be lost in "
		    "a failover",
		    "%" PRId64
		    " standby%s follow%s asynchronously: a failover may lose "
		    "the last tasks that were accepted",
		    f->standbys, f->standbys == 1 ? "" : "s",
		    f->standbys == 1 ? "s" : "");
}

void
budget_judge(const struct budget_facts *f, struct findings *found)
{
	char text[BUDGET_TEXT_SIZE];
	struct budget b;

	if (f->server_version < VERSION_MIN)
		findings_add(found, FINDING_FAULT, "upgrade it to 9.4 or later",
		    "postgresql's version is %" PRId64 ": too old", f->server_version);
	else
		findings_add(found, FINDING_FINE, NULL,
		    "postgresql's version is %" PRId64, f->server_version);
	if (f->read_only)
		findings_add(found, FINDING_FAULT,
		    "let database.url lead to the primary, or name all servers in it",
		    "this postgresql is read-only: a standby?");
	budget_count(f, &b);
	budget_text(f, text);
	if (b.fits)
		findings_add(found, FINDING_FINE, NULL, "%s", text);
	else
		findings_add(found, FINDING_WARNING,
		    "raise max_connections, lower node.workers or "
		    "database.connections, or put PgBouncer between",
		    "%s: too few", text);
	judge_durability(f, found);
}
