/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgconn.c - one PostgreSQL connection in pipeline mode; see pgconn.h.
 *
 * Units wait in a ring, oldest first; pganswer.c puts together the answer to that one.
 *
 * Without its sync a unit is lost, whatever else the server said: a backend that is
 * told to stop may say so after the commit and before the confirmation.
 *
 *     PAUSED -> DIALING -> CHECKING -> UP (-> LEAVING) -> DOWN -> PAUSED ...
 *
 * All ways to lose a connection lead through go_down(), which ends the libpq part at
 * once and leaves the telling to tell_loss(), from the loop.  So no callback ever runs
 * inside a call of its own module, pgconn_free() alone excepted.
 *
 * libpq closes its socket by itself when the peer is gone, and the kernel may give the
 * number to the next file: after each libpq call that reads or writes, hush() takes our
 * events off a connection that died.
 *
 * Names of prepared statements live as long as the connection.  If the server does not
 * know one, or knows it already, something between us shares sessions (PgBouncer), and
 * this connection does without from then on.
 *
 * Never used: BEGIN (it would outlive a sync), PQcancel and all else in libpq that
 * blocks.
 */
#include "pg/pgconn.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <libpq-fe.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"
#include "event/moved.h"
#include "pg/pganswer.h"
#include "pg/pgdial.h"

#define PGCONN_STAMP 0x5047434eu /* PGCN */

#define CONNECT_TIMEOUT_MS   5000
#define STATEMENT_TIMEOUT_MS 30000
#define MAX_UNITS	     64
#define PAUSE_MIN_MS	     50
#define PAUSE_MAX_MS	     1000
#define HEALTHY_MS	     5000 /* up this long, and the pauses begin anew */
#define TELL_MS		     1000 /* failed attempts are told this often */
#define VERSION_MIN	     90400

/* more statements than the program has; beyond it they are sent unprepared */
#define PREPARED_MAX 128

enum state {
	STATE_NONE = 0,
	STATE_PAUSED,	/* until the retry timer */
	STATE_DIALING,	/* pgdial is at it */
	STATE_CHECKING, /* connected; the first unit asks whether this is a server for
			   us */
	STATE_UP,
	STATE_LEAVING, /* the server is no good any more; answers that are here are
			  still read */
	STATE_DOWN,    /* libpq's part is gone; the loss is not told yet */
	STATE_FREED,   /* pgconn_free was called from a callback */
	STATE_COUNT    /* keep last */
};

static const char *const state_names[STATE_COUNT] = {
    [STATE_NONE] = "none",
    [STATE_PAUSED] = "paused",
    [STATE_DIALING] = "dialing",
    [STATE_CHECKING] = "checking",
    [STATE_UP] = "up",
    [STATE_LEAVING] = "leaving",
    [STATE_DOWN] = "down",
    [STATE_FREED] = "freed",
};

static const bool state_next[STATE_COUNT][STATE_COUNT] = {
    [STATE_NONE] = {[STATE_PAUSED] = true, [STATE_FREED] = true},
    [STATE_PAUSED] = {[STATE_DIALING] = true, [STATE_FREED] = true},
    [STATE_DIALING] =
	{[STATE_CHECKING] = true, [STATE_DOWN] = true, [STATE_FREED] = true},
    [STATE_CHECKING] = {[STATE_UP] = true,
	[STATE_LEAVING] = true,
	[STATE_DOWN] = true,
	[STATE_FREED] = true},
    [STATE_UP] = {[STATE_LEAVING] = true, [STATE_DOWN] = true, [STATE_FREED] = true},
    [STATE_LEAVING] = {[STATE_DOWN] = true, [STATE_FREED] = true},
    [STATE_DOWN] = {[STATE_PAUSED] = true, [STATE_FREED] = true},
};

struct unit {
	const struct pgstmt *st; /* borrowed: a constant */
	pgconn_done_cb *cb;
	void *arg;
	int64_t sent_ms;
	bool named;    /* went out under its prepared name */
	bool prepares; /* its first result is that of a PQsendPrepare */
};

