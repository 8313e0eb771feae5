/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_cron.c - what cron's language names, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/clock.h"
#include "model/cron.h"

/* readings as RFC 3339 without the Z */
static int64_t
reading(const char *text)
{
	char whole[40];
	int64_t us;

	snprintf(whole, sizeof(whole), "%sZ", text);
	if (clock_parse(whole, &us) != 0)
		fail_msg("'%s' is no time", text);
	return us / 1000000;
}

static void
shows(int64_t s, char buf[20])
{
	char text[CLOCK_TEXT_SIZE];

	snprintf(buf, 20, "%.19s", clock_format(s * 1000000, text));
}

/* the readings from a time on, one after another */
static const struct row {
	const char *cron, *from;
	const char *next[4]; /* as many as matter */
} rows[] = {
    {"30 2 * * *", "2026-01-31T02:30:00",
	{"2026-01-31T02:30:00", "2026-02-01T02:30:00"}},
    {"30 2 * * *", "2026-01-31T02:30:01", {"2026-02-01T02:30:00"}},
    {"  30\t2  * * *  ", "2026-01-31T02:30:01", {"2026-02-01T02:30:00"}},
    {"* * * * *", "2026-12-31T23:59:01", {"2027-01-01T00:00:00"}},
    {"*/15 * * * *", "2026-01-01T00:31:00",
	{"2026-01-01T00:45:00", "2026-01-01T01:00:00"}},
    {"5/20 * * * *", "2026-01-01T00:00:00",
	{"2026-01-01T00:05:00", "2026-01-01T00:25:00", "2026-01-01T00:45:00",
	    "2026-01-01T01:05:00"}},
    {"10-40/10,55 3 * * *", "2026-01-01T03:31:00",
	{"2026-01-01T03:40:00", "2026-01-01T03:55:00", "2026-01-02T03:10:00"}},
    {"*/20 0 12 * * *", "2026-01-01T12:00:00",
	{"2026-01-01T12:00:00", "2026-01-01T12:00:20", "2026-01-01T12:00:40",
	    "2026-01-02T12:00:00"}},
    {"30 59 23 31 12 *", "2026-12-31T23:59:31", {"2027-12-31T23:59:30"}},
    {"0 0 29 2 *", "2096-03-01T00:00:00", {"2104-02-29T00:00:00"}}, /* 2100 has none */
    {"0 0 31 * *", "2026-01-31T00:00:01",
	{"2026-03-31T00:00:00", "2026-05-31T00:00:00"}},
    {"0 0 L * *", "2026-01-31T00:00:01",
	{"2026-02-28T00:00:00", "2026-03-31T00:00:00"}},
    {"0 0 15,L 2 *", "2028-02-01T00:00:00",
	{"2028-02-15T00:00:00", "2028-02-29T00:00:00", "2029-02-15T00:00:00"}},
    /* 2026-01-01 is a Thursday */
    {"0 0 * * 5L", "2026-01-01T00:00:00",
	{"2026-01-30T00:00:00", "2026-02-27T00:00:00"}},
    {"0 0 * * friL", "2026-01-31T00:00:00", {"2026-02-27T00:00:00"}},
    {"0 9 * * mon-fri", "2026-01-02T09:00:01",
	{"2026-01-05T09:00:00", "2026-01-06T09:00:00"}},
    {"0 0 * * 7", "2026-01-01T00:00:00", {"2026-01-04T00:00:00"}},
    {"0 0 * * 0", "2026-01-01T00:00:00", {"2026-01-04T00:00:00"}},
    {"0 0 * * FRI-SUN", "2026-01-01T00:00:00",
	{"2026-01-02T00:00:00", "2026-01-03T00:00:00", "2026-01-04T00:00:00",
	    "2026-01-09T00:00:00"}},
    {"0 0 * * 5-7", "2026-01-03T00:00:01",
	{"2026-01-04T00:00:00", "2026-01-09T00:00:00"}},
    {"0 0 1 JAN,jul *", "2026-01-01T00:00:01",
	{"2026-07-01T00:00:00", "2027-01-01T00:00:00"}},
    /* either day, when both are restricted */
    {"0 0 13 * 5", "2026-03-07T00:00:00",
	{"2026-03-13T00:00:00", "2026-03-20T00:00:00", "2026-03-27T00:00:00",
	    "2026-04-03T00:00:00"}},
    {"0 0 10 * 5", "2026-03-07T00:00:00",
	{"2026-03-10T00:00:00", "2026-03-13T00:00:00"}},
    /* a field that begins with an asterisk does not add days: odd Mondays */
    {"0 0 */2 * 1", "2026-03-01T00:00:00",
	{"2026-03-09T00:00:00", "2026-03-23T00:00:00", "2026-04-13T00:00:00"}},
    {"0 0 31 2 1", "2026-02-01T00:00:00",
	{"2026-02-02T00:00:00"}}, /* Mondays in February */
    {"@yearly", "2026-01-01T00:00:01", {"2027-01-01T00:00:00"}},
    {"@annually", "2026-01-01T00:00:01", {"2027-01-01T00:00:00"}},
    {"@monthly", "2026-01-01T00:00:01", {"2026-02-01T00:00:00"}},
    {"@weekly", "2026-01-01T00:00:01", {"2026-01-04T00:00:00"}},
    {"@daily", "2026-01-01T00:00:01", {"2026-01-02T00:00:00"}},
    {"@Midnight", "2026-01-01T00:00:01", {"2026-01-02T00:00:00"}},
    {"@hourly", "2026-01-01T00:00:01", {"2026-01-01T01:00:00"}},
    {"@every 90s", "2026-01-01T00:00:01",
	{"2026-01-01T00:01:30", "2026-01-01T00:03:00"}},
    {"@every 7d", "1970-01-01T00:00:01", {"1970-01-08T00:00:00"}},
    {"0 0 1 1 *", "1970-01-01T00:00:00", {"1970-01-01T00:00:00"}},
};

