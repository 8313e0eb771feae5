/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_api.c - the life of requests, from the key to the answer, with every store
 * failing at will.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "api/api.h"
#include "base/mem.h"
#include "fake_node.h"
#include "store/apikey.h"
#include "store/controls.h"
#include "store/queues.h"
#include "store/reads.h"

struct bench {
	struct loop *loop;
	struct loop_defer *stop;
	struct settings *settings;
	struct scoreboard *board;
	struct api *api;
	struct httpd_opts opts;
	struct apikey key;
	char bearer[APIKEY_TEXT_SIZE + 8];
};

static const char one_task[] = "{\"type\":\"mail\",\"payload\":{\"n\":1}}";

static void
stop_now(void *arg)
{
	struct bench *b = arg;

	loop_stop(b->loop);
}

/* lets deferred calls run, those that they defer too */
static void
turn(struct bench *b)
{
	struct err err;

	for (int i = 0; i < 3; i++) {
		loop_defer_start(b->stop);
		assert_int_equal(loop_run(b->loop, &err), 0);
	}
}

static int
setup(void **state)
{
	struct bench *b = mem_zero(sizeof(*b));
	struct api_opts opts = {0};
	struct err err;

	fake_reset();
	assert_non_null(b);
	b->loop = loop_create(&err);
	b->stop = loop_defer_create(b->loop, stop_now, b);
	b->settings = settings_create(&err);
	b->board = scoreboard_create(&err);
	assert_non_null(b->settings);
	assert_non_null(b->board);
	opts.settings = b->settings;
	opts.engine = (struct engine *)(void *)b;
	opts.board = b->board;
	b->api = api_create(b->loop, &opts, &err);
	if (b->api == NULL)
		fail_msg("%s", err.text);
	api_httpd_opts(b->api, &b->opts);
	apikey_generate(&b->key);
	snprintf(b->bearer, sizeof(b->bearer), "Bearer %s", b->key.text);
	*state = b;
	return 0;
}

static int
teardown(void **state)
{
	struct bench *b = *state;

	api_free(b->api);
	scoreboard_free(b->board);
	settings_free(b->settings);
	loop_defer_free(b->stop);
	loop_free(b->loop);
	mem_free(b);
	return 0;
}

static struct httpreq
request(
    const struct bench *b, enum http_method method, const char *path, const char *body)
{
	struct httpreq req = {.method = method, .path = path, .body = body};

	req.headers[0][0] = "Authorization";
	req.headers[0][1] = b->bearer;
	return req;
}

/* the answer to the question about keys: this one belongs to application 3 */
static PGresult *
key_rows(const struct bench *b, const uint8_t *hash, bool live)
{
	PGresult *res = fake_rows(5);

	fake_text(res, 0, 0, b->key.public_id, APIKEY_PUBLIC);
	fake_int(res, 0, 1, 4, 3);
	fake_text(res, 0, 2, hash, APIKEY_HASH);
	fake_int(res, 0, 3, 1, live);
	return res;
}

static void
learn_key(struct bench *b)
{
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks", "");

	fake_request(&b->opts, &req);
	turn(b);
	fake_answer(key_rows(b, b->key.hash, true));
	assert_int_equal(req.status, 400);
	fake_request_fini(&req);
	fake.names_known = true;
	fake.asked = 0;
}

static PGresult *
task_rows(const struct uuid *id, int state, bool mark)
{
	PGresult *res = fake_rows(23);

	fake_text(res, 0, 0, id->b, 16);
	fake_text(res, 0, 1, "mail", 4);
	fake_text(res, 0, 2, "default", 7);
	fake_int(res, 0, 3, 2, state);
	fake_int(res, 0, 4, 2, 5);
	fake_int(res, 0, 5, 4, 1);
	fake_int(res, 0, 6, 2, 25);
	fake_int(res, 0, 7, 2, 0);
	for (int i = 8; i < 11; i++)
		fake_int(res, 0, i, 8, 1800000000000000);
	for (int i = 11; i < 15; i++)
		fake_text(res, 0, i, NULL, 0);
	if (mark)
		fake_int(res, 0, 15, 1, 0);
	else
		fake_text(res, 0, 15, "{\"n\":1}", 7);
	fake_text(res, 0, 16, mark ? NULL : "\"done\"", 6);
	fake_text(res, 0, 17, NULL, 0);
	fake_int(res, 0, 18, 4, 0);
	fake_text(res, 0, 19, NULL, 0);
	fake_text(res, 0, 20, NULL, 0);
	fake_text(res, 0, 21, "50", 2);
	return res;
}

static void
expect(struct httpreq *req, int status, const char *part)
{
	assert_true(req->ended);
	if (req->status != status || strstr(req->answer, part) == NULL)
		fail_msg("%d %s", req->status, req->answer);
	fake_request_fini(req);
}

