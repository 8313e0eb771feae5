/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * master.c - the process that holds the sockets and keeps the others alive.
 *
 * It owns the listeners, the spawners' doors, the scoreboard, the workers, the helpers
 * and the control socket, and nothing else: no libevent, no PostgreSQL, no Redis, no
 * HTTP.  Signals are only noted when they are read (signals.c); every decision is made
 * in decide(), once a turn, from top to bottom, and the arithmetic of one process's
 * life is in slot.c.
 *
 * The master never waits for anybody: every descriptor is non-blocking, every process
 * has a deadline, and what a worker says is looked at, not believed.
 */
#include "config.h"
#include "master/node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "proc/procutil.h"
#include "proc/spawner.h"

#define TURN_MAX_MS   1000 /* heartbeats and counters are looked at this often */
#define TURN_START_MS 20   /* while a worker starts: it cannot tell us otherwise */
#define SLEPT_MS      2000 /* a turn this long means that we were stopped ourselves */
#define CHECK_MS      1000
#define END_MS	      1000 /* between an order to leave at once and KILL */

/* ---- decisions ---------------------------------------------------------------------
 */

/* if we were stopped or starved ourselves, silence is no proof against the others */
static void
excuse_silence(struct master *m, int64_t before_ms)
{
	if (m->now_ms - before_ms < SLEPT_MS)
		return;
	log_warn(NULL, "the master was held up", "ms=%lld",
	    (long long)(m->now_ms - before_ms));
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		slot_on_heartbeat(&m->workers[i].slot, m->now_ms);
	for (size_t i = 0; i < HELPERS; i++)
		slot_on_heartbeat(&m->helpers[i].slot, m->now_ms);
}

static void
stop_one(struct master *m, size_t i, enum stop_mode mode)
{
	const struct settings *s = m->workers[i].gen->settings;

	switch (mode) {
	case STOP_NO:
		break;
	case STOP_HANDED:
		/* the sockets live on: nobody has to be told to go elsewhere */
		worker_leave(m, i, WORKER_RETIRE, "a new master took over",
		    s->node_shutdown_timeout_ms + STOP_MARGIN_MS);
		break;
	case STOP_QUIT:
		worker_leave(m, i, WORKER_QUIT, "the node stops", 0);
		break;
	case STOP_TERM:
		worker_leave(m, i, WORKER_TERM, "the node stops",
		    s->node_drain_delay_ms + s->node_shutdown_timeout_ms +
			STOP_MARGIN_MS);
		break;
	case STOP_INT:
		worker_leave(m, i, WORKER_INT, "the node stops",
		    s->node_shutdown_timeout_ms + STOP_MARGIN_MS);
		break;
	case STOP_NOW:
		worker_leave(m, i, WORKER_END, "the node stops at once", END_MS);
		break;
	}
}

static void
obey_stop(struct master *m)
{
	static const char *const how[] = {
	    "no", "handed-over", "quit", "term", "int", "now"};
	struct helper *migrator = &m->helpers[HELPER_OF_SCHEMA];
	bool handed;

	if (m->requests.stop <= m->stop)
		return;
	handed = m->upgrade.step == UPGRADE_DONE;
	m->stop = m->requests.stop;
	log_info(NULL, "stopping", "how=%s", how[m->stop]);
	proctitle_set("shoald: master, %s", handed ? "replaced" : "stopping");
	/* what still comes to us belongs to a node that goes on */
	if (m->before.channel != -1)
		(void)handover_send(m->before.channel, -1, NULL, "hurry");
	if (!handed) {
		atomic_store(&m->board->mode, NODE_MODE_LEAVE);
		atomic_store(&m->board->draining, 1);
	}
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (m->workers[i].gen != NULL)
			stop_one(m, i, m->stop);
	/* spawners leave after the last worker (spawners_end) */
	(void)slot_on_leave(&migrator->slot, "the node stops", END_MS, m->now_ms);
	if (migrator->pid != 0)
		(void)kill(migrator->pid, SIGTERM);
}

