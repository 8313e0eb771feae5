/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_doctor.c - what shoal doctor makes of what it was told.
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
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/str.h"
#include "cli/doctor.h"

#define DAY_S 86400

static struct findings found;

/* the only finding has this weight, says this, and a remedy unless it is fine */
static void
assert_one(enum finding_weight weight, const char *says)
{
	assert_int_equal(found.count, 1);
	if (strstr(found.list[0].text, says) == NULL)
		fail_msg("'%s' does not say '%s'", found.list[0].text, says);
	assert_int_equal(found.list[0].weight, weight);
	assert_int_equal(found.list[0].remedy[0] == '\0', weight == FINDING_FINE);
	memset(&found, 0, sizeof(found));
}

/* ---------------------------------------------------------------- certificates */

static void
add_certificate(FILE *f, const char *name, long from_s, long to_s)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	assert_non_null(key);
	assert_non_null(cert);
	X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
	X509_gmtime_adj(X509_getm_notAfter(cert), to_s);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
	    (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(f, cert), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* one or two certificates that end in so many days (0: there is no such), and what is
 * made of them */
static void
judge(int days, int other_days, bool authorities)
{
	char path[] = "test_doctor.XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	assert_non_null(f);
	if (days != 0)
		add_certificate(
		    f, "tasks.example.com", -400L * DAY_S, (long)days * DAY_S + 3600);
	if (other_days != 0)
		add_certificate(
		    f, "Some CA", -400L * DAY_S, (long)other_days * DAY_S + 3600);
	fclose(f);
	doctor_certificates_judge(
	    "tls.certificate", path, authorities, (int64_t)time(NULL), &found);
	unlink(path);
}

static void
a_certificate_is_judged_by_how_long_it_is_valid(void **state)
{
	(void)state;
	judge(100, 0, false);
	assert_one(FINDING_FINE, "valid for 100 days");
	judge(5, 0, false);
	assert_one(FINDING_WARNING, "tasks.example.com");
	judge(-3, 0, false);
	assert_one(FINDING_FAULT, "expired (tasks.example.com)");
	/* the chain counts too */
	judge(100, -1, false);
	assert_one(FINDING_FAULT, "expired (Some CA)");
	judge(0, 0, false);
	assert_one(FINDING_FAULT, "no certificate");
	doctor_certificates_judge("tls.certificate", "/nowhere", false, 0, &found);
	assert_one(FINDING_FAULT, "No such file");
}

static void
of_many_authorities_some_may_have_expired(void **state)
{
	(void)state;
	judge(-3, 100, true);
	assert_one(FINDING_FINE, "2 certificates");
	judge(-3, -5, true);
	assert_one(FINDING_FAULT, "expired");
}

static void
a_certificate_of_tomorrow_is_a_fault(void **state)
{
	char path[] = "test_doctor.XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");

	(void)state;
	add_certificate(f, "x", DAY_S, 10L * DAY_S);
	fclose(f);
	doctor_certificates_judge("k", path, false, (int64_t)time(NULL), &found);
	unlink(path);
	assert_one(FINDING_FAULT, "not valid yet");
}

