/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmd_complete.c - shoal complete: what a shell's completion asks.
 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/complete.h"

#define OUTPUT_MAX (64UL * 1024)

static int
run(struct cli *cli)
{
	struct strbuf out;
	bool failed;

	strbuf_init(&out, OUTPUT_MAX);
	complete_words(cli->args.operand_count, cli->args.operands, &out);
	failed = strbuf_failed(&out);
	if (!failed)
		fputs(out.data, stdout);
	strbuf_fini(&out);
	if (failed) {
		fputs("shoal: complete: out of memory\n", stderr);
		return CLI_FAILED;
	}
	return CLI_OK;
}

const struct cli_command cli_complete = {
    .name = "complete",
    .usage = "-- [WORD...]",
    .summary = "Says what may come next on a command line, for shells.",
    .help = "WORD: what stands behind shoal so far.  The last one is completed; it may "
	    "be empty.\n"
	    "Each line is a word, a tab and what it is.",
    .options = cli_no_options,
    .run = run,
};
