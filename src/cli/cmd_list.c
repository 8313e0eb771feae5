/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_list.c - shoal list: the application's tasks, newest first, page by page.
 */
#include <json-c/json.h>
#include <stdio.h>

#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/ask.h"
#include "cli/cli.h"

#define PAGE_MAX 100 /* the node's own bound */

static const struct args_option options[] = {
    {'s', "state", ARGS_VALUE, "STATE",
	"scheduled, queued, running, succeeded, failed, ..."},
    {'q', "queue", ARGS_VALUE, "QUEUE", "Only of this queue."},
    {'t', "type", ARGS_VALUE, "TYPE", "Only of this type."},
    {0, "since", ARGS_VALUE, "WHEN", "Submitted at or after: 2026-01-31T12:00:00Z."},
    {0, "until", ARGS_VALUE, "WHEN", "Submitted before."},
    {'n', "limit", ARGS_VALUE, "N", "At most so many. Default: 20."},
    {'a', "all", ARGS_FLAG, NULL, "All of them, page by page."},
    {.name = NULL},
};

static const char *const filters[] = {"state", "queue", "type", "since", "until"};

static void
build_path(const struct args *a, int64_t page, const char *cursor, struct strbuf *path)
{
	const char *value;

	strbuf_printf(path, "/v1/tasks?limit=%lld", (long long)page);
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		value = args_text(a, filters[i]);
		if (value == NULL)
			continue;
		strbuf_printf(path, "&%s=", filters[i]);
		url_encode(path, value);
	}
	if (cursor[0] != '\0') {
		strbuf_puts(path, "&cursor=");
		url_encode(path, cursor);
	}
}

/* shows one page; *shown grows, cursor is "" after the last page */
static int
show_page(const struct cli *cli, const struct client_answer *answer, int64_t *shown,
    char *cursor, size_t cursor_size)
{
	struct json_object *page, *tasks;
	struct err err = ERR_INIT;
	const char *next;
	size_t count;
	int rc = CLI_OK;

	if (answer->status != 200)
		return cli_problem(cli, answer);
	page = answer_parse(answer->body, answer->len, &err);
	if (page == NULL)
		return cli_error(cli, &err);
	tasks = answer_member(page, "tasks");
	count = answer_count(tasks);
	if (cli->json)
		cli_put_json(answer->body, answer->len);
	else if (cursor[0] == '\0')
		answer_print_row_head(stdout);
	for (size_t i = 0; i < count && !cli->json; i++)
		answer_print_row(stdout, json_object_array_get_idx(tasks, i));
	*shown += (int64_t)count;
	next = answer_text(page, "next_cursor");
	if (next == NULL) /* a page may be short, or empty, and not be the last one */
		cursor[0] = '\0';
	else if (snprintf(cursor, cursor_size, "%s", next) >= (int)cursor_size)
		rc = cli_usage(
		    cli, "the node's cursor is longer than %zu bytes", cursor_size - 1);
	json_object_put(page);
	return rc;
}

static int
list(struct cli *cli, int64_t limit)
{
	char cursor[1024] = "";
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct strbuf path;
	int64_t shown = 0, left;
	int rc = CLI_OK;

	strbuf_init(&path, 8192);
	do {
		left = limit - shown;
		strbuf_reset(&path);
		build_path(
		    &cli->args, left < PAGE_MAX ? left : PAGE_MAX, cursor, &path);
		if (strbuf_failed(&path)) {
			rc = cli_usage(cli, "the filters are too long");
		} else if (client_call(cli->client, "GET", path.data, NULL, 0, ASK_MS,
			       &answer, &err) != 0) {
			rc = cli_error(cli, &err);
		} else {
			rc = show_page(cli, &answer, &shown, cursor, sizeof(cursor));
			client_answer_fini(&answer);
		}
	} while (rc == CLI_OK && cursor[0] != '\0' && shown < limit && !ferror(stdout));
	strbuf_fini(&path);
	return rc;
}

static int
run(struct cli *cli)
{
	int64_t limit = 20;
	struct err err = ERR_INIT;
	int rc;

	if ((rc = cli_operands(cli, 0, 0)) != 0)
		return rc;
	if (args_int(&cli->args, "limit", 1, 1000000000, &limit, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if (args_has(&cli->args, "all")) {
		if (args_has(&cli->args, "limit"))
			return cli_usage(cli, "--all and --limit exclude each other");
		limit = INT64_MAX;
	}
	if ((rc = cli_connect(cli)) != 0)
		return rc;
	return list(cli, limit);
}

const struct cli_command cli_list = {
    .name = "list",
    .usage = "",
    .summary = "Lists the application's tasks, newest first.",
    .help = "With --json every page is one line of JSON, as it came.",
    .needs = CLI_SERVER,
    .options = options,
    .run = run,
};
