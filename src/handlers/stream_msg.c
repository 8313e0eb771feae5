/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream_msg.c - the lines of docs/stream-protocol.md, written and read; see
 * stream_msg.h.
 *
 * New member?  A field of struct stream_msg, a row in take_member, a line in
 * docs/stream-protocol.md.
 */
#include "handlers/stream_msg.h"

#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "model/backoff.h"

#define RESULT_DEPTH 32
#define ID_LEN	     (UUID_TEXT_SIZE - 1)

/* ---------------------------------------------------------------- reading */

static int
read_id(const struct jspan *value, struct uuid *id, struct err *err)
{
	/* no escapes: none of its characters needs one */
	if (value->kind != JSON_STRING || value->len != ID_LEN + 2 ||
	    uuid_parse(value->at + 1, ID_LEN, id) != 0)
		return err_set(err, ERR_INVALID, "id is not that of a task");
	return 0;
}

static int
read_hello(const struct jspan *hello, struct stream_msg *m, struct err *err)
{
	struct jspan value;

	m->concurrency = 1;
	if (hello->kind != JSON_OBJECT)
		return err_set(err, ERR_INVALID, "hello must be an object");
	if (!jspan_get(hello, "version", &value))
		return err_set(err, ERR_INVALID, "hello has no version");
	if (jspan_i64(&value, &m->version, NULL) != 0 || m->version < 1 ||
	    m->version > STREAM_VERSION)
		return err_set(err, ERR_INVALID,
		    "hello has another version than 1, the only one that this node "
		    "speaks");
	if (jspan_get(hello, "concurrency", &value) &&
	    (jspan_i64(&value, &m->concurrency, NULL) != 0 || m->concurrency < 1 ||
		m->concurrency > STREAM_CONCURRENCY_MOST))
		return err_set(err, ERR_INVALID,
		    "concurrency in hello must be a number from 1 to %d",
		    STREAM_CONCURRENCY_MOST);
	return 0;
}

/* what a member says of the line's kind; the last one that has a kind counts */
static int
take_member(const struct jspan *key, const struct jspan *value, struct stream_msg *m,
    struct err *err)
{
	if (jspan_is(key, "id")) {
		m->kind = STREAM_MSG_TASK;
		return read_id(value, &m->id, err);
	}
	if (jspan_is(key, "result"))
		m->result = *value;
	else if (jspan_is(key, "error"))
		m->error = *value;
	else if (jspan_is(key, "progress"))
		m->progress = *value;
	else if (jspan_is(key, "log"))
		m->log = *value;
	else if (jspan_is(key, "retry"))
		m->retry = *value;
	else if (jspan_is(key, "retry_in"))
		m->retry_in = *value;
	else if (jspan_is(key, "pong"))
		m->kind = STREAM_MSG_PONG;
	else if (jspan_is(key, "hello")) {
		m->kind = STREAM_MSG_HELLO;
		return read_hello(value, m, err);
	}
	return 0;
}

int
stream_msg_parse(const char *line, size_t len, struct stream_msg *m, struct err *err)
{
	const struct jscan_limits limits = {
	    .max_depth = RESULT_DEPTH + 1, .check_keys = 1};
	struct stream_msg read = {0};
	struct jspan root, key, value;
	struct jwalk walk;

	if (jscan_check(line, len, &limits, &root, err) != 0)
		return err_wrap(err, "no JSON");
	if (root.kind != JSON_OBJECT)
		return err_set(err, ERR_INVALID, "a line must be an object, not %s",
		    json_kind_name(root.kind));
	jwalk_start(&walk, &root);
	while (jwalk_member(&walk, &key, &value)) {
		if (take_member(&key, &value, &read, err) != 0)
			return -1;
	}
	*m = read;
	return 0;
}

bool
stream_msg_guess(const char *line, size_t len, struct uuid *id)
{
	static const char head[] = "{\"id\":\"";
	const char *at = line, *end = line + len;

	for (const char *want = head; *want != '\0';) {
		if (at == end)
			return false;
		if (*at == *want)
			want++;
		else if (*at != ' ' && *at != '\t')
			return false;
		at++;
	}
	return end - at > ID_LEN && at[ID_LEN] == '"' &&
	       uuid_parse(at, ID_LEN, id) == 0;
}

