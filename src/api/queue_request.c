/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_request.c - a queue's settings as JSON, one row each.
 *
 * New setting?  enum queue_setting and shoal.set_queue, a reader and a row here, a line
 * in queue_settings_json, in api/openapi.yaml and in man/shoal.1.
 */
#include "api/queue_request.h"

#include <math.h>
#include <string.h>

#include "api/body.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/units.h"
#include "model/names.h"
#include "model/rate.h"

#define DAY_MS	    (86400LL * 1000)
#define KEEP_MIN_MS 60000
#define KEEP_MAX_MS (3650 * DAY_MS)
#define PPM	    1000000

/* false: rule says what it must be */
typedef bool read_setting(const struct jspan *value, struct queue_settings_row *to);

static bool
read_whole(const struct jspan *value, int64_t min, int64_t max, int *to)
{
	int64_t n;

	if (value->kind != JSON_NUMBER || jspan_i64(value, &n, NULL) != 0 || n < min ||
	    n > max)
		return false;
	*to = (int)n;
	return true;
}

static bool
read_priority(const struct jspan *value, struct queue_settings_row *to)
{
	return read_whole(value, 0, TASK_PRIORITY_MAX, &to->priority);
}

static bool
read_max_length(const struct jspan *value, struct queue_settings_row *to)
{
	return read_whole(value, 1, QUEUE_LENGTH_MAX, &to->max_length);
}

static bool
read_concurrency(const struct jspan *value, struct queue_settings_row *to)
{
	return read_whole(value, 1, LIMIT_MAX, &to->concurrency);
}

static bool
read_shed(const struct jspan *value, struct queue_settings_row *to)
{
	double share;

	if (value->kind != JSON_NUMBER || jspan_double(value, &share, NULL) != 0 ||
	    !isfinite(share) || share < 0 || share > 1)
		return false;
	to->shed_ppm = (int)(share * PPM + 0.5);
	return true;
}

static bool
read_shed_below(const struct jspan *value, struct queue_settings_row *to)
{
	return read_whole(value, 0, TASK_PRIORITY_MAX, &to->shed_below);
}

/* "15min", or a number of seconds */
static bool
read_duration(const struct jspan *value, int64_t *ms)
{
	double seconds;
	char text[40];

	if (value->kind == JSON_STRING)
		return jspan_string(value, text, sizeof(text), NULL, NULL) == 0 &&
		       units_duration_ms(text, ms, NULL) == 0;
	if (value->kind != JSON_NUMBER || jspan_double(value, &seconds, NULL) != 0 ||
	    !isfinite(seconds) || seconds < 0 || seconds * 1000 > (double)KEEP_MAX_MS)
		return false;
	*ms = (int64_t)(seconds * 1000 + 0.5);
	return true;
}

static bool
read_rate_members(const struct jspan *object, int64_t *limit, int64_t *per_ms)
{
	struct jspan key, value;
	struct jwalk walk;

	*limit = 0;
	*per_ms = RATE_PER_MIN_MS;
	jwalk_start(&walk, object);
	while (jwalk_member(&walk, &key, &value)) {
		if (jspan_is(&key, "limit")) {
			if (value.kind != JSON_NUMBER ||
			    jspan_i64(&value, limit, NULL) != 0)
				return false;
		} else if (!jspan_is(&key, "per") || !read_duration(&value, per_ms)) {
			return false;
		}
	}
	return true;
}

static bool
read_rate(const struct jspan *value, struct queue_settings_row *to)
{
	struct rate rate;
	int64_t limit, per_ms;
	char text[40];

	if (value->kind == JSON_STRING) {
		if (jspan_string(value, text, sizeof(text), NULL, NULL) != 0 ||
		    rate_parse(text, &rate, NULL) != 0 || rate.limit == 0)
			return false;
		to->rate = rate.limit;
		to->rate_ms = rate.per_ms;
		return true;
	}
	if (value->kind != JSON_OBJECT || !read_rate_members(value, &limit, &per_ms) ||
	    rate_check(limit, per_ms, NULL) != 0)
		return false;
	to->rate = (int)limit;
	to->rate_ms = (int)per_ms;
	return true;
}

