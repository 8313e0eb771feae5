/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgrows.c - typed, checked access to a result in binary form; see pgrows.h.
 *
 * struct pgrows is never defined: the pointer is libpq's PGresult under another name,
 * so that callers cannot reach past the getters.  A statement and the code that reads
 * its columns are written together; when they disagree it is our bug, and going on
 * would read one value as another.  Hence the aborts.
 */
#include "pg/pgrows.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"

/* where timestamptz begins to count (src/include/datatype/timestamp.h) */
#define YEAR_2000_US INT64_C(946684800000000)

ATTR_NORETURN static void
mismatch(const char *what, int row, int col, size_t len)
{
	log_error(NULL, "a statement and its reader disagree",
	    "expected=\"%s\" row=%d column=%d bytes=%zu", what, row, col, len);
	abort();
}

static const PGresult *
result_of(const struct pgrows *r)
{
	return (const PGresult *)(const void *)r;
}

/* the bytes of one value, NULL for SQL NULL */
static const char *
value_at(const struct pgrows *r, int row, int col, size_t *len)
{
	const PGresult *res = result_of(r);

	if (row < 0 || row >= PQntuples(res) || col < 0 || col >= PQnfields(res))
		mismatch("a cell inside the result", row, col, 0);
	*len = 0;
	if (PQgetisnull(res, row, col))
		return NULL;
	*len = (size_t)PQgetlength(res, row, col);
	return PQgetvalue(res, row, col);
}

/* a big-endian integer of 2, 4 or 8 bytes; false for any other width */
static bool
int_of(const char *bytes, size_t len, int64_t *n)
{
	uint16_t n2;
	uint32_t n4;
	uint64_t n8;

	switch (len) {
	case 2:
		memcpy(&n2, bytes, 2);
		*n = (int16_t)ntohs(n2);
		return true;
	case 4:
		memcpy(&n4, bytes, 4);
		*n = (int32_t)ntohl(n4);
		return true;
	case 8:
		memcpy(&n8, bytes, 8);
		*n = (int64_t)be64toh(n8);
		return true;
	default:
		return false;
	}
}

int
pgrows_count(const struct pgrows *r)
{
	return PQntuples(result_of(r));
}

bool
pgrows_is_null(const struct pgrows *r, int row, int col)
{
	size_t len;

	return value_at(r, row, col, &len) == NULL;
}

bool
pgrows_bool(const struct pgrows *r, int row, int col)
{
	size_t len;
	const char *bytes = value_at(r, row, col, &len);

	if (bytes == NULL)
		return false;
	if (len != 1)
		mismatch("bool", row, col, len);
	return bytes[0] != 0;
}

int64_t
pgrows_int(const struct pgrows *r, int row, int col)
{
	size_t len;
	const char *bytes = value_at(r, row, col, &len);
	int64_t n;

	if (bytes == NULL)
		return 0;
	if (!int_of(bytes, len, &n))
		mismatch("int2, int4 or int8", row, col, len);
	return n;
}

int64_t
pgrows_time_us(const struct pgrows *r, int row, int col)
{
	size_t len;
	const char *bytes = value_at(r, row, col, &len);
	int64_t n;

	if (bytes == NULL)
		return 0;
	if (len != 8 || !int_of(bytes, len, &n))
		mismatch("timestamptz", row, col, len);
	return n + YEAR_2000_US;
}

const char *
pgrows_text(const struct pgrows *r, int row, int col, size_t *len)
{
	size_t n;
	const char *bytes = value_at(r, row, col, &n);

	if (len != NULL)
		*len = n;
	return bytes != NULL ? bytes : "";
}

const char *
pgrows_text_or_null(const struct pgrows *r, int row, int col, size_t *len)
{
	return pgrows_is_null(r, row, col) ? NULL : pgrows_text(r, row, col, len);
}

void
pgrows_uuid(const struct pgrows *r, int row, int col, struct uuid *id)
{
	size_t len;
	const char *bytes = value_at(r, row, col, &len);

	memset(id, 0, sizeof(*id));
	if (bytes == NULL)
		return;
	if (len != sizeof(id->b))
		mismatch("uuid", row, col, len);
	memcpy(id->b, bytes, sizeof(id->b));
}

int64_t
pgrows_affected(const struct pgrows *r)
{
	/* libpq forgot the const: it only reads the command tag */
	PGresult *res = (PGresult *)(uintptr_t)result_of(r);
	int64_t n;

	return str_to_i64(PQcmdTuples(res), &n) == 0 ? n : 0;
}

void
pgrows_array(const struct pgrows *r, int row, int col, struct pgarray *a)
{
	size_t len;
	const char *bytes = value_at(r, row, col, &len);
	int64_t dims, count;

	a->at = a->end = NULL;
	a->left = 0;
	if (bytes == NULL)
		return;
	if (len < 12)
		mismatch("array", row, col, len);
	(void)int_of(bytes, 4, &dims);
	if (dims == 0)
		return;
	if (dims != 1 || len < 20)
		mismatch("one-dimensional array", row, col, len);
	(void)int_of(bytes + 12, 4, &count);
	a->at = bytes + 20;
	a->end = bytes + len;
	a->left = (int32_t)count;
}

bool
pgarray_next(struct pgarray *a, const char **value, size_t *len)
{
	int64_t n;

	*value = NULL;
	*len = 0;
	if (a->left <= 0)
		return false;
	if (a->end - a->at < 4)
		mismatch("array element", -1, -1, (size_t)(a->end - a->at));
	(void)int_of(a->at, 4, &n);
	a->at += 4;
	a->left--;
	if (n < 0)
		return true;
	if (n > a->end - a->at)
		mismatch("array element", -1, -1, (size_t)(a->end - a->at));
	*value = a->at;
	*len = (size_t)n;
	a->at += n;
	return true;
}

int64_t
pgarray_int(const char *value, size_t len)
{
	int64_t n;

	if (value == NULL)
		return 0;
	if (!int_of(value, len, &n))
		mismatch("int2, int4 or int8", -1, -1, len);
	return n;
}
