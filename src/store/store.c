/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * store.c - a worker's connections to PostgreSQL; see store.h.
 *
 * It keeps no queue: a caller whose lane is down gets ERR_CLOSED at once and decides.
 */
#include "store/store.h"

#include "base/mem.h"
#include "pg/pgpool.h"

/* units that may wait on a lane; the micro-batches keep one or two each under way */
#define HOT_UNITS  16
#define READ_UNITS 256
/* a caller waits behind these two: better told to try again soon than kept */
#define CALLER_TIMEOUT_MS 5000

struct lane {
	struct store *store;
	enum store_lane lane;
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
};

static const char *const lane_names[STORE_LANE_COUNT] = {
    [STORE_SUBMIT] = "submit",
    [STORE_EACH] = "each",
    [STORE_WORK] = "work",
    [STORE_READ] = "read",
    [STORE_LEAD] = "lead",
    [STORE_TIDY] = "tidy",
};

static void
on_state(struct pgconn *pc, bool up, const struct err *err, void *arg)
{
	struct lane *ln = arg;

	(void)pc;
	ln->store->cb(ln->lane, up, err, ln->store->arg);
}

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
