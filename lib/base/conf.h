/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.h - settings from one table.
 *
 * A struct conf_schema is a table of keys; each row names its section, type,
 * place in the caller's struct, default (as text, through the same parser as the
 * user's), range, unit, flags and help.  The row feeds the loader, the help, the
 * sample file and the checks of the manual.
 *
 * Sources in the order of their weight: defaults, file (or text), environment,
 * options.  Files are INI, read with inih; inih cuts lines at 200 bytes and goes on,
 * so its first error is fatal here and nothing is kept.  A line that starts with
 * white space continues the value before it, joined by one space.  Unknown
 * sections and keys and keys given twice in one file are errors that name the
 * line and the nearest known name.
 *
 * A section without a name of its own is a struct's part ([node]); a named one
 * ([type:wordcount]) is made on first sight by the row's get function.
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/strbuf.h"

enum conf_type {
	CONF_STRING = 1, /* char *, heap, owned by the struct; never NULL once loaded */
	CONF_BOOL,	 /* bool: yes/no, true/false, on/off, 1/0 */
	CONF_INT,	 /* int64_t */
	CONF_SIZE,	 /* int64_t bytes, units.h */
	CONF_DURATION,	 /* int64_t milliseconds, units.h */
	CONF_ENUM,	 /* int: index into choices */
};

#define CONF_RELOAD 0x1 /* takes effect on HUP; the others need a restart */
#define CONF_SECRET                                                                    \
	0x2 /* masked when shown; NAME_file reads it from a file (one line) */

struct conf_key {
	const char *section; /* "node", or "type:" for every [type:NAME] */
	const char *name;
	enum conf_type type;
	/* in the settings struct, or in what the section's get returned */
	size_t offset;
	const char *def; /* text */
	int64_t min,
	    max; /* of numbers, in the type's unit; of strings, length; both 0: any */
	const char *unit; /* for help: "ms", "bytes", "tasks" ...; NULL: none */
	const char *const *choices; /* CONF_ENUM, NULL-terminated */
	unsigned flags;
	/* of a CONF_SECRET: where in the same struct its file's path is kept (char *,
	 * as a CONF_STRING; "" when the value came otherwise); 0: nowhere */
	size_t file_offset;
	const char *help; /* whole sentences */
};

struct conf_section {
	const char *name; /* "node"; or "type:" for a family of named ones */
	const char *help;
	/*
	 * Families only: the struct that belongs to [type:NAME], made on first sight
	 * with all its strings NULL; NULL with err set when NAME is not acceptable.
	 */
	void *(*get)(void *settings, const char *name, struct err *err);
};

struct conf_schema {
	const struct conf_section *sections;
	size_t section_count;
	const struct conf_key *keys;
	size_t key_count;
	const char *env_prefix; /* "SHOALD_": SHOALD_NODE_WORKERS sets [node] workers */
	/* told of each NAME_file that a secret was read from, once it counts; NULL:
	 * nobody asks.  family_name: NAME of [type:NAME], NULL in plain sections */
	int (*secret_file)(void *settings, const struct conf_key *key,
	    const char *family_name, const char *path, struct err *err);
};

/* sets every key of plain sections to its default; settings is zeroed storage */
int conf_defaults(
    const struct conf_schema *cs, void *settings, struct err *err) ATTR_CHECK;
/* the same for one named section's struct; called by get functions */
int conf_section_defaults(const struct conf_schema *cs, const char *family,
    void *section, struct err *err) ATTR_CHECK;
int conf_load_file(const struct conf_schema *cs, void *settings, const char *path,
    struct err *err) ATTR_CHECK;
/* name stands for the path in messages */
int conf_load_text(const struct conf_schema *cs, void *settings, const char *text,
    const char *name, struct err *err) ATTR_CHECK;
/*
 * NAME=VALUE strings, NULL-terminated.  Only plain sections.  A variable with our
 * prefix that names no key is ignored unless it is PREFIX SECTION _ something of a
 * known section.
 */
int conf_load_env(const struct conf_schema *cs, void *settings, char *const env[],
    struct err *err) ATTR_CHECK;
/* "section.key=value"; for families "type:wordcount.command=/usr/bin/wc -w" (last dot
 * before '=') */
int conf_set_option(const struct conf_schema *cs, void *settings, const char *option,
    struct err *err) ATTR_CHECK;
/* reads again the one line of a secret's file, since a password may be rotated while we
 * run; *kept (owned, or NULL; mem_free_secret) stays as it is when that fails */
int conf_refresh_secret(const char *path, char **kept, struct err *err) ATTR_CHECK;
/* frees the strings of plain sections (or of one named section's struct) */
void conf_fini(const struct conf_schema *cs, void *settings);
void conf_section_fini(const struct conf_schema *cs, const char *family, void *section);
/* effective settings as an INI file, secrets as "********"; families by walk (section
 * name, struct) */
void conf_dump(const struct conf_schema *cs, const void *settings, struct strbuf *out);
void conf_dump_section(const struct conf_schema *cs, const char *family,
    const char *name, const void *section, struct strbuf *out);
/* every section and key with help, range and default, commented out: the sample file */
void conf_sample(const struct conf_schema *cs, struct strbuf *out);

#endif
