/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsctx.c - the policy of TLS, and the callbacks that OpenSSL asks; see tlsctx.h.
 *
 * Each certificate has a context of its own, all with the same policy: a handshake
 * begins with the first one's and goes on with that of the name which the client asked
 * for.  The id of the session context is made of what clients have to show, so that a
 * ticket from before that changed is worth nothing.
 */
#include "tls/tlsctx.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

#include "base/log.h"
#include "base/mem.h"
#include "tls/tlscert.h"
#include "tls/tlskeys.h"

/* key exchange by curves, authenticated ciphers; those of TLS 1.3 are all like that */
#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
#define GROUPS	    "X25519:P-256:P-384"
#define OPTIONS                                                                        \
	(SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |                             \
	    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |               \
	    SSL_OP_IGNORE_UNEXPECTED_EOF)
/* (bytes that are cut off are found by HTTP's own lengths) */

struct tlsctx {
	struct tlscert certs[TLS_CERTS_MOST];
	size_t count;
	struct tlskeys keys;
};

/* ---------------------------------------------------------------- callbacks */

static struct tlsctx *
of_connection(const SSL *ssl)
{
	return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

size_t
tlsctx_choose(const struct tlsctx *tc, const char *name)
{
	for (int exact = 1; name != NULL && exact >= 0; exact--) {
		for (size_t i = 0; i < tc->count; i++) {
			if (tlscert_has_name(&tc->certs[i], name, exact == 1))
				return i;
		}
	}
	return 0;
}

static int
on_name(SSL *ssl, int *alert, void *arg)
{
	struct tlsctx *tc = arg;
	size_t i =
	    tlsctx_choose(tc, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));

	(void)alert;
	if (i > 0 && SSL_set_SSL_CTX(ssl, tc->certs[i].ctx) == NULL)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

static int
on_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in,
		in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int
on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int encrypt)
{
	return tlskeys_use(
	    &of_connection(ssl)->keys, name, iv, cipher, mac, encrypt != 0);
}

static int
on_status(SSL *ssl, void *arg)
{
	const struct tlsctx *tc = of_connection(ssl);
	const SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	const struct tlscert *c = NULL;
	uint8_t *copy;

	(void)arg;
	for (size_t i = 0; i < tc->count; i++) {
		if (tc->certs[i].ctx == ctx)
			c = &tc->certs[i];
	}
	if (c == NULL || c->ocsp == NULL || time(NULL) >= (time_t)c->ocsp_until_s)
		return SSL_TLSEXT_ERR_NOACK;
	/* OpenSSL's own allocator: the copy becomes the connection's */
	copy = OPENSSL_memdup(c->ocsp, c->ocsp_len);
	if (copy == NULL ||
	    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)c->ocsp_len) != 1) {
		OPENSSL_free(copy);
		return SSL_TLSEXT_ERR_NOACK;
	}
	return SSL_TLSEXT_ERR_OK;
}

/* ---------------------------------------------------------------- the policy */

