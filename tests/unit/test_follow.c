/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_follow.c - who follows an application gets each event once, in order, whatever
 * the others at this worker do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"
#include "api/follow.h"
#include "base/clock.h"
#include "base/mem.h"
#include "fake_node.h"

#define PAGE 500
#define APP  3

struct bench {
	struct loop *loop;
	struct loop_timer *stop;
	struct follow *follow;
};

static const struct follow_filter all;

static void
stop_now(void *arg)
{
	struct bench *b = arg;

	loop_stop(b->loop);
}

/* lets timers of so many milliseconds run */
static void
pass(struct bench *b, int ms)
{
	struct err err;

	loop_timer_start_ms(b->stop, ms);
	assert_int_equal(loop_run(b->loop, &err), 0);
}

static void
until_asked(struct bench *b)
{
	for (int i = 0; i < 5000 && fake.question_count == 0; i++)
		pass(b, 1);
	assert_int_equal(fake.question_count, 1);
}

/*
 * The question from this place.  When the head is due it comes first, in turn, and on a
 * slow machine it is due at any time: there is nothing new.
 */
static void answer_events(int64_t xid, int64_t from, int64_t to, int64_t horizon);

static void
until_asked_from(struct bench *b, int64_t xid, int64_t seq)
{
	for (int i = 0; i < 100; i++) {
		until_asked(b);
		if (fake.questions[0].numbers[1] == xid &&
		    fake.questions[0].numbers[2] == seq)
			return;
		answer_events(0, 1, 0, fake.questions[0].numbers[1]);
	}
	fail_msg("never asked from %lld-%lld", (long long)xid, (long long)seq);
}

static int
setup(void **state)
{
	struct bench *b = mem_zero(sizeof(*b));
	struct err err;

	fake_reset();
	assert_non_null(b);
	b->loop = loop_create(&err);
	b->stop = loop_timer_create(b->loop, stop_now, b);
	b->follow = follow_create(b->loop, NULL, &err);
	assert_non_null(b->follow);
	*state = b;
	return 0;
}

static int
teardown(void **state)
{
	struct bench *b = *state;

	follow_end_all(b->follow);
	while (fake.question_count > 0)
		fake_answer(NULL);
	follow_free(b->follow);
	loop_timer_free(b->stop);
	loop_free(b->loop);
	mem_free(b);
	return 0;
}

static void
add(struct bench *b, struct httpreq *req, int64_t xid, int64_t seq,
    const struct follow_filter *filter)
{
	const struct event_place after = {xid, seq};

	memset(req, 0, sizeof(*req));
	follow_add(b->follow, APP, filter, &after, req);
	assert_true(req->streaming);
}

static void
put_row(PGresult *res, int row, int64_t xid, int64_t seq, int kind)
{
	fake_int(res, row, 0, 8, xid);
	fake_int(res, row, 1, 8, seq);
	fake_int(res, row, 2, 8, 1800000000000000);
	fake_int(res, row, 3, 2, kind);
	for (int i = 4; i < 13; i++)
		fake_text(res, row, i, NULL, 0);
	fake_text(res, row, 9, "{\"a\":\n1}", 8);
	fake_text(res, row, 12, "mail", 4);
}

/* events (xid, from) to (xid, to), and the horizon */
static void
answer_events(int64_t xid, int64_t from, int64_t to, int64_t horizon)
{
	PGresult *res = fake_rows(14);
	int row = 0;

	for (int64_t seq = from; seq <= to; seq++)
		put_row(res, row++, xid, seq, EVENT_RETRYING);
	put_row(res, row, horizon, 0, 0);
	fake_answer(res);
}

static int
count_of(const char *text, const char *what)
{
	int n = 0;

	for (text = strstr(text, what); text != NULL; text = strstr(text + 1, what))
		n++;
	return n;
}

/* data blocks; what was seen is forgotten */
static int
take_events(struct httpreq *req)
{
	int n = count_of(req->answer, "\ndata: ");

	req->answer[0] = '\0';
	return n;
}