/* ---------------------------------------------------------------- keys */

static void
a_task_goes_from_the_key_over_its_names_to_201(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks", one_task);

	fake_request(&b->opts, &req);
	assert_false(req.ended);
	turn(b);
	assert_int_equal(fake.question_count, 1);
	assert_ptr_equal(fake.questions[0].stmt, &reads_keys);
	fake_answer(key_rows(b, b->key.hash, true));
	assert_int_equal(fake.names_asked, 2);
	fake_names_learned(NULL);
	assert_int_equal(fake.submit_count, 1);
	assert_int_equal(fake.submits[0]->app_id, 3);
	assert_int_equal(fake.submits[0]->items[0].queue_id, 7);
	assert_int_equal(fake.submits[0]->items[0].type_id, 8);
	assert_ptr_equal(fake.submits[0]->items[0].payload, strstr(req.body, "{\"n\""));
	assert_false(req.ended);
	fake_committed(NULL);
	assert_non_null(strstr(req.reply_headers, "Location: /v1/tasks/"));
	expect(&req, 201,
	    "\"state\":\"queued\",\"priority\":5,\"payload\":{\"n\":1},\"result\":"
	    "null");
}

static void
many_requests_with_one_new_key_cost_one_question(void **state)
{
	struct bench *b = *state;
	struct httpreq reqs[100];

	for (size_t i = 0; i < COUNT_OF(reqs); i++) {
		reqs[i] = request(b, HTTP_POST, "/v1/tasks", "");
		fake_request(&b->opts, &reqs[i]);
		if (i == 50)
			turn(b);
	}
	turn(b);
	assert_int_equal(fake.asked, 1);
	fake_answer(key_rows(b, b->key.hash, true));
	for (size_t i = 0; i < COUNT_OF(reqs); i++)
		expect(&reqs[i], 400, "invalid_json");
}

static void
keys_that_are_not_valid_get_one_answer(void **state)
{
	struct bench *b = *state;
	uint8_t other[APIKEY_HASH] = {1};
	struct httpreq first, again;
	char *text;

	for (int kind = 0; kind < 3; kind++) {
		apikey_generate(&b->key);
		snprintf(b->bearer, sizeof(b->bearer), "Bearer %s", b->key.text);
		fake.asked = 0;
		first = request(b, HTTP_GET, "/v1/tasks", NULL);
		fake_request(&b->opts, &first);
		turn(b);
		/* no such key; one with another secret; revoked */
		fake_answer(kind == 0	? fake_rows(4)
			    : kind == 1 ? key_rows(b, other, true)
					: key_rows(b, b->key.hash, false));
		assert_non_null(
		    strstr(first.reply_headers, "WWW-Authenticate: Bearer"));
		again = request(b, HTTP_GET, "/v1/tasks", NULL);
		fake_request(&b->opts, &again);
		turn(b);
		assert_int_equal(fake.asked, 1);
		assert_string_equal(first.answer, again.answer);
		expect(&first, 401, "unauthorized");
		text = b->bearer;
		text[strlen(text) - 1] ^=
		    1; /* the checksum is wrong now: no question at all */
		first = request(b, HTTP_GET, "/v1/tasks", NULL);
		fake_request(&b->opts, &first);
		turn(b);
		assert_int_equal(fake.asked, 1);
		assert_string_equal(first.answer, again.answer);
		expect(&first, 401, "unauthorized");
		expect(&again, 401, "unauthorized");
	}
}

static void
without_the_database_new_keys_get_503_and_known_ones_work(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks", one_task);

	fake.database_away = true;
	fake_request(&b->opts, &req);
	turn(b);
	assert_non_null(strstr(req.reply_headers, "Retry-After: 1"));
	expect(&req, 503, "unavailable");

	fake.database_away = false;
	learn_key(b);
	fake.database_away = true;
	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	fake_request(&b->opts, &req);
	assert_int_equal(fake.submit_count, 1);
	fake_committed(NULL);
	expect(&req, 201, "queued");

	/* a question that is lost on its way is no verdict */
	fake.database_away = false;
	apikey_generate(&b->key);
	snprintf(b->bearer, sizeof(b->bearer), "Bearer %s", b->key.text);
	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	fake_request(&b->opts, &req);
	turn(b);
	fake_answer(NULL);
	expect(&req, 503, "unavailable");
	learn_key(b);
}

