/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_stores.c - see fake_stores.h.
 */
#include "fake_stores.h"

#include <arpa/inet.h>
#include <endian.h>
#include <event2/event.h>
#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/leases.h"
#include "store/migrate.h"

#define UNITS_MOST 256

struct unit {
	const struct pgstmt *st;
	pgconn_done_cb *cb;
	void *arg;
	char *block;
	size_t offsets[PGPARAM_MAX];
	int lens[PGPARAM_MAX];
	int count;
};

struct fake_stores fakes;
struct loop *test_loop;
struct engine *test_engine;
struct attempt *started[256];
size_t started_count;
int engine_ended;
static struct unit units[UNITS_MOST];
static size_t unit_count;
static struct scoreboard *board;
static struct settings *settings;
static char nothing; /* what a struct store * and a struct broker * point to */

/* ---------------------------------------------------------------- the database */

struct store *
store_create(struct loop *l, struct resolver *rv, const struct settings *s,
    store_state_cb *cb, void *arg, struct err *err)
{
	(void)l;
	(void)rv;
	(void)s;
	(void)err;
	fakes.store_cb = cb;
	fakes.store_arg = arg;
	return (struct store *)(void *)&nothing;
}

void
store_release(struct store *st)
{
	(void)st;
	memset(fakes.lane_up, 0, sizeof(fakes.lane_up));
}

int
store_reopen(struct store *st, struct err *err)
{
	(void)st;
	(void)err;
	return 0;
}

static struct unit
take_unit(size_t at)
{
	struct unit u = units[at];

	memmove(units + at, units + at + 1, (--unit_count - at) * sizeof(units[0]));
	return u;
}

void
store_free(struct store *st)
{
	struct pgerr pe = {.class = PGERR_LOST};
	struct unit u;

	memset(fakes.lane_up, 0, sizeof(fakes.lane_up));
	while (st != NULL && unit_count > 0) {
		u = take_unit(0);
		free(u.block);
		u.cb(NULL, &pe, u.arg);
	}
}

bool
store_is_up(const struct store *st, enum store_lane lane)
{
	(void)st;
	return fakes.lane_up[lane];
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
	(void)st;
	(void)err;
	return 0;
}

int
store_lead(struct store *st, bool on, struct err *err)
{
	(void)st;
	(void)err;
	fakes.lane_up[STORE_LEAD] = on;
	fakes.lane_up[STORE_TIDY] = on;
	return 0;
}

int
store_exec(struct store *st, enum store_lane lane, const struct pgstmt *stmt,
    const struct pgparam *p, pgconn_done_cb *cb, void *arg, struct err *err)
{
	struct unit *u = &units[unit_count];

	(void)st;
	if (!fakes.lane_up[lane])
		return err_set(err, ERR_CLOSED, "down");
	assert_true(unit_count < UNITS_MOST);
	memset(u, 0, sizeof(*u));
	u->st = stmt;
	u->cb = cb;
	u->arg = arg;
	if (p != NULL) {
		assert_false(pgparam_failed(p));
		u->count = p->count;
		memcpy(u->offsets, p->offsets, sizeof(u->offsets));
		memcpy(u->lens, p->lens, sizeof(u->lens));
		u->block = malloc(p->block.len + 1);
		memcpy(u->block, p->block.data, p->block.len);
	}
	unit_count++;
	return 0;
}

size_t
waiting(const struct pgstmt *st)
{
	size_t n = 0;

	for (size_t i = 0; i < unit_count; i++)
		n += units[i].st == st;
	return n;
}

static size_t
oldest(const struct pgstmt *st)
{
	for (size_t i = 0; i < unit_count; i++) {
		if (units[i].st == st)
			return i;
	}
	fail_msg("no %s is under way", st->name);
	return 0;
}

static int64_t
number(const char *bytes, int len)
{
	uint16_t n2;
	uint32_t n4;
	uint64_t n8;

	if (len == 2) {
		memcpy(&n2, bytes, 2);
		return (int16_t)ntohs(n2);
	}
	if (len == 4) {
		memcpy(&n4, bytes, 4);
		return (int32_t)ntohl(n4);
	}
	assert_int_equal(len, 8);
	memcpy(&n8, bytes, 8);
	return (int64_t)be64toh(n8);
}

int64_t
param_int(const struct pgstmt *st, int n)
{
	const struct unit *u = &units[oldest(st)];

	return number(u->block + u->offsets[n], u->lens[n]);
}

/* element i, or NULL past the end; *len -1: a NULL */
static const char *
element(const struct pgstmt *st, int n, int i, int *len)
{
	const struct unit *u = &units[oldest(st)];
	const char *at = u->block + u->offsets[n];

	if (u->lens[n] < 20 || i >= number(at + 12, 4))
		return NULL;
	for (at += 20;; at += 4 + (*len > 0 ? *len : 0)) {
		*len = (int)number(at, 4);
		if (i-- == 0)
			return at + 4;
	}
}

