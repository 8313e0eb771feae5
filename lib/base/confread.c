/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confread.c - reads an INI text with inih, and does not let it cut anything.
 *
 * inih has a line buffer of fixed size and goes on after an error, with what it has
 * cut; section names are cut too, text behind a header is skipped, and an indented
 * header silently becomes part of the value before it.  So lines are handed to it
 * by a reader of ours that looks at each one first and ends the file at the first that
 * would not arrive whole.  Everything is collected before anybody uses it: an
 * error that inih reports at its end still leaves nothing behind.
 *
 * inih calls the handler from within the parsing of the line that the reader gave last,
 * so the reader knows the line's number and whether it was indented.
 */
#include "base/confread.h"

#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define SECTION_MAX 49 /* inih's MAX_SECTION less the NUL */

struct source {
	const char *at, *end;
	unsigned line; /* of the line given last */
	bool indented; /* that line began with white space */
	bool failed;   /* err is set: no further line is given */
	struct confrows *rows;
	struct err *err;
};

static void
fail_line(struct source *src, enum err_code code, const char *what)
{
	src->failed = true;
	err_set(src->err, code, "line %u: %s", src->line, what);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* a new row, its value empty; NULL with the source failed */
static struct confrow *
add_row(struct source *src, const char *section, size_t section_len, const char *name)
{
	struct confrows *rows = src->rows;
	struct confrow *more, *row;

	if (rows->count == CONF_ROWS_MAX) {
		fail_line(src, ERR_LIMIT, "too many settings");
		return NULL;
	}
	if (rows->count == rows->cap) {
		size_t cap = rows->cap > 0 ? 2 * rows->cap : 64;

		more = mem_resize(rows->rows, cap, sizeof(*more));
		if (more == NULL)
			goto no_memory;
		rows->rows = more;
		rows->cap = cap;
	}
	row = &rows->rows[rows->count];
	memset(row, 0, sizeof(*row));
	strbuf_init(&row->value, CONF_VALUE_MAX);
	row->line = src->line;
	rows->count++;
	row->section = mem_dup(section, section_len);
	if (row->section == NULL)
		goto no_memory;
	if (name != NULL) {
		row->name = mem_strdup(name);
		if (row->name == NULL)
			goto no_memory;
	}
	return row;
no_memory:
	fail_line(src, ERR_NOMEM, "no memory");
	return NULL;
}

/* ---- before inih: one raw line ----------------------------------------------- */

/* at is behind the bracket that closes a header: nothing but a comment may follow */
static bool
ends_header(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	return at == end || *at == ';' || *at == '#';
}

/* at is at the opening bracket of a line that may be a header */
static void
look_at_header(struct source *src, const char *at, const char *end)
{
	const char *close = memchr(at, ']', (size_t)(end - at));
	const struct confrows *rows = src->rows;
	bool after_key = rows->count > 0 && rows->rows[rows->count - 1].name != NULL;

	if (src->indented && after_key) {
		/* continues a value, and may: "[::1]:80" is an address */
		if (close != NULL && ends_header(close + 1, end))
			fail_line(src, ERR_INVALID,
			    "an indented [section] would continue the value "
			    "before it: take the "
			    "white space away");
		return;
	}
	at++;
	if (close == NULL || close == at)
		fail_line(src, ERR_INVALID, "a section header is [name]");
	else if (close - at > SECTION_MAX)
		fail_line(
		    src, ERR_INVALID, "the name of a section has at most 49 bytes");
	else if (memchr(at, ';', (size_t)(close - at)) != NULL)
		fail_line(src, ERR_INVALID, "the name of a section has no semicolon");
	else if (!ends_header(close + 1, end))
		fail_line(src, ERR_INVALID, "something follows the section's name");
	else
		add_row(src, at, (size_t)(close - at), NULL);
}

static void
look_at_line(struct source *src, const char *line, size_t len, size_t max)
{
	char what[96];
	const char *at = line, *end = line + len;
	size_t i;

	if (len > max) {
		snprintf(what, sizeof(what),
		    "longer than %zu bytes: go on in the next line, indented", max);
		fail_line(src, ERR_INVALID, what);
		return;
	}
	for (i = 0; i < len; i++)
		if (((unsigned char)line[i] < 0x20 && line[i] != '\t') ||
		    line[i] == 0x7f) {
			fail_line(src, ERR_INVALID, "control character");
			return;
		}
	/* inih skips a byte order mark, too */
	if (src->line == 1 && len >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		at = line += 3;
	while (at < end && is_blank(*at))
		at++;
	src->indented = at > line;
	if (at < end && *at == '[')
		look_at_header(src, at, end);
}

/* inih's reader: as fgets, but the newline is left out, which inih does not miss */
static char *
give_line(char *to, int size, void *arg)
{
	struct source *src = arg;
	const char *line = src->at, *newline;
	size_t len;

	if (src->failed || src->at == src->end)
		return NULL;
	newline = memchr(line, '\n', (size_t)(src->end - line));
	len = (size_t)((newline != NULL ? newline : src->end) - line);
	src->at = newline != NULL ? newline + 1 : src->end;
	src->line++;
	if (len > 0 && line[len - 1] == '\r')
		len--;
	look_at_line(src, line, len, (size_t)size - 1);
	if (src->failed)
		return NULL;
	memcpy(to, line, len);
	to[len] = '\0';
	return to;
}

/* ---- after inih: one setting ------------------------------------------------- */

/* inih (r55) takes comments from the ends of first lines, not of continued ones */
static size_t
before_comment(const char *value)
{
	size_t len;

	for (len = 0; value[len] != '\0'; len++)
		if (value[len] == ';' && len > 0 && is_blank(value[len - 1]))
			break;
	while (len > 0 && is_blank(value[len - 1]))
		len--;
	return len;
}

static int
take_setting(void *arg, const char *section, const char *name, const char *value)
{
	struct source *src = arg;
	struct confrows *rows = src->rows;
	struct confrow *row;
	size_t len = strlen(value);

	if (src->failed)
		return 0;
	row = rows->count > 0 ? &rows->rows[rows->count - 1] : NULL;
	if (!src->indented || row == NULL || row->name == NULL) {
		if (section[0] == '\0')
			fail_line(
			    src, ERR_INVALID, "a setting before the first [section]");
		else if (name[0] == '\0')
			fail_line(src, ERR_INVALID, "a name is missing");
		if (src->failed)
			return 0;
		row = add_row(src, section, strlen(section), name);
		if (row == NULL)
			return 0;
	} else {
		len = before_comment(value);
		if (row->value.len > 0)
			strbuf_putc(&row->value, ' ');
	}
	strbuf_put(&row->value, value, len);
	if (strbuf_failed(&row->value)) {
		if (row->value.len + len >= CONF_VALUE_MAX)
			fail_line(src, ERR_LIMIT, "the value is too long");
		else
			fail_line(src, ERR_NOMEM, "no memory");
		return 0;
	}
	return 1;
}

int
confread_text(const char *text, size_t len, struct confrows *rows, struct err *err)
{
	struct source src = {.at = text, .end = text + len, .rows = rows, .err = err};
	int rc;

	memset(rows, 0, sizeof(*rows));
	if (len > CONF_TEXT_MAX)
		return err_set(err, ERR_LIMIT, "longer than %zu bytes", CONF_TEXT_MAX);
	rc = ini_parse_stream(give_line, &src, take_setting, &src);
	if (!src.failed && rc > 0) {
		src.line = (unsigned)rc;
		fail_line(&src, ERR_INVALID, "neither [section] nor name = value");
	} else if (!src.failed && rc < 0) {
		fail_line(&src, ERR_NOMEM, "no memory");
	}
	if (!src.failed)
		return 0;
	confrows_fini(rows);
	return -1;
}

void
confrows_fini(struct confrows *rows)
{
	size_t i;

	for (i = 0; i < rows->count; i++) {
		struct confrow *row = &rows->rows[i];

		mem_free(row->section);
		mem_free(row->name);
		if (row->value.cap > 0)
			explicit_bzero(row->value.data, row->value.cap);
		strbuf_fini(&row->value);
	}
	mem_free(rows->rows);
	memset(rows, 0, sizeof(*rows));
}
