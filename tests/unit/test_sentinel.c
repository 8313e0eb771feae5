/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_sentinel.c - who says where the primary is; and the files of TLS to Redis.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "base/attr.h"
#include "base/log.h"
#include "fake_redis.h"
#include "redis/sentinel.h"
#include "tls/tlsclient.h"
#include "until.h"

#define PATIENCE_MS 8000

static struct loop *l;
static struct resolver *rv;
static struct fake_redis *one, *two;
static const char *says_one, *says_two; /* the answers to the question */
static unsigned asked_one, asked_two;
static struct sentinel *s;
static unsigned found;
static char at[300];

static bool
answer(struct fake_redis *fake, struct fake_peer *p, const struct redisReply *cmd,
    void *arg)
{
	(void)arg;
	if (strcmp(cmd->element[0]->str, "SENTINEL") != 0)
		return false;
	assert_int_equal(cmd->elements, 3);
	assert_string_equal(cmd->element[1]->str, "get-master-addr-by-name");
	assert_string_equal(cmd->element[2]->str, "queue");
	*(fake == one ? &asked_one : &asked_two) += 1;
	fake_peer_say(p, fake == one ? says_one : says_two);
	return true;
}

static void
on_found(const char *host, uint16_t port, void *arg)
{
	(void)arg;
	found++;
	snprintf(at, sizeof(at), "%s:%u", host, (unsigned)port);
}

static int
open_all(void **state)
{
	(void)state;
	l = loop_create(NULL);
	rv = resolver_create(l, NULL);
	one = fake_redis_open(l, answer, NULL);
	two = fake_redis_open(l, answer, NULL);
	says_one = says_two = "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n";
	asked_one = asked_two = found = 0;
	at[0] = '\0';
	s = NULL;
	return 0;
}

static int
close_all(void **state)
{
	(void)state;
	sentinel_free(s);
	fake_redis_close(one);
	fake_redis_close(two);
	resolver_free(rv);
	loop_free(l);
	return 0;
}

static void
open_sentinels(void)
{
	char hosts[80];
	struct sentinel_opts opts = {
	    .hosts = hosts, .master = "queue", .found = on_found};
	struct err err = ERR_INIT;

	snprintf(hosts, sizeof(hosts), "127.0.0.1:%u, 127.0.0.1:%u",
	    fake_redis_port(one), fake_redis_port(two));
	s = sentinel_create(l, rv, &opts, &err);
	if (s == NULL)
		fail_msg("%s", err.text);
}

#define UNTIL(condition) UNTIL_WITHIN(l, PATIENCE_MS, condition)

static void
what_is_found_is_told_once_until_it_changes(void **state)
{
	(void)state;
	open_sentinels();
	UNTIL(found == 1);
	assert_string_equal(at, "10.0.0.1:6379");
	UNTIL(asked_one == 3);
	assert_int_equal(found, 1);
	says_one = "*2\r\n$5\r\nother\r\n$4\r\n7000\r\n";
	UNTIL(found == 2);
	assert_string_equal(at, "other:7000");
	assert_int_equal(asked_two, 0);
}

static void
a_dead_sentinel_is_passed_over(void **state)
{
	(void)state;
	fake_redis_refuse(one, true);
	open_sentinels();
	UNTIL(found == 1);
	assert_true(asked_two >= 1);
	/* and when the one that is asked dies, the other is back */
	fake_redis_refuse(one, false);
	says_one = "*2\r\n$8\r\n10.0.0.2\r\n$4\r\n6379\r\n";
	fake_peer_reset(fake_redis_peer(two));
	UNTIL(found == 2);
	assert_string_equal(at, "10.0.0.2:6379");
}

static void
an_answer_of_no_use_leads_to_the_next(void **state)
{
	static const char *const answers[] = {
	    "*-1\r\n",				   /* the name is not known */
	    "-ERR unknown command 'SENTINEL'\r\n", /* no sentinel at all */
	    "*2\r\n$1\r\nh\r\n$5\r\n70000\r\n",	   /* no port */
	    "*2\r\n$0\r\n\r\n$4\r\n6379\r\n",	   /* no host */
	    "+OK\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(answers); i++) {
		says_one = answers[i];
		found = 0;
		open_sentinels();
		UNTIL(found == 1);
		assert_string_equal(at, "10.0.0.1:6379");
		sentinel_free(s);
		s = NULL;
	}
}

