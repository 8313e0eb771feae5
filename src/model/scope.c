/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scope.c - what an API key may do; see scope.h.
 */
#include "model/scope.h"

#include <string.h>

#include "base/str.h"
#include "model/names.h"

void
scope_read(const char *scopes, struct scope *s)
{
	char *rest = s->buf, *word;

	s->count = 0;
	s->all = scopes == NULL;
	if (s->all)
		return;
	/* what does not fit gives less, never more */
	str_copy(s->buf, sizeof(s->buf), scopes);
	while ((word = strsep(&rest, " ")) != NULL) {
		if (str_eq(word, "work"))
			s->all = true;
		else if (str_starts(word, "work:") && s->count < SCOPES_MOST)
			s->names[s->count++] = word + 5;
	}
}

bool
scope_has(const struct scope *s, const char *queue)
{
	for (size_t i = 0; !s->all && i < s->count; i++) {
		if (str_eq(s->names[i], queue))
			return true;
	}
	return s->all;
}

static bool
is_scope(const char *word, size_t len)
{
	if (len == 4)
		return memcmp(word, "work", 4) == 0;
	return len > 5 && memcmp(word, "work:", 5) == 0 &&
	       name_check("queue", word + 5, len - 5, NULL) == 0;
}

int
scope_check(const char *list, struct err *err)
{
	size_t count = 0, len;

	if (strlen(list) >= SCOPES_BYTES)
		return err_set(err, ERR_INVALID, "it is too long");
	for (const char *word = list; word != NULL;
	     word = word[len] == ',' ? word + len + 1 : NULL) {
		len = strcspn(word, ",");
		if (++count > SCOPES_MOST)
			return err_set(
			    err, ERR_INVALID, "%d are the most", SCOPES_MOST);
		if (!is_scope(word, len))
			return err_set(err, ERR_INVALID,
			    "a scope is work, for all queues, or work: and the name of "
			    "one");
	}
	return 0;
}
