/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.c - a worker's connections to PostgreSQL; see store.h.
 *
 * It keeps no queue: a caller whose lane is down gets ERR_CLOSED at once and decides.
 *
 * All connections shall lead to one server.  Each new one asks who that is, by its
 * system identifier and timeline, which a promotion moves on; when that is another than
 * before, or one of them finds the server read-only, those that were there are finished
 * and made again.  A server that will not tell is taken as it is.
 */
#include "store/store.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "pg/pgpool.h"

/* units that may wait on a lane; the micro-batches keep one or two each under way */
#define HOT_UNITS  16
#define READ_UNITS 256
/* a caller waits behind these two: better told to try again soon than kept */
#define CALLER_TIMEOUT_MS 5000

#define IDENTITY_SIZE 48
#define CONNS_MOST    32 /* more than all lanes and the largest pool together */

struct lane {
	struct store *store;
	enum store_lane lane;
};

/* whom a connection that is up leads to */
struct known {
	struct store *store;
	struct pgconn *pc;	      /* NULL: free */
	char identity[IDENTITY_SIZE]; /* "": not told yet */
};

struct store {
	struct loop *loop;
	struct resolver *resolver;
	const struct settings *settings;
	store_state_cb *cb;
	void *arg;
	struct pgconn *conns[STORE_LANE_COUNT]; /* all but STORE_READ */
	struct pgpool *reads;
	struct lane lanes[STORE_LANE_COUNT];
	struct known known[CONNS_MOST];
	char identity[IDENTITY_SIZE]; /* told last; "": never */
};

/* the functions have had three names; each of them any role may call */
static const struct pgstmt identify_since_10 = {
    .name = "identify_since_10",
    .sql = "SELECT (SELECT c.system_identifier::text FROM pg_control_system() c)"
	   " || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)",
};
static const struct pgstmt identify_since_9_6 = {
    .name = "identify_since_9_6",
    .sql = "SELECT (SELECT c.system_identifier::text FROM pg_control_system() c)"
	   " || '/' || substr(pg_xlogfile_name(pg_current_xlog_location()), 1, 8)",
};
static const struct pgstmt identify_9_4 = {
    .name = "identify_9_4",
    .sql = "SELECT substr(pg_xlogfile_name(pg_current_xlog_location()), 1, 8)",
};

static const char *const lane_names[STORE_LANE_COUNT] = {
    [STORE_SUBMIT] = "submit",
    [STORE_EACH] = "each",
    [STORE_WORK] = "work",
    [STORE_READ] = "read",
    [STORE_LEAD] = "lead",
    [STORE_TIDY] = "tidy",
};

/* ---- one server ------------------------------------------------------------ */

/* those that are known to lead elsewhere; whom: NULL means all */
static void
leave_others(struct store *st, const char *whom, const char *reason)
{
	for (size_t i = 0; i < CONNS_MOST; i++) {
		struct known *k = &st->known[i];

		if (k->pc != NULL && (whom == NULL || (k->identity[0] != '\0' &&
							  !str_eq(k->identity, whom))))
			pgconn_leave(k->pc, reason);
	}
}

static void
on_identity(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct known *k = arg;
	struct store *st = k->store;
	const char *text;
	size_t len = 0;

	if (pe != NULL) {
		if (pe->class != PGERR_LOST)
			log_debug(NULL, "the database does not tell who it is",
			    "sqlstate=%s reason=\"%.200s\"", pe->sqlstate, pe->text);
		return;
	}
	if (k->pc == NULL || pgrows_count(rows) != 1)
		return;
	text = pgrows_text(rows, 0, 0, &len);
	if (len == 0 || len >= IDENTITY_SIZE)
		return;
	memcpy(k->identity, text, (size_t)len);
	k->identity[len] = '\0';
	if (st->identity[0] != '\0' && !str_eq(st->identity, k->identity)) {
		log_warn(NULL,
		    "the database is another than before: connections to the old one "
		    "are made again",
		    "now=%s before=%s", k->identity, st->identity);
		leave_others(st, k->identity, "another server is the database now");
	}
	str_copy(st->identity, sizeof(st->identity), k->identity);
}

static void
forget(struct store *st, const struct pgconn *pc)
{
	for (size_t i = 0; i < CONNS_MOST; i++) {
		if (st->known[i].pc == pc)
			st->known[i].pc = NULL;
	}
}

static void
identify(struct store *st, struct pgconn *pc)
{
	int version = pgconn_server_version(pc);
	const struct pgstmt *stmt = version >= 100000  ? &identify_since_10
				    : version >= 90600 ? &identify_since_9_6
						       : &identify_9_4;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < CONNS_MOST; i++) {
		struct known *k = &st->known[i];

		if (k->pc != NULL)
			continue;
		*k = (struct known){.store = st, .pc = pc};
		if (pgconn_exec(pc, stmt, NULL, on_identity, k, &err) != 0)
			log_debug(NULL, "the database is not asked who it is",
			    "reason=\"%s\"", err.text);
		return;
	}
}

static void
on_state(struct pgconn *pc, bool up, const struct err *err, void *arg)
{
	struct lane *ln = arg;
	struct store *st = ln->store;

	forget(st, pc);
	if (up)
		identify(st, pc);
	else if (err->code == ERR_CONFLICT)
		leave_others(st, NULL, "the server is read-only now");
	st->cb(ln->lane, up, err, st->arg);
}

