/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_postgres.c - whether PostgreSQL can be reached, and is set up for a queue.
 *
 * The budget of connections, version and durability are judged by store/budget.h, as a
 * starting node does; here is what is asked beside: the settings of our role, the
 * schema, the clock, and a pooler in between.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "cli/doctor.h"
#include "store/inspect.h"
#include "store/migrate.h"
#include "store/pgurl.h"
#include "store/session.h"

#define WAL_LITTLE    (INT64_C(1) << 30)
#define SEGMENT	      (INT64_C(16) << 20)
#define TIMEOUT_LEAST 60000 /* twice what the longest statement of the feeder takes */

/* all of them are texts here; unknown to an old server: no row */
static const char sql_settings[] =
    "SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ('wal_level',"
    " 'synchronous_commit', 'default_transaction_read_only',"
    " 'default_transaction_isolation', 'autovacuum', 'server_encoding',"
    " 'statement_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout',"
    " 'checkpoint_segments')"
    " UNION ALL SELECT 'max_wal_size', (p.setting::bigint * CASE p.unit WHEN '16MB'"
    " THEN 16777216 ELSE 1048576 END)::text FROM pg_catalog.pg_settings p"
    " WHERE p.name = 'max_wal_size'";
static const char sql_clock[] =
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
static const char sql_backend[] = "SELECT pg_backend_pid()";
static const char sql_has_cluster[] =
    "SELECT count(*) FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'shoal' AND c.relname = 'cluster'";
static const char sql_may_make[] =
    "SELECT CASE WHEN has_database_privilege(current_database(), 'CREATE') THEN 1"
    " ELSE 0 END";
static const char sql_cluster[] =
    "SELECT c.name, c.database_id::text,"
    " (SELECT count(*) FROM shoal.incarnation i WHERE i.state = 0)"
    " FROM shoal.cluster c";

/* ---------------------------------------------------------------- no connection */

static const struct {
	const char *says, *remedy;
} refusals[] = {
    {"password authentication failed",
	"mend the password: database.password_file, or the url; psql with the same url "
	"tries it"},
    {"no password supplied", "give the password in database.password_file"},
    {"no pg_hba.conf entry", "let this machine, user and database in with a line of "
			     "pg_hba.conf (and sslmode= "
			     "in the url, if only hostssl lines are there)"},
    {"too many clients", "raise max_connections of PostgreSQL, lower node.workers or "
			 "database.connections, or put PgBouncer between"},
    {"connection slots are reserved",
	"raise max_connections of PostgreSQL, lower node.workers or "
	"database.connections, or put PgBouncer between"},
    {"too many connections", "raise the connection limit of the role or the database"},
    {"does not exist", "create the role and the database: docs/operations.md"},
    {"Connection refused",
	"start PostgreSQL, or mend host and port in database.url; it has to listen on "
	"that address (listen_addresses)"},
    {"could not translate host name", "mend the host in database.url, or DNS"},
    {"certificate",
	"let sslrootcert= in database.url name the authority, and host= the name that "
	"is in the certificate"},
    {"timeout", "look at the network between: security groups, firewalls, routes"},
};

static void
tell_unreachable(const struct err *err, struct findings *found)
{
	const char *remedy = "try the same url with psql";

	for (size_t i = 0; i < COUNT_OF(refusals); i++) {
		if (strstr(err->text, refusals[i].says) == NULL)
			continue;
		remedy = refusals[i].remedy;
		break;
	}
	findings_add(found, FINDING_FAULT, remedy, "%s", err->text);
}

/* ---------------------------------------------------------------- settings */

static int
take_setting(int columns, const char *const values[], void *arg)
{
	struct postgres_settings *ps = arg;
	const char *name = values[0], *value = values[1];
	const struct {
		const char *name;
		char *to;
		size_t size;
	} texts[] = {
	    {"wal_level", ps->wal_level, sizeof(ps->wal_level)},
	    {"synchronous_commit", ps->synchronous_commit,
		sizeof(ps->synchronous_commit)},
	    {"default_transaction_read_only", ps->default_read_only,
		sizeof(ps->default_read_only)},
	    {"default_transaction_isolation", ps->isolation, sizeof(ps->isolation)},
	    {"autovacuum", ps->autovacuum, sizeof(ps->autovacuum)},
	    {"server_encoding", ps->encoding, sizeof(ps->encoding)},
	};
	const struct {
		const char *name;
		int64_t *to;
		int64_t unit;
	} numbers[] = {
	    {"statement_timeout", &ps->statement_timeout_ms, 1},
	    {"idle_in_transaction_session_timeout", &ps->idle_timeout_ms, 1},
	    {"lock_timeout", &ps->lock_timeout_ms, 1},
	    {"max_wal_size", &ps->max_wal_bytes, 1},
	    {"checkpoint_segments", &ps->max_wal_bytes, SEGMENT},
	};
	int64_t n;

	if (columns < 2 || name == NULL || value == NULL)
		return 0;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		if (str_eq(name, texts[i].name))
			str_copy(texts[i].to, texts[i].size, value);
	}
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		if (str_eq(name, numbers[i].name) && str_to_i64(value, &n) == 0)
			*numbers[i].to = n * numbers[i].unit;
	}
	return 0;
}