static bool
read_keep(const struct jspan *value, int64_t *ms)
{
	return read_duration(value, ms) && (*ms == 0 || *ms >= KEEP_MIN_MS) &&
	       *ms <= KEEP_MAX_MS;
}

static bool
read_keep_finished(const struct jspan *value, struct queue_settings_row *to)
{
	return read_keep(value, &to->keep_finished_ms);
}

static bool
read_keep_failed(const struct jspan *value, struct queue_settings_row *to)
{
	return read_keep(value, &to->keep_failed_ms);
}

static bool
read_pool(const struct jspan *value, struct queue_settings_row *to)
{
	size_t len;

	return value->kind == JSON_STRING &&
	       jspan_string(value, to->pool, sizeof(to->pool), &len, NULL) == 0 &&
	       name_check("pool", to->pool, len, NULL) == 0;
}

#define KEEP_RULE                                                                      \
	"it must be a duration such as \"12h\", at least 1min, 0 for ever, or null "   \
	"for "                                                                         \
	"the node's setting"

static const struct setting {
	const char *name;
	enum queue_setting what;
	read_setting *read;
	const char *rule;
} table[] = {
    {"priority", QUEUE_PRIORITY, read_priority,
	"it must be a whole number from 0 to 9, or null"},
    {"max_length", QUEUE_MAX_LENGTH, read_max_length,
	"it must be a whole number from 1 to 1000000, or null"},
    {"concurrency", QUEUE_CONCURRENCY, read_concurrency,
	"it must be a whole number from 1 to 100000, or null"},
    {"rate", QUEUE_RATE, read_rate,
	"it must be {\"limit\": 1 to 1000000, \"per\": \"1s\" to \"1d\"}, a text such "
	"as \"100/1s\", or null"},
    {"shed", QUEUE_SHED, read_shed, "it must be a number from 0 to 1, or null"},
    {"shed_below", QUEUE_SHED_BELOW, read_shed_below,
	"it must be a whole number from 0 to 9, or null"},
    {"keep_finished", QUEUE_KEEP_FINISHED, read_keep_finished, KEEP_RULE},
    {"keep_failed", QUEUE_KEEP_FAILED, read_keep_failed, KEEP_RULE},
    {"pool", QUEUE_POOL, read_pool,
	"it must be a name of 1 to 64 letters, digits and . _ - : / that begins with a "
	"letter or a digit, or null for the nodes' setting"},
};

static int
refuse_unknown(const char *body, const struct jspan *key, struct refusal *why)
{
	char name[65], shown[100];
	size_t len;

	if (jspan_string(key, name, sizeof(name), &len, NULL) != 0) {
		str_copy(name, sizeof(name), "(a long name)");
		len = strlen(name);
	}
	str_printable(shown, sizeof(shown), name, len);
	return refuse(why, 400, "unknown_field",
	    "%s (at byte %zu): there is no such setting.", shown,
	    (size_t)(key->at - body));
}

int
queue_request_parse(
    const char *body, size_t len, struct queue_request *qr, struct refusal *why)
{
	struct queue_request made = {0};
	struct jspan object, key, value;
	struct jwalk walk;

	if (body_object(body, len, 4, 2, &object, why) != 0)
		return -1;
	jwalk_start(&walk, &object);
	while (jwalk_member(&walk, &key, &value)) {
		const struct setting *s = NULL;

		for (size_t i = 0; i < COUNT_OF(table) && s == NULL; i++) {
			if (jspan_is(&key, table[i].name))
				s = &table[i];
		}
		if (s == NULL)
			return refuse_unknown(body, &key, why);
		made.given |= s->what;
		if (value.kind == JSON_NULL)
			continue;
		if (!s->read(&value, &made.values))
			return refuse(why, 400, "invalid_field",
			    "%s (at byte %zu): %s.", s->name, (size_t)(value.at - body),
			    s->rule);
		made.values.set |= s->what;
	}
	if (made.given == 0)
		return refuse(why, 400, "missing_field",
		    "The body names no setting; nothing would change.");
	*qr = made;
	return 0;
}

int
pause_request_parse(const char *body, size_t len, char reason[4 * QUEUE_REASON_MAX + 1],
    struct refusal *why)
{
	struct jspan object, key, value;
	struct jwalk walk;