static void
all_of_one_application_are_asked_for_together(void **state)
{
	struct bench *b = *state;
	/* (static, all of these: after a failure the teardown still ends them) */
	static struct httpreq one, two, mail, spam;
	struct follow_filter of_mail = {.queue = "mail"}, of_spam = {.queue = "spam"};
	int64_t answered_ms;

	add(b, &one, 10, 0, &all);
	add(b, &two, 10, 0, &all);
	add(b, &mail, 10, 0, &of_mail);
	add(b, &spam, 10, 0, &of_spam);
	assert_non_null(strstr(one.answer, "retry: 1000\nid: 10-0\n\n"));
	until_asked(b);
	assert_int_equal(fake.questions[0].numbers[0], APP);
	assert_int_equal(fake.questions[0].numbers[1], 10);
	assert_int_equal(fake.questions[0].numbers[3], PAGE);
	answered_ms = loop_now_ms(b->loop);
	answer_events(11, 1, 2, 20);
	assert_non_null(strstr(one.answer,
	    "\n\nid: 11-1\nevent: retrying\ndata: {\"id\":\"11-1\",\"kind\":"));
	/* a line break in JSON ends no data */
	assert_non_null(strstr(one.answer, "\"detail\":{\"a\": 1}}\n\n"));
	assert_int_equal(take_events(&one), 2);
	assert_int_equal(take_events(&two), 2);
	assert_int_equal(take_events(&mail), 2);
	assert_int_equal(take_events(&spam), 0);
	/* and the next time from the horizon, after a pause */
	until_asked(b);
	assert_true(loop_now_ms(b->loop) - answered_ms >= 400);
	assert_int_equal(fake.questions[0].numbers[1], 20);
	assert_int_equal(fake.questions[0].numbers[2], 0);
	answer_events(0, 1, 0, 30);
	assert_int_equal(take_events(&one), 0);
	follow_end_all(b->follow);
	assert_true(one.ended && spam.ended);
	/* it knows where it stands though nothing passed its filter */
	assert_non_null(strstr(spam.answer, "retry: 100\nid: 30-0\n\n"));
	fake_request_fini(&one);
	fake_request_fini(&two);
	fake_request_fini(&mail);
	fake_request_fini(&spam);
}

static void
who_comes_with_an_older_place_is_read_for_by_turns(void **state)
{
	struct bench *b = *state;
	static struct httpreq fresh, old;

	add(b, &fresh, 100, 0, &all);
	until_asked(b);
	answer_events(0, 1, 0, 100);
	add(b, &old, 50, 7, &all);
	until_asked_from(b, 50, 7);
	answer_events(60, 1, PAGE, 100);
	assert_int_equal(take_events(&old), PAGE);
	assert_int_equal(take_events(&fresh), 0);
	/* a full page: there is more, behind its last row */
	until_asked_from(b, 60, PAGE);
	answer_events(60, PAGE + 1, PAGE + 3, 104);
	assert_int_equal(take_events(&old), 3);
	assert_int_equal(take_events(&fresh), 0);
	/* now both stand together, and nothing is given twice */
	until_asked(b);
	answer_events(105, 1000, 1001, 110);
	assert_int_equal(take_events(&old), 2);
	assert_int_equal(take_events(&fresh), 2);
	follow_end_all(b->follow);
	fake_request_fini(&old);
	fake_request_fini(&fresh);
}