struct pgconn {
	uint32_t stamp;
	struct loop *loop; /* borrowed */
	char *name;
	struct log_ctx ctx;
	bool prepare_wanted; /* as the settings say */
	int connect_timeout_ms;
	int statement_timeout_ms;
	pgconn_state_cb *state_cb;
	void *arg;

	enum state state;
	unsigned depth; /* loop callbacks of ours on the stack */
	struct pgdial *dial;
	PGconn *conn; /* NULL unless CHECKING, UP or LEAVING */
	struct event readable, writable;
	struct moved *moved; /* NULL: not watched */
	char leaving[120];   /* why it closes with the last answer; "": it does not */
	bool read_only;	     /* the server said so while we were up */
	struct loop_timer *retry;
	struct loop_timer *deadline; /* of the oldest unit, at the latest */
	struct loop_defer *flush;
	struct loop_defer *down;
	int server_version;

	/* the way down and up again */
	struct err why;	 /* the reason of the last loss */
	char fatal[200]; /* what the server said before it closed; "" if nothing */
	unsigned attempts;
	int64_t up_ms;	    /* when it came up; 0: not since the last loss */
	int64_t told_ms;    /* when state_cb was last told of a failure */
	bool told_anything; /* told_ms is set */

	/* units without an answer: a ring, the oldest at head */
	struct unit *units;
	size_t max_units;
	size_t head, count;

	struct pganswer answer; /* to the oldest unit, as far as it has come */

	/* statements whose prepare was sent and has not failed */
	bool prepare;
	const struct pgstmt *prepared[PREPARED_MAX];
	size_t prepared_count;
};

/* asked of every new connection; 9.4 knows it, and PgBouncer lets it pass */
static const struct pgstmt check_stmt = {
    .name = "check_server",
    .sql =
	"SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'",
};

static void dial_done(PGconn *conn, const struct err *err, void *arg);
static void socket_readable(evutil_socket_t fd, short what, void *arg);
static void socket_writable(evutil_socket_t fd, short what, void *arg);

/* ---- states --------------------------------------------------------------- */

static void
set_state(struct pgconn *pc, enum state next)
{
	if (!state_next[pc->state][next]) {
		log_error(&pc->ctx, "postgresql connection in an impossible state",
		    "from=%s to=%s", state_names[pc->state], state_names[next]);
		abort();
	}
	log_debug(&pc->ctx, "postgresql connection", "from=%s to=%s",
	    state_names[pc->state], state_names[next]);
	pc->state = next;
}

static void
enter(struct pgconn *pc)
{
	STAMP_CHECK(pc, PGCONN_STAMP);
	pc->depth++;
}

static void
destroy(struct pgconn *pc)
{
	pgdial_free(pc->dial);
	moved_free(pc->moved);
	loop_timer_free(pc->retry);
	loop_timer_free(pc->deadline);
	loop_defer_free(pc->flush);
	loop_defer_free(pc->down);
	mem_free(pc->units);
	mem_free(pc->name);
	pc->stamp = 0;
	mem_free(pc);
}

/* the end of each loop callback: the object may be gone afterwards */
static void
leave(struct pgconn *pc)
{
	if (--pc->depth == 0 && pc->state == STATE_FREED)
		destroy(pc);
}

static void
quiet(struct pgconn *pc)
{
	event_del(&pc->readable);
	event_del(&pc->writable);
}

static void
hush(struct pgconn *pc)
{
	if (PQstatus(pc->conn) == CONNECTION_BAD)
		quiet(pc);
}

/* ends everything that could call us; the units stay */
static void
disconnect(struct pgconn *pc)
{
	pgdial_stop(pc->dial);
	if (pc->moved != NULL)
		moved_stop(pc->moved);
	loop_timer_stop(pc->retry);
	loop_timer_stop(pc->deadline);
	loop_defer_stop(pc->flush);
	loop_defer_stop(pc->down);
	quiet(pc);
	pganswer_reset(&pc->answer);
	pc->prepared_count = 0;
	if (pc->conn != NULL) {
		PQfinish(pc->conn);
		pc->conn = NULL;
	}
}

static void
go_down(struct pgconn *pc, const struct err *why)
{
	pc->why = *why;
	disconnect(pc);
	set_state(pc, STATE_DOWN);
	loop_defer_start(pc->down);
}

