/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_conf.c - settings arrive whole or not at all, and mistakes are named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/conf.h"
#include "base/mem.h"
#include "base/str.h"

#define TYPES_MAX 3

struct type {
	char name[32];
	char *command;
	int64_t timeout_ms;
};

struct settings {
	char *host;
	char *motto;
	char *password;
	char *password_from;
	bool tls;
	int64_t workers;
	int64_t any;
	int64_t body_limit;
	int64_t grace_ms;
	int level;
	struct type types[TYPES_MAX];
	size_t type_count;
};

static const char *const levels[] = {"error", "warn", "info", NULL};

static void *type_get(void *settings, const char *name, struct err *err);

static const struct conf_section sections[] = {
    {"node", "The node. Two sentences of help.", NULL},
    {"http", "HTTP.", NULL},
    {"type:", "One a task type.", type_get},
};

#define S(member) offsetof(struct settings, member)
#define T(member) offsetof(struct type, member)

/* clang-format off */
static const struct conf_key keys[] = {
	{ .section = "node", .name = "host", .type = CONF_STRING, .offset = S(host),
	  .def = "localhost", .min = 1, .max = 20, .help = "Where." },
	{ .section = "node", .name = "motto", .type = CONF_STRING, .offset = S(motto), .def = "",
	  .help = "A sentence that is so long that it has to be broken into more lines than one by whoever prints it for people." },
	{ .section = "node", .name = "password", .type = CONF_STRING, .offset = S(password),
	  .def = "", .max = 30, .flags = CONF_SECRET, .file_offset = S(password_from), .help = "Secret." },
	{ .section = "node", .name = "workers", .type = CONF_INT, .offset = S(workers),
	  .def = "4", .min = 1, .max = 64, .unit = "processes", .flags = CONF_RELOAD, .help = "How many." },
	{ .section = "node", .name = "any", .type = CONF_INT, .offset = S(any), .def = "-7", .help = "Any." },
	{ .section = "node", .name = "level", .type = CONF_ENUM, .offset = S(level),
	  .def = "info", .choices = levels, .help = "How much." },
	{ .section = "http", .name = "tls", .type = CONF_BOOL, .offset = S(tls), .def = "no", .help = "TLS." },
	{ .section = "http", .name = "body_limit", .type = CONF_SIZE, .offset = S(body_limit),
	  .def = "1MiB", .min = 1024, .max = 64 << 20, .help = "Body." },
	{ .section = "http", .name = "grace", .type = CONF_DURATION, .offset = S(grace_ms),
	  .def = "30s", .min = 0, .max = INT64_MAX, .help = "Grace." },
	{ .section = "type:", .name = "command", .type = CONF_STRING, .offset = T(command), .def = "", .help = "Command." },
	{ .section = "type:", .name = "timeout", .type = CONF_DURATION, .offset = T(timeout_ms),
	  .def = "1min", .min = 1, .max = 86400000, .help = "Timeout." },
};
/* clang-format on */

static const struct conf_schema schema = {
    sections, COUNT_OF(sections), keys, COUNT_OF(keys), "TESTD_", NULL};

static void *
type_get(void *arg, const char *name, struct err *err)
{
	struct settings *s = arg;
	struct type *t;
	size_t i;

	for (i = 0; i < s->type_count; i++)
		if (str_eq(s->types[i].name, name))
			return &s->types[i];
	if (s->type_count == TYPES_MAX) {
		err_set(err, ERR_LIMIT, "too many types");
		return NULL;
	}
	t = &s->types[s->type_count];
	memset(t, 0, sizeof(*t));
	if (conf_section_defaults(&schema, "type:", t, err) != 0) {
		conf_section_fini(&schema, "type:", t);
		return NULL;
	}
	str_copy(t->name, sizeof(t->name), name);
	s->type_count++;
	return t;
}

static void
settings_fini(struct settings *s)
{
	size_t i;

	for (i = 0; i < s->type_count; i++)
		conf_section_fini(&schema, "type:", &s->types[i]);
	conf_fini(&schema, s);
}

static void
settings_init(struct settings *s)
{
	struct err err = ERR_INIT;

	memset(s, 0, sizeof(*s));
	if (conf_defaults(&schema, s, &err) != 0)
		fail_msg("%s", err.text);
}

static void
loads(struct settings *s, const char *text)
{
	struct err err = ERR_INIT;

	settings_init(s);
	if (conf_load_text(&schema, s, text, "test.conf", &err) != 0)
		fail_msg("%s\n%s", text, err.text);
}

