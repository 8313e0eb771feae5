/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_tls.c - certificates that the settings name: whether they can be read, fit
 * their keys, and for how long they are valid.
 *
 * Goes by the table of settings: wherever a key is called certificate (beside it, key),
 * certificates, ca_file or client_ca, its files are looked at.  Then those of [tls] are
 * loaded as the node loads them, which finds what no single file shows.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/str.h"
#include "cli/doctor.h"
#include "tls/tlsbag.h"
#include "tls/tlsctx.h"

#define SOON_DAYS 30 /* as workers warn */
#define DAY_S	  86400

/* ---------------------------------------------------------------- one file */

static int64_t
asn1_seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void
subject(const X509 *cert, char *buf, size_t size)
{
	if (X509_NAME_get_text_by_NID(
		X509_get_subject_name(cert), NID_commonName, buf, (int)size) <= 0)
		str_copy(buf, size, "?");
}

/* what is read of a file, to be judged at its end */
struct seen {
	size_t count, expired;
	int64_t first_end; /* the earliest end of those that are valid */
	char who[128];	   /* whose that is */
	char gone[128];	   /* one that is valid no more */
};

static void
see(struct seen *s, const X509 *cert, int64_t now_s)
{
	int64_t end = asn1_seconds(X509_get0_notAfter(cert));

	s->count++;
	if (end <= now_s) {
		s->expired++;
		subject(cert, s->gone, sizeof(s->gone));
	} else if (s->first_end == 0 || end < s->first_end) {
		s->first_end = end;
		subject(cert, s->who, sizeof(s->who));
	}
}

static void
judge(const char *key, const char *path, bool authorities, const struct seen *s,
    int64_t now_s, struct findings *found)
{
	int64_t days = (s->first_end - now_s) / DAY_S;

	if (s->count == 0)
		findings_add(found, FINDING_FAULT,
		    "give a PEM file: -----BEGIN CERTIFICATE-----, the server's own "
		    "first",
		    "%s: no certificate is in %s", key, path);
	else if (s->expired == s->count || (s->expired > 0 && !authorities))
		findings_add(found, FINDING_FAULT,
		    "get a new certificate and put it there; HUP takes it in",
		    "%s: a certificate in %s has expired (%s)", key, path, s->gone);
	else if (!authorities && days < SOON_DAYS)
		findings_add(found, FINDING_WARNING, "renew it now; HUP takes it in",
		    "%s: the certificate of %s in %s expires in %lld day%s", key,
		    s->who, path, (long long)days, days == 1 ? "" : "s");
	else
		findings_add(found, FINDING_FINE, NULL,
		    "%s: %zu certificate%s in %s, valid for %lld days", key, s->count,
		    s->count == 1 ? "" : "s", path, (long long)days);
}

void
doctor_certificates_judge(const char *key, const char *path, bool authorities,
    int64_t now_s, struct findings *found)
{
	FILE *f = fopen(path, "re");
	struct seen s = {.count = 0};
	int64_t begin = 0;
	X509 *cert;

	if (f == NULL) {
		findings_add(found, FINDING_FAULT, "mend the path, or the rights",
		    "%s: %s: %s", key, path, strerror(errno));
		return;
	}
	while ((cert = PEM_read_X509(f, NULL, NULL, NULL)) != NULL) {
		if (s.count == 0)
			begin = asn1_seconds(X509_get0_notBefore(cert));
		see(&s, cert, now_s);
		X509_free(cert);
	}
	ERR_clear_error(); /* the end of a file is an error to it */
	fclose(f);
	if (begin > now_s && !authorities)
		findings_add(found, FINDING_FAULT,
		    "look at this machine's clock, or wait",
		    "%s: the certificate in %s is not valid yet", key, path);
	else
		judge(key, path, authorities, &s, now_s, found);
}

/* ---------------------------------------------------------------- with its key */

void
doctor_pair_judge(
    const char *key, const char *certificate, const char *path, struct findings *found)
{
	FILE *f = fopen(certificate, "re"), *k = fopen(path, "re");
	X509 *cert = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	/* one that asks for a password would wait for a person */
	EVP_PKEY *pkey =
	    k != NULL ? PEM_read_PrivateKey(k, NULL, NULL, (void *)(uintptr_t) "")
		      : NULL;

	if (k == NULL)
		findings_add(found, FINDING_FAULT, "mend the path, or the rights",
		    "%s: %s: %s", key, path, strerror(errno));
	else if (pkey == NULL)
		findings_add(found, FINDING_FAULT,
		    "give a PEM file: -----BEGIN PRIVATE KEY-----, without a password",
		    "%s: no key that can be read is in %s", key, path);
	else if (cert != NULL && X509_check_private_key(cert, pkey) != 1)
		findings_add(found, FINDING_FAULT,
		    "give the key that the certificate was made with",
		    "%s: the key in %s is not that of the certificate in %s", key, path,
		    certificate);
	ERR_clear_error();
	X509_free(cert);
	EVP_PKEY_free(pkey);
	if (f != NULL)
		fclose(f);
	if (k != NULL)
		fclose(k);
}

