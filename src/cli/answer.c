/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer.c - what a node answers; see answer.h.
 *
 * json-c may round or clamp what it reads, which is good enough for showing; who needs
 * the exact bytes takes --json, which passes them through untouched.  Text goes to the
 * terminal escaped: names and error messages are written by applications.
 */
#include "cli/answer.h"

#include <json-c/json.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/task.h"

#define DEPTH_MAX 64

static const char *const shown_fields[] = {
    "id",
    "type",
    "queue",
    "state",
    "priority",
    "attempt",
    "max_attempts",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "worker",
    "progress",
    "metadata",
    "payload",
    "error",
    "result",
};

struct json_object *
answer_parse(const char *bytes, size_t len, struct err *err)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *doc = NULL;

	if (tok == NULL) {
		err_set(err, ERR_NOMEM, "JSON");
		return NULL;
	}
	if (len <= INT32_MAX)
		doc = json_tokener_parse_ex(tok, bytes, (int)len);
	if (doc == NULL)
		err_set(err, ERR_INVALID,
		    "the answer is no JSON: is that the address for applications?");
	json_tokener_free(tok);
	return doc;
}

struct json_object *
answer_member(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, name, &value))
		return NULL;
	return value;
}

const char *
answer_text(struct json_object *object, const char *name)
{
	struct json_object *value = answer_member(object, name);

	return json_object_is_type(value, json_type_string)
		   ? json_object_get_string(value)
		   : NULL;
}

int64_t
answer_int(struct json_object *object, const char *name)
{
	return json_object_get_int64(answer_member(object, name));
}

bool
answer_is_true(struct json_object *object, const char *name)
{
	return json_object_get_boolean(answer_member(object, name));
}

size_t
answer_count(struct json_object *list)
{
	return json_object_is_type(list, json_type_array)
		   ? json_object_array_length(list)
		   : 0;
}

void
answer_each(
    struct json_object *object, const char *name, void (*show)(struct json_object *))
{
	struct json_object *list = answer_member(object, name);

	for (size_t i = 0; i < answer_count(list); i++)
		show(json_object_array_get_idx(list, i));
}

void
answer_put_text(FILE *out, const char *text)
{
	size_t len = strlen(text), size = 4 * len + 1;
	char *shown = mem_alloc(size);

	if (shown == NULL) {
		fputs("(no memory)", out);
		return;
	}
	str_printable(shown, size, text, len);
	fputs(shown, out);
	mem_free(shown);
}

/*
 * json-c escapes the old control characters.  DEL and those of U+0080 to U+009F are
 * legal in JSON and obeyed by some terminals, so they are escaped here.
 */
void
answer_put_json(FILE *out, struct json_object *value)
{
	const unsigned char *at = (const unsigned char *)json_object_to_json_string_ext(
	    value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);

	for (; *at != '\0'; at++) {
		if (*at == 0x7f) {
			fputs("\\u007f", out);
		} else if (*at == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f) {
			at++;
			fprintf(out, "\\u00%02x", *at);
		} else {
			putc(*at, out);
		}
	}
}

static void
put_field(FILE *out, const char *name, struct json_object *value)
{
	const char *code = answer_text(value, "code"),
		   *message = answer_text(value, "message");

	if (str_eq(name, "error") && code != NULL) {
		answer_put_text(out, code);
		fputs(": ", out);
		answer_put_text(out, message != NULL ? message : "");
	} else if (json_object_is_type(value, json_type_string) &&
		   !str_eq(name, "payload") && !str_eq(name, "result")) {
		answer_put_text(out, json_object_get_string(value));
	} else {
		answer_put_json(out, value);
	}
}

void
answer_print_task(FILE *out, struct json_object *task)
{
	struct json_object *value;

	for (size_t i = 0; i < COUNT_OF(shown_fields); i++) {
		value = answer_member(task, shown_fields[i]);
		if (value == NULL) /* absent, or null */
			continue;
		fprintf(out, "%-13s ", shown_fields[i]);
		put_field(out, shown_fields[i], value);
		putc('\n', out);
	}
}

static void
put_column(FILE *out, struct json_object *task, const char *name, int width)
{
	answer_put_column(out, answer_text(task, name), width);
}

void
answer_print_row_head(FILE *out)
{
	fprintf(out, "%-36s %-9s %-20s %-12s %7s %s\n", "ID", "STATE", "TYPE", "QUEUE",
	    "ATTEMPT", "CREATED");
}

void
answer_print_row(FILE *out, struct json_object *task)
{
	put_column(out, task, "id", 36);
	put_column(out, task, "state", 9);
	put_column(out, task, "type", 20);
	put_column(out, task, "queue", 12);
	fprintf(out, "%7lld ", (long long)answer_int(task, "attempt"));
	put_column(out, task, "created_at", 1);
	putc('\n', out);
}

bool
answer_task_ended(struct json_object *task)
{
	const char *name = answer_text(task, "state");
	enum task_state state;

	return name != NULL && task_state_parse(name, &state) == 0 &&
	       task_is_final(state);
}

void
answer_put_column(FILE *out, const char *text, int width)
{
	char shown[160];

	if (text == NULL)
		text = "-";
	str_printable(shown, sizeof(shown), text, strlen(text));
	fprintf(out, "%-*s ", width, shown);
}

void
answer_print_fields(FILE *out, struct json_object *object, int name_width)
{
	json_object_object_foreach(object, name, value)
	{
		if (value == NULL)
			continue;
		fprintf(out, "%-*s ", name_width, name);
		if (json_object_is_type(value, json_type_string))
			answer_put_text(out, json_object_get_string(value));
		else
			answer_put_json(out, value);
		putc('\n', out);
	}
}
