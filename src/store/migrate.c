/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * migrate.c - numbered schema steps, applied once each.
 *
 * shoal.schema_step lists what was applied.  Every step runs in one
 * transaction that first takes an advisory lock (transaction-scoped, so that it
 * works through a pooler and falls with the connection) and then looks again which step
 * is next: of many nodes that start at once, one applies it and the others find it
 * done.
 *
 * Programs of two versions run on one schema.  A step that this program does not know
 * was made by a newer one, and is no reason to refuse: shoal.schema_floor says how new
 * a program must be.  A step raises it when it takes away what older programs use, and
 * is not applied while one of these still runs.
 *
 * New step?  A file conf/schema/NNNN-what.sql, its line in store.am, nothing here,
 * unless the program works without it: then OPTIONAL_STEPS.  It must leave the previous
 * version of the program working (expand, later contract: HACKING.md).
 */
#include "config.h"

#include "store/migrate.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "store/inspect.h"
#include "store/session.h"

/* of the newest steps, those without which every statement works: an index, say */
#define OPTIONAL_STEPS 0

struct step {
	int number;
	const char *name;
	const char *sql;
};

static const struct step steps[] = {
#include "store/schema_steps.h"
};

static const char sql_lock[] = "SELECT pg_advisory_xact_lock(7290, 0)";
static const char sql_base[] =
    "CREATE SCHEMA IF NOT EXISTS shoal;"
    "CREATE TABLE IF NOT EXISTS shoal.schema_step ("
    " step int PRIMARY KEY, name text NOT NULL, program text NOT NULL,"
    " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())";
static const char sql_exists[] =
    "SELECT count(*) FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'shoal' AND c.relname = 'schema_step'";
static const char sql_current[] =
    "SELECT coalesce(max(step), 0) FROM shoal.schema_step";
static const char sql_has_floor[] =
    "SELECT count(*) FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'shoal' AND c.relname = 'schema_floor'";
static const char sql_floor[] = "SELECT step FROM shoal.schema_floor";
/* the program that made a step, for people */
static const char sql_program[] =
    "SELECT coalesce((SELECT program FROM shoal.schema_step WHERE step = $1::int), "
    "'a later version')";
static const char sql_outdated[] =
    "SELECT concat(count(*), ' workers, version ', min(i.version), ' on host ', "
    "min(i.host)) FROM shoal.incarnation i WHERE i.state = 0 AND coalesce(i.knows, 0) "
    "< "
    "(SELECT step FROM shoal.schema_floor)";
static const char sql_note[] =
    "INSERT INTO shoal.schema_step (step, name, program) VALUES ($1::int, $2, $3)";
static const char sql_cluster[] =
    "INSERT INTO shoal.cluster (name, database_id) SELECT $1, $2::uuid"
    " WHERE NOT EXISTS (SELECT 1 FROM shoal.cluster)";
static const char sql_cluster_name[] = "SELECT name FROM shoal.cluster";

int
migrate_newest(void)
{
	return steps[COUNT_OF(steps) - 1].number;
}

int
migrate_oldest(void)
{
	return steps[COUNT_OF(steps) - 1 - OPTIONAL_STEPS].number;
}

int
migrate_fits(int step, int floor)
{
	if (step < migrate_oldest())
		return -1;
	return floor > migrate_newest() ? 1 : 0;
}

/* 0 before the step that made it */
static int
read_floor(struct session *se, int *floor, struct err *err)
{
	char text[32];

	*floor = 0;
	if (session_value(se, sql_has_floor, 0, NULL, text, sizeof(text), err) != 0)
		return -1;
	if (str_eq(text, "0"))
		return 0;
	if (session_value(se, sql_floor, 0, NULL, text, sizeof(text), err) != 0)
		return -1;
	*floor = (int)strtol(text, NULL, 10);
	return 0;
}

/* a schema that lets this program on it, or is too old for it */
static int
check_floor(struct session *se, int step, struct err *err)
{
	char number[16], program[64];
	int floor;

	if (read_floor(se, &floor, err) != 0)
		return -1;
	if (migrate_fits(step, floor) <= 0)
		return 0;
	snprintf(number, sizeof(number), "%d", floor);
	if (session_value(se, sql_program, 1, (const char *[]){number}, program,
		sizeof(program), err) != 0)
		return -1;
	return err_set(err, ERR_INVALID,
	    "the database's schema is at step %d, on which only programs that know "
	    "step "
	    "%d may run (shoal %s or later), and this one (shoal %s) knows step %d: "
	    "upgrade this node",
	    step, floor, program, PACKAGE_VERSION, migrate_newest());
}

/* in the transaction of a step: it must not break those who run */
static int
check_others(struct session *se, const char *name, struct err *err)
{
	char who[200];
	int floor;

	if (read_floor(se, &floor, err) != 0)
		return -1;
	if (floor == 0)
		return 0;
	if (session_value(se, sql_outdated, 0, NULL, who, sizeof(who), err) != 0)
		return -1;
	if (str_starts(who, "0 "))
		return 0;
	return err_set(err, ERR_INVALID,
	    "schema step %s would break nodes that still run (%s): upgrade these to a "
	    "version between first",
	    name, who);
}