static void
keys_in_urls_and_strangers_are_refused_at_the_door(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_GET, "/v1/tasks", NULL);

	req.query[0][0] = "Api_Key";
	req.query[0][1] = "x";
	fake_request(&b->opts, &req);
	expect(&req, 400, "key_in_url");
	req = request(b, HTTP_GET, "/v1/tasks", NULL);
	req.query[0][0] = "state";
	req.query[0][1] = b->key.text;
	fake_request(&b->opts, &req);
	expect(&req, 400, "key_in_url");
	req = request(b, HTTP_GET, "/v1/tasks", NULL);
	req.headers[0][0] = NULL;
	fake_request(&b->opts, &req);
	expect(&req, 401, "unauthorized");
	assert_int_equal(fake.asked, 0);
}

/* ---------------------------------------------------------------- submits */

static void
a_failed_submit_says_what_became_of_it(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks", one_task);
	struct err err = ERR_INIT;

	learn_key(b);
	fake.submit_refuses = true;
	fake_request(&b->opts, &req);
	assert_non_null(strstr(req.reply_headers, "Retry-After: 1"));
	expect(&req, 503, "not accepted");

	fake.submit_refuses = false;
	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	fake_request(&b->opts, &req);
	err_set(&err, ERR_TIMEOUT, "the task may have been accepted");
	fake_committed(&err);
	expect(&req, 503, "outcome_unknown the task may have been accepted");
}

static void
too_many_names_are_no_fault_of_the_server(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks", one_task);
	struct err err = ERR_INIT;

	learn_key(b);
	fake.names_known = false;
	fake_request(&b->opts, &req);
	err_set(&err, ERR_LIMIT, "this application has 1000 queues already");
	fake_names_learned(&err);
	expect(&req, 422, "too_many_names");
}

static void
a_key_takes_a_request_one_by_one(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks", one_task);

	learn_key(b);
	req.headers[1][0] = "Idempotency-Key";
	req.headers[1][1] = "k";
	fake_request(&b->opts, &req);
	/* which there is none of here */
	expect(&req, 503, "unavailable");
	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	req.headers[1][0] = "Idempotency-Key";
	req.headers[1][1] = "";
	fake_request(&b->opts, &req);
	expect(&req, 400, "invalid_header");
	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	req.headers[1][0] = "Content-Type";
	req.headers[1][1] = "text/plain";
	fake_request(&b->opts, &req);
	expect(&req, 415, "unsupported_media_type");
	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	req.query[0][0] = "wiat";
	req.query[0][1] = "1";
	fake_request(&b->opts, &req);
	expect(&req, 400, "unknown_parameter");
}

static void
a_batch_asks_for_each_new_name_once_and_answers_in_order(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks/batch",
	    "[{\"type\":\"a\"},{\"type\":\"b\",\"queue\":\"q\"},{\"type\":\"a\"}]");

	learn_key(b);
	fake.names_known = false;
	fake_request(&b->opts, &req);
	assert_int_equal(fake.names_asked, 4);
	fake_names_learned(NULL);
	assert_int_equal(fake.submits[0]->count, 3);
	fake_committed(NULL);
	expect(&req, 201, "{\"tasks\":[{\"id\":");
	req = request(b, HTTP_POST, "/v1/tasks/batch",
	    "[{\"type\":\"a\"},{\"type\":\"b\",\"q\":1}]");
	fake_request(&b->opts, &req);
	expect(&req, 400, "tasks[1].q");
	assert_int_equal(fake.submit_count, 0);
}

/* ---------------------------------------------------------------- waits */

static struct httpreq
waiting(struct bench *b)
{
	struct httpreq req = request(b, HTTP_POST, "/v1/tasks", one_task);

	req.query[0][0] = "wait";
	req.query[0][1] = "10";
	return req;
}

static void
wait_answers_when_the_task_has_ended(void **state)
{
	struct bench *b = *state;
	struct httpreq req = waiting(b);
	struct waiter *w = &fake.waiters[0];

	learn_key(b);
	fake_request(&b->opts, &req);
	assert_true(fake.submits[0]->items[0].wait);
	fake_committed(NULL);
	assert_true(w->open);
	w->open = false;
	w->cb(true, w->arg);
	assert_ptr_equal(fake.questions[0].stmt, &reads_task);
	fake_answer(task_rows(&w->id, TASK_SUCCEEDED, false));
	expect(&req, 200, "\"result\":\"done\"");
}

static void
a_commit_is_never_answered_with_a_failure(void **state)
{
	struct bench *b = *state;
	struct waiter *w = fake.waiters;
	struct httpreq req;

	learn_key(b);
	for (int away = 0; away < 3; away++) {
		req = waiting(b);
		fake_request(&b->opts, &req);
		fake_committed(NULL);
		fake.database_away = away == 0;
		w->open = false;
		w->cb(false, w->arg);
		if (away == 1)
			fake_answer(NULL);
		if (away == 2)
			fake_answer(task_rows(&w->id, TASK_RUNNING, false));
		expect(&req, 202, away == 2 ? "running" : "queued");
		fake.database_away = false;
		w++;
	}
}