static void
doubt_asks_the_next_one(void **state)
{
	(void)state;
	says_two = "*2\r\n$8\r\n10.0.0.2\r\n$4\r\n6379\r\n";
	open_sentinels();
	UNTIL(found == 1);
	sentinel_doubt(s);
	sentinel_doubt(s); /* too soon: nothing */
	UNTIL(found == 2);
	assert_string_equal(at, "10.0.0.2:6379");
}

static void
lists_of_sentinels(void **state)
{
	struct sentinel_host h[SENTINEL_HOSTS_MOST];
	static const char *const bad[] = {"", "a,,b", "a:0", "a:65536", "a:x", "[::1",
	    "[::1]x", "a b", "user@h", "redis://h", "::1"};
	char many[256] = "a";
	struct err err;

	(void)state;
	assert_int_equal(sentinel_hosts_parse(" a , b:7 ,[::1]:8,[::2]", h, NULL), 4);
	assert_string_equal(h[0].host, "a");
	assert_int_equal(h[0].port, 26379);
	assert_string_equal(h[1].host, "b");
	assert_int_equal(h[1].port, 7);
	assert_string_equal(h[2].host, "::1");
	assert_int_equal(h[2].port, 8);
	assert_int_equal(h[3].port, 26379);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		err_clear(&err);
		if (sentinel_hosts_parse(bad[i], h, &err) != -1)
			fail_msg("accepted '%s'", bad[i]);
		assert_true(err.text[0] != '\0');
	}
	for (int i = 0; i < SENTINEL_HOSTS_MOST; i++)
		strcat(many, ",a");
	assert_int_equal(sentinel_hosts_parse(many, h, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
}

static void
files_of_tls_are_refused_by_name(void **state)
{
	char dir[] = "/tmp/test_rtls.XXXXXX", path[64];
	struct tlsclient_opts opts = {.ca_file = "/nowhere/ca.pem"};
	struct err err = ERR_INIT;
	struct tlsclient *t;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/file", dir);
	assert_null(tlsclient_create(&opts, &err));
	assert_int_equal(err.code, ERR_INVALID);
	assert_non_null(strstr(err.text, "/nowhere/ca.pem: No such file"));

	f = fopen(path, "w");
	assert_non_null(f);
	fputs("no certificate\n", f);
	fclose(f);
	opts.ca_file = path;
	assert_null(tlsclient_create(&opts, &err));
	assert_non_null(strstr(err.text, path));

	opts = (struct tlsclient_opts){.certificate = path};
	assert_null(tlsclient_create(&opts, &err));
	assert_non_null(strstr(err.text, "belong together"));
	opts.key = path;
	assert_int_equal(chmod(path, 0644), 0);
	assert_null(tlsclient_create(&opts, &err));
	assert_non_null(strstr(err.text, "everybody may read"));
	assert_int_equal(chmod(path, 0600), 0);
	assert_null(tlsclient_create(&opts, &err));
	assert_non_null(strstr(err.text, "the certificate: "));
	opts = (struct tlsclient_opts){.ca_file = dir};
	assert_null(tlsclient_create(&opts, &err));
	assert_non_null(strstr(err.text, "is not a file"));

	/* those of the system are there, or none is: both is no error */
	opts = (struct tlsclient_opts){.ca_file = ""};
	t = tlsclient_create(&opts, &err);
	assert_non_null(t);
	tlsclient_free(t);
	unlink(path);
	rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		what_is_found_is_told_once_until_it_changes, open_all, close_all),
	    cmocka_unit_test_setup_teardown(
		a_dead_sentinel_is_passed_over, open_all, close_all),
	    cmocka_unit_test_setup_teardown(
		an_answer_of_no_use_leads_to_the_next, open_all, close_all),
	    cmocka_unit_test_setup_teardown(
		doubt_asks_the_next_one, open_all, close_all),
	    cmocka_unit_test(lists_of_sentinels),
	    cmocka_unit_test(files_of_tls_are_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
