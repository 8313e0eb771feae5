/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgparam.c - parameters of one statement in PostgreSQL's binary form; see pgparam.h.
 *
 * The block holds the values back to back; offsets and lengths point into it, so that
 * it may move while it grows.  An array's header is written with an empty dimension
 * when it is begun and corrected when it is ended:
 *
 *     int32 dimensions, int32 has-nulls, int32 element oid, int32 count, int32 lower
 * bound then for each element int32 length (-1: NULL) and its bytes
 *
 * An array of no elements has no dimension at all and ends after the oid.
 *
 * Misuse (a scalar inside an array, an element of another type, an array left open)
 * counts as failed, like a full block: the statement is then refused as a whole.
 */
#include "pg/pgparam.h"

#include <arpa/inet.h>
#include <endian.h>
#include <string.h>

#include "base/attr.h"

/* more than any batch that the engine builds; PostgreSQL itself refuses 1 GiB */
#define BLOCK_MAX ((size_t)64 << 20)

#define ARRAY_HEAD_BYTES  20
#define ARRAY_EMPTY_BYTES 12

void
pgparam_init(struct pgparam *p)
{
	strbuf_init(&p->block, BLOCK_MAX);
	p->count = 0;
	p->array_at = 0;
	p->array_count = 0;
	p->array_nulls = false;
	p->failed = false;
}

void
pgparam_fini(struct pgparam *p)
{
	strbuf_fini(&p->block);
	pgparam_init(p);
}

void
pgparam_reset(struct pgparam *p)
{
	strbuf_reset(&p->block);
	p->count = 0;
	p->array_at = 0;
	p->failed = false;
}

bool
pgparam_failed(const struct pgparam *p)
{
	return p->failed || p->array_at != 0 || strbuf_failed(&p->block);
}

/* registers the next parameter, whose bytes follow; len -1: NULL */
static bool
begin(struct pgparam *p, enum pgtype type, int len)
{
	if (p->failed || p->array_at != 0 || p->count == PGPARAM_MAX) {
		p->failed = true;
		return false;
	}
	p->types[p->count] = type;
	p->offsets[p->count] = p->block.len;
	p->lens[p->count] = len;
	p->count++;
	return true;
}

static void
scalar(struct pgparam *p, enum pgtype type, const void *bytes, size_t len)
{
	if (len > BLOCK_MAX) {
		p->failed = true;
		return;
	}
	if (begin(p, type, (int)len))
		strbuf_put(&p->block, bytes, len);
}

void
pgparam_null(struct pgparam *p, enum pgtype type)
{
	begin(p, type, -1);
}

void
pgparam_bool(struct pgparam *p, bool b)
{
	char c = b ? 1 : 0;

	scalar(p, PGTYPE_BOOL, &c, 1);
}

void
pgparam_int2(struct pgparam *p, int16_t n)
{
	uint16_t be = htons((uint16_t)n);

	scalar(p, PGTYPE_INT2, &be, sizeof(be));
}

void
pgparam_int4(struct pgparam *p, int32_t n)
{
	uint32_t be = htonl((uint32_t)n);

	scalar(p, PGTYPE_INT4, &be, sizeof(be));
}

void
pgparam_int8(struct pgparam *p, int64_t n)
{
	uint64_t be = htobe64((uint64_t)n);

	scalar(p, PGTYPE_INT8, &be, sizeof(be));
}

void
pgparam_uuid(struct pgparam *p, const struct uuid *id)
{
	scalar(p, PGTYPE_UUID, id->b, sizeof(id->b));
}

void
pgparam_text(struct pgparam *p, const char *text)
{
	if (text == NULL)
		pgparam_null(p, PGTYPE_TEXT);
	else
		scalar(p, PGTYPE_TEXT, text, strlen(text));
}

void
pgparam_textn(struct pgparam *p, const char *text, size_t len)
{
	scalar(p, PGTYPE_TEXT, text, len);
}

void
pgparam_bytea(struct pgparam *p, const void *bytes, size_t len)
{
	scalar(p, PGTYPE_BYTEA, bytes, len);
}

