/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_run.c - a command run for one leased task after the other; see lease_run.h.
 *
 * One process, one task at a time.  The command reads the payload from a file in
 * memory and writes its result to another, so that neither side can wait for the
 * other.  Between looks at the child the lease is extended; who does not have it any
 * more has nothing to tell, and the command is ended.
 */
#include "cli/lease_run.h"

#include <errno.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/jscan.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/input.h"

#define LEASE_SIZE  80 /* two UUIDs and a dot */
#define TEXT_SIZE   300
#define WAIT_MS	    50000
#define GRACE_MS    10000
#define PAUSE_MS    1000
#define RESULT_MOST (4UL << 20) /* a node takes no more, whatever it is told */
#define BODY_MOST   (RESULT_MOST * 6 + 4096)

struct run {
	struct cli *cli;
	const struct lease_ask_opts *opts;
	const char *command;
	sigset_t signals; /* blocked while a task is held, and waited for */
	bool ending;
	uint64_t done;
};

/* what is known of the task under way */
struct held {
	char lease[LEASE_SIZE], fence[TEXT_SIZE];
	char id[64], type[TEXT_SIZE], queue[TEXT_SIZE], trace[TEXT_SIZE];
	int64_t attempt, max_attempts;
	int input, output; /* -1: none */
	bool lost;	   /* it is somebody else's now */
	bool cancelled;
};

/* ---------------------------------------------------------------- requests */

void
lease_ask_body(
    const struct args *a, const struct lease_ask_opts *o, struct strbuf *body)
{
	const char *type, *worker = args_text(a, "worker");
	char host[64] = "", name[100];
	size_t cursor = 0;
	struct jsonw w;

	if (worker == NULL) {
		(void)gethostname(host, sizeof(host) - 1);
		snprintf(name, sizeof(name), "shoal %.60s:%ld", host, (long)getpid());
		worker = name;
	}
	jsonw_init(&w, body);
	jsonw_object(&w);
	jsonw_key(&w, "queues");
	jsonw_array(&w);
	for (size_t i = 0; i < o->queue_count; i++)
		jsonw_string(&w, o->queues[i]);
	jsonw_end(&w);
	if (args_has(a, "type")) {
		jsonw_key(&w, "types");
		jsonw_array(&w);
		while ((type = args_next(a, "type", &cursor)) != NULL)
			jsonw_string(&w, type);
		jsonw_end(&w);
	}
	jsonw_member_int(&w, "max", o->max);
	input_put_seconds(&w, "wait", o->wait_ms);
	input_put_seconds(&w, "ttl", o->ttl_ms);
	jsonw_member_string(&w, "worker", worker);
	jsonw_end(&w);
}

/* 0: *answer is the caller's; else there is none, err says why */
static int
tell(const struct run *r, const struct held *h, const char *verb,
    const struct strbuf *body, struct client_answer *answer, struct err *err)
{
	char path[160];

	if (strbuf_failed(body))
		return err_set(err, ERR_LIMIT, "what is to be sent is too long");
	snprintf(path, sizeof(path), "/v1/leases/%s%s", h->lease, verb);
	return client_call(
	    r->cli->client, "POST", path, body->data, body->len, ASK_MS, answer, err);
}

/* that it ended so; said again while nobody answers, since a lease ends once */
static void
tell_end(const struct run *r, const struct held *h, const char *verb,
    const struct strbuf *body)
{
	const struct timespec pause = {.tv_sec = PAUSE_MS / 1000};
	struct client_answer answer;
	struct err err = ERR_INIT;

	for (int tries = 0; tries < 5; tries++) {
		if (tell(r, h, verb, body, &answer, &err) == 0) {
			bool passing = answer.status == 429 || answer.status >= 500;

			if (!passing && (answer.status < 200 || answer.status > 299))
				cli_problem(r->cli, &answer);
			client_answer_fini(&answer);
			if (!passing)
				return;
		}
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "shoal: lease: task %s: %s was not taken%s%s\n", h->id,
	    verb + 1, err.code != ERR_NONE ? ": " : "", err.text);
}

