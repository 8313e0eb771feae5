/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_events.c - shoal events: the life of one task, or all that happens.
 *
 * One task is read page by page, and with --follow again until it has ended: what was
 * shown is known by its id.  All of an application's are followed by a stream, which
 * goes on at any node where another ended.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/sconn.h"

#define PAUSE_MS   1000
#define SHOWN_MOST 65536

static const struct args_option options[] = {
    {'f', "follow", ARGS_FLAG, NULL, "Go on: until the task's end, or for ever."},
    {'q', "queue", ARGS_VALUE, "QUEUE", "With --follow: only of this queue."},
    {'t', "type", ARGS_VALUE, "TYPE", "With --follow: only of this type."},
    {'k', "kind", ARGS_VALUE, "KIND", "With --follow: only these, such as failed."},
    {0, "after", ARGS_VALUE, "ID", "With --follow: begin behind this event."},
    {.name = NULL},
};

static const char *const filters[] = {"queue", "type", "kind", "after"};

static void
pause_ms(int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	(void)nanosleep(&ts, NULL); /* shorter is fine */
}

static void
put_field(struct json_object *event, const char *name, const char *before)
{
	const char *text = answer_text(event, name);

	if (text == NULL)
		return;
	fputs(before, stdout);
	answer_put_text(stdout, text);
}

static void
put_event(struct json_object *event, bool with_task)
{
	int64_t attempt = answer_int(event, "attempt");

	put_field(event, "at", "");
	put_field(event, "kind", " ");
	if (with_task) {
		put_field(event, "task", " ");
		put_field(event, "type", " type=");
	}
	if (attempt != 0)
		printf(" attempt=%lld", (long long)attempt);
	put_field(event, "worker", " worker=");
	put_field(event, "code", " ");
	put_field(event, "message", ": ");
	putchar('\n');
}

/* ---------------------------------------------------------------- one task */

struct shown {
	char *ids[SHOWN_MOST];
	size_t count;
	bool ended; /* the last one seen stays */
};

static bool
is_shown(struct shown *sh, const char *id)
{
	for (size_t i = 0; i < sh->count; i++) {
		if (str_eq(sh->ids[i], id))
			return true;
	}
	if (sh->count < SHOWN_MOST && (sh->ids[sh->count] = mem_strdup(id)) != NULL)
		sh->count++;
	return false;
}

static bool
ends_a_task(const char *kind)
{
	return str_eq(kind, "succeeded") || str_eq(kind, "failed") ||
	       str_eq(kind, "cancelled") || str_eq(kind, "expired");
}

static void
show_events(const struct cli *cli, struct json_object *events, struct shown *sh)
{
	for (size_t i = 0; i < answer_count(events); i++) {
		struct json_object *event = json_object_array_get_idx(events, i);
		const char *id = answer_text(event, "id"),
			   *kind = answer_text(event, "kind");

		sh->ended = kind != NULL && ends_a_task(kind);
		if (id == NULL || is_shown(sh, id))
			continue;
		if (cli->json) {
			answer_put_json(stdout, event);
			putchar('\n');
		} else {
			put_event(event, false);
		}
	}
}

/* one page; cursor is "" after the last one */
static int
show_page(const struct cli *cli, const char *path, struct shown *sh, char *cursor,
    size_t cursor_size)
{
	struct client_answer answer;
	struct json_object *page;
	struct err err = ERR_INIT;
	const char *next;
	int rc = CLI_OK;

	if (client_call(cli->client, "GET", path, NULL, 0, ASK_MS, &answer, &err) != 0)
		return cli_error(cli, &err);
	page =
	    answer.status == 200 ? answer_parse(answer.body, answer.len, &err) : NULL;
	if (answer.status != 200) {
		rc = cli_problem(cli, &answer);
	} else if (page == NULL) {
		rc = cli_error(cli, &err);
	} else {
		show_events(cli, answer_member(page, "events"), sh);
		next = answer_text(page, "next_cursor");
		(void)str_copy(cursor, cursor_size, next != NULL ? next : "");
	}
	json_object_put(page);
	client_answer_fini(&answer);
	return rc;
}

