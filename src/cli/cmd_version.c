/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_version.c - shoal version.
 */
#include <stdio.h>

#include "cli/cli.h"
#include "config.h"

static int
run(struct cli *cli)
{
	int rc = cli_operands(cli, 0, 0);

	if (rc != 0)
		return rc;
	if (cli->json)
		puts("{\"version\":\"" PACKAGE_VERSION "\"}");
	else
		puts("shoal " PACKAGE_VERSION);
	return CLI_OK;
}

const struct cli_command cli_version = {
    .name = "version",
    .usage = "",
    .summary = "Prints the version.",
    .options = cli_no_options,
    .run = run,
};
