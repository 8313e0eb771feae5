/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlscert.c - understands a chain, a key and an OCSP response; see tlscert.h.
 *
 * An OCSP response is stapled only when it is about this certificate, says that it is
 * good, is signed by its issuer or on the issuer's behalf, and is not over.  One that
 * is not is left out, since a client without a staple asks by itself or does not care.
 */
#include "tls/tlscert.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "base/str.h"

#define CLOCK_SKEW_S 300
#define NAME_MAX_LEN 253

const char *
tls_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code == 0 ? NULL : ERR_reason_error_string(code);

	ERR_clear_error();
	return text == NULL ? "out of memory" : text;
}

static BIO *
open_bytes(const struct tlsbytes *b)
{
	return BIO_new_mem_buf(b->at, (int)b->len);
}

/* ---------------------------------------------------------------- chain and key */

/* the end of the PEM blocks, as opposed to a bad one */
static bool
is_pem_end(void)
{
	unsigned long code = ERR_peek_last_error();
	bool end = ERR_GET_LIB(code) == ERR_LIB_PEM &&
		   ERR_GET_REASON(code) == PEM_R_NO_START_LINE;

	if (end)
		ERR_clear_error();
	return end;
}

static int
take_chain(struct tlscert *c, const struct tlsbytes *from, struct err *err)
{
	BIO *bio = open_bytes(from);
	X509 *x, *before = NULL;
	int rc = 0, count = 0;

	if (bio == NULL)
		return err_set(err, ERR_NOMEM, "certificate");
	while (rc == 0 && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		count++;
		if (count == 1) {
			if (SSL_CTX_use_certificate(c->ctx, x) != 1)
				rc = err_set(
				    err, ERR_INVALID, "certificate: %s", tls_reason());
		} else if (X509_check_issued(x, before) != X509_V_OK) {
			rc = err_set(err, ERR_INVALID,
			    "certificate %d did not issue the one before it: the "
			    "server's own comes first, then its issuer, and so on",
			    count);
		} else if (SSL_CTX_add1_chain_cert(c->ctx, x) != 1) {
			rc = err_set(err, ERR_INVALID, "certificate %d: %s", count,
			    tls_reason());
		}
		X509_free(before);
		before = x;
	}
	X509_free(before);
	BIO_free(bio);
	if (rc == 0 && !is_pem_end())
		rc = err_set(err, ERR_INVALID, "certificate %d cannot be read: %s",
		    count + 1, tls_reason());
	if (rc == 0 && count == 0)
		rc = err_set(err, ERR_INVALID,
		    "it has no certificate: a PEM file is wanted, with -----BEGIN "
		    "CERTIFICATE-----");
	return rc == 0 ? 0 : err_wrap(err, "%.300s", from->path);
}

/* nobody is there to be asked */
static int
no_passphrase(char *to, int size, int rw, void *arg)
{
	bool *asked = arg;

	(void)to;
	(void)size;
	(void)rw;
	*asked = true;
	return -1;
}

static int
take_key(struct tlscert *c, const struct tlsbytes *from, struct err *err)
{
	BIO *bio = open_bytes(from);
	bool asked = false;
	EVP_PKEY *key;
	int rc = 0;

	if (bio == NULL)
		return err_set(err, ERR_NOMEM, "key");
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
	BIO_free(bio);
	if (key == NULL && asked)
		rc = err_set(err, ERR_INVALID,
		    "the key has a passphrase, and nobody is there to give it: openssl "
		    "pkey removes it");
	/* (OpenSSL says "unsupported" of everything) */
	else if (key == NULL &&
		 memmem(from->at, from->len, "PRIVATE KEY-----", 16) == NULL)
		rc = err_set(err, ERR_INVALID,
		    "it has no key: a PEM file is wanted, with -----BEGIN PRIVATE "
		    "KEY-----");
	else if (key == NULL)
		rc = err_set(
		    err, ERR_INVALID, "the key cannot be read: %s", tls_reason());
	else if (X509_check_private_key(SSL_CTX_get0_certificate(c->ctx), key) != 1)
		rc =
		    err_set(err, ERR_INVALID, "the key is not that of the certificate");
	else if (SSL_CTX_use_PrivateKey(c->ctx, key) != 1)
		rc = err_set(
		    err, ERR_INVALID, "the key cannot be used: %s", tls_reason());
	EVP_PKEY_free(key);
	ERR_clear_error();
	return rc == 0 ? 0 : err_wrap(err, "%.300s", from->path);
}

