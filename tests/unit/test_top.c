/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_top.c - a frame of shoal top: bounded in both directions, whatever comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <json-c/json.h>

#include "base/str.h"
#include "base/strbuf.h"
#include "cli/answer.h"
#include "cli/span.h"
#include "cli/top.h"

static const char overview[] =
    "{\"cluster\":\"shop\",\"at\":\"2026-11-26T07:56:06.722002Z\",\"waiting\":1234567,"
    "\"estimated\":true,\"nodes\":[{\"id\":\"d8b6457dbf59\",\"hostname\":\"vm\","
    "\"version\":\"1\",\"state\":\"draining\",\"leads\":true,\"workers\":2,\"slots\":"
    "512,"
    "\"running\":7,\"started_at\":\"2026-11-26T07:00:00Z\",\"beat_age_ms\":730,"
    "\"pulse\":{\"age_ms\":900,\"span_ms\":2000,\"submitted\":3000,\"started\":200,"
    "\"succeeded\":100,\"retried\":0,\"failed\":2,\"cpu_ms\":1500,"
    "\"memory_bytes\":62914560,\"waiters\":0,\"load\":1.25}},"
    "{\"id\":\"e8b6457dbf59\",\"hostname\":null,\"version\":\"1\",\"state\":"
    "\"running\","
    "\"leads\":false,\"workers\":1,\"slots\":256,\"running\":0,\"started_at\":null,"
    "\"beat_age_ms\":null,\"pulse\":null}],"
    "\"queues\":[{\"application\":\"a\",\"queue\":\"big\",\"paused\":false,\"pool\":"
    "\"main\",\"waiting\":1234000,\"estimated\":true,\"running\":1,\"oldest_age_ms\":"
    "5000},"
    "{\"application\":\"a\",\"queue\":\"busy\",\"paused\":true,\"pool\":\"gpu\","
    "\"waiting\":3,\"estimated\":false,\"running\":6,\"oldest_age_ms\":86400000}],"
    "\"oldest\":[{\"id\":\"01a216da-ff07-76cd-84ff-ebbd18d89f51\",\"application\":"
    "\"a\","
    "\"queue\":\"busy\",\"type\":\"evil\\u001b[2J\\nname\",\"paused\":true,\"age_ms\":"
    "1}],"
    "\"slowest\":[{\"id\":\"01a216da-ff07-76cd-84ff-ebbd18d89f52\",\"application\":"
    "\"a\","
    "\"queue\":\"busy\",\"type\":\"slow\",\"node\":null,\"leased_by\":\"bob\","
    "\"age_ms\":3600000}]}";

static char frame[65536];

static void
draw(const char *json, const struct top_view *v)
{
	struct err err = ERR_INIT;
	struct json_object *doc = answer_parse(json, strlen(json), &err);
	struct strbuf out;

	assert_non_null(doc);
	strbuf_init(&out, sizeof(frame));
	top_frame(&out, doc, v);
	assert_false(strbuf_failed(&out));
	assert_true(str_copy(frame, sizeof(frame), out.data));
	strbuf_fini(&out);
	json_object_put(doc);
}

static size_t
lines(size_t *longest)
{
	size_t n = 0, len;

	*longest = 0;
	for (const char *at = frame; *at != '\0'; at += len + 1) {
		len = strcspn(at, "\n");
		if (len > *longest)
			*longest = len;
		n++;
	}
	return n;
}

static const char *
line_with(const char *text)
{
	static char line[512];
	const char *at = strstr(frame, text), *begin;

	if (at == NULL)
		fail_msg("no line with '%s' in:\n%s", text, frame);
	for (begin = at; begin > frame && begin[-1] != '\n';)
		begin--;
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(begin, "\n"), begin);
	return line;
}

static void
a_frame_of_80_columns_shows_all_that_counts(void **state)
{
	const struct top_view v = {.width = 80};
	size_t longest;

	(void)state;
	draw(overview, &v);
	(void)lines(&longest);
	assert_in_range(longest, 70, 80);
	assert_non_null(strstr(line_with("shop"), "2 nodes, 3 workers"));
	/* two seconds of counts are halved; the node without a pulse adds nothing */
	assert_string_equal(line_with("waiting ~"),
	    "waiting ~1.2M  running 7  a second: submitted 1.5k started 100 done 50 "
	    "failed "
	    "1");
	assert_non_null(strstr(line_with("d8b6457dbf59"), "draining"));
	assert_non_null(strstr(line_with("d8b6457dbf59"), " 75   60M "));
	assert_non_null(strstr(line_with("e8b6457dbf59"), "     - "));
	assert_non_null(strstr(line_with("big"), "~1.2M"));
	assert_non_null(strstr(line_with("busy "), "paused"));
	assert_non_null(strstr(line_with("9f52"), "60m00s"));
}

