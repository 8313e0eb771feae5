/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_rule.c - the contract for nights on which clocks change, and for missed fires.
 *
 * tests/unit/zones compares every change of clocks with another implementation; here
 * stand the examples that the documents tell.  Without zone data they are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/attr.h"
#include "base/clock.h"
#include "model/rule.h"

#define HAVE_ZONES() (access("/usr/share/zoneinfo/America/New_York", R_OK) == 0)

static int64_t
at(const char *text)
{
	int64_t us;

	if (clock_parse(text, &us) != 0)
		fail_msg("'%s' is no time", text);
	return us;
}

static void
make(struct rule *r, const char *cron, const char *zone, enum rule_gap gap,
    enum rule_overlap overlap)
{
	struct err err = ERR_INIT;

	*r = (struct rule){.gap = gap, .overlap = overlap};
	if (cron_parse(cron, &r->cron, &err) != 0 ||
	    (r->zone = zone_get(zone, &err)) == NULL)
		fail_msg("%s %s: %s", cron, zone, err.text);
}

/* New York: clocks go from 2:00 to 3:00 on 14 March 2027, and from 2:00 back to 1:00 on
 * 7 November */
static const struct row {
	const char *what, *cron;
	enum rule_gap gap;
	enum rule_overlap overlap;
	const char *from;
	struct {
		const char *at, *decision;
	} fires[4];
} rows[] = {
    {"a reading in the gap runs at its end", "30 2 * * *", RULE_GAP_END,
	RULE_OVERLAP_FIRST, "2027-03-13T12:00:00-05:00",
	{{"2027-03-14T03:00:00-04:00", "gap: run at its end"},
	    {"2027-03-15T02:30:00-04:00", "normal"}}},
    {"or not at all", "30 2 * * *", RULE_GAP_SKIP, RULE_OVERLAP_FIRST,
	"2027-03-13T12:00:00-05:00",
	{{NULL, "gap: skipped"}, {"2027-03-15T02:30:00-04:00", "normal"}}},
    {"several readings in a gap are one fire", "0,20,40 2 * * *", RULE_GAP_END,
	RULE_OVERLAP_FIRST, "2027-03-13T12:00:00-05:00",
	{{"2027-03-14T03:00:00-04:00", "gap: run at its end"},
	    {"2027-03-15T02:00:00-04:00", "normal"}}},
    {"and one with what is at its end anyway", "30 2,3 * * *", RULE_GAP_END,
	RULE_OVERLAP_FIRST, "2027-03-13T12:00:00-05:00",
	{{"2027-03-14T03:00:00-04:00", "gap: run at its end"},
	    {"2027-03-14T03:30:00-04:00", "normal"}}},
    {"which is an ordinary one", "0 2,3 * * *", RULE_GAP_END, RULE_OVERLAP_FIRST,
	"2027-03-13T12:00:00-05:00",
	{{"2027-03-14T03:00:00-04:00", "normal"},
	    {"2027-03-15T02:00:00-04:00", "normal"}}},
    {"and fires as well if the gap is skipped", "0 2,3 * * *", RULE_GAP_SKIP,
	RULE_OVERLAP_FIRST, "2027-03-13T12:00:00-05:00",
	{{NULL, "gap: skipped"}, {"2027-03-14T03:00:00-04:00", "normal"},
	    {"2027-03-15T02:00:00-04:00", "normal"}}},
    {"a reading that comes twice fires the first time", "30 1 * * *", RULE_GAP_END,
	RULE_OVERLAP_FIRST, "2027-11-06T12:00:00-04:00",
	{{"2027-11-07T01:30:00-04:00", "overlap: first"},
	    {"2027-11-08T01:30:00-05:00", "normal"}}},
    {"or the second", "30 1 * * *", RULE_GAP_END, RULE_OVERLAP_SECOND,
	"2027-11-06T12:00:00-04:00",
	{{"2027-11-07T01:30:00-05:00", "overlap: second"},
	    {"2027-11-08T01:30:00-05:00", "normal"}}},
    {"or both times", "30 1 * * *", RULE_GAP_END, RULE_OVERLAP_BOTH,
	"2027-11-06T12:00:00-04:00",
	{{"2027-11-07T01:30:00-04:00", "overlap: first"},
	    {"2027-11-07T01:30:00-05:00", "overlap: second"},
	    {"2027-11-08T01:30:00-05:00", "normal"}}},
    {"a steady rule goes by real time through a gap", "*/30 * * * *", RULE_GAP_END,
	RULE_OVERLAP_FIRST, "2027-03-14T01:29:00-05:00",
	{{"2027-03-14T01:30:00-05:00", "normal"},
	    {"2027-03-14T03:00:00-04:00", "normal"},
	    {"2027-03-14T03:30:00-04:00", "normal"}}},
    {"and through an overlap", "30 * * * *", RULE_GAP_SKIP, RULE_OVERLAP_FIRST,
	"2027-11-07T00:31:00-04:00",
	{{"2027-11-07T01:30:00-04:00", "overlap: first"},
	    {"2027-11-07T01:30:00-05:00", "overlap: second"},
	    {"2027-11-07T02:30:00-05:00", "normal"}}},
    {"@every knows no clocks", "@every 1h", RULE_GAP_END, RULE_OVERLAP_FIRST,
	"2027-11-07T05:00:00Z",
	{{"2027-11-07T06:00:00Z", "normal"}, {"2027-11-07T07:00:00Z", "normal"},
	    {"2027-11-07T08:00:00Z", "normal"}}},
};