static void
a_client_that_hangs_up_leaves_nothing_behind(void **state)
{
	struct bench *b = *state;
	struct httpreq req = waiting(b);

	learn_key(b);
	fake_request(&b->opts, &req);
	fake_committed(NULL);
	fake_hang_up(&req);
	assert_true(req.dropped);
	assert_false(fake.waiters[0].open);

	/* before the commit the body must stay */
	req = waiting(b);
	fake_request(&b->opts, &req);
	fake_hang_up(&req);
	assert_false(req.ended);
	fake_committed(NULL);
	assert_true(req.dropped);
}

static void
a_leaving_worker_lets_nobody_wait(void **state)
{
	struct bench *b = *state;
	struct httpreq post = waiting(b),
		       get = request(b, HTTP_GET, "/v1/tasks/{id}", NULL), late;

	learn_key(b);
	fake_request(&b->opts, &post);
	fake_committed(NULL);
	get.segment = "018bcfe5-687b-7fff-bfff-ffffffffffff";
	get.query[0][0] = "wait";
	get.query[0][1] = "60";
	fake_request(&b->opts, &get);
	assert_int_equal(fake.waiter_count, 2);
	api_end_waits(b->api);
	assert_int_equal(fake.question_count, 2);
	fake_answer(task_rows(&fake.waiters[0].id, TASK_RUNNING, false));
	fake_answer(task_rows(&fake.waiters[1].id, TASK_RUNNING, false));
	expect(&post, 202, "running");
	expect(&get, 200, "running");
	late = waiting(b);
	fake_request(&b->opts, &late);
	fake_committed(NULL);
	expect(&late, 202, "queued");
	assert_int_equal(fake.waiter_count, 2);
}

/* ---------------------------------------------------------------- reads */

static void
what_is_not_yours_was_never_there(void **state)
{
	struct bench *b = *state;
	struct httpreq missing = request(b, HTTP_GET, "/v1/tasks/{id}", NULL),
		       malformed = missing;

	learn_key(b);
	missing.segment = "018bcfe5-687b-7fff-bfff-ffffffffffff";
	fake_request(&b->opts, &missing);
	fake_answer(fake_rows(23));
	malformed.segment = "018bcfe5-687b-7fff-bfff";
	fake_request(&b->opts, &malformed);
	assert_string_equal(missing.answer, malformed.answer);
	assert_string_equal(missing.reply_headers, malformed.reply_headers);
	expect(&missing, 404, "not_found");
	expect(&malformed, 404, "not_found");
}

static void
a_rush_of_reads_stands_in_line(void **state)
{
	struct bench *b = *state;
	struct httpreq reqs[200];
	struct uuid id = {{1}};
	size_t answered = 0;

	learn_key(b);
	for (size_t i = 0; i < COUNT_OF(reqs); i++) {
		reqs[i] = request(b, HTTP_GET, "/v1/tasks/{id}", NULL);
		reqs[i].segment = "018bcfe5-687b-7fff-bfff-ffffffffffff";
		fake_request(&b->opts, &reqs[i]);
	}
	assert_int_equal(fake.question_count, 64);
	fake_hang_up(&reqs[199]);
	for (; fake.question_count > 0; answered++) {
		assert_true(fake.question_count <= 64);
		fake_answer(task_rows(&id, TASK_QUEUED, false));
	}
	assert_int_equal(answered, 199);
	assert_true(reqs[199].dropped);
	for (size_t i = 0; i < 199; i++)
		expect(&reqs[i], 200, "queued");
}

static void
a_list_goes_on_where_it_ended(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_GET, "/v1/tasks", NULL);
	struct uuid id = {{0xab}};
	PGresult *res;

	learn_key(b);
	req.query[0][0] = "limit";
	req.query[0][1] = "1";
	fake_request(&b->opts, &req);
	res = task_rows(&id, TASK_QUEUED, true);
	for (int i = 0; i < 17; i++)
		fake_text(res, 1, i, PQgetvalue(res, 0, i),
		    PQgetisnull(res, 0, i) ? 0 : PQgetlength(res, 0, i));
	fake_answer(res);
	expect(&req, 200, "\"next_cursor\":\"ab000000000000000000000000000000\"}");

	req = request(b, HTTP_GET, "/v1/tasks", NULL);
	req.query[0][0] = "cursor";
	req.query[0][1] = "ab000000000000000000000000000000";
	fake_request(&b->opts, &req);
	fake_answer(task_rows(&id, TASK_QUEUED, true));
	expect(&req, 200, "\"next_cursor\":null}");

	/* the window ended before the page was full */
	req = request(b, HTTP_GET, "/v1/tasks", NULL);
	req.query[0][0] = "state";
	req.query[0][1] = "expired";
	fake_request(&b->opts, &req);
	res = fake_rows(17);
	fake_text(res, 0, 0, id.b, 16);
	for (int i = 1; i < 15; i++)
		fake_text(res, 0, i, NULL, 0);
	fake_int(res, 0, 15, 1, 1);
	fake_answer(res);
	expect(&req, 200,
	    "{\"tasks\":[],\"next_cursor\":\"ab000000000000000000000000000000\"}");
}