/* ---- lanes ------------------------------------------------------------------ */

static void
fill_opts(struct store *st, enum store_lane lane, struct pgconn_opts *opts)
{
	const struct settings *s = st->settings;
	int timeout_ms = (int)s->database_statement_timeout_ms;

	if ((lane == STORE_SUBMIT || lane == STORE_READ) &&
	    timeout_ms > CALLER_TIMEOUT_MS)
		timeout_ms = CALLER_TIMEOUT_MS;
	*opts = (struct pgconn_opts){
	    .name = lane_names[lane],
	    .url = s->database_url,
	    .password = s->database_password,
	    .password_file = s->database_password_file,
	    .moved_ms = (int)s->node_resolve_interval_ms,
	    .prepared = s->database_prepared,
	    .statement_timeout_ms = timeout_ms,
	    .max_units = lane == STORE_READ ? READ_UNITS : HOT_UNITS,
	    .state_cb = on_state,
	    .arg = &st->lanes[lane],
	};
}

static int
open_lane(struct store *st, enum store_lane lane, struct err *err)
{
	struct pgconn_opts opts;

	fill_opts(st, lane, &opts);
	st->conns[lane] = pgconn_create(st->loop, st->resolver, &opts, err);
	return st->conns[lane] != NULL ? 0 : -1;
}

struct store *
store_create(struct loop *l, struct resolver *rv, const struct settings *settings,
    store_state_cb *cb, void *arg, struct err *err)
{
	struct store *st = mem_zero(sizeof(*st));

	if (st == NULL) {
		err_set(err, ERR_NOMEM, "store");
		return NULL;
	}
	st->loop = l;
	st->resolver = rv;
	st->settings = settings;
	st->cb = cb;
	st->arg = arg;
	for (int i = 0; i < STORE_LANE_COUNT; i++)
		st->lanes[i] = (struct lane){st, (enum store_lane)i};
	if (store_reopen(st, err) != 0) {
		store_free(st);
		return NULL;
	}
	return st;
}

int
store_reopen(struct store *st, struct err *err)
{
	struct pgconn_opts opts;

	if (st->conns[STORE_SUBMIT] == NULL && open_lane(st, STORE_SUBMIT, err) != 0)
		goto fail;
	if (st->conns[STORE_WORK] == NULL && open_lane(st, STORE_WORK, err) != 0)
		goto fail;
	fill_opts(st, STORE_READ, &opts);
	if (st->reads == NULL)
		st->reads = pgpool_create(st->loop, st->resolver, &opts,
		    (size_t)st->settings->database_connections - 2, err);
	if (st->reads != NULL)
		return 0;
fail:
	return err_wrap(err, "opening the store");
}

static void
close_lane(struct store *st, enum store_lane lane)
{
	struct pgconn *pc = st->conns[lane];

	st->conns[lane] = NULL;
	if (pc != NULL)
		forget(st, pc);
	pgconn_free(pc);
}

void
store_release(struct store *st)
{
	struct pgpool *reads;

	/* their waiting callbacks run from inside the free: they must find nothing to
	 * send on */
	for (int i = 0; i < STORE_LANE_COUNT; i++)
		close_lane(st, (enum store_lane)i);
	for (size_t i = 0; i < CONNS_MOST; i++)
		st->known[i].pc = NULL;
	reads = st->reads;
	st->reads = NULL;
	pgpool_free(reads);
}

void
store_free(struct store *st)
{
	if (st == NULL)
		return;
	store_release(st);
	mem_free(st);
}

bool
store_is_up(const struct store *st, enum store_lane lane)
{
	if (lane == STORE_READ)
		return st->reads != NULL && pgpool_is_up(st->reads);
	return st->conns[lane] != NULL && pgconn_is_up(st->conns[lane]);
}

bool
store_is_ready(const struct store *st)
{
	return store_is_up(st, STORE_SUBMIT) && store_is_up(st, STORE_WORK) &&
	       store_is_up(st, STORE_READ);
}

int
store_open_each(struct store *st, struct err *err)
{
	return st->conns[STORE_EACH] != NULL ? 0 : open_lane(st, STORE_EACH, err);
}

int
store_lead(struct store *st, bool on, struct err *err)
{
	if (on == (st->conns[STORE_LEAD] != NULL))
		return 0;
	if (on && open_lane(st, STORE_LEAD, err) == 0 &&
	    open_lane(st, STORE_TIDY, err) == 0)
		return 0;
	close_lane(st, STORE_TIDY);
	close_lane(st, STORE_LEAD);
	return on ? -1 : 0;
}

int
store_exec(struct store *st, enum store_lane lane, const struct pgstmt *stmt,
    const struct pgparam *p, pgconn_done_cb *cb, void *arg, struct err *err)
{
	if (lane == STORE_READ && st->reads != NULL)
		return pgpool_exec(st->reads, stmt, p, cb, arg, err);
	if (lane == STORE_READ || st->conns[lane] == NULL)
		return err_set(
		    err, ERR_CLOSED, "the %s connection is not open", lane_names[lane]);
	return pgconn_exec(st->conns[lane], stmt, p, cb, arg, err);
}