void
master_give_up(struct master *m, const struct generation *g)
{
	if (g != NULL && g != m->newest)
		return; /* another configuration takes over already */
	if (g != NULL && m->serving != NULL && g != m->serving) {
		/* only the new configuration is hopeless: the old one goes on */
		log_error(NULL,
		    "the new configuration does not work, the old one stays",
		    "generation=%u", g->number);
		atomic_fetch_add(&m->board->reload_failures, 1);
		m->newest = m->serving;
		m->wanted_workers = settings_worker_count(m->serving->settings);
		atomic_store(&m->board->generation, m->newest->number);
		log_set_level(
		    score_log_level(m->board, m->serving->settings->log_level));
		m->requests.change = m->newest->idle != (m->mode != NODE_MODE_WORK);
		return; /* staff_take_over ends its workers */
	}
	if (m->stop == STOP_NO)
		log_error(NULL,
		    "cannot run, and trying again will not help: the node stops",
		    "exit_status=%d", WORKER_EXIT_CONFIG);
	m->exit_status = WORKER_EXIT_CONFIG;
	if (m->requests.stop < STOP_INT)
		m->requests.stop = STOP_INT;
}

static void
chown_file(const struct master *m, const char *path)
{
	if (chown(path, m->user.uid, m->user.gid) != 0 && errno != ENOENT)
		log_warn(NULL, "cannot give a log to the workers' user",
		    "path=%s reason=\"%s\"", path, strerror(errno));
}

void
chown_logs(const struct master *m)
{
	const struct settings *s = m->newest->settings;
	int fd;

	/* workers open them by themselves, as their own user */
	if (!m->user.change || geteuid() != 0)
		return;
	if (s->log_file[0] == '/')
		chown_file(m, s->log_file);
	if (s->log_access[0] != '/')
		return;
	/* whom the directory belongs to only we may make it there */
	fd = open(
	    s->log_access, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd != -1)
		close(fd);
	chown_file(m, s->log_access);
}

static void
obey_reopen(struct master *m)
{
	struct err err = ERR_INIT;

	if (!m->requests.reopen)
		return;
	m->requests.reopen = false;
	if (log_reopen(&err) != 0)
		log_error(NULL, "cannot reopen the log", "reason=\"%s\"", err.text);
	chown_logs(m);
	workers_order(m, WORKER_REOPEN);
}

/* a place is needed: the oldest that leaves keeps nothing for idle clients any more */
static void
hurry_oldest(struct master *m)
{
	const struct generation *g = TAILQ_FIRST(&m->generations);

	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (m->workers[i].gen == g && m->workers[i].lingers &&
		    !m->workers[i].hurried)
			worker_hurry(m, i);
}

void
master_set_mode(struct master *m, enum node_mode mode)
{
	m->mode = mode;
	atomic_store(&m->board->mode, mode);
	atomic_store(&m->board->draining, mode == NODE_MODE_DRAIN);
	m->requests.change = true;
}

static void
obey_reload(struct master *m)
{
	/* (during an upgrade they wait: for the new master, or for its failure) */
	if ((!m->requests.reload && !m->requests.change) || m->stop != STOP_NO ||
	    m->upgrade.step != UPGRADE_NO || m->now_ms < m->reload_after_ms)
		return;
	if (generations_count(m) >= GENERATIONS_MAX) {
		hurry_oldest(m);
		return; /* until one has ended */
	}
	if (m->requests.reload)
		master_reload(m); /* (in the mode of now) */
	m->requests.reload = false;
	if (!m->requests.change)
		return;
	m->requests.change = false;
	if (generations_count(m) < GENERATIONS_MAX)
		master_change(m);
	else
		m->requests.change = true;
}

/* who lingers is out of the cluster; in an upgrade those who are not are another's */
static void
obey_hint(struct master *m)
{
	if (!m->requests.hint)
		return;
	m->requests.hint = false;
	if (m->upgrade.step != UPGRADE_DONE)
		workers_hint(m);
	else if (m->upgrade.channel != -1)
		(void)handover_send(m->upgrade.channel, -1, NULL, "hint");
}

