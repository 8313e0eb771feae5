/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_top.c - shoal top: what the cluster does, again and again on a terminal.
 *
 * The frame is plain text (top.c), the same for a terminal as for --once.  On a
 * terminal it is written over the one before: six escape sequences that every terminal
 * has known for decades.  ncurses would do no more for a screen without windows, and
 * would be one library more in a server's package and image.
 *
 * Signals are let in only while it waits for a key, so that what is noted is seen.
 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/top.h"

#define FRAME_MOST  (1u << 20)
#define PATIENCE_MS 5000
#define LEAST_MS    500
#define MOST_MS	    3600000

/* cursor home, line by line, and what is left of the old frame away */
#define SCREEN_BEGIN "\033[?1049h\033[?25l"
#define SCREEN_END   "\033[?25h\033[?1049l"
#define HOME	     "\033[H"
#define LINE_REST    "\033[K"
#define SCREEN_REST  "\033[J"

struct top {
	struct cli *cli;
	struct top_view view;
	int64_t interval_ms;
	struct json_object *doc; /* the last answer; NULL: none yet */
	char notice[400];
	struct termios before;
};

static volatile sig_atomic_t end_signal;

static void
on_end(int signo)
{
	end_signal = signo;
}

/* the wait for a key ends: the frame is drawn anew */
static void
on_resize(int signo)
{
	(void)signo;
}

/* ---------------------------------------------------------------- asking */

/* 0: t->doc is new; else an exit status, and what was wrong is said */
static int
ask_once(struct top *t)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	int rc = CLI_OK;

	if (client_call(t->cli->client, "GET", "/api/overview", NULL, 0, PATIENCE_MS,
		&answer, &err) != 0)
		return cli_error(t->cli, &err);
	if (answer.status != 200) {
		rc = cli_problem(t->cli, &answer);
	} else if (t->cli->json) {
		cli_put_json(answer.body, answer.len);
	} else {
		json_object_put(t->doc);
		t->doc = answer_parse(answer.body, answer.len, &err);
		if (t->doc == NULL)
			rc = cli_error(t->cli, &err);
	}
	client_answer_fini(&answer);
	return rc;
}

/* an answer that does not come is a line of the next frame, and the old one stays */
static void
ask_again(struct top *t)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct json_object *doc = NULL;

	t->view.notice = NULL;
	if (client_call(t->cli->client, "GET", "/api/overview", NULL, 0, PATIENCE_MS,
		&answer, &err) == 0) {
		doc = answer_parse(answer.body, answer.len, &err);
		if (answer.status != 200) {
			err_set(&err, ERR_IO, "%d %s", answer.status,
			    answer_text(doc, "code") != NULL ? answer_text(doc, "code")
							     : "error");
			json_object_put(doc);
			doc = NULL;
		}
		client_answer_fini(&answer);
	}
	if (doc != NULL) {
		json_object_put(t->doc);
		t->doc = doc;
		return;
	}
	snprintf(t->notice, sizeof(t->notice), "no answer: %.380s", err.text);
	t->view.notice = t->notice;
}

/* ---------------------------------------------------------------- terminal */

static int
from_env(const char *name, int otherwise)
{
	const char *text = getenv(name);
	int64_t n;

	return text != NULL && str_to_i64(text, &n) == 0 && n > 0 && n < 10000
		   ? (int)n
		   : otherwise;
}

static void
measure(struct top *t, bool terminal)
{
	struct winsize ws;

	if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 &&
	    ws.ws_row > 0) {
		t->view.width = ws.ws_col;
		t->view.height = ws.ws_row;
	} else {
		t->view.width = from_env("COLUMNS", 80);
		t->view.height = terminal ? from_env("LINES", 24) : 0;
	}
}

static void
draw(struct top *t)
{
	struct strbuf frame;
	const char *at, *end;

	measure(t, true);
	strbuf_init(&frame, FRAME_MOST);
	/* the last line stays free: a newline there would scroll */
	t->view.height -= 1;
	if (t->doc != NULL)
		top_frame(&frame, t->doc, &t->view);
	else
		strbuf_puts(
		    &frame, t->view.notice != NULL ? t->view.notice : "asking ...");
	fputs(HOME, stdout);
	for (at = frame.data; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		fwrite(at, 1, (size_t)(end - at), stdout);
		fputs(LINE_REST "\r\n", stdout);
	}
	fputs(at, stdout);
	fputs(SCREEN_REST, stdout);
	(void)fflush(stdout);
	strbuf_fini(&frame);
}

static int
enter(struct top *t)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &t->before) != 0)
		return -1;
	raw = t->before;
	raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* the screen would stay as it is */
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0)
		return -1;
	fputs(SCREEN_BEGIN, stdout);
	return 0;
}

static void
leave(const struct top *t)
{
	fputs(SCREEN_END, stdout);
	(void)fflush(stdout);
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
}

