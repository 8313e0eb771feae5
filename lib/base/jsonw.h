/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jsonw.h - JSON written straight into a strbuf.
 *
 *     jsonw_init(&w, &sb);
 *     jsonw_object(&w);
 *     jsonw_key(&w, "id"); jsonw_string(&w, id);
 *     jsonw_end(&w);
 *
 * Commas are placed by the writer.  Strings are escaped; bytes that are no valid UTF-8
 * become U+FFFD.  jsonw_raw embeds JSON that was checked before, byte for byte.
 * Depth at most 32.  Failure sticks in the strbuf.
 */
#ifndef BASE_JSONW_H
#define BASE_JSONW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "base/uuid.h"

struct jsonw {
	struct strbuf *out; /* borrowed */
	unsigned depth;
	bool after_key;
	bool first[33];
	char close[33];
};

void jsonw_init(struct jsonw *w, struct strbuf *out);
void jsonw_object(struct jsonw *w);
void jsonw_array(struct jsonw *w);
void jsonw_end(struct jsonw *w); /* closes the innermost object or array */
void jsonw_key(struct jsonw *w, const char *name);
void jsonw_string(struct jsonw *w, const char *text); /* NULL writes null */
void jsonw_stringn(struct jsonw *w, const char *text, size_t len);
void jsonw_int(struct jsonw *w, int64_t n);
void jsonw_double(struct jsonw *w, double n); /* not finite: null */
void jsonw_bool(struct jsonw *w, bool b);
void jsonw_null(struct jsonw *w);
void jsonw_raw(struct jsonw *w, const char *json, size_t len);

/* a key and its value */
void jsonw_member_string(struct jsonw *w, const char *name, const char *text);
void jsonw_member_int(struct jsonw *w, const char *name, int64_t n);
void jsonw_member_bool(struct jsonw *w, const char *name, bool b);
/* microseconds since 1970 as RFC 3339 writes them; 0: null */
void jsonw_member_time(struct jsonw *w, const char *name, int64_t wall_us);
/* zeros: null */
void jsonw_member_uuid(struct jsonw *w, const char *name, const struct uuid *id);

#endif
