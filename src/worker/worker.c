/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.c - builds the parts of one worker, connects them, and takes them down again.
 *
 * Faces, engine and handlers know nothing of each other's making; here they meet.
 *
 * The worker is ready when its listeners are armed: as soon as the engine can serve, so
 * that no request meets a worker that is still connecting, and after LISTEN_MS at the
 * latest, so that /health answers whatever the stores do.
 *
 * Leaving, in this order: no more tasks are taken; requests go on being served until
 * the drain delay has passed (the balancer needs that long); then listeners and idle
 * connections close, waits are answered as they stand, and when no request and no task
 * is left, or patience ends, the process does.
 *
 * A worker that another one replaces (reload, upgrade) has no reason to close what a
 * balancer keeps open: it lingers.  It is out of the cluster then, and its connections
 * to the stores are closed as soon as no request needs them.  An idle connection ends
 * by its client, by its time, or with the reply to its next request: that one waits
 * until PostgreSQL is connected again, is answered as any other, with Connection:
 * close.
 *
 * A worker whose master is gone (end of file on the control socket) leaves within
 * seconds: nobody would restart it, and its successor may be starting already.
 */
#include "worker/worker.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api.h"
#include "base/cidr.h"
#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/engine.h"
#include "handlers/builtin.h"
#include "handlers/exec.h"
#include "handlers/http.h"
#include "handlers/stream.h"
#include "http/httpd.h"
#include "portal/portal.h"
#include "proc/child.h"
#include "proc/launch.h"
#include "proc/procutil.h"
#include "telemetry/accesslog.h"
#include "telemetry/spans.h"
#include "tls/tlsctx.h"

#define HEARTBEAT_MS	 500
#define MEMORY_MS	 5000
#define HOUR_MS		 3600000
#define DAY_MS		 (24 * HOUR_MS)
#define DAY_S		 86400
#define ENDS_SOON_S	 (30 * DAY_S)
#define LISTEN_MS	 1000
#define GOODBYE_MS	 20   /* for the ends of streams to leave */
#define LINGER_STORES_MS 2000 /* without a request: the stores are closed */
#define WAKE_MS		 4000 /* then requests are answered without a database */
#define ORPHAN_TASKS_MS	 2500 /* for running tasks when the master is gone */
#define ORPHAN_END_MS	 1000
#define ORPHAN_ALARM_S	 4 /* whatever happens in the loop */
#define GIVE_UP_END_MS                                                                 \
	8000 /* from giving tasks back to the end; less than the master waits */
#define SPANS_MS 2000 /* for the collector, when all else is done */
#define FOREVER	 (-1)

enum leave_step {
	LEAVE_NO = 0,
	LEAVE_DELAY,   /* still serving requests */
	LEAVE_GOODBYE, /* doors are closed, streams were told */
	LEAVE_WAIT,    /* waiting for the last requests and tasks */
};

struct worker {
	const struct worker_env *env;
	struct score_slot *slot;
	struct loop *loop;
	struct resolver *resolver;
	struct children *children;
	struct builtin *builtin;
	struct exec *exec;
	struct http *http;
	struct launcher *launcher;
	struct stream *stream;
	struct engine *engine;
	struct api *api;
	struct portal *portal;
	struct cidr_list trusted;    /* proxies */
	struct tlsctx *tls;	     /* NULL: no certificates */
	int64_t certificates_at_ms;  /* when their ends were last looked at */
	struct accesslog *accesslog; /* NULL: off */
	struct spans *spans;	     /* NULL: off */
	struct httpd *httpds[AUDIENCE_COUNT];
	struct event *orders;
	struct loop_timer *heartbeat;
	struct loop_timer *listen_timer;
	bool listening;
	struct loop_timer *leave_timer; /* the next step of leaving */
	struct loop_timer *end_timer;	/* patience with tasks, then with all */
	enum leave_step leave;
	int64_t tasks_ms; /* patience with running tasks; FOREVER */
	bool lingers;	  /* when nothing but idle connections is left, these stay */
	bool asleep;	  /* without stores; the next request opens them */
	int64_t used_ms;  /* lingering: when a request was last seen */
	struct loop_timer *wake_timer;
	bool engine_done;
	bool gave_up;
	bool orphaned;
	int64_t spans_until_ms; /* patience with the last spans; 0: not asked yet */
	int64_t memory_at_ms;
	int status; /* to exit with */
};