/* what PostgreSQL's orders ask for; each once */
static void
obey_order(struct master *m)
{
	uint64_t order = atomic_load(&m->board->order);
	enum node_mode mode = score_order_mode(order);

	if (m->stop != STOP_NO || score_order_number(order) <= m->order_seen)
		return;
	m->order_seen = score_order_number(order);
	if (mode >= NODE_MODE_COUNT) {
		log_error(NULL, "an order that this version does not know", "mode=%d",
		    (int)mode);
		return;
	}
	log_info(NULL, "ordered", "mode=%s was=%s", node_mode_name(mode),
	    node_mode_name(m->mode));
	if (mode == NODE_MODE_LEAVE) {
		if (m->requests.stop < STOP_TERM)
			m->requests.stop = STOP_TERM;
		return;
	}
	master_set_mode(m, mode);
}

/* what the workers tell through the scoreboard */
static void
watch(struct master *m)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		struct worker *w = &m->workers[i];
		struct score_slot *score = &m->board->slots[i];
		int64_t beat = atomic_load(&score->heartbeat_ms);

		if (w->pid == 0)
			continue;
		slot_on_heartbeat(&w->slot, beat < m->now_ms ? beat : m->now_ms);
		if (atomic_load(&score->state) == SCORE_LINGERING && !w->lingers &&
		    w->slot.state == SLOT_LEAVING) {
			/* nothing of it is in anybody's way: it has as long as clients
			 * may be idle */
			w->lingers = true;
			(void)slot_on_leave(&w->slot, w->slot.why,
			    w->gen->settings->http_idle_timeout_ms + STOP_MARGIN_MS,
			    m->now_ms);
		}
		if (atomic_load(&score->state) == SCORE_READY &&
		    slot_on_ready(&w->slot, m->now_ms))
			log_info(NULL, "worker ready", "worker=%zu pid=%ld ms=%lld", i,
			    (long)w->pid, (long long)(m->now_ms - w->slot.started_ms));
	}
	for (size_t i = 0; i < HELPERS; i++) {
		struct helper *h = &m->helpers[i];
		int64_t beat = h->pid != 0 ? atomic_load(h->beat_ms) : 0;

		if (beat == 0)
			continue; /* one that only does its work */
		(void)slot_on_ready(&h->slot, m->now_ms);
		slot_on_heartbeat(&h->slot, beat < m->now_ms ? beat : m->now_ms);
	}
}

/* what the clock says about each process */
static void
act_on_slots(struct master *m)
{
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		struct worker *w = &m->workers[i];

		switch (slot_action(&w->slot, m->now_ms)) {
		case SLOT_WAIT:
			break;
		case SLOT_SPAWN:
			worker_spawn(m, i);
			break;
		case SLOT_ABORT:
			(void)slot_on_aborted(&w->slot, m->now_ms);
			log_error(NULL, "worker does not respond, aborting it",
			    "worker=%zu pid=%ld reason=\"%s\"", i, (long)w->pid,
			    w->slot.why);
			(void)kill(w->pid, SIGABRT);
			break;
		case SLOT_KILL:
			(void)slot_on_killed(
			    &w->slot, "did not leave in time", m->now_ms);
			log_error(NULL, "worker does not end, killing it",
			    "worker=%zu pid=%ld reason=\"%s\"", i, (long)w->pid,
			    w->slot.why);
			(void)kill(w->pid, SIGKILL);
			break;
		}
		if (w->gen != NULL && w->slot.state == SLOT_EMPTY)
			w->gen = NULL;
	}
}

static void
leave_for_helper(int door, void *arg)
{
	master_leave(arg, NULL, door);
}

