/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rwire.h - Redis' protocol on buffers: commands out, bounded replies in.
 */
#ifndef REDIS_RWIRE_H
#define REDIS_RWIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attr.h"
#include "base/err.h"

/* of one reply; ours are small, so more than this is a broken or hostile peer */
#define RWIRE_REPLY_MAX_BYTES	 ((size_t)64 << 20)
#define RWIRE_REPLY_MAX_ELEMENTS ((size_t)1 << 20)

struct evbuffer;
struct redisReply;
struct rwire_reader;

/*
 * Appends one command.  lens NULL: strlen.  ERR_LIMIT if out would hold more than max
 * bytes; nothing is appended on failure.
 */
int rwire_append(struct evbuffer *out, size_t max, int argc, const char *const argv[],
    const size_t lens[], struct err *err) ATTR_CHECK;

struct rwire_reader *rwire_reader_create(void) ATTR_CHECK; /* NULL: no memory */
void rwire_reader_free(struct rwire_reader *r);		   /* NULL is fine */
int rwire_reader_feed(
    struct rwire_reader *r, const void *bytes, size_t len, struct err *err) ATTR_CHECK;
/*
 * The next whole reply, given to the caller (freeReplyObject), or NULL: more bytes are
 * needed.  -1: the bytes are no RESP or a bound is exceeded; the reader is of no use
 * any more.
 */
int rwire_reader_next(
    struct rwire_reader *r, struct redisReply **reply, struct err *err) ATTR_CHECK;

/* whether the error reply's first word says that this server is not the one to talk to
 */
bool rwire_is_failover(const struct redisReply *reply);

#endif
