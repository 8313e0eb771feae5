/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_log.c - shoal log: what a task has written while it runs.
 *
 * It comes from a command that may write anything, so it is made safe for a terminal.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/strbuf.h"
#include "cli/cli.h"

#define REQUEST_MS 30000

static void
put_lines(const char *text, size_t len)
{
	char shown[4096];

	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t left = end != NULL ? (size_t)(end - text) : len, n;

		len -= left + (end != NULL);
		while (left > 0) {
			n = str_one_line(shown, sizeof(shown), text, left);
			if (n == 0)
				break;
			fputs(shown, stdout);
			text += n;
			left -= n;
		}
		putchar('\n');
		if (end != NULL)
			text = end + 1;
	}
}

static int
show(const struct cli *cli, const struct client_answer *answer)
{
	if (answer->status != 200)
		return cli_problem(cli, answer);
	put_lines(answer->body, answer->len);
	return CLI_OK;
}

static int
run(struct cli *cli)
{
	struct client_answer answer;
	struct err err = ERR_INIT;
	struct strbuf path;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0 || (rc = cli_connect(cli)) != 0)
		return rc;
	strbuf_init(&path, 4096);
	strbuf_puts(&path, "/v1/tasks/");
	url_encode(&path, cli->args.operands[0]);
	strbuf_puts(&path, "/log");
	if (strbuf_failed(&path)) {
		rc = cli_usage(cli, "the id is too long");
	} else if (client_call(cli->client, "GET", path.data, NULL, 0, REQUEST_MS,
		       &answer, &err) != 0) {
		rc = cli_error(cli, &err);
	} else {
		rc = show(cli, &answer);
		client_answer_fini(&answer);
	}
	strbuf_fini(&path);
	return rc;
}

const struct cli_command cli_log = {
    .name = "log",
    .usage = "ID",
    .summary = "Shows the last log lines of a task.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run,
};
