/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgtalk.c - what goes over a PostgreSQL connection: units out, answers in.
 *
 * Units wait in a ring, oldest first; pganswer.c puts together the answer to that one.
 * The deadline is that of the oldest.
 *
 * Without its sync a unit is lost, whatever else the server said: a backend that is
 * told to stop may say so after the commit and before the confirmation.
 *
 * libpq closes its socket by itself when the peer is gone, and the kernel may give the
 * number to the next file: after each libpq call that reads or writes, hush() takes our
 * events off a connection that died.
 *
 * Names of prepared statements live as long as the connection.  If the server does not
 * know one, or knows it already, something between us shares sessions (PgBouncer), and
 * this connection does without from then on.
 */
#include "pg/internal.h"

#include <event2/event.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/str.h"

/* ---- units ---------------------------------------------------------------- */

static void
hush(struct pgconn *pc)
{
	if (PQstatus(pc->conn) == CONNECTION_BAD)
		pgconn_quiet(pc);
}

static struct unit
pop_unit(struct pgconn *pc)
{
	struct unit u = pc->units[pc->head];

	pc->head = (pc->head + 1) % pc->max_units;
	pc->count--;
	return u;
}

/* no more units can come: pgconn_exec refuses while the state is not UP */
void
pgconn_lose_units(struct pgconn *pc)
{
	struct pgerr lost = {.class = PGERR_LOST};
	struct unit u;

	str_copy(lost.text, sizeof(lost.text), pc->why.text);
	while (pc->count > 0) {
		u = pop_unit(pc);
		u.cb(NULL, &lost, u.arg);
	}
}

/* ---- answers -------------------------------------------------------------- */

static void
forget_prepared(struct pgconn *pc, const struct pgstmt *st)
{
	for (size_t i = 0; i < pc->prepared_count; i++) {
		if (pc->prepared[i] == st) {
			pc->prepared[i] = pc->prepared[--pc->prepared_count];
			return;
		}
	}
}

static bool
is_prepared(const struct pgconn *pc, const struct pgstmt *st)
{
	for (size_t i = 0; i < pc->prepared_count; i++) {
		if (pc->prepared[i] == st)
			return true;
	}
	return false;
}

/*
 * A session that we do not have for ourselves, or a plan that a migration made
 * impossible.  Unnamed statements work in either case.
 */
static void
doubt_prepared(struct pgconn *pc, const struct pgstmt *st, struct pgerr *e)
{
	if (strcmp(e->sqlstate, "26000") != 0 && strcmp(e->sqlstate, "42P05") != 0 &&
	    strcmp(e->sqlstate, "0A000") != 0)
		return;
	e->class = PGERR_RETRY;
	/* sent behind a prepare that then failed: the server is right, and so are we */
	if (strcmp(e->sqlstate, "26000") == 0 && !is_prepared(pc, st))
		return;
	if (pc->prepare)
		log_warn(&pc->ctx,
		    "prepared statements are off until the next connection",
		    "sqlstate=%s statement=%s", e->sqlstate, st->name);
	pc->prepare = false;
}

/* the sync of the oldest unit has come: its end is certain */
static void
finish_unit(struct pgconn *pc)
{
	struct unit u = pop_unit(pc);
	PGresult *rows = pc->answer.rows;
	struct pgerr e;

	pc->answer.rows = NULL;
	if (rows != NULL) {
		pganswer_reset(&pc->answer);
		u.cb((const struct pgrows *)(const void *)rows, NULL, u.arg);
		PQclear(rows);
		return;
	}
	e = pc->answer.err;
	if (pc->answer.not_prepared)
		forget_prepared(pc, u.st);
	pganswer_reset(&pc->answer);
	if (u.named)
		doubt_prepared(pc, u.st, &e);
	if ((e.class == PGERR_RECONNECT || e.class == PGERR_LOST) &&
	    pc->state != PGCONN_LEAVING) {
		str_copy(pc->fatal, sizeof(pc->fatal), e.text);
		pc->read_only = strcmp(e.sqlstate, "25006") == 0;
		pgconn_set_state(pc, PGCONN_LEAVING);
	}
	u.cb(NULL, &e, u.arg);
}

