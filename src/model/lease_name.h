/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lease_name.h - what leases are called outside, and which lease an attempt may become.
 *
 * An attempt of an http type can go on outside, under a lease (engine/handover.h).  Its
 * name goes out with the request, long before anybody knows whether it will be needed,
 * and so costs no row: it is computed from the attempt, under the key file of
 * [secrets] (base/seal.h), and computed again when somebody comes with it.  Whoever has
 * not seen that request cannot know the lease of an attempt.
 *
 * The token is for those who have no API key: it opens this one lease, and nothing
 * else, and like a key it is in a header only.  It holds for as long as its key is in
 * the file.
 */
#ifndef MODEL_LEASE_NAME_H
#define MODEL_LEASE_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/seal.h"
#include "base/uuid.h"

/* "<task>.<lease>", both as UUIDs are written */
#define LEASE_TEXT_SIZE 74
struct lease_name {
	struct uuid task, lease;
};
char *lease_format(const struct lease_name *l, char buf[LEASE_TEXT_SIZE]);
int lease_parse(const char *text, size_t len, struct lease_name *l) ATTR_CHECK;

/* all that tells an attempt from every other */
struct lease_attempt {
	int app_id;
	struct uuid task, owner;
	int number, claim;
};
/* -1: no memory */
int lease_of_attempt(const struct sealkeys *keys, const struct lease_attempt *at,
    struct uuid *lease) ATTR_CHECK;
/* under any key of the file */
bool lease_is_of_attempt(const struct sealkeys *keys, const struct lease_attempt *at,
    const struct uuid *lease) ATTR_CHECK;

/* "shoal_lease_<application>_<32 hexadecimal digits>" */
#define LEASE_TOKEN_PREFIX "shoal_lease_"
#define LEASE_TOKEN_SIZE   64
/* -1: no memory */
int lease_token(const struct sealkeys *keys, int app_id, const struct lease_name *l,
    char buf[LEASE_TOKEN_SIZE]) ATTR_CHECK;
/* whether it is the token of this lease; *app_id then says whose task it holds */
bool lease_token_check(const struct sealkeys *keys, const char *text,
    const struct lease_name *l, int *app_id) ATTR_CHECK;

#endif
