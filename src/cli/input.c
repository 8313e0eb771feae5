/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * input.c - JSON that the caller writes; see input.h.
 */
#include "cli/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/jscan.h"
#include "base/str.h"

static int
read_all(struct strbuf *in, struct err *err)
{
	char block[65536];
	size_t n;

	while ((n = fread(block, 1, sizeof(block), stdin)) > 0)
		strbuf_put(in, block, n);
	if (ferror(stdin))
		return err_errno(err, errno, "standard input");
	if (strbuf_failed(in))
		return err_set(
		    err, ERR_INVALID, "standard input: more than %lu bytes", INPUT_MAX);
	return 0;
}

int
input_check(const char *what, const char *json, size_t len, struct err *err)
{
	const struct jscan_limits limits = {.max_depth = 32, .check_keys = 1};
	struct jspan value;

	if (jscan_check(json, len, &limits, &value, err) != 0)
		return err_wrap(err,
		    "%s is not JSON (text needs quotes of its own: '\"text\"')", what);
	return 0;
}

int
input_json(const char *what, const char *text, struct strbuf *in, const char **json,
    size_t *len, struct err *err)
{
	bool piped = str_eq(text, "-");

	if (piped && read_all(in, err) != 0)
		return -1;
	*json = piped ? in->data : text;
	*len = piped ? in->len : strlen(text);
	return input_check(what, *json, *len, err);
}

const char *
input_setting(const char *word, char name[SETTING_MAX])
{
	const char *equals = strchr(word, '=');
	size_t len = equals != NULL ? (size_t)(equals - word) : 0;

	if (len == 0 || len >= SETTING_MAX)
		return NULL;
	memcpy(name, word, len);
	name[len] = '\0';
	return equals + 1;
}

void
input_put_seconds(struct jsonw *w, const char *name, int64_t ms)
{
	jsonw_key(w, name);
	if (ms % 1000 == 0)
		jsonw_int(w, ms / 1000);
	else
		jsonw_double(w, (double)ms / 1000);
}
