/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf.c - from a source's names and texts into the caller's struct.
 *
 * Every source (file, environment, option) becomes a batch of settings: each name is
 * found in the table and each text parsed before the first one is stored.  What can
 * fail after that is only making a named section's struct.
 *
 * What one source gives twice is refused, because one of the two is a mistake;
 * NAME and NAME_file of a secret count as the same.  A later source simply wins.
 * Secrets never appear in a message, and are overwritten before their memory is
 * given back.
 *
 * Files as text are confread.c, types of values confkey.c, output confdoc.c.
 */
#include "base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/confkey.h"
#include "base/confread.h"
#include "base/mem.h"
#include "base/str.h"

#define SECRET_MAX 4096 /* bytes of the line in a NAME_file */

struct setting {
	const struct conf_section *section;
	/* NAME of [type:NAME], borrowed; NULL: plain section */
	const char *family_name;
	const struct conf_key *key; /* NULL: a header, which makes a named section */
	struct confvalue value;
	const char *secret_file; /* where the value was read, borrowed; NULL: here */
	unsigned line;		 /* 0: not from a file */
};

struct batch {
	const struct conf_schema *cs;
	struct setting *items;
	size_t count, cap;
};

/* ---- names ------------------------------------------------------------------- */

static const struct conf_section *
find_section(const struct conf_schema *cs, const char *name, const char **family_name)
{
	size_t i;

	for (i = 0; i < cs->section_count; i++) {
		const char *known = cs->sections[i].name;

		*family_name = NULL;
		if (confsection_is_family(known)) {
			if (!str_starts(name, known) || name[strlen(known)] == '\0')
				continue;
			*family_name = name + strlen(known);
			return &cs->sections[i];
		}
		if (str_eq(name, known))
			return &cs->sections[i];
	}
	return NULL;
}

/* the distance to a family's name counts only up to the colon */
static unsigned
section_distance(const char *name, const char *known)
{
	char head[64];
	const char *colon = strchr(name, ':');

	if (!confsection_is_family(known) || colon == NULL)
		return str_distance(name, known);
	str_copy(head, sizeof(head), name);
	if ((size_t)(colon - name) + 1 < sizeof(head))
		head[colon - name + 1] = '\0';
	return str_distance(head, known);
}

static int
unknown_section(const struct conf_schema *cs, const char *name, struct err *err)
{
	const char *nearest = NULL;
	unsigned best = 0;
	char shown[64];
	size_t i;

	for (i = 0; i < cs->section_count; i++) {
		unsigned distance = section_distance(name, cs->sections[i].name);

		if (nearest == NULL || distance < best) {
			nearest = cs->sections[i].name;
			best = distance;
		}
	}
	str_printable(shown, sizeof(shown), name, strlen(name));
	return err_set(err, ERR_INVALID, "unknown section [%s]; the nearest is [%s%s]",
	    shown, nearest != NULL ? nearest : "",
	    nearest != NULL && confsection_is_family(nearest) ? "NAME" : "");
}

/* text is NAME_file of this secret */
static bool
is_secret_file(const struct conf_key *key, const char *text)
{
	size_t len = strlen(key->name);

	return (key->flags & CONF_SECRET) != 0 && strncmp(text, key->name, len) == 0 &&
	       str_eq(text + len, "_file");
}

/* exact names go before NAME_file, so that a key may be named like that itself */
static const struct conf_key *
find_key(const struct conf_schema *cs, const char *section, const char *name,
    bool *from_file)
{
	const struct conf_key *found = NULL;
	size_t i;

	for (i = 0; i < cs->key_count; i++) {
		const struct conf_key *key = &cs->keys[i];

		if (!str_eq(key->section, section))
			continue;
		if (str_eq(key->name, name)) {
			*from_file = false;
			return key;
		}
		if (is_secret_file(key, name)) {
			*from_file = true;
			found = key;
		}
	}
	return found;
}

static int
unknown_key(const struct conf_schema *cs, const char *section, const char *name,
    struct err *err)
{
	const char *nearest = NULL;
	unsigned best = 0;
	char shown[64];
	size_t i;

