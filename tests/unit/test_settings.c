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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
	    {"[log]\ntarget = file\n", "log.file"},
	    {"[log]\nsocket = dev/log\n", "log.socket"},
	    {"[log]\naccess = access.log\n", "log.access"},
	    {"[log]\nformat = xml\n", "format"},
	    {"[traces]\nsample = 1.1\n", "traces.sample"},
	    {"[traces]\nendpoint = localhost:4318\n", "traces.endpoint"},
	    {"[traces]\nendpoint = http://a/\nheaders = \"Host: b\"\n", "host"},
	    {"[traces]\nendpoint = http://a/\nca_file = a.pem\n", "traces.ca_file"},
	    {"[tasks]\nkeep_finished = 59s\n", "tasks.keep_finished"},
	    {"[tasks]\nkeep_failed = 1s\n", "tasks.keep_failed"},
	    {"[tasks]\nkeep_failed = 3651d\n", "keep_failed"},
	    {"[access]\nnetworks = 10.0.0.0/33\n", "networks"},
	    {"[cluster]\nurl = tasks.example.com\n", "cluster.url"},
	    {"[type:x]\ncommand = /bin/true\ngroup_memory = 4KiB\n",
		"type:x.group_memory"},
	    {"[type:x]\nhandler = pull\ngroup_cpu = 100\n", "type:x.group_memory"},
	    {"[cluster]\nurl = https://tasks.example.com/?x\n", "cluster.url"},
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

static void
files_of_secrets_are_known_by_their_settings(void **state)
{
	static const char text[] =
	    "[access]\ntoken_file = %s\n[type:a]\nhandler = http\n"
	    "url = https://example.com/\nheaders_file = %s\n";
	char first[] = "test_settings.XXXXXX", second[] = "test_settings.XXXXXX";
	char config[512], option[64], *options[] = {option, NULL};
	struct err err = ERR_INIT;
	struct secret_file *f;
	struct settings *s;
	size_t count = 0;

	(void)state;
	assert_int_equal(close(mkstemp(first)), 0);
	assert_int_equal(write(mkstemp(second), "\"A: b\"\n", 7), 7);
	snprintf(config, sizeof(config), text, second, second);
	/* a later source wins: the file that it names counts, and no other */
	snprintf(option, sizeof(option), "access.token_file=%s", first);
	s = load(config, options, &err);
	if (s == NULL)
		fail_msg("%s", err.text);
	TAILQ_FOREACH (f, &s->secret_files, link) {
		if (strcmp(f->key, "access.token") == 0)
			assert_string_equal(f->path, first);
		else
			assert_string_equal(f->key, "type:a.headers");
		count++;
	}
	assert_int_equal(count, 2);
	settings_free(s);
	unlink(first);
	unlink(second);
}

static void
the_clusters_url_is_set_or_guessed(void **state)
{
	static const struct {
		const char *text, *url;
	} cases[] = {
	    {"", "http://localhost"},
	    {"[cluster]\nhostname = t.example\n[listen]\napplications = "
	     "127.0.0.1:8000, [::1]:9000\n",
		"http://t.example:8000"},
	    {"[listen]\napplications = [::]:80\n", "http://localhost"},
	    {"[cluster]\nurl = https://t.example/shoal/\n", "https://t.example/shoal"},
	};
	char url[SETTINGS_URL_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = ERR_INIT;
		struct settings *s = load(cases[i].text, NULL, &err);

		if (s == NULL)
			fail_msg("%s", err.text);
		assert_string_equal(settings_url(s, url), cases[i].url);
		settings_free(s);
	}
}

static void
shares_are_decimal_fractions(void **state)
{
	static const char *const wrong[] = {
	    "", "2", "1.01", "-0.5", ".5", "0,5", "0.5x", "1e-3", "00", " 0.5"};

	(void)state;
	assert_true(traces_share("0") == 0);
	assert_true(traces_share("1") == 1);
	assert_true(traces_share("1.0") == 1);
	assert_true(traces_share("0.25") > 0.2499 && traces_share("0.25") < 0.2501);
	assert_true(traces_share("0.001") > 0.0009 && traces_share("0.001") < 0.0011);
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		if (traces_share(wrong[i]) >= 0)
			fail_msg("'%s'", wrong[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults_are_within_their_own_ranges),
	    cmocka_unit_test(named_sections_make_types_and_queues),
	    cmocka_unit_test(options_win_over_the_file),
	    cmocka_unit_test(files_of_secrets_are_known_by_their_settings),
	    cmocka_unit_test(what_does_not_fit_is_refused_with_its_name),
	    cmocka_unit_test(shares_are_decimal_fractions),
	    cmocka_unit_test(what_is_shown_hides_secrets),
	    cmocka_unit_test(the_clusters_url_is_set_or_guessed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
