/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_operations.c - shoal operations: cancel, run again or delete many tasks by
 * filter.
 *
 * Counts first and asks, since a filter easily means more than was thought; then shows
 * how far it is until it has ended.  The cluster works at it by itself: whoever
 * interrupts the watching interrupts nothing else.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"

#define BODY_MAX     (64UL * 1024)
#define LOOK_MS	     500
#define ATTEMPTS_MAX 1000
#define LIST_MAX     100

static const struct args_option options[] = {
    {'s', "state", ARGS_VALUE, "STATE",
	"Only tasks in this state. May be given again."},
    {'q', "queue", ARGS_VALUE, "QUEUE", "Only of this queue."},
    {'t', "type", ARGS_VALUE, "TYPE", "Only of this type."},
    {0, "since", ARGS_VALUE, "WHEN", "Submitted at or after: 2026-01-31T12:00:00Z."},
    {0, "until", ARGS_VALUE, "WHEN", "Submitted before."},
    {0, "all", ARGS_FLAG, NULL, "Every task: needed if there is no other filter."},
    {'n', "attempts", ARGS_VALUE, "N", "retry: room for so many more. Default: 1."},
    {'r', "reason", ARGS_VALUE, "TEXT", "Kept with the tasks' events."},
    {'y', "yes", ARGS_FLAG, NULL, "Do not ask."},
    {'d', "detach", ARGS_FLAG, NULL, "Do not wait for its end."},
    {.name = NULL},
};

static const char *const filters[] = {"queue", "type", "since", "until"};

static const char *
text_or(struct json_object *object, const char *name)
{
	const char *text = answer_text(object, name);

	return text != NULL ? text : "?";
}

/* ---------------------------------------------------------------- the request */

static bool
has_filter(const struct args *a)
{
	bool any = args_has(a, "all") || args_has(a, "state");

	for (size_t i = 0; i < COUNT_OF(filters); i++)
		any |= args_has(a, filters[i]);
	return any;
}

static void
put_filter(const struct args *a, struct jsonw *w)
{
	size_t cursor = 0;
	const char *value;

	jsonw_object(w);
	if (args_has(a, "state")) {
		jsonw_key(w, "state");
		jsonw_array(w);
		while ((value = args_next(a, "state", &cursor)) != NULL)
			jsonw_string(w, value);
		jsonw_end(w);
	}
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		if (!args_has(a, filters[i]))
			continue;
		jsonw_key(w, filters[i]);
		jsonw_string(w, args_text(a, filters[i]));
	}
	jsonw_end(w);
}

static void
build_body(const struct cli *cli, bool dry_run, int64_t attempts, struct strbuf *body)
{
	const struct args *a = &cli->args;
	struct jsonw w;

	strbuf_reset(body);
	jsonw_init(&w, body);
	jsonw_object(&w);
	jsonw_key(&w, "action");
	jsonw_string(&w, a->operands[0]);
	jsonw_key(&w, "filter");
	put_filter(a, &w);
	jsonw_key(&w, "dry_run");
	jsonw_bool(&w, dry_run);
	if (args_has(a, "attempts")) {
		jsonw_key(&w, "attempts");
		jsonw_int(&w, attempts);
	}
	if (args_has(a, "reason")) {
		jsonw_key(&w, "reason");
		jsonw_string(&w, args_text(a, "reason"));
	}
	jsonw_end(&w);
}

/* an answer of this status, parsed; NULL: *rc says how to leave */
static struct json_object *
call(struct cli *cli, const char *method, const char *path, const struct strbuf *body,
    int status, struct client_answer *answer, int *rc)
{
	struct json_object *doc = NULL;
	struct err err = ERR_INIT;

	answer->body = NULL;
	if (client_call(cli->client, method, path, body != NULL ? body->data : NULL,
		body != NULL ? body->len : 0, ASK_MS, answer, &err) != 0)
		*rc = cli_error(cli, &err);
	else if (answer->status != status)
		*rc = cli_problem(cli, answer);
	else if ((doc = answer_parse(answer->body, answer->len, &err)) == NULL)
		*rc = cli_error(cli, &err);
	return doc;
}

/* ---------------------------------------------------------------- a new one */

/* 0: go on; otherwise an exit status */
static int
ask_first(struct cli *cli, int64_t attempts, struct strbuf *body)
{
	struct client_answer answer;
	struct json_object *doc;
	char reply[16];
	int64_t count;
	bool exact;
	int rc = CLI_OK;

	build_body(cli, true, attempts, body);
	doc = call(cli, "POST", "/v1/operations", body, 200, &answer, &rc);
	if (doc != NULL) {
		count = answer_int(doc, "count");
		exact = answer_is_true(doc, "exact");
		fprintf(stderr, "%s%lld tasks to %s.\n", exact ? "" : "At least ",
		    (long long)count, cli->args.operands[0]);
		json_object_put(doc);
		if (count > 0 && !args_has(&cli->args, "yes")) {
			fputs("Go on? [y/N] ", stderr);
			if (fgets(reply, sizeof(reply), stdin) == NULL ||
			    (reply[0] != 'y' && reply[0] != 'Y')) {
				fputs("Nothing was done.\n", stderr);
				rc = CLI_FAILED;
			}
		}
	}
	client_answer_fini(&answer);
	return rc;
}

static void
show_progress(struct json_object *doc, bool last)
{
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r%lld done ", (long long)answer_int(doc, "done"));
	if (last)
		fputc('\n', stderr);
}

