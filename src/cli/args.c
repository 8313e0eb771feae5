/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * args.c - a command line against tables of options; see args.h.
 *
 * getopt_long does the walking.  This file owns what it lacks: tables whose rows carry
 * their help, several tables at once (the command's own and the common ones), sentences
 * for errors, and typed getters.  Nothing here knows a command.
 */
#include "cli/args.h"

#include <getopt.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

#define LONG_BASE 1000 /* above every letter */

struct spec {
	const struct args_option *rows[ARGS_OPTIONS];
	struct option longs[ARGS_OPTIONS + 1];
	char letters[2 * ARGS_OPTIONS + 3];
	int count;
};

static int
spec_build(struct spec *s, const struct args_option *const tables[], struct err *err)
{
	static const int has_arg[] = {
	    [ARGS_FLAG] = no_argument,
	    [ARGS_VALUE] = required_argument,
	    [ARGS_OPTIONAL] = optional_argument,
	};
	size_t n = 0;

	memset(s, 0, sizeof(*s));
	s->letters[n++] = ':'; /* tells a missing value from an unknown option */
	for (size_t t = 0; tables[t] != NULL; t++) {
		for (const struct args_option *o = tables[t]; o->name != NULL; o++) {
			if (s->count == ARGS_OPTIONS)
				return err_set(
				    err, ERR_BUG, "more than %d options", ARGS_OPTIONS);
			s->rows[s->count] = o;
			s->longs[s->count] = (struct option){
			    .name = o->name,
			    .has_arg = has_arg[o->kind],
			    .val = LONG_BASE + s->count,
			};
			s->count++;
			if (o->letter != 0) {
				s->letters[n++] = o->letter;
				if (o->kind == ARGS_VALUE)
					s->letters[n++] = ':';
			}
		}
	}
	return 0;
}

static const struct args_option *
spec_find(const struct spec *s, int found)
{
	if (found >= LONG_BASE)
		return s->rows[found - LONG_BASE];
	for (int i = 0; i < s->count; i++) {
		if (s->rows[i]->letter == found)
			return s->rows[i];
	}
	return NULL;
}

static int
unknown_option(const struct spec *s, const char *word, struct err *err)
{
	const char *nearest = NULL;
	char name[65];
	unsigned best = 3;

	if (!str_starts(word, "--"))
		return err_set(err, ERR_INVALID, "there is no option %s", word);
	(void)str_copy(name, sizeof(name), word + 2);
	name[strcspn(name, "=")] = '\0';
	for (int i = 0; i < s->count; i++) {
		unsigned d = str_distance(name, s->rows[i]->name);

		if (d < best) {
			best = d;
			nearest = s->rows[i]->name;
		}
	}
	if (nearest != NULL)
		return err_set(
		    err, ERR_INVALID, "there is no option --%s; --%s?", name, nearest);
	return err_set(err, ERR_INVALID, "there is no option --%s", name);
}

int
args_parse(struct args *a, const struct args_option *const tables[], int argc,
    char *argv[], struct err *err)
{
	struct args out = {.given_count = 0};
	const struct args_option *o;
	struct spec s;
	int found, at;

	if (spec_build(&s, tables, err) != 0)
		return -1;
	optind = 0; /* glibc: start afresh */
	opterr = 0;
	for (;;) {
		at = optind == 0 ? 1 : optind;
		found = getopt_long(argc, argv, s.letters, s.longs, NULL);
		if (found == -1)
			break;
		if (found == '?' && optopt >= LONG_BASE)
			return err_set(err, ERR_INVALID, "--%s takes no value",
			    spec_find(&s, optopt)->name);
		if (found == '?' && optopt != 0)
			return err_set(
			    err, ERR_INVALID, "there is no option -%c", optopt);
		if (found == '?')
			return unknown_option(
			    &s, argv[optind > at ? optind - 1 : at], err);
		if (found == ':') {
			o = spec_find(&s, optopt);
			return err_set(err, ERR_INVALID, "--%s needs a value%s%s",
			    o->name, o->value != NULL ? ": " : "",
			    o->value != NULL ? o->value : "");
		}
		if (out.given_count == ARGS_GIVEN)
			return err_set(
			    err, ERR_INVALID, "more than %d options", ARGS_GIVEN);
		o = spec_find(&s, found);
		out.given[out.given_count].name = o->name;
		out.given[out.given_count].value = optarg;
		out.given_count++;
	}
	out.operands = argv + optind;
	out.operand_count = argc - optind;
	*a = out;
	return 0;
}

bool
args_has(const struct args *a, const char *name)
{
	for (size_t i = 0; i < a->given_count; i++) {
		if (str_eq(a->given[i].name, name))
			return true;
	}
	return false;
}

const char *
args_text(const struct args *a, const char *name)
{
	for (size_t i = a->given_count; i > 0; i--) {
		if (str_eq(a->given[i - 1].name, name))
			return a->given[i - 1].value;
	}
	return NULL;
}

const char *
args_next(const struct args *a, const char *name, size_t *cursor)
{
	while (*cursor < a->given_count) {
		size_t i = (*cursor)++;

		if (str_eq(a->given[i].name, name))
			return a->given[i].value;
	}
	return NULL;
}

int
args_int(const struct args *a, const char *name, int64_t min, int64_t max, int64_t *n,
    struct err *err)
{
	const char *text = args_text(a, name);
	int64_t value;

	if (text == NULL)
		return 0;
	if (str_to_i64(text, &value) != 0)
		return err_set(
		    err, ERR_INVALID, "--%s: '%s' is not a number", name, text);
	if (value < min || value > max)
		return err_set(err, ERR_INVALID, "--%s: %lld is outside %lld to %lld",
		    name, (long long)value, (long long)min, (long long)max);
	*n = value;
	return 0;
}

int
args_duration_ms(const struct args *a, const char *name, int64_t max_ms, int64_t *ms,
    struct err *err)
{
	const char *text = args_text(a, name);
	char limit[UNITS_TEXT_SIZE];
	int64_t value;

	if (text == NULL)
		return 0;
	if (units_duration_ms(text, &value, err) != 0)
		return err_wrap(err, "--%s", name);
	if (value > max_ms)
		return err_set(err, ERR_INVALID, "--%s: %s is more than %s", name, text,
		    units_duration_text(max_ms, limit));
	*ms = value;
	return 0;
}

void
args_print(FILE *out, const struct args_option *table)
{
	char left[64];

	for (const struct args_option *o = table; o->name != NULL; o++) {
		char letter[8] = "    ";

		if (o->letter != 0)
			snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s%s", letter, o->name,
		    o->kind == ARGS_OPTIONAL ? "[="
		    : o->kind == ARGS_VALUE  ? " "
					     : "",
		    o->value != NULL ? o->value : "",
		    o->kind == ARGS_OPTIONAL ? "]" : "");
		fprintf(out, "  %-28s %s\n", left, o->help);
	}
}
