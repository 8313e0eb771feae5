/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * args.h - a command line against tables of options.
 *
 * One row an option; the row feeds the parser and the help.  Options and operands may
 * be mixed, "--" ends the options.  What was given points into argv, borrowed.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/err.h"

#define ARGS_OPTIONS 40 /* rows of all tables together */
#define ARGS_GIVEN   64 /* options on one command line */

enum args_kind {
	ARGS_FLAG = 0,
	ARGS_VALUE,    /* --name VALUE, --name=VALUE, -x VALUE */
	ARGS_OPTIONAL, /* --name or --name=VALUE */
};

struct args_option {
	char letter;	  /* 0: none */
	const char *name; /* NULL ends a table */
	enum args_kind kind;
	const char *value; /* what the help calls it: "SECONDS" */
	const char *help;  /* a sentence */
};

struct args {
	char *const *operands;
	int operand_count;
	size_t given_count;
	struct {
		const char *name;
		const char *value; /* NULL: a flag, or an optional value left out */
	} given[ARGS_GIVEN];
};

/*
 * argv[0] is the command's name; argv is permuted, operands last.  tables:
 * NULL-terminated.  ERR_INVALID says which option is unknown (and the nearest known
 * one) or lacks its value.
 */
int args_parse(struct args *a, const struct args_option *const tables[], int argc,
    char *argv[], struct err *err) ATTR_CHECK;

bool args_has(const struct args *a, const char *name);
/* the last one given; NULL: absent, or without a value */
const char *args_text(const struct args *a, const char *name);
/* all of one name in order: start with *cursor 0; NULL at the end */
const char *args_next(const struct args *a, const char *name, size_t *cursor);
/* untouched when absent; ERR_INVALID outside min..max */
int args_int(const struct args *a, const char *name, int64_t min, int64_t max,
    int64_t *n, struct err *err) ATTR_CHECK;
/* units.h; untouched when absent */
int args_duration_ms(const struct args *a, const char *name, int64_t max_ms,
    int64_t *ms, struct err *err) ATTR_CHECK;

/* the rows of one table, two columns */
void args_print(FILE *out, const struct args_option *table);

#endif
