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
#include "cli/ask.h"
#include "cli/cli.h"

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
run(struct cli *cli)
{
	struct client_answer answer;
	struct strbuf path;
	int rc;

	if ((rc = cli_operands(cli, 1, 1)) != 0)
		return rc;
	strbuf_init(&path, 4096);
	ask_put_path(&path, "/v1/tasks/", cli->args.operands[0], "/log");
	rc = ask_answer(cli, "GET", &path, NULL, &answer);
	if (rc == 0) {
		put_lines(answer.body, answer.len);
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