static void
defaults_go_through_the_same_parser(void **state)
{
	struct settings s;

	(void)state;
	settings_init(&s);
	assert_string_equal(s.host, "localhost");
	assert_string_equal(s.motto, "");
	assert_int_equal(s.workers, 4);
	assert_int_equal(s.any, -7);
	assert_int_equal(s.level, 2);
	assert_false(s.tls);
	assert_int_equal(s.body_limit, 1 << 20);
	assert_int_equal(s.grace_ms, 30000);
	settings_fini(&s);
	assert_null(s.host);
}

static void
file_sets_every_type_of_value(void **state)
{
	struct settings s;

	(void)state;
	loads(&s, "\xef\xbb\xbf# comment\r\n"
		  "; comment\n"
		  "\n"
		  "[node] ; comment\n"
		  "host = db.example.com ; comment\n"
		  "motto: redis://u:p#1@h;x\n"
		  "   # a comment between\n"
		  "\tgoes on   ; comment\n"
		  "   and on\n"
		  "workers=64\n"
		  "level = warn\n"
		  "[http]\n"
		  "  tls = ON\n"
		  "body_limit = 64KiB\r\n"
		  "[type:wordcount]\n"
		  "command = /usr/bin/wc -w\n"
		  "timeout = 90s\n"
		  "[node]\n"
		  "any = -9223372036854775808\n"
		  "[type:empty]\n"
		  "[http]\n"
		  "grace = 0");
	assert_string_equal(s.host, "db.example.com");
	assert_string_equal(s.motto, "redis://u:p#1@h;x goes on and on");
	assert_int_equal(s.workers, 64);
	assert_int_equal(s.level, 1);
	assert_true(s.tls);
	assert_int_equal(s.body_limit, 65536);
	assert_int_equal(s.grace_ms, 0);
	assert_int_equal(s.any, INT64_MIN);
	assert_int_equal(s.type_count, 2);
	assert_string_equal(s.types[0].name, "wordcount");
	assert_string_equal(s.types[0].command, "/usr/bin/wc -w");
	assert_int_equal(s.types[0].timeout_ms, 90000);
	assert_string_equal(s.types[1].name, "empty");
	assert_int_equal(s.types[1].timeout_ms, 60000);
	settings_fini(&s);
}

static void
continuation_may_begin_with_an_address_in_brackets(void **state)
{
	struct settings s;

	(void)state;
	loads(&s, "[node]\nmotto = 0.0.0.0:80,\n    [::]:80\n");
	assert_string_equal(s.motto, "0.0.0.0:80, [::]:80");
	settings_fini(&s);
	loads(&s, "[node]\nmotto =\n    begins below\nworkers = 3\n");
	assert_string_equal(s.motto, "begins below");
	settings_fini(&s);
}

