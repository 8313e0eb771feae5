/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_types.c - shoal types: the task types that an application may use, and those that
 * it makes for workers of its own.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jscan.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"

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

static int
call_type(
    struct cli *cli, const char *method, const char *name, const struct strbuf *body)
{
	return ask_name(cli, method, "/v1/types/", name, "", body, show_one);
}

static int delete (struct cli *cli, const char *name)
{
	int rc = ask_name(cli, "DELETE", "/v1/types/", name, "", NULL, NULL);

	if (rc == CLI_OK && !cli->json)
		puts("deleted");
	return rc;
}

static void
show_page(struct json_object *page)
{
	struct json_object *rows = answer_member(page, "types");

	for (size_t i = 0; json_object_is_type(rows, json_type_array) &&
			   i < json_object_array_length(rows);
	     i++)
		print_type(json_object_array_get_idx(rows, i));
}

static int
list(struct cli *cli)
{
	struct strbuf path;
	int rc;

	strbuf_init(&path, 64);
	strbuf_puts(&path, "/v1/types");
	rc = ask_pages(cli, &path, print_head, show_page);
	strbuf_fini(&path);
	return rc;
}

/* "key=value" as a member */
static int
put_setting(const struct cli *cli, struct jsonw *w, const char *word)
{
	const char *value = strchr(word, '=');
	struct jscan_limits limits = {.max_depth = 4};
	struct err err = ERR_INIT;
	struct jspan span;
	char name[32];
	int64_t ms;

	if (value == NULL || value == word || (size_t)(value - word) >= sizeof(name))
		return cli_usage(cli, "'%s' is not SETTING=VALUE", word);
	memcpy(name, word, (size_t)(value - word));
	name[value++ - word] = '\0';
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
set(struct cli *cli)
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
	if (rc == 0 && strbuf_failed(&body))
		rc = cli_usage(cli, "the settings are too long");
	if (rc == 0)
		rc = call_type(cli, "PUT", cli->args.operands[1], &body);
	strbuf_fini(&body);
	return rc;
}

static int
run(struct cli *cli)
{
	const char *verb = cli->args.operand_count > 0 ? cli->args.operands[0] : "list";
	int rc;

	if (str_eq(verb, "list"))
		return (rc = cli_operands(cli, 0, 1)) != 0 ? rc : list(cli);
	if (str_eq(verb, "get"))
		return (rc = cli_operands(cli, 2, 2)) != 0
			   ? rc
			   : call_type(cli, "GET", cli->args.operands[1], NULL);
	if (str_eq(verb, "set"))
		return (rc = cli_operands(cli, 2, 8)) != 0 ? rc : set(cli);
	if (str_eq(verb, "delete"))
		return (rc = cli_operands(cli, 2, 2)) != 0
			   ? rc
			   : delete (cli, cli->args.operands[1]);
	return cli_usage(cli, "list, get, set or delete, not '%s'", verb);
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