/* the connection died under us: say what is known about it */
static void
go_down_broken(struct pgconn *pc)
{
	struct err err;
	char text[200], clean[400];

	/* an error without its sync is what ended the connection */
	if (pc->fatal[0] == '\0' && pc->answer.err.class != PGERR_NONE)
		str_copy(pc->fatal, sizeof(pc->fatal), pc->answer.err.text);
	str_copy(text, sizeof(text),
	    pc->fatal[0] != '\0' ? pc->fatal : PQerrorMessage(pc->conn));
	text[strcspn(text, "\n")] = '\0'; /* libpq adds lines of advice */
	if (text[0] == '\0')
		str_copy(text, sizeof(text), "the server closed the connection");
	str_printable(clean, sizeof(clean), text, strlen(text));
	err_set(&err, pc->read_only ? ERR_CONFLICT : ERR_CLOSED, "%s", clean);
	go_down(pc, &err);
}

static void
go_down_because(struct pgconn *pc, enum err_code code, const char *reason)
{
	struct err err;

	err_set(&err, code, "%s", reason);
	go_down(pc, &err);
}

/* ---- loss ----------------------------------------------------------------- */

static struct unit
pop_unit(struct pgconn *pc)
{
	struct unit u = pc->units[pc->head];

	pc->head = (pc->head + 1) % pc->max_units;
	pc->count--;
	return u;
}

/* no more units can come: pgconn_exec refuses while the state is not UP */
static void
lose_units(struct pgconn *pc)
{
	struct pgerr lost = {.class = PGERR_LOST};
	struct unit u;

	str_copy(lost.text, sizeof(lost.text), pc->why.text);
	while (pc->count > 0) {
		u = pop_unit(pc);
		u.cb(NULL, &lost, u.arg);
	}
}

static void
plan_retry(struct pgconn *pc, int64_t now_ms)
{
	int64_t pause_ms;

	if (pc->up_ms != 0 && now_ms - pc->up_ms >= HEALTHY_MS)
		pc->attempts = 0;
	pause_ms =
	    pc->attempts < 8 ? (int64_t)PAUSE_MIN_MS << pc->attempts : PAUSE_MAX_MS;
	if (pause_ms > PAUSE_MAX_MS)
		pause_ms = PAUSE_MAX_MS;
	pc->attempts++;
	/* a server that was left in good order is worth no pause */
	if (pc->leaving[0] != '\0')
		pause_ms = 1;
	/* anywhere in the pause: a thousand clients do not come back at once */
	loop_timer_start_ms(pc->retry, 1 + (int64_t)random_below((uint64_t)pause_ms));
}

static void
tell_loss(void *arg)
{
	struct pgconn *pc = arg;
	int64_t now_ms = loop_now_ms(pc->loop);
	bool was_up = pc->up_ms != 0;
	struct err why;

	enter(pc);
	lose_units(pc);
	if (pc->state == STATE_FREED) {
		leave(pc);
		return;
	}
	why = pc->why;
	err_wrap(&why, "postgresql connection %s", pc->name);
	plan_retry(pc, now_ms);
	pc->up_ms = 0;
	pc->leaving[0] = '\0';
	pc->read_only = false;
	set_state(pc, STATE_PAUSED);
	if (was_up || !pc->told_anything || now_ms - pc->told_ms >= TELL_MS) {
		pc->told_anything = true;
		pc->told_ms = now_ms;
		if (pc->state_cb != NULL)
			pc->state_cb(pc, false, &why, pc->arg);
		else
			log_warn(&pc->ctx, "postgresql connection is down",
			    "reason=\"%s\"", why.text);
	}
	leave(pc);
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
	    pc->state != STATE_LEAVING) {
		str_copy(pc->fatal, sizeof(pc->fatal), e.text);
		pc->read_only = strcmp(e.sqlstate, "25006") == 0;
		set_state(pc, STATE_LEAVING);
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
	if (PQstatus(pc->conn) == CONNECTION_BAD || pc->state == STATE_LEAVING)
		go_down_broken(pc);
	else if (step == PGANSWER_MISFIT)
		go_down_because(pc, ERR_BUG, "an answer out of step");
	else if (pc->count == 0 && PQtransactionStatus(pc->conn) != PQTRANS_IDLE)
		go_down_because(pc, ERR_BUG, "a statement left a transaction open");
	else if (pc->count == 0 && pc->leaving[0] != '\0')
		go_down_because(pc, ERR_CLOSED, pc->leaving);
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
		go_down_because(pc, ERR_NOMEM, "no memory to watch a socket");
}