int
array_count(const struct pgstmt *st, int n)
{
	int count = 0, len;

	while (element(st, n, count, &len) != NULL)
		count++;
	return count;
}

int64_t
array_int(const struct pgstmt *st, int n, int i)
{
	int len = 0;
	const char *at = element(st, n, i, &len);

	assert_non_null(at);
	return number(at, len);
}

bool
array_null(const struct pgstmt *st, int n, int i)
{
	int len = 0;

	assert_non_null(element(st, n, i, &len));
	return len < 0;
}

void
array_text(const struct pgstmt *st, int n, int i, char *to, size_t size)
{
	int len = 0;
	const char *at = element(st, n, i, &len);

	assert_true(len >= 0 && (size_t)len < size);
	memcpy(to, at, (size_t)len);
	to[len] = '\0';
}

void
array_uuid(const struct pgstmt *st, int n, int i, struct uuid *id)
{
	int len = 0;
	const char *at = element(st, n, i, &len);

	assert_int_equal(len, 16);
	memcpy(id->b, at, 16);
}

/* ---------------------------------------------------------------- answers */

struct pgrows *
rows_new(const char *kinds)
{
	PGresult *res = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc cols[16];
	int count = (int)strlen(kinds);

	memset(cols, 0, sizeof(cols));
	for (int i = 0; i < count; i++) {
		cols[i].name = (char *)(uintptr_t) "c";
		cols[i].format = 1;
	}
	assert_true(PQsetResultAttrs(res, count, cols));
	return (struct pgrows *)(void *)res;
}

void
rows_add(struct pgrows *rows, const char *kinds, ...)
{
	PGresult *res = (PGresult *)(void *)rows;
	int row = PQntuples(res);
	va_list ap;

	va_start(ap, kinds);
	for (int col = 0; kinds[col] != '\0'; col++) {
		char bytes[8], *value = bytes;
		int len = -1;
		uint16_t n2;
		uint32_t n4;
		uint64_t n8;

		switch (kinds[col]) {
		case 'h':
			n2 = htons((uint16_t)va_arg(ap, int));
			memcpy(bytes, &n2, (size_t)(len = 2));
			break;
		case 'i':
			n4 = htonl((uint32_t)va_arg(ap, int));
			memcpy(bytes, &n4, (size_t)(len = 4));
			break;
		case 'l':
			n8 = htobe64((uint64_t)va_arg(ap, int64_t));
			memcpy(bytes, &n8, (size_t)(len = 8));
			break;
		case 'b':
			bytes[0] = (char)va_arg(ap, int);
			len = 1;
			break;
		case 'u':
			value = (char *)va_arg(ap, struct uuid *)->b;
			len = 16;
			break;
		case 't':
			value = va_arg(ap, char *);
			len = (int)strlen(value);
			break;
		default:
			value = NULL;
			break;
		}
		assert_true(PQsetvalue(res, row, col, value, len));
	}
	va_end(ap);
}

void
answer(const struct pgstmt *st, struct pgrows *rows)
{
	struct unit u = take_unit(oldest(st));

	free(u.block);
	u.cb(rows, NULL, u.arg);
	PQclear((PGresult *)(void *)rows);
	turn();
}

void
answer_nothing(const struct pgstmt *st)
{
	answer(st, rows_new("iiiiiiiiiii"));
}

void
answer_error(const struct pgstmt *st, enum pgerr_class class, const char *sqlstate)
{
	struct unit u = take_unit(oldest(st));
	struct pgerr pe = {.class = class, .text = "as the test says"};

	memcpy(pe.sqlstate, sqlstate, strlen(sqlstate) + 1);
	free(u.block);
	u.cb(NULL, &pe, u.arg);
	turn();
}

/* ---------------------------------------------------------------- redis */

struct broker *
broker_create(struct loop *l, struct resolver *rv, const struct broker_opts *opts,
    struct err *err)
{
	(void)l;
	(void)rv;
	(void)err;
	fakes.events = opts->events;
	fakes.events_arg = opts->arg;
	return (struct broker *)(void *)&nothing;
}

static void
put(struct fake_list *l, const struct elem *elems, size_t count)
{
	assert_true(l->count + count <= FAKE_ELEMS);
	memcpy(l->elems + l->count, elems, count * sizeof(*elems));
	l->count += count;
}

void
broker_free(struct broker *b)
{
	broker_view_cb *cb = fakes.look_cb;
	struct err err = ERR_INIT;

	fakes.redis_up = false;
	fakes.look_cb = NULL;
	err_set(&err, ERR_CLOSED, "freed");
	if (b != NULL && cb != NULL)
		cb(NULL, &err, fakes.look_arg);
}

