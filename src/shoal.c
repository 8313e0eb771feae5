/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shoal.c - the client and administrator's tool; all of it is in src/cli.
 */
#include <signal.h>

#include "cli/cli.h"

int
main(int argc, char *argv[])
{
	/* a node that hangs up is an error to report, not a signal to die of */
	signal(SIGPIPE, SIG_IGN);
	return cli_main(argc, argv);
}