/* ---------------------------------------------------------------- names and dates */

static int64_t
seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* what is no name of a host is overlooked, as clients do */
static int
add_name(struct tlscert *c, const ASN1_STRING *text)
{
	size_t len = (size_t)ASN1_STRING_length(text);
	const char *from = (const char *)ASN1_STRING_get0_data(text);
	char **grown, *name;

	if (len == 0 || len > NAME_MAX_LEN || memchr(from, '\0', len) != NULL ||
	    c->name_count == TLSCERT_NAMES_MOST)
		return 0;
	grown = mem_resize(c->names, c->name_count + 1, sizeof(*grown));
	if (grown == NULL)
		return -1;
	c->names = grown;
	name = mem_dup(from, len);
	if (name == NULL)
		return -1;
	for (size_t i = 0; i < len; i++)
		name[i] = (char)tolower((unsigned char)name[i]);
	c->names[c->name_count++] = name;
	return 0;
}

static int
take_names(struct tlscert *c, X509 *x)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	const X509_NAME *subject = X509_get_subject_name(x);
	int rc = 0, at;

	for (int i = 0; rc == 0 && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

		if (name->type == GEN_DNS)
			rc = add_name(c, name->d.dNSName);
	}
	GENERAL_NAMES_free(all);
	/* without any the subject is taken for it, by us and by few others */
	at = c->name_count == 0
		 ? X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
		 : -1;
	if (rc == 0 && at >= 0)
		rc = add_name(
		    c, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	ERR_clear_error();
	return rc;
}