/* hands out what has arrived; the connection may be down or freed afterwards */
static void
read_answers(struct pgconn *pc)
{
	enum pganswer_step step = PGANSWER_MORE;
	PGresult *res;

	/*
	 * After the peer has closed, libpq still gives what it had read before: those
	 * units were answered.  Then it makes up an error and ends with NULLs, out of
	 * step.
	 */
	while (pc->conn != NULL && !PQisBusy(pc->conn) && pc->count > 0) {
		hush(pc);
		res = PQgetResult(pc->conn);
		hush(pc);
		step = pganswer_take(&pc->answer, res, pc->units[pc->head].prepares);
		if (step == PGANSWER_MISFIT)
			break;
		if (step == PGANSWER_WHOLE)
			finish_unit(pc);
	}
	if (pc->conn == NULL)
		return;
	hush(pc);
	if (PQstatus(pc->conn) == CONNECTION_BAD || pc->state == PGCONN_LEAVING)
		pgconn_go_down_broken(pc);
	else if (step == PGANSWER_MISFIT)
		pgconn_go_down_because(pc, ERR_BUG, "an answer out of step");
	else if (pc->count == 0 && PQtransactionStatus(pc->conn) != PQTRANS_IDLE)
		pgconn_go_down_because(
		    pc, ERR_BUG, "a statement left a transaction open");
	else if (pc->count == 0 && pc->leaving[0] != '\0')
		pgconn_go_down_because(pc, ERR_CLOSED, pc->leaving);
	else if (pc->count == 0)
		loop_timer_stop(pc->deadline);
}

static void
read_socket(struct pgconn *pc)
{
	SSL *tls = PQsslStruct(pc->conn, "OpenSSL");

	/*
	 * A failure is told by the status too, once all that was read is used up. libpq
	 * may read a part of a TLS record; the rest waits inside OpenSSL, where no
	 * event sees it.
	 */
	do {
		(void)PQconsumeInput(pc->conn);
	} while (tls != NULL && PQstatus(pc->conn) != CONNECTION_BAD &&
		 SSL_pending(tls) > 0);
	hush(pc);
	read_answers(pc);
}

static void
flush_output(struct pgconn *pc)
{
	int rc = PQflush(pc->conn);

	hush(pc);
	/* a connection that died while it wrote: its events are off, so nobody else
	 * would see */
	if (rc < 0 || PQstatus(pc->conn) == CONNECTION_BAD)
		read_socket(pc);
	else if (rc > 0 && event_add(&pc->writable, NULL) != 0)
		pgconn_go_down_because(pc, ERR_NOMEM, "no memory to watch a socket");
}

void
pgconn_readable(evutil_socket_t fd, short what, void *arg)
{
	struct pgconn *pc = arg;

	(void)fd;
	(void)what;
	pgconn_enter(pc);
	read_socket(pc);
	pgconn_unwind(pc);
}

void
pgconn_writable(evutil_socket_t fd, short what, void *arg)
{
	struct pgconn *pc = arg;

	(void)fd;
	(void)what;
	pgconn_enter(pc);
	flush_output(pc);
	pgconn_unwind(pc);
}

void
pgconn_flush(void *arg)
{
	struct pgconn *pc = arg;

	pgconn_enter(pc);
	flush_output(pc);
	pgconn_unwind(pc);
}

/* ---- deadline ------------------------------------------------------------- */

/* the timer runs for the unit that was oldest when it was set: see who is now */
static int64_t
deadline_left_ms(const struct pgconn *pc)
{
	int timeout_ms = pc->state == PGCONN_CHECKING ? pc->connect_timeout_ms
						      : pc->statement_timeout_ms;

	return pc->units[pc->head].sent_ms + timeout_ms - loop_now_ms(pc->loop);
}

void
pgconn_deadline_passed(void *arg)
{
	struct pgconn *pc = arg;
	struct err err;

	pgconn_enter(pc);
	/* after a long pause of this process the answer may be here already */
	if (pc->count > 0 && deadline_left_ms(pc) <= 0)
		read_socket(pc);
	if (pc->conn != NULL && pc->count > 0) {
		if (deadline_left_ms(pc) <= 0) {
			err_set(&err, ERR_TIMEOUT, "no answer to %s for %lld ms",
			    pc->units[pc->head].st->name,
			    (long long)(loop_now_ms(pc->loop) -
					pc->units[pc->head].sent_ms));
			pgconn_go_down(pc, &err);
		} else {
			loop_timer_start_ms(pc->deadline, deadline_left_ms(pc));
		}
	}
	pgconn_unwind(pc);
}