	for (i = 0; i < cs->key_count; i++) {
		unsigned distance;

		if (!str_eq(cs->keys[i].section, section))
			continue;
		distance = str_distance(name, cs->keys[i].name);
		if (nearest == NULL || distance < best) {
			nearest = cs->keys[i].name;
			best = distance;
		}
	}
	str_printable(shown, sizeof(shown), name, strlen(name));
	return err_set(err, ERR_INVALID,
	    "unknown setting '%s' in [%s%s]; the nearest is '%s'", shown, section,
	    confsection_is_family(section) ? "..." : "",
	    nearest != NULL ? nearest : "");
}

/* ---- whole files ------------------------------------------------------------- */

/* up to max bytes into a new block with a NUL behind; more is ERR_LIMIT */
static int
read_all(const char *path, size_t max, char **bytes, size_t *len, struct err *err)
{
	char *block;
	size_t have = 0;
	ssize_t n;
	int fd, saved;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_errno(err, errno, "cannot open %s", path);
	block = mem_alloc(max + 2);
	if (block == NULL) {
		close(fd);
		return err_set(err, ERR_NOMEM, "no memory to read %s", path);
	}
	do {
		n = read(fd, block + have, max + 1 - have);
		if (n > 0)
			have += (size_t)n;
	} while ((n > 0 && have <= max) || (n < 0 && errno == EINTR));
	saved = errno;
	close(fd);
	if (n < 0 || have > max) {
		mem_free_secret(block, have);
		if (n < 0)
			return err_errno(err, saved, "cannot read %s", path);
		return err_set(
		    err, ERR_LIMIT, "%s is longer than %zu bytes", path, max);
	}
	block[have] = '\0';
	*bytes = block;
	*len = have;
	return 0;
}

/*
 * The one line of a secret's file, into a new block (mem_free_secret with *size).
 */
static int
read_secret(const char *path, char **secret, size_t *size, struct err *err)
{
	char *line;
	size_t len, all;

	if (path[0] == '\0')
		return err_set(err, ERR_INVALID, "the path of the file is empty");
	if (read_all(path, SECRET_MAX, &line, &all, err) != 0)
		return -1;
	len = all;
	if (len > 0 && line[len - 1] == '\n')
		len--;
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (memchr(line, '\n', len) != NULL || memchr(line, '\0', len) != NULL) {
		mem_free_secret(line, all);
		return err_set(err, ERR_INVALID, "%s must hold one line of text", path);
	}
	line[len] = '\0';
	*secret = line;
	*size = all;
	return 0;
}

int
conf_refresh_secret(const char *path, char **kept, struct err *err)
{
	char *now;
	size_t size;

	if (read_secret(path, &now, &size, err) != 0)
		return -1;
	if (*kept != NULL)
		mem_free_secret(*kept, strlen(*kept));
	*kept = now;
	return 0;
}

/* ---- batches ----------------------------------------------------------------- */

static void
batch_fini(struct batch *b)
{
	size_t i;

	for (i = 0; i < b->count; i++)
		if (b->items[i].key != NULL)
			confvalue_fini(b->items[i].key, &b->items[i].value);
	mem_free(b->items);
}

static struct setting *
batch_room(struct batch *b, struct err *err)
{
	struct setting *more;
	size_t cap = b->cap > 0 ? 2 * b->cap : 32;

	if (b->count == b->cap) {
		more = mem_resize(b->items, cap, sizeof(*more));
		if (more == NULL) {
			err_set(err, ERR_NOMEM, "no memory");
			return NULL;
		}
		b->items = more;
		b->cap = cap;
	}
	return &b->items[b->count];
}

static int
check_twice(
    const struct batch *b, const struct setting *s, const char *name, struct err *err)
{
	size_t i;

	for (i = 0; i < b->count; i++) {
		const struct setting *old = &b->items[i];

		if (old->key != s->key)
			continue;
		if (s->family_name != NULL && !str_eq(old->family_name, s->family_name))
			continue;
		if (old->line > 0)
			return err_set(err, ERR_INVALID,
			    "'%s' is given twice, first in line %u", name, old->line);
		return err_set(err, ERR_INVALID, "'%s' is given twice", name);
	}
	return 0;
}

static int
parse_setting(const struct conf_key *key, bool from_file, const char *text,
    struct confvalue *value, struct err *err)
{
	char *secret = NULL; /* gcc does not know that err_set is never 0 */
	size_t size = 0;
	int rc;