static int
show_task(const struct cli *cli, const char *id, struct shown *sh)
{
	char cursor[128] = "";
	struct strbuf path;
	int rc;

	strbuf_init(&path, 4096);
	do {
		strbuf_reset(&path);
		strbuf_puts(&path, "/v1/tasks/");
		url_encode(&path, id);
		strbuf_puts(&path, "/events?limit=1000");
		if (cursor[0] != '\0')
			strbuf_printf(&path, "&cursor=%s", cursor);
		rc = strbuf_failed(&path)
			 ? cli_usage(cli, "the id is too long")
			 : show_page(cli, path.data, sh, cursor, sizeof(cursor));
	} while (rc == CLI_OK && cursor[0] != '\0');
	strbuf_fini(&path);
	return rc;
}

static int
of_task(const struct cli *cli, const char *id, bool follow)
{
	struct shown *sh = mem_zero(sizeof(*sh));
	struct err err = ERR_INIT;
	int rc;

	if (sh == NULL) {
		err_set(&err, ERR_NOMEM, "no memory for events");
		return cli_error(cli, &err);
	}
	while ((rc = show_task(cli, id, sh)) == CLI_OK && follow && !sh->ended &&
	       fflush(stdout) == 0)
		pause_ms(PAUSE_MS);
	for (size_t i = 0; i < sh->count; i++)
		mem_free(sh->ids[i]);
	mem_free(sh);
	return rc;
}

/* ---------------------------------------------------------------- all of them */

static void
on_event(const char *name, const char *data, void *arg)
{
	const struct cli *cli = arg;
	struct json_object *event = answer_parse(data, strlen(data), NULL);

	(void)name;
	if (event == NULL)
		return; /* of a newer node: nothing that we could show */
	if (cli->json) {
		answer_put_json(stdout, event);
		putchar('\n');
	} else {
		put_event(event, true);
	}
	json_object_put(event);
	(void)fflush(stdout); /* a failure is seen before the next connection */
}

static void
build_path(const struct cli *cli, struct strbuf *path)
{
	const char *value;
	char before = '?';

	strbuf_puts(path, "/v1/events");
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		value = args_text(&cli->args, filters[i]);
		if (value == NULL)
			continue;
		strbuf_printf(path, "%c%s=", before, filters[i]);
		url_encode(path, value);
		before = '&';
	}
}

static int
refused(const struct cli *cli, struct client_answer *answer)
{
	int rc = cli_problem(cli, answer);

	client_answer_fini(answer);
	return rc;
}

/* a node that leaves, or a store that is away, is no reason to end once it went well */
static int
follow_all(struct cli *cli)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	bool went_well = false;
	struct strbuf path;
	struct sse s;
	int rc = CLI_OK;

	strbuf_init(&path, 4096);
	build_path(cli, &path);
	sse_init(&s, on_event, cli);
	if (strbuf_failed(&path))
		rc = cli_usage(cli, "the filter is too long");
	while (rc == CLI_OK && !ferror(stdout)) {
		switch (sconn_follow(&cli->target, path.data, &s, &answer, &err)) {
		case SCONN_LOST:
			went_well = true;
			break;
		case SCONN_REFUSED:
			if (went_well && (answer.status == 429 || answer.status >= 500))
				client_answer_fini(&answer);
			else
				rc = refused(cli, &answer);
			break;
		case SCONN_FAILED:
			if (!went_well)
				rc = cli_error(cli, &err);
			break;
		}
		err_clear(&err);
		if (rc == CLI_OK)
			pause_ms(PAUSE_MS);
	}
	sse_fini(&s);
	strbuf_fini(&path);
	return rc;
}

static int
run(struct cli *cli)
{
	bool follow = args_has(&cli->args, "follow"),
	     task = cli->args.operand_count > 0;
	int rc;

	if ((rc = cli_operands(cli, 0, 1)) != 0)
		return rc;
	if (!follow && !task)
		return cli_usage(cli, "which task?  Give an id, or --follow for all");
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		if (args_has(&cli->args, filters[i]) && (!follow || task))
			return cli_usage(cli,
			    "--%s goes with --follow, and without an id", filters[i]);
	}
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	return task ? of_task(cli, cli->args.operands[0], follow) : follow_all(cli);
}

const struct cli_command cli_events = {
    .name = "events",
    .usage = "[--follow] [ID]",
    .summary = "Shows what happened to a task, or follows all that happens.",
    .help = "With --json each event is one line of JSON.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
