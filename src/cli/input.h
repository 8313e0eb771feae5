/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * input.h - JSON that the caller writes: on the command line, or on standard input.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "base/strbuf.h"

#define INPUT_MAX (8UL * 1024 * 1024)

/* text, or all of standard input (kept in in) if it is "-"; *json is borrowed from
 * either.  Checked: what names it in the reason. */
int input_json(const char *what, const char *text, struct strbuf *in, const char **json,
    size_t *len, struct err *err) ATTR_CHECK;
int input_check(
    const char *what, const char *json, size_t len, struct err *err) ATTR_CHECK;
/* "setting=value": the value, borrowed from word, and what is before it in name; NULL:
 * it is no such thing, or longer than any setting */
#define SETTING_MAX 100
const char *input_setting(const char *word, char name[SETTING_MAX]) ATTR_CHECK;
/* a member in seconds, with a fraction if need be */
void input_put_seconds(struct jsonw *w, const char *name, int64_t ms);

#endif
