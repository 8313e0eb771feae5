/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_jscan.c - any bytes: JSON is refused or can be read to its last value.
 *
 * What passes is walked in full, every scalar is read, and every value found on the
 * way must pass by itself: so walker and checker agree on where values end.
 */
#include "fuzz.h"

#include <string.h>

#include "base/jscan.h"
#include "base/mem.h"

static const struct jscan_limits limits = {.max_depth = 32, .check_keys = 2};
static const struct jscan_limits inner = {.max_depth = 32, .check_keys = 0};

static void walk(const struct jspan *value);

static void
read_string(const struct jspan *string)
{
	char small[16], *buf = mem_alloc(string->len);
	struct err err = ERR_INIT;
	size_t len = 0;
	bool plain;

	FUZZ_CHECK(buf != NULL);
	FUZZ_CHECK(jspan_string(string, buf, string->len, &len, &err) == 0);
	FUZZ_CHECK(len + 2 <= string->len && strlen(buf) == len);
	FUZZ_CHECK(jspan_is(string, buf));
	plain = len < sizeof(small);
	FUZZ_CHECK(
	    (jspan_string(string, small, sizeof(small), NULL, &err) == 0) == plain);
	mem_free(buf);
}

static void
walk_inside(const struct jspan *container)
{
	struct jspan key, value;
	struct jwalk w;
	size_t count = 0;

	jwalk_start(&w, container);
	if (container->kind == JSON_ARRAY) {
		for (; jwalk_element(&w, &value); count++)
			walk(&value);
		FUZZ_CHECK(count == jspan_count(container));
		return;
	}
	while (jwalk_member(&w, &key, &value)) {
		FUZZ_CHECK(key.kind == JSON_STRING);
		walk(&key);
		walk(&value);
	}
}

static void
walk(const struct jspan *value)
{
	struct jspan again;
	struct err err = ERR_INIT;
	int64_t n;
	double d;
	bool b;

	FUZZ_CHECK(value->len > 0);
	/* deep ones would cost the square of their size */
	if (value->len < 256) {
		FUZZ_CHECK(
		    jscan_check(value->at, value->len, &inner, &again, &err) == 0);
		FUZZ_CHECK(again.at == value->at && again.len == value->len);
		FUZZ_CHECK(again.kind == value->kind);
	}
	switch (value->kind) {
	case JSON_STRING:
		read_string(value);
		break;
	case JSON_ARRAY:
	case JSON_OBJECT:
		walk_inside(value);
		break;
	case JSON_NUMBER:
		if (jspan_i64(value, &n, &err) == 0)
			FUZZ_CHECK(jspan_double(value, &d, &err) == 0);
		else if (jspan_double(value, &d, &err) != 0)
			FUZZ_CHECK(err.code == ERR_INVALID);
		break;
	case JSON_BOOL:
		FUZZ_CHECK(jspan_bool(value, &b, &err) == 0);
		break;
	case JSON_NULL:
		FUZZ_CHECK(value->len == 4);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct jspan value;
	struct err err = ERR_INIT;

	if (jscan_check((const char *)bytes, len, &limits, &value, &err) == 0)
		walk(&value);
	else
		FUZZ_CHECK(
		    err.code == ERR_INVALID && strstr(err.text, " at byte ") != NULL);
	return 0;
}