static void
bad_parameters_of_a_list_are_named(void **state)
{
	static const char *const cases[][2] = {{"state", "done"}, {"limit", "0"},
	    {"limit", "101"}, {"limit", "x"}, {"cursor", "zz"}, {"cursor", "ab"},
	    {"since", "yesterday"}, {"until", "2030-01-01"}, {"queue", "a b"},
	    {"type", ""}, {"sate", "queued"}};
	struct bench *b = *state;

	learn_key(b);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct httpreq req = request(b, HTTP_GET, "/v1/tasks", NULL);

		req.query[0][0] = cases[i][0];
		req.query[0][1] = cases[i][1];
		fake_request(&b->opts, &req);
		expect(&req, 400, cases[i][0]);
	}
	assert_int_equal(fake.asked, 0);
}

/* ---------------------------------------------------------------- the end */

static void
requests_at_every_stage_end_with_the_api(void **state)
{
	struct bench *b = *state;
	struct httpreq asking_key, wait = waiting(b), names, read;
	char other[APIKEY_TEXT_SIZE + 8];
	struct apikey key;

	learn_key(b);
	fake_request(&b->opts, &wait);
	fake_committed(NULL);
	fake.names_known = false;
	names = request(b, HTTP_POST, "/v1/tasks", one_task);
	fake_request(&b->opts, &names);
	read = request(b, HTTP_GET, "/v1/tasks/{id}", NULL);
	read.segment = "018bcfe5-687b-7fff-bfff-ffffffffffff";
	fake_request(&b->opts, &read);
	apikey_generate(&key);
	snprintf(other, sizeof(other), "Bearer %s", key.text);
	asking_key = request(b, HTTP_GET, "/v1/tasks", NULL);
	asking_key.headers[0][1] = other;
	fake_request(&b->opts, &asking_key);
	turn(b);

	api_stop(b->api);
	assert_false(fake.waiters[0].open);
	while (fake.question_count > 0)
		fake_answer(NULL);
	expect(&read, 503, "unavailable");
	expect(&asking_key, 503, "unavailable");
	expect(&wait, 202, "queued");
	assert_false(names.ended); /* its callback was dropped */
	api_free(b->api);
	b->api = NULL;
	assert_true(names.dropped);
}

/* ---------------------------------------------------------------- queues */

/* the answer about the length of queue 7 */
static void
what_a_queue_sheds_gets_429_before_anything_is_asked(void **state)
{
	static const struct queue_policy all = {
	    .priority = -1, .shed_ppm = 1000000, .shed_below = 4};
	struct bench *b = *state;
	struct httpreq shed, urgent;

	learn_key(b);
	fake.policy = &all;
	shed = request(b, HTTP_POST, "/v1/tasks", one_task);
	fake_request(&b->opts, &shed);
	assert_non_null(strstr(shed.reply_headers, "Retry-After"));
	expect(&shed, 429, "shed ");
	assert_int_equal(fake.asked, 0);
	urgent =
	    request(b, HTTP_POST, "/v1/tasks", "{\"type\":\"mail\",\"priority\":4}");
	fake_request(&b->opts, &urgent);
	assert_int_equal(fake.submit_count, 1);
	fake_committed(NULL);
	expect(&urgent, 201, "queued");
}

/* nothing is counted here: what is made one by one is refused by its statement */
static void
tasks_of_a_queue_with_a_length_are_made_one_by_one(void **state)
{
	static const struct queue_policy bounded = {
	    .priority = 8, .max_length = 10, .shed_below = -1, .limited = true};
	struct bench *b = *state;
	struct err full = ERR_INIT;
	struct httpreq req;

	learn_key(b);
	fake.policy = &bounded;
	fake.each_taken = true;
	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	fake_request(&b->opts, &req);
	assert_int_equal(fake.submit_count, 0);
	assert_int_equal(fake.asked, 0);
	assert_non_null(fake.each);
	assert_int_equal(fake.each->bounded_count, 1);
	assert_int_equal(fake.each->bounded[0], 7);
	assert_non_null(strstr(fake.each->items[0].spec, "\"queue_id\":7"));
	fake.each->items[0].state = TASK_QUEUED;
	fake.each->cb(fake.each, NULL, fake.each->arg);
	expect(&req, 201, "\"priority\":8");

	req = request(b, HTTP_POST, "/v1/tasks", one_task);
	fake_request(&b->opts, &req);
	fake.each->refusal = EACH_QUEUE_FULL;
	err_set(&full, ERR_CONFLICT, "the queue is full");
	fake.each->cb(fake.each, &full, fake.each->arg);
	assert_non_null(strstr(req.reply_headers, "Retry-After"));
	expect(&req, 429, "queue_full");
}

