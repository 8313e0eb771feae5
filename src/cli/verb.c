/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verb.c - the first operand of a command; see verb.h.
 */
#include "cli/verb.h"

#include "base/str.h"
#include "base/strbuf.h"

#define NAMES_BYTES 512

/* "list, get or set, not 'x'" */
static int
refuse_verb(
    const struct cli *cli, const struct verb verbs[], size_t count, const char *name)
{
	struct strbuf names;
	int rc;

	strbuf_init(&names, NAMES_BYTES);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			strbuf_puts(&names, i + 1 < count ? ", " : " or ");
		strbuf_puts(&names, verbs[i].name);
	}
	rc = cli_usage(
	    cli, "%s, not '%s'", strbuf_failed(&names) ? "?" : names.data, name);
	strbuf_fini(&names);
	return rc;
}

const struct verb *
verb_choose(const struct cli *cli, const struct verb verbs[], size_t count, int *rc)
{
	const char *name =
	    cli->args.operand_count > 0 ? cli->args.operands[0] : verbs[0].name;

	for (size_t i = 0; i < count; i++) {
		if (!str_eq(verbs[i].name, name))
			continue;
		*rc = cli_operands(cli, verbs[i].min, verbs[i].max);
		return *rc == 0 ? &verbs[i] : NULL;
	}
	*rc = refuse_verb(cli, verbs, count, name);
	return NULL;
}

int
verb_run(struct cli *cli, const struct verb *verb)
{
	return verb->run(
	    cli, cli->args.operand_count > 1 ? cli->args.operands[1] : NULL);
}
