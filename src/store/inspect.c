/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect.c - asks PostgreSQL for what budget.h judges; see inspect.h.
 *
 * Everything that is asked is readable by any role, on 9.4 too.  Sessions are told
 * apart by application_name, which all of ours begin with "shoal"; behind a pooler the
 * numbers are those of the server, and the pooler's own limits are not seen.
 */
#include "store/inspect.h"

#include "base/log.h"
#include "base/str.h"
#include "store/pgurl.h"

static const char sql_facts[] =
    "SELECT current_setting('server_version_num'),"
    " CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END,"
    " least(current_setting('max_connections')::int,"
    "  coalesce((SELECT nullif(r.rolconnlimit, -1) FROM pg_roles r"
    "             WHERE r.rolname = current_user), 2147483647),"
    "  coalesce((SELECT nullif(d.datconnlimit, -1) FROM pg_database d"
    "             WHERE d.datname = current_database()), 2147483647)),"
    " (SELECT coalesce(sum(p.setting::int), 0) FROM pg_settings p"
    "   WHERE p.name IN ('superuser_reserved_connections', 'reserved_connections')),"
    " (SELECT count(*) FROM pg_stat_activity a"
    "   WHERE a.datid IS NOT NULL AND a.usesysid IS NOT NULL"
    "     AND a.application_name NOT LIKE 'shoal%'),"
    " CASE WHEN current_setting('fsync') = 'off' THEN 1 ELSE 0 END,"
    " CASE WHEN current_setting('synchronous_commit') = 'off' THEN 1 ELSE 0 END,"
    " (SELECT count(*) FROM pg_stat_replication),"
    " CASE WHEN current_setting('synchronous_standby_names') <> '' THEN 1 ELSE 0 END";
static const char sql_has_nodes[] =
    "SELECT count(*) FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'shoal' AND c.relname = 'incarnation'";
/* the node's id is the first six bytes of the owner's */
static const char sql_nodes[] =
    "SELECT count(DISTINCT substr(replace(i.id::text, '-', ''), 1, 12))"
    " FROM shoal.incarnation i WHERE i.state = 0"
    " AND substr(replace(i.id::text, '-', ''), 1, 12) <> $1";

#define COLUMNS 9

static int
take_row(int columns, const char *const values[], void *arg)
{
	struct budget_facts *f = arg;
	int64_t n[COLUMNS] = {0};

	for (int i = 0; i < columns && i < COLUMNS; i++) {
		if (values[i] == NULL || str_to_i64(values[i], &n[i]) != 0)
			n[i] = 0;
	}
	f->server_version = n[0];
	f->read_only = n[1] != 0;
	f->max_connections = n[2];
	f->reserved = n[3];
	f->others = n[4];
	f->fsync_off = n[5] != 0;
	f->commit_off = n[6] != 0;
	f->standbys = n[7];
	f->synchronous_standbys = n[8] != 0;
	return 0;
}

int
inspect_database(struct session *se, const struct settings *s, const char *node,
    struct budget_facts *facts, struct err *err)
{
	struct budget_facts f = {.nodes = 0};
	const char *without = node != NULL ? node : "";
	char text[32];
	int64_t nodes = 0;

	if (session_rows(se, sql_facts, 0, NULL, take_row, &f, err) != 0 ||
	    session_value(se, sql_has_nodes, 0, NULL, text, sizeof(text), err) != 0)
		return -1;
	if (!str_eq(text, "0") &&
	    (session_value(se, sql_nodes, 1, &without, text, sizeof(text), err) != 0 ||
		str_to_i64(text, &nodes) != 0))
		return -1;
	f.nodes = nodes + (node != NULL ? 1 : 0);
	if (f.nodes < 1)
		f.nodes = 1;
	f.workers = settings_worker_count(s);
	f.connections = s->database_connections;
	*facts = f;
	return 0;
}

void
inspect_and_log(struct session *se, const struct settings *s, const char *node)
{
	struct findings found = {.count = 0};
	struct budget_facts facts;
	struct err err = ERR_INIT;

	pgurl_judge("database.url", s->database_url, &found);
	if (s->database_migrate_url[0] != '\0')
		pgurl_judge("database.migrate_url", s->database_migrate_url, &found);
	/* a role without rights to look is no reason not to run */
	if (inspect_database(se, s, node, &facts, &err) == 0) {
		/* without fsync on this very machine: a developer's, who knows */
		if (pgurl_way(s->database_url) == PGURL_LOCAL)
			facts.fsync_off = false;
		budget_judge(&facts, &found);
	} else {
		log_debug(
		    NULL, "the database is not inspected", "reason=\"%s\"", err.text);
	}
	findings_log(&found, "the database was looked at");
}