	if (!from_file)
		return confkey_parse(key, text, value, err);
	if (read_secret(text, &secret, &size, err) != 0)
		return -1;
	rc = confkey_parse(key, secret, value, err);
	mem_free_secret(secret, size);
	if (rc == 0 && key->file_offset != 0) {
		mem_free(value->file);
		value->file = mem_strdup(text);
		if (value->file == NULL) {
			confvalue_fini(key, value);
			return err_set(err, ERR_NOMEM, "no memory");
		}
	}
	return rc;
}

/* section_name and text are borrowed until the batch is stored; name NULL: only the
 * header */
static int
batch_add(struct batch *b, const char *section_name, const char *name, const char *text,
    unsigned line, struct err *err)
{
	struct setting *s = batch_room(b, err);
	bool from_file = false;

	if (s == NULL)
		return -1;
	memset(s, 0, sizeof(*s));
	s->line = line;
	s->section = find_section(b->cs, section_name, &s->family_name);
	if (s->section == NULL)
		return unknown_section(b->cs, section_name, err);
	if (name != NULL) {
		s->key = find_key(b->cs, s->section->name, name, &from_file);
		if (s->key == NULL)
			return unknown_key(b->cs, s->section->name, name, err);
		if (check_twice(b, s, name, err) != 0)
			return -1;
		if (parse_setting(s->key, from_file, text, &s->value, err) != 0)
			return err_wrap(err, "[%s] %s", section_name, name);
		s->secret_file = from_file ? text : NULL;
	}
	b->count++;
	return 0;
}

static int
batch_store(struct batch *b, void *settings, struct err *err)
{
	size_t i;

	for (i = 0; i < b->count; i++) {
		struct setting *s = &b->items[i];
		void *base = settings;

		if (s->family_name != NULL) {
			base = s->section->get(settings, s->family_name, err);
			if (base == NULL && s->line > 0)
				return err_wrap(err, "line %u", s->line);
			if (base == NULL)
				return -1;
		}
		if (s->key != NULL)
			confkey_store(s->key, base, &s->value);
		if (s->secret_file != NULL && b->cs->secret_file != NULL &&
		    b->cs->secret_file(
			settings, s->key, s->family_name, s->secret_file, err) != 0)
			return -1;
	}
	return 0;
}

/* ---- defaults ---------------------------------------------------------------- */

static int
set_defaults(
    const struct conf_schema *cs, const char *family, void *base, struct err *err)
{
	size_t i;

	for (i = 0; i < cs->key_count; i++) {
		const struct conf_key *key = &cs->keys[i];
		struct confvalue value;

		if (family == NULL ? confsection_is_family(key->section)
				   : !str_eq(key->section, family))
			continue;
		if (confkey_parse(key, key->def != NULL ? key->def : "", &value, err) !=
		    0) {
			if (err != NULL && err->code == ERR_INVALID)
				err->code = ERR_BUG; /* our table's, not the user's */
			return err_wrap(
			    err, "default of [%s] %s", key->section, key->name);
		}
		confkey_store(key, base, &value);
	}
	return 0;
}

int
conf_defaults(const struct conf_schema *cs, void *settings, struct err *err)
{
	return set_defaults(cs, NULL, settings, err);
}

int
conf_section_defaults(
    const struct conf_schema *cs, const char *family, void *section, struct err *err)
{
	return set_defaults(cs, family, section, err);
}

static void
free_strings(const struct conf_schema *cs, const char *family, void *base)
{
	size_t i;

	for (i = 0; i < cs->key_count; i++)
		if (family == NULL ? !confsection_is_family(cs->keys[i].section)
				   : str_eq(cs->keys[i].section, family))
			confkey_fini(&cs->keys[i], base);
}

void
conf_fini(const struct conf_schema *cs, void *settings)
{
	free_strings(cs, NULL, settings);
}

void
conf_section_fini(const struct conf_schema *cs, const char *family, void *section)
{
	free_strings(cs, family, section);
}

/* ---- sources ----------------------------------------------------------------- */

static int
load_bytes(const struct conf_schema *cs, void *settings, const char *bytes, size_t len,
    struct err *err)
{
	struct batch batch = {.cs = cs};
	struct confrows rows;
	size_t i;
	int rc = 0;