static void
a_key_of_another_certificate_is_a_fault(void **state)
{
	char cert_path[] = "test_doctor.XXXXXX", key_path[] = "test_doctor.XXXXXX";
	FILE *f = fdopen(mkstemp(cert_path), "w"), *k = fdopen(mkstemp(key_path), "w");
	EVP_PKEY *key = EVP_EC_gen("P-256");

	(void)state;
	add_certificate(f, "x", -10, 10L * DAY_S);
	fclose(f);
	assert_int_equal(PEM_write_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(k);
	EVP_PKEY_free(key);
	doctor_pair_judge("tls.certificates", cert_path, key_path, &found);
	assert_one(FINDING_FAULT, "is not that of the certificate");
	doctor_pair_judge("tls.certificates", cert_path, cert_path, &found);
	assert_one(FINDING_FAULT, "no key");
	doctor_pair_judge("tls.certificates", cert_path, "/nowhere", &found);
	assert_one(FINDING_FAULT, "No such file");
	assert_int_equal(chmod(key_path, 0644), 0);
	doctor_secret_judge("tls.certificates", key_path, &found);
	assert_one(FINDING_FAULT, "everybody");
	assert_int_equal(chmod(key_path, 0600), 0);
	doctor_secret_judge("tls.certificates", key_path, &found);
	assert_one(FINDING_FINE, "private");
	unlink(cert_path);
	unlink(key_path);
}

/* ---------------------------------------------------------------- postgresql */

static void
postgres_as_it_should_be_is_not_talked_of(void **state)
{
	const struct postgres_settings ps = {.wal_level = "replica",
	    .synchronous_commit = "on",
	    .default_read_only = "off",
	    .isolation = "read committed",
	    .autovacuum = "on",
	    .encoding = "UTF8",
	    .max_wal_bytes = INT64_C(4) << 30};
	const struct postgres_settings unknown = {.wal_level = ""};

	(void)state;
	doctor_postgres_judge(&ps, &found);
	doctor_postgres_judge(&unknown, &found);
	assert_int_equal(found.count, 0);
}

static void
each_wrong_setting_of_postgres_is_named(void **state)
{
	static const struct {
		struct postgres_settings ps;
		enum finding_weight weight;
		const char *says;
	} cases[] = {
	    {{.encoding = "LATIN1"}, FINDING_FAULT, "encoding is LATIN1"},
	    {{.default_read_only = "on"}, FINDING_FAULT,
		"default_transaction_read_only"},
	    {{.isolation = "serializable"}, FINDING_FAULT, "serializable"},
	    {{.autovacuum = "off"}, FINDING_FAULT, "autovacuum"},
	    {{.wal_level = "minimal"}, FINDING_WARNING, "wal_level"},
	    {{.max_wal_bytes = INT64_C(48) << 20}, FINDING_WARNING, "every 48 MiB"},
	    {{.statement_timeout_ms = 5000}, FINDING_WARNING, "statement_timeout"},
	    {{.lock_timeout_ms = 100}, FINDING_WARNING, "lock_timeout"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		doctor_postgres_judge(&cases[i].ps, &found);
		assert_one(cases[i].weight, cases[i].says);
	}
}

/* ---------------------------------------------------------------- the rest */

static void
clocks_that_are_apart_are_said_with_their_direction(void **state)
{
	(void)state;
	doctor_clock_judge("PostgreSQL", 0.01, 0.001, &found);
	assert_one(FINDING_FINE, "that of PostgreSQL");
	doctor_clock_judge("PostgreSQL", 7.5, 0.001, &found);
	assert_one(FINDING_WARNING, "7.5 s behind");
	doctor_clock_judge("Redis", -3600, 0.001, &found);
	assert_one(FINDING_FAULT, "3600.0 s before that of Redis");
	/* an answer that took seconds proves nothing */
	doctor_clock_judge("Redis", 7.5, 4, &found);
	assert_one(FINDING_FINE, "that of Redis");
}

static void
rights_are_worked_out_for_another_user(void **state)
{
	char directory[] = "test_doctor.XXXXXX", path[64];
	const uid_t other = geteuid() == 0 ? 65534 : geteuid();
	const gid_t group = 65533;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(chmod(directory, 0755), 0);
	snprintf(path, sizeof(path), "%s/file", directory);
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_true(doctor_may(path, 0, 0, R_OK | W_OK));
	if (geteuid() == 0) {
		assert_int_equal(chmod(path, 0640), 0);
		assert_false(doctor_may(path, other, group, R_OK));
		assert_int_equal(chmod(path, 0644), 0);
		assert_true(doctor_may(path, other, group, R_OK));
		assert_false(doctor_may(path, other, group, W_OK));
		/* what is above counts */
		assert_int_equal(chmod(directory, 0700), 0);
		assert_false(doctor_may(path, other, group, R_OK));
	}
	assert_false(doctor_may("/nowhere/at/all", 0, 0, R_OK));
	unlink(path);
	rmdir(directory);
}

static void
the_directory_of_a_path_is_found(void **state)
{
	char buf[64];

	(void)state;
	assert_string_equal(doctor_directory("/a/b", buf, sizeof(buf)), "/a");
	assert_string_equal(doctor_directory("/a", buf, sizeof(buf)), "/");
	assert_string_equal(doctor_directory("a", buf, sizeof(buf)), ".");
}

static void
what_does_not_fit_is_the_lightest(void **state)
{
	(void)state;
	memset(&found, 0, sizeof(found));
	for (int i = 0; i < FINDINGS_MOST; i++)
		findings_add(&found, i == 3 ? FINDING_WARNING : FINDING_FINE,
		    i == 3 ? "do" : NULL, "%d", i);
	findings_add(&found, FINDING_FINE, NULL, "one more");
	assert_string_equal(found.list[FINDINGS_MOST - 1].text, "23");
	findings_add(&found, FINDING_FAULT, "do", "broken");
	assert_int_equal(found.count, FINDINGS_MOST);
	assert_string_equal(found.list[FINDINGS_MOST - 1].text, "broken");
	assert_string_equal(found.list[FINDINGS_MOST - 2].text, "22");
	for (int i = 0; i < FINDINGS_MOST; i++)
		findings_add(&found, FINDING_FAULT, "do", "fault %d", i);
	/* all are faults now, and the first of them stay */
	assert_int_equal(found.left_out, FINDINGS_MOST + 2);
	assert_string_equal(found.list[0].text, "broken");
	assert_string_equal(found.list[1].text, "fault 0");
	assert_int_equal(findings_worst(&found), FINDING_FAULT);
	for (size_t i = 0; i < found.count; i++)
		assert_int_equal(found.list[i].weight, FINDING_FAULT);
	memset(&found, 0, sizeof(found));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_certificate_is_judged_by_how_long_it_is_valid),
	    cmocka_unit_test(of_many_authorities_some_may_have_expired),
	    cmocka_unit_test(a_certificate_of_tomorrow_is_a_fault),
	    cmocka_unit_test(a_key_of_another_certificate_is_a_fault),
	    cmocka_unit_test(postgres_as_it_should_be_is_not_talked_of),
	    cmocka_unit_test(each_wrong_setting_of_postgres_is_named),
	    cmocka_unit_test(clocks_that_are_apart_are_said_with_their_direction),
	    cmocka_unit_test(rights_are_worked_out_for_another_user),
	    cmocka_unit_test(the_directory_of_a_path_is_found),
	    cmocka_unit_test(what_does_not_fit_is_the_lightest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