/* false: it ends */
static bool
on_key(struct top *t, char key, bool *ask)
{
	switch (key) {
	case 'q':
	case 'Q':
		return false;
	case 'p':
	case ' ':
		t->view.paused = !t->view.paused;
		break;
	case 's':
		t->view.sort = (enum top_sort)((t->view.sort + 1) % TOP_SORT_COUNT);
		break;
	case 'r':
		*ask = true;
		break;
	default:
		break;
	}
	return true;
}

static int
watch(struct top *t)
{
	struct sigaction sa = {.sa_handler = on_end};
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};
	sigset_t blocked, waiting;
	int64_t next_ms = clock_mono_ms();
	bool go_on = true;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGWINCH);
	(void)sigprocmask(SIG_BLOCK, &blocked, &waiting);
	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGHUP, &sa, NULL);
	sa.sa_handler = on_resize;
	(void)sigaction(SIGWINCH, &sa, NULL);
	while (go_on && end_signal == 0 && !ferror(stdout)) {
		int64_t now_ms = clock_mono_ms(), left_ms;
		struct timespec ts;
		char keys[16];
		ssize_t n;
		bool ask = false;

		if (now_ms >= next_ms && !t->view.paused) {
			ask_again(t);
			next_ms = now_ms + t->interval_ms;
		}
		draw(t);
		left_ms = t->view.paused ? t->interval_ms : next_ms - clock_mono_ms();
		if (left_ms < 0)
			left_ms = 0;
		ts.tv_sec = left_ms / 1000;
		ts.tv_nsec = left_ms % 1000 * 1000000;
		if (ppoll(&pfd, 1, &ts, &waiting) <= 0)
			continue;
		n = read(STDIN_FILENO, keys, sizeof(keys));
		go_on = n > 0; /* the terminal is gone */
		for (ssize_t i = 0; i < n && go_on; i++)
			go_on = on_key(t, keys[i], &ask);
		if (ask)
			next_ms = 0;
	}
	return CLI_OK;
}

/* ---------------------------------------------------------------- command */

static int
show_once(struct top *t)
{
	struct strbuf frame;
	int rc = ask_once(t);

	if (rc != CLI_OK || t->cli->json)
		return rc;
	measure(t, false);
	strbuf_init(&frame, FRAME_MOST);
	top_frame(&frame, t->doc, &t->view);
	fputs(frame.data, stdout);
	strbuf_fini(&frame);
	return CLI_OK;
}

/* a document a line, for programs */
static int
stream_json(struct top *t)
{
	const struct timespec pause = {.tv_sec = t->interval_ms / 1000,
	    .tv_nsec = t->interval_ms % 1000 * 1000000};
	int rc;

	while ((rc = ask_once(t)) == CLI_OK && fflush(stdout) == 0)
		nanosleep(&pause, NULL);
	return rc;
}

static int
run(struct cli *cli)
{
	const char *term = getenv("TERM"), *sort = args_text(&cli->args, "sort");
	struct top t = {.cli = cli, .interval_ms = 2000};
	bool once = args_has(&cli->args, "once");
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 0, 0)) != 0)
		return rc;
	if (args_duration_ms(&cli->args, "interval", MOST_MS, &t.interval_ms, &err) !=
	    0)
		return cli_usage(cli, "%s", err.text);
	if (t.interval_ms < LEAST_MS)
		return cli_usage(cli, "--interval: 500ms at least");
	if (sort != NULL && top_sort_parse(sort, &t.view.sort) != 0)
		return cli_usage(
		    cli, "--sort: waiting, running, oldest or name, not '%s'", sort);
	if (!once && !cli->json &&
	    (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || term == NULL ||
		str_eq(term, "dumb")))
		return cli_usage(
		    cli, "this is no terminal; --once shows one frame, --json all");
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	if (once) {
		rc = show_once(&t);
	} else if (cli->json) {
		rc = stream_json(&t);
	} else if ((rc = ask_once(&t)) == CLI_OK) {
		/* what is wrong from the beginning was said before the screen is taken
		 */
		t.view.ansi = true;
		if (enter(&t) != 0)
			return cli_usage(cli, "the terminal: %s", strerror(errno));
		rc = watch(&t);
		leave(&t);
	}
	json_object_put(t.doc);
	return rc;
}

static const struct args_option options[] = {
    {'1', "once", ARGS_FLAG, NULL, "Print one frame and end."},
    {'i', "interval", ARGS_VALUE, "DURATION", "Between frames. Default: 2s."},
    {'s', "sort", ARGS_VALUE, "KEY",
	"Queues by waiting (default), running, oldest or name."},
    {.name = NULL},
};

const struct cli_command cli_top = {
    .name = "top",
    .usage = "",
    .summary = "Shows what the cluster does, and goes on showing it.",
    .help = "Rates of the last seconds, nodes, queues, the tasks that run longest and "
	    "those that wait\n"
	    "longest.  A number behind ~ is an estimate.  Keys: q ends, p pauses, s "
	    "sorts queues by the\n"
	    "next key, r asks at once.  With --json each frame is a line of JSON.",
    .needs = CLI_PORTAL,
    .options = options,
    .run = run,
};
