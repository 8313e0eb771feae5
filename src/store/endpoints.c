/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * endpoints.c - statements about endpoints; see endpoints.h.
 */
#include "store/endpoints.h"

#include <string.h>

const struct pgstmt endpoints_put = {
    "endpoints_put",
    "SELECT shoal.put_endpoint($1::int, $2::text, $3::text, $4::int, $5::int, "
    "$6::text, $7::text, $8::int, $9::bool, $10::text, $11::text)",
};

const struct pgstmt endpoints_rotate = {
    "endpoints_rotate",
    "SELECT shoal.rotate_endpoint($1::int, $2::text, $3::text, $4::text, $5::int8)",
};

const struct pgstmt endpoints_delete = {
    "endpoints_delete",
    "SELECT shoal.delete_endpoint($1::int, $2::text, $3::text)",
};

const struct pgstmt endpoints_list = {
    "endpoints_list",
    "SELECT e.name, e.url, e.headers, e.timeout_ms,"
    " CASE WHEN e.old_until > clock_timestamp() THEN e.old_until END, e.disabled_at,"
    " e.disabled_reason, e.created_at, e.updated_at FROM shoal.endpoint e"
    " WHERE e.app_id = $1::int AND ($2::text IS NULL OR e.name = $2::text)"
    " AND ($3::text IS NULL OR e.name COLLATE \"C\" > $3::text COLLATE \"C\")"
    " ORDER BY e.name COLLATE \"C\" LIMIT $4::int",
};

const struct pgstmt endpoints_load = {
    "endpoints_load",
    "SELECT e.version, e.url, e.headers, e.timeout_ms, e.disabled_at IS NOT NULL,"
    " e.secret, CASE WHEN e.old_until > clock_timestamp() THEN e.old_secret END,"
    " (date_part('epoch', e.old_until - clock_timestamp()) * 1000)::int8"
    " FROM shoal.endpoint e WHERE e.app_id = $1::int AND e.name = $2::text",
};

const struct pgstmt endpoints_disable_one = {
    "endpoints_disable",
    "SELECT shoal.disable_endpoint($1::int, $2::text, $3::int8, $4::text)",
};

const struct pgstmt endpoints_claim = {
    "endpoints_claim",
    "SELECT * FROM shoal.claim_endpoints($1::uuid, $2::int, $3::int, $4::int, $5::int, "
    "$6::int[], $7::text[], $8::int[])",
};

const struct pgstmt endpoints_put_type = {
    "endpoints_put_type",
    "SELECT shoal.put_http_type($1::int, $2::text, $3::int, $4::int, $5::text, "
    "$6::int, $7::int, $8::text)",
};

void
endpoint_row_get(const struct pgrows *rows, int row, struct endpoint_row *e)
{
	memset(e, 0, sizeof(*e));
	e->name = pgrows_text(rows, row, 0, NULL);
	e->url = pgrows_text(rows, row, 1, NULL);
	e->headers = pgrows_text_or_null(rows, row, 2, NULL);
	e->timeout_ms = pgrows_int(rows, row, 3);
	e->old_until_us = pgrows_time_us(rows, row, 4);
	e->disabled_us = pgrows_time_us(rows, row, 5);
	e->reason = pgrows_text_or_null(rows, row, 6, NULL);
	e->created_us = pgrows_time_us(rows, row, 7);
	e->updated_us = pgrows_time_us(rows, row, 8);
}

void
endpoint_loaded_get(const struct pgrows *rows, int row, struct endpoint_loaded *e)
{
	memset(e, 0, sizeof(*e));
	e->version = pgrows_int(rows, row, 0);
	e->url = pgrows_text(rows, row, 1, NULL);
	e->headers = pgrows_text_or_null(rows, row, 2, NULL);
	e->timeout_ms = pgrows_int(rows, row, 3);
	e->disabled = pgrows_bool(rows, row, 4);
	e->secret = pgrows_text(rows, row, 5, NULL);
	e->old_secret = pgrows_text_or_null(rows, row, 6, NULL);
	e->old_left_ms = pgrows_int(rows, row, 7);
}