static void
a_slow_client_gets_nothing_more_until_it_has_taken_most(void **state)
{
	struct bench *b = *state;
	static struct httpreq fast, slow;

	add(b, &fast, 10, 0, &all);
	add(b, &slow, 10, 0, &all);
	until_asked(b);
	slow.unsent = HTTPREQ_UNSENT_MAX;
	answer_events(11, 1, 10, 20);
	assert_int_equal(take_events(&fast), 10);
	assert_int_equal(take_events(&slow), 1);
	/* the others go on without it */
	until_asked(b);
	assert_int_equal(fake.questions[0].numbers[1], 20);
	answer_events(21, 11, 12, 30);
	assert_int_equal(take_events(&fast), 2);
	assert_int_equal(take_events(&slow), 0);
	/* then it goes on from where it was */
	slow.unsent = 0;
	until_asked_from(b, 11, 1);
	answer_events(11, 2, 10, 30);
	assert_int_equal(take_events(&slow), 9);
	assert_int_equal(take_events(&fast), 0);
	follow_end_all(b->follow);
	fake_request_fini(&fast);
	fake_request_fini(&slow);
}

static void
nothing_is_asked_while_nobody_follows(void **state)
{
	struct bench *b = *state;
	static struct httpreq one, two;

	add(b, &one, 10, 0, &all);
	until_asked(b);
	fake_hang_up(&one);
	assert_true(one.dropped);
	assert_int_equal(follow_count(b->follow), 0);
	/* another comes while the last question is under way */
	add(b, &two, 5, 0, &all);
	answer_events(11, 1, 3, 20);
	assert_int_equal(take_events(&two), 0);
	until_asked(b);
	assert_int_equal(fake.questions[0].numbers[1], 5);
	answer_events(11, 1, 3, 20);
	assert_int_equal(take_events(&two), 3);
	fake_hang_up(&two);
	pass(b, 600);
	assert_int_equal(fake.question_count, 0);
	fake_request_fini(&one);
	fake_request_fini(&two);
}

static void
a_database_that_is_away_is_asked_again(void **state)
{
	struct bench *b = *state;
	static struct httpreq req;

	fake.database_away = true;
	add(b, &req, 10, 0, &all);
	pass(b, 20);
	fake.database_away = false;
	until_asked(b);
	fake_answer(NULL);
	until_asked(b);
	assert_int_equal(fake.questions[0].numbers[1], 10);
	answer_events(11, 1, 1, 20);
	assert_int_equal(take_events(&req), 1);
	follow_end_all(b->follow);
	fake_request_fini(&req);
}

static void
there_is_room_for_so_many(void **state)
{
	static struct httpreq reqs[FOLLOW_APP_MOST];
	struct bench *b = *state;
	struct err err = ERR_INIT;

	for (int i = 0; i < FOLLOW_APP_MOST; i++) {
		assert_int_equal(follow_room(b->follow, APP, &err), 0);
		add(b, &reqs[i], 10, 0, &all);
	}
	assert_int_equal(follow_room(b->follow, APP, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(follow_room(b->follow, APP + 1, &err), 0);
	follow_end_all(b->follow);
	assert_int_equal(follow_count(b->follow), 0);
	assert_int_equal(follow_room(b->follow, APP + 1, &err), -1);
	assert_int_equal(err.code, ERR_CLOSED);
	for (int i = 0; i < FOLLOW_APP_MOST; i++)
		fake_request_fini(&reqs[i]);
}

static void
places_are_read_as_they_are_written(void **state)
{
	static const char *const bad[] = {
	    "", "-", "1", "1-", "-1", "1-2-3", "a-b", "1- 2", "99999999999999999999-1"};
	struct event_place p = {7, 8};
	char text[EVENT_PLACE_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(event_place_parse(bad[i], &p), -1);
	assert_int_equal(p.xid, 7);
	assert_int_equal(event_place_parse("12-9223372036854775807", &p), 0);
	assert_string_equal(event_place_text(&p, text), "12-9223372036854775807");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(all_of_one_application_are_asked_for_together),
	    TEST(who_comes_with_an_older_place_is_read_for_by_turns),
	    TEST(a_slow_client_gets_nothing_more_until_it_has_taken_most),
	    TEST(nothing_is_asked_while_nobody_follows),
	    TEST(a_database_that_is_away_is_asked_again),
	    TEST(there_is_room_for_so_many),
	    TEST(places_are_read_as_they_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
