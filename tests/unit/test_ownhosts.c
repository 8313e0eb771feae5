/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_ownhosts.c - requests of applications do not reach our own stores.
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
#include "event/loop.h"
#include "event/resolve.h"
#include "handlers/ownhosts.h"

static void
stop(void *arg)
{
	loop_stop(arg);
}

/* until the address is refused; false: not within 20 s */
static bool
becomes_refused(
    struct loop *l, struct loop_timer *t, const struct guard *g, const char *address)
{
	int64_t until = clock_mono_ms() + 20000;
	struct err err;

	while (guard_why_not_text(g, address) == NULL) {
		if (clock_mono_ms() >= until)
			return false;
		loop_timer_start_ms(t, 5);
		assert_int_equal(loop_run(l, &err), 0);
	}
	return true;
}

static void
the_stores_addresses_are_refused_however_they_are_written(void **state)
{
	static const char *const own[] = {
	    "93.184.216.34", "93.184.216.35", "93.184.216.36", "93.184.216.37"};
	struct err err = ERR_INIT;
	char *options[] = {(char *)"database.url=postgresql://"
				   "shoal:secret@93.184.216.34,93.184.216.35/shoal",
	    (char *)"database.migrate_url=postgresql:///shoal?hostaddr=93.184.216.36",
	    (char *)"redis.url=redis://:secret@93.184.216.37:6379/0", NULL};
	char *env[] = {NULL};
	struct settings *s = settings_load(NULL, env, options, &err);
	const struct guard_opts go = {"", "", "80,443"};
	struct loop *l = loop_create(&err);
	struct loop_timer *t = loop_timer_create(l, stop, l);
	struct resolver *rv = resolver_create(l, &err);
	struct guard *g = guard_create(&go, &err);
	struct ownhosts *o;

	(void)state;
	if (s == NULL)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < COUNT_OF(own); i++)
		assert_null(guard_why_not_text(g, own[i]));
	o = ownhosts_create(l, rv, g, s, &err);
	assert_non_null(o);
	for (size_t i = 0; i < COUNT_OF(own); i++) {
		if (!becomes_refused(l, t, g, own[i]))
			fail_msg("%s can be reached", own[i]);
	}
	/* and nobody else's */
	assert_null(guard_why_not_text(g, "93.184.216.38"));
	ownhosts_free(o);
	ownhosts_free(NULL);
	guard_free(g);
	resolver_free(rv);
	loop_timer_free(t);
	loop_free(l);
	settings_free(s);
}

static void
sockets_of_this_machine_are_no_hosts(void **state)
{
	struct err err = ERR_INIT;
	char *options[] = {
	    (char *)"database.url=postgresql:///shoal?host=/run/postgresql",
	    (char *)"redis.url=unix:/run/redis.sock", NULL};
	char *env[] = {NULL};
	struct settings *s = settings_load(NULL, env, options, &err);
	const struct guard_opts go = {"", "", "80"};
	struct loop *l = loop_create(&err);
	struct resolver *rv = resolver_create(l, &err);
	struct guard *g = guard_create(&go, &err);
	struct ownhosts *o;

	(void)state;
	if (s == NULL)
		fail_msg("%s", err.text);
	o = ownhosts_create(l, rv, g, s, &err);
	assert_non_null(o);
	/* nothing is asked: it can go at once */
	ownhosts_free(o);
	guard_free(g);
	resolver_free(rv);
	loop_free(l);
	settings_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_stores_addresses_are_refused_however_they_are_written),
	    cmocka_unit_test(sockets_of_this_machine_are_no_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