int
tlscert_check_dates(const struct tlscert *c, int64_t now_s, struct err *err)
{
	struct tm tm;
	time_t when;
	char text[32];

	if (now_s >= c->from_s && now_s < c->until_s)
		return 0;
	when = (time_t)(now_s < c->from_s ? c->from_s : c->until_s);
	if (gmtime_r(&when, &tm) == NULL ||
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		(void)str_copy(text, sizeof(text), "a time unknown");
	if (now_s < c->from_s)
		return err_set(err, ERR_INVALID,
		    "the certificate is valid only from %s on: is this machine's clock "
		    "right?",
		    text);
	return err_set(err, ERR_INVALID, "the certificate ended at %s: renew it", text);
}

bool
tlscert_has_name(const struct tlscert *c, const char *name, bool exact)
{
	size_t len = strlen(name);
	const char *dot = strchr(name, '.');

	if (len > 0 && name[len - 1] == '.')
		len--;
	for (size_t i = 0; i < c->name_count; i++) {
		const char *own = c->names[i];
		size_t own_len = strlen(own);

		if (exact && own_len == len && strncasecmp(own, name, len) == 0)
			return true;
		/* the star stands for one label */
		if (!exact && own[0] == '*' && own[1] == '.' && dot != NULL &&
		    dot != name && (size_t)(dot - name) + own_len - 1 == len &&
		    strncasecmp(own + 1, dot, own_len - 1) == 0)
			return true;
	}
	return false;
}

const char *
tlscert_title(const struct tlscert *c)
{
	return c->name_count > 0 ? c->names[0] : "unnamed";
}

/* ---------------------------------------------------------------- OCSP */

/* the answer about our certificate; NULL: there is none */
static OCSP_SINGLERESP *
find_answer(OCSP_BASICRESP *basic, const X509 *leaf, const X509 *issuer)
{
	for (int i = 0; i < OCSP_resp_count(basic); i++) {
		OCSP_SINGLERESP *one = OCSP_resp_get0(basic, i);
		const OCSP_CERTID *theirs = OCSP_SINGLERESP_get0_id(one);
		ASN1_OBJECT *digest = NULL;
		OCSP_CERTID *ours;
		bool same;

		(void)OCSP_id_get0_info(
		    NULL, &digest, NULL, NULL, (OCSP_CERTID *)(uintptr_t)theirs);
		ours = digest == NULL || EVP_get_digestbyobj(digest) == NULL
			   ? NULL
			   : OCSP_cert_to_id(EVP_get_digestbyobj(digest), leaf, issuer);
		same = ours != NULL && OCSP_id_cmp(ours, theirs) == 0;
		OCSP_CERTID_free(ours);
		if (same)
			return one;
	}
	return NULL;
}

/* by the issuer, or by whom it has named for that */
static bool
is_signed(OCSP_BASICRESP *basic, STACK_OF(X509) * chain, X509 *issuer)
{
	X509_STORE *store = X509_STORE_new();
	bool ok = store != NULL && X509_STORE_add_cert(store, issuer) == 1 &&
		  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
		  OCSP_basic_verify(basic, chain, store, 0) == 1;

	X509_STORE_free(store);
	return ok;
}

/* NULL: it is good, until *until */
static const char *
why_not_staple(
    OCSP_BASICRESP *basic, X509 *leaf, STACK_OF(X509) * chain, int64_t *until)
{
	bool self = X509_check_issued(leaf, leaf) == X509_V_OK;
	X509 *issuer = self ? leaf : sk_X509_value(chain, 0);
	ASN1_GENERALIZEDTIME *this_update = NULL, *next_update = NULL;
	OCSP_SINGLERESP *one;
	int status;

	if (issuer == NULL)
		return "the chain lacks the issuer, so it cannot be checked";
	one = find_answer(basic, leaf, issuer);
	if (one == NULL)
		return "it is not about this certificate";
	if (!is_signed(basic, chain, issuer))
		return "the issuer has not signed it";
	status = OCSP_single_get0_status(one, NULL, NULL, &this_update, &next_update);
	if (status == V_OCSP_CERTSTATUS_REVOKED)
		return "it says that the certificate is revoked";
	if (status != V_OCSP_CERTSTATUS_GOOD)
		return "it does not say that the certificate is good";
	if (next_update == NULL)
		return "it does not say until when it is good";
	if (OCSP_check_validity(this_update, next_update, CLOCK_SKEW_S, -1) != 1)
		return "its time is over, or has not come";
	*until = seconds(next_update);
	return NULL;
}

static int
take_ocsp(struct tlscert *c, X509 *leaf, const struct tlsbytes *from, struct err *err)
{
	const unsigned char *at = (const unsigned char *)from->at;
	OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)from->len);
	OCSP_BASICRESP *basic = NULL;
	STACK_OF(X509) *chain = NULL;
	const char *why = NULL;

	if (response == NULL)
		why = "it is no OCSP response in DER";
	else if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		why = "the responder has answered with an error";
	else if ((basic = OCSP_response_get1_basic(response)) == NULL)
		why = "it is of an unknown kind";
	else if (SSL_CTX_get0_chain_certs(c->ctx, &chain) != 1)
		why = "out of memory";
	else
		why = why_not_staple(basic, leaf, chain, &c->ocsp_until_s);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	ERR_clear_error();
	if (why != NULL) {
		(void)snprintf(c->ocsp_why, sizeof(c->ocsp_why), "%s", why);
		return 0;
	}
	c->ocsp = mem_dup(from->at, from->len);
	c->ocsp_len = from->len;
	return c->ocsp != NULL ? 0 : err_set(err, ERR_NOMEM, "OCSP response");
}

/* ---------------------------------------------------------------- all of it */

int
tlscert_init(struct tlscert *c, const struct tlsbag_cert *from, struct err *err)
{
	X509 *leaf;

	memset(c, 0, sizeof(*c));
	ERR_clear_error();
	c->ctx = SSL_CTX_new(TLS_server_method());
	if (c->ctx == NULL) {
		err_set(err, ERR_NOMEM, "TLS: %s", tls_reason());
		goto fail;
	}
	if (take_chain(c, &from->chain, err) != 0 ||
	    take_key(c, from->key.path != NULL ? &from->key : &from->chain, err) != 0)
		goto fail;
	leaf = SSL_CTX_get0_certificate(c->ctx);
	c->from_s = seconds(X509_get0_notBefore(leaf));
	c->until_s = seconds(X509_get0_notAfter(leaf));
	if (take_names(c, leaf) != 0) {
		err_set(err, ERR_NOMEM, "names of a certificate");
		goto fail;
	}
	if (from->ocsp.path != NULL && take_ocsp(c, leaf, &from->ocsp, err) != 0)
		goto fail;
	return 0;
fail:
	tlscert_fini(c);
	return -1;
}

void
tlscert_fini(struct tlscert *c)
{
	for (size_t i = 0; i < c->name_count; i++)
		mem_free(c->names[i]);
	mem_free(c->names);
	mem_free(c->ocsp);
	SSL_CTX_free(c->ctx);
	memset(c, 0, sizeof(*c));
}