static const struct {
	enum pgtype elem;
	enum pgtype array;
} array_types[] = {
    {PGTYPE_BOOL, PGTYPE_BOOL_ARRAY},
    {PGTYPE_BYTEA, PGTYPE_BYTEA_ARRAY},
    {PGTYPE_INT8, PGTYPE_INT8_ARRAY},
    {PGTYPE_INT2, PGTYPE_INT2_ARRAY},
    {PGTYPE_INT4, PGTYPE_INT4_ARRAY},
    {PGTYPE_TEXT, PGTYPE_TEXT_ARRAY},
    {PGTYPE_UUID, PGTYPE_UUID_ARRAY},
};

static enum pgtype
array_of(enum pgtype elem)
{
	for (size_t i = 0; i < COUNT_OF(array_types); i++) {
		if (array_types[i].elem == elem)
			return array_types[i].array;
	}
	return 0;
}

static void
put_be32(char *to, uint32_t n)
{
	n = htonl(n);
	memcpy(to, &n, sizeof(n));
}

void
pgparam_array(struct pgparam *p, enum pgtype elem)
{
	enum pgtype type = array_of(elem);
	size_t at = p->block.len;
	char head[ARRAY_HEAD_BYTES];

	if (type == 0) {
		p->failed = true;
		return;
	}
	put_be32(head, 1);
	put_be32(head + 4, 0);
	put_be32(head + 8, elem);
	put_be32(head + 12, 0);
	put_be32(head + 16, 1);
	if (!begin(p, type, 0))
		return;
	strbuf_put(&p->block, head, sizeof(head));
	p->array_at = at + 1;
	p->array_count = 0;
	p->array_nulls = false;
}

void
pgparam_array_end(struct pgparam *p)
{
	size_t at;
	char *head;

	if (p->array_at == 0) {
		p->failed = true;
		return;
	}
	at = p->array_at - 1;
	p->array_at = 0;
	if (p->failed || strbuf_failed(&p->block))
		return;
	head = p->block.data + at;
	if (p->array_count == 0) {
		put_be32(head, 0);
		p->block.len = at + ARRAY_EMPTY_BYTES;
		p->block.data[p->block.len] = 0;
	} else {
		put_be32(head + 4, p->array_nulls ? 1 : 0);
		put_be32(head + 12, (uint32_t)p->array_count);
	}
	p->lens[p->count - 1] = (int)(p->block.len - at);
}

static void
elem(struct pgparam *p, enum pgtype type, const void *bytes, size_t len)
{
	char *room;

	if (p->array_at == 0 || p->failed || len > BLOCK_MAX ||
	    p->types[p->count - 1] != array_of(type)) {
		p->failed = true;
		return;
	}
	room = strbuf_room(&p->block, 4 + len);
	if (room == NULL)
		return;
	put_be32(room, (uint32_t)len);
	if (len > 0)
		memcpy(room + 4, bytes, len);
	strbuf_grow(&p->block, 4 + len);
	p->array_count++;
}

void
pgparam_elem_null(struct pgparam *p)
{
	static const unsigned char minus_one[4] = {0xff, 0xff, 0xff, 0xff};

	if (p->array_at == 0) {
		p->failed = true;
		return;
	}
	strbuf_put(&p->block, minus_one, sizeof(minus_one));
	p->array_count++;
	p->array_nulls = true;
}

void
pgparam_elem_bool(struct pgparam *p, bool b)
{
	char c = b ? 1 : 0;

	elem(p, PGTYPE_BOOL, &c, 1);
}

void
pgparam_elem_int2(struct pgparam *p, int16_t n)
{
	uint16_t be = htons((uint16_t)n);

	elem(p, PGTYPE_INT2, &be, sizeof(be));
}

void
pgparam_elem_int4(struct pgparam *p, int32_t n)
{
	uint32_t be = htonl((uint32_t)n);

	elem(p, PGTYPE_INT4, &be, sizeof(be));
}

void
pgparam_elem_int8(struct pgparam *p, int64_t n)
{
	uint64_t be = htobe64((uint64_t)n);

	elem(p, PGTYPE_INT8, &be, sizeof(be));
}

void
pgparam_elem_uuid(struct pgparam *p, const struct uuid *id)
{
	elem(p, PGTYPE_UUID, id->b, sizeof(id->b));
}

void
pgparam_elem_text(struct pgparam *p, const char *text, size_t len)
{
	elem(p, PGTYPE_TEXT, text, len);
}