static void
nothing_from_outside_reaches_the_terminal_raw(void **state)
{
	const struct top_view v = {.width = 120};

	(void)state;
	draw(overview, &v);
	assert_null(strchr(frame, '\033'));
	assert_non_null(strstr(frame, "evil?[2J?name"));
}

static void
marks_do_not_make_lines_wider(void **state)
{
	const struct top_view v = {.width = 80, .ansi = true};
	const char *head;

	(void)state;
	draw(overview, &v);
	head = line_with("NODE");
	/* the mark, 80 columns, and its end */
	assert_int_equal(strlen(head), 4 + 80 + 4);
}

static void
a_frame_is_no_higher_than_the_terminal(void **state)
{
	size_t longest;

	(void)state;
	for (int height = 1; height < 40; height++) {
		const struct top_view v = {.width = 80, .height = height};

		draw(overview, &v);
		/* the head is always there */
		assert_true(lines(&longest) <= (size_t)(height > 3 ? height : 3));
	}
}

static void
queues_are_sorted_as_is_wished(void **state)
{
	struct top_view v = {.width = 80};

	(void)state;
	draw(overview, &v);
	assert_true(strstr(frame, " big ") < strstr(frame, " busy "));
	v.sort = TOP_RUNNING;
	draw(overview, &v);
	assert_true(strstr(frame, " big ") > strstr(frame, " busy "));
	v.sort = TOP_OLDEST;
	draw(overview, &v);
	assert_true(strstr(frame, " big ") > strstr(frame, " busy "));
	v.sort = TOP_NAME;
	draw(overview, &v);
	assert_true(strstr(frame, " big ") < strstr(frame, " busy "));
	assert_int_equal(top_sort_parse("oldest", &v.sort), 0);
	assert_int_equal(v.sort, TOP_OLDEST);
	assert_int_equal(top_sort_parse("age", &v.sort), -1);
}

static void
a_document_of_another_kind_is_a_frame_too(void **state)
{
	static const char *const docs[] = {"{}", "[]", "{\"nodes\":{}}",
	    "{\"nodes\":[1,null,{}],\"queues\":[{}],\"oldest\":[{}],\"slowest\":[[]]}"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(docs); i++)
		draw(docs[i], &(struct top_view){.width = 80});
}

static void
spans_and_counts_fit_their_columns(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} spans[] = {{-1, "-"}, {0, "0ms"}, {999, "999ms"}, {1500, "1.5s"},
	    {99999, "99.9s"}, {100000, "1m40s"}, {5999000, "99m59s"},
	    {6000000, "1h40m"}, {172800000, "2d00h"}, {86400000LL * 1000, "1000d"}};
	static const struct {
		double n;
		const char *text;
	} counts[] = {{-3, "0"}, {0, "0"}, {0.25, "0.2"}, {7, "7"}, {999, "999"},
	    {999.6, "1.0k"}, {1500, "1.5k"}, {12345, "12k"}, {999600, "1.0M"},
	    {1.5e9, "1.5G"}};
	char buf[SPAN_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(spans); i++)
		assert_string_equal(span_text(spans[i].ms, buf), spans[i].text);
	for (size_t i = 0; i < COUNT_OF(counts); i++)
		assert_string_equal(span_count(counts[i].n, buf), counts[i].text);
	assert_string_equal(span_bytes(62914560, buf), "60M");
	assert_string_equal(span_bytes(1610612736, buf), "1.5G");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_frame_of_80_columns_shows_all_that_counts),
	    cmocka_unit_test(nothing_from_outside_reaches_the_terminal_raw),
	    cmocka_unit_test(marks_do_not_make_lines_wider),
	    cmocka_unit_test(a_frame_is_no_higher_than_the_terminal),
	    cmocka_unit_test(queues_are_sorted_as_is_wished),
	    cmocka_unit_test(a_document_of_another_kind_is_a_frame_too),
	    cmocka_unit_test(spans_and_counts_fit_their_columns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