static void
extend(const struct run *r, struct held *h)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct json_object *doc;
	struct strbuf body;
	struct jsonw w;

	strbuf_init(&body, 256);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	input_put_seconds(&w, "ttl", r->opts->ttl_ms);
	jsonw_end(&w);
	/* one that is not answered is tried again soon, and there is time for two */
	if (tell(r, h, "/extend", &body, &answer, &err) == 0) {
		doc = answer_parse(answer.body, answer.len, NULL);
		h->lost = answer.status == 409 || answer.status == 404;
		h->cancelled = answer.status == 200 &&
			       json_object_get_boolean(answer_member(doc, "cancelled"));
		json_object_put(doc);
		client_answer_fini(&answer);
	}
	strbuf_fini(&body);
}

/* ---------------------------------------------------------------- the command */

static void
set_env(const char *name, const char *value)
{
	if (value[0] != '\0')
		(void)setenv(name, value, 1);
	else
		(void)unsetenv(name);
}

static void
become_command(const struct run *r, const struct held *h)
{
	char number[24];
	sigset_t none;

	set_env("SHOAL_TASK_ID", h->id);
	set_env("SHOAL_TYPE", h->type);
	set_env("SHOAL_QUEUE", h->queue);
	set_env("SHOAL_FENCE", h->fence);
	set_env("SHOAL_LEASE", h->lease);
	set_env("TRACEPARENT", h->trace);
	snprintf(number, sizeof(number), "%lld", (long long)h->attempt);
	set_env("SHOAL_ATTEMPT", number);
	snprintf(number, sizeof(number), "%lld", (long long)h->max_attempts);
	set_env("SHOAL_MAX_ATTEMPTS", number);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	/* a group of its own, so that all of it can be ended */
	if (setpgid(0, 0) != 0 || dup2(h->input, STDIN_FILENO) == -1 ||
	    dup2(h->output, STDOUT_FILENO) == -1)
		_exit(126);
	execl("/bin/sh", "sh", "-c", r->command, (char *)NULL);
	_exit(127);
}

/* a signal, or so much later */
static int
wait_signal(const struct run *r, int64_t ms)
{
	const struct timespec until = {
	    .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	return sigtimedwait(&r->signals, NULL, &until);
}

static void
end_command(const struct run *r, pid_t pid, int *status)
{
	int64_t began_ms = clock_mono_ms();

	(void)kill(-pid, SIGTERM);
	while (waitpid(pid, status, WNOHANG) == 0) {
		if (clock_mono_ms() - began_ms >= GRACE_MS)
			(void)kill(-pid, SIGKILL);
		(void)wait_signal(r, 200);
	}
	(void)kill(-pid, SIGKILL); /* what it has left behind */
}

/* until the command has ended; its status, or -1 if it was ended by us */
static int
watch(struct run *r, struct held *h, pid_t pid)
{
	int64_t extend_ms = clock_mono_ms() + r->opts->ttl_ms / 3;
	int status = 0;

	for (;;) {
		pid_t ended = waitpid(pid, &status, WNOHANG);
		int64_t now_ms = clock_mono_ms();
		int signo;

		if (ended == pid)
			return status;
		if (now_ms >= extend_ms) {
			extend(r, h);
			extend_ms = now_ms + r->opts->ttl_ms / 3;
		}
		if (r->ending || h->lost || h->cancelled) {
			end_command(r, pid, &status);
			return -1;
		}
		signo = wait_signal(r, extend_ms - now_ms > 0 ? extend_ms - now_ms : 0);
		r->ending |= signo == SIGINT || signo == SIGTERM;
	}
}

/* what it wrote, at most RESULT_MOST bytes */
static void
read_output(int fd, struct strbuf *out)
{
	char *room;
	ssize_t n;

	if (lseek(fd, 0, SEEK_SET) != 0)
		return;
	while (out->len < RESULT_MOST && (room = strbuf_room(out, 65536)) != NULL) {
		n = read(fd, room, 65536);
		if (n <= 0)
			return;
		strbuf_grow(out, (size_t)n);
	}
}

static void
put_result(struct jsonw *w, const struct strbuf *out)
{
	struct jscan_limits limits = {.max_depth = 32};
	size_t len = out->len;
	struct jspan value;

	jsonw_key(w, "result");
	if (jscan_check(out->data, out->len, &limits, &value, NULL) == 0) {
		jsonw_raw(w, value.at, value.len);
		return;
	}
	while (len > 0 && out->data[len - 1] == '\n')
		len--;
	if (len == 0)
		jsonw_null(w);
	else
		jsonw_stringn(w, out->data, len);
}

static void
finish(const struct run *r, const struct held *h, int status)
{
	struct strbuf body, out;
	char message[160];
	struct jsonw w;

	strbuf_init(&body, BODY_MOST);
	strbuf_init(&out, RESULT_MOST + 65536);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		read_output(h->output, &out);
		put_result(&w, &out);
	} else {
		if (WIFSIGNALED(status))
			snprintf(message, sizeof(message),
			    "the command was ended by signal %d (%s)", WTERMSIG(status),
			    strsignal(WTERMSIG(status)));
		else
			snprintf(message, sizeof(message),
			    "the command ended with status %d", WEXITSTATUS(status));
		jsonw_member_string(&w, "code", "exit");
		jsonw_member_string(&w, "message", message);
	}
	jsonw_end(&w);
	tell_end(r, h,
	    WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "/complete" : "/fail",
	    &body);
	strbuf_fini(&out);
	strbuf_fini(&body);
}