static void
the_contract_is_kept(void **state)
{
	(void)state;
	if (!HAVE_ZONES())
		skip();
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct fire f = {.at_us = at(rows[i].from)};
		char got[CLOCK_TEXT_SIZE];
		struct rule r;

		make(
		    &r, rows[i].cron, "America/New_York", rows[i].gap, rows[i].overlap);
		for (int k = 0; k < 4 && rows[i].fires[k].decision != NULL; k++) {
			const char *want = rows[i].fires[k].at;

			assert_int_equal(rule_next(&r, f.at_us, true, &f, NULL), 0);
			clock_format(f.at_us, got);
			if (strcmp(fire_kind_text(f.kind), rows[i].fires[k].decision) !=
				0 ||
			    (want != NULL && f.at_us != at(want)))
				fail_msg("%s: %s, %s", rows[i].what, got,
				    fire_kind_text(f.kind));
		}
	}
}

static void
what_is_skipped_is_told_only_to_who_asks(void **state)
{
	struct rule r;
	struct fire f;

	(void)state;
	if (!HAVE_ZONES())
		skip();
	make(&r, "30 2 * * *", "America/New_York", RULE_GAP_SKIP, RULE_OVERLAP_FIRST);
	assert_int_equal(
	    rule_next(&r, at("2027-03-13T12:00:00-05:00"), false, &f, NULL), 0);
	assert_true(f.at_us == at("2027-03-15T02:30:00-04:00"));
}

/* ---------------------------------------------------------------- missed fires */

static struct rule_due due;

static void
run_due(const char *cron, enum rule_missed policy, int limit, const char *next,
    const char *now)
{
	struct err err = ERR_INIT;
	struct rule r;

	make(&r, cron, "UTC", RULE_GAP_END, RULE_OVERLAP_FIRST);
	if (rule_due(&r, policy, limit, at(next), at(now), &due, &err) != 0)
		fail_msg("%s: %s", cron, err.text);
}

static void
a_fire_in_time_is_fired(void **state)
{
	static const enum rule_missed policies[] = {
	    RULE_MISSED_LATEST, RULE_MISSED_SKIP, RULE_MISSED_ALL};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(policies); i++) {
		/* also when a leader had to be found first */
		run_due("0 * * * *", policies[i], 3, "2026-01-01T05:00:00Z",
		    "2026-01-01T05:00:40.5Z");
		assert_int_equal(due.count, 1);
		assert_int_equal(due.missed, 0);
		assert_true(due.at_us[0] == at("2026-01-01T05:00:00Z"));
		assert_true(due.next_us == at("2026-01-01T06:00:00Z"));
	}
}

static void
missed_ones_go_by_the_policy(void **state)
{
	(void)state;
	run_due("0 * * * *", RULE_MISSED_LATEST, 3, "2026-01-01T05:00:00Z",
	    "2026-01-01T09:30:00Z");
	assert_int_equal(due.count, 1);
	assert_int_equal(due.missed, 4);
	assert_true(due.at_us[0] == at("2026-01-01T09:00:00Z"));
	assert_true(due.first_us == at("2026-01-01T05:00:00Z"));
	assert_true(due.next_us == at("2026-01-01T10:00:00Z"));
	run_due("0 * * * *", RULE_MISSED_SKIP, 3, "2026-01-01T05:00:00Z",
	    "2026-01-01T09:30:00Z");
	assert_int_equal(due.count, 0);
	assert_int_equal(due.missed, 5);
	/* the last one is in time */
	run_due("0 * * * *", RULE_MISSED_SKIP, 3, "2026-01-01T05:00:00Z",
	    "2026-01-01T09:00:10Z");
	assert_int_equal(due.count, 1);
	assert_int_equal(due.missed, 4);
	run_due("0 * * * *", RULE_MISSED_ALL, 3, "2026-01-01T05:00:00Z",
	    "2026-01-01T09:30:00Z");
	assert_int_equal(due.count, 3);
	assert_int_equal(due.missed, 2);
	assert_true(due.at_us[0] == at("2026-01-01T07:00:00Z"));
	assert_true(due.at_us[2] == at("2026-01-01T09:00:00Z"));
	run_due("0 * * * *", RULE_MISSED_ALL, 100, "2026-01-01T05:00:00Z",
	    "2026-01-01T09:30:00Z");
	assert_int_equal(due.count, 5);
	assert_int_equal(due.missed, 0);
	assert_true(due.at_us[0] == at("2026-01-01T05:00:00Z"));
}

