/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_conf.c - any bytes as a settings file: refused, or dumped and loaded to the
 * same.
 */
#include "fuzz.h"

#include <string.h>

#include "base/conf.h"
#include "base/mem.h"
#include "base/str.h"

struct family {
	char name[64];
	char *command;
	int64_t timeout_ms;
};

struct settings {
	char *text, *more;
	int64_t number, size, time_ms;
	bool flag;
	int choice;
	struct family families[2];
	size_t family_count;
};

static void *family_get(void *settings, const char *name, struct err *err);

static const char *const choices[] = {"one", "two", NULL};

static const struct conf_section sections[] = {
    {"a", "A.", NULL},
    {"b", "B.", NULL},
    {"f:", "F.", family_get},
};

#define S(member) offsetof(struct settings, member)
#define F(member) offsetof(struct family, member)

/* clang-format off */
static const struct conf_key keys[] = {
	{ .section = "a", .name = "text", .type = CONF_STRING, .offset = S(text), .def = "t" },
	{ .section = "a", .name = "more", .type = CONF_STRING, .offset = S(more), .def = "" },
	{ .section = "a", .name = "number", .type = CONF_INT, .offset = S(number), .def = "0" },
	{ .section = "b", .name = "size", .type = CONF_SIZE, .offset = S(size), .def = "1KiB" },
	{ .section = "b", .name = "time", .type = CONF_DURATION, .offset = S(time_ms), .def = "1h" },
	{ .section = "b", .name = "flag", .type = CONF_BOOL, .offset = S(flag), .def = "no" },
	{ .section = "b", .name = "choice", .type = CONF_ENUM, .offset = S(choice), .def = "two",
	  .choices = choices },
	{ .section = "f:", .name = "command", .type = CONF_STRING, .offset = F(command), .def = "" },
	{ .section = "f:", .name = "timeout", .type = CONF_DURATION, .offset = F(timeout_ms), .def = "5" },
};
/* clang-format on */

static const struct conf_schema schema = {
    sections, COUNT_OF(sections), keys, COUNT_OF(keys), "FUZZ_", NULL};

static void *
family_get(void *arg, const char *name, struct err *err)
{
	struct settings *s = arg;
	struct family *f;
	size_t i;

	for (i = 0; i < s->family_count; i++)
		if (str_eq(s->families[i].name, name))
			return &s->families[i];
	if (s->family_count == COUNT_OF(s->families)) {
		err_set(err, ERR_LIMIT, "too many");
		return NULL;
	}
	f = &s->families[s->family_count];
	FUZZ_CHECK(str_copy(f->name, sizeof(f->name), name));
	FUZZ_CHECK(conf_section_defaults(&schema, "f:", f, err) == 0);
	s->family_count++;
	return f;
}

static bool
load(struct settings *s, const char *text)
{
	struct err err = ERR_INIT;

	memset(s, 0, sizeof(*s));
	FUZZ_CHECK(conf_defaults(&schema, s, &err) == 0);
	if (conf_load_text(&schema, s, text, "fuzz", &err) == 0)
		return true;
	FUZZ_CHECK(str_starts(err.text, "fuzz: "));
	return false;
}

static void
unload(struct settings *s)
{
	size_t i;

	for (i = 0; i < s->family_count; i++)
		conf_section_fini(&schema, "f:", &s->families[i]);
	conf_fini(&schema, s);
}

static void
dump(const struct settings *s, struct strbuf *out)
{
	size_t i;

	strbuf_init(out, (size_t)8 << 20);
	conf_dump(&schema, s, out);
	for (i = 0; i < s->family_count; i++)
		conf_dump_section(
		    &schema, "f:", s->families[i].name, &s->families[i], out);
	FUZZ_CHECK(!strbuf_failed(out));
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *text = mem_dup(bytes, len);
	struct settings s, again;
	struct strbuf first, second;

	FUZZ_CHECK(text != NULL);
	if (load(&s, text)) {
		dump(&s, &first);
		/* such a value stands in a comment, which is no way back */
		if (strstr(first.data, "# a file cannot hold") == NULL) {
			FUZZ_CHECK(load(&again, first.data));
			dump(&again, &second);
			FUZZ_CHECK(str_eq(first.data, second.data));
			strbuf_fini(&second);
			unload(&again);
		}
		strbuf_fini(&first);
	}
	unload(&s);
	mem_free(text);
	return 0;
}