static void
socket_readable(evutil_socket_t fd, short what, void *arg)
{
	struct pgconn *pc = arg;

	(void)fd;
	(void)what;
	enter(pc);
	read_socket(pc);
	leave(pc);
}

static void
socket_writable(evutil_socket_t fd, short what, void *arg)
{
	struct pgconn *pc = arg;

	(void)fd;
	(void)what;
	enter(pc);
	flush_output(pc);
	leave(pc);
}

static void
flush_deferred(void *arg)
{
	struct pgconn *pc = arg;

	enter(pc);
	flush_output(pc);
	leave(pc);
}

/* ---- deadline ------------------------------------------------------------- */

/* the timer runs for the unit that was oldest when it was set: see who is now */
static int64_t
deadline_left_ms(const struct pgconn *pc)
{
	int timeout_ms = pc->state == STATE_CHECKING ? pc->connect_timeout_ms
						     : pc->statement_timeout_ms;

	return pc->units[pc->head].sent_ms + timeout_ms - loop_now_ms(pc->loop);
}

static void
deadline_passed(void *arg)
{
	struct pgconn *pc = arg;
	struct err err;

	enter(pc);
	/* after a long pause of this process the answer may be here already */
	if (pc->count > 0 && deadline_left_ms(pc) <= 0)
		read_socket(pc);
	if (pc->conn != NULL && pc->count > 0) {
		if (deadline_left_ms(pc) <= 0) {
			err_set(&err, ERR_TIMEOUT, "no answer to %s for %lld ms",
			    pc->units[pc->head].st->name,
			    (long long)(loop_now_ms(pc->loop) -
					pc->units[pc->head].sent_ms));
			go_down(pc, &err);
		} else {
			loop_timer_start_ms(pc->deadline, deadline_left_ms(pc));
		}
	}
	leave(pc);
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
	static const int binary[PGPARAM_MAX] = {
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	    1,
	};
	const uint32_t *types = p != NULL ? p->types : NULL;
	const int *lens = p != NULL ? p->lens : NULL;
	int count = p != NULL ? p->count : 0;

	_Static_assert(sizeof(Oid) == sizeof(uint32_t), "types are handed on as Oids");
	for (int i = 0; i < count; i++)
		values[i] = lens[i] < 0 ? NULL : p->block.data + p->offsets[i];
	if (prepares && PQsendPrepare(pc->conn, st->name, st->sql, count, types) == 0)
		return -1;
	if (named)
		return PQsendQueryPrepared(
			   pc->conn, st->name, count, values, lens, binary, 1) == 1
			   ? 0
			   : -1;
	return PQsendQueryParams(
		   pc->conn, st->sql, count, types, values, lens, binary, 1) == 1
		   ? 0
		   : -1;
}