	if (confread_text(bytes, len, &rows, err) != 0)
		return -1;
	for (i = 0; i < rows.count && rc == 0; i++) {
		struct confrow *row = &rows.rows[i];

		rc = batch_add(
		    &batch, row->section, row->name, row->value.data, row->line, err);
		if (rc != 0)
			err_wrap(err, "line %u", row->line);
	}
	if (rc == 0)
		rc = batch_store(&batch, settings, err);
	batch_fini(&batch);
	confrows_fini(&rows);
	return rc;
}

int
conf_load_text(const struct conf_schema *cs, void *settings, const char *text,
    const char *name, struct err *err)
{
	if (load_bytes(cs, settings, text, strlen(text), err) != 0)
		return err_wrap(err, "%s", name);
	return 0;
}

int
conf_load_file(
    const struct conf_schema *cs, void *settings, const char *path, struct err *err)
{
	char *bytes;
	size_t len;
	int rc;

	if (read_all(path, CONF_TEXT_MAX, &bytes, &len, err) != 0)
		return -1;
	rc = load_bytes(cs, settings, bytes, len, err);
	mem_free_secret(bytes, len);
	if (rc != 0)
		return err_wrap(err, "%s", path);
	return 0;
}

/* what is left of text behind word in capitals; NULL if it does not begin so */
static const char *
after_upper(const char *text, const char *word)
{
	for (; *word != '\0'; word++, text++) {
		char c =
		    *word >= 'a' && *word <= 'z' ? (char)(*word - 'a' + 'A') : *word;

		if (*text != c)
			return NULL;
	}
	return text;
}

/* the variable behind the prefix, up to its '=' */
static int
add_variable(struct batch *b, const char *variable, const char *value, struct err *err)
{
	const char *section = NULL;
	char name[128];
	size_t i, len = (size_t)(value - 1 - variable);
	bool from_file;

	for (i = 0; i < b->cs->section_count; i++) {
		const char *rest = after_upper(variable, b->cs->sections[i].name);
		size_t at;

		if (rest == NULL || *rest != '_' ||
		    confsection_is_family(b->cs->sections[i].name))
			continue;
		rest++;
		/* keys are lower case in the table, so this is the way back */
		for (at = 0; rest + at < variable + len && at + 1 < sizeof(name);
		     at++) {
			char c = rest[at];

			if (c >= 'a' && c <= 'z')
				c = '?'; /* a lower-case variable is another one */
			name[at] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
		}
		name[at] = '\0';
		section = b->cs->sections[i].name;
		if (find_key(b->cs, section, name, &from_file) != NULL)
			break;
	}
	if (section == NULL)
		return 0; /* somebody else's */
	return batch_add(b, section, name, value, 0, err);
}

int
conf_load_env(
    const struct conf_schema *cs, void *settings, char *const env[], struct err *err)
{
	struct batch batch = {.cs = cs};
	size_t prefix_len = strlen(cs->env_prefix);
	int rc = 0;

	for (; *env != NULL && rc == 0; env++) {
		const char *equals = strchr(*env, '=');

		if (equals == NULL || !str_starts(*env, cs->env_prefix) ||
		    (size_t)(equals - *env) < prefix_len)
			continue;
		rc = add_variable(&batch, *env + prefix_len, equals + 1, err);
		if (rc != 0)
			err_wrap(err, "environment: %.*s", (int)(equals - *env), *env);
	}
	if (rc == 0)
		rc = batch_store(&batch, settings, err);
	batch_fini(&batch);
	return rc;
}

int
conf_set_option(
    const struct conf_schema *cs, void *settings, const char *option, struct err *err)
{
	struct batch batch = {.cs = cs};
	const char *equals = strchr(option, '=');
	const char *dot = NULL;
	char *section;
	int rc;

	if (equals != NULL)
		dot = memrchr(option, '.', (size_t)(equals - option));
	if (dot == NULL || dot == option || dot + 1 == equals)
		return err_set(err, ERR_INVALID, "an option is section.name=value");
	/* one copy, cut into section and name */
	section = mem_dup(option, (size_t)(equals - option));
	if (section == NULL)
		return err_set(err, ERR_NOMEM, "no memory");
	section[dot - option] = '\0';
	rc = batch_add(
	    &batch, section, section + (dot - option) + 1, equals + 1, 0, err);
	if (rc == 0)
		rc = batch_store(&batch, settings, err);
	batch_fini(&batch);
	mem_free(section);
	if (rc != 0)
		return err_wrap(err, "option");
	return 0;
}
