/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outside.c - bytes that others gave us, as results and messages; see outside.h.
 */
#include "handlers/outside.h"

#include <string.h>

#include "base/jscan.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"

static char *
as_string(const char *text, size_t len, size_t *out_len)
{
	struct strbuf sb;
	struct jsonw w;
	char *json;

	if (len > 0 && text[len - 1] == '\n')
		len--;
	strbuf_init(&sb, 8 * len + 16);
	jsonw_init(&w, &sb);
	jsonw_stringn(&w, text, len);
	json = strbuf_take(&sb, out_len);
	strbuf_fini(&sb);
	return json;
}

int
outside_result(const char *bytes, size_t len, size_t most, char **json,
    size_t *json_len, struct err *err)
{
	const struct jscan_limits limits = {.max_depth = 32};
	struct jspan value;
	size_t made_len = 0;
	char *made = NULL;

	if (len > 0) {
		if (jscan_check(bytes, len, &limits, &value, NULL) == 0) {
			made_len = value.len;
			made = mem_dup(value.at, value.len);
		} else {
			made = as_string(bytes, len, &made_len);
		}
		if (made == NULL)
			return err_set(err, ERR_NOMEM, "no memory for the result");
	}
	if (made_len > most) {
		mem_free(made);
		return err_set(
		    err, ERR_LIMIT, "the result is larger than %zu bytes", most);
	}
	*json = made;
	*json_len = made_len;
	return 0;
}

size_t
outside_message(const char *bytes, size_t len, char to[OUTSIDE_MESSAGE_MOST])
{
	size_t out = 0, n;

	while (len > 0 && strchr(" \t\r\n", bytes[len - 1]) != NULL)
		len--;
	/* what is no UTF-8, or a NUL, becomes a question mark: PostgreSQL keeps neither
	 */
	for (; len > 0; bytes += n, len -= n) {
		n = *bytes != '\0' ? str_utf8(bytes, len) : 0;
		if (out + (n > 0 ? n : 1) > OUTSIDE_MESSAGE_MOST)
			break;
		if (n > 0)
			memcpy(to + out, bytes, n);
		else
			to[out] = '?';
		out += n > 0 ? n : 1;
		n = n > 0 ? n : 1;
	}
	return out;
}