static void
act_on_helpers(struct master *m)
{
	for (size_t i = 0; i < HELPERS; i++) {
		struct helper *h = &m->helpers[i];
		const struct generation *g = spawner_generation(m, i);
		const struct helper_env env = {
		    .settings = g != NULL ? g->settings : m->newest->settings,
		    .user = &m->user,
		    .migrate = m->opts.migrate,
		    .node = m->board->node_text,
		    .beat_ms = &m->board->helper_beats_ms[i],
		    .door = g != NULL ? g->door[SPAWNER_INSIDE] : -1,
		    .leave = leave_for_helper,
		    .leave_arg = m,
		};

		switch (slot_action(&h->slot, m->now_ms)) {
		case SLOT_WAIT:
			break;
		case SLOT_SPAWN:
			helper_spawn(h, &env, m->now_ms);
			break;
		case SLOT_ABORT:
		case SLOT_KILL:
			log_error(NULL, "helper does not respond, killing it",
			    "helper=%s pid=%ld", helper_name(h), (long)h->pid);
			(void)slot_on_killed(&h->slot,
			    h->slot.wanted ? "no sign of life"
					   : "did not leave in time",
			    m->now_ms);
			(void)kill(h->pid, SIGKILL);
			break;
		}
	}
}

static void
decide(struct master *m)
{
	int64_t before_ms = m->now_ms;

	m->now_ms = clock_mono_ms();
	excuse_silence(m, before_ms);
	workers_reap(m);
	workers_bury(m);
	upgrade_turn(m);
	succession_turn(m);
	obey_hint(m);
	obey_order(m);
	obey_stop(m);
	obey_reopen(m);
	obey_upgrade(m);
	obey_reload(m);
	watch(m);
	staff_keep_count(m);
	staff_take_over(m);
	staff_recycle(m);
	/* the spawner before its workers: it inherits the least */
	act_on_helpers(m);
	act_on_slots(m);
	spawners_end(m);
	generations_sweep(m);
	if (m->now_ms - m->checked_ms >= CHECK_MS) {
		m->checked_ms = m->now_ms;
		log_flush();
		workers_check(m);
	}
	announce_turn(m);
}

/* ---- the loop ----------------------------------------------------------------------
 */

static bool
is_over(const struct master *m)
{
	if (m->stop == STOP_NO)
		return false;
	for (size_t i = 0; i < SCORE_SLOTS; i++)
		if (m->workers[i].pid != 0)
			return false;
	for (size_t i = 0; i < HELPERS; i++)
		if (m->helpers[i].pid != 0)
			return false;
	/* one that has taken over is nobody's to wait for */
	return m->upgrade.pid == 0 || m->upgrade.step == UPGRADE_DONE;
}

static int
turn_timeout_ms(const struct master *m)
{
	int64_t until = m->now_ms + TURN_MAX_MS, control = control_deadline(m->control);

	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		const struct slot *s = &m->workers[i].slot;

		if (slot_deadline(s) < until)
			until = slot_deadline(s);
		if (s->state == SLOT_STARTING && m->now_ms + TURN_START_MS < until)
			until = m->now_ms + TURN_START_MS;
	}
	for (size_t i = 0; i < HELPERS; i++)
		if (slot_deadline(&m->helpers[i].slot) < until)
			until = slot_deadline(&m->helpers[i].slot);
	/* (an answer wakes us; what a dead spawner left is to be looked at) */
	if (rites_wait(m) && m->now_ms + TURN_START_MS < until)
		until = m->now_ms + TURN_START_MS;
	if (control < until)
		until = control;
	if (m->upgrade.step != UPGRADE_NO && m->upgrade.step != UPGRADE_DONE &&
	    m->upgrade.deadline_ms < until)
		until = m->upgrade.deadline_ms;
	if (m->notify.watchdog_ms > 0 && m->watchdog_at_ms < until)
		until = m->watchdog_at_ms;
	return until > m->now_ms ? (int)(until - m->now_ms) : 0;
}

/* a worker may write a byte to say that there is something to see; what, the scoreboard
 * tells, but for a hint */
static void
read_news(struct master *m, struct worker *w)
{
	char bytes[64];
	ssize_t n;

	do {
		n = recv(w->order_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0 && memchr(bytes, NEWS_HINT, (size_t)n) != NULL)
			m->requests.hint = true;
	} while (n == sizeof(bytes));
	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		w->order_eof = true; /* its death comes by SIGCHLD */
}

