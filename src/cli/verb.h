/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verb.h - the first operand of a command that is about things with names.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

#include "cli/cli.h"

struct verb {
	const char *name;
	int min, max;				       /* operands, the verb included */
	int (*run)(struct cli *cli, const char *name); /* NULL: none was given */
};

/* the row that is meant, the first one where there is no operand; NULL: *rc, and why
 * was said */
const struct verb *verb_choose(
    const struct cli *cli, const struct verb verbs[], size_t count, int *rc) ATTR_CHECK;
/* the command's exit status */
int verb_run(struct cli *cli, const struct verb *verb);

#endif