static void
judge_timeouts(const struct postgres_settings *ps, struct findings *found)
{
	if (ps->statement_timeout_ms > 0 && ps->statement_timeout_ms < TIMEOUT_LEAST)
		findings_add(found, FINDING_WARNING,
		    "ALTER ROLE ... SET statement_timeout = 0: the node has bounds of "
		    "its own (database.statement_timeout)",
		    "statement_timeout of this role is %" PRId64
		    " ms: passes over a backlog, and steps of the schema, may be cut "
		    "off",
		    ps->statement_timeout_ms);
	if (ps->lock_timeout_ms > 0 && ps->lock_timeout_ms < 5000)
		findings_add(found, FINDING_WARNING,
		    "ALTER ROLE ... SET lock_timeout = 0, or 10s",
		    "lock_timeout of this role is %" PRId64
		    " ms: submits fail where they could wait",
		    ps->lock_timeout_ms);
}

void
doctor_postgres_judge(const struct postgres_settings *ps, struct findings *found)
{
	if (ps->encoding[0] != '\0' && !str_eq(ps->encoding, "UTF8"))
		findings_add(found, FINDING_FAULT,
		    "create the database with ENCODING 'UTF8' TEMPLATE template0",
		    "the database's encoding is %s: payloads are UTF-8", ps->encoding);
	if (str_eq(ps->default_read_only, "on"))
		findings_add(found, FINDING_FAULT,
		    "ALTER ROLE ... RESET default_transaction_read_only (of the "
		    "database and the server too)",
		    "default_transaction_read_only is on: nothing can be stored");
	if (ps->isolation[0] != '\0' && !str_eq(ps->isolation, "read committed"))
		findings_add(found, FINDING_FAULT,
		    "ALTER ROLE ... SET default_transaction_isolation = 'read "
		    "committed'",
		    "default_transaction_isolation is %s: statements that wait for "
		    "each other would fail",
		    ps->isolation);
	if (str_eq(ps->autovacuum, "off"))
		findings_add(found, FINDING_FAULT, "set autovacuum = on",
		    "autovacuum is off: a queue's tables fill with dead rows within "
		    "hours");
	if (str_eq(ps->wal_level, "minimal"))
		findings_add(found, FINDING_WARNING,
		    "set wal_level = replica (hot_standby before 9.6)",
		    "wal_level is minimal: there can be no standby, and no backup up "
		    "to a moment");
	if (ps->max_wal_bytes > 0 && ps->max_wal_bytes < WAL_LITTLE)
		findings_add(found, FINDING_WARNING,
		    "set max_wal_size = 4GB (checkpoint_segments = 128 before 9.5)",
		    "there is a checkpoint every %" PRId64
		    " MiB of log: under load they never end, and starts wait for them",
		    ps->max_wal_bytes >> 20);
	judge_timeouts(ps, found);
}

static void
look_at_settings(struct session *se, struct findings *found)
{
	struct postgres_settings ps = {.wal_level = ""};
	struct err err = ERR_INIT;
	size_t before = found->count;

	if (session_rows(se, sql_settings, 0, NULL, take_setting, &ps, &err) != 0) {
		findings_add(found, FINDING_WARNING, "let the role read pg_settings",
		    "its settings cannot be read: %s", err.text);
		return;
	}
	doctor_postgres_judge(&ps, found);
	if (found->count == before)
		findings_add(found, FINDING_FINE, NULL,
		    "encoding, isolation, autovacuum, timeouts, wal_level and "
		    "checkpoints are as they should be");
}

/* ---------------------------------------------------------------- the rest */

static void
look_at_clock(struct session *se, struct findings *found)
{
	double best_s = 0, unsure_s = 1e9;
	struct err err = ERR_INIT;

	/* the quickest of three answers says the most */
	for (int i = 0; i < 3; i++) {
		int64_t began = clock_mono_us(), wall = clock_wall_us(), took, theirs;
		char text[32];

		if (session_value(se, sql_clock, 0, NULL, text, sizeof(text), &err) !=
			0 ||
		    str_to_i64(text, &theirs) != 0)
			return;
		took = clock_mono_us() - began;
		if ((double)took / 2e6 < unsure_s) {
			unsure_s = (double)took / 2e6;
			best_s = (double)(theirs - wall - took / 2) / 1e6;
		}
	}
	doctor_clock_judge("PostgreSQL", best_s, unsure_s, found);
}

