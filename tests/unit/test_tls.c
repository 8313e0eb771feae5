/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_tls.c - what a TLS server is made of: files, certificates, names, ticket keys.
 *
 * Certificates are made here, by OpenSSL itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/attr.h"
#include "base/mem.h"
#include "base/strbuf.h"
#include "self_signed.h"
#include "tls/tlsbag.h"
#include "tls/tlsctx.h"
#include "tls/tlskeys.h"

#define DAY_S 86400

static char directory[64];

static const char *
path_of(const char *name)
{
	static char paths[4][128];
	static unsigned turn;
	char *path = paths[turn++ % COUNT_OF(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

static void
write_file(const char *name, const void *bytes, size_t len, mode_t mode)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path_of(name), mode), 0);
}

/* NAME.pem and NAME.key: signed by itself, for these names, over in so many seconds */
static void
issue(const char *name, const char *names, long seconds)
{
	char cert[128], key[128];

	snprintf(cert, sizeof(cert), "%s/%s.pem", directory, name);
	snprintf(key, sizeof(key), "%s/%s.key", directory, name);
	self_signed(cert, key, name, names, -2 * DAY_S, seconds);
}

/* NULL: refused, and the error says so */
static struct tlsctx *
load(const char *certificates, const char *ticket_keys, struct err *err)
{
	struct tls_opts opts = {
	    .certificates = certificates,
	    .client_ca = "",
	    .ticket_key_file = ticket_keys,
	};
	struct tlsbag *bag = tlsbag_load(&opts, err);
	struct tlsctx *tc;

	if (bag == NULL)
		return NULL;
	tc = tlsctx_create(bag, err);
	if (tc != NULL && tlsctx_check(bag, time(NULL), err) != 0) {
		tlsctx_free(tc);
		tc = NULL;
	}
	tlsbag_free(bag);
	return tc;
}

static void
assert_refused(const char *certificates, const char *ticket_keys, const char *why)
{
	struct err err = ERR_INIT;

	assert_null(load(certificates, ticket_keys, &err));
	assert_int_equal(err.code, ERR_INVALID);
	if (strstr(err.text, why) == NULL)
		fail_msg("'%s' does not say '%s'", err.text, why);
}

static void
a_certificate_is_chosen_by_its_names(void **state)
{
	static const struct {
		const char *name;
		size_t expected;
	} cases[] = {
	    {"a.example.com", 0},
	    {"A.Example.Com", 0},
	    {"a.example.com.", 0},
	    {"b.example.com", 1},
	    {"c.example.com", 2},
	    {"c.example.com.", 2},
	    /* a star is one label, and not none */
	    {"d.c.example.com", 0},
	    {"example.com", 0},
	    {".example.com", 0},
	    {"nowhere.example.org", 0},
	    {"", 0},
	    {NULL, 0},
	};
	struct err err = ERR_INIT;
	char list[600];
	struct tlsctx *tc;

	(void)state;
	issue("first", "DNS:a.example.com", 90 * DAY_S);
	issue("exact", "DNS:B.example.com,DNS:x.example.net,IP:10.0.0.1", 90 * DAY_S);
	issue("stars", "DNS:*.example.com", 90 * DAY_S);
	snprintf(list, sizeof(list), "%s %s,\t%s   %s , %s %s,", path_of("first.pem"),
	    path_of("first.key"), path_of("exact.pem"), path_of("exact.key"), "", "");
	snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s %s",
	    path_of("stars.pem"), path_of("stars.key"));
	tc = load(list, "", &err);
	assert_non_null(tc);
	assert_int_equal(tlsctx_count(tc), 3);
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(tlsctx_choose(tc, cases[i].name), cases[i].expected);
	assert_string_equal(tlsctx_title(tc, 1), "b.example.com");
	assert_true(tlsctx_seconds_left(tc, 2, time(NULL)) > 89 * DAY_S);
	tlsctx_free(tc);
}

static void
a_bad_certificate_is_refused_with_the_reason(void **state)
{
	char list[600];

	(void)state;
	issue("good", NULL, 90 * DAY_S);
	issue("other", NULL, 90 * DAY_S);
	issue("over", NULL, -DAY_S);
	write_file("text", "nothing\n", 8, 0600);
	write_file("empty", "", 0, 0600);
	write_file("broken.pem",
	    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 60, 0600);
#define WITH(chain, key)                                                               \
	(snprintf(list, sizeof(list), "%s %s", path_of(chain), path_of(key)), list)
	assert_refused(
	    WITH("good.pem", "other.key"), "", "not that of the certificate");
	assert_refused(WITH("over.pem", "over.key"), "", "the certificate ended at");
	assert_refused(WITH("text", "good.key"), "", "it has no certificate");
	assert_refused(WITH("good.pem", "text"), "", "it has no key");
	assert_refused(WITH("empty", "good.key"), "", "it is empty");
	assert_refused(WITH("none", "good.key"), "", "No such file");
	assert_refused(WITH("broken.pem", "good.key"), "", "cannot be read");
	assert_refused("good.pem good.key", "", "not an absolute path");
	assert_refused("/a /b /c /d", "", "one too many");
	assert_refused(" , ", "", "is empty");
	assert_int_equal(chmod(path_of("good.key"), 0644), 0);
	assert_refused(WITH("good.pem", "good.key"), "", "chmod 0640");
	assert_int_equal(chmod(path_of("good.key"), 0600), 0);
	/* a directory, and one file for both */
	assert_refused(WITH("", "good.key"), "", "not a regular file");
	assert_refused(path_of("good.pem"), "", "others than its owner");
}

