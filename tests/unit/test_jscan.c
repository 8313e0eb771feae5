/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_jscan.c - what is JSON and what is not, and that reading it gives what is there.
 *
 * The table has the kinds of cases that the public JSON test suites collect: what
 * must pass, what must not, and our decision where the grammar leaves one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/jscan.h"
#include "base/mem.h"

static const struct jscan_limits usual = {.max_depth = 32, .check_keys = 1};

#define REFUSED (-1)

struct jcase {
	const char *about;
	const char *bytes;
	size_t len;
	long at; /* -2: passes; else the byte that is blamed */
};

#define PASS(about, bytes)                                                             \
	{                                                                              \
		about, bytes, sizeof(bytes) - 1, -2                                    \
	}
#define FAIL(about, bytes, at)                                                         \
	{                                                                              \
		about, bytes, sizeof(bytes) - 1, at                                    \
	}

/* clang-format off */
static const struct jcase cases[] = {
	PASS("an object", "{\"a\":1,\"b\":[true,false,null],\"c\":{}}"),
	PASS("an empty array", "[]"),
	PASS("white space everywhere", " \t\r\n{ \"a\" : [ 1 , 2 ] , \"b\" : \"\" } \n"),
	PASS("a number alone", "42"),
	PASS("a string alone", "\"asd\""),
	PASS("a word alone", "null"),
	PASS("minus zero", "[-0]"),
	PASS("all parts of a number", "[-12.340e+05]"),
	PASS("a small exponent", "[1E-2]"),
	PASS("zero with exponent", "[0e1]"),
	PASS("an integer beyond 64 bits: kept as it is written", "[123456789012345678901234567890]"),
	PASS("a number beyond double: the grammar allows it", "[1e400]"),
	PASS("every short escape", "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
	PASS("an escaped backslash before the quote", "[\"\\\\\"]"),
	PASS("a pair of surrogates", "[\"\\ud83d\\uDE00\"]"),
	PASS("an escaped noncharacter", "[\"\\uffff\"]"),
	PASS("DEL is no control character of the grammar", "[\"\x7f\"]"),
	PASS("UTF-8 of two, three and four bytes", "[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"]"),
	PASS("the last code point", "[\"\xf4\x8f\xbf\xbf\"]"),
	PASS("U+2028 raw", "[\"\xe2\x80\xa8\"]"),
	PASS("an empty key", "{\"\":0}"),
	PASS("the same key deeper down", "{\"a\":{\"a\":{\"a\":1,\"a\":2}}}"),
	PASS("a duplicate key inside, where it is not checked", "[{\"a\":1,\"a\":2}]"),
	PASS("a long string that ends on a word's edge", "\"0123456701234567\""),

	FAIL("nothing", "", 0),
	FAIL("only white space", "  \n", 3),
	FAIL("a byte order mark", "\xef\xbb\xbf{}", 0),
	FAIL("UTF-16", "[\0\"\0\xe9\0\"\0]\0", 1),
	FAIL("two values", "{} {}", 3),
	FAIL("a value and rubbish", "1]", 1),
	FAIL("a NUL behind the value", "[]\0", 2),
	FAIL("a form feed as white space", "[\f]", 1),
	FAIL("a no-break space", "[\xc2\xa0]", 1),
	FAIL("an open array", "[", 1),
	FAIL("an open array with a value", "[1", 2),
	FAIL("an array that a comma ends", "[1,]", 3),
	FAIL("an array that begins with a comma", "[,1]", 1),
	FAIL("two commas", "[1,,2]", 3),
	FAIL("no comma", "[1 2]", 3),
	FAIL("a colon in an array", "[\"a\":1]", 4),
	FAIL("the wrong bracket", "[1}", 2),
	FAIL("the wrong brace", "{\"a\":1]", 6),
	FAIL("a closing bracket alone", "]", 0),
	FAIL("an open object", "{", 1),
	FAIL("a key and nothing", "{\"a\"", 4),
	FAIL("a key, a colon and nothing", "{\"a\":", 5),
	FAIL("an object that a comma ends", "{\"a\":1,}", 7),
	FAIL("an object that begins with a comma", "{,}", 1),
	FAIL("no colon", "{\"a\" 1}", 5),
	FAIL("two colons", "{\"a\"::1}", 5),
	FAIL("a key without quotes", "{a:1}", 1),
	FAIL("a key in single quotes", "{'a':1}", 1),
	FAIL("a number as key", "{1:1}", 1),
	FAIL("a comment", "{}/**/", 2),
	FAIL("a line comment", "[1]//", 3),
	FAIL("a capital word", "[True]", 1),
	FAIL("a cut word", "[nul", 1),
	FAIL("a word that goes on", "[nulls]", 5),
	FAIL("NaN", "[NaN]", 1),
	FAIL("minus NaN", "[-NaN]", 2),
	FAIL("Infinity", "[Infinity]", 1),
	FAIL("a plus sign", "[+1]", 1),
	FAIL("a minus alone", "[-]", 2),
	FAIL("a leading zero", "[012]", 2),
	FAIL("a leading zero behind a minus", "[-01]", 3),
	FAIL("a point without digits before", "[.5]", 1),
	FAIL("a point without digits behind", "[5.]", 3),
	FAIL("a point and an exponent", "[5.e1]", 3),
	FAIL("an exponent without digits", "[1e]", 3),
	FAIL("an exponent with a sign alone", "[1e+]", 4),
	FAIL("an exponent with a point", "[1e1.5]", 4),
	FAIL("hexadecimal", "[0x1]", 2),
	FAIL("a digit of another script", "[\xef\xbc\x91]", 1),
	FAIL("an open string", "\"abc", 0),
	FAIL("a string that a backslash ends", "\"abc\\", 4),
	FAIL("a string that a backslash and a quote end", "[\"\\\"]", 1),
	FAIL("a raw newline", "[\"a\nb\"]", 3),
	FAIL("a raw tab", "[\"\t\"]", 2),
	FAIL("a raw NUL", "[\"a\0\"]", 3),
	FAIL("a control behind a long run", "[\"0123456789abcdef\x1f\"]", 18),
	FAIL("single quotes", "['a']", 1),
	FAIL("an unknown escape", "[\"\\a\"]", 2),
	FAIL("an escaped NUL byte", "[\"\\\0\"]", 2),
	FAIL("a capital U", "[\"\\U0041\"]", 2),
	FAIL("a hexadecimal escape", "[\"\\x41\"]", 2),
	FAIL("three digits", "[\"\\u041\"]", 2),
	FAIL("no hexadecimal digits", "[\"\\u00g1\"]", 2),
	FAIL("an escape that the end cuts", "[\"\\u00", 2),
	FAIL("U+0000", "[\"\\u0000\"]", 2),
	FAIL("U+0000 in a key", "{\"a\\u0000b\":1}", 3),
	FAIL("a high surrogate alone", "[\"\\ud800\"]", 2),
	FAIL("a low surrogate alone", "[\"\\udc00\"]", 2),
	FAIL("two high surrogates", "[\"\\ud800\\ud800\"]", 2),
	FAIL("surrogates the wrong way round", "[\"\\ude00\\ud83d\"]", 2),
	FAIL("a high surrogate and a letter", "[\"\\ud800a\"]", 2),
	FAIL("a high surrogate and another escape", "[\"\\ud800\\n\"]", 2),
	FAIL("a high surrogate and a cut escape", "[\"\\ud800\\u", 2),
	FAIL("a continuation byte alone", "[\"\x80\"]", 2),
	FAIL("Latin-1", "[\"\xe9\"]", 2),
	FAIL("an overlong slash", "[\"\xc0\xaf\"]", 2),
	FAIL("an overlong three bytes", "[\"\xe0\x80\xaf\"]", 2),
	FAIL("an overlong four bytes", "[\"\xf0\x80\x80\xaf\"]", 2),
	FAIL("a raw surrogate", "[\"\xed\xa0\x80\"]", 2),
	FAIL("beyond the last code point", "[\"\xf4\x90\x80\x80\"]", 2),
	FAIL("a byte that never occurs", "[\"\xff\"]", 2),
	FAIL("a character that the quote cuts", "[\"\xe2\x82\"]", 2),
	FAIL("a character that the end cuts", "[\"\xe2\x82", 2),
	FAIL("invalid UTF-8 in a key", "{\"\xff\":1}", 2),
	FAIL("a key twice", "{\"a\":1,\"b\":2,\"a\":3}", 13),
	FAIL("a key twice, once escaped", "{\"a\":1,\"\\u0061\":2}", 7),
	FAIL("a key twice, both escaped", "{\"\\u0061\":1,\"\\u0061\":2}", 12),
	FAIL("a key twice, as UTF-8 and as a pair", "{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}", 10),
	FAIL("a key twice, a slash escaped", "{\"/\":1,\"\\/\":2}", 7),
	FAIL("the empty key twice", "{\"\":1,\"\":2}", 6),
};
/* clang-format on */

/* a copy without a byte to spare, so that the sanitizer sees a read too far */
static int
check_exact(
    const char *bytes, size_t len, const struct jscan_limits *limits, struct err *err)
{
	char *copy = malloc(len > 0 ? len : 1);
	struct jspan value;
	int rc;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	rc = jscan_check(len > 0 ? copy : copy + 1, len, limits, &value, err);
	free(copy);
	return rc;
}

static void
table_of_cases_is_decided_as_written(void **state)
{
	size_t i, wrong = 0;

	(void)state;
	for (i = 0; i < COUNT_OF(cases); i++) {
		const struct jcase *c = &cases[i];
		struct err err = ERR_INIT;
		char where[32];
		int rc = check_exact(c->bytes, c->len, &usual, &err);

		snprintf(where, sizeof(where), "at byte %ld", c->at);
		if (c->at == -2 && rc == 0)
			continue;
		if (c->at >= 0 && rc == REFUSED && err.code == ERR_INVALID &&
		    strlen(err.text) > strlen(where) &&
		    strcmp(err.text + strlen(err.text) - strlen(where), where) == 0)
			continue;
		print_error("%s: %d %s, not %s\n", c->about, rc, err.text, where);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void
every_prefix_of_a_document_is_refused(void **state)
{
	static const char text[] = "{\"key\":[1.5e3,true,\"\\u00e9\\ud83d\\ude00 "
				   "\xe2\x82\xac\",null,{}],\"b\":-1}";
	struct err err;
	size_t len;

	(void)state;
	for (len = 0; len < sizeof(text) - 1; len++)
		assert_int_equal(check_exact(text, len, &usual, &err), REFUSED);
	assert_int_equal(check_exact(text, len, &usual, &err), 0);
}

static void
special_bytes_are_seen_at_every_place_of_a_word(void **state)
{
	static const char special[] = {'\0', '\n', 0x1f, '\\', (char)0x80, (char)0xff};
	char text[64];
	struct err err;
	size_t at, i, len;

	(void)state;
	for (len = 1; len < 40; len++)
		for (at = 0; at < len; at++) {
			memset(text, ' ' + (int)(at % 2), len + 2);
			text[0] = text[len + 1] = '"';
			assert_int_equal(check_exact(text, len + 2, &usual, &err), 0);
			for (i = 0; i < sizeof(special); i++) {
				text[1 + at] = special[i];
				assert_int_equal(
				    check_exact(text, len + 2, &usual, &err), REFUSED);
			}
		}
}

static void
depth_is_bounded(void **state)
{
	char text[600];
	struct jscan_limits limits = usual;
	struct err err;

	(void)state;
	memset(text, '[', 300);
	memset(text + 300, ']', 300);
	assert_int_equal(check_exact(text + 300 - 32, 64, &limits, &err), 0);
	assert_int_equal(check_exact(text + 300 - 33, 66, &limits, &err), REFUSED);
	assert_string_equal(err.text, "too many levels at byte 32");
	limits.max_depth = 1000000;
	assert_int_equal(check_exact(text + 300 - 128, 256, &limits, &err), 0);
	assert_int_equal(check_exact(text, 600, &limits, &err), REFUSED);
	limits.max_depth = 0;
	assert_int_equal(check_exact("1", 1, &limits, &err), 0);
	assert_int_equal(check_exact("[]", 2, &limits, &err), REFUSED);
}

/* an object of count keys k0, k1...; the key number twice (if below count) comes again
 */
static size_t
many_keys(char *text, size_t size, unsigned count, unsigned twice)
{
	size_t len = 0;
	unsigned i;

	text[len++] = '{';
	for (i = 0; i < count; i++)
		len += (size_t)snprintf(
		    text + len, size - len, "\"k%u\":{\"k\":%u},", i, i);
	if (twice < count)
		len +=
		    (size_t)snprintf(text + len, size - len, "\"\\u006b%u\":0,", twice);
	text[len - 1] = '}';
	return len;
}

static void
duplicate_is_found_among_few_and_many_keys(void **state)
{
	static char text[200000];
	static const unsigned counts[] = {
	    1, 2, 15, 16, 17, 31, 32, 33, 127, 128, 129, 5000};
	struct jscan_limits limits = {.max_depth = 32, .check_keys = 2};
	struct err err;
	size_t i, len;

	(void)state;
	for (i = 0; i < COUNT_OF(counts); i++) {
		len = many_keys(text, sizeof(text), counts[i], UINT32_MAX);
		assert_int_equal(check_exact(text, len, &limits, &err), 0);
		len = many_keys(text, sizeof(text), counts[i], counts[i] / 2);
		assert_int_equal(check_exact(text, len, &limits, &err), REFUSED);
		assert_int_equal(err.code, ERR_INVALID);
	}
}

static void
levels_of_key_checks_are_counted_from_the_outside(void **state)
{
	static const char two[] =
	    "[{\"a\":[{\"b\":1,\"b\":2}],\"c\":{\"d\":1,\"d\":2}}]";
	struct jscan_limits limits = {.max_depth = 32, .check_keys = 2};
	struct err err;

	(void)state;
	assert_int_equal(check_exact(two, sizeof(two) - 1, &limits, &err), 0);
	limits.check_keys = 3;
	assert_int_equal(check_exact(two, sizeof(two) - 1, &limits, &err), REFUSED);
	assert_string_equal(err.text, "a key that its object has already at byte 33");
	limits.check_keys = 4;
	assert_int_equal(check_exact(two, sizeof(two) - 1, &limits, &err), REFUSED);
	assert_string_equal(err.text, "a key that its object has already at byte 14");
}

static void
no_memory_for_keys_is_an_error(void **state)
{
	static char text[4000];
	size_t len = many_keys(text, sizeof(text), 200, UINT32_MAX);
	unsigned n;

	(void)state;
	for (n = 1;; n++) {
		struct jspan value = {NULL, 0, JSON_NULL};
		struct err err = ERR_INIT;
		int rc;

		mem_fail_nth(n);
		rc = jscan_check(text, len, &usual, &value, &err);
		mem_fail_nth(0);
		if (rc == 0)
			break;
		assert_int_equal(err.code, ERR_NOMEM);
		assert_null(value.at);
	}
	assert_int_equal(n, 3);
}

static struct jspan
parsed(const char *text)
{
	struct jspan value;
	struct err err = ERR_INIT;

	if (jscan_check(text, strlen(text), &usual, &value, &err) != 0)
		fail_msg("%s: %s", text, err.text);
	return value;
}

static void
assert_span(const struct jspan *span, enum json_kind kind, const char *text)
{
	assert_int_equal(span->kind, kind);
	assert_int_equal(span->len, strlen(text));
	assert_memory_equal(span->at, text, span->len);
}

static void
walk_gives_every_member_as_it_came(void **state)
{
	struct jspan object =
	    parsed(" { \"a\\\"\" : [ 1, \"]\" ] ,\"b\":{\"x\":\"}\\\\\"}, "
		   "\"c\":-1.5e2 ,\"d\":true,\"e\":null,\"f\":\"\\\\\"}\n");
	struct jspan key, value;
	struct jwalk w;

	(void)state;
	assert_int_equal(object.at[object.len - 1], '}');
	jwalk_start(&w, &object);
	assert_true(jwalk_member(&w, &key, &value));
	assert_span(&key, JSON_STRING, "\"a\\\"\"");
	assert_span(&value, JSON_ARRAY, "[ 1, \"]\" ]");
	assert_int_equal(jspan_count(&value), 2);
	assert_true(jwalk_member(&w, &key, &value));
	assert_span(&value, JSON_OBJECT, "{\"x\":\"}\\\\\"}");
	assert_true(jwalk_member(&w, &key, &value));
	assert_span(&value, JSON_NUMBER, "-1.5e2");
	assert_true(jwalk_member(&w, &key, &value));
	assert_span(&value, JSON_BOOL, "true");
	assert_true(jwalk_member(&w, &key, &value));
	assert_span(&value, JSON_NULL, "null");
	assert_true(jwalk_member(&w, &key, &value));
	assert_span(&value, JSON_STRING, "\"\\\\\"");
	assert_false(jwalk_member(&w, &key, &value));
	assert_false(jwalk_member(&w, &key, &value));
}

static void
containers_count_their_elements(void **state)
{
	static const struct {
		const char *text;
		size_t count;
	} rows[] = {{"[]", 0}, {"[ ]", 0}, {"[[]]", 1}, {"[1,2 , 3]", 3}, {"17", 0},
	    {"\"[1,2]\"", 0}, {"[{\"a\":[1,2]},\"],\"]", 2}};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		struct jspan value = parsed(rows[i].text);

		assert_int_equal(jspan_count(&value), rows[i].count);
	}
}

static void
members_are_found_by_their_name(void **state)
{
	struct jspan object = parsed("{\"x\":{\"a\":1},\"\\u0061\":2,\"b\\\\n\":3}");
	struct jspan value, list = parsed("[\"a\"]");

	(void)state;
	assert_true(jspan_get(&object, "a", &value));
	assert_span(&value, JSON_NUMBER, "2");
	assert_true(jspan_get(&object, "b\\n", &value));
	assert_span(&value, JSON_NUMBER, "3");
	assert_false(jspan_get(&object, "b\n", &value));
	assert_false(jspan_get(&object, "", &value));
	assert_false(jspan_get(&list, "a", &value));
}

static void
string_is_compared_with_escapes_resolved(void **state)
{
	static const struct {
		const char *json, *text;
		bool same;
	} rows[] = {
	    {"\"abc\"", "abc", true},
	    {"\"abc\"", "ab", false},
	    {"\"abc\"", "abcd", false},
	    {"\"\"", "", true},
	    {"\"\\u0061bc\"", "abc", true},
	    {"\"\\u0061b\"", "abc", false},
	    {"\"\\u0061bcd\"", "abc", false},
	    {"\"\\u00e9\"", "\xc3\xa9", true},
	    {"\"\\u20ac\"", "\xe2\x82\xac", true},
	    {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", true},
	    {"\"\\n\"", "\n", true},
	    {"\"\\\\n\"", "\\n", true},
	    {"\"\\\\n\"", "\n", false},
	    {"1", "1", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		struct jspan value = parsed(rows[i].json);

		if (jspan_is(&value, rows[i].text) != rows[i].same)
			fail_msg("%s and %s", rows[i].json, rows[i].text);
	}
}

static void
string_is_copied_whole_or_not_at_all(void **state)
{
	struct jspan plain = parsed("\"0123456\"");
	struct jspan escaped =
	    parsed("\"\\u0061\\t\\/\\\"\\\\\\b\\f\\n\\r \\ud83d\\ude00\"");
	struct jspan number = parsed("1");
	struct err err = ERR_INIT;
	char buf[32] = "untouched";
	size_t len = 99;

	(void)state;
	assert_int_equal(jspan_string(&plain, buf, 7, &len, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(jspan_string(&escaped, buf, 14, &len, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	assert_int_equal(jspan_string(&number, buf, sizeof(buf), &len, &err), -1);
	assert_int_equal(err.code, ERR_INVALID);
	assert_string_equal(err.text, "must be a string, not a number");
	assert_string_equal(buf, "untouched");
	assert_int_equal(len, 99);

	assert_int_equal(jspan_string(&plain, buf, 8, &len, &err), 0);
	assert_string_equal(buf, "0123456");
	assert_int_equal(len, 7);
	assert_int_equal(jspan_string(&escaped, buf, 15, NULL, &err), 0);
	assert_string_equal(buf, "a\t/\"\\\b\f\n\r \xf0\x9f\x98\x80");
}

static void
integers_are_exact_or_refused(void **state)
{
	static const struct {
		const char *json;
		int rc;
		int64_t n;
	} rows[] = {
	    {"0", 0, 0},
	    {"-0", 0, 0},
	    {"9223372036854775807", 0, INT64_MAX},
	    {"-9223372036854775808", 0, INT64_MIN},
	    {"9223372036854775808", -1, 0},
	    {"-9223372036854775809", -1, 0},
	    {"1234567890123456789012345678901234567890", -1, 0},
	    {"1.0", -1, 0},
	    {"1e3", -1, 0},
	    {"1E3", -1, 0},
	    {"\"1\"", -1, 0},
	    {"true", -1, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		struct jspan value = parsed(rows[i].json);
		struct err err = ERR_INIT;
		int64_t n = 0;

		if (jspan_i64(&value, &n, &err) != rows[i].rc || n != rows[i].n)
			fail_msg("%s: %lld %s", rows[i].json, (long long)n, err.text);
	}
}

static void
doubles_and_words_are_read(void **state)
{
	struct jspan value = parsed("-12.5e1");
	char text[400];
	struct err err = ERR_INIT;
	double d = 7;
	bool b = false;

	(void)state;
	assert_int_equal(jspan_double(&value, &d, &err), 0);
	assert_true(d == -125);
	value = parsed("1e400");
	assert_int_equal(jspan_double(&value, &d, &err), -1);
	assert_true(d == -125);
	memset(text, '0', sizeof(text));
	text[1] = '.';
	text[sizeof(text) - 2] = '0';
	text[sizeof(text) - 1] = '\0';
	text[2] = '5';
	value = parsed(text);
	mem_fail_nth(1);
	assert_int_equal(jspan_double(&value, &d, &err), -1);
	assert_int_equal(err.code, ERR_NOMEM);
	mem_fail_nth(0);
	assert_int_equal(jspan_double(&value, &d, &err), 0);
	assert_true(d == 0.5);

	value = parsed("true");
	assert_int_equal(jspan_bool(&value, &b, &err), 0);
	assert_true(b);
	assert_int_equal(jspan_double(&value, &d, &err), -1);
	value = parsed("false");
	assert_int_equal(jspan_bool(&value, &b, &err), 0);
	assert_false(b);
	value = parsed("0");
	assert_int_equal(jspan_bool(&value, &b, &err), -1);
	assert_string_equal(err.text, "must be true or false, not a number");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table_of_cases_is_decided_as_written),
	    cmocka_unit_test(every_prefix_of_a_document_is_refused),
	    cmocka_unit_test(special_bytes_are_seen_at_every_place_of_a_word),
	    cmocka_unit_test(depth_is_bounded),
	    cmocka_unit_test(duplicate_is_found_among_few_and_many_keys),
	    cmocka_unit_test(levels_of_key_checks_are_counted_from_the_outside),
	    cmocka_unit_test(no_memory_for_keys_is_an_error),
	    cmocka_unit_test(walk_gives_every_member_as_it_came),
	    cmocka_unit_test(containers_count_their_elements),
	    cmocka_unit_test(members_are_found_by_their_name),
	    cmocka_unit_test(string_is_compared_with_escapes_resolved),
	    cmocka_unit_test(string_is_copied_whole_or_not_at_all),
	    cmocka_unit_test(integers_are_exact_or_refused),
	    cmocka_unit_test(doubles_and_words_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
