/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_keys.c - shoal keys: API keys, made, listed and revoked in the database.
 *
 * A key is printed once, alone on standard output, and kept nowhere.
 */
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/str.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/database.h"
#include "model/scope.h"
#include "store/admin.h"

#define OUTPUT_MAX     (64UL * 1024 * 1024)
#define EXPIRES_MAX_MS (3650LL * 86400 * 1000)

static const struct args_option options[] = {
    {'l', "label", ARGS_VALUE, "TEXT", "create: what the key is for."},
    {'e', "expires", ARGS_VALUE, "TIME",
	"create: valid this long: 90d. Default: for ever."},
    {'s', "scope", ARGS_VALUE, "LIST",
	"create: all that it may do: work, or work:QUEUE, with commas between. "
	"Default: "
	"everything."},
    {.name = NULL},
};

static void
put_created(const struct cli *cli, const char *app, const struct apikey *key)
{
	struct strbuf out;
	struct jsonw w;

	if (!cli->json) {
		printf("%s\n", key->text);
		fprintf(stderr,
		    "This is the only time that the key is shown. Its public id is "
		    "%s.\n",
		    key->public_id);
		return;
	}
	strbuf_init(&out, OUTPUT_MAX);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "public_id");
	jsonw_string(&w, key->public_id);
	jsonw_key(&w, "application");
	jsonw_string(&w, app);
	jsonw_key(&w, "key");
	jsonw_string(&w, key->text);
	jsonw_end(&w);
	cli_put_json(out.data, out.len);
	explicit_bzero(out.data, out.len);
	strbuf_fini(&out);
}

static int
create(const struct cli *cli, struct session *se)
{
	const char *label = args_text(&cli->args, "label"),
		   *app = cli->args.operands[1],
		   *scope = args_text(&cli->args, "scope");
	int64_t expires_ms = 0;
	struct err err = ERR_INIT;
	struct apikey key;

	if (args_duration_ms(
		&cli->args, "expires", EXPIRES_MAX_MS, &expires_ms, &err) != 0)
		return cli_usage(cli, "%s", err.text);
	if (args_has(&cli->args, "expires") && expires_ms < 1000)
		return cli_usage(cli, "--expires: less than a second");
	if (scope != NULL && scope_check(scope, &err) != 0)
		return cli_usage(cli, "--scope: %s", err.text);
	if (admin_key_create(se, app, label != NULL ? label : "", expires_ms / 1000,
		scope, &key, &err) != 0)
		return cli_error(cli, &err);
	put_created(cli, app, &key);
	explicit_bzero(&key, sizeof(key));
	return CLI_OK;
}

static int
text_row(int columns, const char *const values[], void *arg)
{
	(void)arg;
	if (columns < 7)
		return 0;
	printf("%-9s %-24s %-20s %-20s %-20s ", values[0], values[1], values[3],
	    values[4] != NULL ? values[4] : "-", values[5] != NULL ? values[5] : "-");
	answer_put_text(stdout, values[2]);
	if (values[6] != NULL)
		printf(" (%s)", values[6]);
	putchar('\n');
	return 0;
}

static int
json_row(int columns, const char *const values[], void *arg)
{
	static const char *const names[] = {"public_id", "application", "label",
	    "created_at", "expires_at", "revoked_at", "scopes"};
	struct jsonw *w = arg;

	jsonw_object(w);
	for (size_t i = 0; i < COUNT_OF(names) && (int)i < columns; i++) {
		jsonw_key(w, names[i]);
		jsonw_string(w, values[i]);
	}
	jsonw_end(w);
	return 0;
}

static int
list(const struct cli *cli, struct session *se)
{
	const char *app = cli->args.operand_count > 1 ? cli->args.operands[1] : NULL;
	struct err err = ERR_INIT;
	struct strbuf out;
	struct jsonw w;
	int rc;

	if (!cli->json) {
		printf("%-9s %-24s %-20s %-20s %-20s %s\n", "PUBLIC ID", "APPLICATION",
		    "CREATED", "EXPIRES", "REVOKED", "LABEL");
		return admin_key_list(se, app, text_row, NULL, &err) != 0
			   ? cli_error(cli, &err)
			   : CLI_OK;
	}
	strbuf_init(&out, OUTPUT_MAX);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "keys");
	jsonw_array(&w);
	rc = admin_key_list(se, app, json_row, &w, &err);
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
revoke(const struct cli *cli, struct session *se)
{
	const char *public_id = cli->args.operands[1];
	struct err err = ERR_INIT;
	struct strbuf out;
	struct jsonw w;

	if (admin_key_revoke(se, public_id, &err) != 0)
		return cli_error(cli, &err);
	if (!cli->json) {
		printf(
		    "revoked %s; every node refuses it within 5 seconds\n", public_id);
		return CLI_OK;
	}
	strbuf_init(&out, OUTPUT_MAX);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "revoked");
	jsonw_string(&w, public_id);
	jsonw_end(&w);
	cli_put_json(out.data, out.len);
	strbuf_fini(&out);
	return CLI_OK;
}

static const struct {
	const char *name;
	int min, max; /* operands, the verb included */
	int (*run)(const struct cli *cli, struct session *se);
} verbs[] = {
    {"create", 2, 2, create},
    {"list", 0, 2, list},
    {"revoke", 2, 2, revoke},
};

static int
run(struct cli *cli)
{
	const char *verb = cli->args.operand_count > 0 ? cli->args.operands[0] : "list";
	struct err err = ERR_INIT;
	struct session *se;
	size_t i = 0;
	int rc;

	while (i < COUNT_OF(verbs) && !str_eq(verbs[i].name, verb))
		i++;
	if (i == COUNT_OF(verbs))
		return cli_usage(cli, "create, list or revoke, not '%s'", verb);
	if ((rc = cli_operands(cli, verbs[i].min, verbs[i].max)) != 0)
		return rc;
	if (i != 0 &&
	    (args_has(&cli->args, "label") || args_has(&cli->args, "expires") ||
		args_has(&cli->args, "scope")))
		return cli_usage(cli, "--label, --expires and --scope are for create");
	se = database_open(cli, &err);
	if (se == NULL)
		return cli_error(cli, &err);
	rc = verbs[i].run(cli, se);
	session_close(se);
	return rc;
}

const struct cli_command cli_keys = {
    .name = "keys",
    .usage = "create APP | list [APP] | revoke PUBLIC_ID",
    .summary = "Makes, lists and revokes API keys, in the database.",
    .help = "A new key is printed once, on standard output, and nowhere kept. Its "
	    "public id, the part\n"
	    "between the second and the third underscore, names it from then on.",
    .needs = CLI_DATABASE,
    .options = options,
    .run = run,
};
