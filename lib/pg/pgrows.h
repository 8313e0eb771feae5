/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pgrows.h - typed, checked access to a result in binary form.
 *
 * A struct pgrows is libpq's PGresult, borrowed for the callback.  The getters abort on
 * a column or a width that the statement cannot have (our bug), so no caller checks
 * them; NULL values give 0, false, an empty span or the zero uuid unless asked for
 * first.
 */
#ifndef PG_PGROWS_H
#define PG_PGROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"

struct pgrows;

int pgrows_count(const struct pgrows *r);
bool pgrows_is_null(const struct pgrows *r, int row, int col);
bool pgrows_bool(const struct pgrows *r, int row, int col);
/* int2, int4 or int8, by its width */
int64_t pgrows_int(const struct pgrows *r, int row, int col);
/* timestamptz, as microseconds since 1970; its wire form counts them from 2000 on */
int64_t pgrows_time_us(const struct pgrows *r, int row, int col);
/* text or bytea: borrowed from the result, NUL-terminated; len may be NULL */
const char *pgrows_text(const struct pgrows *r, int row, int col, size_t *len);
/* the same, and NULL for a null, which leaves *len alone */
const char *pgrows_text_or_null(const struct pgrows *r, int row, int col, size_t *len);
void pgrows_uuid(const struct pgrows *r, int row, int col, struct uuid *id);
/* rows that an INSERT, UPDATE or DELETE touched */
int64_t pgrows_affected(const struct pgrows *r);

/* walks a one-dimensional array of int4, int8, uuid or text */
struct pgarray {
	const char *at, *end;
	int32_t left;
};
void pgrows_array(const struct pgrows *r, int row, int col, struct pgarray *a);
/* false at the end; *value NULL for a null element; len in bytes */
bool pgarray_next(struct pgarray *a, const char **value, size_t *len);
int64_t pgarray_int(const char *value, size_t len);

#endif