static void
what_cannot_be_counted_is_still_caught_up(void **state)
{
	(void)state;
	/* a month of seconds */
	run_due("* * * * * *", RULE_MISSED_ALL, 1000, "2026-01-01T00:00:00Z",
	    "2026-02-01T00:00:00.25Z");
	assert_int_equal(due.count, 1000);
	assert_true(due.more);
	assert_true(due.at_us[999] == at("2026-02-01T00:00:00Z"));
	assert_true(due.at_us[0] == at("2026-01-31T23:43:21Z"));
	assert_true(due.next_us == at("2026-02-01T00:00:01Z"));
	/* seconds of one day, a week ago */
	run_due("* * * 1 * *", RULE_MISSED_LATEST, 1, "2026-01-01T00:00:00Z",
	    "2026-01-08T00:00:00Z");
	assert_int_equal(due.count, 1);
	assert_true(due.at_us[0] == at("2026-01-01T23:59:59Z"));
	assert_true(due.next_us == at("2026-02-01T00:00:00Z"));
}

static void
an_instant_that_the_rule_does_not_name_fires_nothing(void **state)
{
	(void)state;
	/* the zone's data has changed since next_at was computed */
	run_due("0 5 * * *", RULE_MISSED_LATEST, 1, "2026-01-01T04:00:00Z",
	    "2026-01-01T04:00:00Z");
	assert_int_equal(due.count, 0);
	assert_int_equal(due.missed, 0);
	assert_true(due.next_us == at("2026-01-01T05:00:00Z"));
}

/* ---------------------------------------------------------------- zones */

static void
names_lead_nowhere_else(void **state)
{
	static const char *const bad[] = {"", "/etc/passwd", "../../../etc/passwd",
	    "Europe/../Europe/Berlin", "Europe/./Berlin", "Europe//Berlin", "Europe/",
	    ".hidden", "Europe/.hidden", "right/Europe/Berlin", "posix/Europe/Berlin",
	    "Europe/Ber lin", "Europe/Berlin\n", ":Europe/Berlin", "EST5EDT,M3.2.0",
	    "Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		err_clear(&err);
		if (zone_get(bad[i], &err) != NULL)
			fail_msg("'%s' was taken", bad[i]);
		if (err.code != ERR_INVALID)
			fail_msg("'%s': %s", bad[i], err.text);
	}
	err_clear(&err);
	assert_null(zone_get("Europe/Atlantis", &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	/* a directory, and a file that is no zone's */
	assert_null(zone_get("Europe", NULL));
	assert_null(zone_get("tzdata.zi", NULL));
}

static void
copy_zone(const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof(command), "cp /usr/share/zoneinfo/%s %s", from, to);
	assert_int_equal(system(command), 0);
}

static void
zone_data_may_change_and_go(void **state)
{
	char dir[] = "/tmp/shoal-zones-XXXXXX", file[64];
	struct zone_span sp;
	struct zone *z;
	struct err err = ERR_INIT;

	(void)state;
	if (!HAVE_ZONES())
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/Here", dir);
	setenv("TZDIR", dir, 1);
	copy_zone("Asia/Tokyo", file);
	assert_non_null(z = zone_get("Here", NULL));
	assert_int_equal(zone_span_at(z, 1800000000, &sp, NULL), 0);
	assert_int_equal(sp.offset_s, 9 * 3600);
	unlink(file);
	assert_null(zone_get("Here", &err));
	assert_int_equal(err.code, ERR_NOT_FOUND);
	copy_zone("Asia/Kolkata", file);
	assert_true(zone_get("Here", NULL) == z);
	assert_int_equal(zone_span_at(z, 1800000000, &sp, NULL), 0);
	assert_int_equal(sp.offset_s, 5 * 3600 + 1800);
	unlink(file);
	rmdir(dir);
	assert_non_null(zone_get("UTC", NULL)); /* needs none */
	unsetenv("TZDIR");
}

static void
the_process_stays_in_utc(void **state)
{
	time_t t = 1800000000;
	struct rule r;
	struct fire f;
	struct tm tm;

	(void)state;
	if (!HAVE_ZONES())
		skip();
	make(&r, "30 2 * * *", "Asia/Tokyo", RULE_GAP_END, RULE_OVERLAP_FIRST);
	assert_int_equal(rule_next(&r, 1900000000000000, false, &f, NULL), 0);
	assert_string_equal(getenv("TZ"), "UTC0");
	assert_non_null(localtime_r(&t, &tm));
	assert_int_equal(tm.tm_gmtoff, 0);
}

static int
forget(void **state)
{
	(void)state;
	zone_forget_all();
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_contract_is_kept),
	    cmocka_unit_test(what_is_skipped_is_told_only_to_who_asks),
	    cmocka_unit_test(a_fire_in_time_is_fired),
	    cmocka_unit_test(missed_ones_go_by_the_policy),
	    cmocka_unit_test(what_cannot_be_counted_is_still_caught_up),
	    cmocka_unit_test(an_instant_that_the_rule_does_not_name_fires_nothing),
	    cmocka_unit_test(names_lead_nowhere_else),
	    cmocka_unit_test(zone_data_may_change_and_go),
	    cmocka_unit_test(the_process_stays_in_utc),
	};

	return cmocka_run_group_tests(tests, NULL, forget);
}
