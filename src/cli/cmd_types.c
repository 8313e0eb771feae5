/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_types.c - shoal types: the task types that an application may use, and those that
 * it makes for workers of its own.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/jscan.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/verb.h"

#define TYPES	 "/v1/types/"
#define BODY_MAX (64 * 1024)

/* ---------------------------------------------------------------- output */

static void
print_head(void)
{
	printf("%-32s %-8s %-12s %8s %8s  %s\n", "TYPE", "HANDLER", "BY", "TIMEOUT",
	    "ATTEMPTS", "BACKOFF");
}

static void
print_number(struct json_object *type, const char *name, const char *unit)
{
	struct json_object *value = answer_member(type, name);
	char text[40] = "-";

	if (value != NULL && !json_object_is_type(value, json_type_null))
		snprintf(
		    text, sizeof(text), "%g%s", json_object_get_double(value), unit);
	printf(" %8s", text);
}

static void
print_type(struct json_object *type)
{
	struct json_object *backoff = answer_member(type, "backoff");

	printf("%-32s %-8s %-12s", answer_text(type, "name"),
	    answer_text(type, "handler"), answer_text(type, "by"));
	print_number(type, "timeout", "s");
	print_number(type, "max_attempts", "");
	fputs("  ", stdout);
	if (backoff != NULL && !json_object_is_type(backoff, json_type_null))
		answer_put_json(stdout, backoff);
	else
		putchar('-');
	putchar('\n');
}

static void
show_one(struct json_object *type)
{
	print_head();
	print_type(type);
}

/* ---------------------------------------------------------------- requests */

static void
show_page(struct json_object *page)
{
	answer_each(page, "types", print_type);
}

static int
list(struct cli *cli, const char *name)
{
	(void)name;
	return ask_pages(cli, "/v1/types", NULL, NULL, print_head, show_page);
}

static int
get(struct cli *cli, const char *name)
{
	return ask_name(cli, "GET", TYPES, name, "", NULL, show_one);
}

static int
del(struct cli *cli, const char *name)
{
	return ask_delete(cli, TYPES, name);
}

/* "key=value" as a member */
static int
put_setting(const struct cli *cli, struct jsonw *w, const char *word)
{
	char name[SETTING_MAX];
	const char *value = input_setting(word, name);
	struct jscan_limits limits = {.max_depth = 4};
	struct err err = ERR_INIT;
	struct jspan span;
	int64_t ms;

	if (value == NULL)
		return cli_usage(cli, "'%s' is not SETTING=VALUE", word);
	jsonw_key(w, name);
	if (value[0] == '\0' || str_eq(value, "none")) {
		jsonw_null(w);
	} else if (str_eq(name, "timeout")) {
		if (units_duration_ms(value, &ms, &err) != 0)
			return cli_usage(cli, "timeout: %s", err.text);
		jsonw_double(w, (double)ms / 1000);
	} else if (str_eq(name, "max_attempts") || str_eq(name, "backoff")) {
		if (jscan_check(value, strlen(value), &limits, &span, &err) != 0)
			return cli_usage(cli, "%s: %s", name, err.text);
		jsonw_raw(w, span.at, span.len);
	} else {
		jsonw_string(w, value);
	}
	return 0;
}

static int
set(struct cli *cli, const char *name)
{
	bool handler = false;
	struct strbuf body;
	struct jsonw w;
	int rc = 0;

	strbuf_init(&body, BODY_MAX);
	jsonw_init(&w, &body);
	jsonw_object(&w);
	for (int i = 2; i < cli->args.operand_count && rc == 0; i++) {
		handler |= str_starts(cli->args.operands[i], "handler=");
		rc = put_setting(cli, &w, cli->args.operands[i]);
	}
	if (!handler)
		jsonw_member_string(&w, "handler", "pull");
	jsonw_end(&w);
	if (rc == 0)
		rc = ask_name(cli, "PUT", TYPES, name, "", &body, show_one);
	strbuf_fini(&body);
	return rc;
}

static const struct verb verbs[] = {
    {"list", 0, 1, list},
    {"get", 2, 2, get},
    {"set", 2, 8, set},
    {"delete", 2, 2, del},
};

static int
run(struct cli *cli)
{
	int rc;
	const struct verb *v = verb_choose(cli, verbs, COUNT_OF(verbs), &rc);

	return v != NULL ? verb_run(cli, v) : rc;
}

const struct cli_command cli_types = {
    .name = "types",
    .usage = "[list] | get TYPE | set TYPE [SETTING=VALUE...] | delete TYPE",
    .summary = "Lists task types, and makes those whose tasks workers outside lease.",
    .help = "Settings: handler (pull, which needs not be said), timeout (15min), "
	    "max_attempts and\n"
	    "backoff (JSON, as of a task).  What is not given is not set.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run,
};
