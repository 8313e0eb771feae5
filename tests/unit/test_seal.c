/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/seal.h"
#include "base/strbuf.h"

#define ONE "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define TWO "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="

static char path[64];

static void
write_keys(const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static struct sealkeys *
keys_of(const char *text)
{
	struct err err = ERR_INIT;
	struct sealkeys *keys;

	write_keys(text, 0600);
	keys = sealkeys_load(path, &err);
	if (keys == NULL)
		fail_msg("%s", err.text);
	return keys;
}

static char *
sealed(const struct sealkeys *keys, const char *context, const char *plain)
{
	struct err err = ERR_INIT;
	struct strbuf sb;
	char *text;

	strbuf_init(&sb, SEAL_TEXT_MOST);
	assert_int_equal(seal_put(keys, context, plain, strlen(plain), &sb, &err), 0);
	text = strbuf_take(&sb, NULL);
	assert_non_null(text);
	return text;
}

static int
opened(const struct sealkeys *keys, const char *context, const char *text,
    const char *want)
{
	struct err err = ERR_INIT;
	char *plain = NULL;
	size_t len = 0;

	if (seal_open(keys, context, text, &plain, &len, &err) != 0)
		return (int)err.code;
	assert_int_equal(len, strlen(want));
	assert_string_equal(plain, want);
	mem_free_secret(plain, len + 1);
	return 0;
}

static void
what_was_sealed_opens_where_it_belongs_alone(void **state)
{
	struct sealkeys *keys = keys_of("# keys\n\nk1 " ONE "\n");
	char *text = sealed(keys, "12/mail", "whsec_abc");
	char *again = sealed(keys, "12/mail", "whsec_abc");

	(void)state;
	assert_null(strstr(text, "whsec"));
	assert_string_not_equal(text, again); /* the nonce is another one */
	assert_int_equal(strncmp(text, "k1:", 3), 0);
	assert_int_equal(opened(keys, "12/mail", text, "whsec_abc"), 0);
	assert_int_equal(opened(keys, "13/mail", text, ""), ERR_INVALID);
	assert_int_equal(opened(keys, "12/mai", text, ""), ERR_INVALID);
	text[10] = text[10] == 'A' ? 'B' : 'A';
	assert_int_equal(opened(keys, "12/mail", text, ""), ERR_INVALID);
	assert_int_equal(opened(keys, "12/mail", "k1:AAAA", ""), ERR_INVALID);
	assert_int_equal(opened(keys, "12/mail", "nothing", ""), ERR_INVALID);
	mem_free(text);
	mem_free(again);
	sealkeys_free(keys);
}

static void
nothing_and_the_longest_are_sealed_and_longer_is_refused(void **state)
{
	struct sealkeys *keys = keys_of("k1 " ONE);
	char longest[SEAL_PLAIN_MOST + 2];
	struct err err = ERR_INIT;
	struct strbuf sb;
	char *text;

	(void)state;
	text = sealed(keys, "", "");
	assert_int_equal(opened(keys, "", text, ""), 0);
	mem_free(text);
	memset(longest, 'x', sizeof(longest));
	longest[SEAL_PLAIN_MOST] = '\0';
	text = sealed(keys, "a", longest);
	assert_int_equal(opened(keys, "a", text, longest), 0);
	mem_free(text);
	strbuf_init(&sb, SEAL_TEXT_MOST);
	assert_int_equal(
	    seal_put(keys, "a", longest, SEAL_PLAIN_MOST + 1, &sb, &err), -1);
	assert_int_equal(err.code, ERR_LIMIT);
	strbuf_fini(&sb);
	sealkeys_free(keys);
}

static void
the_first_key_seals_and_all_open(void **state)
{
	struct sealkeys *old = keys_of("k1 " ONE "\n");
	struct sealkeys *both = keys_of("k2\t" TWO "\nk1 " ONE "\n");
	struct sealkeys *fresh = keys_of("k2 " TWO "\n");
	struct sealkeys *other = keys_of("k1 " TWO "\n");
	char *before = sealed(old, "c", "text"), *after = sealed(both, "c", "text");

	(void)state;
	assert_string_equal(sealkeys_current(both), "k2");
	assert_int_equal(opened(both, "c", before, "text"), 0);
	assert_int_equal(opened(both, "c", after, "text"), 0);
	assert_int_equal(opened(fresh, "c", before, ""), ERR_NOT_FOUND);
	assert_int_equal(opened(other, "c", before, ""), ERR_INVALID);
	assert_int_equal(strncmp(after, "k2:", 3), 0);
	assert_int_equal(strncmp(before, "k1:", 3), 0);
	mem_free(before);
	mem_free(after);
	sealkeys_free(old);
	sealkeys_free(both);
	sealkeys_free(fresh);
	sealkeys_free(other);
}

static void
bad_files_are_refused_and_no_key_is_told(void **state)
{
	static const char *const bad[] = {
	    "",
	    "# only a comment\n",
	    "k1\n",
	    "k1 c2hvcnQ=\n",
	    "k1 " ONE "AAAA\n",
	    "a:b " ONE "\n",
	    "k1 " ONE " " TWO "\n",
	    "k1 " ONE "\nk1 " TWO "\n",
	    "an-id-that-is-longer-than-32-bytes " ONE "\n",
	};
	struct err err = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_keys(bad[i], 0600);
		err = (struct err)ERR_INIT;
		assert_null(sealkeys_load(path, &err));
		assert_int_equal(err.code, ERR_INVALID);
		assert_null(strstr(err.text, "AQID"));
	}
	unlink(path);
	err = (struct err)ERR_INIT;
	assert_null(sealkeys_load(path, &err));
	assert_int_equal(err.code, ERR_INVALID);
}

static void
a_file_that_others_may_reach_is_refused(void **state)
{
	static const mode_t bad[] = {0644, 0602, 0620, 0601};
	struct err err = ERR_INIT;
	struct sealkeys *keys;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		write_keys("k1 " ONE "\n", bad[i]);
		err = (struct err)ERR_INIT;
		assert_null(sealkeys_load(path, &err));
		assert_non_null(strstr(err.text, "chmod"));
	}
	write_keys("k1 " ONE "\n", 0640);
	keys = sealkeys_load(path, &err);
	assert_non_null(keys);
	sealkeys_free(keys);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_sealed_opens_where_it_belongs_alone),
	    cmocka_unit_test(nothing_and_the_longest_are_sealed_and_longer_is_refused),
	    cmocka_unit_test(the_first_key_seals_and_all_open),
	    cmocka_unit_test(bad_files_are_refused_and_no_key_is_told),
	    cmocka_unit_test(a_file_that_others_may_reach_is_refused),
	};
	int rc;

	snprintf(path, sizeof(path), "/tmp/test_seal.%d", (int)getpid());
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return rc;
}
