/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_settings.c - the table of settings loads as a whole, and what does not fit is
 * refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/attr.h"
#include "model/settings.h"

static struct settings *
load(const char *text, char *const options[], struct err *err)
{
	char config[4096];
	char *env[] = {config, NULL};

	snprintf(config, sizeof(config), "SHOALD_CONFIG=%s", text);
	return settings_load(NULL, env, options, err);
}

static void
defaults_are_within_their_own_ranges(void **state)
{
	struct err err = ERR_INIT;
	struct settings *s = load("", NULL, &err);

	(void)state;
	assert_non_null(s);
	assert_string_equal(s->cluster_name, "shoal");
	assert_int_equal(s->node_slots, 256);
	assert_int_equal(s->node_drain_delay_ms, 130000);
	assert_int_equal(s->tasks_max_payload_bytes, 256 * 1024);
	assert_int_equal(s->database_connections, 3);
	assert_true(settings_worker_count(s) >= 1);
	settings_free(s);
}

static void
named_sections_make_types_and_queues(void **state)
{
	struct err err = ERR_INIT;
	struct settings *s =
	    load("[type:wordcount]\nhandler = exec\ncommand = /usr/bin/wc -w\n"
		 "timeout = 60s\nconcurrency = 4\n\n[queue:mail]\npriority = 3\n",
		NULL, &err);
	struct type_settings *t;

	(void)state;
	assert_non_null(s);
	t = TAILQ_FIRST(&s->types);
	assert_string_equal(t->type, "wordcount");
	assert_string_equal(t->command, "/usr/bin/wc -w");
	assert_int_equal(t->timeout_ms, 60000);
	assert_int_equal(t->concurrency, 4);
	assert_int_equal(t->handler, HANDLER_EXEC);
	assert_string_equal(handler_kind_name(HANDLER_STREAM), "stream");
	assert_string_equal(TAILQ_FIRST(&s->queues)->queue, "mail");
	assert_int_equal(TAILQ_FIRST(&s->queues)->priority, 3);
	settings_free(s);
}

static void
options_win_over_the_file(void **state)
{
	char *options[] = {
	    (char *)"node.workers=3", (char *)"type:x.command=/bin/true", NULL};
	struct err err = ERR_INIT;
	struct settings *s = load("[node]\nworkers = 2\n", options, &err);

	(void)state;
	assert_non_null(s);
	assert_int_equal(settings_worker_count(s), 3);
	assert_string_equal(TAILQ_FIRST(&s->types)->command, "/bin/true");
	settings_free(s);
}

