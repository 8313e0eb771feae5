/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgconn.c - one PostgreSQL connection in pipeline mode; see pgconn.h.
 *
 *     PAUSED -> DIALING -> CHECKING -> UP (-> LEAVING) -> DOWN -> PAUSED ...
 *
 * Here are the states and the owner's side; what goes over the connection is in
 * pgtalk.c, how it is made in pgdial.c.
 *
 * All ways to lose a connection lead through pgconn_go_down(), which ends the libpq
 * part at once and leaves the telling to tell_loss(), from the loop.  So no callback
 * ever runs inside a call of its own module, pgconn_free() alone excepted.
 *
 * Never used: BEGIN (it would outlive a sync), PQcancel and all else in libpq that
 * blocks.
 */
#include "pg/internal.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"

#define CONNECT_TIMEOUT_MS   5000
#define STATEMENT_TIMEOUT_MS 30000
#define MAX_UNITS	     64
#define PAUSE_MIN_MS	     50
#define PAUSE_MAX_MS	     1000
#define HEALTHY_MS	     5000 /* up this long, and the pauses begin anew */
#define TELL_MS		     1000 /* failed attempts are told this often */
#define VERSION_MIN	     90400

static const char *const state_names[PGCONN_COUNT] = {
    [PGCONN_NONE] = "none",
    [PGCONN_PAUSED] = "paused",
    [PGCONN_DIALING] = "dialing",
    [PGCONN_CHECKING] = "checking",
    [PGCONN_UP] = "up",
    [PGCONN_LEAVING] = "leaving",
    [PGCONN_DOWN] = "down",
    [PGCONN_FREED] = "freed",
};

static const bool state_next[PGCONN_COUNT][PGCONN_COUNT] = {
    [PGCONN_NONE] = {[PGCONN_PAUSED] = true, [PGCONN_FREED] = true},
    [PGCONN_PAUSED] = {[PGCONN_DIALING] = true, [PGCONN_FREED] = true},
    [PGCONN_DIALING] =
	{[PGCONN_CHECKING] = true, [PGCONN_DOWN] = true, [PGCONN_FREED] = true},
    [PGCONN_CHECKING] = {[PGCONN_UP] = true,
	[PGCONN_LEAVING] = true,
	[PGCONN_DOWN] = true,
	[PGCONN_FREED] = true},
    [PGCONN_UP] =
	{[PGCONN_LEAVING] = true, [PGCONN_DOWN] = true, [PGCONN_FREED] = true},
    [PGCONN_LEAVING] = {[PGCONN_DOWN] = true, [PGCONN_FREED] = true},
    [PGCONN_DOWN] = {[PGCONN_PAUSED] = true, [PGCONN_FREED] = true},
};

/* asked of every new connection; 9.4 knows it, and PgBouncer lets it pass */
static const struct pgstmt check_stmt = {
    .name = "check_server",
    .sql =
	"SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'",
};

/* ---- states --------------------------------------------------------------- */

void
pgconn_set_state(struct pgconn *pc, enum pgconn_state next)
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

void
pgconn_enter(struct pgconn *pc)
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

void
pgconn_unwind(struct pgconn *pc)
{
	if (--pc->depth == 0 && pc->state == PGCONN_FREED)
		destroy(pc);
}

void
pgconn_quiet(struct pgconn *pc)
{
	event_del(&pc->readable);
	event_del(&pc->writable);
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
	pgconn_quiet(pc);
	pganswer_reset(&pc->answer);
	pc->prepared_count = 0;
	if (pc->conn != NULL) {
		PQfinish(pc->conn);
		pc->conn = NULL;
	}
}

void
pgconn_go_down(struct pgconn *pc, const struct err *why)
{
	pc->why = *why;
	disconnect(pc);
	pgconn_set_state(pc, PGCONN_DOWN);
	loop_defer_start(pc->down);
}

void
pgconn_go_down_broken(struct pgconn *pc)
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
	pgconn_go_down(pc, &err);
}

void
pgconn_go_down_because(struct pgconn *pc, enum err_code code, const char *reason)
{
	struct err err;

	err_set(&err, code, "%s", reason);
	pgconn_go_down(pc, &err);
}

/* ---- loss ----------------------------------------------------------------- */

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

	pgconn_enter(pc);
	pgconn_lose_units(pc);
	if (pc->state == PGCONN_FREED) {
		pgconn_unwind(pc);
		return;
	}
	why = pc->why;
	err_wrap(&why, "postgresql connection %s", pc->name);
	plan_retry(pc, now_ms);
	pc->up_ms = 0;
	pc->leaving[0] = '\0';
	pc->read_only = false;
	pgconn_set_state(pc, PGCONN_PAUSED);
	if (was_up || !pc->told_anything || now_ms - pc->told_ms >= TELL_MS) {
		pc->told_anything = true;
		pc->told_ms = now_ms;
		if (pc->state_cb != NULL)
			pc->state_cb(pc, false, &why, pc->arg);
		else
			log_warn(&pc->ctx, "postgresql connection is down",
			    "reason=\"%s\"", why.text);
	}
	pgconn_unwind(pc);
}

/* ---- coming up ------------------------------------------------------------ */