static void
look_at_pooler(const struct doctor *d, struct session *se, struct findings *found)
{
	struct err err = ERR_INIT;
	char text[32];

	if (session_value(se, sql_backend, 0, NULL, text, sizeof(text), &err) != 0 ||
	    strtol(text, NULL, 10) == session_backend(se))
		return;
	if (d->settings->database_prepared)
		findings_add(found, FINDING_WARNING,
		    "with PgBouncer before 1.21, or max_prepared_statements = 0, set "
		    "database.prepared_statements = no",
		    "a pooler is in front of PostgreSQL, and statements are prepared");
	if (d->settings->database_migrate_url[0] == '\0')
		findings_add(found, FINDING_WARNING,
		    "let database.migrate_url lead to PostgreSQL itself",
		    "a pooler is in front of PostgreSQL, and the schema is changed "
		    "through it");
}

struct cluster {
	struct doctor *d;
	char name[128];
};

static int
take_cluster(int columns, const char *const values[], void *arg)
{
	struct cluster *c = arg;
	int64_t n;

	if (columns < 3 || values[0] == NULL || values[1] == NULL)
		return 0;
	str_copy(c->name, sizeof(c->name), values[0]);
	str_copy(c->d->database_id, sizeof(c->d->database_id), values[1]);
	if (values[2] != NULL && str_to_i64(values[2], &n) == 0)
		c->d->workers = n;
	return 0;
}

static void
look_at_name(struct doctor *d, struct session *se, struct findings *found)
{
	struct cluster c = {.d = d};
	struct err err = ERR_INIT;

	if (session_rows(se, sql_cluster, 0, NULL, take_cluster, &c, &err) != 0)
		findings_add(found, FINDING_FAULT,
		    "GRANT the role what the owner of the schema shoal may, or connect "
		    "as that owner",
		    "its tables cannot be read: %s", err.text);
	else if (c.name[0] != '\0' && !str_eq(c.name, d->settings->cluster_name))
		findings_add(found, FINDING_FAULT,
		    "give each cluster a database of its own, or mend cluster.name",
		    "this database belongs to the cluster '%.80s', and cluster.name is "
		    "'%s'",
		    c.name, d->settings->cluster_name);
}

/* as a starting node would find it, but nothing is applied */
static void
look_at_schema(struct doctor *d, struct session *se, struct findings *found)
{
	struct err err = ERR_INIT;
	int step = 0;
	char text[32];

	if (migrate_look(se, &step, &err) != 0) {
		findings_add(found, FINDING_FAULT,
		    "upgrade this node to the release that the others run; schemas are "
		    "not taken back",
		    "%s", err.text);
		return;
	}
	if (step < migrate_newest() && !d->settings->database_migrate)
		findings_add(found, FINDING_FAULT, "run shoald --migrate",
		    "the schema is at step %d, this program needs %d, and "
		    "database.migrate is off",
		    step, migrate_newest());
	else if (step == 0 && d->settings->database_migrate_url[0] == '\0' &&
		 session_value(se, sql_may_make, 0, NULL, text, sizeof(text), &err) ==
		     0 &&
		 str_eq(text, "0"))
		findings_add(found, FINDING_FAULT,
		    "GRANT CREATE ON DATABASE ... TO the role, or give "
		    "database.migrate_url a role that may",
		    "there is no schema yet, and this role may not make one");
	else
		findings_add(found, FINDING_FINE, NULL,
		    "the schema is at step %d of %d%s", step, migrate_newest(),
		    step < migrate_newest() ? ": the node's start brings it up to date"
					    : "");
	if (session_value(se, sql_has_cluster, 0, NULL, text, sizeof(text), &err) !=
		0 ||
	    str_eq(text, "0"))
		return;
	look_at_name(d, se, found);
}

/* more nodes may be too many some day; a node that does not fit alone never works */
static void
look_at_this_node(const struct budget_facts *facts, struct findings *found)
{
	struct budget b;

	budget_count(facts, &b);
	if (b.a_node > b.room)
		findings_add(found, FINDING_FAULT,
		    "raise max_connections of PostgreSQL, lower node.workers or "
		    "database.connections, or put PgBouncer between",
		    "this node alone may need %" PRId64 " connections, and there are "
		    "%" PRId64,
		    b.a_node, b.room);
}

void
doctor_postgres(struct doctor *d, struct findings *found)
{
	const struct settings *s = d->settings;
	struct budget_facts facts;
	struct err err = ERR_INIT;
	struct session *se;

	pgurl_judge("database.url", s->database_url, found);
	if (s->database_migrate_url[0] != '\0')
		pgurl_judge("database.migrate_url", s->database_migrate_url, found);
	se = session_open(s->database_url, s->database_password, &err);
	if (se == NULL) {
		tell_unreachable(&err, found);
		return;
	}
	if (inspect_database(se, s, d->master != 0 ? NULL : "", &facts, &err) == 0) {
		budget_judge(&facts, found);
		look_at_this_node(&facts, found);
	} else {
		findings_add(
		    found, FINDING_FAULT, "look at PostgreSQL's log", "%s", err.text);
	}
	look_at_settings(se, found);
	look_at_schema(d, se, found);
	look_at_pooler(d, se, found);
	look_at_clock(se, found);
	session_close(se);
}
