/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * webhooks.c - statements about webhooks; see webhooks.h.
 */
#include "store/webhooks.h"

#include <string.h>

enum webhook_column {
	COL_NAME = 0,
	COL_ENDPOINT,
	COL_STATES,
	COL_TYPES,
	COL_QUEUES,
	COL_PAYLOAD,
	COL_CREATED,
	COL_UPDATED,
	COL_WORKED,
	COL_FAILED,
	COL_FAILING_SINCE,
	COL_LAST_ERROR,
	COL_DISABLED,
	COL_DISABLED_WHY,
};

const struct pgstmt webhooks_put = {
    "webhooks_put",
    "SELECT shoal.put_webhook($1::int, $2::text, $3::text, $4::int2[], $5::text[], "
    "$6::text[], $7::bool, $8::int, $9::int, $10::text)",
};

const struct pgstmt webhooks_delete = {
    "webhooks_delete",
    "SELECT shoal.delete_webhook($1::int, $2::text, $3::text)",
};

const struct pgstmt webhooks_list = {
    "webhooks_list",
    "SELECT w.name, w.endpoint, w.states::int[], w.types, w.queues, "
    "w.with_payload, w.created_at, w.updated_at, w.worked_at, w.failed_at, "
    "w.failing_since, w.last_error, w.disabled_at, w.disabled_why"
    " FROM shoal.webhook w"
    " WHERE w.app_id = $1::int AND ($2::text IS NULL OR w.name = $2::text)"
    " ORDER BY w.name",
};

const struct pgstmt webhooks_resend = {
    "webhooks_resend",
    "SELECT outcome, id, message FROM shoal.resend_webhook($1::int, $2::text, "
    "$3::uuid, $4::int)",
};

const struct pgstmt webhooks_test = {
    "webhooks_test",
    "SELECT shoal.test_webhook($1::int, $2::text, $3::int)",
};

const struct pgstmt webhooks_deliveries = {
    "webhooks_deliveries",
    "SELECT id, message_id, task_id, told, state, attempt, max_attempts, code, "
    "message, made_at, next_at, finished_at FROM shoal.webhook_deliveries($1::int, "
    "$2::text, $3::uuid, $4::int)",
};

const struct pgstmt webhooks_settle = {
    "webhooks_settle",
    "SELECT app_id, made, more, webhook, why FROM shoal.settle_webhooks($1::int, "
    "$2::int, $3::int, $4::int8)",
};

const struct pgstmt webhooks_prune = {
    "webhooks_prune",
    "SELECT app_id, id, removed FROM shoal.prune_deliveries($1::int, $2::uuid, "
    "$3::int)",
};

void
webhook_row_get(const struct pgrows *rows, int row, struct webhook_row *w)
{
	memset(w, 0, sizeof(*w));
	w->name = pgrows_text(rows, row, COL_NAME, NULL);
	w->endpoint = pgrows_text(rows, row, COL_ENDPOINT, NULL);
	pgrows_array(rows, row, COL_STATES, &w->states);
	w->all_types = pgrows_is_null(rows, row, COL_TYPES);
	w->all_queues = pgrows_is_null(rows, row, COL_QUEUES);
	pgrows_array(rows, row, COL_TYPES, &w->types);
	pgrows_array(rows, row, COL_QUEUES, &w->queues);
	w->payload = pgrows_bool(rows, row, COL_PAYLOAD);
	w->created_us = pgrows_time_us(rows, row, COL_CREATED);
	w->updated_us = pgrows_time_us(rows, row, COL_UPDATED);
	w->worked_us = pgrows_time_us(rows, row, COL_WORKED);
	w->failed_us = pgrows_time_us(rows, row, COL_FAILED);
	w->failing_since_us = pgrows_time_us(rows, row, COL_FAILING_SINCE);
	w->last_error = pgrows_text_or_null(rows, row, COL_LAST_ERROR, NULL);
	w->disabled_us = pgrows_time_us(rows, row, COL_DISABLED);
	w->disabled_why = pgrows_text_or_null(rows, row, COL_DISABLED_WHY, NULL);
}

void
webhook_delivery_get(const struct pgrows *rows, int row, struct webhook_delivery_row *d)
{
	memset(d, 0, sizeof(*d));
	pgrows_uuid(rows, row, 0, &d->id);
	pgrows_uuid(rows, row, 1, &d->message);
	pgrows_uuid(rows, row, 2, &d->task);
	d->told = pgrows_is_null(rows, row, 3) ? -1 : (int)pgrows_int(rows, row, 3);
	d->state = (int)pgrows_int(rows, row, 4);
	d->attempt = (int)pgrows_int(rows, row, 5);
	d->max_attempts = (int)pgrows_int(rows, row, 6);
	d->code = pgrows_text_or_null(rows, row, 7, NULL);
	d->error = pgrows_text_or_null(rows, row, 8, NULL);
	d->made_us = pgrows_time_us(rows, row, 9);
	d->next_us = pgrows_time_us(rows, row, 10);
	d->finished_us = pgrows_time_us(rows, row, 11);
}
