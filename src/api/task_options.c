/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * task_options.c - the fields of tasks that are made one by one: keys and parents.
 *
 * Keys stay the caller's bytes, since shoal.make_task reads them as JSON; here they are
 * only measured.
 */
#include <stdio.h>

#include "api/task_fields.h"

#define UNIQUE_FOR_MAX_MS     (366LL * 86400 * 1000)
#define CONCURRENCY_LIMIT_MAX 10000

static int
read_key(const struct place *at, const char *name, const struct jspan *value,
    struct jspan *to)
{
	char text[TASK_KEY_MAX + 1];
	size_t len;

	if (value->kind != JSON_STRING ||
	    jspan_string(value, text, sizeof(text), &len, NULL) != 0 || len == 0)
		return field_refuse(
		    at, name, value, "it must be a string of 1 to 255 bytes");
	*to = *value;
	return 0;
}

/* the position in words (NULL-terminated); -1: none */
static int
read_word(const struct jspan *value, const char *const words[])
{
	for (int i = 0; value->kind == JSON_STRING && words[i] != NULL; i++) {
		if (jspan_is(value, words[i]))
			return i;
	}
	return -1;
}

int
field_unique_key(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	tr->special = true;
	return read_key(at, name, value, &tr->options.unique_key);
}

int
field_unique_until(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	static const char *const words[] = {"start", "finish", NULL};
	int i = read_word(value, words);

	if (i < 0)
		return field_refuse(
		    at, name, value, "it must be \"start\" or \"finish\"");
	tr->options.unique_scope = (enum task_unique)i;
	tr->options.given |= TASK_GIVEN_UNTIL;
	return 0;
}

int
field_unique_for(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	int64_t ms;

	if (!field_duration(value, UNIQUE_FOR_MAX_MS, &ms) || ms == 0)
		return field_refuse(at, name, value,
		    "it must be seconds, or a duration such as \"PT5M\", up to 366 "
		    "days");
	tr->options.unique_for_ms = ms;
	tr->options.given |= TASK_GIVEN_FOR;
	return 0;
}

int
field_on_conflict(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	static const char *const words[] = {
	    "existing", "reject", "replace", "postpone", NULL};
	int i = read_word(value, words);

	if (i < 0)
		return field_refuse(at, name, value,
		    "it must be \"existing\", \"reject\", \"replace\" or \"postpone\"");
	tr->options.on_conflict = (enum task_conflict)i;
	tr->options.given |= TASK_GIVEN_CONFLICT;
	return 0;
}

int
field_concurrency_key(const struct place *at, const char *name,
    const struct jspan *value, struct task_request *tr)
{
	tr->special = true;
	return read_key(at, name, value, &tr->options.concurrency_key);
}

int
field_concurrency_limit(const struct place *at, const char *name,
    const struct jspan *value, struct task_request *tr)
{
	int64_t n;

	if (value->kind != JSON_NUMBER || jspan_i64(value, &n, NULL) != 0 || n < 1 ||
	    n > CONCURRENCY_LIMIT_MAX)
		return field_refuse(
		    at, name, value, "it must be a whole number from 1 to 10000");
	tr->options.concurrency_limit = (int32_t)n;
	tr->options.given |= TASK_GIVEN_LIMIT;
	return 0;
}

int
field_after(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	struct jspan element;
	struct jwalk walk;
	size_t count = 0;

	if (value->kind != JSON_ARRAY)
		return field_refuse(at, name, value,
		    "it must be a list of ids, or of refs of the same request");
	jwalk_start(&walk, value);
	while (jwalk_element(&walk, &element)) {
		if (element.kind != JSON_STRING || element.len > TASK_KEY_MAX)
			return field_refuse(at, name, &element,
			    "it must be the id of a task, or a ref of the same "
			    "request");
		count++;
	}
	if (count > TASK_PARENTS_MAX)
		return field_refuse(at, name, value, "it has more than 100 elements");
	tr->special |= count > 0;
	tr->options.after = *value;
	return 0;
}

int
field_after_failure(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	static const char *const words[] = {"cancel", "run", NULL};
	int i = read_word(value, words);

	if (i < 0)
		return field_refuse(
		    at, name, value, "it must be \"cancel\" or \"run\"");
	tr->options.run_anyway = i == 1;
	tr->options.given |= TASK_GIVEN_FAILURE;
	return 0;
}

int
field_ref(const struct place *at, const char *name, const struct jspan *value,
    struct task_request *tr)
{
	char text[NAME_MAX_BYTES + 1];
	struct err err = ERR_INIT;
	size_t len;

	if (value->kind != JSON_STRING ||
	    jspan_string(value, text, sizeof(text), &len, NULL) != 0 ||
	    len != value->len - 2 || name_check(name, text, len, &err) != 0)
		return field_refuse(at, name, value,
		    "it must be a name of up to 64 letters, digits and . _ - : /");
	tr->options.ref = *value;
	return 0;
}

/* these say nothing without the field that they belong to */
static const struct {
	unsigned given;
	const char *name, *needs;
} companions[] = {
    {TASK_GIVEN_UNTIL, "unique_until", "unique_key"},
    {TASK_GIVEN_FOR, "unique_for", "unique_key"},
    {TASK_GIVEN_CONFLICT, "on_conflict", "unique_key"},
    {TASK_GIVEN_LIMIT, "concurrency_limit", "concurrency_key"},
    {TASK_GIVEN_FAILURE, "after_failure", "after"},
};

int
field_check_options(
    const struct place *at, const struct jspan *object, struct task_request *tr)
{
	struct task_options *o = &tr->options;
	struct jspan value, other;
	char rule[80];

	for (size_t i = 0; o->given != 0 && i < COUNT_OF(companions); i++) {
		if ((o->given & companions[i].given) == 0 ||
		    !jspan_get(object, companions[i].name, &value) ||
		    jspan_get(object, companions[i].needs, &other))
			continue;
		snprintf(rule, sizeof(rule), "it goes with %s, which is missing",
		    companions[i].needs);
		return field_refuse(at, companions[i].name, &value, rule);
	}
	if ((o->given & TASK_GIVEN_FOR) != 0) {
		if ((o->given & TASK_GIVEN_UNTIL) != 0 &&
		    jspan_get(object, "unique_for", &value))
			return field_refuse(at, "unique_for", &value,
			    "unique_for and unique_until exclude each other");
		o->unique_scope = UNIQUE_FOR;
	} else if ((o->given & TASK_GIVEN_UNTIL) == 0) {
		/* what has started can be given nothing any more */
		o->unique_scope = o->on_conflict == CONFLICT_REPLACE ||
					  o->on_conflict == CONFLICT_POSTPONE
				      ? UNIQUE_UNTIL_START
				      : UNIQUE_UNTIL_FINISH;
	}
	return 0;
}
