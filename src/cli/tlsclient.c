/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsclient.c - TLS to a node; see tlsclient.h.
 *
 * There is no way to go on without verification: a key that was sent to the wrong
 * server is lost.  Who has an authority of their own names it with --ca-file.
 */
#include "cli/tlsclient.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

#include "base/mem.h"

struct tlsclient {
	SSL_CTX *ctx;
};

/* the newest error of the thread's queue, or what else there is to say */
static const char *
reason(unsigned long code)
{
	const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;

	return text != NULL ? text : "no reason is known";
}

struct tlsclient *
tlsclient_create(const char *ca_file, struct err *err)
{
	struct tlsclient *tc = mem_zero(sizeof(*tc));

	if (tc == NULL || (tc->ctx = SSL_CTX_new(TLS_client_method())) == NULL) {
		err_set(err, ERR_NOMEM, "TLS");
		goto fail;
	}
	SSL_CTX_set_verify(tc->ctx, SSL_VERIFY_PEER, NULL);
	/* lengths tell where an answer ends: a missing farewell loses nothing */
	(void)SSL_CTX_set_options(
	    tc->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
	if (SSL_CTX_set_min_proto_version(tc->ctx, TLS1_2_VERSION) != 1) {
		err_set(err, ERR_INVALID, "TLS 1.2: %s", reason(ERR_get_error()));
		goto fail;
	}
	if (ca_file != NULL) {
		if (SSL_CTX_load_verify_locations(tc->ctx, ca_file, NULL) != 1) {
			err_set(err, ERR_INVALID,
			    "the authorities in %s: %s; it has to be a PEM file with "
			    "certificates",
			    ca_file, reason(ERR_peek_last_error()));
			goto fail;
		}
	} else if (SSL_CTX_set_default_verify_paths(tc->ctx) != 1) {
		err_set(err, ERR_INVALID, "the system's authorities: %s",
		    reason(ERR_peek_last_error()));
		goto fail;
	}
	return tc;
fail:
	ERR_clear_error();
	tlsclient_free(tc);
	return NULL;
}

void
tlsclient_free(struct tlsclient *tc)
{
	if (tc == NULL)
		return;
	SSL_CTX_free(tc->ctx);
	mem_free(tc);
}

static bool
is_address(const char *host)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, bytes) == 1 ||
	       inet_pton(AF_INET6, host, bytes) == 1;
}

SSL *
tlsclient_ssl(const struct tlsclient *tc, const char *host)
{
	SSL *ssl = SSL_new(tc->ctx);
	bool good;

	if (ssl == NULL)
		return NULL;
	if (is_address(host)) {
		good = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	} else {
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		good = SSL_set1_host(ssl, host) == 1 &&
		       SSL_set_tlsext_host_name(ssl, host) == 1;
	}
	if (good)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

void
tlsclient_ssl_free(SSL *ssl)
{
	SSL_free(ssl);
}

int
tlsclient_why(const SSL *ssl, unsigned long code, int errnum, struct err *err)
{
	long verdict = SSL_get_verify_result(ssl);

	ERR_clear_error();
	if (verdict != X509_V_OK)
		return err_set(err, ERR_IO,
		    "its certificate is refused: %s; --ca-file names an authority of "
		    "your own",
		    X509_verify_cert_error_string(verdict));
	if (code != 0 && (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER ||
			     ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST))
		return err_set(err, ERR_IO, "it does not speak TLS on that port");
	if (code != 0)
		return err_set(err, ERR_IO, "TLS: %s", reason(code));
	if (errnum != 0)
		return err_errno(err, errnum, "cannot connect");
	return err_set(err, ERR_IO, "it closed the connection before TLS was agreed");
}
