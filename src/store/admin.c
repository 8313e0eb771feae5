/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * admin.c - applications and their keys; see admin.h.
 */
#include "store/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"
#include "model/names.h"

static const char sql_app_create[] =
    "INSERT INTO shoal.application (name) VALUES ($1) RETURNING id";
static const char sql_app_list[] =
    "SELECT a.id, a.name, to_char(a.created_at AT TIME ZONE 'UTC', "
    "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    " (SELECT count(*) FROM shoal.api_key k WHERE k.app_id = a.id AND k.revoked_at IS "
    "NULL"
    "  AND (k.expires_at IS NULL OR k.expires_at > now())), a.weight"
    " FROM shoal.application a ORDER BY a.name";
static const char sql_app_weight[] =
    "SELECT w.before FROM (SELECT shoal.set_weight($1, $2::int, 'shoal apps, as '"
    " || session_user) AS before) w WHERE w.before IS NOT NULL";
static const char sql_key_create[] =
    "INSERT INTO shoal.api_key (public_id, app_id, secret_hash, label, expires_at, "
    "scopes)"
    " SELECT $1, a.id, decode($2, 'hex'), $3,"
    "  CASE WHEN $4::bigint > 0 THEN now() + $4::bigint * interval '1 second' END,"
    "  string_to_array($6::text, ',')"
    " FROM shoal.application a WHERE a.name = $5 RETURNING public_id";
static const char sql_key_list[] =
    "SELECT k.public_id, a.name, k.label,"
    " to_char(k.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    " to_char(k.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    " to_char(k.revoked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    " array_to_string(k.scopes, ' ')"
    " FROM shoal.api_key k JOIN shoal.application a ON a.id = k.app_id"
    " WHERE $1::text IS NULL OR a.name = $1 ORDER BY a.name, k.created_at";
static const char sql_key_revoke[] =
    "UPDATE shoal.api_key SET revoked_at = clock_timestamp()"
    " WHERE public_id = $1 AND revoked_at IS NULL RETURNING public_id";

int
admin_app_create(struct session *se, const char *name, int *app_id, struct err *err)
{
	char text[32];

	if (name_check("application", name, strlen(name), err) != 0)
		return -1;
	if (session_value(se, sql_app_create, 1, &name, text, sizeof(text), err) != 0) {
		if (err != NULL && err->code == ERR_CONFLICT)
			err_set(err, ERR_CONFLICT,
			    "there is an application '%s' already", name);
		return -1;
	}
	if (app_id != NULL)
		*app_id = (int)strtol(text, NULL, 10);
	return 0;
}

int
admin_app_list(struct session *se, session_row *row, void *arg, struct err *err)
{
	return session_rows(se, sql_app_list, 0, NULL, row, arg, err);
}

int
admin_app_weight(
    struct session *se, const char *name, int weight, int *before, struct err *err)
{
	char number[16], text[32];

	if (weight < 1 || weight > ADMIN_WEIGHT_MAX)
		return err_set(err, ERR_INVALID,
		    "a weight is a whole number from 1 to %d", ADMIN_WEIGHT_MAX);
	snprintf(number, sizeof(number), "%d", weight);
	if (session_value(se, sql_app_weight, 2, (const char *[]){name, number}, text,
		sizeof(text), err) != 0) {
		if (err != NULL && err->code == ERR_NOT_FOUND)
			err_set(
			    err, ERR_NOT_FOUND, "there is no application '%s'", name);
		return -1;
	}
	if (before != NULL)
		*before = (int)strtol(text, NULL, 10);
	return 0;
}

int
admin_key_create(struct session *se, const char *app, const char *label,
    int64_t expires_seconds, const char *scopes, struct apikey *key, struct err *err)
{
	char hash[2 * APIKEY_HASH + 1], seconds[24], text[32];

	if (strlen(label) > 200)
		return err_set(
		    err, ERR_INVALID, "the key's label is longer than 200 bytes");
	apikey_generate(key);
	str_hex(hash, key->hash, sizeof(key->hash));
	snprintf(seconds, sizeof(seconds), "%lld", (long long)expires_seconds);
	if (session_value(se, sql_key_create, 6,
		(const char *[]){key->public_id, hash, label, seconds, app, scopes},
		text, sizeof(text), err) != 0) {
		if (err != NULL && err->code == ERR_NOT_FOUND)
			err_set(
			    err, ERR_NOT_FOUND, "there is no application '%s'", app);
		return -1;
	}
	return 0;
}

int
admin_key_list(
    struct session *se, const char *app, session_row *row, void *arg, struct err *err)
{
	return session_rows(se, sql_key_list, 1, &app, row, arg, err);
}

int
admin_key_revoke(struct session *se, const char *public_id, struct err *err)
{
	char text[32];

	if (session_value(se, sql_key_revoke, 1, &public_id, text, sizeof(text), err) !=
	    0) {
		if (err != NULL && err->code == ERR_NOT_FOUND)
			err_set(
			    err, ERR_NOT_FOUND, "there is no live key '%s'", public_id);
		return -1;
	}
	return 0;
}

/* ---------------------------------------------------------------- secrets */

#define RESEAL_ROWS 100

static const char sql_unsealed[] =
    "SELECT e.app_id, e.name, e.secret, e.old_secret FROM shoal.endpoint e"
    " WHERE split_part(e.secret, ':', 1) <> $1::text"
    " OR split_part(e.old_secret, ':', 1) <> $1::text"
    " ORDER BY e.app_id, e.name LIMIT $2::int";
static const char sql_reseal[] =
    "SELECT shoal.reseal_endpoint($1::int, $2::text, $3::text, $4::text, $5::text, "
    "$6::text)";

struct resealing {
	size_t count;
	struct {
		char *app, *name, *secret, *old; /* owned; old: NULL: none */
	} rows[RESEAL_ROWS];
	bool failed; /* no memory */
};

static int
note_row(int columns, const char *const values[], void *arg)
{
	struct resealing *rs = arg;
	size_t n = rs->count;

	if (columns < 4 || n == RESEAL_ROWS)
		return 1;
	rs->count++;
	rs->rows[n].app = mem_strdup(values[0]);
	rs->rows[n].name = mem_strdup(values[1]);
	rs->rows[n].secret = mem_strdup(values[2]);
	rs->rows[n].old = values[3] != NULL ? mem_strdup(values[3]) : NULL;
	rs->failed |= rs->rows[n].app == NULL || rs->rows[n].name == NULL ||
		      rs->rows[n].secret == NULL ||
		      (values[3] != NULL && rs->rows[n].old == NULL);
	return 0;
}

/* text NULL: nothing to do */
static int
reseal_one(const struct sealkeys *keys, const char *context, const char *text,
    struct strbuf *out, struct err *err)
{
	char *plain;
	size_t len;
	int rc;

	if (text == NULL)
		return 0;
	if (seal_open(keys, context, text, &plain, &len, err) != 0)
		return err_wrap(err, "the endpoint %s", context);
	rc = seal_put(keys, context, plain, len, out, err);
	mem_free_secret(plain, len);
	return rc;
}

static int
reseal_row(struct session *se, const struct sealkeys *keys, const struct resealing *rs,
    size_t n, struct err *err)
{
	const char *old = rs->rows[n].old;
	struct strbuf one, two;
	char context[128], done[8];
	int rc;

	snprintf(context, sizeof(context), "%s/%s", rs->rows[n].app, rs->rows[n].name);
	strbuf_init(&one, SEAL_TEXT_MOST);
	strbuf_init(&two, SEAL_TEXT_MOST);
	rc = reseal_one(keys, context, rs->rows[n].secret, &one, err);
	if (rc == 0)
		rc = reseal_one(keys, context, old, &two, err);
	/* (one that was changed meanwhile comes with the next look, if need be) */
	if (rc == 0)
		rc = session_value(se, sql_reseal, 6,
		    (const char *[]){rs->rows[n].app, rs->rows[n].name,
			rs->rows[n].secret, one.data, old,
			old != NULL ? two.data : NULL},
		    done, sizeof(done), err);
	strbuf_fini(&one);
	strbuf_fini(&two);
	return rc;
}

static void
resealing_reset(struct resealing *rs)
{
	for (size_t i = 0; i < rs->count; i++) {
		mem_free(rs->rows[i].app);
		mem_free(rs->rows[i].name);
		mem_free(rs->rows[i].secret);
		mem_free(rs->rows[i].old);
	}
	memset(rs, 0, sizeof(*rs));
}

int
admin_reseal(
    struct session *se, const struct sealkeys *keys, int *count, struct err *err)
{
	struct resealing rs = {0};
	char most[16];
	size_t found;
	int rc;

	snprintf(most, sizeof(most), "%d", RESEAL_ROWS);
	*count = 0;
	do {
		rc = session_rows(se, sql_unsealed, 2,
		    (const char *[]){sealkeys_current(keys), most}, note_row, &rs, err);
		if (rc == 0 && rs.failed)
			rc = err_set(err, ERR_NOMEM, "secrets");
		for (size_t i = 0; rc == 0 && i < rs.count; i++) {
			rc = reseal_row(se, keys, &rs, i, err);
			*count += rc == 0;
		}
		found = rs.count;
		resealing_reset(&rs);
	} while (rc == 0 && found > 0);
	return rc;
}
