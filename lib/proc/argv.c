/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * argv.c - a command line from the configuration as words, without a shell.
 *
 * Nothing is expanded and nothing but white space, double quotes and the backslash
 * between them has a meaning, so what a word becomes can be read off the file.
 */
#include "proc/child.h"

#include <string.h>

#include "base/mem.h"

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

int
argv_split(const char *command, char ***argv, struct err *err)
{
	size_t len = strlen(command), max_words = len / 2 + 1, words = 0;
	char **block, *to;
	const char *from = command;

	/* the pointers, a NULL, then the words, which never outgrow the command */
	block = mem_alloc((max_words + 1) * sizeof(*block) + len + 1);
	if (block == NULL)
		return err_set(err, ERR_NOMEM, "command of %zu bytes", len);
	to = (char *)(block + max_words + 1);
	for (;;) {
		bool quoted = false;

		while (is_blank(*from))
			from++;
		if (*from == '\0')
			break;
		block[words++] = to;
		for (; *from != '\0' && (quoted || !is_blank(*from)); from++) {
			if (*from == '"') {
				quoted = !quoted;
				continue;
			}
			if (quoted && *from == '\\' && from[1] != '\0')
				from++;
			*to++ = *from;
		}
		*to++ = '\0';
		if (quoted) {
			mem_free(block);
			return err_set(
			    err, ERR_INVALID, "a double quote is not closed");
		}
	}
	block[words] = NULL;
	*argv = block;
	return 0;
}
