/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_lease.c - shoal lease: tasks of pull types, taken and ended from a shell.
 *
 * What a lease is called is printed by take, and named to all others.  With --run the
 * whole round is done here: lease_run.c.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/lease_run.h"

#define BODY_MAX   (INPUT_MAX + 16 * 1024)
#define TTL_MIN_MS 5000
#define TTL_MAX_MS 3600000
#define RETRY_MOST (INT64_C(30) * 86400 * 1000)

/* ---------------------------------------------------------------- take */

static void
print_lease(struct json_object *lease)
{
	struct json_object *task = answer_member(lease, "task");
	static const char *const fields[] = {
	    "id", "type", "queue", "attempt", "max_attempts", "traceparent"};

	fputs("lease        ", stdout);
	answer_put_text(stdout, answer_text(lease, "lease"));
	fputs("\nexpires_at   ", stdout);
	answer_put_text(stdout, answer_text(lease, "expires_at"));
	putchar('\n');
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		struct json_object *value = answer_member(task, fields[i]);

		if (value == NULL)
			continue;
		printf("%-12s ", fields[i]);
		if (json_object_is_type(value, json_type_string))
			answer_put_text(stdout, json_object_get_string(value));
		else
			answer_put_json(stdout, value);
		putchar('\n');
	}
	fputs("payload      ", stdout);
	answer_put_json(stdout, answer_member(task, "payload"));
	putchar('\n');
}

static void
show_leases(struct json_object *doc)
{
	struct json_object *list = answer_member(doc, "leases");
	size_t count = answer_count(list);

	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			putchar('\n');
		print_lease(json_object_array_get_idx(list, i));
	}
	if (count == 0)
		fputs("shoal: lease: no task is waiting there\n", stderr);
}

/* the options of take, for one request as for many */
static int
read_ask(const struct cli *cli, struct lease_ask_opts *o, struct err *err)
{
	const struct args *a = &cli->args;

	*o = (struct lease_ask_opts){.max = 1, .ttl_ms = 60000};
	if (args_int(a, "max", 1, 100, &o->max, err) != 0 ||
	    args_duration_ms(a, "wait", 60000, &o->wait_ms, err) != 0 ||
	    args_duration_ms(a, "ttl", TTL_MAX_MS, &o->ttl_ms, err) != 0)
		return -1;
	if (o->ttl_ms < TTL_MIN_MS)
		return err_set(err, ERR_INVALID, "--ttl: from 5s to 1h");
	o->queues = cli->args.operands + 1;
	o->queue_count = (size_t)cli->args.operand_count - 1;
	return 0;
}