static void
a_queue_that_was_changed_is_told_to_all(void **state)
{
	struct bench *b = *state;
	struct httpreq pause, put;
	PGresult *res = fake_rows(1);

	learn_key(b);
	pause = request(b, HTTP_POST, "/v1/queues/{name}/pause", "{\"reason\":\"x\"}");
	pause.segment = "mail";
	fake_request(&b->opts, &pause);
	assert_ptr_equal(fake.questions[0].stmt, &queues_pause);
	fake_int(res, 0, 0, 4, 12);
	fake_answer(res);
	assert_int_equal(fake.queue_changed, 12);
	assert_ptr_equal(fake.questions[0].stmt, &queues_list);
	fake_answer(NULL);
	expect(&pause, 503, "unavailable");
	put = request(b, HTTP_PUT, "/v1/queues/{name}", "{\"priority\":1}");
	put.segment = "no such name";
	fake_request(&b->opts, &put);
	expect(&put, 404, "not_found");
	put = request(b, HTTP_PUT, "/v1/queues/{name}", "{\"priority\":1}");
	put.segment = "mail";
	fake_request(&b->opts, &put);
	fake_answer(NULL); /* nobody knows */
	expect(&put, 503, "outcome_unknown");
}

/* ---------------------------------------------------------------- changes */

static struct httpreq
change(struct bench *b, enum http_method method, const char *path)
{
	struct httpreq req = request(b, method, path, NULL);

	req.segment = "01900000-0000-7000-8000-000000000001";
	return req;
}

/* changed, state; of a cancel whom to tell, of a retry whether it was erased */
static PGresult *
changed_rows(bool changed, int state, const uint8_t *tell)
{
	PGresult *res = fake_rows(3);

	fake_int(res, 0, 0, 1, changed);
	fake_int(res, 0, 1, 2, state);
	fake_text(res, 0, 2, tell, tell != NULL ? 16 : 0);
	return res;
}

static void
a_cancel_tells_those_concerned_and_shows_the_task(void **state)
{
	static const struct uuid id = {{1}}, holder = {{2}};
	struct bench *b = *state;
	struct httpreq req;

	learn_key(b);
	req = change(b, HTTP_POST, "/v1/tasks/{id}/cancel");
	fake_request(&b->opts, &req);
	assert_ptr_equal(fake.questions[0].stmt, &controls_cancel);
	fake_answer(changed_rows(true, TASK_CANCELLED, holder.b));
	assert_int_equal(fake.tells, 1);
	fake_answer(task_rows(&id, TASK_CANCELLED, false));
	expect(&req, 200, "\"state\":\"cancelled\"");

	req = change(b, HTTP_POST, "/v1/tasks/{id}/cancel");
	fake_request(&b->opts, &req);
	fake_answer(changed_rows(true, TASK_RUNNING, holder.b));
	assert_int_equal(fake.cancels, 1);
	fake_answer(task_rows(&id, TASK_RUNNING, false));
	expect(&req, 202, "\"state\":\"running\"");

	/* it ended well before it heard */
	req = change(b, HTTP_POST, "/v1/tasks/{id}/cancel");
	req.query[0][0] = "wait";
	req.query[0][1] = "5";
	fake_request(&b->opts, &req);
	fake_answer(changed_rows(false, TASK_RUNNING, holder.b));
	assert_int_equal(fake.cancels, 2);
	assert_true(fake.waiters[0].open);
	fake.waiters[0].open = false;
	fake.waiters[0].cb(true, fake.waiters[0].arg);
	fake_answer(task_rows(&id, TASK_SUCCEEDED, false));
	expect(&req, 409, "\"code\":\"already_ended\"");

	req = change(b, HTTP_POST, "/v1/tasks/{id}/cancel");
	fake_request(&b->opts, &req);
	fake_answer(changed_rows(false, TASK_FAILED, NULL));
	expect(&req, 409, "\"state\":\"failed\"");
	req = change(b, HTTP_POST, "/v1/tasks/{id}/cancel");
	fake_request(&b->opts, &req);
	fake_answer(fake_rows(3));
	expect(&req, 404, "not_found");
}

