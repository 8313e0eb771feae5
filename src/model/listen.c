/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listen.c - reads what a node shall listen on; see listen.h.
 *
 * Another word is one more row of words[].
 */
#include "model/listen.h"

#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

static const struct {
	const char *name;
	size_t offset;
} words[] = {
    {"tls", offsetof(struct listen_item, tls)},
    {"proxy", offsetof(struct listen_item, proxy)},
};

static int
take_word(const char *word, struct listen_item *item, struct err *err)
{
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		bool *flag = (bool *)(void *)((char *)item + words[i].offset);

		if (!str_eq(words[i].name, word))
			continue;
		if (*flag)
			return err_set(err, ERR_INVALID, "%s is said twice", word);
		*flag = true;
		return 0;
	}
	return err_set(err, ERR_INVALID,
	    "'%.40s' is not known behind an address: it may be tls, proxy or both",
	    word);
}

int
listen_parse(const char *text, struct listen_item *item, struct err *err)
{
	struct listen_item out = {.tls = false};
	char copy[LISTEN_ITEM_SIZE], *rest = copy, *word;

	if (!str_copy(copy, sizeof(copy), text))
		return err_set(err, ERR_INVALID, "'%.60s...' is too long", text);
	word = strsep(&rest, " \t");
	if (addr_parse(word, &out.addr, err) != 0)
		return err_wrap(err, "'%.60s'", word);
	while ((word = strsep(&rest, " \t")) != NULL) {
		if (*word != '\0' && take_word(word, &out, err) != 0)
			return -1;
	}
	*item = out;
	return 0;
}

int
listen_each(const char *list, listen_fn *fn, void *arg, struct err *err)
{
	char *copy = mem_strdup(list), *rest = copy, *part;
	struct listen_item item;
	int rc = 0;

	if (copy == NULL)
		return err_set(err, ERR_NOMEM, "listeners");
	while (rc == 0 && (part = strsep(&rest, ",")) != NULL) {
		part = str_trim(part);
		if (*part == '\0')
			continue;
		rc = listen_parse(part, &item, err);
		if (rc == 0)
			rc = fn(&item, arg, err);
	}
	mem_free(copy);
	return rc;
}