static void
wait_for_news(struct master *m)
{
	struct pollfd fds[1 + CONTROL_FDS + SCORE_SLOTS + HELPERS + 2];
	size_t slot_of[SCORE_SLOTS], n = 0, all;
	/* while the node is the old master's, it answers */
	struct control *control = m->before.waits ? NULL : m->control;

	fds[0] = (struct pollfd){.fd = m->signal_fd, .events = POLLIN};
	control_fds(control, fds + 1);
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		if (m->workers[i].order_fd == -1 || m->workers[i].order_eof)
			continue;
		fds[1 + CONTROL_FDS + n] =
		    (struct pollfd){.fd = m->workers[i].order_fd, .events = POLLIN};
		slot_of[n++] = i;
	}
	all = 1 + CONTROL_FDS + n;
	/* answers are read by workers_bury, and asked for only then; an end comes by
	 * SIGCHLD */
	for (size_t i = 0; rites_wait(m) && i < HELPERS; i++)
		if (m->helpers[i].control_fd != -1)
			fds[all++] = (struct pollfd){
			    .fd = m->helpers[i].control_fd, .events = POLLIN};
	/* (-1 is left out; what they say is heard in the next turn) */
	fds[all++] = (struct pollfd){.fd = m->upgrade.channel, .events = POLLIN};
	fds[all++] = (struct pollfd){.fd = m->before.channel, .events = POLLIN};
	if (poll(fds, all, turn_timeout_ms(m)) == -1)
		return; /* (after a mere timeout a client may have to be given up) */
	if (fds[0].revents != 0)
		signals_read(m);
	for (size_t i = 0; i < n; i++)
		if (fds[1 + CONTROL_FDS + i].revents != 0)
			read_news(m, &m->workers[slot_of[i]]);
	control_turn(control, fds + 1, clock_mono_ms());
}

int
master_run(struct master *m, struct err *err)
{
	const struct settings *s = m->newest->settings;

	m->board->master_pid = getpid(); /* (daemonize changed it) */
	if (s->node_pid_file[0] != '\0' && !m->before.waits &&
	    pidfile_write(s->node_pid_file, &m->pid_fd, err) != 0)
		return -1;
	if (signals_catch(m, err) != 0)
		return -1;
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
		return err_errno(err, errno, "becoming the subreaper");
	if (crash_watch(err) != 0)
		return -1;
	process_protect();
	proctitle_set("shoald: master%s%s", m->opts.title != NULL ? ", " : "",
	    m->opts.title != NULL ? m->opts.title : "");
	log_identity("master");
	m->started_ms = m->checked_ms = m->now_ms = clock_mono_ms();
	log_info(NULL, "node starts", "node=%s version=%s pid=%ld workers=%d",
	    m->board->node_text, PACKAGE_VERSION, (long)getpid(), m->wanted_workers);
	for (size_t i = 0; i < m->newest->listen.count; i++) {
		char text[ADDR_TEXT_SIZE];

		log_info(NULL, "listening", "audience=%s addr=%s",
		    audience_name(m->newest->listen.list[i].audience),
		    listen_set_address(&m->newest->listen, i, text));
	}
	if (m->opts.migrate != NULL)
		(void)slot_on_wanted(&m->helpers[HELPER_OF_SCHEMA].slot, m->now_ms);
	else
		atomic_store(&m->board->schema_ready, 1);

	for (;;) {
		decide(m);
		if (is_over(m))
			break;
		wait_for_news(m);
	}
	if (m->before.waits)
		handover_failed(
		    m->before.channel, "its workers cannot run: see the log");
	/* everybody has left: what is still our child is nobody's */
	strays_kill(m);
	log_info(NULL, "node stopped", "node=%s exit_status=%d", m->board->node_text,
	    m->exit_status);
	return m->exit_status;
}

static bool
master_answer(const char *command, struct strbuf *out, void *master)
{
	return master_log_level_answer(command, out, master) ||
	       master_status_answer(command, out, master);
}

/* ---- making and ending -------------------------------------------------------------
 */

