/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_endpoints.c - shoal endpoints: where the application wants to be called.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "base/units.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/verb.h"

#define ENDPOINTS "/v1/endpoints/"
#define BODY_MAX  (64 * 1024)

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
	bool disabled = answer_is_true(e, "disabled");

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

static void
show_page(struct json_object *page)
{
	answer_each(page, "endpoints", print_endpoint);
}

static int
list(struct cli *cli, const char *name)
{
	(void)name;
	return ask_pages(cli, "/v1/endpoints", NULL, NULL, print_head, show_page);
}

static int
get(struct cli *cli, const char *name)
{
	return ask_name(cli, "GET", ENDPOINTS, name, "", NULL, show_one);
}

static int
del(struct cli *cli, const char *name)
{
	return ask_delete(cli, ENDPOINTS, name);
}

/* "key=value" as a member; header:NAME=value goes into headers */
static int
put_setting(
    const struct cli *cli, struct jsonw *w, struct jsonw *headers, const char *word)
{
	char name[SETTING_MAX];
	const char *value = input_setting(word, name);
	struct err err = ERR_INIT;
	int64_t ms;

	if (value == NULL)
		return cli_usage(cli, "'%s' is not SETTING=VALUE", word);
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
send_settings(struct cli *cli, const char *method, const char *name, const char *verb)
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
	if (rc == 0 && strbuf_failed(&heads))
		rc = cli_usage(cli, "the headers are too long");
	if (rc == 0)
		rc = ask_name(cli, method, ENDPOINTS, name, verb, &body, show_one);
	strbuf_fini(&body);
	strbuf_fini(&heads);
	return rc;
}

static int
set(struct cli *cli, const char *name)
{
	return send_settings(cli, "PUT", name, "");
}

static int
rotate(struct cli *cli, const char *name)
{
	return send_settings(cli, "POST", name, "/rotate");
}

static const struct verb verbs[] = {
    {"list", 0, 1, list},
    {"get", 2, 2, get},
    {"set", 3, 24, set},
    {"rotate", 2, 3, rotate},
    {"delete", 2, 2, del},
};

static int
run(struct cli *cli)
{
	int rc;
	const struct verb *v = verb_choose(cli, verbs, COUNT_OF(verbs), &rc);

	return v != NULL ? verb_run(cli, v) : rc;
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