static int
run_held(struct run *r, struct held *h)
{
	struct strbuf none;
	pid_t pid;
	int status;

	/* from here on a signal gives the task back before it ends us */
	(void)sigprocmask(SIG_BLOCK, &r->signals, NULL);
	pid = fork();
	if (pid == 0)
		become_command(r, h);
	if (pid == -1) {
		fprintf(stderr, "shoal: lease: fork: %s\n", strerror(errno));
		r->ending = true;
	}
	status = pid == -1 ? -1 : watch(r, h, pid);
	if (status != -1) {
		finish(r, h, status);
	} else if (h->lost) {
		fprintf(stderr,
		    "shoal: lease: task %s: the lease was lost, what was done does not "
		    "count\n",
		    h->id);
	} else {
		/* cancelled, it stays ended; otherwise it goes to another */
		strbuf_init(&none, 16);
		strbuf_puts(&none, "{}");
		tell_end(r, h, h->cancelled ? "/fail" : "/release", &none);
		strbuf_fini(&none);
	}
	r->done++;
	return pid == -1 ? CLI_FAILED : CLI_OK;
}

/* ---------------------------------------------------------------- one after the other
 */

static int
memory_file(const char *name, const char *bytes, size_t len)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	while (fd != -1 && len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n <= 0) {
			close(fd);
			return -1;
		}
		bytes += n;
		len -= (size_t)n;
	}
	if (fd != -1)
		(void)lseek(fd, 0, SEEK_SET);
	return fd;
}

static void
take_text(const struct jspan *object, const char *name, char *buf, size_t size)
{
	struct jspan value;

	if (!jspan_get(object, name, &value) ||
	    jspan_string(&value, buf, size, NULL, NULL) != 0)
		buf[0] = '\0';
}