static int
send_unit(struct pgconn *pc, const struct pgstmt *st, const struct pgparam *p,
    pgconn_done_cb *cb, void *arg, struct err *err)
{
	bool known = pc->prepare && is_prepared(pc, st);
	bool prepares = pc->prepare && !known && pc->prepared_count < PREPARED_MAX &&
			pc->state == STATE_UP;
	bool named = known || prepares;
	struct unit *u;
	bool synced;

	/*
	 * Nothing has happened when this fails, even if bytes were written: without a
	 * sync the server undoes what it was told once the connection closes.
	 */
	if (send_statement(pc, st, p, named, prepares) != 0) {
		go_down_broken(pc);
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
		go_down_broken(pc);
		return 0;
	}
	loop_defer_start(pc->flush);
	if (!loop_timer_pending(pc->deadline))
		loop_timer_start_ms(pc->deadline, pc->state == STATE_CHECKING
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
	return send_unit(pc, st, p, cb, arg, err);
}

/* ---- coming up ------------------------------------------------------------ */

static void
retry_now(void *arg)
{
	struct pgconn *pc = arg;

	enter(pc);
	set_state(pc, STATE_DIALING);
	pgdial_start(pc->dial);
	leave(pc);
}

static void
watch_hosts(struct pgconn *pc)
{
	struct addr used;

	used.len = sizeof(used.storage);
	if (pc->moved != NULL &&
	    getpeername(PQsocket(pc->conn), &used.sa, &used.len) == 0)
		moved_watch(pc->moved, &used);
}

static void
on_moved(void *arg)
{
	struct pgconn *pc = arg;

	enter(pc);
	log_info(&pc->ctx, "postgresql has moved: the connection is made again",
	    "host=%s address=%s", PQhost(pc->conn), PQhostaddr(pc->conn));
	pgconn_leave(pc, "its name does not lead to this server any more");
	leave(pc);
}

static void
check_done(const struct pgrows *rows, const struct pgerr *e, void *arg)
{
	struct pgconn *pc = arg;
	struct err err;

	if (e != NULL) {
		if (pc->conn == NULL)
			return; /* lost, and being told */
		err_set(&err, ERR_IO, "checking the server: %s", e->text);
		go_down(pc, &err);
		return;
	}
	if (pgrows_count(rows) != 1 || pgrows_bool(rows, 0, 0) ||
	    pgrows_bool(rows, 0, 1)) {
		go_down_because(pc, ERR_IO, "the server is read-only");
		return;
	}
	set_state(pc, STATE_UP);
	watch_hosts(pc);
	/* never 0, which says that it is not up */
	pc->up_ms = loop_now_ms(pc->loop);
	if (pc->up_ms == 0)
		pc->up_ms = 1;
	if (pc->state_cb != NULL)
		pc->state_cb(pc, true, NULL, pc->arg);
}

static void
on_notice(void *arg, const PGresult *res)
{
	struct pgconn *pc = arg;
	const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	char clean[400];

	if (text == NULL)
		return;
	if (severity == NULL) /* before 9.6 */
		severity = PQresultErrorField(res, PG_DIAG_SEVERITY);
	/* while nothing is asked, libpq takes the server's last words for a notice */
	if (severity != NULL &&
	    (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
		str_copy(pc->fatal, sizeof(pc->fatal), text);
	str_printable(clean, sizeof(clean), text, strlen(text));
	log_debug(&pc->ctx, "postgresql notice", "text=\"%s\"", clean);
}

static void
start_session(struct pgconn *pc, PGconn *conn)
{
	struct event_base *base = loop_base(pc->loop);
	int fd = PQsocket(conn);
	struct err err;

	set_state(pc, STATE_CHECKING);
	pc->conn = conn;
	pc->fatal[0] = '\0';
	pc->prepare = pc->prepare_wanted;
	pc->server_version = PQserverVersion(conn);
	PQsetNoticeReceiver(conn, on_notice, pc);
	if (pc->server_version < VERSION_MIN) {
		err_set(&err, ERR_IO,
		    "the server's version is %d, the oldest supported %d",
		    pc->server_version, VERSION_MIN);
		go_down(pc, &err);
		return;
	}
	if (fd < 0 || PQsetnonblocking(conn, 1) != 0 ||
	    PQenterPipelineMode(conn) != 1) {
		go_down_broken(pc);
		return;
	}
	if (event_assign(&pc->readable, base, fd, EV_READ | EV_PERSIST, socket_readable,
		pc) != 0 ||
	    event_assign(&pc->writable, base, fd, EV_WRITE, socket_writable, pc) != 0 ||
	    event_add(&pc->readable, NULL) != 0) {
		go_down_because(pc, ERR_NOMEM, "no memory to watch a socket");
		return;
	}
	/* a failure has set the state already, and is told from there */
	if (send_unit(pc, &check_stmt, NULL, check_done, pc, &err) != 0)
		return;
}

static void
dial_done(PGconn *conn, const struct err *err, void *arg)
{
	struct pgconn *pc = arg;

	enter(pc);
	if (conn == NULL)
		go_down(pc, err);
	else
		start_session(pc, conn);
	leave(pc);
}

/* ---- life ----------------------------------------------------------------- */

struct pgconn *
pgconn_create(struct loop *l, struct resolver *rv, const struct pgconn_opts *opts,
    struct err *err)
{
	struct pgconn *pc;

	pc = mem_zero(sizeof(*pc));
	if (pc == NULL) {
		err_set(err, ERR_NOMEM, "no memory for a postgresql connection");
		return NULL;
	}
	pc->stamp = PGCONN_STAMP;
	pc->loop = l;
	pc->prepare_wanted = opts->prepared;
	pc->connect_timeout_ms = opts->connect_timeout_ms > 0 ? opts->connect_timeout_ms
							      : CONNECT_TIMEOUT_MS;
	pc->statement_timeout_ms = opts->statement_timeout_ms > 0
				       ? opts->statement_timeout_ms
				       : STATEMENT_TIMEOUT_MS;
	pc->max_units = opts->max_units > 0 ? opts->max_units : MAX_UNITS;
	pc->state_cb = opts->state_cb;
	pc->arg = opts->arg;
	pc->name = mem_strdup(opts->name);
	pc->units = mem_array(pc->max_units, sizeof(*pc->units));
	pc->retry = loop_timer_create(l, retry_now, pc);
	pc->deadline = loop_timer_create(l, deadline_passed, pc);
	pc->flush = loop_defer_create(l, flush_deferred, pc);
	pc->down = loop_defer_create(l, tell_loss, pc);
	/* assigned to nothing, so that event_del is always allowed */
	if (pc->name == NULL || pc->units == NULL || pc->retry == NULL ||
	    pc->deadline == NULL || pc->flush == NULL || pc->down == NULL ||
	    event_assign(&pc->readable, loop_base(l), -1, 0, socket_readable, pc) !=
		0 ||
	    event_assign(&pc->writable, loop_base(l), -1, 0, socket_writable, pc) !=
		0) {
		err_set(err, ERR_NOMEM, "no memory for a postgresql connection");
		destroy(pc);
		return NULL;
	}
	pc->ctx.kind = "pg";
	pc->ctx.id = pc->name;
	pc->dial = pgdial_create(l, rv, opts->name, opts->url, opts->password,
	    opts->password_file, pc->connect_timeout_ms, dial_done, pc, err);
	if (pc->dial == NULL)
		goto fail;
	if (opts->moved_ms > 0 && ((pc->moved = moved_create(l, rv, opts->moved_ms,
					on_moved, pc, err)) == NULL ||
				      pgdial_watch(pc->dial, pc->moved, err) != 0))
		goto fail;
	set_state(pc, STATE_PAUSED);
	loop_timer_start_ms(pc->retry, 0);
	return pc;
fail:
	destroy(pc);
	return NULL;
}

void
pgconn_free(struct pgconn *pc)
{
	if (pc == NULL)
		return;
	STAMP_CHECK(pc, PGCONN_STAMP);
	enter(pc);
	disconnect(pc);
	/* a loss that is not told yet keeps its reason */
	if (pc->state != STATE_DOWN)
		err_set(&pc->why, ERR_CLOSED, "the connection is being freed");
	/* also refuses a second free, and units from the callbacks */
	set_state(pc, STATE_FREED);
	lose_units(pc);
	leave(pc);
}

bool
pgconn_is_up(const struct pgconn *pc)
{
	return pc->state == STATE_UP && pc->leaving[0] == '\0';
}

size_t
pgconn_waiting(const struct pgconn *pc)
{
	return pc->count;
}

int
pgconn_server_version(const struct pgconn *pc)
{
	return pc->server_version;
}

void
pgconn_close(struct pgconn *pc, const char *reason)
{
	STAMP_CHECK(pc, PGCONN_STAMP);
	if (pc->conn != NULL || pc->state == STATE_DIALING)
		go_down_because(pc, ERR_CLOSED, reason);
}

void
pgconn_leave(struct pgconn *pc, const char *reason)
{
	STAMP_CHECK(pc, PGCONN_STAMP);
	if (!pgconn_is_up(pc))
		return;
	str_copy(pc->leaving, sizeof(pc->leaving), reason);
	if (pc->count == 0)
		go_down_because(pc, ERR_CLOSED, reason);
}