static bool
is_code(const char *text)
{
	size_t len = strspn(
	    text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");

	return len > 0 && text[len] == '\0';
}

char *
stream_msg_text(const struct jspan *string, size_t most, size_t *len, struct err *err)
{
	char *text = mem_alloc(string->len + 1);

	if (text == NULL) {
		err_set(err, ERR_NOMEM, "a text of %zu bytes", string->len);
		return NULL;
	}
	if (jspan_string(string, text, string->len + 1, len, err) != 0) {
		mem_free(text);
		return NULL;
	}
	if (*len > most) {
		*len = most;
		while (*len > 0 && ((unsigned char)text[*len] & 0xc0) == 0x80)
			(*len)--; /* not in the middle of a character */
		text[*len] = '\0';
	}
	return text;
}

static int
read_parts(const struct jspan *error, struct stream_error *e, struct err *err)
{
	struct jspan value;

	if (error->kind == JSON_STRING) {
		e->message =
		    stream_msg_text(error, STREAM_MESSAGE_MOST, &e->message_len, err);
		return e->message != NULL ? 0 : -1;
	}
	if (error->kind != JSON_OBJECT)
		return err_set(
		    err, ERR_INVALID, "the error must be an object or a string");
	if (jspan_get(error, "code", &value) &&
	    (jspan_string(&value, e->code, sizeof(e->code), NULL, NULL) != 0 ||
		!is_code(e->code)))
		return err_set(err, ERR_INVALID,
		    "the error's code must be 1 to %d letters, digits, '_', '-' and "
		    "'.'",
		    STREAM_CODE_SIZE - 1);
	if (!jspan_get(error, "message", &value))
		return 0;
	e->message = stream_msg_text(&value, STREAM_MESSAGE_MOST, &e->message_len, err);
	return e->message != NULL ? 0 : err_wrap(err, "the error's message");
}

int
stream_msg_error(const struct stream_msg *m, struct stream_error *e, struct err *err)
{
	struct stream_error read = {.code = "failed", .retry = true, .retry_ms = -1};
	double seconds;

	if (m->retry.kind != 0 && jspan_bool(&m->retry, &read.retry, err) != 0)
		return err_wrap(err, "retry");
	if (m->retry_in.kind != 0) {
		if (jspan_double(&m->retry_in, &seconds, NULL) != 0 || seconds < 0 ||
		    seconds * 1000 > (double)BACKOFF_MAX_MS)
			return err_set(err, ERR_INVALID,
			    "retry_in must be a number of seconds from 0 to 31622400");
		read.retry_ms = (int64_t)(seconds * 1000);
	}
	if (read_parts(&m->error, &read, err) != 0) {
		mem_free(read.message);
		return -1;
	}
	*e = read;
	return 0;
}

/* ---------------------------------------------------------------- writing */

static void
end_line(struct jsonw *w)
{
	jsonw_end(w);
	strbuf_putc(w->out, '\n');
}

void
stream_put_hello(
    struct strbuf *sb, const char *type, const char *worker, size_t max_line_bytes)
{
	struct jsonw w;

	jsonw_init(&w, sb);
	jsonw_object(&w);
	jsonw_key(&w, "hello");
	jsonw_object(&w);
	jsonw_member_int(&w, "version", STREAM_VERSION);
	jsonw_member_string(&w, "type", type);
	jsonw_member_string(&w, "worker", worker);
	jsonw_member_int(&w, "max_line", (int64_t)max_line_bytes);
	jsonw_end(&w);
	end_line(&w);
}

/* between its values a payload may hold line breaks, and inside them none */
static void
put_payload(struct jsonw *w, const char *payload, size_t len)
{
	size_t from = w->out->len;
	char *at, *end;

	jsonw_raw(w, payload, len);
	if (strbuf_failed(w->out))
		return;
	end = w->out->data + w->out->len;
	for (at = w->out->data + from;
	     (at = memchr(at, '\n', (size_t)(end - at))) != NULL;)
		*at++ = ' ';
}

void
stream_put_task(struct strbuf *sb, const struct stream_task *t)
{
	struct jsonw w;

	jsonw_init(&w, sb);
	jsonw_object(&w);
	jsonw_key(&w, "task");
	jsonw_object(&w);
	jsonw_member_uuid(&w, "id", t->id);
	jsonw_member_string(&w, "type", t->type);
	jsonw_member_string(&w, "queue", t->queue);
	jsonw_member_int(&w, "attempt", t->attempt);
	jsonw_member_int(&w, "max_attempts", t->max_attempts);
	jsonw_member_string(&w, "fence", t->fence);
	jsonw_member_time(&w, "deadline", t->deadline_us);
	jsonw_key(&w, "timeout");
	jsonw_double(&w, (double)t->timeout_ms / 1000);
	if (t->traceparent != NULL)
		jsonw_member_string(&w, "traceparent", t->traceparent);
	if (t->tracestate != NULL)
		jsonw_member_string(&w, "tracestate", t->tracestate);
	jsonw_key(&w, "payload");
	if (t->payload != NULL)
		put_payload(&w, t->payload, t->payload_len);
	else
		jsonw_null(&w);
	jsonw_end(&w);
	end_line(&w);
}

void
stream_put_ping(struct strbuf *sb, int64_t n)
{
	strbuf_printf(sb, "{\"ping\":%lld}\n", (long long)n);
}

void
stream_put_cancel(struct strbuf *sb, const struct uuid *id)
{
	char text[UUID_TEXT_SIZE];

	strbuf_printf(sb, "{\"cancel\":\"%s\"}\n", uuid_format(id, text));
}

void
stream_put_drain(struct strbuf *sb)
{
	strbuf_puts(sb, "{\"drain\":true}\n");
}
