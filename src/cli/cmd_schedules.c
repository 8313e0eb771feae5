/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_schedules.c - shoal schedules: the application's schedules, and when they fire.
 *
 * A verb is a row in the table at the end: it asks for one path and shows the answer.
 * What is put is the node's to judge.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/verb.h"
#include "model/task.h"

#define SCHEDULES "/v1/schedules/"
#define DAY_MS	  (86400LL * 1000)

static const struct args_option options[] = {
    {'z', "zone", ARGS_VALUE, "ZONE", "set: Europe/Berlin, for one. Default: UTC."},
    {0, "gap", ARGS_VALUE, "WHAT", "set: when clocks skip it: end, skip."},
    {0, "overlap", ARGS_VALUE, "WHAT",
	"set: when clocks show it twice: first, second, both."},
    {0, "missed", ARGS_VALUE, "WHAT", "set: after an outage: latest, skip, all."},
    {0, "missed-limit", ARGS_VALUE, "N", "set: all of them, up to N. Default: 10."},
    {0, "while-open", ARGS_VALUE, "WHAT",
	"set: while one of its tasks has not ended: allow, skip."},
    {0, "jitter", ARGS_VALUE, "TIME", "set: each task up to so much later, at random."},
    {0, "paused", ARGS_FLAG, NULL, "set: it does not fire until it is resumed."},
    {'q', "queue", ARGS_VALUE, "QUEUE", "set: the tasks' queue. Default: default."},
    {'p', "priority", ARGS_VALUE, "N", "set: 0 to 9; 0 goes first."},
    {0, "timeout", ARGS_VALUE, "TIME", "set: how long one attempt may take."},
    {0, "max-attempts", ARGS_VALUE, "N", "set: how often to try."},
    {0, "metadata", ARGS_VALUE, "JSON", "set: an object that is kept with each task."},
    {'n', "count", ARGS_VALUE, "N", "preview: so many fires. Default: 10."},
    {0, "from", ARGS_VALUE, "WHEN", "preview: after 2027-03-13T12:00:00Z, for one."},
    {0, "cron", ARGS_VALUE, "CRON", "preview: a rule that is not set."},
    {.name = NULL},
};

static const char *const preview_only[] = {"count", "from", "cron", NULL};
static const char *const rule_texts[] = {"zone", "gap", "overlap", NULL};
static const char *const policy_texts[] = {"missed", NULL};

/* ---------------------------------------------------------------- showing */

static void
put_column(struct json_object *row, const char *name, int width)
{
	answer_put_column(stdout, answer_text(row, name), width);
}

static void
show_fields(struct json_object *schedule)
{
	answer_print_fields(stdout, schedule, 13);
}

static void
show_next(struct json_object *schedule)
{
	const char *next = answer_text(schedule, "next_at");

	if (next != NULL)
		answer_put_text(stdout, next);
	else
		fputs(answer_is_true(schedule, "paused") ? "paused" : "never", stdout);
	putchar('\n');
}

static void
show_previewed(struct json_object *fire)
{
	put_column(fire, "at", 27);
	put_column(fire, "local", 25);
	put_column(fire, "named", 19);
	put_column(fire, "decision", 1);
	putchar('\n');
}

static void
show_preview(struct json_object *doc)
{
	printf("%-27s %-25s %-19s %s\n", "AT", "LOCAL", "THE RULE SAYS", "DECISION");
	answer_each(doc, "fires", show_previewed);
}

static void
show_schedule(struct json_object *schedule)
{
	put_column(schedule, "name", 24);
	put_column(schedule, "cron", 20);
	put_column(schedule, "zone", 20);
	put_column(schedule, "type", 20);
	printf("%8lld ",
	    (long long)answer_int(answer_member(schedule, "counts"), "fired"));
	show_next(schedule);
}

static void
show_page(struct json_object *page)
{
	answer_each(page, "schedules", show_schedule);
}

static void
show_fire(struct json_object *fire)
{
	put_column(fire, "at", 27);
	put_column(fire, "outcome", 8);
	put_column(fire, "task", 36);
	put_column(fire, "message", 1);
	putchar('\n');
}

static void
show_fires(struct json_object *page)
{
	answer_each(page, "fires", show_fire);
}

/* ---------------------------------------------------------------- list */

static void
print_head(void)
{
	printf("%-24s %-20s %-20s %-20s %8s %s\n", "NAME", "CRON", "ZONE", "TYPE",
	    "FIRED", "NEXT");
}