/* those of an old master, or of systemd */
static int
take_sockets(struct master *m, struct inheritance *in, struct err *err)
{
	m->mode = in->mode;
	atomic_store(&m->board->mode, in->mode);
	atomic_store(&m->board->draining, in->mode == NODE_MODE_DRAIN);
	m->before.channel = in->channel;
	m->before.waits = in->channel != -1;
	m->before.had_redis = in->redis;
	m->before.pid = getppid();
	(void)str_copy(m->before.pid_path, sizeof(m->before.pid_path), in->pid_path);
	for (size_t i = 0; i < in->count; i++) {
		struct inherited socket = in->sockets[i];

		in->sockets[i].fd = -1;
		if (listeners_offer(m->listeners, &socket, err) != 0)
			return -1;
	}
	return 0;
}

static int
make_control(struct master *m, struct inheritance *in, struct err *err)
{
	const char *path = m->newest->settings->node_control_socket;
	int fd;

	if (path[0] == '\0')
		return 0;
	m->before.keeps_control =
	    in != NULL && in->control != -1 && str_eq(path, in->control_path);
	if (m->before.keeps_control) {
		fd = in->control;
		in->control = -1;
		m->control = control_adopt(path, fd, master_answer, m, err);
	} else
		m->control = control_open(path, master_answer, m, err);
	return m->control != NULL ? 0 : -1;
}

struct master *
master_create(const struct master_opts *opts, struct err *err)
{
	struct master *m = mem_zero(sizeof(*m));
	struct settings *settings = opts->settings;
	struct inheritance *in = opts->inheritance;

	if (m == NULL) {
		settings_free(settings);
		err_set(err, ERR_NOMEM, "master");
		return NULL;
	}
	m->opts = *opts;
	m->opts.settings = NULL;
	m->signal_fd = m->pid_fd = -1;
	m->upgrade.channel = m->before.channel = m->notify.fd = -1;
	m->recycle_old = m->recycle_new = NO_SLOT;
	TAILQ_INIT(&m->generations);
	for (size_t i = 0; i < SCORE_SLOTS; i++) {
		static const struct slot_rules none;

		slot_init(&m->workers[i].slot, &none);
		m->workers[i].order_fd = -1;
	}
	for (size_t i = 0; i < HELPERS; i++)
		helper_init(&m->helpers[i],
		    i == HELPER_OF_SCHEMA ? HELPER_MIGRATOR : HELPER_SPAWNER, 0);

	m->board = scoreboard_create(err);
	if (m->board != NULL)
		log_node(m->board->node_text);
	m->listeners = m->board != NULL ? listeners_create(err) : NULL;
	if (m->listeners == NULL || process_user_lookup(settings, &m->user, err) != 0) {
		settings_free(settings);
		goto fail;
	}
	if (in != NULL && take_sockets(m, in, err) != 0) {
		settings_free(settings);
		goto fail;
	}
	if (generation_add(m, settings, err) != 0 ||
	    listeners_check_offers(m->listeners, err) != 0)
		goto fail;
	m->wanted_workers = settings_worker_count(m->newest->settings);
	if (notify_open(&m->notify, m->before.channel != -1, err) != 0 ||
	    make_control(m, in, err) != 0)
		goto fail;
	chown_logs(m);
	return m;
fail:
	m->before.channel = -1; /* the caller's, who has something to say there */
	master_free(m);
	return NULL;
}

void
master_free(struct master *m)
{
	if (m == NULL)
		return;
	if (m->pid_fd != -1)
		pidfile_remove(m->newest->settings->node_pid_file, m->pid_fd);
	control_close(m->control);
	notify_close(&m->notify);
	if (m->upgrade.channel != -1)
		close(m->upgrade.channel);
	if (m->before.channel != -1)
		close(m->before.channel);
	if (m->listeners != NULL)
		generations_free(m);
	listeners_free(m->listeners);
	scoreboard_free(m->board);
	if (m->signal_fd != -1) {
		close(m->signal_fd);
		(void)sigprocmask(SIG_SETMASK, &m->mask_before, NULL);
	}
	mem_free(m);
}