void
broker_set_database(struct broker *b, const struct uuid *id)
{
	(void)b;
	(void)id;
}

bool
broker_is_up(const struct broker *b)
{
	(void)b;
	return fakes.redis_up;
}

void
broker_close(struct broker *b, const char *reason)
{
	(void)b;
	(void)reason;
}

static int
pop(int list, int count, struct err *err)
{
	size_t *asked = list == LIST_MAIN ? &fakes.pops : &fakes.asked[list];

	if (!fakes.redis_up || *asked > 0)
		return err_set(err, ERR_CONFLICT, "a pop is under way");
	*asked = (size_t)count;
	return 0;
}

int
broker_pop_wait(struct broker *b, int list, struct err *err)
{
	(void)b;
	return pop(list, 1, err);
}

int
broker_pop_more(struct broker *b, int list, int count, struct err *err)
{
	(void)b;
	return pop(list, count, err);
}

bool
broker_is_idle(const struct broker *b, int list)
{
	(void)b;
	return (list == LIST_MAIN ? fakes.pops : fakes.asked[list]) == 0;
}

bool
broker_is_waiting(const struct broker *b, int list)
{
	(void)b;
	(void)list;
	return fakes.line_empty;
}

void
broker_stop_popping(struct broker *b)
{
	(void)b;
}

bool
broker_is_settled(const struct broker *b)
{
	(void)b;
	return !fakes.looking;
}

void
broker_push(struct broker *b, const struct elem *elems, size_t count)
{
	(void)b;
	put(&fakes.pushed, elems, count);
}

void
broker_push_first(struct broker *b, const struct elem *elems, size_t count)
{
	(void)b;
	put(&fakes.pushed_first, elems, count);
}

void
broker_replace(struct broker *b, int list, const struct elem *elems, size_t count)
{
	(void)b;
	(void)list;
	fakes.replaced.count = 0;
	fakes.replaced_count++;
	put(&fakes.replaced, elems, count);
}

void
broker_ack(struct broker *b, const struct elem *e)
{
	(void)b;
	put(&fakes.acked, e, 1);
}

void
broker_give_back(struct broker *b, const struct elem *e)
{
	(void)b;
	put(&fakes.given_back, e, 1);
}

void
broker_drop(struct broker *b, const struct elem *e)
{
	(void)b;
	put(&fakes.dropped, e, 1);
}

void
broker_publish_done(
    struct broker *b, const struct uuid *waiter, int app_id, const struct uuid *id)
{
	(void)b;
	(void)waiter;
	(void)app_id;
	(void)id;
}

void
broker_publish_hint(struct broker *b, int list)
{
	(void)list;
	broker_publish(b, "feed");
}

void
broker_publish_requeue(struct broker *b)
{
	broker_publish(b, "requeue");
}

void
broker_publish_again(struct broker *b, const struct uuid *id)
{
	char text[UUID_TEXT_SIZE + 8] = "again ";

	uuid_format(id, text + 6);
	broker_publish(b, text);
}

void
broker_hear_hints(struct broker *b)
{
	(void)b;
}

void
broker_publish(struct broker *b, const char *text)
{
	size_t len = strlen(fakes.published);

	snprintf(fakes.published + len, sizeof(fakes.published) - len, " %s", text);
	(void)b;
}

void
broker_set_places(struct broker *b, const char *text)
{
	(void)b;
	(void)text;
}

void
broker_forget(struct broker *b)
{
	(void)b;
}

int64_t
broker_last_length(const struct broker *b, int list)
{
	(void)b;
	(void)list;
	return fakes.length;
}

void
broker_bury(struct broker *b, const struct uuid *owner)
{
	(void)b;
	(void)owner;
}

int
broker_look(struct broker *b, int list, int64_t beat, bool with_list,
    broker_view_cb *cb, void *arg, struct err *err)
{
	(void)b;
	(void)beat;
	(void)with_list;
	/* of other lists tests see nothing */
	if (!fakes.redis_up || fakes.look_cb != NULL || list != LIST_MAIN)
		return err_set(err, ERR_CLOSED, "down");
	fakes.look_cb = cb;
	fakes.look_arg = arg;
	fakes.look_count++;
	return 0;
}

int
broker_read_beat(struct broker *b, broker_beat_cb *cb, void *arg, struct err *err)
{
	(void)b;
	(void)cb;
	(void)arg;
	return err_set(err, ERR_CLOSED, "not here");
}

void
broker_set_epoch(struct broker *b, int64_t epoch)
{
	(void)b;
	fakes.epoch_set = epoch;
}

void
broker_drop_places(struct broker *b, const struct uuid *owner)
{
	(void)b;
	(void)owner;
}