static void
what_does_not_fit_is_refused_with_its_name(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
	    {"[node]\nworkers = many\n", "workers"},
	    {"[node]\nworkers = 65\n", "workers"},
	    {"[node]\nworker = 2\n", "workers"}, /* the nearest */
	    {"[nod]\nworkers = 2\n", "node"},
	    {"[cluster]\nname = a b\n", "cluster.name"},
	    {"[listen]\napplications = example.com:80\n", "listen.applications"},
	    {"[listen]\ndevelopers =\n", "listen.developers"},
	    {"[http]\nmax_body = 64KiB\n", "http.max_body"},
	    {"[type:x]\ntimeout = 5s\n", "type:x.command"},
	    {"[type:x]\ncommand = wc\n", "absolute"},
	    {"[type:x]\ncommand = /bin/sh -c \"open\n", "type:x.command"},
	    {"[type:x]\ncommand = /bin/true\ndirectory = tmp\n", "type:x.directory"},
	    {"[type:x]\ncommand = /bin/true\nenvironment = NOVALUE\n", "NAME=VALUE"},
	    {"[type:x]\ncommand = /bin/true\ngroup = nogroup\n", "needs type:x.user"},
	    {"[type:x]\ncommand = /bin/true\nmax_open_files = 15\n", "16 at least"},
	    {"[type:x]\ncommand = /bin/true\nnice = 20\n", "nice"},
	    {"[type:x]\ncommand = /bin/true\nallow_read = etc\n", "'etc'"},
	    {"[type:x]\ncommand = /bin/true\nallow_write = \"/a\n", "allow_write"},
	    {"[type:x]\ncommand = /bin/true\nseccomp = strict\n", "no-network"},
	    {"[node]\ntemporary = tmp\n", "node.temporary"},
	    {"[redis]\nurl = http://h\n", "redis.url"},
	    {"[redis]\nca_file = /etc/hosts\n", "rediss://"},
	    {"[redis]\nurl = rediss://h\nca_file = ca.pem\n", "absolute"},
	    {"[redis]\nurl = rediss://h\nca_file = /nowhere/ca.pem\n", "No such file"},
	    {"[redis]\nurl = rediss://h\ncertificate = /etc/hosts\n",
		"belong together"},
	    {"[redis]\nsentinels = a\n", "redis.sentinel_master"},
	    {"[redis]\nsentinel_master = m\n", "redis.sentinels"},
	    {"[redis]\nsentinels = a:x\nsentinel_master = m\n", "port of a sentinel"},
	    {"[redis]\nurl = unix:/r\nsentinels = a\nsentinel_master = m\n", "socket"},
	    {"[node]\nresolve_interval = 10ms\n", "resolve_interval"},
	    {"[type:shoal.noop]\ncommand = /bin/true\n", "built in"},
	    {"[type:a b]\ncommand = /bin/true\n", "name"},
	    {"[type:x]\nhandler = stream\n", "a type that is stream needs a command"},
	    {"[type:x]\nhandler = strem\ncommand = /bin/true\n", "stream"},
	    {"[type:x]\nhandler = stream\ncommand = /bin/true\nchildren = 0\n",
		"children"},
	    {"[type:x]\nhandler = stream\ncommand = /bin/true\nhang_timeout = 999ms\n",
		"type:x.hang_timeout"},
	    {"[type:x]\nhandler = stream\ncommand = /bin/true\nrecycle_memory = 1KiB\n",
		"type:x.recycle_memory"},
	    {"[type:a]\nhandler = stream\ncommand = /bin/true\nchildren = 64\n"
	     "[type:b]\nhandler = stream\ncommand = /bin/true\nchildren = 64\n"
	     "[type:c]\nhandler = stream\ncommand = /bin/true\nchildren = 64\n"
	     "[type:d]\nhandler = stream\ncommand = /bin/true\nchildren = 64\n"
	     "[type:e]\nhandler = stream\ncommand = /bin/true\n",
		"256"},
	    {"[tasks]\nkeep_finished = 59s\n", "tasks.keep_finished"},
	    {"[tasks]\nkeep_failed = 1s\n", "tasks.keep_failed"},
	    {"[tasks]\nkeep_failed = 3651d\n", "keep_failed"},
	    {"[access]\nnetworks = 10.0.0.0/33\n", "networks"},
	};
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		err_clear(&err);
		if (load(cases[i].text, NULL, &err) != NULL)
			fail_msg("accepted: %s", cases[i].text);
		if (strstr(err.text, cases[i].says) == NULL)
			fail_msg("'%s' does not name %s", err.text, cases[i].says);
	}
}

static void
what_is_shown_hides_secrets(void **state)
{
	struct err err = ERR_INIT;
	struct settings *s =
	    load("[database]\npassword = canary1\n[access]\ntoken = canary2\n"
		 "[type:x]\ncommand = /bin/true\n",
		NULL, &err);
	struct strbuf out;

	(void)state;
	assert_non_null(s);
	strbuf_init(&out, 1 << 20);
	settings_dump(s, &out);
	assert_false(strbuf_failed(&out));
	assert_null(strstr(out.data, "canary"));
	assert_non_null(strstr(out.data, "[type:x]"));
	strbuf_fini(&out);
	settings_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults_are_within_their_own_ranges),
	    cmocka_unit_test(named_sections_make_types_and_queues),
	    cmocka_unit_test(options_win_over_the_file),
	    cmocka_unit_test(what_does_not_fit_is_refused_with_its_name),
	    cmocka_unit_test(what_is_shown_hides_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
