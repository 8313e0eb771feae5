/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgparam.h - parameters of one statement in PostgreSQL's binary form.
 *
 * Scalars and one-dimensional arrays are appended to one growing block; nothing is
 * quoted or printed.  Arrays are begun, filled and ended.  Failure (no memory, more
 * than PGPARAM_MAX, 64 MiB in all, an element of another type) sticks and is told by
 * pgconn_exec.  Wire formats: PostgreSQL's src/backend/utils/adt
 * *_send and *_recv functions (array_recv for arrays).
 */
#ifndef PG_PGPARAM_H
#define PG_PGPARAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "base/uuid.h"

#define PGPARAM_MAX 40

/* type oids of pg_type that we use */
enum pgtype {
	PGTYPE_BOOL = 16,
	PGTYPE_BYTEA = 17,
	PGTYPE_INT8 = 20,
	PGTYPE_INT2 = 21,
	PGTYPE_INT4 = 23,
	PGTYPE_TEXT = 25,
	PGTYPE_UUID = 2950,
	PGTYPE_BOOL_ARRAY = 1000,
	PGTYPE_BYTEA_ARRAY = 1001,
	PGTYPE_INT2_ARRAY = 1005,
	PGTYPE_INT4_ARRAY = 1007,
	PGTYPE_TEXT_ARRAY = 1009,
	PGTYPE_INT8_ARRAY = 1016,
	PGTYPE_UUID_ARRAY = 2951,
};

struct pgparam {
	struct strbuf block;
	int count;
	uint32_t types[PGPARAM_MAX];
	size_t offsets[PGPARAM_MAX];
	int lens[PGPARAM_MAX]; /* -1: NULL */
	size_t array_at; /* the open array's header lies one before; 0: none open */
	int32_t array_count;
	bool array_nulls;
	bool failed;
};

void pgparam_init(struct pgparam *p);
void pgparam_fini(struct pgparam *p);
void pgparam_reset(struct pgparam *p); /* keeps the block */
bool pgparam_failed(const struct pgparam *p);

void pgparam_null(struct pgparam *p, enum pgtype type);
void pgparam_bool(struct pgparam *p, bool b);
void pgparam_int2(struct pgparam *p, int16_t n);
void pgparam_int4(struct pgparam *p, int32_t n);
void pgparam_int8(struct pgparam *p, int64_t n);
void pgparam_uuid(struct pgparam *p, const struct uuid *id);
void pgparam_text(struct pgparam *p, const char *text); /* NULL: SQL NULL */
void pgparam_textn(struct pgparam *p, const char *text, size_t len);
void pgparam_bytea(struct pgparam *p, const void *bytes, size_t len);

/* elem: the element's type */
void pgparam_array(struct pgparam *p, enum pgtype elem);
void pgparam_array_end(struct pgparam *p);
void pgparam_elem_null(struct pgparam *p);
void pgparam_elem_bool(struct pgparam *p, bool b);
void pgparam_elem_int2(struct pgparam *p, int16_t n);
void pgparam_elem_int4(struct pgparam *p, int32_t n);
void pgparam_elem_int8(struct pgparam *p, int64_t n);
void pgparam_elem_uuid(struct pgparam *p, const struct uuid *id);
void pgparam_elem_text(struct pgparam *p, const char *text, size_t len);

#endif