static int
take(struct cli *cli)
{
	struct lease_ask_opts o;
	struct err err = ERR_INIT;
	struct strbuf body;
	int64_t rounds = 0;
	int rc;

	if ((rc = cli_operands(cli, 2, 33)) != 0)
		return rc;
	if (read_ask(cli, &o, &err) != 0 ||
	    args_int(&cli->args, "count", 1, INT64_MAX, &rounds, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if (args_text(&cli->args, "run") != NULL) {
		if (args_has(&cli->args, "max"))
			return cli_usage(cli, "--run takes one task at a time");
		return lease_run(
		    cli, &o, args_text(&cli->args, "run"), (uint64_t)rounds);
	}
	if (args_has(&cli->args, "count"))
		return cli_usage(
		    cli, "--count goes with --run; --max is for one answer");
	strbuf_init(&body, BODY_MAX);
	lease_ask_body(&cli->args, &o, &body);
	rc = ask_name(cli, "POST", "/v1/leases", NULL, NULL, &body, show_leases);
	strbuf_fini(&body);
	return rc;
}

/* ---------------------------------------------------------------- what is told */

static int
tell(struct cli *cli, const char *verb, const struct strbuf *body, ask_show *show)
{
	return ask_name(
	    cli, "POST", "/v1/leases/", cli->args.operands[1], verb, body, show);
}

static int
complete(struct cli *cli)
{
	struct strbuf body, in;
	struct err err = ERR_INIT;
	struct jsonw w;
	const char *json;
	size_t len;
	int rc;

	if ((rc = cli_operands(cli, 2, 3)) != 0)
		return rc;
	strbuf_init(&body, BODY_MAX);
	strbuf_init(&in, INPUT_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	if (cli->args.operand_count == 3) {
		if (input_json("the result", cli->args.operands[2], &in, &json, &len,
			&err) != 0)
			rc = cli_usage(cli, "%s", err.text);
		else {
			jsonw_key(&w, "result");
			jsonw_raw(&w, json, len);
		}
	}
	jsonw_end(&w);
	if (rc == 0)
		rc = tell(cli, "/complete", &body, NULL);
	strbuf_fini(&in);
	strbuf_fini(&body);
	return rc;
}

static int
fail(struct cli *cli)
{
	const char *code = args_text(&cli->args, "code");
	int64_t retry_ms = -1;
	struct err err = ERR_INIT;
	struct strbuf body;
	struct jsonw w;
	int rc;

	if ((rc = cli_operands(cli, 2, 3)) != 0)
		return rc;
	if (args_duration_ms(&cli->args, "retry-in", RETRY_MOST, &retry_ms, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if (retry_ms >= 0 && args_has(&cli->args, "permanent"))
		return cli_usage(cli, "--permanent and --retry-in exclude each other");
	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	if (code != NULL)
		jsonw_member_string(&w, "code", code);
	if (cli->args.operand_count == 3)
		jsonw_member_string(&w, "message", cli->args.operands[2]);
	if (args_has(&cli->args, "permanent"))
		jsonw_member_bool(&w, "retry", false);
	if (retry_ms >= 0)
		input_put_seconds(&w, "retry_in", retry_ms);
	jsonw_end(&w);
	rc = tell(cli, "/fail", &body, NULL);
	strbuf_fini(&body);
	return rc;
}

static void
show_extended(struct json_object *doc)
{
	struct json_object *cancelled = answer_member(doc, "cancelled");

	answer_put_text(stdout, answer_text(doc, "expires_at"));
	if (cancelled != NULL && json_object_get_boolean(cancelled))
		fputs(" (the task was cancelled: end it)", stdout);
	putchar('\n');
}

static int
extend(struct cli *cli)
{
	const char *progress = args_text(&cli->args, "progress");
	int64_t ttl_ms = 60000;
	struct err err = ERR_INIT;
	struct strbuf body;
	struct jsonw w;
	int rc;

	if ((rc = cli_operands(cli, 2, 2)) != 0)
		return rc;
	if (args_duration_ms(&cli->args, "ttl", TTL_MAX_MS, &ttl_ms, &err) != 0 ||
	    (progress != NULL &&
		input_check("--progress", progress, strlen(progress), &err) != 0))
		return cli_usage(cli, "%s", err.text);
	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	input_put_seconds(&w, "ttl", ttl_ms);
	if (progress != NULL) {
		jsonw_key(&w, "progress");
		jsonw_raw(&w, progress, strlen(progress));
	}
	jsonw_end(&w);
	rc = tell(cli, "/extend", &body, show_extended);
	strbuf_fini(&body);
	return rc;
}

static int
release(struct cli *cli)
{
	int rc = cli_operands(cli, 2, 2);

	return rc != 0 ? rc : tell(cli, "/release", NULL, NULL);
}

/* ---------------------------------------------------------------- command */

static const struct {
	const char *verb;
	int (*run)(struct cli *cli);
} verbs[] = {
    {"take", take},
    {"complete", complete},
    {"fail", fail},
    {"extend", extend},
    {"release", release},
};

static int
run(struct cli *cli)
{
	int rc = cli_operands(cli, 1, ARGS_GIVEN);

	if (rc != 0)
		return rc;
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		if (str_eq(cli->args.operands[0], verbs[i].verb))
			return verbs[i].run(cli);
	}
	return cli_usage(cli, "take, complete, fail, extend or release, not '%s'",
	    cli->args.operands[0]);
}

static const struct args_option options[] = {
    {'t', "type", ARGS_VALUE, "TYPE", "take: only of this type. May be given again."},
    {'n', "max", ARGS_VALUE, "N", "take: as many tasks at most. Default: 1."},
    {'w', "wait", ARGS_VALUE, "DURATION", "take: until there is one, up to 60s."},
    {0, "ttl", ARGS_VALUE, "DURATION",
	"take, extend: how long it is held. Default: 60s."},
    {0, "worker", ARGS_VALUE, "NAME", "take: whom others see as its holder."},
    {'r', "run", ARGS_VALUE, "COMMAND",
	"take: runs it with sh for one task after the other, and ends each."},
    {0, "count", ARGS_VALUE, "N", "take --run: after so many tasks it ends."},
    {0, "code", ARGS_VALUE, "WORD", "fail: what kind of failure it is."},
    {0, "permanent", ARGS_FLAG, NULL, "fail: it is not tried again."},
    {0, "retry-in", ARGS_VALUE, "DURATION", "fail: it is tried again after this."},
    {0, "progress", ARGS_VALUE, "JSON", "extend: what is shown of the task."},
    {.name = NULL},
};

const struct cli_command cli_lease = {
    .name = "lease",
    .usage = "take QUEUE... | complete LEASE [JSON|-] | fail LEASE [MESSAGE] | "
	     "extend LEASE | release LEASE",
    .summary = "Takes tasks of pull types, and tells how they ended.",
    .help =
	"A lease that is neither extended nor ended in time goes to another.\n"
	"--run COMMAND: the payload is its standard input, the id and the like are in "
	"SHOAL_TASK_ID,\n"
	"SHOAL_TYPE, SHOAL_QUEUE, SHOAL_ATTEMPT, SHOAL_FENCE and SHOAL_LEASE.  With "
	"status 0 what it\n"
	"has written is the result, JSON or text; with another the attempt has failed "
	"and the task is\n"
	"tried again as its rule says.  The lease is extended meanwhile, and INT or "
	"TERM gives it back.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
