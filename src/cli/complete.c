/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * complete.c - what may come next on a command line of shoal; see complete.h.
 *
 * Commands and options are rows of tables.  The words that some commands take first,
 * such as create of "shoal keys", are read from their usage, where each way begins with
 * its word in small letters.
 */
#include "cli/complete.h"

#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

static void
put(struct strbuf *out, const char *begun, const char *word, size_t len,
    const char *help)
{
	if (strlen(begun) > len || strncmp(word, begun, strlen(begun)) != 0)
		return;
	strbuf_put(out, word, len);
	strbuf_putc(out, '\t');
	strbuf_puts(out, help);
	strbuf_putc(out, '\n');
}

static void
put_commands(struct strbuf *out, const char *begun)
{
	for (size_t i = 0; cli_commands[i] != NULL; i++)
		put(out, begun, cli_commands[i]->name, strlen(cli_commands[i]->name),
		    cli_commands[i]->summary);
}

static void
put_options(
    struct strbuf *out, const char *begun, const struct args_option *const tables[])
{
	char name[66];

	for (size_t t = 0; tables[t] != NULL; t++) {
		for (const struct args_option *o = tables[t]; o->name != NULL; o++) {
			name[0] = name[1] = '-';
			if (str_copy(name + 2, sizeof(name) - 2, o->name))
				put(out, begun, name, strlen(name), o->help);
		}
	}
}

/* "create NAME | list | [get] NAME": the words in small letters that a way begins with
 */
static void
put_ways(struct strbuf *out, const char *begun, const struct cli_command *cmd)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyz",
			  more[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	const char *at = cmd->usage;

	while (*at != '\0') {
		size_t len;

		at += strspn(at, " [");
		len = strspn(at, more);
		if (strspn(at, first) > 0 && strchr(" |]", at[len]) != NULL)
			put(out, begun, at, len, cmd->summary);
		at += strcspn(at, "|");
		if (*at == '|')
			at++;
	}
}

/* the option that a word is, without its value; NULL: none that is known */
static const struct args_option *
find_option(const char *word, const struct args_option *const tables[])
{
	size_t len = strcspn(word, "=");

	for (size_t t = 0; tables[t] != NULL; t++) {
		for (const struct args_option *o = tables[t]; o->name != NULL; o++) {
			if (word[1] == '-'
				? strlen(o->name) == len - 2 &&
				      strncmp(word + 2, o->name, len - 2) == 0
				: o->letter != 0 && word[1] == o->letter)
				return o;
		}
	}
	return NULL;
}

/* whether the word behind this one is its value */
static bool
wants_value(const char *word, const struct args_option *const tables[])
{
	const struct args_option *o = find_option(word, tables);

	if (o == NULL || o->kind != ARGS_VALUE)
		return false;
	return word[1] == '-' ? strchr(word, '=') == NULL : word[2] == '\0';
}

static void
put_of_command(
    struct strbuf *out, const struct cli_command *cmd, int count, char *const words[])
{
	const struct args_option *tables[CLI_TABLES];
	const char *begun = words[count - 1];
	bool options_over = false;
	int operands = 0;

	cli_tables(cmd, tables);
	for (int i = 0; i < count - 1; i++) {
		if (options_over || words[i][0] != '-' || words[i][1] == '\0')
			operands++;
		else if (str_eq(words[i], "--"))
			options_over = true;
		else if (wants_value(words[i], tables) && ++i == count - 1)
			return;
	}
	if (!options_over && begun[0] == '-')
		put_options(out, begun, tables);
	else if (operands == 0 && cmd == &cli_help)
		put_commands(out, begun);
	else if (operands == 0)
		put_ways(out, begun, cmd);
}

void
complete_words(int count, char *const words[], struct strbuf *out)
{
	const struct cli_command *cmd;

	if (count < 1)
		return;
	if (count == 1) {
		put_commands(out, words[0]);
		return;
	}
	cmd = cli_find(words[0]);
	if (cmd != NULL)
		put_of_command(out, cmd, count - 1, words + 1);
}
