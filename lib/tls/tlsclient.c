/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsclient.c - TLS to servers; see tlsclient.h.
 *
 * The records are OpenSSL's, the events libevent's bufferevent_openssl, which verifies
 * nothing by itself: OpenSSL is told here which name and which authorities count, and
 * ends the handshake when they do not fit.
 *
 * A key that others than its owner and group can read is refused, as everywhere in this
 * program.  A key with a passphrase is refused too: nobody is there to be asked.
 */
#include "tls/tlsclient.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/mem.h"
#include "base/str.h"

#define TLSCLIENT_STAMP 0x52544c53u

struct tlsclient {
	unsigned stamp;
	SSL_CTX *ctx;
	const char *hint;
};

static bool
is_given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

/* the reason that OpenSSL has for the last failure; the queue is empty afterwards */
static int
say(struct err *err, const char *what, const char *path)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	ERR_clear_error();
	return err_set(err, ERR_INVALID, "%s: %s: %s", what, path,
	    reason != NULL ? reason : "it cannot be used");
}

static int
no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int
check_file(const char *what, const char *path, bool secret, struct err *err)
{
	struct stat st;

	if (stat(path, &st) != 0 || access(path, R_OK) != 0)
		return err_set(
		    err, ERR_INVALID, "%s: %s: %s", what, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, "%s: %s is not a file", what, path);
	if (secret && (st.st_mode & S_IRWXO) != 0)
		return err_set(err, ERR_INVALID,
		    "%s: everybody may read %s: chmod 600 it", what, path);
	return 0;
}

static int
take_authorities(SSL_CTX *ctx, const char *ca_file, struct err *err)
{
	if (!is_given(ca_file)) {
		if (SSL_CTX_set_default_verify_paths(ctx) == 1)
			return 0;
		return say(err, "the system's certificate authorities", "none");
	}
	if (check_file("the authorities", ca_file, false, err) != 0)
		return -1;
	if (SSL_CTX_load_verify_file(ctx, ca_file) != 1)
		return say(err, "the authorities", ca_file);
	return 0;
}

static int
take_certificate(SSL_CTX *ctx, const struct tlsclient_opts *opts, struct err *err)
{
	if (is_given(opts->certificate) != is_given(opts->key))
		return err_set(err, ERR_INVALID,
		    "a certificate and its key belong together, and only one of them "
		    "is given");
	if (!is_given(opts->certificate))
		return 0;
	if (check_file("the certificate", opts->certificate, false, err) != 0 ||
	    check_file("the key", opts->key, true, err) != 0)
		return -1;
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, opts->certificate) != 1)
		return say(err, "the certificate", opts->certificate);
	if (SSL_CTX_use_PrivateKey_file(ctx, opts->key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1)
		return say(err, "the key", opts->key);
	return 0;
}

struct tlsclient *
tlsclient_create(const struct tlsclient_opts *opts, struct err *err)
{
	struct tlsclient *t = mem_zero(sizeof(*t));

	ERR_clear_error();
	if (t == NULL || (t->ctx = SSL_CTX_new(TLS_client_method())) == NULL) {
		mem_free(t);
		err_set(err, ERR_NOMEM, "TLS");
		return NULL;
	}
	t->stamp = TLSCLIENT_STAMP;
	t->hint = opts->hint != NULL ? opts->hint : "";
	SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
	/* what is read tells where it ends: a missing farewell loses nothing */
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* an idle connection keeps no buffers */
	SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	if (take_authorities(t->ctx, opts->ca_file, err) != 0 ||
	    take_certificate(t->ctx, opts, err) != 0) {
		tlsclient_free(t);
		return NULL;
	}
	return t;
}

void
tlsclient_free(struct tlsclient *t)
{
	if (t == NULL)
		return;
	STAMP_CHECK(t, TLSCLIENT_STAMP);
	SSL_CTX_free(t->ctx);
	t->stamp = 0;
	mem_free(t);
}

static bool
is_address(const char *host)
{
	struct in6_addr any;

	return inet_pton(AF_INET, host, &any) == 1 ||
	       inet_pton(AF_INET6, host, &any) == 1;
}

/*
 * OpenSSL takes any of several names, or one address, and both if both are told: so an
 * address is told only when no name is.
 */
static bool
expect(SSL *ssl, const char *host, const char *other)
{
	bool named = is_given(host) && !is_address(host);
	bool other_named = is_given(other) && !is_address(other);

	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (named &&
	    (SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1))
		return false;
	if (other_named && !named && SSL_set_tlsext_host_name(ssl, other) != 1)
		return false;
	if (other_named && SSL_add1_host(ssl, other) != 1)
		return false;
	if (named || other_named)
		return true;
	return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
}

SSL *
tlsclient_ssl(const struct tlsclient *t, const char *host, const char *other)
{
	SSL *ssl;

	STAMP_CHECK(t, TLSCLIENT_STAMP);
	ERR_clear_error();
	ssl = SSL_new(t->ctx);
	if (ssl != NULL && expect(ssl, host, other))
		return ssl;
	SSL_free(ssl);
	return NULL;
}

void
tlsclient_ssl_free(SSL *ssl)
{
	SSL_free(ssl);
}

struct bufferevent *
tlsclient_open(const struct tlsclient *t, struct loop *l, int fd, const char *host,
    const char *other, struct err *err)
{
	SSL *ssl = tlsclient_ssl(t, host, other);
	struct bufferevent *bev = NULL;

	/* (ssl is given, also on failure) */
	if (ssl != NULL)
		bev = bufferevent_openssl_socket_new(loop_base(l), fd, ssl,
		    BUFFEREVENT_SSL_CONNECTING,
		    BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (bev == NULL) {
		if (fd != -1)
			close(fd);
		err_set(err, ERR_NOMEM, "TLS to %s", host);
		return NULL;
	}
	/* what is read tells where it ends, so that nothing can be cut off unseen */
	bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

int
tlsclient_why(const struct tlsclient *t, const SSL *ssl, unsigned long code, int errnum,
    const char *peer, struct err *err)
{
	long verified = SSL_get_verify_result(ssl);
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	STAMP_CHECK(t, TLSCLIENT_STAMP);
	ERR_clear_error();
	if (verified != X509_V_OK)
		return err_set(err, ERR_CLOSED,
		    "TLS to %s: the server's certificate is refused: %s%s", peer,
		    X509_verify_cert_error_string(verified), t->hint);
	if (code != 0 && (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER ||
			     ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST))
		return err_set(err, ERR_CLOSED,
		    "TLS to %s: it does not speak TLS on that port", peer);
	if (reason != NULL)
		return err_set(err, ERR_CLOSED, "TLS to %s: %s", peer, reason);
	if (errnum != 0)
		return err_errno(err, errnum, "TLS to %s", peer);
	return err_set(
	    err, ERR_CLOSED, "TLS to %s: it ended within the handshake", peer);
}

int
tlsclient_why_bev(const struct tlsclient *t, struct bufferevent *bev, int errnum,
    const char *peer, struct err *err)
{
	return tlsclient_why(t, bufferevent_openssl_get_ssl(bev),
	    bufferevent_get_openssl_error(bev), errnum, peer, err);
}

size_t
tlsclient_pending(struct bufferevent *bev)
{
	return (size_t)SSL_pending(bufferevent_openssl_get_ssl(bev));
}