#define TEN   "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static void
mistakes_are_refused_and_named(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
	    {"[nod]\nhost = a\n",
		"line 1: unknown section [nod]; the nearest is [node]"},
	    {"[typ:x]\n",
		"line 1: unknown section [typ:x]; the nearest is [type:NAME]"},
	    {"[type:]\n",
		"line 1: unknown section [type:]; the nearest is [type:NAME]"},
	    {"[node]\n\nwokers = 3\n",
		"line 3: unknown setting 'wokers' in [node]; the nearest is 'workers'"},
	    {"[http]\nworkers = 3\n",
		"line 2: unknown setting 'workers' in [http]; the nearest is 'tls'"},
	    {"[type:a]\ntimout = 3\n", "line 2: unknown setting 'timout' in "
				       "[type:...]; the nearest is 'timeout'"},
	    {"[node]\nhost_file = /x\n",
		"line 2: unknown setting 'host_file' in [node]; the nearest is 'host'"},
	    {"[node]\nworkers = 3\nhost = a\nworkers = 4\n",
		"line 4: 'workers' is given twice, first in line 2"},
	    {"[node]\nworkers = 3\n[http]\n[node]\nworkers = 4\n",
		"line 5: 'workers' is given twice, first in line 2"},
	    {"[type:a]\ntimeout = 3\n[type:b]\ntimeout = 3\n[type:a]\ntimeout = 3\n",
		"line 6: 'timeout' is given twice, first in line 2"},
	    {"workers = 3\n", "line 1: a setting before the first [section]"},
	    {"[node]\nworkers\n", "line 2: neither [section] nor name = value"},
	    {"[node]\nhost = a\nrubbish\nworkers = 9\n",
		"line 3: neither [section] nor name = value"},
	    {"[node]\n= 3\n", "line 2: a name is missing"},
	    {"[node\n", "line 1: a section header is [name]"},
	    {"[]\n", "line 1: a section header is [name]"},
	    {"[node] workers = 3\n", "line 1: something follows the section's name"},
	    {"[node ;]\n", "line 1: the name of a section has no semicolon"},
	    {"[type:" FIFTY "]\n",
		"line 1: the name of a section has at most 49 bytes"},
	    {"[node]\nhost = a\n  [http]\n", "line 3: an indented [section] would "
					     "continue the value before it: take the "
					     "white space away"},
	    {"[node]\nmotto = " FIFTY FIFTY FIFTY FIFTY "\nhost = a\n",
		"line 2: longer than 199 bytes: go on in the next line, indented"},
	    {"[node]\nmotto = a\x01\n", "line 2: control character"},
	    {"[node]\nmotto = a\rb\n", "line 2: control character"},
	    {"[node]\nworkers = many\n", "line 2: [node] workers: must be a whole "
					 "number, 1 to 64 processes, not "
					 "'many'"},
	    {"[node]\nworkers = 65\n", "line 2: [node] workers: must be a whole "
				       "number, 1 to 64 processes, not "
				       "'65'"},
	    {"[node]\nworkers = 4\n  5\n", "line 2: [node] workers: must be a whole "
					   "number, 1 to 64 processes, not '4 "
					   "5'"},
	    {"[node]\nany =\n", "line 2: [node] any: must be a whole number, not ''"},
	    {"[node]\nhost =\n", "line 2: [node] host: must have 1 to 20 bytes, not 0"},
	    {"[node]\nlevel = loud\n",
		"line 2: [node] level: must be error, warn or info, not 'loud'"},
	    {"[http]\ntls = perhaps\n",
		"line 2: [http] tls: must be yes or no, not 'perhaps'"},
	    {"[http]\nbody_limit = 1023\n",
		"line 2: [http] body_limit: must be 1KiB to 64MiB, not '1023'"},
	    {"[http]\ngrace = 1 s\n", "line 2: [http] grace: '1 s' is no duration: "
				      "write a whole number and ms, s, "
				      "min, h or d, such as 30s"},
	    {"[node]\npassword = " TEN TEN TEN "!\n",
		"line 2: [node] password: must have at most 30 bytes, not 31"},
	    {"[node]\npassword_file =\n",
		"line 2: [node] password_file: the path of the file is empty"},
	    {"[type:a]\n[type:b]\n[type:c]\n[type:d]\n", "line 4: too many types"},
	};
	size_t i, wrong = 0;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		struct settings s;
		struct err err = ERR_INIT;
		char wanted[400];

		settings_init(&s);
		snprintf(wanted, sizeof(wanted), "t.conf: %s", rows[i].message);
		if (conf_load_text(&schema, &s, rows[i].text, "t.conf", &err) == 0 ||
		    !str_eq(err.text, wanted)) {
			print_error("%s\n  is:     %s\n  wanted: %s\n", rows[i].text,
			    err.text, wanted);
			wrong++;
		}
		if (s.workers != 4 || !str_eq(s.host, "localhost")) {
			print_error("%s: something was kept\n", rows[i].text);
			wrong++;
		}
		settings_fini(&s);
	}
	assert_int_equal(wrong, 0);
}

static void
line_of_199_bytes_arrives_whole(void **state)
{
	struct settings s;
	char text[400], wanted[192];

	(void)state;
	memset(wanted, 'x', 191);
	wanted[191] = '\0';
	snprintf(text, sizeof(text), "[node]\nmotto = %s\nworkers = 9\n", wanted);
	loads(&s, text);
	assert_string_equal(s.motto, wanted);
	assert_int_equal(s.workers, 9);
	settings_fini(&s);
	/* the same as the last line, without a newline */
	snprintf(text, sizeof(text), "[node]\nmotto = %s", wanted);
	loads(&s, text);
	assert_string_equal(s.motto, wanted);
	settings_fini(&s);
}