	reason[0] = '\0';
	if (body == NULL || len == 0)
		return 0;
	if (body_object(body, len, 4, 2, &object, why) != 0)
		return -1;
	jwalk_start(&walk, &object);
	while (jwalk_member(&walk, &key, &value)) {
		if (!jspan_is(&key, "reason"))
			return refuse_unknown(body, &key, why);
		if (value.kind == JSON_NULL)
			continue;
		if (value.kind != JSON_STRING ||
		    jspan_string(
			&value, reason, 4 * QUEUE_REASON_MAX + 1, NULL, NULL) != 0)
			return refuse(why, 400, "invalid_field",
			    "reason (at byte %zu): it must be a text of at most %d "
			    "bytes.",
			    (size_t)(value.at - body), 4 * QUEUE_REASON_MAX);
	}
	return 0;
}

/* ---------------------------------------------------------------- output */

static void
put_int(struct jsonw *w, const struct queue_settings_row *s, unsigned what,
    const char *name, int64_t n)
{
	jsonw_key(w, name);
	if (s->set & what)
		jsonw_int(w, n);
	else
		jsonw_null(w);
}

static void
put_duration(struct jsonw *w, const struct queue_settings_row *s, unsigned what,
    const char *name, int64_t ms)
{
	char text[UNITS_TEXT_SIZE];

	jsonw_key(w, name);
	jsonw_string(w, s->set & what ? units_duration_text(ms, text) : NULL);
}

void
queue_settings_json(struct jsonw *w, const struct queue_settings_row *s)
{
	char text[UNITS_TEXT_SIZE];

	put_int(w, s, QUEUE_PRIORITY, "priority", s->priority);
	put_int(w, s, QUEUE_MAX_LENGTH, "max_length", s->max_length);
	put_int(w, s, QUEUE_CONCURRENCY, "concurrency", s->concurrency);
	jsonw_key(w, "rate");
	if (s->set & QUEUE_RATE) {
		jsonw_object(w);
		jsonw_key(w, "limit");
		jsonw_int(w, s->rate);
		jsonw_key(w, "per");
		jsonw_string(w, units_duration_text(s->rate_ms, text));
		jsonw_end(w);
	} else {
		jsonw_null(w);
	}
	jsonw_key(w, "shed");
	if (s->set & QUEUE_SHED)
		jsonw_double(w, (double)s->shed_ppm / PPM);
	else
		jsonw_null(w);
	put_int(w, s, QUEUE_SHED_BELOW, "shed_below", s->shed_below);
	put_duration(w, s, QUEUE_KEEP_FINISHED, "keep_finished", s->keep_finished_ms);
	put_duration(w, s, QUEUE_KEEP_FAILED, "keep_failed", s->keep_failed_ms);
}

static void
put_time(struct jsonw *w, const char *name, int64_t us)
{
	char text[CLOCK_TEXT_SIZE];

	jsonw_key(w, name);
	jsonw_string(w, us != 0 ? clock_format(us, text) : NULL);
}

void
queue_json(struct jsonw *w, const struct queue_detail_row *q)
{
	jsonw_object(w);
	jsonw_key(w, "name");
	jsonw_string(w, q->name);
	jsonw_key(w, "paused");
	jsonw_bool(w, q->paused);
	jsonw_key(w, "paused_by");
	jsonw_string(w, q->paused_by);
	put_time(w, "paused_at", q->paused_us);
	jsonw_key(w, "paused_reason");
	jsonw_string(w, q->paused_reason);
	jsonw_key(w, "queued");
	jsonw_int(w, q->queued);
	jsonw_key(w, "running");
	jsonw_int(w, q->running);
	jsonw_key(w, "scheduled");
	jsonw_int(w, q->scheduled);
	jsonw_key(w, "more");
	jsonw_bool(w, q->more);
	jsonw_key(w, "oldest_age");
	if (q->oldest_ms >= 0)
		jsonw_double(w, (double)q->oldest_ms / 1000);
	else
		jsonw_null(w);
	queue_settings_json(w, &q->settings);
	jsonw_key(w, "pool");
	jsonw_string(w, q->pool);
	put_time(w, "created_at", q->created_us);
	jsonw_end(w);
}