/* ---- sending -------------------------------------------------------------- */

static int
send_sync(struct pgconn *pc)
{
#ifdef LIBPQ_HAS_SEND_PIPELINE_SYNC
	/* libpq 17: leaves the write to us, one for all units of this turn */
	return PQsendPipelineSync(pc->conn);
#else
	return PQpipelineSync(pc->conn);
#endif
}

static int
send_statement(struct pgconn *pc, const struct pgstmt *st, const struct pgparam *p,
    bool named, bool prepares)
{
	const char *values[PGPARAM_MAX];
	static const int binary[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
	    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	const uint32_t *types = p != NULL ? p->types : NULL;
	const int *lens = p != NULL ? p->lens : NULL;
	int count = p != NULL ? p->count : 0;
	int sent;

	_Static_assert(sizeof(Oid) == sizeof(uint32_t), "types are handed on as Oids");
	_Static_assert(COUNT_OF(binary) == PGPARAM_MAX, "one for each parameter");
	for (int i = 0; i < count; i++)
		values[i] = lens[i] < 0 ? NULL : p->block.data + p->offsets[i];
	if (prepares && PQsendPrepare(pc->conn, st->name, st->sql, count, types) == 0)
		return -1;
	sent = named ? PQsendQueryPrepared(
			   pc->conn, st->name, count, values, lens, binary, 1)
		     : PQsendQueryParams(
			   pc->conn, st->sql, count, types, values, lens, binary, 1);
	return sent == 1 ? 0 : -1;
}

int
pgconn_send(struct pgconn *pc, const struct pgstmt *st, const struct pgparam *p,
    pgconn_done_cb *cb, void *arg, struct err *err)
{
	bool known = pc->prepare && is_prepared(pc, st);
	bool prepares = pc->prepare && !known && pc->prepared_count < PREPARED_MAX &&
			pc->state == PGCONN_UP;
	bool named = known || prepares;
	struct unit *u;
	bool synced;

	/*
	 * Nothing has happened when this fails, even if bytes were written: without a
	 * sync the server undoes what it was told once the connection closes.
	 */
	if (send_statement(pc, st, p, named, prepares) != 0) {
		pgconn_go_down_broken(pc);
		return err_set(err, ERR_CLOSED, "postgresql connection %s: %s",
		    pc->name, pc->why.text);
	}
	/* from here on it may happen: whatever goes wrong, the callback tells */
	synced = send_sync(pc) == 1;
	hush(pc);
	u = &pc->units[(pc->head + pc->count) % pc->max_units];
	u->st = st;
	u->cb = cb;
	u->arg = arg;
	u->sent_ms = loop_now_ms(pc->loop);
	u->named = named;
	u->prepares = prepares;
	pc->count++;
	if (prepares)
		pc->prepared[pc->prepared_count++] = st;
	if (!synced) {
		pgconn_go_down_broken(pc);
		return 0;
	}
	loop_defer_start(pc->flush);
	if (!loop_timer_pending(pc->deadline))
		loop_timer_start_ms(pc->deadline, pc->state == PGCONN_CHECKING
						      ? pc->connect_timeout_ms
						      : pc->statement_timeout_ms);
	return 0;
}

int
pgconn_exec(struct pgconn *pc, const struct pgstmt *st, const struct pgparam *p,
    pgconn_done_cb *cb, void *arg, struct err *err)
{
	STAMP_CHECK(pc, PGCONN_STAMP);
	if (!pgconn_is_up(pc))
		return err_set(
		    err, ERR_CLOSED, "postgresql connection %s is down", pc->name);
	if (pc->count == pc->max_units)
		return err_set(err, ERR_LIMIT,
		    "postgresql connection %s has %zu units waiting", pc->name,
		    pc->count);
	if (p != NULL && pgparam_failed(p))
		return err_set(
		    err, ERR_BUG, "parameters of %s are not whole", st->name);
	return pgconn_send(pc, st, p, cb, arg, err);
}