static void
print_fires_head(void)
{
	printf("%-27s %-8s %-36s %s\n", "AT", "OUTCOME", "TASK", "MESSAGE");
}

static int
list(struct cli *cli, const char *name)
{
	(void)name;
	return ask_pages(cli, "/v1/schedules", NULL, NULL, print_head, show_page);
}

static int
fires(struct cli *cli, const char *name)
{
	return ask_pages(cli, SCHEDULES, name, "/fires", print_fires_head, show_fires);
}

/* ---------------------------------------------------------------- set */

static void
put_texts(const struct args *a, const char *const names[], struct jsonw *w)
{
	for (size_t i = 0; names[i] != NULL; i++) {
		if (!args_has(a, names[i]))
			continue;
		jsonw_key(w, names[i]);
		jsonw_string(w, args_text(a, names[i]));
	}
}

static int
put_task(const struct args *a, struct strbuf *input, struct jsonw *w, struct err *err)
{
	const char *payload = NULL, *metadata = args_text(a, "metadata");
	int64_t priority = -1, attempts = 0, timeout_ms = 0;
	static const char *const texts[] = {"queue", NULL};
	size_t len = 0;

	if (args_int(a, "priority", 0, TASK_PRIORITY_MAX, &priority, err) != 0 ||
	    args_int(a, "max-attempts", 1, 1000, &attempts, err) != 0 ||
	    args_duration_ms(a, "timeout", 7 * DAY_MS, &timeout_ms, err) != 0 ||
	    (a->operand_count > 4 && input_json("the payload", a->operands[4], input,
					 &payload, &len, err) != 0) ||
	    (metadata != NULL &&
		input_check("--metadata", metadata, strlen(metadata), err) != 0))
		return -1;
	jsonw_key(w, "task");
	jsonw_object(w);
	jsonw_key(w, "type");
	jsonw_string(w, a->operands[3]);
	put_texts(a, texts, w);
	if (payload != NULL) {
		jsonw_key(w, "payload");
		jsonw_raw(w, payload, len);
	}
	if (priority >= 0) {
		jsonw_key(w, "priority");
		jsonw_int(w, priority);
	}
	if (attempts > 0) {
		jsonw_key(w, "max_attempts");
		jsonw_int(w, attempts);
	}
	if (args_has(a, "timeout"))
		input_put_seconds(w, "timeout", timeout_ms);
	if (metadata != NULL) {
		jsonw_key(w, "metadata");
		jsonw_raw(w, metadata, strlen(metadata));
	}
	jsonw_end(w);
	return 0;
}

static int
build(const struct args *a, struct strbuf *input, struct strbuf *body, struct err *err)
{
	int64_t limit = 0, jitter_ms = -1;
	const char *open = args_text(a, "while-open");
	struct jsonw w;

	if (args_int(a, "missed-limit", 1, 1000, &limit, err) != 0 ||
	    args_duration_ms(a, "jitter", DAY_MS, &jitter_ms, err) != 0)
		return -1;
	jsonw_init(&w, body);
	jsonw_object(&w);
	jsonw_key(&w, "cron");
	jsonw_string(&w, a->operands[2]);
	put_texts(a, rule_texts, &w);
	put_texts(a, policy_texts, &w);
	if (limit > 0) {
		jsonw_key(&w, "missed_limit");
		jsonw_int(&w, limit);
	}
	if (open != NULL) {
		jsonw_key(&w, "while_open");
		jsonw_string(&w, open);
	}
	if (jitter_ms >= 0)
		input_put_seconds(&w, "jitter", jitter_ms);
	if (args_has(a, "paused")) {
		jsonw_key(&w, "paused");
		jsonw_bool(&w, true);
	}
	if (put_task(a, input, &w, err) != 0)
		return -1;
	jsonw_end(&w);
	return 0;
}

static int
set(struct cli *cli, const char *name)
{
	struct strbuf input, body;
	struct err err = ERR_INIT;
	int rc;

	strbuf_init(&input, INPUT_MAX);
	strbuf_init(&body, INPUT_MAX + 65536);
	if (build(&cli->args, &input, &body, &err) != 0)
		rc = cli_usage(cli, "%s", err.text);
	else
		rc = ask_name(cli, "PUT", SCHEDULES, name, "", &body, show_next);
	strbuf_fini(&body);
	strbuf_fini(&input);
	return rc;
}

