/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_endpoints.c - shoal endpoints: where the application wants to be called.
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
	printf("%-32s %-9s %s\n", "ENDPOINT", "STATE", "URL");
}

/* a secret goes to standard output alone, so that it can be kept by a script */
static void
print_endpoint(struct json_object *e)
{
	const char *secret = answer_text(e, "secret"),
		   *reason = answer_text(e, "disabled_reason");
	bool disabled = json_object_get_boolean(answer_member(e, "disabled"));

	if (secret != NULL) {
		fprintf(stderr, "Its secret, which is shown this once:\n");
		puts(secret);
		return;
	}
	printf("%-32s %-9s %s\n", answer_text(e, "name"),
	    disabled ? "disabled" : "in use", answer_text(e, "url"));
	if (disabled && reason != NULL)
		printf("%-32s %-9s %s\n", "", "", reason);
}

static void
show_one(struct json_object *e)
{
	if (answer_text(e, "secret") == NULL)
		print_head();
	print_endpoint(e);
}

/* ---------------------------------------------------------------- requests */

static int
call_endpoint(struct cli *cli, const char *method, const char *name, const char *verb,
    const struct strbuf *body)
{
	return ask_name(cli, method, "/v1/endpoints/", name, verb, body, show_one);
}

static int delete (struct cli *cli, const char *name)
{
	int rc = ask_name(cli, "DELETE", "/v1/endpoints/", name, "", NULL, NULL);

	if (rc == CLI_OK && !cli->json)
		puts("deleted");
	return rc;
}

static void
show_page(struct json_object *page)
{
	struct json_object *rows = answer_member(page, "endpoints");

	for (size_t i = 0; json_object_is_type(rows, json_type_array) &&
			   i < json_object_array_length(rows);
	     i++)
		print_endpoint(json_object_array_get_idx(rows, i));
}

static int
list(struct cli *cli)
{
	struct strbuf path;
	int rc;

	strbuf_init(&path, 64);
	strbuf_puts(&path, "/v1/endpoints");
	rc = ask_pages(cli, &path, print_head, show_page);
	strbuf_fini(&path);
	return rc;
}

/* "key=value" as a member; header:NAME=value goes into headers */
static int
put_setting(
    const struct cli *cli, struct jsonw *w, struct jsonw *headers, const char *word)
{
	const char *value = strchr(word, '=');
	struct err err = ERR_INIT;
	char name[100];
	int64_t ms;

	if (value == NULL || value == word || (size_t)(value - word) >= sizeof(name))
		return cli_usage(cli, "'%s' is not SETTING=VALUE", word);
	memcpy(name, word, (size_t)(value - word));
	name[value++ - word] = '\0';
	if (str_starts(name, "header:")) {
		jsonw_member_string(headers, name + strlen("header:"), value);
		return 0;
	}
	jsonw_key(w, name);
	if (value[0] == '\0' || str_eq(value, "none")) {
		jsonw_null(w);
	} else if (str_eq(name, "timeout") || str_eq(name, "overlap")) {
		if (units_duration_ms(value, &ms, &err) != 0)
			return cli_usage(cli, "%s: %s", name, err.text);
		jsonw_double(w, (double)ms / 1000);
	} else if (str_eq(name, "disabled")) {
		if (!str_eq(value, "true") && !str_eq(value, "false"))
			return cli_usage(cli, "disabled: true or false");
		jsonw_bool(w, str_eq(value, "true"));
	} else {
		jsonw_string(w, value);
	}
	return 0;
}

/* all words behind the endpoint's name, as the body of this request */
static int
send_settings(struct cli *cli, const char *method, const char *verb)
{
	struct strbuf body, heads;
	struct jsonw w, headers;
	int rc = 0;

	strbuf_init(&body, BODY_MAX);
	strbuf_init(&heads, BODY_MAX / 2);
	jsonw_init(&w, &body);
	jsonw_init(&headers, &heads);
	jsonw_object(&w);
	jsonw_object(&headers);
	for (int i = 2; i < cli->args.operand_count && rc == 0; i++)
		rc = put_setting(cli, &w, &headers, cli->args.operands[i]);
	jsonw_end(&headers);
	if (heads.len > 2) {
		jsonw_key(&w, "headers");
		jsonw_raw(&w, heads.data, heads.len);
	}
	jsonw_end(&w);
	if (rc == 0 && (strbuf_failed(&body) || strbuf_failed(&heads)))
		rc = cli_usage(cli, "the settings are too long");
	if (rc == 0)
		rc = call_endpoint(cli, method, cli->args.operands[1], verb, &body);
	strbuf_fini(&body);
	strbuf_fini(&heads);
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
			   : call_endpoint(cli, "GET", cli->args.operands[1], "", NULL);
	if (str_eq(verb, "set"))
		return (rc = cli_operands(cli, 3, 24)) != 0
			   ? rc
			   : send_settings(cli, "PUT", "");
	if (str_eq(verb, "rotate"))
		return (rc = cli_operands(cli, 2, 3)) != 0
			   ? rc
			   : send_settings(cli, "POST", "/rotate");
	if (str_eq(verb, "delete"))
		return (rc = cli_operands(cli, 2, 2)) != 0
			   ? rc
			   : delete (cli, cli->args.operands[1]);
	return cli_usage(cli, "list, get, set, rotate or delete, not '%s'", verb);
}

const struct cli_command cli_endpoints = {
    .name = "endpoints",
    .usage = "[list] | get NAME | set NAME SETTING=VALUE... | rotate NAME "
	     "[overlap=24h] | delete NAME",
    .summary = "Lists and sets where the application wants to be called.",
    .help =
	"Settings: url, header:NAME, timeout (30s), disabled (true, false), reason.  A "
	"new endpoint\n"
	"needs a URL; its secret, and that of rotate, is shown once.  What is not "
	"given "
	"stays as it\n"
	"is; header: gives all headers anew.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run,
};