/* 0 when there is no schema yet */
static int
current_step(struct session *se, int *step, struct err *err)
{
	char text[32];

	if (session_value(se, sql_exists, 0, NULL, text, sizeof(text), err) != 0)
		return -1;
	if (str_eq(text, "0")) {
		*step = 0;
		return 0;
	}
	if (session_value(se, sql_current, 0, NULL, text, sizeof(text), err) != 0)
		return -1;
	*step = (int)strtol(text, NULL, 10);
	return check_floor(se, *step, err);
}

int
migrate_look(struct session *se, int *step, struct err *err)
{
	return current_step(se, step, err) == 0 ? check_floor(se, *step, err) : -1;
}

/* in a transaction: the next step, if there is one; *done says that there is none */
static int
apply_next(struct session *se, FILE *out, bool *done, struct err *err)
{
	char number[16];
	int current;

	if (session_run(se, sql_lock, 0, NULL, err) != 0 ||
	    session_run(se, sql_base, 0, NULL, err) != 0 ||
	    current_step(se, &current, err) != 0)
		return -1;
	*done = true;
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		if (steps[i].number <= current)
			continue;
		if (session_run(se, steps[i].sql, 0, NULL, err) != 0)
			return err_wrap(err, "schema step %s", steps[i].name);
		snprintf(number, sizeof(number), "%d", steps[i].number);
		if (session_run(se, sql_note, 3,
			(const char *[]){number, steps[i].name, PACKAGE_VERSION},
			err) != 0 ||
		    check_others(se, steps[i].name, err) != 0)
			return -1;
		if (out != NULL)
			fprintf(out, "applied schema step %s\n", steps[i].name);
		*done = false;
		return 0;
	}
	return 0;
}

static int
name_cluster(struct session *se, const struct settings *s, struct err *err)
{
	char id_text[UUID_TEXT_SIZE], name[128];
	struct uuid id;

	random_bytes(id.b, sizeof(id.b));
	uuid_format(&id, id_text);
	if (session_run(se, "BEGIN", 0, NULL, err) != 0 ||
	    session_run(se, sql_lock, 0, NULL, err) != 0 ||
	    session_run(se, sql_cluster, 2, (const char *[]){s->cluster_name, id_text},
		err) != 0 ||
	    session_run(se, "COMMIT", 0, NULL, err) != 0 ||
	    session_value(se, sql_cluster_name, 0, NULL, name, sizeof(name), err) != 0)
		return -1;
	if (!str_eq(name, s->cluster_name))
		return err_set(err, ERR_INVALID,
		    "this database belongs to the cluster '%s', and this node's "
		    "cluster.name is '%s': "
		    "give each cluster a database of its own, or mend the name",
		    name, s->cluster_name);
	return 0;
}

static int
apply_all(struct session *se, const struct settings *s, FILE *out, struct err *err)
{
	bool done = false;

	while (!done) {
		if (session_run(se, "BEGIN", 0, NULL, err) != 0 ||
		    apply_next(se, out, &done, err) != 0 ||
		    session_run(se, "COMMIT", 0, NULL, err) != 0)
			return -1;
	}
	return name_cluster(se, s, err);
}

static struct session *
open_session(const struct settings *s, struct err *err)
{
	const char *url = s->database_migrate_url[0] != '\0' ? s->database_migrate_url
							     : s->database_url;
	char *password = mem_strdup(s->database_password);
	struct session *se;

	if (password == NULL) {
		err_set(err, ERR_NOMEM, "database session");
		return NULL;
	}
	/* a node that waits for its database may have read it long ago */
	if (s->database_password_file[0] != '\0' &&
	    conf_refresh_secret(s->database_password_file, &password, NULL) != 0)
		log_debug(NULL, "the password's file cannot be read again", "path=%s",
		    s->database_password_file);
	se = session_open(url, password, err);
	mem_free_secret(password, strlen(password));
	return se;
}

/* out NULL: it is a node that starts, and says what it finds */
static int
bring_up(const struct settings *s, const char *node, FILE *out, struct err *err)
{
	struct session *se = open_session(s, err);
	int rc, step = 0;

	if (se == NULL)
		return -1;
	rc = apply_all(se, s, out, err);
	if (rc == 0 && out != NULL && (rc = current_step(se, &step, err)) == 0)
		fprintf(out, "the schema is at step %d\n", step);
	if (rc == 0 && out == NULL)
		inspect_and_log(se, s, node);
	session_close(se);
	return rc;
}

int
migrate_apply(const struct settings *s, FILE *out, struct err *err)
{
	return bring_up(s, "", out, err);
}

int
migrate_run(const struct settings *s, const char *node, struct err *err)
{
	struct session *se;
	int current, rc;

	if (s->database_migrate)
		return bring_up(s, node, NULL, err);
	se = open_session(s, err);
	if (se == NULL)
		return -1;
	rc = current_step(se, &current, err);
	if (rc == 0 && current < migrate_oldest())
		rc = err_set(err, ERR_INVALID,
		    "the database's schema is at step %d and this program needs %d: "
		    "run shoald --migrate",
		    current, migrate_oldest());
	if (rc == 0)
		rc = name_cluster(se, s, err);
	if (rc == 0)
		inspect_and_log(se, s, node);
	session_close(se);
	return rc;
}