static void
ticket_keys_are_read_and_checked(void **state)
{
	char raw[TLSKEY_LONG], text[4000];
	unsigned char code[200];
	struct err err = ERR_INIT;
	struct tlskeys keys;
	struct strbuf sb;

	(void)state;
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (char)i;
	assert_int_equal(tlskeys_parse(raw, TLSKEY_SHORT, &keys, &err), 0);
	assert_int_equal(keys.count, 1);
	assert_int_equal(tlskeys_parse(raw, TLSKEY_LONG, &keys, &err), 0);
	assert_memory_equal(keys.at[0].bytes, raw, TLSKEY_LONG);
	assert_int_equal(tlskeys_parse(raw, 79, &keys, &err), -1);

	strbuf_init(&sb, sizeof(text));
	strbuf_puts(&sb, "# a remark\n\n");
	for (int i = 0; i < TLSKEYS_MOST; i++) {
		raw[0] = (char)(100 + i);
		EVP_EncodeBlock(code, (const unsigned char *)raw,
		    i % 2 == 0 ? TLSKEY_LONG : TLSKEY_SHORT);
		strbuf_printf(&sb, " %s \r\n", (char *)code);
	}
	assert_int_equal(tlskeys_parse(sb.data, sb.len, &keys, &err), 0);
	assert_int_equal(keys.count, TLSKEYS_MOST);
	assert_int_equal(keys.at[1].len, TLSKEY_SHORT);
	raw[0] = 99;
	EVP_EncodeBlock(code, (const unsigned char *)raw, TLSKEY_LONG);
	strbuf_puts(&sb, (char *)code);
	assert_int_equal(tlskeys_parse(sb.data, sb.len, &keys, &err), -1);
	assert_non_null(strstr(err.text, "line 11: there are more than 8"));
	strbuf_reset(&sb);
	strbuf_printf(&sb, "%s\n%s\n", (char *)code, (char *)code);
	assert_int_equal(tlskeys_parse(sb.data, sb.len, &keys, &err), -1);
	assert_non_null(strstr(err.text, "there twice"));
	strbuf_fini(&sb);
	assert_int_equal(tlskeys_parse("# none\n", 7, &keys, &err), -1);
	assert_int_equal(tlskeys_parse("AAAA\n", 5, &keys, &err), -1);
}

static void
without_memory_nothing_is_loaded_and_nothing_leaks(void **state)
{
	struct err err = ERR_INIT;
	struct tlsctx *tc = NULL;
	char list[300];
	unsigned n = 0;

	(void)state;
	issue("memory", "DNS:a,DNS:b", 90 * DAY_S);
	snprintf(
	    list, sizeof(list), "%s %s", path_of("memory.pem"), path_of("memory.key"));
	while (tc == NULL) {
		assert_true(++n < 200);
		mem_fail_nth(n);
		tc = load(list, "", &err);
		mem_fail_nth(0);
		assert_true(tc != NULL || err.code == ERR_NOMEM);
	}
	assert_true(n > 5);
	tlsctx_free(tc);
}

static int
begin(void **state)
{
	(void)state;
	(void)snprintf(directory, sizeof(directory), "/tmp/shoal-tls-XXXXXX");
	return mkdtemp(directory) == NULL ? -1 : 0;
}

static int
finish(void **state)
{
	static const char *const files[] = {"first.pem", "first.key", "exact.pem",
	    "exact.key", "stars.pem", "stars.key", "good.pem", "good.key", "other.pem",
	    "other.key", "over.pem", "over.key", "text", "empty", "broken.pem",
	    "memory.pem", "memory.key"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(files); i++)
		(void)unlink(path_of(files[i]));
	return rmdir(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_certificate_is_chosen_by_its_names),
	    cmocka_unit_test(a_bad_certificate_is_refused_with_the_reason),
	    cmocka_unit_test(ticket_keys_are_read_and_checked),
	    cmocka_unit_test(without_memory_nothing_is_loaded_and_nothing_leaks),
	};

	return cmocka_run_group_tests(tests, begin, finish);
}
