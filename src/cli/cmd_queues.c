/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_queues.c - shoal queues, pause and resume: the application's queues, seen and
 * set.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/jscan.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/verb.h"

#define QUEUES	 "/v1/queues/"
#define BODY_MAX (64 * 1024)

/* settings whose values are numbers; of all others they are texts */
static const char *const numbers[] = {
    "priority", "max_length", "concurrency", "shed", "shed_below"};

/* ---------------------------------------------------------------- output */

static void
print_head(void)
{
	printf("%-24s %-7s %8s %8s %9s %9s  %s\n", "QUEUE", "STATE", "QUEUED",
	    "RUNNING", "SCHEDULED", "OLDEST", "SET");
}

static void
print_settings(struct json_object *queue)
{
	static const char *const names[] = {"priority", "max_length", "concurrency",
	    "rate", "shed", "shed_below", "keep_finished", "keep_failed", "pool"};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct json_object *value = answer_member(queue, names[i]);

		if (value == NULL || json_object_is_type(value, json_type_null))
			continue;
		/* that is where queues are of which nothing is said */
		if (str_eq(names[i], "pool") &&
		    str_eq(json_object_get_string(value), "main"))
			continue;
		printf(" %s=", names[i]);
		if (json_object_is_type(value, json_type_object)) {
			printf("%lld/", (long long)answer_int(value, "limit"));
			answer_put_text(stdout, answer_text(value, "per"));
		} else if (json_object_is_type(value, json_type_string)) {
			answer_put_text(stdout, json_object_get_string(value));
		} else {
			answer_put_json(stdout, value);
		}
	}
}

static void
print_queue(struct json_object *queue)
{
	struct json_object *age = answer_member(queue, "oldest_age");
	bool is_paused = answer_is_true(queue, "paused");
	char oldest[32] = "-";

	if (age != NULL && !json_object_is_type(age, json_type_null))
		snprintf(oldest, sizeof(oldest), "%.0fs", json_object_get_double(age));
	printf("%-24s %-7s %8lld %8lld %9lld %9s ", answer_text(queue, "name"),
	    is_paused ? "paused" : "-", (long long)answer_int(queue, "queued"),
	    (long long)answer_int(queue, "running"),
	    (long long)answer_int(queue, "scheduled"), oldest);
	print_settings(queue);
	putchar('\n');
	if (is_paused && answer_text(queue, "paused_at") != NULL) {
		printf("  paused at %s by ", answer_text(queue, "paused_at"));
		answer_put_text(stdout, answer_text(queue, "paused_by") != NULL
					    ? answer_text(queue, "paused_by")
					    : "?");
		if (answer_text(queue, "paused_reason") != NULL) {
			fputs(": ", stdout);
			answer_put_text(stdout, answer_text(queue, "paused_reason"));
		}
		putchar('\n');
	}
}

static void
show_one(struct json_object *queue)
{
	print_head();
	print_queue(queue);
}

/* ---------------------------------------------------------------- one queue */

/* verb: "", "/pause" or "/resume" */
static int
call_queue(struct cli *cli, const char *method, const char *name, const char *verb,
    const struct strbuf *body)
{
	return ask_name(cli, method, QUEUES, name, verb, body, show_one);
}

static bool
is_number(const char *key)
{
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		if (str_eq(numbers[i], key))
			return true;
	}
	return false;
}

/* "key=value" as a member; "key=" and "key=none" take the setting away */
static int
put_setting(const struct cli *cli, struct jsonw *w, const char *word)
{
	char name[SETTING_MAX];
	const char *value = input_setting(word, name);
	struct jscan_limits limits = {.max_depth = 1};
	struct err err = ERR_INIT;
	struct jspan span;

	if (value == NULL)
		return cli_usage(cli, "'%s' is not SETTING=VALUE", word);
	jsonw_key(w, name);
	if (value[0] == '\0' || str_eq(value, "none")) {
		jsonw_null(w);
	} else if (is_number(name)) {
		if (jscan_check(value, strlen(value), &limits, &span, &err) != 0 ||
		    span.kind != JSON_NUMBER)
			return cli_usage(cli, "%s: '%s' is not a number", name, value);
		jsonw_raw(w, value, strlen(value));
	} else {
		jsonw_string(w, value);
	}
	return 0;
}

static int
set(struct cli *cli, const char *name)
{
	struct strbuf body;
	struct jsonw w;
	int rc = 0;

	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	for (int i = 2; i < cli->args.operand_count && rc == 0; i++)
		rc = put_setting(cli, &w, cli->args.operands[i]);
	jsonw_end(&w);
	if (rc == 0)
		rc = call_queue(cli, "PUT", name, "", &body);
	strbuf_fini(&body);
	return rc;
}

/* ---------------------------------------------------------------- the list */

static void
show_page(struct json_object *page)
{
	answer_each(page, "queues", print_queue);
}

static int
list(struct cli *cli, const char *name)
{
	(void)name;
	return ask_pages(cli, "/v1/queues", NULL, NULL, print_head, show_page);
}

static int
get(struct cli *cli, const char *name)
{
	return call_queue(cli, "GET", name, "", NULL);
}

/* ---------------------------------------------------------------- commands */

static const struct verb verbs[] = {
    {"list", 0, 1, list},
    {"get", 2, 2, get},
    {"set", 3, 32, set},
};

static int
run_queues(struct cli *cli)
{
	int rc;
	const struct verb *v = verb_choose(cli, verbs, COUNT_OF(verbs), &rc);

	return v != NULL ? verb_run(cli, v) : rc;
}

static int
run_pause(struct cli *cli)
{
	struct strbuf body;
	struct jsonw w;
	int rc;

	if ((rc = cli_operands(cli, 1, 2)) != 0)
		return rc;
	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	jsonw_key(&w, "reason");
	jsonw_string(&w, cli->args.operand_count > 1 ? cli->args.operands[1] : NULL);
	jsonw_end(&w);
	rc = call_queue(cli, "POST", cli->args.operands[0], "/pause", &body);
	strbuf_fini(&body);
	return rc;
}

static int
run_resume(struct cli *cli)
{
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0)
		return rc;
	return call_queue(cli, "POST", cli->args.operands[0], "/resume", NULL);
}

const struct cli_command cli_queues = {
    .name = "queues",
    .usage = "[list] | get QUEUE | set QUEUE SETTING=VALUE...",
    .summary = "Lists the application's queues, and sets what they may take.",
    .help =
	"Settings: priority, max_length, concurrency, rate (100/1s), shed (0 to 1), "
	"shed_below,\n"
	"keep_finished and keep_failed (12h), pool.  An empty VALUE, or none, takes a "
	"setting away.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run_queues,
};

const struct cli_command cli_pause = {
    .name = "pause",
    .usage = "QUEUE [REASON]",
    .summary = "Lets no task of a queue start any more.",
    .help = "What runs already goes on.  The reason is shown to those who ask why a "
	    "task waits.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run_pause,
};

const struct cli_command cli_resume = {
    .name = "resume",
    .usage = "QUEUE",
    .summary = "Lets tasks of a paused queue start again.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run_resume,
};
