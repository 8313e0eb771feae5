/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * access.c - one decision, from a token, an address and nothing else.
 *
 * Tokens are compared by their SHA-256, so that neither length nor content can be told
 * from the time it takes, and the token itself is not kept.
 */
#include "face/access.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#include "base/cidr.h"
#include "base/mem.h"

struct access {
	bool has_token;
	uint8_t token_hash[SHA256_DIGEST_LENGTH];
	struct cidr_list networks;
};

struct access *
access_create(const char *token, const char *networks, struct err *err)
{
	struct access *ac = mem_zero(sizeof(*ac));

	if (ac == NULL) {
		err_set(err, ERR_NOMEM, "access lists");
		return NULL;
	}
	if (cidr_list_parse(networks, &ac->networks, err) != 0) {
		err_wrap(err, "access.networks");
		mem_free(ac);
		return NULL;
	}
	if (token != NULL && token[0] != '\0') {
		ac->has_token = true;
		SHA256((const uint8_t *)token, strlen(token), ac->token_hash);
	}
	return ac;
}

void
access_free(struct access *ac)
{
	if (ac == NULL)
		return;
	cidr_list_fini(&ac->networks);
	mem_free_secret(ac, sizeof(*ac));
}

static bool
token_fits(const struct access *ac, const char *authorization)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	const char *token;

	if (strncasecmp(authorization, "Bearer ", 7) != 0)
		return false;
	token = authorization + 7;
	while (*token == ' ')
		token++;
	SHA256((const uint8_t *)token, strlen(token), hash);
	return CRYPTO_memcmp(hash, ac->token_hash, sizeof(hash)) == 0 && ac->has_token;
}

enum access_verdict
access_decide(const struct access *ac, const char *authorization, const char *peer,
    bool forwarded)
{
	if (authorization != NULL)
		return token_fits(ac, authorization) ? ACCESS_ALLOWED
						     : ACCESS_WRONG_TOKEN;
	if (!forwarded && peer != NULL && cidr_list_has(&ac->networks, peer))
		return ACCESS_ALLOWED;
	return ACCESS_STRANGER;
}

enum access_verdict
access_check(const struct access *ac, const struct httpreq *req)
{
	return access_decide(ac, httpreq_header(req, "Authorization"),
	    httpreq_peer(req), !httpreq_is_origin(req));
}

bool
access_demand(const struct access *ac, struct httpreq *req)
{
	switch (access_check(ac, req)) {
	case ACCESS_ALLOWED:
		return true;
	case ACCESS_WRONG_TOKEN:
		httpreq_set_header(req, "WWW-Authenticate", "Bearer realm=\"shoal\"");
		httpreq_problem(req, 401, "unauthorized",
		    "The token in the Authorization header is not this "
		    "node's access.token.");
		return false;
	case ACCESS_STRANGER:
		break;
	}
	httpreq_problem(req, 403, "forbidden",
	    "This needs the token of access.token, or a client address in "
	    "access.networks.");
	return false;
}