/* 1: h is a task; 0: there was none; -1: err */
static int
read_lease(const struct client_answer *answer, struct held *h, struct err *err)
{
	struct jscan_limits limits = {.max_depth = 64};
	struct jspan top, leases, lease, task, payload, number;
	struct jwalk walk;

	memset(h, 0, sizeof(*h));
	h->input = h->output = -1;
	if (jscan_check(answer->body, answer->len, &limits, &top, err) != 0 ||
	    !jspan_get(&top, "leases", &leases))
		return err_set(err, ERR_INVALID, "the answer is no list of leases");
	jwalk_start(&walk, &leases);
	if (!jwalk_element(&walk, &lease))
		return 0;
	take_text(&lease, "lease", h->lease, sizeof(h->lease));
	take_text(&lease, "fence", h->fence, sizeof(h->fence));
	if (h->lease[0] == '\0' || !jspan_get(&lease, "task", &task) ||
	    !jspan_get(&task, "payload", &payload))
		return err_set(err, ERR_INVALID, "the answer's lease has no task");
	take_text(&task, "id", h->id, sizeof(h->id));
	take_text(&task, "type", h->type, sizeof(h->type));
	take_text(&task, "queue", h->queue, sizeof(h->queue));
	take_text(&task, "traceparent", h->trace, sizeof(h->trace));
	if (!jspan_get(&task, "attempt", &number) ||
	    jspan_i64(&number, &h->attempt, err) != 0 ||
	    !jspan_get(&task, "max_attempts", &number) ||
	    jspan_i64(&number, &h->max_attempts, err) != 0)
		return err_set(err, ERR_INVALID, "the answer's task has no attempt");
	h->input = memory_file("payload", payload.at, payload.len);
	h->output = memory_file("result", NULL, 0);
	if (h->input == -1 || h->output == -1)
		return err_errno(err, errno, "a file in memory");
	return 1;
}

/* asks for one task and runs it; the exit status, CLI_OK to go on */
static int
round_of(struct run *r, const struct strbuf *body)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct held *h;
	int rc = CLI_OK, got;

	if (client_call(r->cli->client, "POST", "/v1/leases", body->data, body->len,
		ASK_MS + WAIT_MS, &answer, &err) != 0 ||
	    answer.status == 429 || answer.status >= 500) {
		if (err.code == ERR_NONE)
			client_answer_fini(&answer);
		/* a node that restarts: whoever answers next is as good */
		r->ending |= wait_signal(r, PAUSE_MS) > 0;
		return CLI_OK;
	}
	if (answer.status != 200) {
		rc = cli_problem(r->cli, &answer);
		client_answer_fini(&answer);
		return rc;
	}
	h = mem_zero(sizeof(*h));
	got = h != NULL ? read_lease(&answer, h, &err)
			: err_set(&err, ERR_NOMEM, "a lease");
	client_answer_fini(&answer);
	if (got == 1)
		rc = run_held(r, h);
	else if (got < 0)
		rc = cli_error(r->cli, &err);
	if (h != NULL && h->input != -1)
		close(h->input);
	if (h != NULL && h->output != -1)
		close(h->output);
	mem_free(h);
	return rc;
}

int
lease_run(struct cli *cli, const struct lease_ask_opts *opts, const char *command,
    uint64_t count)
{
	struct lease_ask_opts o = *opts;
	struct run r = {.cli = cli, .opts = &o, .command = command};
	struct strbuf body;
	int rc;

	if ((rc = cli_connect(cli)) != 0)
		return rc;
	if (!args_has(&cli->args, "wait"))
		o.wait_ms = WAIT_MS;
	sigemptyset(&r.signals);
	sigaddset(&r.signals, SIGINT);
	sigaddset(&r.signals, SIGTERM);
	sigaddset(&r.signals, SIGCHLD);
	strbuf_init(&body, 64UL * 1024);
	lease_ask_body(&cli->args, &o, &body);
	if (strbuf_failed(&body))
		rc = cli_usage(cli, "the names are too long");
	while (rc == CLI_OK && !r.ending && (count == 0 || r.done < count)) {
		/* while it only waits for a task a signal may end it at once: a lease
		 * whose client has hung up goes back by itself */
		(void)sigprocmask(SIG_UNBLOCK, &r.signals, NULL);
		rc = round_of(&r, &body);
	}
	strbuf_fini(&body);
	return rc;
}