/* ---------------------------------------------------------------- the others */

static int
get(struct cli *cli, const char *name)
{
	return ask_name(cli, "GET", SCHEDULES, name, "", NULL, show_fields);
}

static int
del(struct cli *cli, const char *name)
{
	return ask_name(cli, "DELETE", SCHEDULES, name, "", NULL, NULL);
}

static int
pause_it(struct cli *cli, const char *name)
{
	return ask_name(cli, "POST", SCHEDULES, name, "/pause", NULL, show_next);
}

static int
resume(struct cli *cli, const char *name)
{
	return ask_name(cli, "POST", SCHEDULES, name, "/resume", NULL, show_next);
}

/* a rule that is not set */
static int
preview_rule(struct cli *cli, int64_t count)
{
	const struct args *a = &cli->args;
	static const char *const texts[] = {"cron", "from", NULL};
	struct strbuf body;
	struct jsonw w;
	int rc;

	strbuf_init(&body, 65536);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	put_texts(a, texts, &w);
	put_texts(a, rule_texts, &w);
	jsonw_key(&w, "count");
	jsonw_int(&w, count);
	jsonw_end(&w);
	rc =
	    ask_name(cli, "POST", SCHEDULES "preview", NULL, NULL, &body, show_preview);
	strbuf_fini(&body);
	return rc;
}

static int
preview(struct cli *cli, const char *name)
{
	const char *from = args_text(&cli->args, "from");
	struct err err = ERR_INIT;
	struct strbuf path;
	int64_t count = 10;
	char rest[64];
	int rc;

	if (args_int(&cli->args, "count", 1, ASK_PAGE_MOST, &count, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if ((name != NULL) == args_has(&cli->args, "cron"))
		return cli_usage(cli, "preview takes a NAME or --cron");
	if (name == NULL)
		return preview_rule(cli, count);
	strbuf_init(&path, 4096);
	snprintf(rest, sizeof(rest), "/preview?count=%lld", (long long)count);
	ask_put_path(&path, SCHEDULES, name, rest);
	if (from != NULL) {
		strbuf_puts(&path, "&from=");
		url_encode(&path, from);
	}
	rc = ask(cli, "GET", &path, NULL, show_preview);
	strbuf_fini(&path);
	return rc;
}

static const struct verb verbs[] = {
    {"list", 0, 1, list},
    {"get", 2, 2, get},
    {"set", 4, 5, set},
    {"delete", 2, 2, del},
    {"preview", 1, 2, preview},
    {"fires", 2, 2, fires},
    {"pause", 2, 2, pause_it},
    {"resume", 2, 2, resume},
};

static bool
is_among(const char *name, const char *const names[])
{
	while (*names != NULL && !str_eq(*names, name))
		names++;
	return *names != NULL;
}

static bool
option_fits(const struct args *a, const char *name, const char *verb)
{
	if (!str_eq(verb, "preview"))
		return str_eq(verb, "set") && !is_among(name, preview_only);
	return is_among(name, preview_only) ||
	       (is_among(name, rule_texts) && args_has(a, "cron"));
}

static int
run(struct cli *cli)
{
	const struct args *a = &cli->args;
	int rc;
	const struct verb *v = verb_choose(cli, verbs, COUNT_OF(verbs), &rc);

	if (v == NULL)
		return rc;
	for (const struct args_option *o = options; o->name != NULL; o++) {
		if (args_has(a, o->name) && !option_fits(a, o->name, v->name))
			return cli_usage(cli, "--%s is not for %s", o->name, v->name);
	}
	return verb_run(cli, v);
}

const struct cli_command cli_schedules = {
    .name = "schedules",
    .usage = "[list | get NAME | set NAME CRON TYPE [JSON|-] | delete NAME | preview "
	     "[NAME] | fires NAME | pause NAME | resume NAME]",
    .summary = "Shows and changes what makes tasks at times.",
    .help = "CRON has 5 fields (minute, hour, day of month, month, day of week), or 6 "
	    "with the second in\n"
	    "front, or is @daily and the like, or @every 90s. set makes a schedule or "
	    "replaces it, and\n"
	    "prints when it fires next. preview shows what it will do, also where "
	    "clocks change; with\n"
	    "--cron it takes a rule that is not set, and --zone, --gap and --overlap. "
	    "fires shows what\n"
	    "it did, newest first.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