static void
value_and_file_have_a_ceiling(void **state)
{
	static char text[1100000];
	struct settings s;
	struct err err = ERR_INIT;
	size_t len;

	(void)state;
	settings_init(&s);
	len = (size_t)snprintf(text, sizeof(text), "[node]\nmotto = a\n");
	while (len < 40000)
		len +=
		    (size_t)snprintf(text + len, sizeof(text) - len, "    %s\n", FIFTY);
	assert_int_equal(conf_load_text(&schema, &s, text, "x", &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	assert_non_null(strstr(err.text, "the value is too long"));
	memset(text, '#', sizeof(text) - 1);
	assert_int_equal(conf_load_text(&schema, &s, text, "x", &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	settings_fini(&s);
}

/* the real ones are no literals, hence the cast */
static int
load_env(struct settings *s, const char *const env[], struct err *err)
{
	return conf_load_env(&schema, s, (char *const *)env, err);
}

static void
environment_sets_plain_sections_only(void **state)
{
	static const char *const env[] = {"PATH=/bin", "TESTD_NODE_WORKERS=8",
	    "TESTD_HTTP_BODY_LIMIT=2MiB", "TESTD_CONFIG=whatever",
	    "TESTD_NODE_MOTTO=a ; b=c", "TESTD_=", "TESTD", "TESTD_TYPE_A=1", NULL};
	static const char *const unknown[] = {"TESTD_HTTP_BODYLIMIT=1", NULL};
	static const char *const lower[] = {"TESTD_NODE_workers=1", NULL};
	static const char *const bad[] = {
	    "TESTD_NODE_WORKERS=1", "TESTD_NODE_LEVEL=x", NULL};
	static const char *const twice[] = {
	    "TESTD_NODE_PASSWORD=x", "TESTD_NODE_PASSWORD_FILE=/x", NULL};
	struct settings s;
	struct err err = ERR_INIT;

	(void)state;
	loads(&s, "[node]\nworkers = 2\n");
	assert_int_equal(load_env(&s, env, &err), 0);
	assert_int_equal(s.workers, 8);
	assert_int_equal(s.body_limit, 2 << 20);
	assert_string_equal(s.motto, "a ; b=c");
	assert_int_equal(load_env(&s, unknown, &err), -1);
	assert_string_equal(err.text,
	    "environment: TESTD_HTTP_BODYLIMIT: unknown setting "
	    "'bodylimit' in [http]; the nearest is 'body_limit'");
	assert_int_equal(load_env(&s, lower, &err), -1);
	assert_int_equal(load_env(&s, bad, &err), -1);
	assert_int_equal(s.workers, 8);
	assert_int_equal(load_env(&s, twice, &err), -1);
	settings_fini(&s);
}

static void
option_names_section_and_key(void **state)
{
	static const char *const bad[] = {"", "=", "workers=3", "node.workers",
	    ".workers=3", "node.=3", "node.workers=x", "node.wokers=3", "nod.workers=3",
	    "type:.command=x", "type:x.comand=y"};
	struct settings s;
	struct err err = ERR_INIT;
	size_t i;

	(void)state;
	settings_init(&s);
	assert_int_equal(conf_set_option(&schema, &s, "node.workers=12", &err), 0);
	assert_int_equal(s.workers, 12);
	assert_int_equal(conf_set_option(&schema, &s, "node.motto=", &err), 0);
	assert_string_equal(s.motto, "");
	assert_int_equal(
	    conf_set_option(&schema, &s, "type:a.b.command=/bin/x --y=1.2", &err), 0);
	assert_string_equal(s.types[0].name, "a.b");
	assert_string_equal(s.types[0].command, "/bin/x --y=1.2");
	for (i = 0; i < COUNT_OF(bad); i++)
		if (conf_set_option(&schema, &s, bad[i], &err) == 0)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(s.workers, 12);
	assert_int_equal(s.type_count, 1);
	settings_fini(&s);
}

/* a file with these bytes; path is a template as mkstemp wants it */
static void
write_file(char *path, const char *bytes, size_t len)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static void
secret_comes_from_one_line_of_a_file(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *secret; /* NULL: refused */
	} rows[] = {
	    {"abc ;x", 6, "abc ;x"},
	    {"abc ;x\n", 7, "abc ;x"},
	    {" abc\r\n", 6, " abc"},
	    {"", 0, ""},
	    {"a\nb\n", 4, NULL},
	    {"a\n\n", 3, NULL},
	    {"a\0b", 3, NULL},
	    {TEN TEN TEN TEN, 40, NULL},
	};
	struct settings s;
	struct err err = ERR_INIT;
	char text[200];
	size_t i;

	(void)state;
	for (i = 0; i < COUNT_OF(rows); i++) {
		char path[] = "conf-secret-XXXXXX";

		write_file(path, rows[i].bytes, rows[i].len);
		snprintf(text, sizeof(text), "[node]\npassword_file = %s\n", path);
		settings_init(&s);
		if (rows[i].secret != NULL) {
			assert_int_equal(
			    conf_load_text(&schema, &s, text, "x", &err), 0);
			assert_string_equal(s.password, rows[i].secret);
			snprintf(text, sizeof(text),
			    "[node]\npassword = a\npassword_file = %s\n", path);
			assert_int_equal(
			    conf_load_text(&schema, &s, text, "x", &err), -1);
		} else {
			assert_int_equal(
			    conf_load_text(&schema, &s, text, "x", &err), -1);
			assert_null(strstr(err.text, TEN));
		}
		settings_fini(&s);
		unlink(path);
	}
	settings_init(&s);
	assert_int_equal(
	    conf_set_option(&schema, &s, "node.password_file=/nowhere/x", &err), -1);
	assert_non_null(strstr(err.text, "/nowhere/x: No such file"));
	settings_fini(&s);
}

static void
file_is_read_whole(void **state)
{
	char path[] = "conf-file-XXXXXX";
	struct settings s;
	struct err err = ERR_INIT;

	(void)state;
	write_file(path, "[node]\nworkers = 7\n", 19);
	settings_init(&s);
	assert_int_equal(conf_load_file(&schema, &s, path, &err), 0);
	assert_int_equal(s.workers, 7);
	unlink(path);
	assert_int_equal(conf_load_file(&schema, &s, path, &err), -1);
	assert_int_equal(conf_load_file(&schema, &s, ".", &err), -1);
	strcpy(path, "conf-file-XXXXXX");
	write_file(path, "[node]\nworkers\0 = 7\n", 20);
	assert_int_equal(conf_load_file(&schema, &s, path, &err), -1);
	assert_non_null(strstr(err.text, "line 2: control character"));
	unlink(path);
	settings_fini(&s);
}

static void
dump_can_be_loaded_and_masks_secrets(void **state)
{
	struct settings s, again;
	struct strbuf out, second;
	struct err err = ERR_INIT;
	char option[700];
	int i;

	(void)state;
	loads(&s, "[node]\npassword = hunter2\nlevel = error\n[http]\ntls = yes\n"
		  "[type:wc]\ncommand = /usr/bin/wc -w\n");
	snprintf(option, sizeof(option), "node.motto=%s #a %s [b] %s ;", FIFTY, FIFTY,
	    FIFTY);
	option[strlen(option) - 2] = '\0';
	for (i = 0; i < 8; i++)
		snprintf(option + strlen(option), sizeof(option) - strlen(option),
		    " %s", FIFTY);
	assert_int_equal(conf_set_option(&schema, &s, option, &err), 0);
	strbuf_init(&out, 10000);
	strbuf_init(&second, 10000);
	conf_dump(&schema, &s, &out);
	conf_dump_section(&schema, "type:", s.types[0].name, &s.types[0], &out);
	assert_false(strbuf_failed(&out));
	assert_null(strstr(out.data, "hunter2"));
	assert_non_null(strstr(out.data, "\npassword = ********\n"));
	assert_non_null(strstr(out.data, "\nlevel = error\n"));
	assert_non_null(strstr(out.data, "\n[type:wc]\ncommand = /usr/bin/wc -w\n"));

	loads(&again, out.data);
	assert_string_equal(again.motto, s.motto);
	conf_dump(&schema, &again, &second);
	conf_dump_section(&schema, "type:", "wc", &again.types[0], &second);
	assert_string_equal(out.data, second.data);
	settings_fini(&again);

	/* what a file cannot hold is said, not written wrongly */
	assert_int_equal(conf_set_option(&schema, &s, "node.motto=a ;b", &err), 0);
	strbuf_reset(&out);
	conf_dump(&schema, &s, &out);
	assert_non_null(strstr(out.data, "\n#motto = a ;b\n"));
	settings_fini(&s);
	strbuf_fini(&out);
	strbuf_fini(&second);
}

static void
sample_has_every_key_and_changes_nothing(void **state)
{
	struct settings s;
	struct strbuf out;
	char line[100];
	char *at, *p;
	size_t i;

	(void)state;
	strbuf_init(&out, 10000);
	conf_sample(&schema, &out);
	assert_false(strbuf_failed(&out));
	for (i = 0; i < COUNT_OF(keys); i++) {
		snprintf(line, sizeof(line), "\n#%s =", keys[i].name);
		if (strstr(out.data, line) == NULL)
			fail_msg("no %s in\n%s", keys[i].name, out.data);
	}
	assert_non_null(strstr(out.data, "# 1 to 64 processes. A reload is enough.\n"));
	assert_non_null(
	    strstr(out.data, "# One of error, warn or info. Needs a restart.\n"));
	assert_non_null(strstr(out.data, "# Yes or no. Needs a restart.\n"));
	for (at = out.data; (p = strchr(at, '\n')) != NULL; at = p + 1)
		assert_true(p - at < 80);
	loads(&s, out.data);
	assert_int_equal(s.type_count, 0);
	assert_int_equal(s.workers, 4);
	settings_fini(&s);
	strbuf_fini(&out);
}

static int
load_everything(struct settings *s, struct err *err)
{
	static const char *const env[] = {"TESTD_NODE_HOST=b", NULL};

	memset(s, 0, sizeof(*s));
	if (conf_defaults(&schema, s, err) != 0 ||
	    conf_load_text(&schema, s,
		"[node]\nhost = a\nmotto = b\n  c\n[type:x]\ncommand = d\n", "x",
		err) != 0 ||
	    load_env(s, env, err) != 0)
		return -1;
	return conf_set_option(&schema, s, "type:y.command=z", err);
}

static void
no_memory_is_an_error_wherever_it_happens(void **state)
{
	struct settings s;
	unsigned n;
	int rc = -1;

	(void)state;
	for (n = 1; rc != 0; n++) {
		struct err err = ERR_INIT;

		mem_fail_nth(n);
		rc = load_everything(&s, &err);
		mem_fail_nth(0);
		if (rc != 0)
			assert_int_equal(err.code, ERR_NOMEM);
		settings_fini(&s);
	}
	assert_true(n > 20);
}

/* whoever wants to look again must know where */
static void
file_of_a_secret_is_kept_until_the_value_comes_otherwise(void **state)
{
	char path[] = "conf-secret-XXXXXX", option[64];
	struct settings s;
	char *kept = NULL;
	FILE *f;

	(void)state;
	write_file(path, "first\n", 6);
	settings_init(&s);
	assert_string_equal(s.password_from, "");
	snprintf(option, sizeof(option), "node.password_file=%s", path);
	assert_int_equal(conf_set_option(&schema, &s, option, NULL), 0);
	assert_string_equal(s.password, "first");
	assert_string_equal(s.password_from, path);

	f = fopen(path, "w");
	assert_non_null(f);
	fputs("second\n", f);
	fclose(f);
	assert_int_equal(conf_refresh_secret(s.password_from, &kept, NULL), 0);
	assert_string_equal(kept, "second");
	unlink(path);
	assert_int_equal(conf_refresh_secret(s.password_from, &kept, NULL), -1);
	assert_string_equal(kept, "second");
	mem_free(kept);

	assert_int_equal(conf_set_option(&schema, &s, "node.password=x", NULL), 0);
	assert_string_equal(s.password, "x");
	assert_string_equal(s.password_from, "");
	settings_fini(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults_go_through_the_same_parser),
	    cmocka_unit_test(file_sets_every_type_of_value),
	    cmocka_unit_test(continuation_may_begin_with_an_address_in_brackets),
	    cmocka_unit_test(mistakes_are_refused_and_named),
	    cmocka_unit_test(line_of_199_bytes_arrives_whole),
	    cmocka_unit_test(value_and_file_have_a_ceiling),
	    cmocka_unit_test(environment_sets_plain_sections_only),
	    cmocka_unit_test(option_names_section_and_key),
	    cmocka_unit_test(secret_comes_from_one_line_of_a_file),
	    cmocka_unit_test(file_of_a_secret_is_kept_until_the_value_comes_otherwise),
	    cmocka_unit_test(file_is_read_whole),
	    cmocka_unit_test(dump_can_be_loaded_and_masks_secrets),
	    cmocka_unit_test(sample_has_every_key_and_changes_nothing),
	    cmocka_unit_test(no_memory_is_an_error_wherever_it_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
