/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * self_signed.c - see self_signed.h.
 */
#include "self_signed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static X509 *
make(EVP_PKEY *key, const char *name, const char *san, long from_s, long to_s)
{
	X509 *x = X509_new();
	X509_NAME *subject = X509_NAME_new();
	X509_EXTENSION *names;

	assert_non_null(x);
	assert_non_null(subject);
	assert_int_equal(X509_set_version(x, 2), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 7), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), from_s));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), to_s));
	assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
			     (const unsigned char *)name, -1, -1, 0),
	    1);
	assert_int_equal(X509_set_subject_name(x, subject), 1);
	assert_int_equal(X509_set_issuer_name(x, subject), 1);
	assert_int_equal(X509_set_pubkey(x, key), 1);
	if (san != NULL) {
		names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
		assert_non_null(names);
		assert_int_equal(X509_add_ext(x, names, -1), 1);
		X509_EXTENSION_free(names);
	}
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	X509_NAME_free(subject);
	return x;
}

void
self_signed(const char *cert_path, const char *key_path, const char *name,
    const char *san, long from_s, long to_s)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x;
	FILE *f;

	assert_non_null(key);
	x = make(key, name, san, from_s, to_s);
	f = fopen(cert_path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, x), 1);
	assert_int_equal(fclose(f), 0);
	X509_free(x);
	if (key_path != NULL) {
		f = fopen(key_path, "w");
		assert_non_null(f);
		assert_int_equal(
		    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
		assert_int_equal(fclose(f), 0);
		assert_int_equal(chmod(key_path, 0600), 0);
	}
	EVP_PKEY_free(key);
}
