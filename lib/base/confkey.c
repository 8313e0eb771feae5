/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confkey.c - the types of settings: text to value, value to text.
 *
 * New type?  A value in enum conf_type, a case in each switch here (the
 * compiler names the missing ones) and a row in tests/unit/test_conf.c.
 */
#include "base/confkey.h"

#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"

bool
confsection_is_family(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && name[len - 1] == ':';
}

static bool
has_range(const struct conf_key *key)
{
	return key->min != 0 || key->max != 0;
}

static bool
in_range(const struct conf_key *key, int64_t n)
{
	return !has_range(key) || (n >= key->min && n <= key->max);
}

/* one end of the range, in the spelling of the type */
static const char *
end_text(const struct conf_key *key, int64_t n, char buf[UNITS_TEXT_SIZE])
{
	if (key->type == CONF_DURATION)
		return units_duration_text(n, buf);
	if (key->type == CONF_SIZE)
		return units_size_text(n, buf);
	snprintf(buf, UNITS_TEXT_SIZE, "%lld", (long long)n);
	return buf;
}

static const char *
choices_text(const struct conf_key *key, char buf[CONF_RANGE_SIZE])
{
	size_t len = 0, i;

	buf[0] = '\0';
	for (i = 0; key->choices[i] != NULL && len < CONF_RANGE_SIZE; i++)
		len += (size_t)snprintf(buf + len, CONF_RANGE_SIZE - len, "%s%s",
		    i == 0 ? "" : (key->choices[i + 1] == NULL ? " or " : ", "),
		    key->choices[i]);
	return buf;
}

const char *
confkey_range(const struct conf_key *key, char buf[CONF_RANGE_SIZE])
{
	char low[UNITS_TEXT_SIZE], high[UNITS_TEXT_SIZE];
	const char *unit = key->unit != NULL ? key->unit : "";

	buf[0] = '\0';
	if (key->type == CONF_BOOL) {
		str_copy(buf, CONF_RANGE_SIZE, "yes or no");
		return buf;
	}
	if (key->type == CONF_ENUM)
		return choices_text(key, buf);
	if (!has_range(key))
		return buf;
	if (key->type == CONF_STRING)
		unit = "bytes";
	else if (key->type != CONF_INT)
		unit = ""; /* the values have theirs */
	end_text(key, key->min, low);
	end_text(key, key->max, high);
	if (key->max == INT64_MAX)
		snprintf(buf, CONF_RANGE_SIZE, "%s or more%s%s", low,
		    unit[0] ? " " : "", unit);
	else if (key->type == CONF_STRING && key->min == 0)
		snprintf(buf, CONF_RANGE_SIZE, "at most %s %s", high, unit);
	else
		snprintf(buf, CONF_RANGE_SIZE, "%s to %s%s%s", low, high,
		    unit[0] ? " " : "", unit);
	return buf;
}

static int
parse_bool(const char *text, int64_t *n)
{
	static const char *const words[2][4] = {
	    {"no", "false", "off", "0"}, {"yes", "true", "on", "1"}};
	int value, i;

	for (value = 0; value < 2; value++)
		for (i = 0; i < 4; i++)
			if (str_ieq(text, words[value][i])) {
				*n = value;
				return 0;
			}
	return -1;
}

static int
parse_choice(const struct conf_key *key, const char *text, int64_t *n)
{
	size_t i;

	for (i = 0; key->choices[i] != NULL; i++)
		if (str_eq(text, key->choices[i])) {
			*n = (int64_t)i;
			return 0;
		}
	return -1;
}

static int
parse_string(const struct conf_key *key, const char *text, struct confvalue *value,
    struct err *err)
{
	char range[CONF_RANGE_SIZE];
	const char *p;

	for (p = text; *p != '\0'; p++)
		if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
			return err_set(err, ERR_INVALID, "has a control character");
	if (!in_range(key, (int64_t)strlen(text)))
		return err_set(err, ERR_INVALID, "must have %s, not %zu",
		    confkey_range(key, range), strlen(text));
	value->text = mem_strdup(text);
	if (value->text == NULL)
		return err_set(err, ERR_NOMEM, "no memory");
	return 0;
}

