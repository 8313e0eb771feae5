/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlsbag.h - the files that a TLS server is made of, as bytes.
 *
 * Who reads them and who understands them are two: key files may be root's alone, so
 * the process that is still root fills the bag, and its children, which inherit it,
 * make a tlsctx of it.  Nothing is parsed here but the list of paths.
 */
#ifndef TLS_TLSBAG_H
#define TLS_TLSBAG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"

#define TLS_CERTS_MOST 64

enum tls_clients { TLS_CLIENTS_NONE = 0, TLS_CLIENTS_OPTIONAL, TLS_CLIENTS_REQUIRED };

struct tls_opts {
	/* "CHAIN KEY [OCSP], ...": absolute paths; CHAIN alone holds the key as well */
	const char *certificates;
	enum tls_clients clients;
	const char *client_ca;	     /* "": none */
	const char *ticket_key_file; /* "": keys of the bag's own, drawn now */
	bool only_1_3;
};

struct tlsbytes {
	char *path; /* NULL: there is no such file */
	char *at;
	size_t len;
};

struct tlsbag_cert {
	struct tlsbytes chain;
	struct tlsbytes key;  /* without a path: in chain */
	struct tlsbytes ocsp; /* optional */
};

struct tlsbag {
	struct tlsbag_cert certs[TLS_CERTS_MOST];
	size_t cert_count;
	struct tlsbytes client_ca;   /* optional */
	struct tlsbytes ticket_keys; /* the bytes are always there, the path is not */
	enum tls_clients clients;
	bool only_1_3;
};

/* the list alone, without a look at the files */
int tlsbag_check_list(const char *certificates, struct err *err) ATTR_CHECK;
/*
 * Reads all of them.  Files with keys that others than owner and group may reach, or
 * the group write, are refused.
 */
struct tlsbag *tlsbag_load(const struct tls_opts *opts, struct err *err) ATTR_CHECK;
/* overwrites the bytes: for processes that have no business with them */
void tlsbag_wipe(struct tlsbag *bag); /* NULL is fine */
void tlsbag_free(struct tlsbag *bag); /* the same, and NULL too */

#endif