static void
a_change_that_is_committed_is_never_answered_with_a_failure(void **state)
{
	struct bench *b = *state;
	struct httpreq req;
	struct uuid id;

	learn_key(b);
	req = change(b, HTTP_POST, "/v1/tasks/{id}/retry");
	fake_request(&b->opts, &req);
	assert_ptr_equal(fake.questions[0].stmt, &controls_retry);
	fake_answer(changed_rows(true, TASK_QUEUED, NULL));
	assert_int_equal(fake.hints, 1);
	assert_int_equal(uuid_parse(req.segment, strlen(req.segment), &id), 0);
	assert_true(uuid_eq(&fake.again, &id));
	fake_answer(NULL); /* the row cannot be read */
	expect(&req, 200, "\"state\":\"queued\"");
	/* but one whose answer is lost may not have happened */
	req = change(b, HTTP_POST, "/v1/tasks/{id}/retry");
	fake_request(&b->opts, &req);
	fake_answer(NULL);
	expect(&req, 503, "outcome_unknown");
	fake.database_away = true;
	req = change(b, HTTP_DELETE, "/v1/tasks/{id}");
	fake_request(&b->opts, &req);
	expect(&req, 503, "unavailable");
}

static void
what_the_state_forbids_is_named(void **state)
{
	static const struct {
		enum http_method method;
		const char *path;
		int state;
		const char *code;
	} cases[] = {
	    {HTTP_POST, "/v1/tasks/{id}/retry", TASK_RUNNING, "not_ended"},
	    {HTTP_POST, "/v1/tasks/{id}/retry", TASK_SUCCEEDED, "succeeded"},
	    {HTTP_DELETE, "/v1/tasks/{id}", TASK_QUEUED, "not_ended"},
	    {HTTP_DELETE, "/v1/tasks/{id}/payload", TASK_SCHEDULED, "not_ended"},
	};
	struct bench *b = *state;
	struct httpreq req;

	learn_key(b);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		req = change(b, cases[i].method, cases[i].path);
		fake_request(&b->opts, &req);
		fake_answer(changed_rows(false, cases[i].state, NULL));
		expect(&req, 409, cases[i].code);
	}
	req = change(b, HTTP_DELETE, "/v1/tasks/{id}");
	fake_request(&b->opts, &req);
	fake_answer(changed_rows(true, 0, NULL));
	expect(&req, 204, "");
}

static void
a_count_is_taken_window_by_window(void **state)
{
	static const struct uuid last = {{1}};
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_POST, "/v1/operations",
	    "{\"action\":\"cancel\",\"filter\":{},\"dry_run\":true}");
	PGresult *res;

	learn_key(b);
	fake_request(&b->opts, &req);
	for (int i = 0; i < 3; i++) {
		assert_false(req.ended);
		assert_ptr_equal(fake.questions[0].stmt, &controls_count);
		res = fake_rows(2);
		fake_int(res, 0, 0, 8, 10000 - i);
		fake_text(res, 0, 1, i < 2 ? last.b : NULL, i < 2 ? 16 : 0);
		fake_answer(res);
	}
	expect(&req, 200, "{\"count\":29997,\"exact\":true}");
	assert_int_equal(fake.operates, 0);
}

static void
an_operation_is_written_down_and_told_to_the_leader(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(
	    b, HTTP_POST, "/v1/operations", "{\"action\":\"cancel\",\"filter\":{}}");
	PGresult *res = fake_rows(1);

	learn_key(b);
	fake_request(&b->opts, &req);
	assert_ptr_equal(fake.questions[0].stmt, &controls_operate);
	fake_int(res, 0, 0, 1, true);
	fake_answer(res);
	assert_int_equal(fake.operates, 1);
	assert_ptr_equal(fake.questions[0].stmt, &controls_operation);
	fake_answer(NULL); /* it cannot be read, and is committed all the same */
	expect(&req, 202, "\"filter\":{},\"state\":\"running\"");
	req = request(
	    b, HTTP_POST, "/v1/operations", "{\"action\":\"cancel\",\"filter\":{}}");
	fake_request(&b->opts, &req);
	res = fake_rows(1);
	fake_int(res, 0, 0, 1, false);
	fake_answer(res);
	expect(&req, 429, "too_many_operations");
	assert_int_equal(fake.operates, 1);
}

/* a row of leases_take */
static PGresult *
leased(const struct uuid *task)
{
	PGresult *res = fake_rows(15);

	fake_int(res, 0, 0, 4, 1);
	fake_text(res, 0, 1, task->b, 16);
	fake_text(res, 0, 2, "mail", 4);
	fake_int(res, 0, 3, 4, 7);
	fake_int(res, 0, 4, 2, 5);
	fake_int(res, 0, 5, 4, 1);
	fake_int(res, 0, 6, 4, 0);
	fake_int(res, 0, 7, 4, 25);
	fake_text(res, 0, 8, "{\"n\":1}", 7);
	fake_int(res, 0, 12, 8, 0);
	return res;
}