static int
tell_end(
    const struct cli *cli, struct json_object *doc, const struct client_answer *answer)
{
	const char *state = text_or(doc, "state");

	if (cli->json) {
		cli_put_json(answer->body, answer->len);
	} else {
		answer_put_text(stdout, text_or(doc, "id"));
		putchar(' ');
		answer_put_text(stdout, state);
		printf(": %lld of %lld\n", (long long)answer_int(doc, "done"),
		    (long long)answer_int(doc, "matched"));
	}
	return str_eq(state, "done") || str_eq(state, "running") ? CLI_OK : CLI_FAILED;
}

/* looks until it has ended; doc is given */
static int
watch(struct cli *cli, struct json_object *doc, struct client_answer *answer)
{
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
	char path[128];
	int rc = CLI_OK;

	snprintf(path, sizeof(path), "/v1/operations/%.64s", text_or(doc, "id"));
	while (doc != NULL && str_eq(text_or(doc, "state"), "running") &&
	       !args_has(&cli->args, "detach")) {
		show_progress(doc, false);
		(void)nanosleep(&pause, NULL); /* shorter is fine */
		json_object_put(doc);
		client_answer_fini(answer);
		doc = call(cli, "GET", path, NULL, 200, answer, &rc);
	}
	if (doc != NULL) {
		show_progress(doc, true);
		rc = tell_end(cli, doc, answer);
	}
	json_object_put(doc);
	return rc;
}

static int
begin(struct cli *cli)
{
	struct client_answer answer;
	struct json_object *doc;
	struct strbuf body;
	struct err err = ERR_INIT;
	int64_t attempts = 1;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0)
		return rc;
	if (args_int(&cli->args, "attempts", 1, ATTEMPTS_MAX, &attempts, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if (!has_filter(&cli->args))
		return cli_usage(cli, "which tasks?  Give a filter, or --all");
	if (!args_has(&cli->args, "yes") && !isatty(STDIN_FILENO))
		return cli_usage(cli, "nobody can be asked here: give --yes");
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	strbuf_init(&body, BODY_MAX);
	rc = ask_first(cli, attempts, &body);
	if (rc == CLI_OK) {
		build_body(cli, false, attempts, &body);
		doc = call(cli, "POST", "/v1/operations", &body, 202, &answer, &rc);
		if (doc != NULL)
			rc = watch(cli, doc, &answer);
		client_answer_fini(&answer);
	}
	strbuf_fini(&body);
	return rc;
}

/* ---------------------------------------------------------------- those that are there
 */

static void
put_row(struct json_object *o)
{
	char counts[48];

	snprintf(counts, sizeof(counts), "%lld/%lld", (long long)answer_int(o, "done"),
	    (long long)answer_int(o, "matched"));
	printf("%-36.64s %-7.16s %-8.16s %15s %.32s\n", text_or(o, "id"),
	    text_or(o, "action"), text_or(o, "state"), counts,
	    text_or(o, "created_at"));
}

static int
list(struct cli *cli)
{
	struct client_answer answer;
	struct json_object *page;
	char path[64];
	int rc = CLI_OK;

	if ((rc = cli_operands(cli, 1, 1)) != 0 || (rc = cli_connect(cli)) != 0)
		return rc;
	snprintf(path, sizeof(path), "/v1/operations?limit=%d", LIST_MAX);
	page = call(cli, "GET", path, NULL, 200, &answer, &rc);
	if (page != NULL && cli->json) {
		cli_put_json(answer.body, answer.len);
	} else if (page != NULL) {
		printf("%-36s %-7s %-8s %15s %s\n", "ID", "ACTION", "STATE",
		    "DONE/MATCHED", "CREATED");
		answer_each(page, "operations", put_row);
	}
	json_object_put(page);
	client_answer_fini(&answer);
	return rc;
}

static int
show(struct cli *cli, bool stop)
{
	struct client_answer answer;
	struct json_object *doc;
	struct strbuf path, none;
	int rc;

	if ((rc = cli_operands(cli, 2, 2)) != 0 || (rc = cli_connect(cli)) != 0)
		return rc;
	strbuf_init(&path, 4096);
	strbuf_init(&none, 16);
	strbuf_puts(&none, "");
	ask_put_path(
	    &path, "/v1/operations/", cli->args.operands[1], stop ? "/stop" : "");
	if (strbuf_failed(&path)) {
		rc = cli_usage(cli, "the id is too long");
	} else {
		doc = call(cli, stop ? "POST" : "GET", path.data, stop ? &none : NULL,
		    200, &answer, &rc);
		if (doc != NULL)
			(void)tell_end(cli, doc, &answer);
		json_object_put(doc);
		client_answer_fini(&answer);
	}
	strbuf_fini(&path);
	strbuf_fini(&none);
	return rc;
}

static int
run(struct cli *cli)
{
	const char *what = cli->args.operand_count > 0 ? cli->args.operands[0] : "list";

	if (str_eq(what, "cancel") || str_eq(what, "retry") || str_eq(what, "delete"))
		return begin(cli);
	if (str_eq(what, "list"))
		return cli->args.operand_count > 0 ? list(cli)
						   : cli_operands(cli, 1, 1);
	if (str_eq(what, "get") || str_eq(what, "stop"))
		return show(cli, str_eq(what, "stop"));
	return cli_usage(
	    cli, "'%.40s' is none of cancel, retry, delete, list, get and stop", what);
}

const struct cli_command cli_operations = {
    .name = "operations",
    .usage = "cancel | retry | delete | list | get ID | stop ID",
    .summary = "Cancels, runs again or deletes many tasks by filter.",
    .help = "Says how many tasks the filter means, asks, and shows how far it is until "
	    "it has ended.\n"
	    "delete takes tasks that have ended, retry those that did so without "
	    "success.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