static void
a_rule_names_readings(void **state)
{
	char got[20];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err err = ERR_INIT;
		int64_t at = reading(rows[i].from);
		struct cron c;

		if (cron_parse(rows[i].cron, &c, &err) != 0)
			fail_msg("'%s': %s", rows[i].cron, err.text);
		for (int k = 0; k < 4 && rows[i].next[k] != NULL; k++) {
			at = cron_next(&c, at);
			shows(at, got);
			if (strcmp(got, rows[i].next[k]) != 0)
				fail_msg("'%s' from %s: %s, not %s", rows[i].cron,
				    rows[i].from, got, rows[i].next[k]);
			at++;
		}
	}
}

/* refused, and what the reason must name */
static const struct {
	const char *cron, *reason;
} bad[] = {
    {"", "0 fields"},
    {"* * * *", "4 fields"},
    {"* * * * * * *", "7 fields"},
    {"60 * * * *", "minute field's '60' is not within 0 to 59"},
    {"* 24 * * *", "hour field's '24'"},
    {"* * 0 * *", "day of month field's '0'"},
    {"* * 32 * *", "day of month"},
    {"* * * 13 *", "month field's '13' is not within 1 to 12, nor a name"},
    {"* * * * 8", "day of week field's '8'"},
    {"60 * * * * *", "second field's '60'"},
    {"*/0 * * * *", "needs a step from 1 to 60"},
    {"*/90 * * * *", "needs a step from 1 to 60"},
    {"* */25 * * *", "needs a step from 1 to 24"},
    {"*/ * * * *", "step"},
    {"*/x * * * *", "step"},
    {"30-10 * * * *", "ends before it begins"},
    {"* 22-2 * * *", "ends before it begins"},
    {"1,,2 * * * *", "empty between commas"},
    {",1 * * * *", "empty between commas"},
    {"1, * * * *", "empty between commas"},
    {"5x * * * *", "is not understood"},
    {"*5 * * * *", "is not understood"},
    {"1-2-3 * * * *", "is not understood"},
    {"-1 * * * *", "is not within"},
    {"1.5 * * * *", "is not understood"},
    {"99999 * * * *", "is not within"},
    {"0x10 * * * *", "is not understood"},
    {"* * * mon *", "is not within"},
    {"* * * * jan", "is not within"},
    {"* L * * *", "hour field's 'L'"},
    {"* * L-3 * *", "day of month field's 'L-3'"},
    {"* * * * L", "day of week field's 'L'"},
    {"* * 5L * *", "day of month field's '5L'"},
    {"* * * * 8L", "day of week field's '8L'"},
    {"* * * * 5#2", "is not understood"},
    {"? * * * *", "is not within"},
    {"0 0 31 2 *", "it never comes"},
    {"0 0 30,31 2 *", "it never comes"},
    {"0 0 31 4,6,9,11 *", "it never comes"},
    {"0 0 31 2 */2", "it never comes"},
    {"@reboot", "there is no '@reboot'"},
    {"@every", "@every"},
    {"@every 0s", "whole seconds"},
    {"@every 1500ms", "whole seconds"},
    {"@every 367d", "366 days"},
    {"@every soon", "@every"},
    {"@every99s", "there is no"},
};

static void
what_is_wrong_is_said(void **state)
{
	char longer[CRON_TEXT_MAX + 2];
	struct cron c = {.every_s = 7};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct err err = ERR_INIT;

		if (cron_parse(bad[i].cron, &c, &err) == 0)
			fail_msg("'%s' was taken", bad[i].cron);
		if (strstr(err.text, bad[i].reason) == NULL)
			fail_msg("'%s': %s", bad[i].cron, err.text);
		assert_int_equal(c.every_s, 7); /* untouched */
	}
	memset(longer, '*', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(cron_parse(longer, &c, NULL), -1);
}

static void
rules_for_every_hour_are_steady(void **state)
{
	static const struct {
		const char *cron;
		bool steady;
	} rules[] = {
	    {"* * * * *", true},
	    {"*/5 * * * *", true},
	    {"30 0-23 * * 1", true},
	    {"@hourly", true},
	    {"@every 1h", true},
	    {"30 2 * * *", false},
	    {"* 2 * * *", false},
	    {"0 */2 * * *", false},
	    {"@daily", false},
	};
	struct cron c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rules); i++) {
		assert_int_equal(cron_parse(rules[i].cron, &c, NULL), 0);
		if (cron_is_steady(&c) != rules[i].steady)
			fail_msg("'%s'", rules[i].cron);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_rule_names_readings),
	    cmocka_unit_test(what_is_wrong_is_said),
	    cmocka_unit_test(rules_for_every_hour_are_steady),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