static void
retry_now(void *arg)
{
	struct pgconn *pc = arg;

	pgconn_enter(pc);
	pgconn_set_state(pc, PGCONN_DIALING);
	pgdial_start(pc->dial);
	pgconn_unwind(pc);
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

	pgconn_enter(pc);
	log_info(&pc->ctx, "postgresql has moved: the connection is made again",
	    "host=%s address=%s", PQhost(pc->conn), PQhostaddr(pc->conn));
	pgconn_leave(pc, "its name does not lead to this server any more");
	pgconn_unwind(pc);
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
		pgconn_go_down(pc, &err);
		return;
	}
	if (pgrows_count(rows) != 1 || pgrows_bool(rows, 0, 0) ||
	    pgrows_bool(rows, 0, 1)) {
		pgconn_go_down_because(pc, ERR_IO, "the server is read-only");
		return;
	}
	pgconn_set_state(pc, PGCONN_UP);
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

	pgconn_set_state(pc, PGCONN_CHECKING);
	pc->conn = conn;
	pc->fatal[0] = '\0';
	pc->prepare = pc->prepare_wanted;
	pc->server_version = PQserverVersion(conn);
	PQsetNoticeReceiver(conn, on_notice, pc);
	if (pc->server_version < VERSION_MIN) {
		err_set(&err, ERR_IO,
		    "the server's version is %d, the oldest supported %d",
		    pc->server_version, VERSION_MIN);
		pgconn_go_down(pc, &err);
		return;
	}
	if (fd < 0 || PQsetnonblocking(conn, 1) != 0 ||
	    PQenterPipelineMode(conn) != 1) {
		pgconn_go_down_broken(pc);
		return;
	}
	if (event_assign(&pc->readable, base, fd, EV_READ | EV_PERSIST, pgconn_readable,
		pc) != 0 ||
	    event_assign(&pc->writable, base, fd, EV_WRITE, pgconn_writable, pc) != 0 ||
	    event_add(&pc->readable, NULL) != 0) {
		pgconn_go_down_because(pc, ERR_NOMEM, "no memory to watch a socket");
		return;
	}
	/* a failure has set the state already, and is told from there */
	if (pgconn_send(pc, &check_stmt, NULL, check_done, pc, &err) != 0)
		return;
}

static void
dial_done(PGconn *conn, const struct err *err, void *arg)
{
	struct pgconn *pc = arg;

	pgconn_enter(pc);
	if (conn == NULL)
		pgconn_go_down(pc, err);
	else
		start_session(pc, conn);
	pgconn_unwind(pc);
}

/* ---- life ----------------------------------------------------------------- */

struct pgconn *
pgconn_create(struct loop *l, struct resolver *rv, const struct pgconn_opts *opts,
    struct err *err)
{
	struct pgdial_opts dial;
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
	pc->deadline = loop_timer_create(l, pgconn_deadline_passed, pc);
	pc->flush = loop_defer_create(l, pgconn_flush, pc);
	pc->down = loop_defer_create(l, tell_loss, pc);
	/* assigned to nothing, so that event_del is always allowed */
	if (pc->name == NULL || pc->units == NULL || pc->retry == NULL ||
	    pc->deadline == NULL || pc->flush == NULL || pc->down == NULL ||
	    event_assign(&pc->readable, loop_base(l), -1, 0, pgconn_readable, pc) !=
		0 ||
	    event_assign(&pc->writable, loop_base(l), -1, 0, pgconn_writable, pc) !=
		0) {
		err_set(err, ERR_NOMEM, "no memory for a postgresql connection");
		destroy(pc);
		return NULL;
	}
	pc->ctx.kind = "pg";
	pc->ctx.id = pc->name;
	dial = (struct pgdial_opts){
	    .name = opts->name,
	    .url = opts->url,
	    .password = opts->password,
	    .password_file = opts->password_file,
	    .timeout_ms = pc->connect_timeout_ms,
	    .cb = dial_done,
	    .arg = pc,
	};
	pc->dial = pgdial_create(l, rv, &dial, err);
	if (pc->dial == NULL)
		goto fail;
	if (opts->moved_ms > 0 && ((pc->moved = moved_create(l, rv, opts->moved_ms,
					on_moved, pc, err)) == NULL ||
				      pgdial_watch(pc->dial, pc->moved, err) != 0))
		goto fail;
	pgconn_set_state(pc, PGCONN_PAUSED);
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
	pgconn_enter(pc);
	disconnect(pc);
	/* a loss that is not told yet keeps its reason */
	if (pc->state != PGCONN_DOWN)
		err_set(&pc->why, ERR_CLOSED, "the connection is being freed");
	/* also refuses a second free, and units from the callbacks */
	pgconn_set_state(pc, PGCONN_FREED);
	pgconn_lose_units(pc);
	pgconn_unwind(pc);
}

bool
pgconn_is_up(const struct pgconn *pc)
{
	return pc->state == PGCONN_UP && pc->leaving[0] == '\0';
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
	if (pc->conn != NULL || pc->state == PGCONN_DIALING)
		pgconn_go_down_because(pc, ERR_CLOSED, reason);
}

void
pgconn_leave(struct pgconn *pc, const char *reason)
{
	STAMP_CHECK(pc, PGCONN_STAMP);
	if (!pgconn_is_up(pc))
		return;
	str_copy(pc->leaving, sizeof(pc->leaving), reason);
	if (pc->count == 0)
		pgconn_go_down_because(pc, ERR_CLOSED, reason);
}
