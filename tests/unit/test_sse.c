/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_sse.c - server-sent events from bytes, in chunks and in pieces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/attr.h"
#include "cli/sconn.h"
#include "cli/sse.h"

static char got[4096];

static void
on_event(const char *name, const char *data, void *arg)
{
	size_t at = strlen(got);

	(void)arg;
	snprintf(got + at, sizeof(got) - at, "%s=%s|", name, data);
}

static void
events_are_read_as_a_browser_reads_them(void **state)
{
	static const struct {
		const char *text, *events, *id;
	} cases[] = {
	    {"id: 1-2\nevent: failed\ndata: {}\n\n", "failed={}|", "1-2"},
	    {"data:no space\n\n", "message=no space|", ""},
	    {": comment\nretry: 5\nid: 3-0\n\n", "", "3-0"},
	    {"data: a\ndata: b\r\n\r\n", "message=a\nb|", ""},
	    {"event: x\n\ndata: y\n\n", "message=y|", ""},
	    {"data: open\n", "", ""},
	    {"data\n\n", "message=|", ""},
	};
	struct sse s;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		/* whole, and byte by byte */
		for (size_t piece = 1; piece < 100; piece += 98) {
			const char *at = cases[i].text;

			got[0] = '\0';
			sse_init(&s, on_event, NULL);
			for (size_t left = strlen(at), n; left > 0;
			     left -= n, at += n) {
				n = left < piece ? left : piece;
				assert_true(sse_feed(&s, at, n));
			}
			assert_string_equal(got, cases[i].events);
			assert_string_equal(s.id, cases[i].id);
			sse_fini(&s);
		}
	}
}

static void
a_new_connection_forgets_half_an_event_and_keeps_the_id(void **state)
{
	struct sse s;

	(void)state;
	got[0] = '\0';
	sse_init(&s, on_event, NULL);
	assert_true(sse_feed(&s, "id: 7-1\ndata: whole\n\nevent: x\ndata: ha", 38));
	sse_restart(&s);
	assert_true(sse_feed(&s, "data: next\n\n", 12));
	assert_string_equal(got, "message=whole|message=next|");
	assert_string_equal(s.id, "7-1");
	sse_fini(&s);
}

static void
chunks_are_taken_apart_wherever_they_are_cut(void **state)
{
	static const char body[] =
	    "5\r\ndata:\r\n3;x=y\r\n ab\r\nA\r\n\n\ndata: c\n\r\n1\r\n\n\r\n0\r\n\r\n";
	struct sconn_chunks c;
	struct sse s;

	(void)state;
	for (size_t cut = 0; cut < sizeof(body); cut++) {
		got[0] = '\0';
		memset(&c, 0, sizeof(c));
		sse_init(&s, on_event, NULL);
		assert_true(sconn_unchunk(&c, &s, body, cut));
		assert_true(sconn_unchunk(&c, &s, body + cut, sizeof(body) - 1 - cut));
		assert_true(c.ended);
		assert_string_equal(got, "message=ab|message=c|");
		sse_fini(&s);
	}
	sse_init(&s, on_event, NULL);
	memset(&c, 0, sizeof(c));
	assert_false(sconn_unchunk(&c, &s, "x", 1));
	memset(&c, 0, sizeof(c));
	assert_false(sconn_unchunk(&c, &s, "111111111\r\n", 11));
	memset(&c, 0, sizeof(c));
	assert_false(sconn_unchunk(&c, &s, "1\r\nabc", 6));
	sse_fini(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(events_are_read_as_a_browser_reads_them),
	    cmocka_unit_test(a_new_connection_forgets_half_an_event_and_keeps_the_id),
	    cmocka_unit_test(chunks_are_taken_apart_wherever_they_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
