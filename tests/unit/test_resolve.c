/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The name server here is a UDP socket on the same loop.  It knows one A record for
 * each name that begins with "known", nothing for others, and never answers "silent".
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "event/moved.h"
#include "event/resolve.h"

static struct loop *l;
static struct resolver *rv;
static struct event *dns_event;
static int dns_fd;
static unsigned dns_questions;
static unsigned char dns_last_byte; /* of the address that is given out */

/* one A record, or an answer without one */
static void
dns_readable(evutil_socket_t fd, short what, void *arg)
{
	unsigned char p[512];
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	ssize_t n =
	    recvfrom(fd, p, sizeof(p) - 16, 0, (struct sockaddr *)&from, &from_len);
	size_t end = 12;
	bool known, is_a;

	(void)what;
	(void)arg;
	assert_true(n > 17);
	dns_questions++;
	if (strncasecmp((char *)p + 13, "silent", 6) == 0)
		return;
	known = strncasecmp((char *)p + 13, "known", 5) == 0;
	while (p[end] != 0)
		end += p[end] + 1u;
	is_a = p[end + 2] == 1;
	end += 5;
	p[2] = 0x81;
	p[3] = known ? 0x80 : 0x83;
	p[7] = known && is_a ? 1 : 0;
	memset(p + 8, 0, 4);
	if (known && is_a) {
		unsigned char answer[] = {
		    0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, dns_last_byte};

		memcpy(p + end, answer, sizeof(answer));
		end += sizeof(answer);
	}
	assert_int_equal(
	    sendto(fd, p, end, 0, (struct sockaddr *)&from, from_len), end);
}

static int
open_all(void **state)
{
	struct addr a;

	(void)state;
	l = loop_create(NULL);
	rv = resolver_create(l, NULL);
	dns_fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (addr_parse("127.0.0.1:0", &a, NULL) != 0 ||
	    bind(dns_fd, &a.sa, a.len) != 0 || addr_of_socket(dns_fd, &a, NULL) != 0 ||
	    resolver_set_server(rv, &a, NULL) != 0)
		return -1;
	dns_event =
	    event_new(loop_base(l), dns_fd, EV_READ | EV_PERSIST, dns_readable, NULL);
	dns_questions = 0;
	dns_last_byte = 5;
	return event_add(dns_event, NULL);
}

static int
close_all(void **state)
{
	(void)state;
	event_free(dns_event);
	close(dns_fd);
	resolver_free(rv);
	loop_free(l);
	return 0;
}

struct answer {
	int calls;
	size_t count;
	char first[ADDR_TEXT_SIZE];
	struct err err;
	struct resolve *cancel; /* from inside the callback */
};

static void
note(const struct addr *addrs, size_t count, const struct err *err, void *arg)
{
	struct answer *an = arg;

	an->calls++;
	an->count = count;
	if (err != NULL)
		an->err = *err;
	else
		addr_format(&addrs[0], an->first);
	resolve_cancel(an->cancel);
	loop_stop(l);
}

static struct resolve *
ask(const char *host, int timeout_ms, struct answer *an)
{
	struct resolve *r = resolve_start(rv, host, 6379, timeout_ms, note, an, NULL);

	assert_non_null(r);
	assert_int_equal(an->calls, 0);
	return r;
}

static void
stop(void *arg)
{
	(void)arg;
	loop_stop(l);
}

static void
run_for(int ms)
{
	struct loop_timer *t = loop_timer_create(l, stop, NULL);

	loop_timer_start_ms(t, ms);
	assert_int_equal(loop_run(l, NULL), 0);
	loop_timer_free(t);
}

