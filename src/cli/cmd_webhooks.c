/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_webhooks.c - shoal webhooks: which ends of its tasks an application is told,
 * where, and what became of that.
 *
 * A verb is a row in the table at the end.  What is set is the node's to judge.
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
#include "cli/verb.h"

#define WEBHOOKS "/v1/webhooks/"
#define BODY_MAX (64 * 1024)

static const struct args_option options[] = {
    {0, "types", ARGS_VALUE, "LIST", "set: of these types only, separated by commas."},
    {0, "queues", ARGS_VALUE, "LIST",
	"set: of these queues only, separated by commas."},
    {0, "payload", ARGS_FLAG, NULL, "set: with the tasks' payloads."},
    {.name = NULL},
};

/* ---------------------------------------------------------------- showing */

static void
put_column(const char *text, int width)
{
	answer_put_column(stdout, text, width);
}

static void
show_fields(struct json_object *webhook)
{
	answer_print_fields(stdout, webhook, 16);
}

static void
show_webhook(struct json_object *w)
{
	put_column(answer_text(w, "name"), 24);
	put_column(answer_text(w, "endpoint"), 24);
	put_column(answer_is_true(w, "disabled")	     ? "disabled"
		   : answer_text(w, "failing_since") != NULL ? "failing"
							     : "enabled",
	    9);
	put_column(answer_text(w, "last_success_at"), 27);
	answer_put_json(stdout, answer_member(w, "states"));
	putchar('\n');
}

static void
show_list(struct json_object *page)
{
	printf("%-24s %-24s %-9s %-27s %s\n", "NAME", "ENDPOINT", "STATUS",
	    "LAST SUCCESS", "STATES");
	answer_each(page, "webhooks", show_webhook);
}

static void
show_made(struct json_object *delivery)
{
	answer_put_text(stdout, answer_text(delivery, "id"));
	putchar('\n');
}

static void
print_deliveries_head(void)
{
	printf("%-27s %-36s %-36s %-9s %-9s %s\n", "CREATED", "DELIVERY", "TASK",
	    "TOLD", "STATE", "TRIES ERROR");
}

static void
show_delivery(struct json_object *d)
{
	put_column(answer_text(d, "created_at"), 27);
	put_column(answer_text(d, "id"), 36);
	put_column(answer_text(d, "task"), 36);
	put_column(answer_text(d, "told"), 9);
	put_column(answer_text(d, "state"), 9);
	printf("%lld/%lld ", (long long)answer_int(d, "attempt"),
	    (long long)answer_int(d, "max_attempts"));
	put_column(answer_text(answer_member(d, "error"), "code"), 1);
	putchar('\n');
}

static void
show_deliveries(struct json_object *page)
{
	answer_each(page, "deliveries", show_delivery);
}

/* ---------------------------------------------------------------- verbs */

static int
list(struct cli *cli, const char *name)
{
	(void)name;
	return ask_name(cli, "GET", "/v1/webhooks", NULL, NULL, NULL, show_list);
}

static int
get(struct cli *cli, const char *name)
{
	return ask_name(cli, "GET", WEBHOOKS, name, "", NULL, show_fields);
}

static int
del(struct cli *cli, const char *name)
{
	return ask_name(cli, "DELETE", WEBHOOKS, name, "", NULL, NULL);
}

static int
test(struct cli *cli, const char *name)
{
	return ask_name(cli, "POST", WEBHOOKS, name, "/test", NULL, show_made);
}

/* "a,b" as a list of strings */
static void
put_list(struct jsonw *w, const char *name, const char *words)
{
	jsonw_key(w, name);
	jsonw_array(w);
	while (words != NULL) {
		const char *end = strchr(words, ',');

		jsonw_stringn(
		    w, words, end != NULL ? (size_t)(end - words) : strlen(words));
		words = end != NULL ? end + 1 : NULL;
	}
	jsonw_end(w);
}

static int
set(struct cli *cli, const char *name)
{
	static const char *const lists[] = {"types", "queues"};
	const struct args *a = &cli->args;
	struct strbuf body;
	struct jsonw w;
	int rc;

	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	jsonw_member_string(&w, "endpoint", a->operands[2]);
	put_list(&w, "states", a->operands[3]);
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		if (args_has(a, lists[i]))
			put_list(&w, lists[i], args_text(a, lists[i]));
	}
	jsonw_member_bool(&w, "payload", args_has(a, "payload"));
	jsonw_end(&w);
	rc = ask_name(cli, "PUT", WEBHOOKS, name, "", &body, show_fields);
	strbuf_fini(&body);
	return rc;
}

static int
resend(struct cli *cli, const char *name)
{
	struct strbuf body;
	struct jsonw w;
	int rc;

	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	jsonw_member_string(&w, "task", cli->args.operands[2]);
	jsonw_end(&w);
	rc = ask_name(cli, "POST", WEBHOOKS, name, "/resend", &body, show_made);
	strbuf_fini(&body);
	return rc;
}

static int
deliveries(struct cli *cli, const char *name)
{
	return ask_pages(
	    cli, WEBHOOKS, name, "/deliveries", print_deliveries_head, show_deliveries);
}

static const struct verb verbs[] = {
    {"list", 0, 1, list},
    {"get", 2, 2, get},
    {"set", 4, 4, set},
    {"delete", 2, 2, del},
    {"deliveries", 2, 2, deliveries},
    {"resend", 3, 3, resend},
    {"test", 2, 2, test},
};

static int
run(struct cli *cli)
{
	int rc;
	const struct verb *v = verb_choose(cli, verbs, COUNT_OF(verbs), &rc);

	if (v == NULL)
		return rc;
	for (const struct args_option *o = options; o->name != NULL; o++) {
		if (args_has(&cli->args, o->name) && !str_eq(v->name, "set"))
			return cli_usage(cli, "--%s is not for %s", o->name, v->name);
	}
	return verb_run(cli, v);
}

const struct cli_command cli_webhooks = {
    .name = "webhooks",
    .usage = "[list | get NAME | set NAME ENDPOINT STATE[,STATE...] | delete NAME | "
	     "deliveries NAME | resend NAME TASK | test NAME]",
    .summary = "Shows and changes where the ends of tasks are told.",
    .help = "STATE is succeeded, failed, cancelled or expired.  Each end makes one "
	    "delivery, a task of its\n"
	    "own, which is tried ten times over three days.  set makes a webhook or "
	    "replaces it, and\n"
	    "enables one that was disabled.  resend tells the end of a task once more, "
	    "under the\n"
	    "webhook-id that it had; test sends a ping.  Both print the delivery's id.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