/* ---------------------------------------------------------------- all of them */

static const char *
text_of(const struct settings *s, const struct conf_key *key)
{
	const char *text = *(char *const *)((const char *)s + key->offset);

	return text != NULL ? text : "";
}

/* the text of a setting; "": there is none in this release */
static const char *
setting_of(const struct settings *s, const char *section, const char *name)
{
	for (size_t i = 0; i < settings_schema.key_count; i++) {
		const struct conf_key *key = &settings_schema.keys[i];

		if (str_eq(key->section, section) && str_eq(key->name, name) &&
		    key->type == CONF_STRING)
			return text_of(s, key);
	}
	return "";
}

static void
look_at_pair(const char *name, const char *certificate, const char *key_path,
    struct findings *found)
{
	doctor_certificates_judge(name, certificate, false, (int64_t)time(NULL), found);
	if (key_path[0] == '\0')
		return;
	doctor_secret_judge(name, key_path, found);
	doctor_pair_judge(name, certificate, key_path, found);
}

/* "chain.pem key.pem [response.der], ...": a file alone holds both */
static void
look_at_certificates(const char *name, const char *list, struct findings *found)
{
	char *copy = mem_strdup(list), *rest = copy, *entry;

	while (rest != NULL && (entry = strsep(&rest, ",")) != NULL) {
		char *words = str_trim(entry), *certificate = strsep(&words, " \t"),
		     *key = words != NULL ? str_trim(words) : NULL;

		if (certificate[0] == '\0')
			continue;
		if (key != NULL)
			key[strcspn(key, " \t")] = '\0';
		look_at_pair(name, certificate,
		    key != NULL && key[0] != '\0' ? key : certificate, found);
	}
	mem_free(copy);
}

/* chains, passphrases, ticket keys, stapled responses: by what listeners use them with
 */
static void
look_at_listeners(const struct settings *s, struct findings *found)
{
	struct err err = ERR_INIT;
	struct tlsctx *tc = NULL;
	struct tls_opts opts;
	struct tlsbag *bag;

	if (!settings_tls(s, &opts))
		return;
	for (size_t i = 0; i < found->count; i++)
		if (found->list[i].weight == FINDING_FAULT &&
		    str_starts(found->list[i].text, "tls."))
			return; /* it would say the same again */
	bag = tlsbag_load(&opts, &err);
	if (bag == NULL || (tc = tlsctx_create(bag, &err)) == NULL)
		findings_add(found, FINDING_FAULT,
		    "mend that file; shoald -t tries it again", "%s", err.text);
	for (size_t i = 0; tc != NULL && i < tlsctx_count(tc); i++)
		if (tlsctx_staple_fault(tc, i)[0] != '\0')
			findings_add(found, FINDING_WARNING,
			    "get another one from its authority; HUP takes it in",
			    "tls.certificates: the OCSP response of %s is left out: %s",
			    tlsctx_title(tc, i), tlsctx_staple_fault(tc, i));
	if (tc != NULL)
		findings_add(found, FINDING_FINE, NULL,
		    "tls: listeners can be opened with what is there");
	tlsctx_free(tc);
	tlsbag_free(bag);
}

void
doctor_tls(struct doctor *d, struct findings *found)
{
	for (size_t i = 0; i < settings_schema.key_count; i++) {
		const struct conf_key *key = &settings_schema.keys[i];
		const char *value;
		char name[96];

		if (key->type != CONF_STRING || strchr(key->section, ':') != NULL)
			continue;
		value = text_of(d->settings, key);
		snprintf(name, sizeof(name), "%s.%s", key->section, key->name);
		if (value[0] == '\0')
			continue;
		if (str_eq(key->name, "certificates"))
			look_at_certificates(name, value, found);
		else if (str_eq(key->name, "certificate"))
			look_at_pair(name, value,
			    setting_of(d->settings, key->section, "key"), found);
		else if (str_eq(key->name, "ca_file") || str_eq(key->name, "client_ca"))
			doctor_certificates_judge(
			    name, value, true, (int64_t)time(NULL), found);
	}
	look_at_listeners(d->settings, found);
}
