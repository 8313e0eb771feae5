/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer.h - what a node answers, read with json-c, and shown.
 */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/err.h"

struct json_object;

/* taken: json_object_put it.  ERR_INVALID: no JSON */
struct json_object *answer_parse(
    const char *bytes, size_t len, struct err *err) ATTR_CHECK;
/* members of an object (NULL is no object): NULL, 0 or false when absent or of another
 * kind; borrowed */
const char *answer_text(struct json_object *object, const char *name);
int64_t answer_int(struct json_object *object, const char *name);
bool answer_is_true(struct json_object *object, const char *name);
struct json_object *answer_member(struct json_object *object, const char *name);
/* the length of a list; 0 for anything else */
size_t answer_count(struct json_object *list);
/* shows each row of a list that is a member */
void answer_each(
    struct json_object *object, const char *name, void (*show)(struct json_object *));

/* a task's fields, one a line */
void answer_print_task(FILE *out, struct json_object *task);
/* tasks as rows; head first when told so */
void answer_print_row_head(FILE *out);
void answer_print_row(FILE *out, struct json_object *task);
/* true when the task's state is one that stays */
bool answer_task_ended(struct json_object *task);
/* text that came from outside, safe for a terminal */
void answer_put_text(FILE *out, const char *text);
/* the same in a column of this width; NULL is - */
void answer_put_column(FILE *out, const char *text, int width);
/* an object's members that are not null, one a line */
void answer_print_fields(FILE *out, struct json_object *object, int name_width);
/* compact JSON, safe too; NULL is null */
void answer_put_json(FILE *out, struct json_object *value);

#endif