static void
a_lease_that_nobody_is_there_to_take_is_refused(void **state)
{
	struct bench *b = *state;
	struct lease_grant g = {0, {{1, [6] = 0xff, [7] = 0xff}}, "1-x-1"};
	struct httpreq req;
	struct uuid task = {{9}};
	PGresult *rows = leased(&task);

	learn_key(b);
	for (int gone = 0; gone < 2; gone++) {
		req = request(b, HTTP_POST, "/v1/leases",
		    "{\"queues\":[\"mail\"],\"max\":5,\"wait\":20,\"worker\":\"w\"}");
		fake_request(&b->opts, &req);
		assert_non_null(fake.lease_cb);
		assert_int_equal(fake.leasing.app_id, 3);
		assert_int_equal(fake.leasing.queue_count, 1);
		assert_int_equal(fake.leasing.max, 5);
		assert_int_equal(fake.leasing.wait_ms, 20000);
		assert_int_equal(fake.leasing.ttl_ms, 60000);
		req.is_gone = gone;
		assert_int_equal(fake.lease_cb((const struct pgrows *)(void *)rows, &g,
				     1, NULL, fake.lease_arg),
		    !gone);
		assert_true(req.ended);
		if (!gone)
			expect(&req, 200, "\"fence\":\"1-x-1\"");
		fake_request_fini(&req);
	}
	PQclear(rows);
	fake.lease_full = true;
	req = request(b, HTTP_POST, "/v1/leases", "{\"queues\":[\"mail\"]}");
	fake_request(&b->opts, &req);
	expect(&req, 429, "too_many_waiters");
}

static void
a_key_for_work_opens_no_other_door(void **state)
{
	struct bench *b = *state;
	struct httpreq req = request(b, HTTP_GET, "/v1/tasks", NULL);
	PGresult *res = key_rows(b, b->key.hash, true);

	fake_request(&b->opts, &req);
	turn(b);
	fake_text(res, 0, 4, "work:mail", 9);
	fake_answer(res);
	expect(&req, 403, "out_of_scope");
	fake.names_known = true;
	req = request(b, HTTP_POST, "/v1/leases", "{\"queues\":[\"mail\",\"sms\"]}");
	fake_request(&b->opts, &req);
	expect(&req, 403, "sms");
	req = request(b, HTTP_POST, "/v1/leases", "{\"queues\":[\"mail\"]}");
	fake_request(&b->opts, &req);
	assert_non_null(fake.lease_cb);
	fake_hang_up(&req);
	assert_null(fake.lease_cb);
	fake_request_fini(&req);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(a_task_goes_from_the_key_over_its_names_to_201),
	    TEST(many_requests_with_one_new_key_cost_one_question),
	    TEST(keys_that_are_not_valid_get_one_answer),
	    TEST(without_the_database_new_keys_get_503_and_known_ones_work),
	    TEST(keys_in_urls_and_strangers_are_refused_at_the_door),
	    TEST(a_failed_submit_says_what_became_of_it),
	    TEST(too_many_names_are_no_fault_of_the_server),
	    TEST(a_key_takes_a_request_one_by_one),
	    TEST(a_batch_asks_for_each_new_name_once_and_answers_in_order),
	    TEST(wait_answers_when_the_task_has_ended),
	    TEST(a_commit_is_never_answered_with_a_failure),
	    TEST(a_client_that_hangs_up_leaves_nothing_behind),
	    TEST(a_leaving_worker_lets_nobody_wait),
	    TEST(what_is_not_yours_was_never_there),
	    TEST(a_rush_of_reads_stands_in_line),
	    TEST(a_list_goes_on_where_it_ended),
	    TEST(bad_parameters_of_a_list_are_named),
	    TEST(what_a_queue_sheds_gets_429_before_anything_is_asked),
	    TEST(tasks_of_a_queue_with_a_length_are_made_one_by_one),
	    TEST(a_queue_that_was_changed_is_told_to_all),
	    TEST(requests_at_every_stage_end_with_the_api),
	    TEST(a_cancel_tells_those_concerned_and_shows_the_task),
	    TEST(a_change_that_is_committed_is_never_answered_with_a_failure),
	    TEST(what_the_state_forbids_is_named),
	    TEST(a_count_is_taken_window_by_window),
	    TEST(an_operation_is_written_down_and_told_to_the_leader),
	    TEST(a_lease_that_nobody_is_there_to_take_is_refused),
	    TEST(a_key_for_work_opens_no_other_door),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