static void
numbers_and_paths_need_no_server(void **state)
{
	static const struct {
		const char *host, *want;
	} cases[] = {
	    {"127.0.0.1", "127.0.0.1:6379"},
	    {"::1", "[::1]:6379"},
	    {"unix:/run/redis.sock", "unix:/run/redis.sock"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct answer an = {.calls = 0};

		ask(cases[i].host, 1000, &an);
		assert_int_equal(loop_run(l, NULL), 0);
		assert_int_equal(an.calls, 1);
		assert_string_equal(an.first, cases[i].want);
	}
	assert_int_equal(dns_questions, 0);
}

static void
nonsense_is_told_as_invalid(void **state)
{
	static const char *const cases[] = {"", "two words", "unix:", "a\nb"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct answer an = {.calls = 0};

		ask(cases[i], 1000, &an);
		assert_int_equal(loop_run(l, NULL), 0);
		assert_int_equal(an.err.code, ERR_INVALID);
	}
	assert_int_equal(dns_questions, 0);
}

static void
each_question_goes_to_the_server_anew(void **state)
{
	struct answer an = {.calls = 0};

	(void)state;
	ask("known.test", 2000, &an);
	assert_int_equal(loop_run(l, NULL), 0);
	assert_string_equal(an.first, "127.0.0.5:6379");
	dns_last_byte = 6;
	an.calls = 0;
	ask("known.test", 2000, &an);
	assert_int_equal(loop_run(l, NULL), 0);
	assert_int_equal(an.calls, 1);
	assert_string_equal(an.first, "127.0.0.6:6379");
}

static void
unknown_name_is_not_found(void **state)
{
	struct answer an = {.calls = 0};

	(void)state;
	ask("other.test", 2000, &an);
	assert_int_equal(loop_run(l, NULL), 0);
	assert_int_equal(an.calls, 1);
	assert_int_equal(an.err.code, ERR_NOT_FOUND);
}

static void
silence_ends_at_the_deadline(void **state)
{
	struct answer an = {.calls = 0};

	(void)state;
	ask("silent.test", 30, &an);
	assert_int_equal(loop_run(l, NULL), 0);
	assert_int_equal(an.calls, 1);
	assert_int_equal(an.err.code, ERR_TIMEOUT);
	run_for(5);
	assert_int_equal(an.calls, 1);
}

static void
cancelled_question_is_never_answered(void **state)
{
	struct answer gone = {.calls = 0}, an = {.calls = 0};

	(void)state;
	resolve_cancel(ask("127.0.0.1", 1000, &gone));
	resolve_cancel(ask("known.test", 1000, &gone));
	resolve_cancel(ask("silent.test", 1000, &gone));
	ask("known.test", 1000, &an);
	assert_int_equal(loop_run(l, NULL), 0);
	run_for(10);
	assert_int_equal(an.calls, 1);
	assert_int_equal(gone.calls, 0);
}

static void
a_callback_may_cancel_another_question(void **state)
{
	struct answer gone = {.calls = 0}, an = {.calls = 0};

	(void)state;
	an.cancel = ask("silent.test", 1000, &gone);
	ask("known.test", 1000, &an);
	assert_int_equal(loop_run(l, NULL), 0);
	run_for(10);
	assert_int_equal(an.calls, 1);
	assert_int_equal(gone.calls, 0);
}

/* leaks and late writes would show under the sanitizers */
static void
resolver_is_freed_right_after_a_cancel(void **state)
{
	struct answer gone = {.calls = 0};

	(void)state;
	resolve_cancel(ask("silent.test", 1000, &gone));
	resolver_free(rv);
	rv = NULL;
	assert_int_equal(gone.calls, 0);
}

static void
resolver_is_freed_while_the_loop_goes_on(void **state)
{
	struct answer gone = {.calls = 0};
	struct resolve *r;

	(void)state;
	r = ask("silent.test", 1000, &gone);
	run_for(5);
	resolve_cancel(r);
	resolver_free(rv);
	rv = NULL;
	run_for(5);
	assert_int_equal(gone.calls, 0);
}

static void
localhost_comes_from_the_hosts_file(void **state)
{
	struct resolver *own = resolver_create(l, NULL);
	struct answer an = {.calls = 0};

	(void)state;
	assert_non_null(own);
	assert_non_null(resolve_start(own, "localhost", 6379, 1000, note, &an, NULL));
	assert_int_equal(an.calls, 0);
	assert_int_equal(loop_run(l, NULL), 0);
	assert_int_equal(an.calls, 1);
	assert_int_equal(an.err.code, ERR_NONE);
	assert_true(an.count >= 1);
	resolver_free(own);
}

/* ---- moved ---------------------------------------------------------------- */

static int moves;

static void
on_moved(void *arg)
{
	(void)arg;
	moves++;
	loop_stop(l);
}

static struct moved *
watch(const char *const names[], const char *used)
{
	struct moved *m = moved_create(l, rv, 20, on_moved, NULL, NULL);
	struct addr a;

	assert_non_null(m);
	moves = 0;
	for (; *names != NULL; names++)
		assert_int_equal(moved_add(m, *names, NULL), 0);
	assert_int_equal(addr_parse(used, &a, NULL), 0);
	moved_watch(m, &a);
	return m;
}

static void
a_name_that_leads_elsewhere_is_noticed_once(void **state)
{
	static const char *const names[] = {"known", NULL};
	struct moved *m = watch(names, "127.0.0.5:6379");
	unsigned asked;

	(void)state;
	run_for(150);
	assert_int_equal(moves, 0);
	assert_true(dns_questions >= 4);
	dns_last_byte = 6;
	run_for(2000);
	assert_int_equal(moves, 1);
	/* the watch is over */
	asked = dns_questions;
	run_for(100);
	assert_int_equal(moves, 1);
	assert_int_equal(dns_questions, asked);
	moved_free(m);
}

static void
any_of_several_names_may_lead_there(void **state)
{
	static const char *const names[] = {"known.a", "127.0.0.7", NULL};
	struct moved *m = watch(names, "127.0.0.7:5432");

	(void)state;
	run_for(100);
	assert_int_equal(moves, 0);
	moved_free(m);
	m = watch(names, "127.0.0.8:5432");
	run_for(2000);
	assert_int_equal(moves, 1);
	moved_free(m);
}

static void
what_cannot_be_resolved_says_nothing(void **state)
{
	static const char *const names[] = {"known.a", "unheard.of", NULL};
	struct moved *m = watch(names, "127.0.0.9:5432");

	(void)state;
	run_for(150);
	assert_int_equal(moves, 0);
	assert_true(dns_questions > 0);
	moved_free(m);
}

static void
addresses_and_sockets_are_asked_of_nobody(void **state)
{
	static const char *const addresses[] = {
	    "127.0.0.5", "::1", "unix:/run/s", NULL};
	static const char *const names[] = {"known", NULL};
	struct moved *m = watch(addresses, "127.0.0.9:5432");

	(void)state;
	run_for(80);
	moved_free(m);
	m = watch(names, "unix:/run/s");
	run_for(80);
	moved_free(m);
	assert_int_equal(moves, 0);
	assert_int_equal(dns_questions, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	    CASE(numbers_and_paths_need_no_server),
	    CASE(nonsense_is_told_as_invalid),
	    CASE(each_question_goes_to_the_server_anew),
	    CASE(unknown_name_is_not_found),
	    CASE(silence_ends_at_the_deadline),
	    CASE(cancelled_question_is_never_answered),
	    CASE(a_callback_may_cancel_another_question),
	    CASE(resolver_is_freed_right_after_a_cancel),
	    CASE(resolver_is_freed_while_the_loop_goes_on),
	    CASE(localhost_comes_from_the_hosts_file),
	    cmocka_unit_test_setup_teardown(
		a_name_that_leads_elsewhere_is_noticed_once, open_all, close_all),
	    cmocka_unit_test_setup_teardown(
		any_of_several_names_may_lead_there, open_all, close_all),
	    cmocka_unit_test_setup_teardown(
		what_cannot_be_resolved_says_nothing, open_all, close_all),
	    cmocka_unit_test_setup_teardown(
		addresses_and_sockets_are_asked_of_nobody, open_all, close_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
