/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leases.c - statements about leased tasks and about types; see leases.h.
 */
#include "store/leases.h"

#include <string.h>

#include "model/trace.h"

const struct pgstmt leases_take = {
    "leases_take",
    "SELECT * FROM shoal.lease_tasks($1::uuid, $2::int, $3::int[], $4::int[], "
    "$5::int[], $6::int[], $7::text[], $8::int[], $9::uuid[], $10::int[], "
    "$11::text[])",
};

const struct pgstmt leases_extend = {
    "leases_extend",
    "SELECT * FROM shoal.extend_lease($1::int, $2::uuid, $3::uuid, $4::int, $5::text, "
    "$6::text, $7::text[])",
};

const struct pgstmt leases_end = {
    "leases_end",
    "SELECT * FROM shoal.end_leases($1::int, $2::uuid[], $3::uuid[], $4::int2[], "
    "$5::int8[], $6::text[], $7::text[], $8::text[], $9::text[])",
};

const struct pgstmt leases_rules = {
    "leases_rules",
    "SELECT * FROM shoal.lease_rules($1::int, $2::uuid[], $3::uuid[])",
};

const struct pgstmt leases_undo = {
    "leases_undo",
    "SELECT * FROM shoal.undo_leases($1::uuid[])",
};

const struct pgstmt leases_expire = {
    "leases_expire",
    "SELECT * FROM shoal.expire_leases($1::int)",
};

const struct pgstmt leases_hand_over = {
    "leases_hand_over",
    "SELECT * FROM shoal.hand_over($1::uuid[], $2::int[], $3::uuid[], $4::int[], "
    "$5::int[], $6::uuid[], $7::int[], $8::text[])",
};

const struct pgstmt leases_holders = {
    "leases_holders",
    "SELECT * FROM shoal.holders($1::int, $2::uuid[])",
};

const struct pgstmt types_tell = {
    "types_tell",
    "SELECT shoal.tell_types($1::int[], $2::int2[], $3::int8[], $4::int[], "
    "$5::text[])",
};

const struct pgstmt types_registry = {
    "types_registry",
    "SELECT * FROM shoal.types_known($1::int)",
};

const struct pgstmt types_put = {
    "types_put",
    "SELECT shoal.put_type($1::int, $2::text, $3::int, $4::int, $5::int, $6::int, "
    "$7::int, $8::text, $9::text)",
};

const struct pgstmt types_delete = {
    "types_delete",
    "SELECT shoal.delete_type($1::int, $2::text)",
};

const struct pgstmt types_list = {
    "types_list",
    "SELECT * FROM shoal.list_types($1::int, $2::text, $3::text, $4::int)",
};

const struct pgstmt leases_why = {
    "leases_why",
    "SELECT * FROM shoal.why_lease($1::int, $2::uuid)",
};

void
leased_row_get(const struct pgrows *rows, int row, struct leased_row *l)
{
	size_t len = 0;

	memset(l, 0, sizeof(*l));
	l->slot = (int)pgrows_int(rows, row, 0);
	if (l->slot == 0)
		return;
	pgrows_uuid(rows, row, 1, &l->task);
	l->type = pgrows_text(rows, row, 2, NULL);
	l->queue_id = (int)pgrows_int(rows, row, 3);
	l->priority = (int)pgrows_int(rows, row, 4);
	l->attempt = (int)pgrows_int(rows, row, 5);
	l->failures = (int)pgrows_int(rows, row, 6);
	l->max_attempts = (int)pgrows_int(rows, row, 7);
	l->payload = pgrows_text_or_null(rows, row, 8, &l->payload_len);
	l->metadata = pgrows_text_or_null(rows, row, 9, &l->metadata_len);
	l->run_at_us = pgrows_time_us(rows, row, 10);
	l->deadline_us = pgrows_time_us(rows, row, 11);
	l->expires_us = pgrows_time_us(rows, row, 12);
	l->ends_us = pgrows_time_us(rows, row, 13);
	l->trace = pgrows_text_or_null(rows, row, 14, &len);
	if (l->trace != NULL && !trace_check(l->trace, len))
		l->trace = NULL; /* written by other hands */
}

void
leases_put_scope(struct pgparam *p, const char *const names[], size_t count)
{
	if (count == 0) {
		pgparam_null(p, PGTYPE_TEXT_ARRAY);
		return;
	}
	pgparam_array(p, PGTYPE_TEXT);
	for (size_t i = 0; i < count; i++)
		pgparam_elem_text(p, names[i], strlen(names[i]));
	pgparam_array_end(p);
}

void
type_row_get(const struct pgrows *rows, int row, struct type_row *t)
{
	memset(t, 0, sizeof(*t));
	t->name = pgrows_text(rows, row, 0, NULL);
	t->handler = (int)pgrows_int(rows, row, 1);
	t->own = pgrows_bool(rows, row, 2);
	t->timeout_ms = pgrows_int(rows, row, 3);
	t->max_attempts = (int)pgrows_int(rows, row, 4);
	t->backoff = pgrows_text_or_null(rows, row, 5, NULL);
	t->config = pgrows_text_or_null(rows, row, 6, NULL);
	t->created_us = pgrows_time_us(rows, row, 7);
	t->updated_us = pgrows_time_us(rows, row, 8);
}
