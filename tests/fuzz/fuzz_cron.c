/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_cron.c - any bytes: a rule is refused with a reason, or it fires for ever.
 *
 * What passes is asked for its readings from several times on: each is no earlier than
 * asked for, is named again when asked from itself, nothing lies between, and it
 * comes within the years that cron.h promises.
 */
#include "fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "model/cron.h"

#define YEAR_S	  (366LL * 86400)
#define TEXT_MOST 4096

static void
follow(const struct cron *c, int64_t from_s)
{
	int64_t at_s = from_s, next_s;

	for (int i = 0; i < 4; i++, at_s = next_s + 1) {
		next_s = cron_next(c, at_s);
		FUZZ_CHECK(next_s >= at_s);
		FUZZ_CHECK(next_s != CRON_NEVER);
		if (c->every_s == 0)
			FUZZ_CHECK(next_s - at_s <= CRON_YEARS_MOST * YEAR_S);
		else
			FUZZ_CHECK(next_s - at_s < c->every_s);
		FUZZ_CHECK(cron_next(c, next_s) == next_s);
		FUZZ_CHECK(cron_next(c, at_s + (next_s - at_s) / 2) == next_s);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	/* the end of a leap day, of a year, of a century that has no leap day, of time
	 */
	static const int64_t times_s[] = {
	    0, 951868799, 1798761599, 4107542399, 16725225600};
	char *text = mem_alloc(len < TEXT_MOST ? len + 1 : TEXT_MOST + 1);
	struct err err = ERR_INIT;
	struct cron c;

	FUZZ_CHECK(text != NULL);
	if (len > TEXT_MOST)
		len = TEXT_MOST;
	memcpy(text, bytes, len);
	text[len] = '\0';
	if (cron_parse(text, &c, &err) != 0) {
		FUZZ_CHECK(err.code == ERR_INVALID && err.text[0] != '\0');
	} else {
		FUZZ_CHECK(strlen(text) <= CRON_TEXT_MAX);
		if (c.every_s != 0)
			FUZZ_CHECK(cron_is_steady(&c));
		for (size_t i = 0; i < COUNT_OF(times_s); i++)
			follow(&c, times_s[i]);
	}
	mem_free(text);
	return 0;
}
