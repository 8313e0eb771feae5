/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_why.c - shoal why: why a task does not run.
 */
#include <json-c/json.h>

#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/cli.h"

#define REQUEST_MS 30000

static void
print_why(struct json_object *why)
{
	struct json_object *list = answer_member(why, "reasons");
	const char *message;
	size_t count = json_object_is_type(list, json_type_array)
			   ? json_object_array_length(list)
			   : 0;

	printf("%-10s ", answer_text(why, "state"));
	message = answer_text(why, "message");
	answer_put_text(stdout, message != NULL ? message : "");
	putchar('\n');
	for (size_t i = 1; i < count; i++) {
		message = answer_text(json_object_array_get_idx(list, i), "message");
		printf("%-10s ", "");
		answer_put_text(stdout, message != NULL ? message : "");
		putchar('\n');
	}
}

static int
show(const struct cli *cli, const struct client_answer *answer)
{
	struct json_object *why;
	struct err err = ERR_INIT;

	if (answer->status != 200)
		return cli_problem(cli, answer);
	if (cli->json) {
		cli_put_json(answer->body, answer->len);
		return CLI_OK;
	}
	why = answer_parse(answer->body, answer->len, &err);
	if (why == NULL)
		return cli_error(cli, &err);
	print_why(why);
	json_object_put(why);
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
	strbuf_puts(&path, "/why");
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

const struct cli_command cli_why = {
    .name = "why",
    .usage = "ID",
    .summary = "Says why a task does not run.",
    .help = "The first line has the task's state and the reason that decides; other "
	    "reasons that hold\n"
	    "too follow.",
    .needs = CLI_SERVER,
    .options = cli_no_options,
    .run = run,
};