static int
set_clients(SSL_CTX *ctx, const struct tlsbag *bag, struct err *err)
{
	const struct tlsbytes *from = &bag->client_ca;
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio;
	X509 *x;
	int count = 0, rc = 0;

	if (bag->clients == TLS_CLIENTS_NONE)
		return 0;
	bio = BIO_new_mem_buf(from->at, (int)from->len);
	if (bio == NULL)
		return err_set(err, ERR_NOMEM, "tls.client_ca");
	while (rc == 0 && (x = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		count++;
		if (X509_STORE_add_cert(store, x) != 1 ||
		    SSL_CTX_add_client_CA(ctx, x) != 1)
			rc = err_set(err, ERR_INVALID,
			    "tls.client_ca: %.300s: certificate %d: %s", from->path,
			    count, tls_reason());
		X509_free(x);
	}
	BIO_free(bio);
	if (rc == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		rc = err_set(err, ERR_INVALID,
		    "tls.client_ca: %.300s: certificate %d cannot be read: %s",
		    from->path, count + 1, tls_reason());
	else if (rc == 0 && count == 0)
		rc = err_set(err, ERR_INVALID,
		    "tls.client_ca: %.300s: it has no certificate", from->path);
	ERR_clear_error();
	SSL_CTX_set_verify(ctx,
	    SSL_VERIFY_PEER |
		(bag->clients == TLS_CLIENTS_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT
						      : 0),
	    NULL);
	return rc;
}

static bool
set_session_id(SSL_CTX *ctx, const struct tlsbag *bag)
{
	unsigned char id[SHA256_DIGEST_LENGTH];

	if (bag->client_ca.at != NULL)
		SHA256(
		    (const unsigned char *)bag->client_ca.at, bag->client_ca.len, id);
	else
		memset(id, 0, sizeof(id));
	id[0] ^= (unsigned char)bag->clients;
	return SSL_CTX_set_session_id_context(ctx, id, sizeof(id)) == 1;
}

static int
set_policy(struct tlsctx *tc, SSL_CTX *ctx, const struct tlsbag *bag, struct err *err)
{
	(void)SSL_CTX_set_options(ctx, OPTIONS);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_timeout(ctx, TLSKEYS_TICKET_S);
	SSL_CTX_set_app_data(ctx, tc);
	if (SSL_CTX_set_min_proto_version(
		ctx, bag->only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, GROUPS) != 1 ||
	    SSL_CTX_set_num_tickets(ctx, 1) != 1 ||
	    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) != 1 ||
	    SSL_CTX_set_tlsext_status_cb(ctx, on_status) != 1 ||
	    !set_session_id(ctx, bag))
		return err_set(err, ERR_IO, "TLS: %s", tls_reason());
	SSL_CTX_set_alpn_select_cb(ctx, on_protocol, NULL);
	(void)SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
	(void)SSL_CTX_set_tlsext_servername_arg(ctx, tc);
	return set_clients(ctx, bag, err);
}

/* ---------------------------------------------------------------- life */

struct tlsctx *
tlsctx_create(const struct tlsbag *bag, struct err *err)
{
	struct tlsctx *tc = mem_zero(sizeof(*tc));

	if (tc == NULL) {
		err_set(err, ERR_NOMEM, "TLS");
		return NULL;
	}
	if (tlskeys_parse(bag->ticket_keys.at, bag->ticket_keys.len, &tc->keys, err) !=
	    0) {
		err_wrap(err, "tls.ticket_key_file: %.300s",
		    bag->ticket_keys.path == NULL ? "" : bag->ticket_keys.path);
		goto fail;
	}
	for (size_t i = 0; i < bag->cert_count; i++) {
		if (tlscert_init(&tc->certs[i], &bag->certs[i], err) != 0) {
			err_wrap(err, "tls.certificates");
			goto fail;
		}
		tc->count++;
		if (set_policy(tc, tc->certs[i].ctx, bag, err) != 0)
			goto fail;
	}
	if (tc->count > 0)
		return tc;
	err_set(err, ERR_INVALID, "tls.certificates is empty");
fail:
	tlsctx_free(tc);
	return NULL;
}

void
tlsctx_free(struct tlsctx *tc)
{
	if (tc == NULL)
		return;
	for (size_t i = 0; i < tc->count; i++)
		tlscert_fini(&tc->certs[i]);
	mem_free_secret(tc, sizeof(*tc));
}

int
tlsctx_check(const struct tlsbag *bag, int64_t now_s, struct err *err)
{
	struct tlsctx *tc = tlsctx_create(bag, err);
	int rc = 0;

	if (tc == NULL)
		return -1;
	for (size_t i = 0; rc == 0 && i < tc->count; i++) {
		const struct tlscert *c = &tc->certs[i];

		rc = tlscert_check_dates(c, now_s, err);
		if (rc != 0)
			err_wrap(
			    err, "tls.certificates: %.300s", bag->certs[i].chain.path);
		else if (c->ocsp_why[0] != '\0')
			log_warn(NULL, "ocsp response left out",
			    "file=%s certificate=%s reason=\"%s\"",
			    bag->certs[i].ocsp.path, tlscert_title(c), c->ocsp_why);
	}
	tlsctx_free(tc);
	return rc;
}

SSL *
tlsctx_accept(struct tlsctx *tc)
{
	SSL *ssl = SSL_new(tc->certs[0].ctx);

	if (ssl == NULL)
		ERR_clear_error();
	else
		SSL_set_accept_state(ssl);
	return ssl;
}

/* ---------------------------------------------------------------- what there is */

size_t
tlsctx_count(const struct tlsctx *tc)
{
	return tc->count;
}

const char *
tlsctx_title(const struct tlsctx *tc, size_t i)
{
	return tlscert_title(&tc->certs[i]);
}

const char *
tlsctx_staple_fault(const struct tlsctx *tc, size_t i)
{
	return tc->certs[i].ocsp_why;
}

int64_t
tlsctx_seconds_left(const struct tlsctx *tc, size_t i, int64_t now_s)
{
	return tc->certs[i].until_s - now_s;
}
