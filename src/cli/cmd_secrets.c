/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_secrets.c - shoal secrets: what endpoints are signed with, under another key.
 */
#include <stdio.h>

#include "base/seal.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/database.h"
#include "store/admin.h"

static int
rotate(const struct cli *cli, const struct sealkeys *keys)
{
	struct err err = ERR_INIT;
	struct session *se;
	int count = 0, rc;

	se = database_open(cli, &err);
	if (se == NULL)
		return cli_error(cli, &err);
	rc = admin_reseal(se, keys, &count, &err);
	session_close(se);
	if (rc != 0)
		return cli_error(cli, &err);
	if (cli->json)
		printf("{\"resealed\":%d}\n", count);
	else
		printf("%d endpoints were encrypted anew, with the key %s\n", count,
		    sealkeys_current(keys));
	return CLI_OK;
}

static int
run(struct cli *cli)
{
	struct err err = ERR_INIT;
	struct sealkeys *keys;
	int rc;

	if ((rc = cli_operands(cli, 2, 2)) != 0)
		return rc;
	if (!str_eq(cli->args.operands[0], "rotate"))
		return cli_usage(cli, "rotate, not '%s'", cli->args.operands[0]);
	keys = sealkeys_load(cli->args.operands[1], &err);
	if (keys == NULL)
		return cli_error(cli, &err);
	rc = rotate(cli, keys);
	sealkeys_free(keys);
	return rc;
}

const struct cli_command cli_secrets = {
    .name = "secrets",
    .usage = "rotate KEYFILE",
    .summary = "Encrypts the secrets of endpoints anew, with a new key.",
    .help =
	"KEYFILE is the secrets.key_file of the nodes.  Put a new line at its top on "
	"all nodes,\n"
	"reload them, run this, and take the old line away.  The database is as of "
	"shoal apps.",
    .needs = CLI_DATABASE,
    .options = cli_no_options,
    .run = run,
};
