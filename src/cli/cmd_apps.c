/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_apps.c - shoal apps: applications, made, listed and weighed in the database.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/jsonw.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/database.h"
#include "store/admin.h"

#define OUTPUT_MAX (64UL * 1024 * 1024)

static int
create(const struct cli *cli, struct session *se, const char *name)
{
	struct err err = ERR_INIT;
	struct strbuf out;
	struct jsonw w;
	int id;

	if (admin_app_create(se, name, &id, &err) != 0)
		return cli_error(cli, &err);
	if (!cli->json) {
		printf("application %s\n", name);
		fprintf(stderr, "A key for it: shoal keys create %s\n", name);
		return CLI_OK;
	}
	strbuf_init(&out, OUTPUT_MAX);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "id");
	jsonw_int(&w, id);
	jsonw_key(&w, "name");
	jsonw_string(&w, name);
	jsonw_end(&w);
	cli_put_json(out.data, out.len);
	strbuf_fini(&out);
	return CLI_OK;
}

static int
text_row(int columns, const char *const values[], void *arg)
{
	(void)arg;
	if (columns >= 5)
		printf("%-32s %-20s %9s %6s\n", values[1], values[2], values[3],
		    values[4]);
	return 0;
}

static int
json_row(int columns, const char *const values[], void *arg)
{
	struct jsonw *w = arg;

	if (columns < 5)
		return 0;
	jsonw_object(w);
	jsonw_key(w, "id");
	jsonw_int(w, strtol(values[0], NULL, 10));
	jsonw_key(w, "name");
	jsonw_string(w, values[1]);
	jsonw_key(w, "created_at");
	jsonw_string(w, values[2]);
	jsonw_key(w, "live_keys");
	jsonw_int(w, strtol(values[3], NULL, 10));
	jsonw_key(w, "weight");
	jsonw_int(w, strtol(values[4], NULL, 10));
	jsonw_end(w);
	return 0;
}

static int
list(const struct cli *cli, struct session *se)
{
	struct err err = ERR_INIT;
	struct strbuf out;
	struct jsonw w;
	int rc;

	if (!cli->json) {
		printf(
		    "%-32s %-20s %9s %6s\n", "NAME", "CREATED", "LIVE KEYS", "WEIGHT");
		return admin_app_list(se, text_row, NULL, &err) != 0
			   ? cli_error(cli, &err)
			   : CLI_OK;
	}
	strbuf_init(&out, OUTPUT_MAX);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "applications");
	jsonw_array(&w);
	rc = admin_app_list(se, json_row, &w, &err);
	jsonw_end(&w);
	jsonw_end(&w);
	if (rc == 0 && strbuf_failed(&out))
		rc = err_set(&err, ERR_LIMIT, "the list is too long");
	if (rc == 0)
		cli_put_json(out.data, out.len);
	strbuf_fini(&out);
	return rc != 0 ? cli_error(cli, &err) : CLI_OK;
}

static int
set_weight(const struct cli *cli, struct session *se, const char *name, int64_t weight)
{
	struct err err = ERR_INIT;
	int before;

	if (admin_app_weight(se, name, (int)weight, &before, &err) != 0)
		return cli_error(cli, &err);
	if (cli->json)
		printf("{\"weight\":%d,\"before\":%d}\n", (int)weight, before);
	else
		printf("%s has weight %d (before: %d)\n", name, (int)weight, before);
	return CLI_OK;
}

static int
run(struct cli *cli)
{
	const char *verb = cli->args.operand_count > 0 ? cli->args.operands[0] : "list";
	bool creates = str_eq(verb, "create"), weighs = str_eq(verb, "weight");
	int most = creates ? 2 : weighs ? 3 : 1;
	struct err err = ERR_INIT;
	struct session *se;
	int64_t weight = 0;
	int rc;

	if (!creates && !weighs && !str_eq(verb, "list"))
		return cli_usage(cli, "create, list or weight, not '%s'", verb);
	if ((rc = cli_operands(cli, most > 1 ? most : 0, most)) != 0)
		return rc;
	if (weighs && (str_to_i64(cli->args.operands[2], &weight) != 0 || weight < 1 ||
			  weight > ADMIN_WEIGHT_MAX))
		return cli_usage(
		    cli, "a weight is a whole number from 1 to %d", ADMIN_WEIGHT_MAX);
	se = database_open(cli, &err);
	if (se == NULL)
		return cli_error(cli, &err);
	if (creates)
		rc = create(cli, se, cli->args.operands[1]);
	else if (weighs)
		rc = set_weight(cli, se, cli->args.operands[1], weight);
	else
		rc = list(cli, se);
	session_close(se);
	return rc;
}

const struct cli_command cli_apps = {
    .name = "apps",
    .usage = "create NAME | list | weight NAME N",
    .summary = "Makes, lists and weighs applications, in the database.",
    .help = "An application owns keys, queues and tasks, and sees no other's. Where "
	    "several have work,\n"
	    "starts are shared between them by weight, 1 to 1000, at first 1. The "
	    "database is that of\n"
	    "SHOAL_DATABASE_URL, unless -c or -o is given; otherwise that of the "
	    "node's settings, found\n"
	    "as shoald finds them.",
    .needs = CLI_DATABASE,
    .options = cli_no_options,
    .run = run,
};