static void
end(struct worker *w, int status)
{
	w->status = status;
	loop_stop(w->loop);
}

/* ---------------------------------------------------------------- leaving */

static size_t
open_requests(const struct worker *w)
{
	size_t n = 0;

	for (int i = 0; i < AUDIENCE_COUNT; i++)
		n += httpd_requests(w->httpds[i]);
	return n;
}

static size_t
open_connections(const struct worker *w)
{
	size_t n = 0;

	for (int i = 0; i < AUDIENCE_COUNT; i++)
		n += httpd_connections(w->httpds[i]);
	return n;
}

/* PostgreSQL is there, or has had its time: the handlers will say so */
static void
wake(void *arg)
{
	struct worker *w = arg;

	loop_timer_stop(w->wake_timer);
	w->used_ms = loop_now_ms(w->loop);
	for (int i = 0; i < AUDIENCE_COUNT; i++)
		httpd_wake(w->httpds[i]);
}

static void
tell_master(const struct worker *w, enum worker_news news)
{
	char byte = (char)news;

	/* it may be lost: the master looks by itself, and the feeder finds what is
	 * there */
	(void)send(w->env->control_fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* submitted without Redis: whoever has it tells the leader */
static void
on_hint(void *arg)
{
	tell_master(arg, NEWS_HINT);
}

/* a request came to a worker that has given its stores away */
static void
on_asleep(void *arg)
{
	struct worker *w = arg;
	struct err err = ERR_INIT;

	if (!w->asleep)
		return; /* they are being opened */
	w->asleep = false;
	log_debug(NULL, "a request came: the database is opened again", " ");
	if (engine_reopen(w->engine, wake, on_hint, w, &err) != 0)
		log_error(NULL, "the database cannot be opened again", "reason=\"%s\"",
		    err.text);
	loop_timer_start_ms(w->wake_timer, WAKE_MS);
}

static void
linger(struct worker *w)
{
	if (atomic_load(&w->slot->state) != SCORE_LINGERING) {
		loop_timer_stop(w->end_timer); /* the master has the last word */
		log_info(
		    NULL, "worker lingers", "connections=%zu", open_connections(w));
		w->used_ms = loop_now_ms(w->loop);
		atomic_store(&w->slot->state, SCORE_LINGERING);
	}
	if (w->asleep || loop_timer_pending(w->wake_timer) ||
	    loop_now_ms(w->loop) - w->used_ms < LINGER_STORES_MS)
		return;
	w->asleep = true;
	log_info(NULL, "a lingering worker closes its stores", "connections=%zu",
	    open_connections(w));
	engine_release(w->engine);
	for (int i = 0; i < AUDIENCE_COUNT; i++)
		httpd_sleep(w->httpds[i], on_asleep, w);
}

/* the last spans have been sent, or have had their time; the heartbeat asks again */
static bool
spans_are_done(struct worker *w)
{
	int64_t now_ms = clock_mono_ms();

	if (w->spans_until_ms == 0) {
		w->spans_until_ms = now_ms + SPANS_MS;
		spans_flush(w->spans);
	}
	return spans_are_sent(w->spans) || now_ms >= w->spans_until_ms;
}

static void
check_left(struct worker *w)
{
	if (w->leave != LEAVE_WAIT || !w->engine_done || !stream_is_drained(w->stream))
		return;
	if (open_requests(w) > 0)
		w->used_ms = loop_now_ms(w->loop);
	else if (w->lingers && open_connections(w) > 0)
		linger(w);
	else if (spans_are_done(w))
		end(w, WORKER_EXIT_OK);
}

static void
on_stream_drained(void *arg)
{
	check_left(arg);
}

/* told at the end of the engine's life: drained, or disowned */
static void
on_engine_ended(bool lost, void *arg)
{
	struct worker *w = arg;

	if (lost) {
		end(w, WORKER_EXIT_LOST);
		return;
	}
	w->engine_done = true;
	check_left(w);
}

/* the drain delay is over.  Nobody waits for who takes no end of his stream, but all
 * have a turn of the loop in which it is written */
static void
close_doors(struct worker *w)
{
	w->leave = LEAVE_GOODBYE;
	for (int i = 0; i < AUDIENCE_COUNT; i++) {
		httpd_stop_listening(w->httpds[i]);
		if (!w->lingers)
			httpd_close_idle(w->httpds[i]);
	}
	api_end_waits(w->api);
	engine_drain(w->engine);
	if (w->tasks_ms != FOREVER)
		loop_timer_start_ms(w->end_timer, w->tasks_ms);
	loop_timer_start_ms(w->leave_timer, GOODBYE_MS);
}

static void
on_leave_time(void *arg)
{
	struct worker *w = arg;

	if (w->leave == LEAVE_DELAY) {
		close_doors(w);
	} else if (w->leave == LEAVE_GOODBYE) {
		w->leave = LEAVE_WAIT;
		check_left(w);
	}
}

static void
on_end_time(void *arg)
{
	struct worker *w = arg;

	if (!w->gave_up) {
		w->gave_up = true;
		log_info(NULL, "running tasks are given back", "tasks=%llu",
		    (unsigned long long)atomic_load(
			&w->slot->counters[SCORE_tasks_running]));
		loop_timer_start_ms(
		    w->end_timer, w->orphaned ? ORPHAN_END_MS : GIVE_UP_END_MS);
		engine_give_up(w->engine);
		return;
	}
	log_warn(NULL, "patience ended: the worker ends with work left", "requests=%zu",
	    open_requests(w));
	end(w, WORKER_EXIT_OK);
}

/* an order that is stricter than one before it shortens what is left */
static void
leave(struct worker *w, const char *why, int64_t delay_ms, int64_t tasks_ms)
{
	if (w->leave == LEAVE_NO) {
		log_info(NULL, "worker drains", "why=%s", why);
		atomic_store(&w->slot->state, SCORE_DRAINING);
		w->leave = LEAVE_DELAY;
		w->tasks_ms = tasks_ms;
		for (int i = 0; i < AUDIENCE_COUNT; i++)
			httpd_set_closing(w->httpds[i], true);
		engine_drain(w->engine);
		stream_drain(w->stream, on_stream_drained, w);
	} else {
		if (tasks_ms != FOREVER &&
		    (w->tasks_ms == FOREVER || tasks_ms < w->tasks_ms))
			w->tasks_ms = tasks_ms;
		if (w->leave >= LEAVE_GOODBYE && !w->gave_up && w->tasks_ms != FOREVER)
			loop_timer_start_ms(w->end_timer, w->tasks_ms);
	}
	if (w->leave == LEAVE_DELAY)
		loop_timer_start_ms(w->leave_timer, delay_ms);
}

/* idle connections are not kept any more */
static void
hurry(struct worker *w)
{
	if (!w->lingers)
		return;
	w->lingers = false;
	for (int i = 0; i < AUDIENCE_COUNT; i++)
		httpd_close_idle(w->httpds[i]);
	check_left(w);
}

/* ---------------------------------------------------------------- the master's orders
 */

static void
obey(struct worker *w, char order)
{
	const struct settings *s = w->env->settings;
	struct err err = ERR_INIT;

	switch ((enum worker_order)order) {
	case WORKER_TERM:
		hurry(w);
		leave(w, "term", s->node_drain_delay_ms, s->node_shutdown_timeout_ms);
		break;
	case WORKER_INT:
		hurry(w);
		leave(w, "int", 0, s->node_shutdown_timeout_ms);
		break;
	case WORKER_QUIT:
		hurry(w);
		leave(w, "quit", s->node_drain_delay_ms, FOREVER);
		break;
	case WORKER_RETIRE:
		w->lingers = w->leave == LEAVE_NO;
		leave(w, "replaced", 0, s->node_shutdown_timeout_ms);
		break;
	case WORKER_HURRY:
		hurry(w);
		break;
	case WORKER_END:
		end(w, WORKER_EXIT_OK);
		break;
	case WORKER_REOPEN:
		if (log_reopen(&err) != 0)
			log_error(NULL, "the log file cannot be opened again",
			    "reason=\"%s\"", err.text);
		if (accesslog_reopen(w->accesslog, &err) != 0)
			log_error(NULL, "the access log cannot be opened again",
			    "reason=\"%s\"", err.text);
		break;
	case WORKER_BURY:
		engine_bury(w->engine);
		break;
	case WORKER_HINT:
		log_debug(NULL, "a lingering worker has submitted", " ");
		engine_hint(w->engine);
		break;
	case WORKER_LEVEL:
		log_set_level(score_log_level(w->env->board, s->log_level));
		break;
	default:
		log_error(NULL, "BUG: an unknown order", "byte=%d", order);
		break;
	}
}

static void
on_orders(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	char bytes[64];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	(void)what;
	for (ssize_t i = 0; i < n; i++)
		obey(w, bytes[i]);
	if (n != 0)
		return;
	event_del(w->orders);
	log_error(NULL, "the master is gone: this worker leaves", " ");
	w->orphaned = true;
	hurry(w);
	leave(w, "orphaned", 0, ORPHAN_TASKS_MS);
	alarm(ORPHAN_ALARM_S);
}

/* one worker of the node warns, once a day */
static void
look_at_certificates(const struct worker *w, int64_t now_ms)
{
	_Atomic int64_t *warned = &w->env->board->tls_warned_ms;
	int64_t now_s = clock_wall_us() / 1000000, last_ms = atomic_load(warned);

	if (last_ms != 0 && now_ms - last_ms < DAY_MS)
		return;
	for (size_t i = 0; i < tlsctx_count(w->tls); i++) {
		int64_t left_s = tlsctx_seconds_left(w->tls, i, now_s);

		if (left_s > ENDS_SOON_S)
			continue;
		if (last_ms != now_ms &&
		    !atomic_compare_exchange_strong(warned, &last_ms, now_ms))
			return;
		last_ms = now_ms;
		log_warn(NULL,
		    left_s > 0 ? "a certificate ends soon: renew it and reload"
			       : "a certificate has ended: renew it and reload",
		    "name=%s days_left=%lld", tlsctx_title(w->tls, i),
		    (long long)(left_s / DAY_S));
	}
}

static void
on_heartbeat(void *arg)
{
	struct worker *w = arg;
	int64_t now_ms = clock_mono_ms();

	loop_timer_start_ms(w->heartbeat, HEARTBEAT_MS);
	atomic_store(&w->slot->heartbeat_ms, now_ms);
	score_set(w->slot, SCORE_http_connections, open_connections(w));
	log_flush();
	if (w->tls != NULL &&
	    (w->certificates_at_ms == 0 || now_ms - w->certificates_at_ms >= HOUR_MS)) {
		w->certificates_at_ms = now_ms;
		look_at_certificates(w, now_ms);
	}
	accesslog_flush(w->accesslog);
	score_set(w->slot, SCORE_log_lines_dropped_total, log_dropped());
	if (now_ms - w->memory_at_ms >= MEMORY_MS) {
		w->memory_at_ms = now_ms;
		score_set(w->slot, SCORE_memory_bytes, memory_private_bytes());
	}
	check_left(w);
}

/* ---------------------------------------------------------------- listening */

static int
arm_listeners(struct worker *w, struct err *err)
{
	const struct worker_env *env = w->env;

	for (size_t i = 0; i < env->listener_count; i++) {
		/* our own copy since the fork: closed with the httpd, or the address
		 * stays taken */
		const struct worker_listener *l = &env->listeners[i];

		if (httpd_listen_as(w->httpds[l->audience], l->fd,
			(l->tls ? HTTPD_TLS : 0) | (l->proxy ? HTTPD_PROXY : 0),
			err) != 0)
			return -1;
	}
	return 0;
}

/* the engine serves, or has had its time */
static void
on_listen(void *arg)
{
	struct worker *w = arg;
	struct err err = ERR_INIT;

	if (w->listening || w->leave != LEAVE_NO)
		return;
	w->listening = true;
	loop_timer_stop(w->listen_timer);
	if (arm_listeners(w, &err) != 0) {
		log_error(NULL, "worker cannot listen", "reason=\"%s\"", err.text);
		end(w, 1);
		return;
	}
	atomic_store(&w->slot->state, SCORE_READY);
	tell_master(w, NEWS_LOOK);
	log_info(NULL, "worker ready", "pid=%d", (int)getpid());
}

/* ---------------------------------------------------------------- building */

static int
build_telemetry(struct worker *w, struct err *err)
{
	const struct worker_env *env = w->env;
	const struct accesslog_opts ao = {
	    .path = env->settings->log_access,
	    .format = (enum log_format)env->settings->log_format,
	    .slot = w->slot,
	};

	if (!str_eq(ao.path, "off")) {
		w->accesslog = accesslog_create(&ao, err);
		if (w->accesslog == NULL) {
			err->code = ERR_INVALID; /* another place has to be named */
			return -1;
		}
	}
	w->spans = spans_create(
	    w->loop, w->resolver, env->settings, env->board, env->slot, err);
	return w->spans == NULL && err->code != ERR_NONE ? -1 : 0;
}

static int
build_engine(struct worker *w, struct err *err)
{
	const struct worker_env *env = w->env;
	struct engine_opts opts = {
	    .settings = env->settings,
	    .board = env->board,
	    .slot = env->slot,
	    .idle = env->idle,
	    .spans = w->spans,
	    .serving = on_listen,
	    .ended = on_engine_ended,
	    .arg = w,
	};

	w->launcher = launcher_create(w->loop, env->door, err);
	if (w->launcher == NULL)
		return -1;
	w->children = children_create(w->loop, w->launcher, err);
	if (w->children == NULL)
		return -1;
	w->builtin = builtin_create(w->loop, err);
	w->exec = exec_create(w->children, env->settings, w->slot, err);
	if (w->builtin == NULL || w->exec == NULL)
		return -1;
	w->stream = stream_create(w->loop, w->launcher, env->settings, w->slot, err);
	if (w->stream == NULL)
		return -1;
	opts.handlers[HANDLER_BUILTIN] = builtin_handler(w->builtin);
	opts.handlers[HANDLER_EXEC] = exec_handler(w->exec);
	opts.handlers[HANDLER_STREAM] = stream_handler(w->stream);
	w->http = http_create(w->loop, w->resolver, env->settings, w->slot, err);
	if (w->http == NULL)
		return -1;
	opts.handlers[HANDLER_HTTP] = http_handler(w->http);
	builtin_set_http(w->builtin, w->http);
	w->engine = engine_create(w->loop, w->resolver, &opts, err);
	if (w->engine == NULL)
		return -1;
	if (!env->idle) /* whose children have nothing to do */
		stream_start(w->stream, w->engine);
	http_set_endpoints(w->http, engine_endpoints(w->engine));
	return 0;
}

/* what both faces are told of those who connect */
static void
meet_clients(const struct worker *w, struct httpd_opts *opts)
{
	opts->trusted = &w->trusted;
	opts->tls = w->tls;
}

static int
build_faces(struct worker *w, struct err *err)
{
	const struct worker_env *env = w->env;
	struct api_opts ao = {
	    env->settings, w->engine, env->board, env->slot, w->accesslog, w->spans};
	struct portal_opts po = {env->settings, w->engine, env->board, env->slot,
	    w->accesslog, w->spans, NULL};
	struct httpd_opts ho;

	if (cidr_list_parse(env->settings->http_trusted_proxies, &w->trusted, err) != 0)
		return err_wrap(err, "http.trusted_proxies");
	if (env->tls != NULL) {
		w->tls = tlsctx_create(env->tls, err);
		if (w->tls == NULL)
			return -1;
	}
	po.tls = w->tls;
	w->api = api_create(w->loop, &ao, err);
	if (w->api == NULL)
		return -1;
	w->portal = portal_create(w->loop, &po, err);
	if (w->portal == NULL)
		return -1;
	api_httpd_opts(w->api, &ho);
	meet_clients(w, &ho);
	w->httpds[AUDIENCE_APPLICATIONS] = httpd_create(w->loop, &ho, err);
	portal_httpd_opts(w->portal, &ho);
	meet_clients(w, &ho);
	w->httpds[AUDIENCE_DEVELOPERS] = httpd_create(w->loop, &ho, err);
	for (int i = 0; i < AUDIENCE_COUNT; i++) {
		if (w->httpds[i] == NULL)
			return -1;
	}
	return 0;
}

static int
build(struct worker *w, struct err *err)
{
	w->loop = loop_create(err);
	if (w->loop == NULL)
		return -1;
	w->resolver = resolver_create(w->loop, err);
	if (w->resolver == NULL || build_telemetry(w, err) != 0 ||
	    build_engine(w, err) != 0 || build_faces(w, err) != 0)
		return -1;
	w->heartbeat = loop_timer_create(w->loop, on_heartbeat, w);
	w->listen_timer = loop_timer_create(w->loop, on_listen, w);
	w->leave_timer = loop_timer_create(w->loop, on_leave_time, w);
	w->end_timer = loop_timer_create(w->loop, on_end_time, w);
	w->wake_timer = loop_timer_create(w->loop, wake, w);
	w->orders = event_new(
	    loop_base(w->loop), w->env->control_fd, EV_READ | EV_PERSIST, on_orders, w);
	if (w->heartbeat == NULL || w->listen_timer == NULL || w->leave_timer == NULL ||
	    w->end_timer == NULL || w->wake_timer == NULL || w->orders == NULL ||
	    event_add(w->orders, NULL) != 0)
		return err_set(err, ERR_NOMEM, "worker");
	return 0;
}

/* copes with the half-built worker */
static void
take_down(struct worker *w)
{
	if (w->api != NULL)
		api_stop(w->api);
	if (w->portal != NULL)
		portal_stop(w->portal);
	/* no command outlives its worker */
	children_free(w->children);
	stream_stop(w->stream);
	launcher_free(w->launcher);
	engine_free(w->engine);
	for (int i = 0; i < AUDIENCE_COUNT; i++)
		httpd_free(w->httpds[i]);
	tlsctx_free(w->tls);
	cidr_list_fini(&w->trusted);
	portal_free(w->portal);
	api_free(w->api);
	stream_free(w->stream);
	exec_free(w->exec);
	http_free(w->http);
	builtin_free(w->builtin);
	spans_free(w->spans);
	accesslog_free(w->accesslog);
	if (w->orders != NULL)
		event_free(w->orders);
	loop_timer_free(w->heartbeat);
	loop_timer_free(w->listen_timer);
	loop_timer_free(w->leave_timer);
	loop_timer_free(w->end_timer);
	loop_timer_free(w->wake_timer);
	resolver_free(w->resolver);
	loop_free(w->loop);
}

/* signals are the master's; a terminal sends them to the whole group */
static void
ignore_signals(void)
{
	static const int ignored[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1,
	    SIGUSR2, SIGTTIN, SIGTTOU, SIGPIPE};

	for (size_t i = 0; i < COUNT_OF(ignored); i++)
		signal(ignored[i], SIG_IGN);
}

/* for a crash report */
static size_t
tell_requests(void)
{
	return httpd_tell_held(CRASH_SHOWN);
}

int
worker_main(const struct worker_env *env)
{
	struct worker w = {.env = env, .slot = &env->board->slots[env->slot]};
	struct err err = ERR_INIT;

	ignore_signals();
	if (fd_set_nonblock(env->control_fd, &err) != 0 || build(&w, &err) != 0) {
		log_error(NULL, "worker cannot start", "reason=\"%s\"", err.text);
		take_down(&w);
		/* bad settings stay bad; all else may pass */
		return err.code == ERR_INVALID ? WORKER_EXIT_CONFIG : 1;
	}
	crash_set_more(tell_requests);
	on_heartbeat(&w);
	loop_timer_start_ms(w.listen_timer, LISTEN_MS);
	if (loop_run(w.loop, &err) != 0) {
		log_error(NULL, "the event loop failed", "reason=\"%s\"", err.text);
		w.status = 1;
	}
	take_down(&w);
	log_info(NULL, "worker ended", "status=%d", w.status);
	return w.status;
}
