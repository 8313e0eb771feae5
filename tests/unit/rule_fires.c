/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rule_fires.c - prints when rules fire, for tests/unit/zones to compare.
 *
 * Reads lines "GAP OVERLAP FROM UNTIL ZONE CRON", times in seconds since 1970, and
 * answers each with a line of the instants after FROM and not after UNTIL, each with
 * the offset and the kind: "1710054000/-14400/1 ...".
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "model/rule.h"

#define LINE_MAX_BYTES 512

static int
choice(const char *word, const char *(*name)(int))
{
	for (int i = 0; name(i) != NULL; i++) {
		if (str_eq(name(i), word))
			return i;
	}
	return -1;
}

static int
answer(char *line, struct err *err)
{
	char *rest = line, *words[5];
	struct rule r = {.zone = NULL};
	int64_t from, until;
	struct fire f;
	int gap, overlap;

	for (int i = 0; i < 5; i++) {
		words[i] = strsep(&rest, " ");
		if (rest == NULL)
			return err_set(err, ERR_INVALID, "the line is too short");
	}
	gap = choice(words[0], rule_gap_name);
	overlap = choice(words[1], rule_overlap_name);
	if (gap < 0 || overlap < 0 || str_to_i64(words[2], &from) != 0 ||
	    str_to_i64(words[3], &until) != 0)
		return err_set(err, ERR_INVALID, "the line is wrong");
	r.gap = (enum rule_gap)gap;
	r.overlap = (enum rule_overlap)overlap;
	if ((r.zone = zone_get(words[4], err)) == NULL ||
	    cron_parse(rest, &r.cron, err) != 0)
		return -1;
	for (f.at_us = from * 1000000;;) {
		if (rule_next(&r, f.at_us, false, &f, err) != 0)
			return -1;
		if (f.at_us > until * 1000000)
			break;
		printf("%" PRId64 "/%d/%d ", f.at_us / 1000000, (int)f.offset_s,
		    (int)f.kind);
	}
	putchar('\n');
	return 0;
}

int
main(void)
{
	char line[LINE_MAX_BYTES];
	struct err err = ERR_INIT;

	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (answer(line, &err) != 0) {
			fprintf(stderr, "rule_fires: %s\n", err.text);
			return 1;
		}
	}
	zone_forget_all();
	return 0;
}