int
confkey_parse(const struct conf_key *key, const char *text, struct confvalue *value,
    struct err *err)
{
	char range[CONF_RANGE_SIZE], shown[80];
	const char *wanted = "";
	int rc = -1;

	value->n = 0;
	value->text = value->file = NULL;
	switch (key->type) {
	case CONF_STRING:
		if (parse_string(key, text, value, err) != 0)
			return -1;
		/* a value of another source forgets the file of the one before */
		if (key->file_offset == 0 || (value->file = mem_strdup("")) != NULL)
			return 0;
		confvalue_fini(key, value);
		return err_set(err, ERR_NOMEM, "no memory");
	case CONF_DURATION:
		if (units_duration_ms(text, &value->n, err) != 0)
			return -1;
		rc = 0;
		break;
	case CONF_SIZE:
		if (units_size_bytes(text, &value->n, err) != 0)
			return -1;
		rc = 0;
		break;
	case CONF_INT:
		rc = str_to_i64(text, &value->n);
		wanted = "a whole number, ";
		break;
	case CONF_BOOL:
		rc = parse_bool(text, &value->n);
		break;
	case CONF_ENUM:
		rc = parse_choice(key, text, &value->n);
		break;
	}
	if (rc == 0 && (key->type == CONF_BOOL || key->type == CONF_ENUM ||
			   in_range(key, value->n)))
		return 0;
	str_printable(shown, sizeof(shown), text, strnlen(text, sizeof(shown)));
	confkey_range(key, range);
	if (range[0] == '\0')
		wanted = "a whole number";
	return err_set(err, ERR_INVALID, "must be %s%s, not '%s'", wanted, range,
	    key->flags & CONF_SECRET ? "********" : shown);
}

void
confvalue_fini(const struct conf_key *key, struct confvalue *value)
{
	if (value->text != NULL && (key->flags & CONF_SECRET) != 0)
		mem_free_secret(value->text, strlen(value->text));
	else
		mem_free(value->text);
	mem_free(value->file);
	value->text = value->file = NULL;
}

static char **
file_of(const struct conf_key *key, void *base)
{
	return (char **)(void *)((char *)base + key->file_offset);
}

void
confkey_store(const struct conf_key *key, void *base, struct confvalue *value)
{
	void *at = (char *)base + key->offset;

	switch (key->type) {
	case CONF_STRING:
		confkey_fini(key, base);
		*(char **)at = value->text;
		if (key->file_offset != 0)
			*file_of(key, base) = value->file;
		value->text = value->file = NULL;
		break;
	case CONF_BOOL:
		*(bool *)at = value->n != 0;
		break;
	case CONF_ENUM:
		*(int *)at = (int)value->n;
		break;
	case CONF_INT:
	case CONF_SIZE:
	case CONF_DURATION:
		*(int64_t *)at = value->n;
		break;
	}
}

void
confkey_fini(const struct conf_key *key, void *base)
{
	struct confvalue value = {.n = 0};
	char **at;

	if (key->type != CONF_STRING)
		return;
	at = (char **)(void *)((char *)base + key->offset);
	value.text = *at;
	*at = NULL;
	if (key->file_offset != 0) {
		value.file = *file_of(key, base);
		*file_of(key, base) = NULL;
	}
	confvalue_fini(key, &value);
}

void
confkey_show(const struct conf_key *key, const void *base, struct strbuf *out)
{
	const void *at = (const char *)base + key->offset;
	char buf[UNITS_TEXT_SIZE];
	const char *text;

	switch (key->type) {
	case CONF_STRING:
		text = *(char *const *)at;
		if (text == NULL)
			text = "";
		if ((key->flags & CONF_SECRET) != 0 && text[0] != '\0')
			text = "********";
		strbuf_puts(out, text);
		break;
	case CONF_BOOL:
		strbuf_puts(out, *(const bool *)at ? "yes" : "no");
		break;
	case CONF_ENUM:
		strbuf_puts(out, key->choices[*(const int *)at]);
		break;
	case CONF_INT:
		strbuf_printf(out, "%lld", (long long)*(const int64_t *)at);
		break;
	case CONF_SIZE:
		strbuf_puts(out, units_size_text(*(const int64_t *)at, buf));
		break;
	case CONF_DURATION:
		strbuf_puts(out, units_duration_text(*(const int64_t *)at, buf));
		break;
	}
}
