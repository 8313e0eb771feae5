/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rwire.c - Redis' protocol on buffers: commands out, bounded replies in.
 *
 * Replies are parsed by hiredis' reader, which has no ceilings of its own: it
 * allocates an array as soon as it has read its length, and buffers a string for as
 * long as the announced bytes keep coming.  Here each reply has a budget of bytes and
 * of elements.
 *
 * Commands are written straight into the connection's output.  Hiredis' formatter
 * allocates a string for each, which would then be copied once more.
 */
#include "redis/rwire.h"

#include <string.h>

#include <event2/buffer.h>
#include <hiredis/hiredis.h>

#include "base/mem.h"

#define READER_STAMP 0x52575244u

/* the digits of a size, a mark in front and CRLF */
#define HEAD_MAX 24

/* hiredis 1.0 widened the count of elements */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

struct rwire_reader {
	unsigned stamp;
	redisReader *reader;
	redisReplyObjectFunctions functions; /* hiredis' own but for createArray */
	void *(*create_array)(const redisReadTask *task, element_count count);
	size_t bytes;	 /* fed since the last whole reply */
	size_t elements; /* announced by the arrays of the reply that is being read */
	bool too_many;
};

/* ---- commands ------------------------------------------------------------ */

static size_t
digits(size_t n)
{
	size_t count = 1;

	while (n >= 10) {
		n /= 10;
		count++;
	}
	return count;
}

static char *
put_head(char *to, char mark, size_t n)
{
	size_t count = digits(n);

	*to++ = mark;
	for (size_t i = count; i > 0; i--) {
		to[i - 1] = (char)('0' + n % 10);
		n /= 10;
	}
	to += count;
	*to++ = '\r';
	*to++ = '\n';
	return to;
}

int
rwire_append(struct evbuffer *out, size_t max, int argc, const char *const argv[],
    const size_t lens[], struct err *err)
{
	size_t held = evbuffer_get_length(out);
	size_t total = HEAD_MAX;
	struct evbuffer_iovec room;
	char *to;

	if (argc < 1)
		return err_set(err, ERR_BUG, "a command without a name");
	for (int i = 0; i < argc; i++) {
		size_t len = lens != NULL ? lens[i] : strlen(argv[i]);

		if (held > max || len > max - held || total > max - held - len)
			return err_set(err, ERR_LIMIT,
			    "more than %zu bytes would wait to be sent", max);
		total += len + HEAD_MAX + 2;
	}
	if (evbuffer_reserve_space(out, (ev_ssize_t)total, &room, 1) != 1)
		return err_set(err, ERR_NOMEM, "a command of %zu bytes", total);
	to = put_head(room.iov_base, '*', (size_t)argc);
	for (int i = 0; i < argc; i++) {
		size_t len = lens != NULL ? lens[i] : strlen(argv[i]);

		to = put_head(to, '$', len);
		if (len > 0)
			memcpy(to, argv[i], len);
		to += len;
		*to++ = '\r';
		*to++ = '\n';
	}
	room.iov_len = (size_t)(to - (char *)room.iov_base);
	if (evbuffer_commit_space(out, &room, 1) != 0)
		return err_set(err, ERR_BUG, "reserved space is gone");
	return 0;
}

/* ---- replies ------------------------------------------------------------- */

/* hiredis calls this when it has read an array's length; NULL is an error there */
static void *
create_array(const redisReadTask *task, element_count count)
{
	struct rwire_reader *r = task->privdata;

	if (count > 0) {
		r->elements += (size_t)count;
		if (r->elements > RWIRE_REPLY_MAX_ELEMENTS) {
			r->too_many = true;
			return NULL;
		}
	}
	return r->create_array(task, count);
}

struct rwire_reader *
rwire_reader_create(void)
{
	struct rwire_reader *r;

	r = mem_zero(sizeof(*r));
	if (r == NULL)
		return NULL;
	r->stamp = READER_STAMP;
	r->reader = redisReaderCreate();
	if (r->reader == NULL) {
		mem_free(r);
		return NULL;
	}
	r->functions = *r->reader->fn;
	r->create_array = r->functions.createArray;
	r->functions.createArray = create_array;
	r->reader->fn = &r->functions;
	r->reader->privdata = r;
	return r;
}

void
rwire_reader_free(struct rwire_reader *r)
{
	if (r == NULL)
		return;
	STAMP_CHECK(r, READER_STAMP);
	redisReaderFree(r->reader);
	r->stamp = 0;
	mem_free(r);
}

int
rwire_reader_feed(
    struct rwire_reader *r, const void *bytes, size_t len, struct err *err)
{
	STAMP_CHECK(r, READER_STAMP);
	if (len > RWIRE_REPLY_MAX_BYTES || r->bytes > RWIRE_REPLY_MAX_BYTES - len)
		return err_set(err, ERR_LIMIT, "a reply of more than %zu bytes",
		    RWIRE_REPLY_MAX_BYTES);
	if (redisReaderFeed(r->reader, bytes, len) != REDIS_OK)
		return err_set(err, ERR_NOMEM, "buffering a reply");
	r->bytes += len;
	return 0;
}

int
rwire_reader_next(struct rwire_reader *r, struct redisReply **reply, struct err *err)
{
	void *object = NULL;

	STAMP_CHECK(r, READER_STAMP);
	if (redisReaderGetReply(r->reader, &object) != REDIS_OK) {
		if (r->too_many)
			return err_set(err, ERR_LIMIT,
			    "a reply of more than %zu elements",
			    RWIRE_REPLY_MAX_ELEMENTS);
		if (r->reader->err == REDIS_ERR_OOM)
			return err_set(err, ERR_NOMEM, "reading a reply");
		return err_set(err, ERR_IO, "not a Redis reply: %s", r->reader->errstr);
	}
	if (object != NULL) {
		/* what is left in the buffer belongs to the next one */
		r->bytes = r->reader->len - r->reader->pos;
		r->elements = 0;
	}
	*reply = object;
	return 0;
}

bool
rwire_is_failover(const struct redisReply *reply)
{
	static const char *const words[] = {
	    "READONLY",	  /* a replica now */
	    "LOADING",	  /* just restarted */
	    "MASTERDOWN", /* a replica without its master */
	    "MISCONF",	  /* cannot save, so takes no writes */
	    "NOREPLICAS", /* cut off from its replicas: another may be the primary */
	    "UNBLOCKED",  /* a blocking pop that a role change ended */
	    "NOAUTH",	  /* forgot us, or another server */
	    "WRONGPASS",
	};

	if (reply->type != REDIS_REPLY_ERROR)
		return false;
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		size_t len = strlen(words[i]);

		if ((size_t)reply->len >= len &&
		    memcmp(reply->str, words[i], len) == 0 &&
		    ((size_t)reply->len == len || reply->str[len] == ' '))
			return true;
	}
	return false;
}