void
broker_release(struct broker *b)
{
	(void)b;
	fakes.redis_up = false;
}

void
broker_renew_places(struct broker *b)
{
	broker_publish(b, "places");
}

/* ---------------------------------------------------------------- an engine */

static int
start_attempt(void *self, struct attempt *a, struct err *err)
{
	(void)self;
	(void)err;
	assert_true(started_count < COUNT_OF(started));
	started[started_count++] = a;
	return 0;
}

static void
cancel_attempt(void *self, struct attempt *a)
{
	(void)self;
	attempt_failed(a, OUTCOME_RETRY, "cancelled", "", 0, -1);
}

static const struct handler_ops ops = {
    .name = "test", .start = start_attempt, .cancel = cancel_attempt};

static void
on_ended(bool lost, void *arg)
{
	(void)lost;
	(void)arg;
	engine_ended++;
}

const char *engine_pools_served;

void
turn(void)
{
	for (int i = 0; i < 4; i++)
		event_base_loop(loop_base(test_loop), EVLOOP_NONBLOCK);
}

static void
come_up(void)
{
	static const char *const names[] = {
	    "shoal.noop", "shoal.echo", "shoal.sleep", "shoal.fail"};
	struct uuid database = {{1}};
	struct pgrows *rows;

	for (int i = STORE_SUBMIT; i <= STORE_READ; i++)
		fakes.lane_up[i] = true;
	fakes.store_cb(STORE_READ, true, NULL, fakes.store_arg);
	rows = rows_new("ii");
	rows_add(rows, "ii", migrate_newest(), 0);
	answer(&sql_schema, rows);
	rows = rows_new("lutl");
	rows_add(rows, "lutl", clock_wall_us(), &database, settings->cluster_name,
	    (int64_t)1);
	answer(&sql_register, rows);
	rows = rows_new("htibbiiiit");
	for (int i = 0; i < 4; i++)
		rows_add(rows, "htibbnnnnn", 1, names[i], i + 1, 0, 0);
	answer(&sql_names, rows);
	if (engine_pools_served != NULL)
		answer_nothing(&sql_serve_pools);
	answer_nothing(&sql_serve);
	answer_nothing(&types_tell);
	rows = rows_new("liiiit");
	rows_add(rows, "lnnnnn", (int64_t)1);
	answer(&types_registry, rows);
	fakes.redis_up = true;
	fakes.events->state(true, NULL, fakes.events_arg);
	turn();
	fakes.pops = 0;
	memset(fakes.asked, 0, sizeof(fakes.asked));
}

int
engine_setup(void **state)
{
	struct err err = ERR_INIT;
	struct engine_opts opts = {.slot = 0, .ended = on_ended};

	(void)state;
	memset(&fakes, 0, sizeof(fakes));
	fakes.length = 200; /* too many to adopt, too few to be spilling */
	started_count = 0;
	engine_ended = 0;
	test_loop = loop_create(&err);
	settings = settings_create(&err);
	assert_non_null(settings);
	if (settings->cluster_name == NULL) /* has no default */
		settings->cluster_name = mem_strdup("test");
	if (engine_pools_served != NULL) {
		mem_free(settings->node_pools);
		settings->node_pools = mem_strdup(engine_pools_served);
	}
	board = scoreboard_create(&err);
	assert_non_null(test_loop);
	assert_non_null(board);
	atomic_store(&board->slots[0].pid, 1);
	atomic_store(&board->slots[0].state, SCORE_READY);
	atomic_store(&board->slots[0].heartbeat_ms, clock_mono_ms());
	opts.settings = settings;
	opts.board = board;
	for (int i = 0; i < HANDLER_KIND_COUNT; i++)
		opts.handlers[i].ops = &ops;
	test_engine = engine_create(test_loop, NULL, &opts, &err);
	assert_non_null(test_engine);
	come_up();
	return 0;
}

int
engine_teardown(void **state)
{
	(void)state;
	engine_free(test_engine);
	scoreboard_free(board);
	settings_free(settings);
	loop_free(test_loop);
	return 0;
}

void
task_id(int n, struct uuid *id)
{
	memset(id, 0, sizeof(*id));
	id->b[14] = (uint8_t)(n >> 8);
	id->b[15] = (uint8_t)n;
}

void
pop_id(int n, int type_id)
{
	struct elem el = {.app_id = 1, .type_id = type_id};

	task_id(n, &el.id);
	fakes.events->popped(&el, fakes.events_arg);
	turn();
}

bool
listed(const struct fake_list *l, int n)
{
	struct uuid id;

	task_id(n, &id);
	for (size_t i = 0; i < l->count; i++) {
		if (uuid_eq(&l->elems[i].id, &id))
			return true;
	}
	return false;
}
