/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confdoc.c - settings as files for people: the effective ones, and the sample.
 *
 * Both can be read back.  Values longer than a comfortable line are continued at
 * spaces; one that the format cannot carry (see can_be_written) is shown behind a
 * comment that says so.
 */
#include <string.h>

#include "base/conf.h"
#include "base/confkey.h"
#include "base/str.h"

#define WIDTH	    79
#define VALUE_WIDTH 160 /* of 199 that a line may have */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* prose, each line behind lead */
static void
put_prose(struct strbuf *out, const char *lead, const char *text)
{
	size_t room = WIDTH - strlen(lead);

	while (*text != '\0') {
		size_t len = strlen(text), cut;

		if (len > room) {
			for (cut = room; cut > 0 && text[cut] != ' '; cut--)
				;
			len = cut > 0 ? cut : strcspn(text, " ");
		}
		strbuf_printf(out, "%s%.*s\n", lead, (int)len, text);
		text += len;
		while (*text == ' ')
			text++;
	}
}

/* where the line that begins at text may end: before a single space; 0: nowhere */
static size_t
value_cut(const char *text, size_t width)
{
	size_t len = strlen(text), cut, best = 0;

	if (len <= width)
		return len;
	for (cut = 1; cut + 1 < len; cut++) {
		if (cut > width && best > 0)
			break;
		/* the next line must not look like a comment or a header */
		if (text[cut] == ' ' && !is_blank(text[cut - 1]) &&
		    !is_blank(text[cut + 1]) && strchr(";#[", text[cut + 1]) == NULL)
			best = cut;
	}
	return best > 0 ? best : len;
}

/* true if a file can hold the value: inih must give it back as it is */
static bool
can_be_written(const char *text)
{
	size_t len = strlen(text), cut;
	const char *p;

	if (len == 0)
		return true;
	if (is_blank(text[0]) || is_blank(text[len - 1]) || text[0] == ';')
		return false;
	for (p = text + 1; *p != '\0'; p++)
		if (*p == ';' && is_blank(p[-1]))
			return false;
	for (; *text != '\0'; text += cut + (text[cut] == ' ')) {
		cut = value_cut(text, VALUE_WIDTH);
		if (cut > VALUE_WIDTH)
			return false;
	}
	return true;
}

/* name = value, each line behind lead */
static void
put_setting(struct strbuf *out, const char *lead, const char *name, const char *value)
{
	size_t cut;

	if (!can_be_written(value)) {
		strbuf_printf(out,
		    "# a file cannot hold the next value as it is\n#%s = %s\n", name,
		    value);
		return;
	}
	strbuf_printf(out, "%s%s =%s", lead, name, *value != '\0' ? " " : "");
	for (;;) {
		cut = value_cut(value, VALUE_WIDTH);
		strbuf_put(out, value, cut);
		strbuf_putc(out, '\n');
		value += cut;
		if (*value == '\0')
			break;
		value++;
		strbuf_printf(out, "%s    ", lead);
	}
}

static void
dump_keys(const struct conf_schema *cs, const char *section, const void *base,
    struct strbuf *out)
{
	struct strbuf value;
	size_t i;

	strbuf_init(&value, out->max);
	for (i = 0; i < cs->key_count; i++) {
		if (!str_eq(cs->keys[i].section, section))
			continue;
		strbuf_reset(&value);
		confkey_show(&cs->keys[i], base, &value);
		if (strbuf_failed(&value))
			out->failed = true;
		put_setting(out, "", cs->keys[i].name, value.data);
	}
	strbuf_fini(&value);
}

void
conf_dump(const struct conf_schema *cs, const void *settings, struct strbuf *out)
{
	size_t i;

	for (i = 0; i < cs->section_count; i++) {
		const char *name = cs->sections[i].name;

		if (confsection_is_family(name))
			continue;
		strbuf_printf(out, "%s[%s]\n", out->len > 0 ? "\n" : "", name);
		dump_keys(cs, name, settings, out);
	}
}

void
conf_dump_section(const struct conf_schema *cs, const char *family, const char *name,
    const void *section, struct strbuf *out)
{
	strbuf_printf(out, "%s[%s%s]\n", out->len > 0 ? "\n" : "", family, name);
	dump_keys(cs, family, section, out);
}

static void
sample_key(const struct conf_key *key, struct strbuf *out)
{
	char range[CONF_RANGE_SIZE], facts[CONF_RANGE_SIZE + 64];

	strbuf_putc(out, '\n');
	put_prose(out, "# ", key->help != NULL ? key->help : "");
	confkey_range(key, range);
	if (range[0] >= 'a' && range[0] <= 'z' && key->type != CONF_ENUM)
		range[0] = (char)(range[0] - 'a' + 'A');
	snprintf(facts, sizeof(facts), "%s%s%s%s",
	    key->type == CONF_ENUM ? "One of " : "", range,
	    range[0] != '\0' ? ". " : "",
	    key->flags & CONF_RELOAD ? "A reload is enough." : "Needs a restart.");
	put_prose(out, "# ", facts);
	if (key->flags & CONF_SECRET) {
		strbuf_printf(out,
		    "# Better in a file of its own, on one line: %s_file = PATH.\n",
		    key->name);
	}
	put_setting(out, "#", key->name, key->def != NULL ? key->def : "");
}

void
conf_sample(const struct conf_schema *cs, struct strbuf *out)
{
	size_t i, j;

	put_prose(out, "# ",
	    "Every setting with its default. Take the # away from a line to "
	    "change it.");
	strbuf_puts(out, "#\n");
	put_prose(out, "# ",
	    "Durations are whole numbers with ms, s, min, h or d, sizes with KiB, MiB "
	    "or "
	    "GiB. A line has at most 199 bytes; an indented line continues the value "
	    "before it. A semicolon behind white space begins a comment.");
	for (i = 0; i < cs->section_count; i++) {
		const struct conf_section *section = &cs->sections[i];
		bool family = confsection_is_family(section->name);

		strbuf_puts(out, "\n\n");
		put_prose(out, "## ", section->help != NULL ? section->help : "");
		strbuf_printf(out, "%s[%s%s]\n", family ? "#" : "", section->name,
		    family ? "NAME" : "");
		for (j = 0; j < cs->key_count; j++)
			if (str_eq(cs->keys[j].section, section->name))
				sample_key(&cs->keys[j], out);
	}
}
