/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doctor_tls.c - certificates that the settings name: whether they can be read, fit
 * their keys, and for how long they are valid.
 *
 * Goes by the table of settings: a file whose key ends in "certificate" or
 * "certificates", or begins with "ca_", is looked at wherever it stands.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "cli/doctor.h"

#define SOON_DAYS 21
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

/* ---------------------------------------------------------------- all of them */

/* 1: a server's certificate, 2: authorities, 0: something else */
static int
kind_of(const struct conf_key *key)
{
	if (key->type != CONF_STRING)
		return 0;
	if (str_starts(key->name, "ca_"))
		return 2;
	if (str_eq(key->name, "certificate") || str_eq(key->name, "certificates") ||
	    str_eq(key->name, "certificate_file"))
		return 1;
	return 0;
}

static void
look_at_words(
    const char *key, const char *words, bool authorities, struct findings *found)
{
	const char *at = words;
	char path[1024];
	size_t len;

	while (*at != '\0') {
		at += strspn(at, ", \t");
		len = strcspn(at, ", \t");
		if (len == 0)
			break;
		snprintf(path, sizeof(path), "%.*s", (int)len, at);
		if (path[0] == '/')
			doctor_certificates_judge(
			    key, path, authorities, (int64_t)time(NULL), found);
		at += len;
	}
}

void
doctor_tls(struct doctor *d, struct findings *found)
{
	for (size_t i = 0; i < settings_schema.key_count; i++) {
		const struct conf_key *key = &settings_schema.keys[i];
		int kind = kind_of(key);
		const char *value;
		char name[96];

		if (kind == 0 || strchr(key->section, ':') != NULL)
			continue;
		value = *(char *const *)((const char *)d->settings + key->offset);
		snprintf(name, sizeof(name), "%s.%s", key->section, key->name);
		if (value != NULL && value[0] != '\0')
			look_at_words(name, value, kind == 2, found);
	}
}
