/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wait.c - waiting for a task's end; see wait.h.
 *
 * Any node knows of any task, so a node that goes away meanwhile is no reason to give
 * up: a connection error is asked again after a pause, until the time is over.  Who
 * waits without a bound gives up when no node has answered for a minute.
 */
#include "cli/wait.h"

#include <json-c/json.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"

#define REQUEST_MS  15000 /* beyond the slice that the node waits */
#define PAUSE_MS    500
#define PATIENCE_MS 60000

static void
pause_ms(int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	(void)nanosleep(&ts, NULL); /* shorter is fine */
}

int
wait_tell(const struct cli *cli, const struct client_answer *answer)
{
	struct json_object *task = answer_parse(answer->body, answer->len, NULL),
			   *error;
	const char *state = answer_text(task, "state"), *id = answer_text(task, "id");
	const char *text;
	int rc = CLI_FAILED;

	if (cli->json)
		cli_put_json(answer->body, answer->len);
	if (str_eq(state != NULL ? state : "", "succeeded")) {
		rc = CLI_OK;
		if (!cli->json) {
			answer_put_json(stdout, answer_member(task, "result"));
			putchar('\n');
		}
	} else {
		error = answer_member(task, "error");
		fprintf(stderr, "shoal: %s: task ", cli->command->name);
		answer_put_text(stderr, id != NULL ? id : "?");
		fputc(' ', stderr);
		answer_put_text(stderr, state != NULL ? state : "?");
		if ((text = answer_text(error, "code")) != NULL) {
			fputs(": ", stderr);
			answer_put_text(stderr, text);
		}
		if ((text = answer_text(error, "message")) != NULL) {
			fputs(": ", stderr);
			answer_put_text(stderr, text);
		}
		fputc('\n', stderr);
	}
	json_object_put(task);
	return rc;
}

static int
tell_timeout(const struct cli *cli, const char *id)
{
	fprintf(
	    stderr, "shoal: %s: task %s has not ended yet\n", cli->command->name, id);
	return CLI_TIMEOUT;
}

static bool
has_ended(const struct client_answer *answer)
{
	struct json_object *task = answer_parse(answer->body, answer->len, NULL);
	bool ended = answer_task_ended(task);

	json_object_put(task);
	return ended;
}

/* how many whole seconds the next request may wait */
static int64_t
next_slice_s(int64_t left_ms)
{
	int64_t s = (left_ms + 999) / 1000;

	return s < WAIT_SLICE_S ? s : WAIT_SLICE_S;
}

struct asked {
	bool answered; /* answer is set, err otherwise */
	struct client_answer answer;
	struct err err;
};

static void
ask(struct cli *cli, const char *id, int64_t slice_s, struct asked *asked)
{
	struct strbuf path;

	strbuf_init(&path, 4096);
	strbuf_puts(&path, "/v1/tasks/");
	url_encode(&path, id);
	strbuf_printf(&path, "?wait=%lld", (long long)slice_s);
	asked->err = (struct err)ERR_INIT;
	if (strbuf_failed(&path)) {
		asked->answered = false;
		err_set(&asked->err, ERR_INVALID, "the id is too long");
	} else {
		asked->answered = client_call(cli->client, "GET", path.data, NULL, 0,
				      (int)slice_s * 1000 + REQUEST_MS, &asked->answer,
				      &asked->err) == 0;
	}
	strbuf_fini(&path);
}

/* trouble that another node, or the same one later, may not have */
static bool
is_passing(const struct asked *asked)
{
	if (asked->answered)
		return cli_exit_for_status(asked->answer.status) == CLI_UNAVAILABLE;
	return cli_exit_for_err(&asked->err) == CLI_UNAVAILABLE;
}

static int
tell_trouble(const struct cli *cli, const struct asked *asked)
{
	return asked->answered ? cli_problem(cli, &asked->answer)
			       : cli_error(cli, &asked->err);
}

int
wait_for_task(struct cli *cli, const char *id, int64_t timeout_ms)
{
	int64_t start = clock_mono_ms(), heard = start, now = start;
	struct asked asked;
	bool passing, over;
	int rc = -1;

	while (rc < 0) {
		ask(cli, id,
		    timeout_ms < 0 ? WAIT_SLICE_S
				   : next_slice_s(timeout_ms - (now - start)),
		    &asked);
		now = clock_mono_ms();
		over = timeout_ms >= 0 && now - start >= timeout_ms;
		passing = is_passing(&asked);
		if (!passing)
			heard = now;
		if (passing && !over && now - heard <= PATIENCE_MS)
			pause_ms(PAUSE_MS);
		else if (passing || !asked.answered || asked.answer.status != 200)
			rc = tell_trouble(cli, &asked);
		else if (has_ended(&asked.answer))
			rc = wait_tell(cli, &asked.answer);
		else if (over)
			rc = tell_timeout(cli, id);
		if (asked.answered)
			client_answer_fini(&asked.answer);
	}
	return rc;
}
